//! The headers by which proxies tell each other about the client and the request: who it came from, over what, under
//! which id; and what of the client's own claims is believed (Envoy's rules).

use std::net::{IpAddr, SocketAddr};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use model::HttpProxy;
use model::http_proxy::ForwardClientCert;
use transport::tls::{LiveCert, Peer};

use crate::marks::Marks;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");
const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");
const ENVOY: &str = "x-envoy-";

/// What is the same for all requests of a downstream connection, prepared once.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    address: IpAddr,
    address_text: HeaderValue,
    https: bool,
    mutual_tls: bool,
    certificate: Option<HeaderValue>,
}

impl Caller {
    /// Who is at the other end, as TCP and TLS say.
    pub(crate) fn new(source: SocketAddr, peer: Option<&Peer>, ours: Option<&LiveCert>) -> Self {
        let address = source.ip();
        let proven = peer.filter(|p| p.verified);
        Self {
            address,
            address_text: value(&address.to_string()),
            https: peer.is_some(),
            mutual_tls: proven.is_some(),
            certificate: proven.and_then(|p| certificate_element(p, ours)),
        }
    }

    /// Is the peer proven by mutual TLS?
    pub(crate) fn is_proven(&self) -> bool {
        self.mutual_tls
    }
}

/// Cleans and completes a request's head as it comes in.
pub(crate) fn receive(headers: &mut HeaderMap, marks: Marks, proxy: &HttpProxy, caller: &Caller) {
    let mut known_id = marks.has(Marks::REQUEST_ID);
    if proxy.use_remote_address {
        remove_claims(headers);
        append(headers, FORWARDED_FOR, &caller.address_text);
        headers.insert(FORWARDED_PROTO, scheme_value(caller.https));
        headers.insert(EXTERNAL_ADDRESS, caller.address_text.clone());
        headers.remove(REQUEST_ID);
        known_id = false;
    } else if !marks.has(Marks::FORWARDED_PROTO) || !is_scheme(headers.get(FORWARDED_PROTO)) {
        headers.insert(FORWARDED_PROTO, scheme_value(caller.https));
    }
    if proxy.generate_request_id && !known_id {
        headers.insert(REQUEST_ID, new_request_id());
    }
    if caller.mutual_tls || marks.has(Marks::CLIENT_CERT) {
        client_cert(headers, proxy.forward_client_cert, caller);
    }
}

/// Completes a response's head before it goes out.
pub(crate) fn answer(headers: &mut HeaderMap, server_name: Option<&HeaderValue>) {
    if let Some(name) = server_name {
        headers.insert(header::SERVER, name.clone());
    }
}

/// How long the upstream took to answer, in milliseconds.
pub(crate) fn service_time(headers: &mut HeaderMap, milliseconds: u64) {
    headers.insert(SERVICE_TIME, HeaderValue::from(milliseconds));
}

/// The scheme that the client used, as the first proxy told.
pub(crate) fn scheme(headers: &HeaderMap) -> &'static str {
    match headers.get(FORWARDED_PROTO).map(HeaderValue::as_bytes) {
        Some(b"https") => "https",
        _ => "http",
    }
}

/// The client of a trusted chain of proxies: the last address in `x-forwarded-for`, else the connection's.
pub(crate) fn client_address(headers: &HeaderMap, caller: &Caller) -> IpAddr {
    let last = headers.get_all(FORWARDED_FOR).iter().next_back();
    let text = last.and_then(|v| v.to_str().ok()).and_then(|v| v.rsplit(',').next());
    text.and_then(|t| t.trim().parse().ok()).unwrap_or(caller.address)
}

/// Nobody outside may speak with the voice of a proxy.
fn remove_claims(headers: &mut HeaderMap) {
    let claims: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(ENVOY)).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
}

fn client_cert(headers: &mut HeaderMap, mode: ForwardClientCert, caller: &Caller) {
    use ForwardClientCert::{AlwaysForwardOnly, AppendForward, ForwardOnly, Sanitize, SanitizeSet};
    match mode {
        AlwaysForwardOnly => {}
        ForwardOnly if caller.mutual_tls => {}
        AppendForward if caller.mutual_tls => {
            if let Some(ours) = &caller.certificate {
                append(headers, CLIENT_CERT, ours);
            }
        }
        SanitizeSet if caller.mutual_tls => {
            headers.remove(CLIENT_CERT);
            headers.extend(caller.certificate.clone().map(|ours| (CLIENT_CERT, ours)));
        }
        Sanitize | ForwardOnly | AppendForward | SanitizeSet => drop(headers.remove(CLIENT_CERT)),
    }
}

/// `By=<us>;Hash=<sha256>;Subject="..";URI=<them>`, as Istio asks Envoy for.
fn certificate_element(peer: &Peer, ours: Option<&LiveCert>) -> Option<HeaderValue> {
    let theirs = peer.certificate.as_ref()?;
    let mut text = String::new();
    if let Some(by) = ours.and_then(LiveCert::certificate).and_then(|c| c.uri_sans.into_iter().next()) {
        text.push_str(&format!("By={by};"));
    }
    let subject = theirs.subject.replace(['"', '\\'], "");
    text.push_str(&format!("Hash={};Subject=\"{subject}\"", theirs.fingerprint));
    match theirs.uri_sans.first() {
        Some(uri) => text.push_str(&format!(";URI={uri}")),
        None => text.push_str(";URI="),
    }
    HeaderValue::from_str(&text).ok()
}

/// Adds to a comma-separated field that stands on one line, as other proxies expect.
fn append(headers: &mut HeaderMap, name: HeaderName, value: &HeaderValue) {
    let mut all: Vec<u8> = Vec::new();
    for old in headers.get_all(&name) {
        all.extend_from_slice(old.as_bytes());
        all.push(b',');
    }
    all.extend_from_slice(value.as_bytes());
    if let Ok(all) = HeaderValue::from_maybe_shared(bytes::Bytes::from(all)) {
        headers.insert(name, all);
    }
}

fn is_scheme(value: Option<&HeaderValue>) -> bool {
    matches!(value.map(HeaderValue::as_bytes), Some(b"http" | b"https"))
}

fn scheme_value(https: bool) -> HeaderValue {
    HeaderValue::from_static(if https { "https" } else { "http" })
}

fn new_request_id() -> HeaderValue {
    let mut text = uuid::Uuid::encode_buffer();
    let text = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text);
    value(text)
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::http_proxy::RouteSource;

    fn proxy(use_remote_address: bool, forward_client_cert: ForwardClientCert) -> HttpProxy {
        let routes = RouteSource::Rds("r".into());
        HttpProxy { use_remote_address, forward_client_cert, ..HttpProxy::new("x", routes) }
    }

    fn clean(headers: &mut HeaderMap, proxy: &HttpProxy, caller: &Caller) {
        let marks = Marks::of(headers);
        receive(headers, marks, proxy, caller);
    }

    fn caller(mutual_tls: bool) -> Caller {
        Caller {
            mutual_tls,
            certificate: mutual_tls.then(|| HeaderValue::from_static("URI=spiffe://a/b")),
            ..Caller::new("10.0.0.9:1000".parse().unwrap(), None, None)
        }
    }

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn the_edge_believes_nobody() {
        let mut seen = headers(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", "mine"),
            ("x-envoy-peer-metadata", "junk"),
            ("x-envoy-retry-on", "5xx"),
        ]);
        clean(&mut seen, &proxy(true, ForwardClientCert::Sanitize), &caller(false));
        let text = |name: &str| seen.get(name).map(|v| v.to_str().unwrap());
        assert_eq!(text("x-forwarded-for"), Some("1.1.1.1,10.0.0.9"));
        assert_eq!(text("x-forwarded-proto"), Some("http"));
        assert_eq!(text("x-envoy-external-address"), Some("10.0.0.9"));
        assert_eq!((text("x-envoy-retry-on"), text("x-envoy-peer-metadata")), (None, None));
        assert_eq!(text("x-request-id").map(str::len), Some(36));
    }

    #[test]
    fn a_sidecar_believes() {
        let mut seen =
            headers(&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "https"), ("x-request-id", "mine")]);
        let before = seen.clone();
        clean(&mut seen, &proxy(false, ForwardClientCert::Sanitize), &caller(false));
        assert_eq!(seen, before);
        assert_eq!(client_address(&seen, &caller(false)).to_string(), "1.1.1.1");
    }

    #[test]
    fn client_certificates() {
        use ForwardClientCert::*;
        for (mode, mutual_tls, expected) in [
            (Sanitize, true, None),
            (ForwardOnly, true, Some("old")),
            (ForwardOnly, false, None),
            (AppendForward, true, Some("old,URI=spiffe://a/b")),
            (AppendForward, false, None),
            (SanitizeSet, true, Some("URI=spiffe://a/b")),
            (SanitizeSet, false, None),
            (AlwaysForwardOnly, false, Some("old")),
        ] {
            let mut seen = headers(&[("x-forwarded-client-cert", "old")]);
            clean(&mut seen, &proxy(false, mode), &caller(mutual_tls));
            let found = seen.get("x-forwarded-client-cert").map(|v| v.to_str().unwrap());
            assert_eq!(found, expected, "{mode:?} {mutual_tls}");
        }
    }
}
