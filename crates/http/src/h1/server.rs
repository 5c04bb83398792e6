//! One served HTTP/1 connection: read a head, let the handler answer, write the answer, begin again.
//!
//! All of it is one future. The handler's future lives inside it, and the request's body reads from the connection
//! directly, so an exchange costs no task and no queue.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::Frame;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::framing::{Decoder, Length};
use super::incoming::{H1Body, Source};
use super::outgoing::{Asked, Outgoing, Stuck, response_head};
use super::parse::{self, Limits, RequestHead};
use super::wire::Wire;
use crate::body::Body;
use crate::error::{BodyErrorKind, Side};
use crate::io::Io;
use crate::options::ServerOptions;
use crate::server::{Answer, Drain, ServeEnd};
use crate::timer::Timer;
use crate::upgrade::{OnUpgrade, Upgraded};

/// How much of a request body that nobody read is read away to save the connection.
const DRAIN_BODY: usize = 64 * 1024;
/// A connection without a request for so long gives its buffers back.
const QUIET: Duration = Duration::from_secs(1);

pub(crate) async fn serve<D, H, F>(
    io: Box<dyn Io>,
    ahead: Bytes,
    options: &ServerOptions,
    mut drain: Drain<'_, D>,
    handler: &H,
) -> ServeEnd
where
    D: Future<Output = ()>,
    H: Fn(Request<Body>) -> F,
    F: Future<Output: Into<Answer>>,
{
    let conn = Rc::new(Connection {
        wire: RefCell::new(Wire::new(io, ahead)),
        exchange: Cell::new(0),
        upgrade: RefCell::new(None),
        task: RefCell::new(None),
        half_close: options.half_close,
        trailers: options.http1_trailers,
    });
    let _closes_when_dropped = Hangup(conn.clone());
    let limits = Limits {
        bytes: options.max_head_bytes,
        fields: u32::try_from(options.max_headers).unwrap_or(u32::MAX),
        trailers: options.http1_trailers,
    };
    let mut timer = Timer::default();
    let mut spare = HeaderMap::new();
    loop {
        let head = next_head(&conn, options, limits, &mut drain, &mut timer, std::mem::take(&mut spare)).await;
        let stop = match head.and_then(|head| version_allowed(head, options)) {
            // Boxed: a connection that waits for a request does not hold the room for one.
            Ok(head) => match Box::pin(exchange(&conn, &mut drain, handler, head, limits)).await {
                Ok(Next::Again(headers)) => {
                    spare = headers;
                    continue;
                }
                Ok(Next::Close(end)) => Stop::Close(end),
                Err(end) => return end,
            },
            Err(stop) => stop,
        };
        return Box::pin(conn.stop(stop, options, timer)).await;
    }
}

/// Why there is no further request.
enum Stop {
    /// It cannot be understood; it is answered with this status.
    Refuse(StatusCode, ServeEnd),
    /// The last answer said so.
    Close(ServeEnd),
    /// The connection is over as it is.
    End(ServeEnd),
}

enum Next {
    /// The connection is free; the emptied header map may be used again.
    Again(HeaderMap),
    Close(ServeEnd),
}

struct Connection {
    wire: RefCell<Wire>,
    exchange: Cell<u64>,
    upgrade: RefCell<Option<oneshot::Sender<Upgraded>>>,
    /// The connection's own task, woken when a body that another task read has ended.
    task: RefCell<Option<Waker>>,
    half_close: bool,
    trailers: bool,
}

/// Waits for the next request head, the drain, the peer's end or a timeout.
async fn next_head<D: Future<Output = ()>>(
    conn: &Connection,
    options: &ServerOptions,
    limits: Limits,
    drain: &mut Drain<'_, D>,
    timer: &mut Timer,
    spare: HeaderMap,
) -> Result<RequestHead, Stop> {
    let (mut scanned, mut spare) = (0, Some(spare));
    let mut since = Instant::now();
    let mut resting = options.idle_timeout.is_some_and(|limit| limit <= QUIET);
    let mut begun = !conn.wire.borrow().inbox.is_empty();
    poll_fn(|cx| {
        let draining = drain.poll_begun(cx);
        let wire = &mut *conn.wire.borrow_mut();
        loop {
            if !wire.inbox.is_empty() {
                match parse::take_head(&mut wire.inbox, &mut scanned, limits) {
                    Ok(Some(head)) => {
                        let head = parse::request(&head, limits, spare.take().unwrap_or_default());
                        return Poll::Ready(head.map_err(refusal));
                    }
                    Ok(None) => {}
                    Err(refused) => return Poll::Ready(Err(refusal(refused))),
                }
            }
            if draining && wire.inbox.is_empty() {
                return Poll::Ready(Err(Stop::End(ServeEnd::Drained)));
            }
            if wire.peer_closed {
                let end = match wire.inbox.is_empty() {
                    true => ServeEnd::PeerClosed,
                    false => ServeEnd::Protocol("the connection closed within a request head".into()),
                };
                return Poll::Ready(Err(Stop::End(end)));
            }
            match wire.poll_fill(cx) {
                Poll::Ready(Ok(0)) => {}
                Poll::Ready(Ok(_)) => {
                    if !std::mem::replace(&mut begun, true) {
                        since = Instant::now();
                    }
                }
                Poll::Ready(Err(error)) => {
                    let end = match wire.inbox.is_empty() {
                        true => ServeEnd::PeerClosed,
                        false => ServeEnd::from_io(&error),
                    };
                    return Poll::Ready(Err(Stop::End(end)));
                }
                Poll::Pending => break,
            }
        }
        if begun {
            let late = || Err(Stop::Refuse(StatusCode::REQUEST_TIMEOUT, ServeEnd::HeadTimeout));
            return timer.poll_after(cx, since, options.head_timeout).map(|()| late());
        }
        // Buffers outlive a short pause, so that a busy connection does not make them anew for each request.
        if !resting {
            if timer.poll_until(cx, since + QUIET).is_pending() {
                return Poll::Pending;
            }
            resting = true;
            spare = None;
            wire.rest(0);
        }
        timer.poll_after(cx, since, options.idle_timeout).map(|()| Err(Stop::End(ServeEnd::Idle)))
    })
    .await
}

fn refusal(refused: parse::Refusal) -> Stop {
    Stop::Refuse(refused.status, ServeEnd::Protocol(refused.text.into()))
}

fn version_allowed(head: RequestHead, options: &ServerOptions) -> Result<RequestHead, Stop> {
    if head.request.version() == Version::HTTP_10 && !options.http10 {
        let end = ServeEnd::Protocol("HTTP/1.0 is not allowed here".into());
        return Err(Stop::Refuse(StatusCode::UPGRADE_REQUIRED, end));
    }
    Ok(head)
}

/// From a request's head to the end of its response.
// A function that returns a block: an async function would hold its arguments twice.
fn exchange<'a, D, H, F>(
    conn: &'a Rc<Connection>,
    drain: &'a mut Drain<'_, D>,
    handler: &'a H,
    head: RequestHead,
    limits: Limits,
) -> impl Future<Output = Result<Next, ServeEnd>>
where
    D: Future<Output = ()>,
    H: Fn(Request<Body>) -> F,
    F: Future<Output: Into<Answer>>,
{
    let upgrade = head.upgrade;
    let (request, asked) = conn.begin(head, limits);
    async move {
        let answer = answer(conn, drain, pin!(handler(request))).await?;
        match answer {
            Answer::Response(response) => respond(conn, drain, response, asked, upgrade).await,
            Answer::Reset(_) | Answer::Close => Err(ServeEnd::Aborted),
        }
    }
}

/// Lets the handler answer a request, for as long as the peer is there.
async fn answer<D: Future<Output = ()>>(
    conn: &Connection,
    drain: &mut Drain<'_, D>,
    mut handling: Pin<&mut impl Future<Output: Into<Answer>>>,
) -> Result<Answer, ServeEnd> {
    poll_fn(|cx| {
        drain.poll_begun(cx);
        if let Poll::Ready(answer) = handling.as_mut().poll(cx) {
            return Poll::Ready(Ok(answer.into()));
        }
        conn.poll_peer(cx).map(Err)
    })
    .await
}

/// Writes a response; `upgrade`: the request asked for one.
async fn respond<D: Future<Output = ()>>(
    conn: &Connection,
    drain: &mut Drain<'_, D>,
    response: Response<Body>,
    mut asked: Asked,
    upgrade: bool,
) -> Result<Next, ServeEnd> {
    let (mut parts, body) = response.into_parts();
    let switching = parts.status == StatusCode::SWITCHING_PROTOCOLS;
    if parts.status.is_informational() && !(switching && upgrade) {
        return Err(ServeEnd::Aborted);
    }
    let switches = upgrade && (switching || (asked.connect && parts.status.is_success()));

    asked.keep_alive &= !poll_fn(|cx| Poll::Ready(drain.poll_begun(cx))).await;
    let (encoder, keep) = {
        let mut wire = conn.wire.borrow_mut();
        wire.continue_due = false;
        asked.keep_alive &= !wire.broken;
        response_head(wire.out.small(), &parts, &body, &asked)
    };
    let mut outgoing = Outgoing::new(body, encoder, conn.trailers);
    poll_fn(|cx| match outgoing.poll(&conn.wire, cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
        Poll::Ready(Err(Stuck::Io(error))) => Poll::Ready(Err(ServeEnd::from_io(&error))),
        Poll::Ready(Err(Stuck::Body(_))) => Poll::Ready(Err(ServeEnd::Aborted)),
        Poll::Pending => conn.poll_peer(cx).map(Err),
    })
    .await?;
    drop(outgoing);
    if switches {
        return Err(conn.hand_over());
    }
    let whole = conn.finish_request().await;
    if keep && whole {
        parts.headers.clear();
        return Ok(Next::Again(parts.headers));
    }
    let drained = poll_fn(|cx| Poll::Ready(drain.poll_begun(cx))).await;
    Ok(Next::Close(if drained { ServeEnd::Drained } else { ServeEnd::Finished }))
}

impl Connection {
    /// Sets the wire up for the request's body.
    fn begin(self: &Rc<Self>, head: RequestHead, limits: Limits) -> (Request<Body>, Asked) {
        let mut wire = self.wire.borrow_mut();
        wire.decoder = Decoder::new(head.length, limits);
        wire.continue_due = head.expects_continue;
        let exchange = self.exchange.get() + 1;
        self.exchange.set(exchange);
        let body = if head.length == Length::None && !head.upgrade {
            Body::empty()
        } else {
            Body::h1(H1Body::new(self.clone(), exchange, head.length, head.upgrade))
        };
        let (parts, ()) = head.request.into_parts();
        let asked = Asked::of(&parts, head.keep_alive);
        (Request::from_parts(parts, body), asked)
    }

    /// Ready when the peer is gone while its request is being answered. What it sends ahead waits its turn.
    fn poll_peer(&self, cx: &mut Context<'_>) -> Poll<ServeEnd> {
        let wire = &mut *self.wire.borrow_mut();
        if !wire.decoder.is_done() {
            // The body's reader may be another task, which then tells this one about the end.
            let mut task = self.task.borrow_mut();
            if !task.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                *task = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        if !wire.inbox.is_empty() || wire.peer_closed {
            return Poll::Pending;
        }
        match wire.poll_fill(cx) {
            Poll::Ready(Ok(0)) if !self.half_close => Poll::Ready(ServeEnd::PeerAborted),
            Poll::Ready(Err(error)) => Poll::Ready(ServeEnd::from_io(&error)),
            _ => Poll::Pending,
        }
    }

    /// After the answer: is the request read to its end, or can the rest be read away cheaply?
    async fn finish_request(&self) -> bool {
        self.end_exchange();
        let mut spent = 0;
        poll_fn(|cx| {
            let wire = &mut *self.wire.borrow_mut();
            while !wire.decoder.is_done() && !wire.peer_closed && !wire.broken && spent < DRAIN_BODY {
                match wire.poll_body(cx) {
                    Poll::Ready(Some(Ok((frame, _)))) => spent += frame.data_ref().map_or(0, Bytes::len),
                    Poll::Ready(None) => {}
                    Poll::Ready(Some(Err(_))) | Poll::Pending => break,
                }
            }
            Poll::Ready(wire.decoder.is_done() && !wire.is_closed())
        })
        .await
    }

    fn end_exchange(&self) {
        self.exchange.set(self.exchange.get() + 1);
        self.upgrade.replace(None);
        self.wire.borrow_mut().detach_reader();
    }

    fn hand_over(&self) -> ServeEnd {
        let waiting = self.upgrade.take();
        match (self.wire.borrow_mut().take_io(), waiting) {
            (Some((ahead, io)), Some(waiting)) => match waiting.send(Upgraded::stream(ahead, io)) {
                Ok(()) => ServeEnd::Upgraded,
                Err(_) => ServeEnd::Aborted,
            },
            _ => ServeEnd::Aborted,
        }
    }

    /// Ends the connection.
    async fn stop(&self, stop: Stop, options: &ServerOptions, mut timer: Timer) -> ServeEnd {
        let end = match stop {
            Stop::End(end) => return end,
            Stop::Close(end) => end,
            Stop::Refuse(status, end) => {
                let (code, reason) = (status.as_str(), status.canonical_reason().unwrap_or(""));
                let text = format!("HTTP/1.1 {code} {reason}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                self.wire.borrow_mut().out.small().extend_from_slice(text.as_bytes());
                end
            }
        };
        self.say_goodbye(options, &mut timer).await;
        end
    }

    /// Writes what is left, closes our half and waits a little for the peer's: closing with unread bytes would make
    /// the kernel reset the connection, and the last answer with it.
    async fn say_goodbye(&self, options: &ServerOptions, timer: &mut Timer) {
        let since = Instant::now();
        let (mut flushed, mut shut) = (false, false);
        poll_fn(|cx| {
            let wire = &mut *self.wire.borrow_mut();
            let step = (|| {
                if !flushed {
                    std::task::ready!(wire.poll_flush(cx))?;
                    flushed = true;
                }
                if !shut {
                    std::task::ready!(wire.poll_shutdown(cx))?;
                    shut = true;
                }
                while !wire.peer_closed {
                    std::task::ready!(wire.poll_fill(cx))?;
                    wire.inbox.clear();
                }
                Poll::Ready(std::io::Result::Ok(()))
            })();
            if step.is_ready() {
                return Poll::Ready(());
            }
            timer.poll_after(cx, since, Some(options.delayed_close))
        })
        .await;
    }
}

impl Source for Connection {
    fn poll_body(
        &self,
        exchange: u64,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<(Frame<Bytes>, bool), BodyErrorKind>>> {
        if exchange != self.exchange.get() {
            return Poll::Ready(Some(Err(BodyErrorKind::Closed)));
        }
        let mut wire = self.wire.borrow_mut();
        let polled = wire.poll_body(cx);
        if polled.is_ready()
            && let Some(task) = self.task.take()
            && !task.will_wake(cx.waker())
        {
            task.wake();
        }
        polled
    }

    fn abandon(&self, _exchange: u64) {}

    fn on_upgrade(&self, exchange: u64) -> Option<OnUpgrade> {
        if exchange != self.exchange.get() || self.upgrade.borrow().is_some() {
            return None;
        }
        let (sender, on_upgrade) = OnUpgrade::pair();
        self.upgrade.replace(Some(sender));
        Some(on_upgrade)
    }

    fn side(&self) -> Side {
        Side::Downstream
    }
}

/// Closes the connection when its future ends or is dropped, even if a body still refers to it.
struct Hangup(Rc<Connection>);

impl Drop for Hangup {
    fn drop(&mut self) {
        self.0.end_exchange();
        self.0.wire.borrow_mut().close();
    }
}
