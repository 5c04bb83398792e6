//! In Envoy's place: its bootstrap file and the flags that people start it with.

use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use model::cluster::{Cluster, Discovery, Transport};
use model::secret::SecretValue;
use model::tls::SecretFiles;
use model::{Address, EndpointSet, Locality};
use proxy::bootstrap::{Bootstrap, ControlPlane, ControlTls, Mode, Node, StaticResources};
use xds::Resource;
use xds::shell::ControlServer;

/// Envoy's flags. Those that have no meaning here are taken and do nothing.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Arguments {
    /// An Envoy bootstrap file, YAML or JSON, in place of `--bootstrap`.
    #[arg(long, short, value_name = "FILE", conflicts_with = "bootstrap")]
    config_path: Option<PathBuf>,
    /// An Envoy bootstrap as text.
    #[arg(long, value_name = "YAML", conflicts_with_all = ["bootstrap", "config_path"])]
    config_yaml: Option<String>,
    /// With an Envoy bootstrap: run, or only say whether it can be run.
    #[arg(long, value_enum, default_value_t = Run::Serve)]
    mode: Run,
    /// With an Envoy bootstrap: the worker threads (default: one for each processor).
    #[arg(long, value_name = "NUMBER")]
    concurrency: Option<usize>,
    /// With an Envoy bootstrap: the node's id, in place of the file's.
    #[arg(long, value_name = "ID")]
    service_node: Option<String>,
    /// With an Envoy bootstrap: the node's cluster, in place of the file's.
    #[arg(long, value_name = "NAME")]
    service_cluster: Option<String>,
    /// With an Envoy bootstrap: the node's zone, in place of the file's.
    #[arg(long, value_name = "NAME")]
    service_zone: Option<String>,
    /// With an Envoy bootstrap: how long old work may go on in a drain.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    drain_time_s: u64,
    #[arg(long, hide = true)]
    base_id: Option<u32>,
    #[arg(long, hide = true)]
    use_dynamic_base_id: bool,
    #[arg(long, hide = true)]
    disable_hot_restart: bool,
    #[arg(long, hide = true)]
    parent_shutdown_time_s: Option<u64>,
}

/// What to do with the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Run {
    /// Run it.
    Serve,
    /// Only say whether it can be run.
    Validate,
}

impl Arguments {
    /// Is only asked whether the file can be run?
    pub fn only_validates(&self) -> bool {
        self.mode == Run::Validate
    }
}

/// The bootstrap of an Envoy file.
pub fn bootstrap(arguments: &Arguments) -> Result<Bootstrap> {
    let read = match (&arguments.config_path, &arguments.config_yaml) {
        (Some(path), _) => envoyfile::load(path)?,
        (None, Some(text)) => envoyfile::parse("--config-yaml", text)?,
        (None, None) => bail!("there is no bootstrap; expected `--bootstrap FILE` or `--config-path FILE`"),
    };
    for path in &read.without_effect {
        tracing::warn!("{path} has no effect: there is no runtime to set");
    }
    let node = node(arguments, &read.node);
    if read.control.is_some() && node.id.is_empty() {
        bail!(
            "node.id: is missing; expected the id under which the control plane knows this proxy, or `--service-node`"
        );
    }
    let workers = arguments.concurrency.unwrap_or_else(|| available_parallelism().map_or(1, usize::from)).max(1);
    let control_plane = read.control.map(|control| control_plane(&control, &read.resources)).transpose()?;
    let id = if node.id.is_empty() { "halcyon-proxy".to_owned() } else { node.id.clone() };
    Ok(Bootstrap {
        node: Node { id, ..node },
        control_plane,
        workers,
        admin: read.admin,
        local_cluster: read.local_cluster.map(Into::into),
        drain: Duration::from_secs(arguments.drain_time_s),
        static_resources: Some(StaticResources::Given(read.resources)),
        ..Bootstrap::bare("envoy")
    })
}

fn node(arguments: &Arguments, written: &envoyfile::WireNode) -> Node {
    let place = written.locality.clone().unwrap_or_default();
    let or = |flag: &Option<String>, file: &str| flag.clone().unwrap_or_else(|| file.to_owned());
    Node {
        id: or(&arguments.service_node, &written.id),
        cluster: or(&arguments.service_cluster, &written.cluster),
        metadata: written.metadata.as_ref().map(envoyfile::json_of).unwrap_or_default(),
        locality: Locality {
            region: place.region,
            zone: or(&arguments.service_zone, &place.zone),
            sub_zone: place.sub_zone,
        },
    }
}

/// The control plane behind a cluster of the file.
fn control_plane(control: &xds::decode::Control, resources: &[Resource]) -> Result<ControlPlane> {
    let name = &control.cluster;
    let cluster = resources.iter().find_map(|resource| match resource {
        Resource::Cluster(cluster) if *cluster.name == **name => Some(cluster),
        _ => None,
    });
    let cluster = cluster.with_context(|| {
        format!(
            "dynamic_resources.ads_config: there is no cluster `{name}`; expected one of `static_resources.clusters`"
        )
    })?;
    let (Discovery::Static(set) | Discovery::StrictDns(set) | Discovery::LogicalDns(set)) = &cluster.discovery else {
        bail!("the cluster `{name}` of the control plane finds its endpoints by discovery; expected them in the file");
    };
    Ok(ControlPlane {
        address: address(name, set)?,
        tls: tls(cluster, set, resources)?,
        token: None,
        mode: if control.delta { Mode::Delta } else { Mode::Sotw },
    })
}

fn address(cluster: &str, set: &EndpointSet) -> Result<transport::Address> {
    let first =
        set.iter().next().with_context(|| format!("the cluster `{cluster}` of the control plane has no endpoint"))?;
    match &first.address {
        Address::Socket { addr, .. } => Ok((*addr).into()),
        Address::Pipe { path, .. } => Ok(transport::Address::unix(path)),
        Address::Host { host, port } => {
            let mut found = std::net::ToSocketAddrs::to_socket_addrs(&(&**host, *port))
                .with_context(|| format!("the control plane's host `{host}` is not found"))?;
            found.next().map(Into::into).ok_or_else(|| anyhow!("the control plane's host `{host}` has no address"))
        }
    }
}

fn tls(cluster: &Cluster, set: &EndpointSet, resources: &[Resource]) -> Result<Option<ControlTls>> {
    let settings = match &cluster.transport {
        Transport::Plain => return Ok(None),
        Transport::Tls(settings) | Transport::MeshTls(settings) => settings,
    };
    let name = &cluster.name;
    let validation = settings.validation.as_ref().with_context(|| {
        format!(
            "the cluster `{name}` of the control plane does not check its certificate; expected a `validation_context`"
        )
    })?;
    let trust = roots(name, &validation.trust, resources)?;
    let host = set.iter().find_map(|endpoint| match &endpoint.address {
        Address::Host { host, .. } => Some(host.to_string()),
        _ => None,
    });
    let server = settings.sni.clone().or(host).unwrap_or_else(|| "localhost".to_owned());
    let certificate = settings.certificate.clone();
    Ok(Some(ControlTls { server: ControlServer::Name(server), trust_bundle: trust, certificate }))
}

/// The roots that a cluster trusts: in a file, or in a secret of the bootstrap.
fn roots(cluster: &str, name: &str, resources: &[Resource]) -> Result<Vec<u8>> {
    match SecretFiles::of(name) {
        Some(SecretFiles::Roots { roots, crl: None }) => return std::fs::read(roots).with_context(|| roots.to_owned()),
        Some(_) => bail!(
            "the cluster `{cluster}` of the control plane trusts the system's roots, or has lists of what is revoked; \
             expected a file of roots alone"
        ),
        None => {}
    }
    let given = resources.iter().find_map(|resource| match resource {
        Resource::Secret(secret) if *secret.name == *name => match &secret.value {
            SecretValue::Trust { roots, .. } => Some(roots.clone()),
            SecretValue::Certificate { .. } | SecretValue::Generic(_) => None,
        },
        _ => None,
    });
    given.with_context(|| {
        format!("the cluster `{cluster}` of the control plane trusts `{name}`, which is not in the file")
    })
}
