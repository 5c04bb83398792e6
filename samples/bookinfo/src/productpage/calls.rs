//! The calls of productpage and their counter. One of them carries the deliberate mistake of the fault-injection exercise.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::options::{Options, Role};
use crate::outgoing::{Destination, Outgoing};

/// Each attempt's time limit. Two of them for reviews make 6 s, less than the 10 s that reviews v2 grants ratings:
/// a slow ratings service makes the reviews vanish from the page. That is the mistake to be found.
const LIMIT: Duration = Duration::from_secs(3);
const REVIEWS_ATTEMPTS: u32 = 2;
/// Flood calls under way at once; the others wait, so that a flood cannot use up the file descriptors.
const FLOOD_WIDTH: usize = 256;

/// How a call ended.
#[derive(Debug)]
pub struct Outcome {
    /// The answer's status, or 500 when none came.
    pub status: StatusCode,
    /// The answer, or `{error}`.
    pub json: Value,
    /// How often it was tried.
    pub attempts: u32,
    /// How long it took in all.
    pub took: Duration,
}

/// Calls the three other services and counts how that went.
pub struct Calls {
    outgoing: Outgoing,
    details: Destination,
    reviews: Destination,
    ratings: Destination,
    flood_factor: u32,
    flood: Arc<Semaphore>,
    counts: Mutex<BTreeMap<(&'static str, u16), u64>>,
}

impl Calls {
    /// Calls where the options say.
    pub fn new(options: &Options, outgoing: Outgoing) -> Self {
        Self {
            outgoing,
            details: options.destination(Role::Details),
            reviews: options.destination(Role::Reviews),
            ratings: options.destination(Role::Ratings),
            flood_factor: options.flood_factor,
            flood: Arc::new(Semaphore::new(FLOOD_WIDTH)),
            counts: Mutex::default(),
        }
    }

    /// `GET /details/{id}`: one attempt of 3 s.
    pub async fn details(&self, id: u32, headers: &HeaderMap) -> Outcome {
        self.call("details", &self.details, id, headers, 1).await
    }

    /// `GET /reviews/{id}`: two attempts of 3 s each.
    pub async fn reviews(&self, id: u32, headers: &HeaderMap) -> Outcome {
        self.call("reviews", &self.reviews, id, headers, REVIEWS_ATTEMPTS).await
    }

    /// `GET /ratings/{id}`: one attempt of 3 s.
    pub async fn ratings(&self, id: u32, headers: &HeaderMap) -> Outcome {
        self.call("ratings", &self.ratings, id, headers, 1).await
    }

    /// Starts `FLOOD_FACTOR` more calls to reviews and forgets them.
    pub fn flood(&self, id: u32, headers: &HeaderMap) {
        for _ in 0..self.flood_factor {
            let (outgoing, to, headers, width) =
                (self.outgoing.clone(), self.reviews.clone(), headers.clone(), self.flood.clone());
            tokio::spawn(async move {
                let _slot = width.acquire_owned().await;
                // Neither the answer nor its absence matters: the load is the point.
                let _ = outgoing.get(&to, &format!("/reviews/{id}"), &headers, LIMIT).await;
            });
        }
    }

    /// The counter in Prometheus' text form.
    pub fn exposition(&self) -> String {
        let mut out = String::from(
            "# HELP request_result Results of the calls to the other services.\n# TYPE request_result counter\n",
        );
        for ((app, code), count) in &*self.counts.lock().expect("no panic under the lock") {
            let _ = writeln!(out, "request_result{{destination_app=\"{app}\",response_code=\"{code}\"}} {count}");
        }
        out
    }

    async fn call(&self, app: &'static str, to: &Destination, id: u32, headers: &HeaderMap, attempts: u32) -> Outcome {
        let began = Instant::now();
        let path = format!("/{app}/{id}");
        let mut attempt = 0;
        let (status, json) = loop {
            attempt += 1;
            let (status, json) = self.attempt(app, to, &path, headers).await;
            if status == StatusCode::OK || attempt == attempts {
                break (status, json);
            }
        };
        *self.counts.lock().expect("no panic under the lock").entry((app, status.as_u16())).or_default() += 1;
        Outcome { status, json, attempts: attempt, took: began.elapsed() }
    }

    async fn attempt(&self, app: &str, to: &Destination, path: &str, headers: &HeaderMap) -> (StatusCode, Value) {
        let failed = |status, why: String| (status, json!({ "error": why }));
        match self.outgoing.get(to, path, headers, LIMIT).await {
            Ok(reply) if reply.status == StatusCode::OK => match serde_json::from_slice(&reply.body) {
                Ok(json) => (StatusCode::OK, json),
                Err(_) => {
                    failed(StatusCode::INTERNAL_SERVER_ERROR, format!("{app} answered with something else than JSON"))
                }
            },
            Ok(reply) => failed(reply.status, format!("{app} answered with status {}", reply.status.as_u16())),
            Err(fault) => failed(StatusCode::INTERNAL_SERVER_ERROR, format!("{app} gave no answer: {fault}")),
        }
    }
}
