//! Rate limits: policies, requests and outcomes, for our own sidecar and for a stock Envoy; and what the control plane counts
//! for all.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};
use testkit::tokens::{Signer, key_set};

use crate::mesh::Mesh;
use crate::poll;
use crate::runner::{Check, Outcome};
use crate::web::{Answer, Connection};
use crate::world::{Wanted, World};

const GROUP: &str = "rate limits";
const ISSUER: &str = "https://issuer.example";
/// The control plane writes counts every five seconds.
const WRITTEN: Duration = Duration::from_secs(7);
/// How long a control plane that is back may take until all is as before.
const BACK: Duration = Duration::from_secs(40);

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new(GROUP, "by headers, identities, claims and paths", 180, |world| {
            Box::pin(async {
                let mesh = world.demo().await?;
                mesh.clear().await?;
                let at = mesh.proxy("details-v1").await?.at(9080);
                table(mesh, at, true).await
            })
        }),
        Check::new(GROUP, "two workloads share what the control plane counts", 120, shared),
        Check::new(GROUP, "no more pass than the limit, whoever comes at once", 120, at_once),
        Check::new(
            GROUP,
            "a quota outlives the control plane; while it is away requests pass or not, as said",
            240,
            away,
        ),
    ]
}

/// A policy for `details` with one limit.
fn policy(name: &str, limit: &str) -> String {
    format!(
        "apiVersion: halcyon.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {{name: {name}}}\nspec: {{selector: \
         {{matchLabels: {{app: details}}}}, limits: [{{{limit}}}]}}\n---\n"
    )
}

/// A request with a header, and its status.
struct Asked {
    path: &'static str,
    header: Option<(&'static str, String)>,
    status: u16,
}

fn plain(path: &'static str, status: u16) -> Asked {
    Asked { path, header: None, status }
}

fn with(name: &'static str, value: &str, status: u16) -> Asked {
    Asked { path: "/details/0", header: Some((name, value.to_owned())), status }
}

/// Works through limits that a proxy counts itself, and one that it has counted; `ours` is whether the proxy is ours.
pub async fn table(mesh: &Mesh, at: SocketAddr, ours: bool) -> Result<String> {
    let signer = Signer::rsa("key-1");
    let token = |tenant: &str| {
        let claims = json!({"iss": ISSUER, "sub": "user", "tenant": tenant, "exp": 4_000_000_000_u64});
        format!("Bearer {}", signer.token(&claims))
    };
    let tokens = format!(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: tokens}}\nspec: {{selector: \
         {{matchLabels: {{app: details}}}}, jwtRules: [{{issuer: '{ISSUER}', jwks: '{}'}}]}}\n---\n",
        key_set(&[&signer])
    );
    let user = |value: &str, status| with("x-user", value, status);
    let bearer = |tenant: &str, status| with("authorization", &token(tenant), status);
    let one = "requests: 1, unit: hour";
    for (name, rules, requests) in [
        ("all", policy("all", &format!("name: all, {one}")), vec![plain("/details/0", 200), plain("/health", 429)]),
        (
            "header",
            policy("header", &format!("name: user, {one}, by: [{{header: x-user}}]")),
            vec![
                user("anna", 200),
                user("anna", 429),
                user("bert", 200),
                plain("/details/0", 200),
                plain("/health", 429),
            ],
        ),
        (
            "burst",
            policy("burst", "name: user, requests: 1, burst: 3, unit: hour, by: [{header: x-user}]"),
            vec![user("anna", 200), user("anna", 200), user("anna", 200), user("anna", 429)],
        ),
        (
            "path",
            policy(
                "path",
                &format!("{one}, match: {{paths: ['/details/*'], notMethods: [POST]}}, by: [{{request: path}}]"),
            ),
            vec![
                plain("/details/0?a", 200),
                plain("/details/0?b", 429),
                plain("/details/1", 200),
                plain("/health", 200),
                plain("/health?/details/0", 200),
            ],
        ),
        (
            "claim",
            tokens + &policy("claim", &format!("{one}, by: [{{claim: tenant}}]")),
            vec![bearer("acme", 200), bearer("acme", 429), bearer("other", 200)],
        ),
        (
            "tried",
            policy("tried", &format!("{one}, dryRun: true")),
            vec![plain("/details/0", 200), plain("/details/0", 200)],
        ),
        (
            "quota",
            policy(
                "quota",
                "requests: 2, unit: day, scope: global, timeout: 5s, onError: deny, by: [{header: x-user}]",
            ),
            vec![user("anna", 200), user("anna", 200), user("anna", 429), user("bert", 200)],
        ),
    ] {
        begin(mesh, &rules).await?;
        for (index, asked) in requests.iter().enumerate() {
            let headers: Vec<_> = asked.header.iter().map(|(name, value)| (*name, &**value)).collect();
            let answer = Connection::open(at).await?.send(Method::GET, asked.path, &headers, "").await?;
            check(&answer, asked.status, ours || name == "quota", name == "tried")
                .with_context(|| format!("under `{name}`, request {index} ({})", asked.path))?;
        }
    }
    let said = identities(mesh, at).await?;
    begin(mesh, "").await?;
    Ok(said)
}

/// These documents in place of those before.
async fn begin(mesh: &Mesh, rules: &str) -> Result<()> {
    mesh.delete_all(&["ratelimitpolicy", "requestauthentication"]).await?;
    if rules.is_empty() {
        return Ok(());
    }
    mesh.apply_text("limits.yaml", rules).await
}

/// The status, and what is told; `standard`: in the fields of the IETF's draft too.
fn check(answer: &Answer, status: u16, standard: bool, quiet: bool) -> Result<()> {
    // Of the program, whether it likes the request or not.
    let is = if matches!(answer.status, 400 | 404) { 200 } else { answer.status };
    ensure!(is == status, "status {} with `{}`; expected {status}", answer.status, answer.text());
    let has = |name: &str| answer.headers.contains_key(name);
    ensure!(!quiet || !has("ratelimit-remaining"), "what is only tried is told: {:?}", answer.headers);
    if status == 429 {
        ensure!(has("retry-after"), "no retry-after in {:?}", answer.headers);
        ensure!(!standard || has("ratelimit-reset"), "no ratelimit-reset in {:?}", answer.headers);
    }
    Ok(())
}

/// A caller with an identity has a count of its own beside those without, and so has its namespace.
async fn identities(mesh: &Mesh, at: SocketAddr) -> Result<String> {
    let requests: Value = (0..3).map(|_| json!({"method": "GET", "path": "/details/0", "headers": []})).collect();
    for by in ["identity", "namespace"] {
        begin(mesh, &policy(by, &format!("requests: 2, unit: hour, by: [{{caller: {by}}}]"))).await?;
        let said = mesh.inside("e2e", &["inside", "ask", "details:9080", &requests.to_string()]).await?.good()?;
        let answers: Vec<(u16, String)> = serde_json::from_str(&said.out).context("what the client saw")?;
        let statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
        ensure!(statuses == [200, 200, 429], "a caller with an identity got {statuses:?} by its {by}");
        let answer = Connection::open(at).await?.get("/details/0", &[]).await?;
        ensure!(answer.status == 200, "a caller without one got {} by its {by}", answer.status);
    }
    Ok("7 kinds of limits, identities and namespaces".to_owned())
}

fn shared(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = world.demo().await?;
        mesh.clear().await?;
        let both = "apiVersion: halcyon.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {name: both}\nspec: {limits: \
                    [{scope: global, requests: 4, unit: day, timeout: 5s, onError: deny, match: {headers: [{name: \
                    x-user, values: ['*']}]}, by: [{header: x-user}]}]}\n";
        begin(mesh, both).await?;
        let mut statuses = Vec::new();
        for turn in 0..6 {
            let (workload, path) =
                if turn % 2 == 0 { ("details-v1", "/details/0") } else { ("ratings-v1", "/ratings/0") };
            let at = mesh.proxy(workload).await?.at(9080);
            let answer = Connection::open(at).await?.get(path, &[("x-user", "anna")]).await?;
            statuses.push(answer.status);
        }
        ensure!(statuses == [200, 200, 200, 200, 429, 429], "{statuses:?}");
        begin(mesh, "").await?;
        Ok("4 of 6 requests to two workloads".to_owned())
    })
}

fn at_once(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        const MOST: usize = 25;
        let mesh = world.demo().await?;
        mesh.clear().await?;
        let at = mesh.proxy("details-v1").await?.at(9080);
        for limit in [
            format!("requests: {MOST}, unit: day"),
            format!("requests: {MOST}, unit: day, scope: global, timeout: 20s, onError: deny"),
        ] {
            begin(mesh, &policy(if limit.contains("global") { "for-all" } else { "alone" }, &limit)).await?;
            let asks = (0..80).map(|_| async move { Connection::open(at).await?.get("/details/0", &[]).await });
            let answers: Vec<Answer> = join_all(asks).await.into_iter().collect::<Result<_>>()?;
            let count = |status| answers.iter().filter(|answer| answer.status == status).count();
            ensure!((count(200), count(429)) == (MOST, 80 - MOST), "{} passed and {} did not", count(200), count(429));
        }
        begin(mesh, "").await?;
        Ok(format!("{MOST} of 80, counted by the proxy and by the control plane"))
    })
}

fn away(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = world.mesh(Wanted::Parts).await?;
        mesh.clear().await?;
        let quota = |name: &str, path: &str, on_error: &str| {
            let asked = format!("match: {{paths: ['{path}']}}");
            let limit = format!("requests: 3, unit: day, scope: global, timeout: 5s, onError: {on_error}, {asked}");
            policy(name, &limit)
        };
        let rules = quota("closed", "/details/0", "deny") + &quota("open", "/health", "allow");
        begin(mesh, &rules).await?;
        let at = mesh.proxy("details-v1").await?.at(9080);
        let ask = async |path: &str| -> Result<u16> { Ok(Connection::open(at).await?.get(path, &[]).await?.status) };
        ensure!((ask("/details/0").await?, ask("/details/0").await?) == (200, 200), "the quota is not used up yet");
        tokio::time::sleep(WRITTEN).await;
        mesh.kill("control").await?;
        let without = (ask("/details/0").await?, ask("/health").await?);
        ensure!(without == (503, 200), "without a control plane: {without:?}");
        mesh.start_again("control")?;
        mesh.wait_control().await?;
        // A proxy dials a host that was away anew.
        let again = poll::until("an answer of the service", BACK, async || match ask("/details/0").await? {
            503 => anyhow::bail!("503"),
            status => Ok(status),
        });
        let (third, fourth) = (again.await?, ask("/details/0").await?);
        ensure!((third, fourth) == (200, 429), "of a quota of 3, 2 used up before: {third}, {fourth}");
        begin(mesh, "").await?;
        mesh.wait_whole().await?;
        Ok("2 before, 1 after; 503 and 200 meanwhile".to_owned())
    })
}
