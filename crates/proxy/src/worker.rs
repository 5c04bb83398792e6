//! One worker: a thread with a runtime of its own, its connections, its pools, its view of the configuration.
//!
//! Orders come through a channel; nothing else crosses threads, and never on a request's way. The first worker also
//! holds the listening sockets and gives every new connection to the worker that has the fewest.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use telemetry::DeclareError;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use transport::{Stream, memory};

use crate::inspect::Quiet;
use crate::limits::Alarms;
use crate::listener;
use crate::live::{ListenerPlan, Snapshot, View};
use crate::log::Writers;
use crate::node::Shared;
use crate::peer::Peers;
use crate::room::Places;
use crate::series::Series;
use crate::socket::{Loose, Socket, SocketKey};
use crate::waiting::Waiting;

/// How many connections a worker has; read by the one that hands out new ones, and by a drain.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// Those that came to us from outside.
    pub inbound: AtomicUsize,
    /// Those of the workload to others.
    pub outbound: AtomicUsize,
}

impl Load {
    fn total(&self) -> usize {
        self.inbound.load(Relaxed) + self.outbound.load(Relaxed)
    }
}

/// What a worker is told.
pub(crate) enum Order {
    /// Run this from now on; the first worker also gets the sockets that are new.
    Swap {
        /// The configuration.
        snapshot: Arc<Snapshot>,
        /// New sockets.
        sockets: Vec<(SocketKey, Socket)>,
    },
    /// Take this connection.
    Take(Handed),
    /// Stop accepting on sockets of this direction.
    StopAccepting(model::Direction),
    /// End the thread, with what is left.
    Stop,
}

/// A connection on its way from the accepting worker to its own.
pub(crate) struct Handed {
    socket: Loose,
    source: SocketAddr,
    plan: Arc<ListenerPlan>,
    places: Places,
}

/// The end by which the side runtime reaches a worker.
#[derive(Clone)]
pub(crate) struct WorkerLink {
    /// Orders to it.
    pub orders: mpsc::UnboundedSender<Order>,
    /// How busy it is.
    pub load: Arc<Load>,
}

/// A worker, as the tasks on it see it.
pub(crate) struct Worker {
    /// What all workers share and never changes.
    pub shared: Arc<Shared>,
    /// Destinations at which the server speaks first.
    pub quiet: Quiet,
    /// Requests that wait for a virtual host.
    pub waiting: Waiting,
    /// The metric handles of this worker.
    pub series: Series,
    /// This worker's ways into the access logs.
    pub writers: Writers,
    /// Peers that told who they are.
    pub peers: Peers,
    /// Timers for exchanges.
    pub alarms: Alarms,
    load: Arc<Load>,
    ebb: Ebb,
    upstream: Rc<upstream::Worker>,
    view: RefCell<Rc<View>>,
    everyone: Vec<WorkerLink>,
    accepting: RefCell<HashMap<SocketKey, Accepting>>,
    connections: Cell<u64>,
}

/// Watches the number of connections fall.
#[derive(Debug, Default)]
struct Ebb {
    /// The most connections since memory was last given back.
    highest: Cell<usize>,
    /// It will be given back soon.
    waiting: Cell<bool>,
}

/// Fewer connections leave nothing that is worth giving back.
const MANY: usize = 100;
/// As many beginning within [`QUIET`] still count as quiet.
const FEW: u64 = 10;
/// The wait after most connections have gone, so that all that go together are through.
const QUIET: Duration = Duration::from_secs(1);

/// A socket on which the first worker accepts.
struct Accepting {
    plan: Rc<RefCell<Arc<ListenerPlan>>>,
    task: JoinHandle<()>,
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts `count` workers, each on its own thread. By `asks` they say which virtual hosts they need.
///
/// # Errors
/// The system gives no thread or no runtime.
pub(crate) fn start(
    count: usize,
    shared: &Arc<Shared>,
    asks: &mpsc::UnboundedSender<Arc<str>>,
) -> std::io::Result<(Vec<WorkerLink>, Threads)> {
    let (mut links, mut ends, mut threads) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let (orders, end) = mpsc::unbounded_channel();
        links.push(WorkerLink { orders, load: Arc::default() });
        ends.push(end);
    }
    for (number, end) in ends.into_iter().enumerate() {
        let (links, shared, asks) = (links.clone(), shared.clone(), asks.clone());
        let (begun, outcome) = std::sync::mpsc::channel();
        threads.push(std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            // Its tasks never leave the thread, so the runtime is made here.
            let options = tokio::runtime::LocalOptions::default();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(options);
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(begun.send(Err(error))),
            };
            drop(begun);
            runtime.block_on(async {
                match Worker::new(number, shared, links, asks) {
                    Ok(worker) => worker.obey(end).await,
                    Err(error) => tracing::error!("worker {number} cannot start: {error}"),
                }
            });
        })?);
        // Nothing comes from one that has its runtime.
        outcome.recv().unwrap_or(Ok(()))?;
    }
    Ok((links, Threads(threads)))
}

/// The threads of the workers.
pub(crate) struct Threads(Vec<std::thread::JoinHandle<()>>);

impl Threads {
    /// Waits until all have ended; they must have been told to. Blocks.
    pub(crate) fn join(self) {
        // A panic of a worker was printed where it happened.
        self.0.into_iter().for_each(|thread| drop(thread.join()));
    }
}

impl Worker {
    fn new(
        number: usize,
        shared: Arc<Shared>,
        everyone: Vec<WorkerLink>,
        asks: mpsc::UnboundedSender<Arc<str>>,
    ) -> Result<Rc<Self>, DeclareError> {
        let shard = shared.registry.shard();
        let upstream = upstream::Worker::new(shared.dialer(), &shard)?;
        Ok(Rc::new(Self {
            quiet: Quiet::default(),
            waiting: Waiting::new(asks, shared.on_demand.wait),
            series: Series::new(&shared, &shard)?,
            writers: Writers::default(),
            peers: Peers::default(),
            alarms: Alarms::default(),
            load: everyone[number].load.clone(),
            ebb: Ebb::default(),
            view: RefCell::new(Rc::new(View::new(Arc::default(), upstream.clone()))),
            upstream,
            everyone,
            accepting: RefCell::default(),
            connections: Cell::new(0),
            shared,
        }))
    }

    /// The configuration now. Whoever keeps it sees no later one.
    pub(crate) fn view(&self) -> Rc<View> {
        self.view.borrow().clone()
    }

    /// A number for a new connection of this worker, from one.
    pub(crate) fn next_connection(&self) -> u64 {
        self.connections.set(self.connections.get() + 1);
        self.connections.get()
    }

    /// How busy this worker is.
    pub(crate) fn load(&self) -> &Arc<Load> {
        &self.load
    }

    /// A connection has been counted.
    pub(crate) fn connection_begins(&self) {
        self.ebb.highest.set(self.ebb.highest.get().max(self.load.total()));
    }

    /// A connection is counted no more. When most are gone, what they held goes back to the system, once it is quiet.
    pub(crate) fn connection_ends(self: &Rc<Self>) {
        if !self.is_low() || self.ebb.waiting.replace(true) {
            return;
        }
        let worker = self.clone();
        tokio::task::spawn_local(async move {
            // Where connections come and go, what one leaves the next one needs.
            while worker.begins_within(QUIET).await > FEW {}
            worker.ebb.waiting.set(false);
            if !worker.is_low() {
                return;
            }
            worker.ebb.highest.set(worker.load.total());
            worker.upstream.trim();
            // What the closed connections hold goes with their own tasks.
            tokio::task::yield_now().await;
            memory::give_back();
            memory::forget_code();
        });
    }

    /// Have most of many connections gone?
    fn is_low(&self) -> bool {
        let highest = self.ebb.highest.get();
        highest >= MANY && self.load.total() * 2 <= highest
    }

    /// How many connections begin within a time from now.
    async fn begins_within(&self, time: Duration) -> u64 {
        let before = self.connections.get();
        sleep(time).await;
        self.connections.get() - before
    }

    /// Follows orders until it is told to stop.
    async fn obey(self: Rc<Self>, mut orders: mpsc::UnboundedReceiver<Order>) {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Swap { snapshot, sockets } => self.swap(snapshot, sockets),
                Order::Take(handed) => self.take(handed),
                Order::StopAccepting(direction) => {
                    let other = |a: &Accepting| a.plan.borrow().config.direction != direction;
                    self.accepting.borrow_mut().retain(|_, accepting| other(accepting));
                }
                Order::Stop => break,
            }
        }
        self.accepting.borrow_mut().clear();
    }

    fn swap(self: &Rc<Self>, snapshot: Arc<Snapshot>, sockets: Vec<(SocketKey, Socket)>) {
        let view = View::new(snapshot.clone(), self.upstream.clone());
        *self.view.borrow_mut() = Rc::new(view);
        self.series.forget_handles();
        self.waiting.wake(&snapshot);
        let mut accepting = self.accepting.borrow_mut();
        let plans: HashMap<SocketKey, &Arc<ListenerPlan>> =
            snapshot.listeners.values().filter_map(|plan| Some((SocketKey::of(&plan.config)?, plan))).collect();
        accepting.retain(|key, _| plans.contains_key(key));
        for (key, accepting) in accepting.iter() {
            if let Some(plan) = plans.get(key) {
                *accepting.plan.borrow_mut() = (*plan).clone();
            }
        }
        for (key, bound) in sockets {
            let Some(plan) = plans.get(&key) else { continue };
            match bound.start() {
                Ok(socket) => {
                    let plan = Rc::new(RefCell::new((*plan).clone()));
                    let task = tokio::task::spawn_local(listener::accept(self.clone(), socket, plan.clone()));
                    accepting.insert(key, Accepting { plan, task });
                }
                Err(error) => tracing::error!("listener {}: cannot accept on its socket: {error}", plan.config.name),
            }
        }
    }

    /// Runs a new connection here, or gives it to the worker that has the fewest.
    pub(crate) fn place(self: &Rc<Self>, stream: Stream, source: SocketAddr, plan: Arc<ListenerPlan>, places: Places) {
        let least = self.everyone.iter().min_by_key(|w| w.load.total());
        let Some(other) = least.filter(|w| !Arc::ptr_eq(&w.load, &self.load) && w.load.total() < self.load.total())
        else {
            return listener::begin(self, stream, source, plan, places);
        };
        let Some(socket) = Loose::of(&stream) else {
            // Out of files, or no socket: it stays here.
            return listener::begin(self, stream, source, plan, places);
        };
        // The other end may be stopping; then the connection ends with it.
        let _ = other.orders.send(Order::Take(Handed { socket, source, plan, places }));
    }

    fn take(self: &Rc<Self>, handed: Handed) {
        match handed.socket.join() {
            Ok(stream) => listener::begin(self, stream, handed.source, handed.plan, handed.places),
            Err(error) => tracing::warn!("a connection of {} could not be taken over: {error}", handed.source),
        }
    }
}
