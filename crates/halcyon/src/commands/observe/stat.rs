//! `halcyon stat` and `halcyon routes`: requests, success, latency and bytes.

use std::process::ExitCode;

use anyhow::Result;
use observe::documents::{Stat, StatRow};

use super::{bytes, connections, health, plain, requests, show, workload};
use crate::cli::{RoutesArgs, StatArgs};
use crate::client::{Client, Query};

/// `halcyon stat`.
pub async fn run(client: Client, args: StatArgs) -> Result<ExitCode> {
    let query = Query::new("/v1/stat")
        .and("by", args.by.word())
        .and_some("name", args.name.as_deref())
        .and_some("to", args.to.as_deref().map(workload))
        .and_some("direction", args.outbound.then_some("outbound"));
    let head = ["NAMESPACE", "NAME", "HEALTH", "RPS", "SUCCESS", "P50", "P95", "P99", "IN", "OUT", "TCP"];
    show(&client, query, &args.figures, (head, row), nothing).await
}

fn row(row: &StatRow) -> [String; 11] {
    let [rps, success, p50, p95, p99] = requests(&row.traffic);
    let [received, sent] = bytes(&row.traffic);
    let name = if row.name.is_empty() { "-".to_owned() } else { plain(&row.name) };
    let tcp = connections(&row.traffic);
    [plain(&row.namespace), name, health(row.health), rps, success, p50, p95, p99, received, sent, tcp]
}

/// `halcyon routes`.
pub async fn routes(client: Client, args: RoutesArgs) -> Result<ExitCode> {
    let query = Query::new("/v1/stat").and("by", "route").and_some("name", args.service.as_deref());
    let head = ["SERVICE", "ROUTE", "HEALTH", "RPS", "SUCCESS", "P50", "P95", "P99"];
    show(&client, query, &args.figures, (head, route), nothing).await
}

fn route(row: &StatRow) -> [String; 8] {
    let [rps, success, p50, p95, p99] = requests(&row.traffic);
    let service = plain(row.service.as_deref().unwrap_or("-"));
    let route = if row.name.is_empty() { "(none)".to_owned() } else { plain(&row.name) };
    [service, route, health(row.health), rps, success, p50, p95, p99]
}

fn nothing(stat: &Stat) -> String {
    format!(
        "nothing passed in the last {} s that fits; `halcyon status` shows which proxies are connected",
        stat.window_s
    )
}
