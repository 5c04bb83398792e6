//! The stream of reports to the control plane, on the side runtime. It breaks and comes back as it likes: workers count on,
//! and what they counted meanwhile is told by the first report of the next stream.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base::{Backoff, Clock};
use proto::halcyon::observe::v1 as wire;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use xds::shell::{Reports, ReportsEnd};

use super::clusters::Clusters;
use super::report::Told;
use crate::link::Links;
use crate::live::Live;
use crate::node::Shared;

/// The first and longest bound of the wait between two streams.
const BETWEEN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// A control plane that has no such service is asked again after this: it may be replaced by one that has.
const NOT_OFFERED: Duration = Duration::from_secs(300);
/// Reports come so often, until the control plane says otherwise.
const EVERY: Duration = Duration::from_secs(5);
/// What it may say.
const MAY_BE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(60));
/// Exchanges of taps go on their way after this, without waiting for a report.
const TAP_DELAY: Duration = Duration::from_millis(100);
/// So many go at once.
const TAPPED_AT_ONCE: usize = 200;
/// Lines that nobody counts on are looked for so often.
const SWEEP: Duration = Duration::from_secs(60);
/// How long the end of the process waits for the last report.
const FAREWELL: Duration = Duration::from_secs(1);

/// Tells the control plane what is seen here.
pub(crate) struct Teller {
    shared: Arc<Shared>,
    live: Arc<Live>,
    node: String,
    ending: Notify,
    ended: Notify,
}

impl Teller {
    /// Tells for as long as the process runs. If a certificate will speak for us it is waited for: a control plane believes
    /// nobody who does not prove who it is.
    pub(crate) fn start(
        shared: Arc<Shared>,
        live: Arc<Live>,
        node: &str,
        links: Links,
        is_certified: bool,
    ) -> Rc<Self> {
        let teller = Rc::new(Self { shared, live, node: node.to_owned(), ending: Notify::new(), ended: Notify::new() });
        let follow = teller.clone();
        tokio::task::spawn_local(async move {
            if is_certified {
                links.proven().await;
            }
            follow.follow(links).await;
        });
        teller
    }

    /// The process ends: what was counted is told once more. Gives up after a time.
    pub(crate) async fn finish(&self) {
        self.ending.notify_one();
        let _ = timeout(FAREWELL, self.ended.notified()).await;
    }

    async fn follow(self: Rc<Self>, links: Links) {
        let Some(mut tapped) = self.shared.taps.queued() else { return };
        let clock = Clock::system();
        let mut backoff = Backoff::new(BETWEEN.0, BETWEEN.1);
        let mut since = clock.now();
        for stream in 1.. {
            let begun = Instant::now();
            let ended = self.converse(stream, &links, (&clock, &mut since), &mut tapped).await;
            self.shared.taps.set(Vec::new());
            let pause = match ended {
                Ok(()) => break,
                Err(end @ ReportsEnd::NotOffered) => {
                    tracing::info!("{end}; it is asked again in {NOT_OFFERED:?}");
                    NOT_OFFERED
                }
                Err(end) => {
                    tracing::debug!("reports to the control plane: {end}");
                    if begun.elapsed() > BETWEEN.1 {
                        backoff.reset();
                    }
                    backoff.next_delay()
                }
            };
            tokio::select! {
                () = self.ending.notified() => break,
                () = sleep(pause) => {}
            }
        }
        self.ended.notify_one();
    }

    async fn converse(
        &self,
        stream: u32,
        links: &Links,
        (clock, since): (&Clock, &mut SystemTime),
        tapped: &mut mpsc::Receiver<wire::TappedExchange>,
    ) -> Result<(), ReportsEnd> {
        let mut reports = Reports::open(links.open().await.map_err(ReportsEnd::Broken)?);
        let clusters = Clusters::new(self.live.clone(), self.shared.registry.clone());
        let mut told = Told::begin(stream, &self.node, clusters, clock.clone(), *since);
        let mut every = EVERY;
        // The first report says who tells; only then can an answer be expected.
        let mut due = Instant::now();
        let mut sweep = Instant::now() + SWEEP;
        let mut waiting = Vec::new();
        loop {
            let is_over = tokio::select! {
                wish = reports.wish() => {
                    every = self.obey(wish?);
                    due = due.min(Instant::now() + every);
                    continue;
                }
                Some(exchange) = tapped.recv(), if waiting.len() < TAPPED_AT_ONCE => {
                    due = due.min(Instant::now() + TAP_DELAY);
                    waiting.push(exchange);
                    continue;
                }
                () = sleep_until(due) => false,
                () = self.ending.notified() => true,
            };
            let losses = self.shared.taps.take_losses();
            let messages = told.next(&self.shared.tally, std::mem::take(&mut waiting), losses);
            *since = told.told_until();
            for message in messages {
                every = self.send(&mut reports, message).await?.unwrap_or(every);
            }
            if is_over {
                let _ = timeout(FAREWELL, reports.close()).await;
                return Ok(());
            }
            due = Instant::now() + every;
            if Instant::now() >= sweep {
                sweep = Instant::now() + SWEEP;
                self.shared.tally.sweep();
            }
        }
    }

    /// Leaves a message; while there is no room, the control plane may wish something: how often it wants to hear then.
    async fn send(&self, reports: &mut Reports, message: wire::ReportRequest) -> Result<Option<Duration>, ReportsEnd> {
        let Some(out) = reports.messages() else { return Err(ReportsEnd::Closed) };
        let mut every = None;
        loop {
            tokio::select! {
                biased;
                room = out.reserve() => {
                    room.map_err(|_| ReportsEnd::Closed)?.send(message);
                    return Ok(every);
                }
                wish = reports.wish() => every = Some(self.obey(wish?)),
            }
        }
    }

    /// Does what the control plane wishes. How often it wants to hear.
    fn obey(&self, wish: wire::ReportResponse) -> Duration {
        self.shared.taps.set(wish.taps);
        Duration::from_millis(wish.every_ms.into()).clamp(MAY_BE.0, MAY_BE.1)
    }
}
