//! What workers leave for services outside of the mesh's traffic: access logs, spans.
//!
//! An outlet is a bounded queue for one service. Workers leave messages and go on; the side runtime carries them, many at once.
//! What finds no room is dropped and counted: no request ever waits for what is told of it.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout_at};

/// How long the end of the process waits for what is still to be told.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where messages for one service are left.
pub(crate) struct Outlet<S, M> {
    /// Which service, and how it is told.
    pub settings: S,
    queue: mpsc::Sender<M>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Messages that found no room and are not counted elsewhere yet.
    dropped: AtomicU64,
    /// Messages that are under way.
    under_way: AtomicU64,
}

/// An outlet that was opened, as the side runtime serves it.
pub(crate) struct Opened<S, M> {
    /// Which service, and how it is told.
    pub settings: S,
    queue: mpsc::Receiver<M>,
    counts: Arc<Counts>,
    ending: watch::Receiver<bool>,
}

/// All outlets of one kind.
pub(crate) struct Outlets<S, M> {
    /// So many messages wait at most, for each.
    room: usize,
    outlets: Mutex<Vec<Weak<Outlet<S, M>>>>,
    opens: mpsc::UnboundedSender<Opened<S, M>>,
    opened: Mutex<Option<mpsc::UnboundedReceiver<Opened<S, M>>>>,
    ending: watch::Sender<bool>,
}

impl<S, M> Outlet<S, M> {
    /// Would a message be taken?
    pub(crate) fn has_room(&self) -> bool {
        self.queue.capacity() > 0
    }

    /// Leaves what `message` makes, which is not asked if there is no room.
    pub(crate) fn tell(&self, message: impl FnOnce() -> M) {
        match self.queue.try_reserve() {
            Ok(place) => {
                self.counts.under_way.fetch_add(1, Relaxed);
                place.send(message());
            }
            Err(_) => {
                self.counts.dropped.fetch_add(1, Relaxed);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn dropped(&self) -> u64 {
        self.counts.dropped.load(Relaxed)
    }
}

impl<S: Clone + PartialEq, M> Outlets<S, M> {
    /// None yet.
    pub(crate) fn new(room: usize) -> Self {
        let (opens, opened) = mpsc::unbounded_channel();
        let ending = watch::Sender::new(false);
        Self { room, outlets: Mutex::default(), opens, opened: Mutex::new(Some(opened)), ending }
    }

    /// The outlet for a service: one for all who have the same settings.
    pub(crate) fn open(&self, settings: &S) -> Arc<Outlet<S, M>> {
        let mut outlets = self.outlets.lock().unwrap_or_else(PoisonError::into_inner);
        outlets.retain(|outlet| outlet.strong_count() > 0);
        let known = outlets.iter().filter_map(Weak::upgrade).find(|outlet| outlet.settings == *settings);
        known.unwrap_or_else(|| {
            let (queue, messages) = mpsc::channel(self.room);
            let (settings, counts) = (settings.clone(), Arc::<Counts>::default());
            let ending = self.ending.subscribe();
            let opened = Opened { settings: settings.clone(), queue: messages, counts: counts.clone(), ending };
            // Who follows is there as long as the process.
            let _ = self.opens.send(opened);
            let outlet = Arc::new(Outlet { settings, queue, counts });
            outlets.push(Arc::downgrade(&outlet));
            outlet
        })
    }

    /// Those that are opened from now on, for who serves them; none if somebody does already.
    pub(crate) fn opened(&self) -> Option<mpsc::UnboundedReceiver<Opened<S, M>>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The process ends: what waits goes out at once. Gives up after a time.
    pub(crate) async fn finish(&self) {
        self.ending.send_replace(true);
        let outlets: Vec<_> = {
            let outlets = self.outlets.lock().unwrap_or_else(PoisonError::into_inner);
            outlets.iter().filter_map(Weak::upgrade).collect()
        };
        let end = Instant::now() + FAREWELL;
        while outlets.iter().any(|outlet| outlet.counts.under_way.load(Relaxed) > 0) && Instant::now() < end {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl<S, M> Opened<S, M> {
    /// What goes at once, and when its first message came: with it those that follow within a time, at most so many, and as
    /// long as `has_room` says so of each that was taken. None when nobody leaves any more.
    pub(crate) async fn next(
        &mut self,
        gather: Duration,
        most: usize,
        mut has_room: impl FnMut(&M) -> bool,
    ) -> Option<(Instant, Vec<M>)> {
        let first = self.queue.recv().await?;
        let begun = Instant::now();
        let mut more = has_room(&first);
        let mut batch = vec![first];
        while more && batch.len() < most {
            let next = async {
                tokio::select! {
                    biased;
                    next = self.queue.recv() => next,
                    // Whoever ends waits for nothing more.
                    _ = self.ending.wait_for(|is_ending| *is_ending) => None,
                }
            };
            let Ok(Some(next)) = timeout_at(begun + gather, next).await else { break };
            more = has_room(&next);
            batch.push(next);
        }
        Some((begun, batch))
    }

    /// So many are under way no more, whatever became of them.
    pub(crate) fn done(&self, count: u64) {
        self.counts.under_way.fetch_sub(count, Relaxed);
    }

    /// Takes away how many found no room.
    pub(crate) fn take_dropped(&self) -> u64 {
        self.counts.dropped.swap(0, Relaxed)
    }

    /// Does the process end?
    pub(crate) fn is_ending(&self) -> bool {
        *self.ending.borrow()
    }
}
