//! Which of a program's connections its sidecar gets, by the words and in the order of Istio's rules for iptables: excluded
//! ports, excluded destinations, included ports, included destinations. What it does not get goes out as it is
//! ([`crate::bypass`]).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Rules for outgoing connections. What is local stays local whatever they say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Redirects {
    /// Destinations that the sidecar gets; none: all.
    pub include_blocks: Option<Vec<Block>>,
    /// Destinations that it does not get.
    pub exclude_blocks: Vec<Block>,
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
        let within = |blocks: &[Block]| blocks.iter().any(|block| block.contains(to.ip()));
        if self.exclude_ports.contains(&to.port()) || within(&self.exclude_blocks) {
            return false;
        }
        self.include_ports.contains(&to.port()) || self.include_blocks.as_deref().is_none_or(within)
    }
}

/// Addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Block {
    address: IpAddr,
    bits: u8,
}

/// A text is no block of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no block of addresses: expected an IP address, or one with `/` and a number of bits, such as `10.0.0.0/8`"
)]
pub struct BlockError(String);

impl Block {
    /// All that begin like `address` in `bits` bits. None if an address has fewer.
    pub fn new(address: IpAddr, bits: u8) -> Option<Self> {
        let whole = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        (bits <= whole).then(|| Self { address: masked(address, bits), bits })
    }

    /// Is an address one of them?
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.bits) == self.address
    }

    /// Are all of another block among them?
    pub(crate) fn holds(&self, other: &Self) -> bool {
        self.bits <= other.bits && self.contains(other.address)
    }

    /// In how many bits they are alike.
    pub(crate) fn bits(&self) -> u8 {
        self.bits
    }

    /// The two blocks that it is made of; none if it is one address.
    pub(crate) fn halves(&self) -> Option<[Self; 2]> {
        let low = Self::new(self.address, self.bits + 1)?;
        let high = match self.address {
            IpAddr::V4(ip) => IpAddr::V4((ip.to_bits() | 1 << (31 - self.bits)).into()),
            IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() | 1 << (127 - self.bits)).into()),
        };
        Some([low, Self { address: high, bits: self.bits + 1 }])
    }

    /// The first of them, as it stands in a packet.
    pub(crate) fn octets(&self) -> Vec<u8> {
        octets(self.address)
    }

    /// The bits that count, as it stands in a packet.
    pub(crate) fn mask(&self) -> Vec<u8> {
        let ones = match self.address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::BROADCAST),
            IpAddr::V6(_) => IpAddr::V6(u128::MAX.into()),
        };
        octets(masked(ones, self.bits))
    }

    pub(crate) fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(ip) => IpAddr::V4((ip.to_bits() & u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)).into()),
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)).into()),
    }
}

impl FromStr for Block {
    type Err = BlockError;

    fn from_str(text: &str) -> Result<Self, BlockError> {
        let error = || BlockError(text.to_owned());
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(whole), str::parse).map_err(|_| error())?;
        Self::new(address, bits).ok_or_else(error)
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks() {
        for (text, shown) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::1/33", "2001:db8::/33"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(text.parse::<Block>().unwrap().to_string(), shown);
        }
        for text in ["", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/", "a", "::/129"] {
            assert!(text.parse::<Block>().is_err(), "{text}");
        }
        let block: Block = "10.0.0.0/9".parse().unwrap();
        assert_eq!((block.octets(), block.mask()), (vec![10, 0, 0, 0], vec![255, 128, 0, 0]));
        assert!(!"::/0".parse::<Block>().unwrap().contains([10, 0, 0, 1].into()));
    }

    #[test]
    fn order() {
        let blocks = |text: &str| text.split(' ').map(|block| block.parse().unwrap()).collect::<Vec<Block>>();
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
