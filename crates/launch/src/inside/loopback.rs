//! The one link of a new network namespace: `lo` up, its addresses, and routes that let any destination be dialled.
//!
//! Nothing leaves by these routes: what is not redirected is rejected (`nftables`) or finds no one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::io::Errno;

use crate::netlink::{ACK, CREATE_NEW, Message, REQUEST, Refused, Socket};
use crate::nftables::{OWN_IPV4, OWN_IPV6};

/// What was done for IPv6, which a kernel may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Up {
    /// `[::1]` can be bound and any IPv6 destination dialled.
    pub(crate) ipv6: bool,
}

/// Brings up `lo` with 127.0.0.1, `::1`, the IPv4 dummy address, and the IPv6 one if `global_ipv6` (the host has IPv6
/// to the outside: else programs would ask for addresses that nobody answers), and adds the default routes.
pub(crate) fn bring_up(global_ipv6: bool) -> Result<Up, Errno> {
    let socket = Socket::open(None)?;
    let ask = |message: Message| match socket.transact(&message.finish(), 1) {
        Ok(()) => Ok(()),
        Err(Refused { errno, .. }) => Err(errno),
    };
    ask(link_up())?;
    ask(address(OWN_IPV4.into()))?;
    ask(default_route(Ipv4Addr::LOCALHOST.into()))?;
    let ipv6 = ask(default_route(Ipv6Addr::LOCALHOST.into()));
    if ipv6.is_ok() && global_ipv6 {
        ask(address(OWN_IPV6.into()))?;
    }
    Ok(Up { ipv6: ipv6.is_ok() })
}

impl From<Refused> for Errno {
    fn from(refused: Refused) -> Self {
        refused.errno
    }
}

// Numbers of `linux/rtnetlink.h`, `if_addr.h` and `if_link.h`.
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const IFF_UP: u32 = 1;
/// The first link of every network namespace is `lo`.
const LO: u32 = 1;

fn link_up() -> Message {
    // struct ifinfomsg: family, padding, type (u16), index, flags, mask of the flags to change
    let mut fixed = vec![0; 4];
    for word in [LO, IFF_UP, IFF_UP] {
        fixed.extend(word.to_ne_bytes());
    }
    Message::new(RTM_NEWLINK, REQUEST | ACK, 1).fixed(&fixed)
}

fn address(address: IpAddr) -> Message {
    let octets = octets(address);
    // struct ifaddrmsg: family, prefix length, flags, scope (global), index
    let mut fixed = vec![family(address), (octets.len() * 8) as u8, 0, 0];
    fixed.extend(LO.to_ne_bytes());
    // IFA_LOCAL and IFA_ADDRESS
    Message::new(RTM_NEWADDR, REQUEST | ACK | CREATE_NEW, 2).fixed(&fixed).attribute(2, &octets).attribute(1, &octets)
}

/// `default dev lo src <source>`. For IPv6 of type `local`: a unicast route over `lo` is one that refuses in older
/// kernels.
fn default_route(source: IpAddr) -> Message {
    const MAIN_TABLE: u8 = 254;
    const BY_ADMINISTRATOR: u8 = 4;
    const UNICAST: u8 = 1;
    const LOCAL: u8 = 2;
    let kind = if source.is_ipv4() { UNICAST } else { LOCAL };
    // struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope (global), type, flags (u32)
    let fixed = [family(source), 0, 0, 0, MAIN_TABLE, BY_ADMINISTRATOR, 0, kind, 0, 0, 0, 0];
    // RTA_OIF and RTA_PREFSRC
    Message::new(RTM_NEWROUTE, REQUEST | ACK | CREATE_NEW, 3)
        .fixed(&fixed)
        .attribute(4, &LO.to_ne_bytes())
        .attribute(7, &octets(source))
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 2,
        IpAddr::V6(_) => 10,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}
