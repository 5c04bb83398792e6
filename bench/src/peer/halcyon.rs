//! halcyon-proxy: a bootstrap with a control plane that it tells what it carries, and beside it in a file the resources that
//! one would send it, made from the model and written as they travel. The settings are those of the control plane's sidecars (crate `translate`): mesh metrics,
//! tracing headers, the fault filter, retries and upgrades are on, the access log is off.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::chain::{ChainMatch, TransportKind};
use model::cluster::{self, Balancing, Transport, UpstreamProtocol};
use model::http_proxy::{ForwardClientCert, HttpFilter, RouteSource};
use model::listener::Inspect;
use model::matcher::Fraction;
use model::route::{Action, Forward, PathMatch};
use model::secret::SecretValue;
use model::tls::{DownstreamTls, TlsVersions, UpstreamTls, Validation};
use model::tracing::Tracing;
use model::{
    Cluster, Config, DestinationService, Direction, Endpoint, EndpointSet, FilterChain, HttpProxy, Listener,
    LocalityEndpoints, NetworkFilter, RetryPolicy, Route, RouteConfiguration, Secret, StringMatch, TcpProxy,
    VirtualHost, WorkloadRef,
};
use prost::Message as _;
use proto::envoy::service::discovery::v3::DiscoveryResponse;
use serde_json::json;
use xds::Resource;

use super::services::{self, Services};
use super::{Deployment, Discovery, Setup, free_ports, identity::Identity, loopback, write};
use crate::process::Launch;
use crate::scenario::Path;
use crate::wire::Wire;

const UPSTREAM: &str = "outbound|80||origin.default.svc.cluster.local";
const LOCAL: &str = "inbound|80||";
const CERTIFICATE: &str = "certificate";
const TRUST: &str = "ROOTCA";

/// Writes bootstrap and resources.
///
/// # Errors
/// When a file cannot be written.
pub fn deploy(setup: &Setup<'_>) -> anyhow::Result<Deployment> {
    let [entry, peer] = free_ports()?;
    let origin = Endpoint { workload: Some(workload("origin")), ..Endpoint::plain(setup.origin) };
    let control = match setup.path {
        Path::Services { hosts, clusters } => {
            let listener = listener(entry, outbound(RouteSource::Rds(services::ROUTES.into())));
            let cluster = |name: &str, discovery| Cluster { discovery, ..to(name, origin.clone()) };
            Discovery::start(
                &Services { hosts, clusters }.config(setup, listener, cluster, |name| route(forward(name))),
            )?
        }
        _ => Discovery::start(&Config::default())?,
    };
    let proxy = |name: &str, resources| proxy(setup, name, control.address, resources);
    let mut launches = Vec::new();
    match setup.path {
        Path::Http { upstream, .. } => {
            let upstream = if upstream == Wire::Http2 { UpstreamProtocol::Http2 } else { UpstreamProtocol::Http1 };
            let cluster = Cluster { protocol: upstream, ..to(UPSTREAM, origin) };
            let resources = vec![
                resource(listener(entry, outbound(table("80", forward(UPSTREAM))))),
                Resource::Cluster(cluster.into()),
            ];
            launches.push(proxy("proxy", resources)?);
        }
        Path::Tcp => {
            let resources = vec![
                resource(listener(entry, NetworkFilter::Tcp(TcpProxy::to(UPSTREAM)))),
                Resource::Cluster(to(UPSTREAM, origin).into()),
            ];
            launches.push(proxy("proxy", resources)?);
        }
        Path::Pair => {
            let identities = setup.identities;
            let mut near = vec![
                resource(listener(entry, outbound(table("80", forward(UPSTREAM))))),
                Resource::Cluster(mesh_cluster(setup, peer).into()),
            ];
            near.extend(secrets(&identities.client, &identities.roots));
            let mut far = vec![mesh_listener(peer), Resource::Cluster(to(LOCAL, Endpoint::plain(setup.origin)).into())];
            far.extend(secrets(&identities.server, &identities.roots));
            launches.push(proxy("client", near)?);
            launches.push(proxy("server", far)?);
        }
        Path::Tls => {
            let mut resources = vec![gateway_listener(entry), Resource::Cluster(to(UPSTREAM, origin).into())];
            resources.extend(secrets(&setup.identities.server, &setup.identities.roots));
            launches.push(proxy("proxy", resources)?);
        }
        Path::Services { .. } => launches.push(proxy("proxy", Vec::new())?),
    }
    Ok(Deployment { entry: loopback(entry), launches, control: Some(control) })
}

fn proxy(setup: &Setup<'_>, name: &str, control: SocketAddr, resources: Vec<Resource>) -> anyhow::Result<Launch> {
    let [admin] = free_ports()?;
    let mut bootstrap = json!({
        "node": {
            "id": format!("sidecar~127.0.0.1~{name}.default~default.svc.cluster.local"),
            "cluster": format!("{name}.default"),
            "metadata": {
                "NAME": name,
                "NAMESPACE": "default",
                "WORKLOAD_NAME": name,
                "CLUSTER_ID": "bench",
                "LABELS": { "app": name, "version": "v1" },
            },
        },
        "workers": 1,
        "admin": { "address": loopback(admin) },
        "control_plane": { "address": control, "tls": false },
    });
    if !setup.untold {
        // As in a mesh: the control plane is told what passes.
        bootstrap["observe"] = json!({});
    }
    if !resources.is_empty() {
        let message = DiscoveryResponse {
            resources: resources.iter().map(xds::encode::resource).collect(),
            ..DiscoveryResponse::default()
        };
        bootstrap["static_resources"] = json!(write(setup.dir, &format!("{name}.pb"), message.encode_to_vec())?);
    }
    let bootstrap = write(setup.dir, &format!("{name}.json"), serde_json::to_vec_pretty(&bootstrap)?)?;
    let arguments = vec!["--bootstrap".to_owned(), bootstrap.to_string_lossy().into_owned()];
    Ok(Launch { program: setup.program.path.clone(), arguments })
}

/// The workload of that name.
pub fn workload(name: &str) -> Arc<WorkloadRef> {
    Arc::new(WorkloadRef {
        name: name.into(),
        namespace: "default".into(),
        service: name.into(),
        version: "v1".into(),
        cluster: "bench".into(),
    })
}

fn resource(listener: Listener) -> Resource {
    Resource::Listener(Arc::new(listener))
}

/// A listener on loopback, without TLS.
pub fn listener(port: u16, filter: NetworkFilter) -> Listener {
    let chain = FilterChain::new("outbound", filter);
    Listener {
        name: "outbound".into(),
        address: loopback(port).into(),
        bind: true,
        use_original_destination: false,
        direction: Direction::Outbound,
        inspect: Inspect::default(),
        chains: vec![chain],
        default_chain: None,
        access_logs: Vec::new(),
        buffer_limit: None,
        ignores_common_limit: false,
    }
}

/// A route table with one route, as a service without rules has it.
fn table(name: &str, forward: Forward) -> RouteSource {
    let routes = vec![route(forward)];
    let host = VirtualHost { name: name.into(), domains: vec!["*".into()], routes, ..VirtualHost::default() };
    RouteSource::Inline(Arc::new(RouteConfiguration::new(name, vec![host])))
}

fn route(forward: Forward) -> Route {
    Route { name: "default".into(), ..Route::new(PathMatch::Prefix("/".into()), Action::Forward(Box::new(forward))) }
}

fn forward(cluster: &str) -> Forward {
    Forward {
        retry: Some(RetryPolicy::istio_default()),
        max_grpc_timeout: Some(Duration::ZERO),
        ..Forward::to(cluster)
    }
}

/// HTTP as a sidecar has it for its program's calls.
pub fn outbound(routes: RouteSource) -> NetworkFilter {
    NetworkFilter::Http(Box::new(HttpProxy {
        filters: vec![HttpFilter::Fault(None)],
        upgrades: vec!["websocket".into()],
        tracing: Some(Arc::new(tracing())),
        ..HttpProxy::new("outbound_80", routes)
    }))
}

/// A cluster of one endpoint.
fn to(name: &str, endpoint: Endpoint) -> Cluster {
    let group = LocalityEndpoints { endpoints: vec![endpoint], ..LocalityEndpoints::default() };
    let set = EndpointSet::new(name, vec![group]);
    Cluster {
        balancing: Balancing::LeastRequest { choices: 2 },
        service: Some(DestinationService {
            host: "origin.default.svc.cluster.local".into(),
            name: "origin".into(),
            namespace: "default".into(),
        }),
        ..Cluster::new(name, cluster::Discovery::Static(set))
    }
}

/// The calling half of a pair: mutual TLS, and HTTP/2 where the other side agrees.
fn mesh_cluster(setup: &Setup<'_>, peer: u16) -> Cluster {
    let endpoint = Endpoint { mesh_tls: true, workload: Some(workload("server")), ..Endpoint::plain(loopback(peer)) };
    let tls = UpstreamTls {
        certificate: Some(CERTIFICATE.into()),
        validation: Some(Validation {
            trust: TRUST.into(),
            names: vec![StringMatch::exact(setup.identities.server.id.to_string())],
            pins: None,
        }),
        sni: Some("outbound_.80_._.origin.default.svc.cluster.local".into()),
        alpn: ["istio-h2", "istio-http/1.1", "h2", "http/1.1"].map(String::from).into(),
        versions: TlsVersions::default(),
    };
    Cluster { protocol: UpstreamProtocol::Auto, transport: Transport::MeshTls(tls), ..to(UPSTREAM, endpoint) }
}

/// The called half of a pair, in STRICT.
fn mesh_listener(port: u16) -> Resource {
    let tls = DownstreamTls {
        certificates: vec![CERTIFICATE.into()],
        validation: Some(Validation::by(TRUST)),
        require_client_certificate: true,
        alpn: ["h2", "http/1.1"].map(String::from).into(),
        versions: TlsVersions::default(),
        cipher_suites: Vec::new(),
    };
    let http = HttpProxy {
        upgrades: vec!["websocket".into()],
        forward_client_cert: ForwardClientCert::AppendForward,
        tracing: Some(Arc::new(tracing())),
        ..HttpProxy::new("inbound_80", table(LOCAL, Forward::to(LOCAL)))
    };
    let chain = FilterChain {
        matches: ChainMatch { transport: Some(TransportKind::Tls), ..ChainMatch::default() },
        tls: Some(tls),
        ..FilterChain::new("mesh", NetworkFilter::Http(Box::new(http)))
    };
    Resource::Listener(Arc::new(Listener {
        name: "inbound".into(),
        address: loopback(port).into(),
        bind: true,
        use_original_destination: false,
        direction: Direction::Inbound,
        inspect: Inspect { tls: true, timeout: Some(Duration::from_secs(1)), ..Inspect::default() },
        chains: vec![chain],
        default_chain: None,
        access_logs: Vec::new(),
        buffer_limit: None,
        ignores_common_limit: false,
    }))
}

/// A gateway's listener with TLS of its own, without client certificates.
fn gateway_listener(port: u16) -> Resource {
    let tls = DownstreamTls {
        certificates: vec![CERTIFICATE.into()],
        validation: None,
        require_client_certificate: false,
        alpn: ["h2", "http/1.1"].map(String::from).into(),
        versions: TlsVersions::default(),
        cipher_suites: Vec::new(),
    };
    let mut listener = listener(port, outbound(table("443", forward(UPSTREAM))));
    listener.chains.iter_mut().for_each(|chain| chain.tls = Some(tls.clone()));
    resource(listener)
}

fn secrets(identity: &Identity, roots: &str) -> [Resource; 2] {
    let secret = |name: &str, value| Resource::Secret(Arc::new(Secret { name: name.into(), value }));
    let certificate = SecretValue::Certificate {
        chain: identity.chain.clone().into_bytes(),
        private_key: identity.key.clone().into_bytes(),
    };
    let trust = SecretValue::Trust {
        roots: roots.as_bytes().to_vec(),
        by_domain: Vec::new(),
        crl: Vec::new(),
        leaf_only: false,
    };
    [secret(CERTIFICATE, certificate), secret(TRUST, trust)]
}

/// As in a mesh: one new trace in a hundred is recorded.
fn tracing() -> Tracing {
    Tracing { random: Fraction::percent(1.0), ..Tracing::default() }
}
