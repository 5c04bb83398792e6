//! The certificate service on the wire: `istio.v1.auth.IstioCertificateService`, behind the TLS door only.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proto::istio::v1::auth::istio_certificate_service_server::IstioCertificateService;
use proto::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::audit::Author;
use crate::authority::{Issuer, Proof, Refusal};
use crate::callers::Attempts;
use crate::doors::Caller;
use crate::v1::AuditEntry;

/// Answers certificate requests of proven callers.
pub struct CertificateService {
    issuer: Issuer,
    /// How often callers failed, by address.
    attempts: Arc<Attempts>,
}

impl CertificateService {
    /// A service that asks `issuer`.
    pub fn new(issuer: Issuer, attempts: Arc<Attempts>) -> Self {
        Self { issuer, attempts }
    }

    /// Writes a refusal down. Nobody is kept out for failing often: whole racks may stand behind one address, and a token
    /// cannot be guessed. But nobody fills the disk by it.
    async fn note(&self, address: Option<SocketAddr>, entry: AuditEntry) {
        if address.is_none_or(|address| self.attempts.failed(address.ip(), Instant::now())) {
            self.issuer.note(entry).await;
        }
    }
}

#[tonic::async_trait]
impl IstioCertificateService for CertificateService {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
        let from = caller.address.map(|address| address.to_string()).unwrap_or_default();
        let token = bearer(request.metadata().get("authorization").and_then(|value| value.to_str().ok()));
        let token = token.map(str::to_owned);
        let proof = match (&caller.identity, &token) {
            // Who has a certificate renews it; a token that is sent along is not used up.
            (Some(identity), _) => Proof::Certificate(identity, caller.shown.as_ref()),
            (None, Some(token)) => Proof::Token(token),
            (None, None) => {
                self.issuer.count_unproven();
                let by = Author::new("unknown", &from);
                let entry = AuditEntry::refused(&by, "certificate", "unproven", "nothing proves who asks");
                self.note(caller.address, entry).await;
                return Err(Status::unauthenticated(
                    "nothing proves who asks: expected a client certificate of this mesh, or a join token in \
                     `authorization: Bearer`; make a token with `halcyon token create`",
                ));
            }
        };
        let request = request.into_inner();
        let asked = u64::try_from(request.validity_duration).ok().filter(|s| *s > 0).map(Duration::from_secs);
        let issued = match self.issuer.issue(&request.csr, proof, asked, &from).await {
            Ok(issued) => issued,
            Err(refused) => {
                let (refusal, entry) = *refused;
                self.note(caller.address, entry).await;
                return Err(status(refusal));
            }
        };
        // The leaf first and the roots last, as Istio's agents expect.
        let mut cert_chain = issued.chain;
        cert_chain.push(self.issuer.bundle());
        Ok(Response::new(IstioCertificateResponse { cert_chain }))
    }
}

fn status(refusal: Refusal) -> Status {
    let words = refusal.to_string();
    match refusal {
        Refusal::Token(_) => Status::unauthenticated(words),
        Refusal::Issue(ca::IssueError::Request(_) | ca::IssueError::Ttl { .. }) => Status::invalid_argument(words),
        Refusal::Issue(ca::IssueError::Identity(..))
        | Refusal::Identity(_)
        | Refusal::OtherIdentity { .. }
        | Refusal::Revoked { .. } => Status::permission_denied(words),
        Refusal::Issue(_) => Status::internal(words),
        Refusal::Store(_) => Status::unavailable(words),
    }
}

fn bearer(header: Option<&str>) -> Option<&str> {
    let (scheme, token) = header?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
