//! The gRPC channel to the control plane: TCP or a Unix socket, TLS with the roots of the bootstrap, our certificate
//! once we have one and the bootstrap token until then.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::Uri;
use hyper_util::rt::TokioIo;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tower_service::Service;
use transport::tls::{
    Accept, ClientOptions, ClientTls, ConfigError, LiveCert, LiveTrust, PeerCheck, Roots, RootsError, ServerCheck,
    TrustBundles,
};
use transport::{Address, Connector, Stream};

use crate::bootstrap::{ControlPlane, ControlServer, Token};

/// How long a connection may take, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// HTTP/2 pings find a control plane that vanished.
const PING: Duration = Duration::from_secs(30);
/// How long the answer to a ping may take.
const PONG: Duration = Duration::from_secs(10);

/// A channel on which every request says who we are.
pub(crate) type Link = InterceptedService<Channel, Bearer>;

/// Opens channels to the control plane.
#[derive(Clone)]
pub(crate) struct Links {
    dial: Dial,
    token: Option<Token>,
    cert: LiveCert,
}

/// Why the control plane's roots cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The trust bundle.
    #[error("trust bundle: {0}")]
    Roots(#[from] RootsError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] ConfigError),
}

impl Links {
    /// To this control plane; `cert` is ours, empty until there is one.
    ///
    /// # Errors
    /// The roots cannot be read.
    pub(crate) fn new(plane: &ControlPlane, cert: LiveCert) -> Result<Self, LinkError> {
        let tls = match &plane.tls {
            None => None,
            Some(tls) => {
                let roots = Roots::from_pem(&String::from_utf8_lossy(&tls.trust_bundle))?;
                let (check, name) = server_check(&tls.server, roots);
                let options =
                    ClientOptions { cert: Some(cert.clone()), alpn: vec![b"h2".to_vec()], ..ClientOptions::new(check) };
                Some((ClientTls::new(options)?, name))
            }
        };
        Ok(Self { dial: Dial { address: plane.address.clone(), tls }, token: plane.token.clone(), cert })
    }

    /// Connects. The token goes along only as long as no certificate speaks for us.
    ///
    /// # Errors
    /// No connection, or no TLS; the text says why.
    pub(crate) async fn open(&self) -> Result<Link, String> {
        let endpoint = Endpoint::from_static("http://control-plane")
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            .keep_alive_while_idle(true);
        let channel = endpoint.connect_with_connector(self.dial.clone()).await.map_err(|e| causes(&e))?;
        let token = match &self.token {
            Some(token) if !self.cert.is_set() => format!("Bearer {}", token.read()).parse().ok(),
            _ => None,
        };
        Ok(InterceptedService::new(channel, Bearer(token)))
    }
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
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

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
