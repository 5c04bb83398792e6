//! What of a request decides which endpoint takes it.

use http::HeaderName;
use model::route::{HashCookie, HashKey, HashPolicy};
use proto::envoy::config::route::v3::route_action as wire;
use proto::envoy::config::route::v3::route_action::hash_policy::{Cookie, Header, PolicySpecifier};

use crate::decode::{At, Decoded, optional_duration, required, take};

/// One key; none for one that is switched off.
pub(super) fn hash_policy(value: wire::HashPolicy, at: &At<'_>) -> Decoded<Option<HashPolicy>> {
    let wire::HashPolicy { terminal, policy_specifier } = value;
    let key = match required(policy_specifier, at)? {
        PolicySpecifier::Header(value) => header(value, &at.field("header"))?,
        PolicySpecifier::Cookie(value) => cookie(value, &at.field("cookie"))?,
        PolicySpecifier::ConnectionProperties(of) if of.source_ip => HashKey::SourceIp,
        PolicySpecifier::ConnectionProperties(_) => return Ok(None),
        PolicySpecifier::QueryParameter(parameter) if !parameter.name.is_empty() => HashKey::Query(parameter.name),
        PolicySpecifier::QueryParameter(_) => {
            return Err(at.field("query_parameter").field("name").error("is missing", "a name"));
        }
        PolicySpecifier::FilterState(_) => {
            const KEYS: &str = "`header`, `cookie`, `connection_properties` or `query_parameter`";
            return Err(at.field("filter_state").unsupported(KEYS));
        }
    };
    Ok(Some(HashPolicy { key, terminal }))
}

fn header(value: Header, at: &At<'_>) -> Decoded<HashKey> {
    take!(value, at, Header {
        used { header_name }
        harmless {}
        refused { regex_rewrite }
    });
    let name = HeaderName::try_from(header_name.as_str())
        .map_err(|_| at.field("header_name").error(format!("is `{header_name}`"), "the name of a header"))?;
    Ok(HashKey::Header(name))
}

fn cookie(value: Cookie, at: &At<'_>) -> Decoded<HashKey> {
    let Cookie { name, ttl, path, attributes } = value;
    if name.is_empty() {
        return Err(at.field("name").error("is missing", "a name"));
    }
    let ttl = optional_duration(ttl, &at.field("ttl"))?;
    let attributes = attributes.into_iter().map(|attribute| (attribute.name, attribute.value)).collect();
    Ok(HashKey::Cookie(HashCookie { name, ttl, path, attributes }))
}
