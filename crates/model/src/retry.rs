//! When a request is tried again, and how often (xDS `RetryPolicy`).

use std::num::NonZeroU32;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName};

use crate::StringMatch;
use crate::matcher::{HeaderKey, HeaderMatch, ValueMatch};

/// A retry policy. Semantics are Envoy's: the route's timeout covers all tries together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// What makes a try worth repeating.
    pub on: RetryOn,
    /// Further tries after the first.
    pub attempts: u32,
    /// Limit for one try, from its start to the end of the response head.
    pub per_try_timeout: Option<Duration>,
    /// The first back-off's upper bound (Envoy's default 25 ms).
    pub base_interval: Duration,
    /// The back-off's largest bound (Envoy's default: ten times the base).
    pub max_interval: Duration,
    /// How often another endpoint is picked when the balancer offers one that has been tried.
    pub host_selection_attempts: u32,
    /// Prefer endpoints that were not tried before.
    pub avoid_previous_hosts: bool,
    /// After each so many tries, the priorities that they went to are left out (Envoy's `previous_priorities`).
    pub avoid_previous_priorities: Option<NonZeroU32>,
    /// What few policies say.
    pub more: Option<Box<RetryDetails>>,
}

/// What few retry policies say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetryDetails {
    /// `retriable-headers` acts on these: an answer that has one of them.
    pub headers: Vec<HeaderMatch>,
    /// Only requests that have one of these are tried again; empty: all.
    pub request_headers: Vec<HeaderMatch>,
    /// Ends a try in which nothing moves.
    pub per_try_idle_timeout: Option<Duration>,
    /// How long to wait where the answer itself says it.
    pub rate_limited: Option<RateLimitedBackOff>,
}

/// The wait for which an answer asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimitedBackOff {
    /// The headers that say it; the first that can be read counts.
    pub reset_headers: Vec<(HeaderName, ResetFormat)>,
    /// A longer wait is passed over (Envoy's default: five minutes).
    pub max_interval: Duration,
}

/// What a header says of the wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetFormat {
    /// Seconds from now, as `Retry-After`.
    Seconds,
    /// The time, in seconds since 1970.
    UnixTimestamp,
}

const RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");

impl RetryPolicy {
    /// Istio's default for every route: two more tries on failures that cannot have been processed.
    pub fn istio_default() -> Self {
        Self {
            on: RetryOn {
                connect_failure: true,
                refused_stream: true,
                grpc_unavailable: true,
                grpc_cancelled: true,
                retriable_status_codes: true,
                ..RetryOn::default()
            },
            attempts: 2,
            per_try_timeout: None,
            base_interval: Duration::from_millis(25),
            max_interval: Duration::from_millis(250),
            host_selection_attempts: 5,
            avoid_previous_hosts: true,
            avoid_previous_priorities: None,
            more: None,
        }
    }

    /// Istio's default on the way to the program itself: two more tries where nothing of the request was sent, save for
    /// gRPC.
    pub fn istio_inbound() -> Self {
        let grpc = HeaderMatch {
            key: HeaderKey::Name(CONTENT_TYPE),
            value: ValueMatch::Text(StringMatch::prefix("application/grpc")),
            invert: true,
            missing_as_empty: true,
        };
        Self {
            on: RetryOn { reset_before_request: true, ..RetryOn::default() },
            attempts: 2,
            more: Some(Box::new(RetryDetails { request_headers: vec![grpc], ..RetryDetails::default() })),
            ..Self::on_wish()
        }
    }

    /// Envoy's defaults for a policy that only a caller asks for: one more try, on nothing yet.
    pub fn on_wish() -> Self {
        Self {
            on: RetryOn::default(),
            attempts: 1,
            host_selection_attempts: 1,
            avoid_previous_hosts: false,
            ..Self::istio_default()
        }
    }

    /// May a request with these headers be tried again at all?
    pub fn takes(&self, request: &HeaderMap) -> bool {
        let wanted = self.more.as_ref().map_or(&[][..], |more| &more.request_headers);
        wanted.is_empty() || any(wanted, request)
    }

    /// Is an answer with this status and these headers, and this gRPC status in its head, worth another try?
    pub fn on_response(&self, status: u16, headers: &HeaderMap, grpc_status: Option<u16>) -> bool {
        let by_header = || self.more.as_ref().is_some_and(|more| any(&more.headers, headers));
        let worth = self.on.on_response(status, grpc_status) || (self.on.retriable_headers && by_header());
        // Whether it is one that was rate-limited counts before everything else; it is asked where that makes a difference.
        let limited = self.on.envoy_ratelimited;
        if worth != limited && headers.contains_key(RATE_LIMITED) { limited } else { worth }
    }

    /// The wait for which an answer asks; `now` is in seconds since 1970.
    pub fn asked_wait(&self, headers: &HeaderMap, now: u64) -> Option<Duration> {
        let limits = self.more.as_ref()?.rate_limited.as_ref()?;
        limits.reset_headers.iter().find_map(|(name, format)| {
            let said: u64 = headers.get(name)?.to_str().ok()?.trim().parse().ok()?;
            let seconds = match format {
                ResetFormat::Seconds => said,
                ResetFormat::UnixTimestamp => said.checked_sub(now)?,
            };
            Some(Duration::from_secs(seconds)).filter(|wait| *wait <= limits.max_interval)
        })
    }
}

fn any(wanted: &[HeaderMatch], headers: &HeaderMap) -> bool {
    wanted.iter().any(|one| match &one.key {
        HeaderKey::Name(name) => one.matches_fields(headers, name),
        _ => false,
    })
}

/// The conditions, by Envoy's names. `retriable_status_codes` acts on [`RetryOn::status_codes`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetryOn {
    /// `5xx`: any 5xx answer, and every kind of failure below.
    pub any_5xx: bool,
    /// `gateway-error`: 502, 503 or 504.
    pub gateway_error: bool,
    /// `reset`: no answer because of a disconnect, reset or timeout.
    pub reset: bool,
    /// `reset-before-request`: as above, before the request's head was sent.
    pub reset_before_request: bool,
    /// `connect-failure`: no connection was made.
    pub connect_failure: bool,
    /// `envoy-ratelimited`
    pub envoy_ratelimited: bool,
    /// `retriable-4xx`: 409.
    pub retriable_4xx: bool,
    /// `refused-stream`: the peer said that it did not process the request.
    pub refused_stream: bool,
    /// `retriable-status-codes`
    pub retriable_status_codes: bool,
    /// `retriable-headers`, which acts on [`RetryDetails::headers`].
    pub retriable_headers: bool,
    /// `cancelled` in `grpc-status` of the response's head.
    pub grpc_cancelled: bool,
    /// `deadline-exceeded` likewise.
    pub grpc_deadline_exceeded: bool,
    /// `internal` likewise.
    pub grpc_internal: bool,
    /// `resource-exhausted` likewise.
    pub grpc_resource_exhausted: bool,
    /// `unavailable` likewise.
    pub grpc_unavailable: bool,
    /// The codes of `retriable-status-codes`.
    pub status_codes: Vec<u16>,
}

/// The names, in one table for both directions of the wire and for YAML.
const NAMES: [(&str, fn(&mut RetryOn) -> &mut bool); 15] = [
    ("5xx", |r| &mut r.any_5xx),
    ("gateway-error", |r| &mut r.gateway_error),
    ("reset", |r| &mut r.reset),
    ("reset-before-request", |r| &mut r.reset_before_request),
    ("connect-failure", |r| &mut r.connect_failure),
    ("envoy-ratelimited", |r| &mut r.envoy_ratelimited),
    ("retriable-4xx", |r| &mut r.retriable_4xx),
    ("refused-stream", |r| &mut r.refused_stream),
    ("retriable-status-codes", |r| &mut r.retriable_status_codes),
    ("retriable-headers", |r| &mut r.retriable_headers),
    ("cancelled", |r| &mut r.grpc_cancelled),
    ("deadline-exceeded", |r| &mut r.grpc_deadline_exceeded),
    ("internal", |r| &mut r.grpc_internal),
    ("resource-exhausted", |r| &mut r.grpc_resource_exhausted),
    ("unavailable", |r| &mut r.grpc_unavailable),
];

impl RetryOn {
    /// Reads Envoy's comma-separated list. The second part has the names that nobody knows.
    pub fn parse(text: &str) -> (Self, Vec<&str>) {
        let mut on = Self::default();
        let mut unknown = Vec::new();
        for name in text.split(',').map(str::trim).filter(|n| !n.is_empty()) {
            match NAMES.iter().find(|(known, _)| *known == name) {
                Some((_, field)) => *field(&mut on) = true,
                None => unknown.push(name),
            }
        }
        (on, unknown)
    }

    /// Holds where either did.
    pub fn add(&mut self, other: &Self) {
        let mut other = other.clone();
        for (_, field) in NAMES {
            *field(self) |= *field(&mut other);
        }
    }

    /// Writes Envoy's comma-separated list, without [`RetryOn::status_codes`].
    pub fn to_list(&self) -> String {
        let mut on = self.clone();
        let names: Vec<_> = NAMES.iter().filter(|(_, field)| *field(&mut on)).map(|(name, _)| *name).collect();
        names.join(",")
    }

    /// Is an answer with this status, and this gRPC status in its head, worth another try?
    pub fn on_response(&self, status: u16, grpc_status: Option<u16>) -> bool {
        let http = match status {
            500.. if self.any_5xx => true,
            502..=504 if self.gateway_error => true,
            409 if self.retriable_4xx => true,
            status => self.retriable_status_codes && self.status_codes.contains(&status),
        };
        http || match grpc_status {
            Some(1) => self.grpc_cancelled,
            Some(4) => self.grpc_deadline_exceeded,
            Some(8) => self.grpc_resource_exhausted,
            Some(13) => self.grpc_internal,
            Some(14) => self.grpc_unavailable,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_both_ways() {
        let text = "5xx,connect-failure,unavailable";
        let (on, unknown) = RetryOn::parse(" 5xx, connect-failure,unavailable,bogus");
        assert_eq!((on.to_list().as_str(), unknown), (text, vec!["bogus"]));
    }

    #[test]
    fn headers_and_waits() {
        let present = |name: &str| HeaderMatch {
            key: HeaderKey::parse(name).expect("a name"),
            value: ValueMatch::Present(true),
            invert: false,
            missing_as_empty: false,
        };
        let after = HeaderName::from_static("retry-after");
        let reset = HeaderName::from_static("x-ratelimit-reset");
        let more = RetryDetails {
            headers: vec![present("x-again")],
            rate_limited: Some(RateLimitedBackOff {
                reset_headers: vec![(after, ResetFormat::Seconds), (reset, ResetFormat::UnixTimestamp)],
                max_interval: Duration::from_secs(300),
            }),
            ..RetryDetails::default()
        };
        let policy = |on: &str| RetryPolicy {
            on: RetryOn::parse(on).0,
            more: Some(Box::new(more.clone())),
            ..RetryPolicy::istio_default()
        };
        let headers = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(HeaderName::from_static(name), http::HeaderValue::from_static(value))])
        };
        for (on, name, expected) in [
            ("retriable-headers", "x-again", true),
            ("retriable-headers", "x-other", false),
            ("reset", "x-again", false),
            ("5xx", "x-other", true),
            ("5xx", "x-envoy-ratelimited", false),
            ("envoy-ratelimited", "x-envoy-ratelimited", true),
        ] {
            assert_eq!(policy(on).on_response(503, &headers(name, "true"), None), expected, "{on} {name}");
        }
        for (name, value, expected) in [
            ("retry-after", "7", Some(7)),
            ("retry-after", "301", None),
            ("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT", None),
            ("x-ratelimit-reset", "1009", Some(9)),
            ("x-ratelimit-reset", "999", None),
        ] {
            let wait = policy("5xx").asked_wait(&headers(name, value), 1000);
            assert_eq!(wait, expected.map(Duration::from_secs), "{name}: {value}");
        }
        let inbound = RetryPolicy::istio_inbound();
        assert!(inbound.takes(&HeaderMap::new()) && inbound.takes(&headers("content-type", "text/plain")));
        assert!(!inbound.takes(&headers("content-type", "application/grpc+proto")));
    }

    #[test]
    fn responses() {
        let on = |text| RetryOn::parse(text).0;
        let codes = RetryOn { status_codes: vec![503], ..on("retriable-status-codes") };
        for (on, status, grpc, expected) in [
            (on("5xx"), 500, None, true),
            (on("5xx"), 499, None, false),
            (on("gateway-error"), 500, None, false),
            (on("gateway-error"), 503, None, true),
            (on("retriable-4xx"), 409, None, true),
            (on("retriable-4xx"), 404, None, false),
            (codes, 503, None, true),
            (on("retriable-status-codes"), 503, None, false),
            (on("unavailable"), 200, Some(14), true),
            (on("unavailable"), 200, Some(13), false),
        ] {
            assert_eq!(on.on_response(status, grpc), expected, "{} on {status} {grpc:?}", on.to_list());
        }
    }
}
