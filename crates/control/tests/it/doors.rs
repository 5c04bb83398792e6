//! Who is let in, and what is said to those who are not.

use control::v1::{Bootstrap, Status};
use control::{Control, ControlOptions, Endpoints};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tonic::Code;
use xds::shell::StreamEnd;

use crate::fake::{FakeProxy, Joined, Running, channel, eventually, node, sidecar};

#[tokio::test]
async fn certificates_for_the_proven_only() {
    let dir = tempfile::tempdir().unwrap();
    let control = Running::start(dir.path()).await;
    let bootstrap = control.bootstrap("reviews").await;
    let joined = Joined::new(&bootstrap);
    let check = |result: Result<(String, String), tonic::Status>, expected: &str| {
        let status = result.unwrap_err();
        assert!(status.code() == Code::Unauthenticated && status.message().contains(expected), "{status}");
    };
    check(joined.certificate(None).await, "nothing proves");
    check(joined.certificate(Some("hjt-0000000000000000-00000000000000000000000000000000")).await, "refused");
    let (chain, key) = joined.certificate(Some(&bootstrap.token)).await.unwrap();
    check(joined.certificate(Some(&bootstrap.token)).await, "refused");
    // From now on the certificate proves it.
    joined.cert.set_pem(&chain, &key).unwrap();
    joined.certificate(None).await.unwrap();

    let token: Bootstrap =
        control.post("/v1/tokens", json!({"namespace": "other", "service_account": "x", "ttl_s": 60})).await;
    assert_eq!(token.identity, "spiffe://cluster.local/ns/other/sa/x");
    let text = "apiVersion: networking.istio.io/v1beta1\nkind: ProxyConfig\nmetadata: {name: p}\nspec: {concurrency: 3, environmentVariables: {A: b}}\n";
    let _: Value = control.post("/v1/apply", json!({"documents": [{"file": "p.yaml", "text": text}]})).await;
    for (namespace, expected) in
        [("default", json!({"concurrency": 3, "environment": {"A": "b"}})), ("other", json!({}))]
    {
        let said: Value = control.post("/v1/start", json!({"namespace": namespace, "workload": "reviews-v1"})).await;
        assert_eq!(said, expected, "{namespace}");
    }
    // A token that was made before a restart is good after it.
    control.stop().await;
    let control = Running::start(dir.path()).await;
    let token = Bootstrap { xds_address: control.endpoints.tls.to_string(), ..token };
    Joined::new(&token).certificate(Some(&token.token)).await.unwrap();
    let (status, answer) =
        control.call("POST", "/v1/tokens", &json!({"namespace": "a/b", "service_account": ""})).await;
    assert_eq!(status, 400, "{answer}");

    let text = metrics(&control).await;
    for line in
        ["halcyon_certificates_issued_total{proof=\"token\"} 1", "halcyon_store_version 1", "halcyon_xds_proxies 0"]
    {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    control.stop().await;
}

pub async fn metrics(control: &Running) -> String {
    let stream = TcpStream::connect(control.endpoints.metrics).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("/metrics").header("host", "x").body(Empty::<axum::body::Bytes>::new());
    let body = sender.send_request(request.unwrap()).await.unwrap().into_body();
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn streams_are_let_in_by_identity() {
    LocalSet::new().run_until(streams()).await;
}

async fn streams() {
    let dir = tempfile::tempdir().unwrap();
    let control = Running::start(dir.path()).await;
    let refusal = |end: StreamEnd| match end {
        StreamEnd::Broken(status) => status,
        end => panic!("{end:?}"),
    };
    let reviews = control.join("reviews").await;
    let mine = sidecar("reviews-v1", "reviews", "127.64.2.1");
    // Without a certificate, as somebody else, and as nobody.
    let bootstrap = control.bootstrap("reviews").await;
    let bare = Joined::new(&bootstrap);
    let status = refusal(FakeProxy::connect(bare.channel().await, mine.clone()).ended().await);
    assert_eq!(status.code(), Code::Unauthenticated, "{status}");
    let other = sidecar("ratings-v1", "ratings", "127.64.2.1");
    let status = refusal(FakeProxy::connect(reviews.channel().await, other).ended().await);
    assert!(status.code() == Code::PermissionDenied && status.message().contains("`ratings`"), "{status}");
    let foreign = node("envoy", &json!({"NAMESPACE": "default", "SERVICE_ACCOUNT": "reviews"}));
    let status = refusal(FakeProxy::connect(reviews.channel().await, foreign).ended().await);
    assert!(status.code() == Code::InvalidArgument && status.message().contains("HALCYON"), "{status}");

    // The plain door shows, and registers nothing.
    let plain = channel(control.endpoints.plain, None).await;
    let mut reader = FakeProxy::connect(plain, mine.clone());
    reader.until(|config| !config.listeners.is_empty()).await;
    let status: Status = control.get("/v1/status").await;
    assert_eq!((status.proxies.len(), status.control.workloads), (1, 0));
    assert_eq!(status.proxies[0].identity, None);

    // Two instances of one name: it is said.
    let mut first = FakeProxy::connect(reviews.channel().await, mine.clone());
    first.until(|config| !config.listeners.is_empty()).await;
    let mut twin = sidecar("reviews-v1", "reviews", "127.64.2.2");
    twin.id = "twin".to_owned();
    let second = FakeProxy::connect(reviews.channel().await, twin);
    let notice = eventually(|| async {
        let status: Status = control.get("/v1/status").await;
        status.control.notices.first().cloned()
    })
    .await;
    assert!(notice.contains("default/reviews-v1-1"), "{notice}");
    second.leave().await;
    control.stop().await;
}

#[tokio::test]
async fn what_is_taken_is_said_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let control = Running::start(dir.path()).await;
    let written = std::fs::read_to_string(dir.path().join("endpoints.json")).unwrap();
    assert_eq!(serde_json::from_str::<Endpoints>(&written).unwrap(), control.endpoints);
    let check = async |options: ControlOptions, expected: &str| {
        let (_stop, watch) = base::drain::channel();
        let error = Control::start(options, watch).await.map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
    };
    check(ControlOptions::new(dir.path()).on_free_ports(), "another control plane").await;
    let other = tempfile::tempdir().unwrap();
    let mut options = ControlOptions::new(other.path()).on_free_ports();
    options.tls_port = Some(control.endpoints.tls.port());
    check(options, &format!("cannot listen on {}", control.endpoints.tls)).await;
    let mut options = ControlOptions::new(other.path()).on_free_ports();
    options.config_dir = Some("/nowhere/at/all".into());
    check(options, "/nowhere/at/all").await;
    control.stop().await;
    assert!(!dir.path().join("control.sock").exists() && !dir.path().join("endpoints.json").exists());
}
