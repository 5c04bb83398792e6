//! A mesh of real programs: as `halcyon demo` starts it, or part by part, so that each can be killed and started again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::bookinfo::{Seen, Visitor};
use crate::inside;
use crate::place::Place;
use crate::poll;
use crate::process::{self, Process, Said, log_path};
use crate::prometheus::{self, Prometheus};
use crate::web;

/// How long a mesh may take to serve its first page, on a slow and busy machine.
const START: Duration = Duration::from_secs(60);
/// How long it may take to leave.
const LEAVE: Duration = Duration::from_secs(40);
/// The part that is no program of ours.
const PROMETHEUS: &str = "prometheus";
/// How long one command may take.
const COMMAND: Duration = Duration::from_secs(60);

/// Bookinfo's workloads: service, version, variables.
const WORKLOADS: [(&str, &str, &[(&str, &str)]); 6] = [
    ("ratings", "v1", &[]),
    ("details", "v1", &[]),
    ("reviews", "v1", &[]),
    ("reviews", "v2", &[("ENABLE_RATINGS", "true")]),
    ("reviews", "v3", &[("ENABLE_RATINGS", "true"), ("STAR_COLOR", "red")]),
    ("productpage", "v1", &[]),
];

/// How a part is started, again too.
#[derive(Clone)]
struct Recipe {
    arguments: Vec<OsString>,
    variables: &'static [(&'static str, &'static str)],
}

/// A running mesh with Bookinfo in it.
pub struct Mesh {
    place: Rc<Place>,
    folder: PathBuf,
    /// Where the gateway listens.
    pub gateway: SocketAddr,
    /// Where it listens for what a `Gateway` opens as port 8443, if it was started part by part.
    pub secure: SocketAddr,
    /// The control plane's data directory.
    pub data_dir: PathBuf,
    /// The process numbers of its parts, by name.
    pub parts: BTreeMap<String, u32>,
    /// The Prometheus that scrapes it, if there is one.
    pub prometheus: Option<Prometheus>,
    own: BTreeMap<String, Process>,
    recipes: BTreeMap<String, Recipe>,
}

impl Mesh {
    /// `halcyon demo`, until its first whole page.
    pub async fn demo(place: &Rc<Place>, name: &str, more: &[&str]) -> Result<Self> {
        let mut mesh = Self::empty(place, name)?;
        let gateway = mesh.gateway.to_string();
        let mut arguments: Vec<OsString> =
            ["demo", "--gateway", &gateway, "--load", "0", "--keep"].map(Into::into).into();
        arguments.push(mesh.folder.clone().into());
        arguments.extend(more.iter().map(Into::into));
        mesh.spawn("demo", Recipe { arguments, variables: &[] })?;
        let state = mesh.folder.join("demo.json");
        mesh.wait_up("`halcyon demo`", async || Ok(std::fs::read_to_string(&state)?)).await?;
        let state: Value = serde_json::from_str(&std::fs::read_to_string(&state)?).context("demo.json")?;
        for process in state["processes"].as_array().context("demo.json names no processes")? {
            let name = process["name"].as_str().context("demo.json: a process without a name")?;
            let pid = process["pid"].as_u64().context("demo.json: a process without a number")?;
            mesh.parts.insert(name.to_owned(), u32::try_from(pid)?);
        }
        mesh.wait_whole().await?;
        Ok(mesh)
    }

    /// Control plane, gateway and six workloads, each started by us.
    pub async fn parts(place: &Rc<Place>, name: &str) -> Result<Self> {
        Self::empty(place, name)?.start_parts(&[]).await
    }

    /// The same with a Prometheus that finds them by the control plane, which reads history from it.
    pub async fn watched(place: &Rc<Place>, name: &str) -> Result<Self> {
        let program = prometheus::installed(place)?;
        let mut mesh = Self::empty(place, name)?;
        let prometheus = Prometheus::anywhere()?;
        mesh.prometheus = Some(prometheus);
        let mut mesh = mesh.start_parts(&["--prometheus", &prometheus.url()]).await?;
        let arguments = prometheus.arguments(place, mesh.door_for_scrapers()?, &mesh.folder)?;
        let log = log_path(&mesh.logs(), PROMETHEUS);
        let process = Process::start(place, PROMETHEUS, &program, &arguments, &[], &log)?;
        mesh.parts.insert(PROMETHEUS.to_owned(), process.pid);
        mesh.own.insert(PROMETHEUS.to_owned(), process);
        mesh.wait_up("Prometheus", async || prometheus.query("up").await).await?;
        Ok(mesh)
    }

    async fn start_parts(self, more: &[&str]) -> Result<Self> {
        let mut mesh = self;
        let mut control = vec!["control".to_owned()];
        control.extend(more.iter().map(|argument| (*argument).to_owned()));
        for port in ["--xds-port", "--plain-xds-port", "--metrics-port"] {
            control.extend([port.to_owned(), process::free_port()?.to_string()]);
        }
        mesh.spawn_part("control", control, &[])?;
        mesh.wait_control().await?;
        let base = ["bookinfo.yaml", "gateway.yaml", "destination-rules.yaml"].map(|name| mesh.place.rule(name));
        mesh.apply_files(&base).await?;
        let plain = format!("8080={}", mesh.gateway.port());
        let secure = format!("8443={}", mesh.secure.port());
        let gateway = ["gateway", "--bind", "127.0.0.1", "--map", &plain, "--map", &secure];
        mesh.spawn_part("gateway", gateway.map(str::to_owned).into(), &[])?;
        for (service, version, variables) in WORKLOADS {
            mesh.spawn_workload(service, version, variables)?;
        }
        mesh.wait_whole().await?;
        Ok(mesh)
    }

    fn empty(place: &Rc<Place>, name: &str) -> Result<Self> {
        let folder = place.run.join(name);
        // A mesh of this name that broke leaves its folder for those who look for the reason.
        if folder.exists() {
            let broken = (1..).map(|n| place.run.join(format!("{name}-broken-{n}"))).find(|path| !path.exists());
            std::fs::rename(&folder, broken.context("too many broken meshes")?)?;
        }
        std::fs::create_dir_all(folder.join("logs")).with_context(|| folder.display().to_string())?;
        Ok(Self {
            place: place.clone(),
            gateway: SocketAddr::from(([127, 0, 0, 1], process::free_port()?)),
            secure: SocketAddr::from(([127, 0, 0, 1], process::free_port()?)),
            data_dir: folder.join("data"),
            folder,
            parts: BTreeMap::new(),
            prometheus: None,
            own: BTreeMap::new(),
            recipes: BTreeMap::new(),
        })
    }

    fn spawn_workload(
        &mut self,
        service: &str,
        version: &str,
        env: &'static [(&'static str, &'static str)],
    ) -> Result<()> {
        let name = format!("{service}-{version}");
        let bookinfo = self.place.program("bookinfo").display().to_string();
        let log = log_path(&self.logs(), &format!("{name}-sidecar")).display().to_string();
        let run = ["run", "--service", service, "--version", version, "--port", "9080:http", "--sidecar-log", &log];
        let program = ["--", &bookinfo, "--role", service, "--port", "9080", "--bind", "0.0.0.0"];
        self.spawn_part(&name, run.into_iter().chain(program).map(str::to_owned).collect(), env)
    }

    fn spawn_part(
        &mut self,
        name: &str,
        arguments: Vec<String>,
        variables: &'static [(&'static str, &'static str)],
    ) -> Result<()> {
        let mut all: Vec<OsString> = vec!["--data-dir".into(), self.data_dir.clone().into()];
        all.extend(arguments.into_iter().map(OsString::from));
        self.spawn(name, Recipe { arguments: all, variables })
    }

    fn spawn(&mut self, name: &str, recipe: Recipe) -> Result<()> {
        let log = log_path(&self.logs(), name);
        let halcyon = self.place.program("halcyon");
        let process = Process::start(&self.place, name, &halcyon, &recipe.arguments, recipe.variables, &log)?;
        self.parts.insert(name.to_owned(), process.pid);
        self.own.insert(name.to_owned(), process);
        self.recipes.insert(name.to_owned(), recipe);
        Ok(())
    }

    /// Where the logs of its parts are.
    pub fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// The process number of a part.
    pub fn pid(&self, name: &str) -> Result<u32> {
        self.parts.get(name).copied().with_context(|| format!("the mesh has no part `{name}`"))
    }

    /// The part that does not run any more, if there is one.
    pub fn ended(&mut self) -> Option<String> {
        if let Some(killed) = self.recipes.keys().find(|name| !self.own.contains_key(*name)) {
            return Some(killed.clone());
        }
        self.own.values_mut().find_map(|process| process.has_ended().then(|| process.name.clone()))
    }

    /// Kills one of our own parts with SIGKILL.
    pub async fn kill(&mut self, name: &str) -> Result<()> {
        let mut process = self.own.remove(name).with_context(|| format!("`{name}` is no part of our own"))?;
        process.end(Signal::KILL, LEAVE).await?;
        Ok(())
    }

    /// Starts a part again, as it was started before.
    pub fn start_again(&mut self, name: &str) -> Result<()> {
        let recipe = self.recipes.remove(name).with_context(|| format!("`{name}` was never started"))?;
        self.spawn(name, recipe)
    }

    /// The names of Bookinfo's workloads.
    pub fn workloads() -> impl Iterator<Item = String> {
        WORKLOADS.iter().map(|(service, version, _)| format!("{service}-{version}"))
    }

    /// Replaces a workload as a rolling update does: another instance serves before the first is asked to leave.
    pub async fn replace(&mut self, workload: &str) -> Result<()> {
        self.double(workload).await?;
        let mut old = self.own.remove(workload).with_context(|| format!("`{workload}` is no part of our own"))?;
        self.leaves(&mut old, workload).await?;
        let second = second(workload);
        let mut new = self.own.remove(&second).with_context(|| format!("`{second}` was not started"))?;
        new.name = workload.to_owned();
        self.parts.insert(workload.to_owned(), new.pid);
        self.own.insert(workload.to_owned(), new);
        self.forget(&second);
        Ok(())
    }

    /// Starts another instance of a workload and waits until it is sent requests.
    pub async fn double(&mut self, workload: &str) -> Result<()> {
        let recipe = self.recipes.get(workload).with_context(|| format!("`{workload}` was never started"))?.clone();
        self.spawn(&second(workload), recipe)?;
        self.wait_instances(workload, 2).await
    }

    /// Asks the other instance of a workload to leave, and waits until it has.
    pub async fn halve(&mut self, workload: &str) -> Result<()> {
        let second = second(workload);
        let mut process = self.own.remove(&second).with_context(|| format!("`{second}` was not started"))?;
        self.forget(&second);
        self.leaves(&mut process, workload).await
    }

    async fn leaves(&self, process: &mut Process, workload: &str) -> Result<()> {
        let code = process.end(Signal::TERM, LEAVE).await?;
        ensure!(code == Some(0), "{} ended with {code:?}; expected 0", process.name);
        self.wait_instances(workload, 1).await
    }

    /// Waits until a workload has so many instances, all of them ready, and everybody knows.
    async fn wait_instances(&self, workload: &str, wanted: usize) -> Result<()> {
        poll::until(&format!("{wanted} ready instances of {workload}"), START, async || {
            let found = self.proxies().await?.into_iter().filter(|proxy| proxy.workload == workload);
            let ready = found.filter(|proxy| proxy.ready).count();
            ensure!(ready == wanted, "{ready} are ready");
            Ok(())
        })
        .await?;
        self.settle(0).await
    }

    fn forget(&mut self, part: &str) {
        self.parts.remove(part);
        self.recipes.remove(part);
    }

    /// Waits until the control plane answers.
    pub async fn wait_control(&mut self) -> Result<()> {
        let socket = self.data_dir.join("control.sock");
        self.wait_up("the control plane", async || Ok(UnixStream::connect(&socket).await.map(drop)?)).await
    }

    /// Waits until a visitor sees a whole page with each of the reviews, and every proxy has its configuration.
    pub async fn wait_whole(&mut self) -> Result<()> {
        let visitor = Visitor::anonymous(self.gateway);
        self.wait_up("a whole page", async || {
            let page = visitor.page().await?;
            ensure!(page.details && page.reviews != Seen::Failed, "the page is not whole: {page:?}");
            Ok(())
        })
        .await?;
        let wanted = WORKLOADS.len() + 1;
        poll::until("every proxy in `halcyon status`", START, async || {
            let proxies = self.proxies().await?;
            ensure!(proxies.len() >= wanted, "{} proxies; expected {wanted}", proxies.len());
            Ok(())
        })
        .await?;
        self.settle(0).await
    }

    async fn wait_up<T>(&mut self, what: &str, mut ask: impl AsyncFnMut() -> Result<T>) -> Result<()> {
        poll::until(what, START, async || match self.ended() {
            // The poll gives up at once: no answer will come.
            Some(name) => Ok(Some(name)),
            None => ask().await.map(|_| None),
        })
        .await
        .and_then(|ended| match ended {
            Some(name) => {
                let log = std::fs::read_to_string(log_path(&self.logs(), &name)).unwrap_or_default();
                bail!("`{name}` has ended while {what} was waited for; it said:{}", process::tail(&log, 15))
            }
            None => Ok(()),
        })
    }

    /// Ends it as Ctrl-C would, the workloads first.
    pub async fn end(mut self) -> Result<()> {
        let control = self.own.remove("control");
        let mut wrong = Vec::new();
        let others = self.own.values_mut().map(|process| process.end(Signal::TERM, LEAVE));
        for outcome in futures_util::future::join_all(others).await {
            wrong.extend(outcome.err());
        }
        if let Some(mut control) = control {
            wrong.extend(control.end(Signal::TERM, LEAVE).await.err());
        }
        match wrong.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Runs a `halcyon` command against it.
    pub async fn halcyon<A: AsRef<std::ffi::OsStr>>(&self, arguments: &[A]) -> Result<Said> {
        let mut command = process::command(&self.place, &self.place.program("halcyon"));
        command.arg("--data-dir").arg(&self.data_dir).args(arguments);
        process::run(command, COMMAND).await
    }

    /// Runs a program as a workload of its own, which listens to nobody, in the mesh.
    pub async fn inside(&self, program: &str, arguments: &[&str]) -> Result<Said> {
        let program = self.place.program(program).display().to_string();
        let log = log_path(&self.logs(), "client-sidecar").display().to_string();
        let run = ["run", "--service", "client", "--sidecar-log", &log, "--", &program];
        self.halcyon(&run.into_iter().chain(arguments.iter().copied()).collect::<Vec<_>>()).await
    }

    /// Starts a further workload in the mesh, which ends with it.
    fn join(&mut self, service: &str, ports: &[&str], program: &str, arguments: &[&str]) -> Result<()> {
        let log = log_path(&self.logs(), &format!("{service}-sidecar")).display().to_string();
        let program = self.place.program(program).display().to_string();
        let ports = ports.iter().flat_map(|port| ["--port", port]);
        let run = ["run", "--service", service, "--sidecar-log", &log].into_iter().chain(ports);
        let all = run.chain(["--", &program]).chain(arguments.iter().copied());
        self.spawn_part(service, all.map(str::to_owned).collect(), &[])
    }

    /// Has a workload been started under this name?
    pub fn has(&self, name: &str) -> bool {
        self.own.contains_key(name)
    }

    /// The workload `echo` is there, with every kind of port (see [`inside`]), and is ready.
    pub async fn with_echo(&mut self) -> Result<()> {
        self.with_another("echo").await
    }

    /// A workload that is like `echo`, under a name of its own.
    pub async fn with_another(&mut self, name: &str) -> Result<()> {
        if !self.has(name) {
            let ports = inside::ports();
            let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
            self.join(name, &ports, "e2e", &["inside", "serve"])?;
        }
        poll::until(&format!("the workload `{name}` in `halcyon status`"), START, async || {
            ensure!(self.proxy(&format!("{name}-v1")).await?.ready, "it is not ready");
            Ok(())
        })
        .await
    }

    /// Where the control plane tells scrapers.
    pub fn door_for_scrapers(&self) -> Result<SocketAddr> {
        let path = self.data_dir.join("endpoints.json");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let endpoints: Value = serde_json::from_str(&text).context("endpoints.json")?;
        Ok(endpoints["metrics"].as_str().context("endpoints.json has no `metrics`")?.parse()?)
    }

    /// For how long the control plane has been there.
    pub fn age(&self) -> Result<Duration> {
        let path = self.data_dir.join("endpoints.json");
        let begun = path.metadata().and_then(|file| file.modified()).with_context(|| path.display().to_string())?;
        Ok(begun.elapsed().unwrap_or_default())
    }

    /// `halcyon status -o json`
    pub async fn status(&self) -> Result<Value> {
        let said = self.halcyon(&["status", "-o", "json"]).await?.good().context("halcyon status")?;
        serde_json::from_str(&said.out).context("halcyon status -o json")
    }

    /// The connected proxies.
    pub async fn proxies(&self) -> Result<Vec<Proxy>> {
        let status = self.status().await?;
        let list = status.pointer("/status/proxies").and_then(Value::as_array).context("status names no proxies")?;
        list.iter().map(Proxy::read).collect()
    }

    /// The one proxy of a workload.
    pub async fn proxy(&self, workload: &str) -> Result<Proxy> {
        let mut found = self.proxies().await?;
        found.retain(|proxy| proxy.workload == workload);
        ensure!(found.len() == 1, "`halcyon status` names {} proxies of {workload}; expected one", found.len());
        Ok(found.remove(0))
    }

    /// Waits until `halcyon status` shows that every proxy took everything up to this version of the mesh. It must show
    /// that twice: a version may be on its way when it is asked first.
    pub async fn settle(&self, version: u64) -> Result<()> {
        let mut shown = 0;
        poll::until("every proxy SYNCED", Duration::from_secs(20), async || {
            for proxy in self.proxies().await? {
                proxy.check_synced(version).inspect_err(|_| shown = 0)?;
            }
            shown += 1;
            ensure!(shown == 2, "shown once");
            Ok(())
        })
        .await
    }

    /// The metrics of a workload's proxy.
    pub async fn metrics(&self, workload: &str) -> Result<String> {
        let admin = self.proxy(workload).await?.admin.with_context(|| format!("{workload} has no admin address"))?;
        let answer = web::get(admin, "/stats/prometheus", &[]).await?;
        ensure!(answer.status == 200, "/stats/prometheus of {workload}: status {}", answer.status);
        Ok(answer.text())
    }

    /// Applies files and waits until every proxy has taken them.
    pub async fn apply<P: AsRef<Path>>(&self, files: &[P]) -> Result<()> {
        let version = self.apply_files(files).await?;
        self.settle(version).await
    }

    async fn apply_files<P: AsRef<Path>>(&self, files: &[P]) -> Result<u64> {
        let mut arguments: Vec<OsString> = ["apply", "-o", "json"].map(OsString::from).into();
        for file in files {
            arguments.extend(["-f".into(), file.as_ref().into()]);
        }
        let said = self.halcyon(&arguments).await?.good().context("halcyon apply")?;
        let answer: Value = serde_json::from_str(&said.out).context("halcyon apply -o json")?;
        answer["version"].as_u64().context("halcyon apply -o json names no version")
    }

    /// Applies rules that a check wrote itself, and waits as [`Mesh::apply`] does.
    pub async fn apply_text(&self, name: &str, text: &str) -> Result<()> {
        self.apply(&[self.place.write(name, text)?]).await
    }

    /// Deletes everything of these kinds.
    pub async fn delete_all(&self, kinds: &[&str]) -> Result<()> {
        for kind in kinds {
            self.halcyon(&["delete", kind, "--all", "--ignore-not-found"]).await?.good().context("halcyon delete")?;
        }
        Ok(())
    }

    /// Back to the rules with which it began: Bookinfo, its gateway, its subsets.
    pub async fn clear(&self) -> Result<()> {
        self.delete_all(&[
            "virtualservice",
            "destinationrule",
            "peerauthentication",
            "authorizationpolicy",
            "requestauthentication",
            "ratelimitpolicy",
            "egresspolicy",
            "loginpolicy",
            "serviceentry",
            "telemetry",
            "trafficextension",
            "wasmplugin",
        ])
        .await?;
        self.apply(&["gateway.yaml", "destination-rules.yaml"].map(|name| self.place.rule(name))).await
    }
}

/// The part that is another instance of a workload.
fn second(workload: &str) -> String {
    format!("{workload}-second")
}

/// A connected proxy, as `halcyon status` shows it.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// The id of its xDS node.
    pub node: String,
    /// Such as `reviews-v1`.
    pub workload: String,
    /// Where others reach it.
    pub address: IpAddr,
    /// Its proven identity.
    pub identity: Option<String>,
    /// Where its admin endpoint is.
    pub admin: Option<SocketAddr>,
    /// Is it one of ours?
    pub ours: bool,
    /// Is its program ready for requests?
    pub ready: bool,
    version: u64,
    types: Vec<(String, String)>,
}

impl Proxy {
    fn read(json: &Value) -> Result<Self> {
        let text = |key: &str| json[key].as_str().map(str::to_owned);
        let types = json["types"].as_array().context("a proxy without types")?.iter();
        let state = |t: &Value| Some((t["kind"].as_str()?.to_owned(), t["state"].as_str()?.to_owned()));
        Ok(Self {
            node: text("node").context("a proxy without a node")?,
            workload: text("workload").context("a proxy without a workload")?,
            address: text("address").context("a proxy without an address")?.parse()?,
            identity: text("identity"),
            admin: text("admin").and_then(|admin| admin.parse().ok()),
            ours: !json["proxy_version"].is_null(),
            ready: json["not_ready"].is_null(),
            version: json["version"].as_u64().context("a proxy without a version")?,
            types: types.filter_map(state).collect(),
        })
    }

    /// Where it takes the requests of its workload.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }

    fn check_synced(&self, version: u64) -> Result<()> {
        ensure!(self.version >= version, "{} is at version {}, not yet {version}", self.node, self.version);
        ensure!(!self.types.is_empty(), "{} was sent nothing yet", self.node);
        for (kind, state) in &self.types {
            ensure!(state == "SYNCED" || state == "NEVER_SENT", "{} is {state} for {kind}", self.node);
        }
        Ok(())
    }
}
