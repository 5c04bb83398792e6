//! What the control plane is started with: as typed ([`ControlOptions`]) and as resolved (`Settings`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use base::{SpiffeId, TrustDomain};
use ca::Passphrase;
use ipnet::IpNet;
use model::access_log::{FileLog, LogFormat};
use serde::{Deserialize, Serialize};
use translate::{MeshSettings, OutboundPolicy};

use crate::error::ControlError;
use crate::v1::Role;

/// Options as typed. What is `None` has its default.
#[derive(Debug, Clone)]
pub struct ControlOptions {
    /// Where everything that outlives the process is kept. Made (mode 0700) if it is not there.
    pub data_dir: PathBuf,
    /// A directory of YAML files that are applied and watched.
    pub config_dir: Option<PathBuf>,
    /// A directory with the authority's keys in the layout of Istio's `cacerts`. Default: `<data_dir>/ca`, made at first.
    pub ca_dir: Option<PathBuf>,
    /// A file with the passphrase under which the authority's keys are kept. Default: none, and keys are kept as they are.
    pub ca_passphrase_file: Option<PathBuf>,
    /// The trust domain. Default `cluster.local`.
    pub trust_domain: Option<String>,
    /// The suffix of service names. Default `cluster.local`.
    pub dns_domain: Option<String>,
    /// The namespace whose rules concern all others. Default `istio-system`.
    pub root_namespace: Option<String>,
    /// `ALLOW_ANY` (the default) or `REGISTRY_ONLY`.
    pub outbound_policy: Option<String>,
    /// Where proxies write access logs, such as `/dev/stdout`. Default: nowhere.
    pub access_log: Option<String>,
    /// `TEXT` (the default) or `JSON`: Istio's default line in the one form or the other (`accessLogEncoding`).
    pub access_log_encoding: Option<String>,
    /// The address of the TLS and metrics doors. Default 127.0.0.1; for other machines, one that they reach.
    pub listen: Option<IpAddr>,
    /// xDS and certificates over TLS. Default 15012; 0 is any free port, as for the others.
    pub tls_port: Option<u16>,
    /// xDS in plain text, always on 127.0.0.1. Default 15010.
    pub plain_port: Option<u16>,
    /// The control plane's own metrics and health. Default 15014.
    pub metrics_port: Option<u16>,
    /// The life of workloads' certificates. Default 24 hours.
    pub certificate_ttl: Option<Duration>,
    /// The API over TLS, for users of other machines. Default: not at all.
    pub api: Option<SocketAddr>,
    /// PEM files of a certificate chain and its key for it. Default: a certificate of the mesh's own authority.
    pub api_cert: Option<(PathBuf, PathBuf)>,
    /// Further roots (PEM files) for certificates of users there, each for the trust domain of its identities. Those of
    /// the mesh itself always count.
    pub api_client_roots: Vec<(TrustDomain, PathBuf)>,
    /// A group (its name or number) whose members may use the Unix socket too, and what they may do.
    pub socket_group: Option<(String, Role)>,
    /// A file of Envoy's own rate limit service, or a directory of such files, whose limits are served too. Default none.
    pub ratelimit_config: Option<PathBuf>,
    /// The URL of a Redis that keeps the counts of rate limits, for several control planes. Default: the store.
    pub ratelimit_redis: Option<String>,
    /// Answers on all rate limits tell what is left, not only those on RateLimitPolicies.
    pub ratelimit_headers: bool,
    /// The address at which proxies reach the TLS door to have requests counted. Default: the one it listens on.
    pub ratelimit_address: Option<SocketAddr>,
    /// The SPIFFE bundle endpoint, by which other trust domains learn the keys of this one. Default: not at all.
    pub bundle_endpoint: Option<SocketAddr>,
    /// PEM files of a certificate chain and its key for it (`https_web`). Default: the control plane's own certificate
    /// (`https_spiffe`).
    pub bundle_endpoint_cert: Option<(PathBuf, PathBuf)>,
    /// How often those who fetch the bundle are asked to look for another. Default 5 minutes.
    pub bundle_refresh: Option<Duration>,
    /// How many refusals and failures of proxies are kept for `halcyon why`; 0: none, and proxies do not tell of them.
    /// Default 10 000.
    pub refusals: Option<usize>,
    /// The dashboard, on a loopback address. Default 127.0.0.1:20001, or another port where that is in use; `None` inside: not
    /// at all.
    pub dashboard: Option<Option<SocketAddr>>,
    /// Proxies tell their spans at the TLS door: a guest takes them there. Default: no.
    pub takes_spans: bool,
    /// Where programs of this machine tell their spans (OTLP and Zipkin), on a loopback address. Default: nowhere.
    pub spans: Option<SocketAddr>,
    /// Addresses from which no keys of tokens and no bundles are fetched (Istio's `BLOCKED_CIDRS_IN_JWKS_URIS`). Default none.
    pub blocked_keys: Vec<IpNet>,
}

/// How many refusals are kept where nothing is said.
const REFUSALS: usize = 10_000;

/// Where the control plane is reached. Written to `<data_dir>/endpoints.json` too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// xDS and certificates over TLS.
    pub tls: SocketAddr,
    /// xDS in plain text.
    pub plain: SocketAddr,
    /// Metrics (`/metrics`) and health (`/healthz`).
    pub metrics: SocketAddr,
    /// The Unix socket of the HTTP/JSON API.
    pub socket: PathBuf,
    /// The same API over TLS, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<SocketAddr>,
    /// The SPIFFE bundle endpoint, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<SocketAddr>,
    /// The dashboard, if it is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dashboard: Option<SocketAddr>,
    /// Where programs tell their spans, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spans: Option<SocketAddr>,
    /// The identity that the TLS door shows.
    pub identity: String,
    /// The process.
    pub pid: u32,
}

/// Options as resolved.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub data_dir: PathBuf,
    pub config_dir: Option<PathBuf>,
    pub ca_dir: PathBuf,
    pub ca_passphrase: Option<Passphrase>,
    pub mesh: MeshSettings,
    pub tls: SocketAddr,
    pub plain: SocketAddr,
    pub metrics: SocketAddr,
    pub certificate_ttl: Duration,
    pub api: Option<ApiDoor>,
    pub bundle: Option<BundleDoor>,
    /// What the bundle says of when to look for another.
    pub bundle_refresh: Duration,
    /// The group that may use the socket, and as what.
    pub socket_group: Option<(u32, Role)>,
    /// Rate limits.
    pub limits: LimitSettings,
    /// How many refusals are kept.
    pub refusals: usize,
    /// The dashboard's door.
    pub dashboard: Option<SocketAddr>,
    /// It may be at another port.
    pub dashboard_anywhere: bool,
    /// Proxies tell their spans.
    pub takes_spans: bool,
    /// The door for spans.
    pub spans: Option<SocketAddr>,
    /// No keys are fetched from there.
    pub blocked_keys: Vec<IpNet>,
    /// The control plane's own identity.
    pub identity: SpiffeId,
}

/// Rate limits that are counted for all.
#[derive(Debug, Clone)]
pub(crate) struct LimitSettings {
    pub files: Option<PathBuf>,
    pub redis: Option<String>,
    pub headers: bool,
    pub address: Option<SocketAddr>,
}

/// The API's TLS door.
#[derive(Debug, Clone)]
pub(crate) struct ApiDoor {
    pub address: SocketAddr,
    pub cert: Option<(PathBuf, PathBuf)>,
    pub client_roots: Vec<(TrustDomain, PathBuf)>,
}

/// The bundle endpoint.
#[derive(Debug, Clone)]
pub(crate) struct BundleDoor {
    pub address: SocketAddr,
    pub cert: Option<(PathBuf, PathBuf)>,
}

/// The dashboard's port, as Kiali's.
const DASHBOARD: u16 = 20001;
/// Namespace and service account of the control plane itself.
const OWN: (&str, &str) = ("halcyon-system", "control");
/// The life of workloads' certificates, as in Istio.
const CERTIFICATE_TTL: Duration = Duration::from_secs(24 * 3600);
/// Fetchers of the bundle are asked to look this often.
const BUNDLE_REFRESH: Duration = Duration::from_secs(300);

impl ControlOptions {
    /// Everything at its default, with the state in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            config_dir: None,
            ca_dir: None,
            ca_passphrase_file: None,
            trust_domain: None,
            dns_domain: None,
            root_namespace: None,
            outbound_policy: None,
            access_log: None,
            access_log_encoding: None,
            listen: None,
            tls_port: None,
            plain_port: None,
            metrics_port: None,
            certificate_ttl: None,
            api: None,
            api_cert: None,
            api_client_roots: Vec::new(),
            socket_group: None,
            ratelimit_config: None,
            ratelimit_redis: None,
            ratelimit_headers: false,
            ratelimit_address: None,
            bundle_endpoint: None,
            bundle_endpoint_cert: None,
            bundle_refresh: None,
            refusals: None,
            dashboard: None,
            takes_spans: false,
            spans: None,
            blocked_keys: Vec::new(),
        }
    }

    /// The same on free ports of 127.0.0.1, as for several control planes on one machine.
    pub fn on_free_ports(mut self) -> Self {
        (self.tls_port, self.plain_port, self.metrics_port) = (Some(0), Some(0), Some(0));
        self.dashboard = Some(Some((Ipv4Addr::LOCALHOST, 0).into()));
        self
    }

    pub(crate) fn resolve(self) -> Result<Settings, ControlError> {
        let trust_domain = self.trust_domain()?;
        let identity = SpiffeId::workload(&trust_domain, OWN.0, OWN.1)
            .map_err(|e| ControlError::Option { option: "trust domain", reason: e.to_string() })?;
        let mesh = self.mesh(trust_domain)?;
        let ca_passphrase = self.passphrase()?;
        let listen = self.listen.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let certificate_ttl = self.certificate_ttl.unwrap_or(CERTIFICATE_TTL);
        if certificate_ttl < Duration::from_secs(10) || certificate_ttl > ca::MAX_TTL {
            let reason = format!("{certificate_ttl:?}: expected 10 seconds to {} days", ca::MAX_TTL.as_secs() / 86400);
            return Err(ControlError::Option { option: "certificate life", reason });
        }
        let socket_group = match &self.socket_group {
            Some((name, role)) => Some((group(name)?, *role)),
            None => None,
        };
        if self.api.is_none() && (self.api_cert.is_some() || !self.api_client_roots.is_empty()) {
            let reason = "certificates for the API are given, and no address to serve it at: name one".to_owned();
            return Err(ControlError::Option { option: "API", reason });
        }
        let dashboard = self.dashboard.unwrap_or(Some((Ipv4Addr::LOCALHOST, DASHBOARD).into()));
        for (option, address) in [("dashboard", dashboard), ("spans", self.spans)] {
            if let Some(address) = address.filter(|address| !address.ip().is_loopback()) {
                let reason = format!(
                    "{address} is reached from elsewhere, in plain text; expected a loopback address, such as \
                     127.0.0.1:{}, to which others come through a tunnel (`ssh -L`)",
                    address.port()
                );
                return Err(ControlError::Option { option, reason });
            }
        }
        let bundle = self.bundle_door()?;
        let bundle_refresh = self.bundle_refresh.unwrap_or(BUNDLE_REFRESH);
        let api = self.api.map(|address| ApiDoor { address, cert: self.api_cert, client_roots: self.api_client_roots });
        Ok(Settings {
            ca_dir: self.ca_dir.unwrap_or_else(|| self.data_dir.join("ca")),
            ca_passphrase,
            data_dir: self.data_dir,
            config_dir: self.config_dir,
            mesh,
            tls: SocketAddr::new(listen, self.tls_port.unwrap_or(15012)),
            plain: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.plain_port.unwrap_or(15010)),
            metrics: SocketAddr::new(listen, self.metrics_port.unwrap_or(15014)),
            certificate_ttl,
            api,
            bundle,
            bundle_refresh,
            socket_group,
            limits: LimitSettings {
                files: self.ratelimit_config,
                redis: self.ratelimit_redis,
                headers: self.ratelimit_headers,
                address: self.ratelimit_address,
            },
            refusals: self.refusals.unwrap_or(REFUSALS),
            dashboard,
            dashboard_anywhere: self.dashboard.is_none(),
            takes_spans: self.takes_spans,
            spans: self.spans,
            blocked_keys: self.blocked_keys,
            identity,
        })
    }

    fn bundle_door(&self) -> Result<Option<BundleDoor>, ControlError> {
        let refused = |option, reason: String| Err(ControlError::Option { option, reason });
        if self.bundle_refresh.is_some_and(|hint| hint < Duration::from_secs(1)) {
            return refused("bundle refresh hint", "expected a second or more".to_owned());
        }
        match (self.bundle_endpoint, &self.bundle_endpoint_cert) {
            (None, None) => Ok(None),
            (None, Some(_)) => {
                let reason = "a certificate is given, and no address to serve the bundle at: name one".to_owned();
                refused("bundle endpoint", reason)
            }
            (Some(address), cert) => Ok(Some(BundleDoor { address, cert: cert.clone() })),
        }
    }

    fn trust_domain(&self) -> Result<TrustDomain, ControlError> {
        let Some(text) = &self.trust_domain else { return Ok(TrustDomain::default()) };
        text.parse().map_err(|e: base::spiffe::SpiffeError| ControlError::Option {
            option: "trust domain",
            reason: e.to_string(),
        })
    }

    fn passphrase(&self) -> Result<Option<Passphrase>, ControlError> {
        let Some(path) = &self.ca_passphrase_file else { return Ok(None) };
        let bad = |reason: &dyn std::fmt::Display| ControlError::Option {
            option: "ca passphrase file",
            reason: format!("{}: {reason}", path.display()),
        };
        let content = std::fs::read(path).map_err(|e| bad(&e))?;
        Passphrase::new(&content).map(Some).map_err(|e| bad(&e))
    }

    fn access_log(&self) -> Result<Option<FileLog>, ControlError> {
        let format = match self.access_log_encoding.as_deref() {
            None | Some("TEXT") => LogFormat::Default,
            Some("JSON") => translate::istio_json(),
            Some(other) => {
                let reason = format!("`{other}`: expected `TEXT` or `JSON`");
                return Err(ControlError::Option { option: "access log encoding", reason });
            }
        };
        Ok(self.access_log.clone().map(|path| FileLog { path, format }))
    }

    fn mesh(&self, trust_domain: TrustDomain) -> Result<MeshSettings, ControlError> {
        let default = MeshSettings::default();
        let outbound_policy = match self.outbound_policy.as_deref() {
            None => default.outbound_policy,
            Some("ALLOW_ANY") => OutboundPolicy::AllowAny,
            Some("REGISTRY_ONLY") => OutboundPolicy::RegistryOnly,
            Some(other) => {
                let reason = format!("`{other}`: expected `ALLOW_ANY` or `REGISTRY_ONLY`");
                return Err(ControlError::Option { option: "outbound policy", reason });
            }
        };
        Ok(MeshSettings {
            trust_domain,
            dns_domain: self.dns_domain.clone().unwrap_or_else(|| default.dns_domain.clone()),
            root_namespace: self.root_namespace.clone().unwrap_or_else(|| default.root_namespace.clone()),
            outbound_policy,
            access_log: self.access_log()?,
            ..default
        })
    }
}

/// The number of a group, by its number or by its name in `/etc/group`.
fn group(name: &str) -> Result<u32, ControlError> {
    let known = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let named = known.lines().find_map(|line| {
        let mut parts = line.split(':');
        (parts.next() == Some(name)).then(|| parts.nth(1)?.parse().ok())?
    });
    name.parse().ok().or(named).ok_or_else(|| ControlError::Option {
        option: "socket group",
        reason: format!("there is no group `{name}` in /etc/group; expected its name or number"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_refusals() {
        let settings = ControlOptions::new("/x").resolve().unwrap();
        assert_eq!(settings.tls.to_string(), "127.0.0.1:15012");
        assert_eq!(settings.identity.as_str(), "spiffe://cluster.local/ns/halcyon-system/sa/control");
        assert_eq!(settings.ca_dir, PathBuf::from("/x/ca"));
        let mut options = ControlOptions::new("/x");
        options.access_log = Some("/dev/stdout".to_owned());
        options.access_log_encoding = Some("JSON".to_owned());
        let log = options.resolve().unwrap().mesh.access_log.unwrap();
        let LogFormat::Json(members) = log.format else { panic!("{log:?}") };
        assert_eq!((members.len(), members[0].0.as_str(), members.is_sorted()), (25, "authority", true));
        let check = |change: fn(&mut ControlOptions), expected: &str| {
            let mut options = ControlOptions::new("/x");
            change(&mut options);
            let error = options.resolve().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(|o| o.trust_domain = Some("a b".to_owned()), "trust domain");
        check(|o| o.outbound_policy = Some("allow".to_owned()), "REGISTRY_ONLY");
        check(|o| o.access_log_encoding = Some("json".to_owned()), "expected `TEXT` or `JSON`");
        check(|o| o.certificate_ttl = Some(Duration::from_secs(1)), "certificate life");
        check(|o| o.socket_group = Some(("no such group".to_owned(), Role::Viewer)), "socket group");
        check(|o| o.api_cert = Some(("a".into(), "b".into())), "no address to serve it");
        check(|o| o.bundle_endpoint_cert = Some(("a".into(), "b".into())), "no address to serve the bundle");
        check(|o| o.bundle_refresh = Some(Duration::ZERO), "a second or more");
        check(|o| o.dashboard = Some(Some(([0, 0, 0, 0], 20001).into())), "expected a loopback address");
        let mut options = ControlOptions::new("/x");
        options.socket_group = Some(("root".to_owned(), Role::Viewer));
        assert_eq!(options.resolve().unwrap().socket_group, Some((0, Role::Viewer)));
    }
}
