//! Limits of time of one exchange: for all tries together, for one try, and for standing still.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mesh_http::Timer;
use model::route::Forward;
use tokio::time::Instant;

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
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    whole: Option<Instant>,
    idle: Option<Duration>,
}

impl Limits {
    /// Those of a route, counted from `begun`. A `grpc-timeout` shortens the route's timeout, up to the route's bound
    /// for it.
    pub(crate) fn new(
        route: &Forward,
        listener_idle: Option<Duration>,
        grpc_timeout: Option<Duration>,
        begun: Instant,
    ) -> Self {
        let timeout = whole_timeout(route, grpc_timeout);
        let idle = route.idle_timeout.or(listener_idle).filter(|idle| !idle.is_zero());
        Self { whole: timeout.map(|t| begun + t), idle }
    }

    /// Runs `work` within the limits; `per_try` is counted from now, `moved` tells when something last moved. The work
    /// stays where the caller pinned it: moved in here, it would take its room twice.
    pub(crate) fn within<T>(
        self,
        alarms: &Alarms,
        moved: &Cell<Instant>,
        per_try: Option<Duration>,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> impl Future<Output = Result<T, Over>> {
        let try_end = per_try.filter(|t| !t.is_zero()).map(|t| Instant::now() + t);
        let mut alarm = alarms.lend();
        poll_fn(move |cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => self.poll_over(alarm.timer(), cx, moved.get(), try_end).map(Err),
        })
    }

    /// Ready when a limit is passed.
    pub(crate) fn poll_over(
        self,
        timer: &mut Timer,
        cx: &mut Context<'_>,
        moved: Instant,
        try_end: Option<Instant>,
    ) -> Poll<Over> {
        let all = [(self.whole, Over::Whole), (try_end, Over::Try), (self.idle.map(|i| moved + i), Over::Idle)];
        let first = all.into_iter().filter_map(|(at, over)| Some((at?, over))).min_by_key(|(at, _)| *at);
        let Some((at, over)) = first else { return Poll::Pending };
        ready!(timer.poll_until(cx, at));
        Poll::Ready(over)
    }
}

/// The timers of one worker that no exchange uses at the moment. They stay armed, so that the next exchange seldom has
/// to touch the runtime's timer wheel: at worst, one that is left over wakes a task for nothing.
#[derive(Debug, Default)]
pub(crate) struct Alarms(RefCell<Vec<Timer>>);

/// More than so many at rest are not kept.
const MOST_ALARMS: usize = 256;

impl Alarms {
    /// A timer for one exchange.
    pub(crate) fn lend(&self) -> Alarm<'_> {
        Alarm { timer: self.take(), home: self }
    }

    /// A timer for whoever gives it back himself.
    pub(crate) fn take(&self) -> Timer {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a timer back.
    pub(crate) fn give_back(&self, timer: Timer) {
        let mut all = self.0.borrow_mut();
        if all.len() < MOST_ALARMS {
            all.push(timer);
        }
    }
}

/// A lent timer.
pub(crate) struct Alarm<'a> {
    timer: Timer,
    home: &'a Alarms,
}

impl Alarm<'_> {
    fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.timer));
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
    use std::pin::pin;

    use super::*;

    async fn within<T>(
        route: &Forward,
        idle: u64,
        per_try: Option<Duration>,
        moved: &Cell<Instant>,
        work: impl Future<Output = T>,
    ) -> Result<T, Over> {
        let idle = (idle > 0).then(|| Duration::from_secs(idle));
        let limits = Limits::new(route, idle, None, Instant::now());
        limits.within(&Alarms::default(), moved, per_try, pin!(work)).await
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
        let now = || Cell::new(Instant::now());
        assert_eq!(within(&whole, 9, None, &now(), never()).await, Err(Over::Whole));
        assert_eq!(within(&whole, 9, Some(Duration::from_secs(1)), &now(), never()).await, Err(Over::Try));
        assert_eq!(within(&whole, 2, None, &now(), never()).await, Err(Over::Idle));
        assert_eq!(within(&none, 0, None, &now(), async { 7 }).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn movement_holds_off_idleness() {
        let moved = Cell::new(Instant::now());
        let moving = async {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_secs(3)).await;
                moved.set(Instant::now());
            }
            std::future::pending::<()>().await;
        };
        let begun = Instant::now();
        assert_eq!(within(&Forward::to("c"), 5, None, &moved, moving).await, Err(Over::Idle));
        assert_eq!(begun.elapsed(), Duration::from_secs(17));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_was_used_before_is_as_good_as_new() {
        let alarms = Alarms::default();
        let moved = Cell::new(Instant::now());
        for seconds in [9, 2, 30, 1] {
            let begun = Instant::now();
            let route = Forward { timeout: Some(Duration::from_secs(seconds)), ..Forward::to("c") };
            let limits = Limits::new(&route, None, None, begun);
            let mut never = pin!(std::future::pending::<()>());
            let given_up = limits.within(&alarms, &moved, None, never.as_mut());
            assert!(tokio::time::timeout(Duration::from_millis(100), given_up).await.is_err());
            let over = limits.within(&alarms, &moved, None, never.as_mut()).await;
            assert_eq!((over, begun.elapsed()), (Err(Over::Whole), Duration::from_secs(seconds)));
        }
        assert_eq!(alarms.0.borrow().len(), 1);
    }
}
