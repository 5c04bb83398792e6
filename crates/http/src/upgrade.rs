//! What comes after HTTP: the raw byte stream of an upgraded connection or of a CONNECT tunnel.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{Method, Request, header};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use crate::h2::Tunnel;
use crate::io::Io;

/// The `:protocol` of an extended CONNECT (RFC 8441), as an extension of the request on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtendedConnect(pub String);

/// Does this request want to leave HTTP: an `Upgrade` on HTTP/1.1, or CONNECT (plain or extended)?
pub fn is_upgrade<B>(request: &Request<B>) -> bool {
    request.method() == Method::CONNECT
        || (request.version() == http::Version::HTTP_11 && request.headers().contains_key(header::UPGRADE))
}

/// Resolves to the byte stream once the upgrade was granted; `None` if it never is.
pub struct OnUpgrade(oneshot::Receiver<Upgraded>);

impl OnUpgrade {
    pub(crate) fn pair() -> (oneshot::Sender<Upgraded>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }
}

impl Future for OnUpgrade {
    type Output = Option<Upgraded>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Upgraded>> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(cx)).ok())
    }
}

/// A byte stream that was HTTP before. Bytes that were read ahead come first.
pub struct Upgraded(Kind);

enum Kind {
    Stream { ahead: Bytes, io: Box<dyn Io> },
    Tunnel(Tunnel),
}

impl Upgraded {
    pub(crate) fn stream(ahead: Bytes, io: Box<dyn Io>) -> Self {
        Self(Kind::Stream { ahead, io })
    }
    pub(crate) fn tunnel(tunnel: Tunnel) -> Self {
        Self(Kind::Tunnel(tunnel))
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Stream { ahead, .. } if !ahead.is_empty() => {
                let len = ahead.len().min(buf.remaining());
                buf.put_slice(&ahead[..len]);
                ahead.advance(len);
                Poll::Ready(Ok(()))
            }
            Kind::Stream { io, .. } => Pin::new(io).poll_read(cx, buf),
            Kind::Tunnel(tunnel) => tunnel.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Stream { io, .. } => Pin::new(io).poll_write(cx, buf),
            Kind::Tunnel(tunnel) => tunnel.poll_write(cx, buf),
        }
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Kind::Stream { io, .. } => Pin::new(io).poll_write_vectored(cx, bufs),
            Kind::Tunnel(tunnel) => {
                let first = bufs.iter().find(|b| !b.is_empty()).map_or(&[][..], |b| &**b);
                tunnel.poll_write(cx, first)
            }
        }
    }
    fn is_write_vectored(&self) -> bool {
        match &self.0 {
            Kind::Stream { io, .. } => io.is_write_vectored(),
            Kind::Tunnel(_) => false,
        }
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Stream { io, .. } => Pin::new(io).poll_flush(cx),
            Kind::Tunnel(_) => Poll::Ready(Ok(())),
        }
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Kind::Stream { io, .. } => Pin::new(io).poll_shutdown(cx),
            Kind::Tunnel(tunnel) => Poll::Ready(tunnel.shutdown()),
        }
    }
}

impl std::fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Kind::Stream { .. } => "Upgraded(http/1)",
            Kind::Tunnel(_) => "Upgraded(http/2)",
        })
    }
}
