//! The one way in for served connections: find out the protocol, serve it, say why it ended.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::body::Body;
use crate::error::Code;
use crate::io::{Io, Prefixed, poll_read_scratch};
use crate::options::{Protocol, ServerOptions};
use crate::timer::Timer;
use crate::{h1, h2};

/// What a handler says to a request.
#[derive(Debug)]
pub enum Answer {
    /// This response.
    Response(Response<Body>),
    /// No response: HTTP/2 resets the stream with this code, HTTP/1 closes the connection.
    Reset(Code),
    /// No response, and the connection is closed at once.
    Close,
}

impl From<Response<Body>> for Answer {
    fn from(response: Response<Body>) -> Self {
        Self::Response(response)
    }
}

/// Why a served connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServeEnd {
    /// The peer closed between requests.
    PeerClosed,
    /// The peer closed or broke off within an exchange.
    PeerAborted,
    /// One side announced the end with `Connection: close`, or HTTP/1.0 ended as it does.
    Finished,
    /// We drained: everything begun was finished.
    Drained,
    /// No request came for the idle timeout.
    Idle,
    /// A request head (or the HTTP/2 preface) took too long.
    HeadTimeout,
    /// A keep-alive ping was not answered.
    PingTimeout,
    /// The connection became the byte stream of an upgrade or a CONNECT.
    Upgraded,
    /// A handler asked for the end, or a response broke off that could not be told otherwise.
    Aborted,
    /// The peer broke the protocol; the text says how.
    Protocol(Cow<'static, str>),
    /// Reading or writing failed.
    Io(io::ErrorKind),
}

impl ServeEnd {
    pub(crate) fn from_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
                Self::PeerAborted
            }
            kind => Self::Io(kind),
        }
    }
}

/// Serves one connection to its end. `handler` is called for each request and answers with something that becomes
/// an [`Answer`], usually a response; dropping its future means that the peer is gone. When `drain` completes,
/// HTTP/1 finishes the current exchange with `Connection: close` and HTTP/2 says GOAWAY and finishes its streams.
/// Dropping the returned future closes the connection at once.
// A function that returns a block: an async function would hold its arguments twice.
pub fn serve<I, D, H, F>(io: I, options: &ServerOptions, drain: D, handler: H) -> impl Future<Output = ServeEnd>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    D: Future<Output = ()>,
    H: Fn(Request<Body>) -> F,
    F: Future<Output: Into<Answer>>,
{
    let mut io: Box<dyn Io> = Box::new(io);
    async move {
        let mut drain = Drain { future: pin!(drain), begun: false };
        let (is_h2, ahead) = match options.protocol {
            Protocol::Http1 => (false, Bytes::new()),
            Protocol::Http2 => (true, Bytes::new()),
            Protocol::Auto => match Box::pin(sniff(&mut io, options, &mut drain)).await {
                Ok(found) => found,
                Err(end) => return end,
            },
        };
        if is_h2 {
            let io = if ahead.is_empty() { io } else { Box::new(Prefixed::new(ahead, io)) };
            Box::pin(h2::serve(io, options, drain, &handler)).await
        } else {
            h1::serve(io, ahead, options, drain, &handler).await
        }
    }
}

/// A drain signal that may be polled after it has come.
pub(crate) struct Drain<'a, D> {
    future: Pin<&'a mut D>,
    begun: bool,
}

impl<D: Future<Output = ()>> Drain<'_, D> {
    /// Has the drain begun? If not, the task is woken when it does.
    pub(crate) fn poll_begun(&mut self, cx: &mut Context<'_>) -> bool {
        self.begun = self.begun || self.future.as_mut().poll(cx).is_ready();
        self.begun
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until it is clear whether the HTTP/2 preface comes.
async fn sniff<D: Future<Output = ()>>(
    io: &mut Box<dyn Io>,
    options: &ServerOptions,
    drain: &mut Drain<'_, D>,
) -> Result<(bool, Bytes), ServeEnd> {
    let mut ahead = BytesMut::new();
    let mut timer = Timer::default();
    let mut since = Instant::now();
    poll_fn(|cx| {
        if drain.poll_begun(cx) && ahead.is_empty() {
            return Poll::Ready(Err(ServeEnd::Drained));
        }
        loop {
            match poll_read_scratch(io, cx, |bytes| ahead.extend_from_slice(bytes)) {
                Poll::Ready(Ok(0)) if ahead.is_empty() => return Poll::Ready(Err(ServeEnd::PeerClosed)),
                // HTTP/1 reads the end again and says what it means.
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(false)),
                Poll::Ready(Ok(len)) => {
                    if ahead.len() == len {
                        since = Instant::now();
                    }
                    let seen = ahead.len().min(PREFACE.len());
                    if ahead[..seen] != PREFACE[..seen] {
                        return Poll::Ready(Ok(false));
                    }
                    if seen == PREFACE.len() {
                        return Poll::Ready(Ok(true));
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(ServeEnd::from_io(&error))),
                Poll::Pending => break,
            }
        }
        let (limit, end) = match ahead.is_empty() {
            true => (options.idle_timeout, ServeEnd::Idle),
            false => (options.head_timeout, ServeEnd::HeadTimeout),
        };
        timer.poll_after(cx, since, limit).map(|()| Err(end))
    })
    .await
    .map(|is_h2| (is_h2, ahead.freeze()))
}
