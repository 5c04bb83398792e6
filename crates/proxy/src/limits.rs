//! Limits of time of one exchange: for all tries together, for one try, and for standing still.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use mesh_http::Timer;
use model::HttpProxy;
use model::route::Forward;
use tokio::time::Instant;

/// Envoy's word to the upstream for how long it is waited for, in milliseconds.
const EXPECTED: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// Which limit was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// The one for all tries.
    Whole,
    /// The one for this try.
    Try,
    /// Nothing of this try moved for too long.
    TryIdle,
    /// Nothing moved for too long.
    Idle,
    /// The one for the exchange, however well it goes.
    Stream,
    /// The request was not whole in time.
    Request,
}

/// How an exchange goes, as far as its limits are concerned.
#[derive(Debug)]
pub(crate) struct Progress {
    /// When something last moved.
    pub moved: Cell<Instant>,
    /// The request is still coming in.
    pub receiving: Cell<bool>,
}

impl Progress {
    /// An exchange that begins now.
    pub(crate) fn begun(now: Instant) -> Self {
        Self { moved: Cell::new(now), receiving: Cell::new(false) }
    }

    /// Something moved.
    pub(crate) fn moves(&self) {
        self.moved.set(Instant::now());
    }
}

/// The times that a request itself asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    /// Its `grpc-timeout`.
    pub grpc: Option<Duration>,
    /// What a trusted caller wished for all tries; zero: no limit.
    pub timeout: Option<Duration>,
}

/// The limits of one try.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PerTry {
    /// For all of it, up to the response's head.
    pub timeout: Option<Duration>,
    /// For standing still.
    pub idle: Option<Duration>,
}

/// A try under way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TryEnds {
    at: Option<Instant>,
    idle: Option<Duration>,
}

impl PerTry {
    /// A try that begins now. Where standing still is bounded, its beginning counts as a move.
    fn begin(self, progress: &Progress) -> TryEnds {
        let idle = self.idle.filter(|idle| !idle.is_zero());
        if idle.is_some() {
            progress.moves();
        }
        let timeout = self.timeout.filter(|timeout| !timeout.is_zero());
        TryEnds { at: timeout.map(|after| Instant::now() + after), idle }
    }
}

/// The limits of one exchange.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    end: Option<Instant>,
    /// Which limit the end is.
    which: Over,
    /// Which limit standing still is.
    which_idle: Over,
    /// The end that is told to the upstream.
    told: Option<Instant>,
    request: Option<Instant>,
    idle: Option<Duration>,
}

impl Limits {
    /// Those of a route under an HTTP proxy, counted from `begun`. A `grpc-timeout` shortens the route's timeout, up to
    /// the route's bound for it; what a trusted caller wished counts more than either.
    pub(crate) fn new(route: &Forward, proxy: &HttpProxy, asked: Asked, begun: Instant) -> Self {
        let deadline = asked.grpc.filter(|_| asked.timeout.is_none()).and_then(|asked| grpc_deadline(route, asked));
        let whole = match asked.timeout {
            Some(wished) => Some(wished),
            None => route.timeout.filter(|_| deadline.is_none()),
        };
        let stream = route.max_stream_duration.or(proxy.limits.max_stream).filter(|max| !max.is_zero());
        // The route's time is the upstream's: what filters did before does not count.
        let whole = whole.filter(|whole| !whole.is_zero()).map(|after| Instant::now() + after);
        let stream = [stream, deadline].into_iter().flatten().min().map(|after| begun + after);
        let (end, which) = match (whole, stream) {
            (Some(whole), Some(stream)) if stream < whole => (Some(stream), Over::Stream),
            (None, Some(stream)) => (Some(stream), Over::Stream),
            (whole, _) => (whole, Over::Whole),
        };
        Self {
            end,
            which,
            which_idle: Over::Idle,
            told: whole,
            request: proxy.limits.request_timeout.map(|after| begun + after),
            idle: route.idle_timeout.or(proxy.stream_idle_timeout).filter(|idle| !idle.is_zero()),
        }
    }

    /// Those that hold where no route's do: for the work of filters.
    pub(crate) fn of_proxy(proxy: &HttpProxy, begun: Instant) -> Self {
        let whole = proxy.limits.max_stream.filter(|max| !max.is_zero());
        Self {
            end: whole.map(|after| begun + after),
            which: Over::Stream,
            which_idle: Over::Idle,
            told: None,
            request: proxy.limits.request_timeout.map(|after| begun + after),
            idle: proxy.stream_idle_timeout.filter(|idle| !idle.is_zero()),
        }
    }

    /// Tells the upstream of a try that begins now how long it will be waited for.
    pub(crate) fn tell(&self, headers: &mut HeaderMap, per_try: Option<Duration>) {
        let whole = self.told.map(|end| end.saturating_duration_since(Instant::now()));
        let expected = [whole, per_try.filter(|limit| !limit.is_zero())].into_iter().flatten().min();
        if let Some(expected) = expected {
            // Counted in whole milliseconds, of which the first has begun.
            let milliseconds = expected.as_micros().div_ceil(1000).max(1);
            headers.insert(EXPECTED, HeaderValue::from(u64::try_from(milliseconds).unwrap_or(u64::MAX)));
        }
    }

    /// What of them holds when the response has begun.
    pub(crate) fn of_response(self) -> Self {
        Self { request: None, ..self }
    }

    /// What of them holds when the last try has begun to answer, which may stand still for so long.
    pub(crate) fn of_try(self, idle: Option<Duration>) -> Self {
        match idle.filter(|idle| !idle.is_zero() && self.idle.is_none_or(|own| *idle < own)) {
            Some(idle) => Self { idle: Some(idle), which_idle: Over::TryIdle, ..self },
            None => self,
        }
    }

    /// Runs `work` within the limits; `per_try` is counted from now. The work stays where the caller pinned it: moved in
    /// here, it would take its room twice.
    pub(crate) fn within<T>(
        &self,
        alarms: &Alarms,
        progress: &Progress,
        per_try: PerTry,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> impl Future<Output = Result<T, Over>> {
        let try_end = per_try.begin(progress);
        let mut alarm = alarms.lend();
        poll_fn(move |cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => self.poll_over(alarm.timer(), cx, progress, try_end).map(Err),
        })
    }

    /// Ready when a limit is passed.
    pub(crate) fn poll_over(
        &self,
        timer: &mut Timer,
        cx: &mut Context<'_>,
        progress: &Progress,
        try_end: TryEnds,
    ) -> Poll<Over> {
        let moved = progress.moved.get();
        let all = [
            (self.end, self.which),
            (try_end.at, Over::Try),
            (try_end.idle.map(|idle| moved + idle), Over::TryIdle),
            (self.request.filter(|_| progress.receiving.get()), Over::Request),
            (self.idle.map(|idle| moved + idle), self.which_idle),
        ];
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

/// A gRPC deadline stands in place of the route's timeout, where the route heeds it; zero as the bound is no bound.
fn grpc_deadline(route: &Forward, asked: Duration) -> Option<Duration> {
    let max = route.max_grpc_timeout?;
    let offset = route.grpc_timeout_offset.filter(|offset| *offset < asked).unwrap_or_default();
    let left = asked - offset;
    Some(if max.is_zero() { left } else { left.min(max) })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use model::http_proxy::RouteSource;

    use super::*;

    async fn within<T>(
        route: &Forward,
        idle: u64,
        per_try: Option<Duration>,
        progress: &Progress,
        work: impl Future<Output = T>,
    ) -> Result<T, Over> {
        let limits = Limits::new(route, &proxy(idle), Asked::default(), Instant::now());
        limits.within(&Alarms::default(), progress, PerTry { timeout: per_try, idle: None }, pin!(work)).await
    }

    fn proxy(idle: u64) -> HttpProxy {
        let stream_idle_timeout = (idle > 0).then(|| Duration::from_secs(idle));
        HttpProxy { stream_idle_timeout, ..HttpProxy::new("x", RouteSource::Rds("r".into())) }
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
            let deadline = asked.and_then(|asked| grpc_deadline(&route, asked));
            let timeout = route.timeout.filter(|timeout| !timeout.is_zero());
            assert_eq!(deadline.or(timeout), expected, "{route:?} {asked:?}");
        }
        for (offset, expected) in [(1, 3), (4, 4), (9, 4)] {
            let route =
                Forward { max_grpc_timeout: seconds(0), grpc_timeout_offset: seconds(offset), ..Forward::to("c") };
            assert_eq!(grpc_deadline(&route, Duration::from_secs(4)), seconds(expected), "an offset of {offset} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn streams_and_requests() {
        let seconds = |n| Some(Duration::from_secs(n));
        for (whole, of_route, of_proxy, request, receiving, expected) in [
            (None, None, seconds(3), None, false, (Over::Stream, 3)),
            (seconds(2), None, seconds(3), None, false, (Over::Whole, 2)),
            (seconds(9), seconds(4), seconds(3), None, false, (Over::Stream, 4)),
            (seconds(9), seconds(0), seconds(3), None, false, (Over::Whole, 9)),
            (seconds(9), None, None, seconds(5), true, (Over::Request, 5)),
            (seconds(9), None, None, seconds(5), false, (Over::Whole, 9)),
        ] {
            let route = Forward { timeout: whole, max_stream_duration: of_route, ..Forward::to("c") };
            let mut proxy = proxy(0);
            (proxy.limits.max_stream, proxy.limits.request_timeout) = (of_proxy, request);
            let begun = Instant::now();
            let progress = Progress::begun(begun);
            progress.receiving.set(receiving);
            let limits = Limits::new(&route, &proxy, Asked::default(), begun);
            let over = limits
                .within(&Alarms::default(), &progress, PerTry::default(), pin!(std::future::pending::<()>()))
                .await;
            assert_eq!((over, begun.elapsed().as_secs()), (Err(expected.0), expected.1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn which_comes_first() {
        let none = Forward::to("c");
        let whole = Forward { timeout: Some(Duration::from_secs(5)), ..Forward::to("c") };
        let never = std::future::pending::<()>;
        let now = || Progress::begun(Instant::now());
        assert_eq!(within(&whole, 9, None, &now(), never()).await, Err(Over::Whole));
        assert_eq!(within(&whole, 9, Some(Duration::from_secs(1)), &now(), never()).await, Err(Over::Try));
        assert_eq!(within(&whole, 2, None, &now(), never()).await, Err(Over::Idle));
        assert_eq!(within(&none, 0, None, &now(), async { 7 }).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn tries_and_wishes() {
        let seconds = |n| Some(Duration::from_secs(n));
        let whole = Forward { timeout: seconds(9), ..Forward::to("c") };
        for (asked, idle, expected) in [
            (None, seconds(3), (Over::TryIdle, 3)),
            (seconds(2), seconds(3), (Over::Whole, 2)),
            (seconds(0), seconds(12), (Over::TryIdle, 12)),
        ] {
            let begun = Instant::now();
            let limits = Limits::new(&whole, &proxy(0), Asked { grpc: None, timeout: asked }, begun);
            let never = pin!(std::future::pending::<()>());
            let per_try = PerTry { timeout: None, idle };
            let over = limits.within(&Alarms::default(), &Progress::begun(begun), per_try, never).await;
            assert_eq!((over, begun.elapsed().as_secs()), (Err(expected.0), expected.1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn movement_holds_off_idleness() {
        let progress = Progress::begun(Instant::now());
        let moving = async {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_secs(3)).await;
                progress.moves();
            }
            std::future::pending::<()>().await;
        };
        let begun = Instant::now();
        assert_eq!(within(&Forward::to("c"), 5, None, &progress, moving).await, Err(Over::Idle));
        assert_eq!(begun.elapsed(), Duration::from_secs(17));
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_was_used_before_is_as_good_as_new() {
        let alarms = Alarms::default();
        let progress = Progress::begun(Instant::now());
        for seconds in [9, 2, 30, 1] {
            let begun = Instant::now();
            let route = Forward { timeout: Some(Duration::from_secs(seconds)), ..Forward::to("c") };
            let limits = Limits::new(&route, &proxy(0), Asked::default(), begun);
            let mut never = pin!(std::future::pending::<()>());
            let given_up = limits.within(&alarms, &progress, PerTry::default(), never.as_mut());
            assert!(tokio::time::timeout(Duration::from_millis(100), given_up).await.is_err());
            let over = limits.within(&alarms, &progress, PerTry::default(), never.as_mut()).await;
            assert_eq!((over, begun.elapsed()), (Err(Over::Whole), Duration::from_secs(seconds)));
        }
        assert_eq!(alarms.0.borrow().len(), 1);
    }
}
