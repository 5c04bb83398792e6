//! Two sidecars: a client's and a server's, with mutual TLS and HTTP/2 between them.

use std::net::SocketAddr;
use std::sync::Arc;

use ::http::{HeaderMap, Request, Response};
use mesh_http::{Body, h1, h2};
use model::Direction::{Inbound, Outbound};
use model::cluster::{Transport, UpstreamProtocol};
use model::secret::{Secret, SecretValue};
use model::tls::{DownstreamTls, TlsVersions, UpstreamTls, Validation};
use model::{Config, DestinationService, Endpoint, HttpProxy, WorkloadRef};
use proxy::Proxy;
use testkit::TestCa;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use crate::rig::*;

struct Mesh {
    client: Proxy,
    server: Proxy,
    /// Where the client program calls.
    at: SocketAddr,
}

pub fn secrets(config: &mut Config, ca: &TestCa, name: &str) {
    let (chain, key) = ca.pem(&ca.id(name));
    let cert = SecretValue::Certificate { chain: chain.into_bytes(), private_key: key.into_bytes() };
    let by_domain = vec![("cluster.local".to_owned(), ca.bundle_pem().into_bytes())];
    let trust = SecretValue::Trust { roots: Vec::new(), by_domain, crl: Vec::new(), leaf_only: false };
    for (name, value) in [("default", cert), ("ROOTCA", trust)] {
        config.secrets.insert(name.into(), Arc::new(Secret { name: name.into(), value }));
    }
}

pub fn validation() -> Option<Validation> {
    Some(Validation::by("ROOTCA"))
}

fn service() -> Option<DestinationService> {
    Some(DestinationService {
        host: "reviews.default.svc.cluster.local".into(),
        name: "reviews".into(),
        namespace: "default".into(),
    })
}

/// The sidecar of a program `reviews`, which takes the mesh's mutual TLS at `inbound` and nothing else.
pub async fn server(ca: &TestCa, inbound: SocketAddr, to_origin: SocketAddr, protocol: UpstreamProtocol) -> Proxy {
    let tls = DownstreamTls {
        certificates: vec!["default".into()],
        validation: validation(),
        require_client_certificate: true,
        alpn: vec!["h2".into(), "http/1.1".into()],
        versions: TlsVersions::default(),
        cipher_suites: Vec::new(),
    };
    let http_server = HttpProxy {
        forward_client_cert: model::http_proxy::ForwardClientCert::AppendForward,
        upgrades: vec!["websocket".into()],
        ..http(vec![route("/", to("inbound"))])
    };
    let chain = model::FilterChain { tls: Some(tls), ..http_chain(http_server) };
    let local = model::Cluster { protocol, service: service(), ..cluster("inbound", &[to_origin]) };
    let mut server_config = config(vec![listener("inbound", inbound, Inbound, vec![chain])], vec![local]);
    secrets(&mut server_config, ca, "reviews");
    proxy("reviews", server_config).await
}

async fn mesh(to_origin: SocketAddr, protocol: UpstreamProtocol) -> Mesh {
    let ca = TestCa::default();
    let inbound = free_address();
    let server = server(&ca, inbound, to_origin, protocol).await;
    let at = free_address();
    let workload = WorkloadRef { name: "reviews-v1".into(), namespace: "default".into(), ..WorkloadRef::default() };
    let endpoint = Endpoint { mesh_tls: true, workload: Some(Arc::new(workload)), ..Endpoint::plain(inbound) };
    let upstream_tls = UpstreamTls {
        certificate: Some("default".into()),
        validation: validation(),
        sni: Some("reviews.default.svc.cluster.local".into()),
        alpn: vec!["istio".into(), "h2".into()],
        versions: TlsVersions::default(),
    };
    let outbound = model::Cluster {
        protocol: UpstreamProtocol::Http2,
        transport: Transport::MeshTls(upstream_tls),
        service: service(),
        ..cluster_of("outbound|9080||reviews", vec![endpoint])
    };
    let http_client =
        HttpProxy { upgrades: vec!["websocket".into()], ..http(vec![route("/", to("outbound|9080||reviews"))]) };
    let mut client_config =
        config(vec![listener("outbound", at, Outbound, vec![http_chain(http_client)])], vec![outbound]);
    secrets(&mut client_config, &ca, "productpage");
    let client = proxy("productpage", client_config).await;
    Mesh { client, server, at }
}

#[test]
fn labels_of_both_reporters() {
    run(async {
        let mesh = mesh(named_origin("app").await, UpstreamProtocol::Http1).await;
        let answer = fetch(mesh.at, "/reviews/1").await;
        assert!(answer.status == 200 && answer.body.starts_with("app /reviews/1\n"), "{answer:?}");
        let xfcc = "x-forwarded-client-cert: By=spiffe://cluster.local/ns/default/sa/reviews;Hash=";
        assert!(answer.body.contains(xfcc), "{}", answer.body);
        assert!(answer.body.contains("URI=spiffe://cluster.local/ns/default/sa/productpage\n"));
        let told = |headers: &str| headers.contains("x-envoy-peer-metadata");
        assert!(!told(&answer.body), "the program is not told of proxies");
        assert!(!answer.headers.keys().any(|name| told(name.as_str())), "nor is the client");
        let common = [
            ("source_workload", "productpage-v1"),
            ("source_workload_namespace", "default"),
            ("source_canonical_service", "productpage"),
            ("destination_workload", "reviews-v1"),
            ("destination_service", "reviews.default.svc.cluster.local"),
            ("destination_service_name", "reviews"),
            ("response_code", "200"),
            ("request_protocol", "http"),
            ("response_flags", "-"),
            ("destination_principal", "spiffe://cluster.local/ns/default/sa/reviews"),
        ];
        let at_source = [("reporter", "source"), ("connection_security_policy", "unknown")];
        let at_destination = [
            ("reporter", "destination"),
            ("connection_security_policy", "mutual_tls"),
            ("source_principal", "spiffe://cluster.local/ns/default/sa/productpage"),
        ];
        let with = |own: &[(&'static str, &'static str)]| [&common[..], own].concat();
        until_counted(&mesh.client, "istio_requests_total", &with(&at_source), 1.0).await;
        until_counted(&mesh.server, "istio_requests_total", &with(&at_destination), 1.0).await;
        let bytes = counted(&mesh.server, "istio_response_bytes_sum", &with(&at_destination));
        assert_eq!(bytes as usize, answer.body.len());
    });
}

/// Two of gRPC: one of three bytes, and an empty one.
const MESSAGES: &str = "\0\0\0\0\x03abc\0\0\0\0\0";

#[test]
fn grpc_trailers_pass() {
    run(async {
        let app = origin(|request: Request<Body>| async move {
            assert_eq!(request.headers()["te"], "trailers");
            let data = request.into_body().collect(1 << 20).await.unwrap().data;
            let (mut sender, body) = Body::channel(2);
            sender.send(data).await.unwrap();
            sender.finish_with(HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]));
            Response::builder().header("content-type", "application/grpc").body(body).unwrap()
        })
        .await;
        let mesh = mesh(app, UpstreamProtocol::SameAsDownstream).await;
        let stream = TcpStream::connect(mesh.at).await.unwrap();
        let (sender, driver) = h2::connect(stream, &Default::default()).await.unwrap();
        spawn_local(driver);
        let request = Request::post("http://reviews/echo.Echo/Call")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Body::from(MESSAGES))
            .unwrap();
        let answer = read(sender.send(request).await.unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, MESSAGES));
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
        let labels = [("request_protocol", "grpc"), ("grpc_response_status", "0"), ("response_code", "200")];
        until_counted(&mesh.client, "istio_requests_total", &labels, 1.0).await;
        until_counted(&mesh.server, "istio_requests_total", &labels, 1.0).await;
        for reporter in [&mesh.client, &mesh.server] {
            for name in ["istio_request_messages_total", "istio_response_messages_total"] {
                assert_eq!(counted(reporter, name, &labels), 2.0, "{name}");
            }
        }
    });
}

#[test]
fn websocket_passes() {
    run(async {
        let app = origin(|mut request: Request<Body>| async move {
            let upgraded = request.body_mut().on_upgrade().unwrap();
            spawn_local(async move {
                let mut stream = upgraded.await.unwrap();
                let mut bytes = [0; 5];
                stream.read_exact(&mut bytes).await.unwrap();
                stream.write_all(&bytes).await.unwrap();
                stream.shutdown().await.unwrap();
            });
            Response::builder()
                .status(101)
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .body(Body::empty())
                .unwrap()
        })
        .await;
        let mesh = mesh(app, UpstreamProtocol::Http1).await;
        let stream = TcpStream::connect(mesh.at).await.unwrap();
        let (sender, driver) = h1::connect(stream, &Default::default());
        spawn_local(driver);
        let mut request = get("reviews", "/chat");
        request.headers_mut().insert("connection", "Upgrade".parse().unwrap());
        request.headers_mut().insert("upgrade", "websocket".parse().unwrap());
        let mut response = sender.send(request).await.unwrap();
        assert_eq!(response.status(), 101);
        let mut stream = response.body_mut().on_upgrade().unwrap().await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        let mut echoed = String::new();
        stream.read_to_string(&mut echoed).await.unwrap();
        assert_eq!(echoed, "hello");
        stream.shutdown().await.unwrap();
        until_counted(&mesh.server, "istio_requests_total", &[("response_code", "101")], 1.0).await;
    });
}

#[test]
fn a_dead_program_is_told_as_refused() {
    run(async {
        let mesh = mesh(free_address(), UpstreamProtocol::Http1).await;
        let answer = fetch(mesh.at, "/").await;
        assert_eq!(answer.status, 503);
        assert!(answer.body.contains("remote refused stream reset"), "{answer:?}");
        until_counted(&mesh.server, "istio_requests_total", &[("response_flags", "UF")], 1.0).await;
        until_counted(&mesh.client, "istio_requests_total", &[("response_flags", "UR")], 1.0).await;
    });
}
