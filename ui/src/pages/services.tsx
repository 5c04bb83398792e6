/** Services: the list, and one with its signals, routes, endpoints, policies and errors. */
import { useMemo } from 'preact/hooks';
import type { Mesh, MeshService } from '../api/mesh';
import type { ClusterList, Health, Stat, StatRow, Traffic } from '../api/observe';
import { query } from '../api/control';
import { usePolled } from '../api/poll';
import { Golden } from '../charts/golden';
import { badgeIcons, shownBadges } from '../graph/decor';
import { Card, Copy, HealthPill, Pill, SearchField, Select } from '../look/control';
import { Icon } from '../look/icon';
import { Empty, FailureNote, FailureState, Loaded, SkeletonRows } from '../look/states';
import { Table } from '../look/table';
import { PageHead, RefreshPicker, WindowPicker } from '../shell/head';
import { keepParams, param, setParams, to, withParams } from '../shell/location';
import { refreshS, windowS } from '../shell/window';
import { count, percent } from '../words/format';
import { WizardMenu, Wizards } from '../wizards/dialog';
import { Documents } from './documents';
import { Refusals } from './refusals';
import { Tabs } from './tabs';
import { fits, healthColumn, trafficColumns } from './traffic-columns';
import { TraceTable } from './trace-table';

interface Row {
  service: MeshService;
  health: Health;
  traffic?: Traffic;
}

export function Badges({ badges }: { badges: MeshService['badges'] }) {
  return (
    <span class="row" style="gap:6px;color:var(--text-3)">
      {shownBadges(badges).map((badge) => (
        <Icon key={badge} name={badgeIcons[badge].icon} size={14} title={badgeIcons[badge].words} />
      ))}
    </span>
  );
}

function List() {
  const mesh = usePolled<Mesh>('/v1/mesh', 15_000);
  const stat = usePolled<Stat>(`/v1/stat${query({ by: 'service', window: windowS.value })}`, refreshS.value * 1000 || 5000);
  const q = param('q');
  const ns = param('ns');
  const rows = useMemo(() => {
    const by = new Map((stat.data?.rows ?? []).map((row) => [`${row.namespace}/${row.name}`, row]));
    return (mesh.data?.services ?? [])
      .filter((service) => (!ns || service.namespace === ns) && fits(q, service.name, service.namespace, service.host, service.kind))
      .map((service): Row => {
        const row = by.get(`${service.namespace}/${service.name}`);
        return { service, health: row?.health ?? 'idle', traffic: row?.traffic };
      });
  }, [mesh.data, stat.data, q, ns]);
  return (
    <div class="page">
      <PageHead title="Services" sub={mesh.data ? count(mesh.data.services.length, 'service') : '\u00a0'}>
        <SearchField hot value={q} onInput={(text) => setParams({ q: text })} placeholder="Name, namespace, host" label="Filter services" />
        <NamespaceSelect mesh={mesh.data} />
        <WindowPicker />
        <RefreshPicker />
      </PageHead>
      {mesh.data && stat.failure && !stat.data && <FailureNote failure={stat.failure} />}
      <Card flush>
        <Loaded entry={stat.data || stat.failure ? mesh : { ...mesh, data: undefined, failure: mesh.failure }}>
          {() => (
            <Table
              label="Services"
              rows={rows}
              id={(row) => `${row.service.namespace}/${row.service.name}`}
              sort="health"
              empty={
                <Empty icon="service" title={q || ns ? 'No service fits' : 'No services yet'}>
                  {q || ns ? 'Take a word away from the filter.' : 'Apply a Service, or register a workload: halcyon run does.'}
                </Empty>
              }
              columns={[
                healthColumn<Row>(),
                { key: 'name', title: 'Service', by: (row) => row.service.name, cell: (row) => <a class="clip" href={to('services', row.service.namespace, row.service.name)}><bdi>{row.service.name}</bdi></a> },
                { key: 'ns', title: 'Namespace', by: (row) => row.service.namespace, cell: (row) => <bdi class="muted">{row.service.namespace}</bdi> },
                { key: 'badges', title: 'In force', wide: true, cell: (row) => <Badges badges={row.service.badges} /> },
                { key: 'endpoints', title: 'Endpoints', num: true, wide: true, by: (row) => row.service.endpoints.length, cell: (row) => <Ready service={row.service} /> },
                ...trafficColumns<Row>(),
              ]}
            />
          )}
        </Loaded>
      </Card>
    </div>
  );
}

export function NamespaceSelect({ mesh }: { mesh?: Mesh }) {
  const ns = param('ns');
  return <Select small label="Namespace" value={ns} options={[{ value: '', label: 'All namespaces' }, ...(mesh?.namespaces ?? (ns ? [ns] : [])).map((one) => ({ value: one, label: one.slice(0, 40) }))]} onChange={(value) => setParams({ ns: value })} />;
}

function Ready({ service }: { service: MeshService }) {
  const ready = service.endpoints.filter((one) => one.ready).length;
  const all = service.endpoints.length;
  if (all === 0) return <span class="faint">–</span>;
  return <span style={ready < all ? 'color:var(--warn)' : undefined}>{ready === all ? all : `${ready} of ${all}`}</span>;
}

/** `NAMESPACE/NAME` as a link; the namespace is said where it is another one. */
export function WorkloadLink({ of, home }: { of: string; home?: string }) {
  const [namespace = '', ...rest] = of.split('/');
  const name = rest.join('/');
  if (!name) return <span class="faint">–</span>;
  return (
    <a class="clip" href={to('workloads', namespace, name)}>
      <bdi>{namespace === home ? name : of}</bdi>
    </a>
  );
}

function Endpoints({ service }: { service: MeshService }) {
  const most = Math.max(1, ...service.endpoints.map((one) => one.weight));
  return (
    <Table
      label="Endpoints"
      rows={service.endpoints}
      id={(one) => one.address}
      empty={<Empty icon="workload" title="No endpoints">{service.kind === 'ServiceEntry' ? 'Addresses are found by DNS when it is called.' : 'Requests to it are answered 503 with the flag UH.'}</Empty>}
      columns={[
        { key: 'ready', title: 'State', width: '120px', by: (one) => (one.ready ? 1 : 0), cell: (one) => (one.ready ? <Pill kind="good">Ready</Pill> : <Pill kind="bad" title={one.reason}>Not ready</Pill>) },
        { key: 'name', title: 'Address', by: (one) => one.address, cell: (one) => <><code>{one.address}</code>{one.reason && <span class="faint" style="display:block;font-weight:400">{one.reason}</span>}</> },
        { key: 'workload', title: 'Workload', by: (one) => one.workload, cell: (one) => <WorkloadLink of={one.workload} home={service.namespace} /> },
        { key: 'version', title: 'Version', wide: true, by: (one) => one.version, cell: (one) => <bdi>{one.version ?? '–'}</bdi> },
        { key: 'locality', title: 'Locality', wide: true, by: (one) => one.locality, cell: (one) => <span class="muted">{one.locality ?? '–'}</span> },
        { key: 'proxy', title: 'Proxy', wide: true, cell: (one) => (one.hasProxy ? <span class="muted">yes</span> : <Pill kind="warn">none</Pill>) },
        { key: 'weight', title: 'Weight', num: true, by: (one) => one.weight, cell: (one) => <span class="row" style="justify-content:flex-end"><span class="bar" style="width:72px"><i style={{ width: `${(one.weight / most) * 100}%` }} /></span><span style="min-width:28px">{one.weight}</span></span> },
      ]}
    />
  );
}

function Split({ service }: { service: MeshService }) {
  const total = service.weights.reduce((sum, one) => sum + one.weight, 0) || 1;
  return (
    <div class="stack-s">
      <div class="split-bar" role="img" aria-label={service.weights.map((one) => `${one.subset ?? one.host} ${percent(one.weight / total)}`).join(', ')}>
        {service.weights.map((one, i) => (one.weight > 0 ? <i key={i} style={{ flexGrow: one.weight, background: `var(--c${(i % 7) + 1})` }} /> : null))}
      </div>
      <div class="chart-legend">
        {service.weights.map((one, i) => (
          <span key={i}>
            <i style={{ background: `var(--c${(i % 7) + 1})` }} />
            <bdi>{one.subset ?? one.host}</bdi> <b>{percent(one.weight / total)}</b>
          </span>
        ))}
      </div>
    </div>
  );
}

function Clusters({ host }: { host: string }) {
  const entry = usePolled<ClusterList>(`/v1/clusters${query({ service: host })}`, 10_000);
  return (
    <Loaded entry={entry} rows={3}>
      {(list) => (
        <Table
          label="What callers say of it"
          rows={list.clusters}
          id={(one) => `${one.node}${one.name}`}
          empty={<Empty icon="proxy" title="Nobody calls it">No proxy holds a cluster of this service.</Empty>}
          columns={[
            { key: 'name', title: 'Caller', by: (one) => one.workload, cell: (one) => <WorkloadLink of={one.workload} /> },
            { key: 'healthy', title: 'Endpoints', num: true, by: (one) => one.healthy, cell: (one) => <span>{one.healthy} of {one.endpoints}{one.ejected > 0 && <Pill kind="bad">{one.ejected} ejected</Pill>}</span> },
            { key: 'circuit', title: 'Circuit', cell: (one) => (one.openCircuits.length > 0 ? <Pill kind="bad">open: {one.openCircuits.join(', ')}</Pill> : <span class="muted">closed</span>) },
            { key: 'active', title: 'Active', num: true, wide: true, by: (one) => one.activeRequests, cell: (one) => one.activeRequests },
            { key: 'pending', title: 'Pending', num: true, wide: true, by: (one) => one.pendingRequests, cell: (one) => one.pendingRequests },
            { key: 'retries', title: 'Retries', num: true, wide: true, by: (one) => one.retries, cell: (one) => one.retries },
            { key: 'timeouts', title: 'Timeouts', num: true, wide: true, by: (one) => one.timeouts, cell: (one) => one.timeouts },
            { key: 'overflows', title: 'Overflows', num: true, by: (one) => one.overflows, cell: (one) => one.overflows },
          ]}
        />
      )}
    </Loaded>
  );
}

function Detail({ namespace, name }: { namespace: string; name: string }) {
  const mesh = usePolled<Mesh>('/v1/mesh', 10_000);
  const stat = usePolled<Stat>(`/v1/stat${query({ by: 'service', namespace, name, window: windowS.value })}`, refreshS.value * 1000 || 5000);
  const routes = usePolled<Stat>(`/v1/stat${query({ by: 'route', namespace, name, window: windowS.value })}`, refreshS.value * 1000 || 5000);
  const service = mesh.data?.services.find((one) => one.namespace === namespace && one.name === name);
  const row = stat.data?.rows.find((one) => one.name === name && one.namespace === namespace);
  const tab = param('tab') || 'overview';
  if (!mesh.data) return mesh.failure ? <FailureState failure={mesh.failure} /> : <SkeletonRows rows={12} />;
  if (!service) {
    return (
      <Empty icon="service" title="There is no such service" action={<a class="btn" href={keepParams('/services')}>All services</a>}>
        <bdi>{name}</bdi> in <bdi>{namespace}</bdi> may have been deleted.
      </Empty>
    );
  }
  const tcp = service.ports.length > 0 && service.ports.every((port) => port.protocol === 'TCP');
  return (
    <div class="page">
      <PageHead
        crumb={<><a href={keepParams('/services')}>Services</a> / <a href={keepParams(`/services?ns=${encodeURIComponent(namespace)}`)}><bdi>{namespace}</bdi></a></>}
        title={<><bdi>{name}</bdi> {row && <HealthPill health={row.health} />}</>}
        sub={<span class="row wrap"><code>{service.host}</code><Copy text={service.host} label="host" />{service.ports.map((port) => <Pill key={port.number}>{port.number} {port.protocol}</Pill>)}<Badges badges={service.badges} /></span>}
      >
        {service.kind === 'Service' && <WizardMenu namespace={namespace} />}
        <WindowPicker />
        <RefreshPicker />
      </PageHead>
      <Tabs
        on={tab}
        tabs={[
          { key: 'overview', label: 'Overview' },
          { key: 'routes', label: 'Routes', count: routes.data?.rows.length },
          { key: 'endpoints', label: 'Endpoints', count: service.endpoints.length },
          { key: 'policies', label: 'Configuration', count: service.documents.length },
          { key: 'traces', label: 'Traces' },
          { key: 'errors', label: 'Errors' },
        ]}
      />
      {tab === 'overview' && (
        <>
          <Golden of={`service/${namespace}/${name}`} service={name} tcp={tcp} />
          <div class="grid">
            {service.weights.length > 1 && (
              <Card title="Traffic split">
                <Split service={service} />
              </Card>
            )}
            <Card title="In force" aside={<a href={withParams({ tab: 'policies' })}>All</a>}>
              <Documents documents={service.documents.slice(0, 6)} />
            </Card>
          </div>
          <Card title="Endpoints" flush>
            <Endpoints service={service} />
          </Card>
        </>
      )}
      {tab === 'routes' && (
        <Card flush>
          <Loaded entry={routes}>
            {(data) => (
              <Table<StatRow>
                label="Routes"
                rows={data.rows}
                id={(one) => one.name}
                sort="rps"
                down
                empty={<Empty icon="route" title="No requests on any route">In this window of time nothing passed.</Empty>}
                columns={[healthColumn<StatRow>(), { key: 'name', title: 'Route', by: (one) => one.name, cell: (one) => <bdi>{one.name}</bdi> }, ...trafficColumns<StatRow>()]}
              />
            )}
          </Loaded>
        </Card>
      )}
      {tab === 'endpoints' && (
        <>
          <Card title="Endpoints" flush>
            <Endpoints service={service} />
          </Card>
          <Card title="As its callers see it" flush>
            <Clusters host={service.host} />
          </Card>
        </>
      )}
      {tab === 'policies' && (
        <div class="grid">
          <Card title="Documents in force">
            <Documents documents={service.documents} />
          </Card>
          <Card title="Subsets">
            {service.subsets.length === 0 ? (
              <p class="faint">No DestinationRule makes subsets of it.</p>
            ) : (
              <dl class="facts">
                {service.subsets.map((subset) => [<dt key={subset.name}><bdi>{subset.name}</bdi></dt>, <dd key={`${subset.name}v`} class="row wrap">{Object.entries(subset.labels).map(([key, value]) => <Pill key={key}>{key}: {value}</Pill>)}</dd>])}
              </dl>
            )}
          </Card>
        </div>
      )}
      {tab === 'traces' && <TraceTable service={name} />}
      {tab === 'errors' && (
        <Card flush>
          <Refusals service={`${namespace}/${name}`} limit={100} />
        </Card>
      )}
      <Wizards service={service} />
    </div>
  );
}

export function ServicesPage({ parts }: { parts: string[] }) {
  const [namespace, name] = parts;
  return namespace && name ? <Detail key={`${namespace}/${name}`} namespace={namespace} name={name} /> : <List />;
}
