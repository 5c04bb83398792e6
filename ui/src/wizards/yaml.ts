/**
 * What the wizards write: documents as they are, changed by one thought each. Pure. What a wizard does not concern stays
 * as it was written by others.
 */
export type Doc = { apiVersion: string; kind: string; metadata: { name: string; namespace: string; [key: string]: unknown }; spec: Record<string, any>; [key: string]: unknown };
type Route = Record<string, any>;

export interface Target {
  namespace: string;
  name: string;
  host: string;
  subsets: { name: string; labels: Record<string, string> }[];
  /** Versions of its endpoints, for subsets that are not made yet. */
  versions: string[];
}

const network = 'networking.istio.io/v1';

function clone<T>(value: T): T {
  return JSON.parse(JSON.stringify(value)) as T;
}

/** Does a host in a document of that namespace mean this service? */
export function means(host: unknown, documentNamespace: string, target: Target): boolean {
  return host === target.host || host === `${target.name}.${target.namespace}` || host === `${target.name}.${target.namespace}.svc` || (host === target.name && documentNamespace === target.namespace);
}

/** The VirtualService for calls inside of the mesh, or none. */
export function virtualServiceOf(documents: Doc[], target: Target): Doc | undefined {
  return documents.find((doc) => doc.kind === 'VirtualService' && (!doc.spec?.gateways || (doc.spec.gateways as string[]).includes('mesh')) && ((doc.spec?.hosts ?? []) as unknown[]).some((host) => means(host, doc.metadata.namespace, target)));
}

export function destinationRuleOf(documents: Doc[], target: Target): Doc | undefined {
  return documents.find((doc) => doc.kind === 'DestinationRule' && means(doc.spec?.host, doc.metadata.namespace, target));
}

function newVirtualService(target: Target): Doc {
  return { apiVersion: network, kind: 'VirtualService', metadata: { name: target.name, namespace: target.namespace }, spec: { hosts: [target.name], http: [{ route: [{ destination: { host: target.name } }] }] } };
}

function newDestinationRule(target: Target): Doc {
  return { apiVersion: network, kind: 'DestinationRule', metadata: { name: target.name, namespace: target.namespace }, spec: { host: target.name } };
}

/** The route for all that no other route takes; made if there is none. */
function defaultRoute(doc: Doc, target: Target): Route {
  doc.spec.http ??= [];
  const http = doc.spec.http as Route[];
  let route = http.find((one) => !one.match || one.match.length === 0);
  if (!route) http.push((route = { route: [{ destination: { host: target.name } }] }));
  return route;
}

/** Subsets to choose from: those that are made, else one for each version. */
export function choices(target: Target): string[] {
  return target.subsets.length > 0 ? target.subsets.map((one) => one.name) : target.versions;
}

/** A DestinationRule with the subsets that are named and not made yet; none if all are there. */
function withSubsets(documents: Doc[], target: Target, names: string[]): Doc | undefined {
  const missing = names.filter((name) => !target.subsets.some((one) => one.name === name));
  if (missing.length === 0) return undefined;
  const doc = clone(destinationRuleOf(documents, target) ?? newDestinationRule(target));
  doc.spec.subsets = [...((doc.spec.subsets as unknown[]) ?? []), ...missing.map((name) => ({ name, labels: { version: name } }))];
  return doc;
}

export interface Weight {
  subset: string;
  weight: number;
}

/** Sliders while somebody moves one: the others share the rest as they did before that one was taken. */
export interface Shift {
  weights: Weight[];
  /** The one that was moved last, and all as they were before it was. */
  taken?: { subset: string; from: Weight[] };
}

/** Moves a slider a little further, or takes another one. */
export function slide({ weights, taken }: Shift, subset: string, weight: number): Shift {
  const from = taken?.subset === subset ? taken.from : weights;
  return { weights: rebalance(from, subset, weight), taken: { subset, from } };
}

/** One gets this weight: the others share the rest as they do in `weights`, in whole numbers that make 100. */
export function rebalance(weights: Weight[], subset: string, weight: number): Weight[] {
  const moved = Math.max(0, Math.min(100, Math.round(weight)));
  const others = weights.filter((one) => one.subset !== subset);
  if (others.length === 0) return weights.map((one) => ({ ...one, weight: 100 }));
  const before = others.reduce((sum, one) => sum + one.weight, 0);
  const rest = 100 - moved;
  const exact = others.map((one) => (before > 0 ? (one.weight / before) * rest : rest / others.length));
  const whole = exact.map(Math.floor);
  let left = rest - whole.reduce((sum, one) => sum + one, 0);
  const order = exact.map((value, i) => ({ i, part: value - Math.floor(value) })).sort((a, b) => b.part - a.part || a.i - b.i);
  for (const { i } of order) {
    if (left <= 0) break;
    whole[i]! += 1;
    left -= 1;
  }
  let n = 0;
  return weights.map((one) => (one.subset === subset ? { subset, weight: moved } : { subset: one.subset, weight: whole[n++]! }));
}

/** The weights as they are now, in hundredths; all to the first where nothing is said. */
export function weightsNow(documents: Doc[], target: Target): Weight[] {
  const names = choices(target);
  const doc = virtualServiceOf(documents, target);
  const routes = ((doc?.spec.http as Route[] | undefined)?.find((one) => !one.match)?.route ?? []) as Route[];
  const of = new Map<string, number>();
  for (const one of routes) if (one.destination?.subset) of.set(one.destination.subset, (of.get(one.destination.subset) ?? 0) + (one.weight ?? (routes.length === 1 ? 100 : 0)));
  const total = [...of.values()].reduce((sum, one) => sum + one, 0);
  if (total <= 0) {
    // Without a rule each version gets its share of the endpoints: an even split says that.
    const even = names.map((subset) => ({ subset, weight: 0 }));
    return even.length > 0 ? rebalance(even, even[0]!.subset, Math.round(100 / even.length)) : [];
  }
  const first = names[0];
  const raw = names.map((subset) => ({ subset, weight: Math.round(((of.get(subset) ?? 0) / total) * 100) }));
  const off = 100 - raw.reduce((sum, one) => sum + one.weight, 0);
  return raw.map((one) => (one.subset === first ? { ...one, weight: one.weight + off } : one));
}

export function shiftTraffic(documents: Doc[], target: Target, weights: Weight[]): Doc[] {
  const doc = clone(virtualServiceOf(documents, target) ?? newVirtualService(target));
  const route = defaultRoute(doc, target);
  const used = weights.filter((one) => one.weight > 0);
  const port = (route.route as Route[] | undefined)?.[0]?.destination?.port;
  route.route = used.map((one) => ({ destination: { host: target.name, subset: one.subset, ...(port ? { port } : {}) }, ...(used.length > 1 ? { weight: one.weight } : {}) }));
  const rule = withSubsets(documents, target, used.map((one) => one.subset));
  return rule ? [rule, doc] : [doc];
}

export interface HeaderRoute {
  header: string;
  how: 'exact' | 'prefix' | 'regex';
  value: string;
  subset: string;
}

/** Puts a route for a header before all others; a route with the same condition is replaced. */
export function routeByHeader(documents: Doc[], target: Target, wish: HeaderRoute): Doc[] {
  const doc = clone(virtualServiceOf(documents, target) ?? newVirtualService(target));
  defaultRoute(doc, target);
  const match = [{ headers: { [wish.header.toLowerCase()]: { [wish.how]: wish.value } } }];
  const same = JSON.stringify(match);
  const http = (doc.spec.http as Route[]).filter((one) => JSON.stringify(one.match) !== same);
  doc.spec.http = [{ match, route: [{ destination: { host: target.name, subset: wish.subset } }] }, ...http];
  const rule = withSubsets(documents, target, [wish.subset]);
  return rule ? [rule, doc] : [doc];
}

export interface Fault {
  delay?: { ms: number; percent: number };
  abort?: { status: number; percent: number };
  /** Only for requests with this header. */
  only?: { header: string; value: string };
}

/** Injects a fault, or takes it away where neither delay nor abort is wished. */
export function injectFault(documents: Doc[], target: Target, wish: Fault): Doc[] {
  const doc = clone(virtualServiceOf(documents, target) ?? newVirtualService(target));
  const fallback = defaultRoute(doc, target);
  const fault: Route = {};
  if (wish.delay) fault.delay = { percentage: { value: wish.delay.percent }, fixedDelay: duration(wish.delay.ms) };
  if (wish.abort) fault.abort = { percentage: { value: wish.abort.percent }, httpStatus: wish.abort.status };
  const none = Object.keys(fault).length === 0;
  if (!wish.only) {
    if (none) for (const route of doc.spec.http as Route[]) delete route.fault;
    else replaceField(fallback, 'fault', fault);
    return [doc];
  }
  const match = [{ headers: { [wish.only.header.toLowerCase()]: { exact: wish.only.value } } }];
  const same = JSON.stringify(match);
  const old = (doc.spec.http as Route[]).find((one) => JSON.stringify(one.match) === same);
  if (old) {
    if (none) {
      delete old.fault;
      // What was made for the fault alone goes with it.
      if (JSON.stringify(without(old, ['match'])) === JSON.stringify(fallback)) doc.spec.http = (doc.spec.http as Route[]).filter((one) => one !== old);
    } else replaceField(old, 'fault', fault);
  } else if (!none) doc.spec.http = [{ match, fault, route: clone(fallback.route) }, ...(doc.spec.http as Route[])];
  return [doc];
}

export interface Patience {
  timeoutMs?: number;
  attempts?: number;
  perTryMs?: number;
  retryOn?: string;
}

/** Sets timeout and retries of every route; what is left empty is taken away. */
export function setPatience(documents: Doc[], target: Target, wish: Patience): Doc[] {
  const doc = clone(virtualServiceOf(documents, target) ?? newVirtualService(target));
  defaultRoute(doc, target);
  for (const route of doc.spec.http as Route[]) {
    if (wish.timeoutMs) route.timeout = duration(wish.timeoutMs);
    else delete route.timeout;
    // None at all is said alone: `apply` refuses conditions of retries that are switched off.
    if (wish.attempts === 0) route.retries = { attempts: 0 };
    else if (wish.attempts !== undefined) route.retries = { attempts: wish.attempts, ...(wish.perTryMs ? { perTryTimeout: duration(wish.perTryMs) } : {}), ...(wish.retryOn ? { retryOn: wish.retryOn } : {}) };
    else delete route.retries;
  }
  return [doc];
}

export interface Breaker {
  on: boolean;
  maxConnections?: number;
  maxPending?: number;
  maxRequests?: number;
  errors?: number;
  intervalMs?: number;
  ejectMs?: number;
  mostPercent?: number;
}

export function breakCircuit(documents: Doc[], target: Target, wish: Breaker): Doc[] {
  const doc = clone(destinationRuleOf(documents, target) ?? newDestinationRule(target));
  const policy: Route = { ...(doc.spec.trafficPolicy as Route | undefined) };
  delete policy.connectionPool;
  delete policy.outlierDetection;
  if (wish.on) {
    const http: Route = {};
    if (wish.maxPending) http.http1MaxPendingRequests = wish.maxPending;
    if (wish.maxRequests) http.http2MaxRequests = wish.maxRequests;
    const pool: Route = {};
    if (wish.maxConnections) pool.tcp = { maxConnections: wish.maxConnections };
    if (Object.keys(http).length > 0) pool.http = http;
    if (Object.keys(pool).length > 0) policy.connectionPool = pool;
    if (wish.errors) {
      policy.outlierDetection = {
        consecutive5xxErrors: wish.errors,
        ...(wish.intervalMs ? { interval: duration(wish.intervalMs) } : {}),
        ...(wish.ejectMs ? { baseEjectionTime: duration(wish.ejectMs) } : {}),
        ...(wish.mostPercent ? { maxEjectionPercent: wish.mostPercent } : {}),
      };
    }
  }
  if (Object.keys(policy).length > 0) doc.spec = { host: doc.spec.host, trafficPolicy: policy, ...without(doc.spec, ['host', 'trafficPolicy']) };
  else delete doc.spec.trafficPolicy;
  return [doc];
}

function without(value: Route, keys: string[]): Route {
  return Object.fromEntries(Object.entries(value).filter(([key]) => !keys.includes(key)));
}

/** Keeps the usual order of fields: what decides stands before where it goes. */
function replaceField(route: Route, key: string, value: unknown): void {
  const rest = without(route, [key, 'match']);
  const match = route.match;
  for (const old of Object.keys(route)) delete route[old];
  Object.assign(route, match ? { match } : {}, { [key]: value }, rest);
}

/** `1500` -> `1.5s`, `200` -> `200ms`. */
export function duration(ms: number): string {
  return ms < 1000 || ms % 100 !== 0 ? `${Math.round(ms)}ms` : `${ms / 1000}s`;
}

/** `1.5s` -> 1500. */
export function millisOf(text: unknown): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(String(text ?? ''));
  if (!match) return undefined;
  return Number(match[1]) * { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match[2] as 'ms' | 's' | 'm' | 'h'];
}
