//! `halcyon validate`: every document checked, without a control plane.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use api::{Problem, Resource};
use control::v1::Document;
use serde_json::json;
use translate::{Inputs, World};

use super::files;
use crate::cli::{Form, ValidateArgs};
use crate::print::{self, Colour};

/// Exit code 0 if everything is accepted, 1 if something is refused.
pub fn run(args: ValidateArgs) -> Result<ExitCode> {
    let documents = files::read(&args.files.files)?;
    let (resources, mut problems) = parse(&documents, api::DEFAULT_NAMESPACE, false);
    let world = World::new(Inputs { resources: resources.clone(), ..Inputs::default() });
    problems.extend(control::check(&world));
    problems.extend(translate::check_selection(&world));
    let refused = problems.iter().any(|p| p.is_error()) || (args.strict && !problems.is_empty());
    match args.output {
        Form::Json => {
            let list: Vec<_> = problems.iter().map(Problem::to_json).collect();
            crate::print::out!(
                "{}",
                serde_json::to_string_pretty(
                    &json!({ "accepted": !refused, "resources": resources.len(), "problems": list })
                )?
            );
        }
        Form::Text => {
            let sources = documents.iter().map(|d| (d.file.as_str(), d.text.as_str())).collect();
            print_problems(&problems, &sources);
            let verdict = if refused { "refused" } else { "accepted" };
            crate::print::out!("{} {verdict}, {}", count(resources.len(), "resource"), tally(&problems));
        }
    }
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The resources of some files, and what is wrong with each of them and with the set. With `refused` those that have an
/// error and can be read all the same are among them.
pub fn parse(documents: &[Document], namespace: &str, refused: bool) -> (Vec<Arc<Resource>>, Vec<Problem>) {
    let mut resources: Vec<Arc<Resource>> = Vec::new();
    let mut problems: Vec<Problem> = Vec::new();
    for document in documents {
        let parsed = api::parse_in(namespace, &document.file, &document.text);
        problems.extend(parsed.problems);
        resources.extend(parsed.resources);
        resources.extend(parsed.refused.into_iter().filter(|_| refused));
    }
    for problem in api::check_set(&resources) {
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
    (resources, problems)
}

/// Prints problems with the source line that each of them is about.
pub fn print_problems(problems: &[Problem], sources: &HashMap<&str, &str>) {
    let terminal = std::io::stderr().is_terminal();
    for problem in problems {
        let colour = if problem.is_error() { Colour::Red } else { Colour::Yellow };
        let text = match sources.get(problem.file.as_str()) {
            Some(source) => problem.render(source),
            None => problem.to_string(),
        };
        let (head, rest) = text.split_once('\n').unwrap_or((&text, ""));
        eprintln!("{}", print::paint(head, colour, terminal));
        if !rest.is_empty() {
            eprintln!("{rest}");
        }
    }
}

/// `2 errors, 1 warning`
pub fn tally(problems: &[Problem]) -> String {
    let errors = problems.iter().filter(|p| p.is_error()).count();
    format!("{}, {}", count(errors, "error"), count(problems.len() - errors, "warning"))
}

/// `1 resource`, `2 resources`
pub fn count(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}
