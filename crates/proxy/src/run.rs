//! The whole proxy: builds its parts, wires them, and runs the side runtime, which owns everything that is not on a
//! request's way: configuration, control link, certificates, admin, DNS, signals.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use model::Config;
use telemetry::Registry;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep_until};
use transport::listen::BindError;
use upstream::dns::{Resolve, SystemResolver};

use crate::admin::{Admin, Offer};
use crate::apply::{Applier, Changes, Rejected};
use crate::bootstrap::Bootstrap;
use crate::live::Live;
use crate::node::Shared;
use crate::secrets::Secrets;
use crate::state::{self, ResourcesError, StateDir};
use crate::status::{State, Status};
use crate::worker::{self, WorkerLink};
use crate::{dns, drain};

/// What the side runtime is told.
pub(crate) enum Command {
    /// Apply these changes and say what cannot be used.
    Apply(Changes, oneshot::Sender<Vec<Rejected>>),
    /// Run exactly this.
    Replace(Box<Config>, oneshot::Sender<Vec<Rejected>>),
    /// Take no new work; then end, or stay for what the workload still calls.
    Drain {
        /// End when the old work is finished.
        then_end: bool,
    },
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
struct Side {
    applier: Applier,
    status: Rc<RefCell<Status>>,
    live: Arc<Live>,
    shared: Arc<Shared>,
    workers: Vec<WorkerLink>,
    state: Option<StateDir>,
    drain: Duration,
}

impl Side {
    async fn build(
        bootstrap: Bootstrap,
        options: Options,
        registry: Registry,
        commands: mpsc::UnboundedSender<Command>,
    ) -> Result<(Self, Option<SocketAddr>), StartError> {
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
        let shared = Arc::new(Shared::new(&bootstrap, registry));
        let (live, secrets) = (Arc::new(Live::default()), Rc::new(Secrets::default()));
        let status = Rc::new(RefCell::new(Status::new(&bootstrap.node.id)));
        let workers = worker::start(bootstrap.workers, &shared)?;
        let resolver: Arc<dyn Resolve> = Arc::new(SystemResolver);
        let applier = Applier::new(
            secrets.clone(),
            live.clone(),
            shared.clone(),
            workers.clone(),
            bootstrap.netns.clone(),
            resolver,
        );
        let mut side = Self {
            applier,
            status: status.clone(),
            live: live.clone(),
            shared: shared.clone(),
            workers,
            state,
            drain: bootstrap.drain,
        };
        if let Some(dns) = &bootstrap.dns {
            dns::Server::start(dns, bootstrap.netns.as_ref(), live.names.clone())?;
        }
        let admin =
            Rc::new(Admin { live, shared, secrets, status, commands: commands.clone(), options: options.clone() });
        let at = bootstrap.admin.map(|addr| admin.start(addr, Offer::Everything)).transpose()?;
        bootstrap.readiness.map(|addr| admin.start(addr, Offer::Probes)).transpose()?;
        side.first_configuration(&bootstrap)?;
        side.control(&bootstrap, &commands)?;
        watch_outside(&options, &commands);
        Ok((side, at))
    }

    /// Runs the static resources, or what was kept from the last time.
    fn first_configuration(&mut self, bootstrap: &Bootstrap) -> Result<(), StartError> {
        let mut resources = Vec::new();
        match self.state.as_ref().map(StateDir::load) {
            Some(Ok(Some(kept))) => resources.extend(kept),
            // A broken file must not keep the proxy down: the control plane has the truth.
            Some(Err(error)) => tracing::warn!("the configuration of the last time cannot be used: {error}"),
            Some(Ok(None)) | None => {}
        }
        if let Some(path) = &bootstrap.static_resources {
            resources.extend(state::read_resources(path)?);
        }
        let known = !resources.is_empty() || bootstrap.control_plane.is_none();
        if !resources.is_empty() {
            self.apply(Changes { set: resources, removed: Vec::new() });
        }
        if known {
            self.settled();
        }
        Ok(())
    }

    fn control(
        &mut self,
        _bootstrap: &Bootstrap,
        _commands: &mpsc::UnboundedSender<Command>,
    ) -> Result<(), StartError> {
        Ok(())
    }

    /// Follows commands until it is told to end.
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut end: Option<Instant> = None;
        loop {
            let due = self.applier.deadline();
            tokio::select! {
                command = commands.recv() => match command {
                    None | Some(Command::Stop) => break,
                    Some(Command::Apply(changes, reply)) => drop(reply.send(self.apply(changes))),
                    Some(Command::Replace(config, reply)) => drop(reply.send(self.replace(*config))),
                    // Asked twice for the end, it comes at once.
                    Some(Command::Drain { then_end: true }) if end.is_some() => break,
                    Some(Command::Drain { then_end }) => {
                        self.begin_drain();
                        end = then_end.then(|| Instant::now() + self.drain);
                    }
                },
                () = at(due) => drop(self.apply(Changes::default())),
                () = old_work_is_done(&self.workers, end) => break,
            }
        }
        drain::stop(&self.workers);
        self.shared.sinks.flush();
    }

    fn apply(&mut self, changes: Changes) -> Vec<Rejected> {
        let rejected = self.applier.apply(changes);
        for Rejected { kind, reason, .. } in &rejected {
            tracing::warn!("{kind}: {reason}");
        }
        self.settled();
        self.keep();
        rejected
    }

    /// Keeps what the control plane wants for the next start.
    fn keep(&self) {
        if let Some(state) = &self.state
            && let Err(error) = state.save(self.applier.wanted())
        {
            tracing::warn!("the configuration cannot be kept for the next start: {error}");
        }
    }

    fn replace(&mut self, config: Config) -> Vec<Rejected> {
        let set = state::resources_of(&config);
        let stays: std::collections::HashSet<_> = state::names_of(&config).into_iter().collect();
        let removed = state::names_of(self.applier.wanted()).into_iter().filter(|name| !stays.contains(name)).collect();
        self.apply(Changes { set, removed })
    }

    fn settled(&mut self) {
        let mut status = self.status.borrow_mut();
        status.waiting = self.applier.waits().keys().map(|(kind, name)| format!("{kind} {name}")).collect();
        if status.waiting.is_empty() {
            status.is_whole();
        }
    }

    fn begin_drain(&mut self) {
        let mut status = self.status.borrow_mut();
        if status.state() != State::Draining {
            status.drains();
            drain::begin(&self.live, &self.workers);
            self.applier.stop_listening();
        }
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
