//! Where resources come from, and where word of their fate goes. Plain traits, no runtime: an asynchronous owner has the
//! callback send into its own channel.

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::meta::{Origin, ResourceKey};
use crate::problem::Problem;
use crate::resource::Resource;

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The resource is new or different.
    Applied(Arc<Resource>),
    /// The resource is gone.
    Deleted {
        /// Which.
        key: ResourceKey,
        /// Where it had been written.
        origin: Origin,
    },
}

impl Change {
    /// The resource that it concerns.
    pub fn key(&self) -> ResourceKey {
        match self {
            Self::Applied(resource) => resource.key(),
            Self::Deleted { key, .. } => key.clone(),
        }
    }
}

/// Changes that belong together: they become visible together or not at all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// The changes, in order.
    pub changes: Vec<Change>,
    /// What was wrong with documents that are not among the changes, and warnings on those that are.
    pub problems: Vec<Problem>,
    /// After this batch everything that the source had at its start has been told; until then a consumer that starts
    /// cannot know what is missing.
    pub is_complete: bool,
}

/// Takes the batches of a source. Must not block: it may be called from any thread, never from two at once.
pub type Deliver = Box<dyn FnMut(Batch) + Send>;

/// Something that resources come from: a directory, the API of the control plane, Kubernetes.
pub trait Source: Send {
    /// A short name for messages and metrics, such as `files`.
    fn name(&self) -> &str;

    /// Tells everything there is, then every change, until the returned [`Subscription`] is dropped.
    /// Errors after the start are told as problems of a batch.
    fn subscribe(&mut self, deliver: Deliver) -> Result<Subscription, SourceError>;
}

/// Keeps a source telling; dropping it ends that.
pub struct Subscription(Option<Box<dyn FnOnce() + Send>>);

impl Subscription {
    /// A subscription that runs `end` when it is dropped.
    pub fn new(end: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(end)))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(end) = self.0.take() {
            end();
        }
    }
}

/// A source cannot start.
#[derive(Debug, thiserror::Error)]
#[error("the source {name} cannot start: {reason}")]
pub struct SourceError {
    /// The source.
    pub name: String,
    /// Why, and what to do.
    pub reason: String,
}

/// One statement about a resource, in the form of a Kubernetes condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about, such as `Accepted` or `Programmed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Is it so?
    pub status: ConditionStatus,
    /// One word for machines, such as `UnknownHost`.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// The generation of the resource that it speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<u64>,
    /// When `status` changed last.
    pub since: SystemTime,
}

/// Is a condition so?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// It is.
    True,
    /// It is not.
    False,
    /// It cannot be told yet.
    Unknown,
}

/// Takes word of what became of resources, and brings it to where the user wrote them.
pub trait StatusSink: Send + Sync {
    /// Replaces the conditions of `key` that have the same `kind`; others stay. Must not block; a sink that cannot
    /// deliver tries again by itself.
    fn report(&self, key: &ResourceKey, conditions: Vec<Condition>);
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A source with nothing in it but a promise.
    struct Empty(mpsc::Sender<&'static str>);

    impl Source for Empty {
        fn name(&self) -> &str {
            "empty"
        }
        fn subscribe(&mut self, mut deliver: Deliver) -> Result<Subscription, SourceError> {
            deliver(Batch { is_complete: true, ..Batch::default() });
            let over = self.0.clone();
            Ok(Subscription::new(move || over.send("over").unwrap()))
        }
    }

    #[test]
    fn subscription_ends_when_dropped() {
        let (over, ended) = mpsc::channel();
        let (batches, told) = mpsc::channel();
        let mut source: Box<dyn Source> = Box::new(Empty(over));
        let subscription = source.subscribe(Box::new(move |batch| batches.send(batch).unwrap())).unwrap();
        assert!(told.recv().unwrap().is_complete);
        drop(subscription);
        assert_eq!(ended.recv(), Ok("over"));
    }
}
