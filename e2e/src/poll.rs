//! Waiting for a condition, bounded.

use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{Instant, sleep};

const EVERY: Duration = Duration::from_millis(50);

/// Asks until there is an answer. What was asked last and failed is in the error.
pub async fn until<T>(what: &str, within: Duration, mut ask: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + within;
    let mut last = "it was not asked yet".to_owned();
    loop {
        match tokio::time::timeout_at(end, ask()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => last = format!("{error:#}"),
            Err(_) => {}
        }
        if Instant::now() + EVERY >= end {
            return Err(anyhow!("{what}: not within {} s; last: {last}", within.as_secs_f64()));
        }
        sleep(EVERY).await;
    }
}
