//! The way to mutual TLS: a caller that sends plain text is named and holds it up; when it is gone, the way is taken under load.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::identity;
use crate::load::load;
use crate::mesh::Mesh;
use crate::poll;
use crate::runner::{Check, Outcome};
use crate::web::Connection;
use crate::world::World;

const GROUP: &str = "mtls plan";
/// After this plain text is over, for this check.
const WINDOW: &str = "3s";
/// How long the plan may take to see that.
const OVER: Duration = Duration::from_secs(30);

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![Check::new(GROUP, "who sends plain text is named; then STRICT comes without a failed request", 240, the_way)]
}

fn the_way(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let off = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: ratings-plain}\nspec: {host: \
                   ratings, trafficPolicy: {tls: {mode: DISABLE}}}\n";
        let mesh = world.demo().await?;
        mesh.clear().await?;
        mesh.delete_all(&["destinationrule"]).await?;
        mesh.apply_text("plain.yaml", off).await?;
        let at = mesh.proxy("details-v1").await?.at(9080);
        let mut kept = Connection::open(at).await?;
        let answer = kept.send(http::Method::GET, "/details/0", &[], "").await?;
        ensure!(answer.status == 200, "status {}", answer.status);

        let plan = plan(mesh).await?;
        let sender = plain(&plan).find(|it| it["server"] == "default/details-v1").context("the caller is not named")?;
        ensure!(sender["open"].as_u64() >= Some(1) && sender["breaks"] == true, "{sender}");
        let client = plan.pointer("/plan/clients/0/document").and_then(Value::as_str);
        ensure!(client == Some("DestinationRule/default/ratings-plain"), "{client:?}");
        let stopped = mesh.halcyon(&["mtls", "plan", "--apply", "--window", WINDOW]).await?;
        ensure!(stopped.code == Some(1), "exit code {:?}; expected 1: {}", stopped.code, stopped.err);
        ensure!(stopped.err.contains("stopped before STRICT") && stopped.err.contains("details-v1"), "{}", stopped.err);

        drop(kept);
        let (samples, out) = load(mesh.gateway, 40, async {
            poll::until("no plain text any more", OVER, async || {
                let plan = self::plan(mesh).await?;
                ensure!(plain(&plan).next().is_none(), "{}", plan["plainText"]);
                Ok(())
            })
            .await?;
            let done = mesh.halcyon(&["mtls", "plan", "--apply", "--window", WINDOW]).await?.good()?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            Ok(done.out)
        })
        .await?;
        ensure!(out.contains("done: every proxy has acknowledged it"), "{out}");
        let failed: Vec<_> = samples.iter().filter_map(|sample| sample.fault.as_ref()).collect();
        ensure!(failed.is_empty(), "{} of {} requests failed: {:?}", failed.len(), samples.len(), failed.first());
        identity::plain_is_refused(at, "/details/0").await.context("after the last step")?;
        let left = self::plan(mesh).await?;
        ensure!(left.pointer("/plan/steps").and_then(Value::as_array).is_some_and(Vec::is_empty), "{left}");
        mesh.clear().await?;
        Ok(format!("{} requests meanwhile, none failed", samples.len()))
    })
}

fn plain(plan: &Value) -> impl Iterator<Item = &Value> {
    plan["plainText"].as_array().into_iter().flatten()
}

async fn plan(mesh: &Mesh) -> Result<Value> {
    let said = mesh.halcyon(&["mtls", "plan", "-o", "json", "--window", WINDOW]).await?;
    serde_json::from_str(&said.out).with_context(|| format!("halcyon mtls plan: {}", said.err))
}
