//! Connections beside the mesh: carried between a program's namespace and the host's network as they are, and counted
//! nowhere.
//!
//! A program in a namespace of its own has no network but through a process outside, so also what its sidecar does not get
//! has to be carried. The supervisor does that: outgoing connections come redirected to [`BYPASS_PORT`] and go on to where
//! they were made to; incoming ones are taken at an address of the host and go on to a port of the program.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use transport::{Connector, Netns, Stream};

/// Where connections come that the sidecar does not get, inside the namespace.
pub(crate) const BYPASS_PORT: u16 = 15002;

/// The pause after the process ran out of files or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// What is carried. Ends when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Bypass(JoinSet<()>);

impl Bypass {
    /// Carries what is redirected to this socket of the namespace.
    pub(crate) fn outgoing(&mut self, listening: OwnedFd) -> io::Result<()> {
        let listener = TcpListener::from_std(listening.into())?;
        self.0.spawn(accept(listener, |stream| async move {
            // One that was made to the socket itself was meant for nobody.
            let Ok(Some(to)) = transport::original_dst(&stream) else { return };
            carry(stream, &Connector::default(), to).await;
        }));
        Ok(())
    }

    /// Takes connections at `at` and carries them to that port of the program.
    pub(crate) fn incoming(&mut self, at: SocketAddr, port: u16, inside: &Netns) -> io::Result<()> {
        let listener = std::net::TcpListener::bind(at)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let connector = Connector { netns: Some(inside.clone()), ..Connector::default() };
        self.0.spawn(accept(listener, move |stream| {
            let connector = connector.clone();
            async move { carry(stream, &connector, (Ipv4Addr::LOCALHOST, port).into()).await }
        }));
        Ok(())
    }
}

async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut carried = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(carried.spawn(serve(stream))),
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_) = carried.join_next() => {}
        }
    }
}

/// To the end of both directions. Who cannot be reached is told by a reset, since the connection stands already.
async fn carry(stream: TcpStream, connector: &Connector, to: SocketAddr) {
    // Bytes go on as they come.
    let _ = stream.set_nodelay(true);
    let mut near = Stream::from(stream);
    match connector.connect(&to.into()).await {
        Ok(mut far) => drop(tokio::io::copy_bidirectional(&mut near, &mut far).await),
        Err(_) => near.reset(),
    }
}
