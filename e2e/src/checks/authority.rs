//! The root of the mesh is exchanged while it works. Nothing of it may cost a request, though there are handshakes all the time.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::identity;
use crate::load::{all_good, load};
use crate::mesh::Mesh;
use crate::place::Place;
use crate::poll;
use crate::runner::{Check, Outcome};
use crate::world::{Wanted, World};

const GROUP: &str = "authority";
/// Requests per second.
const RATE: u32 = 200;
/// So many of them go over each connection of the mesh: most find one, and every second hundreds need another.
const EACH: u32 = 5;
/// What is said of the load before, between and after, too.
const AROUND: Duration = Duration::from_secs(2);
/// How long the proxies may take to take the new roots, and to renew their certificates.
const PATIENCE: Duration = Duration::from_secs(60);

/// The checks.
pub fn checks() -> Vec<Check> {
    let name = "the root exchanged twice at 200 requests/s, with a stock Envoy: no failed request";
    vec![Check::new(GROUP, name, 300, exchanged)]
}

fn exchanged(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let strict = world.place.rule("strict-mtls.yaml");
        // Connections would outlive all of it; new ones show every certificate.
        let rules = requests_each(&world.place, EACH)?;
        let mesh = world.mesh(Wanted::Envoy("details-v1")).await?;
        mesh.apply(&[strict, rules]).await?;
        let gateway = mesh.gateway;
        let exchanging = async {
            let mut seen = vec![active(mesh).await?];
            for _ in 0..2 {
                tokio::time::sleep(AROUND).await;
                seen.push(exchange(mesh).await?);
            }
            tokio::time::sleep(AROUND).await;
            Ok(seen)
        };
        let (samples, seen) = load(gateway, RATE, exchanging).await?;
        all_good(&samples, RATE as usize)?;
        ensure!(seen[0] != seen[1] && seen[1] != seen[2] && seen[0] != seen[2], "the roots are {seen:?}");
        // By the roots as they are now.
        for workload in ["reviews-v1", "ratings-v1", "productpage-v1"] {
            let at = mesh.proxy(workload).await?.at(9080);
            identity::handshake(mesh, at, None).await.with_context(|| workload.to_owned())?;
        }
        Ok(format!("{} requests", samples.len()))
    })
}

/// The rules of Bookinfo, with another connection after so many requests.
pub fn requests_each(place: &Place, most: u32) -> Result<PathBuf> {
    let rules = std::fs::read_to_string(place.rule("destination-rules.yaml"))?;
    let limit =
        format!("  trafficPolicy: {{connectionPool: {{http: {{maxRequestsPerConnection: {most}}}}}}}\n  subsets:\n");
    place.write("each.yaml", &rules.replace("  subsets:\n", &limit))
}

/// Exchanges the root, and gives the fingerprint of the new one.
async fn exchange(mesh: &Mesh) -> Result<String> {
    mesh.halcyon(&["ca", "rotate"]).await?.good()?;
    poll::until("everybody has the new root", PATIENCE, async || {
        let status = status(mesh).await?;
        ensure!(status["phase"] == "retiring", "waits for {}", status["waiting_for"]);
        Ok(())
    })
    .await?;
    poll::until("everybody has a certificate of the new root", PATIENCE, async || {
        let status = status(mesh).await?;
        let old = status["old_leaves"].as_array().cloned().unwrap_or_default();
        let used: Vec<&Value> = old.iter().filter(|leaf| leaf["nodes"].is_array()).collect();
        ensure!(used.is_empty(), "old certificates are in use: {used:?}");
        Ok(())
    })
    .await?;
    tokio::time::sleep(AROUND).await;
    mesh.halcyon(&["ca", "rotate", "--finish"]).await?.good()?;
    let status = status(mesh).await?;
    ensure!(status["phase"] == "idle" && status["roots"].as_array().is_some_and(|roots| roots.len() == 1), "{status}");
    active(mesh).await
}

async fn active(mesh: &Mesh) -> Result<String> {
    let status = status(mesh).await?;
    let roots = status["roots"].as_array().context("`halcyon ca status` names no roots")?;
    let active = roots.iter().find(|root| root["state"] == "active").context("no root is active")?;
    Ok(active["fingerprint"].as_str().unwrap_or_default().to_owned())
}

async fn status(mesh: &Mesh) -> Result<Value> {
    let said = mesh.halcyon(&["ca", "status", "--json"]).await?.good()?.out;
    serde_json::from_str(&said).context("halcyon ca status --json")
}
