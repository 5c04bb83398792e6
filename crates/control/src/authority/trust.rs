//! Whom the control plane's doors believe: members of the mesh, by its own roots and those of other authorities, and where a
//! door is open to others, those too.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use base::TrustDomain;
use ca::Authority;
use transport::tls::{Crls, LiveTrust, Roots, TrustBundles};

use super::Issuer;
use crate::error::ControlError;

/// Whom a door believes that others may come to.
pub(super) struct Wider {
    others: HashMap<TrustDomain, Roots>,
    trust: LiveTrust,
}

impl Issuer {
    /// Trust in the mesh, whatever its roots are, and in others: each root for the identities of its trust domain.
    pub fn trust_with(&self, others: HashMap<TrustDomain, Roots>) -> LiveTrust {
        let mut wider = self.wider();
        let trust = LiveTrust::new(with(&self.0.own.trust.get(), &others));
        wider.push(Wider { others, trust: trust.clone() });
        trust
    }

    /// From now on members of the mesh are believed by these roots (PEM) too: those of other authorities that the settings
    /// of the mesh name.
    ///
    /// # Errors
    /// They cannot be read; those before stay.
    pub async fn believe_also(&self, roots: &str) -> Result<(), ControlError> {
        // A step of a rotation is taken as a whole: what it believes must not be taken back in between.
        let _one = self.0.stepping.lock().await;
        if *self.also() == roots {
            return Ok(());
        }
        let mesh = bundles(&self.authority(), &self.lists(), roots)?;
        *self.also() = roots.to_owned();
        self.believe(mesh);
        Ok(())
    }

    /// Whom the mesh believes, with these lists.
    pub(super) fn believed(&self, authority: &Authority, lists: &str) -> Result<TrustBundles, ControlError> {
        bundles(authority, lists, &self.also())
    }

    pub(super) fn believe(&self, mesh: TrustBundles) {
        let wider = self.wider();
        wider.iter().for_each(|door| door.trust.set(with(&mesh, &door.others)));
        self.0.own.trust.set(mesh);
    }

    fn also(&self) -> MutexGuard<'_, String> {
        self.0.also.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wider(&self) -> MutexGuard<'_, Vec<Wider>> {
        self.0.wider.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom the mesh believes, but for these lists: by the authority's roots, and by others.
pub(super) fn bundles(authority: &Authority, lists: &str, also: &str) -> Result<TrustBundles, ControlError> {
    let roots = Roots::from_pem(&format!("{}{also}", authority.bundle().concat()));
    let roots = roots.map_err(|e| ControlError::OwnCertificate(e.to_string()))?;
    let revoked = Crls::from_pem(lists).map_err(|e| ControlError::Revoked(e.to_string()))?.of_leaves(true);
    Ok(TrustBundles { revoked, ..TrustBundles::domain(authority.trust_domain().clone(), roots) })
}

fn with(mesh: &TrustBundles, others: &HashMap<TrustDomain, Roots>) -> TrustBundles {
    let mut all = mesh.clone();
    all.domains.extend(others.iter().map(|(domain, roots)| (domain.clone(), roots.clone())));
    all
}
