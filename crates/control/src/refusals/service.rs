//! The service on the wire.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use base::{Clock, SpiffeId};
use proto::envoy::service::accesslog::v3::access_log_service_server::AccessLogService;
use proto::envoy::service::accesslog::v3::stream_access_logs_message::{Identifier, LogEntries};
use proto::envoy::service::accesslog::v3::{StreamAccessLogsMessage, StreamAccessLogsResponse};
use telemetry::{Counter, Desc, Family, Gauge, Shard};
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::entry::{Sender, Told};
use super::ring::Ring;
use crate::guests::Tellers;
use crate::push::Proxies;

/// A message is no larger.
pub(crate) const MOST_MESSAGE_BYTES: usize = 4 << 20;
/// An identity may tell of so many a second; what is more is dropped and counted.
const PER_SECOND: f64 = 500.0;
/// After a silence, of so many at once.
const BURST: f64 = 2000.0;
/// So many identities are remembered with what they told lately.
const MOST_SENDERS: usize = 10_000;

/// What is counted of the service itself.
#[derive(Clone)]
pub(crate) struct Metrics {
    told: Family<Counter>,
    refused: Counter,
    kept: Gauge,
}

impl Metrics {
    /// Declares them.
    pub fn new(shard: &Shard) -> Result<Self, telemetry::DeclareError> {
        let told = "Entries of access logs that proxies sent, by what became of them: kept, passed_over or too_many.";
        let told = Desc::new("halcyon_refusals_told_total", told).labels(&["result"]);
        let refused = "Streams of access logs of callers that may not tell of anything.";
        let refused = Desc::new("halcyon_refusals_senders_refused_total", refused);
        let kept = Desc::new("halcyon_refusals_kept", "Refusals that are kept for `halcyon why`.");
        Ok(Self {
            told: shard.counters(told)?,
            refused: shard.counters(refused)?.with(&[]),
            kept: shard.gauges(kept)?.with(&[]),
        })
    }
}

/// How much a sender may still tell.
struct Allowance {
    left: f64,
    at: Instant,
}

/// Takes what proxies tell. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Refusals {
    ring: Ring,
    proxies: Proxies,
    clock: Clock,
    tellers: Tellers,
    metrics: Metrics,
    allowances: Arc<Mutex<HashMap<String, Allowance>>>,
}

impl Refusals {
    /// A service that keeps what it is told in a ring.
    pub fn new(ring: Ring, proxies: Proxies, clock: Clock, tellers: Tellers, metrics: Metrics) -> Self {
        Self { ring, proxies, clock, tellers, metrics, allowances: Arc::default() }
    }

    /// Who tells: what the certificate proves, and the connected proxy of that identity which it says it is.
    fn sender(&self, identity: &SpiffeId, identifier: Option<&Identifier>) -> Result<Arc<Sender>, Status> {
        let said = identifier.and_then(|it| it.node.as_ref()).map(|node| node.id.as_str()).unwrap_or_default();
        let (namespace, account) = match (identity.namespace(), identity.service_account()) {
            (Some(namespace), Some(account)) => (namespace.to_owned(), account.to_owned()),
            _ => return Err(Status::permission_denied(format!("{identity} is no identity of a workload"))),
        };
        let proxy = self
            .proxies
            .node(&namespace, said)
            .filter(|node| *node.id == *said && node.identity.as_ref() == Some(identity));
        Ok(Arc::new(Sender {
            node: proxy.as_ref().map_or_else(String::new, |node| node.id.to_string()),
            workload: proxy.as_ref().map_or(account, |node| node.workload.name.to_string()),
            ours: proxy.as_ref().is_some_and(|node| node.ours),
            namespace,
            identity: identity.to_string(),
        }))
    }

    fn take(&self, sender: &Arc<Sender>, entries: LogEntries) {
        let now = self.clock.now();
        let told: Vec<Option<Told>> = match entries {
            LogEntries::HttpLogs(logs) => {
                logs.log_entry.into_iter().map(|entry| Told::of_request(sender, entry, now)).collect()
            }
            LogEntries::TcpLogs(logs) => {
                logs.log_entry.into_iter().map(|entry| Told::of_connection(sender, entry, now)).collect()
            }
        };
        let (asked, worth) = (told.len(), told.into_iter().flatten().collect::<Vec<_>>());
        let may = self.allowed(&sender.identity, worth.len());
        let over = worth.len() - may;
        let kept = worth.into_iter().take(may).filter(|told| self.ring.take(told.clone())).count();
        let count = |result: &str, count: usize| self.metrics.told.with(&[result]).add(count as u64);
        count("kept", kept);
        count("too_many", over);
        count("passed_over", asked - kept - over);
        self.metrics.kept.set(self.ring.state().0 as i64);
    }

    /// How many of these an identity may tell now.
    fn allowed(&self, identity: &str, wants: usize) -> usize {
        let mut all = self.allowances.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if all.len() >= MOST_SENDERS && !all.contains_key(identity) {
            // Who was silent for a while may tell as much as one that is new.
            all.retain(|_, it| it.at.elapsed().as_secs_f64() * PER_SECOND < BURST);
        }
        let allowance = all.entry(identity.to_owned()).or_insert_with(|| Allowance { left: BURST, at: now });
        allowance.left = BURST.min(allowance.left + (now - allowance.at).as_secs_f64() * PER_SECOND);
        allowance.at = now;
        let may = wants.min(allowance.left as usize);
        allowance.left -= may as f64;
        may
    }
}

#[tonic::async_trait]
impl AccessLogService for Refusals {
    async fn stream_access_logs(
        &self,
        request: Request<Streaming<StreamAccessLogsMessage>>,
    ) -> Result<Response<StreamAccessLogsResponse>, Status> {
        let refuse = |status: &Status| {
            self.metrics.refused.inc();
            tracing::warn!("access logs: {}", status.message());
        };
        let identity = self.tellers.member(request.extensions()).inspect_err(refuse)?;
        let mut messages = request.into_inner();
        // The first message of a stream says who tells, for all of them.
        let mut sender: Option<Arc<Sender>> = None;
        while let Some(message) = messages.message().await? {
            let known = match (&sender, &message.identifier) {
                (Some(known), None) => known.clone(),
                (_, identifier) => self.sender(&identity, identifier.as_ref()).inspect_err(refuse)?,
            };
            if let Some(entries) = message.log_entries {
                self.take(&known, entries);
            }
            sender = Some(known);
        }
        Ok(Response::new(StreamAccessLogsResponse {}))
    }
}
