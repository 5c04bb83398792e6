//! What may run now: a listener waits for its routes and secrets, a cluster for its endpoints, each at most 15 s; until
//! then the version before it stays (Envoy's warming). Pure: time is passed in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::cluster::{Discovery, Transport};
use model::http_proxy::RouteSource;
use model::{Cluster, Config, FilterChain, Listener, NetworkFilter, ResourceKind};
use tokio::time::Instant;

/// How long a resource is waited for (xDS `initial_fetch_timeout`).
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Since when something has been waited for.
pub(crate) type Waits = BTreeMap<(ResourceKind, Arc<str>), Instant>;

/// What may run now, of what is `wanted`; the rest stays as it is `running`. Writes into `waits` what is still missing,
/// and drops from it what is not.
pub(crate) fn ready(
    wanted: &Config,
    running: &Config,
    has_secret: impl Fn(&str) -> bool,
    waits: &mut Waits,
    now: Instant,
) -> Config {
    let mut missing = BTreeSet::new();
    let mut waited_enough = |needs: Vec<(ResourceKind, Arc<str>)>| {
        let mut enough = true;
        for need in needs {
            let known = match need.0 {
                ResourceKind::Endpoints => wanted.endpoints.contains_key(&need.1),
                ResourceKind::Route => wanted.routes.contains_key(&need.1),
                _ => has_secret(&need.1),
            };
            if !known {
                let since = *waits.entry(need.clone()).or_insert(now);
                enough &= now.duration_since(since) >= PATIENCE;
                missing.insert(need);
            }
        }
        enough
    };
    let mut next = Config {
        routes: wanted.routes.clone(),
        endpoints: wanted.endpoints.clone(),
        secrets: wanted.secrets.clone(),
        names: wanted.names.clone(),
        ..Config::default()
    };
    for (name, cluster) in &wanted.clusters {
        let chosen = if waited_enough(cluster_needs(cluster)) { Some(cluster) } else { running.clusters.get(name) };
        next.clusters.extend(chosen.map(|c| (name.clone(), c.clone())));
    }
    for (name, listener) in &wanted.listeners {
        let chosen = if waited_enough(listener_needs(listener)) { Some(listener) } else { running.listeners.get(name) };
        next.listeners.extend(chosen.map(|l| (name.clone(), l.clone())));
    }
    waits.retain(|need, _| missing.contains(need));
    next
}

/// When `ready` should be asked again although nothing new came.
pub(crate) fn next_deadline(waits: &Waits, now: Instant) -> Option<Instant> {
    waits.values().map(|since| *since + PATIENCE).filter(|at| *at > now).min()
}

fn cluster_needs(cluster: &Cluster) -> Vec<(ResourceKind, Arc<str>)> {
    let mut needs = Vec::new();
    if let Discovery::Eds(name) = &cluster.discovery {
        needs.push((ResourceKind::Endpoints, name.clone()));
    }
    if let Transport::Tls(tls) | Transport::MeshTls(tls) = &cluster.transport {
        let trust = tls.validation.as_ref().map(|v| &v.trust);
        needs.extend(tls.certificate.iter().chain(trust).map(|name| (ResourceKind::Secret, name.clone())));
    }
    needs
}

fn listener_needs(listener: &Listener) -> Vec<(ResourceKind, Arc<str>)> {
    listener.chains.iter().chain(&listener.default_chain).flat_map(chain_needs).collect()
}

fn chain_needs(chain: &FilterChain) -> Vec<(ResourceKind, Arc<str>)> {
    let mut needs = Vec::new();
    if let NetworkFilter::Http(http) = &chain.filter
        && let RouteSource::Rds(name) = &http.routes
    {
        needs.push((ResourceKind::Route, name.clone()));
    }
    if let Some(tls) = &chain.tls {
        let trust = tls.validation.as_ref().map(|v| &v.trust);
        needs.extend(tls.certificates.iter().chain(trust).map(|name| (ResourceKind::Secret, name.clone())));
    }
    needs
}

/// The names that a configuration asks discovery for, by kind.
pub(crate) fn wanted_names(config: &Config) -> BTreeMap<ResourceKind, BTreeSet<Arc<str>>> {
    let mut names: BTreeMap<ResourceKind, BTreeSet<Arc<str>>> = BTreeMap::new();
    let clusters = config.clusters.values().flat_map(|c| cluster_needs(c));
    let listeners = config.listeners.values().flat_map(|l| listener_needs(l));
    for (kind, name) in clusters.chain(listeners) {
        names.entry(kind).or_default().insert(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{EndpointSet, RouteConfiguration, TcpProxy};

    fn eds(name: &str, timeout_ms: u64) -> Arc<Cluster> {
        let connect_timeout = Duration::from_millis(timeout_ms);
        Arc::new(Cluster { connect_timeout, ..Cluster::new(name, Discovery::Eds(name.into())) })
    }

    fn rds(name: &str) -> Arc<Listener> {
        let filter = NetworkFilter::Http(Box::new(model::HttpProxy::new("x", RouteSource::Rds("r".into()))));
        let chain = FilterChain { name: "c".into(), matches: Default::default(), tls: None, filter };
        Arc::new(listener(name, chain))
    }

    fn listener(name: &str, chain: FilterChain) -> Listener {
        Listener {
            name: name.into(),
            address: std::net::SocketAddr::from(([127, 0, 0, 1], 1)).into(),
            bind: true,
            use_original_destination: false,
            direction: model::Direction::Inbound,
            inspect: Default::default(),
            chains: vec![chain],
            default_chain: None,
            access_logs: Vec::new(),
        }
    }

    fn names(config: &Config) -> String {
        config.clusters.keys().chain(config.listeners.keys()).map(|n| &**n).collect::<Vec<_>>().join(" ")
    }

    #[tokio::test(start_paused = true)]
    async fn waiting() {
        let mut wanted = Config::default();
        wanted.clusters.insert("a".into(), eds("a", 1));
        wanted.clusters.insert("b".into(), Arc::new(Cluster::new("b", Discovery::OriginalDestination)));
        wanted.listeners.insert("l".into(), rds("l"));
        let tcp = NetworkFilter::Tcp(TcpProxy::to("b"));
        let plain = FilterChain { name: "t".into(), matches: Default::default(), tls: None, filter: tcp };
        wanted.listeners.insert("t".into(), Arc::new(listener("t", plain)));
        let mut waits = Waits::new();
        let step = |wanted: &Config, running: &Config, waits: &mut Waits| {
            ready(wanted, running, |_| false, waits, Instant::now())
        };
        let first = step(&wanted, &Config::default(), &mut waits);
        assert_eq!((names(&first).as_str(), waits.len()), ("b t", 2));

        wanted.endpoints.insert("a".into(), Arc::new(EndpointSet::default()));
        wanted.routes.insert("r".into(), Arc::new(RouteConfiguration::new("r", Vec::new())));
        let second = step(&wanted, &first, &mut waits);
        assert_eq!((names(&second).as_str(), waits.len()), ("a b l t", 0));

        // A new version that has to wait leaves the old one in place.
        wanted
            .clusters
            .insert("a".into(), Arc::new(Cluster { discovery: Discovery::Eds("x".into()), ..(*eds("a", 9)).clone() }));
        let third = step(&wanted, &second, &mut waits);
        assert_eq!(third.clusters["a"], second.clusters["a"]);
        tokio::time::advance(PATIENCE).await;
        let fourth = step(&wanted, &third, &mut waits);
        assert_eq!(fourth.clusters["a"], wanted.clusters["a"]);
    }

    #[test]
    fn asked_for() {
        let mut config = Config::default();
        config.clusters.insert("a".into(), eds("a", 1));
        config.listeners.insert("l".into(), rds("l"));
        let names = wanted_names(&config);
        assert!(names[&ResourceKind::Endpoints].contains("a") && names[&ResourceKind::Route].contains("r"));
    }
}
