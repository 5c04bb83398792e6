//! Refuses requests that are too many, as a service counts for many proxies (Envoy's `envoy.filters.http.ratelimit`).
//!
//! Only requests that a route forwards are asked about, and only if anything makes a descriptor of them.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use mesh_http::Body;
use mesh_http::grpc::GrpcStatus;
use model::rate_limit::{Descriptor, GlobalRateLimit, GlobalRateLimitRoute, HostLimits, RequestType, Rules};
use telemetry::ResponseFlags;

use crate::around::Call;
use crate::chain::{Facts, Flow, HttpFilter};
use crate::global_limit::message::Said;
use crate::local::LocalResponse;
use crate::standard;
use crate::stats::Stats;
use crate::told::{append, retry_after, words};

mod message;

const INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");
const LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");
const METHOD: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// The global rate limit filter.
#[derive(Debug)]
pub(crate) struct GlobalLimitFilter {
    settings: Arc<GlobalRateLimit>,
    stats: Stats,
}

/// What the service is asked about a request.
struct Question<'a> {
    /// The cluster that the request goes to.
    cluster: &'a str,
    domain: &'a str,
    descriptors: Vec<Descriptor>,
}

impl GlobalLimitFilter {
    /// These settings, counted there.
    pub(crate) fn new(settings: Arc<GlobalRateLimit>, stats: Stats) -> Self {
        Self { settings, stats }
    }

    /// None: it is not asked about this request.
    fn question<'q, 'f: 'q>(&'q self, request: &Request<Body>, facts: &mut Facts<'f>) -> Option<Question<'q>> {
        let settings = &*self.settings;
        if !settings.enabled.takes(facts.draws.draw()) {
            return None;
        }
        let internal = request.headers().get(INTERNAL).is_some_and(|value| value == "true");
        let concerns = match settings.requests {
            RequestType::Both => true,
            RequestType::Internal => internal,
            RequestType::External => !internal,
        };
        let cluster = facts.cluster().filter(|cluster| concerns && facts.around.has_cluster(cluster))?;
        let [route, host] = facts.said();
        let own = route.and_then(|rules| rules.global_rate_limit.as_deref());
        let own = own.or_else(|| host?.global_rate_limit.as_deref());
        let (rules, staged) = match own.map_or(&[][..], |own| &own.rules) {
            [] if settings.rules.is_empty() => {
                let limits = own.map_or(HostLimits::Override, |own| own.host_limits);
                (Rules::of_route(route, host, limits), true)
            }
            [] => (Rules::of(&settings.rules), false),
            rules => (Rules::of(rules), false),
        };
        if rules.is_empty() {
            return None;
        }
        let seen = facts.seen(request);
        let descriptors = rules.descriptors(&seen, |rule| !staged || rule.stage == settings.stage);
        let domain = own.and_then(|own: &GlobalRateLimitRoute| own.domain.as_deref()).unwrap_or(&settings.domain);
        (!descriptors.is_empty()).then_some(Question { cluster, domain, descriptors })
    }

    async fn ask(&self, question: &Question<'_>, facts: &Facts<'_>) -> Result<Said, String> {
        let call = Call {
            service: &self.settings.service,
            path: METHOD,
            message: message::question(question.domain, &question.descriptors),
            timeout: self.settings.timeout,
        };
        let answer = facts.around.call(call).await?;
        message::answer(&answer, &question.descriptors, self.settings.tells_limits)
    }

    /// The service has spoken.
    fn heed(&self, said: Said, cluster: &str, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        let Said { limited, mut response_headers, request_headers, wait, body } = said;
        let counter = if limited { &self.stats.global_limited } else { &self.stats.global_ok };
        counter.with(&[cluster]).inc();
        if limited && self.settings.tells_limited {
            response_headers.insert(LIMITED, HeaderValue::from_static("true"));
        }
        if limited && self.settings.enforced.takes(facts.draws.draw()) {
            self.settings.response_headers.apply(&mut response_headers);
            if self.settings.retry_after && self.settings.status == 429 {
                retry_after(&mut response_headers, wait);
            }
            return Flow::Respond(Box::new(LocalResponse {
                // Discovery has checked the range.
                status: StatusCode::from_u16(self.settings.status).unwrap_or(StatusCode::TOO_MANY_REQUESTS),
                grpc_status: self.settings.resource_exhausted.then_some(GrpcStatus::RESOURCE_EXHAUSTED),
                body: body.into(),
                headers: response_headers,
                details: "request_rate_limited".into(),
                why: self.asked(request, facts).map(|name| words(name, wait)),
                flags: ResponseFlags::RATE_LIMITED,
            }));
        }
        append(request.headers_mut(), request_headers);
        if !response_headers.is_empty() {
            standard::merge(&mut facts.left.get_or_insert_default().told.headers, response_headers);
        }
        Flow::Continue
    }

    /// The limit of ours that this is, if anybody wants to know.
    fn asked(&self, request: &Request<Body>, facts: &Facts<'_>) -> Option<&str> {
        self.settings.policy.as_deref().filter(|_| facts.around.is_asked_why(request))
    }

    /// The service has not spoken.
    fn go_on_without(&self, cluster: &str, why: &str, request: &Request<Body>, facts: &mut Facts<'_>) -> Flow {
        self.stats.global_error.with(&[cluster]).inc();
        if !self.settings.deny_on_error.takes(facts.draws.draw()) {
            self.stats.global_allowed.with(&[cluster]).inc();
            return Flow::Continue;
        }
        Flow::Respond(Box::new(LocalResponse {
            status: StatusCode::from_u16(self.settings.error_status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            grpc_status: None,
            body: "".into(),
            headers: HeaderMap::new(),
            details: "rate_limiter_error".into(),
            why: self.asked(request, facts).map(|name| unanswered(name, why)),
            flags: ResponseFlags::RATE_LIMIT_SERVICE_ERROR,
        }))
    }
}

/// Which limit of ours nobody counted, in words.
fn unanswered(limit: &str, why: &str) -> Box<str> {
    format!("nobody says whether the limit `{limit}` is reached, and then it refuses (`onError: deny`): {why}").into()
}

impl HttpFilter for GlobalLimitFilter {
    async fn on_request(&self, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        let Some(question) = self.question(request, facts) else { return Flow::Continue };
        // Boxed: exchanges that ask nobody hold no room for it.
        let said = Box::pin(self.ask(&question, facts)).await;
        match said {
            Ok(said) => self.heed(said, question.cluster, request, facts),
            Err(why) => self.go_on_without(question.cluster, &why, request, facts),
        }
    }

    async fn on_response(&self, response: &mut Response<Body>, facts: &mut Facts<'_>) {
        facts.tell(response);
    }
}

#[cfg(test)]
#[path = "global_limit/tests.rs"]
mod tests;
