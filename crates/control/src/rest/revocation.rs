//! Revoking what the certificate authority issued, and taking that back.

use axum::Extension;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Json, State};
use base::SpiffeId;
use http::StatusCode;

use super::{Answer, Parts, Refused, Shared, body, failure};
use crate::authority::{RevokeError, StepError, Subject};
use crate::callers::Caller;
use crate::v1::{RevocationRequest, Revoked};

pub async fn change(
    State(parts): Shared,
    Extension(caller): Extension<Caller>,
    request: Result<Json<RevocationRequest>, JsonRejection>,
) -> Answer<Json<Revoked>> {
    let RevocationRequest { what, restore } = body(request)?;
    let subject = subject(&parts, what.trim())?;
    let certificates = if restore {
        parts.issuer.restore_certificates(&subject, &caller.by).await?;
        Vec::new()
    } else {
        parts.issuer.revoke_certificates(&subject, &caller.by).await?
    };
    Ok(Json(Revoked { what: subject.to_string(), certificates }))
}

/// An identity, a serial number, or a connected proxy: then its certificate.
fn subject(parts: &Parts, what: &str) -> Result<Subject, Refused> {
    if what.starts_with("spiffe://") {
        let id: SpiffeId = what.parse().map_err(|e| wrong(format!("{e}")))?;
        return Ok(Subject::Identity(id));
    }
    if what.len() >= 16 && what.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Ok(Subject::Certificate(what.to_ascii_lowercase()));
    }
    let holdings = parts.proxies.holdings(&parts.issuer.mesh_trust());
    let is_named = |node: &str| node == what || node.split('~').any(|part| part == what);
    let mut found: Vec<_> = holdings.iter().filter(|held| is_named(&held.node)).collect();
    found.dedup_by(|a, b| a.serial == b.serial);
    match (&found[..], what.split_once('/')) {
        ([one], _) => one.serial.clone().map(Subject::Certificate).ok_or_else(|| {
            wrong(format!("the proxy `{}` came without a certificate, so there is none to be revoked", one.node))
        }),
        ([], Some((namespace, account))) => {
            let id = SpiffeId::workload(&parts.issuer.trust_domain(), namespace, account);
            id.map(Subject::Identity).map_err(|e| wrong(e.to_string()))
        }
        ([], None) => {
            Err(wrong(format!("no connected proxy is called `{what}`, and it is no identity or serial number")))
        }
        (several, _) => {
            let names: Vec<&str> = several.iter().map(|held| held.node.as_str()).collect();
            Err(wrong(format!("`{what}` are {} connected proxies: {}", several.len(), names.join(", "))))
        }
    }
}

fn wrong(message: String) -> Refused {
    let expected = "give an identity (`spiffe://…`, or `namespace/account`), the serial number of a certificate, or a proxy as \
                    `halcyon status` names it";
    failure(StatusCode::BAD_REQUEST, message, expected)
}

impl From<RevokeError> for Refused {
    fn from(error: RevokeError) -> Self {
        let words = error.to_string();
        match error {
            RevokeError::Unknown(_) | RevokeError::NotRevoked(_) => {
                failure(StatusCode::NOT_FOUND, words, "see `halcyon ca status` and `halcyon audit`")
            }
            RevokeError::Own(_) | RevokeError::Foreign(..) => {
                failure(StatusCode::BAD_REQUEST, words, "nothing was changed")
            }
            RevokeError::Step(StepError::Lists(_)) => failure(StatusCode::CONFLICT, words, "nothing was changed"),
            RevokeError::Step(_) => failure(StatusCode::SERVICE_UNAVAILABLE, words, "see `halcyon ca status`"),
        }
    }
}
