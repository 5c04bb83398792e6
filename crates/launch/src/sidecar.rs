//! The sidecar's life: started with the namespace's sockets, waited for, started again when it dies, drained.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base::Backoff;
use rustix::process::Signal;
use tokio::time::{Instant, sleep, timeout};
use transport::inherited;

use crate::child::{Child, OnDrop};
use crate::lifeline::{self, Lifeline};
use crate::program::find;
use crate::signals::Signals;
use crate::sockets::SocketSpec;
use crate::{Event, HttpTarget, LaunchError, OnEvent, inside};

/// How the sidecar is started, asked and told to leave.
///
/// Beside `env` it gets the launcher's own environment, `HALCYON_LISTEN_FDS` (see `transport::inherited`) if the
/// program is captured, and [`lifeline::VARIABLE`]. Its standard input is empty; it has a process group of its own, so
/// that Ctrl-C at the terminal reaches the program alone.
#[derive(Debug)]
pub struct SidecarSpec {
    /// A path, or a name that is found on PATH.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables beside the inherited ones.
    pub env: Vec<(OsString, OsString)>,
    /// Where its standard output and error go.
    pub output: SidecarOutput,
    /// Where a GET answers 200 once it is ready.
    pub ready: HttpTarget,
    /// How long it may take to get ready, at the start and after a restart.
    pub ready_within: Duration,
    /// How it leaves.
    pub drain: Drain,
}

/// Where the sidecar's standard output and error go.
#[derive(Debug)]
pub enum SidecarOutput {
    /// Where the launcher's own go.
    Inherit,
    /// To this open file.
    File(File),
}

/// How the workload leaves: others send it nothing more, the program ends, then the sidecar.
#[derive(Debug, Clone)]
pub struct Drain {
    /// What comes before a SIGTERM is passed on to the program; none: nothing does.
    pub departure: Option<Departure>,
    /// A POST here tells it to finish what it has begun, and then to leave.
    pub request: Option<HttpTarget>,
    /// How long it may take to leave after the request, before it gets SIGTERM.
    pub settle: Duration,
    /// How long it may take to leave after SIGTERM, before it is killed.
    pub grace: Duration,
}

/// The workload says that it is about to leave, so that nobody is sent to a program that is gone.
#[derive(Debug, Clone)]
pub struct Departure {
    /// A POST here has others send it nothing more.
    pub request: HttpTarget,
    /// How long others may take to hear of it.
    pub delay: Duration,
}

impl Departure {
    /// Says so and gives others their time. That the sidecar cannot be asked is no reason to stay.
    pub(crate) async fn announce(&self) {
        let _ = self.request.call("POST", self.delay).await;
        sleep(self.delay).await;
    }
}

/// Restarts are at least this far apart when the sidecar keeps dying; one that lived this long begins anew.
const CALM: Duration = Duration::from_secs(30);

pub(crate) struct Sidecar {
    spec: SidecarSpec,
    /// `HALCYON_LISTEN_FDS`.
    listen: String,
    /// The sockets that `listen` names, and the lifeline's end. Kept open here, so that no connection is refused while
    /// the sidecar is away.
    files: Arc<[OwnedFd]>,
    _lifeline: Lifeline,
    child: Option<Child>,
    on_event: OnEvent,
    restarts: u64,
}

impl Sidecar {
    pub(crate) fn new(
        spec: SidecarSpec,
        netns: &str,
        sockets: Vec<(SocketSpec, OwnedFd)>,
        on_event: OnEvent,
    ) -> Result<Self, LaunchError> {
        let (lifeline, theirs) =
            Lifeline::new().map_err(|source| LaunchError::Resources { what: "opening a pipe", source })?;
        let listen = sockets
            .iter()
            .map(|(socket, fd)| {
                let key = inherited::Key { proto: socket.proto(), netns: netns.to_owned(), addr: socket.address() };
                format!("{key}={}", fd.as_raw_fd())
            })
            .collect::<Vec<_>>()
            .join(",");
        // the lifeline comes first: `command` names it
        let files = std::iter::once(theirs).chain(sockets.into_iter().map(|(_, fd)| fd)).collect();
        Ok(Self { spec, listen, files, _lifeline: lifeline, child: None, on_event, restarts: 0 })
    }

    /// Starts it and waits until it is ready. Its process number.
    pub(crate) async fn start(&mut self) -> Result<u32, LaunchError> {
        let start_error = |spec: &SidecarSpec, source| LaunchError::SidecarStart { program: name(spec), source };
        if find(&self.spec.program).is_err() {
            return Err(start_error(&self.spec, std::io::ErrorKind::NotFound.into()));
        }
        let command = self.command().map_err(|e| start_error(&self.spec, e))?;
        let child = Child::start(command, self.files.clone(), OnDrop::Kill);
        let child = self.child.insert(child.map_err(|e| start_error(&self.spec, e))?);
        until_ready(&self.spec, child).await?;
        Ok(child.pid())
    }

    /// Starts it again whenever it dies. Never returns; may be cancelled at any time.
    pub(crate) async fn keep(&mut self) -> Infallible {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        loop {
            let begun = Instant::now();
            if let Some(child) = &mut self.child {
                let ending = child.ended().await;
                self.child = None;
                if begun.elapsed() >= CALM {
                    backoff.reset();
                }
                let restart_in = backoff.next_delay();
                (self.on_event)(&Event::SidecarEnded { ending, restart_in });
                sleep(restart_in).await;
            }
            while let Err(error) = self.start().await {
                self.child = None;
                let retry_in = backoff.next_delay();
                (self.on_event)(&Event::SidecarNotRestarted { reason: error.to_string(), retry_in });
                sleep(retry_in).await;
            }
            self.restarts += 1;
            let pid = self.child.as_ref().map_or(0, Child::pid);
            (self.on_event)(&Event::SidecarRestarted { pid, restarts: self.restarts });
        }
    }

    /// What comes before the program is asked to end.
    pub(crate) fn departure(&self) -> Option<Departure> {
        self.spec.drain.departure.clone()
    }

    /// Drains it and waits until it is gone. A further signal to end cuts it short.
    pub(crate) async fn leave(mut self, signals: &mut Signals) {
        let Some(mut child) = self.child.take() else { return };
        tokio::select! {
            left = drained(&mut child, &self.spec.drain) => if left { return },
            _ = signals.next_ending() => {}
        }
        (self.on_event)(&Event::SidecarKilled);
        child.signal(Signal::KILL);
        child.ended().await;
    }

    fn command(&self) -> std::io::Result<Command> {
        let mut command = inside::tied_to(std::process::id(), &[], false, &self.spec.program, &self.spec.args);
        command.envs(self.spec.env.iter().map(|(name, value)| (name, value)));
        command.env(lifeline::VARIABLE, self.files[0].as_raw_fd().to_string());
        match self.listen.is_empty() {
            true => command.env_remove(inherited::VARIABLE),
            false => command.env(inherited::VARIABLE, &self.listen),
        };
        command.stdin(Stdio::null()).process_group(0);
        if let SidecarOutput::File(file) = &self.spec.output {
            command.stdout(file.try_clone()?).stderr(file.try_clone()?);
        }
        Ok(command)
    }
}

fn name(spec: &SidecarSpec) -> String {
    spec.program.display().to_string()
}

async fn until_ready(spec: &SidecarSpec, child: &mut Child) -> Result<(), LaunchError> {
    const ASK_EVERY: Duration = Duration::from_millis(20);
    let mut last = "it was not asked yet".to_owned();
    let asking = async {
        loop {
            match spec.ready.call("GET", Duration::from_secs(1)).await {
                Ok(200) => return,
                Ok(status) => last = format!("it answered with status {status}"),
                Err(error) => last = error.to_string(),
            }
            sleep(ASK_EVERY).await;
        }
    };
    let target = spec.ready.clone();
    tokio::select! {
        ending = child.ended() => Err(LaunchError::SidecarEnded { program: name(spec), ending, target }),
        answer = timeout(spec.ready_within, asking) => answer.map_err(|_| LaunchError::SidecarNotReady {
            program: name(spec), waited: spec.ready_within, last, target,
        }),
    }
}

/// Did it leave by itself?
async fn drained(child: &mut Child, drain: &Drain) -> bool {
    if let Some(request) = &drain.request
        && request.call("POST", drain.settle).await.is_ok_and(|status| status < 300)
        && timeout(drain.settle, child.ended()).await.is_ok()
    {
        return true;
    }
    child.signal(Signal::TERM);
    timeout(drain.grace, child.ended()).await.is_ok()
}
