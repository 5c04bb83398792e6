//! Services that decide (CUSTOM policies): over HTTP and gRPC, for our own sidecar and for a stock Envoy.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use http::Method;
use origins::authz;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::mesh::Mesh;
use crate::runner::Check;
use crate::web::{Answer, Connection};

const GROUP: &str = "rules of access";

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![Check::new(GROUP, "services decide", 180, |world| {
        Box::pin(async {
            let mesh = world.demo().await?;
            mesh.clear().await?;
            let at = mesh.proxy("details-v1").await?.at(9080);
            table(mesh, at).await
        })
    })]
}

/// The services, which end when this is dropped.
struct Deciders {
    http: u16,
    grpc: u16,
    tasks: [JoinHandle<()>; 2],
}

impl Deciders {
    async fn start() -> Result<Self> {
        let (by_http, by_grpc) = (TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?);
        let (http, grpc) = (by_http.local_addr()?.port(), by_grpc.local_addr()?.port());
        let tasks = [
            tokio::spawn(async move { drop(authz::serve_http(by_http, std::future::pending()).await) }),
            tokio::spawn(async move { drop(authz::serve_grpc(by_grpc, std::future::pending()).await) }),
        ];
        Ok(Self { http, grpc, tasks })
    }

    fn end(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }

    /// Where they are, and who asks them: `http`, `grpc`, and `lax`, which lets pass while there is no answer.
    fn documents(&self) -> String {
        format!(
            "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: deciders}}
spec:
  hosts: [deciders.example]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{{number: 8000, name: http, protocol: HTTP}}, {{number: 9000, name: grpc, protocol: GRPC}}]
  endpoints: [{{address: 127.0.0.1, ports: {{http: {}, grpc: {}}}}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    extensionProviders:
    - name: http
      envoyExtAuthzHttp:
        service: deciders.example
        port: 8000
        timeout: 1s
        includeRequestHeadersInCheck: [x-authz]
        headersToUpstreamOnAllow: [x-authz-*]
        headersToDownstreamOnAllow: [x-authz-result]
        headersToDownstreamOnDeny: [x-authz-result]
    - name: grpc
      envoyExtAuthzGrpc: {{service: deciders.example, port: 9000, timeout: 1s, statusOnError: '503'}}
    - name: lax
      envoyExtAuthzGrpc: {{service: deciders.example, port: 9000, timeout: 1s, failOpen: true}}
---
",
            self.http, self.grpc
        )
    }
}

/// A policy for `details` of which this provider decides.
fn policy(provider: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: ask}}\nspec: {{selector: {{matchLabels: \
         {{app: details}}}}, action: CUSTOM, provider: {{name: {provider}}}, rules: [{{to: [{{operation: {{paths: \
         ['/details/*']}}}}]}}]}}\n"
    )
}

/// A request, and its status while the services are there and when they are gone.
struct Asked {
    path: &'static str,
    asks: Option<&'static str>,
    there: u16,
    gone: u16,
}

/// Asks each provider; `at` is where the workload takes callers without a sidecar.
pub async fn table(mesh: &Mesh, at: SocketAddr) -> Result<String> {
    let deciders = Deciders::start().await?;
    let mut asked = 0;
    // What is said where there is no answer: Istio's default, `statusOnError`, `failOpen`.
    let providers = [("http", 403), ("grpc", 503), ("lax", 200)];
    for (provider, without) in providers {
        mesh.apply_text("deciders.yaml", &(deciders.documents() + &policy(provider))).await?;
        for one in requests(without) {
            let answer = ask(at, &one).await?;
            check(&answer, one.there, one.asks).with_context(|| one.describe(provider, "that is there"))?;
            asked += 1;
        }
    }
    deciders.end();
    for (provider, without) in providers {
        mesh.apply_text("deciders.yaml", &(deciders.documents() + &policy(provider))).await?;
        for one in requests(without) {
            let answer = ask(at, &one).await?;
            ensure!(answer.status == one.gone, "{}: status {}", one.describe(provider, "that is gone"), answer.status);
            asked += 1;
        }
    }
    mesh.delete_all(&["authorizationpolicy", "serviceentry"]).await?;
    mesh.halcyon(&["delete", "configmap", "istio", "-n", "istio-system"]).await?.good()?;
    Ok(format!("{asked} requests by HTTP and gRPC"))
}

/// `without` is the status where a service gives no answer.
fn requests(without: u16) -> Vec<Asked> {
    let asked = |asks, there, gone| Asked { path: "/details/0", asks, there, gone };
    vec![
        asked(Some("allow"), 200, without),
        asked(Some("deny"), 403, without),
        asked(None, 403, without),
        asked(Some("mistake"), without, without),
        asked(Some("hang"), without, without),
        Asked { path: "/health", ..asked(None, 200, 200) },
    ]
}

impl Asked {
    fn describe(&self, provider: &str, state: &str) -> String {
        format!("{} with `x-authz: {}` under the provider `{provider}`, {state}", self.path, self.asks.unwrap_or("-"))
    }
}

async fn ask(at: SocketAddr, one: &Asked) -> Result<Answer> {
    let headers: Vec<_> = one.asks.iter().map(|asks| (authz::ASKED, *asks)).collect();
    Connection::open(at).await?.send(Method::GET, one.path, &headers, "").await
}

/// The status, and what a client is told of a decision.
fn check(answer: &Answer, status: u16, asks: Option<&str>) -> Result<()> {
    ensure!(answer.status == status, "status {} with `{}`; expected {status}", answer.status, answer.text());
    let is_denied = status == 403 && !matches!(asks, Some("mistake" | "hang"));
    if is_denied {
        ensure!(answer.text() == authz::DENIED, "the body is `{}`; expected the service's", answer.text());
        let result = answer.headers.get(authz::RESULT).map(|result| result.as_bytes());
        ensure!(result == Some(b"denied"), "no `x-authz-result: denied` in {:?}", answer.headers);
    }
    Ok(())
}
