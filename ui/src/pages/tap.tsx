/** Live requests, as proxies see them: filter, run, pause, look into one. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Failure } from '../api/call';
import { query } from '../api/control';
import type { Mesh } from '../api/mesh';
import type { TapEvent } from '../api/observe';
import { usePolled } from '../api/poll';
import { listen, type Tap } from '../api/stream';
import { Card, Pill, SearchField, Select } from '../look/control';
import { Icon } from '../look/icon';
import { Empty, FailureNote, Note } from '../look/states';
import { PageHead } from '../shell/head';
import { keepParams, param, setParams, to } from '../shell/location';
import { bytes, clock, count, millis } from '../words/format';
import './refusals.css';
import './tap.css';
import { fits } from './traffic-columns';

const most = 500;
interface Kept extends TapEvent {
  n: number;
}

function statusKind(event: TapEvent): string {
  if (event.status >= 500 || event.status === 0 || (event.grpcStatus ?? 0) > 0) return 'bad';
  return event.status >= 400 ? 'warn' : 'good';
}

function Headers({ title, list }: { title: string; list?: { name: string; value: string }[] }) {
  if (!list) return null;
  return (
    <div>
      <h3 class="muted">{title}</h3>
      <dl class="facts">
        {list.map((one, i) => [
          <dt key={i}>
            <code>{one.name}</code>
          </dt>,
          <dd key={`${i}v`}>
            <code>{one.value}</code>
          </dd>,
        ])}
      </dl>
    </div>
  );
}

function Exchange({ event }: { event: Kept }) {
  const [open, setOpen] = useState(false);
  return (
    <li class="refusal">
      <button class="refusal-head tap-head" aria-expanded={open} onClick={() => setOpen(!open)}>
        <span class={`turn ${open ? 'open' : ''}`}>
          <Icon name="chevron" size={12} />
        </span>
        <time class="faint">{clock(event.time, true)}</time>
        <Pill kind={statusKind(event)}>{event.status === 0 ? 'none' : event.grpcStatus !== undefined ? `${event.status} / ${event.grpcStatus}` : event.status}</Pill>
        <span class="tap-method">{event.method}</span>
        <span class="clip grow">
          <bdi class="muted">{event.authority}</bdi>
          <bdi>{event.path}</bdi>
        </span>
        <span class="clip tap-way faint">
          <bdi>{event.source.split('/').pop()}</bdi> → <bdi>{event.destination.split('/').pop()}</bdi>
        </span>
        <span class="tap-ms num">{millis(event.durationMs)}</span>
      </button>
      {open && (
        <div class="refusal-body stack">
          {event.reason && <Note kind="bad">{event.reason}</Note>}
          <dl class="facts">
            <dt>From</dt>
            <dd><bdi>{event.source}</bdi> <span class="faint">{event.downstream}</span></dd>
            <dt>To</dt>
            <dd><bdi>{event.destination}</bdi> <span class="faint">{event.service}</span></dd>
            <dt>Security</dt>
            <dd>{event.security === 'mutual_tls' ? 'Mutual TLS' : event.security === 'none' ? 'Plain text' : 'Not known'}</dd>
            <dt>Protocol</dt>
            <dd>{event.protocol}, {event.httpVersion}</dd>
            <dt>Route, cluster</dt>
            <dd><code>{event.route}</code> → <code>{event.cluster}</code> → <code>{event.upstream}</code></dd>
            <dt>Flags</dt>
            <dd><code>{event.flags}</code> <span class="faint">{event.codeDetails}</span></dd>
            <dt>Time</dt>
            <dd>{millis(event.durationMs)}{event.headMs !== undefined && <span class="faint">, head after {millis(event.headMs)}</span>}{event.attempts > 1 && `, ${event.attempts} attempts`}</dd>
            <dt>Size</dt>
            <dd>{bytes(event.requestBytes)} in, {bytes(event.responseBytes)} out</dd>
            {event.traceId && (
              <>
                <dt>Trace</dt>
                <dd><a href={to('traces', event.traceId)}><code>{event.traceId}</code></a></dd>
              </>
            )}
            <dt>Request</dt>
            <dd><code>{event.requestId}</code></dd>
          </dl>
          <Headers title="Request headers" list={event.requestHeaders} />
          {event.requestBody && <pre class="yaml">{event.requestBody}</pre>}
          <Headers title="Response headers" list={event.responseHeaders} />
          {event.responseBody && <pre class="yaml">{event.responseBody}</pre>}
        </div>
      )}
    </li>
  );
}

export function TapPage() {
  const mesh = usePolled<Mesh>('/v1/mesh', 0).data;
  const workloads = (mesh?.workloads ?? []).map((one) => `${one.namespace}/${one.name}`);
  const filters = { source: param('source'), destination: param('destination'), method: param('method'), path: param('path'), authority: param('authority'), status: param('status'), minMs: param('minMs') };
  const headers = param('headers') === 'true';
  const q = param('q');
  const [on, setOn] = useState(true);
  const [rows, setRows] = useState<Kept[]>([]);
  const [state, setState] = useState<{ kind: 'opening' | 'open' | 'again' | 'refused'; failure?: Failure }>({ kind: 'opening' });
  const [lost, setLost] = useState<{ count: number; why: string }>();
  const [proxies, setProxies] = useState<number>();
  const waiting = useRef<Kept[]>([]);
  const next = useRef(0);
  const path = `/v1/tap${query({ ...filters, headers, perSecond: 100 })}`;

  useEffect(() => {
    if (!on) return undefined;
    setState({ kind: 'opening' });
    setLost(undefined);
    const tap: Tap = listen(path, {
      state: (kind, failure) => setState({ kind, failure }),
      event: (name, data) => {
        if (name === 'exchange') waiting.current.push({ ...(data as TapEvent), n: (next.current += 1) });
        else if (name === 'loss') setLost((old) => ({ count: (old?.count ?? 0) + (data as { count: number }).count, why: (data as { why: string }).why }));
        else if (name === 'hello') setProxies((data as { proxies: number }).proxies);
      },
    });
    // Rows are shown a few times a second, however many come.
    const timer = window.setInterval(() => {
      if (waiting.current.length === 0 || document.hidden) {
        if (waiting.current.length > most) waiting.current = waiting.current.slice(-most);
        return;
      }
      const fresh = waiting.current.reverse();
      waiting.current = [];
      setRows((old) => [...fresh, ...old].slice(0, most));
    }, 250);
    return () => {
      tap.close();
      window.clearInterval(timer);
    };
  }, [path, on]);
  const shown = q ? rows.filter((row) => fits(q, row.path, row.authority, row.source, row.destination, String(row.status), row.method, row.flags)) : rows;
  const set = (changes: Record<string, string | undefined>) => {
    setRows([]);
    setParams(changes);
  };
  return (
    <div class="page">
      <PageHead title="Tap" sub={on ? (state.kind === 'open' ? `Live from ${proxies === undefined ? 'proxies' : count(proxies, 'proxy', 'proxies')}` : state.kind === 'again' ? 'Connecting again…' : state.kind === 'opening' ? 'Opening…' : 'Closed') : 'Paused'}>
        <SearchField hot value={q} onInput={(text) => setParams({ q: text })} placeholder="In what was seen" label="Filter rows" />
        <button class={`btn small ${on ? '' : 'primary'}`} onClick={() => setOn(!on)}>
          <Icon name={on ? 'pause' : 'play'} /> {on ? 'Pause' : 'Go on'}
        </button>
        <button class="btn small" onClick={() => setRows([])} disabled={rows.length === 0}>
          Clear
        </button>
      </PageHead>
      <form class="filters card" onSubmit={(event) => event.preventDefault()}>
        <label>
          <span class="label">From</span>
          <input class="field" list="tap-workloads" value={filters.source} placeholder="Anybody" onChange={(event) => set({ source: event.currentTarget.value.trim() })} />
        </label>
        <label>
          <span class="label">To</span>
          <input class="field" list="tap-workloads" value={filters.destination} placeholder="Anybody" onChange={(event) => set({ destination: event.currentTarget.value.trim() })} />
        </label>
        <datalist id="tap-workloads">{workloads.slice(0, 500).map((one) => <option key={one} value={one} />)}</datalist>
        <label>
          <span class="label">Method</span>
          <Select label="Method" value={filters.method} options={['', 'GET', 'POST', 'PUT', 'PATCH', 'DELETE'].map((value) => ({ value, label: value || 'Any' }))} onChange={(method) => set({ method })} />
        </label>
        <label>
          <span class="label">Path begins with</span>
          <input class="field" value={filters.path} placeholder="/" onChange={(event) => set({ path: event.currentTarget.value.trim() })} />
        </label>
        <label>
          <span class="label">Status</span>
          <Select label="Status" value={filters.status} options={['', '2xx', '3xx', '4xx', '5xx', '503', '504'].map((value) => ({ value, label: value || 'Any' }))} onChange={(status) => set({ status })} />
        </label>
        <label>
          <span class="label">At least, ms</span>
          <input class="field" style="width:88px" inputMode="numeric" value={filters.minMs} onChange={(event) => set({ minMs: event.currentTarget.value.replace(/\D/g, '') })} />
        </label>
        <label class="check" style="height:32px">
          <input type="checkbox" checked={headers} onChange={(event) => set({ headers: event.currentTarget.checked ? 'true' : undefined })} />
          Headers
        </label>
      </form>
      {state.kind === 'refused' && state.failure && <FailureNote failure={state.failure} />}
      <Card
        flush
        title="Newest first"
        aside={
          <span class="clip" role="status" style="color:var(--warn)" title={lost?.why}>
            {lost ? `${count(lost.count, 'request')} not shown: ${lost.why}` : ''}
          </span>
        }
      >
        {shown.length === 0 ? (
          <Empty icon="tap" title={rows.length > 0 ? 'No row fits' : on ? 'Waiting for requests' : 'Nothing yet'}>
            {rows.length > 0 ? 'The rows that were seen do not fit the filter.' : 'What fits the filter appears here as it happens.'} {filters.source || filters.destination ? <a href={keepParams('/tap')}>Take all filters away</a> : null}
          </Empty>
        ) : (
          <ul aria-label="Requests" class="tap-list">
            {shown.slice(0, 200).map((event) => (
              <Exchange key={event.n} event={event} />
            ))}
          </ul>
        )}
      </Card>
    </div>
  );
}
