/** A list of traces, each with its length to scale, its services and its errors. */
import type { TraceList, TraceSummary } from '../api/observe';
import { query } from '../api/control';
import { usePolled } from '../api/poll';
import { Card, Pill } from '../look/control';
import { Icon } from '../look/icon';
import { Empty, Loaded } from '../look/states';
import { Table } from '../look/table';
import { to } from '../shell/location';
import { refreshS } from '../shell/window';
import { ago, clock, count, millis } from '../words/format';

export function TraceTable({ service, more, title }: { service?: string; more?: Record<string, string | undefined>; title?: string }) {
  const fixed = !!more?.to;
  const entry = usePolled<TraceList>(`/v1/traces${query({ service, limit: 50, ...more })}`, fixed ? 0 : Math.max(5, refreshS.value) * 1000);
  return (
    <Card flush title={title} aside={entry.data && <span class="faint">{count(entry.data.kept, 'trace')} kept{entry.data.oldest ? `, the oldest ${ago(entry.data.oldest)}` : ''}</span>}>
      <Loaded entry={entry}>
        {(list) => {
          const most = Math.max(1, ...list.traces.map((one) => one.durationMs));
          return (
            <>
              <Table<TraceSummary>
                label="Traces"
                rows={list.traces}
                id={(one) => one.traceId}
                empty={
                  <Empty icon="trace" title="No traces fit">
                    Traces are kept of a sample of requests, and of every slow or failed one. Widen the time, or take a filter away.
                  </Empty>
                }
                columns={[
                  { key: 'start', title: 'Start', width: '96px', by: (one) => one.start, cell: (one) => <time dateTime={one.start} title={one.start}>{clock(one.start)}</time> },
                  { key: 'name', title: 'Request', share: '45%', by: (one) => one.rootName, cell: (one) => <a class="clip" href={to('traces', one.traceId)}><bdi>{one.rootName}</bdi> <span class="faint">at <bdi>{one.rootService}</bdi></span></a> },
                  { key: 'services', title: 'Services', wide: true, share: '35%', cell: (one) => <span class="clip muted">{one.services.slice(0, 4).map((service) => service.name).join(', ')}{one.services.length > 4 ? ` and ${one.services.length - 4} more` : ''}</span> },
                  { key: 'spans', title: 'Spans', num: true, wide: true, by: (one) => one.spans, cell: (one) => one.spans },
                  { key: 'errors', title: 'Errors', num: true, by: (one) => one.errors, cell: (one) => (one.errors > 0 ? <Pill kind="bad"><Icon name="error" size={12} />{one.errors}</Pill> : <span class="faint">–</span>) },
                  { key: 'duration', title: 'Duration', num: true, width: '190px', by: (one) => one.durationMs, cell: (one) => <span class="row" style="justify-content:flex-end"><span class="bar wide" style="width:96px" aria-hidden="true"><i style={{ width: `${(one.durationMs / most) * 100}%`, background: one.errors > 0 ? 'var(--bad)' : undefined }} /></span><span style="min-width:64px">{millis(one.durationMs)}</span></span> },
                ]}
              />
              {list.more && <div class="more faint">There are more: narrow the search to see them.</div>}
            </>
          );
        }}
      </Loaded>
    </Card>
  );
}
