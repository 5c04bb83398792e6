//! A workload as the SPIFFE Workload API is served over it: its certificate as whoever keeps it says, and over the link to
//! the control plane the bundles of trust domains and tokens.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base::{Backoff, SpiffeId};
use proto::halcyon::identity::v1::workload_identity_client::WorkloadIdentityClient;
use proto::halcyon::identity::v1::{Bundles as WireBundles, MintJwtRequest, WatchBundlesRequest};
use svid::{Bundle, BundleError, Bundles, Workload, X509Svid, X509SvidError};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::Status;

use super::Link;

/// The first and longest bound of the wait between two streams.
const BETWEEN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// How long signing a token may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the control plane is reached. The text of an error says why it is not.
pub type OpenLink = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Link, String>> + Send>> + Send + Sync>;

/// A workload of the mesh.
pub struct Member {
    open: OpenLink,
    identity: watch::Sender<Option<Arc<X509Svid>>>,
    bundles: watch::Sender<Option<Arc<Bundles>>>,
}

/// Why what the control plane says of bundles cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundlesError {
    /// A name that is none.
    #[error("`{0}` is no trust domain")]
    Domain(String),
    /// A document.
    #[error("the bundle of `{0}`: {1}")]
    Document(String, #[source] BundleError),
}

impl Member {
    /// One that has no certificate yet.
    pub fn new(open: OpenLink) -> Arc<Self> {
        Arc::new(Self { open, identity: watch::Sender::default(), bundles: watch::Sender::default() })
    }

    /// Its certificate and key (PEM) from now on.
    ///
    /// # Errors
    /// They cannot be read; those before stay.
    pub fn show(&self, id: &SpiffeId, chain: &str, key: &str) -> Result<(), X509SvidError> {
        let svid = X509Svid::from_pem(id.clone(), chain, key)?;
        self.identity.send_replace(Some(Arc::new(svid)));
        Ok(())
    }

    /// Follows the bundles for as long as this runs. `tell` hears why that stops for a while.
    pub async fn follow(self: Arc<Self>, tell: impl Fn(&str) + Send) {
        let mut backoff = Backoff::new(BETWEEN.0, BETWEEN.1);
        // There is nobody to ask for before a certificate proves who asks.
        let mut identity = self.identity.subscribe();
        if identity.wait_for(Option::is_some).await.is_err() {
            return;
        }
        loop {
            if let Err(reason) = self.hear(&mut backoff).await {
                tell(&reason);
            }
            sleep(backoff.next_delay()).await;
        }
    }

    async fn hear(&self, backoff: &mut Backoff) -> Result<(), String> {
        let link = (self.open)().await?;
        let words = |status: Status| status.message().to_owned();
        let mut client = WorkloadIdentityClient::new(link).max_decoding_message_size(super::MAX_MESSAGE);
        let mut stream = client.watch_bundles(WatchBundlesRequest {}).await.map_err(words)?.into_inner();
        while let Some(message) = stream.message().await.map_err(words)? {
            backoff.reset();
            let bundles = read(message).map_err(|error| error.to_string())?;
            self.bundles.send_replace(Some(Arc::new(bundles)));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Workload for Member {
    fn identity(&self) -> watch::Receiver<Option<Arc<X509Svid>>> {
        self.identity.subscribe()
    }

    fn bundles(&self) -> watch::Receiver<Option<Arc<Bundles>>> {
        self.bundles.subscribe()
    }

    async fn mint(&self, audience: Vec<String>) -> Result<String, Status> {
        let asking = async {
            let link = (self.open)().await.map_err(Status::unavailable)?;
            let answer = WorkloadIdentityClient::new(link).mint_jwt(MintJwtRequest { audience }).await?;
            Ok(answer.into_inner().token)
        };
        let late = |_| Err(Status::unavailable(format!("the control plane gave no answer within {PATIENCE:?}")));
        timeout(PATIENCE, asking).await.unwrap_or_else(late)
    }
}

fn read(message: WireBundles) -> Result<Bundles, BundlesError> {
    let domain = |name: &str| name.parse().map_err(|_| BundlesError::Domain(name.to_owned()));
    let document = |(name, text): (String, Vec<u8>)| {
        let bundle = Bundle::parse(&String::from_utf8_lossy(&text));
        Ok((domain(&name)?, bundle.map_err(|error| BundlesError::Document(name, error))?))
    };
    let own = domain(&message.trust_domain)?;
    let all = message.documents.into_iter().map(document).collect::<Result<_, _>>()?;
    Ok(Bundles { own, all, crl: message.crl })
}
