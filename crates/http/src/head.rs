//! Rules about heads: hop-by-hop fields, the authority, and what changes between HTTP/1 and HTTP/2.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, Parts, PathAndQuery, Scheme};
use http::{Method, Request, Uri, Version};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Which of the fields that decide about connection and framing a head has. Found in one pass over its names: to look
/// each of them up would hash each of them, for every head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Marks(u16);

impl Marks {
    pub(crate) const CONNECTION: Self = Self(1);
    pub(crate) const TE: Self = Self(1 << 1);
    pub(crate) const UPGRADE: Self = Self(1 << 2);
    pub(crate) const TRANSFER_ENCODING: Self = Self(1 << 3);
    pub(crate) const CONTENT_LENGTH: Self = Self(1 << 4);
    pub(crate) const HOST: Self = Self(1 << 5);
    pub(crate) const EXPECT: Self = Self(1 << 6);
    /// Older words about the connection.
    const OTHER_HOP: Self = Self(1 << 7);
    /// What concerns one connection only.
    const HOP_BY_HOP: Self =
        Self(Self::CONNECTION.0 | Self::TE.0 | Self::UPGRADE.0 | Self::TRANSFER_ENCODING.0 | Self::OTHER_HOP.0);

    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut all = Self::default();
        headers.keys().for_each(|name| all.add(name));
        all
    }

    pub(crate) fn add(&mut self, name: &HeaderName) {
        let mark = match name.as_str() {
            "connection" => Self::CONNECTION,
            "te" => Self::TE,
            "upgrade" => Self::UPGRADE,
            "transfer-encoding" => Self::TRANSFER_ENCODING,
            "content-length" => Self::CONTENT_LENGTH,
            "host" => Self::HOST,
            "expect" => Self::EXPECT,
            "keep-alive" | "proxy-connection" => Self::OTHER_HOP,
            _ => return,
        };
        self.0 |= mark.0;
    }

    /// Is any of `wanted` there?
    pub(crate) fn any(self, wanted: Self) -> bool {
        self.0 & wanted.0 != 0
    }
}

/// Why a head cannot be sent on: it names no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request names no host that can stand as an authority")]
pub struct NoAuthority;

/// The host (and port) that a request is for: the target's authority if it has one, else `Host`
/// (RFC 9110, section 7.2). `None` if there is neither, or `Host` is no text.
pub fn authority<B>(request: &Request<B>) -> Option<&str> {
    match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => request.headers().get(header::HOST)?.to_str().ok().filter(|host| !host.is_empty()),
    }
}

/// Gives a request another target: a path and a query. It stays as it is, and the answer is no, if that is none.
pub fn set_target<B>(request: &mut Request<B>, target: &str) -> bool {
    let Ok(target) = PathAndQuery::try_from(target) else { return false };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = Some(target);
    Uri::from_parts(parts).map(|uri| *request.uri_mut() = uri).is_ok()
}

/// Gives a request another host (and port), where it has one. It stays as it is, and the answer is no, if that is none.
pub fn set_authority<B>(request: &mut Request<B>, host: &str) -> bool {
    let (Ok(authority), Ok(value)) = (Authority::try_from(host), HeaderValue::from_str(host)) else { return false };
    let mut parts = request.uri().clone().into_parts();
    if parts.authority.is_some() {
        parts.authority = Some(authority);
        let Ok(uri) = Uri::from_parts(parts) else { return false };
        *request.uri_mut() = uri;
    }
    if request.uri().authority().is_none() || request.headers().contains_key(header::HOST) {
        request.headers_mut().insert(header::HOST, value);
    }
    true
}

/// Removes what concerns one connection only (RFC 9110, section 7.6.1): fields that `Connection` lists, `Connection`,
/// `Keep-Alive`, `Proxy-Connection`, `TE` (save `trailers`), `Transfer-Encoding`, and `Upgrade` unless `keep_upgrade`.
/// `Connection: upgrade` then stays too.
pub fn remove_hop_by_hop(headers: &mut HeaderMap, keep_upgrade: bool) {
    if !Marks::of(headers).any(Marks::HOP_BY_HOP) {
        return;
    }
    let keep_upgrade = keep_upgrade && headers.contains_key(header::UPGRADE);
    if let header::Entry::Occupied(connection) = headers.entry(header::CONNECTION) {
        let values: Vec<HeaderValue> = connection.remove_entry_mult().1.collect();
        for token in values.iter().flat_map(tokens) {
            // End-to-end fields that framing or routing rests on cannot be listed away (request smuggling).
            let fixed = [&b"te"[..], b"upgrade", b"host", b"content-length", b"close", b"keep-alive"];
            if !fixed.iter().any(|name| token.eq_ignore_ascii_case(name))
                && let Ok(name) = HeaderName::from_bytes(token)
            {
                headers.remove(name);
            }
        }
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    headers.remove(header::TRANSFER_ENCODING);
    keep_te_trailers(headers);
    if keep_upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    } else {
        headers.remove(header::UPGRADE);
    }
}

/// Makes a head fit for HTTP/2 (RFC 9113, section 8.2.2 and 8.3.1): `Host` becomes the authority, the target gets a
/// scheme, connection-specific fields go, `te: trailers` stays.
pub fn to_h2<B>(request: &mut Request<B>, scheme: Scheme) -> Result<(), NoAuthority> {
    if request.uri().authority().is_none() {
        let host = request.headers().get(header::HOST).ok_or(NoAuthority)?;
        let authority = Authority::try_from(host.as_bytes()).map_err(|_| NoAuthority)?;
        let target = std::mem::take(request.uri_mut());
        *request.uri_mut() = absolute(target, scheme, authority)?;
    } else if request.uri().scheme().is_none() && request.method() != Method::CONNECT {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(scheme);
        parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| NoAuthority)?;
    }
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    headers.remove(header::HOST);
    strip_for_h2(headers);
    Ok(())
}

/// Keeps values that no other message has out of the table by which HPACK shortens what repeats (RFC 7541, section
/// 6.2.3). There they would only drive out what does repeat, and make every look-up longer.
pub(crate) fn keep_out_of_table(headers: &mut HeaderMap) {
    let unique = headers.iter_mut().filter(|(name, _)| UNIQUE.contains(&name.as_str()));
    unique.for_each(|(_, value)| value.set_sensitive(true));
}

/// Fields that have another value in every message.
const UNIQUE: [&str; 7] =
    ["x-request-id", "traceparent", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "grpc-timeout"];

/// Removes the fields that HTTP/2 forbids (RFC 9113, section 8.2.2); for responses too.
pub fn strip_for_h2(headers: &mut HeaderMap) {
    if !Marks::of(headers).any(Marks::HOP_BY_HOP) {
        return;
    }
    for name in [header::CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        if headers.contains_key(&name) {
            headers.remove(name);
        }
    }
    keep_te_trailers(headers);
}

/// Makes a head fit for HTTP/1.1: the authority becomes `Host`, the target loses scheme and authority (save for
/// CONNECT), and cookies that HTTP/2 had split are one field again (RFC 9113, section 8.2.3).
pub fn to_h1<B>(request: &mut Request<B>) {
    *request.version_mut() = Version::HTTP_11;
    join_cookies(request.headers_mut());
    let Some(authority) = request.uri().authority() else { return };
    if let Ok(host) = HeaderValue::from_maybe_shared(Bytes::copy_from_slice(authority.as_str().as_bytes())) {
        request.headers_mut().insert(header::HOST, host);
    }
    if request.method() != Method::CONNECT {
        let mut parts = Parts::default();
        let target = std::mem::take(request.uri_mut()).into_parts();
        parts.path_and_query = Some(target.path_and_query.unwrap_or(PathAndQuery::from_static("/")));
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    }
}

/// The tokens of a comma-separated field value, without white space and without empty ones.
pub(crate) fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Does any line of this field hold `token`?
pub(crate) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().flat_map(tokens).any(|t| t.eq_ignore_ascii_case(token.as_bytes()))
}

fn absolute(target: Uri, scheme: Scheme, authority: Authority) -> Result<Uri, NoAuthority> {
    let mut parts = target.into_parts();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    Uri::from_parts(parts).map_err(|_| NoAuthority)
}

fn keep_te_trailers(headers: &mut HeaderMap) {
    let Some(te) = headers.get(header::TE) else { return };
    if te != "trailers" || headers.get_all(header::TE).iter().count() > 1 {
        let trailers = has_token(headers, &header::TE, "trailers");
        headers.remove(header::TE);
        if trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
    }
}

fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let all: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_maybe_shared(Bytes::from(all.join(&b"; "[..]))) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, fields: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().uri(target);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    fn lines<B>(request: &Request<B>) -> Vec<String> {
        let mut lines: Vec<_> =
            request.headers().iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn hop_by_hop() {
        for (fields, keep_upgrade, expected) in [
            (&[("connection", "x-a, close"), ("x-a", "1"), ("x-b", "2")][..], false, &["x-b: 2"][..]),
            (&[("connection", "host, content-length"), ("host", "a")], false, &["host: a"]),
            (&[("keep-alive", "1"), ("proxy-connection", "x"), ("transfer-encoding", "chunked")], false, &[]),
            (&[("te", "trailers")], false, &["te: trailers"]),
            (&[("connection", "te"), ("te", "gzip, trailers")], false, &["te: trailers"]),
            (&[("te", "gzip")], false, &[]),
            (&[("connection", "Upgrade"), ("upgrade", "websocket")], false, &[]),
            (
                &[("connection", "x, Upgrade"), ("upgrade", "websocket"), ("x", "1")],
                true,
                &["connection: upgrade", "upgrade: websocket"],
            ),
            (&[("connection", "upgrade")], true, &[]),
        ] {
            let mut request = request("/", fields);
            remove_hop_by_hop(request.headers_mut(), keep_upgrade);
            assert_eq!(lines(&request), expected, "{fields:?}");
        }
    }

    #[test]
    fn both_versions() {
        let mut there = request("/a?b=c", &[("host", "reviews:9080"), ("connection", "close"), ("te", "trailers")]);
        to_h2(&mut there, Scheme::HTTP).unwrap();
        assert_eq!(there.uri(), "http://reviews:9080/a?b=c");
        assert_eq!(lines(&there), ["te: trailers"]);
        there.headers_mut().append("cookie", HeaderValue::from_static("a=1"));
        there.headers_mut().append("cookie", HeaderValue::from_static("b=2"));
        to_h1(&mut there);
        assert_eq!(there.uri(), "/a?b=c");
        assert_eq!(lines(&there), ["cookie: a=1; b=2", "host: reviews:9080", "te: trailers"]);
        assert_eq!(to_h2(&mut request("/", &[]), Scheme::HTTP), Err(NoAuthority));
        assert_eq!(to_h2(&mut request("/", &[("host", "a b")]), Scheme::HTTP), Err(NoAuthority));
    }

    #[test]
    fn what_never_repeats_stays_out_of_the_table() {
        let mut request =
            request("/", &[("host", "a"), ("x-request-id", "1"), ("traceparent", "2"), ("accept", "*/*")]);
        to_h2(&mut request, Scheme::HTTP).unwrap();
        keep_out_of_table(request.headers_mut());
        let mut kept_out: Vec<_> =
            request.headers().iter().filter(|(_, v)| v.is_sensitive()).map(|(n, _)| n.as_str()).collect();
        kept_out.sort_unstable();
        assert_eq!(kept_out, ["traceparent", "x-request-id"]);
    }

    #[test]
    fn authorities() {
        for (target, host, expected) in [
            ("/", Some("a:1"), Some("a:1")),
            ("http://b/", Some("a"), Some("b")),
            ("/", None, None),
            ("/", Some(""), None),
        ] {
            let fields: Vec<_> = host.iter().map(|h| ("host", *h)).collect();
            assert_eq!(authority(&request(target, &fields)), expected, "{target} {host:?}");
        }
    }
}
