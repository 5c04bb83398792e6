//! What each of Istio's sample files that hold kinds of a mesh comes to when it is applied, beside the services that all of
//! them describe, patches of EnvoyFilters included: a reviewed golden file. The samples are Istio's and stand beside the repository; where they are not, there is nothing to
//! compare.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::{Kind, Problem, Resource, Spec, Support};
use translate::{Inputs, World};

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/inputs/istio-samples");

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        match path.is_dir() {
            true => files(&path, out),
            false => out.push(path),
        }
    }
}

/// Is it of a kind that a mesh reads, or would have to?
fn is_of_mesh(kind: Kind) -> bool {
    kind.support() != Support::NotRead && !kind.group().is_empty() && kind.group() != "apps"
}

/// What the files' rules are for: services and workloads, which stand in files of their own.
fn is_described(spec: &Spec) -> bool {
    matches!(spec, Spec::Service(_) | Spec::Deployment(_) | Spec::ServiceEntry(_))
}

/// `warning IST0101 VirtualService/default/x spec.http[0]: no such host`
fn told(problem: &Problem) -> String {
    let of = problem.resource.as_ref().map_or_else(String::new, ToString::to_string);
    let code = problem.code;
    format!("  {} {code} {of} {}: {}", problem.level, problem.path, problem.message)
}

fn outcome(name: &str, text: &str, described: &[Arc<Resource>]) -> Option<String> {
    let parsed = api::parse(name, text);
    let of_mesh: Vec<&Arc<Resource>> = parsed.resources.iter().filter(|it| is_of_mesh(it.kind)).collect();
    let refused =
        parsed.problems.iter().any(|p| p.is_error() && p.resource.as_ref().is_some_and(|r| is_of_mesh(r.kind)));
    if of_mesh.is_empty() && !refused {
        return None;
    }
    let keys: BTreeSet<String> = parsed.resources.iter().map(|resource| resource.key().to_string()).collect();
    let others = described.iter().filter(|resource| !keys.contains(&resource.key().to_string()));
    let resources: Vec<Arc<Resource>> = parsed.resources.iter().chain(others).cloned().collect();
    let world = World::new(Inputs { resources, ..Inputs::default() });
    let found = control::check(&world);
    let of_file = || found.iter().filter(|p| p.resource.as_ref().is_some_and(|key| keys.contains(&key.to_string())));
    let refused = refused || of_file().any(Problem::is_error);
    let mut lines = vec![format!("{name}: {}", if refused { "refused" } else { "accepted" })];
    lines.extend(of_mesh.iter().map(|resource| format!("  {}", resource.key())));
    lines.extend(parsed.problems.iter().chain(of_file()).map(told));
    Some(lines.join("\n"))
}

#[test]
fn istio_samples() {
    let mut paths = Vec::new();
    files(Path::new(SAMPLES), &mut paths);
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(SAMPLES).ok()?.display().to_string();
        Some((name, fs::read_to_string(path).ok()?))
    };
    let texts: Vec<(String, String)> = paths.iter().filter_map(read).collect();
    let mut described: BTreeMap<String, Arc<Resource>> = BTreeMap::new();
    for (name, text) in &texts {
        let resources = api::parse(name, text).resources.into_iter().filter(|it| is_described(&it.spec));
        resources.for_each(|resource| _ = described.entry(resource.key().to_string()).or_insert(resource));
    }
    let described: Vec<Arc<Resource>> = described.into_values().collect();
    let all: Vec<String> = texts.iter().filter_map(|(name, text)| outcome(name, text, &described)).collect();
    if !all.is_empty() {
        insta::assert_snapshot!("istio-samples", all.join("\n"));
    }
}
