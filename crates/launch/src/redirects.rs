//! Which of a program's connections its sidecar gets, by the words and in the order of Istio's rules for iptables: excluded
//! ports, excluded destinations, included ports, included destinations. What it does not get goes out as it is
//! ([`crate::bypass`]).

use std::net::SocketAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Rules for outgoing connections. What is local stays local whatever they say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Redirects {
    /// Destinations that the sidecar gets; none: all.
    pub include_blocks: Option<Vec<IpNet>>,
    /// Destinations that it does not get.
    pub exclude_blocks: Vec<IpNet>,
    /// Ports that it gets whatever the destination is.
    pub include_ports: Vec<u16>,
    /// Ports that it does not get.
    pub exclude_ports: Vec<u16>,
}

impl Redirects {
    /// Does the sidecar get everything?
    pub fn are_all(&self) -> bool {
        self.include_blocks.is_none() && self.exclude_blocks.is_empty() && self.exclude_ports.is_empty()
    }

    /// Does the sidecar get a connection to this address?
    pub fn include(&self, to: SocketAddr) -> bool {
        let within = |blocks: &[IpNet]| blocks.iter().any(|block| block.contains(&to.ip()));
        if self.exclude_ports.contains(&to.port()) || within(&self.exclude_blocks) {
            return false;
        }
        self.include_ports.contains(&to.port()) || self.include_blocks.as_deref().is_none_or(within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order() {
        let blocks = |text: &str| text.split(' ').map(|block| block.parse().unwrap()).collect::<Vec<IpNet>>();
        let rules = Redirects {
            include_blocks: Some(blocks("10.0.0.0/8")),
            exclude_blocks: blocks("10.9.0.0/16"),
            include_ports: vec![8080, 9000],
            exclude_ports: vec![9000],
        };
        for (to, expected) in [
            ("10.1.1.1:80", true),
            ("10.9.1.1:80", false),
            ("10.9.1.1:8080", false),
            ("192.0.2.1:80", false),
            ("192.0.2.1:8080", true),
            ("10.1.1.1:9000", false),
        ] {
            assert_eq!(rules.include(to.parse().unwrap()), expected, "{to}");
        }
        assert!(Redirects::default().include("192.0.2.1:1".parse().unwrap()));
        assert!(Redirects { include_ports: vec![1], ..Redirects::default() }.are_all());
        assert!(!Redirects { include_blocks: Some(vec![]), ..Redirects::default() }.are_all());
    }
}
