//! What lives on when the configuration or the endpoints change.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use model::cluster::{Balancing, Discovery, Transport};
use model::tls::UpstreamTls;
use upstream::{BuildError, Cluster, Pick};

use crate::origin::{OneSecret, Origin, at, build, config, fetch, get, pools, run, until, worker};

#[test]
fn a_cluster_lives_on_while_nothing_relevant_changes() {
    let (a, b) = (([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into());
    let first = build(config(&[a], |_| {}));
    let rebuild = |config: model::Cluster| Cluster::build(config.into(), Some(&first), &OneSecret(None)).unwrap();
    let id = first.endpoints().endpoints()[0].id();
    assert!(Arc::ptr_eq(&first, &rebuild(config(&[a], |_| {}))));
    let more = rebuild(config(&[b, a], |_| {}));
    assert!(Arc::ptr_eq(&first, &more), "other endpoints need no other pools");
    assert_eq!((more.endpoints().endpoints().len(), more.endpoints().endpoints()[1].id()), (2, id));
    let other = rebuild(config(&[a], |c| c.connect_timeout = Duration::from_secs(1)));
    assert!(!Arc::ptr_eq(&first, &other));
    assert_eq!(other.endpoints().endpoints()[0].id(), id, "ids and counts live on");
}

#[test]
fn discovered_endpoints_are_waited_for_and_taken_over() {
    let eds = |timeout| model::Cluster {
        connect_timeout: Duration::from_secs(timeout),
        ..model::Cluster::new("c", Discovery::Eds("e".into()))
    };
    let first = build(eds(1));
    assert!(!first.is_warm());
    first.set_endpoints(&Arc::new(at(&[])));
    assert!(first.is_warm(), "no endpoints is an answer too");
    first.set_endpoints(&Arc::new(at(&[([127, 0, 0, 1], 1).into()])));
    let second = Cluster::build(eds(2).into(), Some(&first), &OneSecret(None)).unwrap();
    assert!(second.is_warm());
    assert_eq!(second.endpoints().endpoints().len(), 1);
}

#[test]
fn a_table_that_is_taken_over_heeds_new_rules() {
    let ring = Balancing::RingHash { min_size: 64, max_size: 64 };
    let ring = || ring.clone();
    let addr = ([127, 0, 0, 1], 1).into();
    let eds = |balancing| model::Cluster { balancing, ..model::Cluster::new("c", Discovery::Eds("e".into())) };
    let discovered = build(eds(Balancing::Random));
    discovered.set_endpoints(&Arc::new(at(&[addr])));
    let given = build(config(&[addr], |_| {}));
    for (first, next) in [(discovered, eds(ring())), (given, config(&[addr], |c| c.balancing = ring()))] {
        let worker = worker();
        assert!(worker.cluster(&first).choose(&Pick::new(1)).is_ok());
        let second = Cluster::build(next.into(), Some(&first), &OneSecret(None)).unwrap();
        assert!(worker.cluster(&second).choose(&Pick { hash: Some(7), ..Pick::new(1) }).is_ok());
    }
}

#[test]
fn secrets_must_exist() {
    let tls = UpstreamTls {
        certificate: Some("default".into()),
        validation: None,
        sni: None,
        alpn: Vec::new(),
        versions: Default::default(),
    };
    let broken = config(&[], |c| c.transport = Transport::MeshTls(tls));
    let error = Cluster::build(broken.into(), None, &OneSecret(None)).unwrap_err();
    assert_eq!(error, BuildError::MissingSecret { cluster: "c".into(), secret: "default".into() });
}

#[test]
fn connections_of_removed_endpoints_and_clusters_end() {
    run(async {
        let ((_, gone), (_, stays)) = (Origin::plain().await, Origin::plain().await);
        let (worker, cluster, pools) = pools(config(&[gone, stays], |_| {}));
        for _ in 0..2 {
            fetch(&pools, "/").await;
        }
        let before = cluster.endpoints();
        cluster.set_endpoints(&Arc::new(at(&[stays])));
        assert!(worker.maintain());
        until(|| before.endpoints()[0].counts().connections_active == 0).await;
        assert_eq!(before.endpoints()[1].counts().connections_active, 1);
        drop((cluster, pools));
        assert!(!worker.maintain());
        until(|| before.endpoints()[1].counts().connections_active == 0).await;
    });
}

#[test]
fn what_is_in_flight_finishes() {
    run(async {
        let ((old, gone), (_, stays)) = (Origin::plain().await, Origin::plain().await);
        let (worker, cluster) = (worker(), build(config(&[gone], |_| {})));
        let pools = worker.cluster(&cluster);
        let held = fetch(&pools, "/hold");
        let update = async {
            until(|| old.requests.get() == 1).await;
            cluster.set_endpoints(&Arc::new(at(&[stays])));
            worker.maintain();
            assert_eq!(fetch(&pools, "/").await.0, stays.port().to_string());
            old.release.notify_waiters();
        };
        let (held, ()) = tokio::join!(held, update);
        assert_eq!(held.0, gone.port().to_string());
        worker.maintain();
        until(|| cluster.endpoints().endpoints().len() == 1).await;
    });
}

#[test]
fn updates_under_load_fail_no_request() {
    run(async {
        let origins = [Origin::plain().await, Origin::plain().await, Origin::plain().await];
        let addrs: Vec<_> = origins.iter().map(|(_, addr)| *addr).collect();
        let (worker, cluster, pools) = pools(config(&addrs, |_| {}));
        let running = Cell::new(8);
        let clients = join_all((0..8u64).map(async |client| {
            for n in 0..100 {
                let sent = pools.send(&mut get("/"), &Pick::new(client << 32 | n)).await.unwrap();
                sent.response.into_body().collect(100).await.unwrap();
            }
            running.set(running.get() - 1);
        }));
        let updates = async {
            let mut round = 0;
            while running.get() > 0 {
                round += 1;
                let mut some = addrs.clone();
                some.remove(round % 3);
                cluster.set_endpoints(&Arc::new(at(&some)));
                if round % 2 == 0 {
                    worker.maintain();
                }
                tokio::task::yield_now().await;
            }
            assert!(round > 1);
        };
        tokio::join!(clients, updates);
        assert_eq!(origins.iter().map(|(o, _)| o.requests.get()).sum::<usize>(), 800);
        assert!(cluster.endpoints().endpoints().iter().all(|e| e.active() == 0));
    });
}
