//! A timer whose deadline moves at no cost: it is re-armed only when it fires too early.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline that may move with each request without touching the runtime's timer wheel.
#[derive(Default, Debug)]
pub struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Is `deadline` over? If not, the task is woken at the latest then.
    pub fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    /// Like [`Timer::poll_until`]; without a `limit` it never fires.
    pub(crate) fn poll_after(&mut self, cx: &mut Context<'_>, since: Instant, limit: Option<Duration>) -> Poll<()> {
        match limit {
            Some(limit) => self.poll_until(cx, since + limit),
            None => Poll::Pending,
        }
    }
}
