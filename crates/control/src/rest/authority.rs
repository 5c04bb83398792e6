//! The certificate authority: how it is, and its exchange.

use axum::Extension;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Json, Query, State};
use ca::{CaState, Import, Phase};
use http::StatusCode;

use super::{Answer, Parts, Refused, Shared, body, failure, gate, query, status};
use crate::authority::StepError;
use crate::callers::{Caller, Right};
use crate::rotation::{RotateError, Waiting};
use crate::v1::{CaFiles, CaStatus, ExportQuery, OldLeaf, RotationRequest, RotationStep, WaitedFor};

pub async fn status(State(parts): Shared) -> Json<CaStatus> {
    Json(view(&parts))
}

pub async fn rotate(
    State(parts): Shared,
    Extension(caller): Extension<Caller>,
    request: Result<Json<RotationRequest>, JsonRejection>,
) -> Answer<Json<CaStatus>> {
    let RotationRequest { step, force } = body(request)?;
    match step {
        RotationStep::Start => parts.rotation.start(None, &caller.by).await?,
        RotationStep::Finish => parts.rotation.hasten(force, &caller.by).await?,
        RotationStep::Cancel => parts.rotation.cancel(&caller.by).await?,
    }
    Ok(Json(view(&parts)))
}

pub async fn import(
    State(parts): Shared,
    Extension(caller): Extension<Caller>,
    files: Result<Json<CaFiles>, JsonRejection>,
) -> Answer<Json<CaStatus>> {
    let CaFiles { ca_cert, ca_key, root_cert, cert_chain } = body(files)?;
    let state = CaState { root_cert, ca_cert, ca_key, cert_chain, next: None, retiring: None, former: Vec::new() };
    let import = Import::check(&state, parts.clock.now()).map_err(|error| {
        failure(StatusCode::UNPROCESSABLE_ENTITY, error.to_string(), "nothing was changed; correct the files")
    })?;
    parts.rotation.start(Some(import), &caller.by).await?;
    Ok(Json(view(&parts)))
}

pub async fn export(
    State(parts): Shared,
    Extension(caller): Extension<Caller>,
    asked: Result<Query<ExportQuery>, QueryRejection>,
) -> Answer<Json<CaFiles>> {
    let ExportQuery { with_key } = query(asked)?;
    let (state, ca_key) = if with_key {
        if let Err(denied) = caller.needs(Right::Administer) {
            return Err(gate::deny(&parts, &caller, "ca export", "the key of the certificate authority", denied).await);
        }
        let state = parts.issuer.export(&caller.by).await?;
        let key = state.ca_key.clone();
        (state, key)
    } else {
        (parts.issuer.authority().state(), String::new())
    };
    Ok(Json(CaFiles { ca_cert: state.ca_cert, ca_key, root_cert: state.root_cert, cert_chain: state.cert_chain }))
}

fn view(parts: &Parts) -> CaStatus {
    let authority = parts.issuer.authority();
    let Waiting { without_roots, old_leaves, unknown } = parts.rotation.waiting();
    let known = old_leaves.into_iter().map(|(leaf, nodes)| OldLeaf {
        identity: leaf.identity.to_string(),
        serial: leaf.serial,
        not_after: crate::timestamp(leaf.not_after),
        nodes,
    });
    let unknown = unknown.into_iter().map(|node| OldLeaf {
        identity: String::new(),
        serial: String::new(),
        not_after: String::new(),
        nodes: vec![node],
    });
    CaStatus {
        trust_domain: authority.trust_domain().to_string(),
        phase: match authority.phase() {
            Phase::Idle => "idle",
            Phase::Prepared => "prepared",
            Phase::Retiring => "retiring",
        }
        .to_owned(),
        roots: status::roots(&authority),
        self_signed: authority.is_self_signed(),
        not_after: crate::timestamp(authority.not_after()),
        revoked: parts.issuer.revocations(),
        waiting_for: without_roots.into_iter().map(|(node, reason)| WaitedFor { node, reason }).collect(),
        old_leaves: known.chain(unknown).collect(),
    }
}

impl From<RotateError> for Refused {
    fn from(error: RotateError) -> Self {
        let words = error.to_string();
        match error {
            RotateError::Step(StepError::Rotation(_) | StepError::Lists(_)) => {
                failure(StatusCode::CONFLICT, words, "see `halcyon ca status`")
            }
            RotateError::Step(_) => failure(StatusCode::SERVICE_UNAVAILABLE, words, "see `halcyon ca status`"),
            RotateError::TooEarly(_) => failure(StatusCode::CONFLICT, words, "try again then, or add --force"),
            RotateError::LockedOut(..) => failure(
                StatusCode::CONFLICT,
                words,
                "`halcyon ca status` says why; wait, or add --force, and they have to be started anew",
            ),
        }
    }
}
