//! Keep-alive pings: is the peer still there?

use std::task::{Context, Poll};

use ::h2::{Ping, PingPong};
use tokio::time::Instant;

use crate::options::KeepAlive;
use crate::timer::Timer;

pub(super) struct Pinger {
    pings: PingPong,
    options: KeepAlive,
    timer: Timer,
    /// When the ping under way was sent, or when the last one was answered.
    since: Instant,
    waiting: bool,
}

impl Pinger {
    pub(super) fn new(pings: Option<PingPong>, options: Option<KeepAlive>) -> Option<Self> {
        Some(Self { pings: pings?, options: options?, timer: Timer::default(), since: Instant::now(), waiting: false })
    }

    /// Ready when a ping was not answered in time.
    pub(super) fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.waiting && self.pings.poll_pong(cx).is_ready() {
                self.waiting = false;
                self.since = Instant::now();
            }
            let limit = if self.waiting { self.options.timeout } else { self.options.interval };
            if self.timer.poll_until(cx, self.since + limit).is_pending() {
                return Poll::Pending;
            }
            if self.waiting || self.pings.send_ping(Ping::opaque()).is_err() {
                return Poll::Ready(());
            }
            self.waiting = true;
            self.since = Instant::now();
        }
    }
}
