//! The dashboard's door: pages for a browser on this machine, and the API behind a cookie.
//!
//! Whoever may open a connection to a loopback address is not known yet: a page is shown to those who bring a key that was
//! made for them at the API (`halcyon dashboard`), or a user's token. The cookie goes nowhere else (`SameSite=Strict`),
//! changes need a header besides that no form of another site can send, and names by which other sites could reach us
//! (DNS rebinding) are refused.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Json, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base::drain::Watch;
use data_encoding::BASE64URL_NOPAD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::callers::{Caller, Users};
use crate::error::ControlError;
use crate::packed;
use crate::rest::{self, Parts, failure};

/// Under this name the browser keeps who it is.
const COOKIE: &str = "halcyon_session";
/// Changes carry it.
const CHANGES: HeaderName = HeaderName::from_static("x-halcyon-dashboard");
/// A session ends after this, however busy.
const SESSION: Duration = Duration::from_secs(12 * 3600);
/// A key is good for so long, once.
const KEY: Duration = Duration::from_secs(300);
/// So many sessions stand at once; the oldest goes first.
const MOST_SESSIONS: usize = 1000;
/// What the pages may load: nothing from elsewhere.
const CONTENT: &str = "default-src 'none'; script-src 'self'; worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; \
                       img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; \
                       frame-ancestors 'none'";

/// Who has a session, and which keys would begin one. Secrets are kept as hashes.
#[derive(Clone, Default)]
pub(crate) struct Sessions(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    keys: HashMap<Hash, (Who, Instant)>,
    sessions: HashMap<Hash, (Who, Instant)>,
}

type Hash = [u8; 32];

/// Who somebody is, asked anew with each request.
#[derive(Clone)]
enum Who {
    /// As the API knew the caller when the key was made.
    Caller(Caller),
    /// Who has this token.
    Token(Arc<str>),
}

impl Sessions {
    /// A key for a caller of the API, which begins a session once.
    pub fn key(&self, caller: &Caller) -> String {
        let key = secret();
        let mut known = self.lock();
        known.keys.retain(|_, (_, made)| made.elapsed() < KEY);
        known.keys.insert(hash(&key), (Who::Caller(caller.clone()), Instant::now()));
        key
    }

    /// Begins the session of a key. Gives its secret.
    fn redeem(&self, key: &str) -> Option<String> {
        let (who, made) = self.lock().keys.remove(&hash(key))?;
        (made.elapsed() < KEY).then(|| self.begin(who))
    }

    fn begin(&self, who: Who) -> String {
        let cookie = secret();
        let mut known = self.lock();
        known.sessions.retain(|_, (_, begun)| begun.elapsed() < SESSION);
        if known.sessions.len() >= MOST_SESSIONS
            && let Some(oldest) = known.sessions.iter().min_by_key(|(_, (_, begun))| *begun).map(|(hash, _)| *hash)
        {
            known.sessions.remove(&oldest);
        }
        known.sessions.insert(hash(&cookie), (who, Instant::now()));
        cookie
    }

    fn end(&self, cookie: &str) {
        self.lock().sessions.remove(&hash(cookie));
    }

    fn who(&self, cookie: &str) -> Option<Who> {
        let known = self.lock();
        known.sessions.get(&hash(cookie)).filter(|(_, begun)| begun.elapsed() < SESSION).map(|(who, _)| who.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn secret() -> String {
    BASE64URL_NOPAD.encode(&rand::random::<[u8; 32]>())
}

fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

/// The door's routes: signing in and out, the API, and pages for everything else.
pub(crate) fn router(parts: &Arc<Parts>, calls: Router<Arc<Parts>>, pages: Router) -> Router {
    let api = calls.layer(middleware::from_fn_with_state(parts.clone(), identify)).with_state(parts.clone());
    Router::new()
        .route("/login", get(by_key).post(by_token))
        .route("/logout", post(leave))
        .with_state(parts.clone())
        .merge(api)
        .fallback_service(pages)
        .layer(middleware::from_fn(packed::pack))
        .layer(middleware::from_fn(harden))
}

/// Serves the door.
pub(crate) async fn serve(listener: TcpListener, routes: Router, drain: Watch) -> Result<(), ControlError> {
    let service = routes.into_make_service_with_connect_info::<SocketAddr>();
    let served = axum::serve(listener, service).with_graceful_shutdown(drain.started()).await;
    served.map_err(|e| ControlError::Door { door: "dashboard", reason: e.to_string() })
}

/// Only names that can mean nobody but this machine, and answers that are kept, framed and sniffed by nobody.
async fn harden(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let is_asset = request.uri().path().starts_with("/assets/");
    let mut answer = match host.is_some_and(is_ours) {
        true => next.run(request).await,
        false => failure(
            StatusCode::MISDIRECTED_REQUEST,
            "the dashboard is not served under this name",
            "open it by its address, as `halcyon dashboard` prints it",
        )
        .into_response(),
    };
    let headers = answer.headers_mut();
    // Names of assets hold a hash of what is in them.
    let kept = if is_asset { "public, max-age=31536000, immutable" } else { "no-store" };
    rest::hardened(headers, kept, CONTENT);
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    headers.entry(opener).or_insert(HeaderValue::from_static("same-origin"));
    answer
}

/// An address, or `localhost`.
fn is_ours(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok()
}

/// Finds out who calls by the cookie.
async fn identify(
    State(parts): State<Arc<Parts>>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if !reads && !request.headers().contains_key(CHANGES) {
        let hint = format!("send the header `{CHANGES}`, which pages of other sites cannot");
        return failure(StatusCode::FORBIDDEN, "a change through the dashboard's door", hint).into_response();
    }
    let who = cookie(request.headers()).and_then(|cookie| parts.sessions.who(cookie));
    let caller = who.and_then(|who| caller(&parts.users, who, &address.to_string()));
    let Some(caller) = caller else {
        let hint = "sign in with a token, or open the address that `halcyon dashboard` prints";
        return failure(StatusCode::UNAUTHORIZED, "nobody is signed in", hint).into_response();
    };
    request.extensions_mut().insert(caller);
    next.run(request).await
}

/// The caller, if it is still one.
fn caller(users: &Users, who: Who, place: &str) -> Option<Caller> {
    match who {
        Who::Token(token) => users.by_token(&token, place).ok(),
        Who::Caller(caller) => users.still(caller),
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

#[derive(Deserialize)]
struct KeyQuery {
    key: String,
    /// A path of the dashboard to go on to.
    #[serde(default)]
    to: String,
}

async fn by_key(State(parts): State<Arc<Parts>>, Query(KeyQuery { key, to }): Query<KeyQuery>) -> Response {
    let to = if to.starts_with('/') && !to.starts_with("//") && !to.contains('\\') { to } else { "/".to_owned() };
    match parts.sessions.redeem(&key) {
        Some(session) => enter(StatusCode::SEE_OTHER, &session, Some(&to)),
        // The page says how to sign in. Whoever is signed in stays so: anybody could send a key that is none.
        None => (StatusCode::SEE_OTHER, [(header::LOCATION, "/?expired")]).into_response(),
    }
}

#[derive(Deserialize)]
struct TokenForm {
    token: String,
}

async fn by_token(
    State(parts): State<Arc<Parts>>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    form: Result<Json<TokenForm>, axum::extract::rejection::JsonRejection>,
) -> Response {
    let TokenForm { token } = match rest::body(form) {
        Ok(form) => form,
        Err(refused) => return refused.into_response(),
    };
    match rest::sign_in(&parts, address, token.trim()).await {
        Ok(_) => enter(StatusCode::NO_CONTENT, &parts.sessions.begin(Who::Token(token.trim().into())), None),
        Err(refused) => refused,
    }
}

async fn leave(State(parts): State<Arc<Parts>>, headers: HeaderMap) -> Response {
    if let Some(cookie) = cookie(&headers) {
        parts.sessions.end(cookie);
    }
    enter(StatusCode::NO_CONTENT, "", None)
}

/// An answer that sets the cookie, or takes it away.
fn enter(status: StatusCode, session: &str, to: Option<&str>) -> Response {
    let age = if session.is_empty() { 0 } else { SESSION.as_secs() };
    let cookie = format!("{COOKIE}={session}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}");
    let mut answer = status.into_response();
    let mut set = |name, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            answer.headers_mut().insert(name, value);
        }
    };
    set(header::SET_COOKIE, &cookie);
    to.iter().for_each(|to| set(header::LOCATION, to));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Author;
    use crate::callers::Means;
    use crate::v1::Role;

    #[test]
    fn names_that_mean_this_machine() {
        for (host, expected) in [
            ("127.0.0.1:20001", true),
            ("localhost:20001", true),
            ("localhost", true),
            ("[::1]:20001", true),
            ("10.0.0.7", true),
            ("attacker.example:20001", false),
            ("127.0.0.1.attacker.example", false),
            ("", false),
        ] {
            assert_eq!(is_ours(host), expected, "{host}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_good_once_and_a_session_for_a_while() {
        let sessions = Sessions::default();
        let by = Author::new("uid 0", "local");
        let caller = Caller { by, role: Role::Admin, namespaces: None, by_means_of: Means::Kernel };
        let key = sessions.key(&caller);
        let session = sessions.redeem(&key).unwrap();
        assert!(sessions.redeem(&key).is_none() && sessions.who(&session).is_some() && sessions.who("x").is_none());
        let late = sessions.key(&caller);
        tokio::time::advance(KEY).await;
        assert!(sessions.redeem(&late).is_none());
        tokio::time::advance(SESSION).await;
        assert!(sessions.who(&session).is_none());
    }

    #[test]
    fn cookies() {
        let of = |text: &'static str| {
            let headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static(text))]);
            cookie(&headers).map(str::to_owned)
        };
        assert_eq!(of("a=b; halcyon_session=x; c=d").as_deref(), Some("x"));
        assert_eq!(of("xhalcyon_session=x"), None);
    }
}
