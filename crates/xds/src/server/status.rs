//! Where a client's subscriptions stand, for people.

use std::sync::Arc;

use model::ResourceKind;

/// Where one subscription stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionStatus {
    /// The type.
    pub type_url: Arc<str>,
    /// The kind, if we know the type.
    pub kind: Option<ResourceKind>,
    /// Everything of the type is asked for.
    pub wildcard: bool,
    /// What is asked for by name.
    pub names: Vec<Arc<str>>,
    /// The version that was sent last.
    pub sent_version: Option<Arc<str>>,
    /// The version that was acknowledged last.
    pub acked_version: Option<Arc<str>>,
    /// The newest refusal, until something newer is acknowledged.
    pub nack: Option<Nack>,
}

impl SubscriptionStatus {
    /// Has the client taken everything that was sent?
    pub fn in_sync(&self) -> bool {
        self.nack.is_none() && self.sent_version == self.acked_version
    }
}

/// What a client has of one resource that it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The version that was sent last; none while nothing was.
    pub version: Option<Arc<str>>,
    /// Nothing that was sent of its type waits for an answer, and the last answer was no refusal.
    pub acknowledged: bool,
    /// The words of the last refusal.
    pub refusal: Option<String>,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nack {
    /// The version that was refused, in whole or in part.
    pub version: Arc<str>,
    /// The client's words.
    pub message: String,
}
