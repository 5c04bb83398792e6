//! Many services: a virtual host each, and a cluster each or one for all. As resources for those who speak xDS, and as text
//! for those who read files.

use std::fmt::Write as _;
use std::sync::Arc;

use model::cluster::Discovery;
use model::{
    Cluster, Config, Endpoint, EndpointSet, Listener, LocalityEndpoints, Route, RouteConfiguration, VirtualHost,
};

use super::Setup;
use crate::wire::host;

/// The name under which the listener finds its routes.
pub const ROUTES: &str = "80";

/// How many there are.
#[derive(Debug, Clone, Copy)]
pub struct Services {
    /// Virtual hosts.
    pub hosts: usize,
    /// Clusters.
    pub clusters: usize,
}

impl Services {
    /// The cluster of a host.
    fn cluster(self, host: usize) -> usize {
        host % self.clusters.max(1)
    }

    /// Everything that a control plane pushes: `listener`, which finds its routes by discovery, and clusters of the kind
    /// of `cluster`, which find their endpoints so. `route` is made for each host with the name of its cluster.
    pub fn config(
        self,
        setup: &Setup<'_>,
        listener: Listener,
        cluster: impl Fn(&str, Discovery) -> Cluster,
        route: impl Fn(&str) -> Route,
    ) -> Config {
        let mut config = Config::default();
        config.listeners.insert(listener.name.clone(), Arc::new(listener));
        for number in 0..self.clusters {
            let name = name(number);
            let group = LocalityEndpoints { endpoints: vec![Endpoint::plain(setup.origin)], ..Default::default() };
            let set = EndpointSet::new(name.as_str(), vec![group]);
            config.endpoints.insert(set.name.clone(), Arc::new(set));
            let cluster = cluster(&name, Discovery::Eds(name.as_str().into()));
            config.clusters.insert(cluster.name.clone(), Arc::new(cluster));
        }
        let hosts = (0..self.hosts).map(|number| VirtualHost {
            name: host(number).into(),
            domains: vec![host(number)],
            routes: vec![route(&name(self.cluster(number)))],
            ..VirtualHost::default()
        });
        let table = RouteConfiguration::new(ROUTES, hosts.collect());
        config.routes.insert(table.name.clone(), Arc::new(table));
        config
    }

    /// HAProxy's map from host to backend.
    pub fn haproxy_map(self) -> String {
        self.lines(0..self.hosts, |text, number| writeln!(text, "{} b{}", host(number), self.cluster(number)))
    }

    /// HAProxy's backends.
    pub fn haproxy_backends(self, setup: &Setup<'_>) -> String {
        let origin = setup.origin;
        self.lines(0..self.clusters, |text, number| {
            writeln!(text, "backend b{number}\n    server origin {origin} proto h1")
        })
    }

    /// nginx's upstreams. Each keeps room for its idle connections, used or not.
    pub fn nginx_upstreams(self, setup: &Setup<'_>) -> String {
        let (origin, idle) = (setup.origin, if self.clusters == 1 { 512 } else { 8 });
        self.lines(0..self.clusters, |text, number| {
            writeln!(
                text,
                "upstream u{number} {{ server {origin}; keepalive {idle}; keepalive_requests 1000000000; keepalive_timeout 1h; }}"
            )
        })
    }

    /// nginx's map from host to upstream.
    pub fn nginx_map(self) -> String {
        self.lines(0..self.hosts, |text, number| writeln!(text, "{} u{};", host(number), self.cluster(number)))
    }

    fn lines(self, numbers: std::ops::Range<usize>, line: impl Fn(&mut String, usize) -> std::fmt::Result) -> String {
        let mut text = String::new();
        for number in numbers {
            // Writing to memory does not fail.
            let _ = line(&mut text, number);
        }
        text
    }
}

fn name(cluster: usize) -> String {
    format!("outbound|80||s{cluster}.default.svc.cluster.local")
}
