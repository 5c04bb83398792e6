//! Drain: stop taking new work, finish the old. One [`Signal`] starts it, many [`Watch`]es see it and hold it open.
//!
//! No runtime here: a watch is polled or awaited through plain wakers.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

#[derive(Default)]
struct Shared {
    draining: bool,
    holders: usize,
    wakers: Vec<Waker>,
}

impl Shared {
    fn wake_all(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }
    fn register(&mut self, waker: &Waker) {
        if !self.wakers.iter().any(|w| w.will_wake(waker)) {
            self.wakers.push(waker.clone());
        }
    }
}

/// Starts a drain and waits until the last watch is dropped.
pub struct Signal(Arc<Mutex<Shared>>);

/// Sees a drain begin. While it is held, the drain is not over.
pub struct Watch(Arc<Mutex<Shared>>);

/// A linked signal and its first watch.
pub fn channel() -> (Signal, Watch) {
    let shared = Arc::new(Mutex::new(Shared { holders: 1, ..Shared::default() }));
    (Signal(shared.clone()), Watch(shared))
}

impl Signal {
    /// Begins the drain: every watch's [`Watch::started`] completes. Saying it twice does no harm.
    pub fn start(&self) {
        let mut shared = self.0.lock().expect("no panic under the lock");
        shared.draining = true;
        shared.wake_all();
    }

    /// Completes when no watch is held any more.
    pub fn finished(&self) -> impl Future<Output = ()> + Send + 'static {
        Waiting { shared: self.0.clone(), over: |s| s.holders == 0 }
    }

    /// How many watches are held.
    pub fn holders(&self) -> usize {
        self.0.lock().expect("no panic under the lock").holders
    }
}

impl Watch {
    /// Completes when the drain begins.
    pub fn started(&self) -> impl Future<Output = ()> + Send + 'static {
        Waiting { shared: self.0.clone(), over: |s| s.draining }
    }

    /// Has the drain begun?
    pub fn is_draining(&self) -> bool {
        self.0.lock().expect("no panic under the lock").draining
    }
}

impl Clone for Watch {
    fn clone(&self) -> Self {
        self.0.lock().expect("no panic under the lock").holders += 1;
        Self(self.0.clone())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut shared = self.0.lock().expect("no panic under the lock");
        shared.holders -= 1;
        if shared.holders == 0 {
            shared.wake_all();
        }
    }
}

struct Waiting {
    shared: Arc<Mutex<Shared>>,
    over: fn(&Shared) -> bool,
}

impl Future for Waiting {
    type Output = ();
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut shared = self.shared.lock().expect("no panic under the lock");
        if (self.over)(&shared) {
            return Poll::Ready(());
        }
        shared.register(cx.waker());
        Poll::Pending
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
}
