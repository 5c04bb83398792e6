//! What DestinationRules make of a cluster: balancing, pool, TLS; by service, subset and port.

use api::halcyon::ServicePolicy;
use api::istio::{
    ClientTlsMode, ClientTlsSettings, ConnectionPoolSettings, ConsistentHashLb, H2UpgradePolicy, LoadBalancerSettings,
    OutlierDetection, ProxyProtocol, ProxyProtocolVersion, RetryBudget, SimpleLb, Subset, TrafficPolicy,
    TunnelSettings,
};
use http::HeaderName;
use model::cluster::Balancing;
use model::limits::ProxyVersion;
use model::route::{HashCookie, HashKey};
use model::tcp_proxy::Tunnel;
use model::tls::{SecretFiles, TlsVersions, UpstreamTls, Validation};
use model::{HeaderChanges, HealthCheck, SlowStart, StringMatch};

use crate::locality::{Distribution, Near};
use crate::secrets;
use crate::service::ServicePort;
use crate::settings::MeshSettings;

mod concurrency;
mod health;
mod limits;
mod outlier;

pub use concurrency::concurrency_limit;
pub use health::of_service;
pub use limits::Pool;

/// The policies for one service, as one client sees them.
#[derive(Debug, Clone, Default)]
pub struct Policies<'a> {
    /// For the service as a whole; the first rule's, if several were merged.
    pub whole: Option<&'a TrafficPolicy>,
    /// The subsets of all merged rules; of two with one name the first.
    pub subsets: Vec<&'a Subset>,
    /// What the service itself says.
    pub service: Asked,
    /// What its owner asks of all clients.
    pub own: Option<&'a ServicePolicy>,
    /// What counts where no rule says anything.
    pub mesh: Option<&'a MeshSettings>,
}

/// What a service says of the choice of its endpoints, for where no rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// Where requests prefer to go.
    pub distribution: Distribution,
    /// A client stays with one endpoint (`sessionAffinity: ClientIP`).
    pub sticky: bool,
}

/// The policy for one cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// How an endpoint is chosen.
    pub balancing: Balancing,
    /// What of a request decides that, if a hash of it does.
    pub hash: Option<HashKey>,
    /// What localities have to do with it.
    pub near: Near,
    /// Dial what the client dialled, whatever the endpoints (`PASSTHROUGH`).
    pub passthrough: bool,
    /// Limits, and how connections are kept.
    pub pool: Pool,
    /// Connections begin with a PROXY header.
    pub proxy_header: Option<ProxyVersion>,
    /// Raw connections go through an HTTP proxy, to this end.
    pub tunnel: Option<Tunnel>,
    /// When a workload that fails is left out.
    pub outlier_detection: Option<model::OutlierDetection>,
    /// Below this share of available workloads, in percent, all of them are used.
    pub panic_percent: u8,
    /// What endpoints are asked, whether or not there are requests for them.
    pub health_check: Option<HealthCheck>,
    /// How the share of a new workload grows.
    pub slow_start: Option<SlowStart>,
    /// What becomes of HTTP/1.1 on the way to the port.
    pub http1: Http1,
    /// Speak what the client speaks.
    pub use_client_protocol: bool,
    /// TLS, if a rule says anything of it; otherwise the mesh decides per endpoint.
    pub tls: Option<TlsChoice>,
}

/// How requests travel to a port that is declared HTTP/1.1 (`h2UpgradePolicy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http1 {
    /// As HTTP/2 between our proxies, where both agree on it; else as they are.
    Free,
    /// As HTTP/2.
    Upgraded,
    /// As they are, between our proxies too.
    Kept,
}

/// What a rule says of TLS.
#[derive(Debug, Clone, PartialEq)]
pub enum TlsChoice {
    /// Plain text.
    Disable,
    /// The mesh's mutual TLS, to every endpoint.
    Mesh {
        /// The server name, in place of the computed one.
        sni: Option<String>,
        /// The names that the server may have, in place of the service's accounts.
        names: Vec<String>,
    },
    /// TLS of the user's own.
    Own(UpstreamTls),
}

/// The blocks of a policy. A narrower policy replaces them one by one.
#[derive(Clone, Copy, Default)]
struct Blocks<'a> {
    balancer: Option<&'a LoadBalancerSettings>,
    pool: Option<&'a ConnectionPoolSettings>,
    outliers: Option<&'a OutlierDetection>,
    tls: Option<&'a ClientTlsSettings>,
    budget: Option<&'a RetryBudget>,
    proxy: Option<&'a ProxyProtocol>,
    tunnel: Option<&'a TunnelSettings>,
}

impl<'a> Policies<'a> {
    /// The policy for a port of the whole service.
    pub fn of_port(&self, port: &ServicePort) -> Policy {
        Blocks::default().with(self.whole, port).resolve(self, port)
    }

    /// The policy for a port of a subset.
    pub fn of_subset(&self, subset: &'a Subset, port: &ServicePort) -> Policy {
        Blocks::default().with(self.whole, port).with(subset.traffic_policy.as_ref(), port).resolve(self, port)
    }
}

impl<'a> Blocks<'a> {
    /// The blocks under a narrower policy. Settings of a single port do not inherit: what they leave out returns to the
    /// defaults (Istio's rule).
    fn with(self, policy: Option<&'a TrafficPolicy>, port: &ServicePort) -> Self {
        let Some(policy) = policy else { return self };
        let proxy = policy.proxy_protocol.as_ref().or(self.proxy);
        let tunnel = policy.tunnel.as_ref().or(self.tunnel);
        let is_for = |number: u32| number == u32::from(port.number);
        let own = policy.port_level_settings.iter().find(|p| p.port.as_ref().is_some_and(|s| is_for(s.number.value)));
        match own {
            Some(own) => Self {
                balancer: own.load_balancer.as_ref(),
                pool: own.connection_pool.as_ref(),
                outliers: own.outlier_detection.as_ref(),
                tls: own.tls.as_ref(),
                budget: None,
                // What cannot be said for a single port holds for it too, as in Istio.
                proxy,
                tunnel,
            },
            None => Self {
                balancer: policy.load_balancer.as_ref().or(self.balancer),
                pool: policy.connection_pool.as_ref().or(self.pool),
                outliers: policy.outlier_detection.as_ref().or(self.outliers),
                tls: policy.tls.as_ref().or(self.tls),
                budget: policy.retry_budget.as_ref().or(self.budget),
                proxy,
                tunnel,
            },
        }
    }

    /// What the blocks come to. The mesh's own stand in for pools and outlier detection that no rule has.
    fn resolve(mut self, of: &Policies<'a>, port: &ServicePort) -> Policy {
        let mesh = of.mesh;
        self.pool = self.pool.or(mesh.and_then(|mesh| mesh.pool.as_ref()));
        self.outliers = self.outliers.or(mesh.and_then(|mesh| mesh.outliers.as_ref()));
        let keepalive = mesh.and_then(|mesh| mesh.tcp_keepalive.as_ref());
        let http = self.pool.and_then(|p| p.http.as_ref());
        let simple = self.balancer.and_then(|b| b.simple);
        let (balancing, hash) = self.balancing(of);
        Policy {
            slow_start: outlier::slow_start(self.balancer, &balancing),
            balancing,
            hash,
            near: Near::of(self.balancer, of.service.distribution, self.outliers.is_some(), mesh),
            passthrough: simple == Some(SimpleLb::Passthrough),
            pool: Pool::read(self.pool, self.budget, keepalive),
            proxy_header: self.proxy.map(proxy_header),
            tunnel: self.tunnel.map(tunnel),
            outlier_detection: self.outliers.map(outlier::outlier_detection),
            health_check: of.own.and_then(|own| own.health_check.as_ref()).map(health::check),
            panic_percent: outlier::panic_percent(self.outliers),
            http1: match http.map(|h| h.h2_upgrade_policy) {
                Some(H2UpgradePolicy::Upgrade) => Http1::Upgraded,
                Some(H2UpgradePolicy::DoNotUpgrade) => Http1::Kept,
                _ if port.protocol.is_http() && mesh.is_some_and(|mesh| mesh.h2_upgrade) => Http1::Upgraded,
                Some(H2UpgradePolicy::Default) | None => Http1::Free,
            },
            use_client_protocol: http.is_some_and(|h| h.use_client_protocol),
            tls: self.tls.map(tls),
        }
    }

    fn balancing(self, of: &Policies<'_>) -> (Balancing, Option<HashKey>) {
        let by_hash = self.balancer.and_then(|b| b.consistent_hash.as_ref());
        match (by_hash, self.balancer.and_then(|b| b.simple)) {
            (Some(hash), _) => (hashed(hash), hash_key(hash)),
            (None, Some(SimpleLb::RoundRobin)) => (Balancing::RoundRobin, None),
            (None, Some(SimpleLb::Random)) => (Balancing::Random, None),
            (None, Some(SimpleLb::LeastRequest | SimpleLb::LeastConn)) => (LEAST_REQUEST, None),
            _ if self.balancer.is_none() && of.service.sticky => (ring(None), Some(HashKey::SourceIp)),
            _ => (of.own.and_then(|own| own.load_balancer.as_ref()).map_or(LEAST_REQUEST, health::quickest), None),
        }
    }
}

fn proxy_header(written: &ProxyProtocol) -> ProxyVersion {
    match written.version {
        ProxyProtocolVersion::V1 => ProxyVersion::V1,
        ProxyProtocolVersion::V2 => ProxyVersion::V2,
    }
}

fn tunnel(written: &TunnelSettings) -> Tunnel {
    let host = &written.target_host;
    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    Tunnel {
        target: format!("{host}:{}", written.target_port).into(),
        post: (written.protocol == "POST").then(|| "/".into()),
        headers: HeaderChanges::default(),
    }
}

/// What Istio does by default.
const LEAST_REQUEST: Balancing = Balancing::LeastRequest { choices: 2 };

/// The algorithm: a ring, unless Maglev is asked for.
fn hashed(written: &ConsistentHashLb) -> Balancing {
    match (&written.maglev, &written.ring_hash) {
        (Some(maglev), _) => {
            let table_size = maglev.table_size.filter(|size| *size > 0).unwrap_or(MAGLEV_TABLE);
            Balancing::Maglev { table_size }
        }
        (None, Some(ring_hash)) => ring(ring_hash.minimum_ring_size),
        (None, None) => ring(written.minimum_ring_size),
    }
}

/// Zero means that nothing is said.
fn ring(min_size: Option<u64>) -> Balancing {
    let min_size = min_size.filter(|size| *size > 0).unwrap_or(RING).min(LARGEST_RING);
    Balancing::RingHash { min_size, max_size: LARGEST_RING }
}

/// Envoy's sizes.
const RING: u64 = 1024;
const LARGEST_RING: u64 = 8 * 1024 * 1024;
const MAGLEV_TABLE: u64 = 65_537;

fn hash_key(written: &ConsistentHashLb) -> Option<HashKey> {
    if let Some(cookie) = &written.http_cookie {
        return Some(HashKey::Cookie(HashCookie {
            name: cookie.name.clone(),
            ttl: cookie.ttl,
            path: cookie.path.clone(),
            attributes: cookie.attributes.iter().map(|it| (it.name.clone(), it.value.clone())).collect(),
        }));
    }
    let header = HeaderName::try_from(written.http_header_name.as_str()).ok().map(HashKey::Header);
    let parameter = &written.http_query_parameter_name;
    let query = (!parameter.is_empty()).then(|| HashKey::Query(parameter.clone()));
    header.or(query).or(written.use_source_ip.then_some(HashKey::SourceIp))
}

/// What a rule says of TLS.
pub fn tls(written: &ClientTlsSettings) -> TlsChoice {
    let sni = (!written.sni.is_empty()).then(|| written.sni.clone());
    match written.mode {
        ClientTlsMode::Disable => TlsChoice::Disable,
        ClientTlsMode::IstioMutual => TlsChoice::Mesh { sni, names: written.subject_alt_names.clone() },
        ClientTlsMode::Simple | ClientTlsMode::Mutual => TlsChoice::Own(UpstreamTls {
            certificate: certificate_secret(written),
            validation: (!written.insecure_skip_verify.unwrap_or(false)).then(|| Validation {
                trust: trust_secret(written),
                names: written.subject_alt_names.iter().map(StringMatch::exact).collect(),
                pins: None,
            }),
            sni,
            alpn: Vec::new(),
            versions: TlsVersions::default(),
        }),
    }
}

/// The secret names are Istio's: `kubernetes://<name>` comes from the control plane, `file-cert:` and `file-root:` name
/// files on the proxy's side, `file-root:system` the roots of its operating system.
fn certificate_secret(written: &ClientTlsSettings) -> Option<std::sync::Arc<str>> {
    if written.mode != ClientTlsMode::Mutual {
        return None;
    }
    Some(match written.credential_name.as_str() {
        "" => SecretFiles::Certificate { chain: &written.client_certificate, key: &written.private_key }.name(),
        name => secrets::certificate(name),
    })
}

fn trust_secret(written: &ClientTlsSettings) -> std::sync::Arc<str> {
    let crl = Some(written.ca_crl.as_str()).filter(|crl| !crl.is_empty());
    match (written.credential_name.as_str(), written.ca_certificates.as_str()) {
        ("", "" | "system") => SecretFiles::SystemRoots.name(),
        ("", roots) => SecretFiles::Roots { roots, crl }.name(),
        (name, _) => secrets::roots(name),
    }
}
