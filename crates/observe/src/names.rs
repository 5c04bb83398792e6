//! Names on the wire made ours: bounded, printable, held once.

use std::hash::Hash;
use std::sync::Arc;

use proto::halcyon::observe::v1 as wire;

/// A name is no longer than this, in characters.
pub(crate) const MOST_CHARACTERS: usize = 256;
/// What stands for all that is over a bound.
pub(crate) const OVERFLOW: &str = "_overflow";

/// A name that strangers told: cut where it is too long, with no control character.
pub(crate) fn clip(text: &str) -> String {
    let clean = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().take(MOST_CHARACTERS).map(clean).collect()
}

/// The same of a name of which `unknown` says as little as nothing (Istio's metrics write so).
fn clip_known(text: &str) -> Arc<str> {
    if text == "unknown" { Arc::from("") } else { clip(text).into() }
}

/// Who told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Reporter {
    Source,
    Destination,
}

impl Reporter {
    pub fn of(wire: i32) -> Option<Self> {
        match wire::Reporter::try_from(wire) {
            Ok(wire::Reporter::Source) => Some(Self::Source),
            Ok(wire::Reporter::Destination) => Some(Self::Destination),
            _ => None,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Destination => "destination",
        }
    }
}

/// What is spoken on an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Http,
    Grpc,
    Tcp,
}

impl Protocol {
    pub fn of(wire: i32) -> Option<Self> {
        match wire::Protocol::try_from(wire) {
            Ok(wire::Protocol::Http) => Some(Self::Http),
            Ok(wire::Protocol::Grpc) => Some(Self::Grpc),
            Ok(wire::Protocol::Tcp) => Some(Self::Tcp),
            _ => None,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
        }
    }
}

/// How an edge is protected, as its teller knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Security {
    Unknown,
    None,
    MutualTls,
}

impl Security {
    pub fn of(wire: i32) -> Self {
        match wire::Security::try_from(wire) {
            Ok(wire::Security::None) => Self::None,
            Ok(wire::Security::MutualTls) => Self::MutualTls,
            _ => Self::Unknown,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::None => "none",
            Self::MutualTls => "mutual_tls",
        }
    }
}

/// One end of an edge. Empty where nothing is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Peer {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub app: Arc<str>,
    pub version: Arc<str>,
    pub cluster: Arc<str>,
    pub principal: Arc<str>,
}

impl Peer {
    pub fn of(wire: Option<&wire::Workload>) -> Self {
        let Some(it) = wire else { return Self::default() };
        Self {
            namespace: clip_known(&it.namespace),
            name: clip_known(&it.name),
            app: clip_known(&it.app),
            version: clip_known(&it.version),
            cluster: clip_known(&it.cluster),
            principal: clip_known(&it.principal),
        }
    }

    pub fn is_known(&self) -> bool {
        !self.name.is_empty()
    }

    /// `NAMESPACE/NAME`; empty if it is unknown.
    pub fn shown(&self) -> String {
        if self.is_known() { format!("{}/{}", self.namespace, self.name) } else { String::new() }
    }

    /// Its app; a workload that tells none is its own.
    pub fn app(&self) -> &Arc<str> {
        if self.app.is_empty() { &self.name } else { &self.app }
    }
}

/// The service that was called. Empty where none is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Service {
    pub host: Arc<str>,
    pub name: Arc<str>,
    pub namespace: Arc<str>,
}

impl Service {
    pub fn of(edge: &wire::Edge) -> Self {
        let (host, name) = (clip_known(&edge.service_host), clip_known(&edge.service_name));
        let name = if name.is_empty() { host.clone() } else { name };
        Self { host, name, namespace: clip_known(&edge.service_namespace) }
    }

    pub fn is_known(&self) -> bool {
        !self.name.is_empty()
    }

    /// Is it of the mesh? What has no namespace lies outside.
    pub fn is_inside(&self) -> bool {
        self.is_known() && !self.namespace.is_empty() && !self.name.ends_with("Cluster")
    }
}

/// Everything that makes an edge one of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct EdgeNames {
    pub reporter: Reporter,
    pub source: Arc<Peer>,
    pub destination: Arc<Peer>,
    pub service: Arc<Service>,
    pub protocol: Protocol,
    pub security: Security,
}

impl EdgeNames {
    /// None if it does not say who tells or what is spoken.
    pub fn of(edge: &wire::Edge) -> Option<Self> {
        Some(Self {
            reporter: Reporter::of(edge.reporter)?,
            protocol: Protocol::of(edge.protocol)?,
            security: Security::of(edge.security),
            source: Arc::new(Peer::of(edge.source.as_ref())),
            destination: Arc::new(Peer::of(edge.destination.as_ref())),
            service: Arc::new(Service::of(edge)),
        })
    }

    /// The edge under which all are counted that are over the bound.
    pub fn overflow(reporter: Reporter, protocol: Protocol) -> Self {
        let word: Arc<str> = OVERFLOW.into();
        let peer = Peer { namespace: word.clone(), name: word.clone(), app: word.clone(), ..Peer::default() };
        let (source, destination) = (Arc::new(peer.clone()), Arc::new(peer));
        let service = Arc::new(Service { host: word.clone(), name: word.clone(), namespace: word });
        Self { reporter, source, destination, service, protocol, security: Security::Unknown }
    }

    /// `SOURCE -> DESTINATION`, for the log.
    pub fn shown(&self) -> String {
        let word = |peer: &Peer| if peer.is_known() { peer.shown() } else { "unknown".to_owned() };
        format!("{} -> {}", word(&self.source), word(&self.destination))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_strangers() {
        assert_eq!(clip("a\nb\u{7}"), "a\u{fffd}b\u{fffd}");
        assert_eq!(clip(&"ä".repeat(1000)).chars().count(), MOST_CHARACTERS);
        let told = wire::Workload { namespace: "unknown".into(), name: "unknown".into(), ..Default::default() };
        assert!(!Peer::of(Some(&told)).is_known());
        assert!(EdgeNames::of(&wire::Edge { reporter: 7, protocol: 1, ..Default::default() }).is_none());
    }
}
