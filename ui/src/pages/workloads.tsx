/** Workloads: the list, and one with its signals, instances, certificates, policies and callers. */
import { useEffect, useMemo } from 'preact/hooks';
import type { Mesh, MeshWorkload } from '../api/mesh';
import type { Health, Stat, StatRow, Traffic } from '../api/observe';
import { query } from '../api/control';
import { usePolled } from '../api/poll';
import { Golden } from '../charts/golden';
import { Card, Copy, HealthPill, Pill, SearchField, Segmented } from '../look/control';
import { Icon } from '../look/icon';
import { Empty, FailureState, Loaded, SkeletonRows } from '../look/states';
import { Table } from '../look/table';
import { PageHead, RefreshPicker, WindowPicker } from '../shell/head';
import { go, keepParams, param, setParams, to } from '../shell/location';
import { refreshS, windowS } from '../shell/window';
import { ago, count, dateTime } from '../words/format';
import { Documents } from './documents';
import { Refusals } from './refusals';
import { NamespaceSelect } from './services';
import { Tabs } from './tabs';
import { TraceTable } from './trace-table';
import { fits, healthColumn, trafficColumns } from './traffic-columns';

interface Row {
  workload: MeshWorkload;
  health: Health;
  traffic?: Traffic;
}

export function MtlsPill({ mode }: { mode: string }) {
  return mode === 'STRICT' ? (
    <Pill kind="good" title="Takes mutual TLS only">
      <Icon name="lock" size={12} /> Strict
    </Pill>
  ) : mode === 'PERMISSIVE' ? (
    <Pill kind="warn" title="Takes plain text too">
      <Icon name="unlock" size={12} /> Permissive
    </Pill>
  ) : (
    <Pill kind="bad" title="Takes plain text only">
      <Icon name="unlock" size={12} /> {mode === 'DISABLE' ? 'Off' : mode}
    </Pill>
  );
}

/** When a certificate ends: short of time is said in colour and in words. */
export function Expiry({ at }: { at?: string }) {
  if (!at) return <span class="faint">–</span>;
  const left = Date.parse(at) - Date.now();
  const words = left < 0 ? `ended ${ago(at)}` : ago(at);
  return (
    <span title={dateTime(at)} style={{ color: left < 0 ? 'var(--bad)' : left < 3600_000 ? 'var(--warn)' : undefined }}>
      {words}
      {left > 0 && left < 3600_000 && ', renewal is due'}
    </span>
  );
}

function List() {
  const mesh = usePolled<Mesh>('/v1/mesh', 15_000);
  const stat = usePolled<Stat>(`/v1/stat${query({ by: 'workload', direction: 'inbound', window: windowS.value })}`, refreshS.value * 1000 || 5000);
  const q = param('q');
  const ns = param('ns');
  const rows = useMemo(() => {
    const by = new Map((stat.data?.rows ?? []).map((row) => [`${row.namespace}/${row.name}`, row]));
    return (mesh.data?.workloads ?? [])
      .filter((one) => (!ns || one.namespace === ns) && fits(q, one.name, one.namespace, one.app, one.version, one.identity))
      .map((workload): Row => {
        const row = by.get(`${workload.namespace}/${workload.name}`);
        return { workload, health: row?.health ?? 'idle', traffic: row?.traffic };
      });
  }, [mesh.data, stat.data, q, ns]);
  return (
    <div class="page">
      <PageHead title="Workloads" sub={mesh.data ? count(mesh.data.workloads.length, 'workload') : '\u00a0'}>
        <SearchField hot value={q} onInput={(text) => setParams({ q: text })} placeholder="Name, namespace, app, identity" label="Filter workloads" />
        <NamespaceSelect mesh={mesh.data} />
        <WindowPicker />
        <RefreshPicker />
      </PageHead>
      <Card flush>
        <Loaded entry={stat.data || stat.failure ? mesh : { ...mesh, data: undefined, failure: mesh.failure }}>
          {() => (
            <Table
              label="Workloads"
              rows={rows}
              id={(row) => `${row.workload.namespace}/${row.workload.name}`}
              sort="health"
              empty={<Empty icon="workload" title={q || ns ? 'No workload fits' : 'No workloads yet'}>{q || ns ? 'Take a word away from the filter.' : 'halcyon run starts a program inside of the mesh.'}</Empty>}
              columns={[
                healthColumn<Row>(),
                { key: 'name', title: 'Workload', by: (row) => row.workload.name, cell: (row) => <a class="clip" href={to('workloads', row.workload.namespace, row.workload.name)}><bdi>{row.workload.name}</bdi></a> },
                { key: 'ns', title: 'Namespace', by: (row) => row.workload.namespace, cell: (row) => <bdi class="muted">{row.workload.namespace}</bdi> },
                { key: 'version', title: 'Version', wide: true, by: (row) => row.workload.version, cell: (row) => <bdi class="muted">{row.workload.version || '–'}</bdi> },
                { key: 'instances', title: 'Ready', num: true, wide: true, by: (row) => row.workload.instances.length, cell: (row) => { const ready = row.workload.instances.filter((one) => one.ready).length; return <span style={ready < row.workload.instances.length ? 'color:var(--warn)' : undefined}>{ready} of {row.workload.instances.length}</span>; } },
                { key: 'mtls', title: 'Mutual TLS', wide: true, by: (row) => row.workload.mtls, cell: (row) => (row.workload.instances.some((one) => one.node) ? <MtlsPill mode={row.workload.mtls} /> : <Pill kind="warn">No proxy</Pill>) },
                ...trafficColumns<Row>(),
              ]}
            />
          )}
        </Loaded>
      </Card>
    </div>
  );
}

function Peers({ workload, way }: { workload: MeshWorkload; way: 'from' | 'to' }) {
  const me = `${workload.namespace}/${workload.name}`;
  const entry = usePolled<Stat>(`/v1/stat${query({ by: 'edge', [way === 'from' ? 'to' : 'from']: me, window: windowS.value })}`, refreshS.value * 1000 || 5000);
  return (
    <Loaded entry={entry} rows={3}>
      {(data) => (
        <Table<StatRow>
          label={way === 'from' ? 'Callers' : 'Called'}
          rows={data.rows}
          id={(one) => `${one.from}>${one.to}`}
          sort="rps"
          down
          empty={<Empty icon="graph" title={way === 'from' ? 'Nobody called it' : 'It called nobody'}>In this window of time.</Empty>}
          columns={[
            healthColumn<StatRow>(),
            {
              key: 'name',
              title: way === 'from' ? 'Caller' : 'Called',
              by: (one) => one[way],
              cell: (one) => {
                const [ns = '', ...rest] = (one[way] ?? '').split('/');
                return rest.length > 0 ? <a class="clip" href={to('workloads', ns, rest.join('/'))}><bdi>{one[way]}</bdi></a> : <bdi>{one[way] === 'unknown' ? 'Outside' : one[way]}</bdi>;
              },
            },
            { key: 'security', title: 'Security', wide: true, by: (one) => one.security, cell: (one) => (one.security === 'mutual_tls' ? <span class="row muted"><Icon name="lock" size={14} /> Mutual TLS</span> : one.security === 'none' ? <span class="row" style="color:var(--warn)"><Icon name="unlock" size={14} /> Plain text</span> : <span class="faint">partly or unknown</span>) },
            ...trafficColumns<StatRow>(),
          ]}
        />
      )}
    </Loaded>
  );
}

function Elsewhere({ path }: { path: string }) {
  useEffect(() => go(path, true), [path]);
  return null;
}

function Detail({ namespace, name }: { namespace: string; name: string }) {
  const mesh = usePolled<Mesh>('/v1/mesh', 10_000);
  const stat = usePolled<Stat>(`/v1/stat${query({ by: 'workload', namespace, name, direction: 'inbound', window: windowS.value })}`, refreshS.value * 1000 || 5000);
  const workload = mesh.data?.workloads.find((one) => one.namespace === namespace && one.name === name);
  const row = stat.data?.rows.find((one) => one.name === name && one.namespace === namespace);
  const tab = param('tab') || 'overview';
  const direction = param('direction') === 'outbound' ? 'outbound' : 'inbound';
  if (!mesh.data) return mesh.failure ? <FailureState failure={mesh.failure} /> : <SkeletonRows rows={12} />;
  const gateway = mesh.data.gateways.find((one) => one.namespace === namespace && one.workload === name);
  // A gateway has a page of its own.
  if (!workload && gateway) return <Elsewhere path={to('gateways', gateway.namespace, gateway.name)} />;
  if (!workload) {
    return (
      <Empty icon="workload" title="There is no such workload" action={<a class="btn" href={keepParams('/workloads')}>All workloads</a>}>
        <bdi>{name}</bdi> in <bdi>{namespace}</bdi> has left the mesh, or never was in it.
      </Empty>
    );
  }
  const traffic = row?.traffic;
  const tcp = !!traffic && traffic.rps <= 0 && traffic.tcpSent + traffic.tcpReceived > 0 && direction === 'inbound';
  return (
    <div class="page">
      <PageHead
        crumb={<><a href={keepParams('/workloads')}>Workloads</a> / <a href={keepParams(`/workloads?ns=${encodeURIComponent(namespace)}`)}><bdi>{namespace}</bdi></a></>}
        title={<><bdi>{name}</bdi> {row && <HealthPill health={row.health} />}</>}
        sub={<span class="row wrap"><code>{workload.identity}</code><Copy text={workload.identity} label="identity" /></span>}
      >
        <a class="btn small" href={keepParams(`/tap${query({ destination: `${namespace}/${name}` })}`)}>
          <Icon name="tap" /> Tap
        </a>
        <WindowPicker />
        <RefreshPicker />
      </PageHead>
      <Tabs
        on={tab}
        tabs={[
          { key: 'overview', label: 'Overview' },
          { key: 'calls', label: 'Calls' },
          { key: 'instances', label: 'Instances', count: workload.instances.length },
          { key: 'traces', label: 'Traces' },
          { key: 'errors', label: 'Errors' },
        ]}
      />
      {tab === 'overview' && (
        <>
          <div class="row">
            <Segmented small label="Direction" value={direction} options={[{ value: 'inbound', label: 'Inbound' }, { value: 'outbound', label: 'Outbound' }]} onChange={(value) => setParams({ direction: value === 'inbound' ? undefined : value })} />
          </div>
          <Golden of={`workload/${namespace}/${name}`} direction={direction} service={workload.app} tcp={tcp} />
          <div class="grid">
            <Card title="What it is">
              <dl class="facts">
                <dt>App</dt>
                <dd><bdi>{workload.app}</bdi></dd>
                <dt>Version</dt>
                <dd><bdi>{workload.version || '–'}</bdi></dd>
                <dt>Account</dt>
                <dd><bdi>{workload.serviceAccount}</bdi></dd>
                <dt>Mutual TLS</dt>
                <dd><MtlsPill mode={workload.mtls} /></dd>
                <dt>Services</dt>
                <dd>{workload.services.length === 0 ? <span class="faint">none: it only calls</span> : workload.services.map((host) => { const service = mesh.data?.services.find((one) => one.host === host); return service ? <a key={host} style="display:block" href={to('services', service.namespace, service.name)}><bdi>{host}</bdi></a> : <bdi key={host}>{host}</bdi>; })}</dd>
                <dt>Labels</dt>
                <dd class="row wrap">{Object.entries(workload.labels).map(([key, value]) => <Pill key={key}>{key}: {value}</Pill>)}</dd>
              </dl>
            </Card>
            <Card title="Policies in force">
              <Documents documents={workload.documents} />
            </Card>
          </div>
        </>
      )}
      {tab === 'calls' && (
        <>
          <Card title="Called by" flush>
            <Peers workload={workload} way="from" />
          </Card>
          <Card title="Calls" flush>
            <Peers workload={workload} way="to" />
          </Card>
        </>
      )}
      {tab === 'instances' && (
        <Card flush>
          <Table
            label="Instances"
            rows={workload.instances}
            id={(one) => one.name + one.address}
            empty={<Empty icon="workload" title="No instance runs" />}
            columns={[
              { key: 'ready', title: 'State', width: '120px', by: (one) => (one.ready ? 1 : 0), cell: (one) => (one.ready ? <Pill kind="good">Ready</Pill> : <Pill kind="bad">Not ready</Pill>) },
              { key: 'name', title: 'Instance', by: (one) => one.name, cell: (one) => <><bdi>{one.name}</bdi>{one.reason && <span class="faint" style="display:block;font-weight:400">{one.reason}</span>}</> },
              { key: 'address', title: 'Address', by: (one) => one.address, cell: (one) => <code>{one.address}</code> },
              { key: 'proxy', title: 'Proxy', wide: true, by: (one) => one.proxyVersion, cell: (one) => (one.node ? <a href={to('proxies', one.node)}>{one.proxyVersion ?? 'another kind'}</a> : <Pill kind="warn">none</Pill>) },
              { key: 'connected', title: 'Connected', wide: true, by: (one) => one.connected, cell: (one) => <span class="muted">{ago(one.connected)}</span> },
              { key: 'certificate', title: 'Certificate ends', by: (one) => one.certificateExpires, cell: (one) => <Expiry at={one.certificateExpires} /> },
            ]}
          />
        </Card>
      )}
      {tab === 'traces' && <TraceTable service={workload.app} />}
      {tab === 'errors' && (
        <Card flush>
          <Refusals namespace={namespace} workload={name} limit={100} />
        </Card>
      )}
    </div>
  );
}

export function WorkloadsPage({ parts }: { parts: string[] }) {
  const [namespace, name] = parts;
  return namespace && name ? <Detail key={`${namespace}/${name}`} namespace={namespace} name={name} /> : <List />;
}
