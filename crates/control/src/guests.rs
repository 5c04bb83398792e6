//! The seam for what is served behind the control plane's doors and is not its own: what the mesh saw, and the dashboard.
//!
//! A guest brings services and calls; who may use them is decided here, and the guest hears who it was.

use std::path::PathBuf;
use std::pin::Pin;

use axum::Router;
use axum::routing::MethodRouter;
use base::drain::Watch;
use base::{Clock, SpiffeId, TrustDomain};
use http::Method;
use telemetry::Shard;
use tonic::Status;
use tonic::service::Routes;

use crate::callers::Right;
use crate::doors::Caller;
use crate::push::Proxies;

/// What the house gives to its guests.
pub struct House {
    /// The control plane's data directory.
    pub data_dir: PathBuf,
    /// The time.
    pub clock: Clock,
    /// What guests count is exposed with the control plane's own metrics.
    pub shard: Shard,
    /// Begins when the control plane ends.
    pub drain: Watch,
    /// Who may tell.
    pub tellers: Tellers,
}

/// What guests bring.
#[derive(Default)]
pub struct Guests {
    /// gRPC services at the TLS door.
    pub services: Option<Routes>,
    /// Calls of the API.
    pub calls: Vec<Call>,
    /// Run beside the doors until the control plane ends.
    pub chores: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// The pages of the dashboard: everything that is no call.
    pub pages: Option<Router>,
    /// Where programs tell their spans, at a door of its own.
    pub spans: Option<Router>,
}

/// A call of the API.
pub struct Call {
    /// Its method.
    pub method: Method,
    /// Its path, as axum writes it.
    pub path: &'static str,
    /// What its caller needs.
    pub needs: Needs,
    /// What answers.
    pub serve: MethodRouter,
}

/// What a caller needs for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// To see everything but secrets.
    Read,
    /// To look at single requests, with their headers.
    Tap,
}

impl From<Needs> for Right {
    fn from(needs: Needs) -> Self {
        match needs {
            Needs::Read => Self::Read,
            Needs::Tap => Self::Tap,
        }
    }
}

/// A connected proxy that has proven who it is, and of whose traffic it may tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// Its xDS node id.
    pub node: String,
    /// Its namespace.
    pub namespace: String,
    /// Its workload.
    pub workload: String,
    /// The identity.
    pub identity: String,
}

/// Says who tells something over gRPC.
#[derive(Clone)]
pub struct Tellers {
    proxies: Proxies,
    trust_domain: TrustDomain,
}

impl Tellers {
    pub(crate) fn new(proxies: Proxies, trust_domain: TrustDomain) -> Self {
        Self { proxies, trust_domain }
    }

    /// The identity that a request's connection proves, if it is one of this mesh.
    ///
    /// # Errors
    /// It proves nothing, or is of another mesh.
    pub fn member(&self, extensions: &tonic::Extensions) -> Result<SpiffeId, Status> {
        let caller = extensions.get::<Caller>().cloned().unwrap_or_default();
        let Some(identity) = caller.identity else {
            return Err(Status::unauthenticated(
                "nothing proves who tells: expected a client certificate of this mesh",
            ));
        };
        if identity.trust_domain() != self.trust_domain.as_str() {
            let words = format!("{identity} is of another mesh, and may tell this one nothing");
            return Err(Status::permission_denied(words));
        }
        Ok(identity)
    }

    /// The proxy that a request came from, by its certificate and the node id that it says it has.
    ///
    /// # Errors
    /// It proves nothing, or is somebody else; `UNAVAILABLE` while it is not connected for discovery yet.
    pub fn teller(&self, extensions: &tonic::Extensions, node: &str) -> Result<Proven, Status> {
        let identity = self.member(extensions)?;
        let found = identity.namespace().and_then(|namespace| self.proxies.node(namespace, node));
        let Some(found) = found.filter(|found| *found.id == *node) else {
            return Err(Status::unavailable(format!("the proxy `{node}` is not connected yet: come back later")));
        };
        if found.identity.as_ref() != Some(&identity) {
            return Err(Status::permission_denied(format!("{identity} is not the identity of the proxy `{node}`")));
        }
        Ok(Proven {
            node: node.to_owned(),
            namespace: found.namespace.clone(),
            workload: found.workload.name.to_string(),
            identity: identity.to_string(),
        })
    }
}
