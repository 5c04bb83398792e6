//! Where log lines go: each worker fills a buffer of its own, and one thread writes them out in batches.
//!
//! A worker never waits for a disk: a buffer that is full drops lines and counts them. It wakes the writing thread at
//! most once per batch.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Where to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file that is appended to, made if it is missing, and opened anew by [`LogSink::reopen`].
    File(PathBuf),
}

/// How much is kept, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinkOptions {
    /// Most bytes that one worker keeps; beyond it lines are dropped. 1 MiB.
    pub buffer_bytes: usize,
    /// How long lines are collected before they are written. 200 ms.
    pub interval: Duration,
}

impl Default for SinkOptions {
    fn default() -> Self {
        Self { buffer_bytes: 1 << 20, interval: Duration::from_millis(200) }
    }
}

/// One log file and its writing thread. Dropped, it writes what is left and ends.
pub struct LogSink {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// One worker's way into a log. Lines of one writer keep their order.
pub struct LogWriter {
    shared: Arc<Shared>,
    buffer: Arc<Mutex<String>>,
}

struct Shared {
    options: SinkOptions,
    buffers: Mutex<Vec<Arc<Mutex<String>>>>,
    state: Mutex<State>,
    changed: Condvar,
    /// Lines wait, and the thread has been told.
    pending: AtomicBool,
    dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    ending: bool,
    reopen: bool,
    /// Batches asked for by [`LogSink::flush`], and the last one written.
    flush_asked: u64,
    flush_done: u64,
}

impl LogSink {
    /// Opens the target and starts the writing thread. Fails if the file cannot be opened.
    pub fn open(target: Target, options: SinkOptions) -> io::Result<Self> {
        let output = Output::open(&target)?;
        let shared = Arc::new(Shared {
            options,
            buffers: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            pending: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
        });
        let own = shared.clone();
        let thread =
            std::thread::Builder::new().name("access-log".to_owned()).spawn(move || run(&own, &target, output))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// A writer for one worker.
    pub fn writer(&self) -> LogWriter {
        let buffer = Arc::new(Mutex::new(String::new()));
        lock(&self.shared.buffers).push(buffer.clone());
        LogWriter { shared: self.shared.clone(), buffer }
    }

    /// Opens the file anew, after it was moved away for rotation. Lines go to the old one until then.
    pub fn reopen(&self) {
        self.shared.tell(|state| state.reopen = true);
    }

    /// Lines lost: because a buffer was full, or because writing failed.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }

    /// Waits until all lines that were written before are out. Blocks: not for a worker.
    pub fn flush(&self) {
        let mut asked = 0;
        self.shared.tell(|state| {
            state.flush_asked += 1;
            asked = state.flush_asked;
        });
        let mut state = lock(&self.shared.state);
        while state.flush_done < asked {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for LogSink {
    fn drop(&mut self) {
        self.shared.tell(|state| state.ending = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl LogWriter {
    /// Writes a line: `line` appends it to the buffer, with its line feed. If the buffer is full it is not called.
    pub fn line(&self, line: impl FnOnce(&mut String)) {
        {
            let mut buffer = lock(&self.buffer);
            if buffer.len() >= self.shared.options.buffer_bytes {
                self.shared.dropped.fetch_add(1, Relaxed);
                return;
            }
            line(&mut buffer);
        }
        if !self.shared.pending.load(Relaxed) && !self.shared.pending.swap(true, Relaxed) {
            self.shared.tell(|_| ());
        }
    }
}

impl Shared {
    fn tell(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the writing thread was woken for.
struct Errand {
    ending: bool,
    reopen: bool,
    flush: u64,
}

fn run(shared: &Shared, target: &Target, mut output: Output) {
    let mut batch = String::new();
    loop {
        let errand = wait(shared);
        if errand.reopen {
            write_all(shared, &mut output, &mut batch);
            // A file that cannot be opened anew leaves the old one in use: lines are worth more than their place.
            if let Ok(anew) = Output::open(target) {
                output = anew;
            }
        }
        write_all(shared, &mut output, &mut batch);
        shared.tell(|state| state.flush_done = errand.flush);
        if errand.ending {
            return;
        }
    }
}

/// Sleeps until there is something to do; lines alone are left to gather for the interval.
fn wait(shared: &Shared) -> Errand {
    let urgent = |state: &State| state.ending || state.reopen || state.flush_asked > state.flush_done;
    let mut state = lock(&shared.state);
    while !urgent(&state) && !shared.pending.load(Relaxed) {
        state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
    }
    if !urgent(&state) {
        let gathered = shared.changed.wait_timeout_while(state, shared.options.interval, |state| !urgent(state));
        state = gathered.unwrap_or_else(PoisonError::into_inner).0;
    }
    shared.pending.store(false, Relaxed);
    Errand { ending: state.ending, reopen: std::mem::take(&mut state.reopen), flush: state.flush_asked }
}

/// Writes out every worker's buffer, and forgets the buffers of writers that are gone.
fn write_all(shared: &Shared, output: &mut Output, batch: &mut String) {
    let buffers: Vec<_> = lock(&shared.buffers).clone();
    for buffer in &buffers {
        batch.clear();
        std::mem::swap(&mut *lock(buffer), batch);
        if !batch.is_empty() && output.write(batch.as_bytes()).is_err() {
            let lines = batch.bytes().filter(|byte| *byte == b'\n').count();
            shared.dropped.fetch_add(lines as u64, Relaxed);
        }
    }
    drop(buffers);
    lock(&shared.buffers).retain(|buffer| Arc::strong_count(buffer) > 1 || !lock(buffer).is_empty());
    // One large burst must not keep its memory for ever.
    batch.clear();
    batch.shrink_to(64 * 1024);
}

enum Output {
    Stdout,
    File(File),
}

impl Output {
    fn open(target: &Target) -> io::Result<Self> {
        match target {
            Target::Stdout => Ok(Self::Stdout),
            Target::File(path) => Ok(Self::File(OpenOptions::new().append(true).create(true).open(path)?)),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            Self::File(file) => file.write_all(bytes),
        }
    }
}
