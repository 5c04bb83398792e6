//! The processes of the demo: started with a log each, watched, stopped in the reverse order.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// How long a process may take to leave after SIGTERM.
const GRACE: Duration = Duration::from_secs(15);

/// One process.
pub struct Process {
    /// What it is.
    pub name: String,
    /// Its number.
    pub pid: u32,
    /// Where its output goes.
    pub log: PathBuf,
    child: Child,
}

/// All processes of the demo.
pub struct Processes {
    logs: PathBuf,
    list: Vec<Process>,
}

impl Processes {
    /// None yet; logs will stand in this folder.
    pub fn new(logs: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&logs).with_context(|| format!("{}: cannot be made", logs.display()))?;
        Ok(Self { logs, list: Vec::new() })
    }

    /// Starts one.
    pub fn spawn(
        &mut self,
        name: &str,
        program: &Path,
        arguments: &[OsString],
        variables: &[(String, String)],
    ) -> Result<()> {
        let log = self.logs.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| log.display().to_string())?;
        let child = Command::new(program)
            .args(arguments)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start `{}`", program.display()))?;
        let pid = child.id().context("it has ended at once")?;
        self.list.push(Process { name: name.to_owned(), pid, log, child });
        Ok(())
    }

    /// All, in the order in which they were started.
    pub fn list(&self) -> impl Iterator<Item = &Process> {
        self.list.iter()
    }

    /// The first that has ended, if one has.
    pub fn ended(&mut self) -> Option<String> {
        self.list.iter_mut().find_map(|p| matches!(p.child.try_wait(), Ok(Some(_))).then(|| p.name.clone()))
    }

    /// Waits until one has ended.
    pub async fn any_ended(&mut self) -> String {
        loop {
            if let Some(name) = self.ended() {
                return name;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The last lines of the logs of those that have ended, for an error.
    pub fn last_words(&mut self) -> String {
        let mut text = String::new();
        for process in &mut self.list {
            if matches!(process.child.try_wait(), Ok(Some(_))) {
                let log = std::fs::read_to_string(&process.log).unwrap_or_default();
                let lines: Vec<&str> = log.lines().rev().take(5).collect();
                text.push_str(&format!("\n  {} said:", process.name));
                lines.iter().rev().for_each(|line| text.push_str(&format!("\n    {line}")));
            }
        }
        text
    }

    /// Stops all: the workloads first, the control plane last.
    pub async fn stop(&mut self) {
        let control = self.list.iter().position(|p| p.name == "control").map(|at| self.list.remove(at));
        Self::stop_some(&mut self.list).await;
        if let Some(control) = control {
            Self::stop_some(&mut vec![control]).await;
        }
    }

    async fn stop_some(list: &mut Vec<Process>) {
        for process in list.iter() {
            signal(process.pid, Signal::TERM);
        }
        let all = async {
            for process in list.iter_mut() {
                let _ = process.child.wait().await;
            }
        };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            for process in list.iter_mut() {
                let _ = process.child.kill().await;
            }
        }
        list.clear();
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}
