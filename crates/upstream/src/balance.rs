//! Which endpoint of a group is next: pure functions of a turn or a draw, without state and without allocation.
//!
//! Weighted turns walk the golden-ratio sequence over the running sums of the weights: after any number of turns each
//! member has had its share, give or take one or two, and neighbours in time differ. Envoy gets the same from a heap
//! (EDF) that every worker has to keep.

/// Members of an endpoint table that share the load, each by its weight.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// Places in the table.
    members: Box<[u32]>,
    /// Running sums of the weights; empty when all weights are the same.
    sums: Box<[u64]>,
}

impl Group {
    /// Members by their place in the table, each with its weight; a weight below one counts as one.
    pub fn new(members: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let (members, weights): (Vec<u32>, Vec<u32>) = members.into_iter().map(|(at, w)| (at, w.max(1))).unzip();
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            return Self { members: members.into(), sums: Box::default() };
        }
        let mut sum = 0;
        let sums = weights.iter().map(|w| {
            sum += u64::from(*w);
            sum
        });
        Self { sums: sums.collect(), members: members.into() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Is there nobody?
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The members, in the order of the table.
    pub fn members(&self) -> &[u32] {
        &self.members
    }

    /// Round robin: the member whose turn it is, by weight. The caller counts the turns.
    pub fn in_turn(&self, turn: u64) -> Option<u32> {
        if self.sums.is_empty() {
            let at = turn.checked_rem(self.members.len() as u64)?;
            return self.members.get(at as usize).copied();
        }
        self.members.get(self.place(turn.wrapping_mul(GOLDEN))).copied()
    }

    /// By chance, by weight. The draw is even over all of `u64`.
    pub fn at_random(&self, draw: u64) -> Option<u32> {
        self.members.get(self.place(draw)).copied()
    }

    /// Least request: of `choices` members drawn by weight, the one with the fewest active requests per weight. At
    /// rest every member gets `weight / total` of the load, and under load `active / weight` evens out: the balance
    /// that Envoy's `weight / (active + 1)` aims at, without a scan of all members.
    pub fn least(&self, choices: u32, draw: u64, active: impl Fn(u32) -> u32) -> Option<u32> {
        let mut best: Option<(u32, u64, u64)> = None;
        for choice in 0..u64::from(choices.max(1)) {
            let place = self.place(mix(draw.wrapping_add(choice)));
            let member = *self.members.get(place)?;
            let (load, weight) = (u64::from(active(member)), self.weight(place));
            if best.is_none_or(|(_, least, of)| load * of < least * weight) {
                best = Some((member, load, weight));
            }
        }
        best.map(|(member, ..)| member)
    }

    /// The one of two different members, drawn by chance, of whom `load` expects less; the first one if they are equal.
    /// Members of different weights are drawn by weight, and may then be one and the same.
    pub fn quickest(&self, draw: u64, load: impl Fn(u32) -> f32) -> Option<u32> {
        let first = self.place(mix(draw));
        let draw = mix(draw.wrapping_add(1));
        let second = match self.members.len() as u64 {
            // The first one is left out of the draw.
            len @ 2.. if self.sums.is_empty() => {
                let other = scale(draw, len - 1) as usize;
                other + usize::from(other >= first)
            }
            _ => self.place(draw),
        };
        let (first, second) = (*self.members.get(first)?, *self.members.get(second)?);
        Some(if first != second && load(second) < load(first) { second } else { first })
    }

    /// Least request where weights differ, with a bias of its own: each member by chance, by `weight / (active + 1) ^ bias`.
    /// That is the rate at which Envoy's schedule comes to a member. Looks at all of them; none if all weigh the same.
    pub fn biased(&self, bias: f64, draw: u64, active: impl Fn(u32) -> u32) -> Option<u32> {
        if self.sums.is_empty() {
            return None;
        }
        let (mut total, mut chosen, mut draw) = (0.0, None, draw);
        for (place, member) in self.members.iter().enumerate() {
            let weight = self.weight(place) as f64 / (f64::from(active(*member)) + 1.0).powf(bias);
            total += weight;
            draw = mix(draw);
            // A member takes the place of those before it with its share of what was seen so far.
            if chosen.is_none() || (draw as f64 / u64::MAX as f64) * total < weight {
                chosen = Some(*member);
            }
        }
        chosen
    }

    /// Stretches an even draw over the members' weights.
    fn place(&self, draw: u64) -> usize {
        match self.sums.last() {
            None => scale(draw, self.members.len() as u64) as usize,
            Some(total) => {
                let point = scale(draw, *total);
                self.sums.partition_point(|sum| *sum <= point)
            }
        }
    }

    fn weight(&self, place: usize) -> u64 {
        match place {
            _ if self.sums.is_empty() => 1,
            0 => self.sums[0],
            _ => self.sums[place] - self.sums[place - 1],
        }
    }
}

/// 2^64 divided by the golden ratio: its multiples leave the most even gaps of all.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Stretches an even draw over so many.
pub(crate) fn scale(draw: u64, to: u64) -> u64 {
    ((u128::from(draw) * u128::from(to)) >> 64) as u64
}

/// The next of a row of draws (the output step of SplitMix64).
pub fn mix(draw: u64) -> u64 {
    let mut z = draw.wrapping_add(GOLDEN);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(weights: &[u32]) -> Group {
        Group::new(weights.iter().enumerate().map(|(at, w)| (at as u32, *w)))
    }

    fn shares(len: usize, picks: impl Iterator<Item = Option<u32>>) -> Vec<u64> {
        let mut counts = vec![0; len];
        picks.for_each(|at| counts[at.unwrap() as usize] += 1);
        counts
    }

    #[test]
    fn equal_weights_take_turns() {
        let group = group(&[5, 5, 5]);
        let row: Vec<_> = (0..7).filter_map(|turn| group.in_turn(turn)).collect();
        assert_eq!(row, [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn nobody() {
        let none = group(&[]);
        assert_eq!((none.in_turn(3), none.at_random(3), none.least(2, 3, |_| 0)), (None, None, None));
        assert_eq!((none.quickest(3, |_| 0.0), none.biased(1.0, 3, |_| 0)), (None, None));
    }

    #[test]
    fn small_weights_never_queue_up() {
        let group = group(&[3, 1]);
        let row: Vec<_> = (0..400).filter_map(|turn| group.in_turn(turn)).collect();
        assert!(row.windows(6).all(|w| w.contains(&1)), "the light member waits too long");
    }

    #[test]
    fn the_busy_are_left_alone() {
        let group = group(&[1, 1, 1]);
        let counts = shares(3, (0..9000).map(|n| group.least(2, mix(n), |at| if at == 0 { 100 } else { 0 })));
        // The busy one is taken only when both choices fall on it: one in nine.
        assert!((800..1200).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn the_quicker_one_of_two() {
        let equal = group(&[1, 1, 1]);
        let counts = shares(3, (0..9000).map(|n| equal.quickest(mix(n), |at| if at == 0 { 9.0 } else { 1.0 })));
        assert_eq!(counts[0], 0, "there is always a quicker one beside it");
        assert!(counts[1].abs_diff(counts[2]) < 600, "{counts:?}");
        assert_eq!(group(&[7]).quickest(3, |_| 1.0), Some(0));
        let weighted = group(&[1, 9]);
        let counts = shares(2, (0..9000).map(|n| weighted.quickest(mix(n), |_| 1.0)));
        assert!((800..1000).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn weights_and_bias() {
        let group = group(&[1, 3]);
        for (bias, expected) in [(0.0, 2250..2550), (0.5, 1450..1650), (1.0, 880..1040), (9.0, 0..5)] {
            let busy = |at| if at == 0 { 2 } else { 0 };
            let counts = shares(2, (0..9600).map(|n| group.biased(bias, mix(n), busy)));
            assert!(expected.contains(&counts[0]), "{bias}: {counts:?}");
        }
        let equal = Group::new([(0, 5), (1, 5)]);
        assert_eq!(equal.biased(1.0, 3, |_| 0), None, "equal weights are left to the draw of a few");
    }

    proptest! {
        #[test]
        fn turns_follow_weights(weights in prop::collection::vec(1u32..200, 1..40), start: u64) {
            let (group, total) = (group(&weights), weights.iter().map(|w| u64::from(*w)).sum::<u64>());
            let rounds = 16 * total;
            let counts = shares(weights.len(), (0..rounds).map(|n| group.in_turn(start.wrapping_add(n))));
            for (count, weight) in counts.iter().zip(&weights) {
                let due = 16 * u64::from(*weight);
                prop_assert!(count.abs_diff(due) <= 8 + due / 16, "{count} of {due} in {weights:?}");
            }
        }

        #[test]
        fn chance_and_least_follow_weights_at_rest(weights in prop::collection::vec(1u32..20, 1..8), seed: u64) {
            let (group, total) = (group(&weights), weights.iter().map(|w| u64::from(*w)).sum::<u64>());
            let draws = 400 * total;
            let random = shares(weights.len(), (0..draws).map(|n| group.at_random(mix(seed.wrapping_add(n)))));
            let least = shares(weights.len(), (0..draws).map(|n| group.least(2, mix(seed ^ (n << 20)), |_| 0)));
            for counts in [random, least] {
                for (count, weight) in counts.iter().zip(&weights) {
                    let due = 400 * u64::from(*weight);
                    // Six deviations of a binomial draw.
                    prop_assert!(count.abs_diff(due) as f64 <= 6.0 * (due as f64).sqrt(), "{counts:?} {weights:?}");
                }
            }
        }
    }
}
