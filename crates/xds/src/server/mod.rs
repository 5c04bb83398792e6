//! The control plane's end of a discovery stream, as state machines without I/O.
//!
//! A session is fed requests ([`ServerSession::request`]) and snapshots ([`ServerSession::offer`]); after each, its
//! driver sends what [`ServerSession::next_response`] gives until it gives nothing. New and changed resources go out
//! in the order CDS, EDS, LDS, RDS, SDS, what is gone goes last; of each type one response is under way at a time, and
//! what happens meanwhile is put together into the next one.
//!
//! A client may ask for virtual hosts one by one (VHDS), by the authority of a request. To one that also asks for clusters
//! by name ([`DeltaServer`]), what a virtual host needs is sent along without being asked for, its clusters and their
//! endpoints: so that the request that waits for it waits for one round trip.
//!
//! The rules are those of the xDS transport protocol (envoyproxy.io, "xDS REST and gRPC protocol").

mod delta;
mod snapshot;
mod sotw;
mod status;
mod subscription;

use std::sync::Arc;

pub use delta::DeltaServer;
pub use snapshot::{EncodedResource, ResourceSet, Snapshot};
pub use sotw::SotwServer;
pub use status::{Nack, SubscriptionStatus, Taken};

use crate::{resource, type_url};
use model::ResourceKind;

/// One stream, in one of the two variants of the protocol.
pub trait ServerSession {
    /// What the client sends.
    type Request;
    /// What the client gets.
    type Response;

    /// Takes a request: a subscription, an ACK, a NACK, or several of these at once.
    fn request(&mut self, request: Self::Request);

    /// Takes the newest state of what this client may have.
    fn offer(&mut self, snapshot: Arc<Snapshot>);

    /// What is to be sent now, if anything. Once given it counts as sent.
    fn next_response(&mut self) -> Option<Self::Response>;

    /// Where each subscription stands.
    fn status(&self) -> Vec<SubscriptionStatus>;

    /// What the client has of a resource; none if it does not ask for it.
    fn taken(&self, kind: ResourceKind, name: &str) -> Option<Taken>;
}

/// The place of a type in the order of sending. Types that we do not know come last, in the order of their names.
fn rank(url: &str) -> usize {
    ResourceKind::ALL.iter().position(|kind| type_url(*kind) == url).unwrap_or(ResourceKind::ALL.len())
}

/// The place of a type in the order of removal: users before what they use.
fn removal_rank(url: &str) -> usize {
    use ResourceKind::{Cluster, Endpoints, Listener, Names, Route, Secret, VirtualHost};
    const ORDER: [ResourceKind; 7] = [Listener, Route, VirtualHost, Cluster, Endpoints, Secret, Names];
    ORDER.iter().position(|kind| type_url(*kind) == url).unwrap_or(ORDER.len())
}

/// Whether a first request without names means everything. Endpoints, routes, virtual hosts and secrets are always asked
/// for by name.
fn has_wildcard(url: &str) -> bool {
    use ResourceKind::{Endpoints, Route, Secret, VirtualHost};
    !matches!(resource::kind_of(url), Some(Endpoints | Route | VirtualHost | Secret))
}

/// Whether a resource of this type may be taken away. Envoy mishandles removed extension configurations
/// (envoyproxy/envoy#32823); they go with their users.
fn may_be_removed(url: &str) -> bool {
    url != "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
}
