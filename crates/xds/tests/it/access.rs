//! What is refused of rules of access, by its path; and what of Envoy's older forms is understood.

use model::access::{Action, Condition, Operation, Source};
use model::http_proxy::HttpFilter;
use proto::envoy::config::core::v3::{CidrRange, TypedExtensionConfig};
use proto::envoy::config::rbac::v3 as rbac;
use proto::envoy::config::rbac::v3::permission::Rule;
use proto::envoy::config::rbac::v3::principal::Identifier;
use proto::envoy::extensions::filters::http::rbac::v3 as http;
use proto::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use proto::envoy::r#type::matcher::v3 as matcher;
use proto::envoy::r#type::v3::Int32Range;
use proto::google::protobuf::{Any, UInt32Value};

use crate::filters::{pack, read};

/// A filter whose one policy is changed like this.
fn policy(change: impl FnOnce(&mut rbac::Policy)) -> Any {
    let mut policy = rbac::Policy {
        permissions: vec![rbac::Permission { rule: Some(Rule::Any(true)) }],
        principals: vec![rbac::Principal { identifier: Some(Identifier::Any(true)) }],
        ..Default::default()
    };
    change(&mut policy);
    let rules = rbac::Rbac { policies: [("p".to_owned(), policy)].into(), ..Default::default() };
    pack(&http::Rbac { rules: Some(rules), ..Default::default() })
}

fn permission(rule: Rule) -> Any {
    policy(|it| it.permissions[0].rule = Some(rule))
}

fn principal(identifier: Identifier) -> Any {
    policy(|it| it.principals[0].identifier = Some(identifier))
}

fn rules(change: impl FnOnce(&mut rbac::Rbac)) -> Any {
    let mut rules = rbac::Rbac::default();
    change(&mut rules);
    pack(&http::Rbac { shadow_rules: Some(rules), ..Default::default() })
}

fn template(text: &str) -> Rule {
    let config = UriTemplateMatchConfig { path_template: text.into() };
    Rule::UriTemplate(TypedExtensionConfig { name: "t".into(), typed_config: Some(pack(&config)) })
}

#[test]
fn what_is_refused() {
    let ports = |start, end| permission(Rule::DestinationPortRange(Int32Range { start, end }));
    let by_route = rbac::SourcedMetadata { metadata_source: 1, ..Default::default() };
    let audited = rbac::rbac::AuditLoggingOptions { audit_condition: 1, ..Default::default() };
    let of_p = ".rules.policies[\"p\"]";
    for (config, path, problem) in [
        (pack(&http::Rbac { matcher: Some(Default::default()), ..Default::default() }), ".matcher", "is set"),
        (
            pack(&http::Rbac { shadow_matcher: Some(Default::default()), ..Default::default() }),
            ".shadow_matcher",
            "is set",
        ),
        (rules(|it| it.action = 7), ".shadow_rules.action", "is 7"),
        (rules(|it| it.audit_logging_options = Some(audited)), ".shadow_rules.audit_logging_options", "is set"),
        (policy(|it| it.condition = Some(Default::default())), ".condition", "is set"),
        (policy(|it| it.checked_condition = Some(Default::default())), ".checked_condition", "is set"),
        (policy(|it| it.permissions.clear()), ".permissions", "is empty"),
        (policy(|it| it.principals.clear()), ".principals", "is empty"),
        (policy(|it| it.permissions[0].rule = None), ".permissions[0]", "is missing"),
        (permission(Rule::Any(false)), ".permissions[0].any", "is false"),
        (permission(Rule::AndRules(Default::default())), ".permissions[0].and_rules.rules", "is empty"),
        (permission(Rule::OrRules(Default::default())), ".permissions[0].or_rules.rules", "is empty"),
        (permission(Rule::NotRule(Box::default())), ".permissions[0].not_rule", "is missing"),
        (permission(Rule::Matcher(Default::default())), ".permissions[0].matcher", "is set"),
        (permission(Rule::DestinationPort(70_000)), ".permissions[0].destination_port", "is 70000"),
        (ports(80, 80), ".permissions[0].destination_port_range", "is from 80 to below 80"),
        (ports(-1, 80), ".permissions[0].destination_port_range", "is from -1 to below 80"),
        (ports(80, 65_537), ".permissions[0].destination_port_range", "is from 80 to below 65537"),
        (permission(Rule::UrlPath(Default::default())), ".permissions[0].url_path.path", "is missing"),
        (
            permission(template("/**/*")),
            ".permissions[0].uri_template.typed_config.path_template",
            "`/**/*` is no template",
        ),
        (
            permission(Rule::SourcedMetadata(by_route.clone())),
            ".permissions[0].sourced_metadata.metadata_source",
            "is set",
        ),
        (principal(Identifier::SourcedMetadata(by_route)), ".principals[0].sourced_metadata.metadata_source", "is set"),
        (principal(Identifier::FilterState(Default::default())), ".principals[0].filter_state", "is set"),
        (principal(Identifier::Custom(Default::default())), ".principals[0].custom", "is set"),
        (principal(Identifier::AndIds(Default::default())), ".principals[0].and_ids.ids", "is empty"),
        (principal(Identifier::DirectRemoteIp(Default::default())), ".principals[0].direct_remote_ip", "is /0"),
    ] {
        let error = read(config).expect_err(path);
        let place = "filter_chains[0].filters[0].typed_config.http_filters[0].typed_config";
        let found = error.path.strip_prefix(place).map(|found| found.strip_prefix(of_p).unwrap_or(found));
        assert_eq!(found, Some(path), "{error}");
        assert!(error.problem.starts_with(problem), "{error}");
    }
}

#[test]
#[allow(deprecated)]
fn older_forms() {
    let read = |config| match read(config).expect("rules") {
        HttpFilter::Access(access) => access.rules.expect("rules").rules().clone(),
        other => panic!("{other:?}"),
    };
    let block = CidrRange { address_prefix: "10.0.0.0".into(), prefix_len: Some(UInt32Value { value: 8 }) };
    let found = read(principal(Identifier::SourceIp(block)));
    let source = Source::SourceIp("10.0.0.0/8".parse().unwrap());
    assert_eq!((found.action, &found.policies[0].1.principals[..]), (Action::Allow, &[Condition::Is(source)][..]));
    let metadata = matcher::MetadataMatcher {
        filter: "f".into(),
        path: vec![matcher::metadata_matcher::PathSegment {
            segment: Some(matcher::metadata_matcher::path_segment::Segment::Key("k".into())),
        }],
        value: Some(matcher::ValueMatcher {
            match_pattern: Some(matcher::value_matcher::MatchPattern::PresentMatch(true)),
        }),
        invert: false,
    };
    let of = |rule| read(permission(rule)).policies.remove(0).1.permissions;
    let new = rbac::SourcedMetadata { metadata_matcher: Some(metadata.clone()), metadata_source: 0 };
    assert_eq!(of(Rule::Metadata(metadata)), of(Rule::SourcedMetadata(new)));
    let one = Rule::DestinationPortRange(Int32Range { start: 80, end: 81 });
    assert_eq!(of(one), of(Rule::DestinationPort(80)));
    let last = Rule::DestinationPortRange(Int32Range { start: 1, end: 65_536 });
    assert_eq!(of(last), [Condition::Is(Operation::DestinationPort(1..=65_535))]);
}

/// The same rules are the same bytes, whatever order a map has.
#[test]
fn bytes_do_not_change() {
    let names: Vec<String> = (0..20).map(|at| format!("policy {at:02}")).collect();
    let policies = names.iter().map(|name| {
        let permissions = vec![Condition::Any];
        (name.as_str().into(), model::access::Policy { permissions, principals: vec![Condition::Any] })
    });
    let rules = model::access::Rules { action: Action::Deny, policies: policies.collect() };
    let access = model::Access { name: "rbac".into(), rules: Some(rules.into()), ..Default::default() };
    let mut http = model::HttpProxy::new("x", model::http_proxy::RouteSource::Rds("r".into()));
    http.filters = vec![HttpFilter::Access(Box::new(access))];
    let api = model::ApiListener { name: "a".into(), http: Box::new(http) };
    let encoded: Vec<Vec<u8>> = (0..4).map(|_| xds::encode::api_listener(&api).value).collect();
    assert!(encoded.windows(2).all(|two| two[0] == two[1]));
    let at = |name: &str| encoded[0].windows(name.len()).position(|bytes| bytes == name.as_bytes());
    let places: Vec<_> = names.iter().map(|name| at(name).expect("there")).collect();
    assert!(places.is_sorted(), "{places:?}");
}
