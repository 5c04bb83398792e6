//! Lets only those pass who have logged in (Envoy's `envoy.filters.http.oauth2`). Who has not is sent to the provider; who
//! comes back from there gets cookies, by which all gateways with the same secrets know them.
//!
//! Nothing is kept here: what is known of a login is in the browser's cookies, signed, and the tokens within encrypted.

mod jar;
mod seal;
#[cfg(test)]
mod tests;
mod tokens;
mod url;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use mesh_http::Body;
use model::matcher::HeaderMatch;
use model::oauth2::{AfterLogout, ClientAuth, Cookie, ForwardTokens, OAuth2};
use model::route::header_matches;
use telemetry::{Counter, Family, ResponseFlags};

use crate::chain::{Facts, Flow, HttpFilter};
use crate::local::LocalResponse;
use crate::stats::Stats;
use jar::Jar;
use seal::Seal;
use tokens::{Failure, Grant, Tokens};

const STATUS: HeaderName = HeaderName::from_static("x-envoy-oauth-status");
const REASON: HeaderName = HeaderName::from_static("x-envoy-oauth-failure-reason");
const REFUSED: &str = "OAuth flow failed.";

/// The filter.
#[derive(Debug)]
pub(crate) struct OAuth2Filter {
    settings: Arc<OAuth2>,
    stats: Stats,
}

/// One request on its way.
struct Visit<'v> {
    settings: &'v OAuth2,
    seal: Seal<'v>,
    /// What the provider knows us by.
    secret: &'v [u8],
    /// The cookies, tokens in plain text.
    jar: Jar,
    host: String,
    scheme: String,
    /// Path and query.
    target: String,
    /// In seconds since 1970.
    now: u64,
}

impl OAuth2Filter {
    /// These settings, counted there.
    pub(crate) fn new(settings: Arc<OAuth2>, stats: Stats) -> Self {
        Self { settings, stats }
    }

    fn count(&self, counter: &Family<Counter>) {
        counter.with(&[&self.stats.prefix, &self.settings.stat_prefix]).inc();
    }

    async fn check(&self, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        let settings = &*self.settings;
        request.headers_mut().remove(STATUS);
        request.headers_mut().remove(REASON);
        if is_one_of(&settings.pass_through, request, facts) {
            self.count(&self.stats.login_passed);
            return Flow::Continue;
        }
        let Some((hmac, secret)) = self.secrets(facts) else {
            self.count(&self.stats.login_failure);
            return local(
                StatusCode::SERVICE_UNAVAILABLE,
                "Service Unavailable",
                "OAuth2 secrets are not ready",
                HeaderMap::new(),
            );
        };
        let visit = Visit::new(settings, Seal(hmac), secret, request, facts);
        if settings.forward != ForwardTokens::Preserve {
            // Nobody has checked it.
            request.headers_mut().remove(header::AUTHORIZATION);
        }
        if let ForwardTokens::Identity(name) = &settings.forward {
            request.headers_mut().remove(name);
        }
        let is_back = settings.redirect_path.matches(url::path(&visit.target));
        if settings.sign_out.matches(url::path(&visit.target)) {
            return visit.sign_out(request, facts);
        }
        match (visit.is_logged_in(), is_back) {
            (true, true) => self.back_again(&visit),
            (true, false) => {
                self.count(&self.stats.login_success);
                visit.pass(request);
                Flow::Continue
            }
            (false, true) => self.come_back(&visit, request, facts).await,
            (false, false) => self.come(visit, request, facts).await,
        }
    }

    /// The secret of the cookies, and the one that the provider knows. None: they are not there yet.
    fn secrets<'f>(&self, facts: &Facts<'f>) -> Option<(&'f [u8], &'f [u8])> {
        let of = |name: &str| facts.around.secret(name).filter(|secret| !secret.is_empty());
        let own = match &self.settings.client_auth {
            ClientAuth::Body(name) | ClientAuth::Basic(name) => of(name)?,
            ClientAuth::Certificate => &[],
        };
        Some((of(&self.settings.hmac_secret)?, own))
    }

    /// Somebody who is not logged in: with a refresh token that is mended at once.
    async fn come(&self, mut visit: Visit<'_>, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        let settings = visit.settings;
        let token = visit.jar.filled(&settings.cookies.refresh.cookie.name).filter(|_| settings.cookies.refreshes);
        let Some(token) = token.map(str::to_owned) else {
            let target = visit.target.clone();
            return self.not_logged_in(&visit, request, facts, ["Unauthorized", &format!(": {target}")]);
        };
        match tokens::exchange(settings, visit.secret, Grant::Refresh(&token), facts.around).await {
            Ok(tokens) => {
                self.count(&self.stats.login_refreshed);
                self.count(&self.stats.login_success);
                visit.refreshed(tokens, token, request, facts);
                Flow::Continue
            }
            Err(failure) if failure.refused => {
                self.count(&self.stats.login_not_refreshed);
                self.not_logged_in(&visit, request, facts, ["Failed to refresh the access token", ""])
            }
            Err(failure) => self.failed(&visit, request, facts, &failure, ""),
        }
    }

    /// Passes as nobody, is refused, or is sent to log in. `why` and `rest` stand around what is done.
    fn not_logged_in(
        &self,
        visit: &Visit<'_>,
        request: &mut Request<Body>,
        facts: &Facts<'_>,
        [why, rest]: [&str; 2],
    ) -> Flow {
        if is_one_of(&visit.settings.allow_failed, request, facts) {
            let reason = format!("{why}, and forwarding as unauthorized because OAuth failure is allowed{rest}");
            return self.pass_as_nobody(visit, request, &reason);
        }
        if is_one_of(&visit.settings.deny_redirect, request, facts) {
            let details = format!("{why}, and redirecting to OAuth server is not allowed{rest}");
            return self.refused(visit, &details, "");
        }
        match visit.begin(request, facts) {
            Ok(headers) => {
                self.count(&self.stats.login_begun);
                local(StatusCode::FOUND, "", "oauth.missing_credentials", headers)
            }
            Err(details) => self.refused(visit, &details, ""),
        }
    }

    fn pass_as_nobody(&self, visit: &Visit<'_>, request: &mut Request<Body>, reason: &str) -> Flow {
        let mut jar = Jar::of(request.headers());
        jar.strip_all(&visit.settings.cookies);
        jar.put(request.headers_mut());
        request.headers_mut().insert(STATUS, HeaderValue::from_static("failed"));
        if let Ok(reason) = HeaderValue::try_from(reason) {
            request.headers_mut().insert(REASON, reason);
        }
        self.count(&self.stats.login_failure_allowed);
        Flow::Continue
    }

    /// Somebody comes back from the provider.
    async fn come_back(&self, visit: &Visit<'_>, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        let settings = visit.settings;
        let back = url::back(settings, visit.seal, &visit.jar, &visit.target);
        let granted = match back.result {
            Ok(granted) => granted,
            Err(details) => return self.refused(visit, &details, &back.flow),
        };
        let Some(sealed) = visit.jar.of_flow(&settings.cookies.verifier.name, &back.flow) else {
            return self.refused(visit, "Code verifier cookie is missing in the request", &back.flow);
        };
        let Some(verifier) = visit.seal.decrypt(sealed) else {
            return self.refused(visit, "Failed to decrypt code verifier", &back.flow);
        };
        let redirect_uri = settings.redirect_uri.fill(&facts.around.view(request));
        let grant = Grant::Code { code: &granted.code, redirect_uri: &redirect_uri, verifier: &verifier };
        match tokens::exchange(settings, visit.secret, grant, facts.around).await {
            Ok(tokens) => {
                let mut headers = HeaderMap::new();
                put_cookies(&mut headers, visit.cookies_of(&tokens));
                put_cookies(&mut headers, visit.end_flow(&back.flow));
                put_location(&mut headers, &granted.url);
                self.count(&self.stats.login_success);
                local(StatusCode::FOUND, "", "oauth.logged_in", headers)
            }
            Err(failure) => self.failed(visit, request, facts, &failure, &back.flow),
        }
    }

    /// Somebody comes back who is logged in already, by another tab say.
    fn back_again(&self, visit: &Visit<'_>) -> Flow {
        self.count(&self.stats.login_success);
        let back = url::back(visit.settings, visit.seal, &visit.jar, &visit.target);
        let granted = match back.result {
            Ok(granted) => granted,
            Err(details) => return self.refused(visit, &details, &back.flow),
        };
        let target = url::target(&granted.url);
        if visit.settings.redirect_path.matches(url::path(&target)) {
            let details = format!("State url query params matches the redirect path matcher: {target}");
            return self.refused(visit, &details, &back.flow);
        }
        let mut headers = HeaderMap::new();
        put_cookies(&mut headers, visit.end_flow(&back.flow));
        put_location(&mut headers, &granted.url);
        local(StatusCode::FOUND, "", "oauth.race_redirect", headers)
    }

    /// The provider gives no tokens.
    fn failed(
        &self,
        visit: &Visit<'_>,
        request: &mut Request<Body>,
        facts: &Facts<'_>,
        failure: &Failure,
        flow: &str,
    ) -> Flow {
        let is_back = visit.settings.redirect_path.matches(url::path(&visit.target));
        if !is_back && is_one_of(&visit.settings.allow_failed, request, facts) {
            return self.pass_as_nobody(visit, request, failure.reason);
        }
        let details = match &*failure.details {
            "" => failure.reason.to_owned(),
            details => format!("{}: {details}", failure.reason),
        };
        self.refused(visit, &details, flow)
    }

    /// `flow` is the login that this is the end of, if it is one.
    fn refused(&self, visit: &Visit<'_>, details: &str, flow: &str) -> Flow {
        self.count(&self.stats.login_failure);
        let mut headers = HeaderMap::new();
        if !flow.is_empty() {
            put_cookies(&mut headers, visit.end_flow(flow));
        }
        local(StatusCode::UNAUTHORIZED, REFUSED, details, headers)
    }
}

impl<'v> Visit<'v> {
    /// The tokens in the cookies of the request are then in plain text, for us and for the upstream.
    fn new(
        settings: &'v OAuth2,
        seal: Seal<'v>,
        secret: &'v [u8],
        request: &mut Request<Body>,
        facts: &Facts<'_>,
    ) -> Self {
        let view = facts.around.view(request);
        let (host, scheme) = (view.authority.to_owned(), view.scheme.to_owned());
        let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str).to_owned();
        let mut jar = Jar::of(request.headers());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if settings.cookies.encrypted {
            let mut any = false;
            for cookie in settings.cookies.of_tokens() {
                let Some(sealed) = jar.filled(&cookie.name) else { continue };
                any = true;
                // What cannot be read is left: it may be a plain one of before, and the signature tells.
                if let Some(plain) = seal.decrypt(sealed) {
                    jar.set(&cookie.name, plain);
                }
            }
            if any {
                jar.put(request.headers_mut());
            }
        }
        Self { settings, seal, secret, jar, host, scheme, target, now }
    }

    /// What is signed: for which host, until when, and the tokens.
    fn signed(&self, expires: &str, [access, identity, refresh]: [&str; 3]) -> String {
        let domain = self.settings.cookies.domain.as_deref().unwrap_or(&self.host);
        [domain, expires, access, identity, refresh].join("\n")
    }

    fn is_logged_in(&self) -> bool {
        let cookies = &self.settings.cookies;
        let of = |cookie: &Cookie| self.jar.get(&cookie.name).unwrap_or_default();
        let tokens = cookies.of_tokens().map(of);
        let expires = of(&cookies.expires);
        let is_ours = self.seal.is_signed(&self.signed(expires, tokens), of(&cookies.hmac));
        is_ours && expires.parse::<u64>().is_ok_and(|expires| expires > self.now)
    }

    /// Makes of the request what the upstream gets of somebody who is logged in.
    fn pass(mut self, request: &mut Request<Body>) {
        let settings = self.settings;
        let cookies = &settings.cookies;
        let of = |cookie: &Cookie| self.jar.filled(&cookie.name).unwrap_or_default();
        self.forward(of(&cookies.access.cookie), of(&cookies.identity.cookie), request.headers_mut());
        self.jar.strip_own(cookies);
        self.jar.put(request.headers_mut());
    }

    fn forward(&self, access: &str, identity: &str, headers: &mut HeaderMap) {
        let (name, token) = match &self.settings.forward {
            ForwardTokens::Nothing | ForwardTokens::Preserve => return,
            ForwardTokens::Access => (header::AUTHORIZATION, access),
            ForwardTokens::Identity(name) => (name.clone(), identity),
        };
        let value = if name == header::AUTHORIZATION { format!("Bearer {token}") } else { token.to_owned() };
        if let (false, Ok(mut value)) = (token.is_empty(), HeaderValue::try_from(value)) {
            value.set_sensitive(true);
            headers.insert(name, value);
        }
    }

    /// The access token is new: for this request, and for the browser with its response.
    fn refreshed(&mut self, tokens: Tokens, before: String, request: &mut Request<Body>, facts: &mut Facts<'_>) {
        let settings = self.settings;
        let cookies = &settings.cookies;
        let tokens = Tokens { refresh: if tokens.refresh.is_empty() { before } else { tokens.refresh }, ..tokens };
        let kept = self.kept(&tokens);
        for (cookie, token) in [(&cookies.access.cookie, kept[0]), (&cookies.identity.cookie, kept[1])] {
            if !token.is_empty() {
                self.jar.set(&cookie.name, token.to_owned());
            }
        }
        let set = self.cookies_of(&tokens);
        facts.left.get_or_insert_default().cookies.extend(set);
        self.forward(kept[0], kept[1], request.headers_mut());
        self.jar.strip_own(cookies);
        self.jar.put(request.headers_mut());
    }

    /// Of the tokens those that cookies are set for.
    fn kept<'t>(&self, tokens: &'t Tokens) -> [&'t str; 3] {
        let cookies = &self.settings.cookies;
        let of = |is_set: bool, token: &'t str| if is_set { token } else { "" };
        [
            of(cookies.access.is_set, &tokens.access),
            of(cookies.identity.is_set, &tokens.identity),
            of(cookies.refreshes && cookies.refresh.is_set, &tokens.refresh),
        ]
    }

    /// The cookies of somebody who has logged in.
    fn cookies_of(&self, tokens: &Tokens) -> Vec<HeaderValue> {
        let (cookies, lifetimes) = (&self.settings.cookies, &self.settings.lifetimes);
        let kept = self.kept(tokens);
        let expires = self.now.saturating_add(tokens.seconds).to_string();
        let hmac = self.seal.sign(&self.signed(&expires, kept));
        let identity = tokens::ends_in(&tokens.identity, self.now).filter(|_| !lifetimes.identity_as_access);
        let refresh = match cookies.refreshes {
            true => tokens::ends_in(&tokens.refresh, self.now).unwrap_or(lifetimes.refresh.as_secs()),
            false => tokens.seconds,
        };
        let seconds = [tokens.seconds, identity.unwrap_or(tokens.seconds), refresh];
        let plain = |cookie: &Cookie, value: &str| jar::set(cookies, cookie, &cookie.name, value, tokens.seconds);
        let mut set = vec![plain(&cookies.hmac, &hmac), plain(&cookies.expires, &expires)];
        for ((cookie, token), seconds) in cookies.of_tokens().into_iter().zip(kept).zip(seconds) {
            if !token.is_empty() {
                let sealed = if cookies.encrypted { self.seal.encrypt(token) } else { Some(token.to_owned()) };
                set.push(sealed.and_then(|sealed| jar::set(cookies, cookie, &cookie.name, &sealed, seconds)));
            } else if self.jar.get(&cookie.name).is_some() {
                set.push(jar::delete(cookies, cookie, &cookie.name));
            }
        }
        set.into_iter().flatten().collect()
    }

    /// A login is over, well or not: its cookies go.
    fn end_flow(&self, flow: &str) -> Vec<HeaderValue> {
        let cookies = &self.settings.cookies;
        let mut gone = Vec::new();
        for cookie in [&cookies.nonce, &cookies.verifier] {
            if !flow.is_empty() {
                gone.extend(jar::delete(cookies, cookie, &format!("{}.{flow}", cookie.name)));
            }
            gone.extend(jar::delete(cookies, cookie, &cookie.name));
        }
        gone
    }

    /// What sends somebody to log in.
    ///
    /// # Errors
    /// They may not be sent where they would have to come back to, in Envoy's words.
    fn begin(&self, request: &Request<Body>, facts: &Facts<'_>) -> Result<HeaderMap, String> {
        let (settings, cookies) = (self.settings, &self.settings.cookies);
        let view = facts.around.view(request);
        let scheme = if self.scheme == "http" { "http" } else { "https" };
        let base = match &settings.original_uri {
            Some(template) => template.fill(&view),
            None => format!("{scheme}://{}", self.host),
        };
        if !url::may_go(settings, &base) {
            return Err(format!("authority or original_request_uri failed domain allow-list validation: {base}"));
        }
        let redirect_uri = settings.redirect_uri.fill(&view);
        if !url::may_go(settings, &redirect_uri) {
            return Err(format!("redirect_uri failed domain allow-list validation: {redirect_uri}"));
        }
        let no_chance = || "there is no chance to be had".to_owned();
        let (flow, verifier) = seal::flow().zip(seal::verifier()).ok_or_else(no_chance)?;
        let nonce = self.seal.nonce(&flow);
        let sealed = self.seal.encrypt(&verifier).ok_or_else(no_chance)?;
        let mut headers = HeaderMap::new();
        let lives = [settings.lifetimes.nonce, settings.lifetimes.verifier];
        for ((cookie, value), lives) in [(&cookies.nonce, &nonce), (&cookies.verifier, &sealed)].into_iter().zip(lives)
        {
            // Under the older name too, for gateways that know no other.
            for name in [format!("{}.{flow}", cookie.name), cookie.name.clone()] {
                put_cookies(&mut headers, jar::set(cookies, cookie, &name, value, lives.as_secs()));
            }
        }
        let state = url::state(&format!("{base}{}", self.target), &nonce, &flow);
        put_location(&mut headers, &url::login(settings, &state, &redirect_uri, &verifier));
        Ok(headers)
    }

    /// All cookies go, and the provider is told if it wants to know.
    fn sign_out(&self, request: &Request<Body>, facts: &Facts<'_>) -> Flow {
        let cookies = &self.settings.cookies;
        let mut headers = HeaderMap::new();
        for cookie in [&cookies.hmac].into_iter().chain(cookies.of_tokens()).chain([&cookies.expires]) {
            put_cookies(&mut headers, jar::delete(cookies, cookie, &cookie.name));
        }
        for cookie in [&cookies.nonce, &cookies.verifier] {
            let gone = self.jar.flows(&cookie.name).filter_map(|name| jar::delete(cookies, cookie, name));
            put_cookies(&mut headers, gone);
        }
        let root = format!("{}://{}/", self.scheme, self.host);
        let location = match &self.settings.end_session {
            None => root,
            Some(end) => {
                let token = self.jar.get(&cookies.identity.cookie.name).unwrap_or_default();
                let mut to = format!("{}?id_token_hint={token}&client_id={}", end.endpoint, self.settings.client_id);
                let then = match &end.then {
                    AfterLogout::Root => Some(root),
                    AfterLogout::To(template) => Some(template.fill(&facts.around.view(request))),
                    AfterLogout::Unsaid => None,
                };
                to +=
                    &then.map(|then| format!("&post_logout_redirect_uri={}", url::escaped(&then))).unwrap_or_default();
                to
            }
        };
        put_location(&mut headers, &location);
        local(StatusCode::FOUND, "", "oauth.sign_out", headers)
    }
}

fn is_one_of(list: &[HeaderMatch], request: &Request<Body>, facts: &Facts<'_>) -> bool {
    !list.is_empty() && {
        let view = facts.around.view(request);
        list.iter().any(|one| header_matches(one, &view))
    }
}

fn put_cookies(headers: &mut HeaderMap, cookies: impl IntoIterator<Item = HeaderValue>) {
    cookies.into_iter().for_each(|cookie| _ = headers.append(header::SET_COOKIE, cookie));
}

/// What cannot stand in a header is left out: the answer is then one without a way.
fn put_location(headers: &mut HeaderMap, location: &str) {
    headers.extend(HeaderValue::try_from(location).ok().map(|location| (header::LOCATION, location)));
}

fn local(status: StatusCode, body: &'static str, details: &str, headers: HeaderMap) -> Flow {
    Flow::Respond(Box::new(LocalResponse {
        status,
        grpc_status: None,
        body: body.into(),
        headers,
        details: details.replace(|c: char| c.is_ascii_whitespace(), "_").into(),
        why: None,
        flags: ResponseFlags::default(),
    }))
}

impl HttpFilter for OAuth2Filter {
    async fn on_request(&self, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        // Boxed: exchanges of those who are logged in hold no room for what a login needs.
        Box::pin(self.check(request, facts)).await
    }

    async fn on_response(&self, response: &mut Response<Body>, facts: &mut Facts<'_>) {
        let Some(left) = &mut facts.left else { return };
        put_cookies(response.headers_mut(), std::mem::take(&mut left.cookies));
    }
}
