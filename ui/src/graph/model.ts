/** What is drawn: nodes and edges of the graph document, with groups folded into one node each. Pure. */
import type { Badge, Mesh } from '../api/mesh';
import type { Graph, GraphEdge, GraphNode, Health, Traffic } from '../api/observe';

export type Grouping = 'namespace' | 'app' | 'version' | 'none';

export interface ViewNode {
  id: string;
  kind: GraphNode['kind'] | 'group';
  namespace: string;
  name: string;
  app: string;
  version: string;
  cluster: string;
  principal?: string;
  root: boolean;
  health: Health;
  reasons: string[];
  inbound: Traffic;
  outbound: Traffic;
  badges: Badge[];
  /** Of groups: how many stand behind it, and how many of these are ill. */
  members: number;
  failing: number;
  degraded: number;
  /** The box it stands in, if it stands in one. */
  box?: string;
  gateway: boolean;
  /** A workload without a proxy. */
  bare: boolean;
  services: string[];
}

export interface ViewEdge {
  id: string;
  source: string;
  target: string;
  protocol: 'http' | 'grpc' | 'tcp';
  traffic: Traffic;
  health: Health;
  reasons: string[];
  mtls?: number;
  sourcePrincipal?: string;
  destinationPrincipal?: string;
  services: GraphEdge['services'];
  responses: GraphEdge['responses'];
  /** How many calls of the document stand behind it. */
  members: number;
}

export interface View {
  nodes: ViewNode[];
  edges: ViewEdge[];
  boxes: { id: string; label: string; namespace: string; health: Health; count: number; parent?: string }[];
  /** How many nodes there were before folding. */
  whole: { nodes: number; edges: number };
}

const sums = ['requests', 'rps', 'rps4xx', 'rps5xx', 'noResponse', 'grpcErrors', 'requestBytes', 'responseBytes', 'tcpSent', 'tcpReceived', 'tcpOpened', 'tcpOpen'] as const;

export function nothing(): Traffic {
  return { requests: 0, rps: 0, rps4xx: 0, rps5xx: 0, noResponse: 0, grpcErrors: 0, requestBytes: 0, responseBytes: 0, tcpSent: 0, tcpReceived: 0, tcpOpened: 0, tcpOpen: 0 };
}

/** Sums rates; successes and means by their rates; of p95 and p99 the slowest, since those do not add up. */
export function together(all: Traffic[]): Traffic {
  const total = nothing();
  let good = 0;
  let judged = 0;
  let p50 = 0;
  let mean = 0;
  let timed = 0;
  for (const one of all) {
    for (const key of sums) total[key] += one[key];
    if (one.success !== undefined) {
      good += one.success * one.rps;
      judged += one.rps;
    }
    if (one.p50 !== undefined) {
      p50 += one.p50 * one.rps;
      mean += (one.mean ?? one.p50) * one.rps;
      timed += one.rps;
      total.p95 = Math.max(total.p95 ?? 0, one.p95 ?? 0);
      total.p99 = Math.max(total.p99 ?? 0, one.p99 ?? 0);
    }
  }
  if (judged > 0) total.success = good / judged;
  if (timed > 0) {
    total.p50 = p50 / timed;
    total.mean = mean / timed;
  }
  return total;
}

const order: Health[] = ['idle', 'healthy', 'degraded', 'failing'];
export function worst(a: Health, b: Health): Health {
  return order.indexOf(a) >= order.indexOf(b) ? a : b;
}

export function errorShare(traffic: Traffic): number {
  if (traffic.rps <= 0) return 0;
  if (traffic.success !== undefined) return Math.min(1, Math.max(0, 1 - traffic.success));
  return Math.min(1, (traffic.rps5xx + traffic.noResponse + traffic.grpcErrors) / traffic.rps);
}

export function tcpRate(traffic: Traffic): number {
  return traffic.tcpSent + traffic.tcpReceived;
}

/** What configuration says of nodes, by their ids. */
export interface Signs {
  badges: Map<string, Badge[]>;
  gateways: Set<string>;
  bare: Set<string>;
  services: Map<string, string[]>;
}

export function signsOf(mesh: Mesh | undefined): Signs {
  const signs: Signs = { badges: new Map(), gateways: new Set(), bare: new Set(), services: new Map() };
  if (!mesh) return signs;
  const byHost = new Map(mesh.services.map((service) => [service.host, service]));
  for (const service of mesh.services) signs.badges.set(`service:${service.namespace}/${service.name}`, service.badges);
  const add = (id: string, badges: Badge[]) => signs.badges.set(id, [...new Set([...(signs.badges.get(id) ?? []), ...badges])]);
  for (const workload of mesh.workloads) {
    const badges = workload.services.flatMap((host) => byHost.get(host)?.badges ?? []);
    const ids = [`workload:${workload.namespace}/${workload.name}`, `app:${workload.namespace}/${workload.app}`, `app:${workload.namespace}/${workload.app}@${workload.version}`];
    for (const id of ids) {
      add(id, badges);
      signs.services.set(id, [...new Set([...(signs.services.get(id) ?? []), ...workload.services])]);
    }
    if (workload.instances.length > 0 && workload.instances.every((one) => !one.node)) ids.forEach((id) => signs.bare.add(id));
  }
  for (const gateway of mesh.gateways) {
    signs.gateways.add(`workload:${gateway.namespace}/${gateway.workload}`);
    for (const workload of mesh.workloads) {
      if (workload.namespace !== gateway.namespace || workload.name !== gateway.workload) continue;
      signs.gateways.add(`app:${workload.namespace}/${workload.app}`);
      signs.gateways.add(`app:${workload.namespace}/${workload.app}@${workload.version}`);
    }
  }
  return signs;
}

/** The group that a node belongs to, `ns:default` or `appbox:default/reviews`; none for what has no namespace. */
export function groupOf(node: GraphNode, grouping: Grouping): string | undefined {
  if (!node.namespace || grouping === 'none') return undefined;
  if (grouping === 'namespace') return `ns:${node.namespace}`;
  if (grouping === 'app') return `appbox:${node.namespace}/${node.app || node.name}`;
  return `verbox:${node.namespace}/${node.version || 'no version'}`;
}

function boxLabel(id: string): string {
  if (id.startsWith('ns:')) return id.slice(3);
  return id.slice(id.indexOf('/') + 1);
}

/**
 * Folds the groups that are not in `open`. Edges between the same two ends and of the same protocol become one. With
 * `fold` false nothing is folded.
 */
export function viewOf(graph: Graph, signs: Signs, options: { grouping: Grouping; fold: boolean; open: Set<string> }): View {
  const seat = new Map<string, string>();
  const groups = new Map<string, GraphNode[]>();
  const nodes: ViewNode[] = [];
  const boxes = new Map<string, View['boxes'][number]>();
  const size = new Map<string, number>();
  for (const node of graph.nodes) {
    const group = groupOf(node, options.grouping);
    if (group) size.set(group, (size.get(group) ?? 0) + 1);
  }
  for (const node of graph.nodes) {
    const group = groupOf(node, options.grouping);
    if (group && options.fold && !options.open.has(group)) {
      const id = `group:${group}`;
      seat.set(node.id, id);
      const members = groups.get(id);
      if (members) members.push(node);
      else groups.set(id, [node]);
      continue;
    }
    seat.set(node.id, node.id);
    // A box around a single node says nothing, save for namespaces.
    const boxed = group && (options.grouping === 'namespace' || (size.get(group) ?? 0) > 1) ? group : undefined;
    if (boxed) {
      const box = boxes.get(boxed);
      if (box) {
        box.health = worst(box.health, node.health);
        box.count += 1;
      } else boxes.set(boxed, { id: boxed, label: boxLabel(boxed), namespace: node.namespace, health: node.health, count: 1 });
    }
    nodes.push({
      ...node,
      app: node.app ?? '',
      version: node.version ?? '',
      cluster: node.cluster ?? '',
      badges: signs.badges.get(node.id) ?? [],
      members: 1,
      failing: node.health === 'failing' ? 1 : 0,
      degraded: node.health === 'degraded' ? 1 : 0,
      box: boxed,
      gateway: signs.gateways.has(node.id),
      bare: signs.bare.has(node.id),
      services: signs.services.get(node.id) ?? [],
    });
  }
  const edgeGroups = new Map<string, { source: string; target: string; protocol: GraphEdge['protocol']; list: GraphEdge[] }>();
  const reachedFromOutside = new Set<string>();
  const cross = new Map<string, { inbound: Traffic[]; outbound: Traffic[] }>();
  for (const edge of graph.edges) {
    const source = seat.get(edge.source);
    const target = seat.get(edge.target);
    if (!source || !target) continue;
    if (source === target && source.startsWith('group:')) continue;
    reachedFromOutside.add(target);
    if (source.startsWith('group:')) entry(cross, source).outbound.push(edge.traffic);
    if (target.startsWith('group:')) entry(cross, target).inbound.push(edge.traffic);
    const key = `${source}>${target}>${edge.protocol}`;
    const found = edgeGroups.get(key);
    if (found) found.list.push(edge);
    else edgeGroups.set(key, { source, target, protocol: edge.protocol, list: [edge] });
  }
  for (const [id, members] of groups) {
    const ill = members.filter((node) => node.health === 'failing').length;
    const weak = members.filter((node) => node.health === 'degraded').length;
    const reasons: string[] = [];
    if (ill > 0) reasons.push(`${ill} failing: ${members.filter((node) => node.health === 'failing').slice(0, 3).map((node) => node.name).join(', ')}${ill > 3 ? ', …' : ''}`);
    if (weak > 0) reasons.push(`${weak} degraded`);
    nodes.push({
      id,
      kind: 'group',
      namespace: members[0]!.namespace,
      name: boxLabel(id.slice(6)),
      app: '',
      version: '',
      cluster: '',
      root: !reachedFromOutside.has(id),
      // One ill workload of many makes a group degraded, not failing.
      health: members.reduce<Health>((all, node) => worst(all, node.health === 'failing' && ill / members.length < 0.2 ? 'degraded' : node.health), 'idle'),
      reasons,
      inbound: together(cross.get(id)?.inbound ?? []),
      outbound: together(cross.get(id)?.outbound ?? []),
      badges: [],
      members: members.length,
      failing: ill,
      degraded: weak,
      gateway: members.some((node) => signs.gateways.has(node.id)),
      bare: false,
      services: [],
    });
  }
  const edges = [...edgeGroups.entries()].map(([id, { source, target, protocol, list }]) => fold(id, source, target, protocol, list));
  return { nodes, edges, boxes: [...boxes.values()], whole: { nodes: graph.nodes.length, edges: graph.edges.length } };
}

function entry(map: Map<string, { inbound: Traffic[]; outbound: Traffic[] }>, key: string): { inbound: Traffic[]; outbound: Traffic[] } {
  let found = map.get(key);
  if (!found) map.set(key, (found = { inbound: [], outbound: [] }));
  return found;
}

function fold(id: string, source: string, target: string, protocol: GraphEdge['protocol'], list: GraphEdge[]): ViewEdge {
  const one = list[0]!;
  if (list.length === 1) {
    return { ...one, id, source, target, members: 1 };
  }
  const traffic = together(list.map((edge) => edge.traffic));
  let secure = 0;
  let known = 0;
  let health: Health = 'idle';
  const failing: string[] = [];
  for (const edge of list) {
    const weight = edge.traffic.rps || tcpRate(edge.traffic) || 1;
    if (edge.mtls !== undefined) {
      secure += edge.mtls * weight;
      known += weight;
    }
    if (edge.health === 'failing') failing.push(`${edge.source.split('/').pop()} → ${edge.target.split('/').pop()}`);
    health = worst(health, edge.health);
  }
  if (health === 'failing' && errorShare(traffic) < 0.1) health = 'degraded';
  const responses = new Map<string, GraphEdge['responses'][number]>();
  for (const answer of list.flatMap((edge) => edge.responses)) {
    const key = `${answer.code}|${answer.flags}|${answer.grpcStatus ?? ''}`;
    const found = responses.get(key);
    if (found) {
      found.requests += answer.requests;
      found.rps += answer.rps;
    } else responses.set(key, { ...answer });
  }
  return {
    id,
    source,
    target,
    protocol,
    traffic,
    health,
    reasons: failing.length > 0 ? [`failing: ${failing.slice(0, 3).join(', ')}${failing.length > 3 ? `, and ${failing.length - 3} more` : ''}`] : [],
    mtls: known > 0 ? secure / known : undefined,
    services: [],
    responses: [...responses.values()],
    members: list.length,
  };
}

/** Above so many nodes the graph begins folded. */
export const foldAbove = 150;
