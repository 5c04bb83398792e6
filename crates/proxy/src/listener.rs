//! Accept: one task per listening socket, one task and one connection per socket accepted.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use model::{Address, Direction};
use transport::Stream;

use crate::connection;
use crate::inspect::Seen;
use crate::live::{ListenerPlan, Snapshot};
use crate::room::{self, Places};
use crate::socket::{Accepting, NOWHERE};
use crate::worker::Worker;

/// Accepts on one socket for as long as the task lives. `plan` is exchanged under it when the listener changes.
pub(crate) async fn accept(worker: Rc<Worker>, socket: Accepting, plan: Rc<RefCell<Arc<ListenerPlan>>>) {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => {
                let plan = plan.borrow().clone();
                // Who is one too many is closed.
                if let Some(places) = room::enter(&worker, &plan) {
                    worker.place(stream, peer, plan, places);
                }
            }
            Err(error) if error.is_shut() => return,
            Err(error) => {
                tracing::warn!("listener {}: {error}", plan.borrow().config.name);
                tokio::time::sleep(error.pause).await;
            }
        }
    }
}

/// Begins a connection on this worker.
pub(crate) fn begin(worker: &Rc<Worker>, stream: Stream, source: SocketAddr, plan: Arc<ListenerPlan>, places: Places) {
    let counted = Counted::new(worker, plan.config.direction, places);
    let Some(seen) = destination(&stream, source, &plan) else { return };
    let plan = hand_over(&worker.view().snapshot, plan, seen.destination);
    tokio::task::spawn_local(connection::run(worker.clone(), stream, plan, seen, counted));
}

/// Counts a connection for as long as it is held.
struct Counted {
    worker: Rc<Worker>,
    direction: Direction,
    _places: Places,
}

impl Counted {
    fn new(worker: &Rc<Worker>, direction: Direction, places: Places) -> Self {
        let counted = Self { worker: worker.clone(), direction, _places: places };
        counted.counter().fetch_add(1, Relaxed);
        worker.connection_begins();
        counted
    }

    fn counter(&self) -> &AtomicUsize {
        match self.direction {
            Direction::Outbound => &self.worker.load().outbound,
            Direction::Inbound | Direction::Unspecified => &self.worker.load().inbound,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counter().fetch_sub(1, Relaxed);
        self.worker.connection_ends();
    }
}

/// Where the connection was meant to go. None if the socket is dead already.
fn destination(stream: &Stream, source: SocketAddr, plan: &ListenerPlan) -> Option<Seen> {
    let config = &plan.config;
    let redirected = match stream.tcp() {
        Some(tcp) if config.use_original_destination || config.inspect.original_destination => {
            transport::original_dst(tcp).ok()?
        }
        _ => None,
    };
    let destination = match (redirected, &config.address) {
        (Some(addr), _) => addr,
        // Known without asking the socket.
        (None, Address::Socket { addr, .. }) if addr.port() != 0 && !addr.ip().is_unspecified() => *addr,
        (None, Address::Pipe { .. }) => NOWHERE,
        (None, _) => stream.local_addr().ok()?.ip()?,
    };
    let original = config.use_original_destination || config.inspect.original_destination;
    Some(Seen { original, ..Seen::new(source, destination) })
}

/// The listener that stands for a destination: the one at exactly that address, else the one at that port of any
/// address, else the one that accepted (Envoy's order).
fn hand_over(snapshot: &Snapshot, plan: Arc<ListenerPlan>, destination: SocketAddr) -> Arc<ListenerPlan> {
    if !plan.config.use_original_destination {
        return plan;
    }
    let any: IpAddr = match destination.is_ipv4() {
        true => Ipv4Addr::UNSPECIFIED.into(),
        false => Ipv6Addr::UNSPECIFIED.into(),
    };
    let found = [destination, SocketAddr::new(any, destination.port())];
    found.iter().find_map(|at| snapshot.by_destination.get(at)).cloned().unwrap_or(plan)
}
