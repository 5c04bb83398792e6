//! One resource as a value: metadata, origin, its typed fields, and the document as it was written.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value as Json;

use crate::consul::ServiceIntentions;
use crate::document;
use crate::halcyon::{EgressPolicy, GeoRoute, LoginPolicy, RateLimitPolicy, ServicePolicy};
use crate::istio::{
    AuthorizationPolicy, DestinationRule, EnvoyFilter, Gateway, IstioOperator, PeerAuthentication, ProxyConfig,
    RbacConfig, RequestAuthentication, ServiceEntry, ServiceRole, ServiceRoleBinding, Sidecar, Telemetry,
    TrafficExtension, VirtualService, WorkloadEntry, WorkloadGroup,
};
use crate::kind::Kind;
use crate::kubernetes::{
    ConfigMap, Deployment, Ingress, IngressClass, Namespace, Pod, Secret, Service, ServiceAccount,
};
use crate::meta::{Meta, Origin, ResourceKey};
use crate::problem::Problem;
use crate::smi::{HttpRouteGroup, PortRoute, TrafficTarget};
use crate::yaml::{self, Node};

/// A resource that was read and checked without an error.
#[derive(Clone)]
pub struct Resource {
    /// The kind.
    pub kind: Kind,
    /// `apiVersion` as written.
    pub api_version: String,
    /// Name, namespace, labels...
    pub meta: Meta,
    /// Where the user wrote it.
    pub origin: Origin,
    /// The fields of its kind.
    pub spec: Spec,
    document: Json,
}

/// The fields of a resource, by kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Spec {
    /// Istio's traffic rules for hosts.
    VirtualService(Box<VirtualService>),
    /// Istio's policies towards a host.
    DestinationRule(Box<DestinationRule>),
    /// Istio's gateway: which ports and hosts it serves.
    Gateway(Box<Gateway>),
    /// A service that the platform does not know.
    ServiceEntry(Box<ServiceEntry>),
    /// A workload that the platform does not know.
    WorkloadEntry(Box<WorkloadEntry>),
    /// What workloads have in common that the platform does not know.
    WorkloadGroup(Box<WorkloadGroup>),
    /// What the proxies of a namespace or workload reach and serve.
    Sidecar(Box<Sidecar>),
    /// Who must speak mutual TLS.
    PeerAuthentication(Box<PeerAuthentication>),
    /// Which tokens are believed.
    RequestAuthentication(Box<RequestAuthentication>),
    /// What proxies tell of traffic.
    Telemetry(Box<Telemetry>),
    /// A filter that users write; a WasmPlugin is one too.
    TrafficExtension(Box<TrafficExtension>),
    /// Changes to what proxies are sent.
    EnvoyFilter(Box<EnvoyFilter>),
    /// What proxies are started with.
    ProxyConfig(Box<ProxyConfig>),
    /// Istio's rules on who may do what.
    AuthorizationPolicy(Box<AuthorizationPolicy>),
    /// Where Istio's old roles are asked for, of the whole mesh.
    ClusterRbacConfig(Box<RbacConfig>),
    /// The same, as it was called before.
    RbacConfig(Box<RbacConfig>),
    /// Istio's old rules on what may be done.
    ServiceRole(Box<ServiceRole>),
    /// Who has one of them.
    ServiceRoleBinding(Box<ServiceRoleBinding>),
    /// Consul's rules on who may call a service.
    ServiceIntentions(Box<ServiceIntentions>),
    /// SMI's rules on who may do what.
    TrafficTarget(Box<TrafficTarget>),
    /// SMI's requests by name.
    HttpRouteGroup(Box<HttpRouteGroup>),
    /// SMI's connections by port.
    SmiTcpRoute(Box<PortRoute>),
    /// The same for datagrams, which do not pass through proxies.
    SmiUdpRoute(Box<PortRoute>),
    /// What is to be installed, with settings of the mesh.
    IstioOperator(Box<IstioOperator>),
    /// Our own: what a service asks of its clients.
    ServicePolicy(Box<ServicePolicy>),
    /// Our own: how many requests are taken.
    RateLimitPolicy(Box<RateLimitPolicy>),
    /// Our own: which places outside workloads may call.
    EgressPolicy(Box<EgressPolicy>),
    /// Our own: who comes through gateways logs in.
    LoginPolicy(Box<LoginPolicy>),
    /// Our own: rules by where clients are.
    GeoRoute(Box<GeoRoute>),
    /// Kubernetes' name for a set of workloads.
    Service(Box<Service>),
    /// Kubernetes' set of like workloads.
    Deployment(Box<Deployment>),
    /// A single workload of Kubernetes.
    Pod(Box<Pod>),
    /// The identity of workloads.
    ServiceAccount(Box<ServiceAccount>),
    /// A namespace.
    Namespace(Box<Namespace>),
    /// Text and bytes for configuration.
    ConfigMap(Box<ConfigMap>),
    /// Keys and certificates.
    Secret(Box<Secret>),
    /// Kubernetes' rules for what is opened to the outside.
    Ingress(Box<Ingress>),
    /// Who reads Ingresses of a class.
    IngressClass(Box<IngressClass>),
    /// A kind that is known by name and kept unread.
    Opaque,
}

impl Resource {
    pub(crate) fn new(kind: Kind, api_version: String, meta: Meta, origin: Origin, spec: Spec, document: Json) -> Self {
        Self { kind, api_version, meta, origin, spec, document }
    }

    /// Reads a resource back from [`Resource::document`], as a store does. Problems carry the resource instead of a
    /// line. Warnings are left out: they were told when the user wrote it.
    pub fn from_json(document: &Json, origin: Origin) -> Result<Self, Vec<Problem>> {
        let root = Node::from_json(document);
        let (resource, problems) = document::read_one(&root, origin);
        resource.ok_or(problems)
    }

    /// What names it.
    pub fn key(&self) -> ResourceKey {
        ResourceKey { kind: self.kind, namespace: self.meta.namespace.clone(), name: self.meta.name.clone() }
    }

    /// The namespace; empty for kinds that live outside of namespaces.
    pub fn namespace(&self) -> &str {
        self.meta.namespace.as_deref().unwrap_or_default()
    }

    /// The document as it was written, its namespace filled in. A Secret's holds its data.
    pub fn document(&self) -> &Json {
        &self.document
    }

    /// The text at a place of the document, by JSON pointer (RFC 6901): for kinds that are kept unread.
    pub fn text_at(&self, pointer: &str) -> Option<&str> {
        self.document.pointer(pointer)?.as_str()
    }

    /// Is there anything at this place of the document?
    pub fn has(&self, pointer: &str) -> bool {
        self.document.pointer(pointer).is_some_and(|value| !value.is_null())
    }

    /// How long the list at a place of the document is; 0 if there is none.
    pub fn length_at(&self, pointer: &str) -> usize {
        self.document.pointer(pointer).and_then(Json::as_array).map_or(0, Vec::len)
    }

    /// The texts by key at a place of the document, such as labels.
    pub fn texts_at(&self, pointer: &str) -> BTreeMap<String, String> {
        let map = self.document.pointer(pointer).and_then(Json::as_object).into_iter().flatten();
        map.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
    }

    /// The document as YAML: `apiVersion`, `kind` and `metadata` first, `status` last, the rest as it was written.
    pub fn to_yaml(&self) -> String {
        yaml::write(&self.document)
    }

    /// A problem of this resource that was found later, at a place that a [`Spanned`](crate::Spanned) value remembers.
    pub fn problem(&self, problem: Problem, span: yaml::Span) -> Problem {
        let span = if span.line == 0 { yaml::Span { line: self.origin.line, column: 1 } } else { span };
        let span = if self.origin.line == 0 { yaml::Span::default() } else { span };
        problem.at(&self.origin.file, span).of(self.key())
    }
}

/// Equal if kind, metadata and document are: where it was written does not count.
impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.meta == other.meta && self.document == other.document
    }
}

/// Without the document, which may hold secrets.
impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("key", &self.key().to_string())
            .field("api_version", &self.api_version)
            .field("origin", &self.origin.to_string())
            .field("spec", &self.spec)
            .finish_non_exhaustive()
    }
}
