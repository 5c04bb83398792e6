//! The state-of-the-world variant.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{EndpointSet, ResourceKind};
use proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use proto::google::protobuf::Any;

use super::subscription::{Due, Subscription, WILDCARD};
use super::{ServerSession, Snapshot, SubscriptionStatus, Taken, has_wildcard, rank, removal_rank};
use crate::{encode, type_url};

/// A stream of `StreamAggregatedResources`.
///
/// For listeners and clusters every response is the whole set, and what is not in it is gone. So that nothing goes
/// before its replacement is in use, what is gone stays in the responses until nothing new is under way.
#[derive(Debug, Default)]
pub struct SotwServer {
    /// In the order of sending.
    subscriptions: Vec<Subscription>,
    snapshot: Arc<Snapshot>,
    nonces: u64,
    /// The endpoint sets for which clusters wait, until the client asks for endpoints at all.
    awaited: Vec<Arc<str>>,
}

impl SotwServer {
    /// A fresh stream.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self { snapshot, ..Self::default() }
    }

    fn find(&mut self, type_url: &str) -> Option<&mut Subscription> {
        self.subscriptions.iter_mut().find(|it| *it.type_url == *type_url)
    }

    /// Opens a type with its first request, whatever nonce and version that has: they may stem from another stream.
    fn open(&mut self, type_url: &str) {
        let type_url: Arc<str> = type_url.into();
        let mut new = Subscription::new(type_url.clone(), self.snapshot.get_type(&type_url).cloned());
        if *type_url == *self::type_url(ResourceKind::Endpoints) {
            self.awaited.drain(..).for_each(|name| new.awaited(name));
        }
        let at = self
            .subscriptions
            .partition_point(|other| (rank(&other.type_url), &*other.type_url) < (rank(&type_url), &*type_url));
        self.subscriptions.insert(at, new);
    }

    /// New and changed resources, and answers.
    fn next_news(&mut self) -> Option<DiscoveryResponse> {
        for index in 0..self.subscriptions.len() {
            let subscription = &mut self.subscriptions[index];
            let due = subscription.take_due();
            if due.is_empty() {
                continue;
            }
            let whole = has_wildcard(&subscription.type_url);
            for resource in &due.changed {
                subscription.hold(resource, whole);
            }
            let resources = if whole { whole_set(subscription) } else { part(subscription, &due) };
            // A missing route or secret has no answer in this variant: it comes when it exists.
            if !whole && resources.is_empty() {
                continue;
            }
            let response = self.respond(index, resources, false);
            due.changed.iter().filter_map(|it| it.waits_for.clone()).for_each(|name| self.await_endpoints(name));
            return Some(response);
        }
        None
    }

    /// A cluster that was sent waits for its endpoints, even if these did not change.
    fn await_endpoints(&mut self, name: Arc<str>) {
        match self.find(type_url(ResourceKind::Endpoints)) {
            Some(endpoints) => endpoints.awaited(name),
            None => self.awaited.push(name),
        }
    }

    /// What is gone, when nothing else is under way.
    fn next_removal(&mut self) -> Option<DiscoveryResponse> {
        if self.subscriptions.iter().any(Subscription::has_news) {
            return None;
        }
        let mut order: Vec<_> = (0..self.subscriptions.len()).collect();
        order.sort_by_key(|index| removal_rank(&self.subscriptions[*index].type_url));
        for index in order {
            let subscription = &mut self.subscriptions[index];
            let gone = subscription.take_gone();
            gone.iter().for_each(|name| _ = subscription.held.remove(name));
            let resources = if has_wildcard(&subscription.type_url) {
                whole_set(subscription)
            } else {
                absent_endpoints(subscription, &gone)
            };
            if !gone.is_empty() && (!resources.is_empty() || has_wildcard(&subscription.type_url)) {
                return Some(self.respond(index, resources, true));
            }
        }
        None
    }

    fn respond(&mut self, index: usize, resources: Vec<Any>, removal: bool) -> DiscoveryResponse {
        self.nonces += 1;
        let nonce = self.nonces.to_string();
        let subscription = &mut self.subscriptions[index];
        let mut version = subscription.version();
        // What is still in it and gone already makes it another set.
        if subscription.has_gone() && has_wildcard(&subscription.type_url) {
            version = format!("{version}+").into();
        }
        subscription.sent(&nonce, version.clone(), removal);
        DiscoveryResponse {
            version_info: version.to_string(),
            resources,
            type_url: subscription.type_url.to_string(),
            nonce,
            ..DiscoveryResponse::default()
        }
    }
}

/// Everything that the client has by now.
fn whole_set(subscription: &Subscription) -> Vec<Any> {
    let held = subscription.held.values().filter_map(|held| held.resource.as_ref());
    held.map(|resource| resource.by_itself(&subscription.type_url)).collect()
}

/// What changed.
fn part(subscription: &mut Subscription, due: &Due) -> Vec<Any> {
    let mut resources: Vec<_> = due.changed.iter().map(|it| it.by_itself(&subscription.type_url)).collect();
    resources.extend(absent_endpoints(subscription, &due.missing));
    resources
}

/// An endpoint set that does not exist is answered as an empty one, lest a cluster wait for it for ever. Other types
/// have no such form.
fn absent_endpoints(subscription: &mut Subscription, names: &[Arc<str>]) -> Vec<Any> {
    if *subscription.type_url != *type_url(ResourceKind::Endpoints) {
        return Vec::new();
    }
    let mut empty = Vec::with_capacity(names.len());
    for name in names {
        subscription.hold_absent(name);
        empty.push(encode::endpoints(&EndpointSet::new(name.clone(), Vec::new())));
    }
    empty
}

impl ServerSession for SotwServer {
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    /// A request with a stale nonce is dropped: the client will answer the newer response with its whole list.
    fn request(&mut self, request: DiscoveryRequest) {
        let first = self.find(&request.type_url).is_none();
        if first {
            self.open(&request.type_url);
        }
        let Some(subscription) = self.find(&request.type_url) else { return };
        if !first && subscription.last_nonce.as_ref().is_some_and(|last| *last != request.response_nonce) {
            return;
        }
        if !first {
            let error = request.error_detail.as_ref().map(|status| status.message.as_str());
            subscription.answered(&request.response_nonce, error);
        }
        let everything = request.resource_names.iter().any(|name| name == WILDCARD);
        subscription.named |= !request.resource_names.is_empty();
        let names: BTreeSet<Arc<str>> =
            request.resource_names.iter().filter(|name| *name != WILDCARD).map(|name| name.as_str().into()).collect();
        if everything && !subscription.wildcard {
            subscription.subscribe_all();
        } else if first && !subscription.named {
            subscription.subscribe_legacy();
        } else if !everything && subscription.named && subscription.wildcard {
            subscription.unsubscribe_all();
        }
        let dropped: Vec<_> = subscription.names.difference(&names).cloned().collect();
        dropped.iter().for_each(|name| subscription.unsubscribe(name));
        let added: Vec<_> = names.difference(&subscription.names).cloned().collect();
        added.into_iter().for_each(|name| subscription.subscribe(name));
    }

    fn offer(&mut self, snapshot: Arc<Snapshot>) {
        for subscription in &mut self.subscriptions {
            subscription.offer(snapshot.get_type(&subscription.type_url).cloned());
        }
        self.snapshot = snapshot;
    }

    fn next_response(&mut self) -> Option<DiscoveryResponse> {
        self.next_news().or_else(|| self.next_removal())
    }

    fn status(&self) -> Vec<SubscriptionStatus> {
        self.subscriptions.iter().map(Subscription::status).collect()
    }

    fn taken(&self, kind: ResourceKind, name: &str) -> Option<Taken> {
        self.subscriptions.iter().find(|it| *it.type_url == *type_url(kind))?.taken(name)
    }
}
