//! Counts in a Redis, which several control planes share.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};

use super::windows::Counter;

/// Who is asked about a request waits no longer for a count.
const TIMEOUT: Duration = Duration::from_millis(500);
/// Keys of ours begin so.
const PREFIX: &str = "halcyon:ratelimit:";

/// Counts in a Redis. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shared(ConnectionManager);

impl Shared {
    /// The Redis at a URL, which need not be there yet.
    ///
    /// # Errors
    /// The URL is none of a Redis.
    pub fn new(url: &str) -> redis::RedisResult<Self> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT))
            .set_number_of_retries(1);
        ConnectionManager::new_lazy_with_config(redis::Client::open(url)?, config).map(Self)
    }

    /// Adds to counts, and says how they are then. A count goes when its window is over.
    ///
    /// # Errors
    /// The Redis does not answer in time.
    pub async fn add(&self, counters: impl Iterator<Item = &Counter>) -> redis::RedisResult<Vec<u64>> {
        let mut all = redis::pipe();
        let mut is_empty = true;
        for counter in counters {
            is_empty = false;
            let key = format!("{PREFIX}{}", counter.key);
            all.incr(&key, counter.hits).expire(&key, counter.window.seconds() as i64).ignore();
        }
        if is_empty {
            return Ok(Vec::new());
        }
        let mut connection = self.0.clone();
        let answer = tokio::time::timeout(TIMEOUT, all.query_async(&mut connection)).await;
        answer.unwrap_or_else(|_| Err(redis::RedisError::from((redis::ErrorKind::Io, "no answer in time"))))
    }
}

#[cfg(test)]
mod tests;
