//! Rules of access (Envoy's RBAC): the HTTP filter, what routes say to it, and the filter of connections.

use model::access::{
    Access, Action, Compiled, Condition, ConnectionAccess, Operation, PathTemplate, Permission, Policy, Principal,
    Source,
};
use model::{MetadataMatch, StringMatch};
use prost::Message;
use proto::envoy::config::core::v3::TypedExtensionConfig;
use proto::envoy::config::rbac::v3 as wire;
use proto::envoy::config::rbac::v3::permission::Rule;
use proto::envoy::config::rbac::v3::principal::{Authenticated, Identifier};
use proto::envoy::extensions::filters::{http::rbac::v3 as http, network::rbac::v3 as network};
use proto::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use proto::envoy::r#type::matcher::v3::{PathMatcher, path_matcher};
use proto::envoy::r#type::v3::Int32Range;
use proto::google::protobuf::Any;

use super::listener::range;
use super::ordered::{AccessPerRoute, AccessRules, HttpAccess, NetworkAccess};
use super::{duration, matcher, pack, packed};

pub(super) fn access(access: &Access) -> Any {
    packed::<http::Rbac>(settings(access).encode_to_vec())
}

pub(super) fn per_route(access: Option<&Access>) -> Any {
    packed::<http::RbacPerRoute>(AccessPerRoute { rbac: access.map(settings) }.encode_to_vec())
}

fn settings(access: &Access) -> HttpAccess {
    HttpAccess {
        rules: access.rules.as_deref().map(rules),
        shadow_rules: access.shadow.as_deref().map(rules),
        shadow_rules_stat_prefix: access.shadow_prefix.to_string(),
        rules_stat_prefix: access.rules_prefix.to_string(),
        track_per_rule_stats: access.per_policy,
    }
}

pub(super) fn of_connections(access: &ConnectionAccess) -> Any {
    use network::rbac::EnforcementType::{Continuous, OneTimeOnFirstByte};
    let wire = NetworkAccess {
        rules: access.rules.as_deref().map(rules),
        shadow_rules: access.shadow.as_deref().map(rules),
        stat_prefix: access.stat_prefix.to_string(),
        enforcement_type: if access.continuous { Continuous } else { OneTimeOnFirstByte } as i32,
        shadow_rules_stat_prefix: access.shadow_prefix.to_string(),
        delay_deny: access.delay.map(duration),
    };
    packed::<network::Rbac>(wire.encode_to_vec())
}

fn rules(compiled: &Compiled) -> AccessRules {
    let action = match compiled.rules().action {
        Action::Allow => wire::rbac::Action::Allow,
        Action::Deny => wire::rbac::Action::Deny,
        Action::Log => wire::rbac::Action::Log,
    };
    let named = compiled.rules().policies.iter().map(|(name, one)| (name.to_string(), policy(one)));
    AccessRules { action: action as i32, policies: named.collect() }
}

/// The wire has no empty list: nothing at all is what never holds.
fn policy(policy: &Policy) -> wire::Policy {
    let no_permission = policy.permissions.is_empty().then(|| permission(&Condition::Either(Vec::new())));
    let no_principal = policy.principals.is_empty().then(|| principal(&Condition::Either(Vec::new())));
    wire::Policy {
        permissions: policy.permissions.iter().map(permission).chain(no_permission).collect(),
        principals: policy.principals.iter().map(principal).chain(no_principal).collect(),
        ..wire::Policy::default()
    }
}

fn permission(condition: &Permission) -> wire::Permission {
    let set = |rules: &[Permission]| wire::permission::Set { rules: rules.iter().map(permission).collect() };
    let not = |rule: wire::Permission| Rule::NotRule(Box::new(rule));
    let rule = match condition {
        Condition::Any => Rule::Any(true),
        Condition::All(all) if all.is_empty() => Rule::Any(true),
        Condition::Either(any) if any.is_empty() => not(permission(&Condition::Any)),
        Condition::All(all) => Rule::AndRules(set(all)),
        Condition::Either(any) => Rule::OrRules(set(any)),
        Condition::Not(one) => not(permission(one)),
        Condition::Is(fact) => operation(fact),
    };
    wire::Permission { rule: Some(rule) }
}

fn operation(fact: &Operation) -> Rule {
    match fact {
        Operation::Header(header) => Rule::Header(matcher::header(header)),
        Operation::Path(text) => Rule::UrlPath(url_path(text)),
        Operation::Template(path) => Rule::UriTemplate(template(path)),
        Operation::DestinationIp(block) => Rule::DestinationIp(range(block)),
        Operation::DestinationPort(ports) if ports.start() == ports.end() => {
            Rule::DestinationPort(u32::from(*ports.start()))
        }
        Operation::DestinationPort(ports) => {
            let (start, end) = (i32::from(*ports.start()), i32::from(*ports.end()) + 1);
            Rule::DestinationPortRange(Int32Range { start, end })
        }
        Operation::ServerName(text) => Rule::RequestedServerName(matcher::string(text)),
        Operation::Metadata(metadata) => Rule::SourcedMetadata(sourced(metadata)),
    }
}

fn principal(condition: &Principal) -> wire::Principal {
    let set = |ids: &[Principal]| wire::principal::Set { ids: ids.iter().map(principal).collect() };
    let not = |id: wire::Principal| Identifier::NotId(Box::new(id));
    let identifier = match condition {
        Condition::Any => Identifier::Any(true),
        Condition::All(all) if all.is_empty() => Identifier::Any(true),
        Condition::Either(any) if any.is_empty() => not(principal(&Condition::Any)),
        Condition::All(all) => Identifier::AndIds(set(all)),
        Condition::Either(any) => Identifier::OrIds(set(any)),
        Condition::Not(one) => not(principal(one)),
        Condition::Is(fact) => source(fact),
    };
    wire::Principal { identifier: Some(identifier) }
}

#[allow(deprecated)]
fn source(fact: &Source) -> Identifier {
    match fact {
        Source::Authenticated(name) => {
            Identifier::Authenticated(Authenticated { principal_name: name.as_ref().map(matcher::string) })
        }
        Source::DirectRemoteIp(block) => Identifier::DirectRemoteIp(range(block)),
        Source::SourceIp(block) => Identifier::SourceIp(range(block)),
        Source::RemoteIp(block) => Identifier::RemoteIp(range(block)),
        Source::Header(header) => Identifier::Header(matcher::header(header)),
        Source::Path(text) => Identifier::UrlPath(url_path(text)),
        Source::Metadata(metadata) => Identifier::SourcedMetadata(sourced(metadata)),
    }
}

fn url_path(text: &StringMatch) -> PathMatcher {
    PathMatcher { rule: Some(path_matcher::Rule::Path(matcher::string(text))) }
}

fn template(template: &PathTemplate) -> TypedExtensionConfig {
    let config = UriTemplateMatchConfig { path_template: template.as_str().to_owned() };
    TypedExtensionConfig {
        name: "envoy.path.match.uri_template.uri_template_matcher".into(),
        typed_config: Some(pack(&config)),
    }
}

fn sourced(metadata: &MetadataMatch) -> wire::SourcedMetadata {
    wire::SourcedMetadata {
        metadata_matcher: Some(matcher::metadata(metadata)),
        metadata_source: wire::MetadataSource::Dynamic as i32,
    }
}
