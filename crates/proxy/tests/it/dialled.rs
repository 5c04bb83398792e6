//! What the address that a client dialled decides.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::Direction::Outbound;
use model::cluster::{Balancing, Discovery, Transport, UpstreamProtocol};
use model::endpoint::Health;
use model::listener::{ExpectHeader, Inspect};
use model::tls::{TlsVersions, UpstreamTls, Validation};
use model::{Cluster, Config, Endpoint, EndpointSet, LocalityEndpoints, ResourceKind, StringMatch};
use proxy::bootstrap::Bootstrap;
use proxy::{Options, Proxy};
use testkit::TestCa;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use xds::server::Snapshot;

use crate::mesh::{secrets, server, validation};
use crate::plane::{Plane, bootstrap, plane, until_status};
use crate::rig::*;

/// What comes of a request to a listener by which the client says that it dialled `to`.
pub async fn dial(at: SocketAddr, to: SocketAddr) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let (ip, port) = (to.ip(), to.port());
    let request = "GET /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(format!("PROXY TCP4 127.0.0.1 {ip} 4711 {port}\r\n{request}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    _ = stream.read_to_string(&mut answer).await;
    answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned()
}

/// A listener that is told where its clients wanted to go.
pub fn told(name: &str, at: SocketAddr, chain: model::FilterChain) -> model::Listener {
    let inspect = Inspect { proxy_header: ExpectHeader::Required, ..Inspect::default() };
    model::Listener { inspect, ..listener(name, at, Outbound, vec![chain]) }
}

#[test]
fn a_workload_of_several() {
    run(async {
        let (first, second) = (named_origin("first").await, named_origin("second").await);
        let waiting = Endpoint { health: Health::Unhealthy, ..Endpoint::plain(second) };
        let endpoints = vec![Endpoint::plain(first), waiting];
        let set = EndpointSet::new("web", vec![LocalityEndpoints { endpoints, ..LocalityEndpoints::default() }]);
        let web = Cluster { prefers_dialled: true, panic_percent: 0, ..Cluster::new("web", Discovery::Static(set)) };
        let (raw, routed) = (free_address(), free_address());
        let listeners = vec![
            told("raw", raw, tcp_chain("web")),
            told("routed", routed, http_chain(http(vec![route("/", to("web"))]))),
        ];
        let _proxy = proxy("a", config(listeners, vec![web])).await;
        for at in [raw, routed] {
            for _ in 0..3 {
                for (dialled, expected) in [(first, "first"), (second, "second"), (free_other(), "first")] {
                    let answer = dial(at, dialled).await;
                    assert!(answer.contains(&format!("{expected} /x")), "{dialled}: {answer}");
                }
            }
        }
    });
}

/// An address at which nobody is, on another IP address than the origins.
fn free_other() -> SocketAddr {
    "192.0.2.1:80".parse().unwrap()
}

/// A sidecar that asks for the workloads which its program dials; raw connections and HTTP go anywhere.
struct Dialling {
    plane: Plane,
    proxy: Proxy,
    raw: SocketAddr,
    routed: SocketAddr,
}

/// What it may have: where to ask, and workloads with the identities that they have to prove.
fn dialling_config(ca: &TestCa, at: [SocketAddr; 2], workloads: &[(SocketAddr, &str)]) -> Config {
    let unknown = Cluster {
        balancing: Balancing::Provided,
        workloads: ["127.0.0.0/8".parse().unwrap()].into(),
        ..Cluster::new("PassthroughCluster", Discovery::OriginalDestination)
    };
    let clusters = workloads.iter().map(|(at, identity)| {
        let names = vec![StringMatch::exact(format!("spiffe://cluster.local/ns/default/sa/{identity}"))];
        let tls = UpstreamTls {
            certificate: Some("default".into()),
            validation: validation().map(|validation| Validation { names, ..validation }),
            sni: None,
            alpn: vec!["istio".into(), "http/1.1".into()],
            versions: TlsVersions::default(),
        };
        let endpoint = Endpoint { mesh_tls: true, ..Endpoint::plain(*at) };
        let name = model::cluster::of_workload(*at);
        Cluster { transport: Transport::MeshTls(tls), ..cluster_of(&name, vec![endpoint]) }
    });
    let [raw, routed] = at;
    let listeners = vec![
        told("raw", raw, tcp_chain("PassthroughCluster")),
        told("routed", routed, http_chain(http(vec![route("/", to("PassthroughCluster"))]))),
    ];
    let mut all = config(listeners, std::iter::once(unknown).chain(clusters).collect());
    secrets(&mut all, ca, "productpage");
    all
}

async fn dialling(ca: &TestCa, workloads: &[(SocketAddr, &str)]) -> Dialling {
    let (raw, routed) = (free_address(), free_address());
    let plane = plane(&dialling_config(ca, [raw, routed], workloads), None, TestCa::default());
    let mut bootstrap = bootstrap(plane.at, r#", "tls": false"#);
    let text = r#"{"node": {"id": "a"}, "on_demand": {"wait_seconds": 0.5}}"#;
    bootstrap.on_demand = Bootstrap::parse("test".as_ref(), text).unwrap().on_demand;
    let proxy = Proxy::start(bootstrap, Options::default()).unwrap();
    until_status(proxy.handle().admin.unwrap(), "/ready", 200).await;
    Dialling { plane, proxy, raw, routed }
}

fn asked(mesh: &Dialling) -> String {
    mesh.plane.asked.lock().unwrap().of(ResourceKind::Cluster)
}

#[test]
fn a_workload_by_its_address() {
    run(async {
        let ca = TestCa::default();
        let (strict, outside) = (free_address(), named_origin("outside").await);
        let _server = server(&ca, strict, named_origin("app").await, UpstreamProtocol::Http1).await;
        let mesh = dialling(&ca, &[(strict, "reviews")]).await;
        assert_eq!(asked(&mesh), "PassthroughCluster", "nothing is sent unasked");
        for at in [mesh.raw, mesh.routed] {
            let answer = dial(at, strict).await;
            assert!(answer.starts_with("app /x"), "{answer}");
            assert!(answer.contains("URI=spiffe://cluster.local/ns/default/sa/productpage\n"), "{answer}");
            // Who is no workload is reached as any other destination.
            let answer = dial(at, outside).await;
            assert!(answer.starts_with("outside /x"), "{answer}");
        }
        let expected = format!("PassthroughCluster workload|{outside} workload|{strict}");
        let mut names: Vec<_> = expected.split(' ').collect();
        names.sort_unstable();
        assert_eq!(asked(&mesh), names.join(" "));
        let labels = [("destination_principal", "spiffe://cluster.local/ns/default/sa/reviews")];
        until_counted(&mesh.proxy, "istio_requests_total", &labels, 1.0).await;
    });
}

#[test]
fn a_workload_has_to_prove_who_it_is() {
    run(async {
        let ca = TestCa::default();
        let strict = free_address();
        let _server = server(&ca, strict, named_origin("app").await, UpstreamProtocol::Http1).await;
        let mesh = dialling(&ca, &[(strict, "ratings")]).await;
        assert_eq!(dial(mesh.raw, strict).await, "");
        let answer = dial(mesh.routed, strict).await;
        assert!(answer.contains("reset reason: remote connection failure") && !answer.contains("app"), "{answer}");
    });
}

#[test]
fn who_cannot_be_asked_for_is_not_sent_plain_text() {
    run(async {
        let ca = TestCa::default();
        let (first, second) = (named_origin("first").await, named_origin("second").await);
        let mesh = dialling(&ca, &[]).await;
        assert!(dial(mesh.raw, first).await.starts_with("first"));
        let Dialling { plane, raw, routed, proxy: _proxy } = mesh;
        drop(plane);
        assert_eq!(dial(raw, second).await, "");
        let answer = dial(routed, second).await;
        assert!(answer.starts_with(&format!("who is at {second} is not known here yet")), "{answer}");
        // What was said stays.
        assert!(dial(raw, first).await.starts_with("first"));
    });
}

#[test]
fn a_workload_comes_and_goes() {
    run(async {
        let ca = TestCa::default();
        let strict = free_address();
        let _server = server(&ca, strict, named_origin("app").await, UpstreamProtocol::Http1).await;
        let mesh = dialling(&ca, &[]).await;
        let at = [mesh.raw, mesh.routed];
        assert!(!dial(mesh.raw, strict).await.contains("app"), "plain text is refused");
        for (workloads, reached) in [(&[(strict, "reviews")][..], true), (&[], false), (&[(strict, "reviews")], true)] {
            let config = dialling_config(&ca, at, workloads);
            mesh.plane.wanted.send_replace(Arc::new(Snapshot::of(&config)));
            while dial(mesh.raw, strict).await.starts_with("app") != reached {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    });
}
