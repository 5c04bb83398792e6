//! What an idle cluster costs in memory: its endpoints, its virtual host and route among it, from what discovery delivers
//! to what runs.
//!
//! A test program of its own, with one test: what is counted is the whole process.

#[allow(dead_code, reason = "this program needs little of it")]
#[path = "it/rig.rs"]
mod rig;

#[allow(dead_code, reason = "this program needs little of it")]
#[path = "it/control.rs"]
mod control;

use std::alloc::System;
use std::sync::Arc;

use model::cluster::Discovery;
use model::http_proxy::RouteSource;
use model::{Cluster, Config, Direction, EndpointSet, HttpProxy, LocalityEndpoints, RouteConfiguration, VirtualHost};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CLUSTERS: usize = 1000;

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
        let set = EndpointSet { name: name.clone(), localities: vec![group] };
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
        let at = rig::free_address();
        let mut all = config(CLUSTERS);
        let skip = std::env::var("SKIP").unwrap_or_default();
        if skip.contains('h') {
            all.routes = config(1).routes;
        }
        if skip.contains('c') {
            all.clusters = config(1).clusters;
        }
        let http = HttpProxy::new("http", RouteSource::Rds("80".into()));
        let listener = rig::listener("l", at, Direction::Outbound, vec![rig::http_chain(http)]);
        all.listeners.insert(listener.name.clone(), Arc::new(listener));
        let plane = control::plane(&all, None, testkit::TestCa::default());
        drop(all);
        let before = held();
        let bootstrap = control::bootstrap(plane.at, r#", "tls": false"#);
        let proxy = proxy::Proxy::start(bootstrap, proxy::Options::default()).unwrap();
        control::until_status(proxy.handle().admin.unwrap(), "/ready", 200).await;
        eprintln!("all {}", (held() as f64 - before as f64) / CLUSTERS as f64);
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        eprintln!("later {}", (held() as f64 - before as f64) / CLUSTERS as f64);
    });
}
