//! `halcyon apply`: all documents come into force together, or none.

use std::collections::HashMap;
use std::process::ExitCode;

use anyhow::Result;
use control::v1::{ApplyRequest, ApplyResponse, Failure};

use super::files;
use super::validate::{print_problems, tally};
use crate::cli::{ApplyArgs, Form};
use crate::client::{Client, Verdict};
use crate::print;

/// Exit code 0 if the set is in force, 1 if it was refused.
pub async fn run(client: Client, args: ApplyArgs) -> Result<ExitCode> {
    let documents = files::read(&args.files.files)?;
    let request = ApplyRequest { documents, namespace: args.namespace, dry_run: args.dry_run, strict: args.strict };
    let verdict = client.apply(&request).await?;
    if args.output == Form::Json {
        let (text, code) = match &verdict {
            Verdict::Accepted(response) => (serde_json::to_string_pretty(response)?, ExitCode::SUCCESS),
            Verdict::Refused(failure) => (serde_json::to_string_pretty(failure)?, ExitCode::FAILURE),
        };
        crate::print::out!("{text}");
        return Ok(code);
    }
    let sources = request.documents.iter().map(|d| (d.file.as_str(), d.text.as_str())).collect();
    match verdict {
        Verdict::Accepted(response) => {
            print_accepted(&response, &sources, args.dry_run);
            Ok(ExitCode::SUCCESS)
        }
        Verdict::Refused(failure) => {
            print_refused(&failure, &sources);
            Ok(ExitCode::FAILURE)
        }
    }
}

fn print_accepted(response: &ApplyResponse, sources: &HashMap<&str, &str>, dry_run: bool) {
    let dry = if dry_run { " (dry run)" } else { "" };
    for result in &response.results {
        crate::print::out!("{} {}{dry}", result.key, result.outcome);
    }
    // The same note for many resources is one line.
    let mut notes: Vec<&str> = response.results.iter().filter_map(|r| r.note.as_deref()).collect();
    notes.sort_unstable();
    notes.dedup();
    notes.iter().for_each(|note| print::note(&format!("note: {note}")));
    print_problems(&response.problems, sources);
}

fn print_refused(failure: &Failure, sources: &HashMap<&str, &str>) {
    print_problems(&failure.problems, sources);
    let hint = if failure.hint.is_empty() { String::new() } else { format!("; {}", failure.hint) };
    print::note(&format!("{}{hint} ({})", failure.error, tally(&failure.problems)));
}
