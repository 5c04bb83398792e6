//! The plain meaning of rules: is a condition met, which policy takes a call, and what becomes of it.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Action, Call, Condition, Operation, Policy, Rules, Source};
use crate::StringMatch;
use crate::matcher::HeaderMatch;
use crate::metadata::{Fields, Value};
use crate::route::header_matches;

/// What rules say of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<'a> {
    /// It may pass.
    pub allowed: bool,
    /// The first policy, in the order of their names, that takes it.
    pub policy: Option<&'a Arc<str>>,
}

/// Envoy's details of a refusal: `rbac_access_denied_matched_policy[NAME]`, or `[none]`. White space would end the field of a
/// log in which it stands, so it becomes underscores.
pub fn details(policy: Option<&str>) -> String {
    let name: String = policy.unwrap_or("none").chars().map(|c| if c.is_whitespace() { '_' } else { c }).collect();
    format!("rbac_access_denied_matched_policy[{name}]")
}

/// Adds what rules of this kind (`enforced`, or `shadow` behind its prefix) said to the metadata of their filter, in
/// Envoy's words.
pub fn tell(fields: &mut Fields, kind: &str, allowed: bool, policy: Option<&str>) {
    let result = if allowed { "allowed" } else { "denied" };
    fields.insert(format!("{kind}_engine_result"), Value::Text(result.to_owned()));
    if let Some(policy) = policy {
        fields.insert(format!("{kind}_effective_policy_id"), Value::Text(policy.to_owned()));
    }
}

impl Action {
    /// May a call pass that a policy takes, or none?
    pub(super) fn allows(self, taken: bool) -> bool {
        match self {
            Self::Allow => taken,
            Self::Deny => !taken,
            Self::Log => true,
        }
    }
}

impl Rules {
    /// Asks one policy after the other, as Envoy does.
    pub fn decide(&self, call: &Call<'_>) -> Decision<'_> {
        let policy = self.policies.iter().find(|(_, policy)| policy.takes(call)).map(|(name, _)| name);
        Decision { allowed: self.action.allows(policy.is_some()), policy }
    }
}

impl Policy {
    /// Do one of the permissions and one of the principals fit?
    pub fn takes(&self, call: &Call<'_>) -> bool {
        self.permissions.iter().any(|what| what.holds(call)) && self.principals.iter().any(|who| who.holds(call))
    }
}

/// Something that is so, or not, of a call.
pub trait Fact {
    /// Is it so?
    fn holds(&self, call: &Call<'_>) -> bool;
}

impl<T: Fact> Condition<T> {
    /// Is the condition met?
    pub fn holds(&self, call: &Call<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::All(all) => all.iter().all(|one| one.holds(call)),
            Self::Either(any) => any.iter().any(|one| one.holds(call)),
            Self::Not(one) => !one.holds(call),
            Self::Is(fact) => fact.holds(call),
        }
    }
}

impl Fact for Operation {
    fn holds(&self, call: &Call<'_>) -> bool {
        match self {
            Self::Header(header) => call.header_matches(header),
            Self::Path(text) => call.path().is_some_and(|path| text.matches(path)),
            Self::Template(template) => call.path().is_some_and(|path| template.matches(path)),
            Self::DestinationIp(block) => block.contains(&plain(call.destination.ip())),
            Self::DestinationPort(ports) => ports.contains(&call.destination.port()),
            Self::ServerName(text) => text.matches(call.server_name.unwrap_or_default()),
            Self::Metadata(metadata) => metadata.matches(call.request.and_then(|request| request.metadata)),
        }
    }
}

impl Fact for Source {
    fn holds(&self, call: &Call<'_>) -> bool {
        match self {
            Self::Authenticated(None) => call.peer.is_some(),
            Self::Authenticated(Some(text)) => call.is_named(text),
            Self::DirectRemoteIp(block) => block.contains(&plain(call.direct_remote)),
            Self::SourceIp(block) => block.contains(&plain(call.source)),
            Self::RemoteIp(block) => block.contains(&plain(call.remote)),
            Self::Header(header) => call.header_matches(header),
            Self::Path(text) => call.path().is_some_and(|path| text.matches(path)),
            Self::Metadata(metadata) => metadata.matches(call.request.and_then(|request| request.metadata)),
        }
    }
}

impl<'a> Call<'a> {
    /// The path without its query; none for what has none: connections, and requests to CONNECT.
    pub(super) fn path(&self) -> Option<&'a str> {
        let path = self.request?.path;
        let path = path.split('#').next().unwrap_or_default();
        (!path.is_empty()).then_some(path)
    }

    /// The names that the peer has proven, in the order in which they count: its subject last, even if it is empty.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let names = self.peer.into_iter();
        names.flat_map(|names| {
            let alternative = names.uris.iter().chain(names.dns).map(String::as_str);
            alternative.chain([names.subject])
        })
    }

    fn is_named(&self, text: &StringMatch) -> bool {
        self.names().any(|name| text.matches(name))
    }

    fn header_matches(&self, header: &HeaderMatch) -> bool {
        match &self.request {
            Some(request) => header_matches(header, request),
            None => header.matches(None),
        }
    }
}

/// An IPv4 address as such, also where a socket of both families tells it as an IPv6 one.
pub(super) fn plain(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}
