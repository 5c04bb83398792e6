//! Runs checks one after the other and says what came of each.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::Instant;

use crate::world::World;

/// What a check saw, in a few words; or what is wrong.
pub type Outcome<'a> = Pin<Box<dyn Future<Output = Result<String>> + 'a>>;

/// One line of the list.
pub struct Check {
    /// The part of the list.
    pub group: &'static str,
    /// What must be so.
    pub name: &'static str,
    /// How long it may take at most.
    pub limit: Duration,
    /// Looks.
    pub run: for<'a> fn(&'a mut World) -> Outcome<'a>,
}

impl Check {
    /// A check that may take `seconds`.
    pub fn new(
        group: &'static str,
        name: &'static str,
        seconds: u64,
        run: for<'a> fn(&'a mut World) -> Outcome<'a>,
    ) -> Self {
        Self { group, name, limit: Duration::from_secs(seconds), run }
    }

    /// `group: name`
    pub fn full_name(&self) -> String {
        format!("{}: {}", self.group, self.name)
    }
}

/// What closes every run.
pub const LEFTOVERS: &str = "end: no process, namespace, mount, rule or file is left";

/// A reason for which a check is not run.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Skipped(pub String);

/// How many passed.
#[derive(Default)]
pub struct Tally {
    passed: usize,
    failed: Vec<String>,
    skipped: usize,
}

impl Tally {
    /// Runs all of them.
    pub async fn run_all(&mut self, checks: &[Check], world: &mut World) {
        for check in checks {
            world.mark_logs();
            let begun = Instant::now();
            let outcome = tokio::time::timeout(check.limit, (check.run)(world)).await;
            let outcome = outcome.unwrap_or_else(|_| Err(anyhow!("not finished within {} s", check.limit.as_secs())));
            let outcome = outcome.map(|note| timed(&note, begun.elapsed()));
            let failed = outcome.as_ref().is_err_and(|error| !error.is::<Skipped>());
            self.record(&check.full_name(), outcome);
            if failed {
                print!("{}", world.what_logs_say());
            }
            world.look_around();
        }
    }

    /// Counts and prints one outcome.
    pub fn record(&mut self, name: &str, outcome: Result<String>) {
        match outcome {
            Ok(note) => {
                self.passed += 1;
                println!("ok    {name} ({note})");
            }
            Err(error) if error.is::<Skipped>() => {
                self.skipped += 1;
                println!("skip  {name}: {error}");
            }
            Err(error) => {
                self.failed.push(name.to_owned());
                println!("FAIL  {name}\n        {}", format!("{error:#}").replace('\n', "\n        "));
            }
        }
    }

    /// Did nothing fail?
    pub fn is_clean(&self) -> bool {
        self.failed.is_empty()
    }
}

fn timed(note: &str, took: Duration) -> String {
    let seconds = format!("{:.1} s", took.as_secs_f64());
    if note.is_empty() { seconds } else { format!("{note}; {seconds}") }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.failed {
            writeln!(f, "failed: {name}")?;
        }
        write!(f, "{} passed, {} failed", self.passed, self.failed.len())?;
        if self.skipped > 0 { write!(f, ", {} skipped", self.skipped) } else { Ok(()) }
    }
}
