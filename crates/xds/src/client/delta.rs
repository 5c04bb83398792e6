//! The incremental variant.

use std::sync::Arc;

use model::ResourceKind;
use proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource as WireResource};
use proto::google::rpc::Status;

use super::{ClientSession, Message, Staged, Update, read, refuse_twins};
use crate::{DecodeError, kind_of, type_url};

impl ClientSession {
    /// Takes a response. Nothing comes of one of a type that was never asked for.
    pub fn delta_response(&mut self, response: DeltaDiscoveryResponse) -> Option<Update> {
        let kind = kind_of(&response.type_url)?;
        self.kinds.get(&kind)?;
        let mut resources = Vec::new();
        let mut refused = Vec::new();
        let mut removed: Vec<Arc<str>> = response.removed_resources.iter().map(|name| name.as_str().into()).collect();
        for resource in response.resources {
            if says_there_is_none(kind, &resource) {
                removed.push(resource.name.as_str().into());
                continue;
            }
            match read_wrapped(kind, resource) {
                Some(Ok(read)) => resources.push(read),
                Some(Err(error)) => refused.push(error),
                None => {}
            }
        }
        refuse_twins(&mut resources, &mut refused);
        let version = response.system_version_info;
        Some(self.stage(Staged { nonce: response.nonce, kind, version, resources, removed, refused }))
    }

    /// The first request of a kind on a stream: what is wanted, and which versions are held.
    pub(super) fn first_delta(&self, kind: ResourceKind) -> Message {
        let Some(interest) = self.kinds.get(&kind) else { return Message::Delta(DeltaDiscoveryRequest::default()) };
        let mut names: Vec<_> = interest.names.iter().map(ToString::to_string).collect();
        if interest.everything && !names.is_empty() {
            names.push("*".to_owned());
        }
        // What is not resolved yet counts as held: should it be refused, that is as if it were now.
        let versions = self.expected(kind).into_iter().map(|(name, held)| (name.to_string(), held.version.to_string()));
        Message::Delta(DeltaDiscoveryRequest {
            type_url: type_url(kind).to_owned(),
            resource_names_subscribe: names,
            initial_resource_versions: versions.collect(),
            ..DeltaDiscoveryRequest::default()
        })
    }

    /// An answer or a change of what is wanted; both may go together.
    pub(super) fn delta_request(&mut self, kind: ResourceKind, nonce: String, error: Option<Status>) -> Message {
        let interest = self.kinds.entry(kind).or_default();
        let list = |names: &mut std::collections::BTreeSet<Arc<str>>| {
            std::mem::take(names).iter().map(ToString::to_string).collect()
        };
        Message::Delta(DeltaDiscoveryRequest {
            type_url: type_url(kind).to_owned(),
            response_nonce: nonce,
            error_detail: error,
            resource_names_subscribe: list(&mut interest.subscribe),
            resource_names_unsubscribe: list(&mut interest.unsubscribe),
            ..DeltaDiscoveryRequest::default()
        })
    }
}

/// Is this how a virtual host is said not to exist: its name without a body (Envoy's VHDS)? Elsewhere, and with a time to
/// live, that only says that the old one is still good.
fn says_there_is_none(kind: ResourceKind, wrapper: &WireResource) -> bool {
    kind == ResourceKind::VirtualHost && wrapper.resource.is_none() && wrapper.ttl.is_none()
}

/// Decodes a resource out of its wrapper, whose name must be its own. Nothing for one without a body: it only says
/// that the old one is still good.
fn read_wrapped(
    kind: ResourceKind,
    wrapper: WireResource,
) -> Option<Result<(Arc<str>, super::HeldResource, crate::Resource), DecodeError>> {
    let read = read(kind, &wrapper.name, &wrapper.version, wrapper.resource?);
    Some(match read {
        // A resource that cannot be read may not know its name, but its wrapper does.
        Err(error) => Err(DecodeError { resource: wrapper.name, ..error }),
        Ok((name, ..)) if *name != *wrapper.name => Err(DecodeError {
            problem: format!("is {:?}", &*name),
            resource: wrapper.name,
            path: "name".into(),
            expected: "the name that the resource was sent under".into(),
        }),
        Ok(read) => Ok(read),
    })
}
