//! The accepting end of TLS.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base::HostPattern;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{HandshakeKind, ServerConfig};
use rustls_pki_types::UnixTime;
use tokio_rustls::TlsAcceptor;

use super::cert::LiveCert;
use super::error::{TlsError, TlsFailure};
use super::peer::Peer;
use super::resume::{Basis, Tickets};
use super::verify::{PeerCheck, PeerIs, Rule, Verifier};
use super::{ConfigError, Versions, checked_alpn, provider};
use crate::stream::Stream;

/// Which certificate a server shows.
#[derive(Debug, Clone)]
pub enum ServerCerts {
    /// Always this one.
    Single(LiveCert),
    /// By the server name that the client asks for: the most specific pattern wins, among equals the first whose key
    /// the client understands. Without a match, or without a name: the last, or no handshake.
    ByName(Vec<(HostPattern, LiveCert)>, Option<LiveCert>),
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
    /// Application protocols in the order of our wish. Empty: none is negotiated. Otherwise a client that offers
    /// only others is refused (RFC 7301); one that offers none is not.
    pub alpn: Vec<Vec<u8>>,
    /// Versions.
    pub versions: Versions,
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
            resumption: true,
        }
    }
}

/// Accepts TLS connections. Cheap to clone; shared by all workers.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: TlsAcceptor,
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
            ClientAuth::Optional(check) => (Some(Rule::Peer(check)), false),
            ClientAuth::Required(check) => (Some(Rule::Peer(check)), true),
        };
        let versions = options.versions.supported();
        if versions.is_empty() {
            return Err(ConfigError::Versions);
        }
        let builder = ServerConfig::builder_with_provider(provider().clone())
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
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), rule: rule.map(Arc::new) })
    }

    /// Makes the handshake. The stream's bytes read ahead (a peeked ClientHello) go first.
    ///
    /// # Errors
    /// [`TlsError`]; an alert was sent where the protocol has one, and the stream is closed.
    pub async fn accept(&self, stream: Stream, timeout: Duration) -> Result<(Stream, Peer), TlsError> {
        let handshake = async {
            let tls = self.acceptor.accept(stream).await.map_err(|e| TlsError::from_handshake(&e))?;
            let session = tls.get_ref().1;
            let rule = self.rule.as_deref();
            if let (Some(rule), Some(chain), Some(HandshakeKind::Resumed)) =
                (rule, session.peer_certificates(), session.handshake_kind())
            {
                rule.check(chain, PeerIs::Client, UnixTime::now()).map_err(|e| TlsError::from_rustls(&e))?;
            }
            let name = session.server_name().map(str::to_owned);
            let peer = Peer::of(session, name, rule.is_some_and(Rule::proves));
            Ok((Stream::from(tls), peer))
        };
        let late = || TlsError::new(TlsFailure::Timeout, format_args!("no handshake within {timeout:?}"));
        tokio::time::timeout(timeout, handshake).await.unwrap_or_else(|_| Err(late()))
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("client_auth", &self.rule).finish_non_exhaustive()
    }
}

/// Patterns from the most to the least specific.
#[derive(Debug)]
struct Certs {
    by_name: Vec<(HostPattern, LiveCert)>,
    default: Option<LiveCert>,
}

impl Certs {
    fn new(certs: ServerCerts) -> Self {
        match certs {
            ServerCerts::Single(cert) => Self { by_name: Vec::new(), default: Some(cert) },
            ServerCerts::ByName(mut by_name, default) => {
                by_name.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.specificity()));
                Self { by_name, default }
            }
        }
    }

    fn all(&self) -> Vec<LiveCert> {
        self.by_name.iter().map(|(_, cert)| cert).chain(&self.default).cloned().collect()
    }
}

impl ResolvesServerCert for Certs {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let named = hello.server_name().and_then(|name| {
            self.by_name.iter().filter(|(p, _)| p.matches(name)).find_map(|(_, cert)| cert.usable(schemes))
        });
        named.or_else(|| self.default.as_ref()?.usable(schemes))
    }
}
