//! How the load is spread over priorities: Envoy's rules of overprovisioning, degraded endpoints and panic.
//!
//! Priority 0 takes all while its healthy share, times the factor of overprovisioning (1.4), reaches 100 %; the rest spills
//! over to the next. When all
//! priorities together cannot take 100 %, those with under half of their endpoints available panic: they use all of
//! their endpoints, since to spare the sick would drown the healthy.

use std::cell::RefCell;
use std::num::NonZeroU32;

use model::endpoint::Spread;

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

/// One priority: its endpoints counted, and their weights summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Filled {
    /// By their number.
    pub number: Count,
    /// By their weight.
    pub weight: Count,
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
    pub fn new(filled: &[Filled], spread: Spread, panic_percent: u8) -> Self {
        let (healthy, degraded) = available(filled, spread);
        let whole = whole(&healthy, &degraded);
        let panics =
            |c: Count| whole < 100 && 100 * (c.healthy + c.degraded) < u64::from(panic_percent) * c.total.max(1);
        let panic: Box<[bool]> = filled.iter().map(|f| panics(f.number)).collect();
        if panic.iter().all(|p| *p) {
            return Self { healthy: by_size(filled), degraded: vec![0; filled.len()].into(), panic };
        }
        Self { panic, ..Self::shared_out(&healthy, &degraded, whole) }
    }

    /// The same without the priorities that are to be spared; none if no other can take anything. Who panics stays so.
    pub fn sparing(&self, filled: &[Filled], spread: Spread, is_spared: impl Fn(usize) -> bool) -> Option<Self> {
        let (mut healthy, mut degraded) = available(filled, spread);
        for spared in (0..filled.len()).filter(|priority| is_spared(*priority)) {
            (healthy[spared], degraded[spared]) = (0, 0);
        }
        let whole = whole(&healthy, &degraded);
        (whole > 0).then(|| Self { panic: self.panic.clone(), ..Self::shared_out(&healthy, &degraded, whole) })
    }

    fn shared_out(healthy: &[u64], degraded: &[u64], whole: u64) -> Self {
        let mut left = 100;
        let (mut healthy, first_healthy) = share_out(healthy, whole, &mut left);
        let (mut degraded, first_degraded) = share_out(degraded, whole, &mut left);
        // What rounding leaves over goes to the first that takes anything.
        match (first_healthy, first_degraded) {
            (Some(first), _) => healthy[first] += left,
            (None, Some(first)) => degraded[first] += left,
            (None, None) => {}
        }
        Self { healthy, degraded, panic: Box::default() }
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

/// How much of the whole each priority could take with its healthy and with its degraded endpoints, in percent.
fn available(filled: &[Filled], spread: Spread) -> (Vec<u64>, Vec<u64>) {
    let factor = u64::from(spread.overprovisioning);
    let part = |count: Count, of: u64| (factor * of).checked_div(count.total).unwrap_or(0).min(100);
    let counts = || filled.iter().map(|f| if spread.weighted { f.weight } else { f.number });
    (counts().map(|c| part(c, c.healthy)).collect(), counts().map(|c| part(c, c.degraded)).collect())
}

fn whole(healthy: &[u64], degraded: &[u64]) -> u64 {
    healthy.iter().chain(degraded).sum::<u64>().min(100)
}

/// All in panic: every priority by the number of its endpoints.
fn by_size(filled: &[Filled]) -> Box<[u8]> {
    let total: u64 = filled.iter().map(|f| f.number.total).sum();
    let part = |f: &Filled| (100 * f.number.total).checked_div(total).unwrap_or(0) as u8;
    let mut loads: Box<[u8]> = filled.iter().map(part).collect();
    let left = 100 - loads.iter().sum::<u8>();
    if let Some(first) = filled.iter().position(|f| f.number.total > 0) {
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

/// The priorities that the tries of one request went to, so that after some of them others are asked (Envoy's
/// `previous_priorities`).
#[derive(Debug)]
pub struct PastPriorities {
    every: usize,
    past: RefCell<Past>,
}

#[derive(Debug, Default)]
struct Past {
    tried: Vec<u32>,
    spared: Vec<u32>,
}

impl PastPriorities {
    /// Nothing was tried yet; after each `every` tries the priorities that they went to are spared.
    pub fn new(every: NonZeroU32) -> Self {
        Self { every: every.get() as usize, past: RefCell::default() }
    }

    /// A try went to this priority.
    pub fn tried(&self, priority: u32) {
        self.past.borrow_mut().tried.push(priority);
    }

    /// What `find` finds for the priorities to be spared now; none if there are none yet. When it finds nothing, all have
    /// been tried, and it begins anew.
    pub fn spare<T>(&self, find: impl Fn(&[u32]) -> Option<T>) -> Option<T> {
        let mut past = self.past.borrow_mut();
        let Past { tried, spared } = &mut *past;
        if tried.len() < self.every {
            return None;
        }
        if tried.len().is_multiple_of(self.every) {
            spared.extend(tried.iter());
        }
        let found = find(spared);
        if found.is_none() {
            *past = Past::default();
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(total: u64, healthy: u64, degraded: u64) -> Count {
        Count { total, healthy, degraded }
    }

    /// The share in percent of each priority's tiers, panic shown as `P`.
    fn shares(loads: &Loads) -> Vec<String> {
        let mut seen = std::collections::BTreeMap::new();
        for draw in 0..100 {
            if let Some(key) = loads.pick(draw) {
                *seen.entry(format!("{}{:?}", key.0, key.1)).or_insert(0) += 1;
            }
        }
        seen.iter().map(|(key, share)| format!("{key} {share}")).collect()
    }

    fn filled(counts: &[Count]) -> Vec<Filled> {
        counts.iter().map(|count| Filled { number: *count, weight: *count }).collect()
    }

    fn check(counts: &[Count], expected: &[&str]) {
        assert_eq!(shares(&Loads::new(&filled(counts), Spread::default(), 50)), expected, "{counts:?}");
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
        let check_below = |counts: &[Count], panic_percent, expected: &[&str]| {
            assert_eq!(shares(&Loads::new(&filled(counts), Spread::default(), panic_percent)), expected, "{counts:?}");
        };
        check_below(&[count(4, 1, 0)], 0, &["0Healthy 100"]);
        check_below(&[count(4, 0, 0)], 0, &[]);
        check_below(&[count(4, 0, 0), count(4, 1, 0)], 0, &["1Healthy 100"]);
        check_below(&[count(4, 1, 0)], 25, &["0Healthy 100"]);
        check_below(&[count(4, 1, 0)], 26, &["0Panic 100"]);
        check_below(&[count(4, 3, 0)], 100, &["0Healthy 100"]);
        check_below(&[count(4, 2, 0)], 100, &["0Panic 100"]);
    }

    #[test]
    fn other_factors() {
        let counts = [count(100, 50, 20), count(100, 100, 0)];
        assert_eq!(
            shares(&Loads::new(&filled(&counts[..1]), Spread { overprovisioning: 100, weighted: false }, 50)),
            ["0Degraded 28", "0Healthy 72"]
        );
        for (overprovisioning, expected) in [
            (140, vec!["0Healthy 70", "1Healthy 30"]),
            (100, vec!["0Healthy 50", "1Healthy 50"]),
            (200, vec!["0Healthy 100"]),
        ] {
            let spread = Spread { overprovisioning, weighted: false };
            assert_eq!(shares(&Loads::new(&filled(&counts), spread, 50)), expected, "{overprovisioning}");
        }
    }

    #[test]
    fn shares_by_weight() {
        let filled = [
            Filled { number: count(2, 1, 0), weight: count(10, 1, 0) },
            Filled { number: count(1, 1, 0), weight: count(1, 1, 0) },
        ];
        let of = |weighted| shares(&Loads::new(&filled, Spread { overprovisioning: 140, weighted }, 50));
        assert_eq!(of(false), ["0Healthy 70", "1Healthy 30"]);
        assert_eq!(of(true), ["0Healthy 14", "1Healthy 86"]);
    }

    #[test]
    fn past_priorities_are_spared_until_none_is_left() {
        let filled = filled(&[count(2, 2, 0), count(2, 2, 0), count(2, 1, 0)]);
        let loads = Loads::new(&filled, Spread::default(), 50);
        let past = PastPriorities::new(NonZeroU32::new(2).unwrap());
        let now = || {
            let spared =
                past.spare(|spared| loads.sparing(&filled, Spread::default(), |at| spared.contains(&(at as u32))));
            shares(spared.as_ref().unwrap_or(&loads)).join(", ")
        };
        assert_eq!(now(), "0Healthy 100");
        for (tried, expected) in [
            (0, "0Healthy 100"),
            (0, "1Healthy 100"),
            (1, "1Healthy 100"),
            // 70 % of the last one are all that there is.
            (1, "2Healthy 100"),
            (2, "2Healthy 100"),
            (2, "0Healthy 100"),
            (0, "0Healthy 100"),
            (0, "1Healthy 100"),
        ] {
            past.tried(tried);
            assert_eq!(now(), expected, "after {tried}");
        }
    }
}
