//! URLs: where people are sent, and what they bring back.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Uri;
use http::uri::PathAndQuery;
use model::oauth2::OAuth2;
use serde_json::Value;

use super::jar::Jar;
use super::seal::{Seal, challenge, is_same};

/// A text as it may stand in a query or in a form: all but the unreserved characters of RFC 3986 escaped.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

/// A login that begins: the address that people are sent to. `flow`, `nonce` and `verifier` are its own.
pub(super) fn login(settings: &OAuth2, state: &str, redirect_uri: &str, verifier: &str) -> String {
    let endpoint = &settings.authorization_endpoint;
    let (path, query) = endpoint.split_once('?').unwrap_or((endpoint, ""));
    let mut parameters: BTreeMap<&str, String> = BTreeMap::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        parameters.insert(name, value.to_owned());
    }
    for (name, value) in [
        ("client_id", settings.client_id.clone()),
        ("response_type", "code".to_owned()),
        ("scope", escaped(&settings.scopes.join(" "))),
        ("state", state.to_owned()),
        ("redirect_uri", escaped(redirect_uri)),
        ("code_challenge", challenge(verifier)),
        ("code_challenge_method", "S256".to_owned()),
    ] {
        parameters.insert(name, value);
    }
    let query: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let resources = settings.resources.iter().map(|resource| format!("&resource={}", escaped(resource)));
    format!("{path}?{}{}", query.join("&"), resources.collect::<String>())
}

/// What goes to the provider and comes back unchanged: where people wanted to go, and whose login it is.
pub(super) fn state(url: &str, nonce: &str, flow: &str) -> String {
    let text = |text: &str| Value::from(text).to_string();
    let json = format!(r#"{{"url":{},"csrf_token":{},"flow_id":{}}}"#, text(url), text(nonce), text(flow));
    URL_SAFE_NO_PAD.encode(json)
}

/// What somebody brings back from the provider.
#[derive(Debug)]
pub(super) struct Back {
    /// Whose login it is, as far as that is proven.
    pub flow: String,
    /// What comes of it, or why nothing does.
    pub result: Result<Granted, String>,
}

/// A login that the provider has granted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Granted {
    /// What is exchanged for tokens, as it stands in the query.
    pub code: String,
    /// Where people wanted to go.
    pub url: String,
}

/// Reads what stands in a callback's target. It is believed only if this browser has the cookie of the same login.
pub(super) fn back(settings: &OAuth2, seal: Seal<'_>, jar: &Jar, target: &str) -> Back {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let parameters = || query.split('&').filter_map(|parameter| parameter.split_once('='));
    let of = |wanted: &str| parameters().find(|(name, _)| *name == wanted).map(|(_, value)| value);
    let shown = || if query.is_empty() { String::new() } else { format!("?{query}") };
    let state = of("state");
    if of("error").is_some() {
        let flow = state.map(|state| read(settings, seal, jar, state).flow).unwrap_or_default();
        return Back { flow, result: Err(format!("OAuth server returned an error: {}", shown())) };
    }
    let (Some(code), Some(state)) = (of("code"), state) else {
        let problem = format!("Code or state query param does not exist: {}", shown());
        return Back { flow: String::new(), result: Err(problem) };
    };
    let back = read(settings, seal, jar, state);
    Back { result: back.result.map(|granted| Granted { code: code.to_owned(), ..granted }), ..back }
}

fn read(settings: &OAuth2, seal: Seal<'_>, jar: &Jar, state: &str) -> Back {
    let refused = |problem: String| Back { flow: String::new(), result: Err(problem) };
    let bytes = URL_SAFE_NO_PAD.decode(state.trim_end_matches('=')).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(&text) else {
        return refused(format!("State query param is not a valid JSON: {text}"));
    };
    let of = |name: &str| fields.get(name).map(|value| value.as_str().unwrap_or_default());
    let (Some(url), Some(nonce)) = (of("url"), of("csrf_token")) else {
        return refused(format!("State query param does not contain url or CSRF token: {text}"));
    };
    let flow = of("flow_id").unwrap_or_default();
    let held = jar.of_flow(&settings.cookies.nonce.name, flow);
    if !held.is_some_and(|held| is_same(held, nonce)) || !seal.has_made(nonce) {
        return refused("CSRF token validation failed".to_owned());
    }
    let is_url = url.parse::<Uri>().is_ok_and(|uri| uri.scheme().is_some() && uri.authority().is_some());
    let result = match is_url {
        false => Err(format!("State url can not be initialized: {url}")),
        true if !may_go(settings, url) => Err(format!("State url host is not in the allowed redirect domains: {url}")),
        true => Ok(Granted { code: String::new(), url: url.to_owned() }),
    };
    Back { flow: flow.to_owned(), result }
}

/// May people be sent there?
pub(super) fn may_go(settings: &OAuth2, url: &str) -> bool {
    if settings.allowed_domains.is_empty() {
        return true;
    }
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let Some(host) = uri.host().filter(|_| uri.scheme().is_some()) else { return false };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    settings.allowed_domains.iter().any(|domain| match domain.strip_prefix('*') {
        Some(suffix) if suffix.starts_with('.') => {
            host.len() > suffix.len() && host.ends_with(&suffix.to_ascii_lowercase())
        }
        _ => host.eq_ignore_ascii_case(domain),
    })
}

/// The target of a URL, without its fragment.
pub(super) fn target(url: &str) -> String {
    let uri = url.parse::<Uri>().ok();
    uri.as_ref().and_then(Uri::path_and_query).map_or("/", PathAndQuery::as_str).to_owned()
}

/// The path of a target, as matchers look at it.
pub(super) fn path(target: &str) -> &str {
    target.split(['?', '#']).next().unwrap_or_default()
}
