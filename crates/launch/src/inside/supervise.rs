//! The inner process: prepares the namespace, starts the program, passes signals to it, reaps, and cleans up.
//!
//! One loop over two files, the link to the supervisor and a `signalfd`. (The server of unconnected sockets is a
//! thread of its own, started after the namespace was entered.)

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitStatus, getpid, getppid, kill_process, kill_process_group};
use transport::netns::NetnsSocketServer;

use super::{descendants, loopback, namespace, tied_to};
use crate::Ending;
use crate::bypass::BYPASS_PORT;
use crate::capture::Step;
use crate::nftables::{self, Redirection};
use crate::sockets::{DNS_PORT, OUTBOUND_PORT, SocketSpec};
use crate::wire::{self, NamespaceOrder, Order, Report};

/// How long what the program left running may take to end by itself.
const GRACE: Duration = Duration::from_secs(2);
/// How often it is looked whether packets were refused.
const LOOK: Duration = Duration::from_secs(10);
/// For how long after a signal from the terminal the supervisor's copy of the same signal is taken for the same event.
const SAME_EVENT: Duration = Duration::from_millis(500);
/// `si_code` of a signal that the kernel sent, such as the terminal's to the whole foreground process group.
const SI_KERNEL: i32 = 0x80;

/// `command` is the program and its arguments. Standard input is the link.
pub(super) fn main(command: Vec<OsString>) -> ExitCode {
    let mut command = command.into_iter();
    let Some(program) = command.next() else { return ExitCode::from(2) };
    match run(program, command.collect()) {
        Ok(()) => ExitCode::SUCCESS,
        // there is nobody to tell but the supervisor, who sees the exit code
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(program: OsString, args: Vec<OsString>) -> io::Result<()> {
    let link = take_link()?;
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    rustix::process::set_child_subreaper(Some(getpid()))?;
    let Some((Order::Prepare { namespace }, mut fds)) = wire::receive(&link)? else { return Ok(()) };
    let stdin = fds.pop();
    // The signals are blocked before the first thread starts, so that every thread has them blocked.
    let (signals, blocked) = block_signals()?;
    let socket_server = namespace.as_ref().and_then(|order| order.socket_server.clone());
    let confined = namespace.is_some();
    match prepare(namespace) {
        Ok((sockets, names_beside_dns)) => {
            let (specs, fds): (Vec<_>, Vec<_>) = sockets.into_iter().unzip();
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            wire::send(&link, &Report::Prepared { sockets: specs, names_beside_dns }, &fds)?;
        }
        Err((step, errno)) => {
            return wire::send(&link, &Report::Refused { step, errno: errno.raw_os_error() }, &[]);
        }
    }
    let parent = getppid();
    let inner = Inner {
        link,
        signals,
        blocked,
        confined,
        parent,
        program,
        args,
        stdin,
        socket_server,
        running: None,
        refused: 0,
        env: Vec::new(),
        commands: HashMap::new(),
        terminal: Vec::new(),
    };
    inner.run()
}

/// The link came as standard input, since that can be owned without trusting a number. (The program gets the user's
/// own standard input, which comes over the link.)
fn take_link() -> io::Result<OwnedFd> {
    io::stdin().as_fd().try_clone_to_owned()
}

/// Blocks what is to be read from the `signalfd`; also says which of it was not blocked before.
fn block_signals() -> io::Result<(SignalFd, Vec<i32>)> {
    use Signal::*;
    let mine: SigSet = [SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2].into_iter().collect();
    let before = mine.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let signals = SignalFd::with_flags(&mine, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    Ok((signals, mine.iter().filter(|s| !before.contains(*s)).map(|s| s as i32).collect()))
}

type Opened = Vec<(SocketSpec, OwnedFd)>;

/// Enters and furnishes the namespace, if there is to be one. Also gives what knows names beside DNS inside.
fn prepare(order: Option<NamespaceOrder>) -> Result<(Opened, Vec<String>), (Step, Errno)> {
    let Some(NamespaceOrder { sockets, redirects, socket_server }) = order else { return Ok(Default::default()) };
    let host = namespace::Host::look();
    let names_beside_dns = namespace::enter().map_err(|error| match error {
        namespace::EnterError::Namespace(e) => (Step::Namespace, errno_of(&e)),
        namespace::EnterError::Mapping(e) => (Step::Mapping, errno_of(&e)),
    })?;
    let up = loopback::bring_up(host.global_ipv6).map_err(|errno| (Step::Loopback, errno))?;
    nftables::install(Redirection { outbound: OUTBOUND_PORT, dns: DNS_PORT, bypass: BYPASS_PORT }, &redirects)
        .map_err(|(part, errno)| (Step::Redirection(part), errno))?;
    host.carry_over();
    if let Some(path) = socket_server {
        serve_sockets(path)?;
    }
    let mut opened = Vec::new();
    for spec in sockets {
        match spec.open() {
            Ok(fd) => opened.push((spec, fd)),
            Err(_) if !spec.is_needed() && !up.ipv6 => {}
            Err(error) => return Err((Step::Listen(spec.address()), errno_of(&error))),
        }
    }
    Ok((opened, names_beside_dns))
}

fn serve_sockets(path: PathBuf) -> Result<(), (Step, Errno)> {
    let refused = |error: io::Error| (Step::SocketServer(path.display().to_string()), errno_of(&error));
    let server = NetnsSocketServer::bind(&path).map_err(refused)?;
    // It ends with the process. If `accept` fails for good the sidecar says so at its next connection.
    std::thread::Builder::new().name("netns-sockets".to_owned()).spawn(move || server.run()).map_err(refused)?;
    Ok(())
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

struct Inner {
    link: OwnedFd,
    signals: SignalFd,
    /// What the program must not find blocked.
    blocked: Vec<i32>,
    /// The program is in a namespace that it must not leave.
    confined: bool,
    parent: Option<Pid>,
    program: OsString,
    args: Vec<OsString>,
    stdin: Option<OwnedFd>,
    socket_server: Option<PathBuf>,
    running: Option<Pid>,
    /// How many refused packets were told of.
    refused: u64,
    /// The variables that it was given, for commands beside it.
    env: Vec<(String, String)>,
    /// Commands that run, by their numbers.
    commands: HashMap<u64, Pid>,
    /// Signals that the terminal sent to the whole process group, and when.
    terminal: Vec<(i32, Instant)>,
}

/// Why the loop ended.
enum Over {
    /// In order: the supervisor said so.
    Finished,
    /// The supervisor is dead.
    Lost,
}

impl Inner {
    fn run(mut self) -> io::Result<()> {
        let over = self.serve();
        let grace = if matches!(over, Ok(Over::Finished)) { GRACE } else { Duration::ZERO };
        descendants::end_all(grace, |patience| {
            let _ = readable(&[self.signals.as_fd()], Some(patience));
            while self.signals.read_signal().is_ok_and(|signal| signal.is_some()) {}
        });
        if let Some(path) = &self.socket_server {
            let _ = std::fs::remove_file(path);
        }
        over.map(|_| ())
    }

    fn serve(&mut self) -> io::Result<Over> {
        loop {
            let ready = readable(&[self.signals.as_fd(), self.link.as_fd()], self.confined.then_some(LOOK))?;
            self.look_at_refusals()?;
            // Signals first: a signal from the terminal must be known before the supervisor's copy of it.
            if self.take_signals()? {
                return Ok(Over::Lost);
            }
            if ready[1] {
                match wire::receive::<Order>(&self.link)? {
                    None => return Ok(Over::Lost),
                    Some((Order::Finish, _)) => return Ok(Over::Finished),
                    Some((Order::Start { env }, _)) => self.start(env)?,
                    Some((Order::Signal(number), _)) => self.deliver(number),
                    Some((Order::Command { number, command }, _)) => self.command(number, command)?,
                    Some((Order::EndCommand { number }, _)) => self.end_command(number),
                    Some((Order::Prepare { .. }, _)) => {}
                }
            }
        }
    }

    /// Is the supervisor dead?
    fn take_signals(&mut self) -> io::Result<bool> {
        while let Some(signal) = self.signals.read_signal()? {
            let number = signal.ssi_signo as i32;
            if number == Signal::SIGCHLD as i32 {
                self.reap()?;
            } else if number == Signal::SIGTERM as i32 && getppid() != self.parent {
                return Ok(true);
            } else if signal.ssi_code == SI_KERNEL {
                self.terminal.push((number, Instant::now()));
            }
        }
        Ok(false)
    }

    /// Says so if the program has sent what does not leave. That nothing can be asked is no reason to end it.
    fn look_at_refusals(&mut self) -> io::Result<()> {
        if !self.confined || self.running.is_none() {
            return Ok(());
        }
        match nftables::refused() {
            Ok(packets) if packets > self.refused => {
                self.refused = packets;
                wire::send(&self.link, &Report::PacketsRefused(packets), &[])
            }
            _ => Ok(()),
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        let mut status = None;
        let mut commands = Vec::new();
        let running = self.running;
        descendants::reap(|pid, ended| {
            if Some(pid) == running {
                status = Some(ending(ended));
            } else if let Some(number) = self.commands.iter().find(|(_, of)| **of == pid).map(|(number, _)| *number) {
                commands.push((number, ending(ended)));
            }
        });
        for (number, ending) in commands {
            self.commands.remove(&number);
            wire::send(&self.link, &Report::CommandEnded { number, ending }, &[])?;
        }
        if let Some(ending) = status {
            self.running = None;
            wire::send(&self.link, &Report::Ended(ending), &[])?;
        }
        Ok(())
    }

    fn start(&mut self, env: Vec<(String, String)>) -> io::Result<()> {
        let mut command = tied_to(std::process::id(), &self.blocked, self.confined, &self.program, &self.args);
        command.envs(env.iter().cloned()).stdin(self.stdin.take().map_or_else(Stdio::null, Stdio::from));
        self.env = env;
        let report = match command.spawn() {
            Ok(child) => {
                self.running = Pid::from_raw(child.id() as i32);
                Report::Started { pid: child.id() as i32 }
            }
            Err(error) => Report::NotStarted { errno: errno_of(&error).raw_os_error() },
        };
        wire::send(&self.link, &report, &[])
    }

    /// Runs a command in a process group of its own, so that it can be ended with all that it started.
    fn command(&mut self, number: u64, command: Vec<String>) -> io::Result<()> {
        let mut words = command.into_iter().map(OsString::from);
        let Some(program) = words.next() else { return Ok(()) };
        let mut command =
            tied_to(std::process::id(), &self.blocked, self.confined, &program, &words.collect::<Vec<_>>());
        command.envs(self.env.iter().cloned()).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.spawn().ok().and_then(|child| Pid::from_raw(child.id() as i32)) {
            Some(pid) => _ = self.commands.insert(number, pid),
            // As shells say that something cannot be executed.
            None => wire::send(&self.link, &Report::CommandEnded { number, ending: Ending::Exited(126) }, &[])?,
        }
        Ok(())
    }

    fn end_command(&mut self, number: u64) {
        if let Some(pid) = self.commands.remove(&number) {
            let _ = kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }

    /// Passes a signal on, unless the terminal has sent it to the program already.
    fn deliver(&mut self, number: i32) {
        self.terminal.retain(|(_, at)| at.elapsed() < SAME_EVENT);
        if self.terminal.iter().any(|(sent, _)| *sent == number) {
            return;
        }
        if let (Some(pid), Some(signal)) = (self.running, rustix::process::Signal::from_named_raw(number)) {
            let _ = kill_process(pid, signal);
        }
    }
}

fn ending(status: WaitStatus) -> Ending {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ending::Exited(code),
        (None, Some(signal)) => Ending::Killed(signal),
        (None, None) => Ending::Exited(1),
    }
}

/// Waits until one of `files` can be read or its other end is gone; says which.
fn readable(files: &[BorrowedFd<'_>], patience: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut set: Vec<_> = files.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let patience = patience.and_then(|p| Timespec::try_from(p).ok());
    match poll(&mut set, patience.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(set.iter().map(|fd| !fd.revents().is_empty()).collect()),
        Err(errno) => Err(errno.into()),
    }
}
