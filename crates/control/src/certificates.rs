//! The certificate service on the wire: `istio.v1.auth.IstioCertificateService`, behind the TLS door only.

use std::time::Duration;

use proto::istio::v1::auth::istio_certificate_service_server::IstioCertificateService;
use proto::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use tonic::{Request, Response, Status};

use crate::authority::{Issuer, Proof, Refusal};
use crate::doors::Caller;

/// Answers certificate requests of proven callers.
pub struct CertificateService {
    issuer: Issuer,
}

impl CertificateService {
    /// A service that asks `issuer`.
    pub fn new(issuer: Issuer) -> Self {
        Self { issuer }
    }
}

#[tonic::async_trait]
impl IstioCertificateService for CertificateService {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
        let token = bearer(request.metadata().get("authorization").and_then(|value| value.to_str().ok()));
        let token = token.map(str::to_owned);
        let proof = match (&caller.identity, &token) {
            // Who has a certificate renews it; a token that is sent along is not used up.
            (Some(identity), _) => Proof::Certificate(identity, caller.shown.as_ref()),
            (None, Some(token)) => Proof::Token(token),
            (None, None) => {
                self.issuer.count_unproven();
                return Err(Status::unauthenticated(
                    "nothing proves who asks: expected a client certificate of this mesh, or a join token in \
                     `authorization: Bearer`; make a token with `halcyon token create`",
                ));
            }
        };
        let request = request.into_inner();
        let asked = u64::try_from(request.validity_duration).ok().filter(|s| *s > 0).map(Duration::from_secs);
        let issued = self.issuer.issue(&request.csr, proof, asked).await.map_err(status)?;
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
        Refusal::Issue(ca::IssueError::Identity(..)) | Refusal::Identity(_) => Status::permission_denied(words),
        Refusal::Issue(_) => Status::internal(words),
        Refusal::Store(_) => Status::unavailable(words),
    }
}

fn bearer(header: Option<&str>) -> Option<&str> {
    let (scheme, token) = header?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
