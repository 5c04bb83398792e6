//! `halcyon tap`: requests as they pass.

use std::process::ExitCode;

use anyhow::Result;
use observe::documents::{TapEvent, TapHeader};
use serde::Deserialize;

use super::{millis, plain, workload};
use crate::cli::{Form, TapArgs, Which};
use crate::client::{Client, Query};
use crate::print::{self, Colour};

/// The question for requests of this kind.
pub fn query(which: &Which) -> Query {
    // A name with a dot is a host, and not a workload.
    let to = which.to.as_deref().map(|to| if to.contains('.') { to.to_owned() } else { workload(to) });
    Query::new("/v1/tap")
        .and("perSecond", which.per_second)
        .and_some("source", which.from.as_deref().map(workload))
        .and_some("destination", to)
        .and_some("method", which.method.as_deref())
        .and_some("path", which.path.as_deref())
        .and_some("authority", which.authority.as_deref())
        .and_some("status", which.status.as_deref())
        .and_some("minMs", which.slower_than.map(|least| least.as_millis()))
}

/// Some were not shown.
#[derive(Deserialize)]
pub struct Loss {
    /// How many.
    pub count: u64,
    /// Why.
    pub why: String,
}

/// `halcyon tap`.
pub async fn run(client: Client, args: TapArgs) -> Result<ExitCode> {
    let query = query(&args.which)
        .and_some("headers", args.headers.then_some(true))
        .and_some("bodyBytes", (args.bodies > 0).then_some(args.bodies));
    let mut events = client.events(&query).await?;
    let mut shown = 0;
    while let Some(event) = events.next().await? {
        match event.name.as_str() {
            "exchange" => {
                match args.output {
                    Form::Json => print::out!("{}", event.data),
                    Form::Text => show(&serde_json::from_str(&event.data)?, print::to_terminal()),
                }
                shown += 1;
                if args.count.is_some_and(|most| shown >= most) {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            "loss" => {
                let Loss { count, why } = serde_json::from_str(&event.data)?;
                print::note(&format!("{count} not shown: {}", plain(&why)));
            }
            _ => {}
        }
    }
    print::note("the control plane ended the tap");
    Ok(ExitCode::SUCCESS)
}

fn show(event: &TapEvent, terminal: bool) {
    let status = match (&event.grpc_status, event.status) {
        (Some(grpc), status) => format!("{status} grpc {grpc}"),
        (None, 0) => "no response".to_owned(),
        (None, status) => status.to_string(),
    };
    let colour = match (&event.grpc_status, event.status) {
        (Some(grpc), _) if grpc != "0" => Colour::Red,
        (_, 0 | 500..) => Colour::Red,
        (_, 400..) => Colour::Yellow,
        _ => Colour::Green,
    };
    let or = |text: &str, or: &str| if text.is_empty() { or.to_owned() } else { plain(text) };
    let to = if event.destination.is_empty() { or(&event.service, "unknown") } else { plain(&event.destination) };
    let time = event.time.split('T').nth(1).unwrap_or(&event.time).trim_end_matches('Z');
    let secured = if event.security == "mutual_tls" { " mTLS" } else { "" };
    let flags = if event.flags.is_empty() { String::new() } else { format!(" {}", plain(&event.flags)) };
    print::out!(
        "{time} {} {} → {to}{secured}  {} {}{}  {}{flags} {}",
        if event.reporter == "source" { "out" } else { "in " },
        or(&event.source, "unknown"),
        plain(&event.method),
        plain(&event.authority),
        plain(&event.path),
        print::paint(&status, colour, terminal),
        millis(event.duration_ms),
    );
    if !event.reason.is_empty() {
        print::out!("    {}", print::paint(&plain(&event.reason), Colour::Yellow, terminal));
    }
    for (mark, headers) in [(">", &event.request_headers), ("<", &event.response_headers)] {
        for TapHeader { name, value } in headers.iter().flatten() {
            print::out!("    {mark} {}: {}", plain(name), plain(value));
        }
    }
    for (mark, body) in [(">", &event.request_body), ("<", &event.response_body)] {
        if let Some(body) = body {
            body.lines().for_each(|line| print::out!("    {mark}  {}", plain(line)));
        }
    }
}
