//! The control plane's API, called over its Unix socket, or over TLS from another machine.

mod events;
mod query;
mod server;

use std::path::PathBuf;
use std::time::Duration;

pub use events::Events;
pub use query::{Query, escape};
pub use server::Server;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use control::v1::{
    AccessAnswers, AccessGraph, AccessRequest, ApplyRequest, ApplyResponse, AuditPage, AuditQuery, AuditVerdict,
    Bootstrap, BootstrapRequest, CaFiles, CaStatus, DashboardKey, DeleteRequest, Document, ExplainRequest, Explanation,
    Failure, IssuedToken, JoinTokenList, MutualTlsPlan, MutualTlsQuery, Plan, ProxyConfig, RefusalPage, RefusalQuery,
    Removed, ResourceQuery, Resources, RevocationRequest, Revoked, RotationRequest, Start, StartRequest, Status,
    TokenRequest, TrustBundle, UserList, UserRequest, UserTokenList, UserTokenRequest, UserView, Version, Whoami,
};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

/// An answer must come within this; a large set takes its time to be checked and stored.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client of one control plane.
pub struct Client {
    way: Way,
}

/// How it is reached.
enum Way {
    Socket(PathBuf),
    Tls(Box<Server>),
}

/// What became of a set that was to be applied.
pub enum Verdict {
    /// It is in force.
    Accepted(ApplyResponse),
    /// Nothing of it was stored.
    Refused(Failure),
}

impl Client {
    /// A client of the control plane that listens there.
    pub fn new(socket: PathBuf) -> Self {
        Self { way: Way::Socket(socket) }
    }

    /// A client of the control plane of another machine.
    pub fn over_tls(server: Server) -> Self {
        Self { way: Way::Tls(Box::new(server)) }
    }

    /// The control plane's version.
    pub async fn version(&self) -> Result<Version> {
        self.call(Method::GET, "/v1/version", None::<&()>).await
    }

    /// Applies a set. A set that is refused is no error of the call.
    pub async fn apply(&self, request: &ApplyRequest) -> Result<Verdict> {
        let (status, body) = self.exchange(Method::POST, "/v1/apply", Some(request)).await?;
        match status {
            200 => Ok(Verdict::Accepted(read(&body)?)),
            422 => Ok(Verdict::Refused(read(&body)?)),
            status => Err(failure(status, &body)),
        }
    }

    /// What a set would do. A set that is refused is no error of the call.
    pub async fn plan(&self, request: &ApplyRequest) -> Result<Result<Plan, Failure>> {
        let (status, body) = self.exchange(Method::POST, "/v1/plan", Some(request)).await?;
        match status {
            200 => Ok(Ok(read(&body)?)),
            422 => Ok(Err(read(&body)?)),
            status => Err(failure(status, &body)),
        }
    }

    /// What a request would meet.
    pub async fn explain(&self, request: &ExplainRequest) -> Result<Explanation> {
        self.call(Method::POST, "/v1/explain", Some(request)).await
    }

    /// May a request pass?
    pub async fn access(&self, request: &AccessRequest) -> Result<AccessAnswers> {
        self.call(Method::POST, "/v1/access", Some(request)).await
    }

    /// Who may call whom.
    pub async fn access_graph(&self) -> Result<AccessGraph> {
        self.call(Method::GET, "/v1/access/graph", None::<&()>).await
    }

    /// Applies texts that are known to be right.
    pub async fn apply_texts(&self, documents: &[Document]) -> Result<ApplyResponse> {
        let request = ApplyRequest { documents: documents.to_vec(), ..ApplyRequest::default() };
        match self.apply(&request).await? {
            Verdict::Accepted(response) => Ok(response),
            Verdict::Refused(failure) => {
                let problems: Vec<String> = failure.problems.iter().map(ToString::to_string).collect();
                bail!("{}\n{}", failure.error, problems.join("\n"))
            }
        }
    }

    /// Deletes what documents name.
    pub async fn delete_documents(&self, request: &DeleteRequest) -> Result<ApplyResponse> {
        self.call(Method::POST, "/v1/delete", Some(request)).await
    }

    /// Deletes what a query finds.
    pub async fn delete(&self, query: &ResourceQuery) -> Result<ApplyResponse> {
        self.call(Method::DELETE, of_resources(query).as_str(), None::<&()>).await
    }

    /// Resources.
    pub async fn resources(&self, query: &ResourceQuery) -> Result<Resources> {
        self.ask(&of_resources(query)).await
    }

    /// What stands and cannot work.
    pub async fn problems(&self) -> Result<control::v1::Problems> {
        self.call(Method::GET, "/v1/problems", None::<&()>).await
    }

    /// All that there is to say of what stands.
    pub async fn analysis(&self) -> Result<control::v1::Problems> {
        self.call(Method::GET, "/v1/analysis", None::<&()>).await
    }

    /// The control plane and every proxy.
    pub async fn status(&self) -> Result<Status> {
        self.call(Method::GET, "/v1/status", None::<&()>).await
    }

    /// The configuration that was made for a proxy.
    pub async fn proxy_config(&self, node: &str) -> Result<ProxyConfig> {
        self.call(Method::GET, &format!("/v1/proxies/{}/config", escape(node)), None::<&()>).await
    }

    /// What a proxy of this machine needs to join.
    pub async fn bootstrap(&self, request: &BootstrapRequest) -> Result<Bootstrap> {
        self.call(Method::POST, "/v1/bootstrap", Some(request)).await
    }

    /// What a proxy is told at its start.
    pub async fn start(&self, request: &StartRequest) -> Result<Start> {
        self.call(Method::POST, "/v1/start", Some(request)).await
    }

    /// What a proxy of another machine needs to join.
    pub async fn token(&self, request: &TokenRequest) -> Result<Bootstrap> {
        self.call(Method::POST, "/v1/tokens", Some(request)).await
    }

    /// Join tokens, without their secrets.
    pub async fn join_tokens(&self) -> Result<JoinTokenList> {
        self.call(Method::GET, "/v1/tokens", None::<&()>).await
    }

    /// Takes a join token back.
    pub async fn revoke_join_token(&self, id: &str) -> Result<Removed> {
        self.call(Method::DELETE, &format!("/v1/tokens/{}", escape(id)), None::<&()>).await
    }

    /// Who this is to the control plane.
    pub async fn whoami(&self) -> Result<Whoami> {
        self.call(Method::GET, "/v1/whoami", None::<&()>).await
    }

    /// Every user.
    pub async fn users(&self) -> Result<UserList> {
        self.call(Method::GET, "/v1/users", None::<&()>).await
    }

    /// Makes a user.
    pub async fn add_user(&self, name: &str, says: &UserRequest) -> Result<UserView> {
        self.call(Method::POST, &format!("/v1/users/{}", escape(name)), Some(says)).await
    }

    /// Makes a user another.
    pub async fn set_user(&self, name: &str, says: &UserRequest) -> Result<UserView> {
        self.call(Method::PUT, &format!("/v1/users/{}", escape(name)), Some(says)).await
    }

    /// Removes a user.
    pub async fn remove_user(&self, name: &str) -> Result<Removed> {
        self.call(Method::DELETE, &format!("/v1/users/{}", escape(name)), None::<&()>).await
    }

    /// Makes a token for a user.
    pub async fn user_token(&self, name: &str, request: &UserTokenRequest) -> Result<IssuedToken> {
        self.call(Method::POST, &format!("/v1/users/{}/tokens", escape(name)), Some(request)).await
    }

    /// Users' tokens, without their secrets.
    pub async fn user_tokens(&self) -> Result<UserTokenList> {
        self.call(Method::GET, "/v1/user-tokens", None::<&()>).await
    }

    /// Takes a user's token back.
    pub async fn revoke_user_token(&self, id: &str) -> Result<Removed> {
        self.call(Method::DELETE, &format!("/v1/user-tokens/{}", escape(id)), None::<&()>).await
    }

    /// The way to mutual TLS.
    pub async fn mutual_tls(&self, query: &MutualTlsQuery) -> Result<MutualTlsPlan> {
        let query =
            Query::new("/v1/mtls").and_text("namespace", &query.namespace).and_text("workload", &query.workload);
        self.ask(&query).await
    }

    /// What proxies refused, and what failed at them.
    pub async fn refusals(&self, query: &RefusalQuery) -> Result<RefusalPage> {
        let query = Query::new("/v1/refusals")
            .and_text("request_id", &query.request_id)
            .and_text("namespace", &query.namespace)
            .and_text("workload", &query.workload)
            .and_text("service", &query.service)
            .and_text("from", &query.from)
            .and("after", query.after)
            .and_some("limit", query.limit);
        self.ask(&query).await
    }

    /// Entries of the audit log.
    pub async fn audit(&self, query: &AuditQuery) -> Result<AuditPage> {
        let query = Query::new("/v1/audit")
            .and_text("since", &query.since)
            .and_text("who", &query.who)
            .and_text("what", &query.what)
            .and_some("limit", query.limit);
        self.ask(&query).await
    }

    /// Is the audit log as it was written?
    pub async fn audit_verdict(&self) -> Result<AuditVerdict> {
        self.call(Method::GET, "/v1/audit/verdict", None::<&()>).await
    }

    /// The roots of the mesh.
    pub async fn trust_bundle(&self) -> Result<TrustBundle> {
        self.call(Method::GET, "/v1/trust-bundle", None::<&()>).await
    }

    /// The certificate authority.
    pub async fn ca_status(&self) -> Result<CaStatus> {
        self.call(Method::GET, "/v1/ca", None::<&()>).await
    }

    /// A step of a rotation.
    pub async fn ca_rotate(&self, request: &RotationRequest) -> Result<CaStatus> {
        self.call(Method::POST, "/v1/ca/rotation", Some(request)).await
    }

    /// Another authority.
    pub async fn ca_import(&self, files: &CaFiles) -> Result<CaStatus> {
        self.call(Method::POST, "/v1/ca/import", Some(files)).await
    }

    /// Revokes what the authority issued, or makes it good again.
    pub async fn ca_revoke(&self, request: &RevocationRequest) -> Result<Revoked> {
        self.call(Method::POST, "/v1/ca/revocations", Some(request)).await
    }

    /// The authority's files; the key only if it is wanted.
    pub async fn ca_export(&self, with_key: bool) -> Result<CaFiles> {
        self.call(Method::GET, &format!("/v1/ca/export?with_key={with_key}"), None::<&()>).await
    }

    /// A key for the dashboard.
    pub async fn dashboard(&self) -> Result<DashboardKey> {
        self.call(Method::POST, "/v1/dashboard", None::<&()>).await
    }

    /// Asks for a document.
    pub async fn ask<T: DeserializeOwned>(&self, query: &Query) -> Result<T> {
        self.call(Method::GET, query.as_str(), None::<&()>).await
    }

    /// Asks for a text.
    pub async fn text(&self, query: &Query) -> Result<String> {
        let (status, body) = self.exchange(Method::GET, query.as_str(), None::<&()>).await?;
        if status != 200 {
            return Err(failure(status, &body));
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Asks for events, as long as they come.
    pub async fn events(&self, query: &Query) -> Result<Events> {
        let request = Request::builder().method(Method::GET).uri(query.as_str()).header("accept", "text/event-stream");
        let response = match &self.way {
            Way::Socket(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(|error| unreachable(socket, &error))?;
                begin(stream, request.header("host", "localhost").body(Full::default())?).await?
            }
            Way::Tls(server) => {
                let stream = server.connect().await?;
                begin(stream, server.sign(request).body(Full::default())?).await?
            }
        };
        let status = response.status().as_u16();
        if status != 200 {
            let body = response.into_body().collect().await.context("the control plane hung up")?.to_bytes();
            return Err(failure(status, &body));
        }
        Ok(Events::new(response.into_body()))
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<T> {
        let (status, body) = self.exchange(method, path, body).await?;
        if status != 200 {
            return Err(failure(status, &body));
        }
        read(&body)
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<(u16, Bytes)> {
        let answer = tokio::time::timeout(PATIENCE, self.send(method, path, body)).await;
        answer.map_err(|_| anyhow!("the control plane did not answer within {} s", PATIENCE.as_secs()))?
    }

    async fn send(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<(u16, Bytes)> {
        let json = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        match &self.way {
            Way::Socket(socket) => {
                let stream = UnixStream::connect(socket).await.map_err(|error| unreachable(socket, &error))?;
                let request = request.header("host", "localhost");
                exchange(stream, request.body(Full::new(Bytes::from(json)))?).await
            }
            Way::Tls(server) => {
                let stream = server.connect().await?;
                let request = server.sign(request);
                exchange(stream, request.body(Full::new(Bytes::from(json)))?).await
            }
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(u16, Bytes)> {
    let response = begin(stream, request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.context("the control plane hung up")?.to_bytes();
    Ok((status, body))
}

/// Sends a request; the connection ends with the response's body.
async fn begin(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    sender.send_request(request).await.context("the control plane hung up")
}

fn unreachable(socket: &std::path::Path, error: &std::io::Error) -> anyhow::Error {
    let socket = socket.display();
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => {
            anyhow!("{socket}: you may not speak with this control plane; expected to be the user who runs it, or root")
        }
        _ => anyhow!(
            "{socket}: no control plane listens there ({error}); start one with `halcyon control`, or name its data \
             directory with --data-dir or HALCYON_DATA_DIR"
        ),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body)
        .context("the control plane's answer has another form than this program knows; are both of one version?")
}

fn failure(status: u16, body: &[u8]) -> anyhow::Error {
    match serde_json::from_slice::<Failure>(body) {
        Ok(Failure { error, hint, .. }) if hint.is_empty() => anyhow!(error),
        Ok(Failure { error, hint, .. }) => anyhow!("{error}; {hint}"),
        Err(_) => anyhow!("the control plane answered {status}: {}", String::from_utf8_lossy(body).trim()),
    }
}

/// Which resources are meant.
fn of_resources(query: &ResourceQuery) -> Query {
    Query::new("/v1/resources")
        .and("all_namespaces", query.all_namespaces)
        .and_text("kind", &query.kind)
        .and_text("namespace", &query.namespace)
        .and_text("name", &query.name)
}
