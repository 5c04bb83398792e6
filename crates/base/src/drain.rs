//! Drain: stop taking new work, finish the old. One [`Signal`] starts it, many [`Watch`]es see it and hold it open.
//!
//! No runtime here: a watch is polled or awaited through plain wakers.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

#[derive(Default)]
struct Shared {
    draining: AtomicBool,
    holders: AtomicUsize,
    started: Waiters,
    finished: Waiters,
}

/// Those who wait, by number. Each is in here once and goes with its future: a watch is polled with every request of
/// its connection, and connections come and go for as long as the process lives.
#[derive(Default)]
struct Waiters(Mutex<(u64, BTreeMap<u64, Waker>)>);

impl Waiters {
    fn wake_all(&self) {
        let wakers = std::mem::take(&mut self.0.lock().expect("no panic under the lock").1);
        wakers.into_values().for_each(Waker::wake);
    }

    fn put(&self, number: Option<u64>, waker: &Waker) -> u64 {
        let mut waiters = self.0.lock().expect("no panic under the lock");
        let number = number.unwrap_or_else(|| {
            waiters.0 += 1;
            waiters.0
        });
        waiters.1.insert(number, waker.clone());
        number
    }

    fn take(&self, number: u64) {
        self.0.lock().expect("no panic under the lock").1.remove(&number);
    }
}

/// Starts a drain and waits until the last watch is dropped.
pub struct Signal(Arc<Shared>);

/// Sees a drain begin. While it is held, the drain is not over.
pub struct Watch(Arc<Shared>);

/// A linked signal and its first watch.
pub fn channel() -> (Signal, Watch) {
    let shared = Arc::new(Shared { holders: AtomicUsize::new(1), ..Shared::default() });
    (Signal(shared.clone()), Watch(shared))
}

impl Signal {
    /// Begins the drain: every watch's [`Watch::started`] completes. Saying it twice does no harm.
    pub fn start(&self) {
        self.0.draining.store(true, Ordering::SeqCst);
        self.0.started.wake_all();
    }

    /// Completes when no watch is held any more.
    pub fn finished(&self) -> Waiting {
        Waiting::new(&self.0, For::Finish)
    }

    /// How many watches are held.
    pub fn holders(&self) -> usize {
        self.0.holders.load(Ordering::SeqCst)
    }
}

impl Watch {
    /// Completes when the drain begins.
    pub fn started(&self) -> Waiting {
        Waiting::new(&self.0, For::Start)
    }

    /// Has the drain begun?
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::SeqCst)
    }
}

impl Clone for Watch {
    fn clone(&self) -> Self {
        self.0.holders.fetch_add(1, Ordering::SeqCst);
        Self(self.0.clone())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if self.0.holders.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.finished.wake_all();
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum For {
    Start,
    Finish,
}

/// Waits for the start or the end of a drain. To poll it again costs an atomic load.
pub struct Waiting {
    shared: Arc<Shared>,
    wanted: For,
    /// Under which number it waits, and whom it wakes.
    waits: Option<(u64, Waker)>,
}

impl Waiting {
    fn new(shared: &Arc<Shared>, wanted: For) -> Self {
        Self { shared: shared.clone(), wanted, waits: None }
    }

    fn is_over(&self) -> bool {
        match self.wanted {
            For::Start => self.shared.draining.load(Ordering::SeqCst),
            For::Finish => self.shared.holders.load(Ordering::SeqCst) == 0,
        }
    }

    fn waiters(&self) -> &Waiters {
        match self.wanted {
            For::Start => &self.shared.started,
            For::Finish => &self.shared.finished,
        }
    }
}

impl Future for Waiting {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_over() {
            return Poll::Ready(());
        }
        if self.waits.as_ref().is_some_and(|(_, waker)| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        let number = self.waiters().put(self.waits.as_ref().map(|(number, _)| *number), cx.waker());
        self.waits = Some((number, cx.waker().clone()));
        // It may have come while we put ourselves down.
        if self.is_over() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some((number, _)) = self.waits.take() {
            self.waiters().take(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(future: &mut (impl Future<Output = ()> + Unpin)) -> bool {
        Pin::new(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn held_until_the_last_watch_is_gone() {
        let (signal, watch) = channel();
        let second = watch.clone();
        let mut started = Box::pin(watch.started());
        let mut finished = Box::pin(signal.finished());
        assert!(!done(&mut started) && !done(&mut finished));
        signal.start();
        assert!(done(&mut started) && second.is_draining());
        drop(watch);
        assert!(!done(&mut finished));
        drop(second);
        assert!(done(&mut finished));
    }

    #[test]
    fn whoever_waits_no_more_is_forgotten() {
        let (signal, watch) = channel();
        for _ in 0..3 {
            let mut started = watch.started();
            assert!(!done(&mut started) && !done(&mut started));
            assert_eq!(signal.0.started.0.lock().unwrap().1.len(), 1);
        }
        assert!(signal.0.started.0.lock().unwrap().1.is_empty());
    }
}
