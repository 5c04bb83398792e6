//! The end of a proxy: no new work from outside, the old is finished, then everything closes. The workload's own calls
//! to others go on until the last moment, since what it still has to answer may need them.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use model::Direction;
use tokio::time::{Instant, sleep};

use crate::live::Live;
use crate::worker::{Load, Order, WorkerLink};

/// How often it is looked whether the old work is finished.
const LOOK: Duration = Duration::from_millis(50);

/// Stops accepting connections from outside and lets those that stand finish what they do.
pub(crate) fn begin(live: &Live, workers: &[WorkerLink]) {
    for worker in workers {
        for direction in [Direction::Inbound, Direction::Unspecified] {
            // A worker that is gone accepts nothing.
            let _ = worker.orders.send(Order::StopAccepting(direction));
        }
    }
    for plan in live.load().listeners.values().filter(|plan| plan.config.direction != Direction::Outbound) {
        plan.all_chains().for_each(|chain| chain.retire());
    }
}

/// Completes when no connection is left either way, or after `limit`. Says how many from outside are cut off then.
pub(crate) async fn finished(workers: &[WorkerLink], limit: Duration) -> usize {
    let end = Instant::now() + limit;
    loop {
        let count = |of: fn(&Load) -> &AtomicUsize| workers.iter().map(|w| of(&w.load).load(Relaxed)).sum::<usize>();
        let (inbound, outbound) = (count(|l| &l.inbound), count(|l| &l.outbound));
        if inbound + outbound == 0 || Instant::now() >= end {
            return inbound;
        }
        sleep(LOOK).await;
    }
}

/// Ends the workers.
pub(crate) fn stop(workers: &[WorkerLink]) {
    for worker in workers {
        let _ = worker.orders.send(Order::Stop);
    }
}
