//! gRPC's few conventions on top of HTTP/2: status, timeout, and how HTTP statuses read as gRPC ones.
//!
//! Follows gRPC's `PROTOCOL-HTTP2.md` and `http-grpc-status-mapping.md`.

use std::borrow::Cow;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use crate::body::Body;

pub mod health;

/// `grpc-status`.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// `grpc-message`.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// `grpc-timeout`.
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

const NAMES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// A gRPC status code: 0 to 16 are defined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GrpcStatus(pub u32);

impl GrpcStatus {
    /// Success.
    pub const OK: Self = Self(0);
    /// Cancelled, usually by the caller.
    pub const CANCELLED: Self = Self(1);
    /// Unknown error.
    pub const UNKNOWN: Self = Self(2);
    /// The deadline passed.
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    /// Not allowed.
    pub const PERMISSION_DENIED: Self = Self(7);
    /// A quota is used up.
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// No such method.
    pub const UNIMPLEMENTED: Self = Self(12);
    /// A broken invariant.
    pub const INTERNAL: Self = Self(13);
    /// Not reachable now.
    pub const UNAVAILABLE: Self = Self(14);
    /// The caller did not prove who it is.
    pub const UNAUTHENTICATED: Self = Self(16);

    /// The name as Envoy's access log writes it (`OK`, `DeadlineExceeded`, ...); `None` beyond 16.
    pub fn name(self) -> Option<&'static str> {
        NAMES.get(self.0 as usize).copied()
    }

    /// The status that a caller sees if a server answers `status` without a `grpc-status`.
    pub fn from_http(status: StatusCode) -> Self {
        match status.as_u16() {
            200 => Self::OK,
            400 => Self::INTERNAL,
            401 => Self::UNAUTHENTICATED,
            403 => Self::PERMISSION_DENIED,
            404 => Self::UNIMPLEMENTED,
            429 | 502 | 503 | 504 => Self::UNAVAILABLE,
            _ => Self::UNKNOWN,
        }
    }

    /// What it is for those who do not speak gRPC (`google.rpc.Code`, as Envoy reads it).
    pub fn to_http(self) -> u16 {
        match self.0 {
            0 => 200,
            1 => 499,
            3 | 9 | 11 => 400,
            4 => 504,
            5 => 404,
            6 | 10 => 409,
            7 => 403,
            8 => 429,
            12 => 501,
            14 => 503,
            16 => 401,
            _ => 500,
        }
    }

    /// Reads `grpc-status` from headers (a trailers-only answer) or trailers. `None` if absent or no number.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        headers.get(GRPC_STATUS)?.to_str().ok()?.trim().parse().ok().map(Self)
    }

    /// What an answer says in the end: in its trailers, or in the head of one that has none.
    pub fn of_answer(head: &HeaderMap, trailers: Option<&HeaderMap>) -> Option<Self> {
        trailers.and_then(Self::from_headers).or_else(|| Self::from_headers(head))
    }
}

/// How long the beginning of a frame is: a flag, and the length of what follows.
pub const PREFIX: usize = 5;

/// A frame. `flag` is 0 for a message that is not compressed.
pub fn frame(flag: u8, message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(PREFIX + message.len());
    frame.put_u8(flag);
    // Nothing that is framed here comes near the limit.
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

/// Is this a gRPC message: content type `application/grpc`, alone or followed by `+proto`, `;...`?
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else { return false };
    match content_type.as_bytes().strip_prefix(b"application/grpc") {
        Some(rest) => matches!(rest.first(), None | Some(b'+' | b';')),
        None => false,
    }
}

/// A trailers-only answer: HTTP 200 whose headers carry the status.
pub fn grpc_response(status: GrpcStatus, message: impl AsRef<[u8]>) -> Response<Body> {
    let message = message.as_ref();
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(status.0));
    if !message.is_empty()
        && let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(encode_bytes(message)))
    {
        headers.insert(GRPC_MESSAGE, value);
    }
    response
}

/// Percent-encodes a status message: printable ASCII save `%` stands as it is.
pub fn encode_message(message: &str) -> Cow<'_, str> {
    if message.bytes().all(plain) {
        return Cow::Borrowed(message);
    }
    Cow::Owned(encode_bytes(message.as_bytes()))
}

/// As [`encode_message`], for a message that may be no text.
pub fn encode_bytes(message: &[u8]) -> String {
    let mut text = String::with_capacity(message.len() + 8);
    for byte in message.iter().copied() {
        if plain(byte) {
            text.push(byte as char);
        } else {
            text.push('%');
            text.extend([byte >> 4, byte & 15].map(|d| char::from(b"0123456789ABCDEF"[d as usize])));
        }
    }
    text
}

fn plain(byte: u8) -> bool {
    (0x20..=0x7e).contains(&byte) && byte != b'%'
}

/// Reads `grpc-timeout`: one to eight digits and a unit of `H M S m u n`.
pub fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

/// Writes a `grpc-timeout`, in the finest unit that fits eight digits, rounded up: a deadline is never shortened.
pub fn format_timeout(timeout: Duration) -> String {
    const LARGEST: u128 = 99_999_999;
    for (nanos, unit) in [(1, 'n'), (1_000, 'u'), (1_000_000, 'm'), (1_000_000_000, 'S'), (60_000_000_000, 'M')] {
        let value = timeout.as_nanos().div_ceil(nanos);
        if value <= LARGEST {
            return format!("{value}{unit}");
        }
    }
    format!("{}H", timeout.as_nanos().div_ceil(3_600_000_000_000).min(LARGEST))
}

/// Counts the messages of a body: each is a flag and its length before its bytes (`Length-Prefixed-Message`), however the
/// body is cut into pieces.
#[derive(Debug, Clone, Copy, Default)]
pub struct Messages {
    count: u64,
    /// Of the message that is passing.
    left: u32,
    length: [u8; 4],
    /// How much of flag and length was seen.
    seen: u8,
}

impl Messages {
    /// A piece passes.
    pub fn data(&mut self, mut data: &[u8]) {
        while let Some((first, rest)) = data.split_first() {
            if self.left > 0 {
                let passing = data.len().min(self.left as usize);
                self.left -= passing as u32;
                data = &data[passing..];
                continue;
            }
            if self.seen > 0 {
                self.length[usize::from(self.seen) - 1] = *first;
            }
            self.seen += 1;
            data = rest;
            if self.seen == 5 {
                (self.count, self.left, self.seen) = (self.count + 1, u32::from_be_bytes(self.length), 0);
            }
        }
    }

    /// How many have begun.
    pub fn count(&self) -> u64 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn messages_are_counted_however_they_are_cut(
            sizes in proptest::collection::vec(0usize..300, 0..8),
            cuts in proptest::collection::vec(1usize..50, 1..40),
        ) {
            let mut whole = Vec::new();
            for size in &sizes {
                whole.push(0);
                whole.extend((*size as u32).to_be_bytes());
                whole.resize(whole.len() + size, 0xff);
            }
            let (mut messages, mut rest) = (Messages::default(), &whole[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, more) = rest.split_at((*cut).min(rest.len()));
                messages.data(piece);
                rest = more;
            }
            proptest::prop_assert_eq!(messages.count(), sizes.len() as u64);
        }
    }

    #[test]
    fn content_types() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=x", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            assert_eq!(is_grpc(&headers), expected, "{value}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn timeouts() {
        for (text, expected) in [
            ("1S", Some(Duration::from_secs(1))),
            ("250m", Some(Duration::from_millis(250))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("100000000n", None),
            ("", None),
            ("S", None),
            ("1", None),
            ("-1S", None),
            ("1s", None),
            ("1é", None),
        ] {
            assert_eq!(parse_timeout(text), expected, "{text}");
        }
        for (duration, expected) in [
            (Duration::from_nanos(5), "5n"),
            (Duration::from_millis(15), "15000000n"),
            (Duration::from_secs(1), "1000000u"),
            (Duration::from_secs(3600), "3600000m"),
            (Duration::MAX, "99999999H"),
        ] {
            assert_eq!(format_timeout(duration), expected);
            assert!(parse_timeout(expected).unwrap() >= duration || duration == Duration::MAX);
        }
    }

    #[test]
    fn trailers_only() {
        let answer = grpc_response(GrpcStatus::UNAVAILABLE, "no healthy upstream: 100% über\n");
        assert_eq!(answer.status(), 200);
        assert_eq!(GrpcStatus::from_headers(answer.headers()), Some(GrpcStatus::UNAVAILABLE));
        assert_eq!(answer.headers()[GRPC_MESSAGE], "no healthy upstream: 100%25 %C3%BCber%0A");
        assert_eq!(GrpcStatus::from_http(StatusCode::NOT_FOUND), GrpcStatus::UNIMPLEMENTED);
        assert_eq!(GrpcStatus(4).name(), Some("DeadlineExceeded"));
    }
}
