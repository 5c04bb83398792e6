//! Clusters whose endpoints are the hosts that requests name, with a resolver that says what the test wants.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::DnsCache;
use model::cluster::Discovery;
use model::dynamic_forward::AddressFamily;
use tokio::runtime::Handle;
use tokio::task::LocalSet;
use upstream::dns::Resolve;
use upstream::{Cluster, ClusterPools, NoTarget, Pick, Worker};

use crate::origin::{Origin, build, get, run, worker};

type Answers = Vec<(&'static str, Vec<SocketAddr>)>;

#[derive(Default)]
struct Names {
    answers: Mutex<Answers>,
    asked: AtomicUsize,
    silent: Mutex<bool>,
}

impl Names {
    fn say(&self, answers: &[(&'static str, &[&str])]) {
        let parse = |addrs: &[&str]| addrs.iter().map(|a| a.parse().unwrap()).collect();
        *self.answers.lock().unwrap() = answers.iter().map(|(host, a)| (*host, parse(a))).collect();
    }
}

impl Resolve for Names {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        self.asked.fetch_add(1, Relaxed);
        let found = self.answers.lock().unwrap().iter().find(|(h, _)| *h == host).map(|(_, addrs)| addrs.clone());
        let silent = *self.silent.lock().unwrap();
        Box::pin(async move {
            if silent {
                std::future::pending::<()>().await;
            }
            let mut found: Vec<SocketAddr> = found.ok_or_else(|| io::Error::other("no such host"))?;
            found.iter_mut().filter(|addr| addr.port() == 0).for_each(|addr| addr.set_port(port));
            Ok(found)
        })
    }
}

struct Rig {
    names: Arc<Names>,
    pools: std::rc::Rc<ClusterPools>,
    _cluster: Arc<Cluster>,
    _worker: std::rc::Rc<Worker>,
}

fn rig(change: impl FnOnce(&mut model::Cluster)) -> Rig {
    let mut config = model::Cluster::new("c", Discovery::DynamicForward(DnsCache::new("d").into()));
    change(&mut config);
    let (names, worker, cluster) = (Arc::new(Names::default()), worker(), build(config));
    cluster.resolve_on(&Handle::current(), names.clone());
    let pools = worker.cluster(&cluster);
    Rig { names, pools, _cluster: cluster, _worker: worker }
}

fn cache(config: &mut model::Cluster) -> &mut DnsCache {
    match &mut config.discovery {
        Discovery::DynamicForward(cache) => cache,
        other => panic!("{other:?}"),
    }
}

impl Rig {
    async fn find(&self, authority: &str) -> Result<String, NoTarget> {
        let target = self.pools.look_up(authority, None).await?;
        let pick = Pick { target: Some(&target), ..Pick::new(0) };
        let chosen = self.pools.choose(&pick).unwrap();
        let endpoint = chosen.endpoint();
        Ok(format!("{} {}", endpoint.host().unwrap(), endpoint.address()))
    }

    fn asked(&self) -> usize {
        self.names.asked.load(Relaxed)
    }
}

fn missing() -> Result<String, NoTarget> {
    Err(NoTarget::NotFound("no such host".into()))
}

/// With a clock that the test moves.
fn paused(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

async fn after(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds) + Duration::from_millis(1)).await;
}

#[test]
fn each_name_is_looked_up_once_and_kept_up() {
    paused(async {
        let rig = rig(|_| {});
        rig.names.say(&[("a", &["10.0.0.2:0", "10.0.0.1:0", "[fd00::1]:0"]), ("b", &["[fd00::2]:0"])]);
        for (authority, expected) in
            [("a", "a 10.0.0.1:80"), ("A:80", "a 10.0.0.1:80"), ("a:8080", "a 10.0.0.1:8080"), ("b:1", "b [fd00::2]:1")]
        {
            assert_eq!(rig.find(authority).await.as_deref(), Ok(expected));
        }
        assert_eq!(rig.asked(), 3, "with each port once");
        for nameless in ["", ":80", "a b"] {
            assert_eq!(rig.find(nameless).await, Err(NoTarget::Nameless), "{nameless:?}");
        }
        rig.names.say(&[("a", &["10.0.0.3:0", "10.0.0.1:0", "10.0.0.0:0"])]);
        after(60).await;
        assert_eq!(rig.asked(), 6, "all are looked up anew");
        assert_eq!(rig.find("a").await.as_deref(), Ok("a 10.0.0.1:80"), "it stays while the name says so");
        assert_eq!(rig.find("b:1").await.as_deref(), Ok("b [fd00::2]:1"), "what was found last stays in use");
        rig.names.say(&[("a", &["10.0.0.3:0"])]);
        after(60).await;
        assert_eq!(rig.find("a").await.as_deref(), Ok("a 10.0.0.3:80"));
    });
}

#[test]
fn what_is_not_found_is_asked_for_again_soon() {
    paused(async {
        let rig = rig(|config| cache(config).timeout = Duration::from_secs(2));
        assert_eq!(rig.find("a").await, missing());
        assert_eq!(rig.find("a").await, missing());
        assert_eq!(rig.asked(), 1, "nobody asks in between");
        rig.names.say(&[("a", &["10.0.0.1:0"])]);
        after(2).await;
        assert_eq!(rig.find("a").await.as_deref(), Ok("a 10.0.0.1:80"));
        *rig.names.silent.lock().unwrap() = true;
        let begun = tokio::time::Instant::now();
        let late = rig.find("b").await.unwrap_err().to_string();
        assert_eq!((late.as_str(), begun.elapsed().as_secs()), ("no answer within 2s", 2));
    });
}

#[test]
fn so_many_are_held_and_those_that_nobody_uses_are_forgotten() {
    paused(async {
        let rig = rig(|config| {
            let cache = cache(config);
            (cache.max_hosts, cache.idle, cache.refresh) = (2, Duration::from_secs(100), Duration::from_secs(30));
        });
        rig.names.say(&[("a", &["10.0.0.1:0"]), ("b", &["10.0.0.2:0"]), ("c", &["10.0.0.3:0"])]);
        assert!(rig.find("a").await.is_ok() && rig.find("b").await.is_ok());
        assert_eq!(rig.find("c").await, Err(NoTarget::Full));
        assert!(rig.find("a").await.is_ok(), "those that are there are not concerned");
        after(70).await;
        assert!(rig.find("a").await.is_ok());
        after(40).await;
        assert!(rig.find("c").await.is_ok(), "nobody used the other one for long enough");
        assert_eq!(rig.find("b").await, Err(NoTarget::Full));
    });
}

#[test]
fn which_addresses_count() {
    paused(async {
        for (family, refuses, expected) in [
            (AddressFamily::Any, false, Ok("a 0.0.0.0:80")),
            (AddressFamily::Any, true, Ok("a 192.0.2.1:80")),
            (AddressFamily::V6, false, Ok("a [::1]:80")),
            (AddressFamily::V4, true, Ok("a 192.0.2.1:80")),
            (AddressFamily::V6, true, Err("it leads only to addresses that are refused")),
        ] {
            let rig = rig(|config| {
                let cache = cache(config);
                cache.family = family;
                if refuses {
                    cache.refused = ["127.0.0.0/8", "0.0.0.0/8", "::1/128"].map(|block| block.parse().unwrap()).into();
                }
            });
            rig.names.say(&[("a", &["192.0.2.1:0", "127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0", "0.0.0.0:0"])]);
            let found = rig.find("a").await.map_err(|error| error.to_string());
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{family:?} {refuses}");
        }
    });
}

#[test]
fn requests_go_there() {
    run(async {
        let rig = rig(|_| {});
        let (origin, addr) = Origin::plain().await;
        let at: &'static str = addr.to_string().leak();
        rig.names.say(&[("a", &[at]), ("b", &[at])]);
        for host in ["a", "b", "a"] {
            let target = rig.pools.look_up(&format!("{host}:{}", addr.port()), None).await.unwrap();
            let pick = Pick { target: Some(&target), ..Pick::new(0) };
            let sent = rig.pools.send(&mut get("/"), &pick).await.unwrap();
            assert_eq!(sent.response.status(), 200);
            sent.response.into_body().collect(1 << 16).await.unwrap();
        }
        assert_eq!(origin.connections.get(), 2, "two hosts share no connection, though they share an address");
        let nowhere = rig.pools.send(&mut get("/"), &Pick::new(0)).await.unwrap_err();
        assert_eq!(nowhere.kind, upstream::FailureKind::NoEndpoint);
    });
}
