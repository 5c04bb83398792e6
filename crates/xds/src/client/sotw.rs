//! The state-of-the-world variant.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::ResourceKind;
use prost::Message as _;
use proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse, Resource as WireResource};
use proto::google::protobuf::Any;
use proto::google::rpc::Status;

use super::{ClientSession, Message, Staged, Update, read, refuse_twins};
use crate::resource::WRAPPER_URL as WRAPPER;
use crate::{DecodeError, kind_of, type_url};

impl ClientSession {
    /// Takes a response. Nothing comes of one of a type that was never asked for.
    pub fn sotw_response(&mut self, response: DiscoveryResponse) -> Option<Update> {
        let kind = kind_of(&response.type_url)?;
        self.kinds.get_mut(&kind)?.last_nonce = response.nonce.clone();
        let mut resources = Vec::new();
        let mut refused: Vec<DecodeError> = Vec::new();
        for any in response.resources {
            // This variant has versions of whole responses only.
            match unwrap(any).map(|(name, any)| read(kind, &name, "", any)) {
                Some(Ok(read)) => resources.push(read),
                Some(Err(error)) => refused.push(error),
                None => {}
            }
        }
        refuse_twins(&mut resources, &mut refused);
        let removed = self.absent(kind, &resources, &refused);
        // Of what stays as it was nothing needs to be told.
        let expected = self.expected(kind);
        resources.retain(|(name, new, _)| expected.get(name).is_none_or(|old| old.value != new.value));
        let version = response.version_info;
        Some(self.stage(Staged { nonce: response.nonce, kind, version, resources, removed, refused }))
    }

    /// Listeners and clusters that are held but not in the response are gone. When a resource cannot even tell its
    /// name, any of them might be it, and all stay.
    fn absent(
        &self,
        kind: ResourceKind,
        resources: &[(Arc<str>, super::HeldResource, crate::Resource)],
        refused: &[DecodeError],
    ) -> Vec<Arc<str>> {
        let whole = matches!(kind, ResourceKind::Cluster | ResourceKind::Listener | ResourceKind::Names);
        if !whole || refused.iter().any(|error| error.resource.is_empty()) {
            return Vec::new();
        }
        let read = resources.iter().map(|(name, ..)| &**name);
        let present: BTreeSet<&str> = read.chain(refused.iter().map(|error| error.resource.as_str())).collect();
        self.expected(kind).into_keys().filter(|name| !present.contains(&***name)).cloned().collect()
    }

    /// A request: the whole list of names, the newest accepted version, and the nonce of the response it answers.
    pub(super) fn sotw_request(&mut self, kind: ResourceKind, nonce: String, error: Option<Status>) -> Message {
        let interest = self.kinds.entry(kind).or_default();
        interest.names_changed = false;
        let mut names: Vec<_> = interest.names.iter().map(ToString::to_string).collect();
        if interest.everything && !names.is_empty() {
            names.push("*".to_owned());
        }
        Message::Sotw(DiscoveryRequest {
            version_info: interest.accepted_version.clone(),
            resource_names: names,
            type_url: type_url(kind).to_owned(),
            response_nonce: nonce,
            error_detail: error,
            ..DiscoveryRequest::default()
        })
    }
}

/// A resource out of its wrapper, if it has one, and the name that stands there. Nothing for a wrapper without a body: it
/// only says that the old one is still good.
fn unwrap(any: Any) -> Option<(String, Any)> {
    if any.type_url != WRAPPER {
        return Some((String::new(), any));
    }
    match WireResource::decode(&any.value[..]) {
        Ok(wrapper) => Some((wrapper.name, wrapper.resource?)),
        // To be refused under its own type.
        Err(_) => Some((String::new(), any)),
    }
}
