//! `halcyon why`: who refused a request or failed, by which rule of which document, and what to do.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use control::v1::{AccessRule, Refusal, RefusalPage, RefusalQuery};

use crate::cli::{Form, WhyArgs};
use crate::client::Client;
use crate::print::{self, Colour};

/// How often `--follow` asks.
const PAUSE: Duration = Duration::from_secs(1);
/// Proxies send what they have to tell within a second; who asks at once waits for it.
const PATIENCE: Duration = Duration::from_secs(3);

/// Exit code 0 if something is known of the request, 1 if nothing is.
pub async fn run(client: Client, args: WhyArgs) -> Result<ExitCode> {
    let query = RefusalQuery {
        request_id: args.request_id.clone().unwrap_or_default(),
        namespace: args.namespace.clone().unwrap_or_default(),
        workload: args.workload.clone().unwrap_or_default(),
        service: args.service.clone().unwrap_or_default(),
        from: args.from.clone().unwrap_or_default(),
        after: 0,
        limit: Some(args.last),
    };
    let page = match args.request_id.is_some() {
        true => patiently(&client, &query).await?,
        false => client.refusals(&query).await?,
    };
    show(&page, &args)?;
    if args.follow {
        return follow(&client, query, &args, page.last).await;
    }
    if page.refusals.is_empty() {
        nothing(&page, &args);
    }
    let is_unknown = args.request_id.is_some() && page.refusals.is_empty();
    Ok(if is_unknown { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Asks until something is known, or the time is over in which it would have come.
async fn patiently(client: &Client, query: &RefusalQuery) -> Result<RefusalPage> {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let page = client.refusals(query).await?;
        if !page.refusals.is_empty() || page.most == 0 || tokio::time::Instant::now() >= end {
            return Ok(page);
        }
        tokio::time::sleep(PAUSE / 4).await;
    }
}

async fn follow(client: &Client, mut query: RefusalQuery, args: &WhyArgs, last: u64) -> Result<ExitCode> {
    query.after = last;
    loop {
        tokio::time::sleep(PAUSE).await;
        let page = client.refusals(&query).await?;
        show(&page, args)?;
        query.after = page.last.max(query.after);
    }
}

fn show(page: &RefusalPage, args: &WhyArgs) -> Result<()> {
    match args.output {
        Form::Json if args.follow => {
            for refusal in &page.refusals {
                crate::print::out!("{}", serde_json::to_string(refusal)?);
            }
        }
        Form::Json => crate::print::out!("{}", serde_json::to_string_pretty(page)?),
        Form::Text if args.request_id.is_some() => page.refusals.iter().for_each(whole),
        Form::Text if page.refusals.is_empty() => {}
        Form::Text => crate::print::out!("{}", table(&page.refusals, !args.follow)),
    }
    Ok(())
}

fn nothing(page: &RefusalPage, args: &WhyArgs) {
    if page.most == 0 {
        return print::note(
            "the control plane keeps no refusals: it was started with `--refusals 0`; see the access logs of the proxies",
        );
    }
    let kept = match (&page.oldest, page.kept) {
        (Some(oldest), kept) => format!("{kept} of at most {} are kept, the oldest of {oldest}", page.most),
        _ => format!("nothing is kept yet; at most {} are", page.most),
    };
    match &args.request_id {
        None => print::note(&format!("nothing was refused and nothing failed that fits; {kept}")),
        Some(id) => {
            print::note(&format!(
                "nobody told of a refusal or failure of the request `{id}`; {kept}, and only until the control plane ends"
            ));
            print::note(
                "a request that was answered by its service is not kept: look at that service. Else: is the id the response's \
                 or the log's `x-request-id`? `halcyon why` lists the newest; the access log of the proxy has every request; \
                 `halcyon explain` and `halcyon authz check` say what a request would meet",
            );
        }
    }
}

fn table(refusals: &[Refusal], with_head: bool) -> String {
    let rows = refusals.iter().map(|it| {
        let what = match it.protocol.as_str() {
            "http" => format!("{} {}{}", it.method, it.host, it.path),
            _ => format!("tcp {}", it.destination),
        };
        let flags = if it.flags.is_empty() { "-".to_owned() } else { it.flags.join(",") };
        let id = if it.request_id.is_empty() { "-".to_owned() } else { it.request_id.clone() };
        [clock(&it.time), it.workload.clone(), short(&it.from), what, it.status.to_string(), flags, it.why.clone(), id]
    });
    let text = print::table(["TIME", "TOLD BY", "FROM", "REQUEST", "STATUS", "FLAGS", "WHY", "REQUEST ID"], rows);
    if with_head { text } else { text.lines().skip(1).collect::<Vec<_>>().join("\n") }
}

fn clock(time: &str) -> String {
    time.split_once('T').map_or(time, |(_, clock)| clock).trim_end_matches('Z').to_owned()
}

/// An identity without what all have in common.
fn short(from: &str) -> String {
    match from.split_once("/ns/").and_then(|(_, rest)| rest.split_once("/sa/")) {
        Some((namespace, account)) => format!("{namespace}/{account}"),
        None => from.to_owned(),
    }
}

/// Everything of one.
fn whole(it: &Refusal) {
    let terminal = print::to_terminal();
    let what = match it.protocol.as_str() {
        "http" => format!("{} {}{}", it.method, it.host, it.path),
        _ => format!("a connection to {}", it.destination),
    };
    let status = if it.protocol == "http" { format!(" answered {}", it.status) } else { " closed".to_owned() };
    let head = format!("{}  {} at {}:{status}", it.time, what, it.workload);
    crate::print::out!("{}", print::paint(&head, Colour::Bold, terminal));
    lines(it).iter().for_each(|line| crate::print::out!("  {line}"));
}

fn lines(it: &Refusal) -> Vec<String> {
    let mut lines = vec![it.why.clone()];
    if let Some(by) = &it.by {
        lines.push(format!("decided by {}", rule(by)));
    }
    if let Some(nearest) = &it.nearest {
        lines.push(format!("nearest is {}", rule(&nearest.rule)));
        for failed in &nearest.failed {
            let field = if failed.field.is_empty() { String::new() } else { format!(" ({})", failed.field) };
            lines.push(format!("  {}: {}{field}", failed.at, failed.reason));
        }
    }
    if let Some(reason) = it.reason.as_ref().filter(|reason| **reason != it.why) {
        lines.push(format!("the proxy says: {reason}"));
    }
    for document in &it.documents {
        lines.push(format!("see {} {} ({})", document.document, document.field, document.at));
    }
    let flags = if it.flags.is_empty() { "-".to_owned() } else { it.flags.join(",") };
    lines.push(format!("from {}, flags {flags}, details {}", it.from, or_dash(&it.details)));
    if !it.cluster.is_empty() {
        let endpoint = if it.endpoint.is_empty() { String::new() } else { format!(", endpoint {}", it.endpoint) };
        let route = or_dash(&it.route);
        lines.push(format!("route {route}, cluster {}{endpoint}, tries {}", it.cluster, it.attempts));
    }
    lines.extend(it.hints.iter().map(|hint| format!("-> {hint}")));
    lines
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn rule(rule: &AccessRule) -> String {
    format!("rule {} of {} ({})", rule.rule, rule.policy, rule.at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::v1::{AccessField, AccessMiss, DecidingDocument};

    #[test]
    fn everything_of_one() {
        let rule = AccessRule { policy: "default/a".into(), rule: 1, at: "p.yaml:8".into() };
        let field = AccessField {
            field: "spec.rules[1].to[0].operation.methods".into(),
            at: "p.yaml:11".into(),
            reason: "the method is `POST`, where it asks for one that is `GET`".into(),
        };
        let refusal = Refusal {
            why: "only what policies allow may pass, and none allows it".into(),
            from: "spiffe://cluster.local/ns/default/sa/web".into(),
            nearest: Some(AccessMiss { rule, failed: vec![field] }),
            details: "rbac_access_denied_matched_policy[none]".into(),
            documents: vec![DecidingDocument {
                document: "X/default/y".into(),
                field: "spec".into(),
                at: "y.yaml:1".into(),
            }],
            hints: vec!["do it".into()],
            ..Refusal::default()
        };
        let expected = [
            "only what policies allow may pass, and none allows it",
            "nearest is rule 1 of default/a (p.yaml:8)",
            "  p.yaml:11: the method is `POST`, where it asks for one that is `GET` (spec.rules[1].to[0].operation.methods)",
            "see X/default/y spec (y.yaml:1)",
            "from spiffe://cluster.local/ns/default/sa/web, flags -, details rbac_access_denied_matched_policy[none]",
            "-> do it",
        ];
        assert_eq!(lines(&refusal), expected);
        assert_eq!(short(&refusal.from), "default/web");
    }
}
