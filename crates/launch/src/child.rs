//! A child process whose end can be awaited, and that never outlives its owner.
//!
//! Each child is started and waited for by a thread of its own. So the thread that the kernel takes for its parent
//! lives exactly as long as the child: `PR_SET_PDEATHSIG` is sent when that *thread* ends, and a thread of a runtime
//! may end at any time.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};

use rustix::io::FdFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::sync::watch;

use crate::Ending;

/// While a file is inheritable, any child that any thread starts would inherit it. All children of this crate are
/// started under this lock, so that several launches in one process do not hand their sockets to each other.
static STARTING: Mutex<()> = Mutex::new(());

/// What becomes of a child that is dropped while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnDrop {
    /// It is killed. It must lead a process group of its own: whoever is left in it is killed at its end.
    Kill,
    /// It sees by itself that it is not wanted any more.
    Leave,
}

/// A running or ended child.
#[derive(Debug)]
pub(crate) struct Child {
    pid: u32,
    on_drop: OnDrop,
    /// Names the process even if its number was given to another one since.
    handle: OwnedFd,
    ended: watch::Receiver<Option<Ending>>,
}

impl Child {
    /// Starts `command`; the child inherits `files` under the same numbers. Blocks for the moment that this takes, as
    /// every start of a process does: if it could be cancelled, there might be a child that nobody waits for.
    pub(crate) fn start(command: Command, files: Arc<[OwnedFd]>, on_drop: OnDrop) -> io::Result<Self> {
        let (started, answer) = mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("child".to_owned())
            .spawn(move || start_and_wait(command, files, on_drop, started))?;
        answer.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }

    /// Its process number.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it ends. May be called again.
    pub(crate) async fn ended(&mut self) -> Ending {
        match self.ended.wait_for(Option::is_some).await.map(|ending| *ending) {
            Ok(Some(ending)) => ending,
            // the waiting thread always says how it ended before it goes
            _ => Ending::Killed(Signal::KILL.as_raw()),
        }
    }

    /// Sends a signal; none if it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.ended.borrow().is_none() {
            let _ = pidfd_send_signal(&self.handle, signal);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.on_drop == OnDrop::Kill {
            self.signal(Signal::KILL);
        }
    }
}

fn start_and_wait(
    mut command: Command,
    files: Arc<[OwnedFd]>,
    on_drop: OnDrop,
    started: mpsc::SyncSender<io::Result<Child>>,
) {
    let spawned = inheriting(&files, || command.spawn());
    // Both may hold the child's ends of sockets, which this thread must not keep open for as long as it waits.
    drop((command, files));
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return drop(started.send(Err(error))),
    };
    let (tell, ended) = watch::channel(None);
    let handle = Pid::from_raw(child.id() as i32)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
        .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?));
    let answer = handle.map(|handle| Child { pid: child.id(), on_drop, handle, ended });
    let failed = answer.is_err();
    let _ = started.send(answer);
    if failed {
        let _ = child.kill();
    }
    if on_drop == OnDrop::Kill {
        end_its_group(child.id());
    }
    let ending = child.wait().map_or(Ending::Killed(Signal::KILL.as_raw()), Ending::from);
    let _ = tell.send(Some(ending));
}

/// Waits until the process has ended, and kills those that it started and left in its process group. The process is
/// still there for the kernel (`WNOWAIT`), so nobody else can have got its number.
fn end_its_group(pid: u32) {
    use rustix::process::{WaitId, WaitIdOptions, kill_process_group, waitid};
    let Some(pid) = Pid::from_raw(pid as i32) else { return };
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while waitid(WaitId::Pid(pid), ended).is_err_and(|errno| errno == rustix::io::Errno::INTR) {}
    let _ = kill_process_group(pid, Signal::KILL);
}

fn inheriting<T>(files: &[OwnedFd], start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let _guard = STARTING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let set = |flags: FdFlags| files.iter().try_for_each(|fd| rustix::io::fcntl_setfd(fd, flags));
    let result = set(FdFlags::empty()).map_err(io::Error::from).and_then(|()| start());
    set(FdFlags::CLOEXEC)?;
    result
}
