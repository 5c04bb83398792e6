//! After any sequence of changes, what was kept and changed step by step equals what is made from nothing, for every node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use api::{Resource, ResourceKey};
use model::Config;
use translate::workload::ImpliedService;
use translate::{Capture, Change, Common, Edit, Inputs, Node, Role, Workload, World};

use crate::mesh::{gateway, sidecar, sidecar_with_upstream, workload};

/// Documents in their variants: of each key one stands, or none.
const DOCUMENTS: &[&[&str]] = &[
    &[
        "{kind: Service, apiVersion: v1, metadata: {name: reviews}, spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}}",
        "{kind: Service, apiVersion: v1, metadata: {name: reviews}, spec: {selector: {app: reviews, version: v2}, ports: [{name: http, port: 9080}]}}",
        "{kind: Service, apiVersion: v1, metadata: {name: reviews}, spec: {selector: {app: reviews}, ports: [{name: tcp, port: 9080}, {name: http-b, port: 8080}]}}",
        "{kind: Service, apiVersion: v1, metadata: {name: reviews}, spec: {clusterIP: None, selector: {app: reviews}, ports: [{name: tcp, port: 9080}, {name: http-b, port: 8080}]}}",
        "{kind: Service, apiVersion: v1, metadata: {name: reviews, annotations: {networking.istio.io/exportTo: .}}, spec: {clusterIP: 10.0.0.9, selector: {app: reviews}, ports: [{name: http, port: 9080}]}}",
    ],
    &[
        "{kind: Service, apiVersion: v1, metadata: {name: ratings, namespace: other}, spec: {selector: {app: ratings}, ports: [{name: http, port: 9080}]}}",
        "{kind: Service, apiVersion: v1, metadata: {name: ratings, namespace: other}, spec: {ports: [{port: 9080}]}}",
        "{kind: Service, apiVersion: v1, metadata: {name: ratings, namespace: other}, spec: {selector: {app: ratings}, trafficDistribution: PreferSameNode, sessionAffinity: ClientIP, ports: [{name: http, port: 9080}]}}",
    ],
    &[
        "{kind: ServiceEntry, spec: {hosts: [s.example.org], location: MESH_INTERNAL, resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], workloadSelector: {labels: {app: s}}}}",
        "{kind: ServiceEntry, spec: {hosts: [s.example.org, reviews.default.svc.cluster.local], location: MESH_INTERNAL, resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], endpoints: [{address: 127.64.0.2}, {address: 10.1.1.1, labels: {version: v1}}]}}",
        "{kind: ServiceEntry, spec: {hosts: [s.example.org], location: MESH_INTERNAL, resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}], endpoints: [{address: 127.64.0.2}]}}",
    ],
    &[
        "{kind: ServiceEntry, metadata: {name: wild}, spec: {hosts: ['*.example.org'], resolution: NONE, ports: [{number: 443, name: tls, protocol: TLS}]}}",
        "{kind: ServiceEntry, metadata: {name: wild}, spec: {hosts: ['s.example.org'], exportTo: [other], resolution: NONE, ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: http2, protocol: HTTP}]}}",
    ],
    &[
        "{kind: WorkloadEntry, metadata: {name: w1}, spec: {address: 10.2.0.1, labels: {app: s, version: v1}, serviceAccount: s}}",
        "{kind: WorkloadEntry, metadata: {name: w1}, spec: {address: 127.64.0.3, labels: {app: s}, serviceAccount: s}}",
        "{kind: WorkloadEntry, metadata: {name: w1}, spec: {address: 10.2.0.1, labels: {app: t}, serviceAccount: t}}",
    ],
    &[
        "{kind: WorkloadEntry, metadata: {name: w3}, spec: {address: 10.2.0.3, ports: {http: 81}, labels: {app: reviews}, serviceAccount: machine}}",
        "{kind: WorkloadEntry, metadata: {name: w3}, spec: {address: 127.64.0.2, labels: {app: reviews, version: v2}}}",
    ],
    &[
        "{kind: ConfigMap, apiVersion: v1, metadata: {name: istio, namespace: istio-system}, data: {mesh: '{outboundTrafficPolicy: {mode: REGISTRY_ONLY}, defaultServiceExportTo: [.], defaultTrafficPolicy: {outlierDetection: {}}}'}}",
        "{kind: ConfigMap, apiVersion: v1, metadata: {name: istio, namespace: istio-system}, data: {mesh: '{enableAutoMtls: false, localityLbSetting: {failoverPriority: [version]}, trustDomain: other}'}}",
    ],
    &[
        "{kind: IstioOperator, apiVersion: install.istio.io/v1alpha1, metadata: {name: o}, spec: {meshConfig: {dnsRefreshRate: 7s, h2UpgradePolicy: UPGRADE}}}",
        "{kind: IstioOperator, apiVersion: install.istio.io/v1alpha1, metadata: {name: o}, spec: {}}",
    ],
    &[
        "{kind: Deployment, apiVersion: apps/v1, metadata: {name: edge}, spec: {selector: {matchLabels: {istio: ingressgateway}}, template: {metadata: {labels: {istio: ingressgateway}, annotations: {proxy.istio.io/config: 'connectionSettings: {profile: EDGE}'}}, spec: {containers: [{name: c, image: i}]}}}}",
    ],
    &["{kind: WorkloadEntry, metadata: {name: w2, labels: {app: s}}, spec: {address: 10.2.0.2, serviceAccount: s}}"],
    &[
        "{kind: VirtualService, metadata: {name: v1}, spec: {hosts: [reviews], http: [{timeout: 1s, route: [{destination: {host: reviews, subset: v1}}]}]}}",
        "{kind: VirtualService, metadata: {name: v1}, spec: {hosts: [reviews], http: [{match: [{sourceLabels: {app: reviews}}], route: [{destination: {host: a.example.org}}]}, {route: [{destination: {host: s.example.org}}]}]}}",
        "{kind: VirtualService, metadata: {name: v1}, spec: {hosts: ['*.local'], exportTo: ['.'], http: [{fault: {abort: {httpStatus: 500, percentage: {value: 1}}}, route: [{destination: {host: ratings.other.svc.cluster.local}}]}]}}",
    ],
    &[
        "{kind: VirtualService, metadata: {name: v2}, spec: {hosts: [s.example.org], http: [{match: [{uri: {prefix: /d}}], delegate: {name: part}}, {route: [{destination: {host: s.example.org}}]}]}}",
        "{kind: VirtualService, metadata: {name: v2}, spec: {hosts: ['*.example.org'], gateways: [mesh, g], http: [{match: [{uri: {prefix: /d}}], delegate: {name: part}}, {route: [{destination: {host: reviews}}]}], tcp: [{route: [{destination: {host: s.example.org}}]}]}}",
    ],
    &[
        "{kind: VirtualService, metadata: {name: part}, spec: {http: [{timeout: 2s, route: [{destination: {host: reviews}}]}]}}",
        "{kind: VirtualService, metadata: {name: part}, spec: {http: [{mirror: {host: s.example.org}, route: [{destination: {host: ratings.other.svc.cluster.local}}]}]}}",
    ],
    &[
        "{kind: ServiceEntry, metadata: {name: named}, spec: {hosts: ['*.named.org'], resolution: DYNAMIC_DNS, ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS}]}}",
        "{kind: ServiceEntry, metadata: {name: named}, spec: {hosts: ['*.named.org'], resolution: NONE, ports: [{number: 80, name: http, protocol: HTTP}]}}",
    ],
    &[
        "{kind: DestinationRule, metadata: {name: d1}, spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}}",
        "{kind: DestinationRule, metadata: {name: d1}, spec: {host: reviews, workloadSelector: {matchLabels: {app: ratings}}, trafficPolicy: {tls: {mode: SIMPLE, credentialName: cert}}}}",
        "{kind: DestinationRule, metadata: {name: d1}, spec: {host: s.example.org, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}}",
        "{kind: DestinationRule, metadata: {name: d1}, spec: {host: s.example.org, trafficPolicy: {tls: {mode: SIMPLE, credentialName: 'configmap://other/roots'}}}}",
        "{kind: DestinationRule, metadata: {name: d1}, spec: {host: reviews, trafficPolicy: {outlierDetection: {}}, subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x}}}}]}}",
        "{kind: DestinationRule, metadata: {name: d1}, spec: {host: reviews, trafficPolicy: {outlierDetection: {}, loadBalancer: {localityLbSetting: {failoverPriority: [version, kubernetes.io/hostname]}}}}}",
    ],
    &[
        "{kind: DestinationRule, metadata: {name: d3}, spec: {host: ratings.other.svc.cluster.local, trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}, localityLbSetting: {distribute: [{from: us/*, to: {us/*: 90, eu/*: 10}}]}}}}}",
        "{kind: DestinationRule, metadata: {name: d3}, spec: {host: ratings.other.svc.cluster.local, trafficPolicy: {loadBalancer: {consistentHash: {httpQueryParameterName: q}}}}}",
    ],
    &[
        "{kind: DestinationRule, metadata: {name: d2}, spec: {host: '*.example.org', trafficPolicy: {loadBalancer: {simple: RANDOM}}, subsets: [{name: v1, labels: {version: v1}}]}}",
        "{kind: DestinationRule, metadata: {name: d2, namespace: istio-system}, spec: {host: '*', trafficPolicy: {connectionPool: {tcp: {connectTimeout: 1s}}}}}",
    ],
    &[
        "{kind: ServicePolicy, apiVersion: halcyon.dev/v1alpha1, metadata: {name: p1}, spec: {host: reviews, concurrencyLimit: {max: 9}, healthCheck: {tcp: {}}}}",
        "{kind: ServicePolicy, apiVersion: halcyon.dev/v1alpha1, metadata: {name: p1}, spec: {host: '*.default.svc.cluster.local', concurrencyLimit: {min: 2}}}",
        "{kind: ServicePolicy, apiVersion: halcyon.dev/v1alpha1, metadata: {name: p1}, spec: {host: s.example.org, loadBalancer: {peakEwma: {}}}}",
    ],
    &[
        "{kind: ServicePolicy, apiVersion: halcyon.dev/v1alpha1, metadata: {name: p2, namespace: istio-system}, spec: {host: '*', concurrencyLimit: {}, loadBalancer: {peakEwma: {}}}}",
    ],
    &[
        "{kind: AuthorizationPolicy, apiVersion: security.istio.io/v1, metadata: {name: a1}, spec: {selector: {matchLabels: {app: reviews}}, rules: [{to: [{operation: {methods: [GET]}}]}]}}",
        "{kind: AuthorizationPolicy, apiVersion: security.istio.io/v1, metadata: {name: a1}, spec: {selector: {matchLabels: {version: v2}}, action: DENY, rules: [{from: [{source: {namespaces: [other]}}]}]}}",
        "{kind: AuthorizationPolicy, apiVersion: security.istio.io/v1, metadata: {name: a1, annotations: {istio.io/dry-run: 'true'}}, spec: {}}",
    ],
    &[
        "{kind: Telemetry, apiVersion: telemetry.istio.io/v1, metadata: {name: t1}, spec: {selector: {matchLabels: {version: v2}}, accessLogging: [{providers: [{name: envoy}]}], metrics: [{overrides: [{disabled: true}]}]}}",
        "{kind: Telemetry, apiVersion: telemetry.istio.io/v1, metadata: {name: t1}, spec: {metrics: [{overrides: [{tagOverrides: {host: {value: request.host}}}]}], tracing: [{randomSamplingPercentage: 3}]}}",
        "{kind: Telemetry, apiVersion: telemetry.istio.io/v1, metadata: {name: t1, namespace: istio-system}, spec: {accessLogging: [{match: {mode: SERVER}, filter: {expression: response.code >= 400}}]}}",
    ],
    &[
        "{kind: AuthorizationPolicy, apiVersion: security.istio.io/v1, metadata: {name: a2, namespace: istio-system}, spec: {}}",
        "{kind: AuthorizationPolicy, apiVersion: security.istio.io/v1, metadata: {name: a2, namespace: istio-system}, spec: {selector: {matchLabels: {istio: ingressgateway}}, action: CUSTOM, provider: {name: p}, rules: [{}]}}",
        "{kind: AuthorizationPolicy, apiVersion: security.istio.io/v1, metadata: {name: a2, namespace: other}, spec: {rules: [{}]}}",
    ],
    &[
        "{kind: ClusterRbacConfig, apiVersion: rbac.istio.io/v1alpha1, metadata: {name: default}, spec: {mode: 'ON'}}",
        "{kind: ClusterRbacConfig, apiVersion: rbac.istio.io/v1alpha1, metadata: {name: default}, spec: {mode: ON_WITH_INCLUSION, inclusion: {namespaces: [default]}, enforcement_mode: PERMISSIVE}}",
    ],
    &[
        "{kind: ServiceRole, apiVersion: rbac.istio.io/v1alpha1, metadata: {name: r1}, spec: {rules: [{services: ['reviews*'], methods: [GET]}]}}",
        "{kind: ServiceRole, apiVersion: rbac.istio.io/v1alpha1, metadata: {name: r1, namespace: istio-system}, spec: {rules: [{constraints: [{key: 'destination.labels[version]', values: [v1]}]}]}}",
    ],
    &[
        "{kind: ServiceRoleBinding, apiVersion: rbac.istio.io/v1alpha1, metadata: {name: b1}, spec: {subjects: [{user: '*'}], role: r1}}",
        "{kind: ServiceRoleBinding, apiVersion: rbac.istio.io/v1alpha1, metadata: {name: b1}, spec: {subjects: [{namespaces: [other]}], role: /r1}}",
    ],
    &[
        "{kind: ServiceIntentions, apiVersion: consul.hashicorp.com/v1alpha1, metadata: {name: i1}, spec: {destination: {name: reviews}, sources: [{name: a, action: deny}]}}",
        "{kind: ServiceIntentions, apiVersion: consul.hashicorp.com/v1alpha1, metadata: {name: i1}, spec: {destination: {name: '*', namespace: '*'}, sources: [{name: '*', action: allow}]}}",
    ],
    &[
        "{kind: TrafficTarget, apiVersion: access.smi-spec.io/v1alpha3, metadata: {name: t1}, spec: {destination: {name: default}, sources: [{name: a}], rules: [{kind: HTTPRouteGroup, name: g1}]}}",
    ],
    &[
        "{kind: HTTPRouteGroup, apiVersion: specs.smi-spec.io/v1alpha4, metadata: {name: g1}, spec: {matches: [{name: m, methods: [GET]}]}}",
    ],
    &[
        "{kind: Namespace, apiVersion: v1, metadata: {name: third}}",
        "{kind: Namespace, apiVersion: v1, metadata: {name: default, annotations: {halcyon.dev/intention-default: deny}}}",
        "{kind: Namespace, apiVersion: v1, metadata: {name: default, annotations: {halcyon.dev/traffic-target-default: deny}}}",
    ],
    &["{kind: ServiceAccount, apiVersion: v1, metadata: {name: s}}"],
    &[
        "{kind: Sidecar, spec: {egress: [{hosts: ['./*']}]}}",
        "{kind: Sidecar, spec: {workloadSelector: {labels: {version: v1}}, outboundTrafficPolicy: {mode: REGISTRY_ONLY}, egress: [{hosts: ['*/*.example.org', 'other/*']}]}}",
        "{kind: Sidecar, spec: {ingress: [{port: {number: 8080, protocol: HTTP, name: a}}], outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: reviews, port: {number: 9080}}}, egress: [{port: {number: 80, protocol: TCP, name: a}, captureMode: NONE, hosts: ['*/*']}, {hosts: ['./*']}]}}",
    ],
    &[
        "{kind: EgressPolicy, apiVersion: halcyon.dev/v1alpha1, spec: {rules: [{hosts: [s.example.org, api.test]}]}}",
        "{kind: EgressPolicy, apiVersion: halcyon.dev/v1alpha1, spec: {selector: {matchLabels: {app: reviews}}, rules: [{hosts: ['*.example.org', db.test], cidrs: [10.0.0.0/8]}]}}",
        "{kind: EgressPolicy, apiVersion: halcyon.dev/v1alpha1, spec: {accounts: [bookinfo-reviews], rules: [{hosts: [api.test], ports: [{number: 80, protocol: HTTP}], tls: {mode: SIMPLE}}]}}",
    ],
    &[
        "{kind: EgressPolicy, apiVersion: halcyon.dev/v1alpha1, metadata: {name: mesh, namespace: istio-system}, spec: {rules: [{hosts: ['*.named.org', api.test]}]}}",
    ],
    &[
        "{kind: PeerAuthentication, apiVersion: security.istio.io/v1, spec: {mtls: {mode: STRICT}}}",
        "{kind: PeerAuthentication, apiVersion: security.istio.io/v1, spec: {selector: {matchLabels: {app: reviews}}, mtls: {mode: DISABLE}}}",
    ],
    &[
        "{kind: RequestAuthentication, apiVersion: security.istio.io/v1, spec: {jwtRules: [{issuer: a, jwksUri: 'https://k'}]}}",
        "{kind: RequestAuthentication, apiVersion: security.istio.io/v1, spec: {selector: {matchLabels: {app: reviews}}, jwtRules: [{issuer: b, jwks: '{\"keys\":[]}'}]}}",
    ],
    &[
        "{kind: RequestAuthentication, apiVersion: security.istio.io/v1, metadata: {name: all, namespace: istio-system}, spec: {jwtRules: [{issuer: c, jwksUri: 'https://k'}]}}",
    ],
    &[
        "{kind: LoginPolicy, apiVersion: halcyon.dev/v1alpha1, metadata: {name: l}, spec: {clientId: a, clientSecret: {name: login}, authorizationEndpoint: 'http://l.example.org/a', tokenEndpoint: 'http://s.example.org/t'}}",
        "{kind: LoginPolicy, apiVersion: halcyon.dev/v1alpha1, metadata: {name: l}, spec: {clientId: a, clientSecret: {name: login}, authorizationEndpoint: 'http://l.example.org/a', tokenEndpoint: 'https://l.example.org/t'}}",
    ],
    &[
        "{kind: LoginPolicy, apiVersion: halcyon.dev/v1alpha1, metadata: {name: l, namespace: istio-system}, spec: {clientId: a, clientSecret: {name: login}, issuer: 'https://k'}}",
    ],
    &[
        "{kind: Secret, apiVersion: v1, metadata: {name: login}, stringData: {client-secret: one}}",
        "{kind: Secret, apiVersion: v1, metadata: {name: login}, stringData: {client-secret: two}}",
    ],
    &[
        "{kind: ServiceEntry, metadata: {name: l, namespace: other}, spec: {hosts: [l.example.org], resolution: DNS, ports: [{number: 443, name: https, protocol: HTTPS}]}}",
        "{kind: ServiceEntry, metadata: {name: l, namespace: other}, spec: {hosts: [l.example.org], exportTo: [.], resolution: DNS, ports: [{number: 443, name: https, protocol: HTTPS}]}}",
    ],
    &[
        "{kind: DestinationRule, metadata: {name: l, namespace: other}, spec: {host: l.example.org, trafficPolicy: {tls: {mode: SIMPLE}}}}",
        "{kind: DestinationRule, metadata: {name: l, namespace: other}, spec: {host: '*.example.org', trafficPolicy: {tls: {mode: SIMPLE}}}}",
    ],
    &[
        "{kind: Gateway, metadata: {name: g}, spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}}",
        "{kind: Gateway, metadata: {name: g}, spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*.example.org'], tls: {mode: SIMPLE, credentialName: cert}}]}}",
        "{kind: Gateway, metadata: {name: g}, spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*.example.org'], tls: {mode: MUTUAL, credentialName: cert}}]}}",
        "{kind: Gateway, metadata: {name: g}, spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*.example.org'], tls: {mode: MUTUAL, credentialName: cert, caCertCredentialName: 'configmap://other/roots'}}]}}",
    ],
    &[
        "{kind: Ingress, apiVersion: networking.k8s.io/v1, metadata: {name: i}, spec: {ingressClassName: edge, tls: [{secretName: cert}], rules: [{host: i.example.org, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: reviews, port: {name: http}}}}]}}]}}",
        "{kind: Ingress, apiVersion: networking.k8s.io/v1, metadata: {name: i}, spec: {ingressClassName: istio, defaultBackend: {service: {name: reviews, port: {number: 9080}}}}}",
    ],
    &[
        "{kind: IngressClass, apiVersion: networking.k8s.io/v1, metadata: {name: edge}, spec: {controller: istio.io/ingress-controller}}",
        "{kind: IngressClass, apiVersion: networking.k8s.io/v1, metadata: {name: edge}, spec: {controller: other}}",
    ],
    &[
        "{kind: EnvoyFilter, apiVersion: networking.istio.io/v1alpha3, metadata: {name: f}, spec: {configPatches: [{applyTo: CLUSTER, patch: {operation: MERGE, value: {connect_timeout: 1s}}}]}}",
        "{kind: EnvoyFilter, apiVersion: networking.istio.io/v1alpha3, metadata: {name: f}, spec: {workloadSelector: {labels: {app: reviews}}, configPatches: []}}",
    ],
    &[
        "{kind: Secret, apiVersion: v1, metadata: {name: cert}, stringData: {tls.crt: one, tls.key: two, ca.crt: three}}",
        "{kind: Secret, apiVersion: v1, metadata: {name: cert}, stringData: {tls.crt: four, tls.key: two}}",
    ],
    &[
        "{kind: ConfigMap, apiVersion: v1, metadata: {name: cert-cacert}, data: {ca.crt: five, ca.crl: six}}",
        "{kind: ConfigMap, apiVersion: v1, metadata: {name: cert-cacert}, data: {other: five}}",
    ],
    &[
        "{kind: ConfigMap, apiVersion: v1, metadata: {name: roots, namespace: other}, data: {cacert: seven}}",
        "{kind: ConfigMap, apiVersion: v1, metadata: {name: roots, namespace: other}, data: {cacert: eight}}",
    ],
    &[
        "{kind: Deployment, apiVersion: apps/v1, metadata: {name: dep}, spec: {selector: {matchLabels: {app: reviews}}, template: {metadata: {labels: {app: reviews, version: v2}}, spec: {serviceAccountName: described, containers: [{name: c, image: i}]}}}}",
    ],
];

/// Workloads that come and go.
const WORKLOADS: [&str; 4] = ["reviews/v1@2#us/z1", "reviews/v2@3#eu/z1", "ratings/v1@4", "s/v1@5#us/z2"];

/// Steps for each seed.
const STEPS: usize = 60;

#[test]
fn step_by_step_is_as_from_nothing() {
    for seed in 1..=24 {
        let mut mesh = Mesh::new(seed);
        for step in 0..STEPS {
            let edit = mesh.edit();
            mesh.take(edit, &format!("seed {seed}, step {step}"));
        }
    }
}

/// What stands, and what was kept for each node.
struct Mesh {
    chance: u64,
    resources: BTreeMap<ResourceKey, Arc<Resource>>,
    workloads: BTreeMap<Arc<str>, Arc<Workload>>,
    not_ready: Arc<BTreeSet<SocketAddr>>,
    world: World,
    scopes: Vec<(Node, Common)>,
    nodes: Vec<Kept>,
}

struct Kept {
    node: Node,
    scope: Node,
    own: Config,
    /// The secrets that its scope asks for.
    asked: Vec<Arc<str>>,
}

impl Mesh {
    fn new(seed: u64) -> Self {
        let mut elsewhere = sidecar("ratings/v1@4", 9080);
        elsewhere.namespace = "other".into();
        let mut foreign = sidecar("reviews/v1@2", 9080);
        foreign.ours = false;
        let nodes = [
            sidecar("reviews/v1@2#us/z1", 9080),
            sidecar("reviews/v2@2#us/z2", 9080),
            Node { on_demand: true, ..sidecar("reviews/v2@3", 9080) },
            sidecar("s/v1@5#eu/z1", 80),
            sidecar_with_upstream("s/v2@6", "s.example.org", 80),
            elsewhere,
            foreign,
            gateway(),
        ];
        let world = World::new(Inputs::default());
        let mut mesh = Self {
            chance: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            resources: BTreeMap::new(),
            workloads: BTreeMap::new(),
            not_ready: Arc::default(),
            world,
            scopes: Vec::new(),
            nodes: Vec::new(),
        };
        for node in nodes {
            let scope = mesh.world.scope(&node);
            let asked = mesh.common(&scope).secrets.clone();
            let own = translate::own(&mesh.world, &node, &asked);
            mesh.nodes.push(Kept { node, scope, own, asked });
        }
        mesh
    }

    /// A number below `limit` (xorshift: the same on every machine).
    fn dice(&mut self, limit: usize) -> usize {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance >> 11) as usize % limit
    }

    fn common(&mut self, scope: &Node) -> &Common {
        if !self.scopes.iter().any(|(known, _)| known == scope) {
            self.scopes.push((scope.clone(), translate::common(&self.world, scope)));
        }
        &self.scopes.iter().find(|(known, _)| known == scope).unwrap().1
    }

    /// Some changes at once, mostly one.
    fn edit(&mut self) -> Edit {
        let mut edit = Edit::default();
        let mut keys = BTreeSet::new();
        for _ in 0..=self.dice(8) / 5 * 2 {
            match self.dice(4) {
                0 => self.edit_workload(&mut edit, &mut keys),
                _ => self.edit_resource(&mut edit, &mut keys),
            }
        }
        edit
    }

    fn edit_resource(&mut self, edit: &mut Edit, keys: &mut BTreeSet<String>) {
        let variants = DOCUMENTS[self.dice(DOCUMENTS.len())];
        let resource = read(variants[self.dice(variants.len())]);
        let key = resource.key();
        if !keys.insert(key.to_string()) {
            return;
        }
        let old = self.resources.remove(&key);
        let new = (self.dice(4) > 0).then_some(resource);
        self.resources.extend(new.clone().map(|new| (key, new)));
        edit.resources.push((old, new));
    }

    fn edit_workload(&mut self, edit: &mut Edit, keys: &mut BTreeSet<String>) {
        let mut new = workload(WORKLOADS[self.dice(WORKLOADS.len())]);
        if !keys.insert(new.name.to_string()) {
            return;
        }
        new.mesh_tls = self.dice(4) > 0;
        if self.dice(3) == 0 {
            new.implied_service = Some(ImpliedService { name: "s".into(), ports: vec![(80, Some("http".into()))] });
        }
        if self.dice(3) == 0 {
            new.address = [127, 64, 0, 9].into();
        }
        let old = self.workloads.remove(&new.name);
        let new = (self.dice(3) > 0).then(|| Arc::new(new));
        self.workloads.extend(new.clone().map(|new| (new.name.clone(), new)));
        let waiting = self
            .workloads
            .values()
            .filter(|_| self.chance.is_multiple_of(5))
            .flat_map(|w| [80, 9080].map(|port| SocketAddr::new(w.address, port)));
        let waiting: Arc<BTreeSet<SocketAddr>> = Arc::new(waiting.collect());
        if waiting != self.not_ready {
            self.not_ready = waiting.clone();
            edit.not_ready = Some(waiting);
        }
        edit.workloads.push((old, new));
    }

    /// Follows the change only, and compares with everything made from nothing.
    fn take(&mut self, edit: Edit, place: &str) {
        let said = format!("{place}: {edit:?}");
        let (world, change) = self.world.next(edit);
        let whole = World::new(Inputs {
            resources: self.resources.values().cloned().collect(),
            workloads: self.workloads.values().cloned().collect(),
            not_ready: self.not_ready.clone(),
            vips: (*self.world.vips).clone(),
            ..Inputs::default()
        });
        assert_eq!(world.vips, whole.vips, "{said}");
        let services = |world: &World| world.services().cloned().collect::<Vec<_>>();
        assert_eq!(services(&world), services(&whole), "{said}");
        let filters =
            |world: &World| world.envoy_filters().map(|filter| (filter.key(), filter.spec.clone())).collect::<Vec<_>>();
        assert_eq!(filters(&world), filters(&whole), "{said}");
        let problems = translate::check(&world);
        assert_eq!(problems, translate::check(&whole), "{said}");
        if !change.concerns_problems() {
            assert_eq!(problems, translate::check(&self.world), "{said}");
        }
        self.world = world;
        self.follow(&change);
        for kept in &self.nodes {
            let common = &self.scopes.iter().find(|(scope, _)| *scope == kept.scope).unwrap().1;
            let mut config = common.config.clone();
            config.listeners.extend(kept.own.listeners.clone());
            config.routes.extend(kept.own.routes.clone());
            config.clusters.extend(kept.own.clusters.clone());
            config.secrets.extend(kept.own.secrets.clone());
            config.limits.extend(kept.own.limits.clone());
            let expected = translate::translate(&whole, &kept.node);
            assert_eq!(config, expected, "{} {said}\n{change:?}", kept.node.id);
        }
    }

    /// As a control plane does it.
    fn follow(&mut self, change: &Change) {
        let mut concerned = Vec::new();
        let world = &self.world;
        for (scope, common) in &mut self.scopes {
            if change.concerns_scope(world, scope, &common.seen) {
                *common = translate::common(world, scope);
                concerned.push(scope.clone());
                continue;
            }
            for host in change.endpoints().filter(|host| common.seen.contains(*host)) {
                for set in translate::endpoints(world, scope, host) {
                    assert!(common.config.endpoints.contains_key(&set.name), "only the content may be new");
                    common.config.endpoints.insert(set.name.clone(), set);
                }
            }
        }
        for number in 0..self.nodes.len() {
            let Kept { node, scope, .. } = &self.nodes[number];
            let node = node.clone();
            let scope = if change.is_everything() { self.world.scope(&node) } else { scope.clone() };
            let secrets = self.common(&scope).secrets.clone();
            let upstreams = matches!(node.role, Role::Sidecar { capture: Capture::Upstreams(_), .. });
            let kept = &mut self.nodes[number];
            if change.concerns_own(&node) || secrets != kept.asked || upstreams && concerned.contains(&scope) {
                kept.own = translate::own(&self.world, &node, &secrets);
            }
            (kept.scope, kept.asked) = (scope, secrets);
        }
    }
}

fn read(document: &str) -> Arc<Resource> {
    let whole = match document.contains("apiVersion") {
        true => document.to_owned(),
        false => document.replacen('{', "{apiVersion: networking.istio.io/v1, ", 1),
    };
    let whole =
        if whole.contains("metadata: {name") { whole } else { whole.replacen('{', "{metadata: {name: only}, ", 1) };
    let parsed = api::parse("test.yaml", &whole);
    let errors: Vec<_> = parsed.problems.iter().filter(|p| p.is_error()).map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{document}: {errors:#?}");
    parsed.resources[0].clone()
}
