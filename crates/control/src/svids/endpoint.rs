//! The bundle endpoint (SPIFFE_Federation.md, section 5): by it other trust domains learn whom this one vouches for. There is
//! one document and nothing secret in it, so everybody may have it.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use base::drain::Watch;
use http::header;
use tokio::sync::watch;
use tokio::task::JoinSet;
use transport::tls::{LiveCert, ServerOptions, ServerTls};

use super::Told;
use crate::api_doors;
use crate::authority::Issuer;
use crate::doors::ApiListener;
use crate::error::ControlError;
use crate::options::BundleDoor;
use crate::rest;

/// With the control plane's own certificate (`https_spiffe`), or one of the web's (`https_web`).
pub(crate) fn tls(door: &BundleDoor, issuer: &Issuer, chores: &mut JoinSet<()>) -> Result<ServerTls, ControlError> {
    let cert = match &door.cert {
        None => issuer.own().cert.clone(),
        Some(files) => {
            let cert = LiveCert::empty();
            api_doors::read_cert(&cert, files)
                .map_err(|reason| ControlError::Option { option: "bundle endpoint certificate", reason })?;
            chores.spawn(api_doors::follow_cert("bundle endpoint", cert.clone(), files.clone()));
            cert
        }
    };
    let mut options = ServerOptions::new(cert);
    options.alpn = vec![b"http/1.1".to_vec()];
    ServerTls::new(options).map_err(|e| ControlError::OwnCertificate(e.to_string()))
}

/// Serves the document at `/`.
pub(crate) async fn serve(
    listener: ApiListener,
    told: watch::Receiver<Arc<Told>>,
    drain: Watch,
) -> Result<(), ControlError> {
    let routes = Router::new()
        .route("/", axum::routing::get(document))
        .layer(axum::middleware::from_fn(rest::harden))
        .with_state(told);
    let served = axum::serve(listener, routes).with_graceful_shutdown(drain.started()).await;
    served.map_err(|e| ControlError::Door { door: "bundle endpoint", reason: e.to_string() })
}

async fn document(State(told): State<watch::Receiver<Arc<Told>>>) -> ([(header::HeaderName, &'static str); 1], String) {
    let text = told.borrow().own_document().to_owned();
    ([(header::CONTENT_TYPE, "application/json")], text)
}
