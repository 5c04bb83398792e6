//! Runs cargo and what it built, with compiled files outside the clone.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::LazyLock;
use std::time::Instant;

use crate::{peers, ui};

/// The workspace's folder: the one that `cargo xtask` was called in, also if another clone built this program.
pub fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let xtask = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        xtask.parent().expect("xtask is a folder of the workspace").to_owned()
    });
    &ROOT
}

/// The user's cache folder for this project.
pub fn cache() -> PathBuf {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/tmp".into())).join(".cache");
    base.unwrap_or_else(home).join("halcyon")
}

/// Where compiled files go.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| cache().join("target"), PathBuf::from)
}

fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).env("CARGO_TARGET_DIR", target());
    command
}

/// What a person types: the command line, the data plane, and what the demo and the tests put into the mesh.
const PROGRAMS: [&str; 9] = ["build", "-p", "halcyon", "-p", "halcyon-proxy-bin", "-p", "bookinfo", "-p", "origins"];

/// What looks at them from outside. Always built together with them: another set of packages would have other features of
/// the dependencies, and build all of them once more.
const OBSERVERS: [&str; 4] = ["-p", "e2e", "-p", "differential"];

/// Runs cargo and says what is going on and how long it took. Standard output stays free for results.
pub fn run(what: &str, arguments: &[&str]) -> Result<(), String> {
    eprintln!("==> {what}: cargo {}", arguments.join(" "));
    let begun = Instant::now();
    let status = cargo().args(arguments).status().map_err(|e| format!("cannot start cargo: {e}"))?;
    eprintln!("==> {what}: {} after {:.1?}", if status.success() { "done" } else { "FAILED" }, begun.elapsed());
    finished(what, status)
}

/// What cargo prints.
pub fn output(arguments: &[&str]) -> Result<String, String> {
    let output = cargo().args(arguments).output().map_err(|e| format!("cannot start cargo: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A failed status as a message.
pub fn finished(what: &str, status: ExitStatus) -> Result<(), String> {
    if status.success() { Ok(()) } else { Err(format!("{what}: ended with {status}")) }
}

/// Builds the programs and prints where they are.
pub fn build(arguments: &[String]) -> Result<(), String> {
    if !arguments.is_empty() {
        return Err(format!("it takes no arguments, but got `{}`", arguments.join(" ")));
    }
    ui::build()?;
    run("programs", &PROGRAMS)?;
    println!("{}", target().join("debug").display());
    Ok(())
}

/// Builds the programs and hands over to `halcyon demo`, or to its acceptance list.
pub fn demo(arguments: &[String]) -> Result<(), String> {
    let check = arguments.iter().any(|a| a == "--check");
    let mut packages = PROGRAMS.to_vec();
    if check {
        packages.extend(OBSERVERS);
        peers::ENVOY.prepare();
        peers::PYTHON.prepare();
        peers::ZIPKIN.prepare();
    }
    ui::build()?;
    run("programs", &packages)?;
    let programs = target().join("debug");
    let mut command = match check {
        true => Command::new(programs.join("e2e")),
        false => {
            let mut command = Command::new(programs.join("halcyon"));
            command.arg("demo");
            command
        }
    };
    command.args(arguments.iter().filter(|a| *a != "--check"));
    for (variable, folder) in [("SAMPLES", "samples"), ("INTEGRATIONS", "integrations"), ("SHARED", "../shared")] {
        command.env(format!("HALCYON_{variable}"), root().join(folder));
    }
    peers::ENVOY.tell(&mut command);
    peers::PYTHON.tell(&mut command);
    peers::ZIPKIN.tell(&mut command);
    let what = if check { "acceptance list" } else { "demo" };
    let status = command.status().map_err(|e| format!("cannot start the {what}: {e}"))?;
    finished(what, status)
}

/// Builds, and gives the same bootstrap files and requests to Envoy and to our proxy.
pub fn differential(arguments: &[String]) -> Result<(), String> {
    peers::ENVOY.prepare();
    run("programs", &[&PROGRAMS[..], &OBSERVERS].concat())?;
    let mut command = Command::new(target().join("debug/differential"));
    command.args(arguments);
    peers::ENVOY.tell(&mut command);
    let status = command.status().map_err(|e| format!("cannot start the comparison: {e}"))?;
    finished("comparison with Envoy", status)
}

/// Builds with full optimisation and runs the comparison.
pub fn bench(arguments: &[String]) -> Result<(), String> {
    peers::ENVOY.prepare();
    run(
        "programs",
        &["build", "--release", "-p", "halcyon", "-p", "halcyon-proxy-bin", "-p", "origins", "-p", "bench"],
    )?;
    run("simulation", &["build", "--release", "-p", "observe", "--example", "scale"])?;
    let mut command = Command::new(target().join("release/bench"));
    command.args(arguments).current_dir(root());
    peers::ENVOY.tell(&mut command);
    let status = command.status().map_err(|e| format!("cannot start the bench: {e}"))?;
    finished("bench", status)
}

/// Builds with full optimisation, names of lines and frame pointers, and draws where the proxy's time goes.
pub fn profile(arguments: &[String]) -> Result<(), String> {
    let (scenario, rest) = match arguments.split_first() {
        Some((first, rest)) if !first.starts_with('-') => (first.as_str(), rest),
        _ => ("h1", arguments),
    };
    // Into every crate: a stack is as good as its worst frame. The profile has its own folder, so nothing else is rebuilt.
    let flags = [env::var("RUSTFLAGS").unwrap_or_default(), "-C force-frame-pointers=yes".to_owned()].join(" ");
    let packages = ["build", "--profile", "profiling", "-p", "halcyon-proxy-bin", "-p", "bench"];
    let status = cargo().args(packages).env("RUSTFLAGS", flags.trim()).status();
    finished("profile", status.map_err(|e| format!("cannot start cargo: {e}"))?)?;
    let graph = target().join(format!("profiling/flame-{scenario}.svg"));
    let mut command = Command::new(target().join("profiling/bench"));
    command.args(["--scenario", scenario, "--profile"]).arg(&graph).args(rest).current_dir(root());
    finished("profile", command.status().map_err(|e| format!("cannot start the bench: {e}"))?)
}

/// Builds from nothing in a folder of its own and prints the slowest units.
pub fn timings() -> Result<(), String> {
    let folder = cache().join("timings");
    let status = cargo()
        .args(["build", "--workspace", "--timings"])
        .env("CARGO_TARGET_DIR", &folder)
        .status()
        .map_err(|e| format!("cannot start cargo: {e}"))?;
    finished("timings", status)?;
    let report = folder.join("cargo-timings/cargo-timing.html");
    let page = std::fs::read_to_string(&report).map_err(|e| format!("{}: {e}", report.display()))?;
    for (seconds, name) in slowest_units(&page).iter().take(10) {
        println!("{seconds:>7.1} s  {name}");
    }
    println!("whole report: {}", report.display());
    Ok(())
}

/// Reads `"name": "x"` and `"duration": 1.2` pairs out of cargo's report.
fn slowest_units(page: &str) -> Vec<(f64, String)> {
    let mut units: Vec<(f64, String)> = page
        .split("\"name\":")
        .skip(1)
        .filter_map(|part| {
            let name = part.split('"').nth(1)?;
            let duration = part.split("\"duration\":").nth(1)?.split([',', '}']).next()?.trim().parse().ok()?;
            Some((duration, name.to_owned()))
        })
        .collect();
    units.sort_by(|a, b| b.0.total_cmp(&a.0));
    units
}
