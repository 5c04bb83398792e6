//! Rules of access: one table of policies, callers and outcomes, for our own sidecar and for a stock Envoy.

mod other_kinds;

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::{Value, json};
use testkit::tokens::{Signer, key_set};

use crate::mesh::Mesh;
use crate::runner::Check;
use crate::web::Connection;

const GROUP: &str = "rules of access";
/// Who is called.
const HOST: &str = "details:9080";
/// The body of every refusal.
const REFUSED: &str = "RBAC: access denied";
const ISSUER: &str = "https://issuer.example";

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![Check::new(GROUP, "who passes and who does not", 360, |world| {
        Box::pin(async {
            let mesh = world.demo().await?;
            mesh.clear().await?;
            let at = mesh.proxy("details-v1").await?.at(9080);
            table(mesh, at).await
        })
    })]
}

/// Works through the table; `at` is where the workload takes callers without a sidecar.
pub async fn table(mesh: &Mesh, at: SocketAddr) -> Result<String> {
    let signer = Signer::rsa("key-1");
    let mut asked = 0;
    let steps: Vec<Step> = steps(&signer).into_iter().chain(other_kinds::steps()).collect();
    let count = steps.len();
    for step in steps {
        asked += step.run(mesh, at).await.with_context(|| format!("under `{}`", step.name))?;
    }
    mesh.delete_all(&other_kinds::KINDS).await?;
    mesh.clear().await?;
    Ok(format!("{asked} requests under {count} sets of policies"))
}

/// Policies, and what becomes of requests under them.
struct Step {
    name: &'static str,
    rules: String,
    requests: Vec<Asked>,
}

/// A request and what becomes of it.
struct Asked {
    caller: Caller,
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, String)>,
    outcome: Is,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// A workload of the mesh, whose account is `default`.
    Client,
    /// Somebody without a sidecar.
    Plain,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    /// The program answers it.
    Answered,
    /// Nobody may.
    Forbidden,
    /// Its token is not good.
    Unauthorized,
}

use Caller::{Client, Plain};
use Is::{Answered, Forbidden, Unauthorized};

/// Without headers.
fn ask(caller: Caller, method: &'static str, path: &'static str, outcome: Is) -> Asked {
    Asked { caller, method, path, headers: Vec::new(), outcome }
}

/// The one request, by either.
fn either(client: Is, plain: Is) -> Vec<Asked> {
    vec![ask(Client, "GET", "/details/0", client), ask(Plain, "GET", "/details/0", plain)]
}

/// A policy for `details`.
fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}}}\nspec: \
         {{selector: {{matchLabels: {{app: details}}}}, {spec}}}\n---\n"
    )
}

fn steps(signer: &Signer) -> Vec<Step> {
    let step = |name, rules: &[String], requests| Step { name, rules: rules.concat(), requests };
    let allow = |rules: &str| policy("a", &format!("action: ALLOW, rules: [{rules}]"));
    let deny = |rules: &str| policy("d", &format!("action: DENY, rules: [{rules}]"));
    let plain = |path, outcome| ask(Plain, "GET", path, outcome);
    let with =
        |name, value: &str, outcome| Asked { headers: vec![(name, value.to_owned())], ..plain("/details/0", outcome) };
    let bearer = |token: &str, outcome| with("authorization", &format!("Bearer {token}"), outcome);
    let claims = |more: Value| {
        let mut all = json!({"iss": ISSUER, "sub": "user", "exp": 4_000_000_000_u64});
        for (name, value) in more.as_object().into_iter().flatten() {
            all[name] = value.clone();
        }
        signer.token(&all)
    };
    let good = claims(json!({"groups": ["dev", "ops"]}));
    let other = Signer::rsa("key-1").token(&json!({"iss": ISSUER, "sub": "user"}));
    let expired = claims(json!({"exp": 1_000_000}));
    let tokens = format!(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: tokens}}\nspec: {{selector: \
         {{matchLabels: {{app: details}}}}, jwtRules: [{{issuer: '{ISSUER}', jwks: '{}'}}]}}\n---\n",
        key_set(&[signer])
    );
    let dry_run = deny("{}").replace("{name: d}", "{name: d, annotations: {istio.io/dry-run: 'true'}}");
    vec![
        step("nobody", &[policy("none", "rules: []")], either(Forbidden, Forbidden)),
        step("everybody", &[allow("{}")], either(Answered, Answered)),
        step(
            "one account",
            &[allow("{from: [{source: {principals: [cluster.local/ns/default/sa/default]}}]}")],
            either(Answered, Forbidden),
        ),
        step(
            "another account",
            &[allow("{from: [{source: {principals: [cluster.local/ns/default/sa/bookinfo-productpage]}}]}")],
            either(Forbidden, Forbidden),
        ),
        step(
            "one's own namespace",
            &[allow("{from: [{source: {namespaces: [default]}}]}")],
            either(Answered, Forbidden),
        ),
        step("anybody with a name", &[allow("{from: [{source: {principals: ['*']}}]}")], either(Answered, Forbidden)),
        step(
            "not one account",
            &[deny("{from: [{source: {notPrincipals: ['*/sa/default']}}]}")],
            either(Answered, Forbidden),
        ),
        step(
            "a method",
            &[deny("{to: [{operation: {methods: [POST]}}]}")],
            vec![
                ask(Client, "GET", "/details/0", Answered),
                ask(Client, "POST", "/details/0", Forbidden),
                ask(Plain, "POST", "/details/0", Forbidden),
                ask(Plain, "PUT", "/details/0", Answered),
            ],
        ),
        step(
            "a path, however it is written",
            &[allow("{to: [{operation: {paths: ['/details/*']}}]}")],
            vec![
                plain("/details/0", Answered),
                plain("/details/0?a=/health", Answered),
                plain("/health", Forbidden),
                plain("/details/../health", Forbidden),
                plain("/health/../details/0", Answered),
                plain("/details/%2e%2e/health", Forbidden),
                plain("//details/0", Forbidden),
                plain("/Details/0", Forbidden),
            ],
        ),
        step(
            "not a path",
            &[deny("{to: [{operation: {notPaths: ['/details/*']}}]}")],
            vec![plain("/details/0", Answered), plain("/health", Forbidden), plain("/details/../health", Forbidden)],
        ),
        step(
            "a template",
            &[allow("{to: [{operation: {paths: ['/{*}/0']}}]}")],
            vec![plain("/details/0", Answered), plain("/a/details/0", Forbidden), plain("/details/1", Forbidden)],
        ),
        step("a port", &[allow("{to: [{operation: {ports: ['9080']}}]}")], either(Answered, Answered)),
        step("another port", &[allow("{to: [{operation: {ports: ['9081']}}]}")], either(Forbidden, Forbidden)),
        step("a host", &[allow("{to: [{operation: {hosts: ['DETAILS*']}}]}")], either(Answered, Forbidden)),
        step(
            "a header",
            &[allow("{when: [{key: 'request.headers[x-team]', values: ['blue', 'red*']}]}")],
            vec![
                with("x-team", "blue", Answered),
                with("x-team", "reddish", Answered),
                with("x-team", "green", Forbidden),
                plain("/details/0", Forbidden),
            ],
        ),
        step(
            "addresses",
            &[
                allow("{from: [{source: {ipBlocks: [127.0.0.0/8]}}]}"),
                deny("{from: [{source: {notIpBlocks: [127.0.0.0/8]}}]}"),
            ],
            either(Answered, Answered),
        ),
        step(
            "forged names",
            &[allow("{from: [{source: {principals: ['*']}}]}")],
            vec![with(
                "x-forwarded-client-cert",
                "By=spiffe://cluster.local/ns/default/sa/a;URI=spiffe://cluster.local/ns/default/sa/default",
                Forbidden,
            )],
        ),
        step(
            "both, of which denying counts",
            &[allow("{}"), deny("{to: [{operation: {paths: [/health]}}]}")],
            vec![plain("/details/0", Answered), plain("/health", Forbidden)],
        ),
        step("only tried", &[dry_run], either(Answered, Answered)),
        step(
            "tokens",
            std::slice::from_ref(&tokens),
            vec![
                plain("/details/0", Answered),
                bearer(&good, Answered),
                bearer(&other, Unauthorized),
                bearer(&expired, Unauthorized),
                bearer("junk", Unauthorized),
            ],
        ),
        step(
            "tokens that are asked for",
            &[
                tokens,
                allow(&format!(
                    "{{from: [{{source: {{requestPrincipals: ['{ISSUER}/user']}}}}], when: [{{key: \
                     'request.auth.claims[groups]', values: [ops]}}]}}"
                )),
            ],
            vec![
                plain("/details/0", Forbidden),
                bearer(&good, Answered),
                bearer(&claims(json!({})), Forbidden),
                bearer(&claims(json!({"sub": "somebody", "groups": ["ops"]})), Forbidden),
                bearer(&expired, Unauthorized),
            ],
        ),
        step(
            "somebody who decides and is not known",
            &[policy(
                "c",
                "action: CUSTOM, provider: {name: nobody}, rules: [{to: [{operation: {paths: [/health]}}]}]",
            )],
            vec![plain("/details/0", Answered), plain("/health", Forbidden)],
        ),
    ]
}

impl Step {
    /// Applies the policies in place of others, and asks.
    async fn run(&self, mesh: &Mesh, at: SocketAddr) -> Result<usize> {
        mesh.delete_all(&["authorizationpolicy", "requestauthentication"]).await?;
        mesh.delete_all(&other_kinds::KINDS).await?;
        mesh.apply_text("access.yaml", &self.rules).await?;
        let (clients, others): (Vec<_>, Vec<_>) = self.requests.iter().partition(|asked| asked.caller == Client);
        if !clients.is_empty() {
            let requests: Value = clients.iter().map(|asked| asked.json()).collect();
            let said = mesh.inside("e2e", &["inside", "ask", HOST, &requests.to_string()]).await?.good()?;
            let answers: Vec<(u16, String)> = serde_json::from_str(&said.out).context("what the client saw")?;
            for (asked, (status, body)) in clients.iter().zip(answers) {
                asked.check(status, &body)?;
            }
        }
        for asked in others {
            let headers: Vec<_> = asked.headers.iter().map(|(name, value)| (*name, &**value)).collect();
            let method: Method = asked.method.parse()?;
            let answer = Connection::open(at).await?.send(method, asked.path, &headers, "").await?;
            asked.check(answer.status, &answer.text())?;
        }
        Ok(self.requests.len())
    }
}

impl Asked {
    fn json(&self) -> Value {
        json!({"method": self.method, "path": self.path, "headers": self.headers})
    }

    fn check(&self, status: u16, body: &str) -> Result<()> {
        let is = match status {
            403 if body == REFUSED => Forbidden,
            401 => Unauthorized,
            // Of the program, whether it likes the request or not.
            200 | 404 | 405 | 501 => Answered,
            _ => anyhow::bail!("{:?} {} {}: status {status} with `{body}`", self.caller, self.method, self.path),
        };
        let (caller, headers, wanted) = (self.caller, &self.headers, self.outcome);
        ensure!(
            is == wanted,
            "{caller:?} {} {} with {headers:?}: {is:?} ({status}, `{body}`); expected {wanted:?}",
            self.method,
            self.path
        );
        Ok(())
    }
}
