//! The exchange of codes and refresh tokens for tokens, at the provider (RFC 6749, sections 4.1.3, 5 and 6).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use model::oauth2::{ClientAuth, Lifetimes, OAuth2};
use serde_json::Value;

use super::url::escaped;
use crate::around::{Around, Exchange};

/// What is exchanged.
#[derive(Debug, Clone, Copy)]
pub(super) enum Grant<'g> {
    /// A code, with the proof key of its login.
    Code { code: &'g str, redirect_uri: &'g str, verifier: &'g str },
    /// A refresh token.
    Refresh(&'g str),
}

/// What the provider gives.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Tokens {
    /// The access token.
    pub access: String,
    /// The identity token; empty: none.
    pub identity: String,
    /// The refresh token; empty: none.
    pub refresh: String,
    /// How many seconds the access token is good for.
    pub seconds: u64,
}

/// Why there are no tokens, in Envoy's words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// In a word for the upstream.
    pub reason: &'static str,
    /// And more of it for logs: what the provider said, but nothing of what we have.
    pub details: String,
    /// The provider did not take the grant, or did not answer; otherwise it gave what cannot be used.
    pub refused: bool,
}

/// Asks the provider.
pub(super) async fn exchange(
    settings: &OAuth2,
    secret: &[u8],
    grant: Grant<'_>,
    around: &dyn Around,
) -> Result<Tokens, Failure> {
    let unanswered = || Failure {
        reason: "Failed to get access token due to HTTP request failure",
        details: String::new(),
        refused: true,
    };
    let request = request(settings, secret, grant).ok_or_else(unanswered)?;
    let endpoint = &settings.token_endpoint;
    let asks = Exchange { cluster: &endpoint.cluster, request, timeout: Some(endpoint.timeout) };
    let answer = around.exchange(asks).await.map_err(|_| unanswered())?;
    read(&answer, &settings.lifetimes)
}

fn request(settings: &OAuth2, secret: &[u8], grant: Grant<'_>) -> Option<Request<Bytes>> {
    let uri: Uri = settings.token_endpoint.uri.parse().ok()?;
    let secret = String::from_utf8_lossy(secret);
    let id = &settings.client_id;
    let credentials = match &settings.client_auth {
        ClientAuth::Body(_) => format!("&client_id={}&client_secret={}", escaped(id), escaped(&secret)),
        ClientAuth::Basic(_) => String::new(),
        ClientAuth::Certificate => format!("&client_id={}", escaped(id)),
    };
    let body = match grant {
        // The code stands in the query as it stands in a form.
        Grant::Code { code, redirect_uri, verifier } => format!(
            "grant_type=authorization_code&code={code}{credentials}&redirect_uri={}&code_verifier={verifier}",
            escaped(redirect_uri)
        ),
        Grant::Refresh(token) => format!("grant_type=refresh_token&refresh_token={}{credentials}", escaped(token)),
    };
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let mut request = Request::post(target)
        .header(header::HOST, uri.authority()?.as_str())
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        // Some providers speak otherwise than JSON if nobody asks for it.
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_LENGTH, body.len())
        .body(Bytes::from(body))
        .ok()?;
    if let ClientAuth::Basic(_) = settings.client_auth {
        let value = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    Some(request)
}

fn read(answer: &Response<Bytes>, lifetimes: &Lifetimes) -> Result<Tokens, Failure> {
    let body = String::from_utf8_lossy(answer.body());
    if answer.status() != StatusCode::OK {
        let details = format!("response code: {}, response body: {body}", answer.status().as_u16());
        return Err(Failure { reason: "Failed to get access token", details, refused: true });
    }
    // What came may hold tokens, so no log gets it.
    let unusable = |reason| Failure { reason, details: String::new(), refused: false };
    let parsed: Value = serde_json::from_str(&body).map_err(|_| unusable("Failed to parse oauth response body"))?;
    let text = |name: &str| parsed[name].as_str().unwrap_or_default().to_owned();
    if parsed["access_token"].as_str().is_none() {
        return Err(unusable("No access token found in the token exchange response"));
    }
    let told = &parsed["expires_in"];
    let told = told.as_u64().or_else(|| told.as_str()?.parse().ok()).or_else(|| Some(told.as_f64()? as u64));
    match told.unwrap_or(lifetimes.access.as_secs()) {
        0 => Err(unusable("No default or explicit access token expiration found in the token exchange response")),
        seconds => Ok(Tokens {
            access: text("access_token"),
            identity: text("id_token"),
            refresh: text("refresh_token"),
            seconds,
        }),
    }
}

/// In how many seconds a token of the form of RFC 7519 ends, by what it says itself.
pub(super) fn ends_in(token: &str, now: u64) -> Option<u64> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    let end = claims["exp"].as_u64().filter(|end| *end != 0)?;
    Some(end.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn answers() {
        let lifetimes = Lifetimes { access: Duration::from_secs(7), ..Lifetimes::default() };
        let good = |refresh: &str, seconds| Tokens {
            access: "a".into(),
            identity: "i".into(),
            refresh: refresh.into(),
            seconds,
        };
        for (status, body, expected) in [
            (200, r#"{"access_token":"a","id_token":"i","refresh_token":"r","expires_in":9}"#, Ok(good("r", 9))),
            (200, r#"{"access_token":"a","id_token":"i","expires_in":"9"}"#, Ok(good("", 9))),
            (200, r#"{"access_token":"a","id_token":"i"}"#, Ok(good("", 7))),
            (
                200,
                r#"{"access_token":"a","expires_in":0}"#,
                Err("No default or explicit access token expiration found in the token exchange response"),
            ),
            (200, r#"{"id_token":"i"}"#, Err("No access token found in the token exchange response")),
            (200, "access_token=a", Err("Failed to parse oauth response body")),
            (201, r#"{"access_token":"a"}"#, Err("Failed to get access token")),
            (400, r#"{"error":"invalid_grant"}"#, Err("Failed to get access token")),
        ] {
            let answer = Response::builder().status(status).body(Bytes::from(body)).unwrap();
            assert_eq!(read(&answer, &lifetimes).map_err(|failure| failure.reason), expected, "{status} {body}");
        }
    }

    #[test]
    fn ends() {
        let token = |claims: &str| format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims));
        for (token, expected) in [
            (token(r#"{"exp":110}"#), Some(10)),
            (token(r#"{"exp":90}"#), Some(0)),
            (token(r#"{"exp":0}"#), None),
            (token("{}"), None),
            ("opaque".to_owned(), None),
            ("a.b.c.d".to_owned(), None),
        ] {
            assert_eq!(ends_in(&token, 100), expected, "{token}");
        }
    }
}
