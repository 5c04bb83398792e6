//! Processes: started with a log and this run's mark, found below others, ended by their number.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::place::{MARK, Place};

/// A process that this run started itself.
pub struct Process {
    /// What it is.
    pub name: String,
    /// Its number.
    pub pid: u32,
    child: Child,
}

/// What a program that ended by itself left.
#[derive(Debug)]
pub struct Said {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// Both outputs, if it ended with 0.
    pub fn good(self) -> Result<Self> {
        if self.code == Some(0) {
            return Ok(self);
        }
        bail!("ended with {:?}, and said: {}{}", self.code, tail(&self.out, 12), tail(&self.err, 12))
    }

    /// Both outputs.
    pub fn all(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].iter().map(|line| format!("\n  {line}")).collect()
}

/// A command with this run's mark and temporary folder, away from the terminal's signals.
pub fn command(place: &Place, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env(MARK, &place.mark).env("TMPDIR", place.temp()).env("XDG_DATA_HOME", place.run.join("home"));
    command.env_remove("HALCYON_DATA_DIR").stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    command
}

/// Runs a program to its end.
pub async fn run(mut command: Command, within: Duration) -> Result<Said> {
    let name = command.as_std().get_program().display().to_string();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().with_context(|| name.clone())?;
    let Ok(output) = tokio::time::timeout(within, child.wait_with_output()).await else {
        bail!("{name}: has not ended within {} s", within.as_secs())
    };
    let output = output?;
    Ok(Said {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

impl Process {
    /// Starts a program; its output is appended to the log.
    pub fn start(
        place: &Place,
        name: &str,
        program: &Path,
        arguments: &[OsString],
        variables: &[(&str, &str)],
        log: &Path,
    ) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log).with_context(|| log.display().to_string())?;
        let mut command = command(place, program);
        command.args(arguments).envs(variables.iter().copied()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let pid = child.id().context("it has ended at once")?;
        Ok(Self { name: name.to_owned(), pid, child })
    }

    /// Has it ended?
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal and waits for the end; kills what does not end in time. Its exit code.
    pub async fn end(&mut self, by: Signal, within: Duration) -> Result<Option<i32>> {
        send(self.pid, by);
        match tokio::time::timeout(within, self.child.wait()).await {
            Ok(status) => Ok(status?.code()),
            Err(_) => {
                self.child.kill().await?;
                bail!("{} did not end within {} s of its signal, and was killed", self.name, within.as_secs())
            }
        }
    }
}

/// Sends a signal to a process by its number.
pub fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended by itself meanwhile.
        let _ = kill_process(pid, signal);
    }
}

/// One process of the machine.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its number.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// The file name of its program; empty if that cannot be read.
    pub program: String,
    /// Has it ended without its parent having noticed?
    pub zombie: bool,
}

/// Every process of the machine, by number.
pub fn all() -> BTreeMap<u32, Seen> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| seen(entry.file_name().to_str()?.parse().ok()?)).map(|p| (p.pid, p)).collect()
}

fn seen(pid: u32) -> Option<Seen> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let zombie = fields.next()? == "Z";
    let parent = fields.next()?.parse().ok()?;
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let program = program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Some(Seen { pid, parent, program, zombie })
}

/// The processes below one, itself not among them.
pub fn below(pid: u32) -> Vec<Seen> {
    let all = all();
    let is_below = |process: &Seen| {
        let mut parent = process.parent;
        while parent > 1 && parent != pid {
            parent = all.get(&parent).map_or(0, |p| p.parent);
        }
        parent == pid
    };
    all.values().filter(|process| is_below(process)).cloned().collect()
}

/// The one process below `pid` that runs `program`.
pub fn the_one_below(pid: u32, program: &str) -> Result<u32> {
    let found: Vec<u32> = below(pid).into_iter().filter(|p| p.program == program && !p.zombie).map(|p| p.pid).collect();
    match found[..] {
        [only] => Ok(only),
        _ => bail!("below process {pid} there are {} that run {program}; expected one", found.len()),
    }
}

/// Processes that carry this run's mark and are not zombies.
pub fn marked(mark: &str) -> Vec<Seen> {
    let wanted = format!("{MARK}={mark}");
    let carries = |pid: u32| {
        let variables = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        variables.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
    };
    all().into_values().filter(|p| !p.zombie && carries(p.pid)).collect()
}

/// Resident memory in bytes.
pub fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

/// A port of 127.0.0.1 that nobody has now.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The path of a log, for what is shown.
pub fn log_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails() {
        assert_eq!(tail("a\nb\nc\n", 2), "\n  b\n  c");
        assert_eq!(tail("", 2), "");
    }

    #[test]
    fn this_process_is_seen_below_its_parent() {
        let me = all().remove(&std::process::id()).unwrap();
        assert!(below(me.parent).iter().any(|p| p.pid == me.pid));
        assert!(below(me.pid).iter().all(|p| p.pid != me.pid));
        assert!(resident(me.pid).unwrap() > 0);
    }
}
