//! Certificates from elsewhere than the control plane: from files, from an agent's socket, from another authority.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::Config;
use model::secret::{Secret, SecretValue};
use proxy::bootstrap::Certificates;
use proxy::{Options, Proxy};
use testkit::TestCa;
use tokio::net::UnixListener;
use tokio::sync::watch;
use transport::tls::{ServerOptions, ServerTls};
use xds::server::Snapshot;
use xds::shell::serve_secrets;

use crate::plane::{Plane, bootstrap, plane};
use crate::rig::{fetch, run};

/// A proxy of the identity `a` with its certificate from there, and where its admin endpoints are.
fn start(plane: &Plane, certificates: Certificates) -> (Proxy, SocketAddr) {
    let mut bootstrap = bootstrap(plane.at, r#", "tls": false"#);
    bootstrap.identity = Some("spiffe://cluster.local/ns/default/sa/a".parse().unwrap());
    bootstrap.certificates = certificates;
    let proxy = Proxy::start(bootstrap, Options::default()).unwrap();
    let admin = proxy.handle().admin.unwrap();
    (proxy, admin)
}

/// The hash of the certificate that is shown; empty: none is.
fn hash(certs: &str) -> String {
    let rest = certs.split_once("\"sha256\": \"").map_or("", |(_, rest)| rest);
    rest.split('"').next().unwrap_or_default().to_owned()
}

/// Waits until a certificate of `a` is shown, and is another than `before`; its hash.
async fn shown(admin: SocketAddr, before: &str) -> String {
    loop {
        let body = fetch(admin, "/certs").await.body;
        if body.contains("/sa/a") && hash(&body) != before {
            return hash(&body);
        }
        assert!(!body.contains("/sa/b") && !body.contains("PRIVATE"), "{body}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Is shown for longer than anything is looked at.
async fn stays(admin: SocketAddr, expected: &str) {
    for _ in 0..50 {
        assert_eq!(hash(&fetch(admin, "/certs").await.body), expected);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn from_files_as_they_change() {
    run(async {
        let (folder, ca) = (tempfile::tempdir().unwrap(), TestCa::default());
        let plane = plane(&Config::default(), None, TestCa::default());
        let (chain, key) = (folder.path().join("cert-chain.pem"), folder.path().join("key.pem"));
        let write = |id: &str| {
            let (pem, own) = ca.pem(&ca.id(id));
            std::fs::write(&chain, pem).unwrap();
            std::fs::write(&key, own).unwrap();
        };
        let (_proxy, admin) = start(&plane, Certificates::Files { chain: chain.clone(), key: key.clone() });
        write("a");
        let first = shown(admin, "").await;
        // Somebody else's is not taken, nor is what is none.
        write("b");
        stays(admin, &first).await;
        std::fs::write(&chain, "no certificate").unwrap();
        stays(admin, &first).await;
        write("a");
        shown(admin, &first).await;
    });
}

#[test]
fn from_an_agent_that_comes_and_goes() {
    run(async {
        let (folder, ca) = (tempfile::tempdir().unwrap(), TestCa::default());
        let plane = plane(&Config::default(), None, TestCa::default());
        let socket = folder.path().join("agent.sock");
        let (_proxy, admin) =
            start(&plane, Certificates::Secrets { socket: socket.clone(), name: "default".to_owned() });
        let given = |id: &str| {
            let (chain, private_key) = ca.pem(&ca.id(id));
            let value = SecretValue::Certificate { chain: chain.into(), private_key: private_key.into() };
            let mut config = Config::default();
            config.secrets.insert("default".into(), Arc::new(Secret { name: "default".into(), value }));
            Arc::new(Snapshot::of(&config))
        };
        let (says, snapshots) = watch::channel(given("a"));
        let serve = || tokio::spawn(serve_secrets(UnixListener::bind(&socket).unwrap(), snapshots.clone()));
        let agent = serve();
        let first = shown(admin, "").await;
        says.send_replace(given("b"));
        stays(admin, &first).await;
        says.send_replace(given("a"));
        let second = shown(admin, &first).await;
        agent.abort();
        drop(agent.await);
        stays(admin, &second).await;
        std::fs::remove_file(&socket).unwrap();
        says.send_replace(given("a"));
        let _agent = serve();
        shown(admin, &second).await;
    });
}

#[test]
fn from_another_authority() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let (own, other) = (plane(&Config::default(), None, TestCa::default()), TestCa::default());
        std::fs::write(folder.path().join("roots.pem"), other.bundle_pem()).unwrap();
        std::fs::write(folder.path().join("token"), "join\n").unwrap();
        let mut options = ServerOptions::new(other.workload("istio-system/csr"));
        options.alpn = vec![b"h2".to_vec()];
        let authority = plane(&Config::default(), Some(ServerTls::new(options).unwrap()), other);
        let at = |name: &str| folder.path().join(name).display().to_string();
        let text = format!(
            r#"{{"node": {{"id": "sidecar~a"}}, "control_plane": {{"address": "{}", "tls": false}},
                "identity": {{"spiffe_id": "spiffe://cluster.local/ns/default/sa/a"}},
                "certificates": {{"authority": {{"address": "{}", "trust_bundle": "{}", "token_file": "{}",
                    "server_identity": "spiffe://cluster.local/ns/istio-system/sa/csr"}}}},
                "admin": {{"address": "127.0.0.1:0"}}}}"#,
            own.at,
            authority.at,
            at("roots.pem"),
            at("token")
        );
        let bootstrap = proxy::bootstrap::Bootstrap::parse("test".as_ref(), &text).unwrap();
        let proxy = Proxy::start(bootstrap, Options::default()).unwrap();
        shown(proxy.handle().admin.unwrap(), "").await;
    });
}
