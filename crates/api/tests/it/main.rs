//! Documents in, problems and resources out: tables per kind, samples, hostile text.

mod authorization_policy;
mod destination_rule;
mod enforced;
mod extension;
mod gateway;
mod halcyon;
mod hostile;
mod kinds;
mod kubernetes;
mod mesh_config;
mod other_access;
mod others;
mod samples;
mod virtual_service;
mod yaml;

/// A document of `kind` called `x` with this `spec` (indented by two in the result).
pub fn document(api_version: &str, kind: &str, spec: &str) -> String {
    let spec: String = spec.trim_matches('\n').lines().map(|l| format!("  {l}\n")).collect();
    format!("apiVersion: {api_version}\nkind: {kind}\nmetadata:\n  name: x\nspec:\n{spec}")
}

/// Reads a text and gives its problems, each as line, level, path and message.
pub fn problems(text: &str) -> Vec<String> {
    api::parse("f", text).problems.iter().map(short).collect()
}

fn short(problem: &api::Problem) -> String {
    let place = if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
    format!("{} {}: {place}{}", problem.line, problem.level, problem.message)
}

/// Checks that a document of `kind` with this `spec` has exactly these problems (`spec.` left out of each path), in any
/// order: several stand on one line of a table. What is not enforced yet has a test of its own.
pub fn check(api_version: &str, kind: &str, spec: &str, expected: &[&str]) {
    let text = document(api_version, kind, spec);
    let parsed = api::parse("f", &text);
    let mut found: Vec<String> = parsed
        .problems
        .iter()
        .filter(|p| !p.message.starts_with("this is not enforced yet"))
        .map(|p| {
            let path = p.path.strip_prefix("spec").unwrap_or(&p.path).trim_start_matches('.');
            format!("{} {path}: {}", p.level, p.message)
        })
        .collect();
    let mut expected = expected.to_vec();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "{text}");
    assert_eq!(parsed.resources.is_empty(), parsed.has_errors(), "{text}");
}
