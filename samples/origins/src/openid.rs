//! A provider of OpenID Connect for tests: it logs everybody in at once, as the user that it is told.
//!
//! It keeps what RFC 6749, RFC 7636 and OpenID Connect Core 1.0 ask of one: a code is good once, and only with its proof key,
//! its client's secret and the same `redirect_uri`; refresh tokens are good once, too. [`Mood`] says how it feels.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{Form, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

/// How the provider answers whoever asks for tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    /// As it should.
    #[default]
    Good,
    /// With a mistake of its own.
    Ill,
    /// Not at all, for a minute.
    Hanging,
    /// With what is no JSON.
    Babbling,
}

/// Who asks, and what is said of who logs in.
pub struct Settings {
    /// Its own name: the URL that it is reached by.
    pub issuer: String,
    /// The client's name and secret.
    pub client: (String, String),
    /// How many seconds tokens are good for.
    pub seconds: u64,
    /// Signs what a token says.
    pub sign: Box<dyn Fn(&Value) -> String + Send + Sync>,
    /// The keys that the signatures are checked by (RFC 7517).
    pub keys: String,
}

/// A provider.
pub struct Provider {
    settings: Settings,
    issued: AtomicU64,
    given: AtomicU64,
    mood: Mutex<Mood>,
    claims: Mutex<Value>,
    codes: Mutex<BTreeMap<String, Begun>>,
    refreshes: Mutex<BTreeMap<String, ()>>,
    ended: AtomicU64,
}

/// A login whose code was not used yet.
struct Begun {
    redirect_uri: String,
    challenge: String,
}

#[derive(Deserialize)]
struct Authorization {
    response_type: String,
    client_id: String,
    redirect_uri: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    code_challenge: String,
    #[serde(default)]
    code_challenge_method: String,
}

#[derive(Deserialize)]
struct Asked {
    grant_type: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    redirect_uri: String,
    #[serde(default)]
    code_verifier: String,
    #[serde(default)]
    refresh_token: String,
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    client_secret: String,
}

impl Provider {
    /// A provider of which nobody has asked anything.
    pub fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            settings,
            issued: AtomicU64::new(0),
            given: AtomicU64::new(0),
            mood: Mutex::default(),
            claims: Mutex::new(json!({})),
            codes: Mutex::default(),
            refreshes: Mutex::default(),
            ended: AtomicU64::new(0),
        })
    }

    /// It feels otherwise from now on.
    pub fn feels(&self, mood: Mood) {
        *held(&self.mood) = mood;
    }

    /// Who logs in from now on: what identity tokens say beside `iss`, `aud`, `exp` and `iat`.
    pub fn says(&self, claims: Value) {
        *held(&self.claims) = claims;
    }

    /// How often tokens were given.
    pub fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// How often somebody logged out.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Relaxed)
    }

    /// Serves on `listener` until `end` completes.
    ///
    /// # Errors
    /// When the listener breaks.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        end: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(configuration))
            .route("/keys", get(keys))
            .route("/authorize", get(authorize))
            .route("/token", post(token))
            .route("/end", get(end_session))
            .with_state(self);
        axum::serve(listener, router).with_graceful_shutdown(end).await
    }

    fn fresh(&self) -> String {
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        BASE64URL_NOPAD.encode(&Sha256::digest(format!("{number} {now} {}", self.settings.client.1)))
    }

    fn tokens(&self) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut claims = held(&self.claims).clone();
        claims["iss"] = self.settings.issuer.as_str().into();
        claims["aud"] = self.settings.client.0.as_str().into();
        claims["iat"] = now.into();
        claims["exp"] = (now + self.settings.seconds.max(60)).into();
        self.given.fetch_add(1, Ordering::Relaxed);
        let refresh = self.fresh();
        held(&self.refreshes).insert(refresh.clone(), ());
        json!({
            "access_token": self.fresh(),
            "token_type": "Bearer",
            "expires_in": self.settings.seconds,
            "refresh_token": refresh,
            "id_token": (self.settings.sign)(&claims),
        })
    }

    fn exchanged(&self, asked: &Asked) -> Result<Value, &'static str> {
        let (id, secret) = &self.settings.client;
        if (&asked.client_id, &asked.client_secret) != (id, secret) {
            return Err("invalid_client");
        }
        match asked.grant_type.as_str() {
            "authorization_code" => {
                let begun = held(&self.codes).remove(&asked.code);
                let begun = begun.ok_or("invalid_grant")?;
                let challenge = BASE64URL_NOPAD.encode(&Sha256::digest(&asked.code_verifier));
                let is_same = begun.redirect_uri == asked.redirect_uri && begun.challenge == challenge;
                if is_same { Ok(self.tokens()) } else { Err("invalid_grant") }
            }
            "refresh_token" => {
                let known = held(&self.refreshes).remove(&asked.refresh_token);
                known.map(|()| self.tokens()).ok_or("invalid_grant")
            }
            _ => Err("unsupported_grant_type"),
        }
    }
}

fn held<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

type Shared = State<Arc<Provider>>;

async fn configuration(State(provider): Shared) -> Json<Value> {
    let issuer = &provider.settings.issuer;
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"),
        "end_session_endpoint": format!("{issuer}/end"),
        "response_types_supported": ["code"],
        "code_challenge_methods_supported": ["S256"],
    }))
}

async fn keys(State(provider): Shared) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], provider.settings.keys.clone()).into_response()
}

async fn authorize(State(provider): Shared, Query(asked): Query<Authorization>) -> Response {
    let is_whole = asked.response_type == "code"
        && asked.client_id == provider.settings.client.0
        && asked.code_challenge_method == "S256"
        && asked.scope.split(' ').any(|scope| scope == "openid");
    if !is_whole {
        return (StatusCode::BAD_REQUEST, "this is no authentication request with a proof key\n").into_response();
    }
    let code = provider.fresh();
    let begun = Begun { redirect_uri: asked.redirect_uri.clone(), challenge: asked.code_challenge };
    held(&provider.codes).insert(code.clone(), begun);
    let to = format!("{}?code={code}&state={}", asked.redirect_uri, asked.state);
    (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
}

async fn token(State(provider): Shared, Form(asked): Form<Asked>) -> Response {
    let mood = *held(&provider.mood);
    match mood {
        Mood::Ill => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Mood::Hanging => tokio::time::sleep(Duration::from_secs(60)).await,
        Mood::Babbling => return "tokens are out".into_response(),
        Mood::Good => {}
    }
    match provider.exchanged(&asked) {
        Ok(tokens) => ([(header::CACHE_CONTROL, "no-store")], Json(tokens)).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response(),
    }
}

async fn end_session(State(provider): Shared, Query(asked): Query<BTreeMap<String, String>>) -> Response {
    provider.ended.fetch_add(1, Ordering::Relaxed);
    match asked.get("post_logout_redirect_uri") {
        Some(to) if asked.contains_key("id_token_hint") => {
            (StatusCode::FOUND, [(header::LOCATION, to.clone())]).into_response()
        }
        _ => "logged out\n".into_response(),
    }
}
