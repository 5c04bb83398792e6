//! Roles, users and tokens at the API's doors, and what the audit log says of it.

use control::ControlOptions;
use control::v1::{AuditEntry, AuditPage, AuditVerdict, Bootstrap, IssuedToken, JoinTokenList, UserList};
use serde_json::{Value as Json, json};
use tonic::Code;
use transport::tls::{LiveCert, TlsVersion, Versions};

use crate::doors::metrics;
use crate::fake::{Joined, Running};
use crate::remote::{Remote, greet, greet_as};

async fn start(dir: &std::path::Path) -> Running {
    let mut options = ControlOptions::new(dir).on_free_ports();
    options.api = Some("127.0.0.1:0".parse().unwrap());
    Running::with(options).await
}

async fn user(control: &Running, name: &str, says: Json) -> String {
    let _: Json = control.post(&format!("/v1/users/{name}"), says).await;
    let token: IssuedToken = control.post(&format!("/v1/users/{name}/tokens"), json!({})).await;
    token.token
}

fn service(namespace: &str) -> Json {
    let text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: a, namespace: {namespace}}}\nspec: {{ports: [{{port: 80}}]}}\n"
    );
    json!({"documents": [{"file": "a.yaml", "text": text}]})
}

fn secret(namespace: &str) -> Json {
    let text =
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: {namespace}}}\ndata: {{a: aHVzaA==}}\n");
    json!({"documents": [{"file": "s.yaml", "text": text}]})
}

fn dry(mut set: Json) -> Json {
    set["dry_run"] = true.into();
    set
}

async fn audit(control: &Running, query: &str) -> Vec<AuditEntry> {
    control.get::<AuditPage>(&format!("/v1/audit?{query}")).await.entries
}

#[tokio::test]
async fn each_role_may_what_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let control = start(dir.path()).await;
    let viewer = user(&control, "vera", json!({"role": "viewer"})).await;
    let operator = user(&control, "otto", json!({"role": "operator", "namespaces": ["shop"]})).await;
    let everywhere = user(&control, "eve", json!({"role": "operator"})).await;
    let admin = user(&control, "ada", json!({"role": "admin"})).await;
    let (none, asked) = (Json::Null, json!({"question": {"destination": {"port": 80}}, "namespace": "shop"}));
    // The status for each of: nobody, viewer, operator of one namespace, operator of all, admin.
    let table = [
        ("GET", "/v1/status", none.clone(), [401, 200, 200, 200, 200]),
        ("GET", "/v1/resources?kind=svc", none.clone(), [401, 200, 200, 200, 200]),
        ("GET", "/v1/audit", none.clone(), [401, 200, 200, 200, 200]),
        ("POST", "/v1/apply", dry(service("shop")), [401, 200, 200, 200, 200]),
        ("POST", "/v1/apply", service("shop"), [401, 403, 200, 200, 200]),
        ("POST", "/v1/apply", service("other"), [401, 403, 403, 200, 200]),
        ("POST", "/v1/apply", secret("shop"), [401, 403, 200, 200, 200]),
        // Whether a Secret is as one guesses is not for everybody.
        ("POST", "/v1/apply", dry(secret("shop")), [401, 403, 200, 200, 200]),
        ("POST", "/v1/plan", secret("other"), [401, 403, 403, 200, 200]),
        ("POST", "/v1/delete", service("other"), [401, 403, 403, 200, 200]),
        ("DELETE", "/v1/resources?kind=svc&namespace=other&name=a", none.clone(), [401, 403, 403, 200, 200]),
        ("POST", "/v1/tokens", json!({"namespace": "a", "service_account": "b"}), [401, 403, 403, 403, 200]),
        ("POST", "/v1/bootstrap", json!({"namespace": "a", "service_account": "b"}), [401, 403, 403, 403, 200]),
        ("GET", "/v1/users", none.clone(), [401, 403, 403, 403, 200]),
        ("POST", "/v1/users/ada/tokens", json!({}), [401, 403, 403, 403, 200]),
        ("PUT", "/v1/users/vera", json!({"role": "viewer"}), [401, 403, 403, 403, 200]),
        ("GET", "/v1/access/graph", none.clone(), [401, 200, 200, 200, 200]),
        ("POST", "/v1/access", asked, [401, 200, 200, 200, 200]),
        ("GET", "/v1/ca", none.clone(), [401, 200, 200, 200, 200]),
        ("GET", "/v1/ca/export", none.clone(), [401, 200, 200, 200, 200]),
        ("GET", "/v1/ca/export?with_key=true", none.clone(), [401, 403, 403, 403, 200]),
        // There is none to be taken back.
        ("POST", "/v1/ca/rotation", json!({"step": "cancel"}), [401, 403, 403, 403, 409]),
        ("POST", "/v1/ca/import", json!({"ca_cert": "", "ca_key": "", "root_cert": ""}), [401, 403, 403, 403, 422]),
        ("GET", "/v1/nothing", none.clone(), [401, 404, 404, 404, 404]),
    ];
    let callers = [None, Some(&viewer), Some(&operator), Some(&everywhere), Some(&admin)];
    for (n, token) in callers.into_iter().enumerate() {
        let remote = Remote::new(&control, token.map(String::as_str), None).await;
        for (method, path, body, expected) in table.iter().take(if n == 0 { 9 } else { usize::MAX }) {
            let answer = remote.call(method, path, body).await;
            assert_eq!(answer.status, expected[n], "caller {n}: {method} {path}: {}", answer.body);
        }
    }
    let answer = Remote::new(&control, Some(&operator), None).await.call("POST", "/v1/apply", &service("other")).await;
    let told = answer.body["error"].as_str().unwrap();
    let expected = "is `operator` in the namespaces `shop`, and may not do this: it needs the role `operator` in the namespace `other`";
    assert!(told.contains(expected), "{told}");
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("strict-transport-security", "max-age=31536000"),
    ] {
        assert_eq!(answer.headers[name], value, "{name}");
    }
    // All of it is written down, and nothing of the Secret.
    let refused = audit(&control, "who=otto&what=Service/other").await;
    assert!(refused.iter().any(|entry| entry.outcome == "refused" && entry.reason.contains("`other`")), "{refused:?}");
    let of_vera = audit(&control, "who=vera&what=a.yaml").await;
    let reason = "it needs the role `operator`, and the caller is `viewer`";
    assert!(of_vera.iter().any(|entry| (&*entry.action, &*entry.reason) == ("apply", reason)), "{of_vera:?}");
    let made = audit(&control, "what=Secret/shop").await.into_iter().find(|entry| entry.outcome == "created").unwrap();
    assert!(made.who.starts_with("user otto (token ") && made.from.starts_with("127.0.0.1:"), "{made:?}");
    assert!(made.diff.iter().any(|line| line.contains("redacted")), "{made:?}");
    let file = std::fs::read_to_string(dir.path().join("audit/audit-00000000000000000001.jsonl")).unwrap();
    assert!(!file.contains("aHVzaA") && !file.contains("hlc_"), "{file}");
    assert!(metrics(&control).await.contains("halcyon_api_refused_total{reason=\"right\"}"));
    control.stop().await;
}

#[tokio::test]
async fn tokens_end_and_guesses_are_limited() {
    let dir = tempfile::tempdir().unwrap();
    let control = start(dir.path()).await;
    let token = user(&control, "vera", json!({"role": "viewer"})).await;
    control.stop().await;
    // Users outlive the process.
    let control = start(dir.path()).await;
    let remote = Remote::new(&control, Some(&token), None).await;
    let me = remote.get("/v1/whoami").await;
    assert!(me.body["who"].as_str().unwrap().starts_with("user vera") && me.body["role"] == "viewer", "{}", me.body);
    let list: UserList = control.get("/v1/users").await;
    assert!(list.users[0].tokens == 1 && list.users[0].last_used.is_some(), "{list:?}");
    let (status, _) = control.call("DELETE", "/v1/users/vera", &Json::Null).await;
    assert_eq!(status, 200);
    assert_eq!(remote.get("/v1/whoami").await.status, 401);
    for bad in ["hlc_x", "", "Bearer", &token.replace("hlc_", "hlc-")] {
        let answer = Remote::new(&control, Some(bad), None).await.get("/v1/status").await;
        assert!(answer.status == 401 && answer.headers["www-authenticate"] == "Bearer", "{bad}: {}", answer.body);
    }
    for _ in 0..5 {
        assert_eq!(remote.get("/v1/whoami").await.status, 401);
    }
    let answer = remote.get("/v1/whoami").await;
    assert_eq!(answer.status, 429, "{}", answer.body);
    assert!(answer.headers.contains_key("retry-after"));
    for _ in 0..30 {
        assert_eq!(remote.get("/v1/whoami").await.status, 429);
    }
    // The local way stays open, and the log did not grow with the guesses.
    let refused = audit(&control, "what=whoami").await;
    assert!(refused.len() <= 10, "{}", refused.len());
    let text = metrics(&control).await;
    for reason in ["token_malformed", "token_unknown", "limited"] {
        assert!(text.contains(&format!("halcyon_api_refused_total{{reason=\"{reason}\"}}")), "{reason} in\n{text}");
    }
    control.stop().await;
}

#[tokio::test]
async fn certificates_are_users_too() {
    let dir = tempfile::tempdir().unwrap();
    let control = start(dir.path()).await;
    let identity = "spiffe://cluster.local/ns/default/sa/deployer";
    let _: Json = control.post("/v1/users/ci", json!({"role": "operator", "identity": identity})).await;
    let deployer = control.join("deployer").await;
    let other = control.join("other").await;
    let remote = Remote::new(&control, None, Some(deployer.cert.clone())).await;
    let me = remote.get("/v1/whoami").await;
    assert_eq!((me.status, &me.body["who"]), (200, &json!(format!("user ci ({identity})"))));
    assert_eq!(remote.call("POST", "/v1/apply", &service("shop")).await.status, 200);
    let answer = Remote::new(&control, None, Some(other.cert.clone())).await.get("/v1/whoami").await;
    assert_eq!(answer.status, 401);
    assert!(answer.body["error"].as_str().unwrap().contains("sa/other"), "{}", answer.body);
    control.stop().await;
}

/// A certificate for `identity` of an authority that is not the mesh's: chain and key.
fn foreign(authority: &ca::Authority, identity: &str) -> (String, String) {
    let (key, identity) = (ca::Key::generate().unwrap(), identity.parse().unwrap());
    let csr = key.csr(&identity).unwrap();
    let hour = std::time::Duration::from_secs(3600);
    let issued = authority.issue(csr.as_bytes(), &identity, hour, std::time::SystemTime::now()).unwrap();
    (issued.chain.concat(), key.secret_pem())
}

#[tokio::test]
async fn operators_may_have_an_authority_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let ops = ca::Authority::create("ops.example".parse().unwrap(), std::time::SystemTime::now()).unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (chain, key) = foreign(&ops, "spiffe://ops.example/ns/api/sa/door");
    let mut options = ControlOptions::new(dir.path().join("data")).on_free_ports();
    options.api = Some("127.0.0.1:0".parse().unwrap());
    options.api_client_roots = vec![("ops.example".parse().unwrap(), file("roots.pem", &ops.bundle().concat()))];
    let control = Running::with(options.clone()).await;
    let alice = "spiffe://ops.example/ns/people/sa/alice";
    let _: Json = control.post("/v1/users/alice", json!({"role": "viewer", "identity": alice})).await;
    let cert = |(chain, key): (String, String)| LiveCert::from_pem(&chain, &key).unwrap();
    let remote = Remote::new(&control, None, Some(cert(foreign(&ops, alice)))).await;
    let me = remote.get("/v1/whoami").await;
    assert_eq!((me.status, &me.body["role"]), (200, &json!("viewer")), "{}", me.body);
    // One of the same name that others vouch for gets no connection.
    let fake = ca::Authority::create("ops.example".parse().unwrap(), std::time::SystemTime::now()).unwrap();
    let remote = Remote::new(&control, None, Some(cert(foreign(&fake, alice)))).await;
    assert!(remote.is_refused().await);
    // The mesh's own root may be exchanged meanwhile: who comes with a certificate of the new one is let in.
    for step in ["start", "finish", "finish"] {
        let _: Json = control.post("/v1/ca/rotation", json!({"step": step, "force": true})).await;
    }
    let reviews = "spiffe://cluster.local/ns/default/sa/reviews";
    let _: Json = control.post("/v1/users/reviews", json!({"role": "viewer", "identity": reviews})).await;
    let joined = control.join("reviews").await;
    for (cert, expected) in [(cert(foreign(&ops, alice)), "user alice"), (joined.cert.clone(), "user reviews")] {
        let me = Remote::new(&control, None, Some(cert)).await.get("/v1/whoami").await;
        assert!(me.status == 200 && me.body["who"].as_str().unwrap().starts_with(expected), "{}", me.body);
    }
    control.stop().await;

    // Its own certificate may be another, too.
    options.api_cert = Some((file("cert.pem", &chain), file("key.pem", &key)));
    let control = Running::with(options.clone()).await;
    let roots = ops.bundle().concat();
    let address = control.endpoints.api.unwrap();
    greet_as(&roots, "ops.example", "spiffe://ops.example/ns/api/sa/door", address).await.unwrap();
    control.stop().await;
    options.api_cert = Some((file("cert.pem", "none"), dir.path().join("key.pem")));
    let (_stop, watch) = base::drain::channel();
    let error = control::Control::start(options, watch).await.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("cert.pem") && !error.contains("PRIVATE"), "{error}");
}

#[tokio::test]
async fn a_group_may_pass_to_the_socket() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let group = rustix::process::getegid().as_raw();
    let mut options = ControlOptions::new(dir.path().join("data")).on_free_ports();
    options.socket_group = Some((group.to_string(), control::v1::Role::Viewer));
    let control = Running::with(options).await;
    let seen = |path: &std::path::Path| {
        let meta = std::fs::metadata(path).unwrap();
        (meta.gid(), meta.mode() & 0o777)
    };
    assert_eq!(seen(&control.endpoints.socket), (group, 0o660));
    assert_eq!(seen(&dir.path().join("data")), (group, 0o710));
    for closed in ["store.redb", "audit", "ca"] {
        assert_eq!(seen(&dir.path().join("data").join(closed)).1 & 0o077, 0, "{closed}");
    }
    let me: control::v1::Whoami = control.get("/v1/whoami").await;
    assert_eq!(me.role, control::v1::Role::Admin, "the owner stays one");
    control.stop().await;
}

#[tokio::test]
async fn tls_1_3_and_nothing_older() {
    let dir = tempfile::tempdir().unwrap();
    let control = start(dir.path()).await;
    let old = Versions { min: TlsVersion::V1_2, max: TlsVersion::V1_2 };
    for address in [control.endpoints.tls, control.endpoints.api.unwrap()] {
        greet(&control, address, Versions::V1_3).await.unwrap();
        let error = greet(&control, address, old).await.unwrap_err().to_string();
        assert!(error.to_lowercase().contains("version"), "{error}");
    }
    control.stop().await;
}

#[tokio::test]
async fn the_log_is_a_chain_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let control = start(dir.path()).await;
    control.apply(&[("a.yaml", service("shop")["documents"][0]["text"].as_str().unwrap())]).await;
    control.stop().await;
    let control = start(dir.path()).await;
    let (status, _) = control.call("DELETE", "/v1/resources?kind=svc&namespace=shop&name=a", &Json::Null).await;
    assert_eq!(status, 200);
    let entries = audit(&control, "what=Service").await;
    let said: Vec<_> =
        entries.iter().map(|e| (e.action.as_str(), e.outcome.as_str(), e.version, e.from.as_str())).collect();
    assert_eq!(said, [("apply", "created", 1, "local"), ("delete", "deleted", 2, "local")]);
    assert!(entries[1].diff.contains(&"-kind: Service".to_owned()), "{:?}", entries[1].diff);
    let verdict: AuditVerdict = control.get("/v1/audit/verdict").await;
    assert_eq!((verdict.broken, verdict.last), (None, entries[1].seq));
    // What is edited in the file shows, in a running control plane too.
    let file = dir.path().join("audit/audit-00000000000000000001.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("created", "CREATED")).unwrap();
    let verdict: AuditVerdict = control.get("/v1/audit/verdict").await;
    assert!(verdict.broken.unwrap().contains(".jsonl:1: "), "its first line");
    control.stop().await;
}

fn check<T>(result: Result<T, tonic::Status>, code: Code, expected: &str) {
    let status = result.err().expect("a refusal");
    assert!(status.code() == code && status.message().contains(expected), "{status}");
}

#[tokio::test]
async fn stolen_and_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let control = start(dir.path()).await;
    let make = async |account: &str, ttl: u64| -> Bootstrap {
        control.post("/v1/tokens", json!({"namespace": "default", "service_account": account, "ttl_s": ttl})).await
    };
    // For another identity: the thief learns who it is for, and the token stays good for that one.
    let reviews = make("reviews", 60).await;
    let thief = Joined::new(&Bootstrap {
        identity: "spiffe://cluster.local/ns/default/sa/admin".to_owned(),
        ..reviews.clone()
    });
    check(thief.certificate(Some(&reviews.token)).await, Code::PermissionDenied, "sa/reviews");
    // Used already; a restart changes nothing of that.
    let joined = Joined::new(&reviews);
    let (chain, key) = joined.certificate(Some(&reviews.token)).await.unwrap();
    check(joined.certificate(Some(&reviews.token)).await, Code::Unauthenticated, "refused");
    // Taken back before anybody used it.
    let revoked = make("revoked", 60).await;
    let list: JoinTokenList = control.get("/v1/tokens").await;
    let id = &list.tokens.iter().find(|token| token.identity.ends_with("sa/revoked")).unwrap().id;
    assert_eq!(control.call("DELETE", &format!("/v1/tokens/{id}"), &Json::Null).await.0, 200);
    assert_eq!(control.call("DELETE", &format!("/v1/tokens/{id}"), &Json::Null).await.0, 404);
    check(Joined::new(&revoked).certificate(Some(&revoked.token)).await, Code::Unauthenticated, "refused");
    // A request that was overheard is worth nothing without its proof, nor with that of somebody else.
    joined.cert.set_pem(&chain, &key).unwrap();
    let csr =
        ca::Key::generate().unwrap().csr(&"spiffe://cluster.local/ns/default/sa/ratings".parse().unwrap()).unwrap();
    check(Joined::new(&reviews).send(&csr, None).await, Code::Unauthenticated, "nothing proves");
    check(Joined::new(&reviews).send(&csr, Some(&reviews.token)).await, Code::Unauthenticated, "refused");
    check(
        joined.send(&csr, None).await,
        Code::PermissionDenied,
        "is for `spiffe://cluster.local/ns/default/sa/ratings`",
    );
    let text = metrics(&control).await;
    for (reason, count) in [("other_identity", 2), ("token_used", 2), ("token_revoked", 1), ("unproven", 1)] {
        let line = format!("halcyon_certificates_refused_total{{reason=\"{reason}\"}} {count}");
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
    let refused = audit(&control, "what=certificate").await;
    assert!(refused.iter().any(|entry| entry.reason.contains("was used already") && entry.who.contains("join token")));
    control.stop().await;

    let control = start(dir.path()).await;
    let moved = Bootstrap { xds_address: control.endpoints.tls.to_string(), ..reviews.clone() };
    check(Joined::new(&moved).certificate(Some(&reviews.token)).await, Code::Unauthenticated, "refused");
    assert!(metrics(&control).await.contains("{reason=\"token_used\"} 1"));
    // No longer than a day.
    let (status, answer) =
        control.call("POST", "/v1/tokens", &json!({"namespace": "a", "service_account": "b", "ttl_s": 86_401})).await;
    assert!(status == 400 && answer["hint"].as_str().unwrap().contains("24 hours"), "{answer}");
    let list: JoinTokenList = control.get("/v1/tokens").await;
    let states: Vec<&str> = list.tokens.iter().map(|token| token.state.as_str()).collect();
    assert_eq!(states, ["used", "revoked"]);
    control.stop().await;
}
