//! A proxy's start: who it is, what it is told, and the files in which that stands.

mod agent;
mod envoy;
mod own;
mod ready;
mod start;
mod ticket;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use control::registration::{NodeMetadata, RegisteredRole, Registration};
use launch::{Departure, Drain, HttpTarget, SidecarOutput, SidecarSpec};

use crate::cli::{CertificateArgs, Locality, MetricsAt, TellArgs};

pub use envoy::Envoy;
pub use own::Inside;
pub use ready::{Place, Question, ReadyCheck, Timing};
pub use start::Started;
pub use ticket::Ticket;

/// The ports that a proxy has beside those of its workload (Istio's and Envoy's numbers).
pub const PORTS: [u16; 3] = [ADMIN, METRICS, READINESS];
pub const ADMIN: u16 = 15000;
const METRICS: u16 = 15020;
const READINESS: u16 = 15021;

/// The cluster that proxies say they run in, off Kubernetes.
const CLUSTER: &str = "local";

/// A proxy that is to be started.
pub struct ProxySetup {
    /// Its namespace.
    pub namespace: String,
    /// The account that its identity is made of.
    pub service_account: String,
    /// The workload, such as `reviews-v2`.
    pub workload: String,
    /// The instance, unique in its namespace.
    pub instance: String,
    /// Labels of the workload.
    pub labels: BTreeMap<String, String>,
    /// Where it runs; none: as the labels say.
    pub locality: Locality,
    /// Its share among its neighbours.
    pub weight: u32,
    /// Sidecar or gateway.
    pub role: RegisteredRole,
    /// The address at which others reach it.
    pub address: IpAddr,
    /// What its process is told.
    pub started: Started,
    /// When the program behind it is ready, as our own proxy finds out; none: at once.
    pub ready: Option<ReadyCheck>,
    /// How long others may take to hear that it leaves, before its program is asked to end; none: it is asked at once.
    pub leave_delay: Option<Duration>,
    /// It asks for virtual hosts and clusters when they are needed, if it is our own proxy.
    pub on_demand: bool,
    /// It tells whoever asks why a request came to nothing, if it is our own proxy.
    pub explain: bool,
    /// The Unix socket at which its program finds the SPIFFE Workload API, if there is a program.
    pub workload_api: Option<PathBuf>,
    /// Where its program tells metrics of its own, if there is one that does.
    pub metrics: Option<MetricsAt>,
    /// What is told of requests that somebody taps, if it is our own proxy.
    pub tell: TellArgs,
    /// Who certifies it, if not the control plane.
    pub certificates: CertificateArgs,
    /// Who the control plane is and how it is reached.
    pub ticket: Ticket,
    /// The folder for its files.
    pub folder: PathBuf,
}

impl ProxySetup {
    /// The id of the xDS node, in Istio's form.
    pub fn node_id(&self) -> String {
        let kind = match self.role {
            RegisteredRole::Sidecar { .. } => "sidecar",
            RegisteredRole::Gateway { .. } => "router",
        };
        let (address, namespace) = (self.address, &self.namespace);
        format!("{kind}~{address}~{}.{namespace}~{namespace}.svc.cluster.local", self.instance)
    }

    /// Where its admin endpoints are.
    pub fn admin(&self) -> SocketAddr {
        SocketAddr::new(self.address, ADMIN)
    }

    fn metadata(&self, ours: bool) -> NodeMetadata {
        NodeMetadata {
            generator: String::new(),
            namespace: self.namespace.clone(),
            service_account: self.service_account.clone(),
            workload_name: self.workload.clone(),
            cluster: CLUSTER.to_owned(),
            labels: self.labels.clone(),
            halcyon: Some(Registration {
                proxy_version: ours.then(|| env!("CARGO_PKG_VERSION").to_owned()),
                instance: self.instance.clone(),
                role: self.role.clone(),
                address: self.address,
                weight: self.weight,
                tells_readiness: ours && self.ready.is_some(),
                // Our own proxy adds it, as its bootstrap says.
                on_demand: false,
                admin: Some(self.admin()),
                // A stock Envoy has no port for metrics alone.
                metrics: ours.then(|| SocketAddr::new(self.address, METRICS)),
            }),
        }
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        write_private(&self.folder, name, content)
    }

    /// Our own proxy, started with its bootstrap file. `netns` is where it gets sockets of the program's namespace.
    pub fn own(&self, netns: Option<&Inside>, output: SidecarOutput) -> Result<SidecarSpec> {
        let file = self.write("bootstrap.json", own::bootstrap(self, netns)?.as_bytes())?;
        Ok(SidecarSpec {
            program: crate::paths::program("halcyon-proxy", "HALCYON_PROXY").into(),
            args: vec!["--bootstrap".into(), file.into()],
            env: self.started.env.clone(),
            output,
            ready: HttpTarget::new(SocketAddr::new(self.address, READINESS), "/healthz/ready"),
            ready_within: Duration::from_secs(30),
            drain: Drain {
                departure: self
                    .leave_delay
                    .map(|delay| Departure { request: HttpTarget::new(self.admin(), "/healthcheck/fail"), delay }),
                request: Some(HttpTarget::new(self.admin(), "/quitquitquit")),
                settle: self.started.drain + Duration::from_secs(5),
                grace: Duration::from_secs(5),
            },
        })
    }
}

/// Writes a file that only its owner may read.
pub fn write_private(folder: &Path, name: &str, content: &[u8]) -> Result<PathBuf> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::create_dir_all(folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    let path = folder.join(name);
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("{}: cannot be written", path.display()))?;
    file.write_all(content).with_context(|| format!("{}: cannot be written", path.display()))?;
    Ok(path)
}
