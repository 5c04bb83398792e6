//! The cookies of a request, and what browsers are told to keep.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use model::oauth2::{Cookie, Cookies, SameSite};

/// The cookies of a request, in their order.
#[derive(Debug, Default)]
pub(super) struct Jar(Vec<(String, String)>);

impl Jar {
    /// Those of these headers. Of two with one name the first counts.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut jar = Self::default();
        let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
        for pair in lines.flat_map(|line| line.split(';')) {
            let Some((name, value)) = pair.split_once('=') else { continue };
            let (name, value) = (name.trim(), value.trim());
            let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            if jar.get(name).is_none() {
                jar.0.push((name.to_owned(), quoted.unwrap_or(value).to_owned()));
            }
        }
        jar
    }

    /// The value of a cookie.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The same of one that is worth something.
    pub fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// The value of a login's own cookie: `NAME.FLOW`, or, as older gateways set it, `NAME`.
    pub fn of_flow(&self, name: &str, flow: &str) -> Option<&str> {
        self.filled(&format!("{name}.{flow}")).or_else(|| self.filled(name))
    }

    /// The names of the cookies of logins that are under way.
    pub fn flows<'j>(&'j self, name: &'j str) -> impl Iterator<Item = &'j str> {
        self.0.iter().map(|(known, _)| known.as_str()).filter(move |known| is_of_flow(known, name))
    }

    /// Gives a cookie another value, or adds it.
    pub fn set(&mut self, name: &str, value: String) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Takes off what only gateways need: what proves a login, and what belongs to one that is under way.
    pub fn strip_own(&mut self, cookies: &Cookies) {
        let own = [&cookies.hmac.name, &cookies.expires.name, &cookies.refresh.cookie.name];
        let flows = [&cookies.nonce.name, &cookies.verifier.name];
        self.0.retain(|(name, _)| !own.contains(&name) && !flows.iter().any(|flow| is_of_flow(name, flow)));
    }

    /// Takes off all that a login has left.
    pub fn strip_all(&mut self, cookies: &Cookies) {
        self.strip_own(cookies);
        let tokens = [&cookies.access.cookie.name, &cookies.identity.cookie.name];
        self.0.retain(|(name, _)| !tokens.contains(&name));
    }

    /// Puts them in the place of those that were there.
    pub fn put(&self, headers: &mut HeaderMap) {
        let line: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        match HeaderValue::try_from(line.join("; ")) {
            Ok(line) if !line.is_empty() => drop(headers.insert(COOKIE, line)),
            _ => drop(headers.remove(COOKIE)),
        }
    }
}

fn is_of_flow(name: &str, base: &str) -> bool {
    name.strip_prefix(base).is_some_and(|rest| rest.is_empty() || (rest.starts_with('.') && rest.len() > 1))
}

/// What sets a cookie for so many seconds.
pub(super) fn set(cookies: &Cookies, cookie: &Cookie, name: &str, value: &str, seconds: u64) -> Option<HeaderValue> {
    let mut text = format!("{name}={value}");
    if let Some(domain) = &cookies.domain {
        text += &format!(";domain={domain}");
    }
    text += &format!(";path={};Max-Age={seconds};secure;HttpOnly", cookie.path);
    text += match cookie.same_site {
        None => "",
        Some(SameSite::Strict) => ";SameSite=Strict",
        Some(SameSite::Lax) => ";SameSite=Lax",
        Some(SameSite::None) => ";SameSite=None",
    };
    if cookie.partitioned {
        text += ";Partitioned";
    }
    HeaderValue::try_from(text).ok()
}

/// What makes a browser forget a cookie.
pub(super) fn delete(cookies: &Cookies, cookie: &Cookie, name: &str) -> Option<HeaderValue> {
    let mut text = format!("{name}=deleted; path={}; expires=Thu, 01 Jan 1970 00:00:00 GMT", cookie.path);
    if let Some(domain) = &cookies.domain {
        text += &format!(";domain={domain}");
    }
    if name.starts_with("__Secure-") || name.starts_with("__Host-") {
        text += "; Secure";
    }
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jar(lines: &[&'static str]) -> Jar {
        let mut headers = HeaderMap::new();
        lines.iter().for_each(|line| _ = headers.append(COOKIE, HeaderValue::from_static(line)));
        Jar::of(&headers)
    }

    fn line(jar: &Jar) -> String {
        let mut headers = HeaderMap::new();
        jar.put(&mut headers);
        headers.get(COOKIE).map(|line| line.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    #[test]
    fn reading_and_writing() {
        let mut cookies = jar(&["a=1; b=\"2\";c ; d==", "a=3;e="]);
        assert_eq!(line(&cookies), "a=1; b=2; d==; e=");
        assert_eq!(
            (cookies.get("a"), cookies.get("e"), cookies.filled("e"), cookies.get("c")),
            (Some("1"), Some(""), None, None)
        );
        cookies.set("a", "x".into());
        cookies.set("n", "y".into());
        assert_eq!(line(&cookies), "a=x; b=2; d==; e=; n=y");
        assert_eq!(line(&jar(&[])), "");
    }

    #[test]
    fn stripping() {
        let lines = [
            "OauthHMAC=1; BearerToken=2; OauthNonce=3; OauthNonce.0f=4; OauthNonces=5",
            "IdToken=6; RefreshToken=7; x=8",
        ];
        let mut cookies = jar(&lines);
        assert_eq!(cookies.flows("OauthNonce").collect::<Vec<_>>(), ["OauthNonce", "OauthNonce.0f"]);
        assert_eq!((cookies.of_flow("OauthNonce", "0f"), cookies.of_flow("OauthNonce", "1")), (Some("4"), Some("3")));
        cookies.strip_own(&Cookies::default());
        assert_eq!(line(&cookies), "BearerToken=2; OauthNonces=5; IdToken=6; x=8");
        cookies.strip_all(&Cookies::default());
        assert_eq!(line(&cookies), "OauthNonces=5; x=8");
    }

    #[test]
    fn what_browsers_keep() {
        let plain = Cookies::default();
        let with = Cookies { domain: Some("a.example".into()), ..Cookies::default() };
        let strict =
            Cookie { path: "/p".into(), same_site: Some(SameSite::Strict), partitioned: true, ..Cookie::new("C") };
        let text = |value: Option<HeaderValue>| value.unwrap().to_str().unwrap().to_owned();
        assert_eq!(text(set(&plain, &Cookie::new("C"), "C", "v", 5)), "C=v;path=/;Max-Age=5;secure;HttpOnly");
        assert_eq!(
            text(set(&with, &strict, "C.1", "v", 0)),
            "C.1=v;domain=a.example;path=/p;Max-Age=0;secure;HttpOnly;SameSite=Strict;Partitioned"
        );
        assert_eq!(
            text(delete(&plain, &strict, "__Host-C")),
            "__Host-C=deleted; path=/p; expires=Thu, 01 Jan 1970 00:00:00 GMT; Secure"
        );
        assert_eq!(set(&plain, &strict, "C", "a\nb", 1), None);
    }
}
