//! Addresses for hosts that have none but need one: the dummy prefixes of IPv4 (RFC 7600, section 10) and IPv6 (RFC 9780).
//! In the network namespace of a captured program they stand for the program's own address.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The IPv4 dummy address.
pub const IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
/// An address out of 100:0:0:1::/64, the IPv6 dummy prefix.
pub const IPV6: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 1, 0, 0, 0, 8);
