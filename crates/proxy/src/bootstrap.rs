//! What the proxy is told at its start, in one JSON file: who it is, where its control plane is, where it keeps its
//! state. Two structs: [`File`] as typed, [`Bootstrap`] as resolved, and one function between them.
//!
//! Everything that can change while it runs arrives over xDS and has no place here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::{SpiffeId, TrustDomain};
use model::Locality;
use model::access_log::{FileLog, LogFormat};
use serde::Deserialize;
use transport::{Address, Netns};
use xds::shell::ControlServer;

use crate::observe::TapRules;

mod certificates;
mod metrics;
mod observe;
mod on_demand;
mod program_ready;

use certificates::CertificatesFile;
pub use certificates::{Authority, Certificates};
pub(crate) use metrics::IDLE;
use metrics::MetricsFile;
pub use metrics::{Metrics, ProgramMetrics};
use observe::ObserveFile;
pub use on_demand::OnDemand;
use on_demand::OnDemandFile;
use program_ready::ReadyFile;
pub use program_ready::{HttpQuestion, Place, Question, ReadyCheck, Timing};

/// The bootstrap file as typed. Unknown fields are errors.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    node: NodeFile,
    control_plane: Option<ControlPlaneFile>,
    identity: Option<IdentityFile>,
    certificates: Option<CertificatesFile>,
    workers: Option<usize>,
    state_dir: Option<PathBuf>,
    admin: Option<AddressFile>,
    readiness: Option<AddressFile>,
    metrics: Option<MetricsFile>,
    netns: Option<NetnsFile>,
    access_log: Option<AccessLogFile>,
    drain_seconds: Option<f64>,
    dns: Option<DnsFile>,
    program_ready: Option<ReadyFile>,
    static_resources: Option<PathBuf>,
    on_demand: Option<OnDemandFile>,
    workload_api: Option<WorkloadApiFile>,
    observe: Option<ObserveFile>,
    #[serde(default)]
    explain: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkloadApiFile {
    path: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NodeFile {
    id: String,
    #[serde(default)]
    cluster: String,
    #[serde(default)]
    metadata: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    locality: LocalityFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LocalityFile {
    region: String,
    zone: String,
    sub_zone: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ControlPlaneFile {
    address: String,
    server_name: Option<String>,
    server_identity: Option<String>,
    trust_bundle: Option<PathBuf>,
    trust_bundle_pem: Option<String>,
    token: Option<String>,
    token_file: Option<PathBuf>,
    tls: Option<bool>,
    #[serde(default)]
    mode: Mode,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityFile {
    spiffe_id: String,
    trust_domain: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AddressFile {
    address: SocketAddr,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetnsFile {
    name: String,
    sockets_path: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessLogFile {
    path: String,
    text: Option<String>,
    json: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DnsFile {
    #[serde(default)]
    udp: Vec<SocketAddr>,
    #[serde(default)]
    tcp: Vec<SocketAddr>,
    resolvers: Option<Vec<SocketAddr>>,
}

/// Delta or state of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Only what changed (incremental xDS).
    #[default]
    Delta,
    /// Everything each time.
    Sotw,
}

/// What the proxy is told at its start, checked and with defaults filled in.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    /// Who this proxy is to its control plane.
    pub node: Node,
    /// The cluster that it is itself an endpoint of, as an Envoy bootstrap names it; none: the control plane tells it, under
    /// the name of [`model::cluster::LOCAL_CLUSTER`].
    pub local_cluster: Option<Arc<str>>,
    /// Where its configuration comes from. None: only [`Bootstrap::static_resources`].
    pub control_plane: Option<ControlPlane>,
    /// The identity to ask certificates for; none: certificates come by secret discovery.
    pub identity: Option<SpiffeId>,
    /// Where the certificate of that identity comes from.
    pub certificates: Certificates,
    /// Worker threads, at least one. Default 1.
    pub workers: usize,
    /// Where the last good configuration and the certificate are kept; none: nowhere.
    pub state_dir: Option<PathBuf>,
    /// Where the admin endpoints are served.
    pub admin: Option<SocketAddr>,
    /// Where only readiness and metrics are served, for probes from outside.
    pub readiness: Option<SocketAddr>,
    /// Where readiness and metrics are served, with those of the program.
    pub metrics: Option<Metrics>,
    /// The workload's network namespace, if it has its own.
    pub netns: Option<Netns>,
    /// The log of listeners that name none.
    pub access_log: Option<FileLog>,
    /// How long old work may go on in a drain. Default 45 s, as Istio's `drainDuration`.
    pub drain: Duration,
    /// Where DNS is answered; none: nowhere.
    pub dns: Option<Dns>,
    /// When the program behind this sidecar is ready, for the control plane; none: that is not asked.
    pub program_ready: Option<ReadyCheck>,
    /// Resources to run before, or without, a control plane.
    pub static_resources: Option<StaticResources>,
    /// How virtual hosts are found when they are needed.
    pub on_demand: OnDemand,
    /// The Unix socket at which the program finds the SPIFFE Workload API.
    pub workload_api: Option<PathBuf>,
    /// The control plane is told what traffic passes, and by these rules of exchanges that somebody taps. None: it is not.
    pub observe: Option<TapRules>,
    /// Whoever asks by the header `x-halcyon-explain` is told why a request was not answered by whom it was for. Peers that
    /// have proven who they are, are told in any case.
    pub explain: bool,
}

/// Resources to run before, or without, a control plane.
#[derive(Debug, Clone)]
pub enum StaticResources {
    /// In a file: a protobuf `DiscoveryResponse`.
    File(PathBuf),
    /// Given.
    Given(Vec<xds::Resource>),
}

/// Who this proxy is to its control plane (xDS `Node`).
#[derive(Debug, Clone, Default)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// The service it belongs to.
    pub cluster: String,
    /// What else is told, as Istio's proxies do (`NAME`, `NAMESPACE`, `LABELS`, ...).
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// Where it runs.
    pub locality: Locality,
}

/// Where configuration comes from.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    /// Its address.
    pub address: Address,
    /// TLS, if it is spoken.
    pub tls: Option<ControlTls>,
    /// The token that proves who we are before we have a certificate.
    pub token: Option<Token>,
    /// Delta or state of the world.
    pub mode: Mode,
}

/// TLS to the control plane.
#[derive(Debug, Clone)]
pub struct ControlTls {
    /// Who it must prove to be.
    pub server: ControlServer,
    /// PEM roots.
    pub trust_bundle: Vec<u8>,
    /// The secret of the certificate that we show it; none: that of our identity, once there is one.
    pub certificate: Option<Arc<str>>,
}

/// A bootstrap token. Never shown.
#[derive(Clone)]
pub enum Token {
    /// Given.
    Text(String),
    /// In a file that is read anew for each use (Kubernetes rotates it).
    File(PathBuf),
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(..)"),
            Self::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

impl Token {
    /// The token now. Empty if its file cannot be read.
    pub fn read(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::File(path) => std::fs::read_to_string(path).unwrap_or_default().trim().to_owned(),
        }
    }
}

/// Where DNS is answered.
#[derive(Debug, Clone, Default)]
pub struct Dns {
    /// UDP sockets, in the workload's namespace if it has one.
    pub udp: Vec<SocketAddr>,
    /// TCP sockets, likewise.
    pub tcp: Vec<SocketAddr>,
    /// Where other names are asked for; none: the servers of `/etc/resolv.conf`.
    pub resolvers: Option<Vec<SocketAddr>>,
}

/// Why a bootstrap file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// A file could not be read.
    #[error("{path}: cannot be read: {source}; expected {expected}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What it should have been.
        expected: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is no JSON of the form expected.
    #[error("{path}:{line}:{column}: {problem}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// Counted from one.
        column: usize,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// A value makes no sense.
    #[error("{path}: `{field}`: {problem}")]
    Value {
        /// Which file.
        path: PathBuf,
        /// The field's path.
        field: &'static str,
        /// What is wrong and what was expected.
        problem: String,
    },
}

/// Istio's `drainDuration`.
const DEFAULT_DRAIN: Duration = Duration::from_secs(45);
/// More workers than this are a typing error.
const MAX_WORKERS: usize = 1024;

impl Bootstrap {
    /// Reads and checks a bootstrap file. Relative paths in it are relative to the working directory.
    ///
    /// # Errors
    /// [`BootstrapError`] with the file, the place and what was expected.
    pub fn load(path: &Path) -> Result<Self, BootstrapError> {
        let text = read(path, "the bootstrap file")?;
        Self::parse(path, &String::from_utf8_lossy(&text))
    }

    /// Checks the text of a bootstrap file; `path` is for messages.
    ///
    /// # Errors
    /// As [`Bootstrap::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, BootstrapError> {
        let file: File = serde_json::from_str(text).map_err(|error| BootstrapError::Syntax {
            path: path.to_owned(),
            line: error.line(),
            column: error.column(),
            problem: explain(&error.to_string()),
        })?;
        resolve(path, file)
    }

    /// A bootstrap with a node id and nothing else.
    pub fn bare(id: &str) -> Self {
        Self {
            node: Node { id: id.to_owned(), ..Node::default() },
            control_plane: None,
            local_cluster: None,
            identity: None,
            certificates: Certificates::default(),
            workers: 1,
            state_dir: None,
            admin: None,
            readiness: None,
            metrics: None,
            netns: None,
            access_log: None,
            drain: DEFAULT_DRAIN,
            dns: None,
            program_ready: None,
            static_resources: None,
            on_demand: OnDemand::default(),
            workload_api: None,
            observe: None,
            explain: false,
        }
    }
}

fn read(path: &Path, expected: &'static str) -> Result<Vec<u8>, BootstrapError> {
    std::fs::read(path).map_err(|source| BootstrapError::Read { path: path.to_owned(), expected, source })
}

fn resolve(path: &Path, file: File) -> Result<Bootstrap, BootstrapError> {
    let bad = |field, problem: String| BootstrapError::Value { path: path.to_owned(), field, problem };
    let workers = file.workers.unwrap_or(1);
    if !(1..=MAX_WORKERS).contains(&workers) {
        return Err(bad("workers", format!("{workers} is not possible: expected 1 to {MAX_WORKERS}")));
    }
    let drain = match file.drain_seconds {
        None => DEFAULT_DRAIN,
        Some(seconds) => Duration::try_from_secs_f64(seconds)
            .map_err(|_| bad("drain_seconds", format!("{seconds} is no duration: expected seconds, zero or more")))?,
    };
    if file.node.id.is_empty() {
        return Err(bad("node.id", "is empty: expected the id under which the control plane knows this proxy".into()));
    }
    let sotw = file.control_plane.as_ref().is_some_and(|plane| plane.mode == Mode::Sotw);
    if sotw && file.on_demand.is_some() {
        let problem = "stands beside the mode `sotw`: expected the mode `delta`, the only one that has it".to_owned();
        return Err(bad("on_demand", problem));
    }
    let workload_api = file.workload_api.map(|api| api.path);
    if workload_api.is_some() && (file.identity.is_none() || file.control_plane.is_none()) {
        let problem =
            "stands without `identity` or `control_plane`: expected both, since it gives what they bring".to_owned();
        return Err(bad("workload_api", problem));
    }
    if file.observe.is_some() && file.control_plane.is_none() {
        let problem = "stands without `control_plane`: expected one, since it is told".to_owned();
        return Err(bad("observe", problem));
    }
    if file.certificates.is_some() && (file.identity.is_none() || file.control_plane.is_none()) {
        let problem = "stands without `identity` or `control_plane`: expected both, since it is the certificate that the \
                       control plane knows this proxy by";
        return Err(bad("certificates", problem.to_owned()));
    }
    let locality = file.node.locality;
    Ok(Bootstrap {
        node: Node {
            id: file.node.id,
            cluster: file.node.cluster,
            metadata: file.node.metadata,
            locality: Locality { region: locality.region, zone: locality.zone, sub_zone: locality.sub_zone },
        },
        control_plane: file.control_plane.map(|c| control_plane(path, c)).transpose()?,
        local_cluster: None,
        identity: file.identity.map(|i| identity(path, &i)).transpose()?,
        certificates: file.certificates.map(|it| it.resolve(path)).transpose()?.unwrap_or_default(),
        workers,
        state_dir: file.state_dir,
        admin: file.admin.map(|a| a.address),
        readiness: file.readiness.map(|a| a.address),
        metrics: file.metrics.map(|it| it.resolve(path)).transpose()?,
        netns: file.netns.map(|n| Netns::new(&n.name, n.sockets_path)),
        access_log: file.access_log.map(|log| access_log(path, log)).transpose()?,
        drain,
        dns: file.dns.map(|d| Dns { udp: d.udp, tcp: d.tcp, resolvers: d.resolvers }),
        program_ready: file.program_ready.map(|ready| ready.resolve(path)).transpose()?,
        static_resources: file.static_resources.map(StaticResources::File),
        on_demand: file.on_demand.map(|on_demand| on_demand.resolve(path)).transpose()?.unwrap_or_default(),
        workload_api,
        observe: file.observe.map(|it| it.resolve(path)).transpose()?,
        explain: file.explain,
    })
}

fn control_plane(path: &Path, file: ControlPlaneFile) -> Result<ControlPlane, BootstrapError> {
    let bad = |field, problem: String| BootstrapError::Value { path: path.to_owned(), field, problem };
    let (host, address) = control_address(&file.address).map_err(|problem| bad("control_plane.address", problem))?;
    let tls = if file.tls.unwrap_or(true) {
        let trust_bundle = match (file.trust_bundle_pem, file.trust_bundle) {
            (Some(_), Some(_)) => {
                return Err(bad("control_plane.trust_bundle", "stands beside `trust_bundle_pem`: expected one".into()));
            }
            (Some(pem), None) => pem.into_bytes(),
            (None, Some(file)) => read(&file, "the roots of the control plane's certificate, in PEM")?,
            (None, None) => {
                let problem = "is missing: expected a file with the roots of the control plane's certificate, or \
                               `\"tls\": false` for a control plane on plain loopback";
                return Err(bad("control_plane.trust_bundle", problem.into()));
            }
        };
        let at = (path, "control_plane.server_identity");
        let server = control_server(at, file.server_name, file.server_identity, host)?;
        Some(ControlTls { server, trust_bundle, certificate: None })
    } else {
        None
    };
    let token = match (file.token, file.token_file) {
        (Some(_), Some(_)) => {
            return Err(bad("control_plane.token", "stands beside `token_file`: expected one of them".into()));
        }
        (Some(text), None) => Some(Token::Text(text)),
        (None, Some(path)) => Some(Token::File(path)),
        (None, None) => None,
    };
    Ok(ControlPlane { address, tls, token, mode: file.mode })
}

fn control_server(
    (path, field): (&Path, &'static str),
    name: Option<String>,
    identity: Option<String>,
    host: String,
) -> Result<ControlServer, BootstrapError> {
    let bad = |problem| BootstrapError::Value { path: path.to_owned(), field, problem };
    match (name, identity) {
        (Some(_), Some(_)) => Err(bad("stands beside `server_name`: expected one of them".to_owned())),
        (None, Some(id)) => {
            id.parse().map(ControlServer::Identity).map_err(|e: base::spiffe::SpiffeError| bad(e.to_string()))
        }
        (name, None) => Ok(ControlServer::Name(name.unwrap_or(host))),
    }
}

/// The host as written, and the address. Names are looked up once, at start.
fn control_address(text: &str) -> Result<(String, Address), String> {
    if let Ok(address) = text.parse::<Address>() {
        let host = address.ip().map_or_else(|| "localhost".to_owned(), |a| a.ip().to_string());
        return Ok((host, address));
    }
    let problem =
        |why: String| format!("`{text}` {why}: expected `host:port`, such as `127.0.0.1:15012`, or `unix:/path`");
    let (host, _) = text.rsplit_once(':').ok_or_else(|| problem("has no port".into()))?;
    let mut found =
        std::net::ToSocketAddrs::to_socket_addrs(text).map_err(|e| problem(format!("is not found ({e})")))?;
    let first = found.next().ok_or_else(|| problem("has no address".into()))?;
    Ok((host.to_owned(), first.into()))
}

fn identity(path: &Path, file: &IdentityFile) -> Result<SpiffeId, BootstrapError> {
    let bad = |field, problem: String| BootstrapError::Value { path: path.to_owned(), field, problem };
    let id: SpiffeId = file.spiffe_id.parse().map_err(|e| bad("identity.spiffe_id", format!("{e}")))?;
    if let Some(domain) = &file.trust_domain {
        let domain: TrustDomain = domain.parse().map_err(|e| bad("identity.trust_domain", format!("{e}")))?;
        if domain.as_str() != id.trust_domain() {
            let problem = format!("`{domain}` is not the trust domain of `{id}`: expected them to agree");
            return Err(bad("identity.trust_domain", problem));
        }
    }
    Ok(id)
}

fn access_log(path: &Path, file: AccessLogFile) -> Result<FileLog, BootstrapError> {
    let format = match (file.text, file.json) {
        (Some(_), Some(_)) => {
            let problem = "stands beside `json`: expected one of them".to_owned();
            return Err(BootstrapError::Value { path: path.to_owned(), field: "access_log.text", problem });
        }
        (Some(text), None) => LogFormat::Text(text),
        (None, Some(json)) => LogFormat::Json(json.into_iter().collect()),
        (None, None) => LogFormat::Default,
    };
    Ok(FileLog { path: file.path, format })
}

/// Makes the JSON reader's words fit for people: drops its position (it stands before), and for an unknown field
/// names the nearest that exists.
fn explain(message: &str) -> String {
    let message = message.rsplit_once(" at line ").map_or(message, |(text, _)| text);
    let mut quoted = message.split('`').skip(1).step_by(2);
    match quoted.next() {
        Some(unknown) if message.starts_with("unknown field") => {
            let nearest = quoted.min_by_key(|known| strsim::damerau_levenshtein(unknown, known));
            match nearest {
                Some(known) => format!("`{unknown}` is no field of the bootstrap file; the nearest is `{known}`"),
                None => format!("`{unknown}` is no field of the bootstrap file; none is expected here"),
            }
        }
        _ => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Bootstrap, String> {
        Bootstrap::parse(Path::new("b.json"), text).map_err(|e| e.to_string())
    }

    #[test]
    fn resolved() {
        let text = r#"{"node": {"id": "sidecar~a", "metadata": {"NAME": "a"}, "locality": {"zone": "z"}},
            "control_plane": {"address": "127.0.0.1:15010", "tls": false, "mode": "delta"},
            "identity": {"spiffe_id": "spiffe://cluster.local/ns/default/sa/a"},
            "program_ready": {"tcp": ["127.0.0.1:9080"]},
            "on_demand": {"idle_seconds": 60}, "workers": 2, "admin": {"address": "127.0.0.1:15000"}, "drain_seconds": 1.5}"#;
        let b = parse(text).unwrap();
        assert_eq!((b.workers, b.drain), (2, Duration::from_millis(1500)));
        assert_eq!(b.node.locality.zone, "z");
        let question = Question::Tcp(vec!["127.0.0.1:9080".parse().unwrap()]);
        assert_eq!(b.program_ready, Some(ReadyCheck { question, timing: None }));
        assert_eq!(b.control_plane.unwrap().mode, Mode::Delta);
        let on_demand = OnDemand { announced: true, idle: Duration::from_secs(60), ..OnDemand::default() };
        assert_eq!(b.on_demand, on_demand);
        assert_eq!(b.identity.unwrap().service_account(), Some("a"));
    }

    #[test]
    fn refused() {
        for (text, part) in [
            (r#"{"node": {"id": "a"}, "wrokers": 2}"#, "b.json:1:31: `wrokers` is no field"),
            (r#"{"node": {"id": "a"}, "wrokers": 2}"#, "the nearest is `workers`"),
            (r#"{"node": {"id": "a"}, "workers": 0}"#, "`workers`: 0 is not possible"),
            (r#"{"node": {"id": ""}}"#, "`node.id`: is empty"),
            (r#"{"node": {"id": "a"}, "drain_seconds": -1}"#, "is no duration"),
            (r#"{"node": {"id": "a"}, "control_plane": {"address": "127.0.0.1:1"}}"#, "trust_bundle`: is missing"),
            (r#"{"node": {"id": "a"}, "control_plane": {"address": "nowhere", "tls": false}}"#, "has no port"),
            (r#"{"node": {"id": "a"}, "program_ready": {}}"#, "expected one of `tcp`, `tcp_at`, `http`"),
            (r#"{"node": {"id": "a"}, "identity": {"spiffe_id": "x"}}"#, "is not a SPIFFE ID"),
            (r#"{"node": {"id": "a"}, "on_demand": {"max_names": 0}}"#, "`on_demand.max_names`: 0 is not possible"),
            (r#"{"node": {"id": "a"}, "on_demand": {"wait_seconds": 0}}"#, "expected seconds, more than zero"),
            (
                r#"{"node": {"id": "a"}, "on_demand": {}, "control_plane": {"address": "127.0.0.1:1", "mode": "sotw"}}"#,
                "expected the mode `delta`",
            ),
            (
                r#"{"node": {"id": "a"}, "certificates": {"files": {"chain": "a", "private_key": "b"}}}"#,
                "`certificates`: stands without `identity` or `control_plane`",
            ),
            (
                r#"{"node": {"id": "a"}, "control_plane": {"address": "127.0.0.1:1", "tls": false},
                    "identity": {"spiffe_id": "spiffe://a/ns/b/sa/c"}, "certificates": {}}"#,
                "expected one of `authority`, `files` and `secrets`",
            ),
            (r#"{"node": "#, "EOF"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn tokens_are_not_shown() {
        let text =
            r#"{"node": {"id": "a"}, "control_plane": {"address": "127.0.0.1:1", "tls": false, "token": "secret"}}"#;
        assert!(!format!("{:?}", parse(text).unwrap()).contains("secret"));
    }
}
