//! What responses are told of limits in the fields that the IETF's draft has (`draft-ietf-httpapi-ratelimit-headers`, as of
//! its version 07): `ratelimit-limit`, `ratelimit-remaining` and `ratelimit-reset`.
//!
//! They are single values: of several limits that one is told of which least is left.

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::bucket::TokenBucket;
use crate::told::append;

/// How many requests pass in the window.
pub(crate) const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
/// How many still do.
pub(crate) const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
/// In how many seconds there are more.
pub(crate) const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// What is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    /// How many requests pass in all.
    pub limit: u64,
    /// How many still do.
    pub remaining: u64,
    /// In how many seconds there are more.
    pub reset: u64,
}

impl Left {
    /// What is left in a bucket.
    pub fn of_bucket(bucket: &TokenBucket, now: Instant) -> Self {
        Self { limit: bucket.max(), remaining: bucket.left(now), reset: bucket.next_token(now) }
    }

    fn of(headers: &HeaderMap) -> Option<Self> {
        let number = |name| headers.get(name)?.to_str().ok()?.parse().ok();
        Some(Self { limit: number(&LIMIT)?, remaining: number(&REMAINING)?, reset: number(&RESET)? })
    }
}

/// Tells a response what is left, unless it is told already of a limit of which as little is left, or less.
pub(crate) fn tell(headers: &mut HeaderMap, left: &Left) {
    let tighter =
        |told: Left| (told.remaining, std::cmp::Reverse(told.reset)) <= (left.remaining, std::cmp::Reverse(left.reset));
    if Left::of(headers).is_some_and(tighter) {
        return;
    }
    for (name, value) in [(LIMIT, left.limit), (REMAINING, left.remaining), (RESET, left.reset)] {
        headers.insert(name, HeaderValue::from(value));
    }
}

/// Adds headers to those that are there; of the fields of the draft the ones of one limit are left.
pub(crate) fn merge(to: &mut HeaderMap, mut headers: HeaderMap) {
    if let Some(left) = Left::of(&headers) {
        [LIMIT, REMAINING, RESET].iter().for_each(|name| _ = headers.remove(name));
        tell(to, &left);
    }
    append(to, headers);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_which_least_is_left_is_told() {
        let left = |limit, remaining, reset| Left { limit, remaining, reset };
        for (told, expected) in [
            (vec![left(10, 9, 1)], left(10, 9, 1)),
            (vec![left(10, 9, 1), left(5, 2, 60)], left(5, 2, 60)),
            (vec![left(5, 2, 60), left(10, 9, 1)], left(5, 2, 60)),
            (vec![left(5, 0, 1), left(10, 0, 60)], left(10, 0, 60)),
            (vec![left(10, 0, 60), left(5, 0, 1)], left(10, 0, 60)),
        ] {
            let (mut one_by_one, mut merged) = (HeaderMap::new(), HeaderMap::new());
            for one in &told {
                tell(&mut one_by_one, one);
                let mut headers = HeaderMap::new();
                tell(&mut headers, one);
                headers.insert("x-other", HeaderValue::from_static("1"));
                merge(&mut merged, headers);
            }
            assert_eq!((Left::of(&one_by_one), Left::of(&merged)), (Some(expected), Some(expected)), "{told:?}");
            assert_eq!(merged.get_all("x-other").iter().count(), told.len());
        }
    }
}
