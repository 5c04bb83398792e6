//! `halcyon edges`: who calls whom, as whom, and whether by mutual TLS.

use std::process::ExitCode;

use anyhow::Result;
use observe::documents::{Stat, StatRow};

use super::{connections, health, plain, requests, show, workload};
use crate::cli::EdgesArgs;
use crate::client::{Client, Query};
use crate::print::{self, Colour};

/// `halcyon edges`.
pub async fn run(client: Client, args: EdgesArgs) -> Result<ExitCode> {
    let query = Query::new("/v1/stat").and("by", "edge").and_some("to", args.to.as_deref().map(workload));
    let head = ["FROM", "TO", "SECURED", "RPS", "SUCCESS", "P99", "TCP", "HEALTH", "FROM IDENTITY", "TO IDENTITY"];
    let none = |stat: &Stat| format!("nobody called anybody in the last {} s, as far as it fits", stat.window_s);
    show(&client, query, &args.figures, (head, row), none).await
}

fn row(row: &StatRow) -> [String; 10] {
    let terminal = print::to_terminal();
    let secured = match row.security.as_deref() {
        Some("mutual_tls") => print::paint("mTLS", Colour::Green, terminal),
        Some("none") => print::paint("no", Colour::Yellow, terminal),
        _ => "unknown".to_owned(),
    };
    let [rps, success, _, _, p99] = requests(&row.traffic);
    let text = |text: Option<&str>| plain(text.filter(|text| !text.is_empty()).unwrap_or("-"));
    // All of them begin so.
    let identity = |id: Option<&str>| text(id.map(|id| id.strip_prefix("spiffe://").unwrap_or(id)));
    [
        text(row.from.as_deref()),
        text(row.to.as_deref()),
        secured,
        rps,
        success,
        p99,
        connections(&row.traffic),
        health(row.health),
        identity(row.source_principal.as_deref()),
        identity(row.destination_principal.as_deref()),
    ]
}
