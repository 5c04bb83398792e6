//! One opened HTTP/2 connection, for many exchanges at once.
//!
//! An exchange runs in the caller's task. The driver moves frames, pings, and finishes request bodies that go on after
//! their response has begun.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ::h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use ::h2::{Reason, RecvStream, SendStream};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, Stream};
use http::uri::Scheme;
use http::{Method, Request, Response, header};
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::{H2Body, TunnelState};
use super::gather::{Gathered, Turn, gather};
use super::ping::Pinger;
use super::pump::{Cancel, Detached, Pump, Stuck};
use crate::body::Body;
use crate::error::{Code, Progress, SendError, SendErrorKind, Side};
use crate::head::{keep_out_of_table, strip_for_h2, to_h2};
use crate::options::ClientOptions;
use crate::upgrade::ExtendedConnect;

/// Opens HTTP/2 (prior knowledge, or after ALPN `h2`) on a connected stream. Our preface leaves with the first request,
/// or when the driver first runs; the peer's is not waited for. The caller spawns the driver, once, on the same thread.
pub async fn connect<I>(io: I, options: &ClientOptions) -> Result<(H2Sender, H2Driver), SendError>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut builder = Builder::new();
    builder
        .initial_window_size(options.stream_window)
        .initial_connection_window_size(options.connection_window)
        .max_frame_size(options.max_frame_bytes)
        .max_header_list_size(options.max_head_bytes.try_into().unwrap_or(u32::MAX))
        .initial_max_send_streams(options.initial_max_streams)
        .max_send_buffer_size(options.max_send_buffer)
        .enable_push(false);
    let (io, turn) = gather(Box::new(io));
    let (send, mut connection) =
        builder.handshake(io).await.map_err(|error| SendError::unsent(SendError::from_h2(&error).kind().clone()))?;
    let pinger = Pinger::new(connection.ping_pong(), options.keep_alive);
    let shared = Rc::new(Shared {
        in_flight: Cell::new(0),
        sent: Cell::new(0),
        closed: Cell::new(None),
        detached: RefCell::new(Vec::new()),
        driver: RefCell::new(None),
        on_free: RefCell::new(None),
        max_headers: options.max_headers,
    });
    let scheme = if options.https { Scheme::HTTPS } else { Scheme::HTTP };
    let driver = H2Driver {
        connection: Some(connection),
        turn,
        pinger,
        uploads: FuturesUnordered::new(),
        shared: shared.clone(),
    };
    Ok((H2Sender { send, scheme, shared }, driver))
}

/// Sends requests on one HTTP/2 connection. Clones share it; when the last is dropped, the connection ends after the
/// exchanges that are under way.
#[derive(Clone)]
pub struct H2Sender {
    send: SendRequest<Bytes>,
    scheme: Scheme,
    shared: Rc<Shared>,
}

/// Moves the connection's frames. Completes when the connection is over.
#[must_use = "nothing is sent or received unless the driver runs"]
pub struct H2Driver {
    connection: Option<Connection<Gathered, Bytes>>,
    turn: Turn,
    pinger: Option<Pinger>,
    uploads: FuturesUnordered<Detached>,
    shared: Rc<Shared>,
}

/// How an opened HTTP/2 connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum H2End {
    /// Closed in good order, by either side.
    Closed,
    /// A keep-alive ping was not answered.
    PingTimeout,
    /// Reading or writing failed.
    Io(std::io::ErrorKind),
    /// One side ended it with this code.
    GoAway(Code),
}

/// Every so many requests, the first among them, values that do not repeat may enter HPACK's table, for the sake of their
/// names, which do.
const NAMES_ANEW: u32 = 64;

struct Shared {
    in_flight: Cell<usize>,
    /// Requests sent; counts round and round.
    sent: Cell<u32>,
    closed: Cell<Option<H2End>>,
    /// Request bodies on their way to the driver.
    detached: RefCell<Vec<Detached>>,
    driver: RefCell<Option<Waker>>,
    on_free: RefCell<Option<Rc<dyn Fn()>>>,
    max_headers: usize,
}

/// Counts one exchange, from sending to the end of its response.
pub(crate) struct InFlight(Rc<Shared>);

impl InFlight {
    fn new(shared: &Rc<Shared>) -> Self {
        shared.in_flight.set(shared.in_flight.get() + 1);
        Self(shared.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
        self.0.tell();
    }
}

impl Shared {
    fn tell(&self) {
        let hook = self.on_free.borrow().clone();
        if let Some(hook) = hook {
            hook();
        }
    }

    fn failed(&self, error: &::h2::Error) -> SendError {
        match self.closed.get() {
            Some(H2End::PingTimeout) => SendError::new(SendErrorKind::Timeout, Progress::Sent),
            _ => SendError::from_h2(error),
        }
    }

    fn wake_driver(&self) {
        if let Some(driver) = &*self.driver.borrow() {
            driver.wake_by_ref();
        }
    }
}

impl H2Sender {
    /// Exchanges under way: requests sent whose response is not yet read to its end.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.get()
    }

    /// How many exchanges the peer allows at once. Before its settings arrive: what the options assume.
    pub fn max_streams(&self) -> usize {
        self.send.current_max_send_streams()
    }

    /// May one more request be sent without waiting?
    pub fn is_ready(&self) -> bool {
        !self.is_closed() && self.in_flight() < self.max_streams()
    }

    /// Will no more requests be taken: closed, or the peer said GOAWAY?
    pub fn is_closed(&self) -> bool {
        if self.shared.closed.get().is_some() {
            return true;
        }
        let mut send = self.send.clone();
        matches!(send.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }

    /// Does the peer take extended CONNECT (RFC 8441)? Known once its settings have arrived.
    pub fn takes_extended_connect(&self) -> bool {
        self.send.is_extended_connect_protocol_enabled()
    }

    /// Calls `hook` whenever an exchange ends, and once when the connection is over.
    pub fn on_free(&self, hook: Rc<dyn Fn()>) {
        self.shared.on_free.replace(Some(hook));
    }

    /// Sends a request and waits for the head of the response. A head in HTTP/1 form is made fit
    /// ([`to_h2`](crate::head::to_h2)). Beyond the peer's limit of streams the request waits its turn. Dropping this
    /// future, or the response's body before its end, resets the stream.
    ///
    /// The request is used up, save if the error [is whole](SendError::is_whole); with `keep_head` it loses its body
    /// only.
    pub async fn send_lent(&self, request: &mut Request<Body>, keep_head: bool) -> Result<Response<Body>, SendError> {
        exchange(self, request, keep_head).await
    }

    /// As [`H2Sender::send_lent`], with the request in the error, if it is whole.
    pub fn send(
        &self,
        mut request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, SendError>> + 'static {
        let sender = self.clone();
        async move { exchange(&sender, &mut request, false).await.map_err(|error| error.giving_back(request)) }
    }
}

async fn exchange(
    sender: &H2Sender,
    request: &mut Request<Body>,
    keep_head: bool,
) -> Result<Response<Body>, SendError> {
    let shared = &sender.shared;
    if to_h2(request, sender.scheme.clone()).is_err() {
        return Err(SendError::unsent(SendErrorKind::Protocol("the request names no host")));
    }
    let sent = shared.sent.replace(shared.sent.get().wrapping_add(1));
    if !sent.is_multiple_of(NAMES_ANEW) {
        keep_out_of_table(request.headers_mut());
    }
    let mut send = sender.send.clone();
    let refused = match shared.closed.get() {
        Some(_) => Some(SendErrorKind::Closed),
        None => poll_fn(|cx| send.poll_ready(cx)).await.err().map(|e| SendError::from_h2(&e).kind().clone()),
    };
    if let Some(kind) = refused {
        return Err(SendError::unsent(kind));
    }
    let in_flight = InFlight::new(shared);
    let connect = request.method() == Method::CONNECT;
    let bodiless = request.body().is_end_stream();
    let ends = !connect && bodiless;
    let (head, body) = (head(request, keep_head), std::mem::take(request.body_mut()));
    let (response, stream) = match send.send_request(head, ends) {
        Ok(sent) => sent,
        Err(error) => {
            *request.body_mut() = body;
            let kind = SendError::from_h2(&error).kind().clone();
            return Err(SendError::unsent(kind).whole_if(keep_head));
        }
    };
    let whole = keep_head && bodiless;
    if connect {
        return tunnel(response, stream, in_flight, shared).await;
    }
    let upload = (!ends).then(|| Pump::new(body, stream));
    let (response, upload) = wait(response, upload, shared).await.map_err(|error| error.whole_if(whole))?;
    let cancel = upload.map(|pump| {
        let cancel = Rc::new(Cancel::default());
        shared.detached.borrow_mut().push(Detached { pump, cancel: cancel.clone() });
        shared.wake_driver();
        cancel
    });
    let (parts, stream) = check(response, shared)?;
    let body = receive(stream, &parts.headers).with_exchange(in_flight, cancel);
    let body = if body.is_end_stream() { Body::empty() } else { Body::h2(body) };
    Ok(Response::from_parts(parts, body))
}

/// The head as the codec wants it, with the body's length if that is known.
fn head(request: &mut Request<Body>, keep: bool) -> Request<()> {
    let mut head = Request::new(());
    if keep {
        *head.method_mut() = request.method().clone();
        *head.uri_mut() = request.uri().clone();
        *head.headers_mut() = request.headers().clone();
    } else {
        *head.method_mut() = std::mem::take(request.method_mut());
        *head.uri_mut() = std::mem::take(request.uri_mut());
        *head.headers_mut() = std::mem::take(request.headers_mut());
    }
    if let Some(protocol) = request.extensions().get::<ExtendedConnect>() {
        head.extensions_mut().insert(::h2::ext::Protocol::from(protocol.0.as_str()));
    }
    if let Some(len) = request.body().exact_len().filter(|len| *len > 0)
        && !head.headers().contains_key(header::CONTENT_LENGTH)
    {
        head.headers_mut().insert(header::CONTENT_LENGTH, len.into());
    }
    head
}

/// Sends the body while the response is awaited; gives back what is left of the body.
async fn wait(
    mut response: ResponseFuture,
    mut upload: Option<Pump>,
    shared: &Shared,
) -> Result<(Response<RecvStream>, Option<Pump>), SendError> {
    let response = poll_fn(|cx| {
        if let Some(pump) = &mut upload
            && let Poll::Ready(done) = pump.poll(cx)
        {
            upload = None;
            if let Err(Stuck::Body(error)) = done {
                return Poll::Ready(Err(SendError::new(SendErrorKind::Body(error), Progress::Sent)));
            }
            // What the peer did to the stream, its response tells better.
        }
        Pin::new(&mut response).poll(cx).map_err(|error| shared.failed(&error))
    })
    .await?;
    Ok((response, upload))
}

async fn tunnel(
    mut response: ResponseFuture,
    stream: SendStream<Bytes>,
    in_flight: InFlight,
    shared: &Rc<Shared>,
) -> Result<Response<Body>, SendError> {
    let response = poll_fn(|cx| Pin::new(&mut response).poll(cx)).await.map_err(|error| shared.failed(&error))?;
    let (parts, received) = check(response, shared)?;
    let mut body = receive(received, &parts.headers);
    if parts.status.is_success() {
        body = body.with_tunnel(Rc::new(RefCell::new(TunnelState::Granted(Some(stream)))));
    } else {
        let mut stream = stream;
        // Our half was never used: close it, so that the stream can end.
        let _ = stream.send_data(Bytes::new(), true);
    }
    Ok(Response::from_parts(parts, Body::h2(body.with_exchange(in_flight, None))))
}

fn check(response: Response<RecvStream>, shared: &Shared) -> Result<(http::response::Parts, RecvStream), SendError> {
    let (mut parts, stream) = response.into_parts();
    if parts.headers.len() > shared.max_headers {
        let kind = SendErrorKind::Protocol("the head has more fields than allowed");
        return Err(SendError::new(kind, Progress::ResponseStarted));
    }
    strip_for_h2(&mut parts.headers);
    Ok((parts, stream))
}

fn receive(stream: RecvStream, headers: &http::HeaderMap) -> H2Body {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|l| l.to_str().ok()?.parse().ok());
    H2Body::new(stream, Side::Upstream, declared)
}

impl fmt::Debug for H2Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("H2Sender").field("in_flight", &self.in_flight()).field("closed", &self.is_closed()).finish()
    }
}

impl H2Driver {
    fn finish(&mut self, end: H2End) -> Poll<H2End> {
        self.shared.closed.set(Some(end));
        self.connection = None;
        self.shared.tell();
        Poll::Ready(end)
    }
}

impl Future for H2Driver {
    type Output = H2End;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<H2End> {
        let me = &mut *self;
        let Some(connection) = &mut me.connection else {
            return Poll::Ready(me.shared.closed.get().unwrap_or(H2End::Closed));
        };
        let mut driver = me.shared.driver.borrow_mut();
        if !driver.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *driver = Some(cx.waker().clone());
        }
        drop(driver);
        me.uploads.extend(me.shared.detached.borrow_mut().drain(..));
        while let Poll::Ready(Some(())) = Pin::new(&mut me.uploads).poll_next(cx) {}
        if me.pinger.as_mut().is_some_and(|pinger| pinger.poll_lost(cx).is_ready()) {
            return me.finish(H2End::PingTimeout);
        }
        let polled = Pin::new(connection).poll(cx);
        me.turn.end(cx);
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => me.finish(H2End::Closed),
            Poll::Ready(Err(error)) => {
                let end = match (error.get_io(), error.reason()) {
                    (Some(io), _) => H2End::Io(io.kind()),
                    (None, Some(Reason::NO_ERROR) | None) => H2End::Closed,
                    (None, Some(reason)) => H2End::GoAway(reason.into()),
                };
                me.finish(end)
            }
        }
    }
}

impl Drop for H2Driver {
    fn drop(&mut self) {
        if self.connection.is_some() {
            let _ = self.finish(H2End::Closed);
        }
    }
}
