//! The acceptance list: real programs in real namespaces, one line per check.
//!
//! Owns the checks and nothing else: it starts the programs that stand beside it as a person would, looks at what they
//! do from the outside, and compares the machine before and after. `cargo xtask demo --check` builds everything and
//! runs it; `e2e --list` names the checks, `e2e --only TEXT` runs some.
#![allow(clippy::print_stdout)] // a program: what it prints is what it is for

mod authority;
mod bookinfo;
mod checks;
mod chromium;
mod inside;
mod leave;
mod leftovers;
mod load;
mod mesh;
mod place;
mod poll;
mod process;
mod prometheus;
mod python;
mod rules;
mod runner;
mod web;
mod world;
mod zipkin;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use place::Place;
use runner::{Check, Tally};
use tokio::signal::unix::{SignalKind, signal};
use world::World;

#[derive(Parser)]
#[command(name = "e2e", version, about = "The acceptance list of the project")]
struct Line {
    /// Only the checks whose name contains this. May be said several times.
    #[arg(long, value_name = "SUBSTRING")]
    only: Vec<String>,
    /// Name the checks and end.
    #[arg(long)]
    list: bool,
    /// Leave data and logs there.
    #[arg(long)]
    keep: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// What the checks run inside the mesh.
    #[command(subcommand, hide = true)]
    Inside(inside::Inside),
}

fn main() -> ExitCode {
    let line = Line::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.map_err(Into::into).and_then(|runtime| {
        runtime.block_on(tokio::task::LocalSet::new().run_until(async {
            match line.part {
                Some(Part::Inside(part)) => inside::run(part).await.map(|()| true),
                None => list(line).await,
            }
        }))
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Works through the list. True: nothing failed.
async fn list(line: Line) -> Result<bool> {
    let wanted =
        |check: &Check| line.only.is_empty() || line.only.iter().any(|part| check.full_name().contains(&**part));
    let checks: Vec<Check> = checks::all().into_iter().filter(wanted).collect();
    if line.list {
        checks.iter().for_each(|check| println!("{}", check.full_name()));
        return Ok(true);
    }
    anyhow::ensure!(!checks.is_empty(), "no check has such a name; `e2e --list` names them");
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let place = Place::find(line.keep)?;
    let mut world = World::new(place)?;
    let mut tally = Tally::default();
    let interrupted = tokio::select! {
        () = tally.run_all(&checks, &mut world) => false,
        _ = interrupt.recv() => true,
        _ = terminate.recv() => true,
    };
    world.close().await;
    tally.record(runner::LEFTOVERS, world.leftovers().await);
    println!("\n{tally}");
    if interrupted {
        println!("interrupted: the list was not finished");
    }
    Ok(!interrupted && tally.is_clean())
}
