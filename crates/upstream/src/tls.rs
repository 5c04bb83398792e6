//! The client side of TLS of one cluster: made of the model's settings and live secrets, built when first dialled.

use std::sync::{Arc, OnceLock};

use model::StringMatch;
use model::tls::{TlsVersion, UpstreamTls};
use transport::tls::{
    Accept, ClientOptions, ClientTls, ConfigError, LiveCert, LiveTrust, PeerCheck, SanKind, SanMatch, ServerCheck,
    TextMatch, Versions,
};

use crate::cluster::BuildError;

/// Where live secrets come from. What is found by a name must be the same object for as long as the name stands, so
/// that a renewed certificate needs no new cluster.
pub trait Secrets {
    /// The certificate of this name. One that has not arrived yet may be given empty.
    fn certificate(&self, name: &str) -> Option<LiveCert>;
    /// The trust of this name. One that has not arrived yet may be given empty: it believes nobody.
    fn trust(&self, name: &str) -> Option<LiveTrust>;
}

/// What is to be spoken on a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speak {
    Http1,
    Http2,
    /// What ALPN agrees on.
    Either,
    /// No HTTP of ours: bytes.
    Raw,
}

/// The TLS of a cluster.
#[derive(Debug)]
pub(crate) struct TlsSide {
    settings: UpstreamTls,
    cert: Option<LiveCert>,
    trust: Option<LiveTrust>,
    /// The certificate has to be for the host that is dialled, unless names are said.
    by_host: bool,
    clients: [OnceLock<ClientTls>; 4],
}

impl TlsSide {
    pub(crate) fn new(
        cluster: &Arc<str>,
        settings: &UpstreamTls,
        secrets: &dyn Secrets,
        by_host: bool,
    ) -> Result<Self, BuildError> {
        let missing =
            |secret: &Arc<str>| BuildError::MissingSecret { cluster: cluster.clone(), secret: secret.clone() };
        let cert = match &settings.certificate {
            Some(name) => Some(secrets.certificate(name).ok_or_else(|| missing(name))?),
            None => None,
        };
        let trust = match &settings.validation {
            Some(validation) => Some(secrets.trust(&validation.trust).ok_or_else(|| missing(&validation.trust))?),
            None => None,
        };
        let side = Self { settings: settings.clone(), cert, trust, by_host, clients: Default::default() };
        // Built once to see that it can be, and dropped: most clusters of a mesh are never dialled.
        side.build(Speak::Either).map_err(|source| BuildError::Tls { cluster: cluster.clone(), source })?;
        Ok(side)
    }

    /// The server name to send.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.settings.sni.as_deref()
    }

    pub(crate) fn client(&self, speak: Speak) -> Result<&ClientTls, ConfigError> {
        let slot = &self.clients[speak as usize];
        match slot.get() {
            Some(client) => Ok(client),
            None => {
                // The variants share sessions, so that ALPN does not cost resumption.
                let built = match self.clients.iter().find_map(OnceLock::get) {
                    Some(sibling) => sibling.with_alpn(alpn(speak, &self.settings.alpn))?,
                    None => self.build(speak)?,
                };
                Ok(slot.get_or_init(|| built))
            }
        }
    }

    fn build(&self, speak: Speak) -> Result<ClientTls, ConfigError> {
        let version = |v| match v {
            TlsVersion::V1_2 => transport::tls::TlsVersion::V1_2,
            TlsVersion::V1_3 => transport::tls::TlsVersion::V1_3,
        };
        let (min, max) = (version(self.settings.versions.min), version(self.settings.versions.max));
        ClientTls::new(ClientOptions {
            cert: self.cert.clone(),
            alpn: alpn(speak, &self.settings.alpn),
            versions: Versions { min, max },
            ..ClientOptions::new(self.check())
        })
    }

    fn check(&self) -> ServerCheck {
        match &self.trust {
            Some(trust) if self.by_host && self.settings.validation.as_ref().is_none_or(|v| v.names.is_empty()) => {
                ServerCheck::Hostname(trust.clone())
            }
            _ => ServerCheck::Peer(self.peer_check()),
        }
    }

    fn peer_check(&self) -> PeerCheck {
        let (Some(trust), Some(validation)) = (&self.trust, &self.settings.validation) else {
            return PeerCheck::Unchecked;
        };
        let accept = match &validation.names[..] {
            [] => Accept::Any,
            names => Accept::OneOf(names.iter().map(san).collect()),
        };
        // Roots per trust domain mean that identities are SPIFFE's (as with Envoy's SPIFFE validator).
        if trust.get().domains.is_empty() {
            PeerCheck::Roots { trust: trust.clone(), accept }
        } else {
            PeerCheck::Spiffe { trust: trust.clone(), accept }
        }
    }
}

fn san(name: &StringMatch) -> SanMatch {
    let text = match name {
        StringMatch::Exact { value, ignore_case: false } => TextMatch::Exact(value.clone()),
        StringMatch::Prefix { value, ignore_case: false } => TextMatch::Prefix(value.clone()),
        StringMatch::Suffix { value, ignore_case: false } => TextMatch::Suffix(value.clone()),
        StringMatch::Contains { value, ignore_case: false } => TextMatch::Contains(value.clone()),
        other => {
            let matcher = other.clone();
            TextMatch::Test(format!("{other:?}"), Arc::new(move |text| matcher.matches(text)))
        }
    };
    SanMatch { kind: SanKind::Any, text }
}

/// What is offered by ALPN: the configured names that do not say HTTP's version (such as `istio`) first, then the
/// version that is wanted. Raw connections offer what is configured, save that inside the mesh they promise no HTTP: by
/// that promise the other side chooses how it reads them (Istio's names).
fn alpn(speak: Speak, configured: &[String]) -> Vec<Vec<u8>> {
    if speak == Speak::Raw && configured.iter().any(|name| name == "istio-h2" || name.starts_with("istio-http/")) {
        return vec![b"istio".to_vec()];
    }
    let versions: &[&str] = match speak {
        Speak::Http1 => &["http/1.1"],
        Speak::Http2 => &["h2"],
        Speak::Either => &["h2", "http/1.1"],
        Speak::Raw => return configured.iter().map(|name| name.clone().into_bytes()).collect(),
    };
    let own = configured.iter().map(String::as_str).filter(|name| !matches!(*name, "h2" | "http/1.1" | "http/1.0"));
    own.chain(versions.iter().copied()).map(|name| name.as_bytes().to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered() {
        for (speak, configured, expected) in [
            (Speak::Http1, &[][..], &["http/1.1"][..]),
            (Speak::Http1, &["h2", "http/1.1"], &["http/1.1"]),
            (Speak::Http2, &[], &["h2"]),
            (Speak::Http2, &["istio", "h2"], &["istio", "h2"]),
            (Speak::Either, &[], &["h2", "http/1.1"]),
            (Speak::Raw, &["h2"], &["h2"]),
            (Speak::Raw, &["istio"], &["istio"]),
            (Speak::Raw, &["istio-h2", "istio-http/1.1", "h2", "http/1.1"], &["istio"]),
            (Speak::Raw, &[], &[]),
            (Speak::Raw, &["istio-peer-exchange", "istio"], &["istio-peer-exchange", "istio"]),
        ] {
            let configured: Vec<String> = configured.iter().map(|s| s.to_string()).collect();
            let offered: Vec<_> = alpn(speak, &configured).into_iter().map(|n| String::from_utf8(n).unwrap()).collect();
            assert_eq!(offered, expected, "{speak:?} {configured:?}");
        }
    }
}
