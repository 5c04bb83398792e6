//! What proxies tell of refusals, and what is said of it.

use control::ControlOptions;
use control::v1::{MutualTlsPlan, RefusalPage};
use proto::envoy::config::core::v3::{self as core, Node, RequestMethod};
use proto::envoy::data::accesslog::v3::tls_properties::CertificateProperties;
use proto::envoy::data::accesslog::v3::tls_properties::certificate_properties::{
    SubjectAltName, subject_alt_name::San,
};
use proto::envoy::data::accesslog::v3::{
    AccessLogCommon, HttpAccessLogEntry, HttpRequestProperties, HttpResponseProperties, TlsProperties,
};
use proto::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use proto::envoy::service::accesslog::v3::access_log_service_client::AccessLogServiceClient;
use proto::envoy::service::accesslog::v3::stream_access_logs_message::{HttpAccessLogEntries, Identifier, LogEntries};
use proto::google::protobuf::UInt32Value;
use tokio::task::LocalSet;
use tonic::Code;
use tonic::transport::Channel;

use crate::fake::{FakeProxy, Running, channel, sidecar};

const POLICIES: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: d}
spec:
  action: DENY
  rules:
  - to:
    - operation: {paths: [/health]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: a}
spec:
  rules:
  - to:
    - operation: {methods: [POST]}
    when:
    - {key: 'request.headers[x-team]', values: [blue]}
";

fn entry(id: &str, path: &str, details: &str) -> HttpAccessLogEntry {
    let san = SubjectAltName { san: Some(San::Uri("spiffe://cluster.local/ns/default/sa/web".into())) };
    let peer = CertificateProperties { subject_alt_name: vec![san], ..CertificateProperties::default() };
    let tls = TlsProperties { peer_certificate_properties: Some(peer), ..TlsProperties::default() };
    HttpAccessLogEntry {
        common_properties: Some(AccessLogCommon {
            tls_properties: Some(tls),
            upstream_cluster: "inbound|9080||".into(),
            ..AccessLogCommon::default()
        }),
        request: Some(HttpRequestProperties {
            request_id: id.into(),
            path: path.into(),
            authority: "details:9080".into(),
            request_method: RequestMethod::Get as i32,
            ..HttpRequestProperties::default()
        }),
        response: Some(HttpResponseProperties {
            response_code: Some(UInt32Value { value: 403 }),
            response_code_details: details.into(),
            ..HttpResponseProperties::default()
        }),
        ..HttpAccessLogEntry::default()
    }
}

async fn tell(channel: Channel, node: &str, entries: Vec<HttpAccessLogEntry>) -> Result<(), Code> {
    let node = core::Node { id: node.into(), ..Node::default() };
    let message = StreamAccessLogsMessage {
        identifier: Some(Identifier { node: Some(node), log_name: "test".into() }),
        log_entries: Some(LogEntries::HttpLogs(HttpAccessLogEntries { log_entry: entries })),
    };
    let sent = AccessLogServiceClient::new(channel).stream_access_logs(tokio_stream::iter([message])).await;
    sent.map(drop).map_err(|status| status.code())
}

#[tokio::test]
async fn who_refused_it_and_why() {
    LocalSet::new().run_until(story()).await;
}

async fn story() {
    let dir = tempfile::tempdir().unwrap();
    let control = Running::start(dir.path()).await;
    control.apply(&[("p.yaml", POLICIES)]).await;
    let details = control.join("bookinfo-details").await;
    let node = sidecar("details-v1", "bookinfo-details", "127.64.1.1");
    let mut proxy = FakeProxy::connect(details.channel().await, node.clone());
    proxy.until(|config| config.clusters.contains_key("halcyon-reports")).await;

    let denied = entry("1", "/health?token=secret", "rbac_access_denied_matched_policy[ns[default]-policy[d]-rule[0]]");
    let nobody = entry("2", "/a", "rbac_access_denied_matched_policy[none]");
    let fine = entry("3", "/a", "via_upstream");
    tell(details.channel().await, &node.id, vec![denied, nobody, fine]).await.unwrap();
    let page: RefusalPage = control.get("/v1/refusals?request_id=1").await;
    let first = &page.refusals[0];
    let by = first.by.as_ref().map(|by| (by.policy.as_str(), by.rule, by.at.as_str()));
    assert_eq!(by, Some(("default/d", 0, "p.yaml:8")), "{first:?}");
    assert_eq!(
        (&*first.workload, &*first.path, &*first.method, first.status),
        ("default/details-v1", "/health", "GET", 403)
    );
    assert_eq!(first.from, "spiffe://cluster.local/ns/default/sa/web");
    let page: RefusalPage = control.get("/v1/refusals?request_id=2").await;
    let nearest = page.refusals[0].nearest.clone().expect("a rule came nearest");
    let failed: Vec<_> = nearest.failed.iter().map(|it| (it.field.as_str(), it.reason.as_str())).collect();
    assert_eq!(nearest.rule.policy, "default/a");
    assert_eq!(
        failed[0],
        ("spec.rules[0].to[0].operation.methods", "the method is `GET`, where it asks for one that is `POST`")
    );
    assert!(failed[1].1.starts_with("headers and claims are not told to the control plane"), "{failed:?}");
    let all: RefusalPage = control.get("/v1/refusals").await;
    assert_eq!((all.refusals.len(), all.kept, all.most), (2, 2, 10_000), "what the upstream said is not kept");

    for (service, expected) in [("default/details", 2), ("default/reviews", 0), ("elsewhere/details", 0)] {
        let page: RefusalPage = control.get(&format!("/v1/refusals?service={service}")).await;
        assert_eq!(page.refusals.len(), expected, "{service}");
    }

    strangers(&control, &node.id).await;
    let plan: MutualTlsPlan = control.get("/v1/mtls?workload=details-v1").await;
    let modes: Vec<_> = plan.servers.iter().flat_map(|server| &server.ports).map(|port| &*port.mode).collect();
    assert_eq!((modes, plan.steps.len(), plan.steps[0].strict), (vec!["PERMISSIVE"], 1, true));
    control.apply(&[("mtls.yaml", &plan.steps[0].documents[0].to_string())]).await;
    let plan: MutualTlsPlan = control.get("/v1/mtls").await;
    assert_eq!((plan.steps.len(), &*plan.servers[0].ports[0].mode), (0, "STRICT"));
    control.stop().await;
}

/// Nobody tells in the name of another.
async fn strangers(control: &Running, node: &str) {
    let other = control.join("bookinfo-reviews").await;
    tell(other.channel().await, node, vec![entry("4", "/", "rbac_access_denied_matched_policy[none]")]).await.unwrap();
    let page: RefusalPage = control.get("/v1/refusals?request_id=4").await;
    assert_eq!((&*page.refusals[0].workload, &*page.refusals[0].node), ("default/bookinfo-reviews", ""));
    let plain = channel(control.endpoints.plain, None).await;
    assert_eq!(tell(plain, node, vec![entry("5", "/", "x")]).await, Err(Code::Unimplemented));
}

#[tokio::test]
async fn nothing_is_told_if_nothing_is_kept() {
    LocalSet::new().run_until(off()).await;
}

async fn off() {
    let dir = tempfile::tempdir().unwrap();
    let options = ControlOptions { refusals: Some(0), ..ControlOptions::new(dir.path()).on_free_ports() };
    let control = Running::with(options).await;
    let details = control.join("bookinfo-details").await;
    let node = sidecar("details-v1", "bookinfo-details", "127.64.1.1");
    let mut proxy = FakeProxy::connect(details.channel().await, node);
    proxy.until(|config| !config.listeners.is_empty()).await;
    assert!(!proxy.config.borrow().clusters.contains_key("halcyon-reports"));
    let page: RefusalPage = control.get("/v1/refusals").await;
    assert_eq!((page.most, page.refusals.len()), (0, 0));
    control.stop().await;
}
