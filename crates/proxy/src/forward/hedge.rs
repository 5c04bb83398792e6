//! Hedged requests: when a try has taken its time it goes on, another one joins it, and the first good answer counts; those
//! that are still under way then are given up. Envoy's `hedge_on_per_try_timeout`.

use std::pin::pin;

use ::http::Request;
use base::Backoff;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use mesh_http::Body;
use model::RetryPolicy;
use tokio::time::Instant;
use upstream::{Event, Retry, Sent};

use super::{Ended, Tries, out_of_time, worth_another};
use crate::limits::PerTry;
use crate::replay::Replay;
use crate::respond::Fault;

/// When the next try begins.
struct Next {
    at: Instant,
    /// Its place among the further tries, if one before it has failed; otherwise it joins one that takes too long.
    place: Option<Retry>,
}

/// What further tries there may be.
struct Further<'a> {
    tries: &'a Tries<'a>,
    policy: &'a RetryPolicy,
    left: u32,
    backoff: Backoff,
    /// Held until the request is over.
    places: Vec<Retry>,
    next: Option<Next>,
}

impl Tries<'_> {
    /// As [`Tries::run`]. A request of which there is no copy is never under way twice; its tries have no time of their own
    /// either.
    pub(super) async fn hedge(&self, request: &mut Request<Body>) -> Result<Sent, Fault> {
        let (Some(policy), Some(replay)) = (self.policy, &self.replay) else { return self.run(request).await };
        let mut further = Further::of(self, policy);
        let mut under_way = FuturesUnordered::new();
        under_way.push(self.copied(request, replay));
        loop {
            let due = further.next.as_ref().map(|next| next.at);
            let mut pause = pin!(async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            });
            let (begun, ended) = tokio::select! {
                biased;
                Some(ended) = under_way.next() => ended,
                due = self.record.within(self.limits, PerTry::default(), pause.as_mut()) => {
                    due.map_err(out_of_time)?;
                    if further.begins() {
                        under_way.push(self.copied(request, replay));
                    }
                    continue;
                }
            };
            let ended = match ended? {
                Ok(sent) if !worth_another(policy, &sent, self.grpc_status(&sent)) => {
                    self.counts(&sent, begun);
                    self.record.tries_succeeded(self.pools);
                    return Ok(sent);
                }
                Ok(sent) => Ended::Answered(Box::new(sent)),
                Err(ended) => ended,
            };
            let follows = ended.is_retriable(&policy.on) && further.follows(&ended);
            if !follows && under_way.is_empty() {
                if let Ended::Answered(sent) = &ended {
                    self.counts(sent, begun);
                }
                return self.give_up(ended, false);
            }
        }
    }

    /// Of all tries it is this one's answer that goes on.
    fn counts(&self, sent: &Sent, begun: Instant) {
        self.record.answered(begun);
        self.record.settles_on(sent.exchange.endpoint());
    }

    /// A try with a copy of the request, and when it began.
    async fn copied(&self, request: &Request<Body>, replay: &Replay) -> (Instant, Result<Result<Sent, Ended>, Fault>) {
        let begun = Instant::now();
        let mut copy = replay.copy(request);
        (begun, self.once(&mut copy).await)
    }
}

impl<'a> Further<'a> {
    /// Those of a request whose first try begins now.
    fn of(tries: &'a Tries<'a>, policy: &'a RetryPolicy) -> Self {
        let mut further = Self {
            tries,
            policy,
            left: policy.attempts,
            backoff: Backoff::new(policy.base_interval, policy.max_interval),
            places: Vec::new(),
            next: None,
        };
        further.wait();
        further
    }

    /// The newest try gets its time.
    fn wait(&mut self) {
        let time = self.policy.per_try_timeout.filter(|time| !time.is_zero());
        self.next = time.map(|time| Next { at: Instant::now() + time, place: None });
    }

    /// The next try is due; says whether it may begin. One that joins others tells first that the newest of them took too
    /// long. That none is left is told even if those under way do well, as Envoy does.
    fn begins(&mut self) -> bool {
        let Tries { pools, record, .. } = self.tries;
        let failed = self.next.take().and_then(|next| next.place);
        if failed.is_none() {
            pools.stats().count(Event::PerTryTimeout);
            record.endpoint().iter().for_each(|endpoint| pools.too_late(endpoint));
            if self.left == 0 {
                record.tries_are_used_up(pools);
                return false;
            }
        }
        let Some(place) = failed.or_else(|| pools.retry()) else {
            record.tries_overflow();
            return false;
        };
        self.places.push(place);
        self.left -= 1;
        record.tries_again(pools);
        self.wait();
        true
    }

    /// A try ended so that it is worth another one, which follows after a pause if one is left and there is room for it.
    fn follows(&mut self, ended: &Ended) -> bool {
        let Tries { pools, record, .. } = self.tries;
        if self.left == 0 {
            record.tries_are_used_up(pools);
            return false;
        }
        let Some(place) = pools.retry() else {
            record.tries_overflow();
            return false;
        };
        let pause = ended.asked_wait(self.policy).unwrap_or_else(|| self.backoff.next_delay());
        self.next = Some(Next { at: Instant::now() + pause, place: Some(place) });
        true
    }
}
