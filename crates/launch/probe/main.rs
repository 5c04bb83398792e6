//! One executable for all parts of the tests: a supervisor as `halcyon run` is one, a small sidecar, and programs.
//!
//! ```text
//! launch-probe supervise <dir> <capture> <program> [<argument>...]   runs a launch; events go to <dir>/events
//! launch-probe refused <dir> <capture> <program>...                  the same where the kernel gives no namespace
//! launch-probe nscd <dir> <capture> <program>...                     the same where nscd seems to run
//! launch-probe terminal <dir> <capture> <program>...                 the same with standard input as its terminal
//! launch-probe dropped <dir> <capture> <program>...                  prepares a launch and gives it up
//! launch-probe again <dir> <times> <program>...                      launches in one process; prints its open files
//! launch-probe together <dir> <number> <program>...                  launches side by side in one process
//! launch-probe sidecar <dir>                                         see `sidecar`
//! launch-probe dial|resolve|udp|serve ...                            see `program`
//! ```

#![allow(clippy::print_stdout)] // a test program's output is its answer

mod program;
mod sidecar;

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

use launch::{
    Capture, CommandSpec, Departure, Drain, Event, HttpTarget, Launch, LaunchError, SidecarOutput, SidecarSpec,
};
use transport::Address;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let role = args.next().unwrap_or_default();
    if role == launch::inside::SUBCOMMAND {
        return launch::inside::main(args);
    }
    let args: Vec<OsString> = args.collect();
    let texts: Vec<&str> = args.iter().map(|arg| arg.to_str().expect("test arguments are UTF-8")).collect();
    match (role.to_str().unwrap_or_default(), &texts[..]) {
        ("supervise", [dir, capture, program @ ..]) => supervise(dir, capture, program),
        ("refused", [dir, capture, program @ ..]) => {
            refuse_namespaces();
            supervise(dir, capture, program)
        }
        ("nscd", [dir, capture, program @ ..]) => {
            let _listener = seem_to_run_nscd();
            supervise(dir, capture, program)
        }
        ("terminal", [dir, capture, program @ ..]) => {
            rustix::process::setsid().expect("a session");
            rustix::process::ioctl_tiocsctty(std::io::stdin()).expect("a terminal");
            supervise(dir, capture, program)
        }
        ("dropped", [dir, capture, program @ ..]) => {
            let launch = launch_of(Path::new(dir), capture, program);
            drop(runtime().block_on(launch.prepare()).expect("what the program needs"));
            println!("dropped");
            ExitCode::SUCCESS
        }
        ("again", [dir, times, program @ ..]) => again(dir, times.parse().expect("a number"), program),
        ("together", [dir, number, program @ ..]) => together(dir, number.parse().expect("a number"), program),
        ("sidecar", [dir]) => runtime().block_on(sidecar::run(Path::new(dir))),
        (role, args) => program::run(role, args),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn supervise(dir: &str, capture: &str, program: &[&str]) -> ExitCode {
    match runtime().block_on(run(Path::new(dir), capture, program)) {
        Ok(ending) => ExitCode::from(ending.exit_code()),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(99)
        }
    }
}

async fn run(dir: &Path, capture: &str, program: &[&str]) -> Result<launch::Ending, LaunchError> {
    let env = vec![("EXTRA".to_owned(), "more".to_owned())];
    launch_of(dir, capture, program).prepare().await?.run(env, sidecar_of(dir)).await
}

fn launch_of(dir: &Path, capture: &str, program: &[&str]) -> Launch {
    let mut launch = Launch::new(program[0], program[1..].iter().map(OsString::from));
    launch.capture = match capture {
        "namespace" => Capture::Namespace,
        "none" => Capture::None,
        _ => Capture::Auto,
    };
    let socket = std::env::var_os("LAUNCH_TEST_NETNS_SOCKET");
    launch.netns_socket_path = Some(socket.map_or_else(|| dir.join("netns.sock"), PathBuf::from));
    launch.command = std::env::var("LAUNCH_TEST_COMMAND").ok().map(|script| CommandSpec {
        socket: dir.join("command.sock"),
        command: ["sh", "-c", &script].map(str::to_owned).into(),
    });
    if let Ok(rules) = std::env::var("LAUNCH_TEST_REDIRECTS") {
        launch.redirects = serde_json::from_str(&rules).expect("rules");
    }
    if let Ok(beside) = std::env::var("LAUNCH_TEST_BESIDE") {
        let (at, port) = beside.split_once('=').expect("an address and a port");
        launch.beside = vec![(at.parse().expect("an address"), port.parse().expect("a port"))];
    }
    let events = dir.join("events");
    launch.on_event = Arc::new(move |event: &Event| {
        let mut file = OpenOptions::new().create(true).append(true).open(&events).expect("the events file");
        writeln!(file, "{event}").expect("the events file");
    });
    launch
}

/// `LAUNCH_TEST_SIDECAR` replaces the sidecar's program, to have one that fails.
fn sidecar_of(dir: &Path) -> SidecarSpec {
    let admin = |path| HttpTarget::new(Address::unix(dir.join("admin.sock")), path);
    let patience = milliseconds("LAUNCH_TEST_LEAVE_MS", 5_000);
    let myself = std::env::current_exe().expect("this program");
    SidecarSpec {
        program: std::env::var_os("LAUNCH_TEST_SIDECAR").unwrap_or_else(|| myself.into()),
        args: vec!["sidecar".into(), dir.into()],
        env: vec![],
        output: SidecarOutput::Inherit,
        ready: admin("/ready"),
        ready_within: milliseconds("LAUNCH_TEST_READY_MS", 20_000),
        drain: Drain {
            departure: std::env::var_os("LAUNCH_TEST_DEPART_MS")
                .map(|_| Departure { request: admin("/depart"), delay: milliseconds("LAUNCH_TEST_DEPART_MS", 0) }),
            request: Some(admin("/drain")),
            settle: patience,
            grace: patience,
        },
    }
}

/// Launches one after another in this process, and says how many files are open after the first and after the last.
fn again(dir: &str, times: usize, program: &[&str]) -> ExitCode {
    let runtime = runtime();
    let open = || fs::read_dir("/proc/self/fd").expect("/proc").count();
    let mut counts = Vec::new();
    for _ in 0..times {
        runtime.block_on(run(Path::new(dir), "auto", program)).expect("a launch");
        counts.push(open());
    }
    println!("open files: {} then {}", counts[0], counts[times - 1]);
    ExitCode::SUCCESS
}

/// Launches side by side, each in a directory of its own.
fn together(dir: &str, number: usize, program: &[&str]) -> ExitCode {
    runtime().block_on(async {
        let mut running = Vec::new();
        for index in 0..number {
            let dir = Path::new(dir).join(index.to_string());
            fs::create_dir(&dir).expect("a directory");
            let program: Vec<String> = program.iter().map(|word| (*word).to_owned()).collect();
            running.push(tokio::spawn(async move {
                let words: Vec<&str> = program.iter().map(String::as_str).collect();
                let ending = run(&dir, "auto", &words).await.expect("a launch");
                fs::remove_dir_all(&dir).expect("the directory");
                ending
            }));
        }
        for ending in running {
            assert_eq!(ending.await.expect("no panic"), launch::Ending::Exited(0));
        }
    });
    ExitCode::SUCCESS
}

fn milliseconds(variable: &str, default: u64) -> Duration {
    Duration::from_millis(std::env::var(variable).map_or(default, |text| text.parse().expect("a number")))
}

/// Goes into a user namespace in which no network namespace can be made.
fn refuse_namespaces() {
    enter_as_oneself(CloneFlags::empty());
    fs::write("/proc/sys/user/max_net_namespaces", "0").expect("the sysctl");
}

/// Goes into a mount namespace with a `/run` in which nscd listens and never answers.
fn seem_to_run_nscd() -> std::os::unix::net::UnixListener {
    enter_as_oneself(CloneFlags::CLONE_NEWNS);
    rustix::mount::mount("none", "/run", "tmpfs", rustix::mount::MountFlags::empty(), None).expect("a tmpfs");
    fs::create_dir("/run/nscd").expect("a directory");
    std::os::unix::net::UnixListener::bind("/run/nscd/socket").expect("a socket")
}

fn enter_as_oneself(new: CloneFlags) {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    unshare(new | CloneFlags::CLONE_NEWUSER).expect("a user namespace");
    for (file, text) in [
        (PathBuf::from("/proc/self/setgroups"), "deny".to_owned()),
        ("/proc/self/uid_map".into(), format!("{uid} {uid} 1")),
        ("/proc/self/gid_map".into(), format!("{gid} {gid} 1")),
    ] {
        fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}
