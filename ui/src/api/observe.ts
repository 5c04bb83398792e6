/**
 * Documents of what the mesh saw, as the crate `observe` gives them. Times are RFC 3339 in UTC with milliseconds;
 * rates are per second; durations are milliseconds; shares are from 0 to 1. Fields that have nothing to say are absent.
 */

/** Health after Kiali's rules: 5xx >= 10 % or no response >= 10 % or gRPC errors >= 10 % or 4xx >= 20 %: `failing`;
 * any 5xx, or 4xx >= 10 %: `degraded`; traffic without: `healthy`; no traffic: `idle`. */
export type Health = 'healthy' | 'degraded' | 'failing' | 'idle';

/** What passed in a window of time. */
export interface Traffic {
  /** Requests in the window (HTTP and gRPC). */
  requests: number;
  /** Requests a second (HTTP and gRPC). */
  rps: number;
  /** Share of requests that succeeded: not 5xx, answered, and gRPC status 0 where there is one. Absent without requests. */
  success?: number;
  /** Requests a second with a 4xx; with a 5xx; without any response; with a gRPC status other than 0. */
  rps4xx: number;
  rps5xx: number;
  noResponse: number;
  grpcErrors: number;
  /** Latency in ms; absent without requests. */
  p50?: number;
  p95?: number;
  p99?: number;
  mean?: number;
  /** Bytes a second of request and response bodies. */
  requestBytes: number;
  responseBytes: number;
  /** TCP: bytes a second to and from the client; connections opened a second; connections that stand now. */
  tcpSent: number;
  tcpReceived: number;
  tcpOpened: number;
  tcpOpen: number;
}

/** How the nodes of a graph are made. */
export type GraphType = 'workload' | 'app' | 'versionedApp' | 'service';

/** GET /v1/graph?window=60&type=workload&namespace=a,b&at=RFC3339&format=json|vizceral|dot|mermaid
 * `window` in seconds (1..21600, default 60); `at`: the end of the window, for replay (default now). */
export interface Graph {
  at: string;
  windowS: number;
  type: GraphType;
  nodes: GraphNode[];
  edges: GraphEdge[];
  /** Said in words where the answer is not whole, such as: history is from 12:03 on. */
  notices: string[];
}

export interface GraphNode {
  /** Stable over time: e.g. `workload:default/reviews-v1`, `app:default/reviews`, `app:default/reviews@v1`,
   * `service:default/reviews`, `unknown`, `external:PassthroughCluster`. */
  id: string;
  kind: 'workload' | 'app' | 'service' | 'unknown' | 'external';
  namespace: string;
  name: string;
  /** Of workloads and versioned apps. */
  app?: string;
  version?: string;
  /** Of workloads: SPIFFE identity that was proven. */
  principal?: string;
  cluster?: string;
  /** Traffic begins here: nobody calls it. */
  root: boolean;
  health: Health;
  /** Why it is not healthy, in words: `12.3 % of inbound requests answered 5xx`. */
  reasons: string[];
  inbound: Traffic;
  outbound: Traffic;
}

export interface GraphEdge {
  /** `${source}>${target}>${protocol}` */
  id: string;
  source: string;
  target: string;
  protocol: 'http' | 'grpc' | 'tcp';
  /** Hosts that were called: share of requests (of connections, with TCP). */
  services: { host: string; name: string; namespace: string; share: number }[];
  traffic: Traffic;
  health: Health;
  reasons: string[];
  /** Answers: `{ code: "503", flags: "UH", requests, rps }`; `code` is `-` where there was no response. */
  responses: { code: string; flags: string; grpcStatus?: string; requests: number; rps: number }[];
  /** Share of traffic with mutual TLS; absent if no side could tell. */
  mtls?: number;
  sourcePrincipal?: string;
  destinationPrincipal?: string;
  /** Which side told: both are asked, and the called side counts where both told. */
  reporter: 'source' | 'destination' | 'both';
}

/** `name` of by=route is the service's. GET /v1/stat?by=service|workload|app|namespace|route|edge&window=60&namespace=&name=&from=NS/NAME&to=NS/NAME&direction=inbound|outbound&at= */
export interface Stat {
  at: string;
  windowS: number;
  by: string;
  rows: StatRow[];
  notices: string[];
}

export interface StatRow {
  namespace: string;
  /** Of by=route: the route; of by=edge: empty. */
  name: string;
  /** by=route: the service whose route it is; `from` and `to` are workloads (`NAMESPACE/NAME`), of by=edge. */
  service?: string;
  from?: string;
  to?: string;
  /** by=edge. */
  sourcePrincipal?: string;
  destinationPrincipal?: string;
  security?: 'mutual_tls' | 'none' | 'unknown';
  /** Workloads that were seen behind it (by=service, namespace, app). */
  workloads?: number;
  health: Health;
  traffic: Traffic;
}

/** GET /v1/series?of=mesh|namespace/NS|workload/NS/NAME|app/NS/NAME|service/NS/NAME|edge/SRCNS/SRC/DSTNS/DST
 *    &direction=inbound|outbound&metrics=rps,p50,p95,p99,success,...&split=code|source|destination|version|route
 *    &window=3600&from=RFC3339&to=RFC3339&points=120
 * `window` in seconds before `to`, where there is no `from`.
 * `metrics` are keys of Traffic. Without `split` one series for each metric. */
export interface SeriesAnswer {
  from: string;
  to: string;
  stepS: number;
  /** Ends of the steps, seconds since 1970. */
  times: number[];
  series: { metric: string; label?: string; values: (number | null)[] }[];
  notices: string[];
}

/** GET /v1/traces?service=&namespace=&operation=&minMs=&maxMs=&errors=true&tag=k=v&code=&from=&to=&limit=50 */
export interface TraceList {
  traces: TraceSummary[];
  more: boolean;
  /** How many are kept, and since when. */
  kept: number;
  oldest?: string;
  services: string[];
}

export interface TraceSummary {
  traceId: string;
  start: string;
  durationMs: number;
  rootService: string;
  rootName: string;
  spans: number;
  errors: number;
  services: { name: string; spans: number; errors: number }[];
}

/** GET /v1/traces/{traceId} */
export interface Trace {
  traceId: string;
  start: string;
  durationMs: number;
  spans: TraceSpan[];
  notices: string[];
}

export interface TraceSpan {
  spanId: string;
  parentId?: string;
  service: string;
  name: string;
  kind: 'server' | 'client' | 'internal' | 'producer' | 'consumer';
  /** From the trace's start, microseconds. */
  offsetUs: number;
  durationUs: number;
  error: boolean;
  message?: string;
  attributes: { key: string; value: string }[];
  events: { offsetUs: number; name: string; attributes: { key: string; value: string }[] }[];
}

/** GET /v1/clusters?workload=NS/NAME|node=&service=HOST : what proxies say of the clusters they use. */
export interface ClusterList {
  clusters: {
    node: string;
    workload: string;
    name: string;
    service: string;
    subset?: string;
    endpoints: number;
    healthy: number;
    ejected: number;
    /** Endpoints that get nothing now, with Envoy's flags such as `/failed_outlier_check`. */
    unhealthy?: { address: string; flags: string }[];
    openCircuits: string[];
    activeRequests: number;
    activeConnections: number;
    pendingRequests: number;
    /** Since the proxy connected. */
    retries: number;
    timeouts: number;
    overflows: number;
    connectFailures: number;
    ejections: number;
    at: string;
  }[];
}

/** GET /v1/tap?source=NS/NAME&destination=NS/NAME&method=&path=&authority=&status=5xx&headers=true&bodyBytes=0&perSecond=100&minMs=
 * Server-sent events: `exchange` (a TapEvent), `loss` ({ count, why }), `hello` ({ proxies }). Needs the right to tap. */
export interface TapEvent {
  time: string;
  durationMs: number;
  headMs?: number;
  reporter: 'source' | 'destination';
  source: string;
  destination: string;
  service: string;
  protocol: 'http' | 'grpc' | 'tcp';
  security: 'mutual_tls' | 'none' | 'unknown';
  method: string;
  scheme: string;
  authority: string;
  path: string;
  httpVersion: string;
  status: number;
  grpcStatus?: number;
  flags: string;
  codeDetails: string;
  route: string;
  cluster: string;
  upstream: string;
  downstream: string;
  attempts: number;
  requestBytes: number;
  responseBytes: number;
  requestHeaders?: { name: string; value: string }[];
  responseHeaders?: { name: string; value: string }[];
  requestBody?: string;
  responseBody?: string;
  requestId: string;
  traceId: string;
  reason: string;
}

/** GET /v1/observe : how observing itself is. */
export interface ObserveStatus {
  proxies: number;
  edges: number;
  outcomes: number;
  history: { state: 'ok' | 'stopped' | 'prometheus'; reason?: string; from?: string; bytes: number; mostBytes: number };
  traces: { kept: number; bytes: number; mostBytes: number; dropped: number };
}
