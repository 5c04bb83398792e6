//! The workload's certificate, wherever it comes from, and the roots of the mesh.

mod asked;
mod given;

use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use base::SpiffeId;
use model::secret::SecretValue;
use model::tls::MESH_ROOTS;
use tokio::sync::watch;
use transport::tls::LiveCert;
use xds::Resource;
use xds::shell::{LinkError, Member};

use crate::apply::Changes;
use crate::bootstrap::Certificates;
use crate::link::Links;
use crate::run::Side;
use crate::state;

/// The name under which TLS settings refer to the workload's own certificate, as in Istio.
pub(crate) const DEFAULT: &str = "default";
/// The roots of the mesh (PEM), if that is what a resource is.
pub(crate) fn roots_of(resource: &Resource) -> Option<Arc<str>> {
    match resource {
        Resource::Secret(secret) if &*secret.name == MESH_ROOTS => match &secret.value {
            SecretValue::Trust { roots, .. } => Some(String::from_utf8_lossy(roots).into()),
            SecretValue::Certificate { .. } | SecretValue::Generic(_) => None,
        },
        _ => None,
    }
}

/// Checks the control plane by the roots of the mesh as they become known.
pub(crate) async fn follow_roots(mut roots: watch::Receiver<Arc<str>>, links: Links) {
    loop {
        let known = roots.borrow_and_update().clone();
        if !known.is_empty() {
            links.trust(&known);
        }
        if roots.changed().await.is_err() {
            return;
        }
    }
}

/// Who is given certificates.
pub(crate) struct Holder {
    /// The proxy.
    pub side: Rc<Side>,
    /// Its name to agents.
    pub node: String,
    /// Whose they have to be.
    pub id: SpiffeId,
    /// The program beside, if it wants them too.
    pub member: Option<Arc<Member>>,
}

/// Keeps the certificate of a proxy for as long as it runs; `links` lead to the control plane, and `cert` is where the
/// certificate is shown.
///
/// # Errors
/// The roots of another authority cannot be read.
pub(crate) fn keep(from: Certificates, holder: Holder, links: Links, cert: LiveCert) -> Result<(), LinkError> {
    match from {
        Certificates::ControlPlane => drop(tokio::task::spawn_local(asked::keep(holder, links, cert, true))),
        Certificates::Authority(authority) => {
            let links = Links::to_authority(&authority, &cert)?;
            drop(tokio::task::spawn_local(asked::keep(holder, links, cert, false)));
        }
        Certificates::Files { chain, key } => drop(tokio::task::spawn_local(given::follow_files(holder, chain, key))),
        Certificates::Secrets { socket, name } => {
            drop(tokio::task::spawn_local(given::follow_agent(holder, socket, name)));
        }
    }
    Ok(())
}

impl Holder {
    /// Shows a certificate and its key (PEM) from now on.
    ///
    /// # Errors
    /// It is of somebody else, has ended, or cannot be used.
    fn take(&self, chain: &str, key: &str) -> Result<(), String> {
        let read = LiveCert::from_pem(chain, key).map_err(|error| error.to_string())?;
        let found = read.certificate().ok_or("there is no certificate in it")?;
        match found.spiffe_id() {
            Some(id) if id == self.id => {}
            Some(id) => return Err(format!("it is of {id}: expected one of {}", self.id)),
            None => return Err(format!("it has no SPIFFE ID: expected one of {}", self.id)),
        }
        if ca::is_expired(found.not_after, SystemTime::now()) {
            return Err("it has ended".to_owned());
        }
        let changes = Changes { set: vec![state::certificate(DEFAULT, chain, key)], removed: Vec::new() };
        if let Some(rejected) = self.side.apply(changes).first() {
            return Err(rejected.reason.clone());
        }
        let shown = self.member.as_ref().map_or(Ok(()), |member| member.show(&self.id, chain, key));
        shown.unwrap_or_else(|error| tracing::warn!("the program is not given the certificate: {error}"));
        Ok(())
    }
}
