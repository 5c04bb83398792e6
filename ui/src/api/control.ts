/** Documents of the control plane's own API: status, resources, problems, refusals, authority. As its `v1` gives them. */
import type { Problem, ResourceKey } from './call';
import { call } from './call';

export interface Whoami {
  who: string;
  from: string;
  role: 'viewer' | 'operator' | 'admin';
  namespaces?: string[];
}

export interface Origin {
  file: string;
  line: number;
}

export interface ResourceView {
  key: ResourceKey;
  origin: Origin;
  source: string;
  created: string;
  generation: number;
  document: Record<string, unknown>;
}

export interface Resources {
  version: number;
  resources: ResourceView[];
}

export interface Problems {
  version: number;
  problems: Problem[];
}

export interface Applied {
  key: ResourceKey;
  outcome: 'created' | 'configured' | 'unchanged' | 'deleted' | 'not_found';
  origin: Origin;
  note?: string;
}

export interface ApplyResponse {
  version: number;
  results: Applied[];
  problems: Problem[];
}

export interface Plan extends ApplyResponse {
  connected: number;
  groups: { proxies: string[]; changes: { kind: string; name: string; before: string[]; after: string[] }[] }[];
}

export interface RootStatus {
  state: string;
  subject: string;
  fingerprint: string;
  not_after: string;
}

export type SyncState = 'SYNCED' | 'STALE' | 'NACKED' | 'NEVER_SENT';

export interface ProxyStatus {
  node: string;
  role: string;
  namespace: string;
  workload: string;
  instance: string;
  identity?: string;
  address: string;
  admin?: string;
  proxy_version?: string;
  connected: string;
  not_ready?: string;
  version: number;
  types: { kind: string; state: SyncState; count: number; sent?: string; acked?: string; nack?: string }[];
}

export interface Status {
  control: {
    program: string;
    trust_domain: string;
    version: number;
    started: string;
    uptime_s: number;
    resources: number;
    services: number;
    workloads: number;
    problems: number;
    roots: RootStatus[];
    notices: string[];
  };
  proxies: ProxyStatus[];
}

export interface ProxyConfig {
  node: string;
  version: number;
  on_demand?: boolean;
  kinds: { kind: string; resources: { name: string; summary: string[] }[] }[];
}

export interface AccessRule {
  policy: string;
  rule: number;
  at: string;
}

export interface Refusal {
  seq: number;
  time: string;
  requestId?: string;
  workload: string;
  node?: string;
  from: string;
  protocol: string;
  method?: string;
  host?: string;
  path?: string;
  destination?: string;
  status: number;
  flags?: string[];
  details?: string;
  why: string;
  reason?: string;
  by?: AccessRule;
  nearest?: AccessRule & { failed: { field: string; at: string; reason: string }[] };
  documents?: { document: string; field?: string; at?: string }[];
  cluster?: string;
  route?: string;
  endpoint?: string;
  attempts: number;
  hints?: string[];
}

export interface RefusalPage {
  refusals: Refusal[];
  more?: boolean;
  kept: number;
  most: number;
  oldest?: string;
  last: number;
}

export interface CaStatus {
  trust_domain: string;
  phase: string;
  roots: RootStatus[];
  self_signed: boolean;
  not_after: string;
  waiting_for?: { node: string; reason: string }[];
  old_leaves?: { identity?: string; serial?: string; not_after?: string; nodes?: string[] }[];
  revoked?: { identity: string; serial?: string; since: string; not_after?: string }[];
}

export interface MutualTlsPlan {
  servers: { namespace: string; workload: string; node: string; address: string; ours: boolean; ports: { port: number; bind: string; mode: string }[] }[];
  clients: { document: string; at: string; host: string; mode: string }[];
  steps: { title: string; strict: boolean; documents: unknown[] }[];
  notes?: string[];
}

export interface AccessGraph {
  edges: { from: string; to: string; port: number; may: string; by?: string[] }[];
}

export interface AuditPage {
  entries: {
    seq: number;
    time: string;
    who: string;
    from: string;
    action: string;
    what: string;
    outcome: string;
    reason?: string;
    version: number;
    diff?: string[];
  }[];
  more?: boolean;
}

const named = 'dashboard.yaml';

export function tryApply(text: string, namespace?: string, signal?: AbortSignal): Promise<ApplyResponse> {
  return call('/v1/apply', { method: 'POST', signal, body: { documents: [{ file: named, text }], namespace, dry_run: true } });
}

export function apply(text: string, namespace?: string): Promise<ApplyResponse> {
  return call('/v1/apply', { method: 'POST', body: { documents: [{ file: named, text }], namespace } });
}

export function plan(text: string, namespace?: string, signal?: AbortSignal): Promise<Plan> {
  return call('/v1/plan', { method: 'POST', signal, body: { documents: [{ file: named, text }], namespace } });
}

export function remove(key: ResourceKey): Promise<ApplyResponse> {
  const query = new URLSearchParams({ kind: key.kind, name: key.name });
  if (key.namespace) query.set('namespace', key.namespace);
  else query.set('all_namespaces', 'true');
  return call(`/v1/resources?${query}`, { method: 'DELETE' });
}

/** Query text with empty values left out. */
export function query(values: Record<string, string | number | boolean | undefined>): string {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(values)) {
    if (value !== undefined && value !== '' && value !== false) params.set(key, String(value));
  }
  const text = params.toString();
  return text ? `?${text}` : '';
}
