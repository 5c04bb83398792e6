//! One opened HTTP/1 connection, for one exchange at a time.
//!
//! The exchange runs in the caller's task: sending writes, the response's body reads. The driver is a bystander that
//! notices the peer closing an idle connection and finishes request bodies that go on after the response has begun.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, header};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite};

use super::framing::{Decoder, Length};
use super::incoming::{H1Body, Source};
use super::outgoing::{Outgoing, Stuck, request_head};
use super::parse::{self, Limits, ResponseHead};
use super::wire::Wire;
use crate::body::Body;
use crate::error::{BodyErrorKind, Progress, SendError, SendErrorKind, Side};
use crate::options::ClientOptions;
use crate::upgrade::{OnUpgrade, Upgraded};

/// What an idle connection keeps to write the next head into.
const KEPT: usize = 2 * 1024;

/// Opens HTTP/1.1 on a connected stream. The caller spawns the driver, once, on the same thread.
pub fn connect<I>(io: I, options: &ClientOptions) -> (H1Sender, H1Driver)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let conn = Rc::new(Connection {
        wire: RefCell::new(Wire::new(Box::new(io), Bytes::new())),
        state: Cell::new(State::Idle),
        exchange: Cell::new(0),
        uploading: Cell::new(false),
        keep_alive: Cell::new(true),
        orphaned: Cell::new(false),
        upload: RefCell::new(None),
        driver: RefCell::new(None),
        ready: RefCell::new(Vec::new()),
        on_free: RefCell::new(None),
        end: Cell::new(ConnectionEnd::Closed),
        limits: Limits {
            bytes: options.max_head_bytes,
            fields: u32::try_from(options.max_headers).unwrap_or(u32::MAX),
            trailers: options.http1_trailers,
        },
    });
    (H1Sender(conn.clone()), H1Driver { conn })
}

/// Sends requests on one HTTP/1 connection. Dropped, the connection closes after the exchange that is under way.
pub struct H1Sender(Rc<Connection>);

/// Completes when the connection is closed or handed over to an upgrade.
#[must_use = "the connection is only closed properly if its driver runs"]
pub struct H1Driver {
    conn: Rc<Connection>,
}

/// How an opened connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// Closed, by either side.
    Closed,
    /// It became the byte stream of an upgrade or a CONNECT.
    Upgraded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Busy,
    Closed,
}

struct Connection {
    wire: RefCell<Wire>,
    state: Cell<State>,
    /// Exchanges begun.
    exchange: Cell<u64>,
    /// The request's body is not yet written to its end.
    uploading: Cell<bool>,
    keep_alive: Cell<bool>,
    /// No sender is left.
    orphaned: Cell<bool>,
    /// A request body that goes on after the response has begun; the driver's to finish.
    upload: RefCell<Option<Outgoing>>,
    driver: RefCell<Option<Waker>>,
    ready: RefCell<Vec<Waker>>,
    on_free: RefCell<Option<Rc<dyn Fn()>>>,
    end: Cell<ConnectionEnd>,
    limits: Limits,
}

impl H1Sender {
    /// May a request be sent now?
    pub fn is_ready(&self) -> bool {
        self.0.state.get() == State::Idle
    }

    /// Is the connection over?
    pub fn is_closed(&self) -> bool {
        self.0.state.get() == State::Closed
    }

    /// Waits until a request may be sent. `false`: the connection is closed and none ever will be.
    pub async fn ready(&self) -> bool {
        poll_fn(|cx| self.poll_ready(cx)).await
    }

    /// Polls for readiness; see [`H1Sender::ready`].
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<bool> {
        match self.0.state.get() {
            State::Idle => Poll::Ready(true),
            State::Closed => Poll::Ready(false),
            State::Busy => {
                let mut waiting = self.0.ready.borrow_mut();
                if !waiting.iter().any(|w| w.will_wake(cx.waker())) {
                    waiting.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// Calls `hook` whenever the connection becomes free for the next request, and once when it closes. A pool so
    /// needs no task to wait for each response's end. Called outside all of the connection's own work.
    pub fn on_free(&self, hook: Rc<dyn Fn()>) {
        self.0.on_free.replace(Some(hook));
    }

    /// Sends a request in origin form (`Host` is made from the target's authority if it is missing) and waits for
    /// the head of the response. Interim responses (1xx) are skipped. The response's body goes on reading from this
    /// connection, which is free again at its end; dropping the body or this future before closes the connection.
    ///
    /// Of the request only the body is taken, and put back if the error [is whole](SendError::is_whole).
    pub async fn send_lent(&self, request: &mut Request<Body>) -> Result<Response<Body>, SendError> {
        self.0.send(request).await
    }

    /// As [`H1Sender::send_lent`], with the request in the error, if it is whole.
    pub fn send(
        &self,
        mut request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, SendError>> + 'static {
        let conn = self.0.clone();
        async move { conn.send(&mut request).await.map_err(|error| error.giving_back(request)) }
    }
}

impl Drop for H1Sender {
    fn drop(&mut self) {
        self.0.orphaned.set(true);
        if self.0.state.get() == State::Idle {
            self.0.close();
        }
    }
}

impl fmt::Debug for H1Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("H1Sender").field(&self.0.state.get()).finish()
    }
}

impl Future for H1Driver {
    type Output = ConnectionEnd;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ConnectionEnd> {
        let conn = &self.conn;
        conn.driver.replace(Some(cx.waker().clone()));
        if conn.upload.borrow().is_some() {
            conn.poll_upload(cx);
        }
        if conn.state.get() == State::Idle {
            conn.poll_idle(cx);
        }
        if conn.state.get() != State::Closed {
            return Poll::Pending;
        }
        // Best effort: a peer that does not read must not hold a closed connection.
        let _ = conn.wire.borrow_mut().poll_shutdown(cx);
        conn.wire.borrow_mut().close();
        Poll::Ready(conn.end.get())
    }
}

impl Drop for H1Driver {
    fn drop(&mut self) {
        self.conn.close();
        self.conn.wire.borrow_mut().close();
    }
}

/// Closes the connection if an exchange is given up half way.
struct Lease {
    conn: Rc<Connection>,
    done: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.done {
            self.conn.close();
        }
    }
}

impl Connection {
    async fn send(self: &Rc<Self>, request: &mut Request<Body>) -> Result<Response<Body>, SendError> {
        if !self.claim() {
            return Err(SendError::unsent(SendErrorKind::Closed));
        }
        let mut lease = Lease { conn: self.clone(), done: false };
        let response = self.exchange(request).await;
        lease.done = response.is_ok();
        response
    }

    /// Takes the idle connection for an exchange, unless the peer has closed it meanwhile.
    fn claim(&self) -> bool {
        if self.state.get() == State::Idle {
            self.poll_idle(&mut Context::from_waker(Waker::noop()));
        }
        let idle = self.state.get() == State::Idle;
        if idle {
            self.state.set(State::Busy);
        }
        idle
    }

    async fn exchange(self: &Rc<Self>, request: &mut Request<Body>) -> Result<Response<Body>, SendError> {
        let reused = self.exchange.get() > 0;
        self.exchange.set(self.exchange.get() + 1);
        self.uploading.set(true);
        let method = request.method().clone();
        let encoder = request_head(self.wire.borrow_mut().out.small(), request);
        let body = std::mem::take(request.body_mut());
        let mut sending = Sending {
            before: self.wire.borrow().written,
            bodiless: body.is_end_stream(),
            outgoing: Some(Outgoing::new(body, encoder, self.limits.trailers)),
            broken: None,
            scanned: 0,
            answered: false,
            reused,
        };
        let head = match poll_fn(|cx| sending.poll(self, cx)).await {
            Ok(head) => head,
            Err(error) => {
                let untouched = sending.outgoing.filter(|outgoing| error.is_whole() && !outgoing.touched);
                *request.body_mut() = untouched.map_or_else(Body::empty, Outgoing::into_body);
                return Err(error);
            }
        };
        if head.response.status() == StatusCode::SWITCHING_PROTOCOLS && !request.headers().contains_key(header::UPGRADE)
        {
            let kind = SendErrorKind::Protocol("the protocol is switched though nobody asked");
            return Err(SendError::new(kind, Progress::ResponseStarted));
        }
        self.answer(head, &method, sending)
    }

    /// The final head is here: set the wire up for its body.
    fn answer(
        self: &Rc<Self>,
        head: ResponseHead,
        method: &Method,
        mut sending: Sending,
    ) -> Result<Response<Body>, SendError> {
        let status = head.response.status();
        let tunnel = status == StatusCode::SWITCHING_PROTOCOLS || (method == Method::CONNECT && status.is_success());
        let bodiless =
            *method == Method::HEAD || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED || tunnel;
        let length = if bodiless { Length::None } else { head.length.unwrap_or(Length::UntilClose) };
        self.keep_alive.set(head.keep_alive && length != Length::UntilClose && !tunnel);
        self.wire.borrow_mut().decoder = Decoder::new(length, self.limits);
        if let Some(outgoing) = sending.outgoing.take() {
            if sending.broken.is_some() {
                self.keep_alive.set(false);
            } else {
                self.upload.replace(Some(outgoing));
                self.wake_driver();
            }
        }
        let exchange = self.exchange.get();
        let body = if length == Length::None && !tunnel {
            self.finish();
            Body::empty()
        } else {
            Body::h1(H1Body::new(self.clone(), exchange, length, tunnel))
        };
        Ok(head.response.map(|()| body))
    }

    /// The response has been read to its end: free for the next exchange, or over.
    fn finish(&self) {
        let uploading = self.uploading.get() && !self.upload.borrow().as_ref().is_some_and(Outgoing::is_whole);
        let wire = self.wire.borrow();
        let clean = !uploading && wire.inbox.is_empty() && wire.out.is_empty() && !wire.peer_closed;
        drop(wire);
        if !clean || !self.keep_alive.get() || self.orphaned.get() {
            return self.close();
        }
        self.upload.replace(None);
        self.state.set(State::Idle);
        self.wire.borrow_mut().rest(KEPT);
        // Registers the driver for the peer's end without waking it: a request costs no turn of the driver.
        if let Some(driver) = &*self.driver.borrow() {
            self.poll_idle(&mut Context::from_waker(driver));
        }
        if self.state.get() == State::Idle {
            self.tell();
        }
    }

    /// On an idle connection anything that can be read means its end.
    fn poll_idle(&self, cx: &mut Context<'_>) {
        let polled = self.wire.borrow_mut().poll_fill(cx);
        if polled.is_ready() {
            self.close();
        }
    }

    fn poll_upload(&self, cx: &mut Context<'_>) {
        // Taken out while it is polled: its body may lead back to this connection's other side.
        let Some(mut outgoing) = self.upload.take() else { return };
        match outgoing.poll(&self.wire, cx) {
            Poll::Pending => {
                self.upload.replace(Some(outgoing));
            }
            Poll::Ready(Ok(())) => self.uploading.set(false),
            Poll::Ready(Err(Stuck::Io(_))) => self.keep_alive.set(false),
            Poll::Ready(Err(Stuck::Body(_))) => self.close(),
        }
    }

    fn close(&self) {
        if self.state.replace(State::Closed) == State::Closed {
            return;
        }
        self.upload.replace(None);
        self.wire.borrow_mut().detach_reader();
        self.wake_driver();
        self.tell();
    }

    fn wake_driver(&self) {
        if let Some(driver) = &*self.driver.borrow() {
            driver.wake_by_ref();
        }
    }

    fn tell(&self) {
        for waker in self.ready.take() {
            waker.wake();
        }
        let hook = self.on_free.borrow().clone();
        if let Some(hook) = hook {
            hook();
        }
    }
}

/// A request being written while its response is awaited.
struct Sending {
    before: u64,
    /// There is no body that could be used up.
    bodiless: bool,
    outgoing: Option<Outgoing>,
    /// Writing failed; the peer may have answered before it stopped reading.
    broken: Option<io::ErrorKind>,
    scanned: usize,
    /// A byte of a response came.
    answered: bool,
    reused: bool,
}

impl Sending {
    fn poll(&mut self, conn: &Connection, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, SendError>> {
        if conn.state.get() == State::Closed {
            return Poll::Ready(Err(self.failed(conn, SendErrorKind::Closed)));
        }
        if self.broken.is_none()
            && let Some(outgoing) = &mut self.outgoing
        {
            match outgoing.poll(&conn.wire, cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => {
                    self.outgoing = None;
                    conn.uploading.set(false);
                }
                Poll::Ready(Err(Stuck::Io(error))) => self.broken = Some(error.kind()),
                Poll::Ready(Err(Stuck::Body(error))) => {
                    return Poll::Ready(Err(self.failed(conn, SendErrorKind::Body(error))));
                }
            }
        }
        self.poll_head(conn, cx)
    }

    fn poll_head(&mut self, conn: &Connection, cx: &mut Context<'_>) -> Poll<Result<ResponseHead, SendError>> {
        loop {
            match self.read_head(&mut conn.wire.borrow_mut().inbox, conn.limits) {
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => {}
                Err(refused) => {
                    let kind = SendErrorKind::Protocol(refused.text);
                    return Poll::Ready(Err(SendError::new(kind, Progress::ResponseStarted)));
                }
            }
            let filled = conn.wire.borrow_mut().poll_fill(cx);
            let kind = match filled {
                Poll::Ready(Ok(0)) => {
                    self.broken.filter(|kind| !is_hangup(*kind)).map_or(SendErrorKind::Closed, SendErrorKind::Io)
                }
                Poll::Ready(Ok(_)) => {
                    self.answered = true;
                    continue;
                }
                Poll::Ready(Err(error)) if is_hangup(error.kind()) => SendErrorKind::Closed,
                Poll::Ready(Err(error)) => SendErrorKind::Io(error.kind()),
                Poll::Pending => return Poll::Pending,
            };
            return Poll::Ready(Err(self.failed(conn, kind)));
        }
    }

    /// The final head, once it is there whole; interim ones are skipped.
    fn read_head(&mut self, inbox: &mut BytesMut, limits: Limits) -> Result<Option<ResponseHead>, parse::Refusal> {
        loop {
            let start = inbox.len().min(5);
            if self.scanned == 0 && inbox[..start] != b"HTTP/"[..start] {
                return Err(parse::NOT_HTTP);
            }
            let Some(head) = parse::take_head(inbox, &mut self.scanned, limits)? else { return Ok(None) };
            let head = parse::response(&head, limits)?;
            let status = head.response.status();
            if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Some(head));
            }
        }
    }

    fn failed(&self, conn: &Connection, kind: SendErrorKind) -> SendError {
        if conn.wire.borrow().written == self.before {
            let untouched = self.outgoing.as_ref().is_some_and(|outgoing| !outgoing.touched);
            return SendError::new(kind, Progress::NotSent).whole_if(untouched || self.bodiless);
        }
        let dropped = matches!(kind, SendErrorKind::Closed | SendErrorKind::Io(_));
        let progress = if self.answered {
            Progress::ResponseStarted
        } else if self.reused && dropped {
            Progress::StaleConnection
        } else {
            Progress::Sent
        };
        SendError::new(kind, progress).whole_if(self.bodiless)
    }
}

fn is_hangup(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted)
}

impl Source for Connection {
    fn poll_body(
        &self,
        exchange: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(Frame<Bytes>, bool), BodyErrorKind>>> {
        if exchange != self.exchange.get() || self.state.get() != State::Busy {
            return Poll::Ready(Some(Err(BodyErrorKind::Closed)));
        }
        let polled = self.wire.borrow_mut().poll_body(cx);
        match &polled {
            Poll::Ready(Some(Err(_))) => self.close(),
            Poll::Ready(None | Some(Ok((_, true)))) => self.finish(),
            _ => {}
        }
        polled
    }

    fn abandon(&self, exchange: u64) {
        if exchange == self.exchange.get() && self.state.get() == State::Busy {
            self.close();
        }
    }

    fn on_upgrade(&self, exchange: u64) -> Option<OnUpgrade> {
        if exchange != self.exchange.get() || self.state.get() != State::Busy || !self.wire.borrow().decoder.is_done() {
            return None;
        }
        let (ahead, io) = self.wire.borrow_mut().take_io()?;
        let (sender, on_upgrade) = OnUpgrade::pair();
        let _ = sender.send(Upgraded::stream(ahead, io));
        self.end.set(ConnectionEnd::Upgraded);
        self.close();
        Some(on_upgrade)
    }

    fn side(&self) -> Side {
        Side::Upstream
    }
}
