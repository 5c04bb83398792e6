//! A sidecar of ours in a mesh of many services: a control plane on a thread of the bench has all of them to offer, and the
//! proxy asks for all of them, or only for what is called. What is offered is made as our control plane makes it (crate
//! `translate`) of one `ServiceEntry` for each service. Only the socket is another: bound on loopback, not in a namespace.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use model::http_proxy::RouteSource;
use model::route::{Action, DirectResponse, PathMatch};
use model::secret::SecretValue;
use model::tls::OWN_CERTIFICATE;
use model::{Config, Locality, Route, Secret};
use serde_json::json;
use translate::{Capture, Inputs, MeshTrust, Node, Role, World};

use super::halcyon::{listener, outbound};
use super::{Deployment, Discovery, Setup, free_ports, loopback, write};
use crate::process::Launch;

/// The port of every service.
const PORT: u16 = 80;
/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mesh {
    /// How many services there are.
    pub services: usize,
    /// How many of them are called.
    pub called: usize,
    /// The proxy asks for what is called; otherwise for all of them.
    pub on_demand: bool,
}

/// Starts the control plane and writes the proxy's bootstrap.
///
/// # Errors
/// When a file cannot be written, or a socket opened.
pub fn deploy(setup: &Setup<'_>, mesh: Mesh) -> anyhow::Result<Deployment> {
    let [entry, admin, dns] = free_ports()?;
    let control = Discovery::start(&config(setup, mesh, entry)?)?;
    let mut bootstrap = json!({
        "node": { "id": "sidecar~127.0.0.1~caller.default~default.svc.cluster.local" },
        "control_plane": { "address": control.address, "tls": false },
        "workers": 1,
        "admin": { "address": loopback(admin) },
        "dns": { "udp": [loopback(dns)], "resolvers": [] },
    });
    if mesh.on_demand {
        bootstrap["on_demand"] = json!({});
    }
    let bootstrap = write(setup.dir, "proxy.json", serde_json::to_vec_pretty(&bootstrap)?)?;
    let arguments = vec!["--bootstrap".to_owned(), bootstrap.to_string_lossy().into_owned()];
    let launches = vec![Launch { program: setup.program.path.clone(), arguments }];
    Ok(Deployment { entry: loopback(entry), launches, control: Some(control) })
}

impl Mesh {
    /// Calls the services that are called, each once.
    ///
    /// # Errors
    /// When one does not answer well.
    pub fn call(self, entry: SocketAddr) -> anyhow::Result<()> {
        (0..self.called).try_for_each(|number| {
            // Spread over all of them.
            let name = name(number * self.services / self.called.max(1));
            call(entry, &name).with_context(|| format!("calling {name}"))
        })
    }
}

fn call(entry: SocketAddr, host: &str) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect_timeout(&entry, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        bail!("{}", String::from_utf8_lossy(&answer).lines().next().unwrap_or("closed without an answer"));
    }
    Ok(())
}

fn name(number: usize) -> String {
    format!("service-{number:05}")
}

/// What the control plane has to offer.
fn config(setup: &Setup<'_>, mesh: Mesh, entry: u16) -> anyhow::Result<Config> {
    let mut config = translate::translate(&world(setup, mesh)?, &node(mesh));
    let listener = listener(entry, outbound(RouteSource::Rds(PORT.to_string().into())));
    config.listeners = [(listener.name.clone(), Arc::new(listener))].into();
    let secret = SecretValue::Certificate {
        chain: setup.identities.client.chain.clone().into_bytes(),
        private_key: setup.identities.client.key.clone().into_bytes(),
    };
    let secret = Secret { name: OWN_CERTIFICATE.into(), value: secret };
    config.secrets.insert(secret.name.clone(), Arc::new(secret));
    // Anybody else is answered here, since nothing is captured whose destination could be dialled.
    let table = config.routes.get_mut(&*PORT.to_string()).context("no routes were made")?;
    let hosts = &mut Arc::make_mut(table).hosts;
    let any = hosts.iter_mut().find(|host| host.domains == ["*"]).context("nobody is for unknown hosts")?;
    let answer = Action::Respond(DirectResponse { status: 200, body: "".into() });
    any.routes = vec![Route::new(PathMatch::Prefix("/".into()), answer)];
    Ok(config)
}

fn world(setup: &Setup<'_>, mesh: Mesh) -> anyhow::Result<World> {
    let mut text = String::new();
    for number in 0..mesh.services {
        let (name, to) = (name(number), setup.origin);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: default}}\n\
             spec: {{hosts: [{name}.default.svc.cluster.local], location: MESH_INTERNAL, resolution: STATIC, \
             ports: [{{number: {PORT}, name: http, protocol: HTTP}}], \
             endpoints: [{{address: {}, ports: {{http: {}}}, serviceAccount: {name}}}]}}\n---\n",
            to.ip(),
            to.port()
        );
    }
    let parsed = api::parse("mesh.yaml", &text);
    if let Some(problem) = parsed.problems.iter().find(|problem| problem.is_error()) {
        bail!("{problem}");
    }
    let trust = MeshTrust::roots(setup.identities.roots.clone());
    Ok(World::new(Inputs { resources: parsed.resources, trust, ..Inputs::default() }))
}

fn node(mesh: Mesh) -> Node {
    Node {
        id: "caller".into(),
        role: Role::Sidecar {
            ports: Vec::new(),
            capture: Capture::Redirect { netns: "workload".into(), outbound: Vec::new() },
        },
        namespace: "default".to_owned(),
        labels: BTreeMap::new(),
        identity: None,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        locality: Locality::default(),
        workload: super::halcyon::workload("caller"),
        ours: true,
        on_demand: mesh.on_demand,
    }
}
