//! What responses are told of limits, once they are there.

use std::sync::Arc;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use mesh_http::Body;
use tokio::time::Instant;

use crate::bucket::TokenBucket;
use crate::chain::Facts;
use crate::standard;

/// `x-ratelimit-limit`
pub(crate) const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
/// `x-ratelimit-remaining`
pub(crate) const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
/// `x-ratelimit-reset`
pub(crate) const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// What filters of rate limits leave for the response.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Buckets, of which it tells what is left then.
    pub buckets: Vec<ToldBucket>,
    /// Headers to add.
    pub headers: HeaderMap,
}

/// A bucket that is told of.
#[derive(Debug)]
pub(crate) struct ToldBucket {
    /// The bucket.
    pub bucket: Arc<TokenBucket>,
    /// In the fields of the IETF's draft too.
    pub standard: bool,
}

impl Facts<'_> {
    /// Tells a response what was left for it.
    pub(crate) fn tell(&mut self, response: &mut Response<Body>) {
        let Some(left) = &mut self.left else { return };
        let Told { buckets, headers } = std::mem::take(&mut left.told);
        standard::merge(response.headers_mut(), headers);
        let now = Instant::now();
        for ToldBucket { bucket, standard } in buckets {
            if standard {
                standard::tell(response.headers_mut(), &standard::Left::of_bucket(&bucket, now));
            }
            for (name, value) in [(LIMIT, bucket.max()), (REMAINING, bucket.left(now)), (RESET, bucket.next_token(now))]
            {
                response.headers_mut().append(name, HeaderValue::from(value));
            }
        }
    }
}

/// Adds headers to those that are there.
pub(crate) fn append(to: &mut HeaderMap, headers: HeaderMap) {
    let mut last = None;
    for (name, value) in headers {
        // A further value of the same header comes without its name.
        last = name.or(last);
        if let Some(name) = &last {
            to.append(name, value);
        }
    }
}

/// When to try again, in seconds, of which there is at least one; what is said already stays.
pub(crate) fn retry_after(headers: &mut HeaderMap, seconds: Option<u64>) {
    if let Some(seconds) = seconds {
        headers.entry(RETRY_AFTER).or_insert(HeaderValue::from(seconds.max(1)));
    }
}

/// Which limit of ours refuses a request, in words.
pub(crate) fn words(limit: &str, seconds: Option<u64>) -> Box<str> {
    let mut parts = limit.splitn(3, '/');
    let (namespace, policy, name) = (parts.next(), parts.next(), parts.next());
    let limit = match (namespace, policy, name) {
        (Some(namespace), Some(policy), Some(name)) => {
            format!("the limit `{name}` of the RateLimitPolicy `{namespace}/{policy}` is reached")
        }
        _ => format!("the limit `{limit}` is reached"),
    };
    match seconds {
        Some(seconds) => format!("{limit}; the next request passes in {} s", seconds.max(1)).into(),
        None => limit.into(),
    }
}
