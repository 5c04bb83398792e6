//! The connections of one worker to one endpoint: idle HTTP/1.1 ones, the last used first; multiplexed HTTP/2 ones;
//! and those who wait for either.
//!
//! Whoever finds nothing ready waits, and a connection is dialled for him by a task of its own: if he gives up it
//! serves the next, and if another connection becomes free first it serves him.

mod waiting;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::{Request, Response};
use mesh_http::h1::H1Sender;
use mesh_http::h2::H2Sender;
use mesh_http::{Body, SendError};
use model::limits::ConnectionOptions;
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::breaker::{Held, Resource};
use crate::cluster::Core;
use crate::dial::{DialError, Dialed, Dialer, Ends};
use crate::endpoint::Endpoint;
use crate::exchange::{Connection, Open};
use crate::failure::FailureKind;
use crate::stats::{ClusterStats, Event};
use crate::tls::Speak;
use waiting::Waiting;

/// What all pools of one cluster in one worker share.
pub(crate) struct Shared {
    pub(crate) core: Arc<Core>,
    pub(crate) dialer: Rc<Dialer>,
    pub(crate) stats: Rc<ClusterStats>,
    /// The worker's coarse clock, set by its maintenance: fine enough to tell how long a connection was idle.
    pub(crate) now: Rc<Cell<Instant>>,
    /// Called when there is something for the worker's rounds, such as a new connection.
    pub(crate) on_connection: Rc<dyn Fn()>,
}

/// The connections of one worker to one endpoint.
pub(crate) struct Pool {
    shared: Rc<Shared>,
    endpoint: RefCell<Arc<Endpoint>>,
    me: Weak<Self>,
    /// Every HTTP/1.1 connection, busy or not, by its slot.
    slots: RefCell<Vec<Option<Rc<Http1>>>>,
    /// The slots of the idle ones, the last used at the end.
    idle: RefCell<Vec<usize>>,
    http2: RefCell<Vec<Rc<Http2>>>,
    waiting: RefCell<Waiting>,
    /// ALPN has chosen HTTP/1.1 here.
    speaks_http1: Cell<bool>,
    /// The endpoint is gone: nothing is kept any more.
    closing: Cell<bool>,
    /// Whom its connections are for, if they tell that.
    told: Option<Box<Told>>,
}

/// The downstream connection that upstream connections are made for.
struct Told {
    ends: Ends,
    /// As long as it lives.
    downstream: Weak<Ends>,
    /// The pool for everybody, which knows the endpoint.
    _common: Rc<Pool>,
}

struct Http1 {
    sender: H1Sender,
    facts: Rc<Connection>,
    /// It stands among the idle ones.
    idle: Cell<bool>,
    idle_since: Cell<Instant>,
}

pub(crate) struct Http2 {
    sender: H2Sender,
    facts: Rc<Connection>,
    idle_since: Cell<Instant>,
    /// Lent to requests that have not begun yet.
    lent: Cell<usize>,
}

/// A connection lent for one request.
pub(crate) enum Lease {
    Http1(Http1Lease),
    Http2(Http2Lease),
}

/// A place on an HTTP/2 connection, kept until its request begins.
pub(crate) struct Http2Lease(Rc<Http2>);

/// An HTTP/1.1 connection taken out of the idle ones. It goes back when its exchange ends or, if the lease is dropped
/// unused, at once.
pub(crate) struct Http1Lease {
    pool: Rc<Pool>,
    connection: Rc<Http1>,
    slot: usize,
    used: bool,
}

impl Pool {
    pub(crate) fn new(shared: Rc<Shared>, endpoint: Arc<Endpoint>) -> Rc<Self> {
        Self::build(shared, endpoint, None)
    }

    /// A pool to the same endpoint as `common`, for the requests of one downstream connection.
    pub(crate) fn told(common: Rc<Self>, ends: &Rc<Ends>) -> Rc<Self> {
        let told = Told { ends: **ends, downstream: Rc::downgrade(ends), _common: common.clone() };
        Self::build(common.shared.clone(), common.endpoint(), Some(Box::new(told)))
    }

    fn build(shared: Rc<Shared>, endpoint: Arc<Endpoint>, told: Option<Box<Told>>) -> Rc<Self> {
        Rc::new_cyclic(|me| Self {
            shared,
            told,
            endpoint: RefCell::new(endpoint),
            me: me.clone(),
            slots: RefCell::default(),
            idle: RefCell::default(),
            http2: RefCell::default(),
            waiting: RefCell::default(),
            speaks_http1: Cell::new(false),
            closing: Cell::new(false),
        })
    }

    /// Is the downstream connection gone that it is for?
    pub(crate) fn is_forlorn(&self) -> bool {
        self.told.as_ref().is_some_and(|told| told.downstream.strong_count() == 0)
    }

    /// The endpoint, as of the newest update.
    pub(crate) fn endpoint(&self) -> Arc<Endpoint> {
        self.endpoint.borrow().clone()
    }

    /// Goes along with an update. `false`: the endpoint is reached in another way now, and needs another pool.
    pub(crate) fn follow(&self, endpoint: &Arc<Endpoint>) -> bool {
        let same_way = endpoint.mesh_tls() == self.endpoint.borrow().mesh_tls();
        *self.endpoint.borrow_mut() = endpoint.clone();
        same_way
    }

    /// A connection that is ready, or the next that becomes so. `fresh`: not one that has been idle.
    pub(crate) async fn lease(&self, speak: Speak, fresh: bool) -> Result<Lease, DialError> {
        if !fresh && let Some(lease) = self.ready(speak) {
            return Ok(lease);
        }
        let Some(_waits) = self.shared.stats.room(Resource::Pending, Event::PendingOverflow) else {
            return Err(DialError::overflow());
        };
        let turn = self.waiting.borrow_mut().join(speak);
        self.dial_for_the_waiting();
        let gone = || DialError { kind: FailureKind::ConnectFailed, reason: "the endpoint was removed".into() };
        turn.await.unwrap_or_else(|_| Err(gone()))
    }

    fn ready(&self, speak: Speak) -> Option<Lease> {
        match speak {
            Speak::Http1 => self.idle_http1(),
            Speak::Http2 => self.open_http2(),
            Speak::Either => self.open_http2().or_else(|| self.idle_http1()),
            Speak::Raw => None,
        }
    }

    fn idle_http1(&self) -> Option<Lease> {
        loop {
            let slot = self.idle.borrow_mut().pop()?;
            let Some(connection) = self.slots.borrow().get(slot).cloned().flatten() else { continue };
            connection.idle.set(false);
            if connection.sender.is_ready() {
                return Some(self.lend(connection, slot));
            }
        }
    }

    /// The first that has room: so the others run dry and close.
    fn open_http2(&self) -> Option<Lease> {
        let all = self.http2.borrow();
        all.iter().find(|c| self.streams_left(c) > 0).map(|c| Lease::Http2(Http2Lease::new(c)))
    }

    /// How many more requests a connection takes: as the other side allows, and as the settings do.
    fn streams_left(&self, connection: &Http2) -> usize {
        let most = match self.options().and_then(|options| options.max_concurrent_streams) {
            Some(limit) => connection.sender.max_streams().min(limit as usize),
            None => connection.sender.max_streams(),
        };
        most.saturating_sub(connection.sender.in_flight() + connection.lent.get())
    }

    fn options(&self) -> Option<&ConnectionOptions> {
        self.shared.core.config.connections.as_deref()
    }

    fn lend(&self, connection: Rc<Http1>, slot: usize) -> Lease {
        // The pool is alive while a method of it runs.
        let pool = self.me.upgrade().expect("a pool lives in an Rc");
        Lease::Http1(Http1Lease { pool, connection, slot, used: false })
    }

    fn dial_for_the_waiting(&self) {
        loop {
            let next = self.waiting.borrow_mut().next_dial(self.speaks_http1.get());
            let (Some(speak), Some(pool)) = (next, self.me.upgrade()) else { return };
            let Some(held) = self.may_dial() else {
                self.waiting.borrow_mut().dialled(speak);
                return;
            };
            spawn_local(async move { pool.dial(speak, held).await });
        }
    }

    /// Room for one more connection. Without any to this endpoint one is made in any case, as in Envoy: who waits for it
    /// might otherwise wait for ever.
    fn may_dial(&self) -> Option<Held> {
        let only = || self.waiting.borrow().dialling() == 1 && self.has_no_connections();
        let room = self.shared.stats.room(Resource::Connections, Event::ConnectionOverflow);
        room.or_else(|| only().then(|| Held::new(&self.shared.stats, Resource::Connections)))
    }

    async fn dial(&self, speak: Speak, held: Held) {
        let shared = &self.shared;
        let dialed =
            shared.dialer.dial(&shared.core, &self.endpoint(), speak, self.told.as_ref().map(|told| &told.ends)).await;
        self.waiting.borrow_mut().dialled(speak);
        let adopted = match dialed {
            Ok(dialed) => self.adopt(dialed, speak, held).await,
            Err(error) => {
                drop(held);
                Err(error)
            }
        };
        if let Err(error) = adopted {
            self.failed(&error);
            self.waiting.borrow_mut().fail(speak, &error);
        }
        self.dial_for_the_waiting();
    }

    /// Counts a connection that was not made.
    pub(crate) fn failed(&self, error: &DialError) {
        self.endpoint.borrow().live().connect_failures.fetch_add(1, Relaxed);
        self.shared.stats.connect_failed(error.kind == FailureKind::ConnectTimeout);
    }

    async fn adopt(&self, dialed: Dialed, speak: Speak, held: Held) -> Result<(), DialError> {
        let Dialed { stream, local, remote, tls, http2, https } = dialed;
        let born = self.shared.now.get();
        let facts = Rc::new(Connection { local, remote, tls, http2, requests: Cell::new(0), born });
        let open = Open::new(&self.endpoint(), self.shared.stats.clone(), Some(http2), held);
        let options = self.http_options(https);
        let pool = self.me.clone();
        if speak == Speak::Either {
            self.speaks_http1.set(!http2);
        }
        if http2 {
            let (sender, driver) = mesh_http::h2::connect(stream, &options).await.map_err(|e| DialError {
                kind: FailureKind::ConnectFailed,
                reason: format!("HTTP/2 did not begin: {}", e.kind()).into(),
            })?;
            let connection = self.add_http2(sender, facts);
            spawn_local(async move {
                driver.await;
                drop(open);
                let Some(pool) = pool.upgrade() else { return };
                connection.upgrade().iter().for_each(|connection| pool.forget_http2(connection));
                pool.dial_for_the_waiting();
            });
        } else {
            let (sender, driver) = mesh_http::h1::connect(stream, &options);
            spawn_local(async move {
                driver.await;
                drop(open);
                // Where connections are limited, somebody may have waited for this one to end.
                pool.upgrade().iter().for_each(|pool| pool.dial_for_the_waiting());
            });
            self.add_http1(sender, facts);
        }
        (self.shared.on_connection)();
        Ok(())
    }

    fn http_options(&self, https: bool) -> mesh_http::ClientOptions {
        let common = self.shared.dialer.http.clone();
        let pings = self.options().and_then(|options| options.http2_keepalive);
        let own = pings.map(|p| mesh_http::KeepAlive { interval: p.interval, timeout: p.timeout });
        let http1_trailers = self.options().is_some_and(|options| options.http1_trailers);
        mesh_http::ClientOptions { https, http1_trailers, keep_alive: own.or(common.keep_alive), ..common }
    }

    fn add_http1(&self, sender: H1Sender, facts: Rc<Connection>) {
        let idle_since = Cell::new(self.shared.now.get());
        let connection = Rc::new(Http1 { sender, facts, idle: Cell::new(false), idle_since });
        let slot = {
            let mut slots = self.slots.borrow_mut();
            let slot = slots.iter().position(Option::is_none).unwrap_or(slots.len());
            if slot == slots.len() {
                slots.push(None);
            }
            slots[slot] = Some(connection.clone());
            slot
        };
        let (pool, this) = (self.me.clone(), Rc::downgrade(&connection));
        connection.sender.on_free(Rc::new(move || {
            if let (Some(pool), Some(connection)) = (pool.upgrade(), this.upgrade()) {
                pool.changed_http1(connection, slot);
            }
        }));
        self.changed_http1(connection, slot);
    }

    /// The connection became free, or closed.
    fn changed_http1(&self, connection: Rc<Http1>, slot: usize) {
        if connection.sender.is_closed() || self.is_spent(&connection.facts) {
            return self.forget_http1(&connection, slot);
        }
        if !connection.sender.is_ready() || connection.idle.get() {
            return;
        }
        let taker = self.waiting.borrow_mut().first(Speak::Http1);
        match taker {
            Some(taker) => {
                // A taker that gave up meanwhile drops the lease, which brings the connection back here.
                let _ = taker.send(Ok(self.lend(connection, slot)));
            }
            None if self.closing.get() => self.forget_http1(&connection, slot),
            None => {
                connection.idle_since.set(self.shared.now.get());
                connection.idle.set(true);
                self.idle.borrow_mut().push(slot);
            }
        }
    }

    fn forget_http1(&self, connection: &Rc<Http1>, slot: usize) {
        if connection.idle.replace(false) {
            self.idle.borrow_mut().retain(|s| *s != slot);
        }
        let mut slots = self.slots.borrow_mut();
        let known = slots.get_mut(slot).and_then(|s| s.take_if(|c| Rc::ptr_eq(c, connection)));
        drop(slots);
        // Dropped without a borrow: its end calls back into this pool.
        drop(known);
    }

    fn add_http2(&self, sender: H2Sender, facts: Rc<Connection>) -> Weak<Http2> {
        let connection =
            Rc::new(Http2 { sender, facts, idle_since: Cell::new(self.shared.now.get()), lent: Cell::new(0) });
        let (pool, this) = (self.me.clone(), Rc::downgrade(&connection));
        let weak = this.clone();
        connection.sender.on_free(Rc::new(move || {
            if let (Some(pool), Some(connection)) = (pool.upgrade(), this.upgrade()) {
                pool.changed_http2(&connection);
            }
        }));
        if !self.closing.get() {
            self.http2.borrow_mut().push(connection.clone());
        }
        self.serve_http2(&connection, self.streams_left(&connection).max(1));
        weak
    }

    /// An exchange on it ended.
    fn changed_http2(&self, connection: &Rc<Http2>) {
        connection.idle_since.set(self.shared.now.get());
        let room = self.streams_left(connection);
        if room > 0 && !self.waiting.borrow().is_empty() && !connection.sender.is_closed() {
            self.serve_http2(connection, room);
        }
    }

    fn serve_http2(&self, connection: &Rc<Http2>, room: usize) {
        for _ in 0..room {
            let taker = self.waiting.borrow_mut().first(Speak::Http2);
            match taker {
                Some(taker) => drop(taker.send(Ok(Lease::Http2(Http2Lease::new(connection))))),
                None => return,
            }
        }
    }

    /// It takes no more requests; those on it finish.
    fn forget_http2(&self, connection: &Rc<Http2>) {
        self.http2.borrow_mut().retain(|c| !Rc::ptr_eq(c, connection));
    }

    fn is_spent(&self, facts: &Connection) -> bool {
        let most = self.shared.core.config.max_requests_per_connection;
        most.is_some_and(|max| facts.requests.get() >= max.max(1)) || self.is_old(facts)
    }

    /// Has it lived for as long as it may?
    fn is_old(&self, facts: &Connection) -> bool {
        let longest = self.options().and_then(|options| options.max_duration);
        longest.is_some_and(|longest| self.shared.now.get().saturating_duration_since(facts.born) >= longest)
    }

    /// Closes what has been idle for too long, and lets what is too old take no more requests.
    pub(crate) fn maintain(&self) {
        let limit = self.shared.core.config.idle_timeout;
        let now = self.shared.now.get();
        let late = |since: Instant| limit.is_some_and(|limit| now.saturating_duration_since(since) >= limit);
        self.close_idle(|connection| late(connection.idle_since.get()) || self.is_old(&connection.facts), 0);
        let stays = |c: &Rc<Http2>| !self.is_old(&c.facts) && (c.sender.in_flight() > 0 || !late(c.idle_since.get()));
        self.http2.borrow_mut().retain(stays);
    }

    /// Closes the connections that a burst has left: those without an exchange since the last round, save the last used.
    pub(crate) fn trim(&self) {
        let round = self.shared.now.get();
        self.close_idle(|connection| connection.idle_since.get() < round, 1);
    }

    /// Closes idle HTTP/1.1 connections of which `unwanted` holds, but none of the `kept` that were used last.
    fn close_idle(&self, unwanted: impl Fn(&Http1) -> bool, kept: usize) {
        let slots = self.slots.borrow();
        let find = |slot: &usize| slots.get(*slot).cloned().flatten().filter(|c| unwanted(c));
        let idle = self.idle.borrow();
        let old: Vec<_> = idle.iter().rev().skip(kept).filter_map(|slot| Some((find(slot)?, *slot))).collect();
        drop((slots, idle));
        for (connection, slot) in old {
            self.forget_http1(&connection, slot);
        }
    }

    /// Closes what is idle; what is in flight finishes and is not kept.
    pub(crate) fn close(&self) {
        self.closing.set(true);
        let idle = self.idle.take();
        let closed: Vec<_> = {
            let mut slots = self.slots.borrow_mut();
            idle.iter().filter_map(|slot| slots.get_mut(*slot)?.take()).collect()
        };
        drop(closed);
        drop(self.http2.take());
    }

    /// Does it hold no connection, and does nobody wait?
    pub(crate) fn is_empty(&self) -> bool {
        self.has_no_connections() && self.waiting.borrow().is_empty()
    }

    fn has_no_connections(&self) -> bool {
        self.http2.borrow().is_empty() && self.slots.borrow().iter().all(Option::is_none)
    }
}

impl Lease {
    pub(crate) fn facts(&self) -> &Rc<Connection> {
        match self {
            Self::Http1(lease) => &lease.connection.facts,
            Self::Http2(lease) => &lease.0.facts,
        }
    }
}

impl Lease {
    /// Sends the request and waits for the head of the response.
    pub(crate) async fn send(
        self,
        pool: &Pool,
        request: &mut Request<Body>,
        keep_head: bool,
    ) -> Result<Response<Body>, SendError> {
        match self {
            Self::Http1(mut lease) => {
                // From the first poll on, which follows at once, the connection tells the pool itself.
                lease.used = true;
                mesh_http::head::to_h1(request);
                lease.connection.sender.send_lent(request).await
            }
            Self::Http2(lease) => {
                let connection = lease.begin();
                if pool.is_spent(&connection.facts) {
                    pool.forget_http2(&connection);
                }
                let result = connection.sender.send_lent(request, keep_head).await;
                if result.is_err() && connection.sender.is_closed() {
                    // It goes away: the requests on it finish, new ones need another.
                    pool.forget_http2(&connection);
                }
                result
            }
        }
    }
}

impl Http2Lease {
    fn new(connection: &Rc<Http2>) -> Self {
        connection.lent.set(connection.lent.get() + 1);
        Self(connection.clone())
    }

    /// The request begins, and is counted by the connection from now on.
    fn begin(self) -> Rc<Http2> {
        self.0.clone()
    }
}

impl Drop for Http2Lease {
    fn drop(&mut self) {
        self.0.lent.set(self.0.lent.get() - 1);
    }
}

impl Drop for Http1Lease {
    fn drop(&mut self) {
        if !self.used {
            self.pool.changed_http1(self.connection.clone(), self.slot);
        }
    }
}
