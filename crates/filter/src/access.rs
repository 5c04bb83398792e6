//! Refuses requests that rules of access do not let pass (Envoy's `envoy.filters.http.rbac`). Rules of the route or its
//! virtual host stand in place of its own.
//!
//! What was decided stands in the exchange's metadata: under the filter's name `enforced_engine_result` and
//! `enforced_effective_policy_id`, the same of shadow rules, and for rules that only log `access_log_hint` of `envoy.common`.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Request, StatusCode};
use mesh_http::Body;
use model::Metadata;
use model::access::{Access, Action, Compiled, Decision, Refusal};
use model::metadata::Value;
use model::route::FilterRule;
use telemetry::{Counter, Family, ResponseFlags};

use crate::chain::{Facts, Flow, HttpFilter};
use crate::local::LocalResponse;
use crate::stats::Stats;

/// Under which it says what it decided, whatever its own name.
const FILTER: &str = "envoy.filters.http.rbac";
/// Under which it says whether a log should have the request.
const COMMON: &str = "envoy.common";

/// The filter of access.
#[derive(Debug)]
pub(crate) struct AccessFilter {
    own: Access,
    enforced: Counters,
    shadow: Counters,
}

impl AccessFilter {
    /// A filter with these rules.
    pub(crate) fn new(own: Access, stats: &Stats) -> Self {
        own.rules.iter().chain(&own.shadow).for_each(|rules| rules.prepare());
        let enforced = Counters::new(
            stats,
            &own.rules_prefix,
            [&stats.access_allowed, &stats.access_denied],
            [&stats.policy_allowed, &stats.policy_denied],
        );
        let shadow = Counters::new(
            stats,
            &own.shadow_prefix,
            [&stats.access_shadow_allowed, &stats.access_shadow_denied],
            [&stats.policy_shadow_allowed, &stats.policy_shadow_denied],
        );
        Self { own, enforced, shadow }
    }

    /// The rules for a request; none: everything passes.
    fn rules<'r>(&'r self, facts: &Facts<'r>) -> Option<&'r Access> {
        match facts.rule(&self.own.name) {
            Some(FilterRule::Access(said)) => said.as_deref(),
            _ => Some(&self.own),
        }
    }
}

impl HttpFilter for AccessFilter {
    async fn on_request(&self, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        let Some(access) = self.rules(facts) else { return Flow::Continue };
        let (decided, refusal) = decide(access, request, facts);
        for (counters, said) in [(&self.shadow, &decided.shadow), (&self.enforced, &decided.enforced)] {
            if let Some(said) = said {
                counters.count(said, access.per_policy);
            }
        }
        if access.rules.is_some() || access.shadow.is_some() {
            decided.tell(access, request.extensions_mut().get_or_insert_default());
        }
        refusal.map_or(Flow::Continue, |local| Flow::Respond(Box::new(local)))
    }
}

/// What was decided, apart from the request that it was asked for.
#[derive(Default)]
struct Decided {
    enforced: Option<Said>,
    shadow: Option<Said>,
}

/// What rules said.
struct Said {
    allowed: bool,
    policy: Option<Arc<str>>,
}

impl From<Decision<'_>> for Said {
    fn from(decision: Decision<'_>) -> Self {
        Self { allowed: decision.allowed, policy: decision.policy.cloned() }
    }
}

/// Asks the rules. What stands in the way of a request is its answer.
fn decide(access: &Access, request: &Request<Body>, facts: &Facts<'_>) -> (Decided, Option<LocalResponse>) {
    let call = facts.around.access_call(request);
    let shadow = access.shadow.as_ref().map(|rules| rules.decide(&call).into());
    let Some(rules) = &access.rules else { return (Decided { enforced: None, shadow }, None) };
    let decision = rules.decide(&call);
    let refusal = (!decision.allowed).then(|| {
        let why = facts.around.is_asked_why(request).then(|| why(rules, &call)).flatten();
        refused(decision.policy.map(|name| &**name), why)
    });
    (Decided { enforced: Some(decision.into()), shadow }, refusal)
}

fn refused(policy: Option<&str>, why: Option<Box<str>>) -> LocalResponse {
    LocalResponse {
        status: StatusCode::FORBIDDEN,
        grpc_status: None,
        body: "RBAC: access denied".into(),
        headers: HeaderMap::new(),
        details: model::access::details(policy).into(),
        why,
        flags: ResponseFlags::NONE,
    }
}

/// In words.
fn why(rules: &Compiled, call: &model::access::Call<'_>) -> Option<Box<str>> {
    let refusal: Refusal<'_> = rules.why(call)?;
    Some(refusal.in_words(call, &|field| field.to_string()).into())
}

impl Decided {
    /// Leaves what was decided for those who come after.
    fn tell(&self, access: &Access, metadata: &mut Metadata) {
        let mut tell = |prefix: &str, kind: &str, said: &Said| {
            let kind = format!("{prefix}{kind}");
            model::access::tell(metadata.of(FILTER), &kind, said.allowed, said.policy.as_deref());
        };
        if let Some(said) = &self.shadow {
            tell(&access.shadow_prefix, "shadow", said);
        }
        if let Some(said) = &self.enforced {
            tell(&access.rules_prefix, "enforced", said);
            if access.rules.as_ref().is_some_and(|rules| rules.rules().action == Action::Log) {
                metadata.of(COMMON).insert("access_log_hint".into(), Value::Bool(said.policy.is_some()));
            }
        }
    }
}

/// Counts what one set of rules says.
struct Counters {
    http_prefix: Box<str>,
    prefix: Box<str>,
    allowed: Counter,
    denied: Counter,
    policy_allowed: Family<Counter>,
    policy_denied: Family<Counter>,
}

impl Counters {
    fn new(stats: &Stats, prefix: &str, all: [&Family<Counter>; 2], by_policy: [&Family<Counter>; 2]) -> Self {
        let [allowed, denied] = all.map(|family| family.with(&[&stats.prefix, prefix]));
        let [policy_allowed, policy_denied] = by_policy.map(Family::clone);
        Self {
            http_prefix: stats.prefix.clone(),
            prefix: prefix.into(),
            allowed,
            denied,
            policy_allowed,
            policy_denied,
        }
    }

    fn count(&self, said: &Said, per_policy: bool) {
        let (all, by_policy) = match said.allowed {
            true => (&self.allowed, &self.policy_allowed),
            false => (&self.denied, &self.policy_denied),
        };
        all.inc();
        if let Some(policy) = said.policy.as_deref().filter(|_| per_policy) {
            by_policy.with(&[&self.http_prefix, &self.prefix, policy]).inc();
        }
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
