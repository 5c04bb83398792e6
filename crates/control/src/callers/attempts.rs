//! How often one address may fail to prove who it is.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So many failures within the window; then nobody is heard from there until it ends.
const MOST: u32 = 10;
/// Begins with the first failure.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered; of more the one whose window ends first is forgotten.
const ADDRESSES: usize = 10_000;

/// Failures by address; of IPv6 by /64, which one host may have for itself.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<HashMap<IpAddr, Failed>>);

#[derive(Debug, Clone, Copy)]
struct Failed {
    count: u32,
    ends: Instant,
}

impl Attempts {
    /// How long nobody is heard from there; none: one may try.
    pub fn blocked(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = known.get(&network(address))?;
        (failed.count >= MOST && failed.ends > now).then(|| failed.ends - now)
    }

    /// Somebody failed there. Is it still worth a line in the audit log? Beyond the limit it is only counted, so that
    /// nobody fills the disk by guessing.
    pub fn failed(&self, address: IpAddr, now: Instant) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= ADDRESSES && !known.contains_key(&network(address)) {
            known.retain(|_, failed| failed.ends > now);
            let first = known.iter().min_by_key(|(_, failed)| failed.ends).map(|(address, _)| *address);
            if let Some(first) = first.filter(|_| known.len() >= ADDRESSES) {
                known.remove(&first);
            }
        }
        let failed = known.entry(network(address)).or_insert(Failed { count: 0, ends: now + WINDOW });
        if failed.ends <= now {
            *failed = Failed { count: 0, ends: now + WINDOW };
        }
        failed.count += 1;
        failed.count <= MOST
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_and_then_none_until_the_window_ends() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        let [guest, other]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        for n in 1..=MOST {
            assert_eq!(attempts.blocked(guest, start), None, "{n}");
            assert!(attempts.failed(guest, start), "{n}");
        }
        assert_eq!(attempts.blocked(guest, start + WINDOW / 2), Some(WINDOW / 2));
        assert!(!attempts.failed(guest, start), "not written down any more");
        assert_eq!(attempts.blocked(other, start), None);
        assert_eq!(attempts.blocked(guest, start + WINDOW), None);
        assert!(attempts.failed(guest, start + WINDOW));
        let [a, b]: [IpAddr; 2] = ["2001:db8::1", "2001:db8::2"].map(|text| text.parse().unwrap());
        for _ in 0..MOST {
            attempts.failed(a, start);
        }
        assert!(attempts.blocked(b, start).is_some(), "one network");
    }

    #[test]
    fn memory_is_bounded() {
        let (attempts, start) = (Attempts::default(), Instant::now());
        for n in 0..ADDRESSES as u32 + 10 {
            attempts.failed(std::net::Ipv4Addr::from_bits(n).into(), start + Duration::from_micros(n.into()));
        }
        assert_eq!(attempts.0.lock().unwrap().len(), ADDRESSES);
    }
}
