//! What is counted for a question, and what the counts say: windows of time that all begin at whole multiples of their
//! length since 1970 (UTC), as those of Envoy's own rate limit service.

use std::collections::BTreeSet;

use api::halcyon::Window;
use sha2::{Digest, Sha256};

use super::limits::{Found, Limit, Tree, escaped};

/// A descriptor as it is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Keys and values.
    pub entries: Vec<(String, String)>,
    /// For how many requests it counts.
    pub hits: u64,
    /// A limit that the proxy itself says, in place of those of the domain.
    pub own: Option<(u32, Window)>,
}

/// What is to be counted, descriptor by descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan(Vec<Option<Row>>);

/// A descriptor that falls under a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    limit: Limit,
    counter: Option<Counter>,
}

/// A count and what is added to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// Names the limit, the values and the window.
    pub key: String,
    /// How much is added.
    pub hits: u64,
    /// When the window ends, in seconds since 1970.
    pub ends: u64,
    /// How long the window is.
    pub window: Window,
}

/// What a descriptor comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// It is one too many, and to be refused.
    pub over: bool,
    /// It would be, but the limit refuses nobody.
    pub shadowed: bool,
    /// The limit, as it is told; none: there is none.
    pub told: Option<Told>,
}

/// What is told of a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its name.
    pub name: String,
    /// How many requests pass, and in which time; none: all.
    pub rate: Option<(u32, Window)>,
    /// How many still do.
    pub remaining: u32,
    /// In how many seconds the window ends.
    pub reset: u64,
    /// Headers say nothing of it.
    pub quiet: bool,
}

impl Plan {
    /// What these descriptors count for at a time, in seconds since 1970.
    pub fn new(domain: &str, tree: &Tree, asked: &[Asked], now: u64) -> Self {
        let found: Vec<Option<(Limit, String)>> = asked.iter().map(|one| limit(tree, one)).collect();
        let replaced: BTreeSet<String> = found.iter().flatten().flat_map(|(limit, _)| limit.replaces.clone()).collect();
        let rows = found.into_iter().zip(asked).map(|(found, asked)| {
            let (limit, key) = found?;
            if !limit.name.is_empty() && replaced.contains(&limit.name) {
                return None;
            }
            let counter = limit.rate.map(|(_, window)| {
                let begin = now - now % window.seconds();
                Counter {
                    key: format!("{}|{}@{begin}+{}", escaped(domain), digest(&key), window.seconds()),
                    hits: asked.hits,
                    ends: begin + window.seconds(),
                    window,
                }
            });
            Some(Row { limit, counter })
        });
        Self(rows.collect())
    }

    /// What has to be counted.
    pub fn counters(&self) -> impl Iterator<Item = &Counter> {
        self.0.iter().flatten().filter_map(|row| row.counter.as_ref())
    }

    /// What the descriptors come to; `counts` are those of [`Plan::counters`], after what was added.
    pub fn statuses(self, counts: &[u64], now: u64) -> Vec<Status> {
        let mut counts = counts.iter().copied();
        let status = |row: Option<Row>| {
            let Some(Row { limit, counter }) = row else { return Status { over: false, shadowed: false, told: None } };
            let (count, reset) = match &counter {
                Some(counter) => (counts.next().unwrap_or(u64::MAX), counter.ends.saturating_sub(now)),
                None => (0, 0),
            };
            let most = limit.rate.map_or(u32::MAX, |(requests, _)| requests);
            let over = limit.rate.is_some() && count > u64::from(most);
            let remaining = u64::from(most).saturating_sub(count);
            let remaining = u32::try_from(remaining).unwrap_or(u32::MAX);
            let told = Told { name: limit.name, rate: limit.rate, remaining, reset, quiet: limit.quiet };
            Status { over: over && !limit.shadow, shadowed: over && limit.shadow, told: Some(told) }
        };
        self.0.into_iter().map(status).collect()
    }
}

/// Values may be secrets, such as keys of an API, and counts are written down: values are not.
fn digest(key: &str) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(key.as_bytes()))
}

/// The limit of a descriptor, and under what it is counted.
fn limit(tree: &Tree, asked: &Asked) -> Option<(Limit, String)> {
    if let Some(rate) = asked.own {
        let parts = asked.entries.iter().map(|(key, value)| format!("|{}={}", escaped(key), escaped(value)));
        let limit = Limit { rate: Some(rate), name: String::new(), replaces: Vec::new(), shadow: false, quiet: false };
        return Some((limit, parts.collect()));
    }
    tree.find(&asked.entries).map(|Found { limit, key }| (limit.clone(), key))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use api::halcyon::LimitFile;

    use super::*;

    const DAY: u64 = 86_400;
    /// The begin of a day, and of a week.
    const START: u64 = 20_006 * DAY;

    fn asked(entries: &str) -> Asked {
        let (entries, hits) = entries.split_once('*').unwrap_or((entries, "1"));
        let pairs = entries.split('&').map(|pair| pair.split_once('=').unwrap());
        let entries = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Asked { entries, hits: hits.parse().unwrap(), own: None }
    }

    /// A service with simulated time.
    struct Simulated {
        tree: Tree,
        counts: BTreeMap<String, u64>,
    }

    impl Simulated {
        fn new(descriptors: &str) -> Self {
            let file = LimitFile::read("f", &format!("domain: d\ndescriptors:\n{descriptors}")).unwrap();
            Self { tree: Tree::of_file(&file), counts: BTreeMap::new() }
        }

        fn ask(&mut self, asked: &[Asked], now: u64) -> Vec<Status> {
            let plan = Plan::new("d", &self.tree, asked, now);
            let counts: Vec<u64> = plan
                .counters()
                .map(|counter| {
                    let count = self.counts.entry(counter.key.clone()).or_default();
                    *count += counter.hits;
                    *count
                })
                .collect();
            plan.statuses(&counts, now)
        }

        /// `ok 3 57` or `over 0 57` for each descriptor: what is left, and for how long.
        fn shown(&mut self, questions: &str, now: u64) -> String {
            let all: Vec<Asked> = questions.split(' ').map(asked).collect();
            let show = |status: Status| {
                let word = match (status.over, status.shadowed) {
                    (true, _) => "over",
                    (_, true) => "shadow",
                    _ => "ok",
                };
                match status.told {
                    Some(told) => format!("{word} {} {}", told.remaining, told.reset),
                    None => format!("{word} -"),
                }
            };
            self.ask(&all, now).into_iter().map(show).collect::<Vec<_>>().join(", ")
        }
    }

    #[test]
    fn windows_and_what_is_left() {
        let mut service = Simulated::new(
            "- {key: s, rate_limit: {unit: second, requests_per_unit: 1}}\n\
             - {key: m, rate_limit: {unit: minute, requests_per_unit: 2}}\n\
             - {key: d, rate_limit: {unit: day, requests_per_unit: 3}}\n\
             - {key: none, rate_limit: {unit: hour, requests_per_unit: 0}}\n\
             - {key: free, rate_limit: {unlimited: true}}\n\
             - {key: tried, shadow_mode: true, rate_limit: {unit: minute, requests_per_unit: 1}}\n",
        );
        for (at, question, expected) in [
            (0, "s=1", "ok 0 1"),
            (0, "s=1", "over 0 1"),
            (1, "s=1", "ok 0 1"),
            (1, "s=2", "ok 0 1"),
            (5, "m=1", "ok 1 55"),
            (6, "m=1*2", "over 0 54"),
            (7, "m=1", "over 0 53"),
            (59, "m=2*0", "ok 2 1"),
            (60, "m=1*2", "ok 0 60"),
            (61, "m=1*0", "ok 0 59"),
            (DAY - 1, "d=1*3", "ok 0 1"),
            (DAY - 1, "d=1", "over 0 1"),
            (DAY, "d=1", "ok 2 86400"),
            (0, "none=1", "over 0 3600"),
            (0, "free=1", "ok 4294967295 0"),
            (0, "tried=1 tried=1", "ok 0 60, shadow 0 60"),
            (0, "other=1", "ok -"),
            (120, "m=1 s=1 other=1", "ok 1 60, ok 0 1, ok -"),
        ] {
            assert_eq!(service.shown(question, START + at), expected, "{question} at {at}");
        }
    }

    #[test]
    fn values_are_not_written_down() {
        let service = Simulated::new("- {key: k, rate_limit: {unit: day, requests_per_unit: 1}}\n");
        let key = |value: &str| {
            let plan = Plan::new("d", &service.tree, &[asked(&format!("k={value}"))], START);
            plan.counters().map(|counter| counter.key.clone()).collect::<String>()
        };
        assert!(!key("secret").contains("secret") && key("secret").starts_with("d|"), "{}", key("secret"));
        assert_ne!(key("secret"), key("other"));
    }

    #[test]
    fn limits_that_replace_others() {
        let mut service = Simulated::new(
            "- {key: a, rate_limit: {unit: day, requests_per_unit: 0, name: all}}\n\
             - {key: b, rate_limit: {unit: day, requests_per_unit: 5, name: paying, replaces: [{name: all}]}}\n",
        );
        assert_eq!(service.shown("a=1", START), "over 0 86400");
        assert_eq!(service.shown("a=1 b=1", START), "ok -, ok 4 86400");
    }

    #[test]
    fn a_limit_that_the_proxy_says() {
        let mut service = Simulated::new("- {key: a, rate_limit: {unit: day, requests_per_unit: 0}}\n");
        let own = Asked { own: Some((1, Window::Minute)), ..asked("a=1") };
        let over = |statuses: Vec<Status>| statuses[0].over;
        assert!(!over(service.ask(std::slice::from_ref(&own), START)));
        assert!(over(service.ask(&[own], START)));
    }

    /// Whatever comes when: in no window more pass than the limit says, and what is over it is refused.
    #[test]
    fn no_more_pass_than_a_window_takes() {
        let mut service = Simulated::new("- {key: u, rate_limit: {unit: minute, requests_per_unit: 7}}\n");
        let mut draw = 1u64;
        let mut passed: BTreeMap<(u64, u64), (u64, u64)> = BTreeMap::new();
        let mut now = START;
        for _ in 0..5000 {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            now += (draw >> 33) % 9;
            let user = (draw >> 20) % 3;
            let statuses = service.ask(&[asked(&format!("u={user}"))], now);
            let counts = passed.entry((now / 60, user)).or_default();
            counts.0 += 1;
            counts.1 += u64::from(!statuses[0].over);
        }
        for ((window, user), (asked, passed)) in passed {
            assert_eq!(passed, asked.min(7), "user {user} in window {window}");
        }
    }
}
