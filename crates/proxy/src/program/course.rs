//! What an answer of the program means, and when it is asked again: the rules of Kubernetes' probes. No clock of its own.

use std::time::Duration;

use crate::bootstrap::Timing;

/// The shortest and the longest time between two questions until it is ready; in between a twentieth of the time waited,
/// so that what starts fast is noticed fast, and what starts slowly is not bothered.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// The readiness of a program as its answers tell it.
#[derive(Debug)]
pub(super) struct Course {
    timing: Timing,
    /// It is asked often whenever it is not ready; otherwise only until it is so for the first time.
    always_quick: bool,
    is_ready: bool,
    has_been_ready: bool,
    /// Answers in a row that speak against its present state.
    against: u32,
}

/// What follows from an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// What it is now.
    pub is_ready: bool,
    /// It was not so before.
    pub is_new: bool,
    /// When it is asked again.
    pub wait: Duration,
}

impl Course {
    /// Nothing was asked yet, and it is not ready.
    pub(super) fn new(timing: Option<Timing>) -> Self {
        let always_quick = timing.is_none();
        let timing = timing.unwrap_or_default();
        Self { timing, always_quick, is_ready: false, has_been_ready: false, against: 0 }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timing.timeout
    }

    pub(super) fn initial_delay(&self) -> Duration {
        self.timing.initial_delay
    }

    /// Takes in an answer. `waited`: since it is asked, or since it was lost.
    pub(super) fn take(&mut self, good: bool, waited: Duration) -> Step {
        let mut is_new = false;
        if good == self.is_ready {
            self.against = 0;
        } else {
            self.against += 1;
            let enough = if good { self.timing.successes } else { self.timing.failures };
            if self.against >= enough {
                (self.is_ready, self.against, is_new) = (good, 0, true);
                self.has_been_ready |= good;
            }
        }
        let is_quick = !good && !self.is_ready && !is_new && (self.always_quick || !self.has_been_ready);
        let wait = if is_quick { pause(waited).min(self.timing.period) } else { self.timing.period };
        Step { is_ready: self.is_ready, is_new, wait }
    }
}

fn pause(waited: Duration) -> Duration {
    (waited / 20).clamp(PAUSE.0, PAUSE.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Good and bad answers (`+`, `-`), and after each: ready or not (`R`, `N`; small: as before), and whether it is asked soon.
    fn check(timing: Option<Timing>, answers: &str, expected: &str) {
        let mut course = Course::new(timing);
        let shown = answers.chars().map(|answer| {
            let step = course.take(answer == '+', Duration::from_secs(1));
            let state = match (step.is_ready, step.is_new) {
                (true, true) => "R",
                (true, false) => "r",
                (false, true) => "N",
                (false, false) => "n",
            };
            format!("{state}{}", if step.wait < Duration::from_secs(1) { "!" } else { "" })
        });
        assert_eq!(shown.collect::<Vec<_>>().join(" "), expected, "{answers} by {timing:?}");
    }

    #[test]
    fn thresholds() {
        let by = |successes, failures| Some(Timing { successes, failures, ..Timing::default() });
        check(by(1, 3), "--+--+---", "n! n! R r r r r r N");
        check(by(1, 3), "+----+", "R r r N n R");
        check(by(2, 1), "+-++-++", "n n! n R N n R");
        check(by(1, 1), "+-+-", "R N R N");
        // Without a probe of somebody's own it is asked often again.
        check(None, "-+----+", "n! R r r N n! R");
    }

    #[test]
    fn pauses_grow_with_the_wait() {
        for (waited, expected) in [(0, 20), (400, 20), (2000, 100), (60_000, 500)] {
            assert_eq!(pause(Duration::from_millis(waited)), Duration::from_millis(expected));
        }
        let mut fast = Course::new(Some(Timing { period: Duration::from_millis(5), ..Timing::default() }));
        assert_eq!(fast.take(false, Duration::ZERO).wait, Duration::from_millis(5));
    }
}
