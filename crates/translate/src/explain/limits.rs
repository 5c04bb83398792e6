//! The limits of rates under which a request falls, at a gateway that is asked and at the server.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::halcyon::{LimitCaller, LimitKey, LimitScope, RateLimit};
use model::route::{RequestView, header_matches};

use super::{Step, Walk};
use crate::access::Subject;
use crate::access::question;
use crate::names;
use crate::node::Role;
use crate::rate_limits::matching;

impl Walk<'_> {
    /// Those of a gateway.
    pub(super) fn limits_here(&mut self) {
        if let Role::Gateway { .. } = &self.node.role {
            self.tell_limits("at the gateway", &[Subject::of(self.node)]);
        }
    }

    /// Those of the workloads to which clusters lead.
    pub(super) fn limits_there(&mut self, targets: &[(&Arc<str>, u32)]) {
        let mut called = Vec::new();
        for (port, _, host) in targets.iter().filter_map(|(name, _)| names::parts(name)) {
            let found = question::called(self.world, &self.node.namespace, host, Some(port)).unwrap_or_default();
            called.extend(found.into_iter().filter(|one| !one.tcp));
        }
        let subjects: Vec<Subject<'_>> = called
            .iter()
            .map(|one| Subject {
                namespace: &one.namespace,
                labels: &one.labels,
                is_gateway: false,
                account: None,
                services: &[],
            })
            .collect();
        self.tell_limits("at the server", &subjects);
    }

    fn tell_limits(&mut self, place: &str, subjects: &[Subject<'_>]) {
        let mut told = BTreeSet::new();
        for subject in subjects {
            for policy in self.world.rate_limits(*subject) {
                let spec = policy.spec();
                for (index, limit) in spec.limits.iter().enumerate().filter(|(_, limit)| self.falls_under(limit)) {
                    told.insert(format!("{} ({}, `{}`)", words(limit), policy.resource.key(), spec.name(index)));
                }
            }
        }
        if !told.is_empty() {
            self.steps.push(told.into_iter().fold(Step::new("rate limit", place), Step::fact));
        }
    }

    /// As far as the question says. By which route it comes is not known here.
    fn falls_under(&self, limit: &RateLimit) -> bool {
        let host = self.question.authority.as_deref().unwrap_or(&self.question.host);
        let view = RequestView {
            method: &self.question.method,
            headers: &self.question.headers,
            ..RequestView::get(host, &self.question.path)
        };
        let asked = limit.match_.as_ref();
        asked.is_none_or(|asked| matching::headers(asked).iter().all(|one| header_matches(one, &view)))
    }
}

/// `at most 5 requests per minute for each header x-user, counted by the control plane`
fn words(limit: &RateLimit) -> String {
    let mut words = format!("at most {} requests per {}", limit.requests, limit.unit.as_str());
    let keys: Vec<String> = limit.by.iter().map(|by| key(by)).filter(|key| !key.is_empty()).collect();
    if !keys.is_empty() {
        words += &format!(" for each {}", keys.join(" and "));
    }
    let routes: Vec<String> =
        limit.match_.iter().flat_map(|asked| &asked.routes).map(|route| format!("`{}`", route.value)).collect();
    if !routes.is_empty() {
        words += &format!(", on the routes {}", routes.join(", "));
    }
    words += match limit.scope {
        LimitScope::Local => ", counted by each proxy",
        LimitScope::Global => ", counted by the control plane",
    };
    if limit.dry_run {
        words += ", only tried";
    }
    words
}

fn key(key: &LimitKey) -> String {
    match key {
        LimitKey { caller: Some(LimitCaller::Identity), .. } => "identity".to_owned(),
        LimitKey { caller: Some(LimitCaller::Namespace), .. } => "namespace of callers".to_owned(),
        LimitKey { header: Some(name), .. } => format!("header {}", name.value),
        LimitKey { claim: Some(path), .. } => format!("claim {}", path.value),
        LimitKey { query: Some(name), .. } => format!("query parameter {}", name.value),
        LimitKey { request: Some(part), .. } => part.as_str().to_owned(),
        LimitKey { remote_address: Some(_), .. } => "client address".to_owned(),
        _ => String::new(),
    }
}
