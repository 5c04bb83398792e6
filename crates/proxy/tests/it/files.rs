//! Certificates in files.

use model::Direction::Outbound;
use model::listener::Inspect;
use model::tls::{DownstreamTls, SecretFiles, TlsVersions};
use model::{FilterChain, Listener};
use testkit::TestCa;
use tokio::net::TcpStream;
use transport::Stream;
use transport::tls::{ClientOptions, ClientTls, PeerCheck, ServerCheck};

use crate::rig::*;

#[test]
fn a_port_shows_the_certificate_in_its_files_and_takes_a_new_one() {
    run(async {
        let (folder, ca) = (tempfile::tempdir().unwrap(), TestCa::default());
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (chain, key) = (path("tls.crt"), path("tls.key"));
        let write = || {
            let (pem, own) = ca.pem(&ca.id("a"));
            std::fs::write(&chain, pem).unwrap();
            std::fs::write(&key, own).unwrap();
        };
        write();
        let tls = DownstreamTls {
            certificates: vec![SecretFiles::Certificate { chain: &chain, key: &key }.name()],
            validation: None,
            require_client_certificate: false,
            alpn: vec!["http/1.1".into()],
            versions: TlsVersions::default(),
            cipher_suites: Vec::new(),
        };
        let at = free_address();
        let secure = FilterChain { tls: Some(tls), ..http_chain(http(vec![route("/", to("ok"))])) };
        let inspect = Inspect { tls: true, ..Inspect::default() };
        let listeners = vec![Listener { inspect, ..listener("l", at, Outbound, vec![secure]) }];
        let runs = config(listeners, vec![cluster("ok", &[named_origin("ok").await])]);
        let proxy = proxy("a", runs.clone()).await;
        let client = ClientTls::new(ClientOptions::new(ServerCheck::Peer(PeerCheck::Unchecked))).unwrap();
        let connect = || async {
            let stream = Stream::from(TcpStream::connect(at).await.unwrap());
            let (stream, peer) = client.connect(stream, None, PATIENCE).await.unwrap();
            (stream, peer.certificate.unwrap().serial)
        };
        let (old, first) = connect().await;
        write();
        // Files are looked at every few seconds, and with every change of the configuration.
        assert_eq!(proxy.handle().replace(runs).await, []);
        let (_, second) = connect().await;
        assert_ne!(first, second);
        let (sender, driver) = mesh_http::h1::connect(old, &Default::default());
        tokio::task::spawn_local(driver);
        let answer = read(sender.send(get("test", "/")).await.unwrap()).await;
        assert!(answer.body.starts_with("ok /"), "the connection from before lives on: {answer:?}");
    });
}
