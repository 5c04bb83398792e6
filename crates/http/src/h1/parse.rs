//! From the bytes of a head to a head, refusing whatever two parties could read differently.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http::{Method, Request, Response, StatusCode, Version};

use super::framing::Length;
use crate::head::{Marks, has_token, tokens};

/// Why a head is not accepted: the status to answer with (on a server) and what is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) text: &'static str,
}

const fn bad(text: &'static str) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, text }
}

const TOO_LARGE: Refusal = Refusal {
    status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    text: "the head has more bytes or fields than allowed",
};

pub(super) const NOT_HTTP: Refusal = bad("what came is not HTTP/1");

pub(super) struct RequestHead {
    pub(super) request: Request<()>,
    pub(super) length: Length,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
    pub(super) upgrade: bool,
}

pub(super) struct ResponseHead {
    pub(super) response: Response<()>,
    /// `None`: neither Content-Length nor Transfer-Encoding is given.
    pub(super) length: Option<Length>,
    pub(super) keep_alive: bool,
}

/// What a head may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) bytes: usize,
    /// No wider: connections hold it while they wait.
    pub(super) fields: u32,
    /// Trailers are taken; otherwise they are read past.
    pub(super) trailers: bool,
}

/// Takes one whole head off the front of `inbox`, or nothing yet. `scanned` remembers how far the search came.
/// Empty lines before it are skipped (RFC 9112, section 2.2).
pub(super) fn take_head(inbox: &mut BytesMut, scanned: &mut usize, limits: Limits) -> Result<Option<Bytes>, Refusal> {
    while *scanned == 0 && inbox.starts_with(b"\r\n") {
        inbox.advance(2);
    }
    if inbox[..] == *b"\r" {
        return Ok(None);
    }
    for at in memchr::memchr_iter(b'\n', &inbox[*scanned..]) {
        let at = *scanned + at;
        if at == 0 || inbox[at - 1] != b'\r' {
            return Err(bad("a line ends in a bare LF"));
        }
        if at >= 3 && inbox[at - 2] == b'\n' {
            if at + 1 > limits.bytes {
                return Err(TOO_LARGE);
            }
            *scanned = 0;
            return Ok(Some(inbox.split_to(at + 1).freeze()));
        }
        if matches!(inbox.get(at + 1), Some(b' ' | b'\t')) {
            return Err(bad("a header field is folded over two lines"));
        }
    }
    // A last LF is looked at again, since the byte after it decides about folding.
    *scanned = inbox.len() - usize::from(inbox.last() == Some(&b'\n'));
    if inbox.len() > limits.bytes { Err(TOO_LARGE) } else { Ok(None) }
}

/// Reads a whole request head. `spare` is an emptied map whose memory is used again.
pub(super) fn request(head: &Bytes, limits: Limits, spare: HeaderMap) -> Result<RequestHead, Refusal> {
    let mut parsed = httparse::Request::new(&mut []);
    let mut few = [const { MaybeUninit::uninit() }; 100];
    let mut many;
    let fields: &mut [_] = if limits.fields as usize <= few.len() {
        &mut few[..limits.fields as usize]
    } else {
        many = vec![MaybeUninit::uninit(); limits.fields as usize];
        &mut many
    };
    match parsed.parse_with_uninit_headers(head, fields) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(bad("the head is not a request")),
        Err(httparse::Error::TooManyHeaders) => return Err(TOO_LARGE),
        Err(error) => return Err(bad(describe(error))),
    }
    let version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let method = Method::from_bytes(parsed.method.unwrap_or_default().as_bytes())
        .map_err(|_| bad("the method is not a token"))?;
    if parsed.path.is_some_and(|path| path.contains('#')) {
        // Who matches paths without it would see another path than the one who does not.
        return Err(bad("the request target has a fragment"));
    }
    let target = Uri::from_maybe_shared(head.slice_ref(parsed.path.unwrap_or_default().as_bytes()))
        .map_err(|_| bad("the request target is not valid"))?;
    let (mut headers, marks) = fields_of(head, parsed.headers, spare)?;
    let length = length(&mut headers, marks, version)?.unwrap_or(Length::None);
    let target = check_target(&method, target, &mut headers, version)?;

    let keep_alive = keep_alive(&headers, marks, version);
    let expects_continue = marks.any(Marks::EXPECT)
        && version == Version::HTTP_11
        && length != Length::None
        && headers.get(header::EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if expects_continue {
        headers.remove(header::EXPECT);
    }
    let upgrade = method == Method::CONNECT
        || (version == Version::HTTP_11
            && marks.any(Marks::UPGRADE)
            && has_token(&headers, &header::CONNECTION, "upgrade"));
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = target;
    *request.version_mut() = version;
    *request.headers_mut() = headers;
    Ok(RequestHead { request, length, keep_alive, expects_continue, upgrade })
}

/// Reads a whole response head.
pub(super) fn response(head: &Bytes, limits: Limits) -> Result<ResponseHead, Refusal> {
    let mut parsed = httparse::Response::new(&mut []);
    let mut few = [const { MaybeUninit::uninit() }; 100];
    let mut many;
    let fields: &mut [_] = if limits.fields as usize <= few.len() {
        &mut few[..limits.fields as usize]
    } else {
        many = vec![MaybeUninit::uninit(); limits.fields as usize];
        &mut many
    };
    match httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, head, fields) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(bad("the head is not a response")),
        Err(httparse::Error::TooManyHeaders) => return Err(TOO_LARGE),
        Err(error) => return Err(bad(describe(error))),
    }
    let version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let status =
        StatusCode::from_u16(parsed.code.unwrap_or_default()).map_err(|_| bad("the status code is not valid"))?;
    let (mut headers, marks) = fields_of(head, parsed.headers, HeaderMap::new())?;
    let length = length(&mut headers, marks, version)?;
    let keep_alive = keep_alive(&headers, marks, version);
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.version_mut() = version;
    *response.headers_mut() = headers;
    Ok(ResponseHead { response, length, keep_alive })
}

/// Reads a trailer section, from after the last chunk's line up to and with the empty line.
pub(super) fn trailers(section: &Bytes, limits: Limits) -> Result<HeaderMap, Refusal> {
    let mut few = [httparse::EMPTY_HEADER; 100];
    let mut many;
    let fields: &mut [_] = if limits.fields as usize <= few.len() {
        &mut few[..limits.fields as usize]
    } else {
        many = vec![httparse::EMPTY_HEADER; limits.fields as usize];
        &mut many
    };
    match httparse::parse_headers(section, fields) {
        Ok(httparse::Status::Complete((_, fields))) => {
            let (mut map, _) = fields_of(section, fields, HeaderMap::new())?;
            // What decides framing or routing has no place here (RFC 9110, section 6.5.1).
            for name in [header::TRANSFER_ENCODING, header::CONTENT_LENGTH, header::HOST, header::CONNECTION] {
                map.remove(name);
            }
            Ok(map)
        }
        Ok(httparse::Status::Partial) => Err(bad("the trailers are not fields")),
        Err(httparse::Error::TooManyHeaders) => Err(TOO_LARGE),
        Err(error) => Err(bad(describe(error))),
    }
}

/// So many fields are usually added on the way; room for them from the start spares the map its growth.
const ADDED: usize = 8;

fn fields_of(head: &Bytes, fields: &[httparse::Header<'_>], mut map: HeaderMap) -> Result<(HeaderMap, Marks), Refusal> {
    let mut marks = Marks::default();
    map.reserve(fields.len() + ADDED);
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| bad("a field name is not a token"))?;
        let value = if field.value.is_empty() { Bytes::new() } else { head.slice_ref(field.value) };
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| bad("a field value has a control character"))?;
        marks.add(&name);
        map.append(name, value);
    }
    Ok((map, marks))
}

/// RFC 9112, section 6.3, in its strictest reading.
fn length(headers: &mut HeaderMap, marks: Marks, version: Version) -> Result<Option<Length>, Refusal> {
    if !marks.any(Marks::CONTENT_LENGTH) && !marks.any(Marks::TRANSFER_ENCODING) {
        return Ok(None);
    }
    let declared = content_length(headers)?;
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(declared.map(|n| if n == 0 { Length::None } else { Length::Exact(n) }));
    };
    if declared.is_some() {
        return Err(bad("both Content-Length and Transfer-Encoding are given"));
    }
    if version == Version::HTTP_10 {
        return Err(bad("Transfer-Encoding has no meaning in HTTP/1.0"));
    }
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(Refusal {
            status: StatusCode::NOT_IMPLEMENTED,
            text: "the only transfer coding understood is `chunked`",
        });
    }
    headers.remove(header::TRANSFER_ENCODING);
    Ok(Some(Length::Chunked))
}

fn content_length(headers: &mut HeaderMap) -> Result<Option<u64>, Refusal> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = values.next() else { return Ok(None) };
    let mut more = false;
    for other in values {
        more = true;
        if other != first {
            return Err(bad("two Content-Length fields differ"));
        }
    }
    let digits = first.as_bytes();
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(bad("Content-Length is not a number"));
    }
    let length = digits.iter().fold(0u64, |n, d| n * 10 + u64::from(d - b'0'));
    if more {
        let value = first.clone();
        headers.insert(header::CONTENT_LENGTH, value);
    }
    Ok(Some(length))
}

/// Checks target and Host together (RFC 9112, section 3.2); an absolute target becomes Host and origin form.
fn check_target(method: &Method, target: Uri, headers: &mut HeaderMap, version: Version) -> Result<Uri, Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(bad("there are several Host fields")),
        (None, None) if version == Version::HTTP_11 => return Err(bad("there is no Host field")),
        (Some(host), None) if !is_authority(host.as_bytes()) => return Err(bad("Host is not a host and port")),
        _ => {}
    }
    if *method == Method::CONNECT {
        let plain = target.scheme().is_none() && target.path_and_query().is_none_or(|p| p.as_str().is_empty());
        return match target.authority() {
            Some(authority) if plain && authority.port().is_some() && is_authority(authority.as_str().as_bytes()) => {
                Ok(target)
            }
            _ => Err(bad("the target of CONNECT is not a host and port")),
        };
    }
    match target.authority() {
        None if target.path().starts_with('/') || target.path() == "*" => Ok(target),
        Some(authority) if target.scheme().is_some() => {
            let host = Bytes::copy_from_slice(authority.as_str().as_bytes());
            if !is_authority(&host) {
                return Err(bad("the request target names no host"));
            }
            let host = HeaderValue::from_maybe_shared(host).map_err(|_| bad("the request target names no host"))?;
            headers.insert(header::HOST, host);
            let path = target.into_parts().path_and_query.unwrap_or(PathAndQuery::from_static("/"));
            Ok(Uri::from(path))
        }
        _ => Err(bad("the request target is not valid")),
    }
}

/// Could this be `host` or `host:port`? No user information, no path, not empty.
pub(crate) fn is_authority(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+,;=".contains(b))
}

fn keep_alive(headers: &HeaderMap, marks: Marks, version: Version) -> bool {
    let mut keep = version == Version::HTTP_11;
    if !marks.any(Marks::CONNECTION) {
        return keep;
    }
    for token in headers.get_all(header::CONNECTION).iter().flat_map(tokens) {
        if token.eq_ignore_ascii_case(b"close") {
            return false;
        }
        keep |= token.eq_ignore_ascii_case(b"keep-alive");
    }
    keep
}

fn describe(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "a field name is not a token",
        httparse::Error::HeaderValue => "a field value has a control character",
        httparse::Error::NewLine => "a line does not end in CR LF",
        httparse::Error::Status => "the status code is not valid",
        httparse::Error::Token => "the first line is not HTTP",
        httparse::Error::TooManyHeaders => TOO_LARGE.text,
        httparse::Error::Version => "the version is not HTTP/1.0 or HTTP/1.1",
    }
}
