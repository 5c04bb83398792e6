//! What local limits do to requests, chain by chain and route by route.

use std::time::Duration;

use model::rate_limit::{DescriptorAction, Fill, LocalDescriptor};
use model::route::{Action, DirectResponse, Forward, Found, PathMatch};
use model::{Fraction, HeaderChanges, headers, http_proxy};
use telemetry::{Exposition, Registry};

use super::*;
use crate::around::{Alone, Answer, Around, Call, as_alone};
use crate::{Chain, NoExtensions, Stats};

/// A proxy with the limits of routes, and one connection.
#[derive(Debug, Default)]
struct Proxy {
    alone: Alone,
    routes: RouteLimits,
}

impl Around for Proxy {
    as_alone!();
    fn is_asked_why(&self, request: &Request<Body>) -> bool {
        self.alone.is_asked_why(request)
    }
    fn service_cluster(&self) -> &str {
        "me"
    }
    fn has_cluster(&self, _name: &str) -> bool {
        true
    }
    fn route_limits(&self, route: &Route, host: &VirtualHost) -> Option<&Limits> {
        self.routes.of(route, host)
    }
    fn get(&self, get: crate::Get) -> Answer<'_> {
        self.alone.get(get)
    }
    fn get_beside(&self, get: crate::Get, done: Box<dyn FnOnce(Result<bytes::Bytes, String>)>) {
        self.alone.get_beside(get, done);
    }
    fn call<'c>(&'c self, call: Call<'c>) -> Answer<'c> {
        self.alone.call(call)
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn fill(max: u32) -> Option<Fill> {
    Some(Fill { max, per_interval: 1, interval: SECOND })
}

/// Limits that are enforced.
fn limits(max: u32) -> LocalRateLimit {
    LocalRateLimit { enabled: Fraction::ALL, enforced: Fraction::ALL, ..LocalRateLimit::new("p", fill(max)) }
}

fn route(path: &str, limits: Option<LocalRateLimit>) -> Route {
    let action = Action::Forward(Box::new(Forward::to("c")));
    let filters = FilterRules { local_rate_limit: limits.map(Arc::new), ..FilterRules::default() }.boxed();
    Route { filters, ..Route::new(PathMatch::Prefix(path.into()), action) }
}

fn chain(limits: LocalRateLimit, stats: &Stats, before: Option<&Chain>) -> Chain {
    Chain::new(&[http_proxy::HttpFilter::LocalRateLimit(Arc::new(limits))], stats, before, &NoExtensions).unwrap()
}

fn stats() -> (Registry, Stats) {
    let registry = Registry::new();
    let stats = Stats::new(&registry.shard(), "in").unwrap();
    (registry, stats)
}

/// What becomes of a request: the status, 200 if it goes on, and its headers and the response's.
async fn send(chain: &Chain, around: &Proxy, host: &VirtualHost, route: &Route, user: &str) -> (u16, String) {
    let mut run = chain.begin(Some(&Found { host, route }), 1);
    let mut request = Request::get("/").header("x-user", user).body(Body::empty()).unwrap();
    let mut response = match run.on_request(&mut request, around).await {
        Flow::Continue => Response::new(Body::empty()),
        Flow::Respond(local) => {
            assert_eq!((&*local.details, &*local.flags.to_string()), ("local_rate_limited", "RL"));
            local.into_response(false)
        }
        other => panic!("{other:?}"),
    };
    run.on_response(&mut response, around).await;
    request.headers_mut().remove("x-user");
    response.headers_mut().remove("content-type");
    let all = request.headers().iter().chain(response.headers());
    let mut text: Vec<_> = all.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    text.sort();
    (response.status().as_u16(), text.join(", "))
}

async fn statuses(chain: &Chain, around: &Proxy, route: &Route, users: &[&str]) -> Vec<u16> {
    let mut all = Vec::new();
    for user in users {
        all.push(send(chain, around, &VirtualHost::default(), route, user).await.0);
    }
    all
}

fn written(name: &'static str) -> HeaderChanges {
    let write = headers::HeaderWrite {
        name: http::HeaderName::from_static(name),
        value: http::HeaderValue::from_static("yes"),
        action: headers::WriteAction::Append,
    };
    HeaderChanges::new(Vec::new(), vec![write])
}

#[tokio::test(start_paused = true)]
async fn one_too_many_is_refused_until_time_has_passed() {
    let (registry, stats) = stats();
    let (chain, around, plain) = (chain(limits(2), &stats, None), Proxy::default(), route("/", None));
    assert_eq!(statuses(&chain, &around, &plain, &["a", "b", "c"]).await, [200, 200, 429]);
    tokio::time::advance(SECOND).await;
    assert_eq!(statuses(&chain, &around, &plain, &["a", "b"]).await, [200, 429]);
    let text = registry.expose(&Exposition::default());
    for (name, count) in [("enabled", 5), ("ok", 3), ("rate_limited", 2), ("enforced", 2)] {
        let line = format!("envoy_http_local_rate_limit_{name}{{local_http_ratelimit_prefix=\"p\"}} {count}");
        assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_settings_say() {
    let with = |change: fn(&mut LocalRateLimit)| {
        let mut limits = limits(1);
        change(&mut limits);
        limits
    };
    for (name, limits, expected) in [
        ("by default", with(|l| (l.enabled, l.enforced) = (Fraction::NONE, Fraction::NONE)), (200, "")),
        ("enabled, not enforced", with(|l| l.enforced = Fraction::NONE), (200, "")),
        (
            "told when not enforced",
            with(|l| (l.enforced, l.request_headers) = (Fraction::NONE, written("x-many"))),
            (200, "x-many: yes"),
        ),
        ("another status", with(|l| l.status = 503), (503, "")),
        ("more headers", with(|l| l.response_headers = written("x-slow")), (429, "x-slow: yes")),
        (
            "what is left",
            with(|l| l.tells_limits = true),
            (429, "x-ratelimit-limit: 1, x-ratelimit-remaining: 0, x-ratelimit-reset: 1"),
        ),
        (
            "what is left, of a limit of ours",
            with(|l| (l.tells_limits, l.policy) = (true, Some("a/b/c".into()))),
            (
                429,
                "ratelimit-limit: 1, ratelimit-remaining: 0, ratelimit-reset: 1, x-ratelimit-limit: 1, \
                 x-ratelimit-remaining: 0, x-ratelimit-reset: 1",
            ),
        ),
        ("when to try again", with(|l| l.retry_after = true), (429, "retry-after: 1")),
        ("not with another status", with(|l| (l.retry_after, l.status) = (true, 503)), (503, "")),
        (
            "what is said already stays",
            with(|l| (l.retry_after, l.response_headers) = (true, written("retry-after"))),
            (429, "retry-after: yes"),
        ),
        ("no limit", with(|l| l.fill = None), (200, "")),
    ] {
        let (chain, around) = (chain(limits, &stats().1, None), Proxy::default());
        let (host, plain) = (VirtualHost::default(), route("/", None));
        let first = send(&chain, &around, &host, &plain, "a").await;
        assert_eq!(first.0, 200, "{name}");
        let second = send(&chain, &around, &host, &plain, "a").await;
        assert_eq!((second.0, &*second.1), expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn callers_of_grpc_are_told_in_their_own_words() {
    for (exhausted, status) in [(false, GrpcStatus::UNAVAILABLE), (true, GrpcStatus::RESOURCE_EXHAUSTED)] {
        let local = refusal(&LocalRateLimit { resource_exhausted: exhausted, ..limits(0) }, None);
        let response = local.into_response(true);
        assert_eq!((response.status(), GrpcStatus::from_headers(response.headers())), (StatusCode::OK, Some(status)));
    }
}

#[tokio::test(start_paused = true)]
async fn routes_bring_their_own_limits() {
    let stats = stats().1;
    let (chain, other) = (chain(limits(9), &stats, None), route("/other", None));
    let host = |own: Option<LocalRateLimit>, routes: Vec<Route>| VirtualHost {
        filters: FilterRules { local_rate_limit: own.map(Arc::new), ..FilterRules::default() }.boxed(),
        routes,
        ..VirtualHost::default()
    };
    let first = host(Some(limits(2)), vec![route("/one", Some(limits(1))), route("/two", Some(limits(1))), other]);
    let mut around = Proxy { routes: RouteLimits::new([&first].into_iter(), None, &stats), ..Proxy::default() };
    let asks = async |around: &Proxy, host: &VirtualHost, number: usize| {
        send(&chain, around, host, &host.routes[number], "a").await.0
    };
    assert_eq!((asks(&around, &first, 0).await, asks(&around, &first, 0).await), (200, 429), "its own");
    assert_eq!((asks(&around, &first, 1).await, asks(&around, &first, 1).await), (200, 429), "of the same settings");
    for expected in [200, 200, 429] {
        assert_eq!(asks(&around, &first, 2).await, expected, "its virtual host's");
    }
    // A new table: the first route is as it was, the second has another limit, the third has one now.
    let routes = vec![route("/one", Some(limits(1))), route("/two", Some(limits(5))), route("/other", Some(limits(1)))];
    let second = host(None, routes);
    around.routes = RouteLimits::new([&second].into_iter(), Some(&around.routes), &stats);
    let found = [asks(&around, &second, 0).await, asks(&around, &second, 1).await, asks(&around, &second, 2).await];
    assert_eq!(found, [429, 200, 200]);
}

#[tokio::test(start_paused = true)]
async fn what_was_counted_lives_on_in_the_next_chain() {
    let (stats, around, plain) = (stats().1, Proxy::default(), route("/", None));
    let first = chain(limits(1), &stats, None);
    assert_eq!(statuses(&first, &around, &plain, &["a", "a"]).await, [200, 429]);
    let same = chain(limits(1), &stats, Some(&first));
    assert_eq!(statuses(&same, &around, &plain, &["a"]).await, [429]);
    let other = chain(limits(2), &stats, Some(&same));
    assert_eq!(statuses(&other, &around, &plain, &["a"]).await, [200]);
}

#[tokio::test(start_paused = true)]
async fn each_connection_has_its_own() {
    let (stats, plain) = (stats().1, route("/", None));
    let chain = chain(LocalRateLimit { per_connection: true, ..limits(1) }, &stats, None);
    for _ in 0..2 {
        let around = Proxy::default();
        assert_eq!(statuses(&chain, &around, &plain, &["a", "a"]).await, [200, 429]);
    }
}

#[tokio::test(start_paused = true)]
async fn descriptors_of_routes_and_of_filters() {
    let by_user = |stage: u32, disable_key: &str| DescriptorRule {
        stage,
        disable_key: disable_key.into(),
        actions: vec![DescriptorAction::Header {
            name: model::matcher::HeaderKey::parse("x-user").unwrap(),
            key: "user".into(),
            skip_if_absent: false,
        }],
        ..DescriptorRule::default()
    };
    let anna = LocalDescriptor { entries: vec![("user".into(), "anna".into())], fill: fill(1).unwrap() };
    let own = LocalRateLimit { descriptors: vec![anna], ..limits(9) };
    let asks = ["anna", "anna", "bert", "bert"];
    let (limited, free) = ([200, 429, 200, 200], [200; 4]);
    for (name, rules, of_route, forwarded, expected) in [
        ("the route's", vec![], vec![by_user(0, "")], true, limited),
        ("of another stage", vec![], vec![by_user(1, "")], true, free),
        ("with a key of the runtime", vec![], vec![by_user(0, "off")], true, free),
        ("of what is not forwarded", vec![], vec![by_user(0, "")], false, free),
        ("the filter's", vec![by_user(0, "")], vec![], false, limited),
        ("the filter's, not the route's", vec![DescriptorRule::default()], vec![by_user(0, "")], true, free),
    ] {
        let chain = chain(LocalRateLimit { rules, ..own.clone() }, &stats().1, None);
        let filters = FilterRules { rate_limits: of_route, ..FilterRules::default() }.boxed();
        let mut route = Route { filters, ..route("/", None) };
        if !forwarded {
            route.action = Action::Respond(DirectResponse { status: 200, body: "".into() });
        }
        assert_eq!(statuses(&chain, &Proxy::default(), &route, &asks).await, expected, "{name}");
    }
}
