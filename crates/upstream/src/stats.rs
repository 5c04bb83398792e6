//! The statistics of clusters by Envoy's names (`envoy_cluster_*` with the label `cluster_name`), counted per worker.
//! Series come into being when they are first counted: most clusters of a mesh are never used.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use model::cluster::{Balancing, PeakEwma};
use telemetry::{Counter, DeclareError, Desc, Family, Gauge, Shard};

use crate::breaker::{Breakers, Held, Resource};

/// What happens to a cluster and is counted. Timeouts and retries only the caller knows of; he counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// `upstream_rq_total`: a request was given to an endpoint.
    Request,
    /// `upstream_rq_timeout`: the time for all tries was over.
    RequestTimeout,
    /// `upstream_rq_per_try_timeout`: the time for one try was over.
    PerTryTimeout,
    /// `upstream_rq_retry`: a request was tried again.
    Retry,
    /// `upstream_rq_retry_success`: and that was good.
    RetrySuccess,
    /// `upstream_rq_retry_limit_exceeded`: no tries were left.
    RetryLimitExceeded,
    /// `upstream_cx_total`: a connection was made.
    Connection,
    /// `upstream_cx_http1_total`: for HTTP/1.1.
    Http1Connection,
    /// `upstream_cx_http2_total`: for HTTP/2.
    Http2Connection,
    /// `upstream_cx_connect_fail`: a connection was not made, for whatever reason.
    ConnectFail,
    /// `upstream_cx_connect_timeout`: a connection was not made in time.
    ConnectTimeout,
    /// `upstream_cx_none_healthy`: there was no endpoint to connect to.
    NoneHealthy,
    /// `upstream_rq_pending_overflow`: too many waited, or were under way.
    PendingOverflow,
    /// `upstream_cx_overflow`: there were too many connections.
    ConnectionOverflow,
    /// `upstream_rq_retry_overflow`: too many further tries were under way.
    RetryOverflow,
}

const EVENTS: [(Event, &str, &str); 15] = [
    (Event::Request, "upstream_rq_total", "Requests to the cluster."),
    (Event::RequestTimeout, "upstream_rq_timeout", "Requests whose time for all tries was over."),
    (Event::PerTryTimeout, "upstream_rq_per_try_timeout", "Tries whose time was over."),
    (Event::Retry, "upstream_rq_retry", "Further tries."),
    (Event::RetrySuccess, "upstream_rq_retry_success", "Further tries that succeeded."),
    (Event::RetryLimitExceeded, "upstream_rq_retry_limit_exceeded", "Requests for which no tries were left."),
    (Event::Connection, "upstream_cx_total", "Connections made to the cluster."),
    (Event::Http1Connection, "upstream_cx_http1_total", "Connections made for HTTP/1.1."),
    (Event::Http2Connection, "upstream_cx_http2_total", "Connections made for HTTP/2."),
    (Event::ConnectFail, "upstream_cx_connect_fail", "Connections that were not made."),
    (Event::ConnectTimeout, "upstream_cx_connect_timeout", "Connections that were not made in time."),
    (Event::NoneHealthy, "upstream_cx_none_healthy", "Requests for which there was no endpoint."),
    (Event::PendingOverflow, "upstream_rq_pending_overflow", "Requests refused since too many wait or are under way."),
    (Event::ConnectionOverflow, "upstream_cx_overflow", "Connections not made since there are too many."),
    (Event::RetryOverflow, "upstream_rq_retry_overflow", "Further tries not made since too many are under way."),
];

/// Whether circuit breakers are open, in the order of [`Resource`].
const OPEN: [(&str, &str); 4] = [
    ("circuit_breakers_default_cx_open", "Are there as many connections as may be?"),
    ("circuit_breakers_default_rq_pending_open", "Do as many requests wait as may?"),
    ("circuit_breakers_default_rq_open", "Are as many requests under way as may be?"),
    ("circuit_breakers_default_rq_retry_open", "Are as many further tries under way as may be?"),
];

/// The families of all clusters, in the shard of one worker.
pub(crate) struct Families {
    events: [Family<Counter>; EVENTS.len()],
    requests: Family<Gauge>,
    connections: Family<Gauge>,
    open: [Family<Gauge>; OPEN.len()],
}

impl Families {
    pub(crate) fn new(shard: &Shard) -> Result<Self, DeclareError> {
        let desc = |name: &str, help: &str| Desc::new(&format!("envoy_cluster_{name}"), help).labels(&["cluster_name"]);
        let mut events = Vec::with_capacity(EVENTS.len());
        for (_, name, help) in EVENTS {
            events.push(shard.counters(desc(name, help))?);
        }
        let mut open = Vec::with_capacity(OPEN.len());
        for (name, help) in OPEN {
            open.push(shard.gauges(desc(name, help))?);
        }
        Ok(Self {
            events: events.try_into().unwrap_or_else(|_| unreachable!("one family for each event")),
            requests: shard.gauges(desc("upstream_rq_active", "Requests under way."))?,
            connections: shard.gauges(desc("upstream_cx_active", "Connections open."))?,
            open: open.try_into().unwrap_or_else(|_| unreachable!("one family for each resource")),
        })
    }
}

/// The statistics of one cluster in one worker.
pub struct ClusterStats {
    families: Rc<Families>,
    cluster: Arc<str>,
    events: [OnceCell<Counter>; EVENTS.len()],
    requests: OnceCell<Gauge>,
    connections: OnceCell<Gauge>,
    /// Most clusters have no limits.
    limits: Option<Box<Limits>>,
    watched: Option<Box<PeakEwma>>,
}

/// Limits to what is counted, and whether they are reached.
struct Limits {
    breakers: Arc<Breakers>,
    open: [OnceCell<Gauge>; OPEN.len()],
}

impl ClusterStats {
    pub(crate) fn new(families: Rc<Families>, config: &model::Cluster, breakers: Option<Arc<Breakers>>) -> Self {
        let (events, requests, connections) = Default::default();
        let watched = match &config.balancing {
            Balancing::PeakEwma(settings) => Some(Box::new(*settings)),
            _ => None,
        };
        let limits = breakers.map(|breakers| Box::new(Limits { breakers, open: Default::default() }));
        Self { families, cluster: config.name.clone(), events, requests, connections, limits, watched }
    }

    /// Is there room for one more?
    pub(crate) fn has_room(&self, of: Resource) -> bool {
        self.limits.as_ref().is_none_or(|limits| limits.breakers.has_room(of))
    }

    /// Takes one, if there are limits. Says whether there are.
    pub(crate) fn take(&self, of: Resource) -> bool {
        let Some(limits) = &self.limits else { return false };
        // Over all workers each rise has its fall, so that their sum is 1 while a breaker is open and 0 otherwise.
        if limits.breakers.take(of) {
            self.open(limits, of).inc();
        }
        true
    }

    /// Takes one, unless there are as many as may be; that is counted then.
    pub(crate) fn room(self: &Rc<Self>, of: Resource, overflow: Event) -> Option<Held> {
        if self.has_room(of) {
            return Some(Held::new(self, of));
        }
        self.count(overflow);
        None
    }

    /// Gives one back.
    pub(crate) fn give_back(&self, of: Resource) {
        if let Some(limits) = &self.limits
            && limits.breakers.give_back(of)
        {
            self.open(limits, of).dec();
        }
    }

    fn open<'a>(&self, limits: &'a Limits, of: Resource) -> &'a Gauge {
        let at = of as usize;
        limits.open[at].get_or_init(|| self.families.open[at].with(&[&self.cluster]))
    }

    /// How the time that exchanges take is to be counted at their endpoints, if it is.
    pub(crate) fn watches(&self) -> Option<&PeakEwma> {
        self.watched.as_deref()
    }

    /// Counts one.
    pub fn count(&self, event: Event) {
        let at = event as usize;
        self.events[at].get_or_init(|| self.families.events[at].with(&[&self.cluster])).inc();
    }

    pub(crate) fn begin(&self) {
        self.count(Event::Request);
        self.requests().inc();
        self.take(Resource::Requests);
    }

    pub(crate) fn end(&self) {
        self.requests().dec();
        self.give_back(Resource::Requests);
    }

    /// A connection stands. `http2` is none for raw bytes.
    pub(crate) fn connected(&self, http2: Option<bool>) {
        self.count(Event::Connection);
        match http2 {
            Some(true) => self.count(Event::Http2Connection),
            Some(false) => self.count(Event::Http1Connection),
            None => {}
        }
        self.connections().inc();
    }

    pub(crate) fn disconnected(&self) {
        self.connections().dec();
    }

    pub(crate) fn connect_failed(&self, timeout: bool) {
        self.count(Event::ConnectFail);
        if timeout {
            self.count(Event::ConnectTimeout);
        }
    }

    fn requests(&self) -> &Gauge {
        self.requests.get_or_init(|| self.families.requests.with(&[&self.cluster]))
    }

    fn connections(&self) -> &Gauge {
        self.connections.get_or_init(|| self.families.connections.with(&[&self.cluster]))
    }
}

impl std::fmt::Debug for ClusterStats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterStats").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use telemetry::{Exposition, Registry};

    use super::*;

    #[test]
    fn only_what_happened_is_shown() {
        assert!(EVENTS.iter().enumerate().all(|(at, (event, ..))| *event as usize == at));
        let registry = Registry::new();
        let families = Rc::new(Families::new(&registry.shard()).unwrap());
        let cluster = |name: &str| model::Cluster::new(name, model::cluster::Discovery::OriginalDestination);
        let stats = ClusterStats::new(families.clone(), &cluster("outbound|80||a"), None);
        let _unused = ClusterStats::new(families, &cluster("outbound|80||b"), None);
        stats.begin();
        stats.connected(Some(true));
        stats.count(Event::Retry);
        let text = registry.expose(&Exposition::default());
        let series: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let label = r#"{cluster_name="outbound|80||a"} 1"#;
        let expected = ["cx_active", "cx_http2_total", "cx_total", "rq_active", "rq_retry", "rq_total"];
        assert_eq!(series, expected.map(|name| format!("envoy_cluster_upstream_{name}{label}")));
    }
}
