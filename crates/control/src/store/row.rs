//! Rows of the file: what is kept of a resource, a user, a token and a certificate, as JSON.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::{Origin, Problem, Resource, ResourceKey};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{Holder, Stored};
use crate::v1::UserRequest;

/// A resource as it is kept.
#[derive(Serialize, Deserialize)]
pub struct ResourceRow {
    document: Json,
    origin: Origin,
    created_ms: u64,
    generation: u64,
    holder: Holder,
}

/// A join token as it is kept: no secret, only its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRow {
    /// Its id, in hexadecimal.
    pub id: String,
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
    /// The namespace that it is good for.
    pub namespace: String,
    /// The service account that it is good for.
    pub service_account: String,
    /// Until when, in milliseconds since 1970.
    pub expires_ms: u64,
    /// When it was made; 0 in rows of earlier versions.
    #[serde(default)]
    pub created_ms: u64,
    /// What became of it.
    #[serde(default)]
    pub state: TokenState,
}

/// What became of a join token, and when, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenState {
    /// Nothing yet.
    #[default]
    Open,
    /// Somebody joined with it.
    Used(u64),
    /// It was taken back.
    Revoked(u64),
}

/// A user as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRow {
    /// The name, which is the row's key.
    pub name: String,
    /// What the user may do, and how the user is known.
    pub says: UserRequest,
    /// Since when, in milliseconds since 1970.
    pub created_ms: u64,
}

/// A user's token as it is kept: no secret, only its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserTokenRow {
    /// Its id, in hexadecimal, which is the row's key.
    pub id: String,
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
    /// Whose it is.
    pub user: String,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// Until when it is good, likewise.
    pub expires_ms: u64,
    /// When it was used last, likewise.
    #[serde(default)]
    pub used_ms: Option<u64>,
}

/// A certificate that was issued, as it is kept: not the certificate, but what is asked of it later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeafRow {
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// Whose it is.
    pub identity: String,
    /// The fingerprint of the root above it.
    pub root: String,
    /// Until when, in milliseconds since 1970.
    pub not_after_ms: u64,
    /// The serial number of the one that replaced it, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<(String, u64)>,
    /// The serial number of the one that was shown for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<String>,
}

/// Milliseconds since 1970.
pub fn millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// The time of [`millis`].
pub fn from_millis(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

/// The row's key of a resource.
pub fn key(key: &ResourceKey) -> String {
    key.to_string()
}

/// The row of a resource.
pub fn write(stored: &Stored) -> Vec<u8> {
    let row = ResourceRow {
        document: stored.resource.document().clone(),
        origin: stored.resource.origin.clone(),
        created_ms: millis(stored.created),
        generation: stored.generation,
        holder: stored.holder,
    };
    serde_json::to_vec(&row).unwrap_or_default()
}

/// Reads a row. What an earlier version of the program took and this one refuses gives problems; its row stays.
pub fn read(key: &str, row: &[u8]) -> Result<Stored, Vec<Problem>> {
    let row: ResourceRow = serde_json::from_slice(row).map_err(|e| {
        let problem = Problem::error(format!("the stored resource `{key}` cannot be read ({e}), and is left out"));
        vec![problem.hint("apply it again")]
    })?;
    let resource = Resource::from_json(&row.document, row.origin).map_err(|problems| {
        let hint = "it is left out until it is applied again, corrected";
        problems.into_iter().map(|p| if p.hint.is_none() { p.hint(hint) } else { p }).collect::<Vec<_>>()
    })?;
    Ok(stored(Arc::new(resource), from_millis(row.created_ms), row.generation, row.holder))
}

/// A resource with its time and generation filled in.
pub fn stored(resource: Arc<Resource>, created: SystemTime, generation: u64, holder: Holder) -> Stored {
    let mut resource = Arc::unwrap_or_clone(resource);
    resource.meta.created = Some(created);
    resource.meta.generation = Some(generation);
    Stored { resource: Arc::new(resource), created, generation, holder }
}
