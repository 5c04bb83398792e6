//! What of a request decides which endpoint takes it: the keys, and the number that they give.
//!
//! Keys, their texts and how several of them are put together are Envoy's, so that either proxy chooses the same endpoint.

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, header};
use xxhash_rust::xxh64::xxh64;

/// One key (xDS `RouteAction.HashPolicy`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashPolicy {
    /// What is looked at.
    pub key: HashKey,
    /// When there is a hash after this key, those behind it do not count.
    pub terminal: bool,
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// All values of a header, in whatever order they come.
    Header(HeaderName),
    /// A cookie's value.
    Cookie(HashCookie),
    /// The client's address, without its port.
    SourceIp,
    /// The first value of a query parameter, as it was sent.
    Query(String),
}

/// A cookie to hash by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HashCookie {
    /// Its name.
    pub name: String,
    /// Its life, if the proxy makes it; zero: as long as the client's session. None: the proxy makes none.
    pub ttl: Option<Duration>,
    /// Its path, if the proxy makes it.
    pub path: String,
    /// Further attributes, if the proxy makes it: name, and value or nothing.
    pub attributes: Vec<(String, String)>,
}

impl HashPolicy {
    /// A key that is not terminal.
    pub fn new(key: HashKey) -> Self {
        Self { key, terminal: false }
    }
}

impl HashCookie {
    /// The `set-cookie` that gives the client this cookie.
    pub fn set(&self, value: &str) -> String {
        let mut text = format!("{}=\"{value}\"", self.name);
        if let Some(seconds) = self.ttl.map(|ttl| ttl.as_secs()).filter(|seconds| *seconds > 0) {
            text.push_str(&format!("; Max-Age={seconds}"));
        }
        if !self.path.is_empty() {
            text.push_str("; Path=");
            text.push_str(&self.path);
        }
        for (name, value) in &self.attributes {
            text.push_str("; ");
            text.push_str(name);
            if !value.is_empty() {
                text.push('=');
                text.push_str(value);
            }
        }
        text.push_str("; HttpOnly");
        text
    }
}

/// The hash of a request; none if it has nothing of what is looked at. `mint` gives the value of a cookie that the
/// client does not have and is to be given.
pub fn hash_of(
    policies: &[HashPolicy],
    headers: &HeaderMap,
    query: Option<&str>,
    source: Option<IpAddr>,
    mut mint: impl FnMut(&HashCookie) -> String,
) -> Option<u64> {
    let mut hash: Option<u64> = None;
    for policy in policies {
        let found = match &policy.key {
            HashKey::Header(name) => of_header(headers, name),
            HashKey::Cookie(cookie) => of_cookie(headers, cookie, &mut mint),
            HashKey::SourceIp => source.map(hash_of_source),
            HashKey::Query(name) => query.and_then(|query| first_value(query, name)).map(hash_of_text),
        };
        if let Some(found) = found {
            // Turned by a bit, so that a key that stands twice does not cancel itself out.
            hash = Some(hash.map_or(0, |before| before.rotate_left(1)) ^ found);
        }
        if policy.terminal && hash.is_some() {
            break;
        }
    }
    hash
}

/// The hash of a client's address: all that there is of a connection that is not HTTP.
pub fn hash_of_source(ip: IpAddr) -> u64 {
    hash_of_text(&ip.to_string())
}

/// The hash of any text.
pub fn hash_of_text(text: &str) -> u64 {
    xxh64(text.as_bytes(), 0)
}

fn of_header(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    let Some(second) = values.next() else { return Some(xxh64(first.as_bytes(), 0)) };
    let mut all: Vec<&[u8]> = [first, second].into_iter().chain(values).map(|value| value.as_bytes()).collect();
    all.sort_unstable();
    Some(all.into_iter().fold(0, |seed, value| xxh64(value, seed)))
}

fn of_cookie(headers: &HeaderMap, cookie: &HashCookie, mint: &mut impl FnMut(&HashCookie) -> String) -> Option<u64> {
    match cookie_value(headers, cookie.name.as_bytes()) {
        Some(value) => Some(xxh64(value, 0)),
        None => cookie.ttl.map(|_| hash_of_text(&mint(cookie))),
    }
}

/// A cookie's value without the quotes around it; none if it is empty, too.
fn cookie_value<'h>(headers: &'h HeaderMap, name: &[u8]) -> Option<&'h [u8]> {
    let pairs = headers.get_all(header::COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let start = pair.iter().position(|byte| *byte != b' ')?;
        (pair.get(start..equals)? == name).then(|| &pair[equals + 1..])
    });
    let value = values.next()?;
    let inner = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    Some(inner).filter(|value| !value.is_empty())
}

/// The first value of a parameter, undecoded; a parameter without `=` has an empty one.
fn first_value<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(ttl: Option<u64>) -> HashKey {
        HashKey::Cookie(HashCookie { name: "user".into(), ttl: ttl.map(Duration::from_secs), ..HashCookie::default() })
    }

    fn hash(policies: &[(HashKey, bool)], headers: &[(&str, &str)]) -> Option<u64> {
        let policies: Vec<_> =
            policies.iter().map(|(key, terminal)| HashPolicy { key: key.clone(), terminal: *terminal }).collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        hash_of(&policies, &map, Some("a=foo&b&a=bar"), Some([10, 0, 0, 1].into()), |_| "foo".to_owned())
    }

    #[test]
    fn keys_and_their_hashes() {
        // Those of `foo` and `bar` stand in Envoy's tests, as does the one of both together.
        const FOO: u64 = 3_728_699_739_546_630_719;
        const BOTH: u64 = 17_745_830_980_996_999_794;
        const EMPTY: u64 = 17_241_709_254_077_376_921;
        let header = || HashKey::Header(HeaderName::from_static("x"));
        let query = |name: &str| HashKey::Query(name.into());
        let ip = xxh64(b"10.0.0.1", 0);
        for (policies, headers, expected) in [
            (vec![(header(), false)], vec![("x", "foo")], Some(FOO)),
            (vec![(header(), false)], vec![("x", "foo"), ("x", "bar")], Some(xxh64(b"foo", xxh64(b"bar", 0)))),
            (vec![(header(), false)], vec![("x", "bar"), ("x", "foo")], Some(xxh64(b"foo", xxh64(b"bar", 0)))),
            (vec![(header(), false)], vec![], None),
            (vec![(HashKey::SourceIp, false)], vec![], Some(ip)),
            (vec![(query("a"), false)], vec![], Some(FOO)),
            (vec![(query("b"), false)], vec![], Some(EMPTY)),
            (vec![(query("c"), false)], vec![], None),
            (vec![(cookie(None), false)], vec![("cookie", "a=b; user=foo")], Some(FOO)),
            (vec![(cookie(None), false)], vec![("cookie", "user=\"foo\"; user=x")], Some(FOO)),
            (vec![(cookie(None), false)], vec![("cookie", "user; users=foo")], None),
            (vec![(cookie(None), false)], vec![("cookie", "user=")], None),
            (vec![(cookie(Some(0)), false)], vec![], Some(FOO)),
            (vec![(cookie(None), false), (header(), false)], vec![("x", "foo")], Some(FOO)),
            (vec![(header(), false), (header(), false)], vec![("x", "foo")], Some(FOO.rotate_left(1) ^ FOO)),
            (vec![(header(), true), (HashKey::SourceIp, false)], vec![("x", "foo")], Some(FOO)),
            (vec![(header(), true), (HashKey::SourceIp, false)], vec![], Some(ip)),
            (vec![(query("a"), false), (header(), true), (HashKey::SourceIp, false)], vec![], Some(FOO)),
        ] {
            assert_eq!(hash(&policies, &headers), expected, "{policies:?} {headers:?}");
        }
        assert_eq!(xxh64(b"bar", FOO), BOTH);
    }

    #[test]
    fn cookies_to_set() {
        let cookie = HashCookie { name: "user".into(), ..HashCookie::default() };
        let whole = HashCookie {
            ttl: Some(Duration::from_millis(60_500)),
            path: "/shop".into(),
            attributes: vec![("SameSite".into(), "Strict".into()), ("Secure".into(), String::new())],
            ..cookie.clone()
        };
        assert_eq!(cookie.set("1f"), "user=\"1f\"; HttpOnly");
        assert_eq!(whole.set("1f"), "user=\"1f\"; Max-Age=60; Path=/shop; SameSite=Strict; Secure; HttpOnly");
    }
}
