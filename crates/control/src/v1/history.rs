//! What was written when.

use serde::{Deserialize, Serialize};

use super::mesh::DocumentRef;

/// Whose history. Empty fields mean: any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryQuery {
    /// The kind, as documents name it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The namespace.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The newest so many. Default 100; at most 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Changes of documents, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The newest first.
    pub entries: Vec<HistoryEntry>,
    /// There are older ones.
    pub more: bool,
}

/// One change of one document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// The store's version with it.
    pub version: u64,
    /// When; RFC 3339.
    pub time: String,
    /// Who.
    pub by: String,
    /// `created`, `configured` or `deleted`.
    pub action: String,
    /// Which document.
    pub document: DocumentRef,
    /// What was different: lines of a unified diff, without secrets.
    pub diff: Vec<String>,
    /// The document as it stood after it, where it can be told: not once it was deleted, and not where a change was too large to
    /// be kept whole or something in it is secret. Only of a document that is asked for by its kind and name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yaml: Option<String>,
}
