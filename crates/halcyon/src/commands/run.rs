//! `halcyon run`: a program in the mesh, with a sidecar beside it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use control::registration::{RegisteredCapture, RegisteredPort, RegisteredRole, RegisteredUpstream};
use control::v1::ResourceQuery;
use launch::{Event, Launch, LoopbackClaim, Prepared, SidecarOutput};
use serde_json::Value;

use crate::cli::{Capture, Discovery, Place, Ready, RunArgs, Upstream};
use crate::proxy_setup::{ADMIN, Envoy, Inside, PORTS, ProxySetup, ReadyCheck, Ticket};
use crate::{paths, print};

/// The exit code is the program's own.
pub async fn run(place: &Place, args: RunArgs) -> Result<ExitCode> {
    let ready = ready_check(&args)?;
    let described = described(place, &args).await;
    let folder = Folder::new(place, &described.workload)?;
    let (address, claim) = address(&args)?;
    let prepared = prepare(&args, &folder).await?;
    let ticket = Ticket::get(place, &args.join, &args.namespace, &described.service_account, &folder.instance).await?;
    let capture = capture(&args, &prepared, address)?;
    let ports = inbound_ports(&args, address, prepared.is_captured())?;
    let env = variables(&capture);
    let setup = ProxySetup {
        namespace: args.namespace.clone(),
        service_account: described.service_account,
        workload: described.workload,
        instance: folder.instance.clone(),
        labels: described.labels,
        locality: args.locality.clone().unwrap_or_default(),
        role: RegisteredRole::Sidecar { service: Some(args.service.clone()), ports, capture },
        address,
        workers: args.workers,
        ready,
        on_demand: args.discovery == Discovery::OnDemand,
        ticket,
        folder: folder.path.clone(),
    };
    let output = output(&args)?;
    let sidecar = match &args.envoy {
        Some(program) => Envoy { program: program.clone() }.sidecar(&setup, output).await?,
        None => setup.own(inside(&prepared, &folder).as_ref(), output)?,
    };
    let ending = prepared.run(env, sidecar).await?;
    drop(claim);
    Ok(ExitCode::from(ending.exit_code()))
}

/// What the sidecar finds the program's readiness by, at the address by which it will reach it.
fn ready_check(args: &RunArgs) -> Result<Option<ReadyCheck>> {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let ready = match (&args.ready, &args.envoy) {
        (None | Some(Ready::None), Some(_)) => return Ok(None),
        (Some(_), Some(_)) => bail!(
            "--ready: a stock Envoy does not tell whether its program is ready; expected `none`, or our own sidecar: leave \
             out --ready, or --envoy"
        ),
        (ready, None) => ready.as_ref().unwrap_or(&Ready::Tcp),
    };
    let first = args.ports.first().map(|port| port.number);
    Ok(match ready {
        Ready::None => None,
        Ready::Tcp if first.is_none() => None,
        Ready::Tcp => Some(ReadyCheck::Tcp(args.ports.iter().map(|port| at(port.number)).collect())),
        Ready::Http { port, path } => {
            let port = port.or(first).context("--ready: no port is known; say --port, or `http:PORT/PATH`")?;
            Some(ReadyCheck::Http(at(port), path.clone()))
        }
    })
}

/// The address of the sidecar: as said, else a free one, which is ours until this process ends.
fn address(args: &RunArgs) -> Result<(IpAddr, Option<LoopbackClaim>)> {
    if let Some(address) = args.address {
        return Ok((address, None));
    }
    let own = args.ports.iter().map(|p| p.number);
    let wanted: Vec<u16> = PORTS.into_iter().chain(own.filter(|_| args.capture != Capture::None)).collect();
    let claim = launch::free_loopback_address(&wanted)?;
    Ok((claim.address().into(), Some(claim)))
}

async fn prepare(args: &RunArgs, folder: &Folder) -> Result<Prepared> {
    let (program, arguments) = args.program.split_first().context("there is no program to run")?;
    let capture = match (args.capture, &args.envoy) {
        (Capture::Namespace, Some(_)) => bail!("a stock Envoy cannot take sockets of a namespace; say --capture=none"),
        (Capture::Auto | Capture::None, Some(_)) | (Capture::None, None) => launch::Capture::None,
        (Capture::Auto, None) => launch::Capture::Auto,
        (Capture::Namespace, None) => launch::Capture::Namespace,
    };
    let mut launch = Launch::new(program, arguments.iter().cloned());
    launch.capture = capture;
    launch.netns_socket_path = Some(folder.path.join("sockets"));
    launch.on_event = Arc::new(tell);
    Ok(launch.prepare().await?)
}

/// What happens in the ordinary is not told: the output belongs to the program.
fn tell(event: &Event) {
    match event {
        Event::SidecarReady { .. } | Event::ProgramStarted { .. } | Event::ProgramEnded(_) => {}
        event => print::note(&format!("halcyon: {event}")),
    }
}

fn capture(args: &RunArgs, prepared: &Prepared, address: IpAddr) -> Result<RegisteredCapture> {
    if prepared.is_captured() {
        let outbound = prepared.sockets().map(|s| s.address()).filter(|a| a.port() == launch::OUTBOUND_PORT);
        let mut outbound: Vec<SocketAddr> = outbound.collect();
        outbound.sort();
        outbound.dedup();
        return Ok(RegisteredCapture::Redirect { netns: NETNS.to_owned(), outbound });
    }
    let upstreams = args.upstreams.iter().map(|upstream| registered(upstream, address));
    Ok(RegisteredCapture::Upstreams(upstreams.collect::<Result<_>>()?))
}

/// The name of the program's namespace in addresses.
const NETNS: &str = "workload";

fn registered(upstream: &Upstream, address: IpAddr) -> Result<RegisteredUpstream> {
    let port = match upstream.local {
        Some(port) => port,
        None => free_port(address)?,
    };
    let bind = SocketAddr::new(address, port);
    print::note(&format!("halcyon: {}:{} is at {bind}", upstream.host, upstream.port));
    Ok(RegisteredUpstream { host: upstream.host.clone(), port: upstream.port, bind })
}

fn free_port(address: IpAddr) -> Result<u16> {
    let listener = TcpListener::bind((address, 0)).with_context(|| format!("no port can be opened on {address}"))?;
    Ok(listener.local_addr()?.port())
}

/// Where the sidecar listens for each port of the program. Without a namespace the program may have opened its port on
/// every address, so the sidecar takes another.
fn inbound_ports(args: &RunArgs, address: IpAddr, captured: bool) -> Result<Vec<RegisteredPort>> {
    let port = |p: &crate::cli::Port| {
        let bound = if captured { p.number } else { free_port(address)? };
        Ok(RegisteredPort { target: p.number, bind: SocketAddr::new(address, bound), name: p.name.clone() })
    };
    args.ports.iter().map(port).collect()
}

/// Kubernetes' names for where a service is: `RATINGS_SERVICE_HOST`, `RATINGS_SERVICE_PORT`.
fn variables(capture: &RegisteredCapture) -> Vec<(String, String)> {
    let RegisteredCapture::Upstreams(upstreams) = capture else { return Vec::new() };
    let of = |upstream: &RegisteredUpstream| {
        let short = upstream.host.split('.').next().unwrap_or_default();
        let name: String =
            short.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
        [
            (format!("{name}_SERVICE_HOST"), upstream.bind.ip().to_string()),
            (format!("{name}_SERVICE_PORT"), upstream.bind.port().to_string()),
        ]
    };
    upstreams.iter().flat_map(of).collect()
}

fn inside(prepared: &Prepared, folder: &Folder) -> Option<Inside> {
    prepared.is_captured().then(|| {
        let mut dns: Vec<SocketAddr> =
            prepared.sockets().map(|s| s.address()).filter(|a| a.port() == launch::DNS_PORT).collect();
        dns.sort();
        dns.dedup();
        Inside { name: NETNS.to_owned(), sockets: folder.path.join("sockets"), dns }
    })
}

fn output(args: &RunArgs) -> Result<SidecarOutput> {
    let Some(path) = &args.sidecar_log else { return Ok(SidecarOutput::Inherit) };
    let file = std::fs::File::options().create(true).append(true).open(path);
    Ok(SidecarOutput::File(file.with_context(|| path.display().to_string())?))
}

/// What the mesh knows of the workload before it runs.
struct Described {
    workload: String,
    service_account: String,
    labels: BTreeMap<String, String>,
}

/// From what was typed, completed by a Deployment of the same labels if one was applied.
async fn described(place: &Place, args: &RunArgs) -> Described {
    let mut labels: BTreeMap<String, String> =
        [("app".to_owned(), args.service.clone()), ("version".to_owned(), args.version.clone())].into();
    labels.extend(args.labels.iter().cloned());
    let deployment = if args.join.control.is_none() { deployment(place, args, &labels).await } else { None };
    let found = deployment.unwrap_or_default();
    let text = |pointer: &str| found.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    if let Some(more) = found.pointer("/spec/template/metadata/labels").and_then(Value::as_object) {
        for (key, value) in more.iter().filter_map(|(key, value)| Some((key, value.as_str()?))) {
            labels.entry(key.clone()).or_insert_with(|| value.to_owned());
        }
    }
    let account = text("/spec/template/spec/serviceAccountName");
    Described {
        workload: text("/metadata/name").unwrap_or_else(|| format!("{}-{}", args.service, args.version)),
        service_account: args.service_account.clone().or(account).unwrap_or_else(|| "default".to_owned()),
        labels,
    }
}

async fn deployment(place: &Place, args: &RunArgs, labels: &BTreeMap<String, String>) -> Option<Value> {
    let query =
        ResourceQuery { kind: "Deployment".to_owned(), namespace: args.namespace.clone(), ..ResourceQuery::default() };
    let found = super::client(place).ok()?.resources(&query).await.ok()?.resources;
    found.into_iter().map(|r| r.document).find(|document| {
        let template = document.pointer("/spec/template/metadata/labels");
        ["app", "version"].iter().all(|key| {
            template.and_then(|t| t.get(key)).and_then(Value::as_str) == labels.get(*key).map(String::as_str)
        })
    })
}

/// The files of one instance; gone when it is.
struct Folder {
    path: PathBuf,
    instance: String,
}

impl Folder {
    fn new(place: &Place, workload: &str) -> Result<Self> {
        let mut random = [0u8; 4];
        std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut random)?;
        let suffix: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let instance = format!("{workload}-{suffix}");
        let path = paths::data_dir(place.data_dir.as_deref())?.join("workloads").join(&instance);
        if path.join("sockets").as_os_str().len() > 100 {
            return Err(anyhow!("{}: too long a path for a socket; choose a shorter --data-dir", path.display()));
        }
        std::fs::create_dir_all(&path).with_context(|| format!("{}: cannot be made", path.display()))?;
        Ok(Self { path, instance })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            print::note(&format!("halcyon: {}: cannot be removed: {error}", self.path.display()));
        }
    }
}

/// The admin port is one of those that an address must have free.
const _: () = assert!(PORTS[0] == ADMIN);
