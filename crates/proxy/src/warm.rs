//! What may run now: a listener waits for its routes and secrets, a cluster for its endpoints, each at most 15 s; until
//! then the version before it stays (Envoy's warming). Where clusters are asked for by name, what names them waits for them
//! too. Pure: time is passed in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use model::access_log::LogTarget;
use model::cluster::{Discovery, LOCAL_CLUSTER, Localities, Transport};
use model::http_proxy::RouteSource;
use model::tls::SecretFiles;
use model::{Cluster, Config, FilterChain, Guard, Listener, NetworkFilter, ResourceKind};
use tokio::time::Instant;

/// How long a resource is waited for (xDS `initial_fetch_timeout`).
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Since when something has been waited for.
pub(crate) type Waits = BTreeMap<Need, Instant>;

/// What is known beside the configuration itself.
pub(crate) struct Known<'a> {
    /// Secrets that are there.
    pub secrets: &'a dyn Fn(&str) -> bool,
    /// What was asked for and does not exist.
    pub absent: &'a BTreeSet<Need>,
    /// Clusters are asked for by name, so what names them waits for them.
    pub clusters_by_name: bool,
}

/// A resource that something waits for.
pub(crate) type Need = (ResourceKind, Arc<str>);

/// What may run now, of what is `wanted`; the rest stays as it is `running`. Writes into `waits` what is still missing,
/// and drops from it what is not.
pub(crate) fn ready(wanted: &Config, running: &Config, known: &Known<'_>, waits: &mut Waits, now: Instant) -> Config {
    let mut wait = Wait { waits, now, missing: BTreeSet::new() };
    let mut next = Config {
        endpoints: wanted.endpoints.clone(),
        secrets: wanted.secrets.clone(),
        names: wanted.names.clone(),
        limits: wanted.limits.clone(),
        ..Config::default()
    };
    next.clusters = chosen(&wanted.clusters, &running.clusters, |cluster| {
        wait.is_over(cluster_needs(cluster), |need| match need.0 {
            ResourceKind::Endpoints => wanted.endpoints.contains_key(&need.1),
            _ => (known.secrets)(&need.1),
        })
    });
    let clusters = std::mem::take(&mut next.clusters);
    let has = |need: &Need| clusters.contains_key(&need.1) || known.absent.contains(need);
    let by_name = |names: &mut dyn Iterator<Item = &Arc<str>>| match known.clusters_by_name {
        true => names.map(|name| (ResourceKind::Cluster, name.clone())).collect(),
        false => Vec::new(),
    };
    next.routes = chosen(&wanted.routes, &running.routes, |table| wait.is_over(by_name(&mut table.clusters()), has));
    next.virtual_hosts =
        chosen(&wanted.virtual_hosts, &running.virtual_hosts, |host| wait.is_over(by_name(&mut host.clusters()), has));
    let routes = std::mem::take(&mut next.routes);
    next.listeners = chosen(&wanted.listeners, &running.listeners, |listener| {
        let needs = listener_needs(listener).chain(by_name(&mut listener_clusters(listener)));
        wait.is_over(needs, |need| match need.0 {
            ResourceKind::Route => routes.contains_key(&need.1),
            ResourceKind::Cluster => has(need),
            _ => (known.secrets)(&need.1),
        })
    });
    let missing = wait.missing;
    waits.retain(|need, _| missing.contains(need));
    Config { clusters, routes, ..next }
}

/// Of each resource the new version if it `may` run, else the one that runs.
fn chosen<T>(
    wanted: &BTreeMap<Arc<str>, Arc<T>>,
    running: &BTreeMap<Arc<str>, Arc<T>>,
    mut may: impl FnMut(&T) -> bool,
) -> BTreeMap<Arc<str>, Arc<T>> {
    let mut choose = |(name, new): (&Arc<str>, &Arc<T>)| {
        let chosen = if may(new) { Some(new) } else { running.get(name) };
        Some((name.clone(), chosen?.clone()))
    };
    wanted.iter().filter_map(&mut choose).collect()
}

/// What is missing, and since when.
struct Wait<'a> {
    waits: &'a mut Waits,
    now: Instant,
    missing: BTreeSet<Need>,
}

impl Wait<'_> {
    /// Is everything there, or was it waited for long enough?
    fn is_over(&mut self, needs: impl IntoIterator<Item = Need>, is_there: impl Fn(&Need) -> bool) -> bool {
        let mut over = true;
        for need in needs.into_iter().filter(|need| !is_there(need)) {
            let since = *self.waits.entry(need.clone()).or_insert(self.now);
            over &= self.now.duration_since(since) >= PATIENCE;
            self.missing.insert(need);
        }
        over
    }
}

/// When `ready` should be asked again although nothing new came.
pub(crate) fn next_deadline(waits: &Waits, now: Instant) -> Option<Instant> {
    waits.values().map(|since| *since + PATIENCE).filter(|at| *at > now).min()
}

fn cluster_needs(cluster: &Cluster) -> Vec<Need> {
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

fn chains(listener: &Listener) -> impl Iterator<Item = &FilterChain> {
    listener.chains.iter().chain(&listener.default_chain)
}

fn listener_needs(listener: &Listener) -> impl Iterator<Item = Need> {
    chains(listener).flat_map(chain_needs)
}

/// The clusters that a listener itself names.
fn listener_clusters(listener: &Listener) -> impl Iterator<Item = &Arc<str>> {
    chains(listener).flat_map(|chain| {
        let (http, tcp) = match &chain.filter {
            NetworkFilter::Http(http) => (Some(http), None),
            NetworkFilter::Tcp(tcp) => (None, Some(tcp)),
        };
        let inline = http.and_then(|http| match &http.routes {
            RouteSource::Inline(table) => Some(table),
            RouteSource::Rds(_) => None,
        });
        let tcp = tcp.into_iter().flat_map(|tcp| tcp.clusters.iter().map(|to| &to.cluster));
        let asked = http.into_iter().flat_map(|http| http.asked_clusters());
        let guards = chain.access.iter().filter_map(|guard| match guard {
            Guard::Rules(_) => None,
            Guard::Service(asks) => Some(&asks.service.service.cluster),
        });
        inline.into_iter().flat_map(|table| table.clusters()).chain(tcp).chain(asked).chain(guards)
    })
}

/// The clusters that access logs of a listener are told to.
fn told_clusters(listener: &Listener) -> impl Iterator<Item = &Arc<str>> {
    let of_chains = chains(listener).flat_map(|chain| match &chain.filter {
        NetworkFilter::Http(http) => &http.access_logs,
        NetworkFilter::Tcp(tcp) => &tcp.access_logs,
    });
    listener.access_logs.iter().chain(of_chains).filter_map(|log| match &log.to {
        LogTarget::Service(log) => Some(&log.service.cluster),
        LogTarget::Otlp(log) => Some(&log.service.cluster),
        LogTarget::File(_) => None,
    })
}

fn chain_needs(chain: &FilterChain) -> Vec<Need> {
    let mut needs = Vec::new();
    if let NetworkFilter::Http(http) = &chain.filter
        && let RouteSource::Rds(name) = &http.routes
    {
        needs.push((ResourceKind::Route, name.clone()));
    }
    if let NetworkFilter::Http(http) = &chain.filter {
        let secrets = http.logins().flat_map(|login| login.secrets());
        needs.extend(secrets.map(|name| (ResourceKind::Secret, name.clone())));
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
    // Files are read here; nobody is asked for them.
    let asked = clusters.chain(listeners).filter(|(_, name)| SecretFiles::of(name).is_none());
    for (kind, name) in asked {
        names.entry(kind).or_default().insert(name);
    }
    names
}

/// The secrets that a configuration names.
pub(crate) fn named_secrets(config: &Config) -> BTreeSet<Arc<str>> {
    let clusters = config.clusters.values().flat_map(|c| cluster_needs(c));
    let listeners = config.listeners.values().flat_map(|l| listener_needs(l));
    clusters.chain(listeners).filter(|(kind, _)| *kind == ResourceKind::Secret).map(|(_, name)| name).collect()
}

/// The clusters that anything in a configuration names.
pub(crate) fn named_clusters(config: &Config) -> impl Iterator<Item = &Arc<str>> {
    static LOCAL: LazyLock<Arc<str>> = LazyLock::new(|| LOCAL_CLUSTER.into());
    let listeners = config.listeners.values().flat_map(|l| listener_clusters(l));
    // Nobody waits for whom is only told.
    let logs = config.listeners.values().flat_map(|l| told_clusters(l));
    let routes = config.routes.values().flat_map(|table| table.clusters());
    let hosts = config.virtual_hosts.values().flat_map(|host| host.clusters());
    // Whose own zone comes first has to know of the proxy's own cluster.
    let heeds_zones = config.clusters.values().any(|cluster| matches!(cluster.localities, Localities::Zones(_)));
    listeners.chain(logs).chain(routes).chain(hosts).chain(heeds_zones.then_some(&*LOCAL))
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
        let chain = FilterChain::new("c", filter);
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
            buffer_limit: None,
            ignores_common_limit: false,
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
        let plain = FilterChain::new("t", tcp);
        wanted.listeners.insert("t".into(), Arc::new(listener("t", plain)));
        let mut waits = Waits::new();
        let absent = BTreeSet::new();
        let known = Known { secrets: &|_| false, absent: &absent, clusters_by_name: false };
        let step = |wanted: &Config, running: &Config, waits: &mut Waits| {
            ready(wanted, running, &known, waits, Instant::now())
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

    fn host(cluster: &str) -> Arc<model::VirtualHost> {
        use model::route::{Action, Forward, PathMatch};
        let to = Action::Forward(Box::new(Forward::to(cluster)));
        let routes = vec![model::Route::new(PathMatch::Prefix("/".into()), to)];
        Arc::new(model::VirtualHost { name: cluster.into(), routes, ..Default::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn clusters_by_name() {
        let mut waits = Waits::new();
        let mut step = |wanted: &Config, running: &Config, absent: &[&str]| {
            let absent = absent.iter().map(|name| (ResourceKind::Cluster, Arc::from(*name))).collect();
            let known = Known { secrets: &|_| false, absent: &absent, clusters_by_name: true };
            ready(wanted, running, &known, &mut waits, Instant::now())
        };
        let runs = |config: &Config| config.virtual_hosts.values().map(|h| h.name.to_string()).collect::<Vec<_>>();
        let mut wanted = Config::default();
        wanted.virtual_hosts.insert("80/h".into(), host("a"));
        let first = step(&wanted, &Config::default(), &[]);
        assert_eq!(runs(&first), [""; 0]);
        // The cluster is there, but not its endpoints.
        wanted.clusters.insert("a".into(), eds("a", 1));
        assert_eq!(runs(&step(&wanted, &first, &[])), [""; 0]);
        wanted.endpoints.insert("a".into(), Arc::new(EndpointSet::default()));
        let second = step(&wanted, &first, &[]);
        assert_eq!(runs(&second), ["a"]);
        // The next version waits for its own cluster, and goes on when there is none.
        wanted.virtual_hosts.insert("80/h".into(), host("b"));
        assert_eq!(runs(&step(&wanted, &second, &[])), ["a"]);
        assert_eq!(runs(&step(&wanted, &second, &["b"])), ["b"]);
        assert_eq!(named_clusters(&wanted).map(|name| &**name).collect::<Vec<_>>(), ["b"]);
        tokio::time::advance(PATIENCE).await;
        assert_eq!(runs(&step(&wanted, &second, &[])), ["a"], "what was there meanwhile is waited for anew");
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
