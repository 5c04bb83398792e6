//! Requests at a constant rate while something is done to the mesh, each with its beginning and end, so that a failure
//! can be held against the moment of what was done.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Result, bail};
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::bookinfo::{Page, REVIEWS, Seen, seen};
use crate::web::{Connection, Door};

/// One request.
#[derive(Debug)]
pub struct Sample {
    /// When it was sent.
    pub begun: Instant,
    /// When it was over.
    pub ended: Instant,
    /// Why it failed.
    pub fault: Option<String>,
}

impl Sample {
    /// Was it under way between these two moments, if only for a part?
    pub fn overlaps(&self, from: Instant, to: Instant) -> bool {
        self.begun <= to && self.ended >= from
    }
}

/// Every tenth request is for the whole page, the others for the reviews alone.
const WHOLE_PAGE: u64 = 10;

/// Sends `rate` requests per second, whether or not the mesh keeps up, until `during` is over; then waits for those
/// under way.
pub async fn load<T>(
    gateway: impl Into<Door>,
    rate: u32,
    during: impl Future<Output = Result<T>>,
) -> Result<(Vec<Sample>, T)> {
    let gateway = gateway.into();
    let idle = RefCell::new(Vec::new());
    let (mut running, mut samples, mut sent) = (FuturesUnordered::new(), Vec::new(), 0u64);
    let mut ticks = interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut during = std::pin::pin!(during);
    let result = loop {
        tokio::select! {
            biased;
            result = &mut during => break result?,
            _ = ticks.tick() => {
                sent += 1;
                running.push(request(&gateway, &idle, sent.is_multiple_of(WHOLE_PAGE)));
            }
            Some(sample) = running.next(), if !running.is_empty() => samples.push(sample),
        }
    };
    while let Some(sample) = running.next().await {
        samples.push(sample);
    }
    Ok((samples, result))
}

/// So many requests at once, each on a connection of its own.
pub async fn burst(gateway: impl Into<Door>, count: usize) -> Vec<Sample> {
    let (gateway, idle) = (gateway.into(), RefCell::default());
    join_all((0..count).map(|_| request(&gateway, &idle, false))).await
}

async fn request(gateway: &Door, idle: &RefCell<Vec<Connection>>, whole_page: bool) -> Sample {
    let begun = Instant::now();
    let fault = exchange(gateway, idle, whole_page).await.err().map(|error| format!("{error:#}"));
    Sample { begun, ended: Instant::now(), fault }
}

async fn exchange(gateway: &Door, idle: &RefCell<Vec<Connection>>, whole_page: bool) -> Result<()> {
    let mut connection = kept_or_new(gateway, idle).await?;
    let path = if whole_page { "/productpage" } else { REVIEWS };
    let answer = connection.get(path, &[]).await?;
    let reviews = if whole_page {
        let page = Page::read(&answer.text(), answer.took);
        if answer.status == 200 && !page.details {
            bail!("{path}: no details");
        }
        page.reviews
    } else {
        seen(&answer)
    };
    if answer.status != 200 || !matches!(reviews, Seen::V1 | Seen::V2 | Seen::V3) {
        let text = answer.text();
        let why = text.split("class=\"failure\"").nth(1).unwrap_or(&text);
        bail!("{path}: status {}, reviews {reviews}: {}", answer.status, why.chars().take(300).collect::<String>());
    }
    idle.borrow_mut().push(connection);
    Ok(())
}

/// A connection that the gateway said it would close is not used again.
async fn kept_or_new(gateway: &Door, idle: &RefCell<Vec<Connection>>) -> Result<Connection> {
    loop {
        let held = idle.borrow_mut().pop();
        match held {
            Some(mut connection) => {
                if connection.is_open().await {
                    return Ok(connection);
                }
            }
            None => return Connection::open(gateway.clone()).await,
        }
    }
}

/// Nothing failed, and as much was sent as was meant to be.
pub fn all_good(samples: &[Sample], at_least: usize) -> Result<()> {
    none_failed_but(samples, |_| false)?;
    if samples.len() < at_least {
        bail!("only {} requests were sent; expected {at_least} at least", samples.len());
    }
    Ok(())
}

/// Nothing failed but what is excused.
pub fn none_failed_but(samples: &[Sample], excused: impl Fn(&Sample) -> bool) -> Result<()> {
    let first = samples.first().map(|s| s.begun);
    let failed: Vec<_> = samples.iter().filter(|s| s.fault.is_some() && !excused(s)).collect();
    if failed.is_empty() {
        return Ok(());
    }
    let line = |s: &&Sample| {
        let at = first.map_or(0.0, |first| s.begun.duration_since(first).as_secs_f64());
        let took = s.ended.duration_since(s.begun).as_secs_f64();
        format!("\n  at {at:.3} s, for {took:.3} s: {}", s.fault.as_deref().unwrap_or_default())
    };
    let shown: String = failed.iter().take(5).map(line).collect();
    bail!("{} of {} requests failed{shown}", failed.len(), samples.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn excuses() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let sample = |begun, ended, fault: Option<&str>| Sample {
            begun: at(begun),
            ended: at(ended),
            fault: fault.map(Into::into),
        };
        let samples = [sample(0, 5, None), sample(10, 30, Some("reset")), sample(40, 41, None)];
        assert!(none_failed_but(&samples, |s| s.overlaps(at(20), at(21))).is_ok());
        assert!(none_failed_but(&samples, |s| s.overlaps(at(31), at(39))).is_err());
        assert!(all_good(&samples, 1).is_err());
        assert!(all_good(&samples[..1], 1).is_ok());
        assert!(all_good(&samples[..1], 2).is_err());
    }
}
