//! Ends what the program left behind. The inner process is the reaper of all of its descendants
//! (`PR_SET_CHILD_SUBREAPER`), so whoever loses its parent becomes a child here and is found.

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, wait};

/// After the last signal: how long to wait for processes that the kernel does not let go, or that are not ours to kill.
const GIVE_UP: Duration = Duration::from_secs(5);

/// Asks every descendant to end (SIGTERM), and kills those that remain after `grace`; zero kills at once.
/// `wait_for_child` returns when a child may have ended, or after the given time.
pub(super) fn end_all(grace: Duration, mut wait_for_child: impl FnMut(Duration)) {
    let begin = Instant::now();
    let mut asked = HashSet::new();
    while reap(|_, _| ()) {
        let waited = begin.elapsed();
        if waited > grace + GIVE_UP {
            return;
        }
        for child in children() {
            if waited >= grace {
                let _ = kill_process(child, Signal::KILL);
            } else if asked.insert(child) {
                let _ = kill_process(child, Signal::TERM);
                // a stopped process would not see the first one
                let _ = kill_process(child, Signal::CONT);
            }
        }
        wait_for_child(Duration::from_millis(50));
    }
}

/// Takes the exit status of every child that has ended. Are there other children?
pub(super) fn reap(mut ended: impl FnMut(Pid, rustix::process::WaitStatus)) -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => ended(pid, status),
            Ok(None) => return true,
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

fn children() -> Vec<Pid> {
    let me = getpid().as_raw_nonzero().get();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| parent(&stat) == Some(me)))
        .filter_map(Pid::from_raw)
        .collect()
}

/// The parent's number in `/proc/<pid>/stat`: the second field after the name, which stands in parentheses and may
/// hold anything.
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents() {
        for (stat, expected) in
            [("12 (sh) S 7 12 12 0", Some(7)), ("12 (a) b) (c) R 9 1", Some(9)), ("12 (sh", None), ("", None)]
        {
            assert_eq!(parent(stat), expected, "{stat}");
        }
    }
}
