//! What DestinationRules make of a cluster: balancing, pool, TLS; by service, subset and port.

use std::time::Duration;

use api::istio::{
    ClientTlsMode, ClientTlsSettings, ConnectionPoolSettings, H2UpgradePolicy, LoadBalancerSettings, SimpleLb, Subset,
    TrafficPolicy,
};
use model::StringMatch;
use model::cluster::Balancing;
use model::tls::{SecretFiles, TlsVersions, UpstreamTls, Validation};

use crate::service::ServicePort;

/// The policies for one service, as one client sees them.
#[derive(Debug, Clone, Default)]
pub struct Policies<'a> {
    /// For the service as a whole; the first rule's, if several were merged.
    pub whole: Option<&'a TrafficPolicy>,
    /// The subsets of all merged rules; of two with one name the first.
    pub subsets: Vec<&'a Subset>,
}

/// The policy for one cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// How an endpoint is chosen.
    pub balancing: Balancing,
    /// Dial what the client dialled, whatever the endpoints (`PASSTHROUGH`).
    pub passthrough: bool,
    /// Limit for making a connection.
    pub connect_timeout: Option<Duration>,
    /// A connection without exchanges is closed after this.
    pub idle_timeout: Option<Duration>,
    /// Exchanges per connection.
    pub max_requests_per_connection: Option<u32>,
    /// Speak HTTP/2, though the port is declared HTTP/1.1.
    pub h2_upgrade: bool,
    /// Speak what the client speaks.
    pub use_client_protocol: bool,
    /// TLS, if a rule says anything of it; otherwise the mesh decides per endpoint.
    pub tls: Option<TlsChoice>,
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
    tls: Option<&'a ClientTlsSettings>,
}

impl<'a> Policies<'a> {
    /// The policy for a port of the whole service.
    pub fn of_port(&self, port: &ServicePort) -> Policy {
        Blocks::default().with(self.whole, port).resolve()
    }

    /// The policy for a port of a subset.
    pub fn of_subset(&self, subset: &'a Subset, port: &ServicePort) -> Policy {
        Blocks::default().with(self.whole, port).with(subset.traffic_policy.as_ref(), port).resolve()
    }
}

impl<'a> Blocks<'a> {
    /// The blocks under a narrower policy. Settings of a single port do not inherit: what they leave out returns to the
    /// defaults (Istio's rule).
    fn with(self, policy: Option<&'a TrafficPolicy>, port: &ServicePort) -> Self {
        let Some(policy) = policy else { return self };
        let is_for = |number: u32| number == u32::from(port.number);
        let own = policy.port_level_settings.iter().find(|p| p.port.as_ref().is_some_and(|s| is_for(s.number.value)));
        match own {
            Some(own) => {
                Self { balancer: own.load_balancer.as_ref(), pool: own.connection_pool.as_ref(), tls: own.tls.as_ref() }
            }
            None => Self {
                balancer: policy.load_balancer.as_ref().or(self.balancer),
                pool: policy.connection_pool.as_ref().or(self.pool),
                tls: policy.tls.as_ref().or(self.tls),
            },
        }
    }

    fn resolve(self) -> Policy {
        let tcp = self.pool.and_then(|p| p.tcp.as_ref());
        let http = self.pool.and_then(|p| p.http.as_ref());
        let simple = self.balancer.and_then(|b| b.simple);
        Policy {
            balancing: match simple {
                Some(SimpleLb::RoundRobin) => Balancing::RoundRobin,
                Some(SimpleLb::Random) => Balancing::Random,
                _ => Balancing::LeastRequest { choices: 2 },
            },
            passthrough: simple == Some(SimpleLb::Passthrough),
            connect_timeout: tcp.and_then(|t| t.connect_timeout),
            idle_timeout: http.and_then(|h| h.idle_timeout),
            max_requests_per_connection: http.and_then(|h| h.max_requests_per_connection).filter(|max| *max > 0),
            h2_upgrade: http.is_some_and(|h| h.h2_upgrade_policy == H2UpgradePolicy::Upgrade),
            use_client_protocol: http.is_some_and(|h| h.use_client_protocol),
            tls: self.tls.map(tls),
        }
    }
}

fn tls(written: &ClientTlsSettings) -> TlsChoice {
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
        name => format!("kubernetes://{name}").into(),
    })
}

fn trust_secret(written: &ClientTlsSettings) -> std::sync::Arc<str> {
    let crl = Some(written.ca_crl.as_str()).filter(|crl| !crl.is_empty());
    match (written.credential_name.as_str(), written.ca_certificates.as_str()) {
        ("", "" | "system") => SecretFiles::SystemRoots.name(),
        ("", roots) => SecretFiles::Roots { roots, crl }.name(),
        (name, _) => format!("kubernetes://{name}-cacert").into(),
    }
}
