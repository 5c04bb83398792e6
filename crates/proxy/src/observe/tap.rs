//! Taps: exchanges that somebody looks at, told one by one as they end.
//!
//! While nobody looks, an exchange costs one look at a flag. What is secret is left out here, before it leaves the proxy.

use std::cell::RefCell;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ::http::{HeaderMap, HeaderName, Request};
use arc_swap::ArcSwap;
use mesh_http::{Body, head};
use proto::halcyon::observe::v1 as wire;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::tally::OutcomeLine;
use crate::record::Summary;

/// So many exchanges wait to be told at most.
const QUEUE: usize = 1000;
/// No tap is told more of a body.
const MOST_BODY: usize = 64 << 10;
/// Nor more of a header's value.
const MOST_VALUE: usize = 4096;
/// Headers whose values are secrets, wherever they come from.
const SECRET: [&str; 9] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "x-auth-token",
    "x-amz-security-token",
    "x-csrf-token",
    "x-forwarded-client-cert",
];
const REDACTED: &str = "[redacted]";
/// Headers by which proxies tell each other who they are.
const PEER: &str = "x-envoy-peer-metadata";

/// What may be told of exchanges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TapRules {
    /// Further headers whose values are secrets, in lower case.
    pub redact: Vec<HeaderName>,
    /// Beginnings of bodies may be told.
    pub bodies: bool,
}

/// The taps that are open now, for all workers.
pub(crate) struct Taps {
    are_open: AtomicBool,
    open: ArcSwap<Vec<Arc<Tap>>>,
    rules: TapRules,
    queue: mpsc::Sender<wire::TappedExchange>,
    queued: Mutex<Option<mpsc::Receiver<wire::TappedExchange>>>,
}

/// One tap.
struct Tap {
    wants: wire::Tap,
    /// How many more may be told in this second, and when it began.
    left: Mutex<(u32, Instant)>,
    lost: std::sync::atomic::AtomicU64,
}

/// Beginnings of the bodies of an exchange, as they pass.
pub(crate) struct Bodies {
    most: usize,
    request: RefCell<Vec<u8>>,
    response: RefCell<Vec<u8>>,
}

impl Taps {
    /// None are open.
    pub(crate) fn new(rules: TapRules) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE);
        Self {
            are_open: AtomicBool::new(false),
            open: ArcSwap::default(),
            rules,
            queue,
            queued: Mutex::new(Some(queued)),
        }
    }

    /// Where exchanges wait to be told. There is one such place.
    pub(super) fn queued(&self) -> Option<mpsc::Receiver<wire::TappedExchange>> {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Does anybody look?
    #[inline]
    pub(crate) fn are_open(&self) -> bool {
        self.are_open.load(Relaxed)
    }

    /// These are open from now on, and no others.
    pub(super) fn set(&self, wanted: Vec<wire::Tap>) {
        let before = self.open.load();
        let keep = |wants: &wire::Tap| before.iter().find(|tap| tap.wants == *wants).cloned();
        let now = Instant::now();
        let new = |wants: wire::Tap| {
            let left = Mutex::new((wants.most_per_second, now));
            Arc::new(Tap { wants, left, lost: Default::default() })
        };
        let taps: Vec<_> = wanted.into_iter().map(|wants| keep(&wants).unwrap_or_else(|| new(wants))).collect();
        self.are_open.store(!taps.is_empty(), Relaxed);
        self.open.store(Arc::new(taps));
    }

    /// Takes away what could not be told.
    pub(super) fn take_losses(&self) -> Vec<wire::TapLoss> {
        let taps = self.open.load();
        let lost = taps.iter().map(|tap| wire::TapLoss { tap: tap.wants.id.clone(), count: tap.lost.swap(0, Relaxed) });
        lost.filter(|loss| loss.count > 0).collect()
    }

    /// Where the beginnings of this request's bodies are kept, if a tap may want them.
    pub(crate) fn bodies(&self, request: &Request<Body>) -> Option<Box<Bodies>> {
        if !self.are_open() || !self.rules.bodies {
            return None;
        }
        let taps = self.open.load();
        let path = request.uri().path();
        let authority = head::authority(request);
        let wanting = taps.iter().map(|tap| &tap.wants).filter(|wants| {
            wants.body_bytes > 0 && wants.takes_head(request.method().as_str(), authority.unwrap_or_default(), path)
        });
        let most = wanting.map(|wants| wants.body_bytes as usize).max()?.min(MOST_BODY);
        Some(Box::new(Bodies { most, request: RefCell::default(), response: RefCell::default() }))
    }

    /// An exchange is over. One that began before any tap is not told: what would be told of it was not kept.
    pub(crate) fn exchange(&self, summary: &Summary<'_>, line: &OutcomeLine, bodies: Option<&Bodies>) {
        if summary.facts.request_headers.is_none() {
            return;
        }
        let taps = self.open.load();
        let fitting: Vec<_> = taps.iter().filter(|tap| tap.wants.takes(summary, line)).collect();
        let (may, may_not): (Vec<_>, Vec<_>) = fitting.into_iter().partition(|tap| tap.may_tell());
        may_not.iter().for_each(|tap| tap.loses());
        if may.is_empty() {
            return;
        }
        let Ok(place) = self.queue.try_reserve() else {
            return may.iter().for_each(|tap| tap.loses());
        };
        let headers = may.iter().any(|tap| tap.wants.headers);
        let bodies = bodies.filter(|_| may.iter().any(|tap| tap.wants.body_bytes > 0));
        let mut told = told(summary, line, bodies);
        if headers {
            told.request_headers = self.headers(summary.facts.request_headers.as_ref());
            told.response_headers = self.headers(summary.facts.response_headers.as_ref());
        }
        told.taps = may.iter().map(|tap| tap.wants.id.clone()).collect();
        place.send(told);
    }

    fn headers(&self, headers: Option<&HeaderMap>) -> Vec<wire::Header> {
        let is_secret =
            |name: &HeaderName| SECRET.contains(&name.as_str()) || self.rules.redact.iter().any(|it| it == name);
        let tell = |(name, value): (&HeaderName, &::http::HeaderValue)| {
            let value = match is_secret(name) {
                true => REDACTED.to_owned(),
                false => text(&value.as_bytes()[..value.len().min(MOST_VALUE)]),
            };
            wire::Header { name: name.to_string(), value }
        };
        // What proxies tell each other is nobody else's matter, and long.
        let told = headers.into_iter().flatten().filter(|(name, _)| !name.as_str().starts_with(PEER));
        told.map(tell).collect()
    }
}

impl Tap {
    fn may_tell(&self) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if left.1.elapsed() >= Duration::from_secs(1) {
            *left = (self.wants.most_per_second, Instant::now());
        }
        let may = left.0 > 0;
        left.0 = left.0.saturating_sub(1);
        may
    }

    fn loses(&self) {
        self.lost.fetch_add(1, Relaxed);
    }
}

/// What a tap asks for.
trait Wants {
    /// Is a request with this head one?
    fn takes_head(&self, method: &str, authority: &str, path: &str) -> bool;
    /// Is this exchange one?
    fn takes(&self, summary: &Summary<'_>, line: &OutcomeLine) -> bool;
}

impl Wants for wire::Tap {
    fn takes_head(&self, method: &str, authority: &str, path: &str) -> bool {
        (self.method.is_empty() || self.method.eq_ignore_ascii_case(method))
            && fits(&self.authority, authority)
            && path.starts_with(&self.path)
    }

    fn takes(&self, summary: &Summary<'_>, line: &OutcomeLine) -> bool {
        let names = &line.edge.names;
        let facts = summary.facts;
        let authority = facts.authority.as_ref().map(|it| it.to_str().unwrap_or_default());
        (self.reporter == 0 || self.reporter == names.reporter)
            && summary.duration.as_micros() >= u128::from(self.least_micros)
            && fits_status(&self.status, line.names.code)
            && fits_workload(&self.source, names.source.as_ref())
            && (fits_workload(&self.destination, names.destination.as_ref())
                || fits(&self.destination, &names.service_host))
            && self.takes_head(summary.method.as_str(), authority.unwrap_or_default(), facts.target.path())
    }
}

/// Is it this text, or does it begin so where that ends in `*`? Nothing asked for is everything.
fn fits(wanted: &str, text: &str) -> bool {
    match wanted.strip_suffix('*') {
        _ if wanted.is_empty() => true,
        Some(prefix) => text.starts_with(prefix),
        None => wanted.eq_ignore_ascii_case(text),
    }
}

fn fits_workload(wanted: &str, workload: Option<&wire::Workload>) -> bool {
    wanted.is_empty() || workload.is_some_and(|it| fits(wanted, &format!("{}/{}", it.namespace, it.name)))
}

/// `500`, `5xx`, or anything.
fn fits_status(wanted: &str, code: u32) -> bool {
    match wanted.strip_suffix("xx") {
        _ if wanted.is_empty() => true,
        Some(class) => class.parse().is_ok_and(|class: u32| code / 100 == class),
        None => wanted.parse() == Ok(code),
    }
}

fn told(summary: &Summary<'_>, line: &OutcomeLine, bodies: Option<&Bodies>) -> wire::TappedExchange {
    let facts = summary.facts;
    let micros = |time: Duration| time.as_micros() as u64;
    let header = |name: &str| {
        let value = facts.request_headers.as_ref().and_then(|headers| headers.get(name));
        value.map(|value| text(value.as_bytes())).unwrap_or_default()
    };
    let name = |name: Option<&Arc<str>>| name.map(ToString::to_string).unwrap_or_default();
    wire::TappedExchange {
        edge: Some(line.edge.names.clone()),
        begun_micros: summary.begun_at.duration_since(SystemTime::UNIX_EPOCH).map(micros).unwrap_or_default(),
        duration_micros: micros(summary.duration),
        head_micros: facts.head_time.map(micros).unwrap_or_default(),
        method: summary.method.to_string(),
        scheme: facts.request_headers.as_ref().map(|it| crate::edge::scheme(it).to_owned()).unwrap_or_default(),
        authority: facts.authority.as_ref().map(|it| text(it.as_bytes())).unwrap_or_default(),
        path: facts.target.path_and_query().map_or_else(String::new, |it| it.as_str().to_owned()),
        http_version: summary.protocol().to_owned(),
        code: line.names.code,
        grpc_status_plus_one: line.names.grpc_status_plus_one,
        flags: line.names.flags.clone(),
        code_details: facts.details.to_string(),
        route: name(facts.route.as_ref()),
        cluster: name(facts.cluster.as_ref()),
        upstream_address: facts.endpoint.as_ref().map(ToString::to_string).unwrap_or_default(),
        downstream_address: summary.conn.downstream.source.to_string(),
        attempts: facts.attempts,
        request_bytes: summary.request_bytes,
        response_bytes: summary.response_bytes,
        request_id: header("x-request-id"),
        trace_id: facts.span.map(|span| span.trace.to_string()).unwrap_or_default(),
        reason: facts.reason.as_deref().unwrap_or_default().to_owned(),
        request_body: bodies.map(|it| it.request.borrow().clone()).unwrap_or_default(),
        response_body: bodies.map(|it| it.response.borrow().clone()).unwrap_or_default(),
        ..wire::TappedExchange::default()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Bodies {
    /// A piece of the request's body passed.
    pub(crate) fn request(&self, data: &[u8]) {
        self.keep(&self.request, data);
    }

    /// A piece of the response's body passed.
    pub(crate) fn response(&self, data: &[u8]) {
        self.keep(&self.response, data);
    }

    fn keep(&self, of: &RefCell<Vec<u8>>, data: &[u8]) {
        let mut kept = of.borrow_mut();
        let room = self.most.saturating_sub(kept.len());
        kept.extend_from_slice(&data[..data.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions() {
        for (wanted, text, expected) in [
            ("", "anything", true),
            ("reviews*", "reviews.default", true),
            ("reviews", "Reviews", true),
            ("reviews", "reviews.default", false),
        ] {
            assert_eq!(fits(wanted, text), expected, "{wanted} {text}");
        }
        for (wanted, code, expected) in
            [("", 200, true), ("5xx", 503, true), ("5xx", 404, false), ("404", 404, true), ("xx", 404, false)]
        {
            assert_eq!(fits_status(wanted, code), expected, "{wanted} {code}");
        }
        let workload = wire::Workload { namespace: "shop".into(), name: "cart".into(), ..wire::Workload::default() };
        assert!(fits_workload("shop/*", Some(&workload)) && fits_workload("shop/cart", Some(&workload)));
        assert!(!fits_workload("shop/car", Some(&workload)) && !fits_workload("shop/cart", None));
    }

    #[test]
    fn taps_come_and_go_and_have_their_measure() {
        let taps = Taps::new(TapRules::default());
        assert!(!taps.are_open());
        let tap = |id: &str| wire::Tap { id: id.to_owned(), most_per_second: 2, ..wire::Tap::default() };
        taps.set(vec![tap("a")]);
        let first = taps.open.load()[0].clone();
        assert_eq!([0; 3].map(|_| first.may_tell()), [true, true, false]);
        first.loses();
        taps.set(vec![tap("a"), tap("b")]);
        assert!(Arc::ptr_eq(&first, &taps.open.load()[0]), "one that stays is not begun anew");
        assert_eq!(taps.take_losses(), [wire::TapLoss { tap: "a".to_owned(), count: 1 }]);
        assert!(taps.take_losses().is_empty());
        taps.set(Vec::new());
        assert!(!taps.are_open());
    }

    #[test]
    fn secrets_stay_here() {
        let rules = TapRules { redact: vec![HeaderName::from_static("x-card")], bodies: false };
        let mut headers = HeaderMap::new();
        for (name, value) in [("authorization", "Bearer t"), ("x-card", "4111"), ("accept", "*/*")] {
            headers.insert(name, ::http::HeaderValue::from_static(value));
        }
        let told: Vec<_> = Taps::new(rules).headers(Some(&headers)).into_iter().map(|it| (it.name, it.value)).collect();
        let expected = [("authorization", REDACTED), ("x-card", REDACTED), ("accept", "*/*")];
        assert_eq!(told, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
