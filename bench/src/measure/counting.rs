//! System calls for each request, counted from outside: by `perf stat` on the kernel's tracepoint where that may be used,
//! else by `strace -c`, which slows the proxy down.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::{Bench, Entrant, Field, WARM_UP};
use crate::load::{Load, Pace, Shape};
use crate::report::ScenarioReport;
use crate::scenario::Figure;

/// For how long they are counted.
const COUNT: Duration = Duration::from_secs(1);
/// The kernel's own count of system calls.
const TRACEPOINT: &str = "raw_syscalls:sys_enter";

/// What counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counter {
    Perf,
    Strace,
}

impl Counter {
    /// The best that there is and that may be used.
    fn find() -> Option<Self> {
        let runs = |program: &str, arguments: &[&str]| {
            let status = Command::new(program).args(arguments).stdin(Stdio::null()).output();
            status.is_ok_and(|output| output.status.success())
        };
        if runs("perf", &["stat", "-e", TRACEPOINT, "true"]) {
            return Some(Self::Perf);
        }
        runs("strace", &["-c", "-o", "/dev/null", "true"]).then_some(Self::Strace)
    }

    /// System calls of these processes in the next second, and how long that second was.
    fn count(self, ids: &[u32]) -> anyhow::Result<(f64, Duration)> {
        let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
        let mut command = match self {
            Self::Perf => {
                let mut command = Command::new("perf");
                let window = COUNT.as_millis().to_string();
                command.args(["stat", "-x", ",", "-e", TRACEPOINT, "--timeout", &window, "-p", &ids.join(",")]);
                command
            }
            Self::Strace => {
                let mut command = Command::new("timeout");
                command.args(["-s", "INT", &COUNT.as_secs_f64().to_string(), "strace", "-f", "-c"]);
                command.args(ids.iter().flat_map(|id| ["-p", id]));
                command
            }
        };
        let began = Instant::now();
        let output = command.stdin(Stdio::null()).output().context("counting system calls")?;
        let text = String::from_utf8_lossy(&output.stderr);
        let count = match self {
            // It ends by itself, and its start is not counted.
            Self::Perf => perf_count(&text).map(|count| (count, COUNT)),
            Self::Strace => strace_count(&text).map(|count| (count, began.elapsed())),
        };
        count.with_context(|| format!("no count of system calls in: {}", text.trim()))
    }
}

impl Bench<'_> {
    /// Once for every peer that is left, after everything else: counting disturbs.
    pub(super) fn count_system_calls(
        &self,
        all: Vec<Entrant>,
        shape: Shape,
        field: &mut Field,
        report: &mut ScenarioReport,
    ) -> anyhow::Result<()> {
        let Some(counter) = Counter::find() else {
            report.left.push("system calls: neither perf nor strace is there and may be used".into());
            return Ok(());
        };
        self.round(all, field, |running, samples| {
            let load = Load::start(running.entry, shape, Pace::Full)?;
            self.stop.pause(WARM_UP)?;
            let (began, first) = (Instant::now(), load.done());
            let (calls, window) = counter.count(&running.family())?;
            let (took, done) = (began.elapsed(), load.done() - first);
            load.finish()?;
            if done == 0 {
                bail!("no answer while system calls were counted");
            }
            // The counter's own start and end belong to `took`, not to its window.
            let requests = match counter {
                Counter::Perf => done as f64 * window.as_secs_f64() / took.as_secs_f64(),
                Counter::Strace => done as f64,
            };
            samples.add(Figure::SystemCalls, calls / requests);
            Ok(())
        })?;
        Ok(())
    }
}

/// The first column of `perf stat -x ,`.
fn perf_count(text: &str) -> Option<f64> {
    text.lines().find(|line| line.contains(TRACEPOINT))?.split(',').next()?.parse().ok()
}

/// The column `calls` in the last line of `strace -c`: `100.00    0.123456           1     98765        12 total`.
fn strace_count(text: &str) -> Option<f64> {
    let line = text.lines().rev().find(|line| line.trim_end().ends_with(" total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        assert_eq!(perf_count("12345,,raw_syscalls:sys_enter,998877,100.00,,\n"), Some(12345.0));
        assert_eq!(perf_count("<not counted>,,raw_syscalls:sys_enter,0,100.00,,\n"), None);
        let strace = "% time     seconds  usecs/call     calls    errors syscall\n\
                      ------ ----------- ----------- --------- --------- ----------------\n \
                      60.00    0.060000           1     40000           read\n\
                      ------ ----------- ----------- --------- --------- ----------------\n\
                      100.00    0.123456           1     98765        12 total\n";
        assert_eq!(strace_count(strace), Some(98765.0));
        assert_eq!(strace_count("strace: attach: not permitted\n"), None);
    }
}
