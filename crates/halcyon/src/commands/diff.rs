//! `halcyon diff`: what `apply` would change, line by line.

use std::process::ExitCode;

use anyhow::{Result, bail};
use api::ResourceKey;
use control::v1::{ApplyRequest, Document, Outcome, ResourceQuery};
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::files;
use super::validate::print_problems;
use crate::cli::FilesArgs;
use crate::client::{Client, Verdict};
use crate::print::{self, Colour};

/// Exit code 0 without a difference, 1 with one, as `diff` does.
pub async fn run(client: Client, args: FilesArgs) -> Result<ExitCode> {
    let documents = files::read(&args.files)?;
    let mut differs = false;
    for document in &documents {
        let parsed = api::parse(&document.file, &document.text);
        if parsed.has_errors() {
            print_problems(&parsed.problems, &[(document.file.as_str(), document.text.as_str())].into());
            bail!("{}: refused; nothing to compare", document.file);
        }
        for resource in &parsed.resources {
            let key = resource.key();
            let query = ResourceQuery {
                kind: key.kind.id(),
                namespace: key.namespace.clone().unwrap_or_default(),
                name: key.name.clone(),
                all_namespaces: false,
            };
            let stored = client.resources(&query).await?.resources.pop();
            let old = stored.map(|r| api::yaml::write(&without_bookkeeping(r.document))).unwrap_or_default();
            let mut new = without_bookkeeping(resource.document().clone());
            control::redact::document(key.kind, &mut new);
            let redacted = new != without_bookkeeping(resource.document().clone());
            let new = api::yaml::write(&new);
            if old != new {
                differs = true;
                show(&key.to_string(), &old, &new);
            } else if redacted && is_changed(&client, document, &key).await? {
                differs = true;
                crate::print::out!("{key}: what is redacted in it differs");
            }
        }
    }
    Ok(if differs { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Only the control plane can compare what it shows to nobody.
async fn is_changed(client: &Client, document: &Document, key: &ResourceKey) -> Result<bool> {
    let request = ApplyRequest { documents: vec![document.clone()], dry_run: true, ..ApplyRequest::default() };
    match client.apply(&request).await? {
        Verdict::Accepted(done) => {
            Ok(done.results.iter().any(|applied| applied.key == *key && applied.outcome != Outcome::Unchanged))
        }
        Verdict::Refused(failure) => bail!("{}: {}", document.file, failure.error),
    }
}

/// Without what the control plane writes by itself.
fn without_bookkeeping(mut document: Value) -> Value {
    if let Some(metadata) = document["metadata"].as_object_mut() {
        metadata.remove("creationTimestamp");
        metadata.remove("generation");
    }
    document
}

fn show(name: &str, old: &str, new: &str) {
    let terminal = print::to_terminal();
    crate::print::out!("{}", print::paint(&format!("--- {name} (stored)\n+++ {name} (file)"), Colour::Bold, terminal));
    let diff = TextDiff::from_lines(old, new);
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        crate::print::out!("{}", hunk.header());
        for change in hunk.iter_changes() {
            let line = change.value().trim_end_matches('\n');
            match change.tag() {
                ChangeTag::Delete => crate::print::out!("{}", print::paint(&format!("-{line}"), Colour::Red, terminal)),
                ChangeTag::Insert => {
                    crate::print::out!("{}", print::paint(&format!("+{line}"), Colour::Green, terminal))
                }
                ChangeTag::Equal => crate::print::out!(" {line}"),
            }
        }
    }
}
