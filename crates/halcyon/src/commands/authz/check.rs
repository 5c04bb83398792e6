//! `halcyon authz check`: may a request pass, and why.

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use control::v1::{AccessAnswer, AccessAnswers, AccessQuestion, AccessRequest, AccessSource};

use super::request;
use crate::cli::{AuthzCheckArgs, Form, Place};
use crate::print::{self, Colour};

/// Exit code 0 if it may pass, 1 if not.
pub async fn run(place: &Place, args: AuthzCheckArgs) -> Result<ExitCode> {
    let (files, output) = (args.files.clone(), args.output);
    let asked = asked(args)?;
    let answers = match files.is_empty() {
        true => super::super::client(place)?.access(&asked).await?,
        false => control::access::answers(&super::world(&files, &asked.namespace)?, &asked).map_err(|e| anyhow!(e))?,
    };
    match output {
        Form::Json => crate::print::out!("{}", serde_json::to_string_pretty(&answers)?),
        Form::Text => show(&answers),
    }
    Ok(if answers.decision == "allow" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn asked(args: AuthzCheckArgs) -> Result<AccessRequest> {
    if let Some(path) = &args.request {
        let question = request::read(path)?;
        return Ok(AccessRequest { question, namespace: args.namespace, ..AccessRequest::default() });
    }
    let host = args.host.or_else(|| args.to.as_ref().map(|to| to.host.clone()));
    let question = AccessQuestion {
        source: AccessSource { ip: args.ip, ..AccessSource::default() },
        method: args.method,
        path: args.path,
        host,
        headers: args.headers.into_iter().collect(),
        sni: args.sni,
        ..AccessQuestion::default()
    };
    let (to, port) = args.to.map_or((None, None), |to| (Some(to.host), to.port));
    Ok(AccessRequest { question, from: args.from, to, port, namespace: args.namespace })
}

fn show(answers: &AccessAnswers) {
    let terminal = print::to_terminal();
    let colour = |decision: &str| if decision == "allow" { Colour::Green } else { Colour::Red };
    for answer in &answers.answers {
        let decision = print::paint(&answer.decision, colour(&answer.decision), terminal);
        crate::print::out!("{decision}  {}", answer.workload);
        lines(answer).iter().for_each(|line| crate::print::out!("  {line}"));
    }
    if answers.answers.len() > 1 {
        crate::print::out!("\n{}", print::paint(&answers.decision, colour(&answers.decision), terminal));
    }
}

/// What stands below the decision.
fn lines(answer: &AccessAnswer) -> Vec<String> {
    let mut lines = vec![answer.reason.clone()];
    for failed in answer.nearest.iter().flat_map(|nearest| &nearest.failed) {
        let field = if failed.field.is_empty() { String::new() } else { format!(" ({})", failed.field) };
        lines.push(format!("  {}: {}{field}", failed.at, failed.reason));
    }
    for rule in &answer.audited {
        lines.push(format!("noted down by rule {} of {} ({})", rule.rule, rule.policy, rule.at));
    }
    for tried in &answer.dry_run {
        let by = tried
            .by
            .as_ref()
            .map_or_else(String::new, |by| format!(" by rule {} of {} ({})", by.rule, by.policy, by.at));
        lines.push(format!("dry run of {}: {}{by}", tried.action, tried.decision));
    }
    lines.extend(answer.policies.iter().map(|policy| format!("policy {policy}")));
    lines
}
