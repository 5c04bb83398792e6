//! Clusters of host names, with a resolver that says what the test wants and a clock that the test moves.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::cluster::{Balancing, DNS_REFRESH as REFRESH, Discovery, Localities};
use model::{Address, EndpointSet, Locality, LocalityEndpoints};
use tokio::runtime::Handle;
use upstream::dns::Resolve;
use upstream::{Cluster, Order};

use crate::origin::OneSecret;

#[derive(Default)]
struct Names {
    answers: Mutex<Vec<(String, Vec<SocketAddr>)>>,
    asked: Mutex<usize>,
}

impl Names {
    fn say(&self, answers: &[(&str, &[&str])]) {
        let parse = |addrs: &[&str]| addrs.iter().map(|a| a.parse().unwrap()).collect();
        *self.answers.lock().unwrap() = answers.iter().map(|(host, a)| (host.to_string(), parse(a))).collect();
    }
}

impl Resolve for Names {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        _: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        *self.asked.lock().unwrap() += 1;
        let answers = self.answers.lock().unwrap();
        let found = answers.iter().find(|(h, _)| h == host).map(|(_, addrs)| addrs.clone());
        Box::pin(async move { found.ok_or_else(|| io::ErrorKind::NotFound.into()) })
    }
}

fn hosts(names: &[&str]) -> EndpointSet {
    let named = |name: &&str| model::Endpoint::plain(Address::Host { host: (*name).into(), port: 80 });
    let endpoints = names.iter().map(named).collect();
    EndpointSet::new("e", vec![LocalityEndpoints { endpoints, ..Default::default() }])
}

fn build(discovery: Discovery, previous: Option<&Arc<Cluster>>) -> Arc<Cluster> {
    Cluster::build(model::Cluster::new("c", discovery).into(), previous, &OneSecret(None)).unwrap()
}

fn seen(cluster: &Cluster) -> Vec<String> {
    let name = |e: &Arc<upstream::Endpoint>| format!("{} {}", e.host().unwrap_or("-"), e.address());
    cluster.endpoints().endpoints().iter().map(name).collect()
}

async fn after(time: Duration) {
    tokio::time::sleep(time + Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn all_addresses_of_all_names() {
    let names = Arc::new(Names::default());
    names.say(&[("a", &["10.0.0.2:80", "10.0.0.1:80", "[fd00::1]:80"]), ("b", &["[fd00::2]:80"])]);
    let cluster = build(Discovery::StrictDns(hosts(&["a", "b", "missing"])), None);
    assert!(!cluster.is_warm());
    cluster.resolve_on(&Handle::current(), names.clone());
    cluster.resolve_on(&Handle::current(), names.clone());
    after(Duration::ZERO).await;
    assert_eq!(*names.asked.lock().unwrap(), 3, "one task asks for each name once");
    assert!(cluster.is_warm());
    assert_eq!(seen(&cluster), ["a 10.0.0.1:80", "a 10.0.0.2:80", "b [fd00::2]:80"]);
    let id = cluster.endpoints().endpoints()[1].id();

    // One name fails, so all are asked again soon. What was known of it stays in use.
    names.say(&[("a", &["10.0.0.2:80"]), ("missing", &["10.0.0.9:80"])]);
    after(Duration::from_secs(1)).await;
    assert_eq!(seen(&cluster), ["a 10.0.0.2:80", "b [fd00::2]:80", "missing 10.0.0.9:80"]);
    assert_eq!(cluster.endpoints().endpoints()[0].id(), id);
}

#[tokio::test(start_paused = true)]
async fn refreshed_at_the_rate_and_when_names_change() {
    let names = Arc::new(Names::default());
    names.say(&[("a", &["10.0.0.1:80"]), ("b", &["10.0.0.2:80"])]);
    let cluster = build(Discovery::StrictDns(hosts(&["a"])), None);
    cluster.resolve_on(&Handle::current(), names.clone());
    after(Duration::ZERO).await;
    let table = cluster.endpoints();
    after(REFRESH).await;
    assert_eq!(*names.asked.lock().unwrap(), 2);
    assert!(Arc::ptr_eq(&table, &cluster.endpoints()), "nothing new, nothing swapped");
    let same = build(Discovery::StrictDns(hosts(&["b"])), Some(&cluster));
    assert!(Arc::ptr_eq(&same, &cluster));
    after(Duration::ZERO).await;
    assert_eq!(seen(&cluster), ["b 10.0.0.2:80"]);
    drop((same, cluster));
    after(3 * REFRESH).await;
    assert_eq!(*names.asked.lock().unwrap(), 3, "the task ends with its cluster");
}

#[tokio::test(start_paused = true)]
async fn a_rate_of_its_own() {
    let names = Arc::new(Names::default());
    names.say(&[("a", &["10.0.0.1:80"])]);
    let rate = Duration::from_millis(300);
    let config = model::Cluster { dns_refresh: rate, ..model::Cluster::new("c", Discovery::StrictDns(hosts(&["a"]))) };
    let cluster = Cluster::build(config.clone().into(), None, &OneSecret(None)).unwrap();
    cluster.resolve_on(&Handle::current(), names.clone());
    after(Duration::ZERO).await;
    after(2 * rate).await;
    assert_eq!(*names.asked.lock().unwrap(), 3);
    names.say(&[]);
    after(4 * rate).await;
    assert!(*names.asked.lock().unwrap() >= 7, "a failure is not waited out for longer than the rate");
    let slower = model::Cluster { dns_refresh: 10 * rate, ..config };
    let slower = Cluster::build(slower.into(), Some(&cluster), &OneSecret(None)).unwrap();
    assert!(!Arc::ptr_eq(&slower, &cluster), "another rate is another cluster");
}

#[tokio::test(start_paused = true)]
async fn new_rules_and_shares_hold_for_what_was_resolved() {
    let names = Arc::new(Names::default());
    names.say(&[("a", &["10.0.0.1:80"]), ("b", &["10.0.0.2:80"])]);
    let group = |host: &str, weight| LocalityEndpoints {
        locality: Locality { region: host.into(), ..Locality::default() },
        weight: Some(weight),
        endpoints: vec![model::Endpoint::plain(Address::Host { host: host.into(), port: 80 })],
        ..LocalityEndpoints::default()
    };
    let config = |balancing: &Balancing, a: u32, b: u32| {
        let set = EndpointSet::new("e", vec![group("a", a), group("b", b)]);
        let (balancing, localities) = (balancing.clone(), Localities::Weighted);
        model::Cluster { balancing, localities, ..model::Cluster::new("c", Discovery::StrictDns(set)) }
    };
    let build = |config: model::Cluster, previous: Option<&Arc<Cluster>>| {
        Cluster::build(config.into(), previous, &OneSecret(None)).unwrap()
    };
    let hosts_of = |cluster: &Cluster, order: Order| {
        let table = cluster.endpoints();
        let picked = (0..400u64).filter_map(|n| table.pick(order, n << 32 | n << 57));
        let mut hosts: Vec<_> = picked.filter_map(|e| e.host().map(str::to_owned)).collect();
        hosts.sort();
        hosts.dedup();
        hosts.concat()
    };
    let cluster = build(config(&Balancing::Random, 1_000_000_000, 1), None);
    cluster.resolve_on(&Handle::current(), names.clone());
    after(Duration::ZERO).await;
    assert_eq!(hosts_of(&cluster, Order::Random), "a");
    let same = build(config(&Balancing::Random, 1, 1_000_000_000), Some(&cluster));
    assert!(Arc::ptr_eq(&same, &cluster));
    after(Duration::ZERO).await;
    assert_eq!(hosts_of(&cluster, Order::Random), "b", "the addresses are the same, the shares are not");
    let ring = Balancing::RingHash { min_size: 64, max_size: 64 };
    let hashing = build(config(&ring, 1_000_000_000, 1), Some(&cluster));
    assert_eq!(hosts_of(&hashing, Order::Hash(7, 0)), "a", "the ring is there before anything is resolved anew");
}

#[tokio::test(start_paused = true)]
async fn a_logical_endpoint_stays_where_it_is() {
    let names = Arc::new(Names::default());
    names.say(&[("a", &["10.0.0.2:80", "10.0.0.3:80"])]);
    let cluster = build(Discovery::LogicalDns(hosts(&["a"])), None);
    cluster.resolve_on(&Handle::current(), names.clone());
    after(Duration::ZERO).await;
    assert_eq!(seen(&cluster), ["a 10.0.0.2:80"]);
    for (answer, expected) in
        [(&["10.0.0.1:80", "10.0.0.2:80"][..], "a 10.0.0.2:80"), (&["10.0.0.1:80", "10.0.0.3:80"], "a 10.0.0.1:80")]
    {
        names.say(&[("a", answer)]);
        after(REFRESH).await;
        assert_eq!(seen(&cluster), [expected]);
    }
}
