/** Proxies: versions, what each acknowledged or refused, and what one really runs. */
import { useState } from 'preact/hooks';
import type { ProxyConfig, ProxyStatus, Status, SyncState } from '../api/control';
import { usePolled } from '../api/poll';
import { Card, Copy, Pill, SearchField } from '../look/control';
import { Empty, FailureState, Loaded, Note, SkeletonRows } from '../look/states';
import { Table } from '../look/table';
import { PageHead, RefreshPicker } from '../shell/head';
import { keepParams, param, setParams, to } from '../shell/location';
import { refreshS } from '../shell/window';
import { ago, count } from '../words/format';
import { Tabs } from './tabs';
import { fits } from './traffic-columns';

const stateWords: Record<SyncState, { words: string; kind: string }> = {
  SYNCED: { words: 'ACK', kind: 'good' },
  STALE: { words: 'Waiting', kind: 'warn' },
  NACKED: { words: 'NACK', kind: 'bad' },
  NEVER_SENT: { words: 'Never sent', kind: '' },
};

function worstOf(proxy: ProxyStatus): SyncState {
  for (const state of ['NACKED', 'STALE', 'SYNCED'] as const) if (proxy.types.some((type) => type.state === state)) return state;
  return 'NEVER_SENT';
}

const ranks: Record<SyncState, number> = { NACKED: 0, STALE: 1, NEVER_SENT: 2, SYNCED: 3 };

function Types({ proxy }: { proxy: ProxyStatus }) {
  return (
    <span class="row" style="gap:4px">
      {proxy.types.map((type) => (
        <Pill key={type.kind} kind={stateWords[type.state].kind} title={`${type.kind}: ${stateWords[type.state].words}, ${type.count}${type.nack ? `. ${type.nack}` : ''}`}>
          {type.kind}
        </Pill>
      ))}
    </span>
  );
}

function List() {
  const entry = usePolled<Status>('/v1/status', Math.max(5, refreshS.value) * 1000);
  const q = param('q');
  const control = entry.data?.control;
  const versions = new Map<string, number>();
  for (const proxy of entry.data?.proxies ?? []) versions.set(proxy.proxy_version ?? 'another kind', (versions.get(proxy.proxy_version ?? 'another kind') ?? 0) + 1);
  return (
    <div class="page">
      <PageHead
        title="Proxies"
        sub={control ? <span class="row wrap">{count(entry.data!.proxies.length, 'proxy', 'proxies')} connected{[...versions].map(([version, n]) => <Pill key={version}>{version}: {n}</Pill>)}<span class="faint">control plane {control.program}, configuration {control.version}, up since {ago(control.started)}</span></span> : '\u00a0'}
      >
        <SearchField hot value={q} onInput={(text) => setParams({ q: text })} placeholder="Workload, address, NACK" label="Filter proxies" />
        <RefreshPicker />
      </PageHead>
      {control?.notices.map((notice) => (
        <Note key={notice} kind="warn">
          {notice}
        </Note>
      ))}
      <Card flush>
        <Loaded entry={entry}>
          {(status) => (
            <Table<ProxyStatus>
              label="Proxies"
              rows={status.proxies.filter((proxy) => fits(q, proxy.node, proxy.workload, proxy.namespace, proxy.address, proxy.proxy_version, worstOf(proxy) === 'NACKED' ? 'nack' : '', proxy.role))}
              id={(proxy) => proxy.node}
              sort="state"
              empty={<Empty icon="proxy" title={q ? 'No proxy fits' : 'No proxy is connected'}>{q ? 'Take a word away from the filter.' : 'halcyon run starts a program with its proxy.'}</Empty>}
              columns={[
                { key: 'state', title: 'State', width: '104px', by: (proxy) => ranks[worstOf(proxy)], cell: (proxy) => <Pill kind={stateWords[worstOf(proxy)].kind}>{stateWords[worstOf(proxy)].words}</Pill> },
                { key: 'name', title: 'Instance', by: (proxy) => proxy.instance, cell: (proxy) => <><a class="clip" href={to('proxies', proxy.node)}><bdi>{proxy.instance}</bdi></a>{proxy.not_ready && <span class="faint" style="display:block;font-weight:400">not ready: {proxy.not_ready}</span>}</> },
                { key: 'ns', title: 'Namespace', by: (proxy) => proxy.namespace, cell: (proxy) => <bdi class="muted">{proxy.namespace}</bdi> },
                { key: 'role', title: 'Role', wide: true, by: (proxy) => proxy.role, cell: (proxy) => <span class="muted">{proxy.role}</span> },
                { key: 'version', title: 'Version', by: (proxy) => proxy.proxy_version, cell: (proxy) => <span style={control && proxy.proxy_version && proxy.proxy_version !== control.program ? 'color:var(--warn)' : undefined} title={control && proxy.proxy_version !== control.program ? `The control plane is ${control.program}` : undefined}>{proxy.proxy_version ?? 'another kind'}</span> },
                { key: 'config', title: 'Configuration', num: true, wide: true, by: (proxy) => proxy.version, cell: (proxy) => <span class={control && proxy.version < control.version ? '' : 'muted'}>{proxy.version}{control && proxy.version < control.version ? ` (${control.version - proxy.version} behind)` : ''}</span> },
                { key: 'types', title: 'Types', wide: true, cell: (proxy) => <Types proxy={proxy} /> },
                { key: 'connected', title: 'Connected', num: true, wide: true, by: (proxy) => proxy.connected, cell: (proxy) => <span class="muted">{ago(proxy.connected)}</span> },
              ]}
            />
          )}
        </Loaded>
      </Card>
    </div>
  );
}

function Runs({ node }: { node: string }) {
  const entry = usePolled<ProxyConfig>(`/v1/proxies/${encodeURIComponent(node)}/config`, 15_000);
  const [q, setQ] = useState('');
  return (
    <Loaded entry={entry}>
      {(config) => (
        <div class="stack">
          <div class="row wrap">
            <SearchField value={q} onInput={setQ} placeholder="Name or fact" label="Filter resources" class="grow" hot />
            {config.on_demand && <Pill kind="info" title="It finds virtual hosts and clusters when it needs them">On demand</Pill>}
          </div>
          {config.kinds.map((kind) => {
            const found = kind.resources.filter((one) => fits(q, one.name, ...one.summary));
            if (found.length === 0) return null;
            return (
              <Card key={kind.kind} title={`${kind.kind} (${found.length})`} flush>
                <ul class="config-list">
                  {found.slice(0, 100).map((one) => (
                    <li key={one.name}>
                      <code>{one.name}</code>
                      <ul>
                        {one.summary.map((line, i) => (
                          <li key={i} class="muted">
                            {line}
                          </li>
                        ))}
                      </ul>
                    </li>
                  ))}
                </ul>
                {found.length > 100 && <p class="more faint">The first 100 of {found.length}: filter to see the others.</p>}
              </Card>
            );
          })}
        </div>
      )}
    </Loaded>
  );
}

function Detail({ node }: { node: string }) {
  const entry = usePolled<Status>('/v1/status', Math.max(5, refreshS.value) * 1000);
  const proxy = entry.data?.proxies.find((one) => one.node === node);
  const tab = param('tab') || 'status';
  if (!entry.data) return entry.failure ? <FailureState failure={entry.failure} /> : <SkeletonRows rows={10} />;
  if (!proxy) return <Empty icon="proxy" title="This proxy is not connected" action={<a class="btn" href={keepParams('/proxies')}>All proxies</a>}>It has gone, or is connecting to another control plane.</Empty>;
  const nacks = proxy.types.filter((type) => type.nack);
  return (
    <div class="page">
      <PageHead crumb={<a href={keepParams('/proxies')}>Proxies</a>} title={<><bdi>{proxy.instance}</bdi> <Pill kind={stateWords[worstOf(proxy)].kind}>{stateWords[worstOf(proxy)].words}</Pill></>} sub={<span class="row wrap"><code>{proxy.node}</code><Copy text={proxy.node} label="node id" /></span>}>
        <a class="btn small" href={to('workloads', proxy.namespace, proxy.workload)}>
          Workload
        </a>
        <RefreshPicker />
      </PageHead>
      {nacks.map((type) => (
        <Note key={type.kind} kind="bad">
          <p>
            <strong>It refused {type.kind} of version {type.sent}</strong>, and runs version {type.acked ?? 'none'} of it.
          </p>
          <p>{type.nack}</p>
        </Note>
      ))}
      {proxy.not_ready && <Note kind="warn">Its program is not ready and gets no requests: {proxy.not_ready}</Note>}
      <Tabs on={tab} tabs={[{ key: 'status', label: 'Status' }, { key: 'config', label: 'What it runs' }]} />
      {tab === 'status' ? (
        <div class="grid">
          <Card title="Types of resources" flush>
            <Table
              label="Types"
              rows={proxy.types}
              id={(type) => type.kind}
              columns={[
                { key: 'name', title: 'Type', cell: (type) => type.kind },
                { key: 'state', title: 'State', cell: (type) => <Pill kind={stateWords[type.state].kind}>{stateWords[type.state].words}</Pill> },
                { key: 'count', title: 'Resources', num: true, cell: (type) => type.count },
                { key: 'sent', title: 'Sent', num: true, cell: (type) => type.sent ?? '–' },
                { key: 'acked', title: 'Acknowledged', num: true, cell: (type) => type.acked ?? '–' },
              ]}
            />
          </Card>
          <Card title="What it is">
            <dl class="facts">
              <dt>Role</dt>
              <dd>{proxy.role}</dd>
              <dt>Version</dt>
              <dd>{proxy.proxy_version ?? 'another kind of proxy'}</dd>
              <dt>Identity</dt>
              <dd>{proxy.identity ? <code>{proxy.identity}</code> : 'none proven: it came through the plain door'}</dd>
              <dt>Address</dt>
              <dd><code>{proxy.address}</code></dd>
              <dt>Admin</dt>
              <dd><code>{proxy.admin ?? '–'}</code></dd>
              <dt>Connected</dt>
              <dd>{ago(proxy.connected)}</dd>
              <dt>Configuration</dt>
              <dd>{proxy.version} of {entry.data.control.version}</dd>
            </dl>
          </Card>
        </div>
      ) : (
        <Runs node={node} />
      )}
    </div>
  );
}

export function ProxiesPage({ parts }: { parts: string[] }) {
  return parts[0] ? <Detail key={parts[0]} node={parts[0]} /> : <List />;
}
