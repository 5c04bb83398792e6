//! Checks tokens (Envoy's `envoy.filters.http.jwt_authn`): which token a request must carry, by whom it must be signed,
//! and what of it goes on.
//!
//! What is read of the settings, and keys above all, is shared by all workers, and lives on in the next configuration if the
//! settings are the same. Of several tokens that are found all must be good.

mod claims;
mod fetched;
mod keys;
mod places;
mod status;
mod token;
mod visit;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use http::header::{HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use http::{HeaderMap, Method, Request, StatusCode, header};
use mesh_http::Body;
use model::JwtAuthentication;
use model::jwt::{JwtProvider, JwtRouteRule, KeySource, Required, Requirement};
use model::metadata::Metadata;
use model::route::FilterRule;
use telemetry::ResponseFlags;

use crate::chain::{Facts, Flow, HttpFilter};
use crate::jwt::fetched::Fetched;
use crate::jwt::keys::{KeySet, Origin};
use crate::jwt::places::Places;
use crate::jwt::status::Status;
use crate::jwt::token::Token;
use crate::jwt::visit::Visit;
use crate::local::LocalResponse;
use crate::stats::Stats;

/// Bytes of a target that a refusal repeats.
const TOLD_TARGET: usize = 256;

/// The filter.
#[derive(Debug)]
pub(crate) struct JwtFilter {
    tokens: Arc<Tokens>,
    stats: Stats,
}

/// Its settings, read.
#[derive(Debug)]
pub(crate) struct Tokens {
    settings: Arc<JwtAuthentication>,
    providers: BTreeMap<Arc<str>, Provider>,
    /// The places of all providers together.
    everywhere: Places,
    /// A provider's keys have to be fetched.
    fetches: bool,
}

/// A provider, read.
#[derive(Debug)]
struct Provider {
    name: Arc<str>,
    settings: JwtProvider,
    places: Places,
    keys: Keys,
}

#[derive(Debug)]
enum Keys {
    /// None: nothing in the set can be used.
    Given(Option<Arc<KeySet>>),
    Fetched(Arc<Fetched>),
}

impl Tokens {
    /// Reads settings.
    pub(crate) fn new(settings: Arc<JwtAuthentication>) -> Self {
        let providers = settings.providers.iter().map(|(name, provider)| {
            let keys = match &provider.keys {
                KeySource::Inline(text) => {
                    Keys::Given(KeySet::read(text.as_bytes(), Origin::Configuration).map(Arc::new))
                }
                KeySource::Remote(_) => Keys::Fetched(Arc::default()),
            };
            let (settings, places) = (provider.clone(), Places::of([provider]));
            (name.clone(), Provider { name: name.clone(), settings, places, keys })
        });
        let providers: BTreeMap<_, _> = providers.collect();
        Self {
            everywhere: Places::of(settings.providers.values()),
            fetches: providers.values().any(|provider| matches!(provider.keys, Keys::Fetched(_))),
            providers,
            settings,
        }
    }

    /// What it was made of.
    pub(crate) fn settings(&self) -> &JwtAuthentication {
        &self.settings
    }

    /// The provider of an issuer, else the first that takes any.
    fn of_issuer(&self, issuer: &str) -> Option<&Provider> {
        let with = |wanted: &str| self.providers.values().find(|provider| provider.settings.issuer == wanted);
        with(issuer).or_else(|| with(""))
    }
}

/// The keys of providers whose keys are fetched, by their names. None: they cannot be had.
type Had = Vec<(Arc<str>, Option<Arc<KeySet>>)>;

impl JwtFilter {
    /// These settings, counted there.
    pub(crate) fn new(tokens: Arc<Tokens>, stats: Stats) -> Self {
        Self { tokens, stats }
    }

    /// Its settings.
    pub(crate) fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    /// What is required of a request; none: nothing.
    fn requirement(&self, request: &Request<Body>, facts: &mut Facts<'_>) -> Result<Option<&Requirement>, String> {
        let settings = &*self.tokens.settings;
        match facts.rule(&settings.name) {
            Some(FilterRule::Jwt(JwtRouteRule::Off)) => return Ok(None),
            Some(FilterRule::Jwt(JwtRouteRule::Named(name))) => {
                return settings.requirements.get(name).map(Some).ok_or_else(|| {
                    let known: Vec<_> = settings.requirements.keys().map(|name| &**name).collect();
                    format!("Wrong requirement_name: {name}. It should be one of [{}]", known.join(","))
                });
            }
            _ => {}
        }
        let (view, draw) = (facts.around.view(request), facts.draws.draw());
        let rule = settings.rules.iter().find(|rule| rule.matches.matches(&view, draw));
        Ok(rule.and_then(|rule| match &rule.requires {
            Required::Own(own) => Some(own),
            Required::Named(name) => settings.requirements.get(name),
        }))
    }

    /// The keys of those providers one of whose tokens seems to be there.
    async fn fetch(&self, request: &Request<Body>, facts: &Facts<'_>) -> Had {
        let mut had = Had::new();
        for provider in self.tokens.providers.values() {
            let (Keys::Fetched(fetched), KeySource::Remote(remote)) = (&provider.keys, &provider.settings.keys) else {
                continue;
            };
            let seems = |found: &places::Found<'_>| {
                Token::parse(&found.text).is_ok_and(|token| found.issuers.has(&token.issuer))
            };
            if provider.places.find(request).iter().any(seems) {
                had.push((provider.name.clone(), fetched.keys(remote, facts.around, &self.stats).await));
            }
        }
        had
    }

    fn decide(&self, requirement: &Requirement, had: &Had, request: &mut Request<Body>, facts: &Facts<'_>) -> Flow {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let realm = realm(request, facts);
        let mut visit = Visit::new(&self.tokens, had, request, now);
        let outcome = visit.check(requirement);
        let (said, reroute) = visit.done();
        if !said.is_empty() {
            let metadata: &mut Metadata = request.extensions_mut().get_or_insert_default();
            metadata.of(JwtAuthentication::NAME).extend(said);
        }
        match outcome {
            Ok(()) => {
                self.stats.tokens_allowed.with(&[&self.stats.prefix]).inc();
                if reroute { Flow::Reroute } else { Flow::Continue }
            }
            Err(status) => self.refuse(status, &realm),
        }
    }

    fn refuse(&self, status: Status, realm: &str) -> Flow {
        self.stats.tokens_denied.with(&[&self.stats.prefix]).inc();
        let (strip, mut headers) = (self.tokens.settings.strip_reason, HeaderMap::new());
        let error = if status == Status::Missing { "" } else { ", error=\"invalid_token\"" };
        if !strip && let Ok(value) = HeaderValue::try_from(format!("Bearer realm=\"{realm}\"{error}")) {
            headers.insert(WWW_AUTHENTICATE, value);
        }
        Flow::Respond(Box::new(LocalResponse {
            status: status.http(),
            grpc_status: None,
            body: if strip { "".into() } else { status.text().into() },
            headers,
            details: status.details().into(),
            flags: ResponseFlags::NONE,
            why: None,
        }))
    }

    fn refuse_unknown(&self, problem: &str) -> Flow {
        self.stats.tokens_denied.with(&[&self.stats.prefix]).inc();
        let strip = self.tokens.settings.strip_reason;
        Flow::Respond(Box::new(LocalResponse {
            status: StatusCode::FORBIDDEN,
            grpc_status: None,
            body: if strip { "".into() } else { format!("Failed JWT authentication: {problem}").into() },
            headers: HeaderMap::new(),
            details: format!("jwt_authn_access_denied{{{problem}}}").replace(' ', "_").into(),
            flags: ResponseFlags::NONE,
            why: None,
        }))
    }
}

impl HttpFilter for JwtFilter {
    async fn on_request(&self, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        let settings = &self.tokens.settings;
        // Nobody but a token may say what only tokens say.
        settings.providers.values().for_each(|provider| claims::sanitize(provider, request.headers_mut()));
        if settings.bypass_preflight && is_preflight(request) {
            self.stats.preflights_passed.with(&[&self.stats.prefix]).inc();
            self.stats.tokens_allowed.with(&[&self.stats.prefix]).inc();
            return Flow::Continue;
        }
        let requirement = match self.requirement(request, facts) {
            Ok(Some(requirement)) => requirement,
            Ok(None) => {
                self.stats.tokens_allowed.with(&[&self.stats.prefix]).inc();
                return Flow::Continue;
            }
            Err(problem) => return self.refuse_unknown(&problem),
        };
        // Boxed: exchanges that fetch nothing hold no room for it.
        let had = if self.tokens.fetches { Box::pin(self.fetch(request, facts)).await } else { Had::new() };
        self.decide(requirement, &had, request, facts)
    }
}

fn is_preflight(request: &Request<Body>) -> bool {
    let has = |name| request.headers().get(name).is_some_and(|value| !value.is_empty());
    *request.method() == Method::OPTIONS && has(ORIGIN) && has(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// What was asked for, as a refusal names it.
fn realm(request: &Request<Body>, facts: &Facts<'_>) -> String {
    let view = facts.around.view(request);
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let cut = target.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= TOLD_TARGET).last();
    format!("{}://{}{}", view.scheme, view.authority, &target[..cut.unwrap_or_default()])
}

#[cfg(test)]
mod tests;
