//! The audit log as it is asked for, and as it stands in its file.

use serde::{Deserialize, Serialize};

/// One change, or one attempt that was refused: a line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Counts from 1, without a gap.
    pub seq: u64,
    /// When; RFC 3339 in UTC, to the millisecond.
    pub time: String,
    /// Who: `user alice (token 0123456789abcdef)`, `uid 1000`, `files`.
    pub who: String,
    /// From where: an address, `local` or a directory.
    pub from: String,
    /// What was done or tried, such as `apply` or `user add`.
    pub action: String,
    /// To what: `VirtualService default/reviews`, `user alice`.
    pub what: String,
    /// `created`, `configured`, `deleted`, `refused`, ..
    pub outcome: String,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The store's version with the change.
    pub version: u64,
    /// What is different, line by line. Never a secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diff: Vec<String>,
    /// The `hash` of the entry before; 64 zeros of the first.
    pub prev: String,
    /// SHA-256, in hexadecimal, of this line without this member.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
}

/// Which entries. Empty fields mean: any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditQuery {
    /// Not older than this; RFC 3339.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub since: String,
    /// A part of who.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub who: String,
    /// A part of the action or of what it was done to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub what: String,
    /// The newest so many. Default 1000; at most 10 000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Entries of the log, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditPage {
    /// Oldest first.
    pub entries: Vec<AuditEntry>,
    /// There are older ones that fit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// Is the log as it was written?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditVerdict {
    /// How many entries were read.
    pub entries: u64,
    /// The number of the first of them; above 1 if older files were moved away.
    pub first: u64,
    /// The number of the last good one.
    pub last: u64,
    /// The `hash` of the last good one: noted elsewhere, it proves later that nothing up to here was changed.
    pub head: String,
    /// The first link that does not hold, by file and line; none: all hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
}
