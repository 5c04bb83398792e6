//! Certificates that are forged, out of date, stolen from their purpose: each is refused by name and counted by reason, also those
//! that somebody made who got hold of the authority's key. And requests that try to come past a policy: none may reach what it
//! keeps.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rcgen::{BasicConstraints, IsCa};
use testkit::certificates::{Authority, Leaf};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use transport::tls::LiveCert;

use super::identity;
use crate::mesh::Mesh;
use crate::place::Place;
use crate::runner::{Check, Outcome};
use crate::web;
use crate::world::World;

const GROUP: &str = "attacks";
/// Whom the attacker would like to be.
const AS: &str = "spiffe://cluster.local/ns/default/sa/bookinfo-productpage";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
const COUNTER: &str = "halcyon_listener_connections_refused_total";

/// The checks.
pub fn checks() -> Vec<Check> {
    let forged = "forged, old and misused certificates are refused, each with its reason counted";
    let tricks = "what a policy keeps is reached by no trick of paths, hosts or framing";
    vec![Check::new(GROUP, forged, 120, certificates), Check::new(GROUP, tricks, 120, requests)]
}

fn certificates(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        let mesh = world.demo().await?;
        let proxy = mesh.proxy("details-v1").await?;
        let (at, admin) = (proxy.at(9080), proxy.admin.context("no admin address")?);
        let mut before = refusals(admin).await?;
        forged_are_refused(mesh, &place, at, async |reason| {
            let after = refusals(admin).await?;
            let grown: Vec<_> = after.iter().filter(|(name, count)| before.get(*name) != Some(*count)).collect();
            ensure!(
                after.get(reason) > before.get(reason),
                "{COUNTER}: expected more of {reason}, but grown is {grown:?}"
            );
            before = after;
            Ok(())
        })
        .await
    })
}

fn requests(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = world.demo().await?;
        let at = mesh.proxy("details-v1").await?.at(9080);
        policies_are_kept(mesh, at).await
    })
}

/// Shows forged certificates to a workload that takes mutual TLS only. `refused` is called after each, with the reason for which
/// ours refuse it.
pub async fn forged_are_refused(
    mesh: &Mesh,
    place: &Place,
    at: SocketAddr,
    mut refused: impl AsyncFnMut(&str) -> Result<()>,
) -> Result<String> {
    mesh.clear().await?;
    mesh.apply(&[place.rule("strict-mtls.yaml")]).await?;
    let forger = forger(mesh, place).await?;
    let all = forged(&forger);
    let count = all.len();
    for (what, cert, reason) in all {
        let what = || format!("a certificate {what}");
        identity::is_refused(mesh, at, "/details/0", Some(cert)).await.with_context(what)?;
        refused(reason).await.with_context(what)?;
    }
    let good = identity::is_refused(mesh, at, "/details/0", Some(forger.issue(Leaf::spiffe(AS)))).await;
    ensure!(good.is_err(), "what is signed by the rules is refused too, so nothing is shown: {good:?}");
    mesh.clear().await?;
    Ok(format!("{count} certificates"))
}

/// Somebody who has the authority's key.
async fn forger(mesh: &Mesh, place: &Place) -> Result<Authority> {
    let stolen = place.temp().join("stolen");
    let to = stolen.display().to_string();
    mesh.halcyon(&["ca", "export", "--with-key", &to]).await?.good().context("halcyon ca export")?;
    let read = |name: &str| std::fs::read_to_string(stolen.join(name)).with_context(|| name.to_owned());
    let forger = Authority::of("cluster.local", &read("ca-cert.pem")?, &read("ca-key.pem")?);
    std::fs::remove_dir_all(&stolen).with_context(|| to)?;
    Ok(forger)
}

/// What they are, and the reason for which ours refuses them.
fn forged(mesh: &Authority) -> Vec<(&'static str, LiveCert, &'static str)> {
    let stranger = Authority::new("cluster.local");
    let leaf = || Leaf::spiffe(AS);
    let (workload, intermediate) = (IsCa::ExplicitNoCa, IsCa::Ca(BasicConstraints::Unconstrained));
    let below = |links: &[IsCa]| mesh.issue_below(Some(links), leaf());
    vec![
        ("of our names, signed by a stranger", stranger.issue(leaf()), "unknown_root"),
        ("of our names, signed by nobody", mesh.issue_below(None, leaf()), "unknown_root"),
        ("out of date", mesh.issue(leaf().hours(-2, -1)), "expired"),
        ("not valid yet", mesh.issue(leaf().hours(1, 2)), "not_yet_valid"),
        ("of another trust domain", mesh.issue(Leaf::spiffe("spiffe://other.example/ns/a/sa/b")), "name_mismatch"),
        ("without an identity", mesh.issue(Leaf::dns("productpage")), "name_mismatch"),
        ("good for servers alone", mesh.issue(leaf().only_for_servers()), "bad_certificate"),
        ("signed by a workload", below(&[workload]), "bad_certificate"),
        ("signed by a workload below an intermediate", below(&[intermediate, workload]), "bad_certificate"),
    ]
}

/// Connections that a proxy refused at its door, by reason.
async fn refusals(admin: SocketAddr) -> Result<BTreeMap<String, f64>> {
    let text = web::get(admin, "/stats/prometheus", &[]).await?.text();
    let mut counts = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with(COUNTER)) {
        let reason = line.split("reason=\"").nth(1).and_then(|rest| rest.split('"').next());
        let count = line.rsplit_once(' ').and_then(|(_, count)| count.parse::<f64>().ok());
        let (Some(reason), Some(count)) = (reason, count) else { bail!("{line}: expected a reason and a count") };
        *counts.entry(reason.to_owned()).or_default() += count;
    }
    Ok(counts)
}

/// Where nobody may go.
const KEPT: &str = "/health";
/// Stands in its answer.
const KEPT_ANSWER: &str = "healthy";
const POLICIES: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: kept}
spec:
  selector: {matchLabels: {app: details}}
  action: DENY
  rules: [{to: [{operation: {paths: [/health, /health/*]}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: given}
spec:
  selector: {matchLabels: {app: details}}
  rules: [{to: [{operation: {paths: [/details/*], methods: [GET, POST], hosts: [details, 'details:*']}}]}]
";

/// Sends each trick over a connection of its own, as it stands, to a workload where policies keep something.
pub async fn policies_are_kept(mesh: &Mesh, at: SocketAddr) -> Result<String> {
    mesh.clear().await?;
    let open = told(at, &get(KEPT)).await?;
    ensure!(open.contains(KEPT_ANSWER), "without policies {KEPT} answers: {open}");
    mesh.apply_text("kept.yaml", POLICIES).await?;
    let tricks = tricks();
    for bytes in &tricks {
        let answer = told(at, bytes).await?;
        ensure!(!answer.contains(KEPT_ANSWER), "{bytes:?} reached {KEPT}: {answer}");
    }
    // Who is not tricky passes, so that the policies are known to be there and to let something pass.
    let answer = told(at, &get("/details/0")).await?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "what is allowed is refused: {answer}");
    mesh.clear().await?;
    Ok(format!("{} requests", tricks.len()))
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: details\r\nconnection: close\r\n\r\n")
}

fn tricks() -> Vec<String> {
    const HIDDEN: &str = "GET /health HTTP/1.1\r\nhost: details\r\nconnection: close\r\n\r\n";
    let paths = [
        "/health",
        "/health?/details/0",
        "/health/",
        "//health",
        "/./health",
        "/details/../health",
        "/details/%2e%2e/health",
        "/details/%2E%2e%2fhealth",
        "/details/..%2fhealth",
        "/details/..;/health",
        "/details/.%2e;a=b/health",
        "/details/..\\health",
        "/%68ealth",
        "/%2568ealth",
        "/health%2f",
        "/health%00",
        "/HEALTH",
        "/health#/details/0",
        "http://details/health",
        "http://other/health",
    ];
    let with = |fields: &str| format!("GET /health HTTP/1.1\r\nhost: details\r\n{fields}connection: close\r\n\r\n");
    let post =
        |fields: &str, body: &str| format!("POST /details/0 HTTP/1.1\r\nhost: details\r\n{fields}\r\n{body}{HIDDEN}");
    let mut tricks: Vec<String> = paths.into_iter().map(get).collect();
    tricks.extend([
        // Other names for the path, the method, the caller.
        with("x-original-url: /details/0\r\n"),
        with("x-rewrite-url: /details/0\r\n"),
        with("x-envoy-original-path: /details/0\r\n"),
        with("x-http-method-override: GET\r\n"),
        with("x-forwarded-host: details\r\n"),
        with("x-envoy-internal: true\r\nx-forwarded-for: 127.0.0.1\r\n"),
        with("x-forwarded-client-cert: URI=spiffe://cluster.local/ns/istio-system/sa/admin\r\n"),
        with("host: other\r\n"),
        // A request behind another's body, for whom the lengths mislead.
        post("content-length: 0\r\n", ""),
        post("content-length: 4\r\ncontent-length: 0\r\n", "abcd"),
        post("content-length: 4\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
        post("transfer-encoding: chunked\r\ncontent-length: 4\r\n", "0\r\n\r\n"),
        post("transfer-encoding: xchunked\r\n", "0\r\n\r\n"),
        post("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n"),
        post("transfer-encoding:\x0bchunked\r\n", "0\r\n\r\n"),
        post("transfer-encoding : chunked\r\n", "0\r\n\r\n"),
        post("transfer-encoding: chunked\r\n", "0;\n\r\n\r\n"),
        post(
            "content-length: 0\r\nupgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABk\r\n",
            "",
        ),
        post("content-length: 0\r\nupgrade: websocket\r\nconnection: upgrade\r\n", ""),
    ]);
    tricks
}

/// What a server says to these bytes before it ends the connection, or within a while.
async fn told(at: SocketAddr, bytes: &str) -> Result<String> {
    let mut stream = TcpStream::connect(at).await?;
    stream.write_all(bytes.as_bytes()).await?;
    let mut answer = Vec::new();
    // A connection that is reset has said what it had to say.
    let _end = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
