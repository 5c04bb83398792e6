//! A certificate for a proxy that cannot ask for one itself: asked for with its token, renewed with itself.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow};
use base::Backoff;
use ca::Key;
use hyper_util::rt::TokioIo;
use proto::istio::v1::auth::IstioCertificateRequest;
use proto::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;
use tonic::Request;
use tonic::transport::{Channel, Endpoint, Uri};
use tower_service::Service;
use transport::tls::{
    Accept, ClientOptions, ClientTls, LiveCert, LiveTrust, PeerCheck, Roots, ServerCheck, TrustBundles,
};
use transport::{Address, Connector, Stream};

use super::{Ticket, write_private};

/// The life that is asked for; the control plane may give less.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// Limit for one connection to the control plane, TLS included.
const CONNECT: Duration = Duration::from_secs(5);

/// The certificate of one proxy, in a folder of two files that are exchanged together.
pub struct Certificates {
    ticket: Ticket,
    folder: PathBuf,
    current: LiveCert,
}

impl Certificates {
    /// No certificate yet.
    pub fn new(ticket: Ticket, folder: PathBuf) -> Self {
        Self { ticket, folder, current: LiveCert::empty() }
    }

    /// The folder; the files are `current/chain.pem` and `current/key.pem` in it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Gets a certificate for a new key, and puts both in place. Until when it is good.
    pub async fn obtain(&self) -> Result<(SystemTime, SystemTime)> {
        let key = Key::generate()?;
        let request = IstioCertificateRequest {
            csr: key.csr(&self.ticket.identity)?,
            validity_duration: LIFE.as_secs() as i64,
            metadata: None,
        };
        let mut request = Request::new(request);
        if !self.current.is_set() {
            let bearer = format!("Bearer {}", self.ticket.token).parse().context("the token is no header value")?;
            request.metadata_mut().insert("authorization", bearer);
        }
        let mut client = IstioCertificateServiceClient::new(self.channel().await?);
        let answer = client.create_certificate(request).await.map_err(|status| anyhow!("{}", status.message()))?;
        let chain = answer.into_inner().cert_chain.concat();
        self.current.set_pem(&chain, &key.secret_pem())?;
        self.put(&chain, &key.secret_pem())?;
        let certificate = self.current.certificate().context("the certificate was just set")?;
        Ok((certificate.not_before, certificate.not_after))
    }

    /// Renews at half of each certificate's life, for ever.
    pub async fn keep_fresh(self, (not_before, not_after): (SystemTime, SystemTime)) {
        let (mut at, mut backoff) = (renewal(not_before, not_after), Backoff::new(CONNECT, Duration::from_secs(300)));
        loop {
            tokio::time::sleep(at.duration_since(SystemTime::now()).unwrap_or_default()).await;
            match self.obtain().await {
                Ok((not_before, not_after)) => {
                    at = renewal(not_before, not_after);
                    backoff.reset();
                }
                Err(error) => {
                    crate::print::note(&format!("halcyon: the sidecar's certificate was not renewed: {error:#}"));
                    at = SystemTime::now() + backoff.next_delay();
                }
            }
        }
    }

    /// Writes both files beside the old ones and exchanges the folders' link at once, which is what Envoy watches.
    fn put(&self, chain: &str, key: &str) -> Result<()> {
        let stamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let folder = self.folder.join(format!("issued-{stamp}"));
        write_private(&folder, "chain.pem", chain.as_bytes())?;
        write_private(&folder, "key.pem", key.as_bytes())?;
        let (link, next) = (self.folder.join("current"), self.folder.join("next"));
        let before = std::fs::read_link(&link).ok();
        std::os::unix::fs::symlink(&folder, &next).with_context(|| next.display().to_string())?;
        std::fs::rename(&next, &link).with_context(|| link.display().to_string())?;
        if let Some(before) = before {
            std::fs::remove_dir_all(&before).with_context(|| before.display().to_string())?;
        }
        Ok(())
    }

    async fn channel(&self) -> Result<Channel> {
        let address: Address = self.ticket.control.parse().map_err(|e| anyhow!("the control plane's address: {e}"))?;
        let roots = LiveTrust::new(TrustBundles::domain(
            self.ticket.server.trust_domain().parse()?,
            Roots::from_pem(&self.ticket.trust_bundle)?,
        ));
        let accept = Accept::identities([&self.ticket.server]);
        let mut options = ClientOptions::new(ServerCheck::Peer(PeerCheck::Spiffe { trust: roots, accept }));
        options.alpn = vec![b"h2".to_vec()];
        options.cert = self.current.is_set().then(|| self.current.clone());
        let tls = ClientTls::new(options)?;
        let dial = Dial { address, tls };
        Ok(Endpoint::from_static("http://control").connect_with_connector(dial).await?)
    }
}

/// Connects to the control plane for gRPC.
#[derive(Clone)]
struct Dial {
    address: Address,
    tls: ClientTls,
}

impl Service<Uri> for Dial {
    type Response = TokioIo<Stream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { address, tls } = self.clone();
        Box::pin(async move {
            let connector = Connector { timeout: CONNECT, ..Connector::default() };
            let stream = connector.connect(&address).await.map_err(std::io::Error::other)?;
            let (stream, _) = tls.connect(stream, None, CONNECT).await.map_err(std::io::Error::other)?;
            Ok(TokioIo::new(stream))
        })
    }
}

/// Half of the life, with a little chance in it.
fn renewal(not_before: SystemTime, not_after: SystemTime) -> SystemTime {
    ca::renewal_time(not_before, not_after, rand::random_range(-0.01..=0.01))
}
