//! The rows: by kind, which fields have no effect yet, and what happens instead. A row goes when its field gets its effect.

use super::NotEnforced;
use crate::kind::Kind;

/// Every kind that has such fields.
pub(super) const TABLE: &[(Kind, &[NotEnforced])] = &[
    (Kind::VirtualService, VIRTUAL_SERVICE),
    (Kind::DestinationRule, POLICY),
    (Kind::Gateway, GATEWAY),
    (Kind::ServiceEntry, SERVICE_ENTRY),
    (Kind::WorkloadEntry, WORKLOAD_ENTRY),
    (Kind::WorkloadGroup, WORKLOAD_GROUP),
    (Kind::ProxyConfig, PROXY_CONFIG),
    (Kind::IstioOperator, ISTIO_OPERATOR),
    (Kind::Sidecar, SIDECAR),
    (Kind::AuthorizationPolicy, AUTHORIZATION_POLICY),
    (Kind::RequestAuthentication, REQUEST_AUTHENTICATION),
    (Kind::Telemetry, TELEMETRY),
    (Kind::TrafficExtension, TRAFFIC_EXTENSION),
    (Kind::WasmPlugin, WASM_PLUGIN),
    (Kind::Service, SERVICE),
    (Kind::Namespace, NAMESPACE),
    (Kind::Ingress, INGRESS),
    (Kind::IngressClass, INGRESS_CLASS),
    (Kind::Deployment, DEPLOYMENT),
    (Kind::Pod, POD),
];

const VIRTUAL_SERVICE: &[NotEnforced] = &[
    (
        "spec.http[].retries.retryOn=retriable-headers",
        "which headers is nowhere said, so no response is tried again because of them",
    ),
    ("spec.http[].retries.retryOn=http3-post-connect-failure", "HTTP/3 is not spoken, so there is nothing to retry"),
];

/// Fields of a policy, at each of the four places where one can stand.
macro_rules! at_each_policy {
    ($($field:literal: $instead:expr;)*) => { &[$(
        (concat!("spec.trafficPolicy.", $field), $instead),
        (concat!("spec.trafficPolicy.portLevelSettings[].", $field), $instead),
        (concat!("spec.subsets[].trafficPolicy.", $field), $instead),
        (concat!("spec.subsets[].trafficPolicy.portLevelSettings[].", $field), $instead),
    )*] };
}

const POLICY: &[NotEnforced] = at_each_policy! {
    "outlierDetection.consecutiveErrors": "it is not counted: `consecutive5xxErrors` and `consecutiveGatewayErrors` are";
};

const NO_SUCH_SUITE: &str = "the suite is not offered";

const GATEWAY: &[NotEnforced] = &[
    ("spec.servers[].bind=~unix://", "nothing listens at a socket with a path: the server is left out"),
    ("spec.servers[].tls.cipherSuites[]=ECDHE-ECDSA-AES128-SHA", NO_SUCH_SUITE),
    ("spec.servers[].tls.cipherSuites[]=ECDHE-ECDSA-AES256-SHA", NO_SUCH_SUITE),
    ("spec.servers[].tls.cipherSuites[]=ECDHE-RSA-AES128-SHA", NO_SUCH_SUITE),
    ("spec.servers[].tls.cipherSuites[]=ECDHE-RSA-AES256-SHA", NO_SUCH_SUITE),
    ("spec.servers[].tls.cipherSuites[]=AES128-GCM-SHA256", NO_SUCH_SUITE),
    ("spec.servers[].tls.cipherSuites[]=AES256-GCM-SHA384", NO_SUCH_SUITE),
    ("spec.servers[].tls.cipherSuites[]=AES128-SHA", NO_SUCH_SUITE),
    ("spec.servers[].tls.cipherSuites[]=AES256-SHA", NO_SUCH_SUITE),
    ("spec.servers[].tls.cipherSuites[]=DES-CBC3-SHA", NO_SUCH_SUITE),
];

const NOT_CARRIED: &str = "datagrams are not carried by the mesh";
const ONE_NETWORK: &str = "every workload is dialled at its own address; one without an address gets no traffic";

const SERVICE_ENTRY: &[NotEnforced] =
    &[("spec.ports[].protocol=UDP", NOT_CARRIED), ("spec.endpoints[].network", ONE_NETWORK)];

const WORKLOAD_ENTRY: &[NotEnforced] = &[("spec.network", ONE_NETWORK)];

const WORKLOAD_GROUP: &[NotEnforced] = &[
    ("spec.metadata.annotations[traffic.sidecar.istio.io/kubevirtInterfaces]", NO_VIRTUAL),
    ("spec.metadata.annotations[sidecar.istio.io/*]", NO_PROXY_SETTINGS),
    ("spec.metadata.annotations[proxy.istio.io/overrides]", NO_PROXY_SETTINGS),
    ("spec.template.network", ONE_NETWORK),
];

const NO_IMAGE: &str = "no image is pulled: the proxy is the program beside the launcher";
/// Of variables those that Istio's agent reads: ours reads none of them.
macro_rules! of_agent {
    ($at:literal, $($rest:expr),* $(,)?) => { &[
        (concat!($at, "[ISTIO_META_*]"), $crate::enforced::table::NO_AGENT),
        (concat!($at, "[PROXY_*]"), $crate::enforced::table::NO_AGENT),
        (concat!($at, "[EXIT_ON_ZERO_ACTIVE_CONNECTIONS]"), $crate::enforced::table::NO_AGENT),
        (concat!($at, "[MINIMUM_DRAIN_DURATION]"), $crate::enforced::table::NO_AGENT),
        (concat!($at, "[HALCYON_*]"), "variables of this name belong to the launcher"),
        $($rest),*
    ] };
}
pub(super) use of_agent;

pub(super) const NO_AGENT: &str = "it is given to the process, which has no use for it";

const PROXY_CONFIG: &[NotEnforced] = of_agent!("spec.environmentVariables", ("spec.image{}", NO_IMAGE));

const NOT_INSTALLED: &str = "nothing is installed: of an IstioOperator only `meshConfig` is read";

const ISTIO_OPERATOR: &[NotEnforced] = &[
    ("spec.profile", NOT_INSTALLED),
    ("spec.installPackagePath", NOT_INSTALLED),
    ("spec.hub", NOT_INSTALLED),
    ("spec.tag", NOT_INSTALLED),
    ("spec.resourceSuffix", NOT_INSTALLED),
    ("spec.namespace", NOT_INSTALLED),
    ("spec.revision", NOT_INSTALLED),
    ("spec.defaultRevision", NOT_INSTALLED),
    ("spec.compatibilityVersion", NOT_INSTALLED),
    ("spec.components{}", NOT_INSTALLED),
    ("spec.addonComponents{}", NOT_INSTALLED),
    ("spec.values{}", NOT_INSTALLED),
    ("spec.unvalidatedValues{}", NOT_INSTALLED),
];

const SIDECAR: &[NotEnforced] =
    &[("spec.ingress[].port.protocol=UDP", NOT_CARRIED), ("spec.egress[].port.protocol=UDP", NOT_CARRIED)];

const NO_WAYPOINT: &str = "such targets belong to waypoints, which there are none of: the policy concerns nobody";

const AUTHORIZATION_POLICY: &[NotEnforced] = &[
    ("spec.targetRef.kind=Service", NO_WAYPOINT),
    ("spec.targetRef.kind=ServiceEntry", NO_WAYPOINT),
    ("spec.targetRef.kind=GatewayClass", NO_WAYPOINT),
    ("spec.targetRefs[].kind=Service", NO_WAYPOINT),
    ("spec.targetRefs[].kind=ServiceEntry", NO_WAYPOINT),
    ("spec.targetRefs[].kind=GatewayClass", NO_WAYPOINT),
];

const NO_LOAD_BALANCER: &str = "no load balancer is made";
const FROM_OUTSIDE: &str = "nothing is opened towards the outside: a Gateway does that";

const NO_GATEWAY_API: &str = "gateways of the Gateway API are not opened yet, so the document is for nobody";

const REQUEST_AUTHENTICATION: &[NotEnforced] =
    &[("spec.targetRef", NO_GATEWAY_API), ("spec.targetRefs", NO_GATEWAY_API)];

const TELEMETRY: &[NotEnforced] = &[
    ("spec.targetRef", NO_GATEWAY_API),
    ("spec.targetRefs", NO_GATEWAY_API),
    ("spec.tracing[].useRequestIdForTraceSampling", "a trace says itself whether it is recorded"),
    ("spec.tracing[].enableIstioTags", "spans have the tags of OpenTelemetry's conventions"),
    ("spec.tracing[].disableContextPropagation", "contexts go on"),
    ("spec.metrics[].overrides[].match.customMetric", "there are no metrics but Istio's"),
    ("spec.metrics[].reportingInterval", "connections that stand are counted every 5 s"),
];

const NO_CREDENTIALS: &str = "modules are fetched without credentials";
const FETCHED_ONCE: &str =
    "a proxy fetches a module when it starts, and when anything of the document's `spec` changes";
const NO_NETWORK_MODULE: &str = "modules are filters of requests: this one does nothing";

const TRAFFIC_EXTENSION: &[NotEnforced] = &[
    ("spec.targetRefs", NO_GATEWAY_API),
    ("spec.wasm.imagePullPolicy=Always", FETCHED_ONCE),
    ("spec.wasm.imagePullSecret", NO_CREDENTIALS),
    ("spec.wasm.type=NETWORK", NO_NETWORK_MODULE),
];

const WASM_PLUGIN: &[NotEnforced] = &[
    ("spec.targetRef", NO_GATEWAY_API),
    ("spec.targetRefs", NO_GATEWAY_API),
    ("spec.imagePullPolicy=Always", FETCHED_ONCE),
    ("spec.imagePullSecret", NO_CREDENTIALS),
    ("spec.type=NETWORK", NO_NETWORK_MODULE),
    ("spec.verificationKey", "signatures are not checked, as in Istio"),
];

const SERVICE: &[NotEnforced] = &[
    ("spec.type=NodePort", FROM_OUTSIDE),
    ("spec.type=LoadBalancer", FROM_OUTSIDE),
    ("spec.ports[].protocol=UDP", NOT_CARRIED),
    ("spec.ports[].protocol=SCTP", "SCTP is not carried by the mesh"),
    ("spec.ports[].nodePort", FROM_OUTSIDE),
    ("spec.externalIPs", "connections to these addresses are taken for ones to an unknown destination"),
    ("spec.sessionAffinityConfig", "a client stays with its workload for any time, as long as that is there"),
    ("spec.loadBalancerIP", NO_LOAD_BALANCER),
    ("spec.loadBalancerClass", NO_LOAD_BALANCER),
    ("spec.loadBalancerSourceRanges", "no load balancer is made, and nobody is kept out"),
    ("spec.healthCheckNodePort", NO_LOAD_BALANCER),
    ("spec.externalTrafficPolicy=Local", NO_LOAD_BALANCER),
    ("spec.internalTrafficPolicy=Local", "requests go to workloads on other machines too"),
    (
        "spec.publishNotReadyAddresses",
        "it counts for the names of a headless service only; others lead to a workload once its program is ready",
    ),
    ("spec.ipFamilies[]=IPv6", "a virtual address that the mesh gives is one of IPv4"),
    ("spec.ipFamilyPolicy=PreferDualStack", "a virtual address that the mesh gives is one of IPv4"),
    ("spec.ipFamilyPolicy=RequireDualStack", "a virtual address that the mesh gives is one of IPv4"),
    ("spec.topologyKeys", "`trafficDistribution` took its place: these labels do not count"),
    ("spec.ipFamily", "a virtual address that the mesh gives is one of IPv4"),
];

const NO_RESOURCE: &str = "only Services are backends: the path is left out";

const INGRESS: &[NotEnforced] = &[
    ("spec.defaultBackend.resource{}", "only Services are backends: there is no default backend"),
    ("spec.rules[].http.paths[].backend.resource{}", NO_RESOURCE),
];

const INGRESS_CLASS: &[NotEnforced] = &[("spec.parameters{}", "no parameters of a class are read")];

const NAMESPACE: &[NotEnforced] = &[(
    "metadata.annotations[networking.istio.io/traffic-distribution]",
    "the annotation counts at Services and ServiceEntries only, each for itself",
)];

const AS_LAUNCHED: &str = "whether a workload is captured is said when it is started";
const NO_VIRTUAL: &str = "a workload has no interfaces of virtual machines";
const NO_PROXY_SETTINGS: &str = "settings of its proxy are given when it is started";

const DEPLOYMENT: &[NotEnforced] = &[
    ("spec.template.metadata.annotations[traffic.sidecar.istio.io/kubevirtInterfaces]", NO_VIRTUAL),
    ("spec.template.metadata.annotations[sidecar.istio.io/*]", NO_PROXY_SETTINGS),
    ("spec.template.metadata.annotations[proxy.istio.io/overrides]", NO_PROXY_SETTINGS),
    ("spec.template.metadata.labels[sidecar.istio.io/inject]", AS_LAUNCHED),
    ("spec.template.spec.hostNetwork", AS_LAUNCHED),
];

const POD: &[NotEnforced] = &[
    ("metadata.annotations[traffic.sidecar.istio.io/kubevirtInterfaces]", NO_VIRTUAL),
    ("metadata.annotations[sidecar.istio.io/*]", NO_PROXY_SETTINGS),
    ("metadata.annotations[proxy.istio.io/overrides]", NO_PROXY_SETTINGS),
    ("metadata.labels[sidecar.istio.io/inject]", AS_LAUNCHED),
    ("spec.hostNetwork", AS_LAUNCHED),
];
