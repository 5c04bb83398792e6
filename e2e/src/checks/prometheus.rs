//! Beside a real Prometheus: it finds every proxy, Kiali's questions and our boards have answers, figures agree to the
//! request wherever they are told, and the control plane reads history from it.

mod agree;
mod boards;
mod history;
mod kiali;
mod traffic;

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::mesh::Mesh;
use crate::poll;
use crate::process;
use crate::prometheus::Prometheus;
use crate::runner::{Check, Outcome};
use crate::world::{Wanted, World};

const GROUP: &str = "prometheus";
/// Everything was scraped again within this, on a slow and busy machine.
const SOON: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(60);

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new(GROUP, "promtool passes the configuration, the alerts and their tests", 120, promtool),
        Check::new(GROUP, "it finds every proxy by the control plane", 180, targets),
        Check::new(GROUP, "what Kiali asks has an answer", 300, kiali::answers),
        Check::new(GROUP, "every panel of every board shows something", 300, boards::panels),
        Check::new(GROUP, "figures agree to the request", 300, agree::figures),
        Check::new(GROUP, "the control plane reads history from it", 300, history::figures),
    ]
}

/// The mesh that is scraped, and its Prometheus.
async fn open(world: &mut World) -> Result<(&mut Mesh, Prometheus)> {
    let mesh = world.mesh(Wanted::Watched).await?;
    let prometheus = mesh.prometheus.context("the mesh has no Prometheus")?;
    Ok((mesh, prometheus))
}

fn promtool(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        let program = place.installed("promtool", "prometheus")?;
        let folder = place.integration("prometheus");
        let mut said = Vec::new();
        for arguments in [
            &["check", "config", "prometheus.yml"][..],
            &["check", "rules", "alerts.yml"],
            &["test", "rules", "alerts_test.yml"],
        ] {
            let mut command = process::command(&place, &program);
            command.current_dir(&folder).args(arguments);
            let ended = process::run(command, LONGEST).await?.good();
            said.push(ended.with_context(|| format!("promtool {}", arguments.join(" ")))?.all());
        }
        let found = said[1].lines().find_map(|line| line.trim().strip_prefix("SUCCESS: "));
        Ok(found.context("promtool says nothing of the rules")?.to_owned())
    })
}

fn targets(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let (mesh, prometheus) = open(world).await?;
        let proxies = mesh.proxies().await?;
        let expected: BTreeSet<(String, String)> =
            proxies.iter().map(|proxy| (proxy.workload.clone(), format!("{}:15020", proxy.address))).collect();
        let found = poll::until("every target up", SOON, async || {
            let targets = prometheus.get("/api/v1/targets?state=active").await?;
            let targets = targets["activeTargets"].as_array().context("no targets")?.clone();
            for target in &targets {
                ensure!(target["health"] == "up", "{}: {}", target["scrapeUrl"], target["lastError"]);
            }
            let of_proxies = targets.iter().filter(|target| target["labels"]["job"] == "halcyon-proxy");
            let found: BTreeSet<(String, String)> = of_proxies
                .map(|target| {
                    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                    (text(&target["labels"]["workload"]), text(&target["discoveredLabels"]["__address__"]))
                })
                .collect();
            ensure!(found == expected, "{found:?}; expected {expected:?}");
            ensure!(targets.len() == expected.len() + 1, "{} targets, with the control plane", targets.len());
            Ok(targets)
        })
        .await?;
        for target in found.iter().filter(|target| target["labels"]["job"] == "halcyon-proxy") {
            let labels = &target["labels"];
            let names: Vec<&str> = labels.as_object().context("no labels")?.keys().map(String::as_str).collect();
            ensure!(names == ["instance", "job", "namespace", "workload"], "{labels}");
            let workload = labels["workload"].as_str().unwrap_or_default();
            ensure!(labels["instance"].as_str().is_some_and(|it| it.starts_with(workload)), "{labels}");
        }
        let rules = prometheus.get("/api/v1/rules?type=alert").await?;
        let rules = rules["groups"].as_array().context("no rules")?.iter();
        let rules: Vec<&Value> = rules.flat_map(|group| group["rules"].as_array().into_iter().flatten()).collect();
        ensure!(!rules.is_empty(), "no alerts were loaded");
        for rule in &rules {
            ensure!(rule["lastError"].is_null() || rule["lastError"] == "", "{}: {}", rule["name"], rule["lastError"]);
        }
        Ok(format!("{} proxies, {} alerts", expected.len(), rules.len()))
    })
}
