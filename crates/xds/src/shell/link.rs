//! The gRPC channel to the control plane: TCP or a Unix socket, TLS with the roots that the caller was given, the caller's
//! certificate once there is one and a bootstrap token until then. And the one question besides discovery that is asked
//! over it: for a certificate.
//!
//! Keys, files and when to ask again are the caller's.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base::{SpiffeId, TrustDomain};
use hyper_util::rt::TokioIo;
use proto::istio::v1::auth::IstioCertificateRequest;
use proto::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};
use tower_service::Service;
use transport::tls::{
    Accept, ClientOptions, ClientTls, ConfigError, LiveCert, LiveTrust, PeerCheck, Roots, RootsError, ServerCheck,
    TrustBundles,
};
use transport::{Address, Connector, Stream};

/// How long a connection may take, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// HTTP/2 pings find a control plane that vanished.
const PING: Duration = Duration::from_secs(30);
/// How long the answer to a ping may take.
const PONG: Duration = Duration::from_secs(10);

/// A certificate is looked for so often, while there is none.
const LOOK: Duration = Duration::from_millis(10);

/// A channel on which every request says who we are.
pub type Link = InterceptedService<Channel, Bearer>;

/// Who the control plane must prove to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlServer {
    /// Its certificate has this name, as on the web.
    Name(String),
    /// Its certificate is of this SPIFFE ID.
    Identity(SpiffeId),
}

/// Opens channels to the control plane.
#[derive(Clone)]
pub struct Links {
    dial: Dial,
    cert: LiveCert,
    /// The trust domain of the server's identity, and the roots by which it is checked.
    trust: Option<(TrustDomain, LiveTrust)>,
}

/// Why the control plane's roots cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The trust bundle.
    #[error("trust bundle: {0}")]
    Roots(#[from] RootsError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] ConfigError),
}

impl Links {
    /// In plain text; `cert` is ours, and as soon as it is set no token is sent any more.
    pub fn plain(address: Address, cert: LiveCert) -> Self {
        Self { dial: Dial { address, tls: None }, cert, trust: None }
    }

    /// Over TLS to `server`, whose certificate must lead to one of these roots; `cert` is ours, empty until there is one.
    ///
    /// # Errors
    /// The roots cannot be read.
    pub fn tls(address: Address, server: &ControlServer, roots: &str, cert: LiveCert) -> Result<Self, LinkError> {
        let (check, name) = server_check(server, Roots::from_pem(roots)?);
        let trust = match (&check, server) {
            (ServerCheck::Peer(PeerCheck::Spiffe { trust, .. }), ControlServer::Identity(id)) => {
                id.trust_domain().parse().ok().map(|domain| (domain, trust.clone()))
            }
            _ => None,
        };
        let options =
            ClientOptions { cert: Some(cert.clone()), alpn: vec![b"h2".to_vec()], ..ClientOptions::new(check) };
        Ok(Self { dial: Dial { address, tls: Some((ClientTls::new(options)?, name)) }, cert, trust })
    }

    /// From now on a server that proves an identity must do so by these roots (PEM): those of the mesh, which may change
    /// while we run. A server that is known by a name keeps the roots that it was given.
    ///
    /// # Errors
    /// They cannot be read; those before stay.
    pub fn trust(&self, roots: &str) -> Result<(), RootsError> {
        let roots = Roots::from_pem(roots)?;
        if let Some((domain, trust)) = &self.trust {
            trust.set(TrustBundles::domain(domain.clone(), roots));
        }
        Ok(())
    }

    /// Returns as soon as a certificate speaks for us.
    pub async fn proven(&self) {
        while !self.cert.is_set() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Connects. The token is asked for, and goes along, only as long as no certificate speaks for us.
    ///
    /// # Errors
    /// No connection, no TLS, or a token that cannot be sent; the text says why.
    pub async fn open(&self, token: impl FnOnce() -> Option<String>) -> Result<Link, String> {
        let token = if self.cert.is_set() { None } else { token() };
        let bearer = token.map(|token| format!("Bearer {token}").parse()).transpose();
        let bearer = bearer.map_err(|_| "the token cannot be sent: expected printable ASCII on one line".to_owned())?;
        let endpoint = Endpoint::from_static("http://control-plane")
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            .keep_alive_while_idle(true);
        let channel = endpoint.connect_with_connector(self.dial.clone()).await.map_err(|e| causes(&e))?;
        Ok(InterceptedService::new(channel, Bearer(bearer)))
    }
}

/// Asks for the certificate of a request (PEM), to hold for `life`; the control plane may give less. The chain in PEM, the
/// root last, as Istio's agents expect it.
///
/// # Errors
/// What the control plane answers instead.
pub async fn certify(link: Link, csr: String, life: Duration) -> Result<Vec<String>, Status> {
    let validity_duration = i64::try_from(life.as_secs()).unwrap_or(i64::MAX);
    let request = IstioCertificateRequest { csr, validity_duration, metadata: None };
    let answer = IstioCertificateServiceClient::new(link).create_certificate(request).await?;
    Ok(answer.into_inner().cert_chain)
}

/// How the server is checked, and the name it is called by.
fn server_check(server: &ControlServer, roots: Roots) -> (ServerCheck, Option<String>) {
    match server {
        ControlServer::Name(name) => {
            (ServerCheck::Hostname(LiveTrust::new(TrustBundles::plain(roots))), Some(name.clone()))
        }
        ControlServer::Identity(id) => {
            let bundles = match id.trust_domain().parse() {
                Ok(domain) => TrustBundles::domain(domain, roots),
                Err(_) => TrustBundles::default(),
            };
            let accept = Accept::identities([id]);
            (ServerCheck::Peer(PeerCheck::Spiffe { trust: LiveTrust::new(bundles), accept }), None)
        }
    }
}

/// Adds the token to every request.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// Makes the connection below a channel.
#[derive(Clone)]
struct Dial {
    address: Address,
    tls: Option<(ClientTls, Option<String>)>,
}

impl Service<Uri> for Dial {
    type Response = TokioIo<Stream>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _to: Uri) -> Self::Future {
        let Self { address, tls } = self.clone();
        Box::pin(async move {
            let stream = Connector::default().connect(&address).await?;
            let stream = match tls {
                None => stream,
                Some((tls, name)) => tls.connect(stream, name.as_deref(), CONNECT).await?.0,
            };
            Ok(TokioIo::new(stream))
        })
    }
}

/// An error with all its causes: tonic's own text is only `transport error`.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
