//! TLS to endpoints: what ALPN agrees on, who takes it, and what a failure says.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mesh_http::ServerOptions;
use model::cluster::{Transport, UpstreamProtocol};
use model::tls::{UpstreamTls, Validation};
use model::{EndpointSet, LocalityEndpoints, StringMatch};
use rcgen::{CertificateParams, KeyPair};
use tokio::net::TcpListener;
use transport::tls::{LiveCert, LiveTrust, Roots, ServerTls, TrustBundles};
use upstream::{Cluster, ClusterPools, FailureKind, Pick, Worker};

use crate::origin::{OneSecret, Origin, at, config, fetch, get, run, send, worker};

/// A certificate for `origin` that is its own root.
fn secrets() -> OneSecret {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["origin".to_owned()]).unwrap().self_signed(&key).unwrap().pem();
    let cert = LiveCert::from_pem(&certificate, &key.serialize_pem()).unwrap();
    OneSecret(Some((cert, LiveTrust::new(TrustBundles::plain(Roots::from_pem(&certificate).unwrap())))))
}

fn server(secrets: &OneSecret, alpn: &[&str]) -> ServerTls {
    let (cert, _) = secrets.0.clone().unwrap();
    let alpn = alpn.iter().map(|a| a.as_bytes().to_vec()).collect();
    ServerTls::new(transport::tls::ServerOptions { alpn, ..transport::tls::ServerOptions::new(cert) }).unwrap()
}

fn settings(name: &str) -> UpstreamTls {
    UpstreamTls {
        certificate: None,
        validation: Some(Validation { names: vec![StringMatch::exact(name)], ..Validation::by("roots") }),
        sni: Some("origin".into()),
        alpn: Vec::new(),
        versions: Default::default(),
    }
}

fn pools(
    addr: SocketAddr,
    secrets: &OneSecret,
    change: impl FnOnce(&mut model::Cluster),
) -> (Rc<Worker>, Rc<ClusterPools>, std::sync::Arc<Cluster>) {
    let config = config(&[addr], |c| {
        c.protocol = UpstreamProtocol::Auto;
        c.transport = Transport::Tls(settings("origin"));
        change(c);
    });
    let (worker, cluster) = (worker(), Cluster::build(config.into(), None, secrets).unwrap());
    (worker.clone(), worker.cluster(&cluster), cluster)
}

#[test]
fn alpn_decides_and_is_remembered() {
    run(async {
        let secrets = secrets();
        for (offered, http2) in [(&["h2", "http/1.1"][..], true), (&["http/1.1"], false), (&[], false)] {
            let (origin, addr) = Origin::start(ServerOptions::default(), Some(server(&secrets, offered))).await;
            let (_worker, pools, _cluster) = pools(addr, &secrets, |_| {});
            for n in 0..3 {
                let sent = send(&pools, get("/")).await.unwrap();
                let connection = sent.exchange.connection().unwrap();
                assert_eq!((connection.http2, sent.exchange.is_reused()), (http2, n > 0), "{offered:?}");
                assert!(connection.tls.as_ref().unwrap().verified);
                sent.response.into_body().collect(100).await.unwrap();
            }
            assert_eq!(origin.connections.get(), 1);
            // An upgrade needs HTTP/1.1, whatever was remembered.
            let sent = pools.send(&mut get("/"), &Pick { upgrade: true, ..Pick::new(0) }).await.unwrap();
            assert!(!sent.exchange.connection().unwrap().http2);
        }
    });
}

#[test]
fn mesh_tls_only_to_those_who_take_it() {
    run(async {
        let secrets = secrets();
        let (_, with) = Origin::start(ServerOptions::default(), Some(server(&secrets, &["h2"]))).await;
        let (_, without) = Origin::plain().await;
        let (worker, pools, cluster) = pools(with, &secrets, |c| c.transport = Transport::MeshTls(settings("origin")));
        let set = |mesh: SocketAddr, plain: SocketAddr| {
            let mut endpoints = vec![model::Endpoint::plain(mesh), model::Endpoint::plain(plain)];
            endpoints[0].mesh_tls = true;
            EndpointSet::new("e", vec![LocalityEndpoints { endpoints, ..Default::default() }])
        };
        cluster.set_endpoints(&Arc::new(set(with, without)));
        for _ in 0..4 {
            let sent = send(&pools, get("/")).await.unwrap();
            let is_tls = sent.exchange.connection().unwrap().tls.is_some();
            assert_eq!(is_tls, sent.exchange.endpoint().address().socket_addr() == Some(with));
        }
        // The same address, now without: the connections of before are not used any more.
        cluster.set_endpoints(&Arc::new(at(&[with])));
        let kind = send(&pools, get("/")).await.unwrap_err().kind;
        assert!(matches!(kind, FailureKind::Closed | FailureKind::Protocol), "{kind:?}");
        worker.maintain();
    });
}

#[test]
fn failures_say_why() {
    run(async {
        let secrets = secrets();
        let (_, addr) = Origin::start(ServerOptions::default(), Some(server(&secrets, &[]))).await;
        let (_worker, wrong, _cluster) = pools(addr, &secrets, |c| c.transport = Transport::Tls(settings("other")));
        let failure = send(&wrong, get("/")).await.unwrap_err();
        assert_eq!((failure.kind, failure.kind.flag()), (FailureKind::ConnectFailed, Some("UF")));
        assert!(failure.reason.starts_with("TLS"), "{}", failure.reason);
        let (_worker, right, _cluster) = pools(addr, &secrets, |_| {});
        assert_eq!(fetch(&right, "/").await.0, addr.port().to_string());
    });
}

#[test]
fn the_connect_timeout_covers_tls() {
    run(async {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = silent.local_addr().unwrap();
        let (_worker, pools, cluster) = pools(addr, &secrets(), |c| c.connect_timeout = Duration::from_millis(20));
        let failure = send(&pools, get("/")).await.unwrap_err();
        assert_eq!((failure.kind, failure.kind.flag()), (FailureKind::ConnectTimeout, Some("UF")));
        assert!(failure.whole);
        assert_eq!(cluster.endpoints().endpoints()[0].counts().connect_failures, 1);
    });
}
