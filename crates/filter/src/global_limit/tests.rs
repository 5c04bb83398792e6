//! What is asked of a service, and what its answer does to requests.

use std::cell::RefCell;

use bytes::Bytes;
use model::rate_limit::{DescriptorAction, DescriptorRule};
use model::route::{Action, DirectResponse, FilterRules, Forward, Found, PathMatch};
use model::{Fraction, Route, VirtualHost, http_proxy};
use prost::Message;
use proto::envoy::config::core::v3::HeaderValue as WireHeader;
use proto::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus};
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use telemetry::{Exposition, Registry};

use super::*;
use crate::around::{Alone, Answer, Around, as_alone};
use crate::local_limit::Limits;
use crate::{Chain, NoExtensions};

/// A proxy whose service refuses what is asked with the value `limited`, or does not answer.
#[derive(Debug, Default)]
struct Proxy {
    alone: Alone,
    silent: bool,
    /// What was asked: the domain, and keys and values.
    asked: RefCell<Vec<String>>,
}

impl Around for Proxy {
    as_alone!();
    fn is_asked_why(&self, request: &Request<Body>) -> bool {
        self.alone.is_asked_why(request)
    }
    fn service_cluster(&self) -> &str {
        "me"
    }
    fn has_cluster(&self, name: &str) -> bool {
        name == "c"
    }
    fn route_limits(&self, _route: &Route, _host: &VirtualHost) -> Option<&Limits> {
        None
    }
    fn get(&self, get: crate::Get) -> Answer<'_> {
        self.alone.get(get)
    }
    fn get_beside(&self, get: crate::Get, done: Box<dyn FnOnce(Result<Bytes, String>)>) {
        self.alone.get_beside(get, done);
    }
    fn call<'c>(&'c self, call: Call<'c>) -> Answer<'c> {
        assert_eq!((call.service.authority(), call.path), ("limits", METHOD));
        let asked = RateLimitRequest::decode(call.message).unwrap();
        let values = asked.descriptors.iter().flat_map(|one| &one.entries).map(|entry| &*entry.value);
        let values: Vec<_> = values.collect();
        self.asked.borrow_mut().push(format!("{} {}", asked.domain, values.join(",")));
        let header = |key: &str| WireHeader { key: key.into(), value: "1".into(), raw_value: Vec::new() };
        let answer = RateLimitResponse {
            overall_code: if values.contains(&"limited") { Code::OverLimit } else { Code::Ok } as i32,
            response_headers_to_add: vec![header("x-response")],
            request_headers_to_add: vec![header("x-request")],
            raw_body: b"slowly".to_vec(),
            statuses: vec![over(3), over(77), DescriptorStatus::default()],
            ..RateLimitResponse::default()
        };
        let silent = self.silent;
        Box::pin(async move { if silent { Err("nobody".into()) } else { Ok(Bytes::from(answer.encode_to_vec())) } })
    }
}

/// A limit that is reached for so many seconds.
fn over(seconds: i64) -> DescriptorStatus {
    let duration_until_reset = Some(proto::google::protobuf::Duration { seconds, nanos: 0 });
    DescriptorStatus { code: Code::OverLimit as i32, duration_until_reset, ..DescriptorStatus::default() }
}

fn rule(stage: u32, value: &str) -> DescriptorRule {
    let action = DescriptorAction::Fixed { key: "k".into(), value: value.into() };
    DescriptorRule { stage, actions: vec![action], ..DescriptorRule::default() }
}

fn settings(change: impl FnOnce(&mut GlobalRateLimit)) -> GlobalRateLimit {
    let mut settings = GlobalRateLimit::new("d", "limits");
    change(&mut settings);
    settings
}

fn rules(list: Vec<DescriptorRule>) -> FilterRules {
    FilterRules { rate_limits: list, ..FilterRules::default() }
}

fn route(rules: FilterRules) -> Route {
    let action = Action::Forward(Box::new(Forward::to("c")));
    Route { filters: rules.boxed(), ..Route::new(PathMatch::Prefix("/".into()), action) }
}

/// The status (0 if the request goes on), with details and flags; then the request's headers and the response's.
async fn send(settings: GlobalRateLimit, around: &Proxy, route: &Route, registry: &Registry) -> (String, String) {
    let filter = http_proxy::HttpFilter::GlobalRateLimit(Arc::new(settings));
    let chain = Chain::new(&[filter], &Stats::new(&registry.shard(), "in").unwrap(), None, &NoExtensions).unwrap();
    let host = VirtualHost { filters: rules(vec![rule(0, "host")]).boxed(), ..VirtualHost::default() };
    let mut run = chain.begin(Some(&Found { host: &host, route }), 1);
    let mut request = Request::get("/").body(Body::empty()).unwrap();
    let (outcome, mut response) = match run.on_request(&mut request, around).await {
        Flow::Continue => ("goes on".to_owned(), Response::new(Body::empty())),
        Flow::Respond(local) => (
            format!("{} {} {} {}", local.status.as_u16(), local.details, local.flags, local.text()),
            local.into_response(false),
        ),
        other => panic!("{other:?}"),
    };
    run.on_response(&mut response, around).await;
    response.headers_mut().remove("content-type");
    let mut all: Vec<_> = request.headers().keys().chain(response.headers().keys()).map(HeaderName::as_str).collect();
    all.sort_unstable();
    (outcome, all.join(" "))
}

#[tokio::test]
async fn what_the_service_says_is_done() {
    let limited = "429 request_rate_limited RL slowly";
    for (value, change, expected, headers) in [
        ("ok", (|_| ()) as fn(&mut GlobalRateLimit), "goes on", "x-request x-response"),
        ("limited", |_| (), limited, "x-envoy-ratelimited x-response"),
        ("limited", |s| s.tells_limited = false, limited, "x-response"),
        ("limited", |s| s.status = 503, "503 request_rate_limited RL slowly", "x-envoy-ratelimited x-response"),
        ("limited", |s| s.enforced = Fraction::NONE, "goes on", "x-envoy-ratelimited x-request x-response"),
        ("limited", |s| s.enabled = Fraction::NONE, "goes on", ""),
    ] {
        let around = Proxy::default();
        let route = route(rules(vec![rule(0, value)]));
        let found = send(settings(change), &around, &route, &Registry::new()).await;
        assert_eq!((&*found.0, &*found.1), (expected, headers), "{value}");
    }
}

#[tokio::test]
async fn a_limit_of_ours_says_which_it_is() {
    let chain = |change: fn(&mut GlobalRateLimit)| {
        let ours = settings(|s| {
            (s.policy, s.retry_after) = (Some("shop/orders/quota".into()), true);
            change(s);
        });
        let filter = http_proxy::HttpFilter::GlobalRateLimit(Arc::new(ours));
        Chain::new(&[filter], &Stats::new(&Registry::new().shard(), "in").unwrap(), None, &NoExtensions).unwrap()
    };
    let route = route(rules(vec![rule(0, "limited")]));
    let host = VirtualHost::default();
    let ask = async |chain: &Chain, around: &Proxy| {
        let mut run = chain.begin(Some(&Found { host: &host, route: &route }), 1);
        let mut request = Request::get("/").body(Body::empty()).unwrap();
        let Flow::Respond(local) = run.on_request(&mut request, around).await else { panic!("it goes on") };
        (local.headers.get("retry-after").map(|value| value.to_str().unwrap().to_owned()), local.why)
    };
    let (after, why) = ask(&chain(|_| ()), &Proxy::default()).await;
    let words = "the limit `quota` of the RateLimitPolicy `shop/orders` is reached; the next request passes in 77 s";
    assert_eq!((after.as_deref(), why.as_deref()), (Some("77"), Some(words)));
    let (after, _) = ask(&chain(|s| s.status = 503), &Proxy::default()).await;
    assert_eq!(after, None, "with another status nobody is told when to try again");
    let silent = Proxy { silent: true, ..Proxy::default() };
    let (_, why) = ask(&chain(|s| s.deny_on_error = Fraction::ALL), &silent).await;
    assert!(why.is_some_and(|why| why.contains("`shop/orders/quota`") && why.ends_with(": nobody")));
}

#[tokio::test]
async fn a_service_that_says_nothing() {
    let around = Proxy { silent: true, ..Proxy::default() };
    let registry = Registry::new();
    let route = route(rules(vec![rule(0, "limited")]));
    for (change, expected) in [
        ((|_| ()) as fn(&mut GlobalRateLimit), "goes on"),
        (|s| s.deny_on_error = Fraction::ALL, "500 rate_limiter_error RLSE "),
        (|s| (s.deny_on_error, s.error_status) = (Fraction::ALL, 503), "503 rate_limiter_error RLSE "),
    ] {
        assert_eq!(send(settings(change), &around, &route, &registry).await, (expected.to_owned(), String::new()));
    }
    let text = registry.expose(&Exposition::default());
    for (name, count) in [("error", 3), ("failure_mode_allowed", 1)] {
        let line = format!("envoy_cluster_ratelimit_{name}{{cluster_name=\"c\"}} {count}");
        assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
    }
}

#[tokio::test]
async fn what_is_asked() {
    let per_route = |limits: HostLimits, rules: Vec<DescriptorRule>, domain: Option<&str>| {
        Some(Box::new(GlobalRateLimitRoute { host_limits: limits, rules, domain: domain.map(Into::into) }))
    };
    let own = || rules(vec![rule(0, "a"), rule(1, "b")]);
    let elsewhere = |cluster: &str| {
        let action = Action::Forward(Box::new(Forward::to(cluster)));
        Route { action, ..route(own()) }
    };
    let answered = Action::Respond(DirectResponse { status: 200, body: "".into() });
    let with = |global_rate_limit| route(FilterRules { global_rate_limit, ..own() });
    for (name, change, route, expected) in [
        ("the route's", (|_| ()) as fn(&mut GlobalRateLimit), route(own()), Some("d a")),
        ("of a stage", |s| s.stage = 1, route(own()), Some("d b")),
        ("of a stage that nobody has", |s| s.stage = 2, route(own()), None),
        ("the virtual host's", |_| (), route(FilterRules::default()), Some("d host")),
        ("both", |_| (), route(FilterRules { include_host_rate_limits: true, ..own() }), Some("d a,host")),
        ("both, by the filter", |_| (), with(per_route(HostLimits::Include, vec![], None)), Some("d a,host")),
        (
            "nobody's",
            |_| (),
            route(FilterRules { global_rate_limit: per_route(HostLimits::Ignore, vec![], None), ..rules(vec![]) }),
            None,
        ),
        ("the filter's", |s| s.rules = vec![rule(0, "f")], route(own()), Some("d f")),
        (
            "what the route says to the filter",
            |s| s.rules = vec![rule(0, "f")],
            with(per_route(HostLimits::Override, vec![rule(0, "x")], Some("other"))),
            Some("other x"),
        ),
        ("internal ones alone", |s| s.requests = RequestType::Internal, route(own()), None),
        ("external ones alone", |s| s.requests = RequestType::External, route(own()), Some("d a")),
        ("no such cluster", |_| (), elsewhere("nowhere"), None),
        ("not forwarded", |_| (), Route { action: answered.clone(), ..route(own()) }, None),
    ] {
        let around = Proxy::default();
        send(settings(change), &around, &route, &Registry::new()).await;
        assert_eq!(around.asked.borrow().first().map(String::as_str), expected, "{name}");
    }
}
