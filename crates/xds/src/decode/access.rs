//! Rules of access (Envoy's RBAC): the HTTP filter, what routes say to it, and the filter of connections.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use model::access::{
    Access, Action, Compiled, Condition, ConnectionAccess, Operation, PathTemplate, Permission, Policy, Principal,
    Rules, Source,
};
use model::{MetadataMatch, StringMatch};
use proto::envoy::config::core::v3::TypedExtensionConfig;
use proto::envoy::config::rbac::v3 as wire;
use proto::envoy::config::rbac::v3::permission::Rule;
use proto::envoy::config::rbac::v3::principal::{Authenticated, Identifier};
use proto::envoy::extensions::filters::{http::rbac::v3 as http, network::rbac::v3 as network};
use proto::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use proto::envoy::r#type::matcher::v3::{PathMatcher, path_matcher};
use proto::envoy::r#type::v3::Int32Range;

use super::listener::range;
use super::{At, Decoded, each, filled, matcher, optional_duration, port, required, take, unpack};

pub(super) const ACCESS: &str = "envoy.extensions.filters.http.rbac.v3.RBAC";
pub(super) const PER_ROUTE: &str = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute";
pub(super) const NETWORK_ACCESS: &str = "envoy.extensions.filters.network.rbac.v3.RBAC";

/// Of the HTTP filter that stands under this name in its chain.
pub(super) fn access(value: http::Rbac, name: &str, at: &At<'_>) -> Decoded<Access> {
    take!(value, at, http::Rbac {
        used { rules, rules_stat_prefix, shadow_rules, shadow_rules_stat_prefix, track_per_rule_stats }
        harmless {}
        refused { matcher, shadow_matcher }
    });
    Ok(Access {
        name: name.into(),
        rules: optional_rules(rules, &at.field("rules"))?,
        shadow: optional_rules(shadow_rules, &at.field("shadow_rules"))?,
        rules_prefix: rules_stat_prefix.into(),
        shadow_prefix: shadow_rules_stat_prefix.into(),
        per_policy: track_per_rule_stats,
    })
}

/// What a route or virtual host says to the filter of this name; none: it lets everything pass.
pub(super) fn per_route(value: http::RbacPerRoute, name: &str, at: &At<'_>) -> Decoded<Option<Access>> {
    value.rbac.map(|value| access(value, name, &at.field("rbac"))).transpose()
}

/// Of a filter of connections.
pub(super) fn of_connections(value: network::Rbac, at: &At<'_>) -> Decoded<ConnectionAccess> {
    take!(value, at, network::Rbac {
        used { rules, shadow_rules, shadow_rules_stat_prefix, stat_prefix, enforcement_type, delay_deny }
        harmless {}
        refused { matcher, shadow_matcher }
    });
    let at_type = at.field("enforcement_type");
    Ok(ConnectionAccess {
        stat_prefix: stat_prefix.into(),
        rules: optional_rules(rules, &at.field("rules"))?,
        shadow: optional_rules(shadow_rules, &at.field("shadow_rules"))?,
        shadow_prefix: shadow_rules_stat_prefix.into(),
        continuous: match network::rbac::EnforcementType::try_from(enforcement_type) {
            Ok(network::rbac::EnforcementType::OneTimeOnFirstByte) => false,
            Ok(network::rbac::EnforcementType::Continuous) => true,
            Err(_) => {
                return Err(at_type.error(format!("is {enforcement_type}"), "ONE_TIME_ON_FIRST_BYTE or CONTINUOUS"));
            }
        },
        delay: optional_duration(delay_deny, &at.field("delay_deny"))?,
    })
}

fn optional_rules(value: Option<wire::Rbac>, at: &At<'_>) -> Decoded<Option<Arc<Compiled>>> {
    value.map(|value| rules(value, at).map(Into::into)).transpose()
}

fn rules(value: wire::Rbac, at: &At<'_>) -> Decoded<Rules> {
    take!(value, at, wire::Rbac {
        used { action, policies }
        harmless {}
        refused { audit_logging_options }
    });
    let action = match wire::rbac::Action::try_from(action) {
        Ok(wire::rbac::Action::Allow) => Action::Allow,
        Ok(wire::rbac::Action::Deny) => Action::Deny,
        Ok(wire::rbac::Action::Log) => Action::Log,
        Err(_) => return Err(at.field("action").error(format!("is {action}"), "ALLOW, DENY or LOG")),
    };
    Ok(Rules { action, policies: named(policies, &at.field("policies"))? })
}

/// In the order of their names.
fn named(policies: HashMap<String, wire::Policy>, at: &At<'_>) -> Decoded<Vec<(Arc<str>, Policy)>> {
    let mut sorted: Vec<_> = policies.into_iter().collect();
    sorted.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let each = sorted.into_iter().map(|(name, value)| Ok((name.as_str().into(), policy(value, &at.key(&name))?)));
    each.collect()
}

fn policy(value: wire::Policy, at: &At<'_>) -> Decoded<Policy> {
    take!(value, at, wire::Policy {
        used { permissions, principals }
        harmless {}
        refused { condition, checked_condition, cel_config }
    });
    Ok(Policy {
        permissions: many(permissions, &at.field("permissions"), permission)?,
        principals: many(principals, &at.field("principals"), principal)?,
    })
}

/// One or more.
fn many<T, U>(list: Vec<T>, at: &At<'_>, read: impl Fn(T, &At<'_>) -> Decoded<U>) -> Decoded<Vec<U>> {
    each(filled(list, at)?, at, read)
}

#[allow(deprecated)]
fn permission(value: wire::Permission, at: &At<'_>) -> Decoded<Permission> {
    let inner = |field: &str, rules: wire::permission::Set| {
        let at = at.field(field);
        many(rules.rules, &at.field("rules"), permission)
    };
    Ok(Condition::Is(match required(value.rule, at)? {
        Rule::AndRules(rules) => return Ok(Condition::All(inner("and_rules", rules)?)),
        Rule::OrRules(rules) => return Ok(Condition::Either(inner("or_rules", rules)?)),
        Rule::NotRule(rule) => return Ok(Condition::Not(Box::new(permission(*rule, &at.field("not_rule"))?))),
        Rule::Any(any) => return always(any, at),
        Rule::Header(header) => Operation::Header(matcher::header(header, &at.field("header"))?),
        Rule::UrlPath(path) => Operation::Path(url_path(path, &at.field("url_path"))?),
        Rule::UriTemplate(value) => Operation::Template(template(value, &at.field("uri_template"))?),
        Rule::DestinationIp(block) => Operation::DestinationIp(range(block, &at.field("destination_ip"))?),
        Rule::DestinationPort(number) => {
            let port = port(number, &at.field("destination_port"))?;
            Operation::DestinationPort(port..=port)
        }
        Rule::DestinationPortRange(range) => {
            Operation::DestinationPort(ports(range, &at.field("destination_port_range"))?)
        }
        Rule::RequestedServerName(name) => {
            Operation::ServerName(matcher::string(name, &at.field("requested_server_name"))?)
        }
        Rule::Metadata(value) => Operation::Metadata(matcher::metadata(value, &at.field("metadata"))?),
        Rule::SourcedMetadata(value) => Operation::Metadata(sourced(value, &at.field("sourced_metadata"))?),
        Rule::Matcher(_) => return Err(at.field("matcher").unsupported("the other conditions")),
    }))
}

#[allow(deprecated)]
fn principal(value: wire::Principal, at: &At<'_>) -> Decoded<Principal> {
    let inner = |field: &str, ids: wire::principal::Set| {
        let at = at.field(field);
        many(ids.ids, &at.field("ids"), principal)
    };
    Ok(Condition::Is(match required(value.identifier, at)? {
        Identifier::AndIds(ids) => return Ok(Condition::All(inner("and_ids", ids)?)),
        Identifier::OrIds(ids) => return Ok(Condition::Either(inner("or_ids", ids)?)),
        Identifier::NotId(id) => return Ok(Condition::Not(Box::new(principal(*id, &at.field("not_id"))?))),
        Identifier::Any(any) => return always(any, at),
        Identifier::Authenticated(Authenticated { principal_name }) => {
            let at = at.field("authenticated");
            let at = at.field("principal_name");
            Source::Authenticated(principal_name.map(|name| matcher::string(name, &at)).transpose()?)
        }
        Identifier::SourceIp(block) => Source::SourceIp(range(block, &at.field("source_ip"))?),
        Identifier::DirectRemoteIp(block) => Source::DirectRemoteIp(range(block, &at.field("direct_remote_ip"))?),
        Identifier::RemoteIp(block) => Source::RemoteIp(range(block, &at.field("remote_ip"))?),
        Identifier::Header(header) => Source::Header(matcher::header(header, &at.field("header"))?),
        Identifier::UrlPath(path) => Source::Path(url_path(path, &at.field("url_path"))?),
        Identifier::Metadata(value) => Source::Metadata(matcher::metadata(value, &at.field("metadata"))?),
        Identifier::SourcedMetadata(value) => Source::Metadata(sourced(value, &at.field("sourced_metadata"))?),
        Identifier::FilterState(_) => return Err(at.field("filter_state").unsupported("`authenticated`")),
        Identifier::Custom(_) => return Err(at.field("custom").unsupported("the other conditions")),
    }))
}

/// `any` says true or nothing.
fn always<T>(any: bool, at: &At<'_>) -> Decoded<Condition<T>> {
    if any { Ok(Condition::Any) } else { Err(at.field("any").error("is false", "true, or another condition")) }
}

fn url_path(value: PathMatcher, at: &At<'_>) -> Decoded<StringMatch> {
    let Some(path_matcher::Rule::Path(text)) = value.rule else {
        return Err(at.field("path").error("is missing", "a condition on the path"));
    };
    matcher::string(text, &at.field("path"))
}

fn template(value: TypedExtensionConfig, at: &At<'_>) -> Decoded<PathTemplate> {
    let at = at.field("typed_config");
    let UriTemplateMatchConfig { path_template } = unpack(&required(value.typed_config, &at)?, &at)?;
    let wrong = |error: model::access::TemplateError| at.field("path_template").error(error.to_string(), "a template");
    PathTemplate::new(&path_template).map_err(wrong)
}

/// The last port is not in the range.
fn ports(value: Int32Range, at: &At<'_>) -> Decoded<RangeInclusive<u16>> {
    let (first, last) = (u16::try_from(value.start), u16::try_from(i64::from(value.end) - 1));
    match (first, last) {
        (Ok(first), Ok(last)) if first <= last => Ok(first..=last),
        _ => Err(at.error(
            format!("is from {} to below {}", value.start, value.end),
            "a first port, and a larger one that is the first after the range",
        )),
    }
}

fn sourced(value: wire::SourcedMetadata, at: &At<'_>) -> Decoded<MetadataMatch> {
    if value.metadata_source != wire::MetadataSource::Dynamic as i32 {
        return Err(at.field("metadata_source").unsupported("DYNAMIC"));
    }
    let at = at.field("metadata_matcher");
    matcher::metadata(required(value.metadata_matcher, &at)?, &at)
}
