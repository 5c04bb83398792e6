/** One trace: its spans to scale, and what each says. */
import { useMemo, useState } from 'preact/hooks';
import type { Trace, TraceSpan } from '../api/observe';
import { usePolled } from '../api/poll';
import { Card, Copy, Pill } from '../look/control';
import { Icon } from '../look/icon';
import { FailureState, Notices, SkeletonRows } from '../look/states';
import { PageHead } from '../shell/head';
import { keepParams, param, setParams } from '../shell/location';
import { count, dateTime, micros, millis } from '../words/format';
import { marks, tree } from './spans';
import './waterfall.css';

function tokensOf(spans: TraceSpan[]): Map<string, string> {
  const names = [...new Set(spans.map((span) => span.service))];
  return new Map(names.map((name, i) => [name, `c${(i % 7) + 1}`]));
}

function Said({ span }: { span: TraceSpan }) {
  return (
    <div class="span-said">
      {span.error && span.message && (
        <p class="row" style="color:var(--bad)">
          <Icon name="error" /> {span.message}
        </p>
      )}
      <dl class="facts">
        <dt>Kind</dt>
        <dd>{span.kind}</dd>
        <dt>Begins</dt>
        <dd>{micros(span.offsetUs)} after the start</dd>
        {span.attributes.map((one) => [
          <dt key={one.key}>
            <bdi>{one.key}</bdi>
          </dt>,
          <dd key={`${one.key}v`}>
            <code>{one.value}</code>
          </dd>,
        ])}
        {span.events.map((event, i) => [
          <dt key={`e${i}`}>{micros(event.offsetUs)}</dt>,
          <dd key={`e${i}v`}>
            <bdi>{event.name}</bdi> <span class="faint">{event.attributes.map((one) => `${one.key}=${one.value}`).join(', ')}</span>
          </dd>,
        ])}
        <dt>Span</dt>
        <dd>
          <code>{span.spanId}</code>
        </dd>
      </dl>
    </div>
  );
}

export function Waterfall({ traceId }: { traceId: string }) {
  const entry = usePolled<Trace>(`/v1/traces/${encodeURIComponent(traceId)}`, 0);
  const [folded, setFolded] = useState<Set<string>>(new Set());
  const trace = entry.data;
  const open = param('span');
  const rows = useMemo(() => (trace ? tree(trace.spans, folded) : []), [trace, folded]);
  const tokens = useMemo(() => tokensOf(trace?.spans ?? []), [trace]);
  if (!trace) return entry.failure ? <FailureState failure={entry.failure} /> : <SkeletonRows rows={12} />;
  const total = Math.max(1, trace.durationMs * 1000);
  const errors = trace.spans.filter((span) => span.error).length;
  const root = rows[0]?.span;
  return (
    <div class="page">
      <PageHead
        crumb={<a href={keepParams('/traces')}>Traces</a>}
        title={<><bdi>{root?.name ?? 'Trace'}</bdi> {errors > 0 && <Pill kind="bad">{count(errors, 'error')}</Pill>}</>}
        sub={
          <span class="row wrap">
            <code>{trace.traceId}</code>
            <Copy text={trace.traceId} label="trace id" />
            <span>{dateTime(trace.start)}</span>
            <strong>{millis(trace.durationMs)}</strong>
            <span>{count(trace.spans.length, 'span')}</span>
          </span>
        }
      />
      <Notices notices={trace.notices} />
      <Card flush>
        <div class="fall-legend chart-legend">
          {[...tokens].map(([name, token]) => (
            <span key={name}>
              <i style={{ background: `var(--${token})` }} />
              <bdi class="clip">{name}</bdi>
            </span>
          ))}
        </div>
        <div class="fall" role="tree" aria-label="Spans">
          <div class="fall-row head" aria-hidden="true">
            <span>Service and operation</span>
            <span class="fall-scale">
              {marks(total).map((mark) => (
                <span key={mark} style={{ left: `${(mark / total) * 100}%` }}>
                  {micros(mark)}
                </span>
              ))}
            </span>
          </div>
          {rows.slice(0, 2000).map(({ span, depth, children, selfUs }) => {
            const on = open === span.spanId;
            const left = (span.offsetUs / total) * 100;
            const wide = Math.max(0.2, (span.durationUs / total) * 100);
            return (
              <div key={span.spanId} role="treeitem" aria-level={depth + 1} aria-expanded={children > 0 ? !folded.has(span.spanId) : undefined} aria-selected={on}>
                <div class={`fall-row ${on ? 'on' : ''}`}>
                  <span class="fall-name" style={{ paddingLeft: `${12 + Math.min(depth, 16) * 14}px` }}>
                    {children > 0 ? (
                      <button
                        class={`turn btn quiet icon small ${folded.has(span.spanId) ? '' : 'open'}`}
                        aria-label={folded.has(span.spanId) ? 'Show what is under it' : 'Fold'}
                        onClick={() => {
                          const next = new Set(folded);
                          if (!next.delete(span.spanId)) next.add(span.spanId);
                          setFolded(next);
                        }}
                      >
                        <Icon name="chevron" size={12} />
                      </button>
                    ) : (
                      <span class="no-turn" />
                    )}
                    <button class="fall-words clip" title={`${span.service} ${span.name}`} onClick={() => setParams({ span: on ? undefined : span.spanId })}>
                      <i style={{ background: `var(--${tokens.get(span.service) ?? 'c7'})` }} />
                      <bdi>{span.service}</bdi> <span class="faint"><bdi>{span.name}</bdi></span>
                    </button>
                    {span.error && <span style="color:var(--bad);display:inline-flex"><Icon name="error" size={14} title="Failed" /></span>}
                  </span>
                  <span class="fall-lane" aria-hidden="true">
                    <span class={`fall-bar ${span.error ? 'bad' : ''} ${span.kind}`} style={{ left: `${left}%`, width: `${wide}%`, background: `var(--${tokens.get(span.service) ?? 'c7'})` }} />
                    <span class={`fall-time ${left + wide > 78 && left < 14 ? `inside ${span.kind}` : ''}`} style={left + wide > 78 && left < 14 ? { right: `${100 - left - wide}%`, paddingRight: '6px' } : left + wide > 78 ? { right: `${100 - left}%`, paddingRight: '6px' } : { left: `${left + wide}%`, paddingLeft: '6px' }}>
                      {micros(span.durationUs)}
                    </span>
                  </span>
                </div>
                {on && <Said span={span} />}
                <span class="sr">
                  takes {micros(span.durationUs)}, of these {micros(selfUs)} itself
                </span>
              </div>
            );
          })}
          {rows.length > 2000 && <p class="more faint">The first 2,000 of {rows.length} spans.</p>}
        </div>
      </Card>
    </div>
  );
}
