//! `halcyon demo`: a mesh on this machine, with Bookinfo in it, until Ctrl-C.

mod load;
mod plan;
mod process;
mod web;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::DemoArgs;
use crate::client::Client;
use crate::paths;
use crate::print::{self, Colour};
use plan::{Place, Workload};
use process::Processes;

/// How long the whole may take to answer its first request, on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs until a signal, or until a process that it cannot do without has ended.
pub async fn run(args: DemoArgs) -> Result<ExitCode> {
    let begun = Instant::now();
    check_free(args.gateway)?;
    let folder = Folder::new(args.keep.as_deref())?;
    let mut processes = Processes::new(folder.path.join("logs"))?;
    let mut signals = Signals::listen()?;
    let place = Place { data_dir: folder.path.join("data"), gateway: args.gateway, dashboard: args.dashboard };
    let outcome = tokio::select! {
        up = start(&mut processes, &place, &args) => up,
        _ = signals.any() => { processes.stop().await; return Ok(ExitCode::SUCCESS) }
    };
    if let Err(error) = outcome {
        let tail = processes.last_words();
        processes.stop().await;
        return Err(error.context(format!("the demo could not be started{tail}")));
    }
    let dashboard = Client::new(paths::control_socket(&place.data_dir)).dashboard().await?;
    print_ready(&place, &processes, begun.elapsed(), &dashboard.url);
    write_state(&folder.path, (&place, dashboard.address), &processes)?;
    let load = load::run(args.gateway, args.load);
    let ended = tokio::select! {
        _ = signals.any() => None,
        name = processes.any_ended() => Some(name),
        never = load => match never {},
    };
    crate::print::out!(
        "{}",
        print::paint(
            "stopping: every process, namespace and file that was made goes",
            Colour::Dim,
            print::to_terminal()
        )
    );
    let tail = ended.as_ref().map(|_| processes.last_words()).unwrap_or_default();
    processes.stop().await;
    match ended {
        Some(name) => bail!("`{name}` has ended by itself{tail}"),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// A port that somebody has is the most likely trouble, and the cheapest to say at once.
fn check_free(gateway: SocketAddr) -> Result<()> {
    std::net::TcpListener::bind(gateway)
        .map(drop)
        .with_context(|| format!("the gateway's address {gateway} cannot be opened; choose another with --gateway"))
}

/// Starts everything and waits for the first whole page.
async fn start(processes: &mut Processes, place: &Place, args: &DemoArgs) -> Result<()> {
    let me = paths::myself()?;
    step("control plane");
    processes.spawn("control", &me, &plan::control(place), &[])?;
    let client = Client::new(paths::control_socket(&place.data_dir));
    wait_for("the control plane", processes, || async { client.version().await.is_ok() }).await?;
    step("Bookinfo's services and gateway");
    client.apply_texts(&plan::documents()).await?;
    step("gateway, six workloads and their sidecars");
    processes.spawn("gateway", &me, &plan::gateway(place), &[])?;
    let bookinfo = paths::program("bookinfo", "HALCYON_BOOKINFO");
    for workload in Workload::all(args.stock_envoy.as_deref())? {
        processes.spawn(&workload.name(), &me, &workload.arguments(place, &bookinfo), &workload.variables())?;
    }
    step("first page through the gateway");
    wait_for("http://127.0.0.1/productpage", processes, || async { web::page_is_whole(place.gateway).await }).await
}

fn step(what: &str) {
    crate::print::out!("{} {what}", print::paint("·", Colour::Dim, print::to_terminal()));
}

async fn wait_for<F: Future<Output = bool>>(
    what: &str,
    processes: &mut Processes,
    mut ready: impl FnMut() -> F,
) -> Result<()> {
    let begun = Instant::now();
    while !ready().await {
        if let Some(name) = processes.ended() {
            bail!("`{name}` has ended while {what} was waited for");
        }
        if begun.elapsed() > PATIENCE {
            bail!("{what} did not answer within {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

fn print_ready(place: &Place, processes: &Processes, took: Duration, dashboard: &str) {
    let terminal = print::to_terminal();
    let bold = |text: &str| print::paint(text, Colour::Bold, terminal);
    crate::print::out!(
        "\n{} in {:.1} s: {}\n",
        print::paint("ready", Colour::Green, terminal),
        took.as_secs_f32(),
        bold(&format!("http://{}/productpage", place.gateway))
    );
    if observe::pages::are_there() {
        crate::print::out!("dashboard: {}", bold(dashboard));
        crate::print::out!("           (good once and for five minutes; `halcyon dashboard` prints another)\n");
    } else {
        crate::print::out!(
            "dashboard: not built, since there was no Node.js; install Node.js 20 or later with npm, and run"
        );
        crate::print::out!("           `cargo xtask demo` again. Everything else works without it.\n");
    }
    let rows = processes.list().map(|p| [p.name.clone(), p.pid.to_string(), p.log.display().to_string()]);
    crate::print::out!("{}\n", print::table(["WHAT", "PROCESS", "LOG"], rows));
    let data = place.data_dir.display();
    crate::print::out!("{}", bold("Worth trying next, in another terminal:"));
    crate::print::out!("  export HALCYON_DATA_DIR={data}");
    crate::print::out!(
        "  halcyon status                                          # every proxy, and whether it took its configuration"
    );
    crate::print::out!(
        "  halcyon stat                                            # requests/s, success and latency of each workload"
    );
    crate::print::out!("  halcyon tap --to reviews-v1                             # requests as they pass");
    crate::print::out!(
        "  halcyon apply -f {}   # all traffic for reviews to v3: red stars only",
        plan::sample("reviews-v3.yaml")
    );
    crate::print::out!("  halcyon proxy-config routes productpage                 # what one sidecar really runs");
    crate::print::out!("\nCtrl-C ends it and leaves nothing behind.");
}

/// What a test, or a curious person, can read: who runs where.
fn write_state(folder: &Path, (place, dashboard): (&Place, SocketAddr), processes: &Processes) -> Result<()> {
    let list: Vec<_> = processes.list().map(|p| json!({ "name": p.name, "pid": p.pid, "log": p.log })).collect();
    let state =
        json!({ "gateway": place.gateway, "data_dir": place.data_dir, "dashboard": dashboard, "processes": list });
    let path = folder.join("demo.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&state)?).with_context(|| path.display().to_string())
}

/// The folder of the demo: removed at its end, unless the user chose it.
struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    fn new(kept: Option<&Path>) -> Result<Self> {
        let path = match kept {
            Some(path) => std::path::absolute(path)?,
            None => std::env::temp_dir().join(format!("halcyon-demo-{}", std::process::id())),
        };
        std::fs::create_dir_all(&path).with_context(|| format!("{}: cannot be made", path.display()))?;
        Ok(Self { path, keep: kept.is_some() })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            print::note(&format!("{}: cannot be removed: {error}", self.path.display()));
        }
    }
}

/// The signals that end the demo.
struct Signals([tokio::signal::unix::Signal; 3]);

impl Signals {
    fn listen() -> Result<Self> {
        let on = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self([on(SignalKind::interrupt())?, on(SignalKind::terminate())?, on(SignalKind::hangup())?]))
    }

    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
