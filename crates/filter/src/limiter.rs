//! The buckets of limits that are kept here, and which of them a request takes from.
//!
//! Buckets are shared by all workers without a lock. Only descriptors that take any value have one, around the values
//! that came last.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use model::rate_limit::{Descriptor, LocalDescriptor, LocalRateLimit};
use tokio::time::Instant;

use crate::bucket::TokenBucket;

/// The buckets of one set of limits.
#[derive(Debug)]
pub struct Limiter {
    /// For requests that no descriptor fits, and for all if they always count.
    general: Option<Arc<TokenBucket>>,
    always_counts: bool,
    fixed: HashMap<Vec<(String, String)>, Arc<TokenBucket>>,
    open: Vec<Open>,
}

/// Is a request one too many, and what decided that?
#[derive(Debug)]
pub struct Verdict {
    /// It is not.
    pub allowed: bool,
    /// The bucket that is told of.
    pub bucket: Option<Arc<TokenBucket>>,
    /// Is it told of? None: as the filter says.
    pub told: Option<bool>,
}

impl Limiter {
    /// Full buckets.
    pub fn new(limits: &LocalRateLimit, now: Instant) -> Self {
        let (open, fixed): (Vec<&LocalDescriptor>, Vec<_>) = limits.descriptors.iter().partition(|one| one.takes_any());
        let bucket = |one: &LocalDescriptor| (one.entries.clone(), Arc::new(TokenBucket::new(&one.fill, now)));
        Self {
            general: limits.fill.as_ref().map(|fill| Arc::new(TokenBucket::new(fill, now))),
            always_counts: limits.always_counts,
            fixed: fixed.into_iter().map(bucket).collect(),
            open: open.into_iter().map(|one| Open::new(one.clone(), limits.max_values)).collect(),
        }
    }

    /// Takes what a request with these descriptors takes: first where least comes back, so that what is refused there
    /// takes nothing elsewhere.
    pub fn decide(&self, descriptors: &[Descriptor], now: Instant) -> Verdict {
        let fits = |descriptor| Some((self.find(descriptor, now)?, descriptor));
        let mut found: Vec<(Arc<TokenBucket>, &Descriptor)> = descriptors.iter().filter_map(fits).collect();
        found.sort_by(|(one, _), (other, _)| one.rate().total_cmp(&other.rate()));
        for (bucket, descriptor) in &found {
            if !bucket.take(descriptor.hits.unwrap_or(1), now) {
                return Verdict { allowed: false, bucket: Some(bucket.clone()), told: descriptor.tells_limits };
            }
        }
        let first = found.into_iter().next();
        if let Some(general) = self.general.as_ref().filter(|_| first.is_none() || self.always_counts)
            && !general.take(1, now)
        {
            return Verdict { allowed: false, bucket: Some(general.clone()), told: None };
        }
        match first {
            Some((bucket, descriptor)) => {
                Verdict { allowed: true, bucket: Some(bucket), told: descriptor.tells_limits }
            }
            None => Verdict { allowed: true, bucket: self.general.clone(), told: None },
        }
    }

    fn find(&self, descriptor: &Descriptor, now: Instant) -> Option<Arc<TokenBucket>> {
        let entries = &descriptor.entries;
        let fixed = self.fixed.get(entries).cloned();
        fixed.or_else(|| self.open.iter().find(|open| open.descriptor.fits(entries)).map(|open| open.of(entries, now)))
    }
}

/// A descriptor that takes any value of some key; each value has a bucket of its own.
#[derive(Debug)]
struct Open {
    descriptor: LocalDescriptor,
    most: usize,
    values: Mutex<Values>,
}

type Entries = Arc<[(String, String)]>;

/// The values that came last.
#[derive(Debug, Default)]
struct Values {
    buckets: HashMap<Entries, (Arc<TokenBucket>, u64)>,
    /// Who came when.
    order: BTreeMap<u64, Entries>,
    turn: u64,
}

impl Open {
    fn new(descriptor: LocalDescriptor, most: u32) -> Self {
        Self { descriptor, most: most as usize, values: Mutex::default() }
    }

    fn of(&self, entries: &[(String, String)], now: Instant) -> Arc<TokenBucket> {
        // Nothing in there panics; and if it did, the values would still be some that came.
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let Values { buckets, order, turn } = &mut *values;
        *turn += 1;
        if let Some((bucket, last)) = buckets.get_mut(entries) {
            let key = order.remove(&std::mem::replace(last, *turn));
            order.extend(key.map(|key| (*turn, key)));
            return bucket.clone();
        }
        let (key, bucket) = (Entries::from(entries), Arc::new(TokenBucket::new(&self.descriptor.fill, now)));
        buckets.insert(key.clone(), (bucket.clone(), *turn));
        order.insert(*turn, key);
        if buckets.len() > self.most
            && let Some((_, oldest)) = order.pop_first()
        {
            buckets.remove(&oldest);
        }
        bucket
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::rate_limit::Fill;

    use super::*;

    fn fill(max: u32, per_second: u32) -> Fill {
        Fill { max, per_interval: per_second, interval: Duration::from_secs(1) }
    }

    fn entries(text: &str) -> Vec<(String, String)> {
        let pairs = text.split_terminator(' ').map(|pair| pair.split_once('=').expect("key=value"));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    fn limits(general: Option<Fill>, descriptors: &[(&str, Fill)]) -> LocalRateLimit {
        let descriptor = |(text, fill): &(&str, Fill)| LocalDescriptor { entries: entries(text), fill: *fill };
        LocalRateLimit {
            descriptors: descriptors.iter().map(descriptor).collect(),
            ..LocalRateLimit::new("x", general)
        }
    }

    /// What becomes of requests that are known by descriptors, separated by commas; `+` for each that is allowed.
    fn run(limits: &LocalRateLimit, requests: &[&str]) -> String {
        let now = Instant::now();
        let limiter = Limiter::new(limits, now);
        let one = |request: &&str| {
            let descriptors = request.split_terminator(',').map(|text| Descriptor {
                entries: entries(text),
                hits: text.starts_with("two=").then_some(2),
                ..Descriptor::default()
            });
            if limiter.decide(&descriptors.collect::<Vec<_>>(), now).allowed { '+' } else { '-' }
        };
        requests.iter().map(one).collect()
    }

    #[test]
    fn who_takes_where() {
        let strict = ("a=1", fill(1, 1));
        let wide = ("b=1", fill(9, 9));
        let never = |limits: LocalRateLimit| LocalRateLimit { always_counts: false, ..limits };
        for (name, limits, requests, expected) in [
            ("no limit", limits(None, &[]), &["", "", "a=1"][..], "+++"),
            ("the general one", limits(Some(fill(2, 1)), &[strict]), &["", "c=1", ""], "++-"),
            ("its own, and the general one", limits(Some(fill(2, 1)), &[strict]), &["a=1", "a=1", "", ""], "+-+-"),
            ("its own alone", never(limits(Some(fill(1, 1)), &[wide])), &["b=1", "b=1", "", ""], "+++-"),
            ("its own, no other", limits(None, &[strict]), &["a=1", "a=1", "", "a=2"], "+-++"),
            (
                "the strictest first",
                never(limits(Some(fill(0, 1)), &[("b=1", fill(2, 9)), strict])),
                &["b=1,a=1", "b=1,a=1", "b=1", "b=1"],
                "+-+-",
            ),
            ("several hits", limits(None, &[("two=1", fill(3, 1))]), &["two=1", "two=1"], "+-"),
            ("nothing at all", limits(Some(fill(0, 1)), &[]), &[""], "-"),
            (
                "any value has its own",
                limits(None, &[("u=", fill(1, 1)), ("u=vip", fill(2, 1))]),
                &["u=a", "u=b", "u=a", "u=b", "u=vip", "u=vip", "u=vip"],
                "++--++-",
            ),
        ] {
            assert_eq!(run(&limits, requests), expected, "{name}");
        }
    }

    #[test]
    fn the_values_that_came_last_are_kept() {
        let limits = LocalRateLimit { max_values: 2, ..limits(None, &[("u=", fill(1, 1))]) };
        // b was asked for longest ago when c comes.
        assert_eq!(run(&limits, &["u=a", "u=b", "u=a", "u=c", "u=a", "u=b"]), "++-+-+");
    }

    #[test]
    fn what_is_told() {
        let (now, limits) = (Instant::now(), limits(Some(fill(5, 1)), &[("a=1", fill(2, 1))]));
        let limiter = Limiter::new(&limits, now);
        let told = |text: &str| {
            let descriptor = Descriptor { entries: entries(text), tells_limits: Some(true), ..Descriptor::default() };
            let verdict = limiter.decide(&[descriptor], now);
            let bucket = verdict.bucket.expect("a bucket");
            (verdict.allowed, verdict.told, bucket.max(), bucket.left(now))
        };
        assert_eq!(told("a=1"), (true, Some(true), 2, 1));
        assert_eq!(told("b=1"), (true, None, 5, 3));
        assert_eq!(told("a=1"), (true, Some(true), 2, 0));
        assert_eq!(told("a=1"), (false, Some(true), 2, 0));
    }
}
