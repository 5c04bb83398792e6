//! The incremental variant.

use std::sync::Arc;

use proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource};

use super::subscription::{Held, Subscription, WILDCARD};
use super::{EncodedResource, ServerSession, Snapshot, SubscriptionStatus, Taken, rank, removal_rank};
use crate::{kind_of, type_url};
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
        let mut new = self.subscription(request.type_url.as_str().into());
        for (name, version) in &request.initial_resource_versions {
            let held = Held { version: version.as_str().into(), resource: None, absent: false };
            new.held.insert(name.as_str().into(), held);
        }
        if request.resource_names_subscribe.is_empty() {
            new.subscribe_legacy();
        }
        if request.type_url == type_url(ResourceKind::Endpoints) {
            self.awaited.drain(..).for_each(|name| new.awaited(name));
        }
        self.insert(new);
    }

    fn subscription(&self, type_url: Arc<str>) -> Subscription {
        let set = self.snapshot.get_type(&type_url).cloned();
        Subscription::new(type_url, set)
    }

    fn insert(&mut self, new: Subscription) {
        let place = |it: &Subscription| (rank(&it.type_url), it.type_url.clone());
        let at = self.subscriptions.partition_point(|other| place(other) < place(&new));
        self.subscriptions.insert(at, new);
    }

    fn find(&mut self, type_url: &str) -> Option<&mut Subscription> {
        self.subscriptions.iter_mut().find(|it| *it.type_url == *type_url)
    }

    fn of(&mut self, kind: ResourceKind) -> Option<&mut Subscription> {
        self.find(type_url(kind))
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
            let mut resources: Vec<Resource> = due.changed.iter().map(|it| wrapped(it, &type_url)).collect();
            let mut missing = due.missing;
            if kind_of(&type_url) == Some(ResourceKind::VirtualHost) {
                // Envoy's VHDS says so by a name without a body.
                resources.extend(missing.drain(..).map(|name| nothing(&name)));
            }
            let response = self.respond(index, resources, missing, false);
            due.changed.iter().for_each(|it| self.needed_by(it));
            return Some(response);
        }
        None
    }

    /// What was sent waits for others, even if these did not change (envoyproxy/envoy#13009). Who asks
    /// for virtual hosts, and for clusters by name, gets them without asking: after the virtual host its clusters, after a
    /// cluster its endpoints, so that each finds the client ready for it.
    fn needed_by(&mut self, sent: &EncodedResource) {
        if let Some(clusters) = self.of(ResourceKind::Cluster) {
            sent.uses.iter().for_each(|cluster| clusters.lend(cluster));
        }
        let Some(name) = &sent.waits_for else { return };
        let asks_by_name = self.of(ResourceKind::Cluster).is_some_and(|clusters| !clusters.wildcard);
        let on_demand = asks_by_name && self.of(ResourceKind::VirtualHost).is_some();
        match self.of(ResourceKind::Endpoints) {
            Some(endpoints) => {
                endpoints.awaited(name.clone());
                if on_demand {
                    endpoints.lend(name);
                }
            }
            None if on_demand => {
                let mut endpoints = self.subscription(type_url(ResourceKind::Endpoints).into());
                self.awaited.drain(..).for_each(|name| endpoints.awaited(name));
                endpoints.lend(name);
                self.insert(endpoints);
            }
            None => self.awaited.push(name.clone()),
        }
    }

    /// The client gave up a virtual host.
    fn given_up(&mut self, name: &str) {
        let uses =
            self.of(ResourceKind::VirtualHost).and_then(|hosts| hosts.current(name)).map(|host| host.uses.clone());
        let Some(uses) = uses else { return };
        for cluster in &*uses {
            let waits_for = self.of(ResourceKind::Cluster).and_then(|c| c.current(cluster)?.waits_for.clone());
            if let Some(endpoints) = self.of(ResourceKind::Endpoints) {
                waits_for.iter().for_each(|name| endpoints.take_back(name));
            }
            if let Some(clusters) = self.of(ResourceKind::Cluster) {
                clusters.take_back(cluster);
            }
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

/// A resource in its wrapper. A virtual host is told by an alias whom it was asked for by; here that is its name.
fn wrapped(resource: &EncodedResource, type_url: &str) -> Resource {
    let alias = (!resource.domains.is_empty()).then(|| resource.name.to_string());
    Resource {
        name: resource.name.to_string(),
        aliases: alias.into_iter().collect(),
        version: resource.version.to_string(),
        resource: Some(resource.any(type_url)),
        ..Resource::default()
    }
}

fn nothing(name: &str) -> Resource {
    Resource { name: name.to_owned(), aliases: vec![name.to_owned()], ..Resource::default() }
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
        for name in &request.resource_names_unsubscribe {
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
        if kind_of(&request.type_url) == Some(ResourceKind::VirtualHost) {
            request.resource_names_unsubscribe.iter().for_each(|name| self.given_up(name));
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

    fn taken(&self, kind: ResourceKind, name: &str) -> Option<Taken> {
        self.subscriptions.iter().find(|it| *it.type_url == *type_url(kind))?.taken(name)
    }
}
