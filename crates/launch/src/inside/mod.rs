//! The part that runs inside: the same executable, started again under a hidden subcommand.
//!
//! A binary that uses [`crate::Launch`] must route [`SUBCOMMAND`] here first of all, before it starts a thread, a
//! runtime or a logger: a process enters a new user namespace only while it has one thread.
//!
//! ```no_run
//! # use std::process::ExitCode;
//! fn main() -> ExitCode {
//!     let mut args = std::env::args_os().skip(1);
//!     if args.next().is_some_and(|first| first == launch::inside::SUBCOMMAND) {
//!         return launch::inside::main(args);
//!     }
//!     // ... the binary's own work
//!     ExitCode::SUCCESS
//! }
//! ```
//!
//! Two processes come of it. The *inner process* (`supervise`) enters the namespace, sets it up, is the program's
//! parent, and serves the sidecar with sockets of the namespace. The *stage* (`exec`) is the program's own process just
//! before it becomes the program: it ties its life to its parent's.

mod descendants;
mod loopback;
mod namespace;
mod rights;
mod stage;
mod supervise;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// The hidden subcommand, the first argument of the executable.
pub const SUBCOMMAND: &str = "__inside";

/// Runs the hidden subcommand with the arguments that follow it. Does not return before the program has ended; the
/// stage does not return at all when all goes well.
pub fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let role = args.next();
    match role.as_ref().and_then(|role| role.to_str()) {
        Some(SUPERVISE) => supervise::main(args.collect()),
        Some(EXEC) => stage::main(args),
        _ => {
            eprintln!("halcyon {SUBCOMMAND}: this is not for people; expected: `halcyon run -- <program>`");
            ExitCode::from(2)
        }
    }
}

const SUPERVISE: &str = "supervise";
const EXEC: &str = "exec";

/// The command that starts the inner process for `program`. Its standard input must be the link to the supervisor.
pub(crate) fn inner_process(program: &OsString, args: &[OsString]) -> Command {
    let mut command = myself();
    command.arg(SUPERVISE).arg(program).args(args);
    command
}

/// The command that becomes `program`, and dies at once when the process `parent` dies. `unblock` are the signals that
/// the parent blocked for itself alone; `confined` takes from it the rights by which it could leave its network namespace.
pub(crate) fn tied_to(parent: u32, unblock: &[i32], confined: bool, program: &OsString, args: &[OsString]) -> Command {
    let unblock = unblock.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    let mut command = myself();
    command.arg(EXEC).arg(parent.to_string()).arg(format!("={unblock}"));
    command.arg(if confined { stage::CONFINED } else { "free" }).arg(program).args(args);
    command
}

/// This executable, even if its file was replaced since.
fn myself() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("halcyon").arg(SUBCOMMAND);
    command
}
