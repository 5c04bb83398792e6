//! The headers by which proxies tell each other about the client and the request: who it came from, over what, under
//! which id; and what of the client's own claims is believed (Envoy's rules).

use std::net::{IpAddr, SocketAddr};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use model::HttpProxy;
use model::http_proxy::ForwardClientCert;
use transport::Stream;
use transport::tls::{LiveCert, Peer};

use self::client::{Client, FORWARDED_FOR};
use crate::http_plan::HttpPlan;
use crate::marks::Marks;

mod certificate;
mod client;
mod date;

pub(crate) use client::{address as client_address, forwarded as forwarded_client};

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");
const INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");
const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
const ENVOY: &str = "x-envoy-";

/// What is the same for all requests of a downstream connection, prepared once.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    address: IpAddr,
    address_text: HeaderValue,
    /// The port that it dialled.
    port: u16,
    https: bool,
    mutual_tls: bool,
    certificate: Option<HeaderValue>,
}

impl Caller {
    /// Who is at the other end, as TCP and TLS say; `certificate` is what is told of its certificate.
    pub(crate) fn new(
        source: SocketAddr,
        destination: SocketAddr,
        peer: Option<&Peer>,
        certificate: Option<HeaderValue>,
    ) -> Self {
        let address = source.ip();
        Self {
            address,
            address_text: value(&address.to_string()),
            port: destination.port(),
            https: peer.is_some(),
            mutual_tls: peer.is_some_and(|p| p.verified),
            certificate,
        }
    }

    /// The address of the peer.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// Is the peer proven by mutual TLS?
    pub(crate) fn is_proven(&self) -> bool {
        self.mutual_tls
    }
}

/// What is told of a proven peer's certificate, where it is told: `ours` is the one that we showed.
pub(crate) fn certificate(
    stream: &Stream,
    peer: Option<&Peer>,
    ours: Option<&LiveCert>,
    proxy: &HttpProxy,
) -> Option<HeaderValue> {
    let told = matches!(proxy.forward_client_cert, ForwardClientCert::AppendForward | ForwardClientCert::SanitizeSet);
    let peer = peer.filter(|peer| told && peer.verified)?;
    let details = proxy.edge.client_cert;
    let chain = stream.peer_certificates().filter(|_| details.cert || details.chain).unwrap_or_default();
    let chain: Vec<Vec<u8>> = chain.iter().map(|der| der.to_vec()).collect();
    certificate::element(peer, &chain, ours, details)
}

/// The peer's certificate as services are told it: PEM, URL-encoded.
pub(crate) fn peer_certificate(stream: &Stream) -> Option<String> {
    Some(certificate::encoded(stream.peer_certificates()?.first()?))
}

/// Cleans and completes a request's head as it comes in (Envoy's `mutateRequestHeaders`).
pub(crate) fn receive(headers: &mut HeaderMap, marks: Marks, proxy: &HttpProxy, caller: &Caller) {
    let edge = &proxy.edge;
    // Who it is matters where it is told on, or may make a difference.
    let asked = proxy.use_remote_address || !edge.internal.is_empty();
    let client = if asked { client::of(headers, marks, proxy, caller) } else { Client { address: None, alone: false } };
    let internal = client.alone && client.address.is_some_and(|address| edge.is_internal(address));
    let from_outside = proxy.use_remote_address && !internal;
    if marks.has(Marks::ENVOY) {
        remove_claims(headers, internal, from_outside);
    }
    if internal {
        headers.insert(INTERNAL, HeaderValue::from_static("true"));
    }
    if proxy.use_remote_address && !edge.skip_forwarded_for {
        append(headers, FORWARDED_FOR, &caller.address_text, ",");
    }
    let believed = !proxy.use_remote_address || edge.trusted_hops > 0;
    let known = believed && marks.has(Marks::FORWARDED_PROTO) && is_scheme(headers.get(FORWARDED_PROTO));
    if !known {
        headers.insert(FORWARDED_PROTO, scheme_value(caller.https));
    }
    if edge.forwarded_port && !(believed && headers.contains_key(FORWARDED_PORT)) {
        headers.insert(FORWARDED_PORT, HeaderValue::from(caller.port));
    }
    if let Some(via) = &edge.via {
        append(headers, header::VIA, via, ", ");
    }
    if let (true, Some(address)) = (from_outside, client.address) {
        let same = address == caller.address;
        let text = if same { caller.address_text.clone() } else { value(&address.to_string()) };
        headers.insert(EXTERNAL_ADDRESS, text);
    }
    let keep_id = marks.has(Marks::REQUEST_ID) && (!from_outside || edge.preserve_request_id);
    if proxy.generate_request_id && !keep_id {
        headers.insert(REQUEST_ID, new_request_id());
    }
    if caller.mutual_tls || marks.has(Marks::CLIENT_CERT) {
        client_cert(headers, proxy.forward_client_cert, caller);
    }
}

/// Completes a response's head before it goes out. `request_id` is there if it is to be told.
pub(crate) fn answer(headers: &mut HeaderMap, plan: &HttpPlan, request_id: Option<HeaderValue>) {
    if let Some(name) = &plan.server_name
        && (plan.overwrites_server || !headers.contains_key(header::SERVER))
    {
        headers.insert(header::SERVER, name.clone());
    }
    if !headers.contains_key(header::DATE) {
        headers.insert(header::DATE, date::now());
    }
    if let Some(via) = &plan.proxy.edge.via {
        append(headers, header::VIA, via, ", ");
    }
    if let Some(id) = request_id {
        headers.insert(REQUEST_ID, id);
    }
}

/// The id of a request whose head is complete.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(REQUEST_ID).cloned()
}

/// How many tries there were so far.
pub(crate) fn attempts(headers: &mut HeaderMap, count: u32) {
    headers.insert(ATTEMPTS, HeaderValue::from(count));
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

/// What nobody may say to a proxy but one who is internal.
const WISHES: [&str; 17] = [
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-stream-duration-ms",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-force-trace",
    "x-envoy-ip-tags",
    "x-envoy-original-url",
    "x-envoy-original-path",
    "x-envoy-is-timeout-retry",
];

/// Nobody outside may speak with the voice of a proxy; others who are not internal may not tell this one what to do.
fn remove_claims(headers: &mut HeaderMap, internal: bool, from_outside: bool) {
    headers.remove(INTERNAL);
    if from_outside {
        let claims: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(ENVOY)).cloned().collect();
        claims.iter().for_each(|name| drop(headers.remove(name)));
    } else if !internal {
        WISHES.iter().for_each(|name| drop(headers.remove(*name)));
    }
}

fn client_cert(headers: &mut HeaderMap, mode: ForwardClientCert, caller: &Caller) {
    use ForwardClientCert::{AlwaysForwardOnly, AppendForward, ForwardOnly, Sanitize, SanitizeSet};
    match mode {
        AlwaysForwardOnly => {}
        ForwardOnly if caller.mutual_tls => {}
        AppendForward if caller.mutual_tls => {
            if let Some(ours) = &caller.certificate {
                append(headers, CLIENT_CERT, ours, ",");
            }
        }
        SanitizeSet if caller.mutual_tls => {
            headers.remove(CLIENT_CERT);
            headers.extend(caller.certificate.clone().map(|ours| (CLIENT_CERT, ours)));
        }
        Sanitize | ForwardOnly | AppendForward | SanitizeSet => drop(headers.remove(CLIENT_CERT)),
    }
}

/// Adds to a comma-separated field that stands on one line, as other proxies expect.
fn append(headers: &mut HeaderMap, name: HeaderName, value: &HeaderValue, between: &str) {
    let mut all: Vec<u8> = Vec::new();
    for old in headers.get_all(&name) {
        all.extend_from_slice(old.as_bytes());
        all.extend_from_slice(between.as_bytes());
    }
    if all.is_empty() {
        headers.insert(name, value.clone());
        return;
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
            ..Caller::new("10.0.0.9:1000".parse().unwrap(), "10.0.0.1:8080".parse().unwrap(), None, None)
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
    }

    #[test]
    fn an_edge_behind_trusted_proxies() {
        let mut proxy = proxy(true, ForwardClientCert::Sanitize);
        (proxy.edge.trusted_hops, proxy.edge.forwarded_port, proxy.edge.preserve_request_id) = (1, true, true);
        proxy.edge.via = Some(HeaderValue::from_static("1.1 us"));
        let mut seen = headers(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", "mine"),
            ("via", "1.0 them"),
        ]);
        clean(&mut seen, &proxy, &caller(false));
        let text = |seen: &HeaderMap, name: &str| seen.get(name).map(|v| v.to_str().unwrap().to_owned());
        for (name, expected) in [
            ("x-forwarded-for", "1.1.1.1,10.0.0.9"),
            ("x-envoy-external-address", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "8080"),
            ("x-request-id", "mine"),
            ("via", "1.0 them, 1.1 us"),
        ] {
            assert_eq!(text(&seen, name).as_deref(), Some(expected), "{name}");
        }
        proxy.edge.skip_forwarded_for = true;
        let mut seen = headers(&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-port", "1")]);
        clean(&mut seen, &proxy, &caller(false));
        assert_eq!(text(&seen, "x-forwarded-for").as_deref(), Some("1.1.1.1"));
        assert_eq!(text(&seen, "x-forwarded-port").as_deref(), Some("1"), "told by a trusted proxy");
        proxy.edge.trusted_hops = 0;
        clean(&mut seen, &proxy, &caller(false));
        assert_eq!(text(&seen, "x-forwarded-port").as_deref(), Some("8080"), "told by nobody in particular");
    }

    #[test]
    fn wishes_of_those_who_are_internal() {
        let wish = "x-envoy-max-retries";
        for (remote, internal, forwarded, honoured, marked) in [
            (true, "10.0.0.0/8", None, true, true),
            (true, "10.0.0.0/8", Some("1.1.1.1"), false, false),
            (true, "11.0.0.0/8", None, false, false),
            (false, "10.0.0.0/8", Some("10.1.1.1"), true, true),
            (false, "10.0.0.0/8", Some("10.1.1.1, 10.1.1.2"), false, false),
            (false, "10.0.0.0/8", None, false, false),
        ] {
            let mut proxy = proxy(remote, ForwardClientCert::Sanitize);
            proxy.edge.internal = vec![internal.parse().unwrap()];
            let mut seen = headers(&[(wish, "1"), ("x-envoy-internal", "true")]);
            seen.extend(forwarded.map(|text| (FORWARDED_FOR, HeaderValue::from_static(text))));
            clean(&mut seen, &proxy, &caller(false));
            let case = format!("{remote} {internal} {forwarded:?}");
            assert_eq!(seen.contains_key(wish), honoured, "{case}");
            assert_eq!(seen.contains_key("x-envoy-internal"), marked, "{case}");
        }
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
