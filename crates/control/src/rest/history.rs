//! What was written when, and how documents stood then.

use api::{Kind, ResourceKey};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Json, Query, State};
use http::StatusCode;

use super::audit::unreadable;
use super::documents::stopping;
use super::{Answer, Shared, failure, query};
use crate::v1::{AuditEntry, AuditQuery, DocumentRef, History, HistoryEntry, HistoryQuery};
use crate::{audit, redact};

/// Unless another number is asked for, and at most.
const LIMIT: (usize, usize) = (100, 1000);

pub async fn history(
    State(parts): Shared,
    asked: Result<Query<HistoryQuery>, QueryRejection>,
) -> Answer<Json<History>> {
    let asked = query(asked)?;
    let limit = asked.limit.unwrap_or(LIMIT.0).clamp(1, LIMIT.1);
    let one = key(&asked)?;
    // The log is searched by what stands in it, and what it finds is looked at more closely.
    let what = one.as_ref().map_or_else(|| asked.kind.clone(), ToString::to_string);
    let wanted = AuditQuery { what, limit: Some(10 * LIMIT.1), ..AuditQuery::default() };
    let dir = parts.audit_dir.clone();
    let found = tokio::task::spawn_blocking(move || audit::find(&dir, &wanted)).await.map_err(stopping)?;
    let found = found.map_err(unreadable)?;
    let is_change = |entry: &AuditEntry| ["created", "configured", "deleted"].contains(&entry.outcome.as_str());
    let fits = |document: &DocumentRef| {
        (asked.kind.is_empty() || document.kind == asked.kind)
            && (asked.namespace.is_empty() || document.namespace == asked.namespace)
            && (asked.name.is_empty() || document.name == asked.name)
    };
    let mut entries: Vec<HistoryEntry> = Vec::new();
    let mut more = found.more;
    for entry in found.entries.into_iter().rev().filter(is_change) {
        let Some(document) = document(&entry.what).filter(fits) else { continue };
        if entries.len() == limit {
            more = true;
            break;
        }
        let AuditEntry { version, time, who, outcome, diff, .. } = entry;
        entries.push(HistoryEntry { version, time, by: who, action: outcome, document, diff, yaml: None });
    }
    if let Some(key) = one {
        let now = parts.store.now();
        let stands = now.resources.get(&key).map(|stored| text(key.kind, stored.resource.document()));
        tell_texts(&mut entries, stands, key.kind);
    }
    Ok(Json(History { entries, more }))
}

/// The one document that is asked for, if it is one.
fn key(asked: &HistoryQuery) -> Answer<Option<ResourceKey>> {
    if asked.kind.is_empty() || asked.name.is_empty() {
        return Ok(None);
    }
    let kind: Kind = asked.kind.parse().map_err(|error: api::kind::UnknownKind| {
        failure(StatusCode::BAD_REQUEST, error.to_string(), "name it as documents do, such as `VirtualService`")
    })?;
    let namespace = Some(asked.namespace.clone()).filter(|namespace| !namespace.is_empty());
    Ok(Some(ResourceKey { kind, namespace, name: asked.name.clone() }))
}

/// What stands in the log: `VirtualService/default/reviews`, `Namespace/prod`.
fn document(what: &str) -> Option<DocumentRef> {
    let mut parts = what.split('/').map(str::to_owned);
    let (kind, second, third) = (parts.next()?, parts.next()?, parts.next());
    let (namespace, name) = match third {
        Some(name) => (second, name),
        None => (String::new(), second),
    };
    Some(DocumentRef { kind, namespace, name })
}

fn text(kind: Kind, document: &serde_json::Value) -> String {
    let mut document = document.clone();
    redact::document(kind, &mut document);
    api::yaml::write(&document)
}

/// Goes from how the document stands now back through its changes.
fn tell_texts(entries: &mut [HistoryEntry], stands: Option<String>, kind: Kind) {
    if kind == Kind::Secret {
        return;
    }
    let mut after = Some(stands.unwrap_or_default());
    for entry in entries {
        let Some(known) = after.take() else { return };
        after = audit::undo(&known, &entry.diff);
        if after.is_some() && entry.action != "deleted" {
            entry.yaml = Some(known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_it_stood_each_time() {
        let entry = |action: &str, diff: &[&str]| HistoryEntry {
            action: action.to_owned(),
            diff: diff.iter().map(|line| (*line).to_owned()).collect(),
            ..HistoryEntry::default()
        };
        let mut entries = vec![
            entry("created", &["@@ -0,0 +1 @@", "+c"]),
            entry("deleted", &["@@ -1 +0,0 @@", "-b"]),
            entry("configured", &["@@ -1 +1 @@", "-a", "+b"]),
            entry("created", &["(and 9 lines more)"]),
        ];
        tell_texts(&mut entries, Some("c\n".to_owned()), Kind::VirtualService);
        let texts: Vec<_> = entries.iter().map(|entry| entry.yaml.as_deref()).collect();
        assert_eq!(texts, [Some("c\n"), None, Some("b\n"), None]);
    }

    #[test]
    fn names_in_the_log() {
        let of = |what| document(what).map(|it| [it.kind, it.namespace, it.name].join(" "));
        assert_eq!(of("VirtualService/default/reviews").as_deref(), Some("VirtualService default reviews"));
        assert_eq!(of("Namespace/prod").as_deref(), Some("Namespace  prod"));
        assert_eq!(of("user alice"), None);
    }
}
