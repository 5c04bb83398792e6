//! A proxy that asks for virtual hosts and clusters when they are needed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::Direction::Outbound;
use model::http_proxy::RouteSource;
use model::{Cluster, Config, EndpointSet, HttpProxy, ResourceKind, RouteConfiguration, VirtualHost};
use proxy::{Options, Proxy};
use tokio::task::spawn_local;
use xds::server::Snapshot;

use crate::plane::{Plane, bootstrap, plane, plane_at, until_status};
use crate::rig::*;

/// Services, each with a virtual host and a cluster of its name; anybody else goes to the cluster `other`.
struct Mesh {
    at: SocketAddr,
    services: Vec<(&'static str, SocketAddr)>,
    other: SocketAddr,
}

impl Mesh {
    async fn new(names: &[&'static str]) -> Self {
        let mut services = Vec::new();
        for name in names {
            services.push((*name, named_origin(name).await));
        }
        Self { at: free_address(), services, other: named_origin("other").await }
    }

    fn config(&self) -> Config {
        let rds = HttpProxy::new("test", RouteSource::Rds("80".into()));
        let others = cluster("other", &[self.other]);
        let mut all = config(vec![listener("l", self.at, Outbound, vec![http_chain(rds)])], vec![others]);
        let any = table(vec![route("/", to("other"))]).hosts;
        let routes = RouteConfiguration { on_demand: true, ..RouteConfiguration::new("80", any) };
        all.routes.insert("80".into(), Arc::new(routes));
        for (name, origin) in &self.services {
            let eds = Cluster::new(*name, model::cluster::Discovery::Eds((*name).into()));
            all.clusters.insert((*name).into(), Arc::new(eds));
            let model::cluster::Discovery::Static(set) = cluster(name, &[*origin]).discovery else { unreachable!() };
            all.endpoints.insert((*name).into(), Arc::new(EndpointSet { name: (*name).into(), ..set }));
            let host = VirtualHost {
                name: (*name).into(),
                domains: vec![(*name).into(), format!("{name}.default")],
                routes: vec![route("/", to(name))],
                ..VirtualHost::default()
            };
            all.virtual_hosts.insert(format!("80/{name}").into(), Arc::new(host));
        }
        all
    }

    async fn answers(&self, host: &str, by: &str) {
        let answer = send(self.at, get(host, "/x")).await;
        assert_eq!((answer.status.as_u16(), answer.body.split(' ').next()), (200, Some(by)), "{host}: {answer:?}");
    }
}

/// A proxy that follows the plane and is ready.
async fn follow(plane: &Plane, options: &str) -> Proxy {
    let proxy = Proxy::start(boot(plane, options), Options::default()).unwrap();
    until_status(proxy.handle().admin.unwrap(), "/ready", 200).await;
    proxy
}

fn boot(plane: &Plane, options: &str) -> proxy::bootstrap::Bootstrap {
    let mut bootstrap = bootstrap(plane.at, r#", "tls": false"#);
    let text = format!(r#"{{"node": {{"id": "a"}}, "on_demand": {{{options}}}}}"#);
    bootstrap.on_demand = proxy::bootstrap::Bootstrap::parse("test".as_ref(), &text).unwrap().on_demand;
    bootstrap
}

async fn until_asked(plane: &Plane, kind: ResourceKind, names: &str) {
    while plane.asked.lock().unwrap().of(kind) != names {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[test]
fn what_is_called_is_held_and_no_more() {
    run(async {
        let mesh = Mesh::new(&["reviews", "ratings", "details"]).await;
        let plane = plane(&mesh.config(), None, Default::default());
        let proxy = follow(&plane, "").await;
        until_asked(&plane, ResourceKind::Cluster, "other").await;
        mesh.answers("reviews", "reviews").await;
        // Another name of the same host needs no asking, and one that nobody knows is anybody's.
        mesh.answers("Reviews.default:80", "reviews").await;
        mesh.answers("example.org", "other").await;
        until_asked(&plane, ResourceKind::VirtualHost, "80/example.org 80/reviews").await;
        until_asked(&plane, ResourceKind::Cluster, "other reviews").await;
        until_asked(&plane, ResourceKind::Endpoints, "reviews").await;
        assert!(!plane.asked.lock().unwrap().all_clusters);
        let dump = fetch(proxy.handle().admin.unwrap(), "/config_dump").await.body;
        assert!(dump.contains("reviews") && !dump.contains("ratings"), "{dump}");
        // A service that comes to exist takes its own requests.
        let mut more = mesh.config();
        let mut host = VirtualHost::clone(&more.virtual_hosts["80/details"]);
        (host.name, host.domains) = ("org".into(), vec!["example.org".into()]);
        more.virtual_hosts.insert("80/org".into(), Arc::new(host));
        plane.wanted.send_replace(Arc::new(Snapshot::of(&more)));
        while !send(mesh.at, get("example.org", "/")).await.body.starts_with("details") {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // And one that ceases to exist takes none.
        plane.wanted.send_replace(Arc::new(Snapshot::of(&mesh.config())));
        while !send(mesh.at, get("example.org", "/")).await.body.starts_with("other") {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        until_asked(&plane, ResourceKind::Cluster, "other reviews").await;
    });
}

#[test]
fn many_wait_and_one_asks() {
    run(async {
        let mesh = Arc::new(Mesh::new(&["reviews"]).await);
        let plane = plane(&mesh.config(), None, Default::default());
        let _proxy = follow(&plane, "").await;
        let calls: Vec<_> = (0..20)
            .map(|_| {
                let mesh = mesh.clone();
                spawn_local(async move { mesh.answers("reviews", "reviews").await })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        assert_eq!(plane.asked.lock().unwrap().changes, 1);
    });
}

#[test]
fn what_is_idle_is_given_up() {
    run(async {
        let mesh = Mesh::new(&["reviews", "ratings"]).await;
        let plane = plane(&mesh.config(), None, Default::default());
        let _proxy = follow(&plane, r#""idle_seconds": 0.4"#).await;
        mesh.answers("ratings", "ratings").await;
        mesh.answers("example.org", "other").await;
        // What is used stays, however long.
        while plane.asked.lock().unwrap().of(ResourceKind::VirtualHost) != "80/reviews" {
            mesh.answers("reviews", "reviews").await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        until_asked(&plane, ResourceKind::Cluster, "other reviews").await;
        until_asked(&plane, ResourceKind::VirtualHost, "").await;
        until_asked(&plane, ResourceKind::Cluster, "other").await;
        until_asked(&plane, ResourceKind::Endpoints, "").await;
        mesh.answers("reviews", "reviews").await;
    });
}

#[test]
fn too_many_names() {
    run(async {
        let mesh = Mesh::new(&["reviews", "ratings", "details"]).await;
        let plane = plane(&mesh.config(), None, Default::default());
        let _proxy = follow(&plane, r#""max_names": 2"#).await;
        for host in ["reviews", "ratings", "details", "reviews", "ratings"] {
            mesh.answers(host, host).await;
            assert!(plane.asked.lock().unwrap().of(ResourceKind::VirtualHost).split(' ').count() <= 2);
        }
    });
}

#[test]
fn without_the_control_plane_what_is_known_goes_on() {
    run(async {
        let mesh = Mesh::new(&["reviews", "ratings"]).await;
        let first = plane(&mesh.config(), None, Default::default());
        let dir = tempfile::tempdir().unwrap();
        let mut bootstrap = boot(&first, r#""wait_seconds": 0.3, "idle_seconds": 1"#);
        bootstrap.state_dir = Some(dir.path().join("state"));
        let proxy = Proxy::start(bootstrap.clone(), Options::default()).unwrap();
        until_status(proxy.handle().admin.unwrap(), "/ready", 200).await;
        let kept = dir.path().join("state/held.bin");
        let keeps =
            |name: &str| std::fs::read(&kept).is_ok_and(|b| b.windows(name.len()).any(|w| w == name.as_bytes()));
        // What is kept on disk is written a little later than it is held.
        while !keeps("80/reviews") {
            mesh.answers("reviews", "reviews").await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let at = first.at;
        drop(first);
        until_disconnected(&proxy).await;
        tokio::time::sleep(Duration::from_millis(1300)).await;
        mesh.answers("reviews", "reviews").await;
        let unknown = send(mesh.at, get("ratings", "/")).await;
        assert_eq!(unknown.status, 503);
        assert!(unknown.body.starts_with("host ratings is not known here yet (routes 80)"), "{}", unknown.body);
        proxy.handle().stop();
        tokio::task::spawn_blocking(move || proxy.wait()).await.unwrap();

        // From disk, still without it.
        let proxy = Proxy::start(bootstrap, Options::default()).unwrap();
        until_status(proxy.handle().admin.unwrap(), "/ready", 200).await;
        mesh.answers("reviews", "reviews").await;
        assert_eq!(send(mesh.at, get("ratings", "/")).await.status, 503);

        // When it is back, what is in use is asked for as before, and what was asked for meanwhile too.
        let second = plane_at(std::net::TcpListener::bind(at).unwrap(), &mesh.config(), None, Default::default());
        loop {
            let answer = send(mesh.at, get("ratings", "/")).await;
            mesh.answers("reviews", "reviews").await;
            if answer.status == 200 {
                assert!(answer.body.starts_with("ratings"), "{}", answer.body);
                break;
            }
        }
        let asked = second.asked.lock().unwrap();
        assert!(asked.of(ResourceKind::VirtualHost).contains("80/ratings"), "{}", asked.of(ResourceKind::VirtualHost));
    });
}

async fn until_disconnected(proxy: &Proxy) {
    loop {
        let info = fetch(proxy.handle().admin.unwrap(), "/server_info").await.body;
        if info.contains("disconnected") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
