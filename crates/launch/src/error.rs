//! Why a launch failed.

use std::io;
use std::time::Duration;

use crate::{Ending, HttpTarget, Refusal};

/// Why a launch failed. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The program cannot be executed.
    #[error(
        "`{program}`: {problem}; expected the path of an executable file, or a name that is found on PATH; check the spelling and the file's permissions"
    )]
    Program {
        /// As it was given.
        program: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// [`crate::Capture::Namespace`] was asked for and is refused.
    #[error(
        "the program's connections cannot be captured: {0}. Or start without capture, with only named upstreams in the mesh"
    )]
    Capture(Refusal),
    /// The inner process could not be started, or died.
    #[error(
        "the process that holds the program {problem}; expected it to live as long as the program; if the machine is short of memory or of processes, free some and start again"
    )]
    Inside {
        /// What happened.
        problem: String,
    },
    /// The sidecar could not be started.
    #[error("sidecar `{program}`: cannot be started: {source}; expected an executable program; check the installation")]
    SidecarStart {
        /// Its program.
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The sidecar ended before it was ready.
    #[error(
        "sidecar `{program}`: ended ({ending}) before it was ready; expected it to answer at {target}; its own log says why"
    )]
    SidecarEnded {
        /// Its program.
        program: String,
        /// How it ended.
        ending: Ending,
        /// Where it should have answered.
        target: HttpTarget,
    },
    /// The sidecar was not ready in time.
    #[error("sidecar `{program}`: not ready after {} s: {last}; expected status 200 from {target}; its own log says what it waits for: most often the control plane cannot be reached", .waited.as_secs_f32())]
    SidecarNotReady {
        /// Its program.
        program: String,
        /// How long it was waited for.
        waited: Duration,
        /// What the last try brought.
        last: String,
        /// Where it was asked.
        target: HttpTarget,
    },
    /// This process may not do what supervising needs.
    #[error(
        "the launcher itself: {what}: {source}; expected files, threads and processes to be available; raise the limits of this user (`ulimit -n`, `ulimit -u`)"
    )]
    Resources {
        /// What was being done.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A port of the program that is not its sidecar's cannot be opened to others.
    #[error(
        "cannot listen on {at} for a port that is excluded from capture: {source}; expected a free address of this machine: stop whoever holds it, or choose another --address"
    )]
    Beside {
        /// Where.
        at: std::net::SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}
