//! Where requests carry tokens, and how these are taken off.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use http::header::{AUTHORIZATION, COOKIE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Request, Uri};
use mesh_http::Body;
use model::jwt::JwtProvider;
use model::matcher::header_text;

/// The places of some providers' tokens.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// By name and prefix.
    headers: BTreeMap<(String, String), Issuers>,
    params: BTreeMap<String, Issuers>,
    cookies: BTreeMap<String, Issuers>,
}

/// Whose tokens may be at a place.
#[derive(Debug, Default)]
pub(super) struct Issuers {
    any: bool,
    named: BTreeSet<String>,
}

impl Issuers {
    fn add(&mut self, issuer: &str) {
        if issuer.is_empty() {
            self.any = true;
        } else {
            self.named.insert(issuer.to_owned());
        }
    }

    /// May this issuer's be there?
    pub fn has(&self, issuer: &str) -> bool {
        self.any || self.named.contains(issuer)
    }
}

/// A token that was found.
#[derive(Debug)]
pub(super) struct Found<'p> {
    /// What is said to be one.
    pub text: String,
    /// Whose it may be.
    pub issuers: &'p Issuers,
    place: Place<'p>,
}

#[derive(Debug)]
enum Place<'p> {
    Header(&'p str),
    Param(&'p str),
    Cookie,
}

impl Places {
    /// Those of these providers.
    pub fn of<'a>(providers: impl IntoIterator<Item = &'a JwtProvider>) -> Self {
        let mut places = Self::default();
        for provider in providers {
            places.add(provider);
        }
        places
    }

    fn add(&mut self, provider: &JwtProvider) {
        let issuer = &provider.issuer;
        let mut header = |name: &HeaderName, prefix: &str| {
            self.headers.entry((name.as_str().to_owned(), prefix.to_owned())).or_default().add(issuer);
        };
        for from in &provider.from_headers {
            header(&from.name, &from.prefix);
        }
        if provider.from_headers.is_empty() && provider.from_params.is_empty() && provider.from_cookies.is_empty() {
            header(&AUTHORIZATION, "Bearer ");
            self.params.entry("access_token".to_owned()).or_default().add(issuer);
        }
        for name in &provider.from_params {
            self.params.entry(name.clone()).or_default().add(issuer);
        }
        for name in &provider.from_cookies {
            self.cookies.entry(name.clone()).or_default().add(issuer);
        }
    }

    /// What stands there, in Envoy's order: headers, parameters, cookies, each by name.
    pub fn find(&self, request: &Request<Body>) -> Vec<Found<'_>> {
        let mut found = Vec::new();
        for ((name, prefix), issuers) in &self.headers {
            // Fields that come several times are one text, as in Envoy: two tokens are none.
            let all = header_text(request.headers(), name);
            if let Some(text) = all.as_deref().and_then(|all| after(all, prefix)) {
                found.push(Found { text: text.to_owned(), issuers, place: Place::Header(name) });
            }
        }
        for (name, issuers) in &self.params {
            if let Some(text) = param(request.uri().query().unwrap_or_default(), name) {
                found.push(Found { text, issuers, place: Place::Param(name) });
            }
        }
        for (name, issuers) in &self.cookies {
            if let Some(text) = cookie(request.headers(), name) {
                found.push(Found { text, issuers, place: Place::Cookie });
            }
        }
        found
    }
}

impl Found<'_> {
    /// Takes it off the request. Cookies stay, as with Envoy.
    pub fn take_off(&self, request: &mut Request<Body>) {
        match self.place {
            Place::Header(name) => drop(request.headers_mut().remove(name)),
            Place::Param(name) => {
                if let Some(uri) = without_param(request.uri(), name) {
                    *request.uri_mut() = uri;
                }
            }
            Place::Cookie => {}
        }
    }
}

/// What follows the prefix, wherever that stands, from the first character on that a token can have.
fn after<'v>(value: &'v str, prefix: &str) -> Option<&'v str> {
    if prefix.is_empty() {
        return Some(value);
    }
    let rest = &value[value.find(prefix)? + prefix.len()..];
    let begins = rest.find(|c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    Some(begins.map_or(value, |at| &rest[at..]))
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// The first of this name.
fn param(query: &str, name: &str) -> Option<String> {
    pairs(query).find(|(key, _)| decoded(key) == name).map(|(_, value)| decoded(value).into_owned())
}

/// The target without any parameter of this name; what else stands there stays as it is.
fn without_param(uri: &Uri, name: &str) -> Option<Uri> {
    let kept: Vec<&str> =
        uri.query()?.split('&').filter(|pair| pairs(pair).all(|(key, _)| decoded(key) != name)).collect();
    let path = match &kept[..] {
        [] => uri.path().to_owned(),
        kept => format!("{}?{}", uri.path(), kept.join("&")),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).ok()?);
    Uri::from_parts(parts).ok()
}

/// With `%41` as what it stands for.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return text.into();
    }
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = escaped.filter(|hex| hex.bytes().all(|c| c.is_ascii_hexdigit()));
        match byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned().into()
}

/// The first of this name, without quotes around it.
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| std::str::from_utf8(value.as_bytes()).ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    Some(quoted.unwrap_or(value).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_prefixes() {
        for (value, prefix, expected) in [
            ("Bearer a.b.c", "Bearer ", Some("a.b.c")),
            ("Bearer   a.b.c", "Bearer ", Some("a.b.c")),
            ("x Bearer a.b.c", "Bearer ", Some("a.b.c")),
            ("bearer a.b.c", "Bearer ", None),
            ("Basic abc", "Bearer ", None),
            ("Bearer ", "Bearer ", Some("Bearer ")),
            ("a.b.c", "", Some("a.b.c")),
        ] {
            assert_eq!(after(value, prefix), expected, "{value:?} {prefix:?}");
        }
    }

    #[test]
    fn parameters() {
        for (query, expected, left) in [
            ("t=a.b", Some("a.b"), "/p"),
            ("x=1&t=a%2eb&y", Some("a.b"), "/p?x=1&y"),
            ("%74=a&t=b", Some("a"), "/p"),
            ("tt=a", None, "/p?tt=a"),
            ("t", Some(""), "/p"),
            ("t=%zz%4", Some("%zz%4"), "/p"),
        ] {
            assert_eq!(param(query, "t").as_deref(), expected, "{query}");
            let uri: Uri = format!("http://a/p?{query}").parse().unwrap();
            assert_eq!(without_param(&uri, "t").unwrap(), *format!("http://a{left}"), "{query}");
        }
    }

    #[test]
    fn cookies() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(COOKIE, value.parse().unwrap());
            }
            cookie(&headers, "t")
        };
        assert_eq!(of(&["a=1; t=x.y", "t=z"]).as_deref(), Some("x.y"));
        assert_eq!(of(&["a=1", "t=\"x\""]).as_deref(), Some("x"));
        assert_eq!(of(&["tt=1; a=t=2"]), None);
    }
}
