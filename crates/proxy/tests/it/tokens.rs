//! Tokens: who passes, which route is taken by what a token says, and keys that a cluster has.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::http::{Request, StatusCode};
use mesh_http::Body;
use model::Direction::Outbound;
use model::http_proxy::HttpFilter;
use model::jwt::{JwtAuthentication, JwtProvider, JwtRule, KeySource, RemoteKeys, Required, Requirement};
use model::metadata::MetadataValue;
use model::route::{PathMatch, RouteMatch};
use model::{Cluster, Config, HttpProxy, MetadataMatch, Route, StringMatch};
use serde_json::json;
use testkit::tokens::{Signer, key_set};

use crate::rig::*;

fn filter(provider: JwtProvider, requires: Requirement) -> HttpFilter {
    let rule = JwtRule { matches: RouteMatch::new(PathMatch::Prefix("/".into())), requires: Required::Own(requires) };
    HttpFilter::Jwt(Arc::new(JwtAuthentication {
        providers: BTreeMap::from([("a".into(), provider)]),
        rules: vec![rule],
        ..JwtAuthentication::new()
    }))
}

fn serving(at: SocketAddr, filter: HttpFilter, routes: Vec<Route>, clusters: Vec<Cluster>) -> Config {
    let http = HttpProxy { filters: vec![filter], ..http(routes) };
    config(vec![listener("l", at, Outbound, vec![http_chain(http)])], clusters)
}

fn with_token(token: &str) -> Request<Body> {
    let mut request = get("test", "/");
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

fn inline(signer: &Signer) -> JwtProvider {
    JwtProvider::new("a", KeySource::Inline(key_set(&[signer]).into()))
}

#[test]
fn who_has_none_and_who_has_a_bad_one() {
    run(async {
        let (signer, stranger) = (Signer::elliptic("k", "ES256"), Signer::elliptic("k", "ES256"));
        let (origin, at) = (named_origin("c").await, free_address());
        let filter = filter(inline(&signer), Requirement::provider("a"));
        let proxy = proxy("a", serving(at, filter, vec![route("/", to("c"))], vec![cluster("c", &[origin])])).await;
        let claims = json!({"iss": "a"});
        for (request, status, body) in [
            (get("test", "/"), StatusCode::UNAUTHORIZED, "Jwt is missing"),
            (with_token(&stranger.token(&claims)), StatusCode::UNAUTHORIZED, "Jwt verification fails"),
            (with_token(&signer.token(&json!({"iss": "b"}))), StatusCode::UNAUTHORIZED, "Jwt issuer is not configured"),
        ] {
            let answer = send(at, request).await;
            assert_eq!((answer.status, &*answer.body), (status, body));
            assert!(answer.headers.contains_key("www-authenticate"), "{answer:?}");
        }
        let answer = send(at, with_token(&signer.token(&claims))).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(!answer.body.contains("authorization"), "{answer:?}");
        until_counted(&proxy, "envoy_http_jwt_authn_denied", &[], 3.0).await;
        assert_eq!(counted(&proxy, "envoy_http_jwt_authn_allowed", &[]), 1.0);
    });
}

#[test]
fn routes_by_claims() {
    run(async {
        let signer = Signer::elliptic("k", "ES256");
        let (dev, all, at) = (named_origin("dev").await, named_origin("all").await, free_address());
        let provider = JwtProvider { payload_in_metadata: Some("payload".into()), reroute: true, ..inline(&signer) };
        let requires = Requirement::Any(vec![Requirement::provider("a"), Requirement::AllowMissing]);
        let mut of_group = route("/", to("dev"));
        of_group.matches.metadata = [MetadataMatch {
            filter: JwtAuthentication::NAME.into(),
            path: vec!["payload".into(), "group".into()],
            value: MetadataValue::Text(StringMatch::exact("dev")),
            invert: false,
        }]
        .into();
        let routes = vec![of_group, route("/", to("all"))];
        let clusters = vec![cluster("dev", &[dev]), cluster("all", &[all])];
        let _proxy = proxy("a", serving(at, filter(provider, requires), routes, clusters)).await;
        let of = |group: &str| with_token(&signer.token(&json!({"iss": "a", "group": group})));
        for (request, expected) in [(of("dev"), "dev"), (of("ops"), "all"), (get("test", "/"), "all")] {
            let answer = send(at, request).await;
            assert_eq!(answer.status, StatusCode::OK);
            assert!(answer.body.starts_with(expected), "{expected}: {answer:?}");
        }
    });
}

#[test]
fn keys_of_a_cluster() {
    run(async {
        let signer = Signer::elliptic("k", "ES256");
        let (asked, set) = (Arc::new(AtomicUsize::new(0)), key_set(&[&signer]));
        let (counting, text) = (asked.clone(), set.clone());
        let keys = origin(move |request| {
            let is_right = request.uri().path_and_query().is_some_and(|target| target.as_str() == "/set?a=b")
                && request.headers()["host"] == "keys.example.org";
            counting.fetch_add(1, Ordering::Relaxed);
            let body = if is_right { text.clone() } else { "wrong".to_owned() };
            async move { ::http::Response::new(Body::from(body)) }
        })
        .await;
        let (upstream, gone) = (named_origin("c").await, free_address());
        for (keys, expected) in [(keys, StatusCode::OK), (gone, StatusCode::UNAUTHORIZED)] {
            let at = free_address();
            let remote = RemoteKeys {
                uri: "http://keys.example.org/set?a=b".into(),
                cluster: "keys".into(),
                timeout: Duration::from_secs(10),
                cache_duration: RemoteKeys::CACHE_DURATION,
                beside: None,
            };
            let provider = JwtProvider::new("a", KeySource::Remote(remote));
            let clusters = vec![cluster("c", &[upstream]), cluster("keys", &[keys])];
            let filter = filter(provider, Requirement::provider("a"));
            let _proxy = proxy("a", serving(at, filter, vec![route("/", to("c"))], clusters)).await;
            for _ in 0..3 {
                let answer = send(at, with_token(&signer.token(&json!({"iss": "a"})))).await;
                assert_eq!(answer.status, expected, "{answer:?}");
            }
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1, "once for all requests");
    });
}
