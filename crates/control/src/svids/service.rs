//! Tokens and bundles on the wire: `halcyon.identity.v1.WorkloadIdentity`, behind the TLS door only, for those who proved who
//! they are.

use std::pin::Pin;

use base::drain::Watch;
use proto::halcyon::identity::v1::workload_identity_server::WorkloadIdentity;
use proto::halcyon::identity::v1::{Bundles, MintJwtRequest, MintJwtResponse, WatchBundlesRequest};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{MintError, Svids, Told};
use crate::authority::Refusal;
use crate::doors::{Caller, Shown};

/// Answers proven callers.
pub(crate) struct SvidService {
    svids: Svids,
    drain: Watch,
}

impl SvidService {
    /// A service that ends its streams when `drain` begins.
    pub fn new(svids: Svids, drain: Watch) -> Self {
        Self { svids, drain }
    }
}

#[tonic::async_trait]
impl WorkloadIdentity for SvidService {
    async fn mint_jwt(&self, request: Request<MintJwtRequest>) -> Result<Response<MintJwtResponse>, Status> {
        let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
        let (identity, shown) = proven(&caller)?;
        let audience = request.into_inner().audience;
        let minted = self.svids.mint(identity, shown, &audience, caller.address).await;
        Ok(Response::new(MintJwtResponse { token: minted.map_err(status)? }))
    }

    type WatchBundlesStream = Pin<Box<dyn Stream<Item = Result<Bundles, Status>> + Send>>;

    async fn watch_bundles(
        &self,
        request: Request<WatchBundlesRequest>,
    ) -> Result<Response<Self::WatchBundlesStream>, Status> {
        proven(&request.extensions().get::<Caller>().cloned().unwrap_or_default())?;
        let (mut told, ends) = (self.svids.told(), self.drain.started());
        let (sender, messages) = mpsc::channel(1);
        tokio::spawn(async move {
            tokio::pin!(ends);
            loop {
                let now = bundles(&told.borrow_and_update());
                if sender.send(Ok(now)).await.is_err() {
                    return;
                }
                tokio::select! {
                    changed = told.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                    () = &mut ends => return,
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }
}

fn proven(caller: &Caller) -> Result<(&base::SpiffeId, Option<&Shown>), Status> {
    let nobody = || Status::unauthenticated("nothing proves who asks: expected a client certificate of this mesh");
    caller.identity.as_ref().map(|identity| (identity, caller.shown.as_ref())).ok_or_else(nobody)
}

fn bundles(told: &Told) -> Bundles {
    let documents = told.documents.iter().map(|(domain, text)| (domain.clone(), text.clone().into_bytes()));
    Bundles { trust_domain: told.own.to_string(), documents: documents.collect(), crl: told.crl.clone() }
}

fn status(error: MintError) -> Status {
    let words = error.to_string();
    match error {
        MintError::Audience => Status::invalid_argument(words),
        MintError::Refused(Refusal::Revoked { .. }) => Status::permission_denied(words),
        MintError::Refused(_) | MintError::Key(_) => Status::internal(words),
    }
}
