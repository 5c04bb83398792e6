/** The graph's side: what is selected, in numbers and words, and the ways on from there. */
import type { Mesh } from '../api/mesh';
import type { Graph, Traffic } from '../api/observe';
import { query } from '../api/control';
import { Sparks } from '../charts/golden';
import { HealthDot, HealthPill, Pill } from '../look/control';
import { Icon } from '../look/icon';
import { Note } from '../look/states';
import { keepParams, setParams, to } from '../shell/location';
import { bytesRate, count, millis, percent, rate, short } from '../words/format';
import { badgeIcons, shownBadges } from './decor';
import { together, tcpRate, type View, type ViewEdge, type ViewNode } from './model';

interface Props {
  view?: View;
  graph?: Graph;
  node?: ViewNode;
  edge?: ViewEdge;
  box?: View['boxes'][number];
  mesh?: Mesh;
  activate: (id: string) => void;
}

export function Numbers({ traffic }: { traffic: Traffic }) {
  const cells: [string, string][] =
    traffic.rps > 0
      ? [
          ['Requests', rate(traffic.rps)],
          ['Success', percent(traffic.success)],
          ['5xx', rate(traffic.rps5xx)],
          ['p50', millis(traffic.p50)],
          ['p95', millis(traffic.p95)],
          ['p99', millis(traffic.p99)],
        ]
      : [];
  if (tcpRate(traffic) > 0) cells.push(['TCP in', bytesRate(traffic.tcpReceived)], ['TCP out', bytesRate(traffic.tcpSent)], ['Open', short(traffic.tcpOpen)]);
  if (cells.length === 0) return <p class="faint">No traffic in this window.</p>;
  return (
    <dl class="numbers">
      {cells.map(([title, value]) => (
        <div key={title}>
          <dt>{title}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Reasons({ reasons, kind }: { reasons: string[]; kind: 'warn' | 'bad' }) {
  if (reasons.length === 0) return null;
  return (
    <Note kind={kind}>
      {reasons.map((reason) => (
        <p key={reason}>{reason}</p>
      ))}
    </Note>
  );
}

function close() {
  return (
    <button class="btn quiet icon small side-close" aria-label="Close" onClick={() => setParams({ sel: undefined })}>
      <Icon name="close" />
    </button>
  );
}

function nameOf(view: View, id: string): string {
  const node = view.nodes.find((one) => one.id === id);
  return node?.kind === 'unknown' ? 'Outside' : (node?.name ?? id);
}

function Peers({ title, edges, view, end }: { title: string; edges: ViewEdge[]; view: View; end: 'source' | 'target' }) {
  if (edges.length === 0) return null;
  const sorted = [...edges].sort((a, b) => b.traffic.rps - a.traffic.rps);
  return (
    <section>
      <h3>{title}</h3>
      <ul class="peers">
        {sorted.slice(0, 12).map((edge) => (
          <li key={edge.id}>
            <button onClick={() => setParams({ sel: edge.id })}>
              <HealthDot health={edge.health} />
              <bdi class="clip">{nameOf(view, edge[end])}</bdi>
            </button>
            <span class="faint">{edge.protocol === 'tcp' ? bytesRate(tcpRate(edge.traffic)) : rate(edge.traffic.rps)}</span>
          </li>
        ))}
      </ul>
      {sorted.length > 12 && <p class="faint">and {sorted.length - 12} more</p>}
    </section>
  );
}

function splitId(id: string): { kind: string; namespace: string; name: string } | undefined {
  const match = /^(workload|service|app):([^/]+)\/(.+)$/s.exec(id);
  return match ? { kind: match[1]!, namespace: match[2]!, name: match[3]! } : undefined;
}

function OfNode({ node, view, mesh, activate }: { node: ViewNode; view: View; mesh?: Mesh; activate: (id: string) => void }) {
  const id = splitId(node.id);
  const direction = node.inbound.rps > 0 || tcpRate(node.inbound) > 0 ? 'inbound' : 'outbound';
  const main = direction === 'inbound' ? node.inbound : node.outbound;
  const app = node.app || node.name;
  const seriesOf = id ? (id.kind === 'workload' ? `workload/${id.namespace}/${id.name}` : id.kind === 'service' ? `service/${id.namespace}/${id.name}` : `app/${id.namespace}/${app}`) : node.kind === 'group' && node.id.startsWith('group:ns:') ? `namespace/${node.namespace}` : undefined;
  const badges = shownBadges(node.badges);
  const service = mesh?.services.find((one) => node.services.includes(one.host) || (node.kind === 'service' && one.namespace === node.namespace && one.name === node.name));
  return (
    <>
      <header>
        <div class="grow">
          <p class="faint">
            {node.kind === 'group' ? 'Group' : node.kind === 'external' ? 'Outside of the mesh' : node.kind === 'unknown' ? 'Callers without a proxy' : node.gateway ? 'Gateway' : node.kind} {node.namespace && <>in <bdi>{node.namespace}</bdi></>}
          </p>
          <h2>
            <bdi>{node.kind === 'unknown' ? 'Outside' : node.name}</bdi>
          </h2>
        </div>
        <HealthPill health={node.health} />
        {close()}
      </header>
      {(node.reasons.length > 0 || node.bare) && (
        <section class="reasons">
          <Reasons reasons={node.reasons} kind={node.health === 'failing' ? 'bad' : 'warn'} />
          {node.bare && <Note kind="warn">It has no proxy: it is not secured, and only what others say of it is known.</Note>}
        </section>
      )}
      <section>
        <h3>{direction === 'inbound' ? 'Inbound' : 'Outbound'}</h3>
        <Numbers traffic={main} />
      </section>
      {seriesOf && (
        <section>
          <h3>Last minutes</h3>
          <Sparks of={seriesOf} direction={direction} tcp={main.rps <= 0 && tcpRate(main) > 0} service={app} />
        </section>
      )}
      {badges.length > 0 && (
        <section>
          <h3>In force</h3>
          <div class="row wrap">
            {badges.map((badge) => (
              <Pill key={badge} kind={badge === 'faultInjection' ? 'warn' : 'accent'}>
                <Icon name={badgeIcons[badge].icon} size={12} />
                {badgeIcons[badge].words}
              </Pill>
            ))}
          </div>
        </section>
      )}
      {node.principal && (
        <section>
          <h3>Identity</h3>
          <code style="overflow-wrap:anywhere">{node.principal}</code>
        </section>
      )}
      <Peers title="Called by" view={view} end="source" edges={view.edges.filter((edge) => edge.target === node.id)} />
      <Peers title="Calls" view={view} end="target" edges={view.edges.filter((edge) => edge.source === node.id)} />
      <section>
        <h3>Go on</h3>
        <div class="links">
          {node.kind === 'group' && (
            <button class="btn small primary" onClick={() => activate(node.id)}>
              Open the group
            </button>
          )}
          {id?.kind === 'workload' && (
            <a class="btn small" href={to('workloads', id.namespace, id.name)}>
              <Icon name="workload" /> Workload
            </a>
          )}
          {service && (
            <a class="btn small" href={to('services', service.namespace, service.name)}>
              <Icon name="service" /> Service
            </a>
          )}
          {id && (
            <>
              <a class="btn small" href={keepParams(`/traces${query({ service: app })}`)}>
                <Icon name="trace" /> Traces
              </a>
              {id.kind === 'workload' && (
                <a class="btn small" href={keepParams(`/tap${query({ destination: `${id.namespace}/${id.name}` })}`)}>
                  <Icon name="tap" /> Tap
                </a>
              )}
            </>
          )}
          {service && service.kind === 'Service' && (
            <a class="btn small" href={`${to('services', service.namespace, service.name)}${to('x').includes('?') ? '&' : '?'}wizard=shift`}>
              <Icon name="wand" /> Change traffic
            </a>
          )}
        </div>
      </section>
    </>
  );
}

function OfEdge({ edge, view }: { edge: ViewEdge; view: View }) {
  const from = splitId(edge.source);
  const target = splitId(edge.target);
  const both = from?.kind === 'workload' && target?.kind === 'workload';
  return (
    <>
      <header>
        <div class="grow">
          <p class="faint">{edge.members > 1 ? `${edge.members} calls, ${edge.protocol}` : `Call, ${edge.protocol}`}</p>
          <h2>
            <button class="linklike" onClick={() => setParams({ sel: edge.source })}>
              <bdi>{nameOf(view, edge.source)}</bdi>
            </button>{' '}
            →{' '}
            <button class="linklike" onClick={() => setParams({ sel: edge.target })}>
              <bdi>{nameOf(view, edge.target)}</bdi>
            </button>
          </h2>
        </div>
        <HealthPill health={edge.health} />
        {close()}
      </header>
      {edge.reasons.length > 0 && (
        <section>
          <Reasons reasons={edge.reasons} kind={edge.health === 'failing' ? 'bad' : 'warn'} />
        </section>
      )}
      <section>
        <Numbers traffic={edge.traffic} />
      </section>
      {both && (
        <section>
          <h3>Last minutes</h3>
          <Sparks of={`edge/${from.namespace}/${from.name}/${target.namespace}/${target.name}`} direction="inbound" tcp={edge.protocol === 'tcp'} service={target.name.replace(/-v\d+$/, '')} />
        </section>
      )}
      {edge.responses.length > 0 && (
        <section>
          <h3>Answers</h3>
          <ul class="peers">
            {[...edge.responses].sort((a, b) => b.rps - a.rps).map((one) => (
              <li key={`${one.code}${one.flags}${one.grpcStatus ?? ''}`}>
                <span class="row">
                  <Pill kind={one.code.startsWith('5') || one.code === '-' || (one.grpcStatus && one.grpcStatus !== '0') ? 'bad' : one.code.startsWith('4') ? 'warn' : 'good'}>{one.code === '-' ? 'none' : one.code}</Pill>
                  {one.grpcStatus && <span class="faint">gRPC {one.grpcStatus}</span>}
                  {one.flags !== '-' && one.flags && (
                    <code class="faint" title="Response flag">
                      {one.flags}
                    </code>
                  )}
                </span>
                <span class="faint">{rate(one.rps)}</span>
              </li>
            ))}
          </ul>
        </section>
      )}
      <section>
        <h3>Security</h3>
        <p class="row">
          <span style={{ color: edge.mtls === undefined ? 'var(--text-3)' : edge.mtls >= 0.999 ? 'var(--good)' : 'var(--warn)', display: 'inline-flex' }}>
            <Icon name={(edge.mtls ?? 0) >= 0.999 ? 'lock' : 'unlock'} />
          </span>
          {edge.mtls === undefined ? 'No side could tell' : edge.mtls >= 0.999 ? 'Mutual TLS' : edge.mtls <= 0.001 ? 'Plain text' : `Mutual TLS for ${percent(edge.mtls)} of it, the rest in plain text`}
        </p>
        {edge.sourcePrincipal && <p class="faint" style="margin-top:4px">{edge.sourcePrincipal} → {edge.destinationPrincipal}</p>}
      </section>
      {edge.services.length > 0 && (
        <section>
          <h3>Hosts that were called</h3>
          <ul class="peers">
            {edge.services.map((service) => (
              <li key={service.host}>
                {service.namespace ? (
                  <a class="clip" href={to('services', service.namespace, service.name)}>
                    <bdi>{service.host}</bdi>
                  </a>
                ) : (
                  <bdi class="clip">{service.host}</bdi>
                )}
                <span class="faint">{percent(service.share)}</span>
              </li>
            ))}
          </ul>
        </section>
      )}
      <section>
        <h3>Go on</h3>
        <div class="links">
          {target && (
            <a class="btn small" href={keepParams(`/traces${query({ service: target.name.replace(/-v\d+$/, ''), errors: edge.health === 'failing' })}`)}>
              <Icon name="trace" /> Traces
            </a>
          )}
          {both && edge.protocol !== 'tcp' && (
            <a class="btn small" href={keepParams(`/tap${query({ source: `${from.namespace}/${from.name}`, destination: `${target.namespace}/${target.name}` })}`)}>
              <Icon name="tap" /> Tap
            </a>
          )}
          {target?.kind === 'workload' && (
            <a class="btn small" href={keepParams(`/errors${query({ namespace: target.namespace, workload: target.name })}`)}>
              <Icon name="warning" /> Errors
            </a>
          )}
        </div>
      </section>
    </>
  );
}

function OfMesh({ view, graph }: { view: View; graph: Graph }) {
  const ill = [...view.nodes].filter((node) => node.health === 'failing' || node.health === 'degraded').sort((a, b) => (a.health === b.health ? b.inbound.rps - a.inbound.rps : a.health === 'failing' ? -1 : 1));
  const plain = view.edges.filter((edge) => edge.mtls !== undefined && edge.mtls < 0.999);
  const all = together(graph.edges.map((edge) => edge.traffic));
  return (
    <>
      <header>
        <div class="grow">
          <p class="faint">{count(view.whole.nodes, 'node')}, {count(view.whole.edges, 'edge')}</p>
          <h2>The whole mesh</h2>
        </div>
      </header>
      <section>
        <h3>All calls</h3>
        <Numbers traffic={all} />
      </section>
      <section>
        <h3>Last minutes</h3>
        <Sparks of="mesh" direction="inbound" tcp={false} />
      </section>
      <section>
        <h3>Needs a look</h3>
        {ill.length === 0 ? (
          <p class="row">
            <HealthDot health="healthy" /> Everything that has traffic is healthy
          </p>
        ) : (
          <ul class="peers">
            {ill.slice(0, 10).map((node) => (
              <li key={node.id}>
                <button onClick={() => setParams({ sel: node.id })}>
                  <HealthDot health={node.health} />
                  <bdi class="clip">{node.name}</bdi>
                </button>
                <span class="faint">{node.kind === 'group' ? `${node.failing + node.degraded} of ${node.members}` : percent(node.inbound.success)}</span>
              </li>
            ))}
          </ul>
        )}
      </section>
      <section>
        <h3>In plain text</h3>
        {plain.length === 0 ? (
          <p class="row">
            <Icon name="lock" /> All calls between proxies use mutual TLS
          </p>
        ) : (
          <ul class="peers">
            {plain.slice(0, 6).map((edge) => (
              <li key={edge.id}>
                <button onClick={() => setParams({ sel: edge.id })}>
                  <span style="color:var(--warn);display:inline-flex">
                    <Icon name="unlock" />
                  </span>
                  <bdi class="clip">
                    {nameOf(view, edge.source)} → {nameOf(view, edge.target)}
                  </bdi>
                </button>
                <span class="faint">{percent(edge.mtls)}</span>
              </li>
            ))}
          </ul>
        )}
      </section>
    </>
  );
}

export function SidePanel({ view, graph, node, edge, box, mesh, activate }: Props) {
  const chosen = node ?? edge ?? box;
  return (
    <aside class={`side ${chosen ? 'chosen' : ''}`} aria-label="Selected">
      {view && graph && node && <OfNode node={node} view={view} mesh={mesh} activate={activate} />}
      {view && edge && <OfEdge edge={edge} view={view} />}
      {box && (
        <>
          <header>
            <div class="grow">
              <p class="faint">{box.id.startsWith('ns:') ? 'Namespace' : 'Group'}</p>
              <h2>
                <bdi>{box.label}</bdi>
              </h2>
            </div>
            <HealthPill health={box.health} />
            {close()}
          </header>
          {box.id.startsWith('ns:') && (
            <section>
              <h3>Last minutes</h3>
              <Sparks of={`namespace/${box.namespace}`} direction="inbound" tcp={false} />
            </section>
          )}
          <section class="links">
            <button class="btn small" onClick={() => activate(box.id)}>
              Fold into one node
            </button>
            <button class="btn small" onClick={() => setParams({ ns: box.namespace, sel: undefined })}>
              Show only this namespace
            </button>
          </section>
        </>
      )}
      {view && graph && !chosen && <OfMesh view={view} graph={graph} />}
    </aside>
  );
}
