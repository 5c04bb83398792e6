//! One concrete stream type for everything that carries bytes both ways.
//!
//! No generics leak upwards: a TCP connection, a Unix socket, either of them under TLS, and an in-memory pair for
//! tests are all a [`Stream`]. Bytes that were read too early (to see what the connection speaks) are kept in it
//! and read first.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::address::Address;
use crate::original_dst::unmapped;
use crate::tls::Standing;

/// Bytes both ways. Small: what is large stands behind a box.
pub struct Stream {
    io: Io,
    /// Bytes read ahead, to be read (again) first. `None` most of a connection's life.
    ahead: Option<Box<Ahead>>,
}

enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
    TlsServer(Box<Tls<tokio_rustls::server::TlsStream<Stream>>>),
    TlsClient(Box<Tls<tokio_rustls::client::TlsStream<Stream>>>),
    Duplex(Box<Duplex>),
    Other(Box<dyn Bytes>),
}

/// TLS, and what its peer is believed by, if it proved anything.
struct Tls<S> {
    io: S,
    standing: Option<Box<Standing>>,
}

struct Ahead {
    bytes: Vec<u8>,
    at: usize,
}

struct Duplex {
    io: DuplexStream,
    local: Address,
    peer: Address,
}

/// What [`Stream::other`] takes: any byte stream that somebody else built, such as an HTTP tunnel.
pub trait Bytes: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytes for T {}

/// Who is at the other end of a Unix socket, as the kernel vouches for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Process; none if it lies outside of our process namespace.
    pub pid: Option<i32>,
}

impl PeerCredentials {
    /// The credentials of the process that connected (`SO_PEERCRED`).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Self { uid: credentials.uid(), gid: credentials.gid(), pid: credentials.pid() })
    }
}

impl Stream {
    /// Two ends joined in memory, each with a buffer of `capacity` bytes. `left` and `right` are shown as addresses.
    pub fn duplex(capacity: usize, left: SocketAddr, right: SocketAddr) -> (Stream, Stream) {
        let (a, b) = tokio::io::duplex(capacity);
        let end = |io, local: SocketAddr, peer: SocketAddr| {
            Self::new(Io::Duplex(Box::new(Duplex { io, local: local.into(), peer: peer.into() })))
        };
        (end(a, left, right), end(b, right, left))
    }

    /// Wraps a byte stream that somebody else built. It has no addresses.
    pub fn other(io: impl Bytes + 'static) -> Self {
        Self::new(Io::Other(Box::new(io)))
    }

    pub(crate) fn tls_server(io: tokio_rustls::server::TlsStream<Self>, standing: Option<Box<Standing>>) -> Self {
        Self::new(Io::TlsServer(Box::new(Tls { io, standing })))
    }

    pub(crate) fn tls_client(io: tokio_rustls::client::TlsStream<Self>, standing: Option<Box<Standing>>) -> Self {
        Self::new(Io::TlsClient(Box::new(Tls { io, standing })))
    }

    fn new(io: Io) -> Self {
        Self { io, ahead: None }
    }

    /// Our end.
    ///
    /// # Errors
    /// The socket is closed, or the stream has no address (`Unsupported`).
    pub fn local_addr(&self) -> io::Result<Address> {
        match &self.io {
            Io::Tcp(io) => Ok(unmapped(io.local_addr()?).into()),
            Io::Unix(io) => Ok(Address::Unix(io.local_addr()?.as_pathname().map(Into::into))),
            Io::TlsServer(tls) => tls.io.get_ref().0.local_addr(),
            Io::TlsClient(tls) => tls.io.get_ref().0.local_addr(),
            Io::Duplex(io) => Ok(io.local.clone()),
            Io::Other(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The other end.
    ///
    /// # Errors
    /// The peer is gone, or the stream has no address (`Unsupported`).
    pub fn peer_addr(&self) -> io::Result<Address> {
        match &self.io {
            Io::Tcp(io) => Ok(unmapped(io.peer_addr()?).into()),
            Io::Unix(io) => Ok(Address::Unix(io.peer_addr()?.as_pathname().map(Into::into))),
            Io::TlsServer(tls) => tls.io.get_ref().0.peer_addr(),
            Io::TlsClient(tls) => tls.io.get_ref().0.peer_addr(),
            Io::Duplex(io) => Ok(io.peer.clone()),
            Io::Other(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The TCP socket at the bottom, under TLS too, if there is one.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match &self.io {
            Io::Tcp(io) => Some(io),
            Io::TlsServer(tls) => tls.io.get_ref().0.tcp(),
            Io::TlsClient(tls) => tls.io.get_ref().0.tcp(),
            Io::Unix(_) | Io::Duplex(_) | Io::Other(_) => None,
        }
    }

    /// The Unix socket, if it is one and nothing else.
    pub fn unix(&self) -> Option<&UnixStream> {
        match &self.io {
            Io::Unix(io) => Some(io),
            _ => None,
        }
    }

    /// The credentials of the process at the other end, for a Unix socket.
    ///
    /// # Errors
    /// What the kernel says; `Unsupported` for anything but a Unix socket.
    pub fn peer_credentials(&self) -> io::Result<PeerCredentials> {
        match &self.io {
            Io::Unix(io) => PeerCredentials::of(io),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The peer's certificates, leaf first, if this is TLS and it sent any.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        match &self.io {
            Io::TlsServer(tls) => tls.io.get_ref().1.peer_certificates(),
            Io::TlsClient(tls) => tls.io.get_ref().1.peer_certificates(),
            _ => None,
        }
    }

    /// Is this a TLS stream?
    pub fn is_tls(&self) -> bool {
        matches!(self.io, Io::TlsServer(_) | Io::TlsClient(_))
    }

    /// Sends small writes at once, or lets the kernel gather them. No effect on what is not TCP.
    pub fn set_nodelay(&self, nodelay: bool) {
        if let Some(tcp) = self.tcp() {
            // Fails only on a dead socket, which the next read or write will say.
            let _ = tcp.set_nodelay(nodelay);
        }
    }

    /// Closes at once and tells a TCP peer with a reset, so that it can tell a fault from a regular end.
    pub fn reset(self) {
        if let Some(tcp) = self.tcp() {
            let _ = socket2::SockRef::from(tcp).set_linger(Some(Duration::ZERO));
        }
    }

    /// Bytes that were read ahead and not yet consumed.
    pub fn read_ahead(&self) -> &[u8] {
        self.ahead.as_ref().map_or(&[], |ahead| &ahead.bytes[ahead.at..])
    }

    /// Puts `bytes` before everything that is still to be read.
    pub fn rewind(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut whole = Vec::with_capacity(bytes.len() + self.read_ahead().len());
        whole.extend_from_slice(bytes);
        whole.extend_from_slice(self.read_ahead());
        self.ahead = Some(Box::new(Ahead { bytes: whole, at: 0 }));
    }

    /// Drops the first `count` bytes that were read ahead, such as a header that is now understood.
    ///
    /// # Panics
    /// If fewer were read ahead.
    pub fn discard(&mut self, count: usize) {
        assert!(count <= self.read_ahead().len(), "only bytes that were read ahead can be discarded");
        if let Some(ahead) = &mut self.ahead {
            ahead.at += count;
            if ahead.at == ahead.bytes.len() {
                self.ahead = None;
            }
        }
    }

    /// Reads more bytes ahead, until `limit` are held in all. Ready with how many came: zero at the end of the stream
    /// or when the limit is reached.
    pub(crate) fn poll_read_ahead(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>> {
        let held = self.read_ahead().len();
        if held >= limit {
            return Poll::Ready(Ok(0));
        }
        let mut buffer = [0; 2048];
        let room = buffer.len().min(limit - held);
        let mut buffer = ReadBuf::new(&mut buffer[..room]);
        ready!(self.io.poll_read(cx, &mut buffer))?;
        let fresh = buffer.filled();
        if !fresh.is_empty() {
            self.ahead
                .get_or_insert_with(|| Box::new(Ahead { bytes: Vec::new(), at: 0 }))
                .bytes
                .extend_from_slice(fresh);
        }
        Poll::Ready(Ok(fresh.len()))
    }
}

impl From<TcpStream> for Stream {
    fn from(io: TcpStream) -> Self {
        Self::new(Io::Tcp(io))
    }
}

impl From<UnixStream> for Stream {
    fn from(io: UnixStream) -> Self {
        Self::new(Io::Unix(io))
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(ahead) = &mut this.ahead {
            let count = buf.remaining().min(ahead.bytes.len() - ahead.at);
            buf.put_slice(&ahead.bytes[ahead.at..ahead.at + count]);
            this.discard(count);
            return Poll::Ready(Ok(()));
        }
        match &mut this.io {
            Io::Tcp(io) => Pin::new(io).poll_read(cx, buf),
            io => io.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.io.check_peer()?;
        self.io.pin().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io.check_peer()?;
        self.io.pin().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Tcp(io) => io.is_write_vectored(),
            Io::Unix(io) => io.is_write_vectored(),
            Io::TlsServer(tls) => tls.io.is_write_vectored(),
            Io::TlsClient(tls) => tls.io.is_write_vectored(),
            Io::Duplex(io) => io.io.is_write_vectored(),
            Io::Other(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.pin().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.pin().poll_shutdown(cx)
    }
}

impl Io {
    /// A peer that is revoked is heard no more, and woken for when that becomes known.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(standing) = self.standing() {
            // First asked to be woken, then looked: nothing falls in between.
            standing.wait(cx);
        }
        self.check_peer()?;
        self.pin().poll_read(cx, buf)
    }

    fn check_peer(&mut self) -> io::Result<()> {
        match self {
            Self::TlsServer(tls) => tls.check(|io| io.get_ref().1.peer_certificates()),
            Self::TlsClient(tls) => tls.check(|io| io.get_ref().1.peer_certificates()),
            _ => Ok(()),
        }
    }

    fn standing(&self) -> Option<&Standing> {
        match self {
            Self::TlsServer(tls) => tls.standing.as_deref(),
            Self::TlsClient(tls) => tls.standing.as_deref(),
            _ => None,
        }
    }

    fn pin(&mut self) -> Pin<&mut dyn Bytes> {
        match self {
            Self::Tcp(io) => Pin::new(io),
            Self::Unix(io) => Pin::new(io),
            Self::TlsServer(tls) => Pin::new(&mut tls.io),
            Self::TlsClient(tls) => Pin::new(&mut tls.io),
            Self::Duplex(io) => Pin::new(&mut io.io),
            Self::Other(io) => Pin::new(&mut **io),
        }
    }
}

impl<S> Tls<S> {
    fn check<'a>(&'a mut self, chain: impl FnOnce(&'a S) -> Option<&'a [CertificateDer<'static>]>) -> io::Result<()> {
        match &mut self.standing {
            Some(standing) => standing.check(|| chain(&self.io)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.io {
            Io::Tcp(_) => "tcp",
            Io::Unix(_) => "unix",
            Io::TlsServer(_) => "tls server",
            Io::TlsClient(_) => "tls client",
            Io::Duplex(_) => "memory",
            Io::Other(_) => "other",
        };
        write!(f, "Stream({kind}")?;
        if let (Ok(local), Ok(peer)) = (self.local_addr(), self.peer_addr()) {
            write!(f, " {local} <- {peer}")?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair() -> (Stream, Stream) {
        Stream::duplex(64, "10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap())
    }

    #[test]
    fn stays_small() {
        // The promise behind "idle connections cost little": raise this only with a reason.
        assert!(size_of::<Stream>() <= 48, "{}", size_of::<Stream>());
        fn send<T: Send + Unpin + 'static>() {}
        send::<Stream>();
    }

    #[tokio::test]
    async fn rewound_bytes_come_first() {
        let (mut a, mut b) = pair();
        a.write_all(b"world").await.unwrap();
        a.shutdown().await.unwrap();
        b.rewind(b"lo ");
        b.rewind(b"hel");
        assert_eq!(b.read_ahead(), b"hello ");
        b.discard(1);
        let mut text = String::new();
        b.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "ello world");
        assert!(b.ahead.is_none());
        assert_eq!(a.peer_addr().unwrap(), b.local_addr().unwrap());
    }
}
