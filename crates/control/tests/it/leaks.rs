//! No secret leaves by a door that it is not for: everything that the control plane says in one run is searched.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use control::ControlOptions;
use control::v1::{Bootstrap, CaFiles, IssuedToken};
use serde_json::{Value as Json, json};

use crate::doors::metrics;
use crate::fake::{Joined, Running};
use crate::remote::Remote;
use crate::svids::{mint, watch};

/// What was logged, of every test of this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn begin() -> Self {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).expect("only here");
        log
    }
}

/// What must be found nowhere, and everything that was said.
struct Search {
    secrets: Vec<(String, String)>,
    said: Vec<(String, String)>,
}

impl Search {
    fn secret(&mut self, name: &str, text: &str) {
        assert!(text.len() >= 8, "{name} is too short to be looked for");
        self.secrets.push((name.to_owned(), text.to_owned()));
        self.secrets.push((format!("{name} in base64"), STANDARD.encode(text)));
    }

    fn hear(&mut self, place: &str, text: impl ToString) {
        self.said.push((place.to_owned(), text.to_string()));
    }

    fn files(&mut self, dir: &Path) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            self.hear(&path.display().to_string(), String::from_utf8_lossy(&std::fs::read(&path).unwrap()));
        }
    }

    fn check(&self) {
        for (place, text) in &self.said {
            for (name, secret) in &self.secrets {
                assert!(!text.contains(secret), "{place} holds {name}: {text}");
            }
        }
    }
}

const PASSWORD: &str = "correct-horse-battery";
const TYPED: &str = "staple-of-the-horse";
const PASSPHRASE: &str = "under-the-mat-forever";
const INLINE: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49";

fn documents() -> Vec<(&'static str, String)> {
    let data = STANDARD.encode(PASSWORD);
    let good = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: s, annotations: {{kubectl.kubernetes.io/last-applied-configuration: '{data}'}}}}\n\
         data: {{password: {data}}}\nstringData: {{typed: {TYPED}}}\n"
    );
    let changed = good.replace(TYPED, &format!("{TYPED}-2"));
    let filter = format!(
        "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {{name: f}}\nspec:\n  configPatches:\n  - applyTo: CLUSTER\n    \
         patch: {{operation: MERGE, value: {{transport_socket: {{name: x, typed_config: {{'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, \
         common_tls_context: {{tls_certificates: [{{private_key: {{inline_string: {INLINE}}}}}]}}}}}}}}}}\n"
    );
    let wrong = [
        // No base64, no text, no map, no member that is known, no YAML.
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ndata: {{password: '{PASSWORD}!'}}\n"),
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ndata: {{password: [{PASSWORD}]}}\n"),
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ndata: {PASSWORD}\n"),
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\ntype: 5\nstringData: {{typed: {{a: {TYPED}}}}}\n"
        ),
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{typed: {TYPED}\n"),
    ];
    let mut all = vec![("good", good), ("changed", changed), ("filter", filter)];
    all.extend(wrong.into_iter().map(|text| ("wrong", text)));
    all
}

#[tokio::test]
async fn no_secret_is_said() {
    let log = Log::begin();
    let dir = tempfile::tempdir().unwrap();
    let mut options = ControlOptions::new(dir.path()).on_free_ports();
    options.api = Some("127.0.0.1:0".parse().unwrap());
    let passphrase = dir.path().join("passphrase");
    std::fs::write(&passphrase, PASSPHRASE).unwrap();
    // Of this run the key is read before it is encrypted.
    Running::with(options.clone()).await.stop().await;
    let key = std::fs::read_to_string(dir.path().join("ca/ca-key.pem")).unwrap();
    let token_key = std::fs::read_to_string(dir.path().join("ca/token-keys.pem")).unwrap();
    options.ca_passphrase_file = Some(passphrase);
    options.bundle_endpoint = Some(([127, 0, 0, 1], 0).into());
    let control = Running::with(options).await;
    let mut search = Search { secrets: Vec::new(), said: Vec::new() };
    search.secret("the Secret's data", PASSWORD);
    search.secret("the Secret's text", TYPED);
    search.secret("the inline key", INLINE);
    search.secret("the authority's key", key.lines().nth(1).unwrap());
    search.secret("the key of tokens", token_key.lines().nth(2).unwrap());
    search.secret("the passphrase", PASSPHRASE);
    let joined = control.join("minting").await;
    search.secret("a JWT-SVID", &mint(&joined, &["db"]).await.unwrap());
    search.hear("a refused token", mint(&joined, &[]).await.unwrap_err());
    search.hear("the bundles", format!("{:?}", watch(&joined).await.message().await.unwrap()));

    for (what, text) in documents() {
        for path in ["/v1/apply", "/v1/plan", "/v1/apply", "/v1/delete"] {
            let keep = what == "filter" && path == "/v1/delete";
            let set = json!({"documents": [{"file": "s.yaml", "text": text}], "dry_run": keep});
            search.hear(&format!("{path} of {what}"), control.call("POST", path, &set).await.1);
            let diff = control.call("GET", "/v1/resources?all_namespaces=true", &Json::Null).await.1;
            search.hear("resources", diff);
        }
    }
    let good = json!({"documents": [{"file": "s.yaml", "text": documents()[0].1}]});
    search.hear("apply", control.call("POST", "/v1/apply", &good).await.1);
    let token = tokens(&control, &mut search).await;
    authority(&control, &token, &mut search).await;
    everything(&control, &token, &mut search).await;
    control.stop().await;
    search.files(&dir.path().join("audit"));
    search.hear("the log", String::from_utf8_lossy(&log.0.lock().unwrap()));
    assert!(search.said.last().unwrap().1.contains("issued certificate"), "the log is heard");
    search.check();
}

/// Tokens are made, used, misused and sent where they do not belong. The answers that issue them are the only ones that
/// hold them.
async fn tokens(control: &Running, search: &mut Search) -> String {
    let _: Json = control.post("/v1/users/ada", json!({"role": "admin"})).await;
    let user: IssuedToken = control.post("/v1/users/ada/tokens", json!({})).await;
    let join: Bootstrap = control.post("/v1/tokens", json!({"namespace": "a", "service_account": "b"})).await;
    let boot = control.bootstrap("reviews").await;
    let document = control::v1::Document { file: "a.yaml".to_owned(), text: documents()[0].1.clone() };
    search.hear("Debug", format!("{user:?} {join:?} {boot:?} {document:?}"));
    search.secret("the user's token", user.token.rsplit('_').next().unwrap());
    for token in [&join.token, &boot.token] {
        search.secret("a join token", token.rsplit('-').next().unwrap());
    }
    let joined = Joined::new(&boot);
    joined.certificate(Some(&boot.token)).await.unwrap();
    for token in [&boot.token, &format!("{}0", join.token), &user.token] {
        search.hear("a refused certificate", joined.certificate(Some(token)).await.unwrap_err());
    }
    for token in [&join.token, &format!("{}0", user.token)] {
        let answer = Remote::new(control, Some(token), None).await.get("/v1/status").await;
        search.hear("a refused call", answer.body);
    }
    user.token
}

/// The authority is exchanged for one that is given, after others that are wrong, and its key is taken. The answer that gives
/// the key is the only one that holds it.
async fn authority(control: &Running, token: &str, search: &mut Search) {
    let remote = Remote::new(control, Some(token), None).await;
    let mut states = (0..2).map(|_| {
        let state = ca::Authority::create("cluster.local".parse().unwrap(), SystemTime::now()).unwrap().state();
        search.secret("an operator's key", state.ca_key.lines().nth(1).unwrap());
        let (ca_cert, ca_key, root_cert) = (state.ca_cert, state.ca_key, state.root_cert);
        CaFiles { ca_cert, ca_key, root_cert, cert_chain: state.cert_chain }
    });
    let (first, second) = (states.next().unwrap(), states.next().unwrap());
    let good = serde_json::to_value(&first).unwrap();
    let swapped = CaFiles { ca_cert: first.ca_key.clone(), ca_key: first.ca_cert.clone(), ..first.clone() };
    let foreign = CaFiles { ca_key: second.ca_key.clone(), ..first.clone() };
    let cut = CaFiles { ca_key: first.ca_key[..first.ca_key.len() / 2].to_owned(), ..first.clone() };
    for wrong in [swapped, foreign, cut] {
        let answer = remote.call("POST", "/v1/ca/import", &serde_json::to_value(&wrong).unwrap()).await;
        assert_eq!(answer.status, 422, "{}", answer.body);
        search.hear("a refused import", answer.body);
    }
    for wrong in [json!(first.ca_key), json!([first.ca_key]), json!({"ca_key": [first.ca_key]})] {
        search.hear("an import that is none", remote.call("POST", "/v1/ca/import", &wrong).await.body);
    }
    let answer = remote.call("POST", "/v1/ca/import", &good).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    search.hear("an import", answer.body);
    for step in ["finish", "finish", "start"] {
        let answer = remote.call("POST", "/v1/ca/rotation", &json!({"step": step, "force": true})).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        search.hear("a rotation", answer.body);
    }
    let exported = remote.get("/v1/ca/export?with_key=true").await.body;
    assert_eq!(exported["ca_key"], first.ca_key);
}

/// Every call that gives something, and calls that go wrong.
async fn everything(control: &Running, token: &str, search: &mut Search) {
    let remote = Remote::new(control, Some(token), None).await;
    for path in [
        "status",
        "problems",
        "analysis",
        "version",
        "whoami",
        "users",
        "user-tokens",
        "tokens",
        "audit",
        "audit/verdict",
        "trust-bundle",
        "ca",
        "ca/export",
        "ca/export?with_key=false",
        "access/graph",
        "resources?kind=secrets",
        "resources?all_namespaces=true",
        "proxies/x/config",
        "nothing",
    ] {
        search.hear(path, remote.get(&format!("/v1/{path}")).await.body);
    }
    for path in [
        "access",
        "ca/rotation",
        "ca/import",
        "apply",
        "plan",
        "explain",
        "start",
        "users/x",
        "users/ada/tokens",
        "tokens",
    ] {
        let body = json!({"documents": 5, "ttl_s": "x", "role": 7});
        search.hear(path, remote.call("POST", &format!("/v1/{path}"), &body).await.body);
    }
    search.hear("metrics", metrics(control).await);
    let endpoints = std::fs::read_to_string(control.endpoints.socket.with_file_name("endpoints.json")).unwrap();
    search.hear("endpoints.json", endpoints);
}
