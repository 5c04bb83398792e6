//! A load generator with a constant rate that does not wait for the server (open loop), on one thread.
//!
//! Each request has an intended start, fixed by the rate alone. Its latency counts from there, also when it could be sent
//! only later because every connection was busy: so a server that stalls cannot hide it by slowing the generator
//! down (coordinated omission). With rate 0 each connection sends as soon as it is free (closed loop), and latencies
//! count from the sending.
//!
//! [`LoadOptions`] is what people type, [`Plan`] what it means, [`run`] does it, [`Report`] says what came of it.

mod connection;
mod pacer;
mod plan;
mod report;
mod tally;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Duration, Instant};

pub use connection::CallError;
use connection::Connection;
use pacer::FineTimer;
pub use plan::{LoadOptions, Plan, PlanError, Protocol};
pub use report::{Latency, Report};
use tally::Tally;

/// How long a closed-loop connection waits after it could not connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(10);

/// Does what `plan` says, until its time is over, its number of requests is reached, or `stop` completes. Then waits for the
/// answers under way, each within its time limit. Must run on a current-thread runtime.
///
/// # Errors
/// When the system gives no timer.
pub async fn run(plan: Plan, stop: impl Future<Output = ()>) -> io::Result<Report> {
    LocalSet::new().run_until(run_locally(plan, stop)).await
}

async fn run_locally(plan: Plan, stop: impl Future<Output = ()>) -> io::Result<Report> {
    let timer = FineTimer::new()?;
    let plan = Rc::new(plan);
    let connections: Vec<_> = (0..plan.connections).map(|_| Rc::new(Connection::new(plan.clone()))).collect();
    for connection in &connections {
        // So that the first requests do not measure handshakes. Who cannot connect says so at its first request.
        connection.open().await;
    }
    let start = Instant::now();
    let work = Rc::new(Work {
        arrivals: RefCell::default(),
        waiting: Semaphore::new(0),
        closed_loop: (plan.rate == 0.0).then(|| Cell::new(plan.requests)),
        end: Cell::new(start + plan.duration),
        tally: RefCell::new(Tally::new(&plan, start + plan.warmup)),
        plan,
    });
    let mut senders = JoinSet::new();
    for _ in 0..work.plan.streams {
        for connection in &connections {
            senders.spawn_local(send_all(work.clone(), connection.clone()));
        }
    }
    let (mut stop, mut stopped) = (pin!(stop), false);
    tokio::select! {
        result = pace(&work, &timer, start) => result?,
        () = &mut stop => stopped = work.stop(),
    }
    work.waiting.close();
    loop {
        tokio::select! {
            sender = senders.join_next() => if sender.is_none() { break },
            () = &mut stop, if !stopped => stopped = work.stop(),
        }
    }
    let tally = work.tally.borrow();
    Ok(Report::of(&work.plan, &tally, work.end.get().min(Instant::now()), start + work.plan.warmup))
}

/// What the senders share.
struct Work {
    plan: Rc<Plan>,
    /// Intended starts that are due and not yet taken.
    arrivals: RefCell<VecDeque<Instant>>,
    /// One permit for each arrival.
    waiting: Semaphore,
    /// In closed loop: how many requests are left.
    closed_loop: Option<Cell<u64>>,
    end: Cell<Instant>,
    tally: RefCell<Tally>,
}

impl Work {
    fn stop(&self) -> bool {
        self.end.set(self.end.get().min(Instant::now()));
        true
    }

    /// The intended start of the next request, once it is due; nothing when the work is over.
    async fn next(&self) -> Option<Instant> {
        if let Some(left) = &self.closed_loop {
            let now = Instant::now();
            if left.get() == 0 || now >= self.end.get() {
                return None;
            }
            left.set(left.get() - 1);
            return Some(now);
        }
        match self.waiting.acquire().await {
            Ok(permit) => permit.forget(),
            // Closed: no more arrivals come, but those that came are not forgotten.
            Err(_) => return self.arrivals.borrow_mut().pop_front(),
        }
        self.arrivals.borrow_mut().pop_front()
    }
}

/// Makes requests due, each at its intended start, and returns at the end of the plan. In closed loop nothing is due.
async fn pace(work: &Work, timer: &FineTimer, start: Instant) -> io::Result<()> {
    if work.closed_loop.is_some() {
        return Ok(());
    }
    let (rate, end) = (work.plan.rate, work.end.get());
    let mut sent = 0;
    loop {
        let (now, before) = (Instant::now(), sent);
        let mut next = start + pacer::offset(sent, rate);
        while next <= now && next < end && sent < work.plan.requests {
            work.arrivals.borrow_mut().push_back(next);
            sent += 1;
            next = start + pacer::offset(sent, rate);
        }
        work.waiting.add_permits((sent - before) as usize);
        if next >= end || sent >= work.plan.requests {
            return Ok(());
        }
        timer.sleep_until(next).await?;
    }
}

/// Takes what is due, one request after the other, until there is no more.
async fn send_all(work: Rc<Work>, connection: Rc<Connection>) {
    while let Some(intended) = work.next().await {
        let limit = intended + work.plan.timeout;
        // What waited too long for a free connection is not sent any more: nobody would wait for its answer.
        let result = if Instant::now() >= limit {
            Err(CallError::Timeout)
        } else {
            let result = tokio::time::timeout_at(limit, connection.exchange()).await;
            result.unwrap_or(Err(CallError::Timeout))
        };
        let pause = matches!(result, Err(CallError::Connect(_))) && work.closed_loop.is_some();
        work.tally.borrow_mut().record(intended, Instant::now(), result);
        if pause {
            tokio::time::sleep(CONNECT_PAUSE).await;
        }
    }
}
