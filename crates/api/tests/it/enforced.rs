//! What is valid and has no effect yet: one document per kind that uses all of it, and no row that no document reaches.

use api::enforced::{not_enforced, of_mesh_config, of_proxy_config};
use api::{Kind, Parsed};

const VIRTUAL_SERVICE: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: x}
spec:
  hosts: [a.example.org]
  gateways: [edge]
  http:
  - match:
    - headers: {'@request.auth.claims.group': {exact: dev}}
      withoutHeaders: {'@request.auth.claims.sub': {exact: dev}}
      statPrefix: a
    - headers: {'[@request.auth.claims][group]': {exact: dev}}
      withoutHeaders: {'[@request.auth.claims][sub]': {exact: dev}}
    route: [{destination: {host: a}}]
    retries:
      attempts: 1
      retryOn: 5xx, retriable-headers,http3-post-connect-failure, envoy-ratelimited
      retryRemoteLocalities: true
  - match: [{uri: {prefix: /teapot}}]
    directResponse: {status: 418, body: {bytes: aGVsbG8=}}
  - retries: {attempts: 1, retryOn: gateway-error}
    route: [{destination: {host: a}}]
  tls:
  - match: [{sniHosts: [a.example.org], destinationSubnets: [10.0.0.0/8]}]
    route: [{destination: {host: a}}]
  tcp:
  - match: [{destinationSubnets: [10.0.0.0/8]}]
    route: [{destination: {host: a}}]
";

const REQUEST_AUTHENTICATIONS: &str = "
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: x}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  jwtRules: [{issuer: 'https://a', jwksUri: 'https://a/keys'}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: y}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: edge}
";

const TELEMETRIES: &str = "
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: x}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  tracing:
  - useRequestIdForTraceSampling: true
    enableIstioTags: true
    disableContextPropagation: true
    customTags: {a: {formatter: {value: '%PROTOCOL%'}}}
  metrics:
  - reportingInterval: 1s
    overrides: [{match: {customMetric: a}, disabled: true}]
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: y}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: edge}
---
apiVersion: extensions.istio.io/v1alpha1
kind: TrafficExtension
metadata: {name: x}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  wasm: {url: 'oci://a/b', imagePullPolicy: Always, imagePullSecret: s, type: NETWORK}
---
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: x}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]
  url: a/b
  imagePullPolicy: Always
  imagePullSecret: s
  verificationKey: k
  type: NETWORK
---
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {name: y}
spec: {url: a/b, targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: edge}}
";

/// All fields of a policy for a port, without a place to stand at.
const POLICY: &str = "
loadBalancer:
  simple: LEAST_REQUEST
  localityLbSetting: {enabled: true, failover: [{from: a, to: b}], failoverPriority: [zone]}
  warmup: {duration: 1m}
connectionPool:
  tcp:
    maxConnections: 1
    connectTimeout: 1s
    maxConnectionDuration: 1h
    idleTimeout: 1h
    tcpKeepalive: {}
  http:
    http1MaxPendingRequests: 1
    http2MaxRequests: 1
    maxRequestsPerConnection: 1
    maxRetries: 1
    idleTimeout: 1h
    h2UpgradePolicy: DO_NOT_UPGRADE
    maxConcurrentStreams: 1
    http2KeepAlive: {interval: 1m, timeout: 1s}
outlierDetection: {consecutiveErrors: 3}
";

/// What excludes something of the other policy.
const OTHER_POLICY: &str = "
loadBalancer:
  consistentHash: {useSourceIp: true}
";

const THIRD_POLICY: &str = "
loadBalancer:
  warmupDurationSecs: 1m
  localityLbSetting: {distribute: [{from: a, to: {b: 100}}]}
";

const GATEWAY: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: x}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    bind: unix:///run/edge.sock
    hosts: [a.example.org]
    tls:
      mode: MUTUAL
      tlsCertificates: [{serverCertificate: /c, privateKey: /k, caCertificates: /ca}]
      caCertificates: /ca
      cipherSuites:
      - ECDHE-ECDSA-AES128-GCM-SHA256
      - ECDHE-ECDSA-AES128-SHA
      - ECDHE-ECDSA-AES256-SHA
      - ECDHE-RSA-AES128-SHA
      - ECDHE-RSA-AES256-SHA
      - AES128-GCM-SHA256
      - AES256-GCM-SHA384
      - AES128-SHA
      - AES256-SHA
      - DES-CBC3-SHA
";

const SERVICE_ENTRIES: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: x}
spec:
  hosts: [a.example.org]
  addresses: [10.0.0.1, 10.1.0.0/16]
  ports: [{number: 53, name: dns, protocol: UDP}]
  resolution: STATIC
  endpoints:
  - {address: 10.0.0.1, network: n, locality: a/b}
  - {address: 'unix:///run/a'}
";

const WORKLOAD_ENTRIES: &str = "
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: x}
spec: {address: 'unix:///run/a', network: n, locality: a/b}
";

const AUTHORIZATION_POLICIES: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: custom}
spec: {action: CUSTOM, provider: {name: opa}, rules: [{}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: targets}
spec:
  targetRefs:
  - {kind: Service, name: a}
  - {kind: ServiceEntry, group: networking.istio.io, name: a}
  - {kind: GatewayClass, group: gateway.networking.k8s.io, name: a}
  - {kind: Gateway, group: gateway.networking.k8s.io, name: a}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: target}
spec:
  targetRef: {kind: Service, name: a}
";

const SIDECAR: &str = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: x}
spec:
  ingress:
  - {port: {number: 80, protocol: HTTP, name: http}, defaultEndpoint: 'unix://@abstract'}
  - {port: {number: 53, protocol: UDP, name: dns}}
  inboundConnectionPool: {tcp: {maxConnections: 1}}
  outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: a, port: {number: 80}}}
  egress:
  - {port: {number: 80, protocol: HTTP, name: http}, bind: 127.0.0.1, captureMode: NONE, hosts: ['./*']}
  - {port: {number: 53, protocol: UDP, name: dns}, hosts: ['./*']}
  - {port: {number: 0, protocol: HTTP, name: path}, bind: 'unix:///run/a', hosts: ['./*']}
  - {port: {number: 3128, protocol: HTTP_PROXY, name: proxy}, hosts: ['./*']}
  - {captureMode: IPTABLES, hosts: ['*/*']}
";

const INGRESS: &str = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: x}
spec:
  defaultBackend: {resource: {apiGroup: example.org, kind: Bucket, name: a}}
  rules:
  - http: {paths: [{path: /, pathType: Prefix, backend: {resource: {kind: Bucket, name: a}}}]}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: x}
spec: {controller: example.org/a, parameters: {kind: A, name: a}}
";

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: x, annotations: {networking.istio.io/traffic-distribution: PreferSameZone}}
spec:
  type: LoadBalancer
  clusterIP: 10.0.0.1
  ports:
  - {name: http, port: 80, nodePort: 30080}
  - {name: dns, port: 53, protocol: UDP}
  - {name: sctp, port: 99, protocol: SCTP}
  externalIPs: [10.0.0.2]
  sessionAffinity: ClientIP
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 1}}
  loadBalancerIP: 10.0.0.3
  loadBalancerClass: a/b
  loadBalancerSourceRanges: [10.0.0.0/8]
  healthCheckNodePort: 30081
  externalTrafficPolicy: Local
  internalTrafficPolicy: Local
  publishNotReadyAddresses: true
  ipFamilies: [IPv4, IPv6]
  ipFamilyPolicy: RequireDualStack
  ipFamily: IPv6
  trafficDistribution: PreferSameZone
  topologyKeys: [a]
---
apiVersion: v1
kind: Service
metadata: {name: y}
spec: {type: NodePort, clusterIP: None, ipFamilyPolicy: PreferDualStack, ports: [{port: 80}]}
";

const NAMESPACE: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: x, annotations: {networking.istio.io/traffic-distribution: PreferSameZone}}
";

const WORKLOADS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: x}
spec:
  selector: {matchLabels: {app: x}}
  template:
    metadata:
      labels: {app: x, sidecar.istio.io/inject: 'false'}
      annotations:
        traffic.sidecar.istio.io/excludeOutboundPorts: '80'
        traffic.sidecar.istio.io/kubevirtInterfaces: a
        sidecar.istio.io/proxyCPU: 100m
        proxy.istio.io/config: 'concurrency: 1'
        proxy.istio.io/overrides: '[]'
    spec: {hostNetwork: true, containers: [{name: a}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: x
  labels: {app: x, sidecar.istio.io/inject: 'false'}
  annotations:
    traffic.sidecar.istio.io/excludeOutboundPorts: '80'
    traffic.sidecar.istio.io/kubevirtInterfaces: a
    sidecar.istio.io/proxyCPU: 100m
    proxy.istio.io/config: 'concurrency: 1'
    proxy.istio.io/overrides: '[]'
spec: {hostNetwork: true, containers: [{name: a}]}
";

const WORKLOAD_GROUP: &str = "
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: x}
spec:
  metadata: {labels: {app: x}, annotations: {a: b, sidecar.istio.io/proxyCPU: 100m, proxy.istio.io/config: 'statusPort: 1', proxy.istio.io/overrides: '[]', traffic.sidecar.istio.io/kubevirtInterfaces: a, traffic.sidecar.istio.io/includeInboundPorts: '80'}}
  template: {network: n, ports: {http: 80}, labels: {version: v1}, serviceAccount: x, locality: a/b, weight: 2}
  probe:
    initialDelaySeconds: 1
    timeoutSeconds: 1
    periodSeconds: 1
    successThreshold: 1
    failureThreshold: 1
    httpGet: {path: /ready, port: 80, host: h, scheme: HTTPS, httpHeaders: [{name: a, value: b}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: y}
spec: {template: {}, probe: {tcpSocket: {host: h, port: 80}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: z}
spec: {template: {}, probe: {exec: {command: [a]}}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: g}
spec: {template: {}, probe: {grpc: {port: 80}}}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: x}
spec: {selector: {matchLabels: {app: x}}, concurrency: 2, environmentVariables: {A: b, ISTIO_META_A: b, PROXY_XDS_A: b, EXIT_ON_ZERO_ACTIVE_CONNECTIONS: 'true', MINIMUM_DRAIN_DURATION: 1s, HALCYON_A: b}, image: {imageType: debug}}
";

/// Settings of the mesh with all that has no effect. The last mode of each kind stands in [`MESH_CONFIGS`].
const MESH_CONFIG: &str = "
proxyListenPort: 15001
proxyInboundListenPort: 15006
proxyHttpPort: 15002
hboneIdleTimeout: 1h
ingressClass: istio
ingressService: istio-ingressgateway
ingressControllerMode: STRICT
ingressSelector: ingressgateway
enableTracing: true
enableEnvoyAccessLogService: true
disableEnvoyListenerLog: true
outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS, tls: {mode: SIMPLE}}
inboundTrafficPolicy: {mode: PASSTHROUGH}
configSources: [{address: 'xds://x', tlsSettings: {mode: SIMPLE}, subscribedResources: [SERVICE_REGISTRY]}]
caCertificates: [{spiffeBundleUrl: 'https://a'}, {pem: \"-----BEGIN CERTIFICATE-----\\nMIEA\\n-----END CERTIFICATE-----\", certSigners: [a]}]
inboundClusterStatName: a
outboundClusterStatName: b
certificates: [{secretName: a, dnsNames: [b]}]
serviceSettings: [{settings: {clusterLocal: true}, hosts: [a]}]
serviceScopeConfigs: [{scope: GLOBAL, servicesSelector: {matchLabels: {a: b}}}]
enablePrometheusMerge: true
verifyCertificateAtClient: true
ca: {address: 'a:1', requestTimeout: 1s, istiodSide: true}
extensionProviders: [{name: p0, zipkin: {service: a, port: 1, enable64bitTraceId: true, headers: [{name: a, envName: B}]}}, {name: p1, lightstep: {}}, {name: p2, datadog: {}}, {name: p3, stackdriver: {}}, {name: p4, opencensus: {}}, {name: p5, skywalking: {}}, {name: p6, opentelemetry: {service: a, port: 1, maxTagLength: 9, http: {path: /, headers: [{name: a, envName: B}]}, grpc: {timeout: 1s, initialMetadata: [{name: a, envName: B}]}, resourceDetectors: {}, dynatraceSampler: {}, serviceAttributeEnrichment: OTEL_SEMANTIC_CONVENTIONS}}, {name: p7, prometheus: {}}, {name: p8, envoyFileAccessLog: {path: a, omitEmptyValues: true}}, {name: p9, envoyHttpAls: {service: a, port: 1, filterStateObjectsToLog: [a], additionalResponseTrailersToLog: [a]}}, {name: p10, envoyTcpAls: {service: a, port: 1, filterStateObjectsToLog: [a]}}, {name: p11, envoyOtelAls: {service: a, port: 1}}, {name: p12, sds: {}}]
discoverySelectors: [{matchExpressions: [{key: a, operator: In, values: [b]}]}]
meshMTLS: {minProtocolVersion: TLSV1_3}
tlsDefaults: {ecdhCurves: [P-256]}
serviceEntryVisibility: {defaultVisibility: PUBLIC, policies: [{visibility: NONE, matchingRules: [{namespaceSelector: {}}]}]}
defaultHttpRetryPolicy: {attempts: 1, retryOn: 'retriable-headers,http3-post-connect-failure'}
defaultInboundHttpRetryPolicy: {attempts: 1, perTryTimeout: 1s, retryRemoteLocalities: true, retryIgnorePreviousHosts: true}
defaultTrafficPolicy: {connectionPool: {http: {h2UpgradePolicy: DO_NOT_UPGRADE}}, outlierDetection: {consecutiveErrors: 1}}
defaultConfig:
  configPath: a
  binaryPath: a
  serviceCluster: a
  tracingServiceName: APP_LABEL_AND_NAMESPACE
  drainDuration: 45s
  discoveryAddress: a:1
  discoveryRefreshDelay: 1s
  zipkinAddress: a:1
  statsdUdpAddress: a:1
  envoyMetricsServiceAddress: a:1
  proxyAdminPort: 15000
  availabilityZone: a
  controlPlaneAuthPolicy: NONE
  customConfigFile: a
  statNameLength: 189
  concurrency: 2
  proxyBootstrapTemplatePath: a
  interceptionMode: REDIRECT
  tracing: {sampling: 1.5, zipkin: {address: 'a:1'}, lightstep: {}, datadog: {}, stackdriver: {}, openCensusAgent: {}, customTags: {a: {literal: {value: b}}}, tlsSettings: {mode: SIMPLE}, enableIstioTags: true}
  sds: {enabled: true}
  envoyAccessLogService: {address: 'a:1'}
  envoyMetricsService: {address: 'a:1', tcpKeepalive: {probes: 1}}
  proxyMetadata: {A: b, ISTIO_META_A: b, PROXY_XDS_A: b, EXIT_ON_ZERO_ACTIVE_CONNECTIONS: 'true', MINIMUM_DRAIN_DURATION: 1s, HALCYON_A: b}
  holdApplicationUntilProxyStarts: false
  runtimeValues: {a: b}
  statusPort: 15020
  extraStatTags: [a]
  terminationDrainDuration: 5s
  meshId: a
  readinessProbe: {tcpSocket: {port: 80}}
  proxyStatsMatcher: {inclusionPrefixes: [a]}
  caCertificatesPem: [a]
  image: {imageType: debug}
  privateKeyProvider: {cryptomb: {pollDelay: 1ms}}
  proxyHeaders:
    attemptCount: {disabled: true}
    envoyDebugHeaders: {disabled: true}
    metadataExchangeHeaders: {mode: IN_MESH}
    preserveHttp1HeaderCase: true
    xForwardedHost: {enabled: true}
  fileFlushInterval: 1s
  fileFlushMinSizeKb: 1
  statsCompression: true
  connectionSettings:
    clusterPerConnectionBufferLimitBytes: 1
";

/// The same in a ConfigMap, and what else the modes may be in an IstioOperator.
fn mesh_configs() -> String {
    let indented: String = MESH_CONFIG.trim().lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |-\n{indented}---{MESH_CONFIGS}"
    )
}

const MESH_CONFIGS: &str = "
apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
metadata: {name: x}
spec:
  profile: demo
  installPackagePath: a
  hub: a
  tag: 1.31.0
  resourceSuffix: a
  namespace: istio-system
  revision: a
  defaultRevision: true
  compatibilityVersion: a
  components: {pilot: {enabled: true}}
  addonComponents: {}
  values: {global: {}}
  unvalidatedValues: {}
  meshConfig:
    ingressControllerMode: DEFAULT
    accessLogFile: /dev/stdout
    defaultConfig: {tracingServiceName: CANONICAL_NAME_ONLY, interceptionMode: TPROXY}
---
apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
metadata: {name: y}
spec: {meshConfig: {defaultConfig: {tracingServiceName: CANONICAL_NAME_AND_NAMESPACE, interceptionMode: NONE}}}
";

/// A DestinationRule with these policies, each at every place: one with places for the whole host, one per subset.
fn destination_rules() -> String {
    let at = |depth: usize, text: &str| -> String {
        text.trim().lines().map(|line| format!("{}{line}\n", " ".repeat(depth))).collect()
    };
    let mut text = String::new();
    for (index, policy) in [POLICY, OTHER_POLICY, THIRD_POLICY].into_iter().enumerate() {
        let all = |depth| {
            let port = format!("{}- port: {{number: 80}}\n{}", " ".repeat(depth), at(depth + 2, policy));
            format!("{}{}portLevelSettings:\n{port}", at(depth, policy), " ".repeat(depth))
        };
        text.push_str(&format!(
            "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d{index}}}\nspec:\n  host: a\n  trafficPolicy:\n{}  subsets:\n  - name: v1\n    trafficPolicy:\n{}",
            all(4),
            all(6)
        ));
    }
    text
}

fn parsed() -> Vec<(&'static str, Parsed)> {
    let (destination_rules, mesh_configs) = (destination_rules(), mesh_configs());
    let documents = [
        ("virtual-service", VIRTUAL_SERVICE),
        ("destination-rule", &destination_rules),
        ("gateway", GATEWAY),
        ("service-entry", SERVICE_ENTRIES),
        ("workload-entry", WORKLOAD_ENTRIES),
        ("authorization-policy", AUTHORIZATION_POLICIES),
        ("sidecar", SIDECAR),
        ("request-authentication", REQUEST_AUTHENTICATIONS),
        ("telemetry", TELEMETRIES),
        ("service", SERVICES),
        ("namespace", NAMESPACE),
        ("ingress", INGRESS),
        ("workload", WORKLOADS),
        ("workload-group", WORKLOAD_GROUP),
        ("mesh-config", &mesh_configs),
    ];
    documents.into_iter().map(|(name, text)| (name, api::parse("f", text))).collect()
}

#[test]
fn what_has_no_effect_is_said() {
    for (name, parsed) in parsed() {
        assert!(!parsed.has_errors(), "{name}: {:#?}", parsed.problems);
        let text: String = parsed.problems.iter().map(|p| format!("{}\n", super::short(p))).collect();
        insta::assert_snapshot!(format!("not-enforced-{name}"), text);
    }
}

/// `spec.a[3].b` as rows write it, and `x.key` for `x[key*]`; without what narrows a row to some values.
fn without_indexes(path: &str) -> String {
    let path = path.split('=').next().unwrap_or_default().trim_end_matches("{}");
    let mut out = String::new();
    for part in path.split_inclusive(['[', ']']) {
        match part.strip_suffix(']') {
            Some(index) if index.bytes().all(|c| c.is_ascii_digit()) => out.push(']'),
            _ => out.push_str(part),
        }
    }
    out
}

#[test]
fn every_row_is_reached() {
    let documents = parsed();
    let problems: Vec<_> = documents.iter().flat_map(|(_, parsed)| &parsed.problems).collect();
    let reached = |of_kind: Option<Kind>, pattern: &str, instead: &str| {
        problems.iter().any(|p| {
            let right = of_kind.is_none_or(|kind| p.resource.as_ref().is_some_and(|key| key.kind == kind));
            let (path, pattern) = (without_indexes(&p.path), without_indexes(pattern));
            let field = pattern.split(['[', ']', '.', '*']).rfind(|s| !s.is_empty()).unwrap_or_default();
            right && p.message.ends_with(instead) && path.contains(field)
        })
    };
    for kind in Kind::all() {
        for (pattern, instead) in not_enforced(kind) {
            assert!(reached(Some(kind), pattern, instead), "no document uses {kind} {pattern}");
        }
    }
    for (pattern, instead) in of_mesh_config().chain(of_proxy_config()) {
        assert!(reached(None, pattern, instead), "no document uses {pattern} of the settings");
    }
}
