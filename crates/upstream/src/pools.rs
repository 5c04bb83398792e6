//! One cluster in one worker: pick an endpoint, take a connection, send.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::Guard;
use http::uri::Authority;
use http::{Method, Request, Response, Uri, Version, header};
use mesh_http::grpc::{self, GrpcStatus};
use mesh_http::{Body, Progress};
use model::cluster::{Balancing, Discovery, UpstreamProtocol};

use crate::breaker::{Resource, Retry};
use crate::cluster::Core;
use crate::dial::{DialError, Ends};
use crate::dynamic::{self, NoTarget, Target};
use crate::endpoint::{Endpoint, EndpointId};
use crate::ewma;
use crate::exchange::{Connected, Connection, Exchange, Sent};
use crate::failure::{Failure, FailureKind};
use crate::health::Report;
use crate::outlier::Outcome;
use crate::pool::{Pool, Shared};
use crate::priority::PastPriorities;
use crate::stats::{ClusterStats, Event};
use crate::table::{EndpointTable, Order};
use crate::tls::Speak;

/// What decides which endpoint takes a request, and how it is reached.
#[derive(Debug, Clone, Copy)]
pub struct Pick<'a> {
    /// An even draw over all of `u64`, new for each attempt.
    pub draw: u64,
    /// Endpoints that earlier attempts used; to be avoided.
    pub tried: &'a [EndpointId],
    /// How often to pick again while the choice falls on one of `tried`
    /// ([`RetryPolicy::host_selection_attempts`](model::RetryPolicy)).
    pub repicks: u32,
    /// What the request is known by, for clusters that choose by a hash; none: they choose by the draw.
    pub hash: Option<u64>,
    /// Where the tries before went to, if their priorities are to be left out after some of them.
    pub past: Option<&'a PastPriorities>,
    /// Where the downstream wanted to go: the endpoint of `ORIGINAL_DST` clusters, and the first choice of those that prefer
    /// it.
    pub original_destination: Option<&'a SocketAddr>,
    /// The host that the downstream named: the endpoint of clusters [of named hosts](ClusterPools::is_of_named_hosts).
    pub target: Option<&'a Target>,
    /// What the downstream speaks: for clusters that speak the same.
    pub downstream: Version,
    /// The request asks for an HTTP/1.1 upgrade, such as WebSocket: an HTTP/1.1 connection is used in any case (save
    /// for CONNECT, which goes as the cluster says).
    pub upgrade: bool,
    /// The request's authority becomes the endpoint's host name, if it has one.
    pub rewrite_host: bool,
    /// The ends of the downstream connection, for clusters whose connections tell them ([`ClusterPools::tells_ends`]).
    pub ends: Option<&'a Rc<Ends>>,
    /// Another attempt may follow even when the upstream has seen this one: of the request, only the body may be used.
    pub keep_head: bool,
}

impl Pick<'_> {
    /// A first attempt of a downstream that speaks HTTP/1.1.
    pub fn new(draw: u64) -> Self {
        Self {
            draw,
            tried: &[],
            repicks: 0,
            hash: None,
            past: None,
            original_destination: None,
            target: None,
            downstream: Version::HTTP_11,
            upgrade: false,
            rewrite_host: false,
            ends: None,
            keep_head: false,
        }
    }
}

/// An endpoint chosen for an exchange.
pub struct Chosen {
    pool: Rc<Pool>,
    exchange: Exchange,
}

impl Chosen {
    /// The endpoint.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        self.exchange.endpoint()
    }
}

impl std::fmt::Debug for Chosen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Chosen").field(&self.exchange).finish()
    }
}

/// The pools of one cluster in one worker.
pub struct ClusterPools {
    shared: Rc<Shared>,
    pools: RefCell<HashMap<EndpointId, Rc<Pool>, BuildHasherDefault<IdHasher>>>,
    /// Endpoints that the downstream dialled.
    originals: RefCell<HashMap<SocketAddr, Rc<Pool>>>,
    /// Hosts that the downstream named.
    named: RefCell<HashMap<(Arc<str>, SocketAddr), Rc<Pool>>>,
    /// Where connections tell for whom they are: by endpoint, and by where the downstream's ends stand in memory.
    told: RefCell<HashMap<(EndpointId, usize), Rc<Pool>>>,
    /// The table that the pools were last compared with.
    seen: RefCell<Arc<EndpointTable>>,
    turn: Cell<u64>,
}

impl ClusterPools {
    pub(crate) fn new(shared: Shared) -> Rc<Self> {
        shared.core.report(|| Report::Used);
        Rc::new(Self {
            seen: RefCell::new(Guard::into_inner(shared.core.table())),
            shared: Rc::new(shared),
            pools: RefCell::default(),
            originals: RefCell::default(),
            named: RefCell::default(),
            told: RefCell::default(),
            // Workers, and proxies started together, must not walk in step.
            turn: Cell::new(rand::random()),
        })
    }

    /// The cluster's settings.
    pub fn config(&self) -> &Arc<model::Cluster> {
        &self.shared.core.config
    }

    /// Are its endpoints the hosts that requests name, which have to be [looked up](ClusterPools::look_up) first?
    pub fn is_of_named_hosts(&self) -> bool {
        self.shared.core.hosts.is_some()
    }

    /// Where the host is that an authority names. With a `port` that one is dialled, whatever the authority says; without
    /// either it is 80, or with TLS 443.
    ///
    /// # Errors
    /// [`NoTarget`].
    pub async fn look_up(&self, authority: &str, port: Option<u16>) -> Result<Target, NoTarget> {
        dynamic::target(&self.shared.core, authority, port).await
    }

    /// Do connections tell for whom they are (by a PROXY header)?
    pub fn tells_ends(&self) -> bool {
        self.shared.core.tells_ends().is_some()
    }

    /// The cluster's statistics in this worker, for what only the caller knows: timeouts and retries.
    pub fn stats(&self) -> &Rc<ClusterStats> {
        &self.shared.stats
    }

    /// Sends a request to an endpoint and waits for the head of the response. The caller sets the limit of time and
    /// drops the future when it is over.
    ///
    /// A request that was lost on a reused connection, closed by the upstream at that moment, is sent once more on a
    /// fresh one if that is safe: nothing of it was sent, or its method is idempotent (RFC 9110, section 9.2.2) and it
    /// is still whole.
    ///
    /// # Errors
    /// [`Failure`]; it says whether the request is still whole. Otherwise it is used up.
    pub async fn send(&self, request: &mut Request<Body>, pick: &Pick<'_>) -> Result<Sent, Box<Failure>> {
        self.send_to(self.choose(pick)?, request, pick).await
    }

    /// The first half of [`ClusterPools::send`]: chooses an endpoint, on which the exchange counts as active from now
    /// on. For callers that want to know the endpoint even of an attempt that they give up.
    ///
    /// # Errors
    /// [`FailureKind::NoEndpoint`].
    pub fn choose(&self, pick: &Pick<'_>) -> Result<Chosen, Box<Failure>> {
        let Chosen { pool, exchange } = self.choose_common(pick)?;
        match pick.ends.filter(|_| self.tells_ends()) {
            None => Ok(Chosen { pool, exchange }),
            Some(ends) => Ok(Chosen { pool: self.told(pool, ends), exchange }),
        }
    }

    fn choose_common(&self, pick: &Pick<'_>) -> Result<Chosen, Box<Failure>> {
        let Some(pool) = self.pick(pick) else {
            self.shared.stats.count(Event::NoneHealthy);
            return Err(Failure::new(FailureKind::NoEndpoint, ""));
        };
        let exchange = Exchange::begin(pool.endpoint(), self.shared.stats.clone());
        Ok(Chosen { pool, exchange })
    }

    /// The second half of [`ClusterPools::send`]: sends the request to the endpoint that was chosen.
    ///
    /// # Errors
    /// [`Failure`], as for [`ClusterPools::send`].
    pub async fn send_to(
        &self,
        chosen: Chosen,
        request: &mut Request<Body>,
        pick: &Pick<'_>,
    ) -> Result<Sent, Box<Failure>> {
        let Chosen { pool, mut exchange } = chosen;
        if pick.rewrite_host {
            rewrite_host(request, exchange.endpoint());
        }
        let speak = self.speak(pick, request.method(), exchange.endpoint());
        let idempotent = request.method().is_idempotent();
        let grpc = self.config().outlier_detection.is_some() && grpc::is_grpc(request.headers());
        let mut fresh = false;
        loop {
            let lease = match pool.lease(speak, fresh).await {
                Ok(lease) => lease,
                Err(error) => return Err(self.not_leased(error, &mut exchange)),
            };
            if !exchange.attach() {
                return Err(Failure::new(FailureKind::Overflow, "").at(exchange.endpoint()));
            }
            self.tell(exchange.endpoint(), || Outcome::Connected);
            exchange.on(lease.facts().clone());
            let error = match lease.send(&pool, request, pick.keep_head).await {
                Ok(response) => {
                    exchange.outcome(!response.status().is_server_error());
                    self.tell(exchange.endpoint(), || answer(&response, grpc));
                    return Ok(Sent { response, exchange });
                }
                Err(error) => error,
            };
            let failure = Failure::from_send(error).at(exchange.endpoint());
            let harmless =
                failure.progress == Progress::NotSent || (failure.progress == Progress::StaleConnection && idempotent);
            if !(failure.whole && harmless && exchange.is_reused() && !fresh) {
                exchange.outcome(false);
                if !matches!(failure.kind, FailureKind::RequestBody(_) | FailureKind::BadRequest) {
                    self.tell(exchange.endpoint(), || Outcome::Failed);
                }
                return Err(failure);
            }
            fresh = true;
        }
    }

    /// Makes a connection of the caller's own to an endpoint, for bytes that are not HTTP. TLS as the cluster says,
    /// with the application protocols of its settings.
    ///
    /// # Errors
    /// [`Failure`]: no endpoint, or no connection within the cluster's connect timeout.
    pub async fn connect(&self, pick: &Pick<'_>) -> Result<Connected, Box<Failure>> {
        let Chosen { pool, mut exchange } = self.choose_common(pick)?;
        let overflow = || Failure::new(FailureKind::Overflow, "").at(exchange.endpoint());
        let held = self.shared.stats.room(Resource::Connections, Event::ConnectionOverflow).ok_or_else(overflow)?;
        let waits = self.shared.stats.room(Resource::Pending, Event::PendingOverflow).ok_or_else(overflow)?;
        let ends = pick.ends.map(|ends| &**ends);
        let dialing = self.shared.dialer.dial(&self.shared.core, exchange.endpoint(), Speak::Raw, ends);
        let dialed = match dialing.await {
            Ok(dialed) => dialed,
            Err(error) => {
                pool.failed(&error);
                exchange.outcome(false);
                let late = error.kind == FailureKind::ConnectTimeout;
                self.tell(exchange.endpoint(), || if late { Outcome::Late } else { Outcome::Failed });
                return Err(Failure::new(error.kind, error.reason).at(exchange.endpoint()));
            }
        };
        let (local, remote, tls) = (dialed.local, dialed.remote, dialed.tls);
        drop(waits);
        self.tell(exchange.endpoint(), || Outcome::ConnectedFinally);
        let born = self.shared.now.get();
        exchange.own(Connection { local, remote, tls, http2: false, requests: Cell::new(0), born }, held);
        exchange.outcome(true);
        Ok(Connected { stream: dialed.stream, exchange })
    }

    /// Room for a further try of a request, kept for as long as it is held; none if too many are under way.
    pub fn retry(&self) -> Option<Retry> {
        self.shared.stats.room(Resource::Retries, Event::RetryOverflow).map(Retry)
    }

    /// An exchange on this endpoint was given up by the caller, since there was no answer in time.
    pub fn too_late(&self, endpoint: &Endpoint) {
        self.tell(endpoint, || Outcome::Late);
    }

    /// Tells outlier detection how it went, where there is any.
    fn tell(&self, endpoint: &Endpoint, outcome: impl FnOnce() -> Outcome) {
        let core = &self.shared.core;
        let Some(settings) = &core.config.outlier_detection else { return };
        let Some(monitor) = endpoint.live().monitor() else { return };
        let reached = monitor.count(settings, outcome());
        if reached.any() {
            core.report(|| Report::Reached(endpoint.id(), reached));
        }
    }

    /// There was no connection for it.
    fn not_leased(&self, error: DialError, exchange: &mut Exchange) -> Box<Failure> {
        if error.kind != FailureKind::Overflow {
            exchange.outcome(false);
            self.tell(exchange.endpoint(), || Outcome::Failed);
        }
        Failure::new(error.kind, error.reason).at(exchange.endpoint())
    }

    fn pick(&self, pick: &Pick<'_>) -> Option<Rc<Pool>> {
        let core = &self.shared.core;
        if let Discovery::OriginalDestination = core.config.discovery {
            return pick.original_destination.map(|addr| self.original(*addr));
        }
        if core.hosts.is_some() {
            return pick.target.map(|target| self.named(target));
        }
        let table = core.table();
        if !Arc::ptr_eq(&table, &self.seen.borrow()) {
            self.reconcile(&table);
        }
        let order = |attempt| self.order(core, pick, attempt);
        let chosen = || table.pick_untried(order, pick.draw, pick.tried, pick.repicks, pick.past);
        let dialled = pick.original_destination.and_then(|address| table.dialled(*address, pick.draw));
        let endpoint = dialled.or_else(chosen)?;
        if let Some(pool) = self.pools.borrow().get(&endpoint.id()) {
            return Some(pool.clone());
        }
        let pool = Pool::new(self.shared.clone(), endpoint.clone());
        self.pools.borrow_mut().insert(endpoint.id(), pool.clone());
        Some(pool)
    }

    fn order(&self, core: &Core, pick: &Pick<'_>, attempt: u32) -> Order {
        match core.config.balancing {
            Balancing::RingHash { .. } | Balancing::Maglev { .. } => {
                Order::Hash(pick.hash.unwrap_or(pick.draw), attempt)
            }
            Balancing::PeakEwma(settings) => Order::Quickest(ewma::now(), settings),
            Balancing::BiasedLeastRequest { choices, bias } => Order::Biased(choices, bias),
            Balancing::LeastRequest { choices } => Order::Least(choices),
            Balancing::Random => Order::Random,
            Balancing::RoundRobin | Balancing::Provided => {
                let turn = self.turn.get().wrapping_add(1);
                self.turn.set(turn);
                Order::Turn(turn)
            }
        }
    }

    fn original(&self, addr: SocketAddr) -> Rc<Pool> {
        let mut originals = self.originals.borrow_mut();
        let new = || Pool::new(self.shared.clone(), Endpoint::original_destination(addr));
        originals.entry(addr).or_insert_with(new).clone()
    }

    /// One host may come to stand for another address, and one address for several hosts.
    fn named(&self, target: &Target) -> Rc<Pool> {
        let mut named = self.named.borrow_mut();
        let new = || Pool::new(self.shared.clone(), Endpoint::named(target));
        named.entry((target.host.clone(), target.address)).or_insert_with(new).clone()
    }

    /// The pool for the requests of one downstream connection.
    fn told(&self, common: Rc<Pool>, ends: &Rc<Ends>) -> Rc<Pool> {
        let key = (common.endpoint().id(), Rc::as_ptr(ends).addr());
        if let Some(pool) = self.told.borrow().get(&key) {
            return pool.clone();
        }
        let pool = Pool::told(common, ends);
        self.told.borrow_mut().insert(key, pool.clone());
        (self.shared.on_connection)();
        pool
    }

    fn speak(&self, pick: &Pick<'_>, method: &Method, endpoint: &Endpoint) -> Speak {
        let core = &self.shared.core;
        match core.config.protocol {
            // CONNECT is at home in both versions.
            _ if pick.upgrade && method != Method::CONNECT => Speak::Http1,
            UpstreamProtocol::Http1 => Speak::Http1,
            UpstreamProtocol::Http2 => Speak::Http2,
            UpstreamProtocol::Auto if core.tls_to(endpoint).is_some() => Speak::Either,
            UpstreamProtocol::Auto => Speak::Http1,
            UpstreamProtocol::SameAsDownstream if pick.downstream == Version::HTTP_2 => Speak::Http2,
            UpstreamProtocol::SameAsDownstream => Speak::Http1,
        }
    }

    /// The table was swapped: pools of endpoints that are gone, or changed in more than their counts, are closed.
    fn reconcile(&self, table: &Arc<EndpointTable>) {
        *self.seen.borrow_mut() = table.clone();
        let now: HashMap<EndpointId, &Arc<Endpoint>> = table.endpoints().iter().map(|e| (e.id(), e)).collect();
        let mut gone = Vec::new();
        self.pools.borrow_mut().retain(|id, pool| {
            let stays = now.get(id).is_some_and(|e| pool.follow(e));
            if !stays {
                gone.push(pool.clone());
            }
            stays
        });
        self.told.borrow_mut().retain(|(id, _), pool| {
            let stays = now.get(id).is_some_and(|e| pool.follow(e));
            if !stays {
                gone.push(pool.clone());
            }
            stays
        });
        gone.iter().for_each(|pool| pool.close());
    }

    /// Closes what has been idle for too long or belongs to nobody any more. Says whether anything is left.
    pub(crate) fn maintain(&self) -> bool {
        let table = self.shared.core.table();
        if !Arc::ptr_eq(&table, &self.seen.borrow()) {
            self.reconcile(&table);
        }
        let forlorn: Vec<_> = self.told.borrow_mut().extract_if(|_, pool| pool.is_forlorn()).collect();
        forlorn.iter().for_each(|(_, pool)| pool.close());
        self.all().iter().for_each(|pool| pool.maintain());
        self.originals.borrow_mut().retain(|_, pool| !pool.is_empty() || Rc::strong_count(pool) > 1);
        self.named.borrow_mut().retain(|_, pool| !pool.is_empty() || Rc::strong_count(pool) > 1);
        self.has_connections()
    }

    /// Closes the idle connections that a burst has left.
    pub(crate) fn trim(&self) {
        self.all().iter().for_each(|pool| pool.trim());
    }

    fn all(&self) -> Vec<Rc<Pool>> {
        let (pools, originals, told) = (self.pools.borrow(), self.originals.borrow(), self.told.borrow());
        let named = self.named.borrow();
        pools.values().chain(originals.values()).chain(named.values()).chain(told.values()).cloned().collect()
    }

    pub(crate) fn has_connections(&self) -> bool {
        let none = self.pools.borrow().values().all(|pool| pool.is_empty());
        let others = self.originals.borrow().len() + self.named.borrow().len() + self.told.borrow().len();
        !(none && others == 0)
    }

    /// Closes what is idle, for good.
    pub(crate) fn close(&self) {
        let all = self.all();
        drop((self.pools.take(), self.originals.take(), self.named.take(), self.told.take()));
        all.iter().for_each(|pool| pool.close());
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.shared.core.is_retired()
    }
}

impl std::fmt::Debug for ClusterPools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterPools").field("cluster", &self.config().name).finish_non_exhaustive()
    }
}

/// Ids are counted up: to spread them is all that is needed.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u64(u64::from(*b)));
    }
    fn write_u64(&mut self, id: u64) {
        self.0 = (self.0 ^ id).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(26);
    }
}

/// The answer as outlier detection sees it.
fn answer(response: &Response<Body>, grpc: bool) -> Outcome {
    let status = grpc.then(|| GrpcStatus::from_headers(response.headers())).flatten();
    Outcome::Answer(response.status().as_u16(), status.map(|status| status.0))
}

/// Envoy's `auto_host_rewrite`: only names that were resolved are known as host names.
fn rewrite_host(request: &mut Request<Body>, endpoint: &Endpoint) {
    let Some(authority) = endpoint.host().and_then(|host| Authority::try_from(host).ok()) else { return };
    if let Ok(value) = header::HeaderValue::from_str(authority.as_str()) {
        let headers = request.headers_mut();
        if headers.contains_key(header::HOST) {
            headers.insert(header::HOST, value);
        }
    }
    if request.uri().authority().is_some() && request.method() != Method::CONNECT {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.authority = Some(authority);
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use model::endpoint::Spread;
    use model::{Address, EndpointSet, LocalityEndpoints};

    use super::*;
    use crate::table::{Given, Rules};

    #[test]
    fn host_names_of_endpoints_become_the_authority() {
        let named = |host: Option<&str>| {
            let endpoint = model::Endpoint::plain(Address::socket(([10, 0, 0, 1], 80).into()));
            let members = vec![(endpoint, host.map(Arc::from))];
            let group = Given { priority: 0, locality: Arc::default(), weight: None, members };
            let none = EndpointTable::default();
            EndpointTable::of([group].into_iter(), Spread::default(), Rules::default(), &none).endpoints()[0].clone()
        };
        for (target, host, endpoint, expected) in [
            ("/a?b", Some("old"), Some("api.example.org"), "/a?b api.example.org"),
            ("http://old:80/a", None, Some("api.example.org"), "http://api.example.org/a -"),
            ("/", Some("old"), None, "/ old"),
        ] {
            let mut request = Request::get(target);
            if let Some(host) = host {
                request = request.header(header::HOST, host);
            }
            let mut request = request.body(Body::empty()).unwrap();
            rewrite_host(&mut request, &named(endpoint));
            let host = request.headers().get(header::HOST).map_or("-", |h| h.to_str().unwrap());
            assert_eq!(format!("{} {host}", request.uri()), expected);
        }
    }

    #[test]
    fn names_are_not_dialled_before_they_are_resolved() {
        let endpoint = model::Endpoint::plain(Address::Host { host: "a".into(), port: 80 });
        let group = LocalityEndpoints { endpoints: vec![endpoint], ..LocalityEndpoints::default() };
        let set = EndpointSet::new("s", vec![group]);
        assert!(EndpointTable::new(&set, Rules::default(), &EndpointTable::default()).endpoints().is_empty());
    }
}
