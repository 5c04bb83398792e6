//! A full disk: a small file system of memory, mounted in a namespace of its own, is filled below a control plane and below
//! a gateway.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::Child;

use super::input::one_line;
use crate::place::Place;
use crate::process::{self, Process, Said, log_path};
use crate::runner::{Check, Outcome, Skipped};
use crate::world::World;
use crate::{poll, web};

const GROUP: &str = "a full disk";
/// How long anything that is waited for may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// What must be said.
const FULL: &str = "no space left";

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new(GROUP, "`apply`: one line, exit code not 0, nothing lost; good again with room", 90, apply),
        Check::new(GROUP, "`control` does not start: one line, exit code not 0; with room it does", 90, start),
        Check::new(GROUP, "a gateway goes on, takes new rules, and says it in one line", 90, gateway),
    ]
}

fn apply(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = &*world.place;
        let disk = SmallDisk::mount(place, "apply").await?;
        let [before, after] = [rule(place, "e2e-before", 200)?, rule(place, "e2e-after", 200)?];
        let mut control = Control::start(place, &disk.folder, "apply").await?;
        control.halcyon(place, &["apply", "-f", &before]).await?.good()?;
        disk.fill()?;
        for _ in 0..2 {
            let said = control.halcyon(place, &["apply", "-f", &after]).await?;
            one_line(&said, &[FULL, &disk.shown()])?;
        }
        control.has(place, &[("e2e-before", true), ("e2e-after", false)]).await.context("while it is full")?;
        disk.make_room()?;
        control.halcyon(place, &["apply", "-f", &after]).await?.good().context("with room")?;
        control.has(place, &[("e2e-before", true), ("e2e-after", true)]).await.context("with room")?;
        // What is on the disk is seen by who has to read it.
        control.process.end(Signal::KILL, PATIENCE).await?;
        let mut control = Control::start(place, &disk.folder, "apply").await?;
        control.has(place, &[("e2e-before", true), ("e2e-after", true)]).await.context("started again")?;
        control.process.end(Signal::TERM, PATIENCE).await?;
        Ok(String::new())
    })
}

fn start(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = &*world.place;
        let disk = SmallDisk::mount(place, "start").await?;
        let (used, new) = (disk.folder.join("used"), disk.folder.join("new"));
        let mut control = Control::start(place, &used, "start").await?;
        control.halcyon(place, &["apply", "-f", &rule(place, "e2e-before", 200)?]).await?.good()?;
        control.process.end(Signal::TERM, PATIENCE).await?;
        disk.fill()?;
        for data in [&used, &new, &new] {
            let said = halcyon(place, data, &control_arguments()).await?;
            one_line(&said, &[FULL, &data.display().to_string()]).with_context(|| data.display().to_string())?;
        }
        disk.make_room()?;
        for (data, is_there) in [(&used, true), (&new, false)] {
            let mut control = Control::start(place, data, "start").await?;
            control.has(place, &[("e2e-before", is_there)]).await?;
            control.process.end(Signal::TERM, PATIENCE).await?;
        }
        Ok(String::new())
    })
}

fn gateway(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = &*world.place;
        let disk = SmallDisk::mount(place, "gateway").await?;
        let mut control = Control::start(place, &place.run.join("roomy"), "gateway").await?;
        control.answer(place, 201).await?;
        let (mut gateway, at) = join(place, &control, &disk.folder).await?;
        served(at, 201).await?;
        let kept = disk.folder.join("gateways/ingressgateway/state/held.bin");
        poll::until("the gateway keeps its configuration", PATIENCE, async || Ok(fs::metadata(&kept)?)).await?;
        disk.fill()?;
        control.answer(place, 202).await?;
        served(at, 202).await.context("the disk is full")?;
        let log = log_path(&logs(place)?, "full-gateway");
        let said = poll::until("a line in the gateway's log", PATIENCE, async || {
            let text = fs::read_to_string(&log)?;
            let lines: Vec<String> = text.lines().filter(|l| l.contains("os error 28")).map(str::to_owned).collect();
            ensure!(!lines.is_empty(), "nothing is said of the disk");
            Ok(lines)
        })
        .await?;
        ensure!(said.len() == 1 && said[0].contains(&disk.shown()), "expected one line with the folder: {said:?}");
        ensure!(!gateway.has_ended(), "the gateway has ended");
        served(at, 202).await?;
        disk.make_room()?;
        let before = fs::read(&kept)?;
        control.answer(place, 203).await?;
        served(at, 203).await.context("with room")?;
        poll::until("the gateway keeps its configuration again", PATIENCE, async || {
            ensure!(fs::read(&kept)? != before, "what is kept is old");
            Ok(())
        })
        .await?;
        gateway.end(Signal::TERM, PATIENCE).await?;
        control.process.end(Signal::TERM, PATIENCE).await?;
        Ok(String::new())
    })
}

/// A file system of a few megabytes, for as long as the process lives in whose namespace it is mounted.
struct SmallDisk {
    /// It, as everybody who may look at that process reaches it.
    folder: PathBuf,
    _holder: Child,
}

impl SmallDisk {
    async fn mount(place: &Place, name: &str) -> Result<Self> {
        const MOUNT: &str = "mount -t tmpfs -o size=4m,mode=700 halcyon-e2e \"$0\" && echo mounted && exec cat";
        let at = place.run.join(format!("disk-{name}"));
        fs::create_dir_all(&at)?;
        let mut command = process::command(place, Path::new("unshare"));
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", MOUNT]).arg(&at);
        // It ends with its standard input, so at the latest with us.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let refused = |why: String| Skipped(format!("no file system of our own can be mounted here: {}", why.trim()));
        let mut holder = command.spawn().map_err(|e| refused(format!("unshare: {e}")))?;
        let mut line = String::new();
        let out = holder.stdout.take().context("its output is piped")?;
        BufReader::new(out).read_line(&mut line).await?;
        if line.trim() != "mounted" {
            let mut why = String::new();
            holder.stderr.take().context("its errors are piped")?.read_to_string(&mut why).await?;
            return Err(refused(why).into());
        }
        let root = format!("/proc/{}/root", holder.id().context("it has ended at once")?);
        Ok(Self { folder: Path::new(&root).join(at.strip_prefix("/")?), _holder: holder })
    }

    fn shown(&self) -> String {
        self.folder.display().to_string()
    }

    /// To the last page.
    fn fill(&self) -> Result<()> {
        let mut file = File::create(self.folder.join("ballast"))?;
        loop {
            match file.write_all(&[0; 4096]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => bail!("{}: {error}", self.shown()),
            }
        }
    }

    fn make_room(&self) -> Result<()> {
        Ok(fs::remove_file(self.folder.join("ballast"))?)
    }
}

/// A control plane alone.
struct Control {
    process: Process,
    data: PathBuf,
}

impl Control {
    async fn start(place: &Place, data: &Path, name: &str) -> Result<Self> {
        let mut arguments: Vec<OsString> = vec!["--data-dir".into(), data.into()];
        arguments.extend(control_arguments().map(OsString::from));
        let log = log_path(&logs(place)?, &format!("{name}-control"));
        let mut process = Process::start(place, "control", &place.program("halcyon"), &arguments, &[], &log)?;
        poll::until("the control plane", PATIENCE, async || {
            ensure!(!process.has_ended(), "it has ended: {}", process::tail(&fs::read_to_string(&log)?, 3));
            Ok(UnixStream::connect(data.join("control.sock")).await.map(drop)?)
        })
        .await?;
        Ok(Self { process, data: data.to_owned() })
    }

    async fn halcyon(&self, place: &Place, arguments: &[&str]) -> Result<Said> {
        halcyon(place, &self.data, arguments).await
    }

    async fn has(&self, place: &Place, rules: &[(&str, bool)]) -> Result<()> {
        for (name, is_there) in rules {
            let said = self.halcyon(place, &["get", "virtualservice", name]).await?;
            let expected = Some(if *is_there { 0 } else { 1 });
            ensure!(said.code == expected, "get {name}: {:?}; expected {expected:?}: {}", said.code, said.all());
        }
        Ok(())
    }

    /// Has every gateway answer with this status.
    async fn answer(&self, place: &Place, status: u16) -> Result<()> {
        self.halcyon(place, &["apply", "-f", &rule(place, "e2e-answer", status)?]).await?.good().map(drop)
    }
}

/// Starts a gateway as on another machine: with its own data directory. Where it listens.
async fn join(place: &Place, control: &Control, data: &Path) -> Result<(Process, SocketAddr)> {
    let account = ["token", "create", "--service-account", "ingressgateway-service-account"];
    let token = place.write("full-token", &control.halcyon(place, &account).await?.good()?.out)?;
    let roots =
        place.write("full-roots.pem", &control.halcyon(place, &["token", "trust-bundle"]).await?.good()?.out)?;
    let doors: serde_json::Value = serde_json::from_slice(&fs::read(control.data.join("endpoints.json"))?)?;
    let door = doors["tls"].as_str().context("endpoints.json names no TLS door")?;
    let port = process::free_port()?;
    let mut arguments: Vec<OsString> = vec!["--data-dir".into(), data.into()];
    arguments.extend(["gateway", "--control", door, "--map", &format!("8080={port}")].map(OsString::from));
    arguments.extend(["--token-file".into(), token.into(), "--trust-bundle".into(), roots.into()]);
    let log = log_path(&logs(place)?, "full-gateway");
    let process = Process::start(place, "gateway", &place.program("halcyon"), &arguments, &[], &log)?;
    Ok((process, SocketAddr::from(([127, 0, 0, 1], port))))
}

async fn served(at: SocketAddr, status: u16) -> Result<()> {
    poll::until("the gateway's answer", PATIENCE, async || {
        let answer = web::get(at, "/", &[]).await?;
        ensure!(answer.status == status, "status {}; expected {status}", answer.status);
        Ok(())
    })
    .await
}

async fn halcyon(place: &Place, data: &Path, arguments: &[&str]) -> Result<Said> {
    let mut command = process::command(place, &place.program("halcyon"));
    command.arg("--data-dir").arg(data).args(arguments);
    process::run(command, PATIENCE).await
}

fn control_arguments() -> [&'static str; 7] {
    ["control", "--xds-port", "0", "--plain-xds-port", "0", "--metrics-port", "0"]
}

/// Where the logs of this part are.
fn logs(place: &Place) -> Result<PathBuf> {
    let folder = place.run.join("disk/logs");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A file with a gateway, and a rule of this name by which it answers with a status itself.
fn rule(place: &Place, name: &str, status: u16) -> Result<String> {
    let text = format!(
        "\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: e2e-edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
    - port: {{number: 8080, name: http, protocol: HTTP}}
      hosts: ['*']
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: ['{name}.example.com']
  gateways: [e2e-edge]
  http:
    - directResponse: {{status: {status}, body: {{string: e2e}}}}
"
    );
    let text = if name == "e2e-answer" { text.replace("e2e-answer.example.com", "*") } else { text };
    Ok(place.write(&format!("{name}-{status}.yaml"), &text)?.display().to_string())
}
