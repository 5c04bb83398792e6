//! One served HTTP/2 connection: all of its streams run inside its future.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::h2::server::{Builder, Connection, SendResponse};
use ::h2::{Reason, RecvStream};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, Stream};
use http::{Method, Request, Response, StatusCode, header};
use tokio::time::Instant;

use super::body::{H2Body, TunnelSlot, TunnelState};
use super::gather::{Gathered, Turn, gather};
use super::ping::Pinger;
use super::pump::Pump;
use super::tunnel::Tunnel;
use crate::body::Body;
use crate::error::Side;
use crate::h1::is_authority;
use crate::head::strip_for_h2;
use crate::io::Io;
use crate::options::ServerOptions;
use crate::server::{Answer, Drain, ServeEnd};
use crate::timer::Timer;
use crate::upgrade::{ExtendedConnect, Upgraded};

pub(crate) async fn serve<D, H, F>(
    io: Box<dyn Io>,
    options: &ServerOptions,
    mut drain: Drain<'_, D>,
    handler: &H,
) -> ServeEnd
where
    D: Future<Output = ()>,
    H: Fn(Request<Body>) -> F,
    F: Future<Output: Into<Answer>>,
{
    let mut timer = Timer::default();
    let (io, turn) = gather(io);
    let mut connection = match handshake(io, &turn, options, &mut timer).await {
        Ok(connection) => connection,
        Err(end) => return end,
    };
    let mut pinger = Pinger::new(connection.ping_pong(), options.keep_alive);
    let mut streams = FuturesUnordered::new();
    let mut quiet_since = Instant::now();
    let mut ending = None;
    let mut serve = |cx: &mut Context<'_>| {
        if ending.is_none() && drain.poll_begun(cx) {
            ending = Some(ServeEnd::Drained);
            connection.graceful_shutdown();
        }
        if pinger.as_mut().is_some_and(|pinger| pinger.poll_lost(cx).is_ready()) {
            return Poll::Ready(ServeEnd::PingTimeout);
        }
        loop {
            while let Poll::Ready(Some(Ending { close })) = Pin::new(&mut streams).poll_next(cx) {
                quiet_since = Instant::now();
                if close {
                    connection.abrupt_shutdown(Reason::NO_ERROR);
                    ending = Some(ServeEnd::Aborted);
                }
            }
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => streams.push(stream(request, respond, options, handler)),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(why(&error)),
                Poll::Ready(None) => {
                    let closed = if streams.is_empty() { ServeEnd::PeerClosed } else { ServeEnd::PeerAborted };
                    return Poll::Ready(ending.take().unwrap_or(closed));
                }
                Poll::Pending => break,
            }
        }
        if streams.is_empty() && ending.is_none() {
            ready!(timer.poll_after(cx, quiet_since, options.idle_timeout));
            ending = Some(ServeEnd::Idle);
            connection.graceful_shutdown();
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    };
    poll_fn(|cx| {
        let served = serve(cx);
        turn.end(cx);
        served
    })
    .await
}

async fn handshake(
    io: Gathered,
    turn: &Turn,
    options: &ServerOptions,
    timer: &mut Timer,
) -> Result<Connection<Gathered, Bytes>, ServeEnd> {
    let mut builder = Builder::new();
    builder
        .initial_window_size(options.stream_window)
        .initial_connection_window_size(options.connection_window)
        .max_frame_size(options.max_frame_bytes)
        .max_header_list_size(options.max_head_bytes.try_into().unwrap_or(u32::MAX))
        .max_concurrent_streams(options.max_concurrent_streams)
        .max_send_buffer_size(options.max_send_buffer)
        .max_pending_accept_reset_streams(options.max_pending_resets)
        .max_local_error_reset_streams(Some(options.max_error_resets))
        // Streams that were reset are remembered for stray frames; a second is a long round trip.
        .reset_stream_duration(Duration::from_secs(1));
    if options.extended_connect {
        builder.enable_connect_protocol();
    }
    let mut handshake = pin!(builder.handshake(io));
    let since = Instant::now();
    poll_fn(|cx| {
        let polled = handshake.as_mut().poll(cx);
        turn.end(cx);
        if let Poll::Ready(done) = polled {
            return Poll::Ready(done.map_err(|error| why(&error)));
        }
        timer.poll_after(cx, since, options.head_timeout).map(|()| Err(ServeEnd::HeadTimeout))
    })
    .await
}

fn why(error: &::h2::Error) -> ServeEnd {
    match error.get_io() {
        Some(io) => ServeEnd::from_io(io),
        None if error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR) => {
            ServeEnd::PeerClosed
        }
        None if error.is_remote() => ServeEnd::PeerAborted,
        None => ServeEnd::Protocol(error.to_string().into()),
    }
}

/// How a stream leaves its connection.
struct Ending {
    close: bool,
}

const CONTINUE: Ending = Ending { close: false };

/// One exchange.
async fn stream<H, F>(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    options: &ServerOptions,
    handler: &H,
) -> Ending
where
    H: Fn(Request<Body>) -> F,
    F: Future<Output: Into<Answer>>,
{
    let mut request = request;
    if let Some(expected) = request.headers_mut().remove(header::EXPECT)
        && expected.as_bytes().eq_ignore_ascii_case(b"100-continue")
        && !request.body().is_end_stream()
    {
        let mut interim = Response::new(());
        *interim.status_mut() = StatusCode::CONTINUE;
        let _ = respond.send_informational(interim);
    }
    let connect = request.method() == Method::CONNECT;
    let head_only = request.method() == Method::HEAD;
    let (request, tunnel) = match accept(request, options) {
        Ok(accepted) => accepted,
        Err(status) => {
            let mut response = Response::new(());
            *response.status_mut() = status;
            let _ = respond.send_response(response, true);
            return CONTINUE;
        }
    };
    let answer = {
        let mut handling = pin!(handler(request));
        poll_fn(|cx| {
            if let Poll::Ready(answer) = handling.as_mut().poll(cx) {
                return Poll::Ready(Some(answer.into()));
            }
            respond.poll_reset(cx).map(|_| None)
        })
        .await
    };
    let response = match answer {
        // The peer gave up.
        None => return CONTINUE,
        Some(Answer::Reset(code)) => {
            respond.send_reset(code.into());
            return CONTINUE;
        }
        Some(Answer::Close) => {
            respond.send_reset(Reason::CANCEL);
            return Ending { close: true };
        }
        Some(Answer::Response(response)) => response,
    };
    let opens = connect && response.status().is_success();
    let (response, body) = prepare(response);
    let ends = !opens && (body.is_end_stream() || head_only);
    let Ok(mut sending) = respond.send_response(response, ends) else {
        respond.send_reset(Reason::INTERNAL_ERROR);
        return CONTINUE;
    };
    if opens {
        match tunnel.map(|slot| slot.replace(TunnelState::Asked(None))) {
            Some(TunnelState::Asked(Some((waiting, recv)))) => {
                // A failed hand-over drops the tunnel, which resets the stream.
                let _ = waiting.send(Upgraded::tunnel(Tunnel::new(recv, sending, None)));
            }
            _ => sending.send_reset(Reason::CANCEL),
        }
    } else if !ends {
        let mut pump = Pump::new(body, sending);
        // Whatever stops it has reset the stream already.
        let _ = poll_fn(|cx| pump.poll(cx)).await;
    }
    CONTINUE
}

/// Checks what the codec leaves open and makes a request of it.
fn accept(
    request: Request<RecvStream>,
    options: &ServerOptions,
) -> Result<(Request<Body>, Option<TunnelSlot>), StatusCode> {
    let (mut parts, stream) = request.into_parts();
    if parts.headers.len() > options.max_headers {
        return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    check_host(&mut parts)?;
    let declared = match parts.headers.get(header::CONTENT_LENGTH) {
        Some(length) => Some(length.to_str().ok().and_then(|l| l.parse().ok()).ok_or(StatusCode::BAD_REQUEST)?),
        None => None,
    };
    if let Some(protocol) = parts.extensions.remove::<::h2::ext::Protocol>() {
        parts.extensions.insert(ExtendedConnect(protocol.as_str().to_owned()));
    }
    let body = H2Body::new(stream, Side::Downstream, declared);
    if parts.method == Method::CONNECT {
        let slot: TunnelSlot = Rc::new(RefCell::new(TunnelState::Asked(None)));
        let body = Body::h2(body.with_tunnel(slot.clone()));
        return Ok((Request::from_parts(parts, body), Some(slot)));
    }
    let body = if body.is_end_stream() { Body::empty() } else { Body::h2(body) };
    Ok((Request::from_parts(parts, body), None))
}

/// `Host` beside `:authority` must say the same (RFC 9113, section 8.3.1), and is then dropped.
fn check_host(parts: &mut http::request::Parts) -> Result<(), StatusCode> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next(), parts.uri.authority()) {
        (None, _, Some(_)) => Ok(()),
        (Some(host), None, None) if is_authority(host.as_bytes()) => Ok(()),
        (Some(host), None, Some(authority)) if host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) => {
            parts.headers.remove(header::HOST);
            Ok(())
        }
        _ => Err(StatusCode::BAD_REQUEST),
    }
}

/// Drops what HTTP/2 forbids, and declares a length that is known.
fn prepare(response: Response<Body>) -> (Response<()>, Body) {
    let (mut parts, body) = response.into_parts();
    strip_for_h2(&mut parts.headers);
    parts.version = http::Version::HTTP_2;
    if parts.status == StatusCode::SWITCHING_PROTOCOLS || parts.status.is_informational() {
        parts.status = StatusCode::BAD_GATEWAY;
    }
    if let Some(len) = body.exact_len().filter(|len| *len > 0)
        && !parts.headers.contains_key(header::CONTENT_LENGTH)
    {
        parts.headers.insert(header::CONTENT_LENGTH, len.into());
    }
    (Response::from_parts(parts, ()), body)
}
