//! The supervisor's handle on the inner process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Signal;
use tokio::time::timeout;

use crate::capture::Settings;
use crate::child::{Child, OnDrop};
use crate::sockets::SocketSpec;
use crate::wire::{self, Link, NamespaceOrder, Order, Report};
use crate::{Ending, LaunchError, Refusal, inside};

/// How long the inner process may take to end what the program left running, and itself.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Inner {
    child: Child,
    link: Link,
}

/// What came of starting it.
pub(crate) enum Prepared {
    Ready { inner: Inner, sockets: Vec<(SocketSpec, OwnedFd)>, names_beside_dns: Vec<String> },
    Refused(Refusal),
}

/// What has ended inside, or happened.
pub(crate) enum Ended {
    Program(Ending),
    Command(u64, Ending),
    /// Nothing has, but more packets were refused: so many so far.
    Refused(u64),
}

impl Inner {
    /// Starts the inner process for a program, and lets it make the namespace, if there is to be one.
    pub(crate) async fn start(
        program: &std::ffi::OsString,
        args: &[std::ffi::OsString],
        namespace: Option<NamespaceOrder>,
    ) -> Result<Prepared, LaunchError> {
        let (mine, theirs) = wire::pair().map_err(start_error)?;
        let mut command = inside::inner_process(program, args);
        command.stdin(Stdio::from(theirs));
        let child = Child::start(command, Arc::new([]), OnDrop::Leave).map_err(start_error)?;
        let link = Link::new(mine).map_err(start_error)?;
        let mut inner = Self { child, link };
        inner.send(&Order::Prepare { namespace }, true).await?;
        match inner.receive().await? {
            (Report::Prepared { sockets, names_beside_dns }, fds) if sockets.len() == fds.len() => {
                let sockets = sockets.into_iter().zip(fds).collect();
                Ok(Prepared::Ready { inner, sockets, names_beside_dns })
            }
            (Report::Refused { step, errno }, _) => {
                let errno = Errno::from_raw_os_error(errno);
                Ok(Prepared::Refused(Refusal::new(step, errno, &Settings::read())))
            }
            _ => Err(LaunchError::Inside { problem: "did not answer as expected".to_owned() }),
        }
    }

    /// Starts the program. Its process number.
    pub(crate) async fn start_program(&mut self, env: Vec<(String, String)>) -> Result<u32, LaunchError> {
        self.send(&Order::Start { env }, false).await?;
        match self.receive().await?.0 {
            Report::Started { pid } => Ok(pid.unsigned_abs()),
            Report::NotStarted { errno } => Err(start_error(io::Error::from_raw_os_error(errno))),
            _ => Err(LaunchError::Inside { problem: "did not answer as expected".to_owned() }),
        }
    }

    /// Delivers a signal to the program.
    pub(crate) async fn signal(&mut self, number: i32) {
        // that it is gone is seen by whoever awaits the program's end
        let _ = self.link.send(&Order::Signal(number), &[]).await;
    }

    /// Starts a command beside the program.
    pub(crate) async fn start_command(&mut self, number: u64, command: &[String]) {
        // As for signals.
        let _ = self.link.send(&Order::Command { number, command: command.to_vec() }, &[]).await;
    }

    /// Ends a command that nobody waits for any more.
    pub(crate) async fn end_command(&mut self, number: u64) {
        let _ = self.link.send(&Order::EndCommand { number }, &[]).await;
    }

    /// Waits for the end of the program or of a command. Nothing is lost if this is cancelled.
    pub(crate) async fn ended(&mut self) -> Result<Ended, LaunchError> {
        loop {
            match self.receive().await?.0 {
                Report::Ended(ending) => return Ok(Ended::Program(ending)),
                Report::CommandEnded { number, ending } => return Ok(Ended::Command(number, ending)),
                Report::PacketsRefused(packets) => return Ok(Ended::Refused(packets)),
                _ => {}
            }
        }
    }

    /// Waits for the program's end. Nothing is lost if this is cancelled.
    pub(crate) async fn program_ended(&mut self) -> Result<Ending, LaunchError> {
        loop {
            if let Ended::Program(ending) = self.ended().await? {
                return Ok(ending);
            }
        }
    }

    /// Waits for the inner process's own end, which is not expected.
    pub(crate) async fn lost(&mut self) -> LaunchError {
        let ending = self.child.ended().await;
        LaunchError::Inside { problem: format!("ended ({ending})") }
    }

    /// Ends everything inside and waits until it is gone.
    pub(crate) async fn finish(mut self) {
        let _ = self.link.send(&Order::Finish, &[]).await;
        if timeout(PATIENCE, self.child.ended()).await.is_err() {
            self.child.signal(Signal::KILL);
            self.child.ended().await;
        }
    }

    async fn send(&mut self, order: &Order, with_stdin: bool) -> Result<(), LaunchError> {
        let stdin = io::stdin();
        let fds = [stdin.as_fd()];
        match self.link.send(order, if with_stdin { &fds } else { &[] }).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(self.lost().await),
            Err(error) => Err(LaunchError::Resources { what: "writing to the inner process", source: error }),
        }
    }

    async fn receive(&mut self) -> Result<(Report, Vec<OwnedFd>), LaunchError> {
        match self.link.receive().await {
            Ok(Some(report)) => Ok(report),
            Ok(None) => Err(self.lost().await),
            Err(error) => Err(LaunchError::Resources { what: "reading from the inner process", source: error }),
        }
    }
}

fn start_error(source: io::Error) -> LaunchError {
    LaunchError::Resources { what: "starting the inner process", source }
}
