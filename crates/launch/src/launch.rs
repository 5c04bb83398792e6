//! The supervisor: the story of one launch, from the checked program to the last process gone.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::process::Signal;
use transport::Netns;

use crate::bypass::Bypass;
use crate::commands::{CommandSpec, Commands, Wish};
use crate::inner::{self, Ended, Inner};
use crate::program;
use crate::sidecar::{Sidecar, SidecarSpec};
use crate::signals::Signals;
use crate::sockets::SocketSpec;
use crate::wire::NamespaceOrder;
use crate::{Capture, Ending, Event, LaunchError, Redirects, Refusal};

/// Is told what happens. Called on the task that runs the launch, so it must not block.
pub type OnEvent = Arc<dyn Fn(&Event) + Send + Sync>;

/// A program to be started inside the mesh. The caller's binary must route [`crate::inside::SUBCOMMAND`].
#[derive(Clone)]
pub struct Launch {
    /// A path, or a name that is found on PATH.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Whether its connections are captured.
    pub capture: Capture,
    /// The namespace's name, by which the sidecar's configuration means the sockets.
    pub netns_name: String,
    /// What is opened inside for the sidecar.
    pub sockets: Vec<SocketSpec>,
    /// Which connections the sidecar gets. What it does not get is carried as it is, beside the mesh.
    pub redirects: Redirects,
    /// Ports of the program that are not its sidecar's: where others connect to, and the port. With capture only, and with
    /// [`Launch::netns_socket_path`].
    pub beside: Vec<(SocketAddr, u16)>,
    /// The Unix socket at which the sidecar gets unconnected sockets of the namespace (`transport::Netns`). The
    /// directory must be there; the socket is removed at the end, also when the supervisor is killed.
    pub netns_socket_path: Option<PathBuf>,
    /// Is run beside the program for who asks.
    pub command: Option<CommandSpec>,
    /// Is told what happens.
    pub on_event: OnEvent,
}

impl Launch {
    /// A launch of `program` with the sockets of capture, the namespace's name `workload`, and no listener for events.
    pub fn new(program: impl Into<OsString>, args: impl IntoIterator<Item = OsString>) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().collect(),
            capture: Capture::default(),
            netns_name: "workload".to_owned(),
            sockets: SocketSpec::capture(),
            redirects: Redirects::default(),
            beside: Vec::new(),
            netns_socket_path: None,
            command: None,
            on_event: Arc::new(|_| ()),
        }
    }

    /// Makes everything ready in which the program will run, so that the caller knows whether it is captured before it
    /// configures the sidecar. Nothing of the user's runs yet.
    ///
    /// # Errors
    /// [`LaunchError`].
    pub async fn prepare(self) -> Result<Prepared, LaunchError> {
        program::find(&self.program)
            .map_err(|problem| LaunchError::Program { program: self.program.display().to_string(), problem })?;
        let mut refusal = None;
        if self.capture != Capture::None {
            match Inner::start(&self.program, &self.args, Some(self.order())).await? {
                inner::Prepared::Ready { inner, sockets, names_beside_dns } => {
                    if !names_beside_dns.is_empty() {
                        (self.on_event)(&Event::NamesBesideDns(names_beside_dns));
                    }
                    let (sockets, beside) = sockets.into_iter().partition(|(spec, _)| self.sockets.contains(spec));
                    return Ok(Prepared { launch: self, inner, sockets, beside, captured: true, refusal });
                }
                inner::Prepared::Refused(why) if self.capture == Capture::Namespace || !why.is_by_the_machine() => {
                    return Err(LaunchError::Capture(why));
                }
                inner::Prepared::Refused(why) => {
                    (self.on_event)(&Event::NotCaptured(why.clone()));
                    refusal = Some(why);
                }
            }
        }
        match Inner::start(&self.program, &self.args, None).await? {
            inner::Prepared::Ready { inner, sockets, .. } => {
                Ok(Prepared { launch: self, inner, sockets, beside: Vec::new(), captured: false, refusal })
            }
            inner::Prepared::Refused(why) => Err(LaunchError::Capture(why)),
        }
    }

    fn order(&self) -> NamespaceOrder {
        let bypass = SocketSpec::bypass().into_iter().filter(|_| !self.redirects.are_all());
        NamespaceOrder {
            sockets: self.sockets.iter().copied().chain(bypass).collect(),
            redirects: self.redirects.clone(),
            socket_server: self.netns_socket_path.clone(),
        }
    }

    /// Begins to carry what is not the sidecar's.
    fn bypass(&self, sockets: Vec<(SocketSpec, OwnedFd)>) -> Result<Bypass, LaunchError> {
        let mut bypass = Bypass::default();
        let failed = |source| LaunchError::Resources { what: "carrying connections beside the sidecar", source };
        sockets.into_iter().try_for_each(|(_, fd)| bypass.outgoing(fd)).map_err(failed)?;
        let Some(path) = &self.netns_socket_path else { return Ok(bypass) };
        let inside = Netns::new(&self.netns_name, path);
        for (at, port) in &self.beside {
            bypass.incoming(*at, *port, &inside).map_err(|source| LaunchError::Beside { at: *at, source })?;
        }
        Ok(bypass)
    }
}

impl fmt::Debug for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Launch({} {:?})", self.program.display(), self.args)
    }
}

/// A launch whose namespace stands. Dropping it ends everything.
pub struct Prepared {
    launch: Launch,
    inner: Inner,
    sockets: Vec<(SocketSpec, OwnedFd)>,
    /// Those for what the sidecar does not get.
    beside: Vec<(SocketSpec, OwnedFd)>,
    captured: bool,
    refusal: Option<Refusal>,
}

impl Prepared {
    /// Will the program's connections be captured?
    pub fn is_captured(&self) -> bool {
        self.captured
    }

    /// Why not, if [`Capture::Auto`] was refused the namespace.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// The sockets that were opened inside; without IPv6 in the kernel those of `::1` are missing.
    pub fn sockets(&self) -> impl Iterator<Item = &SocketSpec> {
        self.sockets.iter().map(|(spec, _)| spec)
    }

    /// Starts the sidecar, then the program with `env` beside the inherited variables, and supervises both until the
    /// program has ended. SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1 and SIGUSR2 go to the program; before it runs,
    /// the first four end the launch. When this returns, both are gone, and so is whatever the program left running.
    ///
    /// # Errors
    /// [`LaunchError`]. A program that fails is no error but an [`Ending`].
    pub async fn run(self, env: Vec<(String, String)>, sidecar: SidecarSpec) -> Result<Ending, LaunchError> {
        let Self { mut launch, mut inner, sockets, beside, captured, .. } = self;
        if !captured {
            launch.beside.clear();
        }
        let _bypass = launch.bypass(beside)?;
        let on_event = launch.on_event;
        let listening = |source| LaunchError::Resources { what: "listening to who asks for the command", source };
        let mut commands = Commands::listen(launch.command).map_err(listening)?;
        let mut signals =
            Signals::listen().map_err(|source| LaunchError::Resources { what: "listening to signals", source })?;
        let mut sidecar = Sidecar::new(sidecar, &launch.netns_name, sockets, on_event.clone())?;
        let outcome = match started(&mut inner, &mut sidecar, &mut signals, env, &on_event).await {
            Ok(None) => supervised(&mut inner, &mut sidecar, &mut signals, &mut commands, &on_event).await,
            Ok(Some(interrupted)) => Ok(interrupted),
            Err(error) => Err(error),
        };
        if let Ok(ending) = outcome {
            on_event(&Event::ProgramEnded(ending));
        }
        sidecar.leave(&mut signals).await;
        inner.finish().await;
        outcome
    }
}

/// Starts the sidecar, and once it is ready the program. `Some` if a signal came first.
async fn started(
    inner: &mut Inner,
    sidecar: &mut Sidecar,
    signals: &mut Signals,
    env: Vec<(String, String)>,
    on_event: &OnEvent,
) -> Result<Option<Ending>, LaunchError> {
    let pid = tokio::select! {
        ready = sidecar.start() => ready?,
        number = signals.next_ending() => return Ok(Some(Ending::Killed(number))),
        error = inner.lost() => return Err(error),
    };
    on_event(&Event::SidecarReady { pid });
    let pid = inner.start_program(env).await?;
    on_event(&Event::ProgramStarted { pid });
    Ok(None)
}

/// Passes signals on, runs commands, and keeps the sidecar alive until the program has ended. SIGTERM waits until others have heard that the
/// workload leaves; a further signal to end cuts that short.
async fn supervised(
    inner: &mut Inner,
    sidecar: &mut Sidecar,
    signals: &mut Signals,
    commands: &mut Commands,
    on_event: &OnEvent,
) -> Result<Ending, LaunchError> {
    let mut departure = sidecar.departure();
    let mut keep = std::pin::pin!(sidecar.keep());
    loop {
        let number = tokio::select! {
            ended = inner.ended() => match ended? {
                Ended::Program(ending) => return Ok(ending),
                Ended::Command(number, ending) => {
                    commands.ended(number, Some(ending));
                    continue;
                }
                Ended::Refused(packets) => {
                    on_event(&Event::PacketsRefused(packets));
                    continue;
                }
            },
            wish = commands.wish() => {
                fulfil(wish, inner, commands).await;
                continue;
            }
            number = signals.next() => number,
            never = &mut keep => match never {},
        };
        if number == Signal::TERM.as_raw()
            && let Some(departure) = departure.take()
        {
            tokio::select! {
                ending = inner.program_ended() => return ending,
                () = departure.announce() => {}
                _ = signals.next_ending() => {}
                never = &mut keep => match never {},
            }
        }
        inner.signal(number).await;
    }
}

async fn fulfil(wish: Wish, inner: &mut Inner, commands: &mut Commands) {
    match wish {
        Wish::Run(number, answer) => {
            commands.wait(number, answer);
            inner.start_command(number, commands.command()).await;
        }
        Wish::End(number) => {
            commands.ended(number, None);
            inner.end_command(number).await;
        }
    }
}
