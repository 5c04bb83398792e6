//! What is counted: Istio's standard metrics, by its names and labels, so that Kiali, Grafana boards and canary tools
//! work unchanged; and a few of Envoy's statistics of listeners and HTTP proxies.
//!
//! Handles are kept by what the labels are made from, so that counting formats nothing. Whatever a key points to is
//! held beside its handles: an address cannot come to mean something else while the key stands.

mod ends;
mod shape;

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use model::access::ConnectionAccess;
use model::ext_authz::ConnectionExtAuthz;
use model::metrics::Metric;
use model::{Listener, WorkloadRef};
use telemetry::{Counter, DeclareError, Desc, Family, Gauge, Histogram, ResponseFlags, Shard};
use transport::copy::Counters;

use crate::attributes::Attributes;
use crate::node::Shared;
use crate::observe::{EdgeLine, Ended, Ledger, OutcomeLine};
use crate::record::{Refused, Summary, TcpRecord};
use crate::room::{self, Full};
use ends::{ENDS, Ends, Kept, Key, Mixer};
pub(crate) use shape::Shape;
use shape::{OF_CONNECTIONS, OF_REQUESTS, Said, handle};

/// How often the bytes of a long raw connection are reported, so that graphs do not wait for its end.
pub(crate) const REPORT: Duration = Duration::from_secs(5);

/// The metric handles of one worker.
pub(crate) struct Series {
    own: Arc<WorkloadRef>,
    own_principal: Option<Arc<str>>,
    families: Families,
    /// What is counted for the control plane, if it is told.
    ledger: Option<Arc<Ledger>>,
    exchanges: RefCell<HashMap<Key, (Kept, Rc<ExchangeSeries>), BuildHasherDefault<Mixer>>>,
    /// The same where a shape says how they are counted.
    shaped: RefCell<HashMap<(Key, usize, Said), (Kept, Arc<Shape>, Rc<ExchangeSeries>)>>,
    http: RefCell<HashMap<Arc<str>, Rc<HttpStats>>>,
    names: RefCell<HashMap<Box<str>, Rc<str>>>,
    refusals: RefCell<HashMap<Box<str>, Counter>>,
}

struct Families {
    requests: Family<Counter>,
    durations: Family<Histogram>,
    request_bytes: Family<Histogram>,
    response_bytes: Family<Histogram>,
    messages: [Family<Counter>; 2],
    tcp_sent: Family<Counter>,
    tcp_received: Family<Counter>,
    tcp_opened: Family<Counter>,
    tcp_closed: Family<Counter>,
    refused: Family<Counter>,
    refusals: Family<Counter>,
    overflow: Family<Counter>,
    overflow_common: Family<Counter>,
    /// Allowed and denied, by rules and by shadow rules.
    access: [Family<Counter>; 4],
    /// By [`Asked`].
    authorization: [Family<Counter>; 7],
    http: HttpFamilies,
}

/// What became of a connection that a service was to be asked about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asked {
    /// It was asked.
    Total,
    /// It let the connection stand.
    Ok,
    /// It did not.
    Denied,
    /// It could not be asked.
    Error,
    /// It could not be asked, and the connection stands.
    FailureAllowed,
    /// The connection was closed.
    Closed,
    /// It is not asked.
    Disabled,
}

struct HttpFamilies {
    connections: Family<Counter>,
    active: Family<Gauge>,
    requests: Family<Counter>,
    protocol_errors: Family<Counter>,
}

/// What is counted per HTTP proxy.
pub(crate) struct HttpStats {
    /// Connections taken.
    pub connections: Counter,
    /// Connections that stand.
    pub active: Gauge,
    /// Requests.
    pub requests: Counter,
    /// Connections that broke the protocol.
    pub protocol_errors: Counter,
}

/// The handles of exchanges that are alike.
struct ExchangeSeries {
    requests: Option<Counter>,
    durations: Option<Histogram>,
    request_bytes: Option<Histogram>,
    response_bytes: Option<Histogram>,
    /// Of requests and responses, for gRPC alone.
    messages: [Option<Counter>; 2],
    /// The same for the control plane.
    line: Option<Arc<OutcomeLine>>,
}

/// The handles of one raw connection.
pub(crate) struct TcpSeries {
    sent: Option<Counter>,
    received: Option<Counter>,
    closed: Family<Counter>,
    labels: Vec<String>,
    /// Few connections have one.
    shaped: Option<Box<(Arc<Shape>, Said)>>,
    reported: std::cell::Cell<(u64, u64)>,
    /// The same for the control plane.
    line: Option<Arc<EdgeLine>>,
}

/// More different exchanges than this between two swaps are resolved anew.
const MAX_KEPT: usize = 8192;

/// So many reasons and policies of refusals are told apart; further ones are counted together.
const MAX_REFUSALS: usize = 500;

impl Series {
    /// The handles of a new worker.
    ///
    /// # Errors
    /// A metric is declared in two ways: a mistake of the program.
    pub(crate) fn new(shared: &Shared, shard: &Shard) -> Result<Self, DeclareError> {
        Ok(Self {
            own: shared.workload.clone(),
            own_principal: shared.principal.clone(),
            families: Families::declare(shard)?,
            ledger: shared.tells.then(|| shared.tally.ledger()),
            exchanges: RefCell::default(),
            shaped: RefCell::default(),
            http: RefCell::default(),
            names: RefCell::default(),
            refusals: RefCell::default(),
        })
    }

    /// One object for each name, so that equal names have equal addresses. The set is bounded by clearing it.
    pub(crate) fn name(&self, text: &str) -> Rc<str> {
        let mut names = self.names.borrow_mut();
        if let Some(known) = names.get(text) {
            return known.clone();
        }
        if names.len() >= MAX_KEPT {
            names.clear();
        }
        let name: Rc<str> = text.into();
        names.insert(text.into(), name.clone());
        name
    }

    /// The configuration has changed: what the handles hang on may be gone.
    pub(crate) fn forget_handles(&self) {
        self.exchanges.borrow_mut().clear();
        self.shaped.borrow_mut().clear();
    }

    /// What is counted for the HTTP proxy of this prefix.
    pub(crate) fn http(&self, prefix: &Arc<str>) -> Rc<HttpStats> {
        let mut all = self.http.borrow_mut();
        all.entry(prefix.clone()).or_insert_with(|| Rc::new(self.families.http.of(prefix))).clone()
    }

    /// A connection was closed before any filter saw it.
    pub(crate) fn refused(&self, listener: &str, why: &Refused<'_>) {
        let reason = match why {
            Refused::NoChain => "no_filter_chain_match",
            Refused::Silent => "listener_filter_timeout",
            Refused::Header(_) => "proxy_protocol_error",
            Refused::Tls(error) => error.kind.as_str(),
        };
        self.families.refused.with(&[listener, reason]).inc();
    }

    /// A filter refused a request or connection, with Envoy's details.
    pub(crate) fn refusal(&self, details: &str) {
        let mut known = self.refusals.borrow_mut();
        if let Some(counter) = known.get(details) {
            return counter.inc();
        }
        let reason = details.split(['[', '{']).next().unwrap_or_default();
        let policy = details.split_once('[').and_then(|(_, rest)| rest.strip_suffix(']')).unwrap_or_default();
        if known.len() >= MAX_REFUSALS {
            return self.families.refusals.with(&[reason, "others"]).inc();
        }
        let counter = self.families.refusals.with(&[reason, policy]);
        counter.inc();
        known.insert(details.into(), counter);
    }

    /// Rules of access were asked for a connection.
    pub(crate) fn access(&self, rules: &ConnectionAccess, is_shadow: bool, allowed: bool) {
        let families = &self.families.access;
        let family = &families[2 * usize::from(is_shadow) + usize::from(!allowed)];
        let prefix = if is_shadow { &*rules.shadow_prefix } else { "" };
        family.with(&[rules.stat_prefix.trim_end_matches('.'), prefix]).inc();
    }

    /// A service was to be asked about a connection.
    pub(crate) fn authorization(&self, asks: &ConnectionExtAuthz, what: Asked) {
        self.families.authorization[what as usize].with(&[asks.stat_prefix.trim_end_matches('.')]).inc();
    }

    /// A connection was closed since it was one too many.
    pub(crate) fn overflowed(&self, listener: &Listener, full: Full) {
        let families = &self.families;
        let family = if full == Full::Common { &families.overflow_common } else { &families.overflow };
        family.with(&[&room::address(listener)]).inc();
    }

    /// An exchange is over. Gives under what it was counted for the control plane, if it was.
    pub(crate) fn exchange(&self, summary: &Summary<'_>) -> Option<Arc<OutcomeLine>> {
        let ends = Ends::of_exchange(self, summary);
        let facts = summary.facts;
        let key = Key {
            ends: ends.key(),
            code: facts.status.map_or(0, |s| s.as_u16()),
            flags: facts.flags,
            grpc: facts.grpc_status.map(|s| s.0),
        };
        let series = match &summary.conn.plan().shape {
            None => {
                let mut known = self.exchanges.borrow_mut();
                if known.len() >= MAX_KEPT {
                    known.clear();
                }
                known.entry(key).or_insert_with(|| (ends.keep(), Rc::new(self.resolve(&ends, &key, None)))).1.clone()
            }
            Some(shape) => self.shaped(shape, &ends, key, summary),
        };
        series.requests.iter().for_each(Counter::inc);
        series.durations.iter().for_each(|durations| durations.observe(summary.duration.as_secs_f64() * 1000.0));
        series.request_bytes.iter().for_each(|bytes| bytes.observe(summary.request_bytes as f64));
        series.response_bytes.iter().for_each(|bytes| bytes.observe(summary.response_bytes as f64));
        for (counter, count) in series.messages.iter().zip([summary.request_messages, summary.response_messages]) {
            counter.iter().for_each(|messages| messages.add(count));
        }
        match (&series.line, &self.ledger) {
            (Some(line), _) => line.count(&Ended {
                duration: summary.duration,
                bytes: [summary.request_bytes, summary.response_bytes],
                messages: [summary.request_messages, summary.response_messages],
            }),
            (None, Some(ledger)) => ledger.count_untold(),
            (None, None) => {}
        }
        series.line.clone()
    }

    fn shaped(&self, shape: &Arc<Shape>, ends: &Ends<'_>, key: Key, summary: &Summary<'_>) -> Rc<ExchangeSeries> {
        let said = shape.said(&Attributes::of_exchange(summary));
        let mut known = self.shaped.borrow_mut();
        if known.len() >= MAX_KEPT {
            known.clear();
        }
        let entry = known.entry((key, Arc::as_ptr(shape) as usize, said)).or_insert_with_key(|(key, _, said)| {
            (ends.keep(), shape.clone(), Rc::new(self.resolve(ends, key, Some((shape, said)))))
        });
        entry.2.clone()
    }

    fn resolve(&self, ends: &Ends<'_>, key: &Key, shaped: Option<(&Shape, &Said)>) -> ExchangeSeries {
        let line = self.ledger.as_ref().and_then(|ledger| ledger.outcome(ends.edge(), ends.outcome(key)));
        ExchangeSeries { line, ..self.families.exchange(ends, key, shaped) }
    }

    /// A raw connection stands.
    pub(crate) fn tcp_opened(&self, record: &TcpRecord<'_>) -> TcpSeries {
        let ends = Ends::of_connection(self, record);
        let none = ResponseFlags::NONE.to_string();
        let mut labels: Vec<&str> = ends.labels().to_vec();
        labels.push(&none);
        // As yet there is no more to it than who opened it.
        let shaped = record.shape().map(|shape| {
            let said = shape.said(&Attributes::of_connection(record, record.downstream));
            Box::new((shape.clone(), said))
        });
        let as_shaped = shaped.as_ref().map(|it| (&*it.0, &it.1));
        handle(&self.families.tcp_opened, Metric::TcpOpened, &labels, as_shaped).iter().for_each(Counter::inc);
        let line = self.ledger.as_ref().and_then(|ledger| ledger.edge(ends.edge()));
        match (&line, &self.ledger) {
            (Some(line), _) => line.connections.opened(),
            (None, Some(ledger)) => ledger.count_untold(),
            (None, None) => {}
        }
        TcpSeries {
            sent: handle(&self.families.tcp_sent, Metric::TcpSent, &labels, as_shaped),
            received: handle(&self.families.tcp_received, Metric::TcpReceived, &labels, as_shaped),
            closed: self.families.tcp_closed.clone(),
            labels: ends.labels().iter().map(|l| (*l).to_owned()).collect(),
            reported: Default::default(),
            line,
            shaped,
        }
    }
}

impl TcpSeries {
    /// Counts what has passed since the last report.
    pub(crate) fn report(&self, counters: &Counters) {
        let now = (counters.to_upstream(), counters.to_downstream());
        let before = self.reported.replace(now);
        // As Istio: received is from the client, sent is to it.
        self.received.iter().for_each(|received| received.add(now.0 - before.0));
        self.sent.iter().for_each(|sent| sent.add(now.1 - before.1));
        if let Some(line) = &self.line {
            line.connections.passed(now.1 - before.1, now.0 - before.0);
        }
    }

    /// The connection is over.
    pub(crate) fn closed(&self, flags: ResponseFlags) {
        let flags = flags.to_string();
        let labels: Vec<&str> = self.labels.iter().map(String::as_str).chain([flags.as_str()]).collect();
        let shaped = self.shaped.as_ref().map(|it| (&*it.0, &it.1));
        handle(&self.closed, Metric::TcpClosed, &labels, shaped).iter().for_each(Counter::inc);
        if let Some(line) = &self.line {
            line.connections.closed();
        }
    }
}

impl Families {
    fn declare(shard: &Shard) -> Result<Self, DeclareError> {
        let with = |more: &[&'static str]| ENDS.iter().chain(more).copied().collect::<Vec<&str>>();
        let http = with(&OF_REQUESTS);
        let tcp = with(&OF_CONNECTIONS);
        let counter = |name, help, labels: &[&str]| shard.counters(Desc::new(name, help).labels(labels));
        let access = |name: &str, help| {
            let name = format!("envoy_tcp_rbac_{name}");
            shard.counters(Desc::new(&name, help).labels(&["envoy_tcp_prefix", "envoy_rbac_prefix"]))
        };
        let asked = |name: &str, help| {
            let name = format!("envoy_ext_authz_{name}");
            shard.counters(Desc::new(&name, help).labels(&["envoy_ext_authz_prefix"]))
        };
        let histogram = |name, help| shard.histograms(Desc::new(name, help).labels(&http));
        Ok(Self {
            requests: counter("istio_requests_total", "Requests.", &http)?,
            durations: histogram("istio_request_duration_milliseconds", "Duration of requests in milliseconds.")?,
            request_bytes: histogram("istio_request_bytes", "Size of request bodies in bytes.")?,
            response_bytes: histogram("istio_response_bytes", "Size of response bodies in bytes.")?,
            messages: [
                counter("istio_request_messages_total", "Messages of gRPC in requests.", &http)?,
                counter("istio_response_messages_total", "Messages of gRPC in responses.", &http)?,
            ],
            tcp_sent: counter("istio_tcp_sent_bytes_total", "Bytes sent to TCP clients.", &tcp)?,
            tcp_received: counter("istio_tcp_received_bytes_total", "Bytes received from TCP clients.", &tcp)?,
            tcp_opened: counter("istio_tcp_connections_opened_total", "TCP connections opened.", &tcp)?,
            tcp_closed: counter("istio_tcp_connections_closed_total", "TCP connections closed.", &tcp)?,
            refused: counter(
                "halcyon_listener_connections_refused_total",
                "Connections closed before a filter chain took them.",
                &["listener", "reason"],
            )?,
            refusals: counter(
                "halcyon_refusals_total",
                "Requests and connections that filters refused, by reason, and by policy where one refused them.",
                &["reason", "policy"],
            )?,
            overflow: counter(
                "envoy_listener_downstream_cx_overflow",
                "Connections closed since the listener had as many as it may have.",
                &["envoy_listener_address"],
            )?,
            overflow_common: counter(
                "envoy_listener_downstream_global_cx_overflow",
                "Connections closed since all listeners together had as many as they may have.",
                &["envoy_listener_address"],
            )?,
            access: [
                access("allowed", "Connections that rules of access let pass.")?,
                access("denied", "Connections that rules of access refused.")?,
                access("shadow_allowed", "Connections that shadow rules would let pass.")?,
                access("shadow_denied", "Connections that shadow rules would refuse.")?,
            ],
            authorization: [
                asked("total", "Connections that a service was asked about.")?,
                asked("ok", "Connections that a service let stand.")?,
                asked("denied", "Connections that a service refused.")?,
                asked("error", "Connections that a service could not be asked about.")?,
                asked("failure_mode_allowed", "Connections that stand though the service could not be asked.")?,
                asked("cx_closed", "Connections that were closed.")?,
                asked("disabled", "Connections that the service is not asked about.")?,
            ],
            http: HttpFamilies::declare(shard)?,
        })
    }

    fn exchange(&self, ends: &Ends<'_>, key: &Key, shaped: Option<(&Shape, &Said)>) -> ExchangeSeries {
        let code = key.code.to_string();
        let grpc = key.grpc.map(|s| s.to_string()).unwrap_or_default();
        let flags = key.flags.to_string();
        let labels: Vec<&str> = ends.labels().into_iter().chain([code.as_str(), &grpc, &flags]).collect();
        let messages =
            |of: usize, metric| key.ends.grpc.then(|| handle(&self.messages[of], metric, &labels, shaped)).flatten();
        ExchangeSeries {
            requests: handle(&self.requests, Metric::RequestCount, &labels, shaped),
            durations: handle(&self.durations, Metric::RequestDuration, &labels, shaped),
            request_bytes: handle(&self.request_bytes, Metric::RequestSize, &labels, shaped),
            response_bytes: handle(&self.response_bytes, Metric::ResponseSize, &labels, shaped),
            messages: [messages(0, Metric::RequestMessages), messages(1, Metric::ResponseMessages)],
            line: None,
        }
    }
}

impl HttpFamilies {
    fn declare(shard: &Shard) -> Result<Self, DeclareError> {
        let desc = |name, help| Desc::new(name, help).labels(&["envoy_http_conn_manager_prefix"]);
        let counter = |name, help| shard.counters(desc(name, help));
        Ok(Self {
            connections: counter("envoy_http_downstream_cx_total", "HTTP connections taken.")?,
            active: shard.gauges(desc("envoy_http_downstream_cx_active", "HTTP connections that stand."))?,
            requests: counter("envoy_http_downstream_rq_total", "HTTP requests.")?,
            protocol_errors: counter(
                "envoy_http_downstream_cx_protocol_error",
                "Connections that broke the protocol.",
            )?,
        })
    }

    fn of(&self, prefix: &str) -> HttpStats {
        HttpStats {
            connections: self.connections.with(&[prefix]),
            active: self.active.with(&[prefix]),
            requests: self.requests.with(&[prefix]),
            protocol_errors: self.protocol_errors.with(&[prefix]),
        }
    }
}
