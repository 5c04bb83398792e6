//! When a downstream connection is to end: its chain retires, it has lived for long enough, or has carried enough
//! requests. What was begun is finished then.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Poll, Waker};

use base::drain::Watch;
use model::HttpLimits;
use tokio::time::{Sleep, sleep};

/// What bounds one connection, beside its chain.
#[derive(Default)]
pub(crate) struct Lifetime {
    /// Requests that it may still carry; none: any number.
    left: Option<Cell<u32>>,
    /// Whom to wake when there is none left.
    waker: RefCell<Option<Waker>>,
}

impl Lifetime {
    /// The bounds that these settings give; none if they give none.
    pub(crate) fn new(limits: &HttpLimits) -> Option<Box<Self>> {
        let bounded = limits.max_requests.is_some() || limits.max_connection.is_some();
        bounded.then(|| Box::new(Self { left: limits.max_requests.map(Cell::new), ..Self::default() }))
    }

    /// A request has come.
    pub(crate) fn carries_one(&self) {
        let Some(left) = &self.left else { return };
        left.set(left.get().saturating_sub(1));
        if left.get() == 0
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
    }

    fn is_spent(&self) -> bool {
        self.left.as_ref().is_some_and(|left| left.get() == 0)
    }
}

/// Completes when the connection is to end. `draw` is even over all of `u64`.
pub(crate) fn over<'a>(
    lifetime: Option<&'a Lifetime>,
    limits: &HttpLimits,
    chain: &Watch,
    draw: u64,
) -> impl Future<Output = ()> + use<'a> {
    let mut retired = chain.started();
    let mut aged =
        lifetime.and_then(|_| longest(limits, draw)).map(|after| -> Pin<Box<Sleep>> { Box::pin(sleep(after)) });
    poll_fn(move |cx| {
        if let Some(lifetime) = lifetime {
            if lifetime.is_spent() || aged.as_mut().is_some_and(|aged| aged.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(());
            }
            if lifetime.left.is_some() {
                lifetime.waker.replace(Some(cx.waker().clone()));
            }
        }
        Pin::new(&mut retired).poll(cx)
    })
}

fn longest(limits: &HttpLimits, draw: u64) -> Option<std::time::Duration> {
    let share = f64::from(limits.connection_jitter.map_or(0, |share| share.as_millionths())) / 1_000_000.0;
    // 53 bits: what a float holds without rounding.
    let even = (draw >> 11) as f64 / (1u64 << 53) as f64;
    Some(limits.max_connection?.mul_f64(1.0 + share * even))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base::drain;
    use model::Fraction;
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_ends_it() {
        let minute = Duration::from_secs(60);
        let (signal, watch) = drain::channel();
        let aged = HttpLimits { max_connection: Some(minute), ..HttpLimits::default() };
        let jittered = HttpLimits { connection_jitter: Some(Fraction::percent(50.0)), ..aged.clone() };
        for (limits, draw, expected) in [(&aged, u64::MAX, 60), (&jittered, 0, 60), (&jittered, u64::MAX / 2, 75)] {
            let begun = Instant::now();
            let lifetime = Lifetime::new(limits);
            over(lifetime.as_deref(), limits, &watch, draw).await;
            assert_eq!(begun.elapsed().as_secs_f64().round(), f64::from(expected), "{limits:?}");
        }
        let counted = HttpLimits { max_requests: Some(2), ..HttpLimits::default() };
        let lifetime = Lifetime::new(&counted).expect("a bound");
        let mut ends = Box::pin(over(Some(&lifetime), &counted, &watch, 0));
        for _ in 0..2 {
            assert!(timeout(minute, &mut ends).await.is_err());
            lifetime.carries_one();
        }
        timeout(minute, ends).await.expect("two requests are enough");
        let none = HttpLimits::default();
        assert!(Lifetime::new(&none).is_none());
        let mut ends = Box::pin(over(None, &none, &watch, 0));
        assert!(timeout(minute, &mut ends).await.is_err());
        signal.start();
        timeout(minute, ends).await.expect("retired");
    }
}
