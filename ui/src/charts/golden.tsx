/** The golden signals of something: rate by code, success, latency, and bytes where it is TCP. */
import type { ComponentChildren } from 'preact';
import { useMemo } from 'preact/hooks';
import type { SeriesAnswer } from '../api/observe';
import { query } from '../api/control';
import { usePolled, type Entry } from '../api/poll';
import { FailureNote, Notices, Skeleton } from '../look/states';
import { go, keepParams } from '../shell/location';
import { chartSpanS, refreshS } from '../shell/window';
import { bytesRate, millis, percent, rate, short } from '../words/format';
import { Chart, ChartLegend, type Line } from './chart';

const codeTokens: Record<string, string> = { '2': 'good', '3': 'info', '4': 'warn', '5': 'bad', '-': 'violet' };
const palette = ['c1', 'c2', 'c3', 'c4', 'c5', 'c6', 'c7'];
const none: (number | null)[] = [];

function useSeries(of: string, metrics: string, extra: Record<string, string | undefined>): Entry<SeriesAnswer> {
  return usePolled<SeriesAnswer>(`/v1/series${query({ of, metrics, window: chartSpanS.value, points: 120, ...extra })}`, Math.max(5, refreshS.value) * 1000);
}

function linesOf(answer: SeriesAnswer | undefined, names: Record<string, { label: string; token: string; fill?: boolean }>): Line[] {
  return Object.entries(names).map(([metric, how]) => ({ ...how, values: answer?.series.find((one) => one.metric === metric)?.values ?? none }));
}

function last(line: Line | undefined): number | undefined {
  return [...(line?.values ?? [])].reverse().find((value): value is number => typeof value === 'number');
}

export function Panel(props: { title: string; now?: string; legend?: ComponentChildren; ready: boolean; children: ComponentChildren }) {
  return (
    <section class="card">
      <div class="chart-head">
        <h3 class="muted">{props.title}</h3>
        <span class="now">{props.ready ? props.now : '\u00a0'}</span>
        <span style="margin-left:auto">{props.legend}</span>
      </div>
      <div class="chart-body" style="min-height:180px">
        {props.ready ? props.children : <Skeleton height={168} />}
      </div>
    </section>
  );
}

export function Golden({ of, direction = 'inbound', service, tcp }: { of: string; direction?: 'inbound' | 'outbound'; service?: string; tcp?: boolean }) {
  const codes = useSeries(of, 'rps', { split: 'code', direction });
  const signals = useSeries(of, tcp ? 'tcpSent,tcpReceived,tcpOpen' : 'success,p50,p95,p99', { direction });
  const codeLines = useMemo(
    () => (codes.data?.series ?? []).map((one, i): Line => ({ label: one.label ?? 'requests', token: codeTokens[one.label?.[0] ?? ''] ?? palette[i % palette.length]!, values: one.values, fill: true })),
    [codes.data],
  );
  const latency = useMemo(() => linesOf(signals.data, { p50: { label: 'p50', token: 'c1', fill: true }, p95: { label: 'p95', token: 'c2' }, p99: { label: 'p99', token: 'c3' } }), [signals.data]);
  const success = useMemo(() => linesOf(signals.data, { success: { label: 'Success rate', token: 'good', fill: true } }), [signals.data]);
  const bytes = useMemo(() => linesOf(signals.data, { tcpReceived: { label: 'from the client', token: 'c1', fill: true }, tcpSent: { label: 'to the client', token: 'c2' } }), [signals.data]);
  const open = useMemo(() => linesOf(signals.data, { tcpOpen: { label: 'Open connections', token: 'c4', fill: true } }), [signals.data]);
  const toTraces = (at: number, stepS: number) => {
    const half = Math.max(15, stepS) * 1000;
    go(keepParams(`/traces${query({ service, from: new Date(at * 1000 - half).toISOString(), to: new Date(at * 1000 + half).toISOString() })}`));
  };
  const failure = codes.data ? undefined : (codes.failure ?? signals.failure);
  if (failure) return <FailureNote failure={failure} />;
  const total = codeLines.reduce((sum, line) => sum + (last(line) ?? 0), 0);
  const times = (answer: SeriesAnswer | undefined) => answer?.times ?? [];
  return (
    <>
      <Notices notices={codes.data?.notices} />
      <div class="golden">
        {tcp ? (
          <>
            <Panel title="Throughput" ready={!!signals.data} now={bytesRate(last(bytes[0]))} legend={<ChartLegend lines={bytes} />}>
              <Chart title="Throughput" times={times(signals.data)} lines={bytes} format={bytesRate} />
            </Panel>
            <Panel title="Open connections" ready={!!signals.data} now={short(last(open[0]))}>
              <Chart title="Open connections" times={times(signals.data)} lines={open} format={short} least={4} />
            </Panel>
          </>
        ) : (
          <>
            <Panel title="Requests" ready={!!codes.data} now={rate(total)} legend={<ChartLegend lines={codeLines} />}>
              <Chart title="Requests a second by status" times={times(codes.data)} lines={codeLines} format={short} least={1} onPoint={toTraces} />
            </Panel>
            <Panel title="Success rate" ready={!!signals.data} now={percent(last(success[0]))}>
              <Chart title="Success rate" times={times(signals.data)} lines={success} format={percent} from={0.95} most={1} onPoint={toTraces} />
            </Panel>
            <Panel title="Latency, p95" ready={!!signals.data} now={millis(last(latency[1]))} legend={<ChartLegend lines={latency} />}>
              <Chart title="Latency" times={times(signals.data)} lines={latency} format={millis} least={5} onPoint={toTraces} />
            </Panel>
          </>
        )}
      </div>
    </>
  );
}

/** Three small charts for the graph's side. */
export function Sparks({ of, direction, tcp, service }: { of: string; direction: 'inbound' | 'outbound'; tcp: boolean; service?: string }) {
  const entry = useSeries(of, tcp ? 'tcpSent,tcpReceived' : 'rps,p95,success', { direction });
  const rows: { key: string; title: string; token: string; format: (value: number) => string; from?: number; most?: number }[] = tcp
    ? [
        { key: 'tcpReceived', title: 'From the client', token: 'c1', format: bytesRate },
        { key: 'tcpSent', title: 'To the client', token: 'c2', format: bytesRate },
      ]
    : [
        { key: 'rps', title: 'Requests', token: 'c1', format: rate },
        { key: 'p95', title: 'p95 latency', token: 'c2', format: millis },
        { key: 'success', title: 'Success', token: 'good', format: percent, from: 0.95, most: 1 },
      ];
  const lines = useMemo(() => rows.map((row) => linesOf(entry.data, { [row.key]: { label: row.title, token: row.token, fill: true } })), [entry.data, tcp]);
  return (
    <div class="sparks">
      {rows.map((row, i) => (
        <div class="spark" key={row.key}>
          <div class="spark-words">
            <span class="faint">{row.title}</span>
            <strong>{entry.data ? (last(lines[i]![0]) === undefined ? '–' : row.format(last(lines[i]![0])!)) : '\u00a0'}</strong>
          </div>
          <div class="spark-plot">
            {entry.data ? (
              <Chart
                small
                title={row.title}
                times={entry.data.times}
                lines={lines[i]!}
                format={row.format}
                height={40}
                from={row.from}
                most={row.most}
                onPoint={(at, stepS) => {
                  const half = Math.max(15, stepS) * 1000;
                  go(keepParams(`/traces${query({ service, from: new Date(at * 1000 - half).toISOString(), to: new Date(at * 1000 + half).toISOString() })}`));
                }}
              />
            ) : (
              <Skeleton height={40} />
            )}
          </div>
        </div>
      ))}
    </div>
  );
}
