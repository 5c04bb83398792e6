//! Every public sample in ../shared/inputs is read; those of Istio without an error. The folder may be absent.

use std::fs;
use std::path::{Path, PathBuf};

use api::{Kind, Support};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/inputs");

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|e| e.path()) {
        if path.is_dir() {
            files(&path, out);
        } else {
            out.push(path);
        }
    }
}

fn parsed(folder: &str) -> Vec<(PathBuf, String, api::Parsed)> {
    let mut paths = Vec::new();
    files(&Path::new(ROOT).join(folder), &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).ok()?;
        let name = path.strip_prefix(ROOT).unwrap_or(&path).display().to_string();
        let parsed = api::parse(&name, &text);
        Some((path, text, parsed))
    };
    paths.into_iter().filter_map(read).collect()
}

#[test]
fn everything_is_read() {
    for (path, text, parsed) in parsed("") {
        for problem in &parsed.problems {
            problem.render(&text);
            problem.to_json();
        }
        for resource in &parsed.resources {
            let back = api::Resource::from_json(resource.document(), resource.origin.clone());
            assert_eq!(back.as_ref().ok(), Some(&**resource), "{}: {:?}", path.display(), back.as_ref().err());
            let again = api::parse("again", &resource.to_yaml());
            assert_eq!(again.resources.first(), Some(resource), "{}\n{}", path.display(), resource.to_yaml());
        }
    }
}

#[test]
fn istio_samples_are_good() {
    for (path, _, parsed) in parsed("istio-samples") {
        for problem in parsed.problems.iter().filter(|p| p.is_error()) {
            // Documents of programs that are no part of a mesh, and templates, are not ours to read.
            let foreign = problem.path == "kind" || problem.message.contains("no `kind`") || problem.resource.is_none();
            let ours = problem.resource.as_ref().is_some_and(|key| key.kind.support() != Support::NotRead);
            assert!(foreign || !ours, "{}: {problem}", path.display());
        }
    }
}

#[test]
fn gateway_api_examples_are_known() {
    for (path, _, parsed) in parsed("gateway-api-examples") {
        let errors: Vec<String> = parsed.problems.iter().filter(|p| p.is_error()).map(ToString::to_string).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", path.display());
        assert!(parsed.resources.iter().all(|r| r.kind != Kind::Gateway), "{}", path.display());
    }
}
