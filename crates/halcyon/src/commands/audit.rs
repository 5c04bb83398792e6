//! `halcyon audit`: who changed what, and who was refused; and whether the log is as it was written.

use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow};
use control::v1::{AuditEntry, AuditQuery, AuditVerdict};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::client;
use crate::cli::{AuditArgs, AuditCommand, Form, Place};
use crate::print::{self, Colour};

/// Exit code 1 if a link of the log does not hold.
pub async fn run(place: &Place, args: AuditArgs) -> Result<ExitCode> {
    if let Some(AuditCommand::Verify { dir, output }) = args.command {
        return verify(place, dir.as_deref(), output).await;
    }
    let query = AuditQuery {
        since: args.since.as_deref().map(since).transpose()?.unwrap_or_default(),
        who: args.who.unwrap_or_default(),
        what: args.what.unwrap_or_default(),
        limit: Some(args.limit),
    };
    let page = client(place)?.audit(&query).await?;
    match args.output {
        Form::Json => crate::print::out!("{}", serde_json::to_string_pretty(&page.entries)?),
        Form::Text if page.entries.is_empty() => print::note("nothing found"),
        Form::Text if args.diff => page.entries.iter().for_each(with_diff),
        Form::Text => crate::print::out!("{}", table(&page.entries)),
    }
    if page.more {
        print::note("there are older ones; say more with --limit, or less with --since, --who and --what");
    }
    Ok(ExitCode::SUCCESS)
}

/// A time as the API takes it: so long ago, or as it stands.
fn since(text: &str) -> Result<String> {
    match base::parse_duration(text) {
        Ok(ago) => Ok(OffsetDateTime::from(SystemTime::now() - ago).format(&Rfc3339)?),
        Err(_) => {
            OffsetDateTime::parse(text, &Rfc3339)
                .map_err(|_| anyhow!("--since: `{text}` is neither `2h` nor a time such as `2026-01-31T12:00:00Z`"))?;
            Ok(text.to_owned())
        }
    }
}

async fn verify(place: &Place, dir: Option<&Path>, output: Form) -> Result<ExitCode> {
    let verdict = match dir {
        Some(dir) => control::verify_audit(dir).with_context(|| format!("--dir {}", dir.display()))?,
        None => client(place)?.audit_verdict().await?,
    };
    match output {
        Form::Json => crate::print::out!("{}", serde_json::to_string_pretty(&verdict)?),
        Form::Text => show(&verdict),
    }
    Ok(if verdict.broken.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(verdict: &AuditVerdict) {
    let AuditVerdict { entries, first, last, head, broken } = verdict;
    let terminal = print::to_terminal();
    match broken {
        None if *entries == 0 => crate::print::out!("the log is empty"),
        None => {
            crate::print::out!(
                "{}",
                print::paint(&format!("all links hold: entries {first} to {last}"), Colour::Green, terminal)
            );
            crate::print::out!("head {head}");
        }
        Some(broken) => {
            crate::print::out!("{}", print::paint(&format!("broken at {broken}"), Colour::Red, terminal));
            crate::print::out!("{entries} entries before it hold");
        }
    }
    if *first > 1 {
        print::note(&format!("entries before {first} are not in this folder"));
    }
}

fn table(entries: &[AuditEntry]) -> String {
    let row = |entry: &AuditEntry| {
        let AuditEntry { time, who, from, action, what, outcome, .. } = entry.clone();
        let outcome = if entry.reason.is_empty() { outcome } else { format!("{outcome}: {}", entry.reason) };
        [time, who, from, action, what, outcome]
    };
    print::table(["TIME", "WHO", "FROM", "ACTION", "WHAT", "OUTCOME"], entries.iter().map(row))
}

fn with_diff(entry: &AuditEntry) {
    let terminal = print::to_terminal();
    crate::print::out!("{}", print::paint(&table(std::slice::from_ref(entry)), Colour::Bold, terminal));
    for line in &entry.diff {
        let colour = match line.as_bytes().first() {
            Some(b'+') => Colour::Green,
            Some(b'-') => Colour::Red,
            _ => Colour::Dim,
        };
        crate::print::out!("    {}", print::paint(line, colour, terminal));
    }
}
