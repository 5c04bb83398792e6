//! Tokens: who signs them, and which requests need which.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use model::JwtAuthentication;
use model::jwt::{
    ClaimHeader, JwtProvider, JwtRouteRule, JwtRule, KeySource, RemoteKeys, Required, Requirement, TokenHeader,
};
use proto::envoy::config::core::v3::{DataSource, data_source::Specifier};
use proto::envoy::extensions::filters::http::jwt_authn::v3 as wire;
use proto::envoy::extensions::filters::http::jwt_authn::v3::jwt_provider::JwksSourceSpecifier;
use proto::envoy::extensions::filters::http::jwt_authn::v3::jwt_requirement::RequiresType;
use proto::envoy::extensions::filters::http::jwt_authn::v3::per_route_config::RequirementSpecifier;
use proto::envoy::extensions::filters::http::jwt_authn::v3::requirement_rule::RequirementType;

use super::http_uri::{self, HttpUri};
use super::route::route_match;
use super::{At, Decoded, each, headers, matcher, optional_duration, required, take};

/// The filter.
pub(super) const JWT: &str = "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
/// What routes say to it.
pub(super) const PER_ROUTE: &str = "envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig";

pub(super) fn jwt(value: wire::JwtAuthentication, name: &str, at: &At<'_>) -> Decoded<JwtAuthentication> {
    // A prefix of statistics.
    take!(value, at, wire::JwtAuthentication {
        used { providers, rules, bypass_cors_preflight, requirement_map, strip_failure_response }
        harmless { stat_prefix }
        refused { filter_state_rules }
    });
    let (at_providers, at_requirements) = (at.field("providers"), at.field("requirement_map"));
    let providers: BTreeMap<Arc<str>, _> = providers
        .into_iter()
        .map(|(key, value)| Ok((key.as_str().into(), provider(value, &at_providers.key(&key))?)))
        .collect::<Decoded<_>>()?;
    let requirements: BTreeMap<Arc<str>, _> = requirement_map
        .into_iter()
        .map(|(key, value)| Ok((key.as_str().into(), known(value, &providers, &at_requirements.key(&key))?)))
        .collect::<Decoded<_>>()?;
    let rules = each(rules, &at.field("rules"), |value, at| rule(value, &providers, &requirements, at))?;
    Ok(JwtAuthentication {
        name: name.into(),
        providers,
        rules,
        requirements,
        bypass_preflight: bypass_cors_preflight,
        strip_reason: strip_failure_response,
    })
}

fn provider(value: wire::JwtProvider, at: &At<'_>) -> Decoded<JwtProvider> {
    // Signatures are checked anew each time; a cache would only save that.
    take!(value, at, wire::JwtProvider {
        used {
            issuer, audiences, subjects, require_expiration, max_lifetime, forward, from_headers, from_params,
            from_cookies, forward_payload_header, pad_forward_payload_header, payload_in_metadata,
            normalize_payload_in_metadata, header_in_metadata, failed_status_in_metadata, clock_skew_seconds,
            claim_to_headers, clear_route_cache, jwks_source_specifier,
        }
        harmless { jwt_cache_config }
        refused {}
    });
    let said = |text: String| Some(text).filter(|text| !text.is_empty());
    Ok(JwtProvider {
        issuer,
        audiences,
        subjects: subjects.map(|it| matcher::string(it, &at.field("subjects"))).transpose()?,
        require_expiration,
        max_lifetime: optional_duration(max_lifetime, &at.field("max_lifetime"))?,
        keys: keys(required(jwks_source_specifier, &at.field("jwks_source_specifier"))?, at)?,
        forward,
        from_headers: each(from_headers, &at.field("from_headers"), token_header)?,
        from_params: named(from_params, &at.field("from_params"))?,
        from_cookies: named(from_cookies, &at.field("from_cookies"))?,
        payload_header: header(forward_payload_header, &at.field("forward_payload_header"))?,
        pad_payload: pad_forward_payload_header,
        payload_in_metadata: said(payload_in_metadata),
        space_delimited: normalize_payload_in_metadata.map(|it| it.space_delimited_claims).unwrap_or_default(),
        header_in_metadata: said(header_in_metadata),
        failure_in_metadata: said(failed_status_in_metadata),
        clock_skew: match clock_skew_seconds {
            0 => JwtProvider::CLOCK_SKEW,
            seconds => seconds,
        },
        claims_to_headers: each(claim_to_headers, &at.field("claim_to_headers"), claim)?,
        reroute: clear_route_cache,
    })
}

fn header(text: String, at: &At<'_>) -> Decoded<Option<HeaderName>> {
    if text.is_empty() { Ok(None) } else { headers::name(&text, at).map(Some) }
}

fn named(list: Vec<String>, at: &At<'_>) -> Decoded<Vec<String>> {
    each(list, at, |name, at| if name.is_empty() { Err(at.error("is empty", "a name")) } else { Ok(name) })
}

fn token_header(value: wire::JwtHeader, at: &At<'_>) -> Decoded<TokenHeader> {
    take!(value, at, wire::JwtHeader {
        used { name, value_prefix }
        harmless {}
        refused {}
    });
    Ok(TokenHeader { name: headers::name(&name, &at.field("name"))?, prefix: value_prefix })
}

fn claim(value: wire::JwtClaimToHeader, at: &At<'_>) -> Decoded<ClaimHeader> {
    take!(value, at, wire::JwtClaimToHeader {
        used { header_name, claim_name, claim_path }
        harmless {}
        refused {}
    });
    let claim: Vec<String> = match (claim_name.is_empty(), claim_path.is_empty()) {
        (false, true) => claim_name.split('.').map(str::to_owned).collect(),
        (true, false) => claim_path.into_iter().map(|segment| segment.key).collect(),
        (true, true) => return Err(at.field("claim_name").error("is missing", "a claim's name")),
        (false, false) => return Err(at.field("claim_path").error("is set beside `claim_name`", "one of them")),
    };
    Ok(ClaimHeader { header: headers::name(&header_name, &at.field("header_name"))?, claim })
}

fn keys(value: JwksSourceSpecifier, at: &At<'_>) -> Decoded<KeySource> {
    match value {
        JwksSourceSpecifier::LocalJwks(source) => inline(source, &at.field("local_jwks")).map(KeySource::Inline),
        JwksSourceSpecifier::RemoteJwks(value) => remote(value, &at.field("remote_jwks")).map(KeySource::Remote),
    }
}

fn inline(value: DataSource, at: &At<'_>) -> Decoded<Arc<str>> {
    match value.specifier {
        Some(Specifier::InlineString(text)) => Ok(text.into()),
        Some(Specifier::InlineBytes(bytes)) => {
            let at = at.field("inline_bytes");
            let text = String::from_utf8(bytes).map_err(|_| at.error("is no text", "a JSON Web Key Set"))?;
            Ok(text.into())
        }
        None => Err(at.error("is missing", "a JSON Web Key Set")),
        _ => Err(at.unsupported("`inline_string` or `inline_bytes`")),
    }
}

fn with_host(uri: String, at: &At<'_>) -> Decoded<String> {
    match uri.parse::<http::Uri>() {
        Ok(parsed) if parsed.host().is_some() => Ok(uri),
        _ => Err(at.error(format!("is {uri:?}"), "`http://` or `https://`, a host and a path")),
    }
}

fn remote(value: wire::RemoteJwks, at: &At<'_>) -> Decoded<RemoteKeys> {
    take!(value, at, wire::RemoteJwks {
        used { http_uri, cache_duration, async_fetch }
        harmless {}
        refused { retry_policy }
    });
    let HttpUri { uri, cluster, timeout } = http_uri::http_uri(http_uri, &at.field("http_uri"), with_host)?;
    Ok(RemoteKeys {
        uri,
        cluster,
        timeout,
        cache_duration: match optional_duration(cache_duration, &at.field("cache_duration"))? {
            None => RemoteKeys::CACHE_DURATION,
            Some(held) if held < Duration::from_millis(1) => {
                return Err(at.field("cache_duration").error(format!("is {held:?}"), "1 ms or more"));
            }
            Some(held) => held,
        },
        beside: async_fetch.map(|value| beside(value, &at.field("async_fetch"))).transpose()?,
    })
}

/// A listener never waits for keys: requests that need them do.
fn beside(value: wire::JwksAsyncFetch, at: &At<'_>) -> Decoded<Duration> {
    take!(value, at, wire::JwksAsyncFetch {
        used { failed_refetch_duration }
        harmless { fast_listener }
        refused {}
    });
    let after = optional_duration(failed_refetch_duration, &at.field("failed_refetch_duration"))?;
    Ok(after.unwrap_or(RemoteKeys::RETRY_AFTER))
}

type Providers = BTreeMap<Arc<str>, JwtProvider>;

fn rule(
    value: wire::RequirementRule,
    providers: &Providers,
    requirements: &BTreeMap<Arc<str>, Requirement>,
    at: &At<'_>,
) -> Decoded<JwtRule> {
    take!(value, at, wire::RequirementRule {
        used { r#match, requirement_type }
        harmless {}
        refused {}
    });
    let at_match = at.field("match");
    Ok(JwtRule {
        matches: route_match(required(r#match, &at_match)?, &at_match)?,
        requires: match requirement_type {
            None => Required::Own(Requirement::Nothing),
            Some(RequirementType::Requires(own)) => Required::Own(known(own, providers, &at.field("requires"))?),
            Some(RequirementType::RequirementName(name)) if requirements.contains_key(name.as_str()) => {
                Required::Named(name.into())
            }
            Some(RequirementType::RequirementName(name)) => {
                return Err(at.field("requirement_name").error(format!("is {name:?}"), "a name of `requirement_map`"));
            }
        },
    })
}

/// A requirement whose providers are there.
fn known(value: wire::JwtRequirement, providers: &Providers, at: &At<'_>) -> Decoded<Requirement> {
    let requirement = requirement(value, at)?;
    let mut unknown = None;
    requirement.providers(&mut |name| {
        if !providers.contains_key(name) {
            unknown = Some(name.clone());
        }
    });
    match unknown {
        None => Ok(requirement),
        Some(name) => Err(at.error(format!("asks for the provider {name:?}"), "a name of `providers`")),
    }
}

fn requirement(value: wire::JwtRequirement, at: &At<'_>) -> Decoded<Requirement> {
    let several = |list: Vec<_>, at: &At<'_>| match list.len() {
        0 | 1 => Err(at.error(format!("has {}", list.len()), "two or more")),
        _ => each(list, at, requirement),
    };
    Ok(match value.requires_type {
        None => Requirement::Nothing,
        Some(RequiresType::ProviderName(name)) => Requirement::provider(name),
        Some(RequiresType::ProviderAndAudiences(value)) => {
            take!(value, at, wire::ProviderWithAudiences {
                used { provider_name, audiences }
                harmless {}
                refused {}
            });
            Requirement::Provider { name: provider_name.into(), audiences }
        }
        Some(RequiresType::RequiresAny(any)) => {
            Requirement::Any(several(any.requirements, &at.field("requires_any").field("requirements"))?)
        }
        Some(RequiresType::RequiresAll(all)) => {
            Requirement::All(several(all.requirements, &at.field("requires_all").field("requirements"))?)
        }
        Some(RequiresType::AllowMissing(_)) => Requirement::AllowMissing,
        Some(RequiresType::AllowMissingOrFailed(_)) => Requirement::AllowMissingOrFailed,
        Some(RequiresType::ExtractOnlyWithoutValidation(_)) => {
            let at = at.field("extract_only_without_validation");
            return Err(at.unsupported("tokens whose signatures are checked"));
        }
    })
}

/// What a route or virtual host says.
pub(super) fn per_route(value: wire::PerRouteConfig, at: &At<'_>) -> Decoded<JwtRouteRule> {
    match required(value.requirement_specifier, at)? {
        RequirementSpecifier::Disabled(true) => Ok(JwtRouteRule::Off),
        RequirementSpecifier::Disabled(false) => {
            Err(at.field("disabled").error("is false", "true, or `requirement_name`"))
        }
        RequirementSpecifier::RequirementName(name) if name.is_empty() => {
            Err(at.field("requirement_name").error("is empty", "a name"))
        }
        RequirementSpecifier::RequirementName(name) => Ok(JwtRouteRule::Named(name.into())),
    }
}
