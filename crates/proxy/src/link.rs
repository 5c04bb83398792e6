//! The channel to the control plane as the bootstrap describes it. How it is made is [`xds::shell`]'s.

use std::sync::Arc;

use transport::tls::LiveCert;
use xds::shell::{self, Link, LinkError, Member};

use crate::bootstrap::{Authority, ControlPlane, Token};

/// Opens channels to the control plane.
#[derive(Clone)]
pub(crate) struct Links {
    links: shell::Links,
    token: Option<Token>,
}

impl Links {
    /// To this control plane; `cert` is ours, empty until there is one.
    ///
    /// # Errors
    /// The roots cannot be read.
    pub(crate) fn new(plane: &ControlPlane, cert: LiveCert) -> Result<Self, LinkError> {
        let address = plane.address.clone();
        let links = match &plane.tls {
            None => shell::Links::plain(address, cert),
            Some(tls) => shell::Links::tls(address, &tls.server, &String::from_utf8_lossy(&tls.trust_bundle), cert)?,
        };
        Ok(Self { links, token: plane.token.clone() })
    }

    /// To another authority. It is shown the token each time, as Istio's agents do; without one our certificate.
    ///
    /// # Errors
    /// The roots cannot be read.
    pub(crate) fn to_authority(authority: &Authority, cert: &LiveCert) -> Result<Self, LinkError> {
        let Authority { address, server, trust_bundle, token } = authority;
        let shown = if token.is_some() { LiveCert::empty() } else { cert.clone() };
        let links = shell::Links::tls(address.clone(), server, &String::from_utf8_lossy(trust_bundle), shown)?;
        Ok(Self { links, token: token.clone() })
    }

    /// The mesh trusts these roots (PEM) now, and so does the link, unless its server is known by a name.
    pub(crate) fn trust(&self, roots: &str) {
        if let Err(error) = self.links.trust(roots) {
            tracing::warn!("{error}; the control plane is checked by the roots before");
        }
    }

    /// A workload that asks the control plane over these links.
    pub(crate) fn member(&self) -> Arc<Member> {
        let links = self.clone();
        Member::new(Box::new(move || {
            let links = links.clone();
            Box::pin(async move { links.open().await })
        }))
    }

    /// Returns as soon as a certificate speaks for us.
    pub(crate) async fn proven(&self) {
        self.links.proven().await;
    }

    /// Connects. The token goes along only as long as no certificate speaks for us.
    ///
    /// # Errors
    /// No connection, or no TLS; the text says why.
    pub(crate) async fn open(&self) -> Result<Link, String> {
        self.links.open(|| self.token.as_ref().map(Token::read)).await
    }
}
