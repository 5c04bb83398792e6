//! `halcyon mtls plan --apply`: the steps, one by one.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use control::v1::{ApplyRequest, Document, MutualTlsPlan, MutualTlsQuery, MutualTlsStep, ProxyStatus, SyncState};
use tokio::time::{Instant, sleep};

use super::UNKNOWN;
use super::measured::{self, Measured};
use crate::cli::MtlsPlanArgs;
use crate::client::{Client, Verdict};
use crate::print::{self, out};

/// Every proxy acknowledges a step in this time, or the way ends there.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often they are asked.
const PAUSE: Duration = Duration::from_millis(200);

/// Takes the steps.
pub async fn take(
    client: &Client,
    plan: &MutualTlsPlan,
    query: &MutualTlsQuery,
    args: &MtlsPlanArgs,
) -> Result<ExitCode> {
    if plan.steps.is_empty() {
        out!("\nnothing is left to be done");
        return Ok(ExitCode::SUCCESS);
    }
    for (number, step) in plan.steps.iter().enumerate() {
        if step.strict
            && let Some(code) = may_not(client, query, args).await?
        {
            return Ok(code);
        }
        out!("\n{}. {}", number + 1, step.title);
        if !apply(client, step).await? {
            return Ok(ExitCode::FAILURE);
        }
    }
    out!("\ndone: every proxy has acknowledged it");
    Ok(ExitCode::SUCCESS)
}

/// Looks again before plain text is refused: steps before may have changed who sends it.
async fn may_not(client: &Client, query: &MutualTlsQuery, args: &MtlsPlanArgs) -> Result<Option<ExitCode>> {
    let plan = client.mutual_tls(query).await?;
    let Measured { senders, unknown } = measured::ask(client, &plan.servers, args.window).await?;
    let refused: Vec<_> = senders.iter().filter(|sender| sender.breaks).collect();
    for sender in &refused {
        print::note(&format!("{} sends plain text to {} port {}", sender.from, sender.server, sender.port));
    }
    if !refused.is_empty() {
        print::note(&format!(
            "stopped before STRICT, which would refuse this. Put these callers into the mesh; what was last seen more than {} ago \
             does not count (--window)",
            base::format_duration(args.window)
        ));
        return Ok(Some(ExitCode::FAILURE));
    }
    if !unknown.is_empty() && !args.ignore_unknown {
        unknown.iter().for_each(|it| print::note(&format!("not known of {}: {}", it.server, it.reason)));
        print::note(
            "stopped before STRICT, since it cannot be known who would be refused; go on with --ignore-unknown",
        );
        return Ok(Some(ExitCode::from(UNKNOWN)));
    }
    Ok(None)
}

/// True when every proxy has taken the step.
async fn apply(client: &Client, step: &MutualTlsStep) -> Result<bool> {
    let document = |(index, json): (usize, &serde_json::Value)| Document {
        file: format!("halcyon mtls plan, document {}", index + 1),
        text: api::yaml::write(json),
    };
    let documents: Vec<Document> = step.documents.iter().enumerate().map(document).collect();
    let version = match client.apply(&ApplyRequest { documents, ..ApplyRequest::default() }).await? {
        Verdict::Accepted(done) => {
            done.results.iter().for_each(|result| out!("   {} {}", result.key, result.outcome));
            done.version
        }
        Verdict::Refused(failure) => {
            failure.problems.iter().for_each(|problem| print::note(&problem.to_string()));
            print::note(&format!("stopped: the control plane refuses this step: {}", failure.error));
            return Ok(false);
        }
    };
    acknowledged(client, version).await
}

async fn acknowledged(client: &Client, version: u64) -> Result<bool> {
    let end = Instant::now() + PATIENCE;
    // What is on its way may not be counted yet when it is asked first.
    let mut shown = 0;
    loop {
        let status = client.status().await?;
        if let Some((node, reason)) = status.proxies.iter().find_map(refusal) {
            print::note(&format!("stopped: {node} refuses it and runs what it had before: {reason}"));
            return Ok(false);
        }
        let late: Vec<&str> =
            status.proxies.iter().filter(|proxy| is_late(proxy, version)).map(|proxy| &*proxy.node).collect();
        shown = if late.is_empty() { shown + 1 } else { 0 };
        if shown == 2 {
            out!("   acknowledged by {} proxies", status.proxies.len());
            return Ok(true);
        }
        if Instant::now() >= end {
            print::note(&format!("stopped: not acknowledged within {} s by {}", PATIENCE.as_secs(), late.join(", ")));
            return Ok(false);
        }
        sleep(PAUSE).await;
    }
}

fn refusal(proxy: &ProxyStatus) -> Option<(&str, &str)> {
    let kind = proxy.types.iter().find(|kind| kind.state == SyncState::Nacked)?;
    Some((&proxy.node, kind.nack.as_deref().unwrap_or("no reason was given")))
}

fn is_late(proxy: &ProxyStatus, version: u64) -> bool {
    proxy.version < version || proxy.types.iter().any(|kind| kind.state == SyncState::Stale)
}
