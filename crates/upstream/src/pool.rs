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
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::cluster::Core;
use crate::dial::{DialError, Dialed, Dialer};
use crate::endpoint::Endpoint;
use crate::exchange::{Connection, Open};
use crate::failure::FailureKind;
use crate::stats::ClusterStats;
use crate::tls::Speak;
use waiting::Waiting;

/// What all pools of one cluster in one worker share.
pub(crate) struct Shared {
    pub(crate) core: Arc<Core>,
    pub(crate) dialer: Rc<Dialer>,
    pub(crate) stats: Rc<ClusterStats>,
    /// The worker's coarse clock, set by its maintenance: fine enough to tell how long a connection was idle.
    pub(crate) now: Rc<Cell<Instant>>,
    /// Called after a connection was made.
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
}

/// A connection lent for one request.
pub(crate) enum Lease {
    Http1(Http1Lease),
    Http2(Rc<Http2>),
}

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
        Rc::new_cyclic(|me| Self {
            shared,
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
        all.iter().find(|c| c.sender.in_flight() < c.sender.max_streams()).cloned().map(Lease::Http2)
    }

    fn lend(&self, connection: Rc<Http1>, slot: usize) -> Lease {
        // The pool is alive while a method of it runs.
        let pool = self.me.upgrade().expect("a pool lives in an Rc");
        Lease::Http1(Http1Lease { pool, connection, slot, used: false })
    }

    fn dial_for_the_waiting(&self) {
        let wanted = self.waiting.borrow_mut().dials(self.speaks_http1.get());
        for speak in wanted {
            let Some(pool) = self.me.upgrade() else { return };
            spawn_local(async move { pool.dial(speak).await });
        }
    }

    async fn dial(&self, speak: Speak) {
        let shared = &self.shared;
        let dialed = shared.dialer.dial(&shared.core, &self.endpoint(), speak).await;
        self.waiting.borrow_mut().dialled(speak);
        let adopted = match dialed {
            Ok(dialed) => self.adopt(dialed, speak).await,
            Err(error) => Err(error),
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

    async fn adopt(&self, dialed: Dialed, speak: Speak) -> Result<(), DialError> {
        let Dialed { stream, local, remote, tls, http2, https } = dialed;
        let facts = Rc::new(Connection { local, remote, tls, http2, requests: Cell::new(0) });
        let open = Open::new(&self.endpoint(), self.shared.stats.clone(), Some(http2));
        let options = mesh_http::ClientOptions { https, ..self.shared.dialer.http.clone() };
        if speak == Speak::Either {
            self.speaks_http1.set(!http2);
        }
        if http2 {
            let (sender, driver) = mesh_http::h2::connect(stream, &options).await.map_err(|e| DialError {
                kind: FailureKind::ConnectFailed,
                reason: format!("HTTP/2 did not begin: {}", e.kind()).into(),
            })?;
            let connection = self.add_http2(sender, facts);
            let pool = self.me.clone();
            spawn_local(async move {
                driver.await;
                drop(open);
                if let (Some(pool), Some(connection)) = (pool.upgrade(), connection.upgrade()) {
                    pool.forget_http2(&connection);
                }
            });
        } else {
            let (sender, driver) = mesh_http::h1::connect(stream, &options);
            spawn_local(async move {
                driver.await;
                drop(open);
            });
            self.add_http1(sender, facts);
        }
        (self.shared.on_connection)();
        Ok(())
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
        let connection = Rc::new(Http2 { sender, facts, idle_since: Cell::new(self.shared.now.get()) });
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
        self.serve_http2(&connection, connection.sender.max_streams().max(1));
        weak
    }

    /// An exchange on it ended.
    fn changed_http2(&self, connection: &Rc<Http2>) {
        connection.idle_since.set(self.shared.now.get());
        let room = connection.sender.max_streams().saturating_sub(connection.sender.in_flight());
        if room > 0 && !self.waiting.borrow().is_empty() && !connection.sender.is_closed() {
            self.serve_http2(connection, room);
        }
    }

    fn serve_http2(&self, connection: &Rc<Http2>, room: usize) {
        for _ in 0..room {
            let taker = self.waiting.borrow_mut().first(Speak::Http2);
            match taker {
                Some(taker) => drop(taker.send(Ok(Lease::Http2(connection.clone())))),
                None => return,
            }
        }
    }

    /// It takes no more requests; those on it finish.
    fn forget_http2(&self, connection: &Rc<Http2>) {
        self.http2.borrow_mut().retain(|c| !Rc::ptr_eq(c, connection));
    }

    fn is_spent(&self, facts: &Connection) -> bool {
        self.shared.core.config.max_requests_per_connection.is_some_and(|max| facts.requests.get() >= max.max(1))
    }

    /// Closes what has been idle for too long.
    pub(crate) fn maintain(&self) {
        let Some(limit) = self.shared.core.config.idle_timeout else { return };
        let now = self.shared.now.get();
        let late = |since: Instant| now.saturating_duration_since(since) >= limit;
        self.close_idle(|connection| late(connection.idle_since.get()), 0);
        self.http2.borrow_mut().retain(|c| c.sender.in_flight() > 0 || !late(c.idle_since.get()));
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
        self.http2.borrow().is_empty()
            && self.slots.borrow().iter().all(Option::is_none)
            && self.waiting.borrow().is_empty()
    }
}

impl Lease {
    pub(crate) fn facts(&self) -> &Rc<Connection> {
        match self {
            Self::Http1(lease) => &lease.connection.facts,
            Self::Http2(connection) => &connection.facts,
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
            Self::Http2(connection) => {
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

impl Drop for Http1Lease {
    fn drop(&mut self) {
        if !self.used {
            self.pool.changed_http1(self.connection.clone(), self.slot);
        }
    }
}
