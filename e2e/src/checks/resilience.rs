//! Item 4: what is changed, killed and started again under load.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::bookinfo::{REVIEWS, Seen, Visitor, seen};
use crate::load::{all_good, burst, load, none_failed_but};
use crate::mesh::Mesh;
use crate::runner::{Check, Outcome};
use crate::world::{Wanted, World};
use crate::{poll, process, rules, web};

const GROUP: &str = "under load";
/// Requests per second.
const RATE: u32 = 100;
/// How many changes, in how many seconds.
const CHANGES: u32 = 50;
const CHANGING: Duration = Duration::from_secs(30);

/// How long the control plane is away.
const AWAY: Duration = Duration::from_secs(12);

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new(GROUP, "50 rule changes in 30 s at 100 requests/s: no failed request", 120, changes),
        Check::new(GROUP, "a reviews program killed: only what was in flight may fail", 120, program_killed),
        Check::new(
            GROUP,
            "a reviews workload killed with its sidecar: only what was in flight may fail",
            120,
            all_killed,
        ),
        Check::new(GROUP, "control plane killed: traffic goes on", 60, control_killed),
        Check::new(GROUP, "a sidecar killed while the control plane is down serves again", 60, sidecar_alone),
        Check::new(
            GROUP,
            "control plane back after 12 s: proxies back within 5 s, same configuration",
            90,
            control_back,
        ),
    ]
}

fn changes(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        let mesh = world.mesh(Wanted::Parts).await?;
        mesh.clear().await?;
        let variants = [
            rules::reviews_to("v1"),
            rules::reviews_split("v1", 90, "v2"),
            rules::reviews_split("v2", 50, "v3"),
            rules::reviews_to("v3"),
            rules::reviews_split("v1", 20, "v3"),
        ];
        let mut files = Vec::new();
        for (n, text) in variants.iter().enumerate() {
            files.push(place.write(&format!("change-{n}.yaml"), text)?);
        }
        let changing = async {
            let begun = Instant::now();
            for n in 0..CHANGES {
                sleep_until(begun + CHANGING / CHANGES * n).await;
                let file = files[n as usize % files.len()].display().to_string();
                mesh.halcyon(&["apply", "-f", &file]).await?.good().with_context(|| format!("change {n}"))?;
            }
            sleep_until(begun + CHANGING).await;
            Ok(())
        };
        let (samples, ()) = load(mesh.gateway, RATE, changing).await?;
        all_good(&samples, (CHANGING.as_secs() as usize * RATE as usize) * 9 / 10)?;
        mesh.settle(0).await?;
        let last = Visitor::anonymous(mesh.gateway).spread(50).await?;
        ensure!(last.is_within(25.0, &[(Seen::V1, 20.0), (Seen::V3, 80.0)]), "after the last change: {last}");
        Ok(format!("{} requests, {CHANGES} changes", samples.len()))
    })
}

fn program_killed(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = world.mesh(Wanted::Parts).await?;
        mesh.clear().await?;
        let launcher = mesh.pid("reviews-v2")?;
        let program = process::the_one_below(launcher, "bookinfo")?;
        let outcome = killed(mesh, &[program]).await;
        // The launcher ends with its program, in its own time: it drains the sidecar first.
        back(mesh, "reviews-v2").await?;
        outcome
    })
}

fn all_killed(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = world.mesh(Wanted::Parts).await?;
        mesh.clear().await?;
        let launcher = mesh.pid("reviews-v3")?;
        let mut all: Vec<u32> = process::below(launcher).into_iter().map(|p| p.pid).collect();
        all.push(launcher);
        let outcome = killed(mesh, &all).await;
        back(mesh, "reviews-v3").await?;
        outcome
    })
}

/// So many requests more begin just before the kill, so that some are under way.
const BURST: usize = 30;
const UNDER_WAY: Duration = Duration::from_millis(4);

/// Kills processes with SIGKILL in the middle of the load. What was under way at that moment may fail, nothing else.
async fn killed(mesh: &Mesh, pids: &[u32]) -> Result<String> {
    let killing = async {
        let begun = Instant::now();
        sleep_until(begun + Duration::from_secs(3)).await;
        let kill = async {
            tokio::time::sleep(UNDER_WAY).await;
            let before = Instant::now();
            pids.iter().for_each(|pid| process::send(*pid, Signal::KILL));
            (before, Instant::now())
        };
        let (burst, moment) = tokio::join!(burst(mesh.gateway, BURST), kill);
        sleep_until(begun + Duration::from_secs(10)).await;
        Ok((burst, moment))
    };
    let (mut samples, (burst, (before, after))) = load(mesh.gateway, RATE, killing).await?;
    samples.extend(burst);
    let in_flight = samples.iter().filter(|s| s.overlaps(before, after)).count();
    none_failed_but(&samples, |s| s.overlaps(before, after))
        .with_context(|| format!("{in_flight} were in flight when it was killed, and only those may fail"))?;
    let failed = samples.iter().filter(|s| s.fault.is_some()).count();
    Ok(format!("{} requests, {in_flight} in flight when it was killed, {failed} failed", samples.len()))
}

/// A workload that was killed is started again, for the checks that follow.
async fn back(mesh: &mut Mesh, name: &str) -> Result<()> {
    mesh.kill(name).await?;
    mesh.start_again(name)?;
    poll::until(&format!("{name} is back"), Duration::from_secs(30), async || mesh.proxy(name).await.map(drop)).await?;
    mesh.settle(0).await
}

fn control_killed(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let v1 = world.place.write("to-v1.yaml", &rules::reviews_to("v1"))?;
        let mesh = world.mesh(Wanted::Parts).await?;
        mesh.clear().await?;
        mesh.apply(&[v1]).await?;
        let gateway = mesh.gateway;
        let killing = async {
            let begun = Instant::now();
            sleep_until(begun + Duration::from_secs(2)).await;
            mesh.kill("control").await?;
            sleep_until(begun + Duration::from_secs(10)).await;
            Ok(())
        };
        let (samples, ()) = load(gateway, RATE, killing).await?;
        let outcome = all_good(&samples, 900);
        ensure!(mesh.status().await.is_err(), "the control plane still answers after it was killed");
        let rule = only_v1(mesh).await;
        restore_control(mesh).await?;
        outcome?;
        rule?;
        Ok(format!("{} requests, the rules still hold", samples.len()))
    })
}

async fn only_v1(mesh: &Mesh) -> Result<()> {
    let spread = Visitor::anonymous(mesh.gateway).spread(30).await?;
    ensure!(spread.count(Seen::V1) == 30, "{spread}; expected v1 alone, as the last rule says");
    Ok(())
}

/// For the checks that follow.
async fn restore_control(mesh: &mut Mesh) -> Result<()> {
    mesh.start_again("control")?;
    mesh.wait_control().await?;
    mesh.wait_whole().await
}

fn sidecar_alone(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let v1 = world.place.write("to-v1.yaml", &rules::reviews_to("v1"))?;
        let mesh = world.mesh(Wanted::Parts).await?;
        mesh.clear().await?;
        mesh.apply(&[v1]).await?;
        let launcher = mesh.pid("reviews-v1")?;
        let old = process::the_one_below(launcher, "halcyon-proxy")?;
        mesh.kill("control").await?;
        process::send(old, Signal::KILL);
        let gateway = mesh.gateway;
        let outcome =
            poll::until("reviews-v1 serves again behind a new sidecar", Duration::from_secs(20), async || {
                let new = process::the_one_below(launcher, "halcyon-proxy")?;
                ensure!(new != old, "the old sidecar is still there");
                let answer = web::get(gateway, REVIEWS, &[]).await?;
                ensure!(seen(&answer) == Seen::V1, "status {}: {}", answer.status, answer.text());
                Ok(())
            })
            .await;
        let all = only_v1(mesh).await;
        let down = mesh.status().await.is_err();
        restore_control(mesh).await?;
        outcome?;
        all?;
        ensure!(down, "the control plane was not down");
        Ok("30 of 30 requests".to_owned())
    })
}

fn control_back(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let split = world.place.write("split.yaml", &rules::reviews_split("v1", 50, "v3"))?;
        let mesh = world.mesh(Wanted::Parts).await?;
        mesh.clear().await?;
        mesh.apply(&[split]).await?;
        let (resources, configuration) = (resources(mesh).await?, configuration(mesh).await?);
        let mut names = names(mesh).await?;
        mesh.kill("control").await?;
        // Long enough for those who ask again ever more rarely.
        tokio::time::sleep(AWAY).await;
        let begun = Instant::now();
        mesh.start_again("control")?;
        mesh.wait_control().await?;
        names.sort();
        let back = poll::until("all proxies in `halcyon status`", Duration::from_secs(5), async || {
            let mut now = self::names(mesh).await?;
            now.sort();
            ensure!(now == names, "{now:?}; expected {names:?}");
            mesh.proxies().await.map(drop)
        });
        back.await?;
        let took = begun.elapsed();
        mesh.settle(0).await?;
        let now = self::resources(mesh).await?;
        ensure!(now == resources, "`halcyon get all -A` gives other resources than before:\n{now}\n{resources}");
        for ((part, before), (_, now)) in configuration.into_iter().zip(self::configuration(mesh).await?) {
            ensure!(before == now, "`halcyon proxy-config {part} productpage` is another:\n{now}\nbefore:\n{before}");
        }
        let spread = Visitor::anonymous(mesh.gateway).spread(200).await?;
        ensure!(spread.is_within(20.0, &[(Seen::V1, 50.0), (Seen::V3, 50.0)]), "{spread}");
        Ok(format!("{} proxies back after {:.1} s", names.len(), took.as_secs_f64()))
    })
}

async fn names(mesh: &Mesh) -> Result<Vec<String>> {
    Ok(mesh.proxies().await?.into_iter().map(|proxy| proxy.node).collect())
}

async fn resources(mesh: &Mesh) -> Result<Value> {
    let said = mesh.halcyon(&["get", "all", "-A", "-o", "json"]).await?.good().context("halcyon get all")?;
    serde_json::from_str(&said.out).context("halcyon get all -o json")
}

/// What was made for one proxy, by part.
async fn configuration(mesh: &Mesh) -> Result<Vec<(&'static str, Value)>> {
    let mut parts = Vec::new();
    for part in ["listeners", "routes", "clusters", "endpoints"] {
        let said = mesh.halcyon(&["proxy-config", part, "productpage", "-o", "json"]).await?.good().context(part)?;
        let mut json: Value = serde_json::from_str(&said.out).with_context(|| part.to_owned())?;
        // The version of the mesh counts registrations too.
        if let Some(object) = json.as_object_mut() {
            object.remove("version");
        }
        parts.push((part, json));
    }
    Ok(parts)
}
