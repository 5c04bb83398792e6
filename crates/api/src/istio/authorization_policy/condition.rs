//! What a condition of a policy looks at.

/// What a condition (`when[].key`) looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConditionKey<'a> {
    /// `request.headers[name]`
    RequestHeader(&'a str),
    /// `source.ip`
    SourceIp,
    /// `remote.ip`
    RemoteIp,
    /// `source.namespace`
    SourceNamespace,
    /// `source.principal`
    SourcePrincipal,
    /// `source.serviceAccount`
    SourceServiceAccount,
    /// `source.trustDomain`
    SourceTrustDomain,
    /// `request.auth.principal`
    RequestPrincipal,
    /// `request.auth.audiences`
    RequestAudiences,
    /// `request.auth.presenter`
    RequestPresenter,
    /// `request.auth.claims[name]`, and of claims within claims `[name][inner]`.
    RequestClaims(Vec<&'a str>),
    /// `destination.ip`
    DestinationIp,
    /// `destination.port`
    DestinationPort,
    /// `connection.sni`
    ServerName,
    /// `experimental.envoy.filters.name[key]`: what a filter of Envoy's has said.
    FilterMetadata {
        /// The filter, `envoy.filters.name`.
        filter: &'a str,
        /// What it said.
        key: &'a str,
    },
}

/// Why a text is no such key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFault {
    /// There is none of that name.
    Unknown,
    /// A name in brackets is missing behind it.
    WithoutName,
    /// It was one long ago; this says it now.
    Replaced(&'static str),
}

/// Every key without a name in brackets.
const PLAIN: [(&str, ConditionKey<'static>); 12] = [
    ("source.ip", ConditionKey::SourceIp),
    ("remote.ip", ConditionKey::RemoteIp),
    ("source.namespace", ConditionKey::SourceNamespace),
    ("source.principal", ConditionKey::SourcePrincipal),
    ("source.serviceAccount", ConditionKey::SourceServiceAccount),
    ("source.trustDomain", ConditionKey::SourceTrustDomain),
    ("request.auth.principal", ConditionKey::RequestPrincipal),
    ("request.auth.audiences", ConditionKey::RequestAudiences),
    ("request.auth.presenter", ConditionKey::RequestPresenter),
    ("destination.ip", ConditionKey::DestinationIp),
    ("destination.port", ConditionKey::DestinationPort),
    ("connection.sni", ConditionKey::ServerName),
];

const HEADERS: &str = "request.headers";
const CLAIMS: &str = "request.auth.claims";
const FILTERS: &str = "experimental.envoy.filters.";

impl<'a> ConditionKey<'a> {
    /// Reads a key as it is written.
    pub fn read(key: &'a str) -> Result<Self, KeyFault> {
        if let Some((_, plain)) = PLAIN.iter().find(|(name, _)| *name == key) {
            return Ok(plain.clone());
        }
        if let Some(name) = key.strip_prefix(HEADERS) {
            return in_brackets(name).map(Self::RequestHeader).ok_or(KeyFault::WithoutName);
        }
        if let Some(names) = key.strip_prefix(CLAIMS) {
            let names: Vec<&str> = in_brackets(names).ok_or(KeyFault::WithoutName)?.split("][").collect();
            return if names.contains(&"") { Err(KeyFault::WithoutName) } else { Ok(Self::RequestClaims(names)) };
        }
        if key.starts_with(FILTERS) {
            let (filter, rest) = key["experimental.".len()..].split_once('[').ok_or(KeyFault::WithoutName)?;
            let key = rest.strip_suffix(']').filter(|key| !key.is_empty()).ok_or(KeyFault::WithoutName)?;
            return Ok(Self::FilterMetadata { filter, key });
        }
        Err(match key {
            "destination.namespace" => KeyFault::Replaced("the policy's own namespace"),
            _ if key.starts_with("destination.labels") => KeyFault::Replaced("`selector`"),
            "destination.name" | "destination.user" => KeyFault::Replaced("`selector`"),
            _ => KeyFault::Unknown,
        })
    }

    /// The forms that a key may have.
    pub fn forms() -> impl Iterator<Item = String> {
        let with_name = [HEADERS, CLAIMS].map(|key| format!("{key}[NAME]"));
        let plain = PLAIN.iter().map(|(name, _)| (*name).to_owned());
        plain.chain(with_name).chain([format!("{FILTERS}FILTER[KEY]")])
    }

    /// Is it there for requests of HTTP only?
    pub fn is_http(&self) -> bool {
        matches!(
            self,
            Self::RequestHeader(_)
                | Self::RequestPrincipal
                | Self::RequestAudiences
                | Self::RequestPresenter
                | Self::RequestClaims(_)
        )
    }

    /// Is it a part of an identity that mutual TLS proves?
    pub fn is_identity(&self) -> bool {
        matches!(
            self,
            Self::SourceNamespace | Self::SourcePrincipal | Self::SourceServiceAccount | Self::SourceTrustDomain
        )
    }
}

fn in_brackets(text: &str) -> Option<&str> {
    text.strip_prefix('[')?.strip_suffix(']').filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        use ConditionKey::{FilterMetadata, RequestClaims, RequestHeader};
        for (text, expected) in [
            ("source.ip", Ok(ConditionKey::SourceIp)),
            ("request.headers[X-User]", Ok(RequestHeader("X-User"))),
            ("request.headers", Err(KeyFault::WithoutName)),
            ("request.headers[]", Err(KeyFault::WithoutName)),
            ("request.auth.claims[a]", Ok(RequestClaims(vec!["a"]))),
            ("request.auth.claims[a][b.c]", Ok(RequestClaims(vec!["a", "b.c"]))),
            ("request.auth.claims[a][]", Err(KeyFault::WithoutName)),
            (
                "experimental.envoy.filters.network.mysql_proxy[db.table]",
                Ok(FilterMetadata { filter: "envoy.filters.network.mysql_proxy", key: "db.table" }),
            ),
            ("experimental.envoy.filters.a.b", Err(KeyFault::WithoutName)),
            ("destination.labels[v]", Err(KeyFault::Replaced("`selector`"))),
            ("source.ipp", Err(KeyFault::Unknown)),
        ] {
            assert_eq!(ConditionKey::read(text), expected, "{text}");
        }
    }
}
