//! The life of a proxy: changes under load, drain, admin, what survives.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ::http::{Request, Response};
use mesh_http::{Body, h1};
use model::Direction::{Inbound, Outbound};
use model::http_proxy::RouteSource;
use model::{Config, HttpProxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use crate::rig::*;

#[test]
fn swaps_under_load_are_not_felt() {
    run(async {
        let (a, b) = (named_origin("a").await, named_origin("b").await);
        let at = free_address();
        let with = |cluster_name: &str, extra: u16| {
            let rds = HttpProxy::new("test", RouteSource::Rds("r".into()));
            let mut listeners = vec![listener("l", at, Outbound, vec![http_chain(rds)])];
            if extra > 0 {
                listeners.push(listener("extra", free_address(), Outbound, vec![tcp_chain("a")]));
            }
            let mut all = config(listeners, vec![cluster("a", &[a]), cluster("b", &[b])]);
            all.routes.insert("r".into(), Arc::new(table(vec![route("/", to(cluster_name))])));
            all
        };
        let proxy = proxy("a", with("a", 0)).await;
        let stream = TcpStream::connect(at).await.unwrap();
        let (sender, driver) = h1::connect(stream, &Default::default());
        spawn_local(driver);
        let (done, seen) = (Rc::new(Cell::new(false)), Rc::new(Cell::new((0, 0))));
        let (until, counts) = (done.clone(), seen.clone());
        let load = spawn_local(async move {
            while !until.get() {
                let answer = read(sender.send(get("test", "/x")).await.unwrap()).await;
                assert_eq!(answer.status, 200);
                let (a, b) = counts.get();
                counts.set(if answer.body.starts_with('a') { (a + 1, b) } else { (a, b + 1) });
                assert!(sender.ready().await, "the connection lives through every swap");
            }
        });
        for round in 0..20 {
            assert_eq!(proxy.handle().replace(with(if round % 2 == 0 { "b" } else { "a" }, round % 3)).await, []);
            let before = seen.get();
            while seen.get() == before {
                tokio::task::yield_now().await;
            }
        }
        done.set(true);
        load.await.unwrap();
        assert!(seen.get().0 > 0 && seen.get().1 > 0, "{:?}", seen.get());
    });
}

#[test]
fn a_changed_listener_keeps_its_socket_and_lets_go_of_old_connections() {
    run(async {
        let at = free_address();
        let ok = named_origin("ok").await;
        let with = |prefix: &str| {
            let chain = http_chain(http(vec![route(prefix, to("ok"))]));
            config(vec![listener("l", at, Inbound, vec![chain])], vec![cluster("ok", &[ok])])
        };
        let proxy = proxy("a", with("/a")).await;
        let stream = TcpStream::connect(at).await.unwrap();
        let (sender, driver) = h1::connect(stream, &Default::default());
        spawn_local(driver);
        assert_eq!(read(sender.send(get("test", "/a")).await.unwrap()).await.status, 200);
        assert_eq!(proxy.handle().replace(with("/b")).await, []);
        while sender.ready().await {
            tokio::task::yield_now().await;
        }
        assert_eq!(fetch(at, "/a").await.status, 404);
        assert_eq!(fetch(at, "/b").await.status, 200);
        assert_eq!(proxy.handle().replace(Config::default()).await, []);
        while TcpStream::connect(at).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn what_cannot_run_is_named_and_the_old_stays() {
    run(async {
        let (at, taken) = (free_address(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let good = listener("good", at, Inbound, vec![http_chain(http(Vec::new()))]);
        let proxy = proxy("a", config(vec![good.clone()], Vec::new())).await;
        let bad = listener("bad", taken.local_addr().unwrap(), Inbound, vec![tcp_chain("x")]);
        let rejected = proxy.handle().replace(config(vec![good, bad], Vec::new())).await;
        assert_eq!(rejected.len(), 1);
        assert_eq!(rejected[0].0, "bad");
        assert!(rejected[0].1.contains("cannot listen on"), "{rejected:?}");
        assert_eq!(fetch(at, "/").await.status, 404);
    });
}

/// A program that says when a request has come, and answers when it is told to.
struct Waiting {
    app: SocketAddr,
    arrived: Rc<Notify>,
    go_on: Rc<Notify>,
}

impl Waiting {
    async fn start() -> Self {
        let (arrived, go_on) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
        let (tell, wait) = (arrived.clone(), go_on.clone());
        let app = origin(move |_: Request<Body>| {
            let (tell, wait) = (tell.clone(), wait.clone());
            async move {
                tell.notify_one();
                wait.notified().await;
                Response::new(Body::from("late"))
            }
        })
        .await;
        Self { app, arrived, go_on }
    }
}

#[test]
fn a_listener_that_goes_may_come_back_at_once() {
    run(async {
        let at = free_address();
        let listener = || config(vec![listener("l", at, Inbound, vec![http_chain(http(Vec::new()))])], Vec::new());
        let proxy = proxy("a", listener()).await;
        for _ in 0..20 {
            assert_eq!(proxy.handle().replace(Config::default()).await, []);
            assert_eq!(proxy.handle().replace(listener()).await, []);
            assert_eq!(fetch(at, "/").await.status, 404);
        }
    });
}

#[test]
fn who_drains_listens_no_more_whatever_comes() {
    run(async {
        let Waiting { app, arrived, go_on } = Waiting::start().await;
        let (at, other) = (free_address(), free_address());
        let listeners = |at| vec![listener("l", at, Inbound, vec![http_chain(http(vec![route("/", to("app"))]))])];
        let of = |at| config(listeners(at), vec![cluster("app", &[app])]);
        let proxy = proxy("a", of(at)).await;
        let begun = spawn_local(async move { fetch(at, "/").await });
        arrived.notified().await;
        proxy.handle().drain();
        while TcpStream::connect(at).await.is_ok() {
            tokio::task::yield_now().await;
        }
        for to in [at, other, at] {
            assert_eq!(proxy.handle().replace(of(to)).await, []);
            assert!(TcpStream::connect(to).await.is_err(), "{to} takes new work");
        }
        go_on.notify_one();
        assert_eq!(begun.await.unwrap().status, 200);
    });
}

#[test]
fn drain_finishes_what_was_begun() {
    run(async {
        let Waiting { app, arrived, go_on } = Waiting::start().await;
        let at = free_address();
        let listeners = vec![listener("l", at, Inbound, vec![http_chain(http(vec![route("/", to("app"))]))])];
        let proxy = proxy("a", config(listeners, vec![cluster("app", &[app])])).await;
        let begun = spawn_local(async move { fetch(at, "/").await });
        let idle = TcpStream::connect(at).await.unwrap();
        arrived.notified().await;
        proxy.handle().drain();
        while TcpStream::connect(at).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        go_on.notify_one();
        let answer = begun.await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, "late"));
        assert_eq!(answer.headers["connection"], "close");
        let mut idle = idle;
        assert!(matches!(idle.read(&mut [0]).await, Ok(0) | Err(_)), "idle connections are closed");
        tokio::task::spawn_blocking(move || proxy.wait()).await.unwrap();
    });
}

#[test]
fn connections_are_spread_over_workers() {
    run(async {
        let at = free_address();
        let mut bootstrap = node("a");
        bootstrap.workers = 3;
        let listeners = vec![listener("l", at, Inbound, vec![http_chain(http(vec![route("/", to("ok"))]))])];
        let all = config(listeners, vec![cluster("ok", &[named_origin("ok").await])]);
        let proxy = proxy_of(bootstrap, all).await;
        let mut held = Vec::new();
        for _ in 0..9 {
            let stream = TcpStream::connect(at).await.unwrap();
            let (sender, driver) = h1::connect(stream, &Default::default());
            spawn_local(driver);
            assert_eq!(read(sender.send(get("test", "/")).await.unwrap()).await.status, 200);
            held.push(sender);
        }
        // Each worker has a pool of its own.
        let connections = counted(&proxy, "envoy_cluster_upstream_cx_total", &[("cluster_name", "ok")]);
        assert_eq!(connections, 3.0);
    });
}

#[test]
fn names_of_the_mesh_are_answered_and_others_passed_on() {
    use hickory_proto::op::{Message, Query};
    use hickory_proto::rr::{Name, RecordType};
    let question = |name: &str| {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        message.to_vec().unwrap()
    };
    run(async {
        let outside = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = free_address();
        let mut bootstrap = node("a");
        bootstrap.dns = Some(proxy::bootstrap::Dns {
            udp: vec![at],
            tcp: vec![at],
            resolvers: Some(vec![outside.local_addr().unwrap()]),
        });
        let names = model::NameTable {
            names: [("reviews".to_owned(), vec!["240.0.0.1".parse().unwrap()])].into(),
            limit: None,
        };
        let mut all = Config::default();
        all.names.insert(model::NameTable::RESOURCE.into(), Arc::new(names));
        let _proxy = proxy_of(bootstrap, all).await;
        let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(at).await.unwrap();
        let mut reply = vec![0; 4096];
        client.send(&question("reviews.")).await.unwrap();
        let length = client.recv(&mut reply).await.unwrap();
        assert_eq!(Message::from_vec(&reply[..length]).unwrap().answers.len(), 1);

        let asked = question("example.org.");
        client.send(&asked).await.unwrap();
        let mut seen = vec![0; 4096];
        let (length, from) = outside.recv_from(&mut seen).await.unwrap();
        assert_eq!(seen[..length], asked);
        outside.send_to(&seen[..length], from).await.unwrap();
        let length = client.recv(&mut reply).await.unwrap();
        assert_eq!(reply[..length], asked, "the answer comes back as it is");

        let mut stream = TcpStream::connect(at).await.unwrap();
        let asked = question("reviews.");
        stream.write_all(&[&(asked.len() as u16).to_be_bytes()[..], &asked].concat()).await.unwrap();
        let mut reply = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut reply).await.unwrap();
        assert_eq!(Message::from_vec(&reply).unwrap().answers.len(), 1);
    });
}

#[test]
fn admin_tells_and_obeys() {
    run(async {
        let at = free_address();
        let mut bootstrap = node("a");
        bootstrap.admin = Some("127.0.0.1:0".parse().unwrap());
        let listeners = vec![listener("l", at, Inbound, vec![http_chain(http(vec![route("/", to("c"))]))])];
        let proxy = proxy_of(bootstrap, config(listeners, vec![cluster("c", &[free_address()])])).await;
        let admin = proxy.handle().admin.unwrap();
        for (path, status, part) in [
            ("/ready", 200, "LIVE"),
            ("/healthz/ready", 200, "LIVE"),
            ("/server_info", 200, "\"id\": \"sidecar~a\""),
            ("/listeners", 200, "l::127.0.0.1:"),
            ("/listeners?format=json", 200, "\"name\": \"l\""),
            ("/clusters", 200, "c::endpoints::1"),
            ("/clusters?format=json", 200, "\"name\": \"c\""),
            ("/config_dump", 200, "\"stat_prefix\": \"test\""),
            ("/config_dump?resource=clusters", 200, "\"name\": \"c\""),
            ("/config_dump?resource=nothing", 400, "expected one of"),
            ("/certs", 200, "certificates"),
            ("/stats/prometheus", 200, ""),
            ("/quitquitquit", 405, "POST"),
            ("/nothing", 404, "/config_dump"),
        ] {
            let answer = fetch(admin, path).await;
            assert_eq!(answer.status.as_u16(), status, "{path}: {answer:?}");
            assert!(answer.body.contains(part), "{path}: {answer:?}");
        }
        let quit = Request::post("/quitquitquit").header("host", "a").body(Body::empty()).unwrap();
        assert_eq!(send(admin, quit).await.status, 200);
        tokio::task::spawn_blocking(move || proxy.wait()).await.unwrap();
    });
}
