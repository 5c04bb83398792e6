//! `halcyon get`: resources as a table, as YAML, as JSON.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Result, bail};
use api::Kind;
use control::v1::{ResourceQuery, ResourceView};
use serde_json::{Value, json};

use crate::cli::{GetArgs, GetForm};
use crate::client::Client;
use crate::print;

/// Exit code 1 if the one that is named is not there.
pub async fn run(client: Client, args: GetArgs) -> Result<ExitCode> {
    if args.kind != "all" {
        args.kind.parse::<Kind>()?;
    }
    let query = ResourceQuery {
        kind: if args.kind == "all" { String::new() } else { args.kind.clone() },
        namespace: args.namespace.clone(),
        name: args.name.clone().unwrap_or_default(),
        all_namespaces: args.all_namespaces,
    };
    let found = client.resources(&query).await?.resources;
    if let (Some(name), true) = (&args.name, found.is_empty()) {
        bail!("there is no {} `{name}` in the namespace `{}`", args.kind, args.namespace);
    }
    match args.output {
        GetForm::Table | GetForm::Wide if found.is_empty() => print::note("nothing found"),
        GetForm::Table => crate::print::out!("{}", table(&found, args.all_namespaces)),
        GetForm::Wide => crate::print::out!("{}", wide(&found)),
        GetForm::Yaml => {
            let documents: Vec<String> = found.iter().map(|r| api::yaml::write(&r.document)).collect();
            crate::print::out!("{}", documents.join("---\n").trim_end());
        }
        GetForm::Json => crate::print::out!("{}", serde_json::to_string_pretty(&as_json(&found, args.name.is_some()))?),
    }
    Ok(ExitCode::SUCCESS)
}

/// One document if one was asked for, else a list in Kubernetes' form.
fn as_json(found: &[ResourceView], one: bool) -> Value {
    match found {
        [only] if one => only.document.clone(),
        many => {
            let items: Vec<_> = many.iter().map(|r| r.document.clone()).collect();
            json!({ "apiVersion": "v1", "kind": "List", "items": items })
        }
    }
}

fn table(found: &[ResourceView], with_namespace: bool) -> String {
    let namespace = |r: &ResourceView| r.key.namespace.clone().unwrap_or_default();
    let rows = found.iter().map(|r| (r.key.kind.to_string(), namespace(r), r.key.name.clone(), age(&r.created)));
    if with_namespace {
        return print::table(
            ["NAMESPACE", "KIND", "NAME", "AGE"],
            rows.map(|(kind, ns, name, age)| [ns, kind, name, age]),
        );
    }
    print::table(["KIND", "NAME", "AGE"], rows.map(|(kind, _, name, age)| [kind, name, age]))
}

fn wide(found: &[ResourceView]) -> String {
    let rows = found.iter().map(|r| {
        let namespace = r.key.namespace.clone().unwrap_or_default();
        let generation = r.generation.to_string();
        let source = format!("{} ({})", r.origin, r.source);
        [namespace, r.key.kind.to_string(), r.key.name.clone(), age(&r.created), generation, about(&r.document), source]
    });
    print::table(["NAMESPACE", "KIND", "NAME", "AGE", "GENERATION", "ABOUT", "WRITTEN IN"], rows)
}

/// What a resource is about: its hosts, or whom it selects.
fn about(document: &Value) -> String {
    let spec = &document["spec"];
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let labels = |value: &Value| -> Vec<String> {
        let pairs = value.as_object().into_iter().flatten();
        pairs.filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?))).collect()
    };
    let hosts = texts(&spec["hosts"]);
    let host: Vec<String> = spec["host"].as_str().map(str::to_owned).into_iter().collect();
    let found = [hosts, host, labels(&spec["selector"]), labels(&spec["selector"]["matchLabels"])];
    found.into_iter().find(|list| !list.is_empty()).unwrap_or_default().join(",")
}

/// How long ago an RFC 3339 time is: `5s`, `3m`, `2h`, `4d`.
pub fn age(since: &str) -> String {
    let Some(then) = print::time(since) else { return since.to_owned() };
    let seconds = SystemTime::now().duration_since(then).unwrap_or_default().as_secs();
    match seconds {
        s @ 0..120 => format!("{s}s"),
        s @ 120..7200 => format!("{}m", s / 60),
        s @ 7200..172_800 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}
