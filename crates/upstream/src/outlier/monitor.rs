//! What is counted on one endpoint: failures in a row, and how many of how many succeeded in an interval.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use mesh_http::grpc::GrpcStatus;
use model::OutlierDetection;

/// How an exchange with an endpoint went, for outlier detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A connection is there; how the exchange goes is told apart.
    Connected,
    /// A connection is there, and that is all that will be known.
    ConnectedFinally,
    /// An answer with this status, and this status of gRPC in its head.
    Answer(u16, Option<u32>),
    /// No connection, or no answer on it.
    Failed,
    /// No answer in time.
    Late,
}

/// Which counts of failures in a row have reached their limits just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reached {
    pub(crate) gateway: bool,
    pub(crate) any_5xx: bool,
    pub(crate) local: bool,
}

impl Reached {
    pub(crate) fn any(self) -> bool {
        self.gateway || self.any_5xx || self.local
    }
}

/// The counts of one endpoint, shared by all workers.
#[derive(Debug, Default)]
pub(crate) struct Monitor {
    consecutive_5xx: AtomicU32,
    consecutive_gateway: AtomicU32,
    consecutive_local: AtomicU32,
    /// Answers.
    pub(super) external: Rate,
    /// What went well or badly on our side, where that is counted apart.
    pub(super) local: Rate,
    /// The bits of the last interval's success rate, for people to see; zero: unknown.
    shown: AtomicU64,
}

impl Monitor {
    /// Counts an outcome, as the settings say.
    pub(crate) fn count(&self, settings: &OutlierDetection, outcome: Outcome) -> Reached {
        let split = settings.split_external_local_origin_errors;
        match outcome {
            Outcome::Answer(status, grpc) => self.answer(settings, status, grpc),
            Outcome::Connected | Outcome::ConnectedFinally if split => {
                self.local_success();
                Reached::default()
            }
            Outcome::Failed | Outcome::Late if split => self.local_failure(settings),
            Outcome::Connected => Reached::default(),
            Outcome::ConnectedFinally => self.code(settings, 200),
            Outcome::Failed => self.code(settings, 503),
            Outcome::Late => self.code(settings, 504),
        }
    }

    /// Its success rate in the last interval, in percent.
    pub(crate) fn success_rate(&self) -> Option<f64> {
        match self.shown.load(Relaxed) {
            0 => None,
            bits => Some(f64::from_bits(bits)),
        }
    }

    pub(super) fn show(&self, rate: Option<f64>) {
        // A rate of zero is shown as a very small one: zero bits mean none.
        self.shown.store(rate.map_or(0, |rate| rate.max(f64::MIN_POSITIVE).to_bits()), Relaxed);
    }

    /// Forgets failures in a row of this kind.
    pub(super) fn reset(&self, reached: Reached) {
        if reached.any_5xx {
            clear(&self.consecutive_5xx);
        }
        if reached.gateway {
            clear(&self.consecutive_gateway);
        }
        if reached.local {
            clear(&self.consecutive_local);
        }
    }

    fn answer(&self, settings: &OutlierDetection, status: u16, grpc: Option<u32>) -> Reached {
        let split = settings.split_external_local_origin_errors;
        if settings.error_statuses.is_empty() {
            return self.code(settings, grpc.map_or(status, |code| GrpcStatus(code).to_http()));
        }
        // Where statuses are named, others are successes. Envoy tells them apart no further when it splits.
        match settings.error_statuses.contains(&status) {
            true if split => self.code(settings, 503),
            true => self.code(settings, if status >= 500 { status } else { 500 }),
            false => {
                if split {
                    self.local_success();
                }
                self.code(settings, 200)
            }
        }
    }

    fn code(&self, settings: &OutlierDetection, code: u16) -> Reached {
        let mut reached = Reached::default();
        if !(500..600).contains(&code) {
            self.external.count(true);
            clear(&self.consecutive_5xx);
            clear(&self.consecutive_gateway);
            return reached;
        }
        self.external.count(false);
        if (502..=504).contains(&code) {
            reached.gateway = raise(&self.consecutive_gateway, settings.consecutive_gateway_failure);
        } else {
            clear(&self.consecutive_gateway);
        }
        reached.any_5xx = raise(&self.consecutive_5xx, settings.consecutive_5xx);
        reached
    }

    fn local_success(&self) {
        self.local.count(true);
        clear(&self.consecutive_local);
    }

    fn local_failure(&self, settings: &OutlierDetection) -> Reached {
        self.local.count(false);
        let local = raise(&self.consecutive_local, settings.consecutive_local_origin_failure);
        Reached { local, ..Reached::default() }
    }
}

/// One more in a row; says whether that is the limit.
fn raise(count: &AtomicU32, limit: u32) -> bool {
    count.fetch_add(1, Relaxed).wrapping_add(1) == limit
}

/// Mostly there is nothing to clear, and then nothing is written that other workers would have to fetch.
fn clear(count: &AtomicU32) {
    if count.load(Relaxed) != 0 {
        count.store(0, Relaxed);
    }
}

/// How many of how many succeeded since the last look.
#[derive(Debug, Default)]
pub(super) struct Rate {
    total: AtomicU64,
    good: AtomicU64,
}

impl Rate {
    fn count(&self, good: bool) {
        self.total.fetch_add(1, Relaxed);
        if good {
            self.good.fetch_add(1, Relaxed);
        }
    }

    /// The share of successes in percent and the number of all, which begin anew.
    pub(super) fn turn(&self) -> Option<(f64, u64)> {
        let (total, good) = (self.total.swap(0, Relaxed), self.good.swap(0, Relaxed));
        (total > 0).then(|| (100.0 * good as f64 / total as f64, total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outcomes by which a limit of three is reached, told as `5`, `g` and `l`.
    fn reached(settings: &OutlierDetection, outcomes: &[Outcome]) -> Vec<String> {
        let monitor = Monitor::default();
        let told = |outcome: &Outcome| {
            let reached = monitor.count(settings, *outcome);
            [(reached.any_5xx, '5'), (reached.gateway, 'g'), (reached.local, 'l')]
                .iter()
                .filter(|r| r.0)
                .map(|r| r.1)
                .collect()
        };
        outcomes.iter().map(told).collect()
    }

    #[test]
    fn what_counts_as_what() {
        use Outcome::*;
        let three = OutlierDetection {
            consecutive_5xx: 3,
            consecutive_gateway_failure: 3,
            consecutive_local_origin_failure: 3,
            ..OutlierDetection::default()
        };
        let split = OutlierDetection { split_external_local_origin_errors: true, ..three.clone() };
        let named = OutlierDetection { error_statuses: vec![429, 500], ..three.clone() };
        let off = OutlierDetection { consecutive_5xx: 0, ..three.clone() };
        let (ok, bad, gateway) = (Answer(200, None), Answer(500, None), Answer(503, None));
        for (settings, outcomes, expected) in [
            (&three, [bad, bad, bad, bad], ["", "", "5", ""]),
            (&three, [bad, bad, ok, bad], ["", "", "", ""]),
            (&three, [gateway, gateway, gateway, ok], ["", "", "5g", ""]),
            (&three, [gateway, gateway, bad, gateway], ["", "", "5", ""]),
            (&three, [Failed, Late, Failed, Failed], ["", "", "5g", ""]),
            (&three, [Failed, Failed, ConnectedFinally, Failed], ["", "", "", ""]),
            (&three, [Failed, Failed, Connected, Failed], ["", "", "", "5g"]),
            (&three, [Answer(200, Some(14)), Answer(200, Some(14)), Answer(200, Some(0)), bad], ["", "", "", ""]),
            (&three, [Answer(200, Some(14)), Answer(200, Some(4)), Answer(200, Some(13)), ok], ["", "", "5", ""]),
            (&split, [Failed, Failed, Late, Failed], ["", "", "l", ""]),
            (&split, [Failed, Failed, Connected, Failed], ["", "", "", ""]),
            (&split, [Failed, gateway, Failed, Failed], ["", "", "", "l"]),
            (&split, [gateway, gateway, Failed, gateway], ["", "", "", "5g"]),
            (&named, [Answer(429, None), bad, Answer(429, None), ok], ["", "", "5", ""]),
            (&named, [gateway, gateway, gateway, gateway], ["", "", "", ""]),
            (&off, [bad, bad, bad, bad], ["", "", "", ""]),
        ] {
            assert_eq!(reached(settings, &outcomes), expected, "{outcomes:?}");
        }
    }

    #[test]
    fn rates_are_of_an_interval() {
        let (monitor, settings) = (Monitor::default(), OutlierDetection::default());
        for status in [200, 200, 200, 500] {
            monitor.count(&settings, Outcome::Answer(status, None));
        }
        assert_eq!(monitor.external.turn(), Some((75.0, 4)));
        assert_eq!((monitor.external.turn(), monitor.local.turn()), (None, None));
    }
}
