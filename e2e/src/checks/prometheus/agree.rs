//! A known mix of requests, counted once, and told by everybody: the proxies' metrics, the control plane's figures,
//! Prometheus and the access log have to tell the same numbers, by status, gRPC status and flags.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{SOON, open, traffic};
use crate::mesh::Mesh;
use crate::poll;
use crate::prometheus::{self, Prometheus, Series};
use crate::runner::Outcome;
use crate::web;
use crate::world::World;

/// A workload that nobody called before.
const NAME: &str = "ledger";
/// Statuses, what else the request says, and how often it is sent.
const HTTP: [(u16, &str, u32); 4] = [(200, "", 37), (404, "", 11), (500, "", 7), (418, "teapot", 5)];
/// gRPC calls by the names that `origins grpc-client` has for them, their status, and how often.
const GRPC: [(&str, &str, u32); 2] = [("unary", "0", 9), ("status", "5", 4)];

/// Status, gRPC status and flags of a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    code: String,
    grpc: String,
    flags: String,
}

/// How many requests there were of a kind, and bytes of their bodies there and back.
#[derive(Clone, PartialEq, Eq, Default)]
struct Counts(BTreeMap<Kind, [u64; 3]>);

impl Kind {
    fn new(code: &str, grpc: &str, flags: &str) -> Self {
        // What is not there has several spellings.
        let known = |text: &str| if text == "-" { String::new() } else { text.to_owned() };
        Self { code: code.to_owned(), grpc: known(grpc), flags: known(flags) }
    }
}

impl Counts {
    fn add(&mut self, kind: Kind, what: usize, count: u64) {
        self.0.entry(kind).or_default()[what] += count;
    }

    /// What was sent, as callers or as the called side have it: a fault that is injected never gets there.
    fn sent(by_source: bool) -> Self {
        let mut sent = Self::default();
        for (code, fault, count) in HTTP {
            if fault.is_empty() {
                sent.add(Kind::new(&code.to_string(), "", ""), 0, count.into());
            } else if by_source {
                sent.add(Kind::new(&code.to_string(), "", "FI"), 0, count.into());
            }
        }
        GRPC.iter().for_each(|(_, status, count)| sent.add(Kind::new("200", status, ""), 0, (*count).into()));
        sent
    }

    /// Of one metric, as Prometheus or a proxy has it.
    fn take(&mut self, what: usize, series: &[Series]) -> Result<()> {
        for one in series {
            let kind =
                Kind::new(one.label("response_code"), one.label("grpc_response_status"), one.label("response_flags"));
            ensure!(one.value.fract() == 0.0, "{} requests: {:?}", one.value, one.labels);
            self.add(kind, what, one.value as u64);
        }
        Ok(())
    }

    /// The same without bytes.
    fn requests(&self) -> Self {
        Self(self.0.iter().map(|(kind, [requests, ..])| (kind.clone(), [*requests, 0, 0])).collect())
    }

    fn total(&self) -> u64 {
        self.0.values().map(|[requests, ..]| requests).sum()
    }

    fn is(&self, whose: &str, expected: &Self) -> Result<()> {
        ensure!(self == expected, "{whose}: {self:?}; expected {expected:?}");
        Ok(())
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (Kind { code, grpc, flags }, counts) in &self.0 {
            write!(f, "[{code} {grpc} {flags}: {counts:?}] ")?;
        }
        Ok(())
    }
}

/// What is counted, in the order of [`Counts`].
const METRICS: [&str; 3] = ["istio_requests_total", "istio_request_bytes_sum", "istio_response_bytes_sum"];

/// What a proxy tells scrapers.
async fn told(proxy: IpAddr, reporter: &str) -> Result<Counts> {
    let text = web::get((proxy, 15020).into(), "/stats/prometheus", &[]).await?.text();
    let mut counts = Counts::default();
    for (what, metric) in METRICS.into_iter().enumerate() {
        let mut series = prometheus::told(&text, metric)?;
        series.retain(|one| one.label("reporter") == reporter && one.label("destination_service_name") == NAME);
        counts.take(what, &series)?;
    }
    Ok(counts)
}

async fn scraped(prometheus: &Prometheus, reporter: &str) -> Result<Counts> {
    let mut counts = Counts::default();
    for (what, metric) in METRICS.into_iter().enumerate() {
        let selector = format!("{metric}{{reporter=\"{reporter}\", destination_service_name=\"{NAME}\"}}");
        let sum = format!("sum by (response_code, grpc_response_status, response_flags) ({selector})");
        counts.take(what, &prometheus.query(&sum).await?)?;
    }
    Ok(counts)
}

/// What stands in the access log: the called side hands on to what is its own.
fn logged(file: &Path, by_source: bool) -> Result<Counts> {
    let mut counts = Counts::default();
    for line in std::fs::read_to_string(file).with_context(|| file.display().to_string())?.lines() {
        let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let text = |key: &str| line[key].as_str().map_or_else(|| line[key].to_string(), str::to_owned);
        let absent = |key: &str| if line[key].is_null() { String::new() } else { text(key) };
        if text("cluster").starts_with("inbound|") == by_source {
            continue;
        }
        let kind = Kind::new(&text("code"), &absent("grpc"), &absent("flags"));
        counts.add(kind.clone(), 0, 1);
        counts.add(kind.clone(), 1, text("received").parse().context("bytes")?);
        counts.add(kind, 2, text("sent").parse().context("bytes")?);
    }
    Ok(counts)
}

/// What the control plane has on the edges to the service.
async fn drawn(mesh: &Mesh) -> Result<Counts> {
    let window = window(mesh)?;
    let graph = mesh.halcyon(&["graph", "-o", "json", "--window", &window]).await?.good()?;
    let graph: Value = serde_json::from_str(&graph.out).context("halcyon graph")?;
    let mut counts = Counts::default();
    for edge in graph["edges"].as_array().context("no edges")? {
        let is_ours = edge["services"].as_array().is_some_and(|all| all.iter().any(|it| it["name"] == NAME));
        for response in edge["responses"].as_array().into_iter().flatten().filter(|_| is_ours) {
            let text = |key: &str| response[key].as_str().unwrap_or_default();
            let requests = response["requests"].as_u64().context("no count of requests")?;
            counts.add(Kind::new(text("code"), text("grpcStatus"), text("flags")), 0, requests);
        }
    }
    Ok(counts)
}

/// Requests of the service's row in `halcyon stat`.
async fn summed(mesh: &Mesh) -> Result<u64> {
    let window = window(mesh)?;
    let stat = mesh.halcyon(&["stat", "service", NAME, "-o", "json", "--window", &window]).await?.good()?;
    let stat: Value = serde_json::from_str(&stat.out).context("halcyon stat")?;
    stat["rows"][0]["traffic"]["requests"].as_u64().with_context(|| format!("no count of requests: {stat}"))
}

/// As far back as the control plane remembers by itself: before that it asks Prometheus.
fn window(mesh: &Mesh) -> Result<String> {
    Ok(format!("{}s", mesh.age()?.as_secs().saturating_sub(1).clamp(1, 600)))
}

/// An access log of all proxies.
fn log_rules(file: &Path) -> String {
    let format = r#"{"code": "%RESPONSE_CODE%", "grpc": "%GRPC_STATUS_NUMBER%", "flags": "%RESPONSE_FLAGS%", "cluster": "%UPSTREAM_CLUSTER%", "received": "%BYTES_RECEIVED%", "sent": "%BYTES_SENT%"}"#;
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n    \
         accessLogFile: {}\n    accessLogEncoding: JSON\n    accessLogFormat: '{format}'\n",
        file.display()
    )
}

/// Sends, and looks at what everybody tells.
pub fn figures(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        let (mesh, prometheus) = open(world).await?;
        traffic::prepare(mesh, NAME).await?;
        let file: PathBuf = place.run.join("ledger.log");
        mesh.apply_text("log.yaml", &log_rules(&file)).await?;
        let compared = compare(&place, mesh, &prometheus, &file).await;
        let back = mesh.halcyon(&["delete", "configmap", "istio", "-n", "istio-system"]).await?.good();
        back.context("the access log is not turned off")?;
        compared
    })
}

async fn compare(place: &crate::place::Place, mesh: &Mesh, prometheus: &Prometheus, file: &Path) -> Result<String> {
    let [gateway, called] = ["ingressgateway".to_owned(), format!("{NAME}-v1")];
    let (gateway, called) = (mesh.proxy(&gateway).await?.address, mesh.proxy(&called).await?.address);
    poll::until("a control plane that remembers", SOON, async || {
        ensure!(mesh.age()? > Duration::from_secs(5), "it has just begun");
        Ok(())
    })
    .await?;
    for (code, fault, count) in HTTP {
        for _ in 0..count {
            let path = format!("/status/{}", if fault.is_empty() { code } else { 200 });
            traffic::ask(mesh, &path, fault, code).await?;
        }
    }
    for (call, _, count) in GRPC {
        for _ in 0..count {
            traffic::grpc(place, mesh, call).await?;
        }
    }
    let mut all = Vec::new();
    for (reporter, by_source, proxy) in [("source", true, gateway), ("destination", false, called)] {
        let expected = Counts::sent(by_source);
        let counted = poll::until("what was sent in the proxies' metrics", SOON, async || {
            let counted = told(proxy, reporter).await?;
            counted.requests().is(reporter, &expected)?;
            Ok(counted)
        })
        .await?;
        poll::until("the same in Prometheus", SOON, async || {
            scraped(prometheus, reporter).await?.is(reporter, &counted)
        })
        .await?;
        poll::until("the same in the access log", SOON, async || logged(file, by_source)?.is(reporter, &counted))
            .await?;
        all.push(counted);
    }
    let expected = Counts::sent(true);
    poll::until("the same on the graph", SOON, async || drawn(mesh).await?.is("graph", &expected)).await?;
    poll::until("the same in `halcyon stat`", SOON, async || {
        let found = summed(mesh).await?;
        ensure!(found == expected.total(), "{found} requests; expected {}", expected.total());
        Ok(())
    })
    .await?;
    Ok(format!("{} requests of {} kinds", all[0].total(), all[0].0.len()))
}
