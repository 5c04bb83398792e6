//! Processes that the bench starts: on one core, in a group of their own, watched from outside, and gone at the end.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::machine;

/// How many lines of its output are quoted when it fails.
const LAST_LINES: usize = 3;

/// Groups that are running, for the case of a panic.
static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// How a process is started.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// A running process with all that it started; ends when it is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
    /// When it was started.
    pub started: Instant,
}

/// Processor time.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuTime {
    /// User and system together, exact to about a scheduler tick over the whole time.
    pub total: Duration,
    /// The user part, by the kernel's coarse account.
    pub user: Duration,
    /// The system part, likewise.
    pub system: Duration,
}

/// Resident memory in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// All resident pages.
    pub rss: u64,
    /// The same, with pages that are shared between processes counted by their share.
    pub pss: u64,
}

impl Process {
    /// Starts a program on `core`. What it prints goes to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(launch: &Launch, core: usize, log: &Path) -> anyhow::Result<Self> {
        let output = File::create(log).with_context(|| log.display().to_string())?;
        let mut command = Command::new(&launch.program);
        command.args(&launch.arguments).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        command.process_group(0);
        // A child runs where the thread that starts it runs, from its first instruction on.
        let spawn = move || -> anyhow::Result<(Child, Instant)> {
            machine::pin_to(&[core])?;
            let started = Instant::now();
            Ok((command.spawn()?, started))
        };
        let spawned = std::thread::spawn(spawn).join().map_err(|_| anyhow!("the starting thread panicked"))?;
        let (child, started) = spawned.with_context(|| format!("cannot start {}", launch.program.display()))?;
        running().insert(child.id() as i32);
        Ok(Self { child, log: log.to_owned(), started })
    }

    /// What it said last, if it has ended.
    ///
    /// # Errors
    /// That it has ended, with its last words.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(anyhow!("it ended ({status}): {}", self.last_words())),
        }
    }

    /// The end of its output.
    pub fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        match lines.len() {
            0 => "it said nothing".to_owned(),
            count => lines[count.saturating_sub(LAST_LINES)..].join(" / "),
        }
    }

    /// It and its descendants.
    pub fn family(&self) -> Vec<u32> {
        family(self.child.id(), &parents())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let id = self.child.id() as i32;
        kill_group(id);
        // It is dead: this only takes it from the table of processes.
        let _ = self.child.wait();
        running().remove(&id);
    }
}

/// If the bench itself panics, nothing of it stays.
pub fn end_all_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if let Ok(running) = RUNNING.try_lock() {
            running.iter().for_each(|id| kill_group(*id));
        }
        before(panic);
    }));
}

fn running() -> std::sync::MutexGuard<'static, BTreeSet<i32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kill_group(id: i32) {
    if let Some(group) = Pid::from_raw(id) {
        // It may have ended by itself.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// The processor time of some processes.
pub fn cpu_time(ids: &[u32]) -> CpuTime {
    let mut sum = CpuTime::default();
    for id in ids {
        sum.total += threads(*id).filter_map(|path| machine::run_time(&path)).sum::<Duration>();
        if let Some((user, system)) = coarse_times(*id) {
            sum.user += user;
            sum.system += system;
        }
    }
    sum
}

/// The resident memory of some processes.
pub fn memory(ids: &[u32]) -> Memory {
    let mut sum = Memory::default();
    for id in ids {
        let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).unwrap_or_default();
        let kib = |key: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
        };
        sum.rss += kib("Rss:") * 1024;
        sum.pss += kib("Pss:") * 1024;
    }
    sum
}

fn threads(id: u32) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    entries.map(|entry| format!("{}/schedstat", entry.path().display()))
}

/// What stands behind the name in `/proc/ID/stat`; the name may hold anything.
fn stat(id: u32) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    // The first is a letter; negative numbers are of no concern here.
    Some(rest.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect())
}

fn coarse_times(id: u32) -> Option<(Duration, Duration)> {
    let fields = stat(id)?;
    let time = |at: usize| Some(Duration::from_secs_f64(*fields.get(at)? as f64 / machine::TICKS_PER_SECOND));
    Some((time(11)?, time(12)?))
}

/// Every process and its parent.
fn parents() -> Vec<(u32, u32)> {
    let entries: io::Result<Vec<_>> = fs::read_dir("/proc").and_then(Iterator::collect);
    let ids = entries.unwrap_or_default().into_iter().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter_map(|id: u32| Some((id, *stat(id)?.get(1)? as u32))).collect()
}

fn family(id: u32, parents: &[(u32, u32)]) -> Vec<u32> {
    let mut found = vec![id];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        at += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families() {
        let parents = [(2, 1), (10, 2), (11, 10), (12, 10), (13, 12), (20, 2)];
        assert_eq!(family(10, &parents), [10, 11, 12, 13]);
        assert_eq!(family(20, &parents), [20]);
    }

    #[test]
    fn own_times() {
        let own = std::process::id();
        assert!(memory(&[own]).pss > 0 && memory(&[own]).rss >= memory(&[own]).pss);
        assert!(parents().iter().any(|(id, _)| *id == own));
        assert_eq!(cpu_time(&[]).total, Duration::ZERO);
    }
}
