//! What of a request decides which endpoint takes it.

use model::route::{HashKey, HashPolicy};
use proto::envoy::config::route::v3::route_action as wire;
use proto::envoy::config::route::v3::route_action::hash_policy::{
    ConnectionProperties, Cookie, CookieAttribute, Header, PolicySpecifier, QueryParameter,
};

use super::duration;

pub(super) fn hash_policy(policy: &HashPolicy) -> wire::HashPolicy {
    let specifier = match &policy.key {
        HashKey::Header(name) => {
            PolicySpecifier::Header(Header { header_name: name.as_str().to_owned(), regex_rewrite: None })
        }
        HashKey::Cookie(cookie) => PolicySpecifier::Cookie(Cookie {
            name: cookie.name.clone(),
            ttl: cookie.ttl.map(duration),
            path: cookie.path.clone(),
            attributes: {
                let attribute =
                    |(name, value): &(String, String)| CookieAttribute { name: name.clone(), value: value.clone() };
                cookie.attributes.iter().map(attribute).collect()
            },
        }),
        HashKey::SourceIp => PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true }),
        HashKey::Query(name) => PolicySpecifier::QueryParameter(QueryParameter { name: name.clone() }),
    };
    wire::HashPolicy { terminal: policy.terminal, policy_specifier: Some(specifier) }
}
