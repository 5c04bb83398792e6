//! What is valid and has no effect yet: one document per kind that uses all of it, and no row that no document reaches.

use api::enforced::not_enforced;
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
  zoneAwareLbSetting: {}
";

const THIRD_POLICY: &str = "
loadBalancer:
  warmupDurationSecs: 1m
  localityLbSetting: {distribute: [{from: a, to: {b: 100}}]}
";

/// Fields of a policy for all ports, in two parts that exclude each other.
const TUNNEL: &str = "
tunnel: {targetHost: a, targetPort: 80}
retryBudget: {budgetInterval: 1s}
";
const PROXY: &str = "
proxyProtocol: {}
";

const GATEWAY: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: x}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    bind: 127.0.0.1
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
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: y}
spec:
  hosts: ['*.example.org']
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DYNAMIC_DNS
";

const WORKLOAD_ENTRIES: &str = "
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: x}
spec: {address: 'unix:///run/a', network: n, locality: a/b}
";

const SIDECAR: &str = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: x}
spec:
  ingress: [{port: {number: 80, protocol: HTTP, name: http}, defaultEndpoint: '127.0.0.1:8080'}]
  inboundConnectionPool: {tcp: {maxConnections: 1}}
  outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: a, port: {number: 80}}}
  egress:
  - {port: {number: 80, protocol: HTTP, name: http}, bind: 127.0.0.1, captureMode: NONE, hosts: ['./*']}
  - {captureMode: IPTABLES, hosts: ['*/*']}
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
        sidecar.istio.io/proxyCPU: 100m
        proxy.istio.io/config: 'concurrency: 1'
    spec: {hostNetwork: true, containers: [{name: a}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: x
  labels: {app: x, sidecar.istio.io/inject: 'false'}
  annotations:
    traffic.sidecar.istio.io/excludeOutboundPorts: '80'
    sidecar.istio.io/proxyCPU: 100m
    proxy.istio.io/config: 'concurrency: 1'
spec: {hostNetwork: true, containers: [{name: a}]}
";

/// A DestinationRule with these policies, each at every place: one with places for the whole host, one per subset.
fn destination_rules() -> String {
    let at = |depth: usize, text: &str| -> String {
        text.trim().lines().map(|line| format!("{}{line}\n", " ".repeat(depth))).collect()
    };
    let mut text = String::new();
    for (index, (policy, own)) in [(POLICY, TUNNEL), (OTHER_POLICY, PROXY), (THIRD_POLICY, "")].into_iter().enumerate()
    {
        let all = |depth| {
            let port = format!("{}- port: {{number: 80}}\n{}", " ".repeat(depth), at(depth + 2, policy));
            format!("{}{}{}portLevelSettings:\n{port}", at(depth, policy), at(depth, own), " ".repeat(depth))
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
    let destination_rules = destination_rules();
    let documents = [
        ("virtual-service", VIRTUAL_SERVICE),
        ("destination-rule", &destination_rules),
        ("gateway", GATEWAY),
        ("service-entry", SERVICE_ENTRIES),
        ("workload-entry", WORKLOAD_ENTRIES),
        ("sidecar", SIDECAR),
        ("service", SERVICES),
        ("namespace", NAMESPACE),
        ("workload", WORKLOADS),
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
    for kind in Kind::all() {
        for (pattern, instead) in not_enforced(kind) {
            let reached = problems.iter().any(|p| {
                let of_kind = p.resource.as_ref().is_some_and(|key| key.kind == kind);
                let (path, pattern) = (without_indexes(&p.path), without_indexes(pattern));
                let field = pattern.split(['[', ']', '.', '*']).rfind(|s| !s.is_empty()).unwrap_or_default();
                of_kind && p.message.ends_with(instead) && path.contains(field)
            });
            assert!(reached, "no document uses {kind} {pattern}");
        }
    }
}
