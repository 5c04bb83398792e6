//! SPIFFE identities: the trust domain and the workload path, as in the SPIFFE-ID standard.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Why a text is no SPIFFE ID or trust domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    /// The text does not begin with `spiffe://`.
    #[error("`{0}` is not a SPIFFE ID: expected it to begin with `spiffe://`")]
    Scheme(String),
    /// The trust domain has a character outside `[a-z0-9.-_]`, or is empty or longer than 255.
    #[error("`{0}` is not a trust domain: expected 1 to 255 of a-z, 0-9, `.`, `-`, `_`")]
    TrustDomain(String),
    /// The path has an empty segment, a dot segment or a character outside `[a-zA-Z0-9.-_]`.
    #[error(
        "`{0}` has a bad path: expected segments of letters, digits, `.`, `-`, `_`, none of them empty, `.` or `..`"
    )]
    Path(String),
}

/// The first part of a SPIFFE ID: whose root vouches for it. Default `cluster.local`, as in Istio.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The name, such as `cluster.local`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TrustDomain {
    fn default() -> Self {
        Self("cluster.local".into())
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeError;
    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-_".contains(&c);
        if text.is_empty() || text.len() > 255 || !text.bytes().all(legal) {
            return Err(SpiffeError::TrustDomain(text.to_owned()));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustDomain({})", self.0)
    }
}

/// A SPIFFE ID: `spiffe://<trust domain>/<path>`. Cheap to clone; ordered and hashed by its text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    uri: Arc<str>,
    path_at: u16,
}

const SCHEME: &str = "spiffe://";

impl SpiffeId {
    /// The identity of a workload, in the path layout that Istio uses: `/ns/<namespace>/sa/<service account>`.
    pub fn workload(trust_domain: &TrustDomain, namespace: &str, service_account: &str) -> Result<Self, SpiffeError> {
        format!("{SCHEME}{trust_domain}/ns/{namespace}/sa/{service_account}").parse()
    }

    /// The whole URI.
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// The trust domain's name.
    pub fn trust_domain(&self) -> &str {
        &self.uri[SCHEME.len()..self.path_at as usize]
    }

    /// The path with its leading slash; empty for the identity of a trust domain itself.
    pub fn path(&self) -> &str {
        &self.uri[self.path_at as usize..]
    }

    /// The namespace, if the path has the layout `/ns/<namespace>/sa/<service account>`.
    pub fn namespace(&self) -> Option<&str> {
        self.workload_parts().map(|(namespace, _)| namespace)
    }

    /// The service account, if the path has the layout `/ns/<namespace>/sa/<service account>`.
    pub fn service_account(&self) -> Option<&str> {
        self.workload_parts().map(|(_, account)| account)
    }

    fn workload_parts(&self) -> Option<(&str, &str)> {
        let mut parts = self.path().split('/');
        match (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()) {
            ("", "ns", namespace, "sa", account, None) => Some((namespace, account)),
            _ => None,
        }
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeError;
    fn from_str(text: &str) -> Result<Self, SpiffeError> {
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| SpiffeError::Scheme(text.to_owned()))?;
        let domain_len = rest.find('/').unwrap_or(rest.len());
        rest[..domain_len].parse::<TrustDomain>()?;
        let path = &rest[domain_len..];
        let legal = |c: u8| c.is_ascii_alphanumeric() || b".-_".contains(&c);
        let good = |s: &str| !s.is_empty() && s != "." && s != ".." && s.bytes().all(legal);
        if text.len() > 2048 || !(path.is_empty() || path[1..].split('/').all(good)) {
            return Err(SpiffeError::Path(text.to_owned()));
        }
        Ok(Self { uri: text.into(), path_at: (SCHEME.len() + domain_len) as u16 })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpiffeId({})", self.uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let id: SpiffeId = "spiffe://example.org/ns/default/sa/reviews".parse().unwrap();
        assert_eq!(id.trust_domain(), "example.org");
        assert_eq!(id.path(), "/ns/default/sa/reviews");
        assert_eq!((id.namespace(), id.service_account()), (Some("default"), Some("reviews")));
        let domain: SpiffeId = "spiffe://example.org".parse().unwrap();
        assert_eq!((domain.path(), domain.namespace()), ("", None));
        let other: SpiffeId = "spiffe://example.org/host/a".parse().unwrap();
        assert_eq!(other.service_account(), None);
    }

    #[test]
    fn refused() {
        for text in [
            "https://example.org/a",
            "spiffe://",
            "spiffe:///a",
            "spiffe://Example.org/a",
            "spiffe://example.org/",
            "spiffe://example.org/a//b",
            "spiffe://example.org/a/../b",
            "spiffe://example.org/a b",
            "spiffe://example.org:80/a",
        ] {
            assert!(text.parse::<SpiffeId>().is_err(), "{text} must be refused");
        }
    }
}
