//! What routes and virtual hosts say to filters (`typed_per_filter_config`).

use std::collections::BTreeMap;

use http::HeaderValue;
use model::route::{FilterRule, FilterRules};
use model::{Cors, Fault, Fraction};
use proto::envoy::extensions::filters::http::cors::v3::CorsPolicy;
use proto::google::protobuf::{Any, BoolValue};

use super::http_proxy::{FAULT_FILTER, http_fault};
use super::rate_limit::{GLOBAL_FILTER, LOCAL_FILTER, global_route, local};
use super::{access, buffer, compressor, ext_authz, extension, jwt, matcher, mutation, pack};

/// The name under which the CORS filter stands in chains, and under which routes speak to it.
pub(super) const CORS_FILTER: &str = "envoy.filters.http.cors";

pub(super) fn per_filter(fault: Option<&Fault>, rules: Option<&FilterRules>) -> BTreeMap<String, Any> {
    let fault = fault.map(|fault| (FAULT_FILTER, pack(&http_fault(fault))));
    let cors = rules.and_then(|rules| rules.cors.as_ref()).map(|rules| (CORS_FILTER, pack(&cors(rules))));
    let limits = rules.and_then(|rules| rules.local_rate_limit.as_ref()).map(|limits| (LOCAL_FILTER, local(limits)));
    let global = rules.and_then(|rules| rules.global_rate_limit.as_ref());
    let global = global.map(|route| (GLOBAL_FILTER, global_route(route)));
    let named = rules.into_iter().flat_map(|rules| &rules.named).map(|(name, rule)| (&**name, said(rule)));
    let own = [fault, cors, limits, global].into_iter().flatten();
    own.chain(named).map(|(name, any)| (name.to_owned(), any)).collect()
}

fn said(rule: &FilterRule) -> Any {
    match rule {
        FilterRule::Compressor(rule) => pack(&compressor::per_route(*rule)),
        FilterRule::HeaderMutation(mutations) => pack(&mutation::per_route(mutations)),
        FilterRule::Access(rules) => access::per_route(rules.as_deref()),
        FilterRule::Buffer(rule) => pack(&buffer::per_route(*rule)),
        FilterRule::Jwt(rule) => pack(&jwt::per_route(rule)),
        FilterRule::ExtAuthz(rule) => ext_authz::per_route(rule),
        FilterRule::Lua(rule) => extension::lua_route(rule),
    }
}

fn cors(cors: &Cors) -> CorsPolicy {
    let text = |value: &Option<HeaderValue>| {
        value.as_ref().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
    };
    let said = |value: Option<bool>| value.map(|value| BoolValue { value });
    CorsPolicy {
        allow_origin_string_match: cors.origins.iter().map(matcher::string).collect(),
        allow_methods: text(&cors.methods),
        allow_headers: text(&cors.headers),
        expose_headers: text(&cors.expose),
        max_age: text(&cors.max_age),
        allow_credentials: said(cors.credentials),
        filter_enabled: (cors.enabled != Fraction::ALL).then(|| matcher::runtime_percent(cors.enabled)),
        shadow_enabled: None,
        allow_private_network_access: said(cors.private_network),
        forward_not_matching_preflights: said(cors.forward_unmatched),
    }
}
