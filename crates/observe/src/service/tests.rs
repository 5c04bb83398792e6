//! Streams over a real connection: who may tell, what proxies hear, taps from end to end.

use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use proto::halcyon::observe::v1 as wire;
use proto::halcyon::observe::v1::observation_client::ObservationClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Channel;
use tower_service::Service;

use super::*;
use crate::options::Options;
use crate::simulated::{Simulated, T0};
use crate::taps::{TapFilter, TapItem};

fn who(_: &Extensions, node: &str) -> Result<Teller, Status> {
    let (namespace, workload) = node.split_once('/').ok_or_else(|| Status::permission_denied("who is that?"))?;
    Ok(Teller { node: node.into(), namespace: namespace.into(), workload: workload.into(), identity: String::new() })
}

async fn serve(mesh: &Simulated) -> ObservationClient<Channel> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder().add_service(mesh.observe.service(who));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    ObservationClient::new(channel).send_compressed(CompressionEncoding::Gzip)
}

struct Proxy {
    to: mpsc::Sender<ReportRequest>,
    from: Streaming<ReportResponse>,
}

async fn connect(client: &mut ObservationClient<Channel>, node: &str) -> Proxy {
    let (to, requests) = mpsc::channel(8);
    to.send(ReportRequest { node: node.into(), ..Default::default() }).await.unwrap();
    let from = client.report(ReceiverStream::new(requests)).await.unwrap().into_inner();
    Proxy { to, from }
}

impl Proxy {
    async fn hears(&mut self) -> Result<Option<ReportResponse>, Status> {
        tokio::time::timeout(Duration::from_secs(10), self.from.message()).await.expect("hears of it")
    }
}

fn exchange(tap: &str, source: &str) -> wire::TappedExchange {
    let workload =
        |name: &str| Some(wire::Workload { namespace: "default".into(), name: name.into(), ..Default::default() });
    let edge = wire::Edge {
        reporter: wire::Reporter::Source.into(),
        source: workload(source),
        destination: workload("b"),
        protocol: wire::Protocol::Grpc.into(),
        ..Default::default()
    };
    let secret = wire::Header { name: "Authorization".into(), value: "Bearer x".into() };
    wire::TappedExchange {
        taps: vec![tap.into()],
        edge: Some(edge),
        begun_micros: T0 * 1000,
        duration_micros: 1500,
        method: "POST".into(),
        code: 200,
        grpc_status_plus_one: 8,
        request_headers: vec![secret],
        ..Default::default()
    }
}

async fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come to that");
}

#[tokio::test]
async fn who_may_tell_and_how_often() {
    let mesh = Simulated::new(None);
    let mut client = serve(&mesh).await;
    let refused = connect(&mut client, "nobody").await.hears().await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (tonic::Code::PermissionDenied, "who is that?"));
    let mut first = connect(&mut client, "default/a").await;
    assert_eq!(first.hears().await.unwrap().unwrap().every_ms, 5000);
    // Somebody asks, and asks no more.
    mesh.get("/v1/stat").await;
    assert_eq!(first.hears().await.unwrap().unwrap().every_ms, 1000);
    mesh.pass(16);
    assert_eq!(first.hears().await.unwrap().unwrap().every_ms, 5000);
    // The same node again.
    let mut second = connect(&mut client, "default/a").await;
    assert_eq!(first.hears().await.unwrap_err().code(), tonic::Code::Aborted);
    assert_eq!(second.hears().await.unwrap().unwrap().every_ms, 5000);
    assert_eq!(mesh.observe.tellers().seats.len(), 1);
    let cluster = wire::ClusterState {
        name: "outbound|80||b".into(),
        service_host: "b".into(),
        retries: 2,
        endpoints: 3,
        ..Default::default()
    };
    for _ in 0..2 {
        let report = ReportRequest { window_ms: 1000, clusters: vec![cluster.clone()], ..Default::default() };
        second.to.send(report).await.unwrap();
    }
    let mut rows = Vec::new();
    until(|| {
        rows = mesh.observe.clusters("default/a", "default/a", "b").clusters;
        rows.first().is_some_and(|row| row.retries == 4)
    })
    .await;
    assert_eq!((rows[0].endpoints, &*rows[0].at), (3, "2026-01-01T00:00:16.000Z"));
    assert!(mesh.observe.clusters("", "", "c").clusters.is_empty());
    drop(second);
    until(|| mesh.observe.tellers().seats.is_empty()).await;
}

#[tokio::test]
async fn no_more_tellers_than_allowed() {
    let mesh = Simulated::at(None, T0, Options { most_tellers: 1, ..Options::default() });
    let mut client = serve(&mesh).await;
    let mut first = connect(&mut client, "default/a").await;
    first.hears().await.unwrap();
    let refused = connect(&mut client, "default/b").await.hears().await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
}

#[tokio::test]
async fn a_tap_from_end_to_end() {
    let mesh = Simulated::new(None);
    let mut client = serve(&mesh).await;
    let mut proxy = connect(&mut client, "default/a").await;
    assert!(proxy.hears().await.unwrap().unwrap().taps.is_empty());
    let filter = TapFilter {
        source: "default/a".into(),
        status: "5xx".into(),
        headers: true,
        per_second: 7,
        ..TapFilter::default()
    };
    let mut tapped = mesh.observe.tap(&filter).unwrap();
    let told = proxy.hears().await.unwrap().unwrap();
    assert_eq!((told.every_ms, &*told.taps[0].source, told.taps[0].most_per_second), (1000, "default/a", 7));
    let losses = vec![wire::TapLoss { tap: tapped.id().into(), count: 4 }];
    let report = ReportRequest {
        tapped: vec![exchange(tapped.id(), "another"), exchange("tap-99", "a"), exchange(tapped.id(), "a")],
        losses,
        ..Default::default()
    };
    proxy.to.send(report).await.unwrap();
    let mut items = Vec::new();
    while items.len() < 2 {
        items.push(tapped.next().await.unwrap());
    }
    let exchange = items.iter().find_map(|item| match item {
        TapItem::Exchange(exchange) => Some(exchange.clone()),
        TapItem::Loss { .. } => None,
    });
    let exchange = exchange.unwrap();
    assert!(items.contains(&TapItem::Loss { count: 4, why: "proxy" }));
    assert_eq!((&*exchange.source, &*exchange.destination, exchange.duration_ms), ("default/a", "default/b", 1.5));
    assert_eq!((exchange.grpc_status.as_deref(), exchange.head_ms), (Some("7"), None));
    assert_eq!(exchange.request_headers.as_ref().unwrap()[0].value, "[redacted]");
    drop(tapped);
    assert!(proxy.hears().await.unwrap().unwrap().taps.is_empty());
}

#[tokio::test]
async fn taps_are_bounded() {
    let mesh = Simulated::at(None, T0, Options { most_taps: 2, ..Options::default() });
    let mut slow = mesh.observe.tap(&TapFilter::default()).unwrap();
    let request = http::Request::get("/v1/tap?minMs=5").body(Body::empty()).unwrap();
    let response = mesh.router().call(request).await.unwrap();
    assert_eq!(mesh.observe.0.taps.wire()[1].least_micros, 5000);
    let mut events = response.into_body();
    let hello = events.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(hello, "event: hello\ndata: {\"proxies\":0}\n\n");
    assert_eq!(mesh.get("/v1/tap").await.0, 429);
    let names = crate::names::EdgeNames::of(exchange("", "a").edge.as_ref().unwrap()).unwrap();
    for _ in 0..600 {
        mesh.observe.0.taps.give(&names, &exchange(slow.id(), "a"));
    }
    assert_eq!(slow.next().await.unwrap(), TapItem::Loss { count: 600 - 512, why: "slow" });
    let Some(TapItem::Exchange(exchange)) = slow.next().await else { panic!("an exchange") };
    assert!(exchange.request_headers.is_none(), "another tap's headers are not for this one");
    drop(events);
    assert_eq!(mesh.observe.0.taps.wire().len(), 1);
}

#[tokio::test]
async fn a_drain_ends_streams_and_taps() {
    let mesh = Simulated::new(None);
    let mut client = serve(&mesh).await;
    let mut proxy = connect(&mut client, "default/a").await;
    proxy.hears().await.unwrap();
    let mut tapped = mesh.observe.tap(&TapFilter::default()).unwrap();
    let (signal, watch) = base::drain::channel();
    let running = tokio::spawn(mesh.observe.clone().run(watch));
    signal.start();
    running.await.unwrap();
    signal.finished().await;
    assert!(tapped.next().await.is_none());
    while proxy.hears().await.unwrap().is_some() {}
}
