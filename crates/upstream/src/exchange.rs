//! What a caller holds while its request, or its raw connection, is on an upstream connection.

use std::cell::Cell;
use std::fmt;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::Response;
use mesh_http::Body;
use tokio::time::Instant;
use transport::Stream;
use transport::tls::Peer;

use crate::breaker::{Held, Resource};
use crate::endpoint::{Endpoint, Live};
use crate::ewma;
use crate::stats::{ClusterStats, Event};

/// A response whose head is there.
#[derive(Debug)]
pub struct Sent {
    /// The response.
    pub response: Response<Body>,
    /// Keep it until the response's body has ended: it counts as active until then.
    pub exchange: Exchange,
}

/// A raw connection that stands.
#[derive(Debug)]
pub struct Connected {
    /// The bytes both ways, TLS removed.
    pub stream: Stream,
    /// Keep it as long as the stream.
    pub exchange: Exchange,
}

/// Facts of an upstream connection.
#[derive(Debug)]
pub struct Connection {
    /// Our end.
    pub local: Option<transport::Address>,
    /// The other end, as it was dialled.
    pub remote: Option<transport::Address>,
    /// What TLS proved of the other end.
    pub tls: Option<Box<Peer>>,
    /// HTTP/2 is spoken on it.
    pub http2: bool,
    pub(crate) requests: Cell<u32>,
    /// When it was made, by the worker's coarse clock.
    pub(crate) born: Instant,
}

/// One request on its endpoint. Active until it is dropped.
pub struct Exchange {
    endpoint: Arc<Endpoint>,
    stats: Rc<ClusterStats>,
    connection: Option<Rc<Connection>>,
    reused: bool,
    /// It has its connection, and is counted.
    attached: bool,
    /// When it began, in microseconds that wrap around, as long as how long it takes is waited for.
    begun: Option<NonZeroU32>,
    /// The count of a connection that is this exchange's alone.
    open: Option<Open>,
}

impl Exchange {
    /// Active from now on; its connection comes later.
    pub(crate) fn begin(endpoint: Arc<Endpoint>, stats: Rc<ClusterStats>) -> Self {
        endpoint.live().active.fetch_add(1, Relaxed);
        let begun = stats.watches().and_then(|_| NonZeroU32::new((ewma::now() as u32).max(1)));
        Self { endpoint, stats, connection: None, reused: false, attached: false, begun, open: None }
    }

    /// A connection is there for it, so it counts as a request, unless as many as may be are under way.
    pub(crate) fn attach(&mut self) -> bool {
        if !self.attached && !self.stats.has_room(Resource::Requests) {
            self.stats.count(Event::PendingOverflow);
            return false;
        }
        self.count();
        true
    }

    fn count(&mut self) {
        if !std::mem::replace(&mut self.attached, true) {
            self.endpoint.live().requests.fetch_add(1, Relaxed);
            self.stats.begin();
        }
    }

    pub(crate) fn on(&mut self, connection: Rc<Connection>) {
        let before = connection.requests.get();
        connection.requests.set(before.saturating_add(1));
        self.reused = before > 0;
        self.connection = Some(connection);
    }

    /// Takes a connection for itself.
    pub(crate) fn own(&mut self, connection: Connection, held: Held) {
        // The number of requests limits no raw connections.
        self.count();
        self.open = Some(Open::new(&self.endpoint, self.stats.clone(), None, held));
        self.on(Rc::new(connection));
    }

    /// Counts its outcome. One that is given up has none.
    pub(crate) fn outcome(&mut self, success: bool) {
        self.observe();
        let live = self.endpoint.live();
        let counter = if success { &live.successes } else { &live.errors };
        counter.fetch_add(1, Relaxed);
    }

    /// How long it took counts for whom the next exchanges go to.
    fn observe(&mut self) {
        if let (Some(begun), Some(settings)) = (self.begun.take(), self.stats.watches()) {
            let now = ewma::now();
            let took = Duration::from_micros((now as u32).wrapping_sub(begun.get()).into());
            self.endpoint.live().estimate.observe(took, now, settings);
        }
    }

    /// The endpoint that was chosen.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// The connection it is on.
    pub fn connection(&self) -> Option<&Connection> {
        self.connection.as_deref()
    }

    /// Did the connection carry a request before?
    pub fn is_reused(&self) -> bool {
        self.reused
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // One that was given up has taken that long at least.
        self.observe();
        self.endpoint.live().active.fetch_sub(1, Relaxed);
        if self.attached {
            self.stats.end();
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("endpoint", &self.endpoint.address())
            .field("connection", &self.connection)
            .field("reused", &self.reused)
            .finish()
    }
}

/// Counts a connection as open until it is dropped.
pub(crate) struct Open {
    live: Arc<Live>,
    stats: Rc<ClusterStats>,
    _held: Held,
}

impl Open {
    pub(crate) fn new(endpoint: &Endpoint, stats: Rc<ClusterStats>, http2: Option<bool>, held: Held) -> Self {
        let live = endpoint.live().clone();
        live.connections.fetch_add(1, Relaxed);
        live.connections_made.fetch_add(1, Relaxed);
        stats.connected(http2);
        Self { live, stats, _held: held }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.live.connections.fetch_sub(1, Relaxed);
        self.stats.disconnected();
    }
}

#[cfg(test)]
mod tests {
    use model::cluster::{Balancing, PeakEwma};
    use telemetry::Registry;

    use super::*;
    use crate::stats::Families;

    /// Ends an exchange after 200 ms; what is expected of the next one, in milliseconds.
    async fn expected_after(balancing: &Balancing, end: impl FnOnce(Exchange)) -> f32 {
        let families = Rc::new(Families::new(&Registry::new().shard()).unwrap());
        let config = model::Cluster {
            balancing: balancing.clone(),
            ..model::Cluster::new("c", model::cluster::Discovery::OriginalDestination)
        };
        let stats = Rc::new(ClusterStats::new(families, &config, None));
        let endpoint = Endpoint::original_destination(([127, 0, 0, 1], 1).into());
        let exchange = Exchange::begin(endpoint.clone(), stats);
        tokio::time::advance(Duration::from_millis(200)).await;
        end(exchange);
        (endpoint.live().estimate.load(0, ewma::now(), &PeakEwma::default()) * 1000.0).round()
    }

    #[test]
    fn what_an_exchange_took_is_observed() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let quickest = Balancing::PeakEwma(PeakEwma::default());
            assert_eq!(expected_after(&quickest, |mut exchange| exchange.outcome(true)).await, 200.0);
            assert_eq!(expected_after(&quickest, drop).await, 200.0, "one that was given up counts too");
            assert_eq!(expected_after(&Balancing::Random, drop).await, 30.0, "nobody asks for it");
        });
    }
}
