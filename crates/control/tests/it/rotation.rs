//! The exchange of the authority from outside: proxies that acknowledge, refuse, renew and stay away.

use std::time::SystemTime;

use control::v1::{AuditEntry, AuditPage, CaFiles, CaStatus, IssuedToken};
use control::{Control, ControlOptions};
use model::secret::SecretValue;
use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::fake::{FakeProxy, Joined, Running, eventually, sidecar};
use crate::remote::Remote;

/// The roots that a proxy was sent.
fn roots(config: &model::Config) -> Vec<String> {
    let Some(secret) = config.secrets.get("ROOTCA") else { return Vec::new() };
    let SecretValue::Trust { roots, .. } = &secret.value else { return Vec::new() };
    let text = String::from_utf8_lossy(roots).into_owned();
    text.split_inclusive("-----END CERTIFICATE-----\n").map(str::to_owned).collect()
}

async fn phase(control: &Running, wanted: &str) -> CaStatus {
    eventually(|| async {
        let status: CaStatus = control.get("/v1/ca").await;
        (status.phase == wanted).then_some(status)
    })
    .await
}

async fn step(control: &Running, step: &str, force: bool) -> (u16, Value) {
    control.call("POST", "/v1/ca/rotation", &json!({"step": step, "force": force})).await
}

#[tokio::test]
async fn each_step_waits_for_those_who_are_there() {
    LocalSet::new().run_until(each_step()).await;
}

async fn each_step() {
    let dir = tempfile::tempdir().unwrap();
    let control = Running::start(dir.path()).await;
    let (a, b) = (control.join("a").await, control.join("b").await);
    let connect = async |joined: &Joined, name: &str, address: &str| {
        FakeProxy::connect_trusting(joined.channel().await, sidecar(name, &name[..1], address))
    };
    let mut proxy_a = connect(&a, "a-v1", "127.64.3.1").await;
    let mut proxy_b = connect(&b, "b-v1", "127.64.3.2").await;
    proxy_a.until(|config| roots(config).len() == 1).await;
    proxy_b.until(|config| roots(config).len() == 1).await;
    let first = roots(&proxy_a.config.borrow()).remove(0);
    let (status, answer) = step(&control, "finish", true).await;
    assert!(status == 409 && answer.to_string().contains("no root is about to leave"), "{answer}");

    // Who refuses the bundle holds the rotation up, with its words.
    proxy_b.refuse_next(model::ResourceKind::Secret);
    assert_eq!(step(&control, "start", false).await.0, 200);
    assert_eq!(step(&control, "start", false).await.0, 409);
    proxy_a.until(|config| roots(config).len() == 2).await;
    let waiting = eventually(|| async {
        let status: CaStatus = control.get("/v1/ca").await;
        let [only] = &status.waiting_for[..] else { return None };
        only.reason.contains("the test says no").then(|| (status.phase.clone(), only.node.clone()))
    })
    .await;
    assert_eq!(waiting, ("prepared".to_owned(), "sidecar~127.64.3.2~b-v1-1.default".to_owned()));
    assert_eq!(step(&control, "cancel", false).await.0, 200);
    proxy_b.until(|config| roots(config) == [first.clone()]).await;

    // Everybody takes it.
    assert_eq!(step(&control, "start", false).await.0, 200);
    proxy_b.until(|config| roots(config).len() == 2 && roots(config)[0] == first).await;
    phase(&control, "retiring").await;
    proxy_a.until(|config| roots(config).len() == 2 && roots(config)[1] == first).await;
    proxy_b.until(|config| roots(config).len() == 2 && roots(config)[1] == first).await;
    let second = roots(&proxy_a.config.borrow()).remove(0);

    // One renews, with its old certificate and old roots; the other is told on, and not locked out.
    let (chain, key) = a.certificate(None).await.unwrap();
    assert!(ca::leads_to(&chain, &second));
    a.cert.set_pem(&chain, &key).unwrap();
    let (status, answer) = step(&control, "finish", false).await;
    assert!(status == 409 && answer["error"].as_str().unwrap().contains("b-v1"), "{answer}");
    assert!(!answer["error"].as_str().unwrap().contains("a-v1"), "{answer}");
    let old = phase(&control, "retiring").await.old_leaves;
    let of_b = old.iter().find(|leaf| leaf.identity.ends_with("/sa/b")).unwrap();
    assert_eq!(of_b.nodes, ["sidecar~127.64.3.2~b-v1-1.default"]);

    // All of it survives a restart, and then nobody is taken for away at once.
    control.stop().await;
    let control = Running::start(dir.path()).await;
    let status = phase(&control, "retiring").await;
    assert_eq!(status.roots.iter().map(|root| &*root.state).collect::<Vec<_>>(), ["active", "retiring"]);
    assert!(status.old_leaves.iter().any(|leaf| leaf.identity.ends_with("/sa/b")), "{status:?}");
    let (status, answer) = step(&control, "finish", false).await;
    assert!(status == 409 && answer["error"].as_str().unwrap().contains("may not be back yet"), "{answer}");
    let (status, answer) = step(&control, "finish", true).await;
    assert_eq!((status, answer["phase"].as_str()), (200, Some("idle")));
    let bundle: Value = control.get("/v1/trust-bundle").await;
    assert_eq!(bundle["pem"], second);
    // Who stayed with the old one is not let in any more.
    let fresh = control.bootstrap("b").await;
    let mut late = Joined::new(&fresh);
    late.cert.set_pem(&b.shown().0, &b.shown().1).unwrap();
    assert!(late.certificate(None).await.is_err());
    late = Joined::new(&fresh);
    late.certificate(Some(&fresh.token)).await.unwrap();
    control.stop().await;
}

#[tokio::test]
async fn an_operators_authority() {
    let dir = tempfile::tempdir().unwrap();
    let control = Running::start(dir.path()).await;
    let made = |domain: &str| {
        let state = ca::Authority::create(domain.parse().unwrap(), SystemTime::now()).unwrap().state();
        let (ca_cert, ca_key, root_cert) = (state.ca_cert, state.ca_key, state.root_cert);
        CaFiles { ca_cert, ca_key, root_cert, cert_chain: state.cert_chain }
    };
    // From now on its keys are kept under a passphrase.
    let file = dir.path().join("passphrase");
    std::fs::write(&file, "correct horse\n").unwrap();
    control.stop().await;
    let mut options = ControlOptions::new(dir.path()).on_free_ports();
    options.ca_passphrase_file = Some(file.clone());
    let control = Running::with(options.clone()).await;
    let kept = || std::fs::read_to_string(dir.path().join("ca/ca-key.pem")).unwrap();
    assert!(kept().starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    let (theirs, other) = (made("cluster.local"), made("cluster.local"));
    let bad = CaFiles { ca_key: other.ca_key.clone(), ..theirs.clone() };
    let (status, answer) = control.call("POST", "/v1/ca/import", &serde_json::to_value(&bad).unwrap()).await;
    assert!(status == 422 && answer["error"].as_str().unwrap().contains("does not belong to ca-cert.pem"), "{answer}");
    let exported: CaFiles = control.get("/v1/ca/export?with_key=false").await;
    assert!(exported.ca_key.is_empty() && exported.root_cert.contains("BEGIN CERTIFICATE"));

    let status: CaStatus = control.post("/v1/ca/import", serde_json::to_value(&theirs).unwrap()).await;
    assert_eq!(status.roots.iter().map(|root| &*root.state).collect::<Vec<_>>(), ["active", "next"]);
    // Nobody is there to be waited for.
    assert_eq!(step(&control, "finish", true).await.0, 200);
    assert_eq!(step(&control, "finish", true).await.0, 200);
    let exported: CaFiles = control.get("/v1/ca/export?with_key=true").await;
    assert!(exported == theirs, "what was imported is exported");
    assert!(kept().starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    control.stop().await;
    std::fs::write(&file, "wrong").unwrap();
    for (file, expected) in [(Some(file), "the passphrase does not open the key"), (None, "no passphrase was given")] {
        options.ca_passphrase_file = file;
        let (_stop, watch) = base::drain::channel();
        let error = Control::start(options.clone(), watch).await.err().unwrap().to_string();
        assert!(error.contains(expected) && error.contains("--ca-passphrase-file"), "{error}");
    }
}

#[tokio::test]
async fn who_exchanged_it_and_who_took_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = ControlOptions::new(dir.path()).on_free_ports();
    options.api = Some("127.0.0.1:0".parse().unwrap());
    let control = Running::with(options).await;
    let _: Value = control.post("/v1/users/eve", json!({"role": "operator"})).await;
    let token: IssuedToken = control.post("/v1/users/eve/tokens", json!({})).await;
    let eve = Remote::new(&control, Some(&token.token), None).await;
    let roots = control.get::<CaStatus>("/v1/ca").await.roots;
    let old = &roots[0].fingerprint;

    for (path, body) in [("/v1/ca/rotation", json!({"step": "start"})), ("/v1/ca/import", json!({}))] {
        assert_eq!(eve.call("POST", path, &body).await.status, 403);
    }
    assert_eq!(eve.get("/v1/ca/export?with_key=true").await.status, 403);
    for of in ["start", "cancel", "start", "finish", "finish"] {
        assert_eq!(step(&control, of, true).await.0, 200, "{of}");
    }
    let new = &control.get::<CaStatus>("/v1/ca").await.roots[0].fingerprint.clone();
    let _: CaFiles = control.get("/v1/ca/export").await;
    let _: CaFiles = control.get("/v1/ca/export?with_key=true").await;

    let entries = control.get::<AuditPage>("/v1/audit?what=ca").await.entries;
    let of_ca = |entry: &&AuditEntry| entry.action.starts_with("ca ") || entry.what.starts_with("/v1/ca/");
    let entries: Vec<&AuditEntry> = entries.iter().filter(of_ca).collect();
    let said: Vec<_> = entries.iter().map(|entry| (&*entry.action, &*entry.what, &*entry.outcome)).collect();
    let (whole, forced) = ("certificate authority", "certificate authority, by force");
    let expected = [
        ("POST", "/v1/ca/rotation", "refused"),
        ("POST", "/v1/ca/import", "refused"),
        ("ca export", "the key of the certificate authority", "refused"),
        ("ca rotate", whole, "prepared"),
        ("ca rotate", whole, "cancelled"),
        ("ca rotate", whole, "prepared"),
        ("ca rotate", forced, "activated"),
        ("ca rotate", forced, "finished"),
        ("ca export", "the key of the certificate authority", "exported"),
    ];
    assert_eq!(said, expected);
    assert!(entries[..3].iter().all(|entry| entry.who.starts_with("user eve (token ")), "{entries:?}");
    assert!(entries[3..].iter().all(|entry| entry.who.starts_with("uid ") && entry.from == "local"), "{entries:?}");
    let has = |entry: &AuditEntry, sign: &str, root: &str, state: &str| {
        let (start, end) = (format!("{sign}root {root}, "), format!(": {state}"));
        assert!(entry.diff.iter().any(|line| line.starts_with(&start) && line.ends_with(&end)), "{:?}", entry.diff);
    };
    has(entries[5], "+", new, "next");
    has(entries[6], "-", old, "active");
    has(entries[6], "+", new, "active");
    has(entries[7], "-", old, "retiring");
    assert_eq!(entries[8].diff, [format!(" root {new}")]);
    control.stop().await;
}

/// The lists that a proxy was sent.
fn lists(config: &model::Config) -> usize {
    let Some(secret) = config.secrets.get("ROOTCA") else { return 0 };
    let SecretValue::Trust { crl, leaf_only: true, .. } = &secret.value else { return 0 };
    String::from_utf8_lossy(crl).matches("BEGIN X509 CRL").count()
}

async fn revoke(control: &Running, what: &str, restore: bool) -> (u16, Value) {
    control.call("POST", "/v1/ca/revocations", &json!({"what": what, "restore": restore})).await
}

#[tokio::test]
async fn what_is_revoked_is_refused_and_told() {
    LocalSet::new().run_until(revoked()).await;
}

async fn revoked() {
    let dir = tempfile::tempdir().unwrap();
    let control = Running::start(dir.path()).await;
    let (good, bad) = (control.join("good").await, control.join("bad").await);
    let mut proxy = FakeProxy::connect_trusting(good.channel().await, sidecar("good-v1", "good", "127.64.4.1"));
    proxy.until(|config| roots(config).len() == 1 && lists(config) == 0).await;
    let mut bad_proxy = FakeProxy::connect_trusting(bad.channel().await, sidecar("bad-v1", "bad", "127.64.4.2"));
    bad_proxy.until(|config| roots(config).len() == 1).await;
    for (what, status, words) in [
        ("spiffe://other/ns/a/sa/b", 400, "no identity of the trust domain"),
        ("spiffe://cluster.local/ns/halcyon-system/sa/control", 400, "own identity"),
        ("0123456789abcdef0123456789abcdef", 404, "no certificate in date"),
        ("nobody", 400, "no connected proxy is called `nobody`"),
    ] {
        let (found, answer) = revoke(&control, what, false).await;
        assert!(found == status && answer.to_string().contains(words), "{what}: {found} {answer}");
    }

    // The identity: its token ends, its certificate is on a list, it is let in by no way.
    let bootstrap = control.bootstrap("bad").await;
    let (status, answer) = revoke(&control, "default/bad", false).await;
    assert_eq!((status, answer["certificates"].as_array().map(Vec::len)), (200, Some(1)), "{answer}");
    proxy.until(|config| lists(config) == 1).await;
    assert!(bad.certificate(None).await.is_err(), "the door takes no revoked certificate");
    bad_proxy.ended().await;
    let fresh = Joined::new(&bootstrap);
    let error = fresh.certificate(Some(&bootstrap.token)).await.unwrap_err();
    assert!(error.message().contains("the join token is refused"), "{error}");
    let again = json!({"namespace": "default", "service_account": "bad", "instance": "bad"});
    let (status, answer) = control.call("POST", "/v1/bootstrap", &again).await;
    assert!(status == 409 && answer.to_string().contains("is revoked since"), "{status} {answer}");
    assert!(good.certificate(None).await.is_ok(), "others go on");

    // It is kept, over an exchange of the root too.
    control.stop().await;
    let control = Running::start(dir.path()).await;
    assert_eq!(step(&control, "start", false).await.0, 200);
    let status: CaStatus = control.get("/v1/ca").await;
    let of: Vec<_> = status.revoked.iter().map(|it| (it.identity.ends_with("/sa/bad"), it.serial.is_empty())).collect();
    assert_eq!(of, [(true, true), (true, false)]);
    let mut proxy = FakeProxy::connect_trusting(
        good.channel_to(control.endpoints.tls).await,
        sidecar("good-v1", "good", "127.64.4.1"),
    );
    proxy.until(|config| roots(config).len() == 2 && lists(config) == 2).await;

    // And taken back.
    let (status, answer) = revoke(&control, "default/bad", true).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(revoke(&control, "default/bad", true).await.0, 404);
    proxy.until(|config| lists(config) == 0).await;
    assert_eq!(control.call("POST", "/v1/bootstrap", &again).await.0, 200);

    // A workload: its certificate alone.
    let (status, answer) = revoke(&control, "good-v1-1.default", false).await;
    assert!(status == 200 && answer["what"].as_str().unwrap().starts_with("certificate "), "{answer}");
    let page: AuditPage = control.get("/v1/audit?limit=1000").await;
    let said =
        |action: &str| page.entries.iter().filter(|entry| entry.action == action && entry.outcome != "refused").count();
    assert_eq!((said("ca revoke"), said("ca restore")), (2, 1));
    control.stop().await;
}
