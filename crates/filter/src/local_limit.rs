//! Refuses requests that are too many, as it counts itself (Envoy's `envoy.filters.http.local_ratelimit`).
//!
//! What a route or its virtual host says stands in place of the filter's own settings, with buckets of its own. Buckets
//! live on through changes of the configuration that do not touch their settings.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, Request, Response, StatusCode};
use mesh_http::Body;
use mesh_http::grpc::GrpcStatus;
use model::rate_limit::{DescriptorRule, LocalRateLimit, Rules};
use model::route::{FilterRules, Route, RouteMatch, VirtualHost};
use telemetry::{Counter, ResponseFlags};
use tokio::time::Instant;

use crate::bucket::TokenBucket;
use crate::chain::{Facts, Flow, HttpFilter};
use crate::limiter::{Limiter, Verdict};
use crate::local::LocalResponse;
use crate::stats::Stats;
use crate::told::{ToldBucket, retry_after, words};

/// The local rate limit filter.
#[derive(Debug)]
pub(crate) struct LocalLimitFilter {
    own: Arc<Limits>,
}

impl LocalLimitFilter {
    /// These limits for every route that does not bring its own.
    pub(crate) fn new(own: Arc<Limits>) -> Self {
        Self { own }
    }

    /// The limits that are the filter's own.
    pub(crate) fn own(&self) -> &Arc<Limits> {
        &self.own
    }
}

impl HttpFilter for LocalLimitFilter {
    async fn on_request(&self, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        let of_route = facts.route.zip(facts.host).and_then(|(route, host)| facts.around.route_limits(route, host));
        let limits = of_route.unwrap_or(&self.own);
        let settings = &*limits.settings;
        if !settings.enabled.takes(facts.draws.draw()) {
            return Flow::Continue;
        }
        limits.counters.enabled.inc();
        let Verdict { allowed, bucket, told } = limits.decide(request, facts);
        if told.unwrap_or(settings.tells_limits)
            && let Some(bucket) = &bucket
        {
            let standard = settings.policy.is_some();
            facts.left.get_or_insert_default().told.buckets.push(ToldBucket { bucket: bucket.clone(), standard });
        }
        if allowed {
            limits.counters.ok.inc();
            return Flow::Continue;
        }
        limits.counters.limited.inc();
        if !settings.enforced.takes(facts.draws.draw()) {
            settings.request_headers.apply(request.headers_mut());
            return Flow::Continue;
        }
        limits.counters.enforced.inc();
        let mut local = refusal(settings, bucket.as_deref());
        if facts.around.is_asked_why(request) {
            let wait = bucket.map(|bucket| bucket.next_token(Instant::now()));
            local.why = settings.policy.as_deref().map(|name| words(name, wait));
        }
        Flow::Respond(Box::new(local))
    }

    async fn on_response(&self, response: &mut Response<Body>, facts: &mut Facts<'_>) {
        facts.tell(response);
    }
}

fn refusal(settings: &LocalRateLimit, bucket: Option<&TokenBucket>) -> LocalResponse {
    let mut headers = HeaderMap::new();
    settings.response_headers.apply(&mut headers);
    if settings.retry_after && settings.status == 429 {
        retry_after(&mut headers, bucket.map(|bucket| bucket.next_token(Instant::now())));
    }
    LocalResponse {
        // Discovery has checked the range.
        status: StatusCode::from_u16(settings.status).unwrap_or(StatusCode::TOO_MANY_REQUESTS),
        grpc_status: settings.resource_exhausted.then_some(GrpcStatus::RESOURCE_EXHAUSTED),
        body: "local_rate_limited".into(),
        headers,
        details: "local_rate_limited".into(),
        why: None,
        flags: ResponseFlags::RATE_LIMITED,
    }
}

/// Settings, with the buckets that belong to them.
pub struct Limits {
    settings: Arc<LocalRateLimit>,
    limiter: Limiter,
    counters: Counters,
}

/// What is counted of one set of limits.
struct Counters {
    enabled: Counter,
    enforced: Counter,
    ok: Counter,
    limited: Counter,
}

impl Limits {
    /// Full buckets for these settings.
    pub(crate) fn new(settings: Arc<LocalRateLimit>, stats: &Stats) -> Self {
        let counter = |family: &telemetry::Family<Counter>| family.with(&[&settings.stat_prefix]);
        Self {
            limiter: Limiter::new(&settings, Instant::now()),
            counters: Counters {
                enabled: counter(&stats.local_enabled),
                enforced: counter(&stats.local_enforced),
                ok: counter(&stats.local_ok),
                limited: counter(&stats.local_limited),
            },
            settings,
        }
    }

    /// The settings.
    pub(crate) fn settings(&self) -> &LocalRateLimit {
        &self.settings
    }

    fn decide(&self, request: &Request<Body>, facts: &Facts<'_>) -> Verdict {
        let (settings, now) = (&*self.settings, Instant::now());
        let descriptors = match settings.descriptors.is_empty() {
            true => Vec::new(),
            false => self.rules(facts).descriptors(&facts.seen(request), |rule| self.applies(rule)),
        };
        if settings.per_connection {
            return facts.around.connection_limits().of(&self.settings, now).decide(&descriptors, now);
        }
        self.limiter.decide(&descriptors, now)
    }

    fn rules<'a>(&'a self, facts: &Facts<'a>) -> Rules<'a> {
        match &self.settings.rules[..] {
            [] if facts.is_forwarded() => {
                let [route, host] = facts.said();
                Rules::of_route(route, host, self.settings.host_limits)
            }
            rules => Rules::of(rules),
        }
    }

    /// Rules of routes have a stage, and those that Envoy's runtime could switch off are off.
    fn applies(&self, rule: &DescriptorRule) -> bool {
        !self.settings.rules.is_empty() || (rule.stage == self.settings.stage && rule.disable_key.is_empty())
    }
}

impl fmt::Debug for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The limits that the routes of a table bring, and its virtual hosts.
#[derive(Debug, Default)]
pub struct RouteLimits {
    /// By where the route or the virtual host stands in memory, where it stays as long as the table.
    by_place: HashMap<usize, (Owner, Arc<Limits>)>,
}

/// Whose limits they are, through changes of the table.
#[derive(Debug, PartialEq)]
struct Owner {
    host: Arc<str>,
    route: Option<(Arc<str>, RouteMatch)>,
}

impl RouteLimits {
    /// The limits of a table's virtual hosts, which must stay where they are. What a route had `before` lives on if its
    /// settings are the same.
    pub fn new<'a>(hosts: impl Iterator<Item = &'a VirtualHost>, before: Option<&Self>, stats: &Stats) -> Self {
        let mut limits = Self::default();
        for host in hosts {
            let owner = Owner { host: host.name.clone(), route: None };
            limits.add(place(host), owner, host.filters.as_deref(), before, stats);
            for route in &host.routes {
                let route_owner = || Some((route.name.clone(), route.matches.clone()));
                if route.filters.as_ref().is_some_and(|rules| rules.local_rate_limit.is_some()) {
                    let owner = Owner { host: host.name.clone(), route: route_owner() };
                    limits.add(place(route), owner, route.filters.as_deref(), before, stats);
                }
            }
        }
        limits
    }

    fn add(&mut self, place: usize, owner: Owner, rules: Option<&FilterRules>, before: Option<&Self>, stats: &Stats) {
        let Some(settings) = rules.and_then(|rules| rules.local_rate_limit.as_ref()) else { return };
        let same = |(one, limits): &&(Owner, Arc<Limits>)| *one == owner && limits.settings == *settings;
        let kept = before.and_then(|before| before.by_place.values().find(same)).map(|(_, limits)| limits.clone());
        let limits = kept.unwrap_or_else(|| Arc::new(Limits::new(settings.clone(), stats)));
        self.by_place.insert(place, (owner, limits));
    }

    /// Those of a route of the table, or else of its virtual host.
    pub fn of(&self, route: &Route, host: &VirtualHost) -> Option<&Limits> {
        if self.by_place.is_empty() {
            return None;
        }
        let found = self.by_place.get(&place(route)).or_else(|| self.by_place.get(&place(host)));
        found.map(|(_, limits)| &**limits)
    }
}

fn place<T>(of: &T) -> usize {
    std::ptr::from_ref(of).addr()
}

/// The buckets of one downstream connection. Most have none, and hold no room for any.
#[derive(Debug, Default)]
pub struct ConnectionLimits(OnceCell<Box<Buckets>>);

type Buckets = RefCell<Vec<(Arc<LocalRateLimit>, Rc<Limiter>)>>;

impl ConnectionLimits {
    /// The buckets of these settings.
    fn of(&self, settings: &Arc<LocalRateLimit>, now: Instant) -> Rc<Limiter> {
        let mut all = self.0.get_or_init(Box::default).borrow_mut();
        if let Some((_, limiter)) = all.iter().find(|(own, _)| Arc::ptr_eq(own, settings) || own == settings) {
            return limiter.clone();
        }
        let limiter = Rc::new(Limiter::new(settings, now));
        all.push((settings.clone(), limiter.clone()));
        limiter
    }
}

#[cfg(test)]
#[path = "local_limit/tests.rs"]
mod tests;
