//! Who speaks plain text to a sidecar: what has to be known before only mutual TLS is taken (STRICT). Bounded; for the admin
//! endpoint, and there for `halcyon mtls plan`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// So many callers of ports are remembered; of more, those that were away longest are forgotten.
const MOST: usize = 1000;

/// The callers. Shared by all workers.
#[derive(Debug, Default)]
pub(crate) struct Plain(Mutex<HashMap<(IpAddr, u16), Seen>>);

/// What is known of one caller of one port.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// Connections so far.
    pub connections: u64,
    /// Connections that stand.
    pub open: u64,
    /// When the last one came or went.
    pub last: SystemTime,
}

/// A connection that stands.
#[derive(Debug)]
pub(crate) struct Counted {
    of: Arc<Plain>,
    key: (IpAddr, u16),
}

impl Plain {
    /// A connection in plain text came to a port.
    pub(crate) fn came(self: &Arc<Self>, from: IpAddr, port: u16) -> Counted {
        let (key, now) = ((from.to_canonical(), port), SystemTime::now());
        let mut all = self.lock();
        if all.len() >= MOST && !all.contains_key(&key) {
            let oldest = all.iter().filter(|(_, seen)| seen.open == 0).min_by_key(|(_, seen)| seen.last);
            let oldest = oldest.map(|(key, _)| *key);
            oldest.and_then(|key| all.remove(&key));
        }
        // Should all of them stand, one more is not remembered.
        if all.len() < MOST || all.contains_key(&key) {
            let seen = all.entry(key).or_insert(Seen { connections: 0, open: 0, last: now });
            seen.connections += 1;
            seen.open += 1;
            seen.last = now;
        }
        Counted { of: self.clone(), key }
    }

    /// Everybody, by address and port.
    pub(crate) fn all(&self) -> Vec<((IpAddr, u16), Seen)> {
        let mut all: Vec<_> = self.lock().iter().map(|(key, seen)| (*key, *seen)).collect();
        all.sort_by_key(|(key, _)| *key);
        all
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(IpAddr, u16), Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(seen) = self.of.lock().get_mut(&self.key) {
            seen.open = seen.open.saturating_sub(1);
            seen.last = SystemTime::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_and_who_stands() {
        let (plain, a) = (Arc::<Plain>::default(), IpAddr::from([10, 0, 0, 1]));
        let first = plain.came(a, 80);
        let second = plain.came("::ffff:10.0.0.1".parse().unwrap(), 80);
        drop(first);
        let all = plain.all();
        assert_eq!((all.len(), all[0].0, all[0].1.connections, all[0].1.open), (1, (a, 80), 2, 1));
        drop(second);
        assert_eq!(plain.all()[0].1.open, 0);
    }

    #[test]
    fn those_that_were_away_longest_are_forgotten() {
        let plain = Arc::<Plain>::default();
        let stands = plain.came(IpAddr::from([10, 0, 0, 1]), 1);
        for port in 2..2000 {
            drop(plain.came(IpAddr::from([10, 0, 0, 1]), port));
        }
        let ports: Vec<u16> = plain.all().iter().map(|((_, port), _)| *port).collect();
        assert_eq!((ports.len(), ports[0], ports.last()), (MOST, 1, Some(&1999)));
        drop(stands);
    }
}
