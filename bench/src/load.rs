//! The load: many connections on one thread, each full of requests (closed loop), or requests at a fixed rate that does not
//! wait for the proxy (open loop).
//!
//! In open loop a latency counts from the intended start, also when every connection was busy then, so that a proxy that
//! stalls cannot hide it by slowing the load down (coordinated omission).

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use hdrhistogram::Histogram;

use crate::machine::ThreadId;
use crate::socket::{BUFFER, Poll, Socket};
use crate::wire::{Client, Done, Wire};

/// The shape of a load.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// What is spoken.
    pub wire: Wire,
    /// Connections.
    pub connections: usize,
    /// Requests at once on each.
    pub streams: usize,
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

#[derive(Default)]
struct Shared {
    done: AtomicU64,
    failed: AtomicU64,
    records: AtomicBool,
    end: AtomicBool,
}

/// How long nothing may happen while answers are waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks whether it should end.
const LOOK: Duration = Duration::from_millis(100);
/// The bounds of the histogram: steps of 0.1 us, up to a minute.
const FINEST_NS: u64 = 100;
const LONGEST_NS: u64 = 60_000_000_000;

impl Load {
    /// Connects and begins. `rate` is in requests per second; none is closed loop.
    ///
    /// # Errors
    /// When a connection cannot be made, or the system gives no thread.
    pub fn start(to: SocketAddr, shape: Shape, rate: Option<f64>) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut driver = Driver::new(to, shape, rate, shared.clone())?;
        let (tell, told) = std::sync::mpsc::channel();
        let run = move || {
            // Who started it waits for this.
            let _ = tell.send(ThreadId::own());
            driver.run()?;
            Ok(driver.latencies)
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

struct Driver {
    shared: Arc<Shared>,
    rate: Option<f64>,
    poll: Poll,
    connections: Vec<(Socket, Client)>,
    /// A connection for each request that could be sent now.
    free: VecDeque<usize>,
    /// How many those are when nothing is under way.
    slots: usize,
    /// Intended starts that are due, in nanoseconds since the start.
    due: VecDeque<u64>,
    began: Instant,
    /// Requests that became due.
    sent: u64,
    last_answer: Instant,
    latencies: Latencies,
}

impl Driver {
    fn new(to: SocketAddr, shape: Shape, rate: Option<f64>, shared: Arc<Shared>) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let mut connections = Vec::with_capacity(shape.connections);
        for number in 0..shape.connections {
            let stream = TcpStream::connect(to).with_context(|| format!("cannot connect to {to}"))?;
            let mut socket = Socket::new(stream, number, &poll)?;
            let client = Client::new(shape.wire, socket.out());
            connections.push((socket, client));
        }
        // All first streams, then all second ones: neighbours in time go to different connections.
        let free = (0..shape.streams).flat_map(|_| 0..shape.connections).collect();
        let now = Instant::now();
        Ok(Self {
            shared,
            rate,
            poll,
            connections,
            free,
            slots: shape.connections * shape.streams,
            due: VecDeque::new(),
            began: now,
            sent: 0,
            last_answer: now,
            latencies: Histogram::new_with_bounds(FINEST_NS, LONGEST_NS, 3).context("histogram")?,
        })
    }

    fn run(&mut self) -> anyhow::Result<()> {
        let (mut ready, mut done, mut buffer) = (Vec::new(), Vec::new(), vec![0; BUFFER]);
        self.began = Instant::now();
        self.last_answer = self.began;
        self.dispatch()?;
        while !self.shared.end.load(Ordering::Relaxed) {
            self.poll.wait(&mut ready, self.until_next())?;
            for number in &ready {
                done.clear();
                self.read(*number, &mut buffer, &mut done)?;
                self.record(*number, &done);
            }
            self.dispatch()?;
            for number in &ready {
                self.connections[*number].0.flush(&self.poll).context("writing")?;
            }
            if self.free.len() < self.slots && self.last_answer.elapsed() > PATIENCE {
                bail!("no answer for {PATIENCE:?}");
            }
        }
        Ok(())
    }

    fn read(&mut self, number: usize, buffer: &mut [u8], done: &mut Vec<Done>) -> anyhow::Result<()> {
        let (socket, client) = &mut self.connections[number];
        let Some(count) = socket.read(buffer).context("reading")? else { return Ok(()) };
        if count == 0 {
            bail!("the proxy closed a connection under load");
        }
        Ok(client.receive(&buffer[..count], done, socket.out())?)
    }

    fn record(&mut self, number: usize, done: &[Done]) {
        if done.is_empty() {
            return;
        }
        self.last_answer = Instant::now();
        let now = self.last_answer.duration_since(self.began).as_nanos() as u64;
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
        if let Some(rate) = self.rate {
            while due_at(self.sent, rate) <= now {
                self.due.push_back(due_at(self.sent, rate));
                self.sent += 1;
            }
        }
        let mut touched = None;
        while !self.free.is_empty() {
            let token = match self.rate {
                None => now,
                Some(_) => match self.due.pop_front() {
                    Some(intended) => intended,
                    None => break,
                },
            };
            let Some(number) = self.free.pop_front() else { break };
            if let Some(before) = touched.replace(number).filter(|before| *before != number) {
                self.connections[before].0.flush(&self.poll).context("writing")?;
            }
            let (socket, client) = &mut self.connections[number];
            client.request(token, socket.out());
        }
        if let Some(last) = touched {
            self.connections[last].0.flush(&self.poll).context("writing")?;
        }
        Ok(())
    }

    fn until_next(&self) -> Duration {
        match self.rate {
            None => LOOK,
            Some(rate) => {
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

/// How long one call may take.
const CALL: Duration = Duration::from_secs(2);

/// One request on a connection of its own, which is closed then.
///
/// # Errors
/// When there is no good answer.
pub fn call(to: SocketAddr, wire: Wire) -> anyhow::Result<()> {
    Held::open(to, wire).map(drop)
}

/// A connection that has carried one request, and is idle since.
pub struct Held {
    _stream: TcpStream,
}

impl Held {
    /// Opens it and waits for the answer.
    ///
    /// # Errors
    /// When there is no good answer.
    pub fn open(to: SocketAddr, wire: Wire) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&to, CALL)?;
        stream.set_read_timeout(Some(CALL))?;
        let (mut out, mut done, mut buffer) = (Vec::new(), Vec::new(), vec![0; BUFFER]);
        let mut client = Client::new(wire, &mut out);
        client.request(0, &mut out);
        while done.is_empty() {
            stream.write_all(&out)?;
            out.clear();
            let count = stream.read(&mut buffer)?;
            if count == 0 {
                bail!("closed without an answer");
            }
            client.receive(&buffer[..count], &mut done, &mut out)?;
        }
        match done[0].ok {
            true => Ok(Self { _stream: stream }),
            false => bail!("another answer than 200"),
        }
    }
}
