//! How many connections from downstream there may be: to all listeners together, and to one. They are counted where they
//! are accepted, for all workers, and held until they end, on whichever worker that is.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use model::{Config, Listener};

use crate::live::ListenerPlan;
use crate::worker::Worker;

/// Room for connections.
#[derive(Debug)]
pub(crate) struct Room {
    taken: AtomicU64,
    most: AtomicU64,
    /// Somebody was refused since there was last a place.
    refuses: AtomicBool,
}

impl Default for Room {
    /// Room for all.
    fn default() -> Self {
        Self { taken: AtomicU64::new(0), most: AtomicU64::new(u64::MAX), refuses: AtomicBool::new(false) }
    }
}

/// A place that a connection takes for as long as this is held.
#[derive(Debug)]
pub(crate) struct Place(Arc<Room>);

/// The places of one connection.
#[derive(Debug)]
pub(crate) struct Places {
    _common: Option<Place>,
    _listener: Place,
}

/// Whose room is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// That of all listeners together.
    Common,
    /// That of the listener.
    Listener,
}

impl Room {
    /// From now on there is room for so many; none: for all. Who is there stays.
    fn resize(&self, most: Option<u32>) {
        self.most.store(most.map_or(u64::MAX, u64::from), Relaxed);
    }

    fn take(self: &Arc<Self>) -> Option<Place> {
        let most = self.most.load(Relaxed);
        let next = |taken: u64| (taken < most).then_some(taken + 1);
        self.taken.fetch_update(Relaxed, Relaxed, next).ok()?;
        if self.refuses.load(Relaxed) {
            self.refuses.store(false, Relaxed);
        }
        Some(Place(self.clone()))
    }

    /// Somebody is refused. Says whether he is the first since there was last a place.
    fn refuse(&self) -> bool {
        !self.refuses.swap(true, Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Relaxed);
    }
}

/// The limits of a configuration hold from now on.
pub(crate) fn heed<'a>(config: &Config, common: &Room, plans: impl Iterator<Item = &'a Arc<ListenerPlan>>) {
    let all = || config.limits.values();
    common.resize(all().filter_map(|limits| limits.common).min());
    for plan in plans {
        plan.room.resize(all().filter_map(|limits| limits.by_listener.get(&plan.config.name)).min().copied());
    }
}

/// Lets a connection in that was just accepted; none: it is one too many, which is counted. The first is logged.
pub(crate) fn enter(worker: &Worker, plan: &ListenerPlan) -> Option<Places> {
    let refused = match places(&worker.shared.room, plan) {
        Ok(places) => return Some(places),
        Err(full) => full,
    };
    worker.series.overflowed(&plan.config, refused);
    let (room, whose) = match refused {
        Full::Common => (&worker.shared.room, "all listeners together"),
        Full::Listener => (&plan.room, "this listener"),
    };
    if room.refuse() {
        let (name, most) = (&plan.config.name, room.most.load(Relaxed));
        tracing::warn!(
            "listener {name}: {most} connections to {whose} are open, which is the limit: others are closed"
        );
    }
    None
}

/// Envoy's order: the room of all comes first.
fn places(common: &Arc<Room>, plan: &ListenerPlan) -> Result<Places, Full> {
    let common = match plan.config.ignores_common_limit {
        true => None,
        false => Some(common.take().ok_or(Full::Common)?),
    };
    Ok(Places { _common: common, _listener: plan.room.take().ok_or(Full::Listener)? })
}

/// The address of a listener as Envoy's statistics spell it: `127.0.0.1_8080`.
pub(crate) fn address(listener: &Listener) -> String {
    match listener.address.socket_addr() {
        Some(at) => at.to_string().replace(':', "_"),
        None => listener.address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let room = Arc::new(Room::default());
        room.resize(Some(2));
        let (first, second) = (room.take().unwrap(), room.take().unwrap());
        assert!(room.take().is_none());
        assert!(room.refuse() && !room.refuse(), "only the first is new");
        drop(first);
        let third = room.take().unwrap();
        assert!(room.refuse(), "there was a place in between");
        room.resize(Some(1));
        drop(second);
        assert!(room.take().is_none(), "who is there counts");
        drop(third);
        assert!(room.take().is_some());
        room.resize(None);
        let many: Vec<_> = (0..100).map(|_| room.take().unwrap()).collect();
        assert_eq!(room.taken.load(Relaxed), many.len() as u64);
    }

    #[test]
    fn nobody_is_counted_twice_or_forgotten() {
        let room = Arc::new(Room::default());
        room.resize(Some(64));
        let most = Arc::new(AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let held: Vec<_> = (0..32).filter_map(|_| room.take()).collect();
                        most.fetch_max(room.taken.load(Relaxed), Relaxed);
                        drop(held);
                    }
                });
            }
        });
        assert!((1..=64).contains(&most.load(Relaxed)), "{most:?}");
        assert_eq!(room.taken.load(Relaxed), 0);
    }
}
