//! `halcyon status`: every proxy, and whether it took what it was sent.

use std::process::ExitCode;

use anyhow::Result;
use control::v1::{ProxyStatus, Status, SyncState};

use super::get::age;
use super::validate::{count, print_problems};
use crate::cli::{Form, StatusArgs};
use crate::client::Client;
use crate::print::{self, Colour};

const KINDS: [&str; 4] = ["CDS", "EDS", "LDS", "RDS"];

/// Always exit code 0 when the control plane answers: a status is no verdict.
pub async fn run(client: Client, args: StatusArgs) -> Result<ExitCode> {
    let status = client.status().await?;
    let problems = client.problems().await?;
    if args.output == Form::Json {
        let both = serde_json::json!({ "status": status, "problems": problems.problems });
        crate::print::out!("{}", serde_json::to_string_pretty(&both)?);
        return Ok(ExitCode::SUCCESS);
    }
    print_control(&status);
    if status.proxies.is_empty() {
        crate::print::out!("\nno proxy is connected; `halcyon run --service NAME --port PORT -- PROGRAM` starts one");
    } else {
        crate::print::out!("\n{}", proxies(&status.proxies));
    }
    for (proxy, kind, reason) in refusals(&status.proxies) {
        let line = format!("{proxy} refused {kind}: {reason}");
        crate::print::out!("\n{}", print::paint(&line, Colour::Red, print::to_terminal()));
    }
    for (proxy, reason) in not_ready(&status.proxies) {
        let line = format!("{proxy} is not ready and gets no requests: {reason}");
        crate::print::out!("\n{}", print::paint(&line, Colour::Yellow, print::to_terminal()));
    }
    status.control.notices.iter().for_each(|notice| crate::print::out!("note: {notice}"));
    if !problems.problems.is_empty() {
        crate::print::out!("\n{} in what is applied:", count(problems.problems.len(), "problem"));
        print_problems(&problems.problems, &Default::default());
    }
    Ok(ExitCode::SUCCESS)
}

fn print_control(status: &Status) {
    let control = &status.control;
    crate::print::out!(
        "control plane {} up {}s, version {} of the mesh: {}, {}, {}",
        control.program,
        control.uptime_s,
        control.version,
        count(control.resources, "resource"),
        count(control.services, "service"),
        count(control.workloads, "workload"),
    );
    for root in control.roots.iter().filter(|root| root.state == "active") {
        crate::print::out!("trust domain {}, root valid until {}", control.trust_domain, root.not_after);
    }
}

fn proxies(list: &[ProxyStatus]) -> String {
    let rows = list.iter().map(|proxy| {
        let state = |kind: &str| {
            let found = proxy.types.iter().find(|t| t.kind == kind);
            found.map_or_else(|| "-".to_owned(), |t| coloured(t.state))
        };
        let [cds, eds, lds, rds] = KINDS.map(state);
        let version = proxy.proxy_version.clone().unwrap_or_else(|| "other".to_owned());
        let ready = match proxy.not_ready {
            None => print::paint("yes", Colour::Green, print::to_terminal()),
            Some(_) => print::paint("no", Colour::Yellow, print::to_terminal()),
        };
        let (name, role, address) = (name(proxy), proxy.role.clone(), proxy.address.to_string());
        [name, role, address, ready, cds, eds, lds, rds, version, age(&proxy.connected)]
    });
    print::table(["PROXY", "ROLE", "ADDRESS", "READY", "CDS", "EDS", "LDS", "RDS", "VERSION", "CONNECTED"], rows)
}

fn coloured(state: SyncState) -> String {
    let colour = match state {
        SyncState::Synced => Colour::Green,
        SyncState::Stale => Colour::Yellow,
        SyncState::Nacked => Colour::Red,
        SyncState::NeverSent => Colour::Dim,
    };
    print::paint(&state.to_string(), colour, print::to_terminal())
}

fn not_ready(list: &[ProxyStatus]) -> impl Iterator<Item = (String, &str)> {
    list.iter().filter_map(|proxy| Some((name(proxy), proxy.not_ready.as_deref()?)))
}

fn name(proxy: &ProxyStatus) -> String {
    format!("{}.{}", proxy.instance, proxy.namespace)
}

fn refusals(list: &[ProxyStatus]) -> impl Iterator<Item = (&str, &str, &str)> {
    list.iter().flat_map(|proxy| {
        let refused = proxy.types.iter().filter(|t| t.state == SyncState::Nacked);
        refused.map(|t| (proxy.node.as_str(), t.kind.as_str(), t.nack.as_deref().unwrap_or("no reason was given")))
    })
}
