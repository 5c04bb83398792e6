//! JWT-SVIDs, the bundle endpoint and federation, from outside.

use std::path::Path;
use std::time::{Duration, SystemTime};

use control::ControlOptions;
use proto::halcyon::identity::v1::workload_identity_client::WorkloadIdentityClient;
use proto::halcyon::identity::v1::{Bundles as Wire, MintJwtRequest, WatchBundlesRequest};
use serde_json::{Value, json};
use svid::{Bundle, Bundles};
use tonic::{Code, Status, Streaming};

use crate::fake::{Joined, PATIENCE, Running, channel};

pub async fn mint(joined: &Joined, audience: &[&str]) -> Result<String, Status> {
    let audience = audience.iter().map(|one| (*one).to_owned()).collect();
    let answer = WorkloadIdentityClient::new(joined.channel().await).mint_jwt(MintJwtRequest { audience }).await?;
    Ok(answer.into_inner().token)
}

pub async fn watch(joined: &Joined) -> Streaming<Wire> {
    let mut client = WorkloadIdentityClient::new(joined.channel().await);
    client.watch_bundles(WatchBundlesRequest {}).await.unwrap().into_inner()
}

/// The next bundles that are as wanted.
async fn bundles(stream: &mut Streaming<Wire>, wanted: impl Fn(&Bundles) -> bool) -> Bundles {
    let seen = tokio::time::timeout(PATIENCE, async {
        loop {
            let message = stream.message().await.unwrap().unwrap();
            let read = |(domain, text): (String, Vec<u8>)| {
                (domain.parse().unwrap(), Bundle::parse(std::str::from_utf8(&text).unwrap()).unwrap())
            };
            let all = message.documents.into_iter().map(read).collect();
            let bundles = Bundles { own: message.trust_domain.parse().unwrap(), all, crl: message.crl };
            if wanted(&bundles) {
                return bundles;
            }
        }
    });
    seen.await.unwrap()
}

fn of<'b>(bundles: &'b Bundles, domain: &str) -> Option<&'b Bundle> {
    bundles.all.get(&domain.parse().unwrap())
}

fn domain(dir: &Path, name: &str) -> ControlOptions {
    ControlOptions {
        trust_domain: Some(name.to_owned()),
        bundle_endpoint: Some(([127, 0, 0, 1], 0).into()),
        bundle_refresh: Some(Duration::from_secs(1)),
        ..ControlOptions::new(dir).on_free_ports()
    }
}

#[tokio::test]
async fn tokens_are_for_whom_the_connection_proves_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let control = Running::start(dir.path()).await;
    let (web, bad) = (control.join("web").await, control.join("bad").await);
    let token = mint(&web, &["db", "queue"]).await.unwrap();
    let known = bundles(&mut watch(&web).await, |_| true).await;
    let good = svid::verify(&token, "queue", &known, SystemTime::now()).unwrap();
    assert_eq!(good.id.as_str(), "spiffe://cluster.local/ns/default/sa/web");
    let life = good.claims["exp"].as_u64().unwrap() - good.claims["iat"].as_u64().unwrap();
    assert_eq!((life, &good.claims["aud"]), (300, &json!(["db", "queue"])));
    for audience in [&[][..], &[""], &["a"; 17]] {
        assert_eq!(mint(&web, audience).await.unwrap_err().code(), Code::InvalidArgument, "{audience:?}");
    }
    // A token to join with proves nothing here, and the plain door has no such service.
    let nobody = Joined::new(&control.bootstrap("web").await);
    assert_eq!(mint(&nobody, &["db"]).await.unwrap_err().code(), Code::Unauthenticated);
    let plain = channel(control.endpoints.plain, None).await;
    let request = MintJwtRequest { audience: vec!["db".to_owned()] };
    let refused = WorkloadIdentityClient::new(plain).mint_jwt(request.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);

    // Who is connected already gets none, either, once it is revoked.
    let mut connected = WorkloadIdentityClient::new(bad.channel().await);
    connected.mint_jwt(request.clone()).await.unwrap();
    let (status, answer) =
        control.call("POST", "/v1/ca/revocations", &json!({"what": "default/bad", "restore": false})).await;
    assert_eq!(status, 200, "{answer}");
    let refused = connected.mint_jwt(request).await.unwrap_err();
    // Its connection is closed, too; whichever comes first.
    assert!(format!("{refused:?}").to_lowercase().contains("revoked"), "{refused:?}");
    control.stop().await;

    // The keys outlive the process, and nobody else may read them.
    let control = Running::start(dir.path()).await;
    let web = web.moved_to(control.endpoints.tls);
    let again = bundles(&mut watch(&web).await, |_| true).await;
    svid::verify(&token, "db", &again, SystemTime::now()).unwrap();
    assert!(!again.crl.is_empty(), "what is revoked is told");
    let keys = std::fs::metadata(dir.path().join("ca/token-keys.pem")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&keys.permissions()) & 0o777, 0o600);
    control.stop().await;
}

/// Settings by which `of` is believed: its roots to begin with, and where its bundle is.
fn believing(name: &str, roots: &str, url: &str) -> String {
    let roots = roots.replace('\n', "\n        ");
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n    \
         caCertificates:\n    - pem: |\n        {roots}\n      trustDomains: [{name}]\n    - spiffeBundleUrl: '{url}'\n      \
         trustDomains: [{name}]\n"
    )
}

#[tokio::test]
async fn bundles_of_other_trust_domains_are_fetched_and_kept() {
    let (dir_a, dir_b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let a = Running::with(domain(dir_a.path(), "a.example")).await;
    let b = Running::with(domain(dir_b.path(), "b.example")).await;
    let (of_a, of_b) = (a.join("web").await, b.join("db").await);
    let url = format!("https://{}/", a.endpoints.bundle.unwrap());
    let roots = a.bootstrap("x").await.trust_bundle_pem;
    let mut told = watch(&of_b).await;
    bundles(&mut told, |known| known.all.len() == 1).await;
    // By another identity than the one that answers there nothing is fetched, and that is said.
    let other = believing("a.example", &roots, &format!("{url}#spiffe://a.example/ns/x/sa/y"));
    b.apply(&[("mesh.yaml", &other)]).await;
    let warned: Value = crate::fake::eventually(|| async {
        let (_, answer) = b.call("GET", "/v1/problems", &Value::Null).await;
        answer.to_string().contains("cannot be fetched").then_some(answer)
    })
    .await;
    assert!(warned.to_string().contains("spiffeBundleUrl"), "{warned}");
    b.apply(&[("mesh.yaml", &believing("a.example", &roots, &url))]).await;
    let has_keys = |known: &Bundles| of(known, "a.example").is_some_and(|bundle| !bundle.jwt.is_empty());
    let known = bundles(&mut told, has_keys).await;
    let bundle = of(&known, "a.example").unwrap();
    assert_eq!((bundle.x509.len(), bundle.jwt.len()), (1, 1));
    let token = mint(&of_a, &["db"]).await.unwrap();
    svid::verify(&token, "db", &known, SystemTime::now()).unwrap();
    // The roots of one trust domain are none of the other's.
    assert!(of(&known, "b.example").unwrap().x509.iter().all(|root| !bundle.x509.contains(root)));

    // What changes there comes here.
    let rotated = a.call("POST", "/v1/ca/rotation", &json!({"step": "start", "force": false})).await;
    assert_eq!(rotated.0, 200, "{}", rotated.1);
    bundles(&mut told, |known| of(known, "a.example").is_some_and(|bundle| bundle.x509.len() == 2)).await;

    // What was had counts while nobody answers, and after a restart.
    drop(told);
    a.stop().await;
    b.stop().await;
    let b = Running::with(domain(dir_b.path(), "b.example")).await;
    let of_b = of_b.moved_to(b.endpoints.tls);
    let known = bundles(&mut watch(&of_b).await, |_| true).await;
    assert_eq!(of(&known, "a.example").map(|bundle| (bundle.x509.len(), bundle.jwt.len())), Some((2, 1)));
    svid::verify(&token, "db", &known, SystemTime::now()).unwrap();
    b.stop().await;
}
