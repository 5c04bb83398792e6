//! Which virtual hosts this proxy asks its control plane for: those that requests named, until nobody uses them any more.
//! The clusters follow from them (`warm`). With them stand the workloads that were dialled at their own addresses, by the names
//! of their clusters. Lives on the side runtime.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use xds::shell::Command;

use crate::bootstrap::OnDemand;
use crate::run::Side;

/// The names that are asked for, as `<route configuration>/<authority>` or those of workloads' clusters, and when each was last
/// seen in use.
#[derive(Debug)]
pub(crate) struct Demand {
    names: BTreeMap<Arc<str>, Instant>,
    idle: Duration,
    most: usize,
}

impl Demand {
    /// Nothing is asked for yet.
    pub(crate) fn new(options: &OnDemand) -> Self {
        Self { names: BTreeMap::new(), idle: options.idle, most: options.max_names }
    }

    /// A request names this. Says whether it is new. When there are too many, what was in use longest ago goes.
    pub(crate) fn ask(&mut self, name: Arc<str>, now: Instant) -> bool {
        let new = self.names.insert(name.clone(), now).is_none();
        if self.names.len() > self.most {
            let others = self.names.iter().filter(|(other, _)| **other != name);
            if let Some(oldest) = others.min_by_key(|(_, used)| **used).map(|(other, _)| other.clone()) {
                self.names.remove(&oldest);
            }
        }
        new
    }

    /// These were in use.
    pub(crate) fn used(&mut self, names: impl IntoIterator<Item = Arc<str>>, now: Instant) {
        for name in names {
            if let Some(used) = self.names.get_mut(&name) {
                *used = now;
            }
        }
    }

    /// Gives up what was not in use for long. Says whether there was any.
    pub(crate) fn give_up_idle(&mut self, now: Instant) -> bool {
        let before = self.names.len();
        self.names.retain(|_, used| now.duration_since(*used) < self.idle);
        self.names.len() < before
    }

    /// All of them.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.names.keys()
    }

    /// Is room left for only few more?
    fn is_nearly_full(&self) -> bool {
        self.names.len() >= self.most
    }
}

/// Idleness is looked for so many times within the time that makes a name idle.
const LOOKS: u32 = 4;

/// Takes what the workers ask for and gives up what is idle, for as long as the proxy runs. `tell` is what the session is
/// told whenever what is wanted changed.
pub(crate) async fn serve(
    side: Rc<Side>,
    mut asks: mpsc::UnboundedReceiver<Arc<str>>,
    session: mpsc::Sender<Command>,
    tell: impl Fn() -> Command,
) {
    let pause = (side.demand().borrow().idle / LOOKS).max(Duration::from_millis(1));
    let mut looks = interval(pause);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let changed = tokio::select! {
            name = asks.recv() => match name {
                Some(name) => take(&side, name, &mut asks),
                None => return,
            },
            _ = looks.tick() => look(&side),
        };
        // Without a stream what is wanted is asked for when there is one again.
        if changed && side.is_connected() && session.send(tell()).await.is_err() {
            return;
        }
    }
}

fn take(side: &Side, first: Arc<str>, asks: &mut mpsc::UnboundedReceiver<Arc<str>>) -> bool {
    let now = Instant::now();
    let mut changed = false;
    let mut next = Some(first);
    while let Some(name) = next {
        if side.demand().borrow().is_nearly_full() {
            note_use(side, now);
        }
        changed |= side.demand().borrow_mut().ask(name, now);
        next = asks.try_recv().ok();
    }
    changed
}

/// While nobody can be asked, nothing is given up.
fn look(side: &Side) -> bool {
    let now = Instant::now();
    note_use(side, now);
    side.is_connected() && side.demand().borrow_mut().give_up_idle(now)
}

fn note_use(side: &Side, now: Instant) {
    let mut demand = side.demand().borrow_mut();
    let running = side.live().load();
    running.tables.values().for_each(|table| demand.used(table.take_used(), now));
    demand.used(running.direct.take_used(), now);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(demand: &Demand) -> String {
        demand.names().map(|name| &**name).collect::<Vec<_>>().join(" ")
    }

    #[tokio::test(start_paused = true)]
    async fn idle_names_go() {
        let options = OnDemand { idle: Duration::from_secs(300), max_names: 3, ..OnDemand::default() };
        let mut demand = Demand::new(&options);
        let ask = |demand: &mut Demand, name: &str| demand.ask(name.into(), Instant::now());
        assert!(ask(&mut demand, "a") && ask(&mut demand, "b") && !ask(&mut demand, "a"));
        tokio::time::advance(Duration::from_secs(200)).await;
        demand.used(["b".into(), "unknown".into()], Instant::now());
        assert!(!demand.give_up_idle(Instant::now()));
        tokio::time::advance(Duration::from_secs(200)).await;
        assert!(demand.give_up_idle(Instant::now()));
        assert_eq!(names(&demand), "b");

        // Of too many the one goes that was in use longest ago.
        ask(&mut demand, "c");
        tokio::time::advance(Duration::from_secs(1)).await;
        ask(&mut demand, "d");
        ask(&mut demand, "e");
        assert_eq!(names(&demand), "c d e");
        ask(&mut demand, "f");
        assert_eq!(names(&demand), "d e f");
    }
}
