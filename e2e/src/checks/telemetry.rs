//! Telemetry: what proxies count and write down changes with the documents, for whom they are, and back.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::bookinfo::Visitor;
use crate::mesh::Mesh;
use crate::poll;
use crate::runner::Check;
use crate::web;
use crate::world::World;

const GROUP: &str = "telemetry";
/// Proxies write a line and count a request when it has ended, which its client does not see.
const SOON: Duration = Duration::from_secs(10);

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new(GROUP, "labels by expressions, for whom they are written", 60, |w| Box::pin(labels(w))),
        Check::new(GROUP, "access logs of what a filter takes", 60, |w| Box::pin(logs(w))),
        Check::new(GROUP, "what cannot be is said", 30, |w| Box::pin(mistakes(w))),
    ]
}

fn telemetry(name: &str, spec: &str) -> String {
    format!("apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {{name: {name}}}\nspec:\n{spec}")
}

/// Whole pages, each of which asks for details.
async fn pages(mesh: &Mesh) -> Result<()> {
    for _ in 0..10 {
        Visitor::anonymous(mesh.gateway).page().await?;
    }
    Ok(())
}

/// The series of a metric at a workload's proxy.
async fn series(mesh: &Mesh, workload: &str, metric: &str) -> Result<Vec<String>> {
    let text = mesh.metrics(workload).await?;
    Ok(text.lines().filter(|line| line.starts_with(&format!("{metric}{{"))).map(str::to_owned).collect())
}

async fn labels(world: &mut World) -> Result<String> {
    let mesh = world.demo().await?;
    mesh.clear().await?;
    let spec = "  selector: {matchLabels: {app: details}}\n  metrics:\n  - overrides:\n    - match: {metric: REQUEST_COUNT}\n      tagOverrides:\n        request_path: {value: request.url_path}\n        request_protocol: {operation: REMOVE}\n    - match: {metric: REQUEST_SIZE}\n      disabled: true\n";
    mesh.apply_text("telemetry-labels.yaml", &telemetry("labels", spec)).await?;
    // Connections that stand end as they began; the next ones are counted by what holds now.
    let counted = poll::until("requests of details under their path", SOON, async || {
        pages(mesh).await?;
        let all = series(mesh, "details-v1", "istio_requests_total").await?;
        let ours: Vec<String> = all.into_iter().filter(|line| line.contains("request_path=\"/details/")).collect();
        ensure!(!ours.is_empty(), "no series has the label");
        Ok(ours)
    })
    .await?;
    ensure!(!counted.iter().any(|line| line.contains("request_protocol=")), "{counted:?}");
    let others = series(mesh, "ratings-v1", "istio_requests_total").await?;
    ensure!(!others.iter().any(|line| line.contains("request_path=")), "the selector is for details alone: {others:?}");
    poll::until("requests of which a metric that is disabled knows nothing", SOON, async || {
        let before = series(mesh, "details-v1", "istio_request_bytes_count").await?;
        pages(mesh).await?;
        let after = series(mesh, "details-v1", "istio_request_bytes_count").await?;
        ensure!(after == before, "{before:?} became {after:?}");
        Ok(())
    })
    .await?;
    mesh.delete_all(&["telemetry"]).await?;
    Ok(format!("{} series with the label", counted.len()))
}

async fn logs(world: &mut World) -> Result<String> {
    let settings = world.place.rule("tracing.yaml");
    let mesh = world.demo().await?;
    mesh.clear().await?;
    let file = mesh.logs().join("telemetry.log");
    let config = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n    defaultConfig: {{tracing: {{sampling: 100}}}}\n    extensionProviders:\n    - name: file\n      envoyFileAccessLog: {{path: {}, logFormat: {{text: \"%REQ(:PATH)% %RESPONSE_CODE%\"}}}}\n",
        file.display()
    );
    let spec = "  selector: {matchLabels: {istio: ingressgateway}}\n  accessLogging:\n  - providers: [{name: file}]\n    filter: {expression: response.code == 404}\n";
    mesh.apply_text("telemetry-logs.yaml", &format!("{config}---\n{}", telemetry("logs", spec))).await?;
    Visitor::anonymous(mesh.gateway).spread(5).await?;
    for _ in 0..3 {
        let answer = web::get(mesh.gateway, "/nothing/here", &[]).await?;
        ensure!(answer.status == 404, "status {}", answer.status);
    }
    let lines = poll::until("three lines in the log", SOON, async || {
        let lines: Vec<String> = std::fs::read_to_string(&file)?.lines().map(str::to_owned).collect();
        ensure!(lines.len() >= 3, "{lines:?}");
        Ok(lines)
    })
    .await?;
    ensure!(lines.iter().all(|line| line == "/nothing/here 404") && lines.len() == 3, "{lines:?}");
    mesh.delete_all(&["telemetry"]).await?;
    mesh.apply(&[settings]).await?;
    Ok(format!("{} lines", lines.len()))
}

async fn mistakes(world: &mut World) -> Result<String> {
    let place = world.place.clone();
    let mesh = world.demo().await?;
    let refused = [
        ("  accessLogging: [{filter: {expression: response.cod >= 400}}]\n", "did you mean `response.code`?"),
        ("  accessLogging: [{filter: {expression: 'response.code >='}}]\n", "cannot be read: at 1:"),
        ("  metrics: [{overrides: [{tagOverrides: {a-b: {value: request.host}}}]}]\n", "is no name of a label"),
        ("  tracing: [{randomSamplingPercentage: 101}]\n", "a number from 0 to 100"),
    ];
    for (number, (spec, expected)) in refused.iter().enumerate() {
        let file = place.write(&format!("telemetry-wrong-{number}.yaml"), &telemetry("wrong", spec))?;
        let said = mesh.halcyon(&["apply", "-f", &file.display().to_string()]).await?;
        ensure!(said.code != Some(0) && said.err.contains(expected), "{spec}: {}{}", said.out, said.err);
    }
    Ok(format!("{} documents", refused.len()))
}
