//! What a proxy needs to join the mesh.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Extension;
use axum::extract::connect_info::ConnectInfo;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Json, Path, State};
use http::StatusCode;
use translate::Starting;

use super::{Answer, Parts, Peer, Refused, Shared, body, failure};
use crate::audit::Author;
use crate::authority::{BOOTSTRAP_TTL, Refusal};
use crate::callers::Caller;
use crate::v1::{Bootstrap, BootstrapRequest, JoinTokenList, Removed, Start, StartRequest, TokenRequest, TrustBundle};

/// The life of a token for another machine, unless asked otherwise, and the longest.
const TOKEN_TTL: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(24 * 3600));

pub async fn bootstrap(
    State(parts): Shared,
    Extension(caller): Extension<Caller>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Result<Json<BootstrapRequest>, JsonRejection>,
) -> Answer<Json<Bootstrap>> {
    let request = body(request)?;
    let mut made = make(&parts, &request.namespace, &request.service_account, BOOTSTRAP_TTL, &caller.by).await?;
    if !peer.is_remote() && parts.endpoints.tls.ip().is_unspecified() {
        // Whoever came over the Unix socket is on this machine.
        made.xds_address = SocketAddr::from((Ipv4Addr::LOCALHOST, parts.endpoints.tls.port())).to_string();
    }
    tracing::info!("bootstrap of {} as {}", request.instance, made.identity);
    Ok(Json(made))
}

pub async fn start(State(parts): Shared, request: Result<Json<StartRequest>, JsonRejection>) -> Answer<Json<Start>> {
    let request = body(request)?;
    let now = parts.store.now();
    let proxy = Starting {
        namespace: &request.namespace,
        workload: &request.workload,
        labels: &request.labels,
        annotation: request.annotation.as_deref(),
    };
    let said = now.world.start(now.resources.values().map(|stored| &stored.resource), proxy);
    Ok(Json(Start {
        concurrency: said.concurrency,
        environment: said.environment,
        termination_drain_s: said.termination_drain.map(|time| time.as_secs_f64()),
    }))
}

pub async fn token(
    State(parts): Shared,
    Extension(caller): Extension<Caller>,
    request: Result<Json<TokenRequest>, JsonRejection>,
) -> Answer<Json<Bootstrap>> {
    let request = body(request)?;
    let ttl = request.ttl_s.map_or(TOKEN_TTL.0, Duration::from_secs);
    if ttl.is_zero() || ttl > TOKEN_TTL.1 {
        let hint = format!("ask for 1 second to {} hours", TOKEN_TTL.1.as_secs() / 3600);
        return Err(failure(StatusCode::BAD_REQUEST, format!("a token cannot be good for {ttl:?}"), hint));
    }
    let made = make(&parts, &request.namespace, &request.service_account, ttl, &caller.by).await?;
    tracing::info!("made a join token for {}", made.identity);
    Ok(Json(made))
}

pub async fn tokens(State(parts): Shared) -> Json<JoinTokenList> {
    Json(JoinTokenList { tokens: parts.issuer.join_tokens() })
}

pub async fn revoke(
    State(parts): Shared,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<Json<Removed>> {
    if parts.issuer.revoke(&id, &caller.by).await? {
        return Ok(Json(Removed { removed: format!("join token {id}") }));
    }
    let error = format!("there is no join token `{id}` that could still be used");
    Err(failure(StatusCode::NOT_FOUND, error, "see `halcyon token list`"))
}

pub async fn trust_bundle(State(parts): Shared) -> Json<TrustBundle> {
    let trust_domain = parts.issuer.trust_domain().to_string();
    Json(TrustBundle { trust_domain, pem: parts.issuer.bundle() })
}

async fn make(parts: &Parts, namespace: &str, service_account: &str, ttl: Duration, by: &Author) -> Answer<Bootstrap> {
    let (identity, token, expires) = parts.issuer.token(namespace, service_account, ttl, by).await?;
    Ok(Bootstrap {
        token,
        expires: crate::timestamp(expires),
        trust_bundle_pem: parts.issuer.bundle(),
        xds_address: address(parts),
        server_spiffe_id: parts.endpoints.identity.clone(),
        trust_domain: parts.issuer.trust_domain().to_string(),
        identity: identity.to_string(),
    })
}

/// Where the TLS door is reached. One that listens everywhere is named by the machine's name.
fn address(parts: &Parts) -> String {
    let tls = parts.endpoints.tls;
    if tls.ip().is_unspecified() {
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        return format!("{machine}:{}", tls.port());
    }
    tls.to_string()
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Identity(error) => failure(
                StatusCode::BAD_REQUEST,
                error.to_string(),
                "give a namespace and a service account of letters, digits and `-`",
            ),
            Refusal::Revoked { .. } => failure(StatusCode::CONFLICT, refusal.to_string(), "see `halcyon ca status`"),
            Refusal::Store(error) => error.into(),
            other => failure(StatusCode::INTERNAL_SERVER_ERROR, other.to_string(), "look at the control plane's log"),
        }
    }
}
