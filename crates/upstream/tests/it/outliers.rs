//! Outlier detection, the panic threshold and slow start, on real requests and simulated time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::cluster::{Balancing, Discovery};
use model::{OutlierDetection, SlowStart};
use telemetry::{Exposition, Registry};
use tokio::net::TcpListener;
use upstream::{Cluster, ClusterPools, Dialer, Pick, Watch};

use crate::origin::{OneSecret, Origin, at, build, config, fetch, get, pools, run, send, until, worker};

fn two_in_a_row() -> OutlierDetection {
    OutlierDetection { consecutive_5xx: 2, max_ejection_percent: 100, ..OutlierDetection::default() }
}

fn watched(cluster: &Cluster) -> Registry {
    let registry = Registry::new();
    cluster.watch(&Watch::new(Dialer::default(), &registry.shard()).unwrap());
    registry
}

fn counted(registry: &Registry, name: &str) -> i64 {
    let text = registry.expose(&Exposition::default());
    let line =
        text.lines().find_map(|l| l.strip_prefix(&format!("envoy_cluster_outlier_detection_ejections_{name}{{")));
    line.and_then(|line| line.rsplit(' ').next()).map_or(0, |value| value.parse().unwrap())
}

fn ejected(cluster: &Cluster) -> Vec<bool> {
    cluster.endpoints().endpoints().iter().map(|endpoint| endpoint.is_ejected()).collect()
}

async fn sends(pools: &ClusterPools, path: &str, times: usize) {
    for _ in 0..times {
        fetch(pools, path).await;
    }
}

/// An address at which nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[test]
fn who_fails_is_left_out_and_returns() {
    run(async {
        let ((_, bad), (_, fine)) = (Origin::plain().await, Origin::plain().await);
        let (_worker, cluster, pools) = pools(config(&[bad, fine], |c| {
            let (interval, base_ejection_time) = (Duration::from_secs(1), Duration::from_secs(3));
            c.outlier_detection = Some(Box::new(OutlierDetection { interval, base_ejection_time, ..two_in_a_row() }));
            c.panic_percent = 0;
        }));
        let registry = watched(&cluster);
        // In turn, so that two of four fail at each.
        sends(&pools, "/502", 3).await;
        until(|| ejected(&cluster).contains(&true)).await;
        let out = ejected(&cluster).iter().position(|out| *out).unwrap();
        let stays = [fine, bad][out].port().to_string();
        for _ in 0..6 {
            assert_eq!(fetch(&pools, "/").await.0, stays);
        }
        assert_eq!((counted(&registry, "active"), counted(&registry, "enforced_total")), (1, 1));
        assert_eq!(counted(&registry, "enforced_consecutive_5xx"), 1);
        tokio::time::pause();
        tokio::time::sleep(Duration::from_secs(5)).await;
        tokio::time::resume();
        until(|| !ejected(&cluster).contains(&true)).await;
        assert_eq!((counted(&registry, "active"), cluster.endpoints().healthy()), (0, 2));
    });
}

#[test]
fn failures_to_connect_count() {
    run(async {
        for (split, kind) in [(false, "consecutive_5xx"), (true, "consecutive_local_origin_failure")] {
            let (_worker, cluster, pools) = pools(config(&[nobody().await], |c| {
                let detection = OutlierDetection {
                    split_external_local_origin_errors: split,
                    consecutive_local_origin_failure: 2,
                    ..two_in_a_row()
                };
                c.outlier_detection = Some(Box::new(detection));
                c.panic_percent = 0;
            }));
            let registry = watched(&cluster);
            for _ in 0..2 {
                assert_eq!(send(&pools, get("/")).await.unwrap_err().kind.flag(), Some("UF"));
            }
            until(|| ejected(&cluster) == [true]).await;
            assert_eq!(counted(&registry, &format!("enforced_{kind}")), 1);
            assert_eq!(send(&pools, get("/")).await.unwrap_err().kind.flag(), Some("UH"), "nobody is left");
            let failure = pools.connect(&Pick::new(0)).await.unwrap_err();
            assert_eq!(failure.kind.flag(), Some("UH"), "nor for raw bytes");
        }
    });
}

#[test]
fn raw_connections_count() {
    run(async {
        let (_worker, cluster, pools) =
            pools(config(&[nobody().await], |c| c.outlier_detection = Some(Box::new(two_in_a_row()))));
        watched(&cluster);
        for _ in 0..2 {
            assert!(pools.connect(&Pick::new(0)).await.is_err());
        }
        until(|| ejected(&cluster) == [true]).await;
    });
}

#[test]
fn what_the_caller_gives_up_counts() {
    run(async {
        let (_origin, addr) = Origin::plain().await;
        let (_worker, cluster, pools) =
            pools(config(&[addr], |c| c.outlier_detection = Some(Box::new(two_in_a_row()))));
        watched(&cluster);
        fetch(&pools, "/").await;
        let endpoint = cluster.endpoints().endpoints()[0].clone();
        pools.too_late(&endpoint);
        assert_eq!(ejected(&cluster), [false]);
        pools.too_late(&endpoint);
        until(|| ejected(&cluster) == [true]).await;
        // Half of the endpoints are out, so that all of them are used.
        fetch(&pools, "/").await;
    });
}

#[test]
fn other_settings_begin_anew() {
    run(async {
        let (_worker, first, pools) = pools(config(&[nobody().await], |c| {
            c.outlier_detection = Some(Box::new(two_in_a_row()));
            c.panic_percent = 0;
        }));
        let registry = watched(&first);
        for _ in 0..2 {
            assert!(send(&pools, get("/")).await.is_err());
        }
        until(|| ejected(&first) == [true]).await;
        let without = model::Cluster { outlier_detection: None, ..(**first.config()).clone() };
        let second = Cluster::build(without.into(), Some(&first), &OneSecret(None)).unwrap();
        assert_eq!((ejected(&second), second.endpoints().healthy()), (vec![false], 1));
        drop(first);
        until(|| counted(&registry, "active") == 0).await;
    });
}

#[test]
fn new_endpoints_start_slowly() {
    run(async {
        tokio::time::pause();
        let (a, b) = (SocketAddr::from(([127, 0, 0, 1], 1)), SocketAddr::from(([127, 0, 0, 1], 2)));
        let settings = |c: &mut model::Cluster| {
            c.balancing = Balancing::RoundRobin;
            c.slow_start = Some(Box::new(SlowStart::new(Duration::from_secs(4))));
        };
        let mut config = config(&[a], settings);
        config.discovery = Discovery::Eds("e".into());
        let cluster = build(config);
        cluster.set_endpoints(&Arc::new(at(&[a])));
        let (worker, _registry) = (worker(), watched(&cluster));
        let _pools = worker.cluster(&cluster);
        tokio::time::sleep(Duration::from_millis(4200)).await;
        cluster.set_endpoints(&Arc::new(at(&[a, b])));
        let share = || {
            let table = cluster.endpoints();
            let picks = (0..1100).filter_map(|turn| table.pick(upstream::Order::Turn(turn), 0));
            picks.filter(|endpoint| endpoint.address().port() == Some(2)).count()
        };
        for (passed, expected) in [(0, 100), (1000, 220), (1000, 366), (2000, 550), (1000, 550)] {
            tokio::time::sleep(Duration::from_millis(passed)).await;
            let share = share();
            assert!(share.abs_diff(expected) <= 20, "{share} of 1100 turns, {expected} are due");
        }
    });
}
