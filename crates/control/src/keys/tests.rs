//! Keys from a real server: rotated, hanging, gone, and not what they should be.

use std::net::SocketAddr;
use std::sync::Mutex;

use api::halcyon::ENDPOINTS;
use api::parse;
use base::Clock;
use telemetry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use translate::MeshSettings;

use super::*;
use crate::store::{Disk, Set, Start};

/// What the server does with the next requests.
#[derive(Debug, Clone)]
enum Answer {
    Text(u16, String),
    Nothing,
}

/// A server by HTTP/1.1 on a free port.
struct Server {
    at: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start(first: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (answer, asked) = (Arc::new(Mutex::new(first)), Arc::new(Mutex::new(Vec::new())));
        let (says, hears) = (answer.clone(), asked.clone());
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (says, hears) = (says.clone(), hears.clone());
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await.unwrap());
                    }
                    let head = String::from_utf8(head).unwrap();
                    hears.lock().unwrap().push(head.lines().next().unwrap_or_default().to_owned());
                    let answer = says.lock().unwrap().clone();
                    let Answer::Text(status, body) = answer else { return std::future::pending().await };
                    let text = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                    let _ = stream.write_all(text.as_bytes()).await;
                });
            }
        });
        Self { at, answer, asked, serving }
    }

    fn says(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }
}

fn set(key: &str) -> Answer {
    Answer::Text(200, format!(r#"{{"keys":[{{"kid":"{key}"}}]}}"#))
}

fn store(dir: &std::path::Path) -> Store {
    let registry = Registry::new();
    let start = Start {
        settings: MeshSettings::default(),
        trust: translate::MeshTrust::roots("roots"),
        has_files: false,
        clock: Clock::system(),
        shard: &registry.shard(),
    };
    Store::open(Disk::open(dir).unwrap(), start).unwrap().0
}

async fn apply(store: &Store, uri: &str) {
    let text = format!(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: a}}\nspec: {{jwtRules: [{{issuer: a, jwksUri: '{uri}', timeout: 300ms}}]}}\n"
    );
    let parsed = parse("t.yaml", &text);
    assert!(!parsed.has_errors(), "{:?}", parsed.problems);
    store.apply(Set { resources: parsed.resources, ..Set::default() }).await.unwrap();
}

/// Waits until the keys at a URI are as wanted.
async fn until(store: &Store, uri: &str, wanted: impl Fn(&FetchedKeys) -> bool) {
    let mut versions = store.watch();
    let reached = versions.wait_for(|version| version.world.key_sets.get(uri).is_some_and(&wanted));
    let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
    assert!(reached.is_ok(), "{:?}", store.now().world.key_sets);
}

fn has(key: &str) -> impl Fn(&FetchedKeys) -> bool {
    move |keys| keys.failure.is_none() && keys.set.as_ref().is_some_and(|set| set.contains(&format!("\"{key}\"")))
}

fn failed(key: Option<&str>, why: &str) -> impl Fn(&FetchedKeys) -> bool {
    move |keys| {
        let said = keys.failure.as_ref().is_some_and(|failure| failure.contains(why));
        said && keys.set.as_ref().map(|set| key.is_some_and(|key| set.contains(key))).unwrap_or(key.is_none())
    }
}

const SOON: Times = Times { refresh: Duration::from_millis(50), retry: Duration::from_millis(20) };

#[tokio::test]
async fn rotated_hanging_and_gone() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(set("one")).await;
    let uri = server.uri("/set?a=b");
    let opened = store(dir.path());
    let metrics = Metrics::new(&Registry::new().shard()).unwrap();
    let following = tokio::spawn(follow(opened.clone(), Client::new(Vec::new()), SOON, metrics.clone()));
    apply(&opened, &uri).await;
    until(&opened, &uri, has("one")).await;
    assert_eq!(server.asked.lock().unwrap()[0], "GET /set?a=b HTTP/1.1");
    server.says(set("two"));
    until(&opened, &uri, has("two")).await;
    server.says(Answer::Nothing);
    until(&opened, &uri, failed(Some("two"), "no answer within 300ms")).await;
    let problems: Vec<String> = opened.now().problems.iter().map(|problem| problem.message.clone()).collect();
    assert!(problems.iter().any(|message| message.contains("cannot be fetched")), "{problems:?}");
    server.says(Answer::Text(503, String::new()));
    until(&opened, &uri, failed(Some("two"), "status 503")).await;
    server.says(set("three"));
    until(&opened, &uri, has("three")).await;
    server.serving.abort();
    until(&opened, &uri, failed(Some("three"), "")).await;
    following.abort();
    assert!(["ok", "failed"].iter().all(|result| metrics.0.with(&[*result]).get() > 2));
    opened.stop().await;
    drop(opened);
    // Another control plane has them from the beginning on, and keeps them while nobody answers.
    let again = store(dir.path());
    until(&again, &uri, |keys| keys.set.as_ref().is_some_and(|set| set.contains("three"))).await;
    let following = tokio::spawn(follow(again.clone(), Client::new(Vec::new()), SOON, metrics.clone()));
    until(&again, &uri, failed(Some("three"), "")).await;
    following.abort();
}

#[tokio::test]
async fn what_is_no_key_set() {
    let client = Client::new(Vec::new());
    let long = "x".repeat(2 << 20);
    for (answer, expected) in [
        (Answer::Text(200, "<html>".into()), "no JSON"),
        (Answer::Text(200, "{}".into()), "no key set"),
        (Answer::Text(404, "{\"keys\":[]}".into()), "the status 404"),
        // Nobody else says where keys are.
        (Answer::Text(302, String::new()), "the status 302"),
        (Answer::Text(200, long), "longer than 1048576 bytes"),
        (Answer::Nothing, "no answer within 200ms"),
    ] {
        let server = Server::start(answer).await;
        let got = client.keys(&KeysAt::Uri(server.uri("/")), Duration::from_millis(200)).await;
        assert!(got.as_ref().is_err_and(|reason| reason.contains(expected)), "{expected}: {got:?}");
    }
    for (uri, expected) in [
        ("ftp://127.0.0.1/", "neither with"),
        ("/keys", "no host"),
        ("http://127.0.0.1:1/", "no connection"),
        ("http://nowhere.invalid/", "no address"),
    ] {
        let got = client.keys(&KeysAt::Uri(uri.to_owned()), Duration::from_secs(5)).await;
        assert!(got.as_ref().is_err_and(|reason| reason.contains(expected)), "{uri}: {got:?}");
    }
}

#[tokio::test]
async fn discovered() {
    let keys = Server::start(set("one")).await;
    let issuer = Server::start(Answer::Text(200, format!(r#"{{"jwks_uri":"{}"}}"#, keys.uri("/k")))).await;
    let client = Client::new(Vec::new());
    let at = KeysAt::Discovery(issuer.uri("/.well-known/openid-configuration"));
    assert!(client.keys(&at, Duration::from_secs(5)).await.unwrap().contains("one"));
    issuer.says(Answer::Text(200, "{}".into()));
    assert!(client.keys(&at, Duration::from_secs(5)).await.is_err_and(|reason| reason.contains("jwks_uri")));
}

#[tokio::test]
async fn blocked_addresses() {
    let server = Server::start(set("one")).await;
    let client = Client::new(vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let uri = format!("http://{host}:{}/", server.at.port());
        let got = client.keys(&KeysAt::Uri(uri.clone()), Duration::from_secs(5)).await;
        assert!(got.as_ref().is_err_and(|reason| reason.contains("blocked")), "{uri}: {got:?}");
    }
    assert!(server.asked.lock().unwrap().is_empty());
    let elsewhere = Client::new(vec!["10.0.0.0/8".parse().unwrap()]);
    assert!(elsewhere.keys(&KeysAt::Uri(server.uri("/")), Duration::from_secs(5)).await.is_ok());
}

#[tokio::test]
async fn where_people_log_in() {
    let issuer = Server::start(Answer::Nothing).await;
    let client = Client::new(Vec::new());
    let at = KeysAt::Endpoints(format!("{ENDPOINTS}{}", issuer.uri("/.well-known/openid-configuration")));
    let own = issuer.uri("");
    let [authorization, token] =
        ["authorization_endpoint", "token_endpoint"].map(|name| format!(r#""{name}":"https://a/{name}""#));
    for (document, expected) in [
        (
            format!(r#"{{"issuer":"{own}",{authorization},{token}}}"#),
            Ok("https://a/authorization_endpoint\nhttps://a/token_endpoint\n"),
        ),
        // A slash more or less makes no other issuer.
        (
            format!(r#"{{"issuer":"{own}/",{authorization},{token}}}"#),
            Ok("https://a/authorization_endpoint\nhttps://a/token_endpoint\n"),
        ),
        (format!(r#"{{"issuer":"https://other",{authorization},{token}}}"#), Err("of the issuer `https://other`")),
        (format!(r#"{{{authorization},{token}}}"#), Err("of the issuer ``")),
        (format!(r#"{{"issuer":"{own}",{token}}}"#), Err("no `authorization_endpoint`")),
        (format!(r#"{{"issuer":"{own}",{authorization},"token_endpoint":"/token"}}"#), Err("no `token_endpoint`")),
        (
            format!(r#"{{"issuer":"{own}",{authorization},"token_endpoint":"https://a/ b"}}"#),
            Err("no `token_endpoint`"),
        ),
        ("<html>".to_owned(), Err("no JSON")),
    ] {
        issuer.says(Answer::Text(200, document.clone()));
        let got = client.keys(&at, Duration::from_secs(5)).await;
        match expected {
            Ok(text) => assert_eq!(got.as_deref(), Ok(text), "{document}"),
            Err(why) => assert!(got.as_ref().is_err_and(|reason| reason.contains(why)), "{document}: {got:?}"),
        }
    }
}

#[tokio::test]
async fn a_secret_of_cookies_outlives_the_control_plane() {
    const SEAL: &str = "login-seal://default/a";
    let dir = tempfile::tempdir().unwrap();
    let metrics = Metrics::new(&Registry::new().shard()).unwrap();
    let mut had: Vec<Option<Arc<str>>> = Vec::new();
    for _ in 0..2 {
        let opened = store(dir.path());
        let following = tokio::spawn(follow(opened.clone(), Client::new(Vec::new()), SOON, metrics.clone()));
        let parsed = parse(
            "t.yaml",
            "apiVersion: halcyon.dev/v1alpha1\nkind: LoginPolicy\nmetadata: {name: a}\nspec: {clientId: a, clientSecret: {name: b}, authorizationEndpoint: 'https://a/a', tokenEndpoint: 'https://a/b'}\n",
        );
        assert!(!parsed.has_errors(), "{:?}", parsed.problems);
        opened.apply(Set { resources: parsed.resources, ..Set::default() }).await.unwrap();
        until(&opened, SEAL, |made| made.set.is_some()).await;
        // Longer than keys are kept.
        tokio::time::sleep(SOON.refresh * 3).await;
        had.push(opened.now().world.key_sets[SEAL].set.clone());
        following.abort();
        opened.stop().await;
    }
    assert_eq!(had[0], had[1]);
    let made = had[0].as_ref().unwrap();
    let (_, secret) = made.split_once(' ').unwrap();
    assert_eq!(secret.len(), 64);
}
