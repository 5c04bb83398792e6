//! `halcyon control --prometheus`: what was before the control plane's own memory is asked of Prometheus.
//!
//! Prometheus cannot know of the counts with which a series begins, and stretches an increase to the ends of the time that
//! is asked about: figures agree roughly.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{SOON, open, traffic};
use crate::mesh::Mesh;
use crate::poll;
use crate::prometheus::Prometheus;
use crate::runner::Outcome;
use crate::web::Connection;
use crate::world::World;

/// A workload that nobody called before.
const NAME: &str = "chronicle";
/// Requests before it is known to Prometheus, and after.
const FIRST: u64 = 10;
const COUNT: u64 = 150;
/// What may become of them, by the two reasons above.
const ROUGHLY: RangeInclusive<f64> = 135.0..=200.0;
/// Longer than the control plane is there, so that all of it is asked of Prometheus.
const LONG_AGO: &str = "6h";

/// Sends so many, a hundred milliseconds apart, and waits until Prometheus knows.
async fn send(mesh: &Mesh, prometheus: &Prometheus, count: u64, sum: u64) -> Result<()> {
    let mut connection = Connection::open(mesh.gateway).await?;
    for _ in 0..count {
        let answer = connection.get("/status/200", &[]).await?;
        ensure!(answer.status == 200, "status {}", answer.status);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for reporter in ["source", "destination"] {
        let counter =
            format!("sum(istio_requests_total{{reporter=\"{reporter}\", destination_service_name=\"{NAME}\"}})");
        poll::until("Prometheus to know", SOON, async || {
            let found = prometheus.value(&counter).await?;
            ensure!(found == sum as f64, "{found} requests by the {reporter}; expected {sum}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

async fn ask(mesh: &Mesh, arguments: &[&str]) -> Result<Value> {
    let said = mesh.halcyon(&[arguments, &["-o", "json", "--window", LONG_AGO]].concat()).await?.good()?;
    serde_json::from_str(&said.out).with_context(|| arguments.join(" "))
}

fn roughly(what: &str, found: &Value) -> Result<f64> {
    let found = found.as_f64().with_context(|| format!("{what}: no count of requests"))?;
    ensure!(ROUGHLY.contains(&found), "{what}: {found} requests; expected {ROUGHLY:?}");
    Ok(found)
}

/// Sends, and asks for a time that is longer than the control plane's own memory.
pub fn figures(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let (mesh, prometheus) = open(world).await?;
        traffic::prepare(mesh, NAME).await?;
        send(mesh, &prometheus, FIRST, FIRST).await?;
        let begun = SystemTime::now();
        send(mesh, &prometheus, COUNT, FIRST + COUNT).await?;

        let stat = ask(mesh, &["stat", "service", NAME]).await?;
        let traffic = &stat["rows"][0]["traffic"];
        let requests = roughly("halcyon stat", &traffic["requests"])?;
        ensure!(traffic["success"] == 1.0, "{traffic}");
        ensure!(traffic["p50"].as_f64().is_some_and(|ms| ms > 0.0 && ms < 5000.0), "{traffic}");
        let increase = format!(
            "increase(istio_requests_total{{reporter=\"destination\", destination_service_name=\"{NAME}\"}}[6h])"
        );
        let direct = prometheus.value(&format!("sum({increase})")).await?;
        ensure!((requests - direct).abs() <= 0.05 * direct, "{requests} requests, and Prometheus has {direct}");

        let graph = ask(mesh, &["graph"]).await?;
        let edges = graph["edges"].as_array().context("no edges")?;
        let id = format!("workload:default/ingressgateway>workload:default/{NAME}-v1>http");
        let edge = edges.iter().find(|edge| edge["id"] == *id).with_context(|| format!("no edge {id}"))?;
        roughly("halcyon graph", &edge["traffic"]["requests"])?;
        ensure!(edge["mtls"] == 1.0 && edge["reporter"] == "both", "{edge}");
        let principal = edge["destinationPrincipal"].as_str().unwrap_or_default();
        ensure!(principal.starts_with("spiffe://cluster.local/"), "{edge}");

        let charted = series(mesh, begun).await?;
        let history = status(mesh).await?;
        ensure!(history["state"] == "prometheus", "{history}");
        Ok(format!("{requests} of {COUNT} requests, {direct:.0} by PromQL, {charted} on a chart"))
    })
}

/// The requests of the last hour, added up over the steps of a chart.
async fn series(mesh: &Mesh, begun: SystemTime) -> Result<f64> {
    // The dashboard's way in, and its question for a chart.
    let (mut connection, cookie) = super::super::observe::signed_in(mesh).await?;
    let answer = connection
        .get(&format!("/v1/series?of=service/default/{NAME}&metrics=requests,rps&points=360"), &[("cookie", &cookie)])
        .await?
        .json()?;
    let lines = answer["series"].as_array().context("no series")?;
    let requests = lines.iter().find(|line| line["metric"] == "requests").context("no requests")?;
    let values = requests["values"].as_array().context("no values")?;
    let sum: f64 = values.iter().filter_map(Value::as_f64).sum();
    let took = begun.elapsed().unwrap_or_default();
    // Each step loses what comes between its last sample and the next one's first.
    ensure!((90.0..=220.0).contains(&sum), "{sum} requests on the chart, {took:?} after the first: {requests}");
    Ok(sum)
}

async fn status(mesh: &Mesh) -> Result<Value> {
    let (mut connection, cookie) = super::super::observe::signed_in(mesh).await?;
    let answer = connection.get("/v1/observe", &[("cookie", &cookie)]).await?.json()?;
    Ok(answer["history"].clone())
}
