//! What routes and virtual hosts say to filters (`typed_per_filter_config`).

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderValue;
use model::route::{FilterRule, FilterRules};
use model::{Cors, Fault, Fraction};
use proto::envoy::config::route::v3::FilterConfig;
use proto::envoy::extensions::filters::http::cors::v3 as wire;
use proto::google::protobuf::Any;

use super::fault::{HTTP_FAULT, fault};
use super::rate_limit::{GLOBAL_ROUTE, LOCAL, global_route, local_route};
use super::{
    At, Decoded, access, buffer, compressor, each, ext_authz, extension, jwt, matcher, mutation, take, type_name,
    unpack,
};

/// The CORS filter itself, and its rules.
pub(super) const CORS: &str = "envoy.extensions.filters.http.cors.v3.Cors";
const CORS_POLICY: &str = "envoy.extensions.filters.http.cors.v3.CorsPolicy";

/// Faults, and rules of other filters. Those of filters that this proxy has not may be dropped if they say so themselves.
pub(super) fn per_filter(configs: HashMap<String, Any>, at: &At<'_>) -> Decoded<(Option<Fault>, FilterRules)> {
    let (mut faults, mut rules) = (None, FilterRules::default());
    for (key, any) in configs {
        let at = at.key(&key);
        let (any, is_optional) = unwrapped(any, &at)?;
        match type_name(&any.type_url) {
            HTTP_FAULT => faults = Some(fault(unpack(&any, &at)?, &at)?),
            CORS_POLICY => rules.cors = Some(cors(unpack(&any, &at)?, &at)?),
            LOCAL => rules.local_rate_limit = Some(Arc::new(local_route(unpack(&any, &at)?, &at)?)),
            GLOBAL_ROUTE => rules.global_rate_limit = Some(Box::new(global_route(unpack(&any, &at)?, &at)?)),
            compressor::PER_ROUTE => {
                let rule = compressor::per_route(unpack(&any, &at)?, &at)?;
                rules.named.insert(key.as_str().into(), FilterRule::Compressor(rule));
            }
            mutation::PER_ROUTE => {
                let rule = mutation::per_route(unpack(&any, &at)?, &at)?;
                rules.named.insert(key.as_str().into(), FilterRule::HeaderMutation(rule));
            }
            access::PER_ROUTE => {
                let rule = access::per_route(unpack(&any, &at)?, &key, &at)?;
                rules.named.insert(key.as_str().into(), FilterRule::Access(rule.map(Arc::new)));
            }
            buffer::PER_ROUTE => {
                let rule = buffer::per_route(unpack(&any, &at)?, &at)?;
                rules.named.insert(key.as_str().into(), FilterRule::Buffer(rule));
            }
            jwt::PER_ROUTE => {
                let rule = jwt::per_route(unpack(&any, &at)?, &at)?;
                rules.named.insert(key.as_str().into(), FilterRule::Jwt(rule));
            }
            ext_authz::PER_ROUTE => {
                let rule = ext_authz::per_route(unpack(&any, &at)?, &at)?;
                rules.named.insert(key.as_str().into(), FilterRule::ExtAuthz(rule));
            }
            extension::LUA_ROUTE => {
                let rule = extension::lua_route(unpack(&any, &at)?, &at)?;
                rules.named.insert(key.as_str().into(), FilterRule::Lua(Arc::new(rule)));
            }
            _ if is_optional => {}
            _ => return Err(at.error(format!("is of type `{}`", any.type_url), "settings of a filter that is there")),
        }
    }
    Ok((faults, rules))
}

/// The settings within an envelope that may say that they are optional.
fn unwrapped(any: Any, at: &At<'_>) -> Decoded<(Any, bool)> {
    if type_name(&any.type_url) != "envoy.config.route.v3.FilterConfig" {
        return Ok((any, false));
    }
    take!(unpack::<FilterConfig>(&any, at)?, at, FilterConfig {
        used { config, is_optional }
        harmless {}
        refused { disabled }
    });
    Ok((config.unwrap_or_default(), is_optional))
}

fn cors(value: wire::CorsPolicy, at: &At<'_>) -> Decoded<Cors> {
    // A shadow only counts.
    take!(value, at, wire::CorsPolicy {
        used {
            allow_origin_string_match, allow_methods, allow_headers, expose_headers, max_age, allow_credentials,
            filter_enabled, allow_private_network_access, forward_not_matching_preflights,
        }
        harmless { shadow_enabled }
        refused {}
    });
    let at_enabled = at.field("filter_enabled");
    Ok(Cors {
        enabled: filter_enabled.map_or(Ok(Fraction::ALL), |share| matcher::runtime_percent(share, &at_enabled))?,
        origins: each(allow_origin_string_match, &at.field("allow_origin_string_match"), matcher::string)?,
        methods: header_value(allow_methods, &at.field("allow_methods"))?,
        headers: header_value(allow_headers, &at.field("allow_headers"))?,
        expose: header_value(expose_headers, &at.field("expose_headers"))?,
        max_age: header_value(max_age, &at.field("max_age"))?,
        credentials: allow_credentials.map(|it| it.value),
        private_network: allow_private_network_access.map(|it| it.value),
        forward_unmatched: forward_not_matching_preflights.map(|it| it.value),
    })
}

/// A header's value; empty is not said.
fn header_value(text: String, at: &At<'_>) -> Decoded<Option<HeaderValue>> {
    if text.is_empty() {
        return Ok(None);
    }
    HeaderValue::try_from(text).map(Some).map_err(|_| at.error("has a control character", "a header's value"))
}
