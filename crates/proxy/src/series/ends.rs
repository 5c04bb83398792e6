//! Who talks to whom, as metrics label it: both ends of an exchange or connection and the service in between, and the key
//! under which handles are kept.

use std::hash::{Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use base::SpiffeId;
use model::{Cluster, Direction, WorkloadRef};
use proto::halcyon::observe::v1 as wire;
use telemetry::ResponseFlags;
use upstream::Exchange;

use super::Series;
use crate::record::{Summary, TcpRecord};

/// The labels that all of Istio's metrics share, in the order of [`Ends::labels`].
pub(super) const ENDS: [&str; 22] = [
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

/// Both ends of an exchange or connection, and the service in between, as metrics label them.
pub(super) struct Ends<'a> {
    inbound: bool,
    source: Option<&'a WorkloadRef>,
    source_principal: Option<&'a str>,
    destination: Option<&'a WorkloadRef>,
    destination_principal: Option<&'a str>,
    cluster: Option<&'a Arc<Cluster>>,
    cluster_name: Option<&'a Arc<str>>,
    route: Option<&'a Arc<str>>,
    protocol: &'static str,
    security: wire::Security,
    held: Kept,
}

/// What a key's addresses point to.
#[derive(Default, Clone)]
pub(super) struct Kept {
    _cluster: Option<Arc<Cluster>>,
    _cluster_name: Option<Arc<str>>,
    _route: Option<Arc<str>>,
    _endpoint: Option<Arc<WorkloadRef>>,
    _told: [Option<Rc<WorkloadRef>>; 2],
    _names: [Option<Rc<str>>; 2],
    _identity: Option<SpiffeId>,
}

impl<'a> Ends<'a> {
    pub(super) fn of_exchange(series: &'a Series, summary: &Summary<'a>) -> Self {
        let (facts, down) = (summary.facts, &summary.conn.downstream);
        let protocol = if summary.grpc { "grpc" } else { "http" };
        let mut ends = Self::new(summary.conn.plan().direction, protocol, facts.cluster_config.as_ref());
        ends.cluster_name = facts.cluster.as_ref();
        ends.route = facts.route.as_ref();
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

    pub(super) fn of_connection(series: &'a Series, record: &'a TcpRecord<'a>) -> Self {
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
            route: None,
            protocol,
            security: wire::Security::Unknown,
            held: Kept::default(),
        }
    }

    fn take_downstream(&mut self, series: &'a Series, down: &'a crate::connection::Downstream) {
        self.destination = Some(&series.own);
        self.source_principal = down.principal.as_deref();
        self.destination_principal = down.local_principal.as_deref();
        self.held._names = [down.principal.clone(), down.local_principal.clone()];
        self.security = if down.is_mutual() { wire::Security::MutualTls } else { wire::Security::None };
    }

    fn take_upstream(&mut self, series: &'a Series, exchange: Option<&'a Exchange>) {
        self.source = Some(&series.own);
        let tls = exchange.and_then(|e| e.connection()).map(|connection| connection.tls.as_ref());
        let identity = tls.and_then(|tls| tls?.identity.as_ref());
        self.security = match (tls, identity) {
            (_, Some(_)) => wire::Security::MutualTls,
            (Some(None), None) => wire::Security::None,
            // There was no connection, or its other end proved a name alone.
            _ => wire::Security::Unknown,
        };
        self.destination_principal = identity.map(SpiffeId::as_str);
        self.held._identity = identity.cloned();
        self.source_principal = identity.and(series.own_principal.as_deref());
    }

    pub(super) fn key(&self) -> EndsKey {
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
                self.route.map_or(0, |r| r.as_ptr() as usize),
            ],
            security: self.security,
            inbound: self.inbound,
            grpc: self.protocol == "grpc",
        }
    }

    pub(super) fn keep(&self) -> Kept {
        let mut kept = self.held.clone();
        (kept._cluster, kept._cluster_name) = (self.cluster.cloned(), self.cluster_name.cloned());
        kept._route = self.route.cloned();
        kept
    }

    /// The same as it is told to the control plane.
    pub(super) fn edge(&self) -> wire::Edge {
        let workload = |workload: Option<&WorkloadRef>, principal: Option<&str>| {
            let of = |part: fn(&WorkloadRef) -> &Arc<str>| workload.map(|w| part(w).to_string()).unwrap_or_default();
            Some(wire::Workload {
                namespace: of(|w| &w.namespace),
                name: of(|w| &w.name),
                app: of(|w| &w.service),
                version: of(|w| &w.version),
                cluster: of(|w| &w.cluster),
                principal: principal.unwrap_or_default().to_owned(),
            })
        };
        let service = self.cluster.and_then(|c| c.service.as_ref());
        let text = |part: Option<&Arc<str>>| part.map(ToString::to_string).unwrap_or_default();
        let reporter = if self.inbound { wire::Reporter::Destination } else { wire::Reporter::Source };
        let protocol = match self.protocol {
            "grpc" => wire::Protocol::Grpc,
            "tcp" => wire::Protocol::Tcp,
            _ => wire::Protocol::Http,
        };
        wire::Edge {
            id: 0,
            reporter: reporter.into(),
            source: workload(self.source, self.source_principal),
            destination: workload(self.destination, self.destination_principal),
            service_host: text(service.map(|s| &s.host)),
            service_name: service.map(|s| s.name.to_string()).or(self.special().map(str::to_owned)).unwrap_or_default(),
            service_namespace: text(service.map(|s| &s.namespace)),
            protocol: protocol.into(),
            security: self.security.into(),
        }
    }

    /// How this exchange ended, as it is told to the control plane.
    pub(super) fn outcome(&self, key: &Key) -> wire::Outcome {
        wire::Outcome {
            id: 0,
            edge: 0,
            route: self.route.map(ToString::to_string).unwrap_or_default(),
            code: key.code.into(),
            grpc_status_plus_one: key.grpc.map_or(0, |status| status.saturating_add(1)),
            flags: if key.flags.is_empty() { String::new() } else { key.flags.to_string() },
        }
    }

    /// Where nothing is known of the service, Istio shows what the traffic fell into.
    fn special(&self) -> Option<&'a str> {
        self.cluster_name.map(|name| &**name).filter(|name| name.ends_with("Cluster"))
    }

    pub(super) fn labels(&self) -> [&str; ENDS.len()] {
        let known = |text: Option<&'a str>| text.filter(|t| !t.is_empty()).unwrap_or("unknown");
        let [from, to] = [self.source, self.destination].map(|workload| {
            let of = |part: fn(&WorkloadRef) -> &Arc<str>| known(workload.map(|w| &**part(w)));
            [of(|w| &w.name), of(|w| &w.namespace), of(|w| &w.service), of(|w| &w.version), of(|w| &w.cluster)]
        });
        let service = self.cluster.and_then(|c| c.service.as_ref());
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
            known(service.map(|s| &*s.name).or(self.special())),
            known(service.map(|s| &*s.namespace)),
            self.protocol,
            // As Istio, the caller's side does not say.
            match (self.inbound, self.security) {
                (true, wire::Security::MutualTls) => "mutual_tls",
                (true, _) => "none",
                (false, _) => "unknown",
            },
        ]
    }
}

/// What tells one series from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// The ends.
    pub ends: EndsKey,
    /// HTTP status; 0: there was no answer.
    pub code: u16,
    /// Envoy's response flags.
    pub flags: ResponseFlags,
    /// The gRPC status.
    pub grpc: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct EndsKey {
    addresses: [usize; 7],
    security: wire::Security,
    inbound: bool,
    /// It is gRPC.
    pub grpc: bool,
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
pub(super) struct Mixer(u64);

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
