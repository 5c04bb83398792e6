//! Signing in and out: a cookie that holds the user's name. Any password will do; this is a stage, not a lock.

use axum::Form;
use axum::http::StatusCode;
use axum::http::header::{COOKIE, HeaderMap, LOCATION, REFERER, SET_COOKIE};
use axum::http::uri::PathAndQuery;
use axum::response::{IntoResponse, Response};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::Deserialize;

const LONGEST_NAME: usize = 64;

/// What the sign-in form sends. The password is not looked at.
#[derive(Deserialize)]
pub struct SignIn {
    #[serde(default)]
    username: String,
}

/// `POST /login`: remembers the user and goes back to the page.
pub async fn sign_in(headers: HeaderMap, Form(form): Form<SignIn>) -> Response {
    let name = form.username.trim();
    let cookie = if is_name(name) { format!("session={}", encode(name)) } else { "session=; Max-Age=0".to_owned() };
    back(&headers, &cookie)
}

/// `GET /logout`: forgets the user and goes back to the page.
pub async fn sign_out(headers: HeaderMap) -> Response {
    back(&headers, "session=; Max-Age=0")
}

/// Who is signed in.
pub fn user(headers: &HeaderMap) -> Option<String> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
    let value = pairs.filter_map(|pair| pair.trim().strip_prefix("session=")).next_back()?;
    decode(value).filter(|name| is_name(name))
}

fn back(headers: &HeaderMap, cookie: &str) -> Response {
    let to = return_path(headers.get(REFERER).and_then(|v| v.to_str().ok()));
    let cookie = format!("{cookie}; Path=/; HttpOnly; SameSite=Lax");
    (StatusCode::FOUND, [(LOCATION, to), (SET_COOKIE, cookie)]).into_response()
}

/// The path of the page that sent the form. Never another host: that would let a stranger borrow our name for a link.
fn return_path(referer: Option<&str>) -> String {
    referer
        .and_then(|r| r.parse::<axum::http::Uri>().ok())
        .and_then(|uri| uri.path_and_query().map(PathAndQuery::to_string))
        .filter(|path| path.starts_with('/') && !path.starts_with("//") && !path.contains('\\'))
        .unwrap_or_else(|| "/productpage".to_owned())
}

/// A name that can stand in a header: not empty, not long, no control characters.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= LONGEST_NAME && !name.chars().any(char::is_control)
}

/// Hexadecimal, since a cookie cannot hold every character that a name can.
fn encode(name: &str) -> String {
    HEXLOWER.encode(name.as_bytes())
}

fn decode(text: &str) -> Option<String> {
    if text.len() > 2 * LONGEST_NAME {
        return None;
    }
    String::from_utf8(HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies() {
        let check = |cookie: &str, expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, cookie.parse().unwrap());
            assert_eq!(user(&headers).as_deref(), expected, "{cookie}");
        };
        check(&format!("a=b; session={}", encode("jason")), Some("jason"));
        check(&format!("session={}", encode("Zoë <b>")), Some("Zoë <b>"));
        check("session=", None);
        check("session=6", None);
        check("session=zz", None);
        check("session=ff", None);
        check(&format!("session={}", encode("a\r\nb")), None);
        check("other=6a", None);
    }

    #[test]
    fn return_paths() {
        let check = |referer, expected: &str| assert_eq!(return_path(referer), expected);
        check(None, "/productpage");
        check(Some("http://shop.example/productpage?u=1"), "/productpage?u=1");
        check(Some("http://evil.example"), "/");
        check(Some("http://shop.example//evil.example/x"), "/productpage");
        check(Some("not a uri"), "/productpage");
    }
}
