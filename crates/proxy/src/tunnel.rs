//! Raw TCP through an HTTP proxy: by CONNECT, or by a POST whose body and whose answer's body are the bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::http::{Method, Request, StatusCode, header};
use bytes::{Buf, Bytes};
use mesh_http::Body;
use mesh_http::body::BodySender;
use model::tcp_proxy::Tunnel;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use transport::Stream;
use upstream::{ClusterPools, Exchange, Failure, Pick};

/// The upstream end of a raw connection.
pub(crate) enum Far {
    /// The endpoint itself.
    Direct(Stream),
    /// What is at the end of a tunnel.
    Tunnel(Box<dyn Carrier>),
}

/// Bytes both ways.
pub(crate) trait Carrier: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Carrier for T {}

/// Why there is no tunnel.
pub(crate) enum NoTunnel {
    /// The proxy could not be asked.
    Failed(Box<Failure>),
    /// It does not want to; the text says what came instead.
    Refused(String),
}

/// Asks the cluster for a tunnel. That any status of success opens it is HTTP's rule (RFC 9110, section 9.3.6). Making the connection may take as long as the cluster allows, and the answer as long again.
pub(crate) async fn open(
    pools: &ClusterPools,
    tunnel: &Tunnel,
    pick: &Pick<'_>,
) -> Result<(Far, Exchange), Box<NoTunnel>> {
    let limit = 2 * pools.config().connect_timeout;
    timeout(limit, ask(pools, tunnel, pick))
        .await
        .unwrap_or_else(|_| Err(refused(tunnel, format!("no answer within {limit:?}"))))
}

async fn ask(pools: &ClusterPools, tunnel: &Tunnel, pick: &Pick<'_>) -> Result<(Far, Exchange), Box<NoTunnel>> {
    let (upload, body) = match tunnel.post {
        Some(_) => Some(Body::channel(FRAMES)).unzip(),
        None => (None, None),
    };
    let mut request = request(tunnel, body.unwrap_or_default()).map_err(|e| refused(tunnel, e.to_string()))?;
    let sent = pools.send(&mut request, pick).await.map_err(|failure| Box::new(NoTunnel::Failed(failure)))?;
    let mut response = sent.response;
    if !response.status().is_success() {
        return Err(refused(tunnel, status_of(response.status())));
    }
    let far: Box<dyn Carrier> = match upload {
        Some(upload) => Box::new(Posted { upload: Some(upload), answer: response.into_body(), ahead: Bytes::new() }),
        None => {
            let upgraded = match response.body_mut().on_upgrade() {
                Some(upgrade) => upgrade.await,
                None => None,
            };
            Box::new(upgraded.ok_or_else(|| refused(tunnel, "the connection ended after the answer".to_owned()))?)
        }
    };
    Ok((Far::Tunnel(far), sent.exchange))
}

/// How many pieces of what is posted may wait to be sent.
const FRAMES: usize = 2;

fn request(tunnel: &Tunnel, body: Body) -> Result<Request<Body>, ::http::Error> {
    let request = match &tunnel.post {
        None => Request::builder().method(Method::CONNECT).uri(&*tunnel.target),
        Some(path) => Request::post(&**path).header(header::HOST, &*tunnel.target),
    };
    let mut request = request.body(body)?;
    tunnel.headers.apply(request.headers_mut());
    Ok(request)
}

fn status_of(status: StatusCode) -> String {
    format!("the answer is {}", status.as_u16())
}

fn refused(tunnel: &Tunnel, why: String) -> Box<NoTunnel> {
    Box::new(NoTunnel::Refused(format!("no tunnel to {}: {why}", tunnel.target)))
}

/// The bytes of a POST and of its answer.
struct Posted {
    /// None: all was said.
    upload: Option<BodySender>,
    answer: Body,
    /// What came and was not read yet.
    ahead: Bytes,
}

impl AsyncRead for Posted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.ahead.is_empty() {
            match ready!(self.answer.poll_next(cx)) {
                Some(Ok(frame)) => self.ahead = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..length]);
        self.ahead.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Posted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let Some(upload) = &mut self.upload else { return Poll::Ready(Err(gone())) };
        ready!(upload.poll_ready(cx)).map_err(|_| gone())?;
        upload.try_send(Bytes::copy_from_slice(bytes)).map_err(|_| gone())?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.upload.take().into_iter().for_each(BodySender::finish);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Far {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Direct(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tunnel(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Far {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Direct(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tunnel(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Direct(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tunnel(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Direct(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tunnel(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
