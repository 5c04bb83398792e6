//! One new connection to one endpoint: TCP or a Unix socket, then TLS if the endpoint wants it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use model::Address;
use model::cluster::Transport;
use model::limits::{ProxyVersion, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use transport::tls::{Peer, TlsFailure};
use transport::{ConnectError, Connector, Keepalive, Netns, Stream, proxy_header};

use crate::cluster::Core;
use crate::endpoint::Endpoint;
use crate::failure::FailureKind;
use crate::tls::Speak;

/// How connections are made: shared by all clusters of a worker.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    /// TCP keep-alive probes on upstream connections. Default none.
    pub keepalive: Option<Keepalive>,
    /// Limits and windows of upstream HTTP connections.
    pub http: mesh_http::ClientOptions,
    netns: HashMap<Box<str>, Netns>,
}

impl Dialer {
    /// Endpoints that name one of these network namespaces are dialled from inside of it.
    pub fn new(namespaces: impl IntoIterator<Item = Netns>) -> Self {
        let netns = namespaces.into_iter().map(|netns| (netns.name().into(), netns)).collect();
        Self { netns, ..Self::default() }
    }

    /// `ends`: those of the downstream connection that it is made for, if it is for one.
    pub(crate) async fn dial(
        &self,
        core: &Core,
        endpoint: &Endpoint,
        speak: Speak,
        ends: Option<&Ends>,
    ) -> Result<Dialed, DialError> {
        let limit = core.config.connect_timeout;
        match tokio::time::timeout(limit, self.dial_untimed(core, endpoint, speak, ends)).await {
            Ok(result) => result,
            Err(_) => Err(DialError::timeout(limit)),
        }
    }

    async fn dial_untimed(
        &self,
        core: &Core,
        endpoint: &Endpoint,
        speak: Speak,
        ends: Option<&Ends>,
    ) -> Result<Dialed, DialError> {
        let limit = core.config.connect_timeout;
        let (to, netns) = self.target(endpoint)?;
        let own = core.config.connections.as_ref().and_then(|options| options.tcp_keepalive).map(keepalive);
        let keepalive = own.or(self.keepalive);
        let connector = Connector { timeout: limit, keepalive, netns, ..Connector::default() };
        let mut stream = connector.connect(&to).await.map_err(|e| match e {
            ConnectError::Timeout(..) => DialError::timeout(limit),
            other => DialError::failed(other.to_string()),
        })?;
        let (local, remote) = (stream.local_addr().ok(), Some(to));
        if let Some(version) = core.tells_ends() {
            let header = header(version, ends, &stream);
            stream.write_all(&header).await.map_err(|e| DialError::failed(e.to_string()))?;
        }
        let Some(side) = core.tls_to(endpoint) else {
            let http2 = speak == Speak::Http2;
            return Ok(Dialed { stream, local, remote, tls: None, http2, https: false });
        };
        let client = side.client(speak).map_err(|e| DialError::failed(e.to_string()))?;
        let (stream, peer) =
            client.connect(stream, core.server_name(side, endpoint), limit).await.map_err(|e| match e.kind {
                TlsFailure::Timeout => DialError::timeout(limit),
                _ => DialError::failed(e.reason),
            })?;
        let http2 = match speak {
            Speak::Http2 => true,
            Speak::Either => peer.alpn.as_deref() == Some(b"h2"),
            Speak::Http1 | Speak::Raw => false,
        };
        // Inside the mesh TLS is the proxies' own affair: programs go on to see the scheme that they used.
        let https = matches!(core.config.transport, Transport::Tls(_));
        Ok(Dialed { stream, local, remote, tls: Some(Box::new(peer)), http2, https })
    }

    fn target(&self, endpoint: &Endpoint) -> Result<(transport::Address, Option<Netns>), DialError> {
        match endpoint.address() {
            Address::Socket { addr, netns: None } => Ok(((*addr).into(), None)),
            Address::Socket { addr, netns: Some(name) } => Ok(((*addr).into(), Some(self.namespace(name)?))),
            Address::Pipe { path, netns } => {
                let netns = netns.as_deref().map(|name| self.namespace(name)).transpose()?;
                Ok((transport::Address::unix(path), netns))
            }
            Address::Host { host, .. } => Err(DialError::failed(format!("`{host}` is not resolved"))),
        }
    }

    fn namespace(&self, name: &str) -> Result<Netns, DialError> {
        let unknown = || DialError::failed(format!("no network namespace `{name}` is known here"));
        self.netns.get(name).cloned().ok_or_else(unknown)
    }
}

/// As Envoy: a connection that is for nobody in front of us, such as one of a health check, is told in version 1 as our own.
fn header(version: ProxyVersion, ends: Option<&Ends>, stream: &Stream) -> Vec<u8> {
    let ip = |address: std::io::Result<transport::Address>| address.ok()?.ip();
    let told = ends.map(|ends| (ends.source, ends.destination));
    match version {
        ProxyVersion::V1 => {
            let own = || ip(stream.local_addr()).zip(ip(stream.peer_addr()));
            proxy_header::encode(proxy_header::Version::V1, told.or_else(own))
        }
        ProxyVersion::V2 => proxy_header::encode(proxy_header::Version::V2, told),
    }
}

fn keepalive(probes: TcpKeepalive) -> Keepalive {
    let seconds = |n: u32| Duration::from_secs(n.into());
    Keepalive { idle: probes.time.map(seconds), interval: probes.interval.map(seconds), probes: probes.probes }
}

/// The ends of a downstream connection, as a PROXY header tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Who connected.
    pub source: SocketAddr,
    /// To where.
    pub destination: SocketAddr,
}

/// A connection that stands.
pub(crate) struct Dialed {
    pub(crate) stream: Stream,
    pub(crate) local: Option<transport::Address>,
    pub(crate) remote: Option<transport::Address>,
    pub(crate) tls: Option<Box<Peer>>,
    /// HTTP/2 is spoken on it.
    pub(crate) http2: bool,
    /// Requests on it are `https`.
    pub(crate) https: bool,
}

/// A connection that was not made.
#[derive(Debug, Clone)]
pub(crate) struct DialError {
    pub(crate) kind: FailureKind,
    pub(crate) reason: Cow<'static, str>,
}

impl DialError {
    /// None was tried: there are as many as may be.
    pub(crate) fn overflow() -> Self {
        Self { kind: FailureKind::Overflow, reason: "".into() }
    }

    fn failed(reason: String) -> Self {
        Self { kind: FailureKind::ConnectFailed, reason: reason.into() }
    }

    fn timeout(limit: Duration) -> Self {
        Self { kind: FailureKind::ConnectTimeout, reason: format!("no connection within {limit:?}").into() }
    }
}
