//! People who log in, and people who only say so.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use model::StringMatch;
use model::matcher::{HeaderKey, ValueMatch};
use model::oauth2::{Cookies, EndSession, Lifetimes, TokenEndpoint, UriTemplate};
use model::route::Route;
use model::{VirtualHost, http_proxy};
use telemetry::Registry;

use super::*;
use crate::around::{Alone, Answer, Around, Call, Exchange, Get, WholeAnswer, as_alone};
use crate::local_limit::Limits;
use crate::{Chain, NoExtensions, Stats};

/// A provider that answers what it is told to, and remembers what it was asked.
#[derive(Debug, Default)]
struct Provider {
    alone: Alone,
    answers: RefCell<VecDeque<(u16, &'static str)>>,
    asked: RefCell<Vec<String>>,
    without_secrets: bool,
}

impl Around for Provider {
    as_alone!();
    fn is_asked_why(&self, _: &Request<Body>) -> bool {
        false
    }
    fn service_cluster(&self) -> &str {
        ""
    }
    fn has_cluster(&self, _: &str) -> bool {
        false
    }
    fn route_limits(&self, _: &Route, _: &VirtualHost) -> Option<&Limits> {
        None
    }
    fn call<'c>(&'c self, call: Call<'c>) -> Answer<'c> {
        self.alone.call(call)
    }
    fn get(&self, get: Get) -> Answer<'_> {
        self.alone.get(get)
    }
    fn get_beside(&self, get: Get, done: Box<dyn FnOnce(Result<Bytes, String>)>) {
        self.alone.get_beside(get, done);
    }
    fn exchange<'c>(&'c self, exchange: Exchange<'c>) -> WholeAnswer<'c> {
        let body = String::from_utf8(exchange.request.body().to_vec()).unwrap();
        self.asked.borrow_mut().push(format!("{} {body}", exchange.request.uri()));
        let answer = self.answers.borrow_mut().pop_front();
        Box::pin(async move {
            let (status, body) = answer.ok_or("nobody answers")?;
            Ok(Response::builder().status(status).body(Bytes::from(body)).unwrap())
        })
    }
    fn secret(&self, name: &str) -> Option<&[u8]> {
        match name {
            _ if self.without_secrets => None,
            "hmac" => Some(b"the hmac secret"),
            "client" => Some(b"the client's secret"),
            _ => None,
        }
    }
}

fn settings() -> OAuth2 {
    OAuth2 {
        name: OAuth2::NAME.into(),
        stat_prefix: "".into(),
        token_endpoint: TokenEndpoint {
            uri: "https://login.example/token".into(),
            cluster: "login".into(),
            timeout: Duration::from_secs(1),
        },
        authorization_endpoint: "https://login.example/authorize?tenant=t".into(),
        end_session: None,
        client_id: "shop".into(),
        client_auth: ClientAuth::Body("client".into()),
        hmac_secret: "hmac".into(),
        redirect_uri: UriTemplate::parse("https://%REQ(:authority)%/callback").unwrap(),
        redirect_path: StringMatch::exact("/callback"),
        sign_out: StringMatch::exact("/logout"),
        forward: ForwardTokens::Access,
        pass_through: vec![matching(":path", StringMatch::prefix("/public"))],
        deny_redirect: vec![matching("x-requested-with", StringMatch::exact("XMLHttpRequest"))],
        allow_failed: vec![matching("x-lax", StringMatch::exact("1"))],
        scopes: vec!["openid".into(), "email".into()],
        resources: Vec::new(),
        lifetimes: Lifetimes::default(),
        cookies: Cookies::default(),
        original_uri: None,
        allowed_domains: Vec::new(),
    }
}

fn matching(name: &str, text: StringMatch) -> HeaderMatch {
    HeaderMatch { value: ValueMatch::Text(text.clone()), ..HeaderMatch::text(HeaderKey::parse(name).unwrap(), text) }
}

/// What became of a request: it went on, with its head and what its response gets beside; or this answer.
struct Outcome {
    went_on: Option<HeaderMap>,
    status: u16,
    headers: HeaderMap,
    details: String,
}

impl Outcome {
    fn location(&self) -> &str {
        self.headers[header::LOCATION].to_str().unwrap()
    }

    /// The value of a cookie that is set.
    fn set(&self, name: &str) -> Option<String> {
        let all = self.headers.get_all(header::SET_COOKIE).iter().map(|value| value.to_str().unwrap());
        all.filter_map(|line| line.split(';').next()?.split_once('='))
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.to_owned())
    }

    /// All cookies as the browser sends them back.
    fn jar(&self) -> String {
        let all = self.headers.get_all(header::SET_COOKIE).iter().map(|value| value.to_str().unwrap());
        let pairs = all.filter(|line| !line.contains("=deleted")).filter_map(|line| line.split(';').next());
        pairs.collect::<Vec<_>>().join("; ")
    }
}

async fn send(settings: &OAuth2, provider: &Provider, path: &str, headers: &[(&str, &str)]) -> Outcome {
    let stats = Stats::new(&Registry::new().shard(), "test").unwrap();
    let chain =
        Chain::new(&[http_proxy::HttpFilter::OAuth2(Arc::new(settings.clone()))], &stats, None, &NoExtensions).unwrap();
    let mut run = chain.begin(None, 1);
    let mut request = Request::get(path).header("host", "shop.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).unwrap();
    match run.on_request(&mut request, provider).await {
        Flow::Continue => {
            let mut response = Response::new(Body::empty());
            run.on_response(&mut response, provider).await;
            let (went_on, headers) = (Some(request.headers().clone()), response.headers().clone());
            Outcome { went_on, status: 200, headers, details: String::new() }
        }
        Flow::Respond(local) => Outcome {
            went_on: None,
            status: local.status.as_u16(),
            headers: local.headers,
            details: local.details.into_owned(),
        },
        other => panic!("{other:?}"),
    }
}

fn parameter<'u>(url: &'u str, name: &str) -> &'u str {
    let query = url.split_once('?').unwrap().1;
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("{name} in {url}"))
}

const GRANTED: &str =
    r#"{"access_token":"acc","id_token":"e30.eyJleHAiOjQxMDI0NDQ4MDB9.x","refresh_token":"ref","expires_in":60}"#;

/// Somebody who is sent to log in: their cookies, and the target that they come back with.
async fn begun(settings: &OAuth2, provider: &Provider) -> (String, String) {
    let sent = send(settings, provider, "/page?a=1", &[]).await;
    assert_eq!(sent.status, 302);
    (sent.jar(), format!("/callback?code=c%2F1&state={}", parameter(sent.location(), "state")))
}

/// The cookies of somebody who has logged in.
async fn logged_in(settings: &OAuth2, provider: &Provider) -> String {
    provider.answers.borrow_mut().push_back((200, GRANTED));
    let (cookies, back) = begun(settings, provider).await;
    let done = send(settings, provider, &back, &[("cookie", &cookies)]).await;
    assert_eq!((done.status, done.details.as_str()), (302, "oauth.logged_in"));
    done.jar()
}

#[tokio::test]
async fn a_login_begins() {
    let sent = send(&settings(), &Provider::default(), "/page?a=1", &[("authorization", "mine")]).await;
    assert_eq!((sent.status, sent.details.as_str()), (302, "oauth.missing_credentials"));
    let to = sent.location();
    assert!(to.starts_with("https://login.example/authorize?client_id=shop&code_challenge="), "{to}");
    assert_eq!(parameter(to, "scope"), "openid%20email");
    assert_eq!(parameter(to, "redirect_uri"), "https%3A%2F%2Fshop.example%2Fcallback");
    assert_eq!((parameter(to, "tenant"), parameter(to, "code_challenge_method")), ("t", "S256"));
    let state = URL_SAFE_NO_PAD.decode(parameter(to, "state")).unwrap();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    assert_eq!(state["url"], "http://shop.example/page?a=1");
    let flow = state["flow_id"].as_str().unwrap();
    assert_eq!(sent.set(&format!("OauthNonce.{flow}")).as_deref(), state["csrf_token"].as_str());
    let seal = Seal(b"the hmac secret");
    let verifier = seal.decrypt(&sent.set(&format!("CodeVerifier.{flow}")).unwrap()).unwrap();
    assert_eq!(parameter(to, "code_challenge"), seal::challenge(&verifier));
    assert!(!to.contains(&verifier));
}

#[tokio::test]
async fn a_login_ends_and_is_known() {
    let (settings, provider) = (settings(), Provider::default());
    let cookies = logged_in(&settings, &provider).await;
    let asked = provider.asked.borrow()[0].clone();
    assert!(asked.starts_with("/token grant_type=authorization_code&code=c%2F1&client_id=shop&client_secret=the%20client%27s%20secret&redirect_uri=https%3A%2F%2Fshop.example%2Fcallback&code_verifier="), "{asked}");
    assert!(!cookies.contains("acc") && !cookies.contains("ref;"), "tokens are encrypted: {cookies}");
    let seen =
        send(&settings, &provider, "/page", &[("cookie", &format!("{cookies}; own=1")), ("authorization", "mine")])
            .await;
    let head = seen.went_on.expect("it goes on");
    assert_eq!(head["authorization"], "Bearer acc");
    assert_eq!(head["cookie"], "BearerToken=acc; IdToken=e30.eyJleHAiOjQxMDI0NDQ4MDB9.x; own=1");
}

#[tokio::test]
async fn what_is_not_ours_is_not_believed() {
    let (settings, provider) = (settings(), Provider::default());
    let cookies = logged_in(&settings, &provider).await;
    let with = |name: &str, value: &str| {
        let changed = cookies.split("; ").map(|pair| match pair.split_once('=') {
            Some((known, _)) if known == name => format!("{name}={value}"),
            _ => pair.to_owned(),
        });
        // Otherwise it would be refreshed.
        changed.filter(|pair| !pair.starts_with("RefreshToken")).collect::<Vec<_>>().join("; ")
    };
    for forged in [
        with("BearerToken", "other"),
        with("OauthExpires", "4102444800"),
        with("OauthHMAC", "AAAA"),
        with("IdToken", ""),
        with("", ""),
    ] {
        let seen = send(&settings, &provider, "/page", &[("cookie", &forged)]).await;
        assert_eq!(seen.status, 302, "{forged}");
    }
    let elsewhere = OAuth2 { hmac_secret: "client".into(), ..settings.clone() };
    let whole = cookies.split("; ").filter(|pair| !pair.starts_with("RefreshToken")).collect::<Vec<_>>().join("; ");
    assert_eq!(send(&elsewhere, &provider, "/page", &[("cookie", &whole)]).await.status, 302, "another secret");
}

#[tokio::test]
async fn who_comes_back_with_something_else() {
    let (settings, provider) = (settings(), Provider::default());
    let (cookies, back) = begun(&settings, &provider).await;
    let (others, _) = begun(&settings, &provider).await;
    let forged = url::state("https://evil.example/", "0123456789abcdef.AAAA", "0123456789abcdef");
    let of_another = back.replace("state=", "state=x");
    for (target, cookies, details) in [
        (back.as_str(), "", "CSRF_token_validation_failed"),
        (&back, &others, "CSRF_token_validation_failed"),
        (
            &*format!("/callback?code=c&state={forged}"),
            "OauthNonce=0123456789abcdef.AAAA",
            "CSRF_token_validation_failed",
        ),
        (&of_another, &cookies, "State_query_param_is_not_a_valid_JSON:"),
        ("/callback?code=c", &cookies, "Code_or_state_query_param_does_not_exist:_?code=c"),
        ("/callback?error=access_denied", &cookies, "OAuth_server_returned_an_error:_?error=access_denied"),
    ] {
        let seen = send(&settings, &provider, target, &[("cookie", cookies)]).await;
        assert_eq!(seen.status, 401, "{target}");
        assert!(seen.details.starts_with(details), "{}", seen.details);
    }
    let without = cookies.split("; ").filter(|pair| !pair.contains("Verifier")).collect::<Vec<_>>().join("; ");
    let seen = send(&settings, &provider, &back, &[("cookie", &without)]).await;
    assert_eq!(seen.details, "Code_verifier_cookie_is_missing_in_the_request");
    assert!(seen.headers.get_all(header::SET_COOKIE).iter().count() == 4, "its cookies go");
    assert!(provider.asked.borrow().is_empty(), "nobody asks the provider");
}

#[tokio::test]
async fn a_provider_that_gives_nothing() {
    let (settings, provider) = (settings(), Provider::default());
    for (answer, details) in [
        (
            Some((400, r#"{"error":"invalid_grant"}"#)),
            r#"Failed_to_get_access_token:_response_code:_400,_response_body:_{"error":"invalid_grant"}"#,
        ),
        (Some((200, "garbage")), "Failed_to_parse_oauth_response_body"),
        (None, "Failed_to_get_access_token_due_to_HTTP_request_failure"),
    ] {
        let (cookies, back) = begun(&settings, &provider).await;
        provider.answers.borrow_mut().extend(answer);
        let seen = send(&settings, &provider, &back, &[("cookie", &cookies)]).await;
        assert_eq!((seen.status, seen.details.as_str()), (401, details));
    }
}

#[tokio::test]
async fn refreshed() {
    let (settings, provider) = (settings(), Provider::default());
    let cookies = logged_in(&settings, &provider).await;
    let old = cookies.split("; ").map(|pair| if pair.starts_with("OauthExpires") { "OauthExpires=1" } else { pair });
    let old = old.collect::<Vec<_>>().join("; ");
    provider.answers.borrow_mut().push_back((200, r#"{"access_token":"new","expires_in":60}"#));
    let seen = send(&settings, &provider, "/page", &[("cookie", &old)]).await;
    assert_eq!(seen.went_on.as_ref().expect("it goes on")["authorization"], "Bearer new");
    assert!(provider.asked.borrow().last().unwrap().contains("grant_type=refresh_token&refresh_token=ref&"));
    let again = send(&settings, &provider, "/page", &[("cookie", &seen.jar())]).await;
    assert_eq!(again.went_on.expect("the new cookies are good")["authorization"], "Bearer new");
    provider.answers.borrow_mut().push_back((400, "{}"));
    assert_eq!(send(&settings, &provider, "/page", &[("cookie", &old)]).await.status, 302, "it is not refreshed");
    let off = OAuth2 { cookies: Cookies { refreshes: false, ..Cookies::default() }, ..settings };
    assert_eq!(send(&off, &provider, "/page", &[("cookie", &old)]).await.status, 302, "nothing is to be refreshed");
}

#[tokio::test]
async fn who_is_not_sent_to_log_in() {
    let (settings, provider) = (settings(), Provider::default());
    let seen = send(&settings, &provider, "/public/a", &[("authorization", "mine")]).await;
    assert_eq!(seen.went_on.expect("it passes")["authorization"], "mine");
    let seen = send(&settings, &provider, "/api", &[("x-requested-with", "XMLHttpRequest")]).await;
    assert_eq!(
        (seen.status, seen.details.as_str()),
        (401, "Unauthorized,_and_redirecting_to_OAuth_server_is_not_allowed:_/api")
    );
    let head = send(
        &settings,
        &provider,
        "/",
        &[("x-lax", "1"), ("cookie", "BearerToken=forged; own=1"), ("x-envoy-oauth-status", "mine")],
    )
    .await;
    let head = head.went_on.expect("it passes as nobody");
    assert_eq!((head["x-envoy-oauth-status"].as_bytes(), head["cookie"].as_bytes()), (&b"failed"[..], &b"own=1"[..]));
    let without = Provider { without_secrets: true, ..Provider::default() };
    assert_eq!(send(&settings, &without, "/", &[]).await.status, 503);
    let bound = OAuth2 { allowed_domains: vec!["*.other.example".into()], ..settings };
    assert_eq!(send(&bound, &provider, "/", &[]).await.status, 401);
}

#[tokio::test]
async fn logged_out() {
    let provider = Provider::default();
    let seen = send(&settings(), &provider, "/logout", &[("cookie", "OauthNonce.1=a; BearerToken=b")]).await;
    assert_eq!((seen.status, seen.details.as_str(), seen.location()), (302, "oauth.sign_out", "http://shop.example/"));
    for name in ["OauthHMAC", "BearerToken", "IdToken", "RefreshToken", "OauthExpires", "OauthNonce.1"] {
        assert_eq!(seen.set(name).as_deref(), Some("deleted"), "{name}");
    }
    let end = EndSession { endpoint: "https://login.example/end".into(), then: AfterLogout::Root };
    let settings = OAuth2 { end_session: Some(end), ..settings() };
    let cookies = logged_in(&settings, &provider).await;
    let seen = send(&settings, &provider, "/logout", &[("cookie", &cookies)]).await;
    let expected = "https://login.example/end?id_token_hint=e30.eyJleHAiOjQxMDI0NDQ4MDB9.x&client_id=shop&post_logout_redirect_uri=http%3A%2F%2Fshop.example%2F";
    assert_eq!(seen.location(), expected);
}
