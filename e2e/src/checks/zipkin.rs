//! Beside Zipkin's own server: spans of every proxy reach it by its API, as one tree.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::poll;
use crate::runner::Check;
use crate::web;
use crate::world::World;
use crate::zipkin::Zipkin;

const GROUP: &str = "zipkin";
/// Proxies tell their spans within a second or two.
const SOON: Duration = Duration::from_secs(30);

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![Check::new(GROUP, "a page is one tree at Zipkin's own server", 240, |w| Box::pin(page(w)))]
}

/// The server, as the mesh knows it, and that it is told of spans.
fn rules(port: u16) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: zipkin}}
spec:
  hosts: [zipkin.tools]
  ports: [{{number: 9411, name: http, protocol: HTTP}}]
  location: MESH_EXTERNAL
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{http: {port}}}}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    extensionProviders:
    - name: zipkin
      zipkin: {{service: zipkin.tools, port: 9411}}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {{name: spans, namespace: istio-system}}
spec:
  tracing:
  - providers: [{{name: zipkin}}]
    customTags:
      asked: {{formatter: {{value: '%REQ(:METHOD)% over %PROTOCOL%'}}}}
"
    )
}

async fn page(world: &mut World) -> Result<String> {
    let (zipkin, usual) = (Zipkin::start(&world.place).await?, world.place.rule("tracing.yaml"));
    let mesh = world.demo().await?;
    mesh.clear().await?;
    mesh.apply_text("zipkin.yaml", &rules(zipkin.at.port())).await?;
    let mut turn = 0u64;
    let said = poll::until("a whole trace", SOON, async || {
        // The caller has it recorded, and is the first span, which nobody tells.
        turn += 1;
        let (trace, caller) = (format!("{:032x}", 0xa11_ce00 + turn), format!("{turn:016x}"));
        let context = format!("00-{trace}-{caller}-01");
        let page = web::get(mesh.gateway, "/productpage", &[("traceparent", &context)]).await?;
        ensure!(page.status == 200, "status {}", page.status);
        // Spans wait a second for others.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let spans = zipkin.trace(&trace).await?;
        let text = |span: &Value, key: &str| span[key].as_str().unwrap_or_default().to_owned();
        let ids: BTreeSet<String> = spans.iter().map(|span| text(span, "id")).collect();
        let services: BTreeSet<String> =
            spans.iter().map(|span| span["localEndpoint"]["serviceName"].as_str().unwrap_or_default().into()).collect();
        ensure!(spans.len() == 8 && ids.len() == 8, "{} spans of {services:?}", spans.len());
        for span in &spans {
            let parent = text(span, "parentId");
            ensure!(parent == caller || ids.contains(&parent), "nobody's child: {span}");
            ensure!(
                span["tags"]["asked"] == "GET over HTTP/1.1" || span["tags"]["asked"] == "GET over HTTP/2",
                "{span}"
            );
        }
        for service in ["ingressgateway", "productpage", "details", "reviews", "ratings"] {
            ensure!(services.contains(&format!("{service}.default")), "{service} is not among {services:?}");
        }
        Ok(format!("{} spans of {} services", spans.len(), services.len()))
    })
    .await?;
    mesh.clear().await?;
    mesh.apply(&[usual]).await?;
    Ok(said)
}
