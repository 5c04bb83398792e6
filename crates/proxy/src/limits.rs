//! Limits of time of one exchange: for all tries together, for one try, and for standing still.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use model::route::Forward;
use tokio::time::{Instant, sleep_until};

/// Which limit was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// The one for all tries.
    Whole,
    /// The one for this try.
    Try,
    /// Nothing moved for too long.
    Idle,
}

/// The limits of one exchange.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    whole: Option<Instant>,
    idle: Option<Duration>,
    moved: Rc<Cell<Instant>>,
}

impl Limits {
    /// Those of a route, counted from `begun`; `moved` tells when something last moved. A `grpc-timeout` shortens the
    /// route's timeout, up to the route's bound for it.
    pub(crate) fn new(
        route: &Forward,
        listener_idle: Option<Duration>,
        grpc_timeout: Option<Duration>,
        begun: Instant,
        moved: Rc<Cell<Instant>>,
    ) -> Self {
        let timeout = whole_timeout(route, grpc_timeout);
        let idle = route.idle_timeout.or(listener_idle).filter(|idle| !idle.is_zero());
        Self { whole: timeout.map(|t| begun + t), idle, moved }
    }

    /// Runs `work` within the limits; `per_try` is counted from now.
    pub(crate) async fn within<T>(&self, per_try: Option<Duration>, work: impl Future<Output = T>) -> Result<T, Over> {
        let try_end = per_try.filter(|t| !t.is_zero()).map(|t| Instant::now() + t);
        let mut work = pin!(work);
        loop {
            let Some((at, over)) = self.next(try_end) else { return Ok(work.await) };
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = sleep_until(at) => {
                    // Something may have moved since the alarm was set.
                    if over != Over::Idle || self.idle_end().is_some_and(|end| end <= Instant::now()) {
                        return Err(over);
                    }
                }
            }
        }
    }

    /// The limit that is reached first, as things stand; none if there is no limit.
    pub(crate) fn next(&self, try_end: Option<Instant>) -> Option<(Instant, Over)> {
        let all = [(self.whole, Over::Whole), (try_end, Over::Try), (self.idle_end(), Over::Idle)];
        all.into_iter().filter_map(|(at, over)| Some((at?, over))).min_by_key(|(at, _)| *at)
    }

    fn idle_end(&self) -> Option<Instant> {
        self.idle.map(|idle| self.moved.get() + idle)
    }
}

fn whole_timeout(route: &Forward, grpc_timeout: Option<Duration>) -> Option<Duration> {
    let route_timeout = route.timeout.filter(|t| !t.is_zero());
    match (route.max_grpc_timeout, grpc_timeout) {
        // As Envoy: a gRPC deadline stands in place of the route's timeout; zero as the bound is no bound.
        (Some(max), Some(asked)) if !max.is_zero() => Some(asked.min(max)),
        (Some(_), Some(asked)) => Some(asked),
        _ => route_timeout,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(route: &Forward, idle: u64) -> Limits {
        let now = Instant::now();
        let idle = (idle > 0).then(|| Duration::from_secs(idle));
        Limits::new(route, idle, None, now, Rc::new(Cell::new(now)))
    }

    #[test]
    fn deadlines() {
        let seconds = |n| Some(Duration::from_secs(n));
        for (route, max, asked, expected) in [
            (None, None, seconds(1), None),
            (seconds(5), None, seconds(1), seconds(5)),
            (seconds(0), None, None, None),
            (seconds(5), seconds(3), seconds(1), seconds(1)),
            (seconds(5), seconds(3), seconds(4), seconds(3)),
            (seconds(5), seconds(0), seconds(9), seconds(9)),
            (seconds(5), seconds(3), None, seconds(5)),
        ] {
            let route = Forward { timeout: route, max_grpc_timeout: max, ..Forward::to("c") };
            assert_eq!(whole_timeout(&route, asked), expected, "{route:?} {asked:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn which_comes_first() {
        let none = Forward::to("c");
        let whole = Forward { timeout: Some(Duration::from_secs(5)), ..Forward::to("c") };
        let never = std::future::pending::<()>;
        assert_eq!(limits(&whole, 9).within(None, never()).await, Err(Over::Whole));
        assert_eq!(limits(&whole, 9).within(Some(Duration::from_secs(1)), never()).await, Err(Over::Try));
        assert_eq!(limits(&whole, 2).within(None, never()).await, Err(Over::Idle));
        assert_eq!(limits(&none, 0).within(None, async { 7 }).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn movement_holds_off_idleness() {
        let limits = limits(&Forward::to("c"), 5);
        let moving = async {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_secs(3)).await;
                limits.moved.set(Instant::now());
            }
            std::future::pending::<()>().await;
        };
        let begun = Instant::now();
        assert_eq!(limits.within(None, moving).await, Err(Over::Idle));
        assert_eq!(begun.elapsed(), Duration::from_secs(17));
    }
}
