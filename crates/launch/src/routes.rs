//! What goes by which network interface of the host.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The destinations that the host's routes send by one of these interfaces. Interfaces that are not there send nothing.
pub fn sent_by(interfaces: &[String]) -> Vec<IpNet> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let mut routes: Vec<Route> = read("/proc/net/route").lines().filter_map(ipv4).collect();
    routes.extend(read("/proc/net/ipv6_route").lines().filter_map(ipv6));
    sent_by_routes(&routes, interfaces)
}

/// Does a host's own address lie in the network of one of these interfaces? All of loopback are those of `lo`.
pub fn is_address_of(interfaces: &[String], address: IpAddr) -> bool {
    match address.is_loopback() {
        true => interfaces.iter().any(|name| name == "lo"),
        false => sent_by(interfaces).iter().any(|block| block.contains(&address)),
    }
}

/// A route of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    to: IpNet,
    metric: u32,
    interface: String,
}

/// The narrowest route counts, of several the one with the lowest metric.
fn sent_by_routes(routes: &[Route], interfaces: &[String]) -> Vec<IpNet> {
    let is_meant = |route: &&Route| interfaces.contains(&route.interface);
    let mut sent = BTreeSet::new();
    for route in routes.iter().filter(is_meant) {
        let others: Vec<&Route> = routes.iter().filter(|other| !is_meant(other)).collect();
        let counts_more = |other: &&&Route| match other.to.prefix_len().cmp(&route.to.prefix_len()) {
            std::cmp::Ordering::Equal => other.metric < route.metric,
            order => order.is_gt(),
        };
        let cut: Vec<IpNet> = others.iter().filter(counts_more).map(|other| other.to).collect();
        without(route.to, &cut, &mut sent);
    }
    sent.into_iter().collect()
}

/// Adds what is left of a block when others are taken out of it.
fn without(block: IpNet, cut: &[IpNet], left: &mut BTreeSet<IpNet>) {
    if cut.iter().any(|other| other.contains(&block)) {
        return;
    }
    let halves = block.subnets(block.prefix_len() + 1).ok();
    match halves.filter(|_| cut.iter().any(|other| block.contains(other))) {
        Some(halves) => halves.for_each(|half| without(half, cut, left)),
        None => drop(left.insert(block)),
    }
}

/// A line of `/proc/net/route`: the interface, destination, gateway, flags, two counters, metric, mask. Addresses are numbers of
/// this machine's byte order that hold the network's.
fn ipv4(line: &str) -> Option<Route> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let address = |at: usize| Some(u32::from_str_radix(words.get(at)?, 16).ok()?.to_ne_bytes());
    let bits = u32::from_be_bytes(address(7)?).count_ones() as u8;
    let to = IpNet::new(Ipv4Addr::from(address(1)?).into(), bits).ok()?.trunc();
    Some(Route { to, metric: words.get(6)?.parse().ok()?, interface: (*words.first()?).to_owned() })
}

/// A line of `/proc/net/ipv6_route`: destination and its bits, source and its bits, next hop, metric, two counters, flags, the
/// interface.
fn ipv6(line: &str) -> Option<Route> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |at: usize| u32::from_str_radix(words.get(at)?, 16).ok();
    let address = u128::from_str_radix(words.first()?, 16).ok()?;
    let to = IpNet::new(Ipv6Addr::from(address).into(), number(1)? as u8).ok()?.trunc();
    Some(Route { to, metric: number(5)?, interface: (*words.get(9)?).to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn of_the_system() {
        let lines = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
                     eth0 00000000 0101A8C0 0003 0 0 100 00000000 0 0 0\n\
                     net1 0000000A 00000000 0001 0 0 0 000000FF 0 0 0\n";
        let found: Vec<String> =
            lines.lines().filter_map(ipv4).map(|r| format!("{} {} {}", r.to, r.metric, r.interface)).collect();
        assert_eq!(found, ["0.0.0.0/0 100 eth0", "10.0.0.0/8 0 net1"]);
        let line = "20010db8000000000000000000000000 20 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0";
        assert_eq!(
            ipv6(line).map(|r| format!("{} {} {}", r.to, r.metric, r.interface)).as_deref(),
            Some("2001:db8::/32 256 eth0")
        );
    }

    #[test]
    fn the_narrowest_counts() {
        let route = |to: &str, metric, interface: &str| Route {
            to: to.parse().unwrap(),
            metric,
            interface: interface.to_owned(),
        };
        let routes = [
            route("0.0.0.0/0", 100, "eth0"),
            route("10.0.0.0/8", 0, "net1"),
            route("10.64.0.0/10", 0, "eth0"),
            route("192.0.2.0/24", 10, "net1"),
            route("192.0.2.0/24", 5, "eth0"),
        ];
        let sent =
            |name: &str| sent_by_routes(&routes, &[name.to_owned()]).iter().map(IpNet::to_string).collect::<Vec<_>>();
        assert_eq!(sent("net1"), ["10.0.0.0/10", "10.128.0.0/9"]);
        assert!(sent("eth0").contains(&"10.64.0.0/10".to_owned()));
        assert!(
            !sent_by_routes(&routes, &["eth0".to_owned()]).iter().any(|b| b.contains(&IpAddr::from([10, 1, 1, 1])))
        );
        assert_eq!(sent("absent"), Vec::<String>::new());
        let both = ["net1".to_owned(), "eth0".to_owned()];
        assert!(sent_by_routes(&routes, &both).contains(&"0.0.0.0/0".parse().unwrap()));
        assert!(is_address_of(&["lo".to_owned()], [127, 64, 0, 1].into()));
        assert!(!is_address_of(&both, [127, 64, 0, 1].into()));
    }
}
