//! `halcyon analyze`: what cannot work in files, or in what is applied, by Istio's codes and ours.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use api::{Code, Level, Problem, ResourceKey};
use control::v1::Document;
use serde_json::{Value, json};
use translate::{Inputs, World};

use super::files;
use super::validate::{count, parse};
use crate::cli::{AnalyzeArgs, Form, Place, Threshold};
use crate::print::{self, Colour};

/// Exit code 1 if something is as bad as was asked for, 0 if not.
pub async fn run(place: &Place, args: AnalyzeArgs) -> Result<ExitCode> {
    if args.list_all {
        crate::print::out!("{}", codes());
        return Ok(ExitCode::SUCCESS);
    }
    let suppressed = args.suppress.iter().map(|text| Suppressed::read(text)).collect::<Result<Vec<_>>>()?;
    let named: Vec<PathBuf> = args.files.iter().chain(&args.more).cloned().collect();
    let documents = files::read(&named)?;
    let mut problems = match named.is_empty() {
        true => super::client(place)?.analysis().await?.problems,
        false => of_files(&documents, &args.namespace),
    };
    problems.retain(|problem| !suppressed.iter().any(|s| s.takes(problem)));
    problems.sort_by(|a, b| {
        b.level.cmp(&a.level).then_with(|| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)))
    });
    match args.output {
        Form::Json => {
            let list: Vec<Value> = problems.iter().map(to_json).collect();
            crate::print::out!("{}", serde_json::to_string_pretty(&list)?);
        }
        Form::Text => {
            let sources = documents.iter().map(|d| (d.file.as_str(), d.text.as_str())).collect();
            problems.iter().for_each(|problem| show(problem, &sources));
            crate::print::out!("{}", verdict(&problems));
        }
    }
    let least = match args.failure_threshold {
        Threshold::Info => Level::Info,
        Threshold::Warning => Level::Warning,
        Threshold::Error => Level::Error,
    };
    Ok(if problems.iter().any(|p| p.level >= least) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn of_files(documents: &[Document], namespace: &str) -> Vec<Problem> {
    let (resources, problems) = parse(documents, namespace, true);
    let world = World::new(Inputs { resources: resources.clone(), ..Inputs::default() });
    problems.into_iter().map(translate::by_code).chain(control::analyze(&world, &resources)).collect()
}

fn to_json(problem: &Problem) -> Value {
    let part = |of: fn(&ResourceKey) -> String| problem.resource.as_ref().map(of).unwrap_or_default();
    let mut all = problem.to_json();
    all["name"] = part(|key| key.name.clone()).into();
    all["namespace"] = part(|key| key.namespace.clone().unwrap_or_default()).into();
    all["kind"] = part(|key| key.kind.name().to_owned()).into();
    all["file"] = problem.file.as_str().into();
    all["codeName"] = json!(problem.code.name());
    if let Some(fields) = all.as_object_mut() {
        fields.remove("resource");
    }
    all
}

fn show(problem: &Problem, sources: &HashMap<&str, &str>) {
    let text = problem.render(sources.get(problem.file.as_str()).copied().unwrap_or_default());
    let level = problem.level.to_string();
    let text = text.replacen(&level, &format!("{level}[{}]", problem.code), 1);
    let (head, rest) = text.split_once('\n').unwrap_or((&text, ""));
    let colour = match problem.level {
        Level::Error => Colour::Red,
        Level::Warning => Colour::Yellow,
        Level::Info => Colour::Bold,
    };
    crate::print::out!("{}\n{rest}", print::paint(head, colour, std::io::stdout().is_terminal()));
}

/// `3 problems: 1 error, 1 warning, 1 note`
fn verdict(problems: &[Problem]) -> String {
    let of = |level| problems.iter().filter(|problem| problem.level == level).count();
    match problems.is_empty() {
        true => "no problem found".to_owned(),
        false => format!(
            "{}: {}, {}, {}",
            count(problems.len(), "problem"),
            count(of(Level::Error), "error"),
            count(of(Level::Warning), "warning"),
            count(of(Level::Info), "note"),
        ),
    }
}

fn codes() -> String {
    let row = |code: &Code| [code.id(), &code.level().to_string(), code.name(), code.summary()].map(str::to_owned);
    print::table(["CODE", "LEVEL", "NAME", "WHAT IT MEANS"], Code::ALL.iter().map(row))
}

/// What is left out: a code, perhaps only of some resources.
struct Suppressed {
    code: String,
    resource: Option<String>,
}

impl Suppressed {
    fn read(text: &str) -> Result<Self> {
        let (code, resource) = match text.split_once('=') {
            Some((code, resource)) => (code, Some(resource.to_owned())),
            None => (text, None),
        };
        if !code.contains('*') && !Code::ALL.iter().any(|known| known.id() == code) {
            bail!("--suppress {text}: there is no code `{code}`; `halcyon analyze --list-all` lists them");
        }
        Ok(Self { code: code.to_owned(), resource })
    }

    fn takes(&self, problem: &Problem) -> bool {
        let of_resource = |wanted: &String| problem.resource.as_ref().is_some_and(|key| fits(wanted, &key.to_string()));
        fits(&self.code, problem.code.id()) && self.resource.as_ref().is_none_or(of_resource)
    }
}

/// Does the text fit the pattern, in which `*` stands for any text?
fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = rest.split('*').collect();
    let (last, middle) = parts.split_last().unwrap_or((&"", &[]));
    for part in middle {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("IST0101", "IST0101", true),
            ("IST0101", "IST0102", false),
            ("IST01*", "IST0102", true),
            ("*", "", true),
            ("VirtualService/*/reviews", "VirtualService/default/reviews", true),
            ("VirtualService/*/reviews", "VirtualService/default/ratings", false),
            ("*a*a", "a", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }
}
