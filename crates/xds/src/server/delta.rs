//! The incremental variant.

use std::sync::Arc;

use proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};

use super::subscription::{Held, Subscription, WILDCARD};
use super::{ServerSession, Snapshot, SubscriptionStatus, rank, removal_rank};
use crate::type_url;
use model::ResourceKind;

/// A stream of `DeltaAggregatedResources`.
#[derive(Debug, Default)]
pub struct DeltaServer {
    /// In the order of sending.
    subscriptions: Vec<Subscription>,
    snapshot: Arc<Snapshot>,
    nonces: u64,
    /// The endpoint sets for which clusters wait, until the client asks for endpoints at all.
    awaited: Vec<Arc<str>>,
}

impl DeltaServer {
    /// A fresh stream.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self { snapshot, ..Self::default() }
    }

    /// Opens a type with its first request, whatever nonce that has: it may stem from another stream.
    fn open(&mut self, request: &DeltaDiscoveryRequest) {
        let type_url: Arc<str> = request.type_url.as_str().into();
        let mut new = Subscription::new(type_url.clone(), self.snapshot.get_type(&type_url).cloned());
        for (name, version) in &request.initial_resource_versions {
            let held = Held { version: version.as_str().into(), resource: None, absent: false };
            new.held.insert(name.as_str().into(), held);
        }
        if request.resource_names_subscribe.is_empty() {
            new.subscribe_legacy();
        }
        if *type_url == *type_url_of_endpoints() {
            self.awaited.drain(..).for_each(|name| new.awaited(name));
        }
        let at = self
            .subscriptions
            .partition_point(|other| (rank(&other.type_url), &*other.type_url) < (rank(&type_url), &*type_url));
        self.subscriptions.insert(at, new);
    }

    fn find(&mut self, type_url: &str) -> Option<&mut Subscription> {
        self.subscriptions.iter_mut().find(|it| *it.type_url == *type_url)
    }

    /// New and changed resources, and answers.
    fn next_news(&mut self) -> Option<DeltaDiscoveryResponse> {
        for index in 0..self.subscriptions.len() {
            let subscription = &mut self.subscriptions[index];
            let due = subscription.take_due();
            if due.is_empty() {
                continue;
            }
            for resource in &due.changed {
                subscription.hold(resource, false);
            }
            for name in &due.missing {
                subscription.held.remove(name);
            }
            let type_url = subscription.type_url.clone();
            let resources = due.changed.iter().map(|it| Resource {
                name: it.name.to_string(),
                version: it.version.to_string(),
                resource: Some(it.any(&type_url)),
                ..Resource::default()
            });
            let response = self.respond(index, resources.collect(), due.missing, false);
            due.changed.iter().filter_map(|it| it.waits_for.clone()).for_each(|name| self.await_endpoints(name));
            return Some(response);
        }
        None
    }

    /// A cluster that was sent waits for its endpoints, even if these did not change (envoyproxy/envoy#13009).
    fn await_endpoints(&mut self, name: Arc<str>) {
        match self.find(type_url_of_endpoints()) {
            Some(endpoints) => endpoints.awaited(name),
            None => self.awaited.push(name),
        }
    }

    /// What is gone, when nothing else is under way.
    fn next_removal(&mut self) -> Option<DeltaDiscoveryResponse> {
        if self.subscriptions.iter().any(Subscription::has_news) {
            return None;
        }
        let mut order: Vec<_> = (0..self.subscriptions.len()).collect();
        order.sort_by_key(|index| removal_rank(&self.subscriptions[*index].type_url));
        for index in order {
            let gone = self.subscriptions[index].take_gone();
            if !gone.is_empty() {
                for name in &gone {
                    self.subscriptions[index].held.remove(name);
                }
                return Some(self.respond(index, Vec::new(), gone, true));
            }
        }
        None
    }

    fn respond(
        &mut self,
        index: usize,
        resources: Vec<Resource>,
        removed: Vec<Arc<str>>,
        removal: bool,
    ) -> DeltaDiscoveryResponse {
        self.nonces += 1;
        let nonce = self.nonces.to_string();
        let subscription = &mut self.subscriptions[index];
        subscription.sent(&nonce, subscription.version(), removal);
        DeltaDiscoveryResponse {
            system_version_info: subscription.version().to_string(),
            resources,
            type_url: subscription.type_url.to_string(),
            removed_resources: removed.iter().map(|name| name.to_string()).collect(),
            nonce,
            ..DeltaDiscoveryResponse::default()
        }
    }
}

fn type_url_of_endpoints() -> &'static str {
    type_url(ResourceKind::Endpoints)
}

impl ServerSession for DeltaServer {
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    /// Changes of subscription count whatever the nonce is: it only pairs the answer.
    fn request(&mut self, request: DeltaDiscoveryRequest) {
        let first = self.find(&request.type_url).is_none();
        if first {
            self.open(&request);
        }
        let Some(subscription) = self.find(&request.type_url) else { return };
        if !first && !request.response_nonce.is_empty() {
            let error = request.error_detail.as_ref().map(|status| status.message.as_str());
            subscription.answered(&request.response_nonce, error);
        }
        for name in request.resource_names_unsubscribe {
            match name.as_str() {
                WILDCARD => subscription.unsubscribe_all(),
                name => subscription.unsubscribe(name),
            }
        }
        for name in request.resource_names_subscribe {
            match name.as_str() {
                WILDCARD => subscription.subscribe_all(),
                name if first && subscription.held.contains_key(name) => subscription.resume(name.into()),
                name => subscription.subscribe(name.into()),
            }
        }
    }

    fn offer(&mut self, snapshot: Arc<Snapshot>) {
        for subscription in &mut self.subscriptions {
            subscription.offer(snapshot.get_type(&subscription.type_url).cloned());
        }
        self.snapshot = snapshot;
    }

    fn next_response(&mut self) -> Option<DeltaDiscoveryResponse> {
        self.next_news().or_else(|| self.next_removal())
    }

    fn status(&self) -> Vec<SubscriptionStatus> {
        self.subscriptions.iter().map(Subscription::status).collect()
    }
}
