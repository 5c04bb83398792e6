//! What is counted: Istio's standard metrics, by its names and labels, so that Kiali, Grafana boards and canary tools
//! work unchanged; and a few of Envoy's statistics of listeners and HTTP proxies.
//!
//! Handles are kept by what the labels are made from, so that counting formats nothing. Whatever a key points to is
//! held beside its handles: an address cannot come to mean something else while the key stands.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base::SpiffeId;
use model::access::ConnectionAccess;
use model::ext_authz::ConnectionExtAuthz;
use model::{Cluster, Direction, Listener, WorkloadRef};
use telemetry::{Counter, DeclareError, Desc, Family, Gauge, Histogram, ResponseFlags, Shard};
use transport::copy::Counters;
use upstream::Exchange;

use crate::node::Shared;
use crate::record::{Refused, Summary, TcpRecord};
use crate::room::{self, Full};

/// How often the bytes of a long raw connection are reported, so that graphs do not wait for its end.
pub(crate) const REPORT: Duration = Duration::from_secs(5);

/// The labels that all of Istio's metrics share, in the order of [`Ends::labels`].
const ENDS: [&str; 22] = [
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_canonical_service",
    "source_canonical_revision",
    "source_cluster",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_canonical_service",
    "destination_canonical_revision",
    "destination_cluster",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "request_protocol",
    "connection_security_policy",
];

/// The metric handles of one worker.
pub(crate) struct Series {
    own: Arc<WorkloadRef>,
    own_principal: Option<Arc<str>>,
    families: Families,
    exchanges: RefCell<HashMap<Key, (Kept, Rc<ExchangeSeries>), BuildHasherDefault<Mixer>>>,
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
    requests: Counter,
    durations: Histogram,
    request_bytes: Histogram,
    response_bytes: Histogram,
    /// Of requests and responses, for gRPC alone.
    messages: Option<[Counter; 2]>,
}

/// The handles of one raw connection.
pub(crate) struct TcpSeries {
    sent: Counter,
    received: Counter,
    closed: Family<Counter>,
    labels: Vec<String>,
    reported: std::cell::Cell<(u64, u64)>,
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
            exchanges: RefCell::default(),
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

    /// An exchange is over.
    pub(crate) fn exchange(&self, summary: &Summary<'_>) {
        let ends = Ends::of_exchange(self, summary);
        let facts = summary.facts;
        let key = Key {
            ends: ends.key(),
            code: facts.status.map_or(0, |s| s.as_u16()),
            flags: facts.flags,
            grpc: facts.grpc_status.map(|s| s.0),
        };
        let series = {
            let mut known = self.exchanges.borrow_mut();
            if known.len() >= MAX_KEPT {
                known.clear();
            }
            known.entry(key).or_insert_with(|| (ends.keep(), Rc::new(self.families.exchange(&ends, &key)))).1.clone()
        };
        series.requests.inc();
        series.durations.observe(summary.duration.as_secs_f64() * 1000.0);
        series.request_bytes.observe(summary.request_bytes as f64);
        series.response_bytes.observe(summary.response_bytes as f64);
        if let Some([sent, received]) = &series.messages {
            sent.add(summary.request_messages);
            received.add(summary.response_messages);
        }
    }

    /// A raw connection stands.
    pub(crate) fn tcp_opened(&self, record: &TcpRecord<'_>) -> TcpSeries {
        let ends = Ends::of_connection(self, record);
        let none = ResponseFlags::NONE.to_string();
        let mut labels: Vec<&str> = ends.labels().to_vec();
        labels.push(&none);
        self.families.tcp_opened.with(&labels).inc();
        TcpSeries {
            sent: self.families.tcp_sent.with(&labels),
            received: self.families.tcp_received.with(&labels),
            closed: self.families.tcp_closed.clone(),
            labels: ends.labels().iter().map(|l| (*l).to_owned()).collect(),
            reported: Default::default(),
        }
    }
}

impl TcpSeries {
    /// Counts what has passed since the last report.
    pub(crate) fn report(&self, counters: &Counters) {
        let now = (counters.to_upstream(), counters.to_downstream());
        let before = self.reported.replace(now);
        // As Istio: received is from the client, sent is to it.
        self.received.add(now.0 - before.0);
        self.sent.add(now.1 - before.1);
    }

    /// The connection is over.
    pub(crate) fn closed(&self, flags: ResponseFlags) {
        let flags = flags.to_string();
        let labels: Vec<&str> = self.labels.iter().map(String::as_str).chain([flags.as_str()]).collect();
        self.closed.with(&labels).inc();
    }
}

/// Both ends of an exchange or connection, and the service in between, as metrics label them.
struct Ends<'a> {
    inbound: bool,
    source: Option<&'a WorkloadRef>,
    source_principal: Option<&'a str>,
    destination: Option<&'a WorkloadRef>,
    destination_principal: Option<&'a str>,
    cluster: Option<&'a Arc<Cluster>>,
    cluster_name: Option<&'a Arc<str>>,
    protocol: &'static str,
    mutual: bool,
    held: Kept,
}

/// What a key's addresses point to.
#[derive(Default, Clone)]
struct Kept {
    _cluster: Option<Arc<Cluster>>,
    _cluster_name: Option<Arc<str>>,
    _endpoint: Option<Arc<WorkloadRef>>,
    _told: [Option<Rc<WorkloadRef>>; 2],
    _names: [Option<Rc<str>>; 2],
    _identity: Option<SpiffeId>,
}

impl<'a> Ends<'a> {
    fn of_exchange(series: &'a Series, summary: &Summary<'a>) -> Self {
        let (facts, down) = (summary.facts, &summary.conn.downstream);
        let protocol = if summary.grpc { "grpc" } else { "http" };
        let mut ends = Self::new(summary.conn.plan().direction, protocol, facts.cluster_config.as_ref());
        ends.cluster_name = facts.cluster.as_ref();
        ends.held._told = [facts.source.clone(), facts.destination.clone()];
        if ends.inbound {
            ends.source = facts.source.as_deref();
            ends.take_downstream(series, down);
        } else {
            ends.take_upstream(series, facts.exchange.as_ref());
            let told = facts.destination.as_deref();
            let known = facts.endpoint.as_ref().and_then(|e| e.workload());
            ends.held._endpoint = known.cloned();
            ends.destination = known.map(|w| &**w).or(told);
        }
        ends
    }

    fn of_connection(series: &'a Series, record: &'a TcpRecord<'a>) -> Self {
        let mut ends = Self::new(record.direction, "tcp", record.cluster_config.as_ref());
        ends.cluster_name = record.cluster.as_ref();
        if ends.inbound {
            ends.take_downstream(series, record.downstream);
        } else {
            ends.take_upstream(series, record.exchange.as_ref());
            ends.destination = record.exchange.as_ref().and_then(|e| e.endpoint().workload()).map(|w| &**w);
        }
        ends
    }

    fn new(direction: Direction, protocol: &'static str, cluster: Option<&'a Arc<Cluster>>) -> Self {
        Self {
            inbound: direction == Direction::Inbound,
            source: None,
            source_principal: None,
            destination: None,
            destination_principal: None,
            cluster,
            cluster_name: None,
            protocol,
            mutual: false,
            held: Kept::default(),
        }
    }

    fn take_downstream(&mut self, series: &'a Series, down: &'a crate::connection::Downstream) {
        self.destination = Some(&series.own);
        self.source_principal = down.principal.as_deref();
        self.destination_principal = down.local_principal.as_deref();
        self.held._names = [down.principal.clone(), down.local_principal.clone()];
        self.mutual = down.is_mutual();
    }

    fn take_upstream(&mut self, series: &'a Series, exchange: Option<&'a Exchange>) {
        self.source = Some(&series.own);
        let identity = exchange.and_then(|e| e.connection()?.tls.as_ref()?.identity.as_ref());
        self.destination_principal = identity.map(SpiffeId::as_str);
        self.held._identity = identity.cloned();
        self.source_principal = identity.and(series.own_principal.as_deref());
    }

    fn key(&self) -> EndsKey {
        let text = |t: Option<&str>| t.map_or(0, |t| t.as_ptr() as usize);
        let workload = |w: Option<&WorkloadRef>| w.map_or(0, |w| std::ptr::from_ref(w) as usize);
        EndsKey {
            addresses: [
                self.cluster.map_or(0, |c| Arc::as_ptr(c) as usize),
                self.cluster_name.map_or(0, |c| c.as_ptr() as usize),
                workload(self.source),
                workload(self.destination),
                text(self.source_principal),
                text(self.destination_principal),
            ],
            inbound: self.inbound,
            mutual: self.mutual,
            grpc: self.protocol == "grpc",
        }
    }

    fn keep(&self) -> Kept {
        let mut kept = self.held.clone();
        (kept._cluster, kept._cluster_name) = (self.cluster.cloned(), self.cluster_name.cloned());
        kept
    }

    fn labels(&self) -> [&str; ENDS.len()] {
        let known = |text: Option<&'a str>| text.filter(|t| !t.is_empty()).unwrap_or("unknown");
        let [from, to] = [self.source, self.destination].map(|workload| {
            let of = |part: fn(&WorkloadRef) -> &Arc<str>| known(workload.map(|w| &**part(w)));
            [of(|w| &w.name), of(|w| &w.namespace), of(|w| &w.service), of(|w| &w.version), of(|w| &w.cluster)]
        });
        let service = self.cluster.and_then(|c| c.service.as_ref());
        // Where nothing is known of the service, Istio shows what the traffic fell into.
        let special = self.cluster_name.map(|name| &**name).filter(|name| name.ends_with("Cluster"));
        [
            if self.inbound { "destination" } else { "source" },
            from[0],
            from[1],
            known(self.source_principal),
            from[2],
            from[3],
            from[2],
            from[3],
            from[4],
            to[0],
            to[1],
            known(self.destination_principal),
            to[2],
            to[3],
            to[2],
            to[3],
            to[4],
            known(service.map(|s| &*s.host)),
            known(service.map(|s| &*s.name).or(special)),
            known(service.map(|s| &*s.namespace)),
            self.protocol,
            match (self.inbound, self.mutual) {
                (false, _) => "unknown",
                (true, true) => "mutual_tls",
                (true, false) => "none",
            },
        ]
    }
}

/// What tells one series from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    ends: EndsKey,
    code: u16,
    flags: ResponseFlags,
    grpc: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct EndsKey {
    addresses: [usize; 6],
    inbound: bool,
    mutual: bool,
    grpc: bool,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ends.addresses.iter().for_each(|a| state.write_usize(*a));
        // The rest rarely differs: one word is enough.
        state.write_u32(u32::from(self.code) | u32::from(self.ends.inbound) << 16 | u32::from(self.ends.grpc) << 17);
    }
}

/// Mixes words. Keys are addresses of our own, so nobody can choose them to collide.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u64(u64::from(*b)));
    }
    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }
    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

impl Families {
    fn declare(shard: &Shard) -> Result<Self, DeclareError> {
        let with = |more: &[&'static str]| ENDS.iter().chain(more).copied().collect::<Vec<&str>>();
        let http = with(&["response_code", "grpc_response_status", "response_flags"]);
        let tcp = with(&["response_flags"]);
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

    fn exchange(&self, ends: &Ends<'_>, key: &Key) -> ExchangeSeries {
        let code = key.code.to_string();
        let grpc = key.grpc.map(|s| s.to_string()).unwrap_or_default();
        let flags = key.flags.to_string();
        let labels: Vec<&str> = ends.labels().into_iter().chain([code.as_str(), &grpc, &flags]).collect();
        ExchangeSeries {
            requests: self.requests.with(&labels),
            durations: self.durations.with(&labels),
            request_bytes: self.request_bytes.with(&labels),
            response_bytes: self.response_bytes.with(&labels),
            messages: key.ends.grpc.then(|| self.messages.each_ref().map(|family| family.with(&labels))),
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
