//! What all workers share and never changes while the proxy runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use filter::Extensions;
use model::access_log::FileLog;
use model::{Locality, WorkloadRef};
use telemetry::Registry;
use transport::Netns;

use crate::bootstrap::{Bootstrap, Node, OnDemand};
use crate::log::Sinks;
use crate::log::otlp::OtlpLogs;
use crate::log::service::Services;
use crate::observe::{Tally, Taps};
use crate::peer::{self, Card};
use crate::plain::Plain;
use crate::room::Room;
use crate::spans::SpanServices;

/// Who this proxy is and how it works, for every thread of it.
pub(crate) struct Shared {
    /// Where metrics are registered.
    pub registry: Registry,
    /// The open access logs.
    pub sinks: Sinks,
    /// The logs that services take.
    pub log_services: Services,
    /// The logs that services take by OTLP.
    pub otlp_logs: OtlpLogs,
    /// Services that take spans.
    pub spans: SpanServices,
    /// Its xDS node id.
    pub node: Arc<str>,
    /// What workers count for the control plane.
    pub tally: Tally,
    /// The control plane is told what is counted.
    pub tells: bool,
    /// Exchanges that somebody looks at.
    pub taps: Taps,
    /// What it tells its peers of itself.
    pub card: Card,
    /// Its own workload, for its side of the labels.
    pub workload: Arc<WorkloadRef>,
    /// What its node is labelled with, by the keys in its metadata.
    pub labels: BTreeMap<String, BTreeMap<String, String>>,
    /// The service that it belongs to, as the bootstrap names it.
    pub service_cluster: Arc<str>,
    /// Its own identity, if the bootstrap names one.
    pub principal: Option<Arc<str>>,
    /// The log of listeners that name none.
    pub access_log: Option<FileLog>,
    /// How long old work may go on in a drain.
    pub drain: Duration,
    /// How virtual hosts are found when they are needed.
    pub on_demand: OnDemand,
    /// Whoever asks is told why a request was not answered by whom it was for.
    pub explain: bool,
    /// Where it runs.
    pub locality: Locality,
    /// The cluster that it is itself an endpoint of, as an Envoy bootstrap names it. Then localities count by it wherever
    /// nothing else is said of them, as in Envoy; else where they are said to.
    pub local_cluster: Option<Arc<str>>,
    /// Who speaks plain text to its program.
    pub plain: Arc<Plain>,
    /// Who makes filters that are not built in.
    pub extensions: Arc<dyn Extensions>,
    /// Room for the connections to all listeners.
    pub room: Arc<Room>,
    netns: Option<Netns>,
}

impl Shared {
    /// From the bootstrap.
    pub(crate) fn new(bootstrap: &Bootstrap, registry: Registry, extensions: Arc<dyn Extensions>) -> Self {
        Self {
            registry,
            sinks: Sinks::default(),
            log_services: Services::new(&bootstrap.node),
            otlp_logs: OtlpLogs::default(),
            spans: SpanServices::default(),
            node: bootstrap.node.id.as_str().into(),
            tally: Tally::default(),
            tells: bootstrap.observe.is_some(),
            taps: Taps::new(bootstrap.observe.clone().unwrap_or_default()),
            principal: bootstrap.identity.as_ref().map(|id| id.as_str().into()),
            labels: labels(&bootstrap.node),
            service_cluster: bootstrap.node.cluster.as_str().into(),
            card: Card::of(&bootstrap.node),
            workload: Arc::new(peer::workload_of(&bootstrap.node)),
            access_log: bootstrap.access_log.clone(),
            drain: bootstrap.drain,
            on_demand: bootstrap.on_demand,
            explain: bootstrap.explain,
            locality: bootstrap.node.locality.clone(),
            local_cluster: bootstrap.local_cluster.clone(),
            plain: Arc::default(),
            extensions,
            room: Arc::default(),
            netns: bootstrap.netns.clone(),
        }
    }

    /// How upstream connections are made.
    pub(crate) fn dialer(&self) -> upstream::Dialer {
        upstream::Dialer::new(self.netns.clone())
    }
}

/// The parts of a node's metadata that hold texts by name.
fn labels(node: &Node) -> BTreeMap<String, BTreeMap<String, String>> {
    let of = |(key, value): (&String, &serde_json::Value)| {
        let texts =
            value.as_object()?.iter().filter_map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned())));
        Some((key.clone(), texts.collect()))
    };
    node.metadata.iter().filter_map(of).collect()
}
