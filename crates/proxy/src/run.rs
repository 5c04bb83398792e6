//! The whole proxy: builds its parts, wires them, and runs the side runtime, which owns everything that is not on a
//! request's way: configuration, control link, certificates, admin, DNS, signals.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use filter::{Extensions, NoExtensions};
use model::tls::MESH_ROOTS;
use model::{Config, ResourceKind};
use telemetry::Registry;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, sleep_until};
use transport::listen::BindError;
use transport::memory;
use transport::tls::LiveCert;
use upstream::dns::{Resolve, SystemResolver};

use crate::admin::{Admin, Offer, Scrape};
use crate::apply::{Applier, Changes, Discovery, Rejected};
use crate::bootstrap::{self, Bootstrap, Mode, StaticResources};
use crate::demand::Demand;
use crate::link::Links;
use crate::live::Live;
use crate::node::Shared;
use crate::observe;
use crate::program::Teller;
use crate::secrets::Secrets;
use crate::state::{self, ResourcesError, StateDir};
use crate::status::{CONNECTED, State, Status};
use crate::worker::{self, Threads, WorkerLink};
use crate::{ads, demand, dns, drain, identity, log, program, spans, workload_api};

/// What the side runtime is told.
pub(crate) enum Command {
    /// Run exactly this.
    Replace(Box<Config>, oneshot::Sender<Vec<Rejected>>),
    /// Take no new work; then end, or stay for what the workload still calls.
    Drain {
        /// End when the old work is finished.
        then_end: bool,
    },
    /// The control plane is told to send the program nobody more, or that it may again.
    LeaveOut(bool),
    /// End now.
    Stop,
}

/// What the program around the proxy brings.
#[derive(Clone, Default)]
pub struct Options {
    /// The log level, if it can be changed.
    pub log_level: Option<Arc<dyn LogLevel>>,
    /// SIGTERM and SIGINT begin a drain; a second one ends at once.
    pub signals: bool,
    /// The number of an inherited file whose end of file means: end.
    pub lifeline: Option<u32>,
    /// Who makes filters that are not built in; none: a configuration that has such is refused.
    pub extensions: Option<Arc<dyn Extensions>>,
}

/// A log level that can be changed while the program runs.
pub trait LogLevel: Send + Sync {
    /// The level now.
    fn get(&self) -> String;
    /// Another level.
    ///
    /// # Errors
    /// It is none; the text says what was expected.
    fn set(&self, level: &str) -> Result<(), String>;
}

/// Why the proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The file of static resources.
    #[error(transparent)]
    Resources(#[from] ResourcesError),
    /// The state directory.
    #[error("state directory {path}: {source}; expected a directory that this user can write to")]
    State {
        /// Which.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// No thread or no runtime.
    #[error("the system gives no thread: {0}; expected room for one more per worker")]
    Thread(#[from] std::io::Error),
    /// The link to the control plane cannot be set up.
    #[error("control plane: {0}")]
    ControlPlane(String),
    /// The link to another authority cannot be set up.
    #[error("certificates.authority: {0}")]
    Authority(String),
    /// A statistic is declared in two ways.
    #[error(transparent)]
    Declare(#[from] telemetry::DeclareError),
    /// The side runtime ended before it was ready.
    #[error("the proxy ended while it started; its log says why")]
    Ended,
}

/// A proxy that runs, on threads of its own.
pub struct Proxy {
    handle: Handle,
    side: JoinHandle<()>,
}

/// A way to tell a running proxy something. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
    registry: Registry,
    /// Where the admin endpoints are.
    pub admin: Option<SocketAddr>,
}

impl Proxy {
    /// Starts a proxy and waits until its sockets stand.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(bootstrap: Bootstrap, options: Options) -> Result<Self, StartError> {
        let (commands, orders) = mpsc::unbounded_channel();
        let registry = Registry::new();
        let (report, started) = std::sync::mpsc::channel();
        let (inner, for_side) = (commands.clone(), registry.clone());
        let side = std::thread::Builder::new().name("side".to_owned()).spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(report.send(Err(error.into()))),
            };
            LocalSet::new().block_on(&runtime, async move {
                match Side::build(bootstrap, options, for_side, inner).await {
                    Ok((side, admin)) => {
                        drop(report.send(Ok(admin)));
                        side.run(orders).await;
                    }
                    Err(error) => drop(report.send(Err(error))),
                }
            });
        })?;
        let admin = started.recv().unwrap_or(Err(StartError::Ended))?;
        Ok(Self { handle: Handle { commands, registry, admin }, side })
    }

    /// A way to tell it something.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits until it has ended.
    pub fn wait(self) {
        // A panic of the side thread was printed by the runtime.
        let _ = self.side.join();
    }
}

impl Handle {
    /// Runs exactly this configuration. Gives the resources that cannot be used, each with the reason.
    pub async fn replace(&self, config: Config) -> Vec<(String, String)> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Replace(Box::new(config), reply)).is_err() {
            return Vec::new();
        }
        let rejected = answer.await.unwrap_or_default();
        rejected.into_iter().map(|r| (r.name.to_string(), r.reason)).collect()
    }

    /// Takes no new work from outside, finishes the old, and ends.
    pub fn drain(&self) {
        let _ = self.commands.send(Command::Drain { then_end: true });
    }

    /// Ends now.
    pub fn stop(&self) {
        let _ = self.commands.send(Command::Stop);
    }

    /// Everything that was counted.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}

/// What lives on the side runtime.
pub(crate) struct Side {
    applier: RefCell<Applier>,
    status: Rc<RefCell<Status>>,
    live: Arc<Live>,
    shared: Arc<Shared>,
    workers: Vec<WorkerLink>,
    state: Option<StateDir>,
    drain: Duration,
    discovery: Discovery,
    demand: RefCell<Demand>,
    /// It has been told what to run, by whomever.
    configured: Cell<bool>,
    threads: Cell<Option<Threads>>,
    /// Tells the control plane of the program, if there is one.
    program: OnceCell<Rc<Teller>>,
    /// Tells the control plane what is seen here, if it is to.
    reports: OnceCell<Rc<observe::Teller>>,
    /// A change was applied, which leaves memory behind.
    changed: Notify,
    /// The roots of the mesh (PEM), empty until they are known.
    roots: watch::Sender<Arc<str>>,
}

/// How long after a change memory is given back: changes often come together.
const TIDY: Duration = Duration::from_secs(1);

impl Side {
    async fn build(
        bootstrap: Bootstrap,
        options: Options,
        registry: Registry,
        commands: mpsc::UnboundedSender<Command>,
    ) -> Result<(Rc<Self>, Option<SocketAddr>), StartError> {
        for error in transport::inherited::errors() {
            tracing::error!("{error}");
        }
        let state = match &bootstrap.state_dir {
            None => None,
            Some(path) => Some(StateDir::open(path).map_err(|source| {
                let path = path.display().to_string();
                StartError::State { path, source }
            })?),
        };
        let extensions = options.extensions.clone().unwrap_or_else(|| Arc::new(NoExtensions));
        let shared = Arc::new(Shared::new(&bootstrap, registry, extensions));
        let (live, secrets) = (Arc::new(Live::default()), Rc::new(Secrets::default()));
        let status = Rc::new(RefCell::new(Status::new(&bootstrap.node.id)));
        let (asks, asked) = mpsc::unbounded_channel();
        let (workers, threads) = worker::start(bootstrap.workers, &shared, &asks)?;
        let discovery = discovery(&bootstrap);
        let resolver: Arc<dyn Resolve> = Arc::new(SystemResolver);
        let applier = Applier::new(
            secrets.clone(),
            live.clone(),
            shared.clone(),
            workers.clone(),
            bootstrap.netns.clone(),
            resolver,
            discovery,
        )?;
        let side = Rc::new(Self {
            applier: RefCell::new(applier),
            status: status.clone(),
            live: live.clone(),
            shared: shared.clone(),
            workers,
            state,
            drain: bootstrap.drain,
            discovery,
            demand: RefCell::new(Demand::new(&bootstrap.on_demand)),
            configured: Cell::new(false),
            threads: Cell::new(Some(threads)),
            program: OnceCell::new(),
            reports: OnceCell::new(),
            changed: Notify::new(),
            roots: watch::Sender::default(),
        });
        if let Some(dns) = &bootstrap.dns {
            let refused = dns::refused(&shared.registry.shard())?;
            dns::Server::start(dns, bootstrap.netns.as_ref(), live.names.clone(), refused)?;
        }
        let shown = bootstrap.control_plane.as_ref().and_then(|plane| plane.tls.as_ref()?.certificate.clone());
        let cert = secrets.cert(&shown.unwrap_or_else(|| identity::DEFAULT.into()));
        let scrape = match bootstrap.metrics.as_ref().and_then(|metrics| metrics.program.clone()) {
            Some(at) => Some(Scrape::new(at, bootstrap.netns.clone(), &shared.registry.shard())?),
            None => None,
        };
        let (commands_too, options_too) = (commands.clone(), options.clone());
        let admin = Admin { live, shared, secrets, status, commands: commands_too, options: options_too, scrape };
        let admin = Rc::new(admin);
        let at = bootstrap.admin.map(|addr| admin.start(addr, Offer::Everything)).transpose()?;
        bootstrap.readiness.map(|addr| admin.start(addr, Offer::Probes)).transpose()?;
        bootstrap.metrics.as_ref().map(|metrics| admin.start(metrics.address, Offer::Merged)).transpose()?;
        let idle = bootstrap.metrics.as_ref().map_or(bootstrap::IDLE, |metrics| metrics.idle);
        tokio::task::spawn_local(forget_idle_series(side.shared.registry.clone(), idle));
        log::service::follow(&side.shared, &side.live)?;
        log::otlp::follow(&side.shared, &side.live)?;
        spans::follow(&side.shared, &side.live)?;
        side.first_configuration(&bootstrap)?;
        side.control(&bootstrap, cert, asked)?;
        watch_outside(&options, &commands);
        Ok((side, at))
    }

    /// Runs the static resources.
    fn first_configuration(&self, bootstrap: &Bootstrap) -> Result<(), StartError> {
        if let Some(given) = &bootstrap.static_resources {
            let set = match given {
                StaticResources::File(path) => state::read_resources(path)?,
                StaticResources::Given(resources) => resources.clone(),
            };
            self.apply(Changes { set, removed: Vec::new() });
        }
        if bootstrap.control_plane.is_none() || bootstrap.static_resources.is_some() {
            self.has_configuration();
        }
        Ok(())
    }

    /// Begins to follow the control plane, if there is one.
    fn control(
        self: &Rc<Self>,
        bootstrap: &Bootstrap,
        cert: LiveCert,
        asked: mpsc::UnboundedReceiver<Arc<str>>,
    ) -> Result<(), StartError> {
        let Some(plane) = &bootstrap.control_plane else { return Ok(()) };
        let links = Links::new(plane, cert.clone()).map_err(|e| StartError::ControlPlane(e.to_string()))?;
        tokio::task::spawn_local(identity::follow_roots(self.roots.subscribe(), links.clone()));
        let mut plan =
            ads::Plan { node: bootstrap.node.clone(), mode: plane.mode, names: bootstrap.dns.is_some(), own: None };
        if let Some(id) = &bootstrap.identity {
            plan.own = Some(identity::DEFAULT);
            let member = match &bootstrap.workload_api {
                Some(path) => Some(workload_api::start(path, &links)?),
                None => None,
            };
            let holder =
                identity::Holder { side: self.clone(), node: bootstrap.node.id.clone(), id: id.clone(), member };
            identity::keep(bootstrap.certificates.clone(), holder, links.clone(), cert)
                .map_err(|error| StartError::Authority(error.to_string()))?;
        }
        let (session, orders) = mpsc::channel(ads::ORDERS);
        let teller = self.program.get_or_init(|| Teller::new(session.clone()));
        if let Some(check) = bootstrap.program_ready.clone() {
            tokio::task::spawn_local(program::watch(check, bootstrap.netns.clone(), teller.clone()));
        }
        if self.discovery.virtual_hosts {
            let (side, own) = (self.clone(), plan.own);
            let tell = move || ads::ask_anew(&side, own);
            tokio::task::spawn_local(demand::serve(self.clone(), asked, session.clone(), tell));
        }
        if bootstrap.observe.is_some() {
            let (shared, live, node) = (self.shared.clone(), self.live.clone(), &bootstrap.node.id);
            let is_certified = plan.own.is_some();
            self.reports.get_or_init(|| observe::Teller::start(shared, live, node, links.clone(), is_certified));
        }
        tokio::task::spawn_local(ads::follow(self.clone(), links, plan, (session, orders)));
        Ok(())
    }

    /// Where state is kept.
    pub(crate) fn state(&self) -> Option<&StateDir> {
        self.state.as_ref()
    }

    /// The roots of the mesh (PEM), empty until they are known.
    pub(crate) fn roots(&self) -> watch::Receiver<Arc<str>> {
        self.roots.subscribe()
    }

    /// How the proxy is doing.
    pub(crate) fn status(&self) -> &RefCell<Status> {
        &self.status
    }

    /// What is found when it is needed.
    pub(crate) fn discovery(&self) -> Discovery {
        self.discovery
    }

    /// Which virtual hosts are asked for.
    pub(crate) fn demand(&self) -> &RefCell<Demand> {
        &self.demand
    }

    /// What runs.
    pub(crate) fn live(&self) -> &Live {
        &self.live
    }

    /// Is there a stream to the control plane?
    pub(crate) fn is_connected(&self) -> bool {
        self.status.borrow().control_plane == CONNECTED
    }

    /// What builds snapshots.
    pub(crate) fn applier(&self) -> &RefCell<Applier> {
        &self.applier
    }

    /// Follows commands until it is told to end.
    async fn run(self: Rc<Self>, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut end: Option<Instant> = None;
        tokio::task::spawn_local(self.clone().tidy());
        loop {
            let due = self.applier.borrow().deadline();
            tokio::select! {
                command = commands.recv() => match command {
                    None | Some(Command::Stop) => break,
                    Some(Command::Replace(config, reply)) => drop(reply.send(self.replace(*config))),
                    // Asked twice for the end, it comes at once.
                    Some(Command::Drain { then_end: true }) if end.is_some() => break,
                    Some(Command::Drain { then_end }) => {
                        self.begin_drain();
                        end = then_end.then(|| Instant::now() + self.drain);
                    }
                    Some(Command::LeaveOut(is_out)) => self.leave_out(is_out),
                },
                () = at(due) => self.tick(),
                () = old_work_is_done(&self.workers, end) => break,
            }
        }
        drain::stop(&self.workers);
        if let Some(reports) = self.reports.get() {
            reports.finish().await;
        }
        let Shared { spans, log_services, otlp_logs, .. } = &*self.shared;
        tokio::join!(spans.0.finish(), log_services.logs.finish(), otlp_logs.0.finish());
        // Nothing else runs here any more, so waiting blocks nobody.
        self.threads.take().into_iter().for_each(Threads::join);
        self.shared.sinks.flush();
    }

    /// The program gets nothing more from others, or again.
    fn leave_out(&self, is_out: bool) {
        if let Some(teller) = self.program.get().cloned() {
            tokio::task::spawn_local(async move { teller.leave_out(is_out).await });
        }
    }

    /// Applies what became due by itself.
    fn tick(&self) {
        let due = self.applier.borrow_mut().is_due();
        if due {
            self.apply(Changes::default());
        }
    }

    /// Applies changes and says what cannot be used.
    pub(crate) fn apply(&self, changes: Changes) -> Vec<Rejected> {
        let roots = changes.set.iter().rev().find_map(identity::roots_of);
        let rejected = self.applier.borrow_mut().apply(changes);
        let is_refused = |r: &Rejected| r.kind == ResourceKind::Secret && &*r.name == MESH_ROOTS;
        if let Some(roots) = roots.filter(|_| !rejected.iter().any(is_refused)) {
            self.roots.send_if_modified(|known| {
                *known != roots && {
                    *known = roots;
                    true
                }
            });
        }
        for Rejected { kind, reason, .. } in &rejected {
            tracing::warn!("{kind}: {reason}");
        }
        self.settled();
        self.changed.notify_one();
        rejected
    }

    /// Gives back what starting and changing took, a moment later.
    async fn tidy(self: Rc<Self>) {
        sleep(TIDY).await;
        memory::forget_code();
        loop {
            memory::give_back();
            self.changed.notified().await;
            sleep(TIDY).await;
        }
    }

    fn replace(&self, config: Config) -> Vec<Rejected> {
        let set = state::resources_of(&config);
        let stays: HashSet<_> = state::names_of(&config).into_iter().collect();
        let known = state::names_of(self.applier.borrow().wanted());
        let removed = known.into_iter().filter(|name| !stays.contains(name)).collect();
        let rejected = self.apply(Changes { set, removed });
        self.has_configuration();
        rejected
    }

    /// It has been told what to run.
    pub(crate) fn has_configuration(&self) {
        self.configured.set(true);
        self.settled();
    }

    fn settled(&self) {
        let applier = self.applier.borrow();
        let mut status = self.status.borrow_mut();
        status.waiting = applier.waits().keys().map(|(kind, name)| format!("{kind} {name}")).collect();
        if self.configured.get() && !applier.is_waiting() {
            status.is_whole();
        }
    }

    fn begin_drain(&self) {
        let mut status = self.status.borrow_mut();
        if status.state() != State::Draining {
            status.drains();
            drain::begin(&self.live, &self.workers);
            self.applier.borrow_mut().stop_listening();
        }
    }
}

/// Only the incremental protocol has virtual hosts that are asked for one by one.
fn discovery(bootstrap: &Bootstrap) -> Discovery {
    let virtual_hosts = bootstrap.control_plane.as_ref().is_some_and(|plane| plane.mode == Mode::Delta);
    Discovery { virtual_hosts, clusters: virtual_hosts && bootstrap.on_demand.announced }
}

/// Series that did not change for so long are told no more.
async fn forget_idle_series(registry: Registry, idle: Duration) {
    let begun = Instant::now();
    loop {
        registry.sweep(begun.elapsed(), idle);
        sleep((idle / 4).max(Duration::from_secs(1))).await;
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn old_work_is_done(workers: &[WorkerLink], end: Option<Instant>) {
    let Some(end) = end else { return std::future::pending().await };
    let left = drain::finished(workers, end.saturating_duration_since(Instant::now())).await;
    if left > 0 {
        tracing::warn!("{left} connections from outside were cut off at the end of the drain");
    }
}

/// Signals, and the lifeline to whoever started us.
fn watch_outside(options: &Options, commands: &mpsc::UnboundedSender<Command>) {
    if options.signals {
        tokio::task::spawn_local(obey_signals(commands.clone()));
    }
    if let Some(number) = options.lifeline {
        let commands = commands.clone();
        // A thread of its own: a pipe that never has anything to read.
        let watching = std::thread::Builder::new().name("lifeline".to_owned()).spawn(move || {
            if let Ok(mut pipe) = std::fs::File::open(format!("/proc/self/fd/{number}")) {
                let _ = std::io::Read::read(&mut pipe, &mut [0]);
            }
            let _ = commands.send(Command::Stop);
        });
        if let Err(error) = watching {
            tracing::error!("the lifeline cannot be watched: {error}");
        }
    }
}

async fn obey_signals(commands: mpsc::UnboundedSender<Command>) {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    let [Ok(mut terminate), Ok(mut interrupt)] = kinds else {
        return tracing::error!("signals cannot be received; only a kill ends this program");
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if commands.send(Command::Drain { then_end: true }).is_err() {
            return;
        }
    }
}
