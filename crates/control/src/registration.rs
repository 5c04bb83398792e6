//! What a proxy says of itself when it connects: the metadata of its xDS node, written by the launcher and read here.
//!
//! The upper-case names are Istio's, so that its proxies are understood too; what Istio has no word for stands under
//! `HALCYON`. The identity is not taken from here: it is proven by the connection.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use base::SpiffeId;
use model::Locality;
use serde::{Deserialize, Serialize};
use translate::locality::locality_of;
use translate::workload::{ImpliedService, reference};
use translate::{Capture, Compression, GatewayEdge, InboundPort, LocalUpstream, Node, Role, Workload};

/// Metadata of a node.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct NodeMetadata {
    /// The namespace of the workload.
    #[serde(rename = "NAMESPACE", default)]
    pub namespace: String,
    /// The service account that its identity is made of.
    #[serde(rename = "SERVICE_ACCOUNT", default)]
    pub service_account: String,
    /// The workload (in Kubernetes the Deployment), such as `reviews-v1`.
    #[serde(rename = "WORKLOAD_NAME", default)]
    pub workload_name: String,
    /// The cluster it runs in.
    #[serde(rename = "CLUSTER_ID", default)]
    pub cluster: String,
    /// The labels of the workload.
    #[serde(rename = "LABELS", default)]
    pub labels: BTreeMap<String, String>,
    /// `grpc`: no proxy, but a program that reads xDS itself.
    #[serde(rename = "GENERATOR", default, skip_serializing_if = "String::is_empty")]
    pub generator: String,
    /// What Istio has no word for. Absent for foreign proxies.
    #[serde(rename = "HALCYON", default, skip_serializing_if = "Option::is_none")]
    pub halcyon: Option<Registration>,
}

/// A registration with our control plane.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// The version of our proxy; none for another one, such as Envoy, that our launcher started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_version: Option<String>,
    /// The instance's name, unique in its namespace.
    pub instance: String,
    /// Sidecar or gateway.
    pub role: RegisteredRole,
    /// The address at which others reach it.
    pub address: IpAddr,
    /// Its share among its neighbours.
    #[serde(default = "one")]
    pub weight: u32,
    /// It tells by `xds::health` whether its program is ready, and gets no requests before. Who tells nothing is ready at
    /// once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tells_readiness: bool,
    /// It finds virtual hosts and clusters when it needs them (xDS VHDS, clusters by name), and need not be sent all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_demand: bool,
    /// Where its admin endpoint is, for `halcyon proxy-config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<SocketAddr>,
    /// Where it tells its metrics to Prometheus, with those of its program if it has them; none: at its admin endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SocketAddr>,
}

fn one() -> u32 {
    1
}

/// What a registered proxy stands for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegisteredRole {
    /// Beside one workload.
    Sidecar {
        /// The service that the workload is an instance of, unless applied resources say otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        /// What the workload listens on.
        #[serde(default)]
        ports: Vec<RegisteredPort>,
        /// How its outgoing connections are captured.
        capture: RegisteredCapture,
    },
    /// At the edge of the mesh.
    Gateway {
        /// Where the ports of a `Gateway` are bound.
        bind: IpAddr,
        /// Ports bound elsewhere than a `Gateway` says.
        #[serde(default)]
        ports: BTreeMap<u16, u16>,
        /// The place where it stands.
        #[serde(default, skip_serializing_if = "RegisteredEdge::is_default")]
        edge: RegisteredEdge,
    },
}

/// The place where a gateway stands, in the words of Istio's `ProxyConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredEdge {
    /// Proxies in front of it that are believed.
    #[serde(default)]
    pub num_trusted_proxies: u32,
    /// The PROXY protocol is spoken to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proxy_protocol: bool,
    /// What becomes of `x-forwarded-client-cert`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_client_cert_details: Option<RegisteredClientCert>,
    /// A database on its machine that says where clients are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geo_database: Option<String>,
    /// `EDGE`: it faces everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<RegisteredProfile>,
    /// Responses are compressed so, for clients that accept it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compress: Vec<RegisteredCompression>,
    /// gRPC-Web is taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub grpc_web: bool,
}

/// An encoding, as `content-encoding` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RegisteredCompression {
    /// gzip.
    Gzip,
    /// Brotli.
    Br,
    /// Zstandard.
    Zstd,
}

/// What becomes of `x-forwarded-client-cert`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RegisteredClientCert {
    /// It is dropped.
    Sanitize,
    /// It is passed on from mutual TLS.
    ForwardOnly,
    /// Ours is appended to it.
    AppendForward,
    /// Ours takes its place.
    SanitizeSet,
    /// It is passed on.
    AlwaysForwardOnly,
}

/// How hard a gateway is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RegisteredProfile {
    /// It faces everybody.
    Edge,
}

impl RegisteredEdge {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    fn resolve(&self) -> GatewayEdge {
        use model::http_proxy::ForwardClientCert as Rule;
        GatewayEdge {
            trusted_proxies: self.num_trusted_proxies,
            proxy_protocol: self.proxy_protocol,
            forward_client_cert: self.forward_client_cert_details.map(|rule| match rule {
                RegisteredClientCert::Sanitize => Rule::Sanitize,
                RegisteredClientCert::ForwardOnly => Rule::ForwardOnly,
                RegisteredClientCert::AppendForward => Rule::AppendForward,
                RegisteredClientCert::SanitizeSet => Rule::SanitizeSet,
                RegisteredClientCert::AlwaysForwardOnly => Rule::AlwaysForwardOnly,
            }),
            geo_database: self.geo_database.as_deref().map(Into::into),
            hardened: self.profile == Some(RegisteredProfile::Edge),
            compress: self.compress.iter().map(RegisteredCompression::resolve).collect(),
            grpc_web: self.grpc_web,
        }
    }
}

impl RegisteredCompression {
    fn resolve(&self) -> Compression {
        match self {
            Self::Gzip => Compression::Gzip,
            Self::Br => Compression::Brotli,
            Self::Zstd => Compression::Zstd,
        }
    }
}

/// A port of the workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredPort {
    /// The port on which the program listens.
    pub target: u16,
    /// Where the sidecar listens for it.
    pub bind: SocketAddr,
    /// The name that declares its protocol, such as `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// It is not the sidecar's: `bind` leads to the program, past it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub beside: bool,
}

/// How outgoing connections are captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegisteredCapture {
    /// Redirected inside a network namespace.
    Redirect {
        /// The namespace's name in xDS addresses.
        netns: String,
        /// The sockets inside of it.
        outbound: Vec<SocketAddr>,
    },
    /// Each upstream has a local address.
    Upstreams(Vec<RegisteredUpstream>),
}

/// An upstream under a local address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredUpstream {
    /// The service's host, short or whole.
    pub host: String,
    /// The service's port.
    pub port: u16,
    /// Where the sidecar listens for it.
    pub bind: SocketAddr,
}

/// The `GENERATOR` of an agent that takes the roots of the mesh, for a proxy beside it.
pub const AGENT: &str = "halcyon-agent";

impl NodeMetadata {
    /// The node that configuration is made for. None if the node did not register with us. Of a node that does not say
    /// where it runs, its labels do.
    pub fn node(&self, id: &str, identity: Option<SpiffeId>, locality: Locality) -> Option<Node> {
        let Some(registration) = &self.halcyon else {
            return (self.generator == "grpc" || self.is_agent()).then(|| self.program(id, identity, locality));
        };
        let role = match &registration.role {
            RegisteredRole::Gateway { bind, ports, edge } => {
                Role::Gateway { bind: *bind, ports: ports.clone(), edge: edge.resolve() }
            }
            RegisteredRole::Sidecar { ports, capture, .. } => Role::Sidecar {
                ports: served(ports).map(|p| InboundPort { target: p.target, bind: p.bind }).collect(),
                capture: capture.resolve(),
            },
        };
        Some(Node {
            id: id.into(),
            role,
            namespace: self.namespace.clone(),
            labels: self.labels.clone(),
            identity,
            address: registration.address,
            locality: locality_of(locality, &self.labels),
            workload: reference(&self.workload_name, &self.namespace, &self.labels, &self.cluster),
            ours: registration.proxy_version.is_some(),
            on_demand: registration.on_demand && registration.proxy_version.is_some(),
        })
    }

    /// Is it the agent beside a proxy that cannot ask for certificates itself?
    pub fn is_agent(&self) -> bool {
        self.generator == AGENT
    }

    /// A program. Its namespace may stand in the id, in Istio's form: `sidecar~<address>~<name>.<namespace>~<domain>`.
    fn program(&self, id: &str, identity: Option<SpiffeId>, locality: Locality) -> Node {
        let mut parts = id.split('~').skip(1);
        let address = parts.next().and_then(|text| text.parse().ok());
        let of_id = parts.next().and_then(|name| Some(name.rsplit_once('.')?.1));
        let said = Some(self.namespace.as_str()).filter(|namespace| !namespace.is_empty());
        let namespace = said.or(of_id).unwrap_or("default").to_owned();
        Node {
            id: id.into(),
            role: Role::Program,
            labels: self.labels.clone(),
            identity,
            address: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            locality: locality_of(locality, &self.labels),
            workload: reference(&self.workload_name, &namespace, &self.labels, &self.cluster),
            namespace,
            ours: false,
            on_demand: false,
        }
    }

    /// Will it tell whether its program is ready?
    pub fn tells_readiness(&self) -> bool {
        self.halcyon.as_ref().is_some_and(|registration| registration.tells_readiness)
    }

    /// Where others reach the ports of its program.
    pub fn doors(&self) -> impl Iterator<Item = SocketAddr> {
        let ports = self.halcyon.iter().flat_map(|registration| match &registration.role {
            RegisteredRole::Sidecar { ports, .. } => ports.as_slice(),
            RegisteredRole::Gateway { .. } => &[],
        });
        ports.map(|port| port.bind)
    }

    /// The workload that the node brings into the registry, in the place where the node is. Gateways bring none.
    pub fn workload(&self, locality: Locality) -> Option<Workload> {
        let registration = self.halcyon.as_ref()?;
        let RegisteredRole::Sidecar { service, ports, .. } = &registration.role else { return None };
        let implied_service = service.as_ref().map(|name| ImpliedService {
            name: name.clone(),
            ports: ports.iter().map(|p| (p.target, p.name.clone())).collect(),
        });
        Some(Workload {
            name: registration.instance.as_str().into(),
            namespace: self.namespace.clone(),
            service_account: self.service_account.clone(),
            labels: self.labels.clone(),
            address: registration.address,
            ports: ports.iter().map(|p| (p.target, p.bind.port())).collect(),
            port_names: ports.iter().filter_map(|p| Some((p.name.clone()?, p.target))).collect(),
            mesh_tls: true,
            beside: ports.iter().filter(|p| p.beside).map(|p| p.target).collect(),
            weight: registration.weight.max(1),
            locality: locality_of(locality, &self.labels),
            implied_service,
            reference: reference(&self.workload_name, &self.namespace, &self.labels, &self.cluster),
        })
    }
}

/// The ports that are the sidecar's.
fn served(ports: &[RegisteredPort]) -> impl Iterator<Item = &RegisteredPort> {
    ports.iter().filter(|port| !port.beside)
}

impl RegisteredCapture {
    fn resolve(&self) -> Capture {
        match self {
            Self::Redirect { netns, outbound } => {
                Capture::Redirect { netns: Arc::from(netns.as_str()), outbound: outbound.clone() }
            }
            Self::Upstreams(list) => Capture::Upstreams(
                list.iter().map(|u| LocalUpstream { host: u.host.clone(), port: u.port, bind: u.bind }).collect(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sidecar_both_ways() {
        let text = r#"{
            "NAMESPACE": "default", "SERVICE_ACCOUNT": "bookinfo-reviews", "WORKLOAD_NAME": "reviews-v2",
            "CLUSTER_ID": "local", "LABELS": {"app": "reviews", "version": "v2"},
            "HALCYON": {
                "proxy_version": "0.1.0", "instance": "reviews-v2-1", "address": "127.64.0.9",
                "tells_readiness": true, "on_demand": true,
                "role": {"sidecar": {"service": "reviews",
                    "ports": [{"target": 9080, "bind": "127.64.0.9:9080", "name": "http"}],
                    "capture": {"redirect": {"netns": "workload", "outbound": ["127.0.0.1:15001"]}}}}
            }
        }"#;
        let metadata: NodeMetadata = serde_json::from_str(text).unwrap();
        let back: NodeMetadata = serde_json::from_str(&serde_json::to_string(&metadata).unwrap()).unwrap();
        assert_eq!(back, metadata);
        let node = metadata.node("n", None, Locality::default()).unwrap();
        assert_eq!(node.netns().map(|n| &**n), Some("workload"));
        assert!(node.on_demand);
        let workload = metadata.workload(Locality::default()).unwrap();
        assert_eq!(workload.reference.version.as_ref(), "v2");
        assert_eq!(workload.implied_service.unwrap().ports, [(9080, Some("http".to_owned()))]);
    }

    #[test]
    fn where_it_runs() {
        let at =
            |region: &str, zone: &str| Locality { region: region.into(), zone: zone.into(), sub_zone: String::new() };
        let topology = r#""topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": "z1""#;
        for (told, labels, expected) in [
            (Locality::default(), topology.to_owned(), at("eu", "z1")),
            (at("us", ""), topology.to_owned(), at("us", "")),
            (Locality::default(), format!(r#"{topology}, "istio-locality": "asia.z9""#), at("asia", "z9")),
            (Locality::default(), r#""app": "a""#.to_owned(), Locality::default()),
        ] {
            let text = format!(
                r#"{{"LABELS": {{{labels}}}, "HALCYON": {{"instance": "a", "address": "127.64.0.9",
                "role": {{"sidecar": {{"capture": {{"upstreams": []}}}}}}}}}}"#
            );
            let metadata: NodeMetadata = serde_json::from_str(&text).unwrap();
            let node = metadata.node("n", None, told.clone()).unwrap();
            assert_eq!(
                (&node.locality, metadata.workload(told).unwrap().locality),
                (&expected, expected.clone()),
                "{labels}"
            );
        }
    }

    #[test]
    fn a_gateway_and_its_place() {
        for (edge, expected) in [
            ("", GatewayEdge::default()),
            (
                r#", "edge": {"numTrustedProxies": 2, "proxyProtocol": true, "forwardClientCertDetails": "FORWARD_ONLY", "geoDatabase": "/city.mmdb", "profile": "EDGE", "compress": ["br", "gzip", "zstd"], "grpcWeb": true}"#,
                GatewayEdge {
                    trusted_proxies: 2,
                    proxy_protocol: true,
                    forward_client_cert: Some(model::http_proxy::ForwardClientCert::ForwardOnly),
                    geo_database: Some("/city.mmdb".into()),
                    hardened: true,
                    compress: vec![Compression::Brotli, Compression::Gzip, Compression::Zstd],
                    grpc_web: true,
                },
            ),
        ] {
            let text = format!(
                r#"{{"HALCYON": {{"instance": "g", "address": "127.0.0.1", "role": {{"gateway": {{"bind": "0.0.0.0"{edge}}}}}}}}}"#
            );
            let metadata: NodeMetadata = serde_json::from_str(&text).unwrap();
            let back: NodeMetadata = serde_json::from_str(&serde_json::to_string(&metadata).unwrap()).unwrap();
            assert_eq!(back, metadata);
            let node = metadata.node("n", None, Locality::default()).unwrap();
            assert!(matches!(node.role, Role::Gateway { edge, .. } if edge == expected), "{text}");
        }
    }

    #[test]
    fn foreign_nodes_register_nothing() {
        let metadata: NodeMetadata = serde_json::from_str(r#"{"NAMESPACE": "x", "ISTIO_VERSION": "1.30"}"#).unwrap();
        assert_eq!(metadata.node("n", None, Locality::default()), None);
        assert_eq!(metadata.workload(Locality::default()), None);
    }
}
