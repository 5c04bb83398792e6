//! What an idle cluster costs in memory: with its endpoints, its virtual host and its route, from what discovery delivers
//! to what runs, and with what the control plane keeps of the session.
//!
//! A test program of its own: what is counted is the whole process.

#[allow(dead_code, reason = "this program needs little of it")]
#[path = "it/rig.rs"]
mod rig;

#[allow(dead_code, reason = "this program needs little of it")]
#[path = "it/plane.rs"]
mod plane;

use std::alloc::System;
use std::sync::Arc;
use std::time::Duration;

use model::cluster::Discovery;
use model::http_proxy::RouteSource;
use model::{Cluster, Config, Direction, EndpointSet, HttpProxy, LocalityEndpoints, RouteConfiguration, VirtualHost};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CLUSTERS: usize = 1000;
/// Bytes for each cluster that are accepted: 4,711 to 4,766 are seen, and 4,822 where two others compile, by how the bytes of
/// discovery arrive. Lower it when the code becomes better; raise it only with a reason. The last ones, from 4,700: each
/// cluster may heed zones and may be of hosts that requests name; and busy machines.
const BOUND: usize = 4900;

fn held() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

fn config(clusters: usize) -> Config {
    let origin: model::Address = std::net::SocketAddr::from(([127, 0, 0, 1], 9)).into();
    let mut hosts = Vec::new();
    let mut config = Config::default();
    for number in 0..clusters {
        let name: Arc<str> = format!("outbound|80||s{number}.default.svc.cluster.local").into();
        let group = LocalityEndpoints { endpoints: vec![model::Endpoint::plain(origin.clone())], ..Default::default() };
        let set = EndpointSet::new(name.clone(), vec![group]);
        config.endpoints.insert(name.clone(), Arc::new(set));
        config.clusters.insert(name.clone(), Arc::new(Cluster::new(name.clone(), Discovery::Eds(name.clone()))));
        let host = format!("s{number}.default.svc.cluster.local");
        let routes = vec![rig::route("/", rig::to(&name))];
        hosts.push(VirtualHost { name: host.as_str().into(), domains: vec![host], routes, ..Default::default() });
    }
    let table = RouteConfiguration::new("80", hosts);
    config.routes.insert(table.name.clone(), Arc::new(table));
    config
}

#[test]
fn an_idle_cluster_holds_little() {
    rig::run(async {
        let mut all = config(CLUSTERS);
        let http = HttpProxy::new("http", RouteSource::Rds("80".into()));
        let listener = rig::listener("l", rig::free_address(), Direction::Outbound, vec![rig::http_chain(http)]);
        all.listeners.insert(listener.name.clone(), Arc::new(listener));
        let control = plane::plane(&all, None, testkit::TestCa::default());
        drop(all);
        let before = held();
        let bootstrap = plane::bootstrap(control.at, r#", "tls": false"#);
        let proxy = proxy::Proxy::start(bootstrap, proxy::Options::default()).unwrap();
        plane::until_status(proxy.handle().admin.unwrap(), "/ready", 200).await;
        // What is still on its way is no part of it: the least that is seen counts, and a busy machine may take its time.
        let mut least = held();
        for _ in 0..200 {
            if least.saturating_sub(before) / CLUSTERS <= BOUND {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            least = least.min(held());
        }
        let each = least.saturating_sub(before) / CLUSTERS;
        eprintln!("{each} bytes for each cluster");
        assert!(each <= BOUND, "{each} bytes for each cluster: expected at most {BOUND}");
    });
}
