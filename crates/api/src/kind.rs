//! Every kind that we know by name: its group and versions, how people type it, and what becomes of it here.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What becomes of a kind here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Support {
    /// Read, checked and enforced.
    Read,
    /// It would change what the mesh does, but is not enforced yet: a warning says so.
    NotEnforced,
    /// It does not concern a mesh, and is kept unread: a warning says so.
    NotRead,
}

use Support::{NotEnforced, NotRead, Read};

/// What is known of a kind.
struct Row {
    kind: Kind,
    name: &'static str,
    group: &'static str,
    /// Versions that exist; empty if any is taken.
    versions: &'static [&'static str],
    plural: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    support: Support,
}

macro_rules! kinds {
    ($( $(#[$doc:meta])* $variant:ident $name:literal $group:literal $versions:expr, $plural:literal $short:expr, $namespaced:literal $support:ident; )*) => {
        /// A kind of resource. The doc of each variant names its API group.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $( #[doc = concat!("`", $name, "` of the API group `", $group, "` (empty: core).")] $variant, )*
        }

        const ROWS: &[Row] = &[ $( Row {
            kind: Kind::$variant, name: $name, group: $group, versions: &$versions, plural: $plural, short: &$short,
            namespaced: $namespaced, support: $support,
        }, )* ];
    };
}

kinds! {
    VirtualService "VirtualService" "networking.istio.io" ["v1", "v1beta1", "v1alpha3"], "virtualservices" ["vs"], true Read;
    DestinationRule "DestinationRule" "networking.istio.io" ["v1", "v1beta1", "v1alpha3"], "destinationrules" ["dr"], true Read;
    Gateway "Gateway" "networking.istio.io" ["v1", "v1beta1", "v1alpha3"], "gateways" ["gw"], true Read;
    ServiceEntry "ServiceEntry" "networking.istio.io" ["v1", "v1beta1", "v1alpha3"], "serviceentries" ["se"], true Read;
    WorkloadEntry "WorkloadEntry" "networking.istio.io" ["v1", "v1beta1", "v1alpha3"], "workloadentries" ["we"], true Read;
    Sidecar "Sidecar" "networking.istio.io" ["v1", "v1beta1", "v1alpha3"], "sidecars" [], true Read;
    PeerAuthentication "PeerAuthentication" "security.istio.io" ["v1", "v1beta1"], "peerauthentications" ["pa"], true Read;
    EnvoyFilter "EnvoyFilter" "networking.istio.io" ["v1alpha3"], "envoyfilters" [], true Read;

    WorkloadGroup "WorkloadGroup" "networking.istio.io" ["v1", "v1beta1", "v1alpha3"], "workloadgroups" ["wg"], true Read;
    AuthorizationPolicy "AuthorizationPolicy" "security.istio.io" ["v1", "v1beta1"], "authorizationpolicies" ["ap"], true Read;
    ClusterRbacConfig "ClusterRbacConfig" "rbac.istio.io" ["v1alpha1"], "clusterrbacconfigs" [], false Read;
    RbacConfig "RbacConfig" "rbac.istio.io" ["v1alpha1"], "rbacconfigs" [], true Read;
    ServiceRole "ServiceRole" "rbac.istio.io" ["v1alpha1"], "serviceroles" [], true Read;
    ServiceRoleBinding "ServiceRoleBinding" "rbac.istio.io" ["v1alpha1"], "servicerolebindings" [], true Read;
    ServiceIntentions "ServiceIntentions" "consul.hashicorp.com" ["v1alpha1"], "serviceintentions" ["service-intentions"], true Read;
    TrafficTarget "TrafficTarget" "access.smi-spec.io" ["v1alpha3", "v1alpha2", "v1alpha1"], "traffictargets" ["tt"], true Read;
    HttpRouteGroup "HTTPRouteGroup" "specs.smi-spec.io" ["v1alpha4", "v1alpha3", "v1alpha2", "v1alpha1"], "httproutegroups" ["htr"], true Read;
    ProxyConfig "ProxyConfig" "networking.istio.io" ["v1beta1", "v1"], "proxyconfigs" [], true Read;
    IstioOperator "IstioOperator" "install.istio.io" [], "istiooperators" ["iop"], true Read;

    ServicePolicy "ServicePolicy" "halcyon.dev" ["v1alpha1"], "servicepolicies" ["svcpol"], true Read;
    RateLimitPolicy "RateLimitPolicy" "halcyon.dev" ["v1alpha1"], "ratelimitpolicies" ["rlp"], true Read;
    EgressPolicy "EgressPolicy" "halcyon.dev" ["v1alpha1"], "egresspolicies" ["egp"], true Read;
    LoginPolicy "LoginPolicy" "halcyon.dev" ["v1alpha1"], "loginpolicies" ["login"], true Read;
    GeoRoute "GeoRoute" "halcyon.dev" ["v1alpha1"], "georoutes" ["geo"], true Read;

    Service "Service" "" ["v1"], "services" ["svc"], true Read;
    Deployment "Deployment" "apps" ["v1"], "deployments" ["deploy"], true Read;
    Pod "Pod" "" ["v1"], "pods" ["po"], true Read;
    ServiceAccount "ServiceAccount" "" ["v1"], "serviceaccounts" ["sa"], true Read;
    Namespace "Namespace" "" ["v1"], "namespaces" ["ns"], false Read;
    ConfigMap "ConfigMap" "" ["v1"], "configmaps" ["cm"], true Read;
    Secret "Secret" "" ["v1"], "secrets" [], true Read;
    Ingress "Ingress" "networking.k8s.io" ["v1"], "ingresses" ["ing"], true Read;
    IngressClass "IngressClass" "networking.k8s.io" ["v1"], "ingressclasses" [], false Read;

    RequestAuthentication "RequestAuthentication" "security.istio.io" ["v1", "v1beta1"], "requestauthentications" ["ra"], true Read;
    Telemetry "Telemetry" "telemetry.istio.io" ["v1", "v1alpha1"], "telemetries" ["telemetry"], true Read;
    WasmPlugin "WasmPlugin" "extensions.istio.io" ["v1alpha1"], "wasmplugins" [], true Read;
    TrafficExtension "TrafficExtension" "extensions.istio.io" ["v1alpha1"], "trafficextensions" [], true Read;

    GatewayClass "GatewayClass" "gateway.networking.k8s.io" [], "gatewayclasses" ["gc"], false NotEnforced;
    KubernetesGateway "Gateway" "gateway.networking.k8s.io" [], "gateways" ["gtw"], true NotEnforced;
    HttpRoute "HTTPRoute" "gateway.networking.k8s.io" [], "httproutes" [], true NotEnforced;
    GrpcRoute "GRPCRoute" "gateway.networking.k8s.io" [], "grpcroutes" [], true NotEnforced;
    TcpRoute "TCPRoute" "gateway.networking.k8s.io" [], "tcproutes" [], true NotEnforced;
    TlsRoute "TLSRoute" "gateway.networking.k8s.io" [], "tlsroutes" [], true NotEnforced;
    UdpRoute "UDPRoute" "gateway.networking.k8s.io" [], "udproutes" [], true NotEnforced;
    ReferenceGrant "ReferenceGrant" "gateway.networking.k8s.io" [], "referencegrants" ["refgrant"], true NotEnforced;
    BackendTlsPolicy "BackendTLSPolicy" "gateway.networking.k8s.io" [], "backendtlspolicies" ["btlspolicy"], true NotEnforced;
    ListenerSet "ListenerSet" "gateway.networking.k8s.io" [], "listenersets" ["lset"], true NotEnforced;
    XListenerSet "XListenerSet" "gateway.networking.x-k8s.io" [], "xlistenersets" ["lset"], true NotEnforced;
    XBackendTrafficPolicy "XBackendTrafficPolicy" "gateway.networking.x-k8s.io" [], "xbackendtrafficpolicies" [], true NotEnforced;
    XMesh "XMesh" "gateway.networking.x-k8s.io" [], "xmeshes" [], false NotEnforced;
    ServiceExport "ServiceExport" "multicluster.x-k8s.io" [], "serviceexports" [], true NotEnforced;
    ServiceImport "ServiceImport" "multicluster.x-k8s.io" [], "serviceimports" [], true NotEnforced;

    TrafficSplit "TrafficSplit" "split.smi-spec.io" [], "trafficsplits" ["ts"], true NotEnforced;
    SmiTcpRoute "TCPRoute" "specs.smi-spec.io" ["v1alpha4", "v1alpha3", "v1alpha2", "v1alpha1"], "tcproutes" ["tr"], true Read;
    SmiUdpRoute "UDPRoute" "specs.smi-spec.io" ["v1alpha4", "v1alpha3", "v1alpha2", "v1alpha1"], "udproutes" ["ur"], true Read;
    TrafficMetrics "TrafficMetrics" "metrics.smi-spec.io" [], "trafficmetrics" ["tm"], true NotEnforced;

    Endpoints "Endpoints" "" [], "endpoints" ["ep"], true NotRead;
    EndpointSlice "EndpointSlice" "discovery.k8s.io" [], "endpointslices" [], true NotRead;
    NetworkPolicy "NetworkPolicy" "networking.k8s.io" [], "networkpolicies" ["netpol"], true NotRead;
    StatefulSet "StatefulSet" "apps" [], "statefulsets" ["sts"], true NotRead;
    DaemonSet "DaemonSet" "apps" [], "daemonsets" ["ds"], true NotRead;
    ReplicaSet "ReplicaSet" "apps" [], "replicasets" ["rs"], true NotRead;
    ReplicationController "ReplicationController" "" [], "replicationcontrollers" ["rc"], true NotRead;
    Job "Job" "batch" [], "jobs" [], true NotRead;
    CronJob "CronJob" "batch" [], "cronjobs" ["cj"], true NotRead;
    Role "Role" "rbac.authorization.k8s.io" [], "roles" [], true NotRead;
    RoleBinding "RoleBinding" "rbac.authorization.k8s.io" [], "rolebindings" [], true NotRead;
    ClusterRole "ClusterRole" "rbac.authorization.k8s.io" [], "clusterroles" [], false NotRead;
    ClusterRoleBinding "ClusterRoleBinding" "rbac.authorization.k8s.io" [], "clusterrolebindings" [], false NotRead;
    HorizontalPodAutoscaler "HorizontalPodAutoscaler" "autoscaling" [], "horizontalpodautoscalers" ["hpa"], true NotRead;
    PodDisruptionBudget "PodDisruptionBudget" "policy" [], "poddisruptionbudgets" ["pdb"], true NotRead;
    PersistentVolume "PersistentVolume" "" [], "persistentvolumes" ["pv"], false NotRead;
    PersistentVolumeClaim "PersistentVolumeClaim" "" [], "persistentvolumeclaims" ["pvc"], true NotRead;
    StorageClass "StorageClass" "storage.k8s.io" [], "storageclasses" ["sc"], false NotRead;
    CsiDriver "CSIDriver" "storage.k8s.io" [], "csidrivers" [], false NotRead;
    CustomResourceDefinition "CustomResourceDefinition" "apiextensions.k8s.io" [], "customresourcedefinitions" ["crd", "crds"], false NotRead;
    ApiService "APIService" "apiregistration.k8s.io" [], "apiservices" [], false NotRead;
    MutatingWebhookConfiguration "MutatingWebhookConfiguration" "admissionregistration.k8s.io" [], "mutatingwebhookconfigurations" [], false NotRead;
    ValidatingWebhookConfiguration "ValidatingWebhookConfiguration" "admissionregistration.k8s.io" [], "validatingwebhookconfigurations" [], false NotRead;
    ValidatingAdmissionPolicy "ValidatingAdmissionPolicy" "admissionregistration.k8s.io" [], "validatingadmissionpolicies" [], false NotRead;
    ValidatingAdmissionPolicyBinding "ValidatingAdmissionPolicyBinding" "admissionregistration.k8s.io" [], "validatingadmissionpolicybindings" [], false NotRead;
    LimitRange "LimitRange" "" [], "limitranges" ["limits"], true NotRead;
    ResourceQuota "ResourceQuota" "" [], "resourcequotas" ["quota"], true NotRead;
    PriorityClass "PriorityClass" "scheduling.k8s.io" [], "priorityclasses" ["pc"], false NotRead;
    RuntimeClass "RuntimeClass" "node.k8s.io" [], "runtimeclasses" [], false NotRead;
    Lease "Lease" "coordination.k8s.io" [], "leases" [], true NotRead;
    Event "Event" "" [], "events" ["ev"], true NotRead;
    Node "Node" "" [], "nodes" ["no"], false NotRead;
    PodTemplate "PodTemplate" "" [], "podtemplates" [], true NotRead;
}

impl Kind {
    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// Every kind, those that are read first.
    pub fn all() -> impl Iterator<Item = Kind> {
        ROWS.iter().map(|row| row.kind)
    }

    /// The word after `kind:` in documents, such as `VirtualService`. Two kinds may share it; their groups differ.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The API group; empty for Kubernetes' core group.
    pub fn group(self) -> &'static str {
        self.row().group
    }

    /// The versions that exist, newest first; empty if any version is taken.
    pub fn versions(self) -> &'static [&'static str] {
        self.row().versions
    }

    /// The plural, such as `virtualservices`.
    pub fn plural(self) -> &'static str {
        self.row().plural
    }

    /// Short names, such as `vs`.
    pub fn short_names(self) -> &'static [&'static str] {
        self.row().short
    }

    /// Do its resources live in a namespace?
    pub fn is_namespaced(self) -> bool {
        self.row().namespaced
    }

    /// What becomes of it here.
    pub fn support(self) -> Support {
        self.row().support
    }

    /// A name that no other kind has: [`Kind::name`], with the group where another kind shares the name
    /// (`Gateway`, `Gateway.gateway.networking.k8s.io`).
    pub fn id(self) -> String {
        let first = ROWS.iter().find(|row| row.name == self.name()).map(|row| row.kind);
        if first == Some(self) { self.name().to_owned() } else { format!("{}.{}", self.name(), self.group()) }
    }

    /// The values of `apiVersion` that exist for it, newest first; for kinds of which any version is taken, `group/*`.
    pub fn api_versions(self) -> Vec<String> {
        let with_group = |v: &str| if self.group().is_empty() { v.to_owned() } else { format!("{}/{v}", self.group()) };
        match self.versions() {
            [] => vec![with_group("*")],
            versions => versions.iter().map(|v| with_group(v)).collect(),
        }
    }

    /// The kinds with this word after `kind:`.
    pub(crate) fn named(name: &str) -> Vec<Kind> {
        ROWS.iter().filter(|row| row.name == name).map(|row| row.kind).collect()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id())
    }
}

/// No kind has that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no kind is called `{name}`{}", .nearest.as_ref().map(|n| format!(": did you mean `{n}`?")).unwrap_or_default())]
pub struct UnknownKind {
    /// What was asked for.
    pub name: String,
    /// The kind with the most similar name.
    pub nearest: Option<String>,
}

/// Reads a kind as people type it: `VirtualService`, `virtualservices`, `vs`, `gateways.gateway.networking.k8s.io`;
/// without regard to case. A name that two kinds share means the one that is read here.
impl FromStr for Kind {
    type Err = UnknownKind;
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let lower = text.to_ascii_lowercase();
        let (word, group) = lower.split_once('.').unwrap_or((&lower, ""));
        let is = |row: &&Row| {
            let named = row.name.to_ascii_lowercase() == word || row.plural == word || row.short.contains(&word);
            named && (group.is_empty() || row.group == group)
        };
        ROWS.iter().find(is).map(|row| row.kind).ok_or_else(|| {
            let words: Vec<&str> = ROWS.iter().flat_map(|row| [row.name, row.plural]).collect();
            UnknownKind { name: text.to_owned(), nearest: crate::decode::nearest(text, &words).map(str::to_owned) }
        })
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.id())
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_the_variants() {
        for (index, row) in ROWS.iter().enumerate() {
            assert_eq!(row.kind as usize, index, "{}", row.name);
            assert_eq!(row.kind.id().parse::<Kind>().as_ref(), Ok(&row.kind));
        }
    }

    #[test]
    fn as_people_type_them() {
        for (text, expected) in [
            ("vs", Ok(Kind::VirtualService)),
            ("VirtualServices", Ok(Kind::VirtualService)),
            ("gw", Ok(Kind::Gateway)),
            ("gateway", Ok(Kind::Gateway)),
            ("gateways.gateway.networking.k8s.io", Ok(Kind::KubernetesGateway)),
            ("deploy", Ok(Kind::Deployment)),
            ("svc", Ok(Kind::Service)),
            ("pa", Ok(Kind::PeerAuthentication)),
            ("virtualservcie", Err(Some("VirtualService"))),
            ("banana", Err(None)),
        ] {
            let found = text.parse::<Kind>().map_err(|e| e.nearest);
            assert_eq!(found, expected.map_err(|n: Option<&str>| n.map(str::to_owned)), "{text}");
        }
    }
}
