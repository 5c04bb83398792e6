//! `halcyon plan`: what applying files would do to routes and proxies.

use std::process::ExitCode;

use anyhow::Result;
use control::v1::{ApplyRequest, ConfigChange, Outcome, Plan};
use similar::{ChangeTag, TextDiff};

use super::files;
use super::validate::{count, print_problems, tally};
use crate::cli::{Form, PlanArgs};
use crate::client::Client;
use crate::print::{self, Colour};

/// Exit code 0 if the set would be accepted, 1 if it would be refused.
pub async fn run(client: Client, args: PlanArgs) -> Result<ExitCode> {
    let documents = files::read(&args.files.files)?;
    let request = ApplyRequest { documents, namespace: args.namespace, dry_run: true, strict: false };
    let sources = request.documents.iter().map(|d| (d.file.as_str(), d.text.as_str())).collect();
    let plan = match client.plan(&request).await? {
        Ok(plan) => plan,
        Err(refused) => {
            print_problems(&refused.problems, &sources);
            print::note(&format!("{} ({})", refused.error, tally(&refused.problems)));
            return Ok(ExitCode::FAILURE);
        }
    };
    if args.output == Form::Json {
        crate::print::out!("{}", serde_json::to_string_pretty(&plan)?);
        return Ok(ExitCode::SUCCESS);
    }
    for result in plan.results.iter().filter(|result| result.outcome != Outcome::Unchanged) {
        crate::print::out!("{} would be {}", result.key, result.outcome);
    }
    print_problems(&plan.problems, &sources);
    show(&plan);
    Ok(ExitCode::SUCCESS)
}

fn show(plan: &Plan) {
    let terminal = print::to_terminal();
    for group in &plan.groups {
        crate::print::out!("\n{}", print::paint(&group.proxies.join(", "), Colour::Bold, terminal));
        group.changes.iter().for_each(|change| show_change(change, terminal));
    }
    let concerned: usize = plan.groups.iter().map(|group| group.proxies.len()).sum();
    crate::print::out!(
        "\n{} would change, of {}; nothing was applied",
        count(concerned, "proxy").replace("proxys", "proxies"),
        count(plan.connected, "connected proxy").replace("proxys", "proxies"),
    );
}

fn show_change(change: &ConfigChange, terminal: bool) {
    let what = match (change.before.is_empty(), change.after.is_empty()) {
        (true, _) => "new",
        (_, true) => "gone",
        _ => "different",
    };
    crate::print::out!("  {} {} ({what})", kind_name(&change.kind), change.name);
    let (before, after) = (change.before.join("\n"), change.after.join("\n"));
    for hunk in TextDiff::from_lines(&before, &after).unified_diff().context_radius(1).iter_hunks() {
        for line in hunk.iter_changes() {
            let text = line.value().trim_end_matches('\n');
            let (sign, colour) = match line.tag() {
                ChangeTag::Delete => ('-', Some(Colour::Red)),
                ChangeTag::Insert => ('+', Some(Colour::Green)),
                ChangeTag::Equal => (' ', None),
            };
            let text = format!("    {sign} {text}");
            crate::print::out!("{}", colour.map_or(text.clone(), |colour| print::paint(&text, colour, terminal)));
        }
    }
}

/// A kind of resource in words.
fn kind_name(kind: &str) -> &str {
    match kind {
        "LDS" => "listener",
        "RDS" => "routes",
        "VHDS" => "virtual host",
        "CDS" => "cluster",
        "EDS" => "endpoints",
        "SDS" => "secret",
        "NDS" => "names",
        other => other,
    }
}
