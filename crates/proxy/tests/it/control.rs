//! A proxy that follows a control plane: over TLS, with a certificate that it asks for, and without it at a restart.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::Direction::Inbound;
use model::cluster::Transport;
use model::http_proxy::RouteSource;
use model::tls::{SecretFiles, TlsVersions, UpstreamTls};
use model::{Cluster, Config, EndpointSet, HttpProxy};
use proxy::bootstrap::StaticResources;
use proxy::{Options, Proxy};
use testkit::TestCa;
use transport::tls::{ServerOptions, ServerTls};
use xds::Resource;
use xds::server::Snapshot;

use crate::plane::{bootstrap, plane, until_status};
use crate::rig::*;

/// An HTTP listener whose routes and endpoints come by discovery.
fn discovered(at: SocketAddr, origin: SocketAddr, prefix: &str) -> Config {
    let rds = HttpProxy::new("test", RouteSource::Rds("r".into()));
    let eds = Cluster::new("c", model::cluster::Discovery::Eds("c".into()));
    let mut all = config(vec![listener("l", at, Inbound, vec![http_chain(rds)])], vec![eds]);
    all.routes.insert("r".into(), Arc::new(table(vec![route(prefix, to("c"))])));
    let model::cluster::Discovery::Static(set) = cluster("c", &[origin]).discovery else { unreachable!() };
    all.endpoints.insert("c".into(), Arc::new(EndpointSet { name: "c".into(), ..set }));
    all
}

#[test]
fn follows_and_refuses_by_name() {
    for mode in ["delta", "sotw"] {
        run(async {
            let (at, app) = (free_address(), named_origin("app").await);
            let plane = plane(&discovered(at, app, "/a"), None, TestCa::default());
            let bootstrap = bootstrap(plane.at, &format!(r#", "tls": false, "mode": "{mode}""#));
            let proxy = Proxy::start(bootstrap, Options::default()).unwrap();
            until_status(proxy.handle().admin.unwrap(), "/ready", 200).await;
            assert_eq!(fetch(at, "/a").await.status, 200, "{mode}");
            plane.wanted.send_replace(Arc::new(Snapshot::of(&discovered(at, app, "/b"))));
            until_status(at, "/b", 200).await;
            let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let mut bad = discovered(at, app, "/c");
            let twin = listener("bad", taken.local_addr().unwrap(), Inbound, vec![tcp_chain("c")]);
            bad.listeners.insert("bad".into(), Arc::new(twin));
            plane.wanted.send_replace(Arc::new(Snapshot::of(&bad)));
            until_status(at, "/c", 200).await;
            while !plane.refusals.lock().unwrap().iter().any(|text| text.contains("bad: listener bad: cannot listen")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
}

/// As with a file for Envoy: what the control plane wants to see is in files, which a static cluster names.
#[test]
fn shows_a_certificate_of_files() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (at, app) = (free_address(), named_origin("app").await);
        let ca = TestCa::default();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let (chain, key, roots) = (path("own.pem"), path("own.key"), path("roots.pem"));
        let (pem, own) = ca.pem(&ca.id("a"));
        for (file, text) in [(&chain, pem), (&key, own), (&roots, ca.bundle_pem())] {
            std::fs::write(file, text).unwrap();
        }
        // It refuses clients that show none.
        let server = ca.server("halcyon-system/control", &["h2"]);
        let plane = plane(&discovered(at, app, "/a"), Some(server), ca);
        let identity = "spiffe://cluster.local/ns/halcyon-system/sa/control";
        let mut bootstrap =
            bootstrap(plane.at, &format!(r#", "server_identity": "{identity}", "trust_bundle": "{roots}""#));
        let certificate = SecretFiles::Certificate { chain: &chain, key: &key }.name();
        let tls = UpstreamTls {
            certificate: Some(certificate.clone()),
            validation: None,
            sni: None,
            alpn: Vec::new(),
            versions: TlsVersions::default(),
        };
        let to_plane = Cluster { transport: Transport::Tls(tls), ..cluster("xds", &[plane.at]) };
        bootstrap.static_resources = Some(StaticResources::Given(vec![Resource::Cluster(Arc::new(to_plane))]));
        let settings = bootstrap.control_plane.as_mut().and_then(|plane| plane.tls.as_mut()).unwrap();
        settings.certificate = Some(certificate);
        let _proxy = Proxy::start(bootstrap, Options::default()).unwrap();
        until_status(at, "/a", 200).await;
    });
}

#[test]
fn asks_for_its_certificate_and_lives_on_without_the_control_plane() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (at, app) = (free_address(), named_origin("app").await);
        let ca = TestCa::default();
        std::fs::write(dir.path().join("roots.pem"), ca.bundle_pem()).unwrap();
        let mut options = ServerOptions::new(ca.workload("halcyon-system/control"));
        options.alpn = vec![b"h2".to_vec()];
        let plane = plane(&discovered(at, app, "/a"), Some(ServerTls::new(options).unwrap()), ca);
        let more = format!(
            r#", "server_identity": "{}", "trust_bundle": "{}", "token": "join""#,
            "spiffe://cluster.local/ns/halcyon-system/sa/control",
            dir.path().join("roots.pem").display()
        );
        let mut bootstrap = bootstrap(plane.at, &more);
        bootstrap.identity = Some("spiffe://cluster.local/ns/default/sa/a".parse().unwrap());
        bootstrap.state_dir = Some(dir.path().join("state"));
        let first = Proxy::start(bootstrap.clone(), Options::default()).unwrap();
        until_status(at, "/a", 200).await;
        let certs = fetch(first.handle().admin.unwrap(), "/certs").await.body;
        assert!(certs.contains("spiffe://cluster.local/ns/default/sa/a") && !certs.contains("PRIVATE"), "{certs}");
        while !dir.path().join("state/held.bin").exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for file in std::fs::read_dir(dir.path().join("state")).unwrap() {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        first.handle().stop();
        tokio::task::spawn_blocking(move || first.wait()).await.unwrap();
        drop(plane);
        let second = Proxy::start(bootstrap, Options::default()).unwrap();
        until_status(at, "/a", 200).await;
        let certs = fetch(second.handle().admin.unwrap(), "/certs").await.body;
        assert!(certs.contains("spiffe://cluster.local/ns/default/sa/a"), "{certs}");
    });
}
