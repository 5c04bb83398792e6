//! What supervisor and inner process say to each other over their socket pair: JSON, one document per message
//! (`SOCK_SEQPACKET`), with open files beside it. Both ends are the same executable, so there is no versioning.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use transport::fdpass;

use crate::capture::Step;
use crate::sockets::SocketSpec;

/// From the supervisor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// The first message; carries the user's standard input.
    Prepare {
        /// Make a namespace, and in it these sockets; else stay on the host's network.
        namespace: Option<NamespaceOrder>,
    },
    /// Start the program, with these variables beside the inherited ones.
    Start {
        /// Names and values.
        env: Vec<(String, String)>,
    },
    /// Deliver this signal to the program.
    Signal(i32),
    /// Run a command beside the program, with the same variables, in silence.
    Command {
        /// Names it from now on.
        number: u64,
        /// The command and its arguments.
        command: Vec<String>,
    },
    /// Nobody waits for this command any more: end it.
    EndCommand {
        /// Which.
        number: u64,
    },
    /// The program has ended and so has everything else: clean up and leave.
    Finish,
}

/// What to make inside.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NamespaceOrder {
    pub(crate) sockets: Vec<SocketSpec>,
    /// Which connections the sidecar gets.
    pub(crate) redirects: crate::Redirects,
    /// Where the sidecar can ask for unconnected sockets.
    pub(crate) socket_server: Option<std::path::PathBuf>,
}

/// From the inner process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// Ready to start; carries the sockets, in this order.
    Prepared {
        sockets: Vec<SocketSpec>,
        /// Sockets of daemons that could not be hidden from the program.
        names_beside_dns: Vec<String>,
    },
    /// No namespace. The inner process ends after this.
    Refused { step: Step, errno: i32 },
    /// The program was started.
    Started { pid: i32 },
    /// Not even the stage that becomes the program could be started.
    NotStarted { errno: i32 },
    /// The program has ended.
    Ended(crate::Ending),
    /// So many packets that were neither TCP nor DNS were refused so far: more than told before.
    PacketsRefused(u64),
    /// A command has ended.
    CommandEnded { number: u64, ending: crate::Ending },
}

/// More than the kernel takes as one message by default, so that a truncated one cannot be mistaken for a whole.
const MESSAGE_LIMIT: usize = 512 * 1024;

/// Sends one message on a blocking or an idle socket.
pub(crate) fn send(socket: &impl AsFd, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    fdpass::send(socket, &serde_json::to_vec(message)?, fds)
}

/// Receives one message; `None` when the other end is gone.
pub(crate) fn receive<T: DeserializeOwned>(socket: &impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; MESSAGE_LIMIT];
    match fdpass::recv(socket, &mut buffer) {
        Ok((0, _)) => Ok(None),
        Ok((length, fds)) => Ok(Some((serde_json::from_slice(&buffer[..length])?, fds))),
        // the other end died with something of ours unread
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
        Err(error) => Err(error),
    }
}

/// One end of the pair within a runtime. The runtime's datagram socket lends its readiness; what is read and written
/// goes by [`fdpass`], so it does not matter that the socket is of a kind that keeps connection and order too.
#[derive(Debug)]
pub(crate) struct Link(UnixDatagram);

impl Link {
    /// Must be called within a runtime.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        UnixDatagram::from_std(socket.into()).map(Self)
    }

    /// Sends one message.
    pub(crate) async fn send(&self, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.0.async_io(Interest::WRITABLE, || send(&self.0, message, fds)).await
    }

    /// Receives one message; `None` when the other end is gone. Nothing is lost if this is cancelled.
    pub(crate) async fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        self.0.async_io(Interest::READABLE, || receive(&self.0)).await
    }
}

/// A connected pair. Neither end survives `exec` by itself.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}
