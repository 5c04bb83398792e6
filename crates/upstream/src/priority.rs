//! How the load is spread over priorities: Envoy's rules of overprovisioning, degraded endpoints and panic.
//!
//! Priority 0 takes all while `1.4 x` its healthy share reaches 100 %; the rest spills over to the next. When all
//! priorities together cannot take 100 %, those with under half of their endpoints available panic: they use all of
//! their endpoints, since to spare the sick would drown the healthy.

/// A priority counts as whole while this many percent of its healthy share reach 100 (Envoy's default 140).
pub const OVERPROVISIONING_PERCENT: u64 = 140;

/// The endpoints of one priority, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// All of them.
    pub total: u64,
    /// Those that are healthy.
    pub healthy: u64,
    /// Those that are degraded.
    pub degraded: u64,
}

/// Which endpoints of a priority are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// The healthy ones.
    Healthy,
    /// The degraded ones.
    Degraded,
    /// All, since the priority panics.
    Panic,
}

/// What each priority takes, in percent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loads {
    healthy: Box<[u8]>,
    degraded: Box<[u8]>,
    panic: Box<[bool]>,
}

impl Loads {
    /// The loads of priorities that are filled like this, the first being priority 0. A priority panics below a share of
    /// `panic_percent` of available endpoints; 0: never.
    pub fn new(counts: &[Count], panic_percent: u8) -> Self {
        let available = |count: &Count, of: u64| (OVERPROVISIONING_PERCENT * of).checked_div(count.total).unwrap_or(0);
        let healthy: Vec<u64> = counts.iter().map(|c| available(c, c.healthy).min(100)).collect();
        let degraded: Vec<u64> = counts.iter().map(|c| available(c, c.degraded).min(100)).collect();
        let whole = (healthy.iter().sum::<u64>() + degraded.iter().sum::<u64>()).min(100);
        let panics =
            |c: &Count| whole < 100 && 100 * (c.healthy + c.degraded) < u64::from(panic_percent) * c.total.max(1);
        let panic: Box<[bool]> = counts.iter().map(panics).collect();
        if panic.iter().all(|p| *p) {
            return Self { healthy: by_size(counts), degraded: vec![0; counts.len()].into(), panic };
        }
        let mut left = 100;
        let (mut healthy, first_healthy) = share_out(&healthy, whole, &mut left);
        let (mut degraded, first_degraded) = share_out(&degraded, whole, &mut left);
        // What rounding leaves over goes to the first that takes anything.
        match (first_healthy, first_degraded) {
            (Some(first), _) => healthy[first] += left,
            (None, Some(first)) => degraded[first] += left,
            (None, None) => {}
        }
        Self { healthy, degraded, panic }
    }

    /// The priority and tier for an even draw; none when there is no endpoint at all.
    pub fn pick(&self, draw: u64) -> Option<(usize, Tier)> {
        if self.healthy.first() == Some(&100) {
            return Some((0, self.tier(0, Tier::Healthy)));
        }
        let mut point = (draw % 100) as u8;
        for (loads, tier) in [(&self.healthy, Tier::Healthy), (&self.degraded, Tier::Degraded)] {
            for (priority, load) in loads.iter().enumerate() {
                match point.checked_sub(*load) {
                    Some(rest) => point = rest,
                    None => return Some((priority, self.tier(priority, tier))),
                }
            }
        }
        None
    }

    /// Does this priority use all of its endpoints, the sick too?
    pub fn panics(&self, priority: usize) -> bool {
        self.panic.get(priority).copied().unwrap_or(false)
    }

    fn tier(&self, priority: usize, tier: Tier) -> Tier {
        if self.panics(priority) { Tier::Panic } else { tier }
    }
}

/// All in panic: every priority by the number of its endpoints.
fn by_size(counts: &[Count]) -> Box<[u8]> {
    let total: u64 = counts.iter().map(|c| c.total).sum();
    let mut loads: Box<[u8]> = counts.iter().map(|c| (100 * c.total).checked_div(total).unwrap_or(0) as u8).collect();
    let left = 100 - loads.iter().sum::<u8>();
    if let Some(first) = counts.iter().position(|c| c.total > 0) {
        loads[first] += left;
    }
    loads
}

fn share_out(available: &[u64], whole: u64, left: &mut u8) -> (Box<[u8]>, Option<usize>) {
    let mut loads = vec![0; available.len()].into_boxed_slice();
    for (load, available) in loads.iter_mut().zip(available) {
        *load = (100 * available).checked_div(whole).unwrap_or(0).min(u64::from(*left)) as u8;
        *left -= *load;
    }
    let first = loads.iter().position(|load| *load > 0);
    (loads, first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(total: u64, healthy: u64, degraded: u64) -> Count {
        Count { total, healthy, degraded }
    }

    /// The share in percent of each priority's healthy and degraded tier, panic shown as `P`.
    fn check(counts: &[Count], expected: &[&str]) {
        check_below(counts, 50, expected);
    }

    fn check_below(counts: &[Count], panic_percent: u8, expected: &[&str]) {
        let loads = Loads::new(counts, panic_percent);
        let mut seen = std::collections::BTreeMap::new();
        for draw in 0..100 {
            if let Some(key) = loads.pick(draw) {
                *seen.entry(format!("{}{:?}", key.0, key.1)).or_insert(0) += 1;
            }
        }
        let seen: Vec<_> = seen.iter().map(|(key, share)| format!("{key} {share}")).collect();
        assert_eq!(seen, expected, "{counts:?}");
    }

    #[test]
    fn envoys_tables() {
        // The examples of Envoy's documentation of priority levels, degraded endpoints and panic thresholds.
        check(&[count(100, 100, 0), count(100, 100, 0)], &["0Healthy 100"]);
        check(&[count(100, 72, 0), count(100, 72, 0)], &["0Healthy 100"]);
        check(&[count(100, 71, 0), count(100, 71, 0)], &["0Healthy 99", "1Healthy 1"]);
        check(&[count(100, 50, 0), count(100, 50, 0)], &["0Healthy 70", "1Healthy 30"]);
        check(&[count(100, 25, 0), count(100, 100, 0)], &["0Healthy 35", "1Healthy 65"]);
        check(&[count(100, 0, 0), count(100, 100, 0)], &["1Healthy 100"]);
        check(&[count(100, 25, 0), count(100, 25, 0)], &["0Panic 50", "1Panic 50"]);
        check(&[count(100, 50, 50)], &["0Degraded 30", "0Healthy 70"]);
        check(&[count(100, 0, 100)], &["0Degraded 100"]);
        check(&[count(4, 1, 0)], &["0Panic 100"]);
        check(&[count(4, 2, 0)], &["0Healthy 100"]);
        check(&[count(1, 0, 0), count(3, 0, 0)], &["0Panic 25", "1Panic 75"]);
        check(&[count(0, 0, 0), count(3, 3, 0)], &["1Healthy 100"]);
        check(&[count(0, 0, 0)], &[]);
        check(&[], &[]);
    }

    #[test]
    fn panic_by_another_share_or_never() {
        check_below(&[count(4, 1, 0)], 0, &["0Healthy 100"]);
        check_below(&[count(4, 0, 0)], 0, &[]);
        check_below(&[count(4, 0, 0), count(4, 1, 0)], 0, &["1Healthy 100"]);
        check_below(&[count(4, 1, 0)], 25, &["0Healthy 100"]);
        check_below(&[count(4, 1, 0)], 26, &["0Panic 100"]);
        check_below(&[count(4, 3, 0)], 100, &["0Healthy 100"]);
        check_below(&[count(4, 2, 0)], 100, &["0Panic 100"]);
    }
}
