//! What responses are told of limits, once they are there.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Response};
use mesh_http::Body;
use tokio::time::Instant;

use crate::bucket::TokenBucket;
use crate::chain::Facts;

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
    pub buckets: Vec<Arc<TokenBucket>>,
    /// Headers to add.
    pub headers: HeaderMap,
}

impl Facts<'_> {
    /// Tells a response what was left for it.
    pub(crate) fn tell(&mut self, response: &mut Response<Body>) {
        let Some(left) = &mut self.left else { return };
        let Told { buckets, headers } = std::mem::take(&mut left.told);
        append(response.headers_mut(), headers);
        let now = Instant::now();
        for bucket in buckets {
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
