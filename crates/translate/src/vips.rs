//! Addresses for services that have none of their own: each host gets one of 240.240.0.0/16 and keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Addresses that were given, by host. The owner keeps it over restarts, so that a program that remembers an address
/// (DNS caches, long-lived clients) still reaches the same service.
pub type Vips = BTreeMap<String, Ipv4Addr>;

/// The range that addresses are taken from (Istio's range for automatic addresses).
pub const RANGE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(240, 240, 0, 0), 16);

/// Gives every host an address: those that have one keep it, those that are gone lose it, new ones get the address that
/// the hash of their name points to, or the next free one. None when the range is used up.
pub fn allocate<'a>(hosts: impl IntoIterator<Item = &'a str>, given: &Vips) -> Option<Vips> {
    let wanted: BTreeSet<&str> = hosts.into_iter().collect();
    let kept = wanted.iter().filter_map(|host| Some((host.to_string(), *given.get(*host)?)));
    let mut vips: Vips = kept.collect();
    let mut taken: BTreeSet<Ipv4Addr> = vips.values().copied().collect();
    for host in wanted {
        if !vips.contains_key(host) {
            let free = candidates(host).find(|address| !taken.contains(address))?;
            taken.insert(free);
            vips.insert(host.to_owned(), free);
        }
    }
    Some(vips)
}

/// Every address of the range once, from the one that the name points to; the first and last are left out.
fn candidates(host: &str) -> impl Iterator<Item = Ipv4Addr> {
    const USABLE: u32 = (1 << 16) - 2;
    let start = fnv1a(host) % USABLE;
    let base = u32::from(RANGE.network());
    (0..USABLE).map(move |step| Ipv4Addr::from(base + 1 + (start + step) % USABLE))
}

/// FNV-1a, 32 bits: the same on every machine and version, which a hasher of the standard library is not.
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_given_and_taken_back() {
        let first = allocate(["a", "b"], &Vips::new()).unwrap();
        assert!(first.values().all(|a| RANGE.contains(a)));
        let second = allocate(["b", "c"], &first).unwrap();
        assert_eq!(second["b"], first["b"]);
        assert!(!second.contains_key("a") && second["c"] != second["b"]);
    }

    #[test]
    fn a_full_range_is_said() {
        let hosts: Vec<String> = (0..65_534).map(|i| format!("h{i}")).collect();
        let full = allocate(hosts.iter().map(String::as_str), &Vips::new()).unwrap();
        let different: BTreeSet<_> = full.values().collect();
        assert_eq!(different.len(), 65_534);
        let more = hosts.iter().map(String::as_str).chain(["one more"]);
        assert_eq!(allocate(more, &full), None);
    }
}
