//! The accepting end of TLS.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base::HostPattern;
use rustls::server::{Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, ServerConfig};
use rustls_pki_types::UnixTime;
use tokio_rustls::LazyConfigAcceptor;

use super::cert::LiveCert;
use super::error::{TlsError, TlsFailure};
use super::peer::Peer;
use super::pins::Pins;
use super::resume::{Basis, Tickets};
use super::standing::Standing;
use super::trust::LiveTrust;
use super::verify::{End, PeerCheck, PeerIs, Rule, Verifier};
use super::{ConfigError, Versions, checked_alpn, provider_with};
use crate::stream::Stream;

/// Which certificate a server shows.
#[derive(Debug, Clone)]
pub enum ServerCerts {
    /// Always this one.
    Single(LiveCert),
    /// By the server name that the client asks for: the most specific pattern wins, among equals the first whose key
    /// the client understands. Without a match, or without a name: the last, or no handshake.
    ByName(Vec<(HostPattern, LiveCert)>, Option<LiveCert>),
    /// As `ByName`, with the DNS names that the certificates themselves carry at the time of the handshake (as Envoy does
    /// with several certificates). Without a match, or without a name: the first.
    ByOwnNames(Vec<LiveCert>),
}

/// Whether clients prove who they are.
#[derive(Debug, Clone)]
pub enum ClientAuth {
    /// Not asked.
    None,
    /// Asked; a client without a certificate has no identity, one with a bad certificate is refused.
    Optional(PeerCheck),
    /// A client without a good certificate is refused.
    Required(PeerCheck),
}

/// What a server is built from.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Certificates.
    pub certs: ServerCerts,
    /// Client certificates.
    pub client_auth: ClientAuth,
    /// Application protocols in the order of our wish. Empty: none is negotiated. A client that offers only others gets
    /// none and is served, as by Envoy and against RFC 7301: Istio's proxies offer `istio` to servers that do not list it.
    pub alpn: Vec<Vec<u8>>,
    /// Versions.
    pub versions: Versions,
    /// Of [`super::TLS12_SUITES`], these and no others; empty: all.
    pub suites: Vec<String>,
    /// What a client's certificate or key must be, beside what the check asks for.
    pub pins: Pins,
    /// Hand out tickets, so that a client may come back with a cheaper handshake.
    pub resumption: bool,
}

impl ServerOptions {
    /// One certificate, no client certificates, no ALPN, TLS 1.2 to 1.3, tickets.
    pub fn new(cert: LiveCert) -> Self {
        Self {
            certs: ServerCerts::Single(cert),
            client_auth: ClientAuth::None,
            alpn: Vec::new(),
            versions: Versions::default(),
            suites: Vec::new(),
            pins: Pins::default(),
            resumption: true,
        }
    }
}

/// Accepts TLS connections. Cheap to clone; shared by all workers.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    /// The same without application protocols, for clients with none in common.
    without_alpn: Arc<ServerConfig>,
    rule: Option<Arc<Rule>>,
}

impl ServerTls {
    /// Builds the server.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(options: ServerOptions) -> Result<Self, ConfigError> {
        let (rule, mandatory) = match options.client_auth {
            ClientAuth::None => (None, false),
            ClientAuth::Optional(check) => (Some(Rule::Peer(check, options.pins)), false),
            ClientAuth::Required(check) => (Some(Rule::Peer(check, options.pins)), true),
        };
        let versions = options.versions.supported();
        if versions.is_empty() {
            return Err(ConfigError::Versions);
        }
        let builder = ServerConfig::builder_with_provider(provider_with(&options.suites))
            .with_protocol_versions(versions)
            .map_err(|e| ConfigError::Library(e.to_string()))?;
        let builder = match &rule {
            None => builder.with_no_client_auth(),
            Some(rule) => builder.with_client_cert_verifier(Arc::new(Verifier { rule: rule.clone(), mandatory })),
        };
        let certs = Certs::new(options.certs);
        let basis = Basis { certs: certs.all(), trust: rule.as_ref().and_then(Rule::trust).cloned() };
        let mut config = builder.with_cert_resolver(Arc::new(certs));
        config.alpn_protocols = checked_alpn(options.alpn)?;
        // Stateless tickets only: no memory per client.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        if options.resumption {
            config.ticketer = Arc::new(Tickets::new(basis));
            config.send_tls13_tickets = 1;
        } else {
            config.send_tls13_tickets = 0;
        }
        let mut without_alpn = config.clone();
        without_alpn.alpn_protocols.clear();
        Ok(Self { config: Arc::new(config), without_alpn: Arc::new(without_alpn), rule: rule.map(Arc::new) })
    }

    /// Makes the handshake. The stream's bytes read ahead (a peeked ClientHello) go first.
    ///
    /// # Errors
    /// [`TlsError`]; an alert was sent where the protocol has one, and the stream is closed.
    pub async fn accept(&self, stream: Stream, timeout: Duration) -> Result<(Stream, Peer), TlsError> {
        let handshake = async {
            let seen = self.rule.as_ref().and_then(|rule| rule.trust()).map_or(0, LiveTrust::revocations);
            let failed = |e: std::io::Error| TlsError::from_handshake(&e);
            let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await.map_err(failed)?;
            let config = self.config_for(&start.client_hello());
            let tls = start.into_stream(config).await.map_err(failed)?;
            let session = tls.get_ref().1;
            let rule = self.rule.as_deref();
            if let (Some(rule), Some(chain), Some(HandshakeKind::Resumed)) =
                (rule, session.peer_certificates(), session.handshake_kind())
            {
                rule.check(chain, PeerIs::Client, UnixTime::now()).map_err(|e| TlsError::from_rustls(&e))?;
            }
            let name = session.server_name().map(str::to_owned);
            let peer = Peer::of(session, name, rule.is_some_and(Rule::proves));
            let rule = self.rule.as_ref().filter(|_| peer.verified);
            let standing = rule.and_then(|rule| Standing::new(rule, End::Client, seen));
            Ok((Stream::tls_server(tls, standing), peer))
        };
        let late = || TlsError::new(TlsFailure::Timeout, format_args!("no handshake within {timeout:?}"));
        tokio::time::timeout(timeout, handshake).await.unwrap_or_else(|_| Err(late()))
    }
}

impl ServerTls {
    fn config_for(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        let ours = &self.config.alpn_protocols;
        let common = hello.alpn().is_some_and(|mut offered| offered.any(|name| ours.iter().any(|o| o == name)));
        if common { self.config.clone() } else { self.without_alpn.clone() }
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("client_auth", &self.rule).finish_non_exhaustive()
    }
}

#[derive(Debug)]
enum Certs {
    /// Patterns from the most to the least specific.
    ByName(Vec<(HostPattern, LiveCert)>, Option<LiveCert>),
    ByOwnNames(Vec<LiveCert>),
}

impl Certs {
    fn new(certs: ServerCerts) -> Self {
        match certs {
            ServerCerts::Single(cert) => Self::ByName(Vec::new(), Some(cert)),
            ServerCerts::ByName(mut by_name, default) => {
                by_name.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.specificity()));
                Self::ByName(by_name, default)
            }
            ServerCerts::ByOwnNames(certs) => Self::ByOwnNames(certs),
        }
    }

    fn all(&self) -> Vec<LiveCert> {
        match self {
            Self::ByName(by_name, default) => by_name.iter().map(|(_, cert)| cert).chain(default).cloned().collect(),
            Self::ByOwnNames(certs) => certs.clone(),
        }
    }
}

impl ResolvesServerCert for Certs {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let name = hello.server_name();
        match self {
            Self::ByName(by_name, default) => {
                let named = name.and_then(|name| {
                    by_name.iter().filter(|(p, _)| p.matches(name)).find_map(|(_, cert)| cert.usable(schemes))
                });
                named.or_else(|| default.as_ref()?.usable(schemes))
            }
            Self::ByOwnNames(certs) => {
                let mut best = None;
                for cert in certs {
                    let Some(key) = cert.usable(schemes) else { continue };
                    let fit = name.and_then(|name| cert.fit(name));
                    // The first of equals stays, and the first of all serves where nothing fits.
                    if best.as_ref().is_none_or(|(best_fit, _)| fit > *best_fit) {
                        best = Some((fit, key));
                    }
                }
                best.map(|(_, key)| key)
            }
        }
    }
}
