//! What becomes of requests, what is told of them, and what routes say.

use std::sync::Arc;

use http::Method;
use model::access::{Condition, Operation, Policy, Rules};
use model::matcher::{HeaderKey, HeaderMatch};
use model::route::{Action as RouteAction, DirectResponse, FilterRules, Found, PathMatch};
use model::{Route, StringMatch, VirtualHost, http_proxy};
use telemetry::{Exposition, Registry};

use super::*;
use crate::{Alone, Chain, NoExtensions};

/// Rules with one policy for a method.
fn rules(action: Action, name: &str, method: &str) -> Option<Arc<Compiled>> {
    let method = HeaderMatch::text(HeaderKey::Method, StringMatch::exact(method));
    let permissions = vec![Condition::Is(Operation::Header(method))];
    let policy = Policy { permissions, principals: vec![Condition::Any] };
    Some(Rules { action, policies: vec![(name.into(), policy)] }.into())
}

fn access(rules: Option<Arc<Compiled>>) -> Access {
    Access { name: "rbac".into(), rules, ..Access::default() }
}

struct Outcome {
    refused: Option<LocalResponse>,
    /// `key=value`, with the filter's name before keys of others.
    told: Vec<String>,
    metrics: String,
}

async fn run(own: Access, method: Method, route: Option<FilterRule>, host: Option<FilterRule>) -> Outcome {
    let registry = Registry::new();
    let filters = [http_proxy::HttpFilter::Access(Box::new(own))];
    let chain = Chain::new(&filters, &Stats::new(&registry.shard(), "in").unwrap(), None, &NoExtensions).unwrap();
    let said = |rule: Option<FilterRule>| {
        let named = rule.map(|rule| ("rbac".into(), rule)).into_iter().collect();
        FilterRules { named, ..FilterRules::default() }.boxed()
    };
    let answer = RouteAction::Respond(DirectResponse { status: 200, body: "".into() });
    let route = Route { filters: said(route), ..Route::new(PathMatch::Prefix("/".into()), answer) };
    let host = VirtualHost { filters: said(host), ..VirtualHost::default() };
    let mut run = chain.begin(Some(&Found { host: &host, route: &route }), 1);
    let mut request = Request::builder().method(method).uri("/a").body(Body::empty()).unwrap();
    let refused = match run.on_request(&mut request, &Alone::default()).await {
        Flow::Continue => None,
        Flow::Respond(local) => Some(*local),
        other => panic!("{other:?}"),
    };
    let keys = ["shadow_engine_result", "shadow_effective_policy_id", "x_shadow_engine_result"];
    let keys = keys.into_iter().chain(["enforced_engine_result", "enforced_effective_policy_id"]);
    let metadata = request.extensions().get::<Metadata>().cloned().unwrap_or_default();
    let own = keys.filter_map(|key| Some(format!("{key}={}", metadata.get(FILTER, &[key])?)));
    let hint = metadata.get(COMMON, &["access_log_hint"]).map(|hint| format!("hint={hint}"));
    Outcome { refused, told: own.chain(hint).collect(), metrics: registry.expose(&Exposition::default()) }
}

async fn check(own: Access, method: Method, details: Option<&str>, told: &[&str]) -> Outcome {
    let case = format!("{own:?} {method}");
    let outcome = run(own, method, None, None).await;
    assert_eq!(outcome.refused.as_ref().map(|local| &*local.details), details, "{case}");
    assert_eq!(outcome.told, told, "{case}");
    outcome
}

#[tokio::test]
async fn what_becomes_of_requests() {
    let (get, post) = (|| Method::GET, || Method::POST);
    let allowed = ["enforced_engine_result=allowed"];
    let denied = ["enforced_engine_result=denied"];
    let by_p = |said: &'static str| [said, "enforced_effective_policy_id=p"];
    let gets = |action| access(rules(action, "p", "GET"));
    check(gets(Action::Allow), get(), None, &by_p(allowed[0])).await;
    check(gets(Action::Deny), post(), None, &allowed).await;
    check(access(None), get(), None, &[]).await;
    check(gets(Action::Log), get(), None, &[allowed[0], "enforced_effective_policy_id=p", "hint=true"]).await;
    check(gets(Action::Log), post(), None, &[allowed[0], "hint=false"]).await;
    let details = "rbac_access_denied_matched_policy[p]";
    check(gets(Action::Deny), get(), Some(details), &by_p(denied[0])).await;
    let none = "rbac_access_denied_matched_policy[none]";
    let outcome = check(gets(Action::Allow), post(), Some(none), &denied).await;
    let local = outcome.refused.unwrap();
    assert_eq!((local.status.as_u16(), &*local.text(), local.flags), (403, "RBAC: access denied", ResponseFlags::NONE));
    let why = "no policy allows it; the nearest policy is `p`: method is `POST`, where it asks for one that is `GET`";
    assert_eq!(local.why.as_deref(), Some(why));
    let count = "envoy_http_rbac_denied{envoy_http_conn_manager_prefix=\"in\",envoy_rbac_prefix=\"\"} 1";
    assert!(outcome.metrics.contains(count), "{}", outcome.metrics);
    let grpc = local.into_response(true);
    assert_eq!((grpc.status().as_u16(), &grpc.headers()["grpc-status"]), (200, &"7".parse().unwrap()));
    assert_eq!(grpc.headers()["grpc-message"], "RBAC: access denied");
}

#[tokio::test]
async fn names_in_details_have_no_spaces() {
    let outcome = run(access(rules(Action::Deny, "a b\tc", "GET")), Method::GET, None, None).await;
    assert_eq!(outcome.refused.unwrap().details, "rbac_access_denied_matched_policy[a_b_c]");
}

#[tokio::test]
async fn shadows_only_tell() {
    let own = Access {
        shadow: rules(Action::Deny, "s", "GET"),
        shadow_prefix: "x_".into(),
        rules_prefix: "y_".into(),
        per_policy: true,
        ..access(None)
    };
    let outcome = check(own, Method::GET, None, &["x_shadow_engine_result=denied"]).await;
    for count in [
        "envoy_http_rbac_shadow_denied{envoy_http_conn_manager_prefix=\"in\",envoy_rbac_prefix=\"x_\"} 1",
        "envoy_http_rbac_policy_shadow_denied{envoy_http_conn_manager_prefix=\"in\",envoy_rbac_prefix=\"x_\",\
         envoy_rbac_policy_name=\"s\"} 1",
    ] {
        assert!(outcome.metrics.contains(count), "{}", outcome.metrics);
    }
    let both = Access { shadow: rules(Action::Allow, "s", "GET"), ..access(rules(Action::Deny, "p", "GET")) };
    let told = [
        "shadow_engine_result=allowed",
        "shadow_effective_policy_id=s",
        "enforced_engine_result=denied",
        "enforced_effective_policy_id=p",
    ];
    check(both, Method::GET, Some("rbac_access_denied_matched_policy[p]"), &told).await;
}

#[tokio::test]
async fn what_routes_say_counts_more() {
    let denies = |name| FilterRule::Access(Some(Arc::new(access(rules(Action::Deny, name, "GET")))));
    let open = || FilterRule::Access(None);
    for (route, host, expected) in [
        (None, None, Some("own")),
        (None, Some(denies("host")), Some("host")),
        (Some(denies("route")), Some(denies("host")), Some("route")),
        (Some(denies("route")), Some(open()), Some("route")),
        (Some(open()), Some(denies("host")), None),
        (None, Some(open()), None),
    ] {
        let case = format!("{route:?} {host:?}");
        let outcome = run(access(rules(Action::Deny, "own", "GET")), Method::GET, route, host).await;
        let expected = expected.map(|name| format!("rbac_access_denied_matched_policy[{name}]"));
        assert_eq!(outcome.refused.map(|local| local.details.into_owned()), expected, "{case}");
    }
}
