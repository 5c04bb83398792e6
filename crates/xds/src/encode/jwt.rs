//! Tokens: who signs them, and which requests need which.

use http::HeaderName;
use model::JwtAuthentication;
use model::jwt::{
    ClaimHeader, JwtProvider, JwtRouteRule, JwtRule, KeySource, RemoteKeys, Required, Requirement, TokenHeader,
};
use proto::envoy::config::core::v3::{DataSource, data_source::Specifier};
use proto::envoy::extensions::filters::http::jwt_authn::v3 as wire;
use proto::envoy::extensions::filters::http::jwt_authn::v3::jwt_claim_to_header::PathSegment;
use proto::envoy::extensions::filters::http::jwt_authn::v3::jwt_provider::{JwksSourceSpecifier, NormalizePayload};
use proto::envoy::extensions::filters::http::jwt_authn::v3::jwt_requirement::RequiresType;
use proto::envoy::extensions::filters::http::jwt_authn::v3::per_route_config::RequirementSpecifier;
use proto::envoy::extensions::filters::http::jwt_authn::v3::requirement_rule::RequirementType;
use proto::google::protobuf::Any;

use super::http_uri::http_uri;
use super::ordered::{JwtTail, joined};
use super::{duration, matcher, packed, route};

pub(super) fn jwt(tokens: &JwtAuthentication) -> Any {
    let head = wire::JwtAuthentication {
        rules: tokens.rules.iter().map(rule).collect(),
        bypass_cors_preflight: tokens.bypass_preflight,
        strip_failure_response: tokens.strip_reason,
        ..wire::JwtAuthentication::default()
    };
    let tail = JwtTail {
        providers: tokens.providers.iter().map(|(name, it)| (name.to_string(), provider(it))).collect(),
        requirement_map: tokens.requirements.iter().map(|(name, it)| (name.to_string(), requirement(it))).collect(),
    };
    packed::<wire::JwtAuthentication>(joined(&head, &tail))
}

fn provider(provider: &JwtProvider) -> wire::JwtProvider {
    let header = |name: &Option<HeaderName>| name.as_ref().map(HeaderName::to_string).unwrap_or_default();
    let key = |text: &Option<String>| text.clone().unwrap_or_default();
    wire::JwtProvider {
        issuer: provider.issuer.clone(),
        audiences: provider.audiences.clone(),
        subjects: provider.subjects.as_ref().map(matcher::string),
        require_expiration: provider.require_expiration,
        max_lifetime: provider.max_lifetime.map(duration),
        forward: provider.forward,
        from_headers: provider.from_headers.iter().map(token_header).collect(),
        from_params: provider.from_params.clone(),
        from_cookies: provider.from_cookies.clone(),
        forward_payload_header: header(&provider.payload_header),
        pad_forward_payload_header: provider.pad_payload,
        payload_in_metadata: key(&provider.payload_in_metadata),
        normalize_payload_in_metadata: (!provider.space_delimited.is_empty())
            .then(|| NormalizePayload { space_delimited_claims: provider.space_delimited.clone() }),
        header_in_metadata: key(&provider.header_in_metadata),
        failed_status_in_metadata: key(&provider.failure_in_metadata),
        clock_skew_seconds: provider.clock_skew,
        jwt_cache_config: None,
        claim_to_headers: provider.claims_to_headers.iter().map(claim).collect(),
        clear_route_cache: provider.reroute,
        jwks_source_specifier: Some(match &provider.keys {
            KeySource::Inline(text) => JwksSourceSpecifier::LocalJwks(DataSource {
                specifier: Some(Specifier::InlineString(text.to_string())),
                watched_directory: None,
            }),
            KeySource::Remote(keys) => JwksSourceSpecifier::RemoteJwks(remote(keys)),
        }),
    }
}

fn token_header(header: &TokenHeader) -> wire::JwtHeader {
    wire::JwtHeader { name: header.name.to_string(), value_prefix: header.prefix.clone() }
}

fn claim(claim: &ClaimHeader) -> wire::JwtClaimToHeader {
    let header_name = claim.header.to_string();
    // The older way of saying it, wherever it can be said so.
    if claim.claim.iter().all(|name| !name.is_empty() && !name.contains('.')) {
        return wire::JwtClaimToHeader { header_name, claim_name: claim.claim.join("."), claim_path: Vec::new() };
    }
    let claim_path = claim.claim.iter().map(|key| PathSegment { key: key.clone() }).collect();
    wire::JwtClaimToHeader { header_name, claim_name: String::new(), claim_path }
}

fn remote(keys: &RemoteKeys) -> wire::RemoteJwks {
    wire::RemoteJwks {
        http_uri: Some(http_uri(&keys.uri, &keys.cluster, keys.timeout)),
        cache_duration: (keys.cache_duration != RemoteKeys::CACHE_DURATION).then(|| duration(keys.cache_duration)),
        async_fetch: keys.beside.map(|after| wire::JwksAsyncFetch {
            fast_listener: true,
            failed_refetch_duration: (after != RemoteKeys::RETRY_AFTER).then(|| duration(after)),
        }),
        retry_policy: None,
    }
}

fn rule(rule: &JwtRule) -> wire::RequirementRule {
    wire::RequirementRule {
        r#match: Some(route::route_match(&rule.matches)),
        requirement_type: match &rule.requires {
            Required::Own(Requirement::Nothing) => None,
            Required::Own(own) => Some(RequirementType::Requires(requirement(own))),
            Required::Named(name) => Some(RequirementType::RequirementName(name.to_string())),
        },
    }
}

fn requirement(requirement: &Requirement) -> wire::JwtRequirement {
    let all = |list: &[Requirement]| list.iter().map(self::requirement).collect();
    let requires_type = match requirement {
        Requirement::Nothing => None,
        Requirement::Provider { name, audiences } if audiences.is_empty() => {
            Some(RequiresType::ProviderName(name.to_string()))
        }
        Requirement::Provider { name, audiences } => {
            Some(RequiresType::ProviderAndAudiences(wire::ProviderWithAudiences {
                provider_name: name.to_string(),
                audiences: audiences.clone(),
            }))
        }
        Requirement::Any(list) => {
            Some(RequiresType::RequiresAny(wire::JwtRequirementOrList { requirements: all(list) }))
        }
        Requirement::All(list) => {
            Some(RequiresType::RequiresAll(wire::JwtRequirementAndList { requirements: all(list) }))
        }
        Requirement::AllowMissing => Some(RequiresType::AllowMissing(Default::default())),
        Requirement::AllowMissingOrFailed => Some(RequiresType::AllowMissingOrFailed(Default::default())),
    };
    wire::JwtRequirement { requires_type }
}

pub(super) fn per_route(rule: &JwtRouteRule) -> wire::PerRouteConfig {
    let said = match rule {
        JwtRouteRule::Off => RequirementSpecifier::Disabled(true),
        JwtRouteRule::Named(name) => RequirementSpecifier::RequirementName(name.to_string()),
    };
    wire::PerRouteConfig { requirement_specifier: Some(said) }
}
