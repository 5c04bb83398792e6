//! The workload's DNS: names of the mesh are answered here, all others are passed on to the host's resolvers, unless policies
//! forbid them.
//!
//! Owns the sockets and the forwarding; what is answered is the pure question of [`answer`].

mod answer;
mod forward;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use model::NameTables;
use telemetry::{Counter, DeclareError, Desc, Family, Shard};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use transport::listen::{self, BindError};
use transport::{Netns, Stream};

use answer::{Answer, MAX_UDP, answer, refusal};
pub(crate) use forward::Resolvers;

use crate::bootstrap::Dns;

/// Questions that may wait for other name servers at once; more are answered with SERVFAIL.
const MAX_WAITING: usize = 256;
/// TCP connections served at once.
const MAX_CONNECTIONS: usize = 256;
/// A TCP connection without a question is closed after this.
const IDLE: Duration = Duration::from_secs(30);

/// Answers DNS on the runtime that it was started on.
pub(crate) struct Server {
    names: Arc<ArcSwap<NameTables>>,
    resolvers: Resolvers,
    waiting: Cell<usize>,
    connections: Cell<usize>,
    refused: Family<Counter>,
}

/// What is counted.
pub(crate) fn refused(shard: &Shard) -> Result<Family<Counter>, DeclareError> {
    let help = "Questions for names that EgressPolicies do not allow, which were answered NXDOMAIN.";
    shard.counters(Desc::new("halcyon_dns_refused_total", help).labels(&["policy"]))
}

impl Server {
    /// Opens (or takes over) the sockets and serves them with local tasks.
    ///
    /// # Errors
    /// A socket could not be had.
    pub(crate) fn start(
        dns: &Dns,
        netns: Option<&Netns>,
        names: Arc<ArcSwap<NameTables>>,
        refused: Family<Counter>,
    ) -> Result<(), BindError> {
        let resolvers = dns.resolvers.clone().map_or_else(Resolvers::of_this_host, Resolvers::new);
        let server = Rc::new(Self { names, resolvers, waiting: Cell::new(0), connections: Cell::new(0), refused });
        for addr in &dns.udp {
            let socket = Rc::new(listen::udp(*addr, netns)?);
            tokio::task::spawn_local(server.clone().serve_udp(socket));
        }
        for addr in &dns.tcp {
            let refused = |source| BindError::Refused { addr: *addr, source };
            let listener = listen::tcp(*addr, netns, &listen::Options::default())?.start().map_err(refused)?;
            tokio::task::spawn_local(server.clone().serve_tcp(listener));
        }
        Ok(())
    }

    async fn serve_udp(self: Rc<Self>, socket: Rc<UdpSocket>) {
        let mut buffer = vec![0; MAX_UDP];
        loop {
            // Errors here speak of an earlier datagram that could not be delivered.
            let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
            match answer(&self.names.load(), &buffer[..length], true, rand::random()) {
                Answer::Ignore => {}
                Answer::Reply(bytes) => send(&socket, &bytes, from).await,
                Answer::Forbidden(bytes, policies) => {
                    self.refused.with(&[&policies]).inc();
                    send(&socket, &bytes, from).await;
                }
                Answer::Forward => {
                    let (server, socket, question) = (self.clone(), socket.clone(), buffer[..length].to_vec());
                    tokio::task::spawn_local(async move {
                        let reply = server.forward(&question, true).await;
                        send(&socket, &reply, from).await;
                    });
                }
            }
        }
    }

    async fn serve_tcp(self: Rc<Self>, listener: listen::TcpListener) {
        loop {
            match listener.accept().await {
                Ok(accepted) if self.connections.get() < MAX_CONNECTIONS => {
                    let server = self.clone();
                    server.connections.set(server.connections.get() + 1);
                    tokio::task::spawn_local(async move {
                        // The peer's broken connection is the peer's concern.
                        let _ = server.serve_stream(accepted.stream).await;
                        server.connections.set(server.connections.get() - 1);
                    });
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!("dns: {error}");
                    tokio::time::sleep(error.pause).await;
                }
            }
        }
    }

    async fn serve_stream(&self, mut stream: Stream) -> std::io::Result<()> {
        loop {
            let Ok(length) = tokio::time::timeout(IDLE, stream.read_u16()).await else { return Ok(()) };
            let mut question = vec![0; usize::from(length?)];
            stream.read_exact(&mut question).await?;
            let reply = match answer(&self.names.load(), &question, false, rand::random()) {
                Answer::Ignore => return Ok(()),
                Answer::Reply(bytes) => bytes,
                Answer::Forbidden(bytes, policies) => {
                    self.refused.with(&[&policies]).inc();
                    bytes
                }
                Answer::Forward => self.forward(&question, false).await,
            };
            let length = u16::try_from(reply.len()).map_err(|_| std::io::ErrorKind::InvalidData)?;
            stream.write_all(&[&length.to_be_bytes()[..], &reply].concat()).await?;
        }
    }

    async fn forward(&self, question: &[u8], udp: bool) -> Vec<u8> {
        if self.waiting.get() >= MAX_WAITING {
            return refusal(question);
        }
        self.waiting.set(self.waiting.get() + 1);
        let reply = self.resolvers.ask(question, udp).await;
        self.waiting.set(self.waiting.get() - 1);
        reply.unwrap_or_else(|| refusal(question))
    }
}

async fn send(socket: &UdpSocket, reply: &[u8], to: SocketAddr) {
    if let Err(error) = socket.send_to(reply, to).await {
        tracing::debug!("dns: cannot answer {to}: {error}");
    }
}
