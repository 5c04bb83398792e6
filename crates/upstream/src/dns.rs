//! Clusters whose endpoints are host names: resolved again and again beside the workers, the table swapped on change.
//!
//! The system's resolver (`getaddrinfo`) is asked, so `/etc/hosts`, search domains and name services count. It tells
//! no time to live; names are asked again after the cluster's refresh rate, and sooner while one fails. What was
//! resolved last stays in use while a name cannot be resolved.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Duration;

use base::Backoff;
use futures_util::future::join_all;
use model::cluster::Discovery;
use model::{Address, EndpointSet};
use tokio::runtime::Handle;

use crate::cluster::{Cluster, Core};
use crate::table::{EndpointTable, Given, Rules};

/// The shortest and longest bound of the wait after a lookup that failed; it is never longer than the refresh rate.
pub(crate) const AFTER_FAILURE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Resolves one host name.
pub trait Resolve: Send + Sync {
    /// All addresses of `host`, each with `port`, in the order of preference.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;
}

/// The system's resolver, on the runtime's blocking threads.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

impl Cluster {
    /// Keeps the host names of a cluster resolved, by tasks on `runtime` that end with the cluster: those of its endpoints
    /// (`STRICT_DNS`, `LOGICAL_DNS`), or those that requests name. Does nothing for other clusters, nor a second time.
    pub fn resolve_on(&self, runtime: &Handle, resolver: Arc<dyn Resolve>) {
        let core = self.core();
        if let Some(hosts) = &core.hosts {
            return hosts.resolve_on(runtime, resolver);
        }
        let by_name = matches!(core.config.discovery, Discovery::StrictDns(_) | Discovery::LogicalDns(_));
        if by_name && !core.resolving.swap(true, Relaxed) {
            runtime.spawn(keep_resolved(Arc::downgrade(core), resolver));
        }
    }
}

async fn keep_resolved(core: Weak<Core>, resolver: Arc<dyn Resolve>) {
    let Some(renamed) = core.upgrade().and_then(|core| core.renamed.clone()) else { return };
    let Some(refresh) = core.upgrade().map(|core| core.config.dns_refresh) else { return };
    let mut backoff = Backoff::new(AFTER_FAILURE.0.min(refresh), AFTER_FAILURE.1.min(refresh));
    loop {
        let whole = match core.upgrade().filter(|core| !core.retired.load(Relaxed)) {
            Some(core) => core.resolve_once(&*resolver).await,
            None => return,
        };
        let wait = if whole {
            backoff.reset();
            refresh
        } else {
            backoff.next_delay()
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = renamed.notified() => {}
        }
    }
}

impl Core {
    /// Makes the table anew of the addresses that are known. Under the lock.
    pub(crate) fn follow_known(&self, given: &EndpointSet) {
        let first_only = matches!(self.config.discovery, Discovery::LogicalDns(_));
        let (previous, local) = (self.table(), self.local());
        self.swap(resolved(given, &[], self.rules(local.as_ref()), &previous, first_only));
    }

    /// Looks every name up once and swaps the table if something changed. Says whether all names were resolved.
    async fn resolve_once(&self, resolver: &dyn Resolve) -> bool {
        let given = self.lock().clone();
        let mut found = Vec::new();
        let mut whole = true;
        // All at once: a name whose server is silent must not hold up the others.
        let asked = names(&given).map(async |(host, port)| (host, port, resolver.resolve(host, port).await));
        for (host, port, answer) in join_all(asked).await {
            match answer {
                Ok(addrs) if !addrs.is_empty() => found.push((host, port, preferred(addrs))),
                Ok(_) => whole = false,
                Err(error) => {
                    whole = false;
                    tracing::debug!(cluster = %self.config.name, host, %error, "name not resolved");
                }
            }
        }
        let still = self.lock();
        if Arc::ptr_eq(&still, &given) {
            let (previous, local) = (self.table(), self.local());
            let first_only = matches!(self.config.discovery, Discovery::LogicalDns(_));
            let table = resolved(&given, &found, self.rules(local.as_ref()), &previous, first_only);
            if !table.is_like(&previous) {
                self.swap(table);
            }
            self.warm.store(true, Relaxed);
        }
        whole
    }
}

fn names(set: &EndpointSet) -> impl Iterator<Item = (&str, u16)> {
    set.iter().filter_map(|endpoint| match &endpoint.address {
        Address::Host { host, port } => Some((&**host, *port)),
        _ => None,
    })
}

/// IPv4 if there is any, since a host without a route for IPv6 is told of such addresses too; sorted, since servers
/// rotate their answers and the order means nothing to a balancer.
pub(crate) fn preferred(mut addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    if addrs.iter().any(SocketAddr::is_ipv4) {
        addrs.retain(SocketAddr::is_ipv4);
    }
    addrs.sort_unstable();
    addrs.dedup();
    addrs
}

fn resolved(
    given: &EndpointSet,
    found: &[(&str, u16, Vec<SocketAddr>)],
    rules: Rules<'_>,
    previous: &EndpointTable,
    first_only: bool,
) -> EndpointTable {
    let groups = given.localities.iter().map(|group| {
        let mut members = Vec::new();
        for endpoint in &group.endpoints {
            let Address::Host { host, port } = &endpoint.address else {
                members.push((endpoint.clone(), None));
                continue;
            };
            let known = || known_addresses(previous, host, *port);
            let mut addrs = match found.iter().find(|(h, p, _)| *h == &**host && p == port) {
                Some((.., addrs)) => addrs.clone(),
                None => known(),
            };
            if first_only {
                // A logical endpoint stays where it is while its name still says so.
                let stay = known().into_iter().find(|addr| addrs.contains(addr));
                addrs = stay.or(addrs.first().copied()).into_iter().collect();
            }
            let at = |addr: SocketAddr| model::Endpoint { address: addr.into(), ..endpoint.clone() };
            members.extend(addrs.into_iter().map(|addr| (at(addr), Some(host.clone()))));
        }
        let locality = Arc::new(group.locality.clone());
        Given { priority: group.priority, locality, weight: group.weight, members }
    });
    EndpointTable::of(groups, given.spread, rules, previous)
}

fn known_addresses(table: &EndpointTable, host: &str, port: u16) -> Vec<SocketAddr> {
    let of_host = table.endpoints().iter().filter(|e| e.host() == Some(host));
    of_host.filter_map(|e| e.address().socket_addr()).filter(|addr| addr.port() == port).collect()
}
