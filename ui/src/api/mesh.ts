/** GET /v1/mesh : what there is, from configuration and registration, as the control plane gives it. */
export interface Mesh {
  version: number;
  trustDomain: string;
  namespaces: string[];
  services: MeshService[];
  workloads: MeshWorkload[];
  gateways: MeshGateway[];
}

/** A document that has a say. */
export interface DocumentRef {
  kind: string;
  namespace: string;
  name: string;
}

/** Signs on a node of the graph. */
export type Badge =
  | 'virtualService'
  | 'trafficShifting'
  | 'requestRouting'
  | 'faultInjection'
  | 'mirror'
  | 'timeout'
  | 'retries'
  | 'circuitBreaker'
  | 'authorization'
  | 'rateLimit'
  | 'serviceEntry'
  | 'gateway';

export interface MeshService {
  namespace: string;
  name: string;
  host: string;
  /** `Service`, `ServiceEntry`. */
  kind: string;
  addresses: string[];
  ports: { number: number; name: string; protocol: string }[];
  labels: Record<string, string>;
  badges: Badge[];
  /** Documents in force for it. */
  documents: DocumentRef[];
  /** Subsets and their labels, from DestinationRules. */
  subsets: { name: string; labels: Record<string, string> }[];
  /** The weights by which its routes split traffic, if one does. */
  weights: { document: DocumentRef; host: string; subset?: string; weight: number }[];
  endpoints: {
    address: string;
    /** `NAMESPACE/NAME`; empty for an endpoint that a document names. */
    workload: string;
    version?: string;
    ready: boolean;
    reason?: string;
    weight: number;
    locality?: string;
    hasProxy: boolean;
  }[];
}

export interface MeshWorkload {
  namespace: string;
  name: string;
  app: string;
  version: string;
  serviceAccount: string;
  identity: string;
  /** Hosts of the services that it is behind. */
  services: string[];
  labels: Record<string, string>;
  /** Mutual TLS that it asks for: `STRICT`, `PERMISSIVE`, `DISABLE`. */
  mtls: string;
  documents: DocumentRef[];
  instances: {
    name: string;
    node?: string;
    address: string;
    ready: boolean;
    reason?: string;
    proxyVersion?: string;
    connected?: string;
    certificateExpires?: string;
  }[];
}

export interface MeshGateway {
  namespace: string;
  name: string;
  workload: string;
  servers: { port: number; protocol: string; hosts: string[]; tls: string }[];
  documents: DocumentRef[];
}

/** GET /v1/history?kind=&namespace=&name= : what was written when, newest first; from the audit log. */
export interface History {
  entries: {
    version: number;
    time: string;
    by: string;
    action: string;
    document: DocumentRef;
    /** Lines of a unified diff. */
    diff: string[];
    /** The document as it stood after it; absent if it was deleted or is too old. */
    yaml?: string;
  }[];
  more: boolean;
}
