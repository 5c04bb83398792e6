/** The columns that tables of traffic share: rate, success, latency. */
import type { Health, Traffic } from '../api/observe';
import { HealthDot } from '../look/control';
import type { Column } from '../look/table';
import { bytesRate, millis, percent, rate } from '../words/format';

interface HasTraffic {
  traffic?: Traffic;
  health: Health;
}

const rank: Record<Health, number> = { failing: 0, degraded: 1, healthy: 2, idle: 3 };

export function healthColumn<T extends HasTraffic>(): Column<T> {
  return { key: 'health', title: <span class="sr">Health</span>, width: '34px', by: (row) => rank[row.health], cell: (row) => <HealthDot health={row.health} /> };
}

function bar(share: number | undefined) {
  if (share === undefined) return <span class="faint">–</span>;
  const token = share < 0.9 ? 'bad' : share < 0.999 ? 'warn' : 'good';
  // What is lost is what matters: the bar begins at 90 %.
  const wide = Math.max(4, Math.min(100, (share - 0.9) * 1000));
  return (
    <span class="row" style="justify-content:flex-end">
      <span class="bar wide" style="width:48px" aria-hidden="true">
        <i style={{ width: `${wide}%`, background: `var(--${token})` }} />
      </span>
      <span style="min-width:56px">{percent(share)}</span>
    </span>
  );
}

export function trafficColumns<T extends HasTraffic>(): Column<T>[] {
  return [
    { key: 'rps', title: 'Requests', num: true, by: (row) => row.traffic?.rps ?? -1, cell: (row) => (row.traffic && row.traffic.rps > 0 ? rate(row.traffic.rps) : row.traffic && row.traffic.tcpSent + row.traffic.tcpReceived > 0 ? bytesRate(row.traffic.tcpSent + row.traffic.tcpReceived) : <span class="faint">–</span>) },
    { key: 'success', title: 'Success', num: true, by: (row) => row.traffic?.success ?? 2, cell: (row) => bar(row.traffic?.success) },
    { key: 'p50', title: 'p50', num: true, wide: true, by: (row) => row.traffic?.p50 ?? -1, cell: (row) => millis(row.traffic?.p50) },
    { key: 'p95', title: 'p95', num: true, by: (row) => row.traffic?.p95 ?? -1, cell: (row) => millis(row.traffic?.p95) },
    { key: 'p99', title: 'p99', num: true, wide: true, by: (row) => row.traffic?.p99 ?? -1, cell: (row) => millis(row.traffic?.p99) },
  ];
}

/** Narrows a list by a text and by namespaces, and puts the ill first. */
export function fits(text: string, ...fields: (string | undefined)[]): boolean {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return words.every((word) => fields.some((field) => field?.toLowerCase().includes(word)));
}
