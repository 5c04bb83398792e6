//! Requests of one worker that wait until it is known which virtual host takes them, and connections that wait until it is known
//! whether a workload is where they go. Off the way of all others.
//!
//! However many requests wait for a name, it is asked for once; what came of it arrives with a new configuration, and wakes
//! all of them. Who is asked, and what is held, is the side runtime's (`demand`).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use model::cluster::workload_of;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout_at};

use crate::http_plan::HttpPlan;
use crate::live::{Snapshot, View};
use crate::respond::Fault;
use crate::worker::Worker;

/// The names that are waited for.
pub(crate) struct Waiting {
    names: RefCell<HashMap<Arc<str>, Rc<Name>>>,
    asks: mpsc::UnboundedSender<Arc<str>>,
    limit: Duration,
}

#[derive(Default)]
struct Name {
    known: Notify,
    requests: Cell<usize>,
}

impl Waiting {
    /// Nobody waits yet. Names are asked for by `asks`; nobody waits longer than `limit`.
    pub(crate) fn new(asks: mpsc::UnboundedSender<Arc<str>>, limit: Duration) -> Self {
        Self { names: RefCell::default(), asks, limit }
    }

    /// Those whose names are known in this configuration wait no longer.
    pub(crate) fn wake(&self, snapshot: &Snapshot) {
        self.names.borrow_mut().retain(|name, waiting| {
            let waits = is_unknown(snapshot, name);
            if !waits {
                waiting.known.notify_waiters();
            }
            waits
        });
    }

    /// Joins those who wait for a name; the first asks for it.
    fn join(&self, name: &Arc<str>) -> Joined<'_> {
        let mut names = self.names.borrow_mut();
        let waiting = names.entry(name.clone()).or_insert_with(|| {
            // The side runtime ends last.
            let _ = self.asks.send(name.clone());
            Rc::default()
        });
        waiting.requests.set(waiting.requests.get() + 1);
        Joined { all: self, name: name.clone(), waiting: waiting.clone() }
    }
}

/// What was waited for did not become known in time.
#[derive(Debug, Clone)]
pub(crate) struct NotKnown {
    /// What was asked for.
    pub name: Arc<str>,
    /// For how long it was waited.
    pub waited: Duration,
}

/// The configuration in which `name` is known to the routes of `plan`.
///
/// # Errors
/// It did not come in time.
pub(crate) async fn until_known(worker: &Worker, plan: &HttpPlan, name: &Arc<str>) -> Result<Rc<View>, Fault> {
    let is_over = |snapshot: &Snapshot| plan.table(snapshot).is_none() || !is_unknown(snapshot, name);
    until(worker, name, is_over).await.map_err(Fault::UnknownHost)
}

/// The configuration in which it is known whether there is a workload whose cluster has this name.
///
/// # Errors
/// It did not come in time.
pub(crate) async fn until_known_workload(worker: &Worker, name: &Arc<str>) -> Result<Rc<View>, NotKnown> {
    until(worker, name, |snapshot| !is_unknown(snapshot, name)).await
}

async fn until(worker: &Worker, name: &Arc<str>, is_over: impl Fn(&Snapshot) -> bool) -> Result<Rc<View>, NotKnown> {
    let waiting = &worker.waiting;
    let deadline = Instant::now() + waiting.limit;
    loop {
        let joined = waiting.join(name);
        if timeout_at(deadline, joined.waiting.known.notified()).await.is_err() {
            return Err(NotKnown { name: name.clone(), waited: waiting.limit });
        }
        let view = worker.view();
        if is_over(&view.snapshot) {
            return Ok(view);
        }
    }
}

fn is_unknown(snapshot: &Snapshot, name: &str) -> bool {
    if workload_of(name).is_some() {
        return !snapshot.direct.knows(name);
    }
    let Some((table, authority)) = name.rsplit_once('/') else { return false };
    snapshot.tables.get(table).is_some_and(|table| !table.knows(authority))
}

/// One request among those who wait.
struct Joined<'a> {
    all: &'a Waiting,
    name: Arc<str>,
    waiting: Rc<Name>,
}

impl Drop for Joined<'_> {
    /// The last one to leave closes the door; a later request asks anew.
    fn drop(&mut self) {
        self.waiting.requests.set(self.waiting.requests.get() - 1);
        let mut names = self.all.names.borrow_mut();
        if self.waiting.requests.get() == 0 && names.get(&self.name).is_some_and(|it| Rc::ptr_eq(it, &self.waiting)) {
            names.remove(&self.name);
        }
    }
}
