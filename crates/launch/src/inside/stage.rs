//! The last moment before a process becomes the user's program or the sidecar.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sys::signal::{SigSet, Signal};

use super::rights;

/// Arguments: the parent's number, `=` and the signals to unblock, whether it is [`CONFINED`], the program, its arguments.
///
/// Exits as shells do when it cannot become the program: 127 if there is none, 126 if it cannot be executed.
pub(super) fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let parent = args.next().and_then(|text| text.to_str()?.parse().ok());
    let unblock = args.next().unwrap_or_default();
    let confined = args.next().is_some_and(|word| word == CONFINED);
    let (Some(parent), Some(program)) = (parent, args.next()) else { return ExitCode::from(2) };
    if !tie_life_to(parent) {
        return ExitCode::FAILURE;
    }
    unblock_signals(&unblock.to_string_lossy());
    if let Some(error) = confined.then(rights::give_up).and_then(Result::err) {
        eprintln!("halcyon: the program's rights over the network cannot be taken from it: {error}; it is not started");
        return ExitCode::from(126);
    }
    let error = Command::new(&program).args(args).exec();
    eprintln!("halcyon: cannot start `{}`: {error}; expected an executable program", program.display());
    ExitCode::from(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
}

/// The word for a process that is not to leave its network namespace.
pub(super) const CONFINED: &str = "confined";

/// The kernel kills this process when its parent's thread ends; that survives `exec` (prctl(2), PR_SET_PDEATHSIG).
/// False if the parent was gone before.
fn tie_life_to(parent: i32) -> bool {
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    rustix::process::getppid().is_some_and(|pid| pid.as_raw_nonzero().get() == parent)
}

fn unblock_signals(list: &str) {
    let signals: SigSet = list
        .trim_start_matches('=')
        .split(',')
        .filter_map(|number| Signal::try_from(number.parse::<i32>().ok()?).ok())
        .collect();
    let _ = signals.thread_unblock();
}
