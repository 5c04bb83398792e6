//! Clusters as they stand here, for the control plane: told when something about them has changed.

use std::collections::HashMap;
use std::sync::Arc;

use model::endpoint::Health;
use proto::halcyon::observe::v1 as wire;
use telemetry::Registry;
use upstream::Cluster;

use crate::admin::health_flags;
use crate::live::Live;

/// Of so many endpoints it is told that they get nothing.
const MOST_UNHEALTHY: usize = 20;

/// What stands now, by the names of Envoy's gauges.
const CONNECTIONS: &str = "envoy_cluster_upstream_cx_active";
const REQUESTS: &str = "envoy_cluster_upstream_rq_active";
/// Circuits that are open, by Envoy's gauges and the words of its limits.
const CIRCUITS: [(&str, &str); 4] = [
    ("envoy_cluster_circuit_breakers_default_cx_open", "connections"),
    ("envoy_cluster_circuit_breakers_default_rq_pending_open", "pending_requests"),
    ("envoy_cluster_circuit_breakers_default_rq_open", "requests"),
    ("envoy_cluster_circuit_breakers_default_rq_retry_open", "retries"),
];
/// Envoy's counters of what happened, and where each is told.
const COUNTED: [(&str, fn(&mut wire::ClusterState) -> &mut u64); 5] = [
    ("envoy_cluster_upstream_rq_retry", |state| &mut state.retries),
    ("envoy_cluster_upstream_rq_timeout", |state| &mut state.timeouts),
    ("envoy_cluster_upstream_rq_pending_overflow", |state| &mut state.overflows),
    ("envoy_cluster_upstream_cx_connect_fail", |state| &mut state.connect_failures),
    ("envoy_cluster_outlier_detection_ejections_enforced_total", |state| &mut state.ejections),
];

/// What is told of clusters in one stream.
pub(crate) struct Clusters {
    live: Arc<Live>,
    registry: Registry,
    /// As it was told last, without what happened.
    told: HashMap<Arc<str>, wire::ClusterState>,
    /// What the counters stood at then.
    counted: HashMap<(usize, Arc<str>), i64>,
}

impl Clusters {
    /// Nothing was told yet.
    pub(crate) fn new(live: Arc<Live>, registry: Registry) -> Self {
        let mut new = Self { live, registry, told: HashMap::new(), counted: HashMap::new() };
        // What happened before belongs to nobody's window.
        new.happened();
        new
    }

    /// Those in which something changed or happened.
    pub(crate) fn changes(&mut self) -> Vec<wire::ClusterState> {
        let snapshot = self.live.load();
        let gauges = |family| self.registry.values(family).into_iter().filter_map(named).collect::<HashMap<_, _>>();
        let (connections, requests) = (gauges(CONNECTIONS), gauges(REQUESTS));
        let circuits = CIRCUITS.map(|(family, word)| (gauges(family), word));
        let of =
            |all: &HashMap<Arc<str>, i64>, name| all.get(name).map_or(0, |n| u64::try_from(*n).unwrap_or_default());
        let mut happened = self.happened();
        self.told.retain(|name, _| snapshot.clusters.contains_key(name));
        let mut changes = Vec::new();
        for (name, cluster) in snapshot.clusters.iter().filter(|(_, cluster)| cluster.config().service.is_some()) {
            let mut state = stands(cluster);
            state.active_connections = of(&connections, name);
            state.active_requests = of(&requests, name);
            let open = circuits.iter().filter(|(open, _)| of(open, name) > 0);
            state.open_circuits = open.map(|(_, word)| (*word).to_owned()).collect();
            let before = self.told.get(name);
            let what = happened.remove(name);
            if what.is_none() && (before == Some(&state) || before.is_none() && state.active_connections == 0) {
                continue;
            }
            self.told.insert(name.clone(), state.clone());
            for (at, count) in what.unwrap_or_default() {
                *COUNTED[at].1(&mut state) = count;
            }
            changes.push(state);
        }
        changes
    }

    /// What happened since this was asked last, by cluster.
    fn happened(&mut self) -> HashMap<Arc<str>, Vec<(usize, u64)>> {
        let mut happened: HashMap<Arc<str>, Vec<(usize, u64)>> = HashMap::new();
        for (at, (family, _)) in COUNTED.iter().enumerate() {
            for (name, count) in self.registry.values(family).into_iter().filter_map(named) {
                let before = self.counted.insert((at, name.clone()), count).unwrap_or_default();
                if let Some(more) =
                    count.checked_sub(before).and_then(|more| u64::try_from(more).ok()).filter(|n| *n > 0)
                {
                    happened.entry(name).or_default().push((at, more));
                }
            }
        }
        happened
    }
}

fn named((labels, value): (Arc<[Arc<str>]>, i64)) -> Option<(Arc<str>, i64)> {
    Some((labels.first()?.clone(), value))
}

fn stands(cluster: &Cluster) -> wire::ClusterState {
    let config = cluster.config();
    let service = config.service.as_ref();
    let table = cluster.endpoints();
    let out = table.endpoints().iter().filter(|endpoint| endpoint.health() != Health::Healthy);
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    wire::ClusterState {
        name: cluster.name().to_string(),
        service_host: service.map(|s| s.host.to_string()).unwrap_or_default(),
        subset: cluster.name().split('|').nth(2).unwrap_or_default().to_owned(),
        endpoints: number(table.endpoints().len()),
        healthy: number(table.healthy()),
        ejected: number(table.endpoints().iter().filter(|endpoint| endpoint.is_ejected()).count()),
        unhealthy: out
            .take(MOST_UNHEALTHY)
            .map(|endpoint| wire::UnhealthyEndpoint { address: endpoint.to_string(), flags: health_flags(endpoint) })
            .collect(),
        ..wire::ClusterState::default()
    }
}
