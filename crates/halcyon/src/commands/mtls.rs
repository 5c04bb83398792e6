//! `halcyon mtls plan`: the way to mutual TLS alone, in the order in which nothing breaks.

mod measured;
mod steps;

use std::process::ExitCode;

use anyhow::Result;
use control::v1::{MutualTlsPlan, MutualTlsQuery};
use serde_json::json;

use crate::cli::{Form, MtlsCommand, MtlsPlanArgs};
use crate::client::Client;
use crate::print::{self, Colour, out};
use measured::{Measured, Unknown};

/// What could not be known of some proxy.
const UNKNOWN: u8 = 2;

/// What the command says.
pub async fn run(client: Client, command: MtlsCommand) -> Result<ExitCode> {
    let MtlsCommand::Plan(args) = command;
    let query = MutualTlsQuery {
        namespace: args.namespace.clone().unwrap_or_default(),
        workload: args.workload.clone().unwrap_or_default(),
    };
    let plan = client.mutual_tls(&query).await?;
    let measured = measured::ask(&client, &plan.servers, args.window).await?;
    if args.apply {
        show(&plan, &measured, &args);
        return steps::take(&client, &plan, &query, &args).await;
    }
    match args.output {
        Form::Json => out!("{}", serde_json::to_string_pretty(&as_json(&plan, &measured))?),
        Form::Text => {
            show(&plan, &measured, &args);
            show_steps(&plan);
        }
    }
    Ok(verdict(&measured))
}

fn verdict(measured: &Measured) -> ExitCode {
    match (measured.senders.is_empty(), measured.unknown.is_empty()) {
        (false, _) => ExitCode::FAILURE,
        (true, false) => ExitCode::from(UNKNOWN),
        (true, true) => ExitCode::SUCCESS,
    }
}

fn as_json(plan: &MutualTlsPlan, measured: &Measured) -> serde_json::Value {
    let senders = measured.senders.iter().map(|it| {
        json!({
            "server": it.server, "port": it.port, "from": it.from, "address": it.address,
            "connections": it.connections, "open": it.open, "secondsAgo": it.seconds_ago, "breaks": it.breaks,
        })
    });
    let unknown = measured.unknown.iter().map(|it| json!({"server": it.server, "reason": it.reason}));
    json!({
        "plan": plan,
        "plainText": senders.collect::<Vec<_>>(),
        "unknown": unknown.collect::<Vec<_>>(),
    })
}

fn show(plan: &MutualTlsPlan, measured: &Measured, args: &MtlsPlanArgs) {
    if plan.servers.is_empty() {
        return print::note("no connected sidecar serves anything there; `halcyon status` names who is connected");
    }
    let rows = plan.servers.iter().flat_map(|server| {
        let name = format!("{}/{}", server.namespace, server.workload);
        server.ports.iter().map(move |port| {
            let takes = match port.mode.as_str() {
                "STRICT" => "mutual TLS",
                "DISABLE" => "plain text",
                _ => "both",
            };
            [name.clone(), port.port.to_string(), port.mode.clone(), takes.to_owned()]
        })
    });
    out!("{}", print::table(["SERVER", "PORT", "MODE", "TAKES"], rows));
    if measured.senders.is_empty() {
        out!("\nnobody was seen who sent plain text within {}", base::format_duration(args.window));
    } else {
        let rows = measured.senders.iter().map(|it| {
            let last = if it.open > 0 { "now".to_owned() } else { format!("{:.0}s ago", it.seconds_ago) };
            let breaks = if it.breaks { "would be refused" } else { "-" };
            [
                it.from.clone(),
                it.server.clone(),
                it.port.to_string(),
                it.connections.to_string(),
                last,
                breaks.to_owned(),
            ]
        });
        let head = ["PLAIN TEXT FROM", "TO", "PORT", "CONNECTIONS", "LAST", "WITH STRICT"];
        out!("\n{}", print::paint(&print::table(head, rows), Colour::Yellow, print::to_terminal()));
    }
    for Unknown { server, reason } in &measured.unknown {
        out!("\nnot known of {server}: {reason}");
    }
    for client in &plan.clients {
        out!("\n{} ({}) sends {} to {}", client.document, client.at, what(&client.mode), client.host);
    }
    plan.notes.iter().for_each(|note| out!("\nnote: {note}"));
}

fn what(mode: &str) -> &str {
    if mode == "DISABLE" { "plain text" } else { "TLS of its own" }
}

fn show_steps(plan: &MutualTlsPlan) {
    if plan.steps.is_empty() {
        return out!("\nnothing is left to be done");
    }
    for (number, step) in plan.steps.iter().enumerate() {
        out!("\n# {}. {}", number + 1, step.title);
        for document in &step.documents {
            out!("---\n{}", api::yaml::write(document).trim_end());
        }
    }
    print::note("\nnothing was applied; `halcyon mtls plan --apply` takes these steps");
}
