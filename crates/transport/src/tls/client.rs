//! The connecting end of TLS.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::{ClientConfig, HandshakeKind};
use rustls_pki_types::{ServerName, UnixTime};
use tokio_rustls::TlsConnector;

use super::cert::LiveCert;
use super::error::{TlsError, TlsFailure};
use super::peer::Peer;
use super::pins::Pins;
use super::resume::{Basis, Sessions};
use super::standing::Standing;
use super::trust::LiveTrust;
use super::verify::{End, PeerCheck, PeerIs, Rule, Verifier};
use super::{ConfigError, Versions, checked_alpn, provider};
use crate::stream::Stream;

/// How a server's certificate is checked.
#[derive(Debug, Clone)]
pub enum ServerCheck {
    /// By identity or by names of our choice.
    Peer(PeerCheck),
    /// As on the web: it chains to one of the plain roots and is valid for the server name of the connection.
    Hostname(LiveTrust),
}

/// What a client is built from.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// The check of the server.
    pub check: ServerCheck,
    /// Our certificate, if the server asks for one.
    pub cert: Option<LiveCert>,
    /// Application protocols offered, in the order of our wish.
    pub alpn: Vec<Vec<u8>>,
    /// Versions.
    pub versions: Versions,
    /// Resume earlier sessions.
    pub resumption: bool,
}

impl ClientOptions {
    /// No certificate of our own, no ALPN, TLS 1.2 to 1.3, resumption.
    pub fn new(check: ServerCheck) -> Self {
        Self { check, cert: None, alpn: Vec::new(), versions: Versions::default(), resumption: true }
    }
}

/// Opens TLS connections. Cheap to clone; shared by all workers.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    /// None: every handshake is a full one.
    sessions: Option<Arc<Sessions>>,
    rule: Arc<Rule>,
}

impl ClientTls {
    /// Builds the client.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(options: ClientOptions) -> Result<Self, ConfigError> {
        let rule = match options.check {
            ServerCheck::Peer(check) => Rule::Peer(check, Pins::default()),
            ServerCheck::Hostname(trust) => Rule::Hostname(trust),
        };
        let versions = options.versions.supported();
        if versions.is_empty() {
            return Err(ConfigError::Versions);
        }
        let builder = ClientConfig::builder_with_provider(provider().clone())
            .with_protocol_versions(versions)
            .map_err(|e| ConfigError::Library(e.to_string()))?
            .dangerous() // "custom verifier"; what it checks stands in `verify`
            .with_custom_certificate_verifier(Arc::new(Verifier { rule: rule.clone(), mandatory: true }));
        let basis = Basis { certs: options.cert.iter().cloned().collect(), trust: rule.trust().cloned() };
        let mut config = match options.cert {
            None => builder.with_no_client_auth(),
            Some(cert) => builder.with_client_cert_resolver(Arc::new(cert)),
        };
        config.alpn_protocols = checked_alpn(options.alpn)?;
        config.resumption = Resumption::disabled();
        let sessions = options.resumption.then(|| Arc::new(Sessions::new(basis)));
        Ok(Self { config: Arc::new(config), sessions, rule: Arc::new(rule) })
    }

    /// The same client, offering other application protocols. Sessions are shared.
    ///
    /// # Errors
    /// [`ConfigError::Alpn`].
    pub fn with_alpn(&self, alpn: Vec<Vec<u8>>) -> Result<Self, ConfigError> {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = checked_alpn(alpn)?;
        Ok(Self { config: Arc::new(config), ..self.clone() })
    }

    /// For a connection that begins now.
    fn connector(&self) -> TlsConnector {
        let Some(sessions) = &self.sessions else { return self.config.clone().into() };
        let mut config = ClientConfig::clone(&self.config);
        config.resumption = sessions.now();
        Arc::new(config).into()
    }

    /// Makes the handshake. `server_name` is sent as SNI if it is a DNS name; `None` sends none.
    ///
    /// # Errors
    /// [`TlsError`]; an alert was sent where the protocol has one, and the stream is closed. A TLS 1.3 server that
    /// refuses our certificate says so only later: see [`TlsError::from_stream_error`].
    pub async fn connect(
        &self,
        stream: Stream,
        server_name: Option<&str>,
        timeout: Duration,
    ) -> Result<(Stream, Peer), TlsError> {
        let name = match server_name {
            Some(name) => ServerName::try_from(name.to_owned()).map_err(|_| {
                TlsError::new(TlsFailure::Protocol, format_args!("`{name}` cannot be a server name (SNI)"))
            })?,
            // An address is never sent; it only keys the sessions.
            None => ServerName::IpAddress(peer_ip(&stream).into()),
        };
        let handshake = async {
            let seen = self.rule.trust().map_or(0, LiveTrust::revocations);
            let tls = self.connector().connect(name.clone(), stream).await.map_err(|e| TlsError::from_handshake(&e))?;
            let session = tls.get_ref().1;
            if session.handshake_kind() == Some(HandshakeKind::Resumed) {
                let chain = session.peer_certificates().unwrap_or_default();
                let checked = self.rule.check(chain, PeerIs::Server(&name), UnixTime::now());
                checked.map_err(|e| TlsError::from_rustls(&e))?;
            }
            let sent = server_name.filter(|_| matches!(name, ServerName::DnsName(_))).map(str::to_owned);
            let peer = Peer::of(session, sent, self.rule.proves());
            let standing = Standing::new(&self.rule, End::Server, seen).filter(|_| peer.verified);
            Ok((Stream::tls_client(tls, standing), peer))
        };
        let late = || TlsError::new(TlsFailure::Timeout, format_args!("no handshake within {timeout:?}"));
        tokio::time::timeout(timeout, handshake).await.unwrap_or_else(|_| Err(late()))
    }
}

fn peer_ip(stream: &Stream) -> IpAddr {
    let addr = stream.peer_addr().ok().and_then(|addr| addr.ip());
    addr.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |addr| addr.ip())
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("check", &self.rule).finish_non_exhaustive()
    }
}
