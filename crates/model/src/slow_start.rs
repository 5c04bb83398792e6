//! How the share of a new endpoint grows.

use std::time::Duration;

/// How the share of a new endpoint grows (xDS `SlowStartConfig`), for round robin and least request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowStart {
    /// How long it takes; not zero.
    pub window: Duration,
    /// The curve: 1 is a straight line, more begins steeper.
    pub aggression: f64,
    /// The least share of its weight, in percent.
    pub min_weight_percent: f64,
}

impl SlowStart {
    /// Envoy's: a straight line from a tenth.
    pub fn new(window: Duration) -> Self {
        Self { window, aggression: 1.0, min_weight_percent: 10.0 }
    }

    /// The part of its weight that an endpoint of this age has.
    pub fn factor(&self, age: Duration) -> f64 {
        if age >= self.window {
            return 1.0;
        }
        let time = age.max(Duration::from_millis(1)).as_secs_f64() / self.window.as_secs_f64();
        let grown = if self.aggression == 1.0 { time } else { time.powf(1.0 / self.aggression) };
        grown.max(self.min_weight_percent / 100.0).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_starts() {
        let secs = Duration::from_secs;
        for (aggression, least, age, expected) in [
            (1.0, 10.0, secs(0), 0.1),
            (1.0, 10.0, secs(30), 0.5),
            (1.0, 60.0, secs(30), 0.6),
            (1.0, 10.0, secs(60), 1.0),
            (1.0, 10.0, secs(90), 1.0),
            (2.0, 10.0, secs(15), 0.5),
            (0.5, 10.0, secs(30), 0.25),
        ] {
            let start = SlowStart { window: secs(60), aggression, min_weight_percent: least };
            let factor = start.factor(age);
            assert!((factor - expected).abs() < 1e-9, "{start:?} at {age:?}: {factor}");
        }
    }
}
