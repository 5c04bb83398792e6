//! Figures of rounds, and what comes of them: medians with their range, and budgets that are met or not.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::scenario::{Bound, Figure, Peer, Target};

/// The values of one peer in one scenario, round by round.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub struct Samples(BTreeMap<Figure, Vec<f64>>);

/// The middle of some values and their range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stat {
    /// Half of the values are below.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
}

impl Samples {
    /// One more round.
    pub fn add(&mut self, figure: Figure, value: f64) {
        self.0.entry(figure).or_default().push(value);
    }

    /// The figures that there are.
    pub fn figures(&self) -> impl Iterator<Item = Figure> {
        self.0.keys().copied()
    }

    /// The values of a figure.
    pub fn stat(&self, figure: Figure) -> Option<Stat> {
        let mut values = self.0.get(&figure)?.clone();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Stat { median, min, max })
    }

    /// Its median.
    pub fn median(&self, figure: Figure) -> Option<f64> {
        self.stat(figure).map(|stat| stat.median)
    }

    /// Sets a figure that is the difference of two medians: another's is taken from ours.
    pub fn set_added(&mut self, added: Figure, figure: Figure, without: &Self) {
        if let (Some(values), Some(base)) = (self.0.get(&figure).cloned(), without.median(figure)) {
            self.0.insert(added, values.into_iter().map(|value| value - base).collect());
        }
    }
}

/// A budget and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// Of which figure.
    pub figure: Figure,
    /// The budget in words.
    pub budget: String,
    /// The ratio to the peer, or the value itself; none if it was not measured.
    pub measured: Option<f64>,
    /// Whether it is met.
    pub met: Option<bool>,
}

/// Compares our figures with a budget.
pub fn judge(target: &Target, rows: &[(Peer, Samples)]) -> Verdict {
    let median = |peer| rows.iter().find(|(of, _)| *of == peer).and_then(|(_, samples)| samples.median(target.figure));
    let ours = median(Peer::Halcyon);
    let name = target.figure.head();
    let ratio = |theirs: Option<f64>| ours.zip(theirs).filter(|(_, theirs)| *theirs > 0.0).map(|(a, b)| a / b);
    let (budget, measured, met) = match target.bound {
        Bound::Times(factor, peer) => {
            let ratio = ratio(median(peer));
            (format!("{name} <= {factor:.2} x {}", peer.name()), ratio, ratio.map(|ratio| ratio <= factor))
        }
        Bound::AtLeast(factor, peer) => {
            let ratio = ratio(median(peer));
            (format!("{name} >= {factor:.2} x {}", peer.name()), ratio, ratio.map(|ratio| ratio >= factor))
        }
        Bound::Best => {
            let others = rows.iter().filter(|(of, _)| *of != Peer::Halcyon);
            let best = others.filter_map(|(_, samples)| samples.median(target.figure)).reduce(f64::max);
            let ratio = ratio(best);
            (format!("{name} >= the best neighbour's"), ratio, ratio.map(|ratio| ratio >= 1.0))
        }
        Bound::Value(limit) => (format!("{name} <= {limit}"), ours, ours.map(|ours| ours <= limit)),
    };
    Verdict { figure: target.figure, budget, measured, met }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        let mut samples = Samples::default();
        values.iter().for_each(|value| samples.add(Figure::CpuPerRequest, *value));
        samples
    }

    #[test]
    fn medians() {
        for (values, expected) in [
            (&[][..], None),
            (&[2.0], Some((2.0, 2.0, 2.0))),
            (&[3.0, 1.0, 2.0], Some((2.0, 1.0, 3.0))),
            (&[4.0, 1.0, 2.0, 3.0], Some((2.5, 1.0, 4.0))),
        ] {
            let got = samples(values).stat(Figure::CpuPerRequest).map(|s| (s.median, s.min, s.max));
            assert_eq!(got, expected, "{values:?}");
        }
    }

    #[test]
    fn budgets() {
        let rows =
            [(Peer::Halcyon, samples(&[10.0])), (Peer::Haproxy, samples(&[9.0])), (Peer::Envoy, samples(&[40.0]))];
        let target = |bound| Target { figure: Figure::CpuPerRequest, bound };
        let met = |bound| judge(&target(bound), &rows).met;
        assert_eq!(met(Bound::Times(1.0, Peer::Haproxy)), Some(false));
        assert_eq!(met(Bound::Times(1.0 / 3.0, Peer::Envoy)), Some(true));
        assert_eq!(met(Bound::Times(1.0, Peer::Nginx)), None);
        assert_eq!(met(Bound::Value(10.0)), Some(true));
        assert_eq!(met(Bound::AtLeast(1.0, Peer::Haproxy)), Some(true));
        assert_eq!(met(Bound::AtLeast(1.0, Peer::Envoy)), Some(false));
        assert_eq!(met(Bound::AtLeast(1.0, Peer::Nginx)), None);
        assert_eq!(met(Bound::Best), Some(false));
    }
}
