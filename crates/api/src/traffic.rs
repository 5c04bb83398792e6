//! Which connections of a workload its sidecar gets, by Istio's annotations `traffic.sidecar.istio.io/…`.

use std::collections::BTreeMap;
use std::net::IpAddr;

pub use ipnet::IpNet;

use crate::problem::quoted;
use crate::report::Report;

/// What all of the annotations begin with.
const PREFIX: &str = "traffic.sidecar.istio.io/";

/// All, or those of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Included<T> {
    /// All (`*`).
    All,
    /// These; none are possible.
    These(Vec<T>),
}

/// What the annotations say; `None` where they say nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Destinations that the sidecar gets (`includeOutboundIPRanges`).
    pub include_outbound_blocks: Option<Included<IpNet>>,
    /// Destinations that it does not get (`excludeOutboundIPRanges`).
    pub exclude_outbound_blocks: Option<Vec<IpNet>>,
    /// Ports that it gets whatever the destination is (`includeOutboundPorts`).
    pub include_outbound_ports: Option<Vec<u16>>,
    /// Ports that it does not get (`excludeOutboundPorts`).
    pub exclude_outbound_ports: Option<Vec<u16>>,
    /// Ports of the program that it serves (`includeInboundPorts`).
    pub include_inbound_ports: Option<Included<u16>>,
    /// Ports of the program that it does not serve, where it serves all others (`excludeInboundPorts`).
    pub exclude_inbound_ports: Option<Vec<u16>>,
    /// Network interfaces whose connections it does not get (`excludeInterfaces`).
    pub exclude_interfaces: Option<Vec<String>>,
}

/// A value cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part} is not {what}; expected {expected}")]
pub struct TrafficError {
    part: String,
    what: &'static str,
    expected: &'static str,
}

impl Traffic {
    /// Reads the annotations of a workload; others are passed over.
    ///
    /// # Errors
    /// The key of the first whose value cannot be read, and why.
    pub fn of(annotations: &BTreeMap<String, String>) -> Result<Self, (String, TrafficError)> {
        let mut traffic = Self::default();
        for (key, value) in annotations {
            if let Some(name) = key.strip_prefix(PREFIX) {
                traffic.read(name, value).map_err(|error| (key.clone(), error))?;
            }
        }
        Ok(traffic)
    }

    /// Reads one value under its name. Names that are not known are passed over.
    ///
    /// # Errors
    /// The value cannot be read.
    pub fn read(&mut self, name: &str, value: &str) -> Result<(), TrafficError> {
        match name {
            "includeOutboundIPRanges" => self.include_outbound_blocks = Some(included(value, blocks)?),
            "excludeOutboundIPRanges" => self.exclude_outbound_blocks = Some(blocks(value)?),
            "includeOutboundPorts" => self.include_outbound_ports = Some(ports(value)?),
            "excludeOutboundPorts" => self.exclude_outbound_ports = Some(ports(value)?),
            "includeInboundPorts" => self.include_inbound_ports = Some(included(value, ports)?),
            "excludeInboundPorts" => self.exclude_inbound_ports = Some(ports(value)?),
            "excludeInterfaces" => self.exclude_interfaces = Some(list(value).map(str::to_owned).collect()),
            _ => {}
        }
        Ok(())
    }

    /// What this says, and where it says nothing what `other` says.
    pub fn or(self, other: Self) -> Self {
        Self {
            include_outbound_blocks: self.include_outbound_blocks.or(other.include_outbound_blocks),
            exclude_outbound_blocks: self.exclude_outbound_blocks.or(other.exclude_outbound_blocks),
            include_outbound_ports: self.include_outbound_ports.or(other.include_outbound_ports),
            exclude_outbound_ports: self.exclude_outbound_ports.or(other.exclude_outbound_ports),
            include_inbound_ports: self.include_inbound_ports.or(other.include_inbound_ports),
            exclude_inbound_ports: self.exclude_inbound_ports.or(other.exclude_inbound_ports),
            exclude_interfaces: self.exclude_interfaces.or(other.exclude_interfaces),
        }
    }

    /// Does the sidecar serve this port of the program? Ports are excluded only where all are included (Istio's rule).
    pub fn serves(&self, port: u16) -> bool {
        match &self.include_inbound_ports {
            None | Some(Included::All) => !self.exclude_inbound_ports.as_ref().is_some_and(|list| list.contains(&port)),
            Some(Included::These(list)) => list.contains(&port),
        }
    }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn included<T>(text: &str, read: impl Fn(&str) -> Result<Vec<T>, TrafficError>) -> Result<Included<T>, TrafficError> {
    if text.trim() == "*" { Ok(Included::All) } else { read(text).map(Included::These) }
}

/// Reads a list of blocks of addresses; an address alone is one.
///
/// # Errors
/// A part is no block.
pub fn blocks(text: &str) -> Result<Vec<IpNet>, TrafficError> {
    let block = |part: &str| {
        let whole = || part.parse::<IpAddr>().map(IpNet::from);
        part.parse::<IpNet>().or_else(|_| whole()).map_err(|_| TrafficError {
            part: quoted(part),
            what: "a block of addresses",
            expected: "blocks such as `10.0.0.0/8`, with commas between them",
        })
    };
    list(text).map(block).collect()
}

/// Reads a list of ports.
///
/// # Errors
/// A part is no port.
pub fn ports(text: &str) -> Result<Vec<u16>, TrafficError> {
    let port = |part: &str| {
        part.parse().ok().filter(|port| *port > 0).ok_or_else(|| TrafficError {
            part: quoted(part),
            what: "a port",
            expected: "ports from 1 to 65535, with commas between them",
        })
    };
    list(text).map(port).collect()
}

/// Checks the annotation at which the walk stands.
pub(crate) fn check(key: &str, value: &str, report: &mut Report) {
    let Some(name) = key.strip_prefix(PREFIX) else { return };
    if let Err(error) = Traffic::default().read(name, value) {
        report.error(format!("{} is not {}", error.part, error.what)).expected(error.expected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Traffic, (String, TrafficError)> {
        Traffic::of(&pairs.iter().map(|(k, v)| (format!("{PREFIX}{k}"), (*v).to_owned())).collect())
    }

    #[test]
    fn annotations() {
        let read = of(&[
            ("includeOutboundIPRanges", "10.0.0.0/8, 192.0.2.1"),
            ("excludeOutboundIPRanges", ""),
            ("includeOutboundPorts", "8080"),
            ("excludeOutboundPorts", "5432,6379"),
            ("includeInboundPorts", "*"),
            ("excludeInboundPorts", "9000"),
            ("excludeInterfaces", "eth1, net1"),
            ("kubevirtInterfaces", "x"),
        ])
        .unwrap();
        let blocks = ["10.0.0.0/8", "192.0.2.1/32"].map(|text| text.parse().unwrap()).to_vec();
        assert_eq!(read.include_outbound_blocks, Some(Included::These(blocks)));
        assert_eq!(read.exclude_outbound_blocks, Some(vec![]));
        assert_eq!(
            (read.include_outbound_ports.clone(), read.include_inbound_ports.clone()),
            (Some(vec![8080]), Some(Included::All))
        );
        assert_eq!(read.exclude_outbound_ports, Some(vec![5432, 6379]));
        assert_eq!(read.exclude_interfaces.as_deref(), Some(&["eth1".to_owned(), "net1".to_owned()][..]));
        assert_eq!([9000, 9080].map(|port| read.serves(port)), [false, true]);
        for (name, value, expected) in [
            ("includeOutboundIPRanges", "10.0.0.0/33", "`10.0.0.0/33` is not a block of addresses"),
            ("excludeOutboundIPRanges", "*", "`*` is not a block of addresses"),
            ("excludeInboundPorts", "80,x", "`x` is not a port"),
            ("includeInboundPorts", "0", "`0` is not a port"),
        ] {
            let (key, error) = of(&[(name, value)]).unwrap_err();
            assert!(key.ends_with(name) && error.to_string().starts_with(expected), "{key}: {error}");
        }
    }

    #[test]
    fn what_is_said_first_counts() {
        let told = of(&[("includeInboundPorts", "80"), ("excludeInboundPorts", "80")]).unwrap();
        // What is excluded counts only where all are included.
        assert!(told.serves(80) && !told.serves(81));
        let both = told.clone().or(of(&[("includeInboundPorts", ""), ("excludeOutboundPorts", "1")]).unwrap());
        assert_eq!(
            (both.include_inbound_ports, both.exclude_outbound_ports),
            (told.include_inbound_ports, Some(vec![1]))
        );
        assert!(!of(&[("includeInboundPorts", "")]).unwrap().serves(80));
    }
}
