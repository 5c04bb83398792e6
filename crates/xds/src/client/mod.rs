//! The proxy's end of a discovery stream, as a state machine without I/O.
//!
//! The owner says what it wants ([`ClientSession::want_all`], [`ClientSession::want`]), feeds in responses, applies
//! each [`Update`], and says how that went ([`ClientSession::resolve`]); only then is the response acknowledged or
//! refused. After each step [`ClientSession::next_message`] gives what is to be sent until it gives nothing. Each
//! resource is decoded apart: the good ones of a response are used, the bad ones are refused by name.
//!
//! What is held outlives streams: on a new one the server learns the versions and sends only what differs.

mod delta;
mod held;
mod sotw;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use model::ResourceKind;
use proto::envoy::config::core::v3::Node;
use proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use proto::google::protobuf::Any;
use proto::google::rpc::Status;

use crate::health::{self, Health};
use crate::{DecodeError, Resource, decode};

pub use held::{Held, HeldError, HeldResource};

/// The two variants of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Variant {
    /// Incremental: `DeltaAggregatedResources`.
    #[default]
    Delta,
    /// State of the world: `StreamAggregatedResources`.
    Sotw,
}

/// A message to the server, of the session's variant.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Of the incremental variant.
    Delta(DeltaDiscoveryRequest),
    /// Of the state-of-the-world variant.
    Sotw(DiscoveryRequest),
}

/// What a response brought. It stays unanswered until [`ClientSession::resolve`] is called with its nonce, which must
/// be done for every update, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// Names the response.
    pub nonce: Nonce,
    /// The kind of everything in it.
    pub kind: ResourceKind,
    /// New and changed resources, those that could be read.
    pub updated: Vec<Resource>,
    /// Names that stand for nothing, be it any more or as it turned out.
    pub removed: Vec<Arc<str>>,
    /// Resources that could not be read; they stay as they were, and will be refused.
    pub refused: Vec<DecodeError>,
}

/// The nonce of a response, and the stream that it came by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Nonce {
    stream: u64,
    text: String,
}

/// A resource that was read but could not be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The resource's name.
    pub name: Arc<str>,
    /// Why not, in words for the server's people.
    pub reason: String,
}

/// The session.
#[derive(Debug)]
pub struct ClientSession {
    variant: Variant,
    node: Node,
    kinds: BTreeMap<ResourceKind, Interest>,
    held: Held,
    pending: VecDeque<Pending>,
    queue: VecDeque<Message>,
    /// What was said of the program last.
    health: Option<Health>,
    /// That was not sent on this stream yet.
    health_due: bool,
    /// Counts streams; zero before the first.
    stream: u64,
    connected: bool,
    /// The node was sent on this stream.
    introduced: bool,
}

/// What is wanted of one kind, and what is known of it.
#[derive(Debug, Default)]
struct Interest {
    everything: bool,
    names: BTreeSet<Arc<str>>,
    /// Wanted names that the server says stand for nothing.
    missing: BTreeSet<Arc<str>>,
    /// A response came, on any stream.
    answered: bool,
    /// A request went out on this stream.
    opened: bool,
    /// State of the world: the version of the newest response that was not refused.
    accepted_version: String,
    /// State of the world: the nonce of the newest response on this stream.
    last_nonce: String,
    /// State of the world: the list of names changed since it was sent last.
    names_changed: bool,
    /// Incremental: what changed since it was sent last.
    subscribe: BTreeSet<Arc<str>>,
    unsubscribe: BTreeSet<Arc<str>>,
}

/// A response that waits for its owner's word.
#[derive(Debug)]
struct Pending {
    nonce: Nonce,
    kind: ResourceKind,
    version: String,
    /// What will be held: nothing for removed names.
    changes: Vec<(Arc<str>, Option<HeldResource>)>,
    refused: Vec<String>,
}

impl ClientSession {
    /// A session that wants nothing yet. The node is who the proxy says it is.
    pub fn new(node: Node, variant: Variant) -> Self {
        Self {
            variant,
            node,
            kinds: BTreeMap::new(),
            held: Held::default(),
            pending: VecDeque::new(),
            queue: VecDeque::new(),
            health: None,
            health_due: false,
            stream: 0,
            connected: false,
            introduced: false,
        }
    }

    /// Begins with what was held in an earlier life; to be called before anything else. Gives the resources to apply,
    /// those that can still be read.
    pub fn restore(&mut self, held: Held) -> Vec<Resource> {
        let mut usable = Vec::new();
        for kind in ResourceKind::ALL {
            for (name, resource) in held.of_kind(kind) {
                let any = Any { type_url: crate::type_url(kind).to_owned(), value: resource.value.to_vec() };
                if let Ok(decoded) = decode::resource(kind, &any) {
                    usable.push(decoded.under(name));
                    self.held.insert(kind, name.clone(), resource.clone());
                }
            }
        }
        usable
    }

    /// What is held now.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// The variant that is spoken.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// Wants every resource of a kind (listeners, clusters, the name table).
    pub fn want_all(&mut self, kind: ResourceKind) {
        let interest = self.kinds.entry(kind).or_default();
        if !interest.everything {
            interest.everything = true;
            self.open_kind(kind);
        }
    }

    /// Wants these resources of a kind, and no others. What is not wanted any more is not held any more.
    pub fn want(&mut self, kind: ResourceKind, names: impl IntoIterator<Item = Arc<str>>) {
        let names: BTreeSet<Arc<str>> = names.into_iter().collect();
        let interest = self.kinds.entry(kind).or_default();
        if interest.names == names {
            return;
        }
        let (old, new) = (std::mem::take(&mut interest.names), names);
        for name in old.difference(&new) {
            interest.missing.remove(name);
            if !interest.subscribe.remove(name) {
                interest.unsubscribe.insert(name.clone());
            }
        }
        for name in new.difference(&old) {
            // One that was just given up is asked for anew: what was held of it is forgotten.
            interest.unsubscribe.remove(name);
            interest.subscribe.insert(name.clone());
        }
        interest.names = new;
        interest.names_changed = true;
        if !interest.everything {
            self.held.retain(kind, |name| interest.names.contains(name));
        }
        self.open_kind(kind);
    }

    /// Says whether the program is ready, now and at the beginning of each stream to come. Without such a word the
    /// server takes it for granted.
    pub fn report(&mut self, health: Health) {
        self.health_due |= self.health.as_ref() != Some(&health);
        self.health = Some(health);
    }

    /// Is everything that is wanted either there or known not to exist? Not every control plane has a runtime to tell of, so
    /// that is waited for by nobody.
    pub fn is_complete(&self) -> bool {
        self.kinds.iter().filter(|(kind, _)| **kind != ResourceKind::Runtime).all(|(kind, interest)| {
            let there = |name: &Arc<str>| self.held.get(*kind, name).is_some() || interest.missing.contains(name);
            (!interest.everything || interest.answered) && interest.names.iter().all(there)
        })
    }

    /// A stream is open: everything is asked for anew.
    pub fn connected(&mut self) {
        self.stream += 1;
        self.connected = true;
        self.introduced = false;
        self.health_due = self.health.is_some();
        self.queue.clear();
        for interest in self.kinds.values_mut() {
            interest.opened = false;
            interest.last_nonce.clear();
        }
        for kind in ResourceKind::ALL {
            self.open_kind(kind);
        }
    }

    /// The stream is closed. Updates that are not resolved yet still may be; nobody will hear of it.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.queue.clear();
    }

    /// Says how applying an update went: all of it well, or these resources not. The response is acknowledged, or
    /// refused with the reasons; what was refused is held as it was before.
    pub fn resolve(&mut self, nonce: &Nonce, outcome: Result<(), Vec<Refusal>>) {
        let Some(at) = self.pending.iter().position(|pending| pending.nonce == *nonce) else { return };
        let Some(mut pending) = self.pending.remove(at) else { return };
        let refusals = outcome.err().unwrap_or_default();
        for (name, held) in std::mem::take(&mut pending.changes) {
            if refusals.iter().any(|refusal| refusal.name == name) || !self.is_wanted(pending.kind, &name) {
                continue;
            }
            match held {
                Some(resource) => self.held.insert(pending.kind, name, resource),
                None => self.held.remove(pending.kind, &name),
            }
        }
        pending.refused.extend(refusals.into_iter().map(|Refusal { name, reason }| format!("{name}: {reason}")));
        if self.connected && pending.nonce.stream == self.stream {
            self.answer(pending);
        }
    }

    /// What is to be sent now, if anything.
    pub fn next_message(&mut self) -> Option<Message> {
        if !self.connected {
            return None;
        }
        let next = self.due_health().or_else(|| self.queue.pop_front()).or_else(|| self.changed_interest())?;
        Some(self.introduce(next))
    }

    /// What will be held of a kind if all that is pending turns out well.
    fn expected(&self, kind: ResourceKind) -> BTreeMap<&Arc<str>, &HeldResource> {
        let mut expected: BTreeMap<_, _> = self.held.of_kind(kind).collect();
        for (name, change) in self.pending.iter().filter(|it| it.kind == kind).flat_map(|it| &it.changes) {
            match change {
                Some(resource) => expected.insert(name, resource),
                None => expected.remove(name),
            };
        }
        expected
    }

    /// The first request of a stream is one for resources: a server that knows no others learns the node by it.
    fn due_health(&mut self) -> Option<Message> {
        let health = self.health.as_ref().filter(|_| self.health_due && self.introduced)?;
        self.health_due = false;
        Some(health::message(self.variant, health))
    }

    fn is_wanted(&self, kind: ResourceKind, name: &str) -> bool {
        self.kinds.get(&kind).is_some_and(|interest| interest.everything || interest.names.contains(name))
    }

    /// The first message of a stream says who speaks.
    fn introduce(&mut self, mut message: Message) -> Message {
        if !std::mem::replace(&mut self.introduced, true) {
            let node = Some(self.node.clone());
            match &mut message {
                Message::Delta(request) => request.node = node,
                Message::Sotw(request) => request.node = node,
            }
        }
        message
    }

    /// Asks for a kind for the first time on this stream.
    fn open_kind(&mut self, kind: ResourceKind) {
        let Some(interest) = self.kinds.get_mut(&kind) else { return };
        // A first request without names would mean everything.
        let nothing = !interest.everything && interest.names.is_empty();
        if !self.connected || interest.opened || nothing {
            return;
        }
        interest.opened = true;
        interest.names_changed = false;
        interest.subscribe.clear();
        interest.unsubscribe.clear();
        let message = match self.variant {
            Variant::Delta => self.first_delta(kind),
            Variant::Sotw => self.sotw_request(kind, String::new(), None),
        };
        self.queue.push_back(message);
    }

    /// A request for a kind whose wanted names changed.
    fn changed_interest(&mut self) -> Option<Message> {
        // In the state of the world every request answers the newest response, so it waits for the owner's word.
        let unanswered = |kind| self.pending.iter().any(|it| it.kind == kind && it.nonce.stream == self.stream);
        let changed = |kind, interest: &Interest| match self.variant {
            Variant::Delta => !interest.subscribe.is_empty() || !interest.unsubscribe.is_empty(),
            Variant::Sotw => interest.names_changed && !unanswered(kind),
        };
        let kind = *self.kinds.iter().find(|(kind, interest)| interest.opened && changed(**kind, interest))?.0;
        Some(match self.variant {
            Variant::Delta => self.delta_request(kind, String::new(), None),
            Variant::Sotw => {
                let nonce = self.kinds[&kind].last_nonce.clone();
                self.sotw_request(kind, nonce, None)
            }
        })
    }

    fn answer(&mut self, pending: Pending) {
        let error = (!pending.refused.is_empty()).then(|| invalid(&pending.refused));
        let message = match self.variant {
            Variant::Delta => self.delta_request(pending.kind, pending.nonce.text, error),
            Variant::Sotw => {
                let interest = self.kinds.entry(pending.kind).or_default();
                if error.is_none() {
                    interest.accepted_version = pending.version;
                }
                self.sotw_request(pending.kind, pending.nonce.text, error)
            }
        };
        self.queue.push_back(message);
    }

    /// Keeps a response until its owner has spoken, and tells what is in it.
    fn stage(&mut self, staged: Staged) -> Update {
        let Staged { nonce, kind, version, resources, removed, refused } = staged;
        let nonce = Nonce { stream: self.stream, text: nonce };
        let interest = self.kinds.entry(kind).or_default();
        interest.answered = true;
        interest.missing.extend(removed.iter().filter(|name| interest.names.contains(*name)).cloned());
        let mut changes = Vec::new();
        let mut updated = Vec::new();
        let wanted = |name: &Arc<str>| interest.everything || interest.names.contains(name);
        for (name, held, resource) in resources.into_iter().filter(|(name, ..)| wanted(name)).collect::<Vec<_>>() {
            interest.missing.remove(&name);
            changes.push((name, Some(held)));
            updated.push(resource);
        }
        changes.extend(removed.iter().map(|name| (name.clone(), None)));
        let reasons = refused.iter().map(ToString::to_string).collect();
        self.pending.push_back(Pending { nonce: nonce.clone(), kind, version, changes, refused: reasons });
        Update { nonce, kind, updated, removed, refused }
    }
}

/// A response taken apart.
struct Staged {
    nonce: String,
    kind: ResourceKind,
    version: String,
    resources: Vec<(Arc<str>, HeldResource, Resource)>,
    removed: Vec<Arc<str>>,
    refused: Vec<DecodeError>,
}

/// The refusal of a response, with a reason for each bad resource.
fn invalid(reasons: &[String]) -> Status {
    const INVALID_ARGUMENT: i32 = 3;
    Status { code: INVALID_ARGUMENT, message: reasons.join("; "), details: Vec::new() }
}

/// Decodes one resource, sent under a name.
fn read(
    kind: ResourceKind,
    name: &str,
    version: &str,
    any: Any,
) -> Result<(Arc<str>, HeldResource, Resource), DecodeError> {
    let resource = decode::resource(kind, &any)?.under(name);
    let held = HeldResource { version: version.into(), value: Bytes::from(any.value) };
    Ok((resource.name(), held, resource))
}

/// Refuses every resource whose name stands twice in a response.
fn refuse_twins(resources: &mut Vec<(Arc<str>, HeldResource, Resource)>, refused: &mut Vec<DecodeError>) {
    let mut seen = BTreeSet::new();
    let twins: BTreeSet<Arc<str>> =
        resources.iter().filter(|(name, ..)| !seen.insert(name.clone())).map(|(name, ..)| name.clone()).collect();
    resources.retain(|(name, ..)| !twins.contains(name));
    refused.extend(twins.iter().map(|name| DecodeError {
        resource: name.to_string(),
        path: "name".into(),
        problem: "stands more than once in one response".into(),
        expected: "each name once".into(),
    }));
}
