//! What callers are answered, by who they are and what they ask.

use std::time::UNIX_EPOCH;

use proto::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use proto::google::protobuf::UInt64Value;
use telemetry::Registry;
use tonic::Code as Grpc;
use translate::MeshSettings;

use super::*;
use crate::ratelimit::Files;
use crate::store::{Disk, Set, Start, Store};

const POLICY: &str = "apiVersion: halcyon.dev/v1alpha1
kind: RateLimitPolicy
metadata: {name: p, namespace: shop}
spec:
  limits:
  - {name: q, scope: global, requests: 2, unit: day, by: [{header: x-user}]}
  - {name: tried, scope: global, requests: 0, unit: day, dryRun: true}
";
const DOMAIN: &str = "halcyon.dev/shop/p";

async fn service(dir: &std::path::Path) -> (RateLimits, Store) {
    let registry = Registry::new();
    let clock = Clock::system();
    let start = Start {
        settings: MeshSettings::default(),
        trust: translate::MeshTrust::roots("roots"),
        has_files: false,
        clock: clock.clone(),
        shard: &registry.shard(),
    };
    let (store, _) = Store::open(Disk::open(dir).unwrap(), start).unwrap();
    let parsed = api::parse("t.yaml", POLICY);
    assert!(!parsed.has_errors(), "{:?}", parsed.problems);
    store.apply(Set { resources: parsed.resources, ..Set::default() }).await.unwrap();
    let directory = Directory::new(store.clone(), Files::open(None).unwrap());
    let metrics = Metrics::new(&registry.shard()).unwrap();
    let keeper = Keeper::Own(Counts::default());
    (RateLimits::new(directory, keeper, clock, TrustDomain::default(), false, metrics), store)
}

fn descriptor(entries: &[(&str, &str)], hits: Option<u64>) -> RateLimitDescriptor {
    RateLimitDescriptor {
        entries: entries.iter().map(|(key, value)| Entry { key: (*key).into(), value: (*value).into() }).collect(),
        hits_addend: hits.map(|value| UInt64Value { value }),
        ..RateLimitDescriptor::default()
    }
}

async fn ask(
    service: &RateLimits,
    identity: Option<&str>,
    domain: &str,
    descriptors: Vec<RateLimitDescriptor>,
) -> Result<RateLimitResponse, Grpc> {
    let mut request =
        Request::new(RateLimitRequest { domain: domain.to_owned(), descriptors, ..RateLimitRequest::default() });
    let identity = identity.map(|text| text.parse().unwrap());
    request.extensions_mut().insert(Caller { identity, is_tls: true, ..Caller::default() });
    service.should_rate_limit(request).await.map(Response::into_inner).map_err(|status| status.code())
}

const SHOP: Option<&str> = Some("spiffe://cluster.local/ns/shop/sa/web");

#[tokio::test]
async fn who_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (service, _store) = service(dir.path()).await;
    let any = || vec![descriptor(&[("limit", "none")], None)];
    for (identity, domain, expected) in [
        (None, DOMAIN, Err(Grpc::Unauthenticated)),
        (Some("spiffe://cluster.local/ns/other/sa/web"), DOMAIN, Err(Grpc::PermissionDenied)),
        (Some("spiffe://elsewhere/ns/shop/sa/web"), DOMAIN, Err(Grpc::PermissionDenied)),
        (SHOP, "", Err(Grpc::InvalidArgument)),
        (SHOP, "halcyon.dev/shop/other", Ok(())),
        (SHOP, DOMAIN, Ok(())),
    ] {
        let answer = ask(&service, identity, domain, any()).await;
        assert_eq!(answer.map(|answer| assert_eq!(answer.overall_code, Code::Ok as i32)), expected, "{identity:?}");
    }
    assert_eq!(ask(&service, SHOP, DOMAIN, vec![]).await, Err(Grpc::InvalidArgument));
    let negative = RateLimitDescriptor { is_negative_hits: true, ..RateLimitDescriptor::default() };
    assert_eq!(ask(&service, SHOP, DOMAIN, vec![negative]).await, Err(Grpc::InvalidArgument));
}

#[tokio::test]
async fn what_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (service, store) = service(dir.path()).await;
    let user = |name: &str, hits| vec![descriptor(&[("limit", "q"), ("header_x-user", name)], hits)];
    let shown = |answer: RateLimitResponse| {
        let status = &answer.statuses[0];
        let limit = status.current_limit.as_ref().map_or(0, |limit| limit.requests_per_unit);
        let told: Vec<_> = answer.response_headers_to_add.iter().take(2).map(|header| header.value.clone()).collect();
        (answer.overall_code == Code::OverLimit as i32, limit, status.limit_remaining, told.join("/"))
    };
    for (name, hits, expected) in [
        ("anna", None, (false, 2, 1, "2/1")),
        ("anna", Some(1), (false, 2, 0, "2/0")),
        ("anna", None, (true, 2, 0, "2/0")),
        ("bert", Some(3), (true, 2, 0, "2/0")),
        ("carl", Some(0), (false, 2, 2, "2/2")),
    ] {
        let (over, limit, left, told) = shown(ask(&service, SHOP, DOMAIN, user(name, hits)).await.unwrap());
        assert_eq!((over, limit, left, &*told), expected, "{name} {hits:?}");
    }
    // What is only tried is answered, for statistics, and not told to callers.
    let tried = ask(&service, SHOP, DOMAIN, vec![descriptor(&[("limit", "tried")], None)]).await.unwrap();
    assert_eq!(shown(tried), (true, 0, 0, String::new()));
    let reset = |answer: RateLimitResponse| answer.statuses[0].duration_until_reset.as_ref().unwrap().seconds as u64;
    let now = Clock::system().now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let left = reset(ask(&service, SHOP, DOMAIN, user("dora", None)).await.unwrap());
    assert!((1..=86_400).contains(&left) && (now + left) % 86_400 <= 60, "to the end of the day, UTC: {left}");
    // Without the policy nothing is limited any more.
    let key = api::parse("t.yaml", POLICY).resources[0].key();
    store.delete(vec![key], false, Default::default()).await.unwrap();
    let answer = ask(&service, SHOP, DOMAIN, user("anna", None)).await.unwrap();
    assert_eq!((answer.overall_code, answer.statuses[0].current_limit.is_none()), (Code::Ok as i32, true));
}
