/** Gateways: where traffic comes in and goes out; what each listens on, and what it passes on: nobody tells of its callers. */
import type { Mesh } from '../api/mesh';
import type { Health, Stat, Traffic } from '../api/observe';
import type { MeshGateway } from '../api/mesh';
import { query } from '../api/control';
import { usePolled } from '../api/poll';
import { Golden } from '../charts/golden';
import { Card, HealthPill, Pill } from '../look/control';
import { Empty, FailureState, Loaded, SkeletonRows } from '../look/states';
import { Table } from '../look/table';
import { PageHead, RefreshPicker, WindowPicker } from '../shell/head';
import { keepParams, to } from '../shell/location';
import { refreshS, windowS } from '../shell/window';
import { count } from '../words/format';
import { Documents } from './documents';
import { Refusals } from './refusals';
import { healthColumn, trafficColumns } from './traffic-columns';

interface Row {
  gateway: MeshGateway;
  health: Health;
  traffic?: Traffic;
}

function List() {
  const mesh = usePolled<Mesh>('/v1/mesh', 15_000);
  const stat = usePolled<Stat>(`/v1/stat${query({ by: 'workload', direction: 'outbound', window: windowS.value })}`, refreshS.value * 1000 || 5000);
  const rows = (mesh.data?.gateways ?? []).map((gateway): Row => {
    const row = stat.data?.rows.find((one) => one.namespace === gateway.namespace && one.name === gateway.workload);
    return { gateway, health: row?.health ?? 'idle', traffic: row?.traffic };
  });
  return (
    <div class="page">
      <PageHead title="Gateways" sub={mesh.data ? count(rows.length, 'gateway') : '\u00a0'}>
        <WindowPicker />
        <RefreshPicker />
      </PageHead>
      <Card flush>
        <Loaded entry={mesh}>
          {() => (
            <Table
              label="Gateways"
              rows={rows}
              id={(row) => `${row.gateway.namespace}/${row.gateway.name}`}
              empty={<Empty icon="gateway" title="No gateways">A Gateway lets requests from outside into the mesh. halcyon gateway starts one; a document of the kind Gateway says what it listens on.</Empty>}
              columns={[
                healthColumn<Row>(),
                { key: 'name', title: 'Gateway', by: (row) => row.gateway.name, cell: (row) => <a href={to('gateways', row.gateway.namespace, row.gateway.name)}><bdi>{row.gateway.name}</bdi></a> },
                { key: 'ns', title: 'Namespace', by: (row) => row.gateway.namespace, cell: (row) => <bdi class="muted">{row.gateway.namespace}</bdi> },
                { key: 'ports', title: 'Ports', wide: true, cell: (row) => <span class="row wrap">{row.gateway.servers.map((server, i) => <Pill key={i}>{server.port} {server.protocol}</Pill>)}</span> },
                ...trafficColumns<Row>(),
              ]}
            />
          )}
        </Loaded>
      </Card>
    </div>
  );
}

function Detail({ namespace, name }: { namespace: string; name: string }) {
  const mesh = usePolled<Mesh>('/v1/mesh', 10_000);
  const stat = usePolled<Stat>(`/v1/stat${query({ by: 'workload', namespace, direction: 'outbound', window: windowS.value })}`, refreshS.value * 1000 || 5000);
  const gateway = mesh.data?.gateways.find((one) => one.namespace === namespace && one.name === name);
  if (!mesh.data) return mesh.failure ? <FailureState failure={mesh.failure} /> : <SkeletonRows rows={12} />;
  if (!gateway) return <Empty icon="gateway" title="There is no such gateway" action={<a class="btn" href={keepParams('/gateways')}>All gateways</a>} />;
  const row = stat.data?.rows.find((one) => one.name === gateway.workload);
  return (
    <div class="page">
      <PageHead crumb={<a href={keepParams('/gateways')}>Gateways</a>} title={<><bdi>{name}</bdi> {row && <HealthPill health={row.health} />}</>} sub={<>Workload <bdi>{gateway.workload}</bdi> in <bdi>{namespace}</bdi></>}>
        <WindowPicker />
        <RefreshPicker />
      </PageHead>
      <Golden of={`workload/${namespace}/${gateway.workload}`} direction="outbound" service={gateway.workload} />
      <div class="grid">
        <Card title="Listens on" flush>
          <Table
            label="Servers"
            rows={gateway.servers}
            id={(one) => `${one.port}${one.hosts.join()}`}
            columns={[
              { key: 'name', title: 'Port', by: (one) => one.port, cell: (one) => `${one.port} ${one.protocol}` },
              { key: 'hosts', title: 'Hosts', cell: (one) => one.hosts.map((host) => <bdi key={host} style="display:block">{host}</bdi>) },
              { key: 'tls', title: 'TLS', cell: (one) => (one.tls === 'none' || !one.tls ? <Pill kind="warn">none</Pill> : <Pill kind="good">{one.tls}</Pill>) },
            ]}
          />
        </Card>
        <Card title="Documents in force">
          <Documents documents={gateway.documents} />
        </Card>
      </div>
      <Card title="Recent errors" flush>
        <Refusals namespace={namespace} workload={gateway.workload} />
      </Card>
    </div>
  );
}

export function GatewaysPage({ parts }: { parts: string[] }) {
  const [namespace, name] = parts;
  return namespace && name ? <Detail key={`${namespace}/${name}`} namespace={namespace} name={name} /> : <List />;
}
