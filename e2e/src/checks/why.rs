//! Why a request was refused: refusals of every kind, told by our sidecar and by a stock Envoy, and what `halcyon why` says of
//! them.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testkit::tokens::{Signer, key_set};

use crate::mesh::Mesh;
use crate::runner::{Check, Outcome};
use crate::web::Connection;
use crate::world::World;

const GROUP: &str = "why";
const ISSUER: &str = "https://issuer.example";
const FILE: &str = "why.yaml";

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new(GROUP, "the policy, the rule and the field of every refusal", 180, |world| {
            Box::pin(async {
                let mesh = world.demo().await?;
                mesh.clear().await?;
                let at = mesh.proxy("details-v1").await?.at(9080);
                table(mesh, at, true).await
            })
        }),
        Check::new(GROUP, "a caller's own sidecar tells too, and its program is told who refused it", 120, of_callers),
        Check::new(GROUP, "what nobody told of", 60, of_nobody),
    ]
}

/// A refusal, and what is said of it.
struct Case {
    name: &'static str,
    rules: String,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    /// Requests before, which are answered.
    before: usize,
    status: u16,
    /// JSON pointers into what is said, and a part of what stands there.
    says: Vec<(&'static str, &'static str)>,
    /// Parts of the text.
    text: Vec<&'static str>,
}

/// A policy for `details`.
fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}}}\nspec:\n  selector: \
         {{matchLabels: {{app: details}}}}\n{spec}---\n"
    )
}

fn cases() -> Vec<Case> {
    let case = |name, rules: String, path, status| Case {
        name,
        rules,
        path,
        headers: Vec::new(),
        before: 0,
        status,
        says: Vec::new(),
        text: Vec::new(),
    };
    let deny = policy("d", "  action: DENY\n  rules:\n  - to:\n    - operation: {paths: [/health]}\n");
    let allow = policy("a", "  action: ALLOW\n  rules:\n  - to:\n    - operation: {methods: [POST]}\n");
    let tokens = format!(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: tokens}}\nspec: {{selector: \
         {{matchLabels: {{app: details}}}}, jwtRules: [{{issuer: '{ISSUER}', jwks: '{}'}}]}}\n---\n",
        key_set(&[&Signer::rsa("key-1")])
    );
    let limit = "apiVersion: halcyon.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {name: once}\nspec: {selector: \
                 {matchLabels: {app: details}}, limits: [{name: all, requests: 1, unit: hour}]}\n";
    vec![
        Case {
            says: vec![
                ("/by/policy", "default/d"),
                ("/by/at", "why.yaml:8"),
                ("/details", "matched_policy[ns[default]-policy[d]-rule[0]]"),
                ("/workload", "default/details-v1"),
                ("/method", "GET"),
            ],
            text: vec!["decided by rule 0 of default/d", "why.yaml:8"],
            ..case("DENY", deny, "/health", 403)
        },
        Case {
            says: vec![
                ("/nearest/policy", "default/a"),
                ("/nearest/failed/0/field", "spec.rules[0].to[0].operation.methods"),
                ("/nearest/failed/0/reason", "the method is `GET`, where it asks for one that is `POST`"),
                ("/details", "matched_policy[none]"),
            ],
            text: vec!["nearest is rule 0 of default/a", "spec.rules[0].to[0].operation.methods"],
            ..case("no ALLOW", allow, "/details/0?token=secret", 403)
        },
        Case {
            headers: vec![("authorization", "Bearer junk")],
            says: vec![
                ("/why", "token was not accepted"),
                ("/documents/0/document", "RequestAuthentication/default/tokens"),
            ],
            text: vec!["RequestAuthentication/default/tokens", "spec.jwtRules"],
            ..case("a token", tokens, "/details/0", 401)
        },
        Case {
            before: 1,
            says: vec![
                ("/why", "a rate limit"),
                ("/flags/0", "RL"),
                ("/documents/0/document", "RateLimitPolicy/default/once"),
            ],
            text: vec!["RateLimitPolicy/default/once"],
            ..case("a rate limit", limit.to_owned(), "/details/0", 429)
        },
    ]
}

/// Works through the refusals; `at` is where the workload takes callers without a sidecar.
pub async fn table(mesh: &Mesh, at: SocketAddr, ours: bool) -> Result<String> {
    let cases = cases();
    let mut asked = 0;
    for case in &cases {
        case.run(mesh, at, ours).await.with_context(|| format!("refused by {}", case.name))?;
        asked += 1;
    }
    mesh.clear().await?;
    Ok(format!("{asked} refusals, each with the document that decided"))
}

impl Case {
    async fn run(&self, mesh: &Mesh, at: SocketAddr, ours: bool) -> Result<()> {
        mesh.delete_all(&["authorizationpolicy", "requestauthentication", "ratelimitpolicy"]).await?;
        mesh.apply_text(FILE, &self.rules).await?;
        for _ in 0..self.before {
            Connection::open(at).await?.send(http::Method::GET, self.path, &self.headers, "").await?;
        }
        let id = format!("why-{}-{}", self.name.replace(' ', "-"), if ours { "ours" } else { "envoy" });
        let mut headers = self.headers.clone();
        headers.push(("x-request-id", &id));
        let answer = Connection::open(at).await?.send(http::Method::GET, self.path, &headers, "").await?;
        ensure!(answer.status == self.status, "status {}; expected {}", answer.status, self.status);
        let told = why(mesh, &id).await?;
        let first = told.pointer("/refusals/0").context("nothing is told")?;
        for (pointer, part) in &self.says {
            let found = first.pointer(pointer).map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
            ensure!(
                found.as_ref().is_some_and(|found| found.contains(part)),
                "{pointer} is {found:?}; expected `{part}`: {first}"
            );
        }
        ensure!(first["status"] == json!(self.status), "{first}");
        ensure!(!told.to_string().contains("secret"), "a query is told: {told}");
        let text = mesh.halcyon(&["why", &id]).await?.good()?.out;
        for part in &self.text {
            ensure!(text.contains(part), "the text lacks `{part}`: {text}");
        }
        Ok(())
    }
}

async fn why(mesh: &Mesh, id: &str) -> Result<Value> {
    let said = mesh.halcyon(&["why", id, "-o", "json"]).await?.good().with_context(|| format!("halcyon why {id}"))?;
    serde_json::from_str(&said.out).context("halcyon why -o json")
}

/// From a workload with a sidecar: a route that is not there, and a policy of who is called.
fn of_callers(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = world.demo().await?;
        mesh.clear().await?;
        let rules = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: details}\nspec:\n  hosts: \
                     [details]\n  http:\n  - match: [{uri: {prefix: /details}}]\n    route: [{destination: {host: details}}]\n---\n";
        let deny = policy("d", "  action: DENY\n  rules:\n  - to:\n    - operation: {paths: [/details/9]}\n");
        mesh.apply_text(FILE, &format!("{rules}{deny}")).await?;
        let request = |path: &str, id: &str| json!({"method": "GET", "path": path, "headers": [["x-request-id", id], ["x-halcyon-explain", "1"]]});
        let requests = json!([request("/nowhere", "why-route"), request("/details/9", "why-caller")]);
        let said = mesh.inside("e2e", &["inside", "ask", "details:9080", &requests.to_string()]).await?.good()?;
        let answers: Vec<(u16, String)> = serde_json::from_str(&said.out).context("what the client saw")?;
        let statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
        ensure!(statuses == [404, 403], "{answers:?}");

        let route = why(mesh, "why-route").await?;
        let first = route.pointer("/refusals/0").context("nothing is told")?;
        let found = |pointer: &str| first.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        ensure!(found("/workload").starts_with("default/client"), "{first}");
        ensure!(found("/why") == "no route takes the request" && found("/reason").contains("/nowhere"), "{first}");
        ensure!(found("/documents/0/document") == "VirtualService/default/details", "{first}");

        let denied = why(mesh, "why-caller").await?;
        let first = denied.pointer("/refusals/0").context("nothing is told")?;
        let from = first["from"].as_str().unwrap_or_default();
        ensure!(from.ends_with("/ns/default/sa/default"), "the caller is {from}; expected its identity");
        ensure!(first.pointer("/by/policy") == Some(&json!("default/d")), "{first}");
        let newest = mesh.halcyon(&["why", "--workload", "details-v1", "--from", "default/default"]).await?.good()?.out;
        ensure!(newest.contains("why-caller"), "the newest of details lack it: {newest}");
        mesh.clear().await?;
        Ok("told by the caller's sidecar and by that of who was called, by identity".to_owned())
    })
}

fn of_nobody(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = world.demo().await?;
        let said = mesh.halcyon(&["why", "no-such-request"]).await?;
        ensure!(said.code == Some(1), "exit code {:?}; expected 1", said.code);
        for part in ["no-such-request", "at most 10000", "access log"] {
            ensure!(said.err.contains(part), "`{part}` is missing: {}", said.err);
        }
        Ok(said.err.lines().next().unwrap_or_default().to_owned())
    })
}
