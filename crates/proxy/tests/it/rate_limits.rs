//! Rate limits: those that the proxy keeps, and those of a service, which here is a real one of gRPC.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::http::{Request, StatusCode};
use mesh_http::{Body, h1};
use model::Direction::Outbound;
use model::cluster::UpstreamProtocol;
use model::http_proxy::HttpFilter;
use model::matcher::HeaderKey;
use model::rate_limit::{DescriptorAction, DescriptorRule, Fill, GlobalRateLimit, LocalRateLimit};
use model::retry::RetryOn;
use model::route::{Action, FilterRules, Forward};
use model::{Cluster, Config, Fraction, HttpProxy, RetryPolicy, Route};
use proto::envoy::config::core::v3::HeaderValue;
use proto::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus, RateLimit, rate_limit};
use proto::envoy::service::ratelimit::v3::rate_limit_service_server::{RateLimitService, RateLimitServiceServer};
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;

use crate::rig::*;

/// A service that takes so many requests of each descriptor, and then no more.
#[derive(Default)]
struct Counting {
    most: u32,
    seen: Mutex<HashMap<String, u32>>,
    calls: Arc<Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl RateLimitService for Counting {
    async fn should_rate_limit(
        &self,
        request: tonic::Request<RateLimitRequest>,
    ) -> Result<tonic::Response<RateLimitResponse>, tonic::Status> {
        let said = |name: &str| request.metadata().get(name).and_then(|v| v.to_str().ok()).unwrap_or("-").to_owned();
        self.calls.lock().unwrap().push(format!("{} {}", said("x-token"), said("grpc-timeout")));
        let asked = request.into_inner();
        let mut statuses = Vec::new();
        for descriptor in &asked.descriptors {
            let entries: Vec<_> =
                descriptor.entries.iter().map(|entry| format!("{}={}", entry.key, entry.value)).collect();
            let mut seen = self.seen.lock().unwrap();
            let count = seen.entry(format!("{} {}", asked.domain, entries.join(" "))).or_default();
            *count += 1;
            statuses.push(DescriptorStatus {
                code: if *count > self.most { Code::OverLimit } else { Code::Ok } as i32,
                current_limit: Some(RateLimit {
                    name: String::new(),
                    requests_per_unit: self.most,
                    unit: rate_limit::Unit::Hour as i32,
                }),
                limit_remaining: self.most.saturating_sub(*count),
                ..DescriptorStatus::default()
            });
        }
        let over = statuses.iter().any(|status| status.code == Code::OverLimit as i32);
        let header = |key: &str| HeaderValue { key: key.into(), value: "seen".into(), raw_value: Vec::new() };
        Ok(tonic::Response::new(RateLimitResponse {
            overall_code: if over { Code::OverLimit } else { Code::Ok } as i32,
            statuses,
            response_headers_to_add: vec![header("x-limits")],
            request_headers_to_add: vec![header("x-counted")],
            raw_body: if over { b"not so fast".to_vec() } else { Vec::new() },
            ..RateLimitResponse::default()
        }))
    }
}

/// Starts the service; what was called is written down.
async fn counting(most: u32) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (at, service) = (listener.local_addr().unwrap(), Counting { most, ..Counting::default() });
    let calls = service.calls.clone();
    let server = tonic::transport::Server::builder().add_service(RateLimitServiceServer::new(service));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (at, calls)
}

fn by_user() -> DescriptorRule {
    let name = HeaderKey::parse("x-user").unwrap();
    let action = DescriptorAction::Header { name, key: "user".into(), skip_if_absent: false };
    DescriptorRule { actions: vec![DescriptorAction::SourceCluster, action], ..DescriptorRule::default() }
}

/// Everything to the cluster `c` through this filter, with descriptors by the header `x-user`.
fn filtered(at: SocketAddr, filter: HttpFilter, clusters: Vec<Cluster>) -> Config {
    let rules = FilterRules { rate_limits: vec![by_user()], ..FilterRules::default() };
    let routes = vec![Route { filters: rules.boxed(), ..route("/", to("c")) }];
    let http = HttpProxy { filters: vec![filter], ..http(routes) };
    config(vec![listener("l", at, Outbound, vec![http_chain(http)])], clusters)
}

fn asking(change: impl FnOnce(&mut GlobalRateLimit)) -> HttpFilter {
    let mut settings = GlobalRateLimit::new("shop", "limits");
    // The tests share their machine with others.
    settings.timeout = Some(Duration::from_secs(10));
    change(&mut settings);
    HttpFilter::GlobalRateLimit(Arc::new(settings))
}

fn service(at: SocketAddr) -> Cluster {
    Cluster { protocol: UpstreamProtocol::Http2, ..cluster("limits", &[at]) }
}

fn of_user(user: &str) -> Request<Body> {
    let mut request = get("test", "/");
    request.headers_mut().insert("x-user", user.parse().unwrap());
    request
}

#[test]
fn a_service_counts_by_descriptor() {
    run(async {
        let ((limits, calls), origin, at) = (counting(2).await, named_origin("c").await, free_address());
        let filter = asking(|settings| {
            settings.tells_limits = true;
            settings.service.metadata = vec![("x-token".parse().unwrap(), "secret".parse().unwrap())];
        });
        let clusters = vec![cluster("c", &[origin]), service(limits)];
        let proxy = proxy("a", filtered(at, filter, clusters)).await;
        for (user, remaining) in [("anna", "1"), ("anna", "0"), ("bert", "1")] {
            let answer = send(at, of_user(user)).await;
            assert_eq!((answer.status, &answer.headers["x-limits"]), (StatusCode::OK, &"seen".parse().unwrap()));
            assert!(answer.body.contains("x-counted: seen"), "{answer:?}");
            let told = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
            assert_eq!(told("x-ratelimit-limit"), "2, 2;w=3600");
            assert_eq!((told("x-ratelimit-remaining"), told("x-ratelimit-reset")), (remaining.into(), "0".into()));
        }
        let answer = send(at, of_user("anna")).await;
        assert_eq!((answer.status, &*answer.body), (StatusCode::TOO_MANY_REQUESTS, "not so fast"));
        assert_eq!(
            (&answer.headers["x-envoy-ratelimited"], &answer.headers["x-limits"]),
            (&"true".parse().unwrap(), &"seen".parse().unwrap())
        );
        assert_eq!(send(at, get("test", "/")).await.status, StatusCode::OK, "nothing is known of it");
        let calls = calls.lock().unwrap().clone();
        assert_eq!((calls.len(), &*calls[0]), (4, "secret 10000000u"), "{calls:?}");
        until_counted(&proxy, "istio_requests_total", &[("response_flags", "RL")], 1.0).await;
        let of_cluster = [("cluster_name", "c")];
        assert_eq!(counted(&proxy, "envoy_cluster_ratelimit_ok", &of_cluster), 3.0);
        assert_eq!(counted(&proxy, "envoy_cluster_ratelimit_over_limit", &of_cluster), 1.0);
    });
}

/// A server that takes connections and says nothing.
async fn silent() -> (SocketAddr, TcpListener) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    (listener.local_addr().unwrap(), listener)
}

#[test]
fn a_service_that_does_not_answer() {
    run(async {
        let (origin, (hangs, _held)) = (named_origin("c").await, silent().await);
        let gone = free_address();
        for (service_at, deny, expected) in [
            (Some(hangs), Fraction::NONE, StatusCode::OK),
            (Some(hangs), Fraction::ALL, StatusCode::INTERNAL_SERVER_ERROR),
            (Some(gone), Fraction::NONE, StatusCode::OK),
            (Some(gone), Fraction::ALL, StatusCode::INTERNAL_SERVER_ERROR),
            (None, Fraction::NONE, StatusCode::OK),
            (None, Fraction::ALL, StatusCode::INTERNAL_SERVER_ERROR),
        ] {
            let at = free_address();
            let filter = asking(|settings| {
                (settings.timeout, settings.deny_on_error) = (Some(Duration::from_millis(30)), deny);
            });
            let clusters = [cluster("c", &[origin])].into_iter().chain(service_at.map(service)).collect();
            let proxy = proxy("a", filtered(at, filter, clusters)).await;
            let answer = send(at, of_user("anna")).await;
            assert_eq!(answer.status, expected, "{service_at:?} {deny:?}: {answer:?}");
            let flags = if deny == Fraction::ALL { "RLSE" } else { "-" };
            until_counted(&proxy, "istio_requests_total", &[("response_flags", flags)], 1.0).await;
            let of_cluster = [("cluster_name", "c")];
            let allowed = f64::from(u8::from(deny == Fraction::NONE));
            assert_eq!(counted(&proxy, "envoy_cluster_ratelimit_error", &of_cluster), 1.0);
            assert_eq!(counted(&proxy, "envoy_cluster_ratelimit_failure_mode_allowed", &of_cluster), allowed);
        }
    });
}

fn keeping(max: u32, change: impl FnOnce(&mut LocalRateLimit)) -> LocalRateLimit {
    let fill = Fill { max, per_interval: 1, interval: Duration::from_secs(3600) };
    let mut limits = LocalRateLimit::new("own", Some(fill));
    (limits.enabled, limits.enforced) = (Fraction::ALL, Fraction::ALL);
    change(&mut limits);
    limits
}

fn local(limits: LocalRateLimit) -> HttpFilter {
    HttpFilter::LocalRateLimit(Arc::new(limits))
}

#[test]
fn all_workers_count_together_and_go_on_through_changes() {
    run(async {
        let (origin, at) = (named_origin("c").await, free_address());
        let bootstrap = proxy::bootstrap::Bootstrap { workers: 4, ..node("a") };
        let runs = |prefix: &str, limits: LocalRateLimit| {
            let mut config = filtered(at, local(limits), vec![cluster("c", &[origin])]);
            let other = route(prefix, to("c"));
            let http = HttpProxy { stat_prefix: prefix.into(), ..http(vec![other]) };
            let more = listener("more", free_address(), Outbound, vec![http_chain(http)]);
            config.listeners.insert("more".into(), Arc::new(more));
            config
        };
        let proxy = proxy_of(bootstrap, runs("/x", keeping(6, |_| ()))).await;
        let statuses = async |count: usize| {
            let mut good = 0;
            for _ in 0..count {
                good += usize::from(fetch(at, "/").await.status == StatusCode::OK);
            }
            good
        };
        assert_eq!(statuses(4).await, 4);
        // Something else changes, then the chain around the filter.
        assert_eq!(proxy.handle().replace(runs("/y", keeping(6, |_| ()))).await, []);
        assert_eq!(statuses(1).await, 1);
        let mut changed = runs("/y", keeping(6, |_| ()));
        let chain = Arc::make_mut(changed.listeners.get_mut("l").unwrap());
        let model::NetworkFilter::Http(http) = &mut chain.chains[0].filter else { panic!("HTTP") };
        http.upgrades.push("websocket".into());
        assert_eq!(proxy.handle().replace(changed).await, []);
        assert_eq!(statuses(4).await, 1, "five were taken before");
        // Its own settings are others now.
        assert_eq!(proxy.handle().replace(runs("/y", keeping(3, |_| ()))).await, []);
        assert_eq!(statuses(4).await, 3);
        until_counted(&proxy, "istio_requests_total", &[("response_flags", "RL")], 4.0).await;
    });
}

#[test]
fn routes_and_connections_have_their_own() {
    run(async {
        let (origin, at) = (named_origin("c").await, free_address());
        let with = |path: &str, limits: LocalRateLimit| {
            let rules = FilterRules { local_rate_limit: Some(Arc::new(limits)), ..FilterRules::default() };
            Route { filters: rules.boxed(), ..route(path, to("c")) }
        };
        let routes = vec![
            with("/one", keeping(1, |_| ())),
            with("/each", keeping(1, |limits| limits.per_connection = true)),
            route("/", to("c")),
        ];
        let off = local(LocalRateLimit::new("off", None));
        let http = HttpProxy { filters: vec![off], ..http(routes) };
        let listeners = vec![listener("l", at, Outbound, vec![http_chain(http)])];
        let _proxy = proxy("a", config(listeners, vec![cluster("c", &[origin])])).await;
        let status = async |path: &str| fetch(at, path).await.status.as_u16();
        assert_eq!((status("/one").await, status("/one").await, status("/").await), (200, 429, 200));
        for _ in 0..2 {
            let (sender, driver) = h1::connect(TcpStream::connect(at).await.unwrap(), &Default::default());
            tokio::task::spawn_local(driver);
            let first = read(sender.send(get("test", "/each")).await.unwrap()).await.status;
            let second = read(sender.send(get("test", "/each")).await.unwrap()).await.status;
            assert_eq!((first, second), (StatusCode::OK, StatusCode::TOO_MANY_REQUESTS));
        }
    });
}

#[test]
fn what_was_limited_is_tried_elsewhere() {
    run(async {
        // Two proxies, of which the first takes nothing, and one before them.
        let ((strict, _), origin, front) = (counting(0).await, named_origin("c").await, free_address());
        let (full, free) = (free_address(), free_address());
        let behind = |at, filter| filtered(at, filter, vec![cluster("c", &[origin]), service(strict)]);
        let first = proxy("full", behind(full, asking(|_| ()))).await;
        let _second = proxy("free", behind(free, local(keeping(99, |_| ())))).await;
        let retry = |conditions: &str| {
            let on = RetryOn::parse(conditions).0;
            let retry = RetryPolicy { on, attempts: 4, avoid_previous_hosts: true, ..RetryPolicy::istio_default() };
            Action::Forward(Box::new(Forward { retry: Some(retry), ..Forward::to("both") }))
        };
        let routes =
            vec![route("/again", retry("envoy-ratelimited")), route("/never", retry("retriable-status-codes,429"))];
        let listeners = vec![listener("l", front, Outbound, vec![http_chain(http(routes))])];
        let _front = proxy("front", config(listeners, vec![cluster("both", &[full, free])])).await;
        let status = async |path: &str| {
            let request = Request::get(path).header("host", "test").header("x-user", "anna").body(Body::empty());
            send(front, request.unwrap()).await.status
        };
        for _ in 0..6 {
            assert_eq!(status("/again").await, StatusCode::OK);
        }
        // Round robin: one of two is the full one, and what says that it was limited is not asked again.
        let mut statuses = vec![status("/never").await, status("/never").await];
        statuses.sort();
        assert_eq!(statuses, [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS]);
        let refused = counted(&first, "envoy_cluster_ratelimit_over_limit", &[]);
        assert!(refused > 1.0, "{refused} were refused");
    });
}
