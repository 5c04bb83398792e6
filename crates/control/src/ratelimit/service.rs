//! The service on the wire.

use api::halcyon::Window;
use base::{Clock, TrustDomain};
use proto::envoy::config::core::v3::HeaderValue;
use proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use proto::envoy::service::ratelimit::v3::rate_limit_response::rate_limit::Unit;
use proto::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus, RateLimit};
use proto::envoy::service::ratelimit::v3::rate_limit_service_server::RateLimitService;
use proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use proto::envoy::r#type::v3::RateLimitUnit;
use proto::google::protobuf::Duration;
use telemetry::{Counter, Desc, Family, Gauge, Shard};
use tonic::{Request, Response, Status};

use super::counts::{Counts, seconds};
use super::domains::Directory;
use super::shared::Shared;
use super::windows::{Asked, Plan, Status as Verdict, Told};
use crate::doors::Caller;

/// Who keeps the counts.
#[derive(Clone)]
pub(crate) enum Keeper {
    /// This control plane.
    Own(Counts),
    /// A Redis.
    Shared(Shared),
}

/// What is counted of the service itself.
#[derive(Clone)]
pub(crate) struct Metrics {
    asked: Family<Counter>,
    refused: Counter,
    failed: Counter,
    counts: Gauge,
}

impl Metrics {
    /// Declares them.
    pub fn new(shard: &Shard) -> Result<Self, telemetry::DeclareError> {
        let asked = "Descriptors that proxies asked about, by domain and what they came to.";
        let asked = Desc::new("halcyon_ratelimit_descriptors_total", asked).labels(&["domain", "result"]);
        let refused = "Questions of callers that may not ask, or not for this domain.";
        let refused = Desc::new("halcyon_ratelimit_refused_total", refused);
        let failed = Desc::new("halcyon_ratelimit_failed_total", "Questions that could not be counted.");
        let counts = Desc::new("halcyon_ratelimit_counts", "Counts that are kept here.");
        Ok(Self {
            asked: shard.counters(asked)?,
            refused: shard.counters(refused)?.with(&[]),
            failed: shard.counters(failed)?.with(&[]),
            counts: shard.gauges(counts)?.with(&[]),
        })
    }
}

/// Answers proxies. Cheap to clone.
#[derive(Clone)]
pub(crate) struct RateLimits {
    directory: Directory,
    keeper: Keeper,
    clock: Clock,
    trust_domain: TrustDomain,
    /// Answers of all domains have headers, not only those of policies.
    headers: bool,
    metrics: Metrics,
}

impl RateLimits {
    /// A service for these domains.
    pub fn new(
        directory: Directory,
        keeper: Keeper,
        clock: Clock,
        trust_domain: TrustDomain,
        headers: bool,
        metrics: Metrics,
    ) -> Self {
        Self { directory, keeper, clock, trust_domain, headers, metrics }
    }

    async fn count(&self, plan: &Plan) -> Result<Vec<u64>, Status> {
        let counted = match &self.keeper {
            Keeper::Own(counts) => {
                let counted = counts.add(plan.counters().collect::<Vec<_>>().into_iter());
                self.metrics.counts.set(counts.len() as i64);
                counted.map_err(|full| Status::resource_exhausted(full.to_string()))
            }
            Keeper::Shared(shared) => {
                let counted = shared.add(plan.counters()).await;
                counted.map_err(|error| Status::unavailable(format!("the Redis that keeps the counts: {error}")))
            }
        };
        counted.inspect_err(|status| {
            self.metrics.failed.inc();
            tracing::warn!("rate limits: {}", status.message());
        })
    }
}

#[tonic::async_trait]
impl RateLimitService for RateLimits {
    async fn should_rate_limit(
        &self,
        request: Request<RateLimitRequest>,
    ) -> Result<Response<RateLimitResponse>, Status> {
        let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
        let Some(identity) = &caller.identity else {
            self.metrics.refused.inc();
            return Err(Status::unauthenticated("nothing proves who asks: expected a client certificate of this mesh"));
        };
        let question = request.into_inner();
        let asked = asked(&question)?;
        let domains = self.directory.now();
        let Some(domain) = domains.get(&question.domain) else {
            // As for Envoy's service: nothing is limited there.
            tracing::debug!(
                "{identity} asks for the rate limits of the domain `{}`, which is not there",
                question.domain
            );
            return Ok(Response::new(answer(vec![None; asked.len()], false)));
        };
        // Workloads of other meshes have namespaces of the same names.
        if identity.trust_domain() != self.trust_domain.as_str() || !domain.takes(identity) {
            self.metrics.refused.inc();
            let words = format!("{identity} may not ask for the rate limits of the domain `{}`", question.domain);
            tracing::warn!("{words}");
            return Err(Status::permission_denied(words));
        }
        let now = seconds(&self.clock);
        let plan = Plan::new(&question.domain, &domain.tree, &asked, now);
        let counts = self.count(&plan).await?;
        let verdicts = plan.statuses(&counts, now);
        for verdict in &verdicts {
            self.metrics.asked.with(&[&question.domain, result(verdict)]).inc();
        }
        Ok(Response::new(answer(verdicts.into_iter().map(Some).collect(), domain.is_own || self.headers)))
    }
}

fn result(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict { over: true, .. } => "over_limit",
        Verdict { shadowed: true, .. } => "shadowed",
        Verdict { told: None, .. } => "no_limit",
        _ => "ok",
    }
}

/// Reads a question.
fn asked(question: &RateLimitRequest) -> Result<Vec<Asked>, Status> {
    if question.domain.is_empty() || question.descriptors.is_empty() {
        return Err(Status::invalid_argument("a question has a domain and at least one descriptor"));
    }
    let one = |descriptor: &RateLimitDescriptor| {
        if descriptor.is_negative_hits {
            return Err(Status::invalid_argument("hits that are taken back are not counted here"));
        }
        let own = descriptor.limit.as_ref().map(|own| match window(own.unit) {
            Some(window) => Ok((own.requests_per_unit, window)),
            None => Err(Status::invalid_argument("the unit of a descriptor's own limit is not known")),
        });
        Ok(Asked {
            entries: descriptor.entries.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect(),
            hits: descriptor.hits_addend.as_ref().map_or(question.hits_addend.max(1).into(), |hits| hits.value),
            own: own.transpose()?,
        })
    };
    question.descriptors.iter().map(one).collect()
}

fn window(unit: i32) -> Option<Window> {
    Some(match RateLimitUnit::try_from(unit).ok()? {
        RateLimitUnit::Unknown => return None,
        RateLimitUnit::Second => Window::Second,
        RateLimitUnit::Minute => Window::Minute,
        RateLimitUnit::Hour => Window::Hour,
        RateLimitUnit::Day => Window::Day,
        RateLimitUnit::Month => Window::Month,
        RateLimitUnit::Year => Window::Year,
    })
}

/// The answer; none: nothing is known of a descriptor.
fn answer(verdicts: Vec<Option<Verdict>>, headers: bool) -> RateLimitResponse {
    let told = verdicts.iter().flatten().filter_map(|verdict| verdict.told.as_ref());
    let told = told.filter(|told| headers && !told.quiet && told.rate.is_some());
    let least = told.min_by_key(|told| (told.remaining, std::cmp::Reverse(told.reset)));
    let is_over = verdicts.iter().flatten().any(|verdict| verdict.over);
    RateLimitResponse {
        overall_code: code(is_over),
        response_headers_to_add: least.map(standard_headers).unwrap_or_default(),
        statuses: verdicts.into_iter().map(status).collect(),
        ..RateLimitResponse::default()
    }
}

fn code(is_over: bool) -> i32 {
    if is_over { Code::OverLimit as i32 } else { Code::Ok as i32 }
}

fn status(verdict: Option<Verdict>) -> DescriptorStatus {
    let Some(Verdict { over, told, .. }) = verdict else {
        return DescriptorStatus { code: Code::Ok as i32, ..DescriptorStatus::default() };
    };
    let Some(Told { name, rate, remaining, reset, .. }) = told else {
        return DescriptorStatus { code: Code::Ok as i32, ..DescriptorStatus::default() };
    };
    DescriptorStatus {
        code: code(over),
        current_limit: rate.map(|(requests_per_unit, window)| RateLimit {
            name,
            requests_per_unit,
            unit: unit(window) as i32,
        }),
        limit_remaining: remaining,
        duration_until_reset: rate.map(|_| Duration { seconds: reset as i64, nanos: 0 }),
        ..DescriptorStatus::default()
    }
}

fn unit(window: Window) -> Unit {
    match window {
        Window::Second => Unit::Second,
        Window::Minute => Unit::Minute,
        Window::Hour => Unit::Hour,
        Window::Day => Unit::Day,
        Window::Week => Unit::Week,
        Window::Month => Unit::Month,
        Window::Year => Unit::Year,
    }
}

/// The fields of the IETF's draft, for proxies that make none themselves.
fn standard_headers(told: &Told) -> Vec<HeaderValue> {
    let limit = told.rate.map_or(0, |(requests, _)| requests);
    let header = |key: &str, value: String| HeaderValue { key: key.to_owned(), value, raw_value: Vec::new() };
    vec![
        header("ratelimit-limit", limit.to_string()),
        header("ratelimit-remaining", told.remaining.to_string()),
        header("ratelimit-reset", told.reset.to_string()),
    ]
}

#[cfg(test)]
mod tests;
