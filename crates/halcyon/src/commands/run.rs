//! `halcyon run`: a program in the mesh, with a sidecar beside it.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use api::traffic::Traffic;
use control::registration::{RegisteredCapture, RegisteredPort, RegisteredRole, RegisteredUpstream};
use data_encoding::HEXLOWER;
use launch::{CommandSpec, Event, Launch, LoopbackClaim, Prepared, SidecarOutput};

use crate::cli::{Capture, Discovery, Place, RunArgs, Upstream};
use crate::proxy_setup::{ADMIN, Envoy, Inside, PORTS, ProxySetup, Started, Ticket};
use crate::{paths, print};

mod described;
mod metrics;
mod ready;
mod traffic;

use described::Described;

/// The exit code is the program's own.
pub async fn run(place: &Place, mut args: RunArgs) -> Result<ExitCode> {
    let described = Described::of(place, &args).await?;
    if args.ports.is_empty() {
        args.ports.clone_from(&described.ports);
    }
    if args.envoy.is_some() && args.join.certificates.bootstrap().is_some() {
        bail!("--envoy stands beside another authority: a stock Envoy has its certificate from the control plane");
    }
    let folder = Folder::new(place, &described.workload)?;
    let (ready, command) = ready::check(&args, described.probe.as_ref(), &folder.path)?;
    let (address, claim) = address(&args)?;
    let traffic = traffic::read(&args, &described.annotations)?;
    let prepared = prepare(&args, &folder, command, &traffic, address).await?;
    let ticket = Ticket::get(place, &args.join, &args.namespace, &described.service_account, &folder.instance).await?;
    let capture = capture(&args, &prepared, address)?;
    let ports = inbound_ports(&args, &traffic, address, prepared.is_captured())?;
    let workload_api = folder.path.join(WORKLOAD_API);
    let mut env = variables(&capture);
    env.push((SPIFFE_ENDPOINT.to_owned(), format!("unix://{}", workload_api.display())));
    let of = (args.namespace.as_str(), described.workload.as_str());
    let started = Started::ask(place, &args.join, args.workers, of, &described.labels, &described.annotations).await?;
    let setup = ProxySetup {
        namespace: args.namespace.clone(),
        service_account: described.service_account,
        workload: described.workload,
        instance: folder.instance.clone(),
        labels: described.labels,
        locality: described.locality,
        weight: described.weight,
        role: RegisteredRole::Sidecar { service: Some(args.service.clone()), ports, capture },
        address,
        started,
        ready,
        // Nobody is sent to a program without ports.
        leave_delay: Some(args.leave_delay).filter(|delay| !delay.is_zero() && !args.ports.is_empty()),
        on_demand: args.discovery == Discovery::OnDemand,
        explain: true,
        workload_api: Some(workload_api),
        metrics: metrics::of(&args, &described.annotations)?,
        tell: args.tell.clone(),
        certificates: args.join.certificates.clone(),
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

async fn prepare(
    args: &RunArgs,
    folder: &Folder,
    command: Option<CommandSpec>,
    traffic: &Traffic,
    address: IpAddr,
) -> Result<Prepared> {
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
    launch.command = command;
    launch.redirects = traffic::redirects(traffic);
    launch.beside = traffic::beside(args, traffic, address);
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

/// The name of the socket at which the program finds the SPIFFE Workload API.
const WORKLOAD_API: &str = "spiffe";
/// Where programs look for it (SPIFFE_Workload_Endpoint.md, section 4).
const SPIFFE_ENDPOINT: &str = "SPIFFE_ENDPOINT_SOCKET";

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
/// every address, so the sidecar takes another; one that is not its own is the program's there.
fn inbound_ports(args: &RunArgs, traffic: &Traffic, address: IpAddr, captured: bool) -> Result<Vec<RegisteredPort>> {
    let port = |p: &crate::cli::Port| {
        let beside = !traffic::serves(traffic, address, p.number);
        let bound = if captured || beside { p.number } else { free_port(address)? };
        Ok(RegisteredPort { target: p.number, bind: SocketAddr::new(address, bound), name: p.name.clone(), beside })
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

/// The files of one instance; gone when it is.
struct Folder {
    path: PathBuf,
    instance: String,
}

impl Folder {
    fn new(place: &Place, workload: &str) -> Result<Self> {
        let mut random = [0u8; 4];
        std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut random)?;
        let suffix = HEXLOWER.encode(&random);
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

/// What is typed behind `halcyon run`, before the program.
#[cfg(test)]
fn args_of(words: &str) -> RunArgs {
    use clap::Parser;
    let words = ["halcyon", "run"].into_iter().chain(words.split_whitespace()).chain(["--", "true"]);
    match crate::cli::Cli::parse_from(words).command {
        crate::cli::Command::Run(args) => *args,
        _ => panic!("not `run`"),
    }
}
