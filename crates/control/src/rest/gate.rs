//! Who calls, and whether that is allowed: asked before any handler runs, and written down if it is not.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use base::SpiffeId;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use telemetry::{Counter, Desc, Family, Shard};
use tokio::net::UnixListener;
use tokio::time::Instant;
use transport::PeerCredentials;

use super::{Parts, Refused, failure};
use crate::audit::Author;
use crate::callers::{Caller, Denied, Means, Right, Unknown};
use crate::doors::ApiListener;
use crate::v1::{AuditEntry, Role};

/// Who is at the other end of a connection to the API.
#[derive(Debug, Clone)]
pub enum Peer {
    /// Somebody on this machine, with the user that the kernel vouches for.
    Local(Option<u32>),
    /// Somebody who came over TLS, perhaps with a certificate.
    Remote(SocketAddr, Option<SpiffeId>),
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self::Local(PeerCredentials::of(stream.io()).ok().map(|peer| peer.uid))
    }
}

impl Connected<IncomingStream<'_, ApiListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, ApiListener>) -> Self {
        let (address, identity) = stream.remote_addr().clone();
        Self::Remote(address, identity)
    }
}

impl Peer {
    fn place(&self) -> String {
        match self {
            Self::Local(_) => "local".to_owned(),
            Self::Remote(address, _) => address.to_string(),
        }
    }

    /// Where guesses are counted.
    fn network(&self) -> Option<IpAddr> {
        match self {
            Self::Local(_) => None,
            Self::Remote(address, _) => Some(address.ip()),
        }
    }

    /// Did it come over the network?
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::Remote(..))
    }
}

/// What is counted of those who are not let in.
#[derive(Clone)]
pub struct Metrics {
    refused: Family<Counter>,
}

impl Metrics {
    /// Declares them.
    pub fn new(shard: &Shard) -> Result<Self, telemetry::DeclareError> {
        let refused = Desc::new("halcyon_api_refused_total", "Calls of the API that were refused, by reason.");
        Ok(Self { refused: shard.counters(refused.labels(&["reason"]))?.shown(&REASONS) })
    }
}

/// Every word by which refusals are counted: those of [`Stranger::reason`], and `right` of callers who are known.
const REASONS: [&str; 8] = [
    "unproven",
    "local_user",
    "token_malformed",
    "token_unknown",
    "token_expired",
    "identity_unknown",
    "limited",
    "right",
];

/// Why a caller is not let in.
enum Stranger {
    Nobody,
    User(Option<u32>),
    Unknown(Unknown),
    Limited(u64),
}

impl Stranger {
    /// A word for the counter.
    fn reason(&self) -> &'static str {
        match self {
            Self::Nobody => "unproven",
            Self::User(_) => "local_user",
            Self::Unknown(Unknown::Malformed) => "token_malformed",
            Self::Unknown(Unknown::Token) => "token_unknown",
            Self::Unknown(Unknown::Expired) => "token_expired",
            Self::Unknown(Unknown::Identity(_)) => "identity_unknown",
            Self::Limited(_) => "limited",
        }
    }

    /// What the log says, which is more than the caller hears.
    fn words(&self) -> String {
        match self {
            Self::Nobody => "nothing proves who asks".to_owned(),
            Self::User(uid) => format!("the user {} is neither the control plane's nor root", number(*uid)),
            Self::Unknown(unknown) => unknown.to_string(),
            Self::Limited(_) => "too many failures from this address".to_owned(),
        }
    }

    fn answer(self) -> Response {
        let unproven = |error: &str| {
            let hint = "send a token (`--token-file`, or `authorization: Bearer hlc_..`), or show a certificate of a user's identity";
            let mut answer = failure(StatusCode::UNAUTHORIZED, error, hint).into_response();
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            answer
        };
        match self {
            Self::Nobody => unproven("nothing proves who asks"),
            // Which of them it is helps only who guesses.
            Self::Unknown(Unknown::Malformed | Unknown::Token | Unknown::Expired) => {
                unproven("the token is refused: it is not known, was revoked, or has expired")
            }
            Self::Unknown(Unknown::Identity(identity)) => unproven(&format!("no user has the identity `{identity}`")),
            Self::User(_) => failure(
                StatusCode::FORBIDDEN,
                "this control plane belongs to another user",
                "call it as the user that started it, as root, or with a token over --server",
            )
            .into_response(),
            Self::Limited(seconds) => {
                let error = "too many attempts failed from this address";
                let hint = format!("try again in {seconds} s");
                let mut answer = failure(StatusCode::TOO_MANY_REQUESTS, error, hint).into_response();
                answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                answer
            }
        }
    }
}

fn number(uid: Option<u32>) -> String {
    uid.map_or_else(|| "that the kernel does not name".to_owned(), |uid| uid.to_string())
}

/// Finds out who calls; whoever is not known gets no further, whatever is asked for.
pub async fn identify(
    State(parts): State<Arc<Parts>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    match caller(&parts, &peer, request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(stranger) => turn_away(&parts, &peer, request.method(), request.uri().path(), stranger).await,
    }
}

/// Counts and writes down that somebody is not known, and makes the answer of it.
async fn turn_away(parts: &Parts, peer: &Peer, method: &Method, path: &str, stranger: Stranger) -> Response {
    parts.gate.refused.with(&[stranger.reason()]).inc();
    let limited = matches!(stranger, Stranger::Limited(_));
    let known = peer.network().is_none_or(|address| parts.attempts.failed(address, Instant::now()));
    if known && !limited {
        let who = match peer {
            Peer::Local(uid) => format!("uid {}", number(*uid)),
            Peer::Remote(_, Some(identity)) => identity.to_string(),
            Peer::Remote(_, None) => "unknown".to_owned(),
        };
        let by = Author::new(who, peer.place());
        tracing::warn!("API: refused {} from {}: {}", by.who, by.from, stranger.words());
        // The path may hold anything that a stranger writes: only its beginning is kept.
        let what: String = path.chars().filter(|c| c.is_ascii_graphic()).take(100).collect();
        parts.store.note(AuditEntry::refused(&by, method.as_str(), what, stranger.words())).await;
    }
    stranger.answer()
}

/// Who shows this token on a page; answered, counted and written down as any other caller if nobody has it.
pub async fn sign_in(parts: &Parts, address: SocketAddr, token: &str) -> Result<Caller, Response> {
    let caller = by_token(parts, address, token);
    match caller {
        Ok(caller) => Ok(caller),
        Err(stranger) => Err(turn_away(parts, &Peer::Remote(address, None), &Method::POST, "/login", stranger).await),
    }
}

fn by_token(parts: &Parts, address: SocketAddr, token: &str) -> Result<Caller, Stranger> {
    not_limited(parts, address)?;
    parts.users.by_token(token, &address.to_string()).map_err(Stranger::Unknown)
}

/// Who failed too often waits, whatever is shown.
fn not_limited(parts: &Parts, address: SocketAddr) -> Result<(), Stranger> {
    match parts.attempts.blocked(address.ip(), Instant::now()) {
        Some(wait) => Err(Stranger::Limited(wait.as_secs() + 1)),
        None => Ok(()),
    }
}

fn caller(parts: &Parts, peer: &Peer, headers: &HeaderMap) -> Result<Caller, Stranger> {
    let (address, identity) = match peer {
        Peer::Local(uid) => {
            let role = local(*uid, rustix::process::geteuid().as_raw(), parts.group_role)?;
            let by = Author::new(format!("uid {}", number(*uid)), "local");
            return Ok(Caller { by, role, namespaces: None, by_means_of: Means::Kernel });
        }
        Peer::Remote(address, identity) => (address, identity),
    };
    if let Some(token) = bearer(headers) {
        return by_token(parts, *address, token);
    }
    not_limited(parts, *address)?;
    let identity = identity.as_ref().ok_or(Stranger::Nobody)?;
    parts.users.by_identity(identity, &peer.place()).map_err(Stranger::Unknown)
}

/// The owner and root are admins. Whoever else the socket's permissions let in belongs to the group that was configured.
fn local(uid: Option<u32>, ours: u32, of_group: Option<Role>) -> Result<Role, Stranger> {
    match uid {
        Some(uid) if uid == ours || uid == 0 => Ok(Role::Admin),
        Some(_) => of_group.ok_or(Stranger::User(uid)),
        None => Err(Stranger::User(None)),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Asks for the right that the call needs.
pub async fn guard(
    State((parts, method, needs)): State<(Arc<Parts>, Method, Right)>,
    request: Request,
    next: Next,
) -> Response {
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return Stranger::Nobody.answer();
    };
    match caller.needs(needs) {
        Ok(()) => next.run(request).await,
        Err(denied) => deny(&parts, &caller, method.as_str(), request.uri().path(), denied).await.into_response(),
    }
}

/// Writes down that a right was missing, and makes the answer of it.
pub async fn deny(parts: &Parts, caller: &Caller, action: &str, what: &str, denied: Denied) -> Refused {
    parts.gate.refused.with(&["right"]).inc();
    tracing::warn!("API: {denied}");
    parts.store.note(AuditEntry::refused(&caller.by, action, what, denied.reason())).await;
    failure(StatusCode::FORBIDDEN, denied.to_string(), "ask an admin: `halcyon user set`")
}

/// No answer of ours is to be kept, guessed at, framed, or taken for a page.
pub async fn harden(request: Request, next: Next) -> Response {
    let over_tls = request.extensions().get::<ConnectInfo<Peer>>().is_some_and(|peer| peer.0.is_remote());
    let mut answer = next.run(request).await;
    hardened(answer.headers_mut(), "no-store", "default-src 'none'; frame-ancestors 'none'");
    if over_tls {
        answer
            .headers_mut()
            .entry(header::STRICT_TRANSPORT_SECURITY)
            .or_insert(HeaderValue::from_static("max-age=31536000"));
    }
    answer
}

/// What every answer of ours says to a browser, unless it says it already.
pub fn hardened(headers: &mut HeaderMap, kept: &'static str, content: &'static str) {
    for (name, value) in [
        (header::CACHE_CONTROL, kept),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, content),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_local() {
        for (uid, of_group, expected) in [
            (Some(1000), None, Some(Role::Admin)),
            (Some(0), None, Some(Role::Admin)),
            (Some(1001), None, None),
            (Some(1001), Some(Role::Viewer), Some(Role::Viewer)),
            (Some(0), Some(Role::Viewer), Some(Role::Admin)),
            (None, Some(Role::Viewer), None),
        ] {
            assert_eq!(local(uid, 1000, of_group).ok(), expected, "{uid:?} {of_group:?}");
        }
    }

    #[test]
    fn only_bearers_are_read() {
        let check = |value: &str, expected: Option<&str>| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())]);
            assert_eq!(bearer(&headers), expected, "{value}");
        };
        check("Bearer hlc_a", Some("hlc_a"));
        check("bearer  hlc_a ", Some("hlc_a"));
        check("Basic hlc_a", None);
        check("hlc_a", None);
    }
}
