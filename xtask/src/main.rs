//! The project's own tasks. No dependency but the standard library, so that the first command on a fresh machine
//! starts within seconds.

mod browser;
mod cargo;
mod lint;
mod peers;
mod tidy;
mod ui;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask TASK [ARGUMENTS]

  demo [--check] [...]   build what is missing, then run Bookinfo through the mesh (see `halcyon demo --help`);
                         --check runs the acceptance list and exits
  build                  the programs, without running them; prints the folder that they stand in, so that
                         `export PATH=$(cargo xtask build):$PATH` puts them at hand
  test                   everything that CI runs: tidy, format, lints, unit and integration tests (those of the dashboard
                         too, where Node.js is there), the acceptance list, the dashboard in Chromium, and the comparison with Envoy
  differential [NAME...] the same requests to Envoy and to halcyon-proxy, which must do the same; `--list` names the cases
  browser                the dashboard in Chromium, with its fixture and with a demo that runs
  bench [...]            halcyon-proxy beside Envoy, HAProxy and nginx (see `cargo xtask bench --help`)
  profile [SCENARIO]     a flame graph of halcyon-proxy under that load (h1 unless given), and its hottest functions; needs
                         Linux perf. Scenarios: `cargo xtask bench --list`
  tidy                   the house rules: floors, file heads, file sizes, banned crates
  timings                the ten slowest units of a build from nothing

Compiled files are kept in $CARGO_TARGET_DIR, else $XDG_CACHE_HOME/halcyon/target, else ~/.cache/halcyon/target.
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let outcome = match task.as_str() {
        "demo" => cargo::demo(&rest),
        "build" => cargo::build(&rest),
        "test" => test(&rest),
        "differential" => cargo::differential(&rest),
        "browser" => browser::run(&rest),
        "bench" => cargo::bench(&rest),
        "profile" => cargo::profile(&rest),
        "tidy" => tidy::run(),
        "timings" => cargo::timings(),
        "" | "help" | "-h" | "--help" => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        other => Err(format!("there is no task `{other}`; see `cargo xtask help`")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask {task}: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Everything that CI runs, in the order in which a failure is cheapest to learn.
fn test(arguments: &[String]) -> Result<(), String> {
    if !arguments.is_empty() {
        return Err(format!("`test` takes no arguments, but got `{}`", arguments.join(" ")));
    }
    tidy::run()?;
    lint::run()?;
    ui::test()?;
    cargo::run("unit and integration tests", &["test", "--workspace", "--quiet"])?;
    cargo::demo(&["--check".to_owned()])?;
    browser::test()?;
    cargo::differential(&[])
}
