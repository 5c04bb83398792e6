//! What a launch has to tell while it runs.

use std::fmt;
use std::time::Duration;

use crate::{Ending, Refusal};

/// One thing that happened. Its text is one line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// [`crate::Capture::Auto`] found that namespaces are refused.
    NotCaptured(Refusal),
    /// These Unix sockets of daemons that know names could not be hidden from the program, so it may not find the
    /// mesh's names.
    NamesBesideDns(Vec<String>),
    /// The sidecar answered that it is ready.
    SidecarReady {
        /// Its process number.
        pid: u32,
    },
    /// The program was started.
    ProgramStarted {
        /// Its process number.
        pid: u32,
    },
    /// The program sends what is neither TCP nor DNS: so many packets were refused so far.
    PacketsRefused(u64),
    /// The sidecar ended while the program runs; it will be started again.
    SidecarEnded {
        /// How.
        ending: Ending,
        /// When it will be started again.
        restart_in: Duration,
    },
    /// The sidecar could not be started again yet.
    SidecarNotRestarted {
        /// Why, with what to do.
        reason: String,
        /// When it will be tried again.
        retry_in: Duration,
    },
    /// The sidecar runs again, on the same sockets.
    SidecarRestarted {
        /// Its process number.
        pid: u32,
        /// How often it was restarted in this launch.
        restarts: u64,
    },
    /// The program has ended; the sidecar is told to leave.
    ProgramEnded(Ending),
    /// The sidecar did not leave in time and was killed.
    SidecarKilled,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCaptured(refusal) => write!(
                f,
                "the program's connections are not captured: {refusal}. It runs on the host's network, and only what it sends to the sidecar's own ports goes through the mesh"
            ),
            Self::NamesBesideDns(sockets) => write!(
                f,
                "{}: the program may ask there for names instead of over port 53, and then does not find the mesh's; expected to be able to hide it; put `dns` first for `hosts` in /etc/nsswitch.conf, or stop nscd",
                sockets.join(", ")
            ),
            Self::SidecarReady { pid } => write!(f, "the sidecar (process {pid}) is ready"),
            Self::ProgramStarted { pid } => write!(f, "the program runs as process {pid}"),
            Self::PacketsRefused(packets) => write!(
                f,
                "only TCP and DNS leave the program's namespace, through the sidecar; packets refused so far: {packets}"
            ),
            Self::SidecarEnded { ending, restart_in } => write!(
                f,
                "the sidecar ended ({ending}) while the program runs; it is started again in {} ms, and new connections wait for it",
                restart_in.as_millis()
            ),
            Self::SidecarNotRestarted { reason, retry_in } => {
                write!(f, "{reason}; tried again in {} ms", retry_in.as_millis())
            }
            Self::SidecarRestarted { pid, restarts } => {
                write!(f, "the sidecar runs again (process {pid}, restart {restarts}) on the same sockets")
            }
            Self::ProgramEnded(ending) => write!(f, "the program ended ({ending})"),
            Self::SidecarKilled => f.write_str("the sidecar did not leave in time and was killed"),
        }
    }
}
