//! The load: many connections on one thread, each full of requests (closed loop), or requests at a fixed rate that does not
//! wait for the proxy (open loop).
//!
//! In open loop a latency counts from the intended start, also when every connection was busy then, so that a proxy that
//! stalls cannot hide it by slowing the load down (coordinated omission).
//!
//! A load of new connections is [`fresh`]'s; single calls are [`call`]'s.

mod call;
mod fresh;

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use hdrhistogram::Histogram;

use crate::machine::ThreadId;
use crate::socket::{BUFFER, Poll, SKIP, Socket};
use crate::wire::{Client, Done, Exchange, Wire};

pub use call::{Held, Probe, probe};
pub use fresh::{Connecting, Handshake};

/// The shape of a load.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// What is spoken.
    pub wire: Wire,
    /// Connections.
    pub connections: usize,
    /// Requests at once on each.
    pub streams: usize,
    /// What each request is.
    pub exchange: Exchange,
}

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Whenever one can be (closed loop).
    Full,
    /// So many per second, whatever comes back (open loop).
    Rate(f64),
    /// In closed loop as many as [`Load::allow`] has allowed.
    Allowed,
    /// In closed loop with so many under way at most, from connection to connection.
    AtMost(usize),
}

/// A load that runs until it is finished or dropped.
pub struct Load {
    /// Its thread.
    pub thread: ThreadId,
    shared: Arc<Shared>,
    running: Option<JoinHandle<anyhow::Result<Latencies>>>,
}

/// Latencies in nanoseconds.
pub type Latencies = Histogram<u64>;

/// What the load's thread tells, and is told.
#[derive(Default)]
struct Shared {
    done: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
    allowed: AtomicU64,
    records: AtomicBool,
    end: AtomicBool,
}

impl Shared {
    fn ended(&self) -> bool {
        self.end.load(Ordering::Relaxed)
    }
}

/// How long nothing may happen while answers are waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks whether it should end.
const LOOK: Duration = Duration::from_millis(100);
/// The bounds of the histogram: steps of 0.1 us, up to a minute.
const FINEST_NS: u64 = 100;
const LONGEST_NS: u64 = 60_000_000_000;

impl Load {
    /// Connects and begins.
    ///
    /// # Errors
    /// When a connection cannot be made, or the system gives no thread.
    pub fn start(to: SocketAddr, shape: Shape, pace: Pace) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut driver = Driver::new(to, shape, pace, shared.clone())?;
        Self::run(shared, move || {
            driver.run()?;
            Ok(driver.latencies)
        })
    }

    /// Begins a load of new connections: each carries one request and is closed.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn connecting(to: SocketAddr, connecting: Connecting) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut driver = fresh::Driver::new(to, connecting, shared.clone())?;
        Self::run(shared, move || {
            driver.run()?;
            histogram()
        })
    }

    fn run(
        shared: Arc<Shared>,
        drive: impl FnOnce() -> anyhow::Result<Latencies> + Send + 'static,
    ) -> anyhow::Result<Self> {
        let (tell, told) = std::sync::mpsc::channel();
        let run = move || {
            // Who started it waits for this.
            let _ = tell.send(ThreadId::own());
            drive()
        };
        let running = std::thread::Builder::new().name("load".into()).spawn(run)?;
        let thread = told.recv().context("the load's thread did not start")?;
        Ok(Self { thread, shared, running: Some(running) })
    }

    /// Answers so far.
    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// Answers that were not 200 and whole, so far.
    pub fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// Bytes that went to the proxy and came from it, so far.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// So many more requests ([`Pace::Allowed`]).
    pub fn allow(&self, more: u64) {
        self.shared.allowed.fetch_add(more, Ordering::Relaxed);
    }

    /// Whether its thread has ended; [`Load::finish`] says why.
    pub fn is_over(&self) -> bool {
        self.running.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Latencies are recorded from now on, or no more.
    pub fn record(&self, on: bool) {
        self.shared.records.store(on, Ordering::Relaxed);
    }

    /// Ends it.
    ///
    /// # Errors
    /// What went wrong on its way.
    pub fn finish(mut self) -> anyhow::Result<Latencies> {
        self.shared.end.store(true, Ordering::Relaxed);
        let running = self.running.take().context("the load was finished before")?;
        running.join().map_err(|_| anyhow!("the load's thread panicked"))?
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        if let Some(running) = self.running.take() {
            // What went wrong there was already said, or does not matter any more.
            let _ = running.join();
        }
    }
}

fn histogram() -> anyhow::Result<Latencies> {
    Histogram::new_with_bounds(FINEST_NS, LONGEST_NS, 3).context("histogram")
}

struct Driver {
    shared: Arc<Shared>,
    pace: Pace,
    poll: Poll,
    connections: Vec<(Socket, Client)>,
    /// A connection for each request that could be sent now.
    free: VecDeque<usize>,
    /// How many those are when nothing is under way.
    slots: usize,
    /// Intended starts that are due, in nanoseconds since the start.
    due: VecDeque<u64>,
    began: Instant,
    /// Requests that became due, or were sent in closed loop.
    sent: u64,
    /// When bytes came last.
    heard: Instant,
    latencies: Latencies,
}

impl Driver {
    fn new(to: SocketAddr, shape: Shape, pace: Pace, shared: Arc<Shared>) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(shape.connections);
        for number in 0..shape.connections {
            let stream = TcpStream::connect(to).with_context(|| format!("cannot connect to {to}"))?;
            let mut socket = Socket::new(stream, number, &poll)?;
            let client = Client::new(shape.wire, shape.exchange, number, socket.out());
            connections.push((socket, client));
        }
        // All first streams, then all second ones: neighbours in time go to different connections.
        let free = (0..shape.streams).flat_map(|_| 0..shape.connections).collect();
        let now = Instant::now();
        Ok(Self {
            shared,
            pace,
            poll,
            connections,
            free,
            slots: shape.connections * shape.streams,
            due: VecDeque::new(),
            began: now,
            sent: 0,
            heard: now,
            latencies: histogram()?,
        })
    }

    fn run(&mut self) -> anyhow::Result<()> {
        let (mut ready, mut done, mut buffer) = (Vec::new(), Vec::new(), vec![0; SKIP]);
        self.began = Instant::now();
        self.heard = self.began;
        self.dispatch()?;
        while !self.shared.ended() {
            self.poll.wait(&mut ready, self.until_next())?;
            for number in &ready {
                done.clear();
                self.read(*number, &mut buffer, &mut done)?;
                self.record(*number, &done);
            }
            self.dispatch()?;
            for number in &ready {
                self.flush(*number)?;
            }
            if self.free.len() < self.slots && self.heard.elapsed() > PATIENCE {
                bail!("no answer for {PATIENCE:?}");
            }
        }
        Ok(())
    }

    fn read(&mut self, number: usize, buffer: &mut [u8], done: &mut Vec<Done>) -> anyhow::Result<()> {
        let (socket, client) = &mut self.connections[number];
        let skip = client.may_skip();
        let read = match skip > BUFFER {
            true => socket.skip(skip, buffer),
            false => socket.read(&mut buffer[..BUFFER]),
        };
        let Some(count) = read.context("reading")? else { return Ok(()) };
        if count == 0 {
            bail!("the proxy closed a connection under load");
        }
        self.heard = Instant::now();
        self.shared.bytes.fetch_add(count as u64, Ordering::Relaxed);
        match skip > BUFFER {
            true => client.skipped(count),
            false => client.receive(&buffer[..count], done, socket.out())?,
        }
        Ok(())
    }

    fn flush(&mut self, number: usize) -> anyhow::Result<()> {
        let (socket, client) = &mut self.connections[number];
        let written = socket.flush(&self.poll, |out| client.fill(out)).context("writing")?;
        if written > 0 {
            self.shared.bytes.fetch_add(written as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    fn record(&mut self, number: usize, done: &[Done]) {
        if done.is_empty() {
            return;
        }
        let now = self.heard.duration_since(self.began).as_nanos() as u64;
        let records = self.shared.records.load(Ordering::Relaxed);
        for one in done {
            if records {
                self.latencies.saturating_record(now.saturating_sub(one.token));
            }
            if !one.ok {
                self.shared.failed.fetch_add(1, Ordering::Relaxed);
            }
            self.free.push_back(number);
        }
        self.shared.done.fetch_add(done.len() as u64, Ordering::Relaxed);
    }

    /// Sends what can be sent: in closed loop on every free connection, in open loop what is due.
    fn dispatch(&mut self) -> anyhow::Result<()> {
        let now = self.began.elapsed().as_nanos() as u64;
        if let Pace::Rate(rate) = self.pace {
            while due_at(self.sent, rate) <= now {
                self.due.push_back(due_at(self.sent, rate));
                self.sent += 1;
            }
        }
        let mut touched = None;
        while !self.free.is_empty() {
            let Some(token) = self.next_token(now) else { break };
            let Some(number) = self.free.pop_front() else { break };
            if let Some(before) = touched.replace(number).filter(|before| *before != number) {
                self.flush(before)?;
            }
            let (socket, client) = &mut self.connections[number];
            client.request(token, socket.out());
        }
        if let Some(last) = touched {
            self.flush(last)?;
        }
        Ok(())
    }

    /// The intended start of the next request, if there is one.
    fn next_token(&mut self, now: u64) -> Option<u64> {
        match self.pace {
            Pace::Full => Some(now),
            Pace::Rate(_) => self.due.pop_front(),
            Pace::Allowed if self.sent < self.shared.allowed.load(Ordering::Relaxed) => {
                self.sent += 1;
                Some(now)
            }
            Pace::AtMost(most) if self.slots - self.free.len() < most => Some(now),
            Pace::Allowed | Pace::AtMost(_) => None,
        }
    }

    fn until_next(&self) -> Duration {
        match self.pace {
            Pace::Full | Pace::Allowed | Pace::AtMost(_) => LOOK,
            Pace::Rate(rate) => {
                let now = self.began.elapsed().as_nanos() as u64;
                Duration::from_nanos(due_at(self.sent, rate).saturating_sub(now)).min(LOOK)
            }
        }
    }
}

/// Computed from the start each time, so that rounding does not add up.
fn due_at(number: u64, rate: f64) -> u64 {
    (number as f64 * 1e9 / rate) as u64
}
