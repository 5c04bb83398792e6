//! Taps: somebody looks at single exchanges; proxies are told which, and what they send is fanned out to who looks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use proto::halcyon::observe::v1 as wire;
use tokio::sync::mpsc;

use crate::documents::{TapEvent, TapHeader};
use crate::moment;
use crate::names::{EdgeNames, clip};

/// Exchanges that wait for one who looks.
const QUEUE: usize = 512;
/// How often losses are told at least.
const LOSS_EVERY: Duration = Duration::from_secs(1);
/// A tap's bodies are no longer.
pub(crate) const MOST_BODY: u32 = 64 << 10;
/// No more exchanges a second from one proxy.
pub(crate) const MOST_PER_SECOND: u32 = 1_000;
/// Headers of which only that they were there is shown, should a proxy have sent more.
const SECRET: [&str; 6] =
    ["authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "x-forwarded-client-cert"];

/// Which exchanges, and what of them. Conditions that are empty hold always; text may end in `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TapFilter {
    /// `NAMESPACE/NAME` of the caller's workload.
    pub source: String,
    /// `NAMESPACE/NAME` of the called workload, or the service's host.
    pub destination: String,
    /// HTTP method.
    pub method: String,
    /// Host and port as the request says.
    pub authority: String,
    /// A prefix of the path.
    pub path: String,
    /// `500` or `5xx`.
    pub status: String,
    /// Exchanges that took at least so many microseconds.
    pub least_micros: u64,
    /// Send headers; those that are secret are redacted.
    pub headers: bool,
    /// So many bytes of each body, at most 64 KiB; 0: none.
    pub body_bytes: u32,
    /// No more a second from one proxy; at most 1000, at least 1.
    pub per_second: u32,
}

impl TapFilter {
    fn wire(&self, id: &str) -> wire::Tap {
        wire::Tap {
            id: id.to_owned(),
            most_per_second: self.per_second.clamp(1, MOST_PER_SECOND),
            method: self.method.clone(),
            authority: self.authority.clone(),
            path: self.path.clone(),
            status: self.status.clone(),
            source: self.source.clone(),
            destination: self.destination.clone(),
            reporter: wire::Reporter::Unspecified.into(),
            headers: self.headers,
            body_bytes: self.body_bytes.min(MOST_BODY),
            least_micros: self.least_micros,
        }
    }
}

/// There are as many taps as there may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there are {most} taps already, as many as there may be; expected one of them to end first: wait, or close one"
)]
pub struct TooManyTaps {
    /// So many may be.
    pub most: usize,
}

/// What comes of a tap.
#[derive(Debug, Clone, PartialEq)]
pub enum TapItem {
    /// An exchange.
    Exchange(Arc<TapEvent>),
    /// Exchanges that are not shown, and why.
    Loss {
        /// How many.
        count: u64,
        /// `proxy` (over its limit) or `slow` (whoever looks did not keep up).
        why: &'static str,
    },
}

/// All taps.
pub(crate) struct Taps {
    most: usize,
    open: Mutex<(u64, HashMap<String, Tap>)>,
}

struct Tap {
    wire: wire::Tap,
    to: mpsc::Sender<Arc<TapEvent>>,
    losses: Arc<Losses>,
}

#[derive(Default)]
struct Losses {
    at_proxies: AtomicU64,
    here: AtomicU64,
}

/// A tap that somebody holds; it ends when this is dropped.
pub struct Tapped {
    id: String,
    from: mpsc::Receiver<Arc<TapEvent>>,
    losses: Arc<Losses>,
    ended: Box<dyn Fn(&str) + Send + Sync>,
}

impl Taps {
    pub fn new(most: usize) -> Self {
        Self { most, open: Mutex::default() }
    }

    /// Opens one; `ended` is called with its id when it is dropped.
    pub fn open(&self, filter: &TapFilter, ended: Box<dyn Fn(&str) + Send + Sync>) -> Result<Tapped, TooManyTaps> {
        let mut open = self.lock();
        if open.1.len() >= self.most {
            return Err(TooManyTaps { most: self.most });
        }
        open.0 += 1;
        let id = format!("tap-{}", open.0);
        let ((to, from), losses) = (mpsc::channel(QUEUE), Arc::<Losses>::default());
        open.1.insert(id.clone(), Tap { wire: filter.wire(&id), to, losses: losses.clone() });
        Ok(Tapped { id, from, losses, ended })
    }

    pub fn close(&self, id: &str) {
        self.lock().1.remove(id);
    }

    /// Ends all of them: who looks gets what waits, and then the end.
    pub fn close_all(&self) {
        self.lock().1.clear();
    }

    /// What proxies are told.
    pub fn wire(&self) -> Vec<wire::Tap> {
        let mut taps: Vec<wire::Tap> = self.lock().1.values().map(|tap| tap.wire.clone()).collect();
        taps.sort_by(|a, b| a.id.cmp(&b.id));
        taps
    }

    /// Gives an exchange to those who look. How many took it, and for how many it was too much.
    pub fn give(&self, names: &EdgeNames, told: &wire::TappedExchange) -> (u64, u64) {
        let open = self.lock();
        let (mut shown, mut dropped, mut event) = (0, 0, None);
        for tap in told.taps.iter().take(self.most).filter_map(|id| open.1.get(id)) {
            let event = event.get_or_insert_with(|| Arc::new(TapEvent::of(names, told)));
            // Headers and bodies that another tap asked for are not for this one.
            let event = if tap.sees_all(event) { event.clone() } else { Arc::new(tap.only(event)) };
            match tap.to.try_send(event) {
                Ok(()) => shown += 1,
                Err(_) => {
                    tap.losses.here.fetch_add(1, Relaxed);
                    dropped += 1;
                }
            }
        }
        (shown, dropped)
    }

    /// A proxy could not tell everything.
    pub fn lost(&self, loss: &wire::TapLoss) {
        if let Some(tap) = self.lock().1.get(&loss.tap) {
            tap.losses.at_proxies.fetch_add(loss.count.min(1 << 32), Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, (u64, HashMap<String, Tap>)> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tap {
    fn sees_all(&self, event: &TapEvent) -> bool {
        let bodies = event.request_body.is_some() || event.response_body.is_some();
        let headers = event.request_headers.is_some() || event.response_headers.is_some();
        (self.wire.headers || !headers) && (self.wire.body_bytes > 0 || !bodies)
    }

    fn only(&self, event: &TapEvent) -> TapEvent {
        let mut event = event.clone();
        if !self.wire.headers {
            (event.request_headers, event.response_headers) = (None, None);
        }
        if self.wire.body_bytes == 0 {
            (event.request_body, event.response_body) = (None, None);
        }
        event
    }
}

impl Tapped {
    /// Its id, by which proxies know it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What comes next: an exchange, or what was lost since the last time that was said. None: the tap is over.
    pub async fn next(&mut self) -> Option<TapItem> {
        loop {
            for (count, why) in [(&self.losses.at_proxies, "proxy"), (&self.losses.here, "slow")] {
                let count = count.swap(0, Relaxed);
                if count > 0 {
                    return Some(TapItem::Loss { count, why });
                }
            }
            match tokio::time::timeout(LOSS_EVERY, self.from.recv()).await {
                Ok(event) => return event.map(TapItem::Exchange),
                Err(_) => continue,
            }
        }
    }
}

impl Drop for Tapped {
    fn drop(&mut self) {
        (self.ended)(&self.id);
    }
}

impl TapEvent {
    pub(crate) fn of(names: &EdgeNames, told: &wire::TappedExchange) -> Self {
        let ms = |micros: u64| micros as f64 / 1000.0;
        let headers = |headers: &[wire::Header]| {
            (!headers.is_empty()).then(|| headers.iter().take(200).map(TapHeader::of).collect())
        };
        let body = |bytes: &[u8]| {
            let bytes = &bytes[..bytes.len().min(MOST_BODY as usize)];
            (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into_owned())
        };
        Self {
            time: moment::shown(told.begun_micros / 1000),
            duration_ms: ms(told.duration_micros),
            head_ms: (told.head_micros > 0).then(|| ms(told.head_micros)),
            reporter: names.reporter.word().into(),
            source: names.source.shown(),
            destination: names.destination.shown(),
            service: names.service.host.to_string(),
            protocol: names.protocol.word().into(),
            security: names.security.word().into(),
            method: clip(&told.method),
            scheme: clip(&told.scheme),
            authority: clip(&told.authority),
            path: cut(&told.path),
            http_version: clip(&told.http_version),
            status: told.code,
            grpc_status: told.grpc_status_plus_one.checked_sub(1).map(|status| status.to_string()),
            flags: clip(&told.flags),
            code_details: clip(&told.code_details),
            route: clip(&told.route),
            cluster: clip(&told.cluster),
            upstream: clip(&told.upstream_address),
            downstream: clip(&told.downstream_address),
            attempts: told.attempts,
            request_bytes: told.request_bytes,
            response_bytes: told.response_bytes,
            request_headers: headers(&told.request_headers),
            response_headers: headers(&told.response_headers),
            request_body: body(&told.request_body),
            response_body: body(&told.response_body),
            request_id: clip(&told.request_id),
            trace_id: clip(&told.trace_id),
            reason: cut(&told.reason),
        }
    }
}

impl TapHeader {
    fn of(header: &wire::Header) -> Self {
        let name = clip(&header.name);
        let secret = SECRET.iter().any(|secret| name.eq_ignore_ascii_case(secret));
        let value = if secret { "[redacted]".to_owned() } else { cut(&header.value) };
        Self { name, value }
    }
}

/// Longer than a name.
fn cut(text: &str) -> String {
    text.chars().take(4096).collect()
}
