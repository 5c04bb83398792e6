//! The doors: sockets of the control plane, and who stands before them.
//!
//! Owns accepting, TLS, and the end of it all; what is served behind a door is its owner's.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use base::drain::Watch;
use base::{Backoff, SpiffeId};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;
use transport::Stream;
use transport::listen::{self, BindError};
use transport::tls::ServerTls;

/// Who calls, as the connection proves it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    /// The proven identity.
    pub identity: Option<SpiffeId>,
    /// The certificate that proves it.
    pub shown: Option<Shown>,
    /// It came through the TLS door.
    pub is_tls: bool,
    /// Its address, for logs.
    pub address: Option<SocketAddr>,
}

/// A certificate that was shown and verified.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// Its serial number in lower-case hexadecimal.
    pub serial: String,
    /// Valid to.
    pub not_after: SystemTime,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.identity {
            Some(identity) => write!(f, "{identity}")?,
            None if self.is_tls => f.write_str("no identity, TLS")?,
            None => f.write_str("no identity, plain")?,
        }
        self.address.map_or(Ok(()), |address| write!(f, " from {address}"))
    }
}

/// A connection that was let in, with its caller.
pub(crate) struct Incoming {
    stream: Stream,
    caller: Caller,
    _place: Option<Place>,
}

/// How many connections each address may have at a door at once. Without it one client could hold all that the process may open.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    each: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Places {
    /// So many for each address.
    pub fn new(each: usize) -> Self {
        Self { each, taken: Arc::default() }
    }

    fn take(&self, address: IpAddr) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(address).or_default();
        if *count >= self.each {
            return None;
        }
        *count += 1;
        Some(Place { address, taken: self.taken.clone() })
    }
}

/// The place of one connection, until it is dropped.
struct Place {
    address: IpAddr,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

impl Connected for Incoming {
    type ConnectInfo = Caller;
    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Incoming {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Incoming {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Connections of the API's TLS door, as axum takes them.
pub(crate) struct ApiListener {
    incoming: ReceiverStream<io::Result<Incoming>>,
    address: SocketAddr,
}

impl ApiListener {
    /// The connections of `incoming`, which were accepted at `address`.
    pub fn new(incoming: ReceiverStream<io::Result<Incoming>>, address: SocketAddr) -> Self {
        Self { incoming, address }
    }
}

impl axum::serve::Listener for ApiListener {
    type Io = Incoming;
    type Addr = (SocketAddr, Option<SpiffeId>);

    async fn accept(&mut self) -> (Incoming, Self::Addr) {
        loop {
            match self.incoming.next().await {
                Some(Ok(incoming)) => {
                    let caller = &incoming.caller;
                    let address = caller.address.unwrap_or(self.address);
                    let of = (address, caller.identity.clone());
                    return (incoming, of);
                }
                Some(Err(_)) => {}
                // Over: the server ends by its own signal.
                None => std::future::pending().await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok((self.address, None))
    }
}

/// A handshake takes no longer.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections that were let in and wait to be served.
const WAITING: usize = 128;
/// A silent connection is asked after this whether it still lives, and has that long to answer. A proxy whose machine
/// is gone without a word leaves the registry after both, and the grace of a broken connection.
pub(crate) const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// Binds a TCP door. Gives its address too, with the port that was chosen for 0.
///
/// # Errors
/// The port is in use, or not ours to bind.
pub(crate) fn bind(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let refused = |source| BindError::Refused { addr, source };
    let bound = listen::tcp(addr, None, &listen::Options::default())?;
    let local = bound.local_addr().map_err(refused)?;
    let socket = bound.as_fd().try_clone_to_owned().map_err(refused)?;
    let listener = TcpListener::from_std(socket.into()).map_err(refused)?;
    Ok((listener, local))
}

/// Accepts connections until the drain begins, each after its handshake if there is `tls`, and no more of an address than
/// there are `places`.
pub(crate) fn incoming(
    listener: TcpListener,
    tls: Option<ServerTls>,
    places: Option<Places>,
    drain: &Watch,
) -> ReceiverStream<io::Result<Incoming>> {
    let (out, stream) = mpsc::channel(WAITING);
    let draining = drain.started();
    tokio::spawn(async move {
        tokio::select! {
            () = draining => {}
            () = accept(listener, tls, places, out) => {}
        }
    });
    ReceiverStream::new(stream)
}

async fn accept(
    listener: TcpListener,
    tls: Option<ServerTls>,
    places: Option<Places>,
    out: mpsc::Sender<io::Result<Incoming>>,
) {
    let mut pause = Backoff::new(Duration::from_millis(5), Duration::from_secs(1));
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                pause.reset();
                let place = places.as_ref().map(|places| places.take(address.ip()));
                if let Some(None) = place {
                    tracing::info!("{address}: closed: its address has as many connections as one may have");
                    continue;
                }
                // Fails only on a dead socket, which the first read will say.
                let _ = stream.set_nodelay(true);
                tokio::spawn(greet((stream.into(), place.flatten()), address, tls.clone(), out.clone()));
            }
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(pause.next_delay()).await;
            }
        }
    }
}

async fn greet(
    (stream, place): (Stream, Option<Place>),
    address: SocketAddr,
    tls: Option<ServerTls>,
    out: mpsc::Sender<io::Result<Incoming>>,
) {
    let (stream, identity, shown) = match &tls {
        None => (stream, None, None),
        Some(tls) => match tls.accept(stream, HANDSHAKE).await {
            Ok((stream, peer)) => {
                let proven = peer.certificate.filter(|_| peer.identity.is_some());
                let shown = proven.map(|it| Shown { serial: it.serial, not_after: it.not_after });
                (stream, peer.identity, shown)
            }
            Err(error) => {
                tracing::info!("{address}: no TLS handshake: {error}");
                return;
            }
        },
    };
    let caller = Caller { identity, shown, is_tls: tls.is_some(), address: Some(address) };
    // A server that has ended takes nobody in.
    let _ = out.send(Ok(Incoming { stream, caller, _place: place })).await;
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn no_address_takes_every_place() {
        let (listener, address) = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let (_drain, watch) = base::drain::channel();
        let mut served = incoming(listener, None, Some(Places::new(2)), &watch);
        let connect = || async { TcpStream::connect(address).await.unwrap() };
        let _clients = [connect().await, connect().await];
        let (first, _second) = (served.next().await.unwrap().unwrap(), served.next().await.unwrap().unwrap());
        let mut third = connect().await;
        assert!(matches!(third.read(&mut [0]).await, Ok(0) | Err(_)), "it is closed");
        drop(first);
        let _fourth = connect().await;
        served.next().await.unwrap().unwrap();
    }
}
