//! What becomes of calls that no rule allows: how they are refused, and where that is seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::access::{Access, Action as Meaning, Compiled, Condition, Operation, Permission, Policy, Rules};
use model::cluster::Discovery;
use model::http_proxy::HttpFilter;
use model::matcher::{HeaderKey, HeaderMatch};
use model::route::{Action, DirectResponse, FilterRule, FilterRules, PathMatch};
use model::{Cluster, Config, EndpointSet, Pattern, Route, StringMatch, VirtualHost};

use super::Egress;

/// The beginning of the names of clusters to which refused connections lead; the names of the policies follow.
const DENIED: &str = "EgressDenied|";
/// The filter that refuses requests.
const FILTER: &str = "halcyon.egress";
/// What stands before the names of its statistics.
const PREFIX: &str = "egress_";
/// The name of the route that takes what is refused.
const ROUTE: &str = "egress_denied";

/// The policies that have refused what a cluster takes, if it is such a one.
pub fn policies_of(cluster: &str) -> Option<&str> {
    cluster.strip_prefix(DENIED)
}

/// The policies that have refused what a route of this name takes, if it is such a one.
pub fn denied_by(route: &str) -> Option<&str> {
    route.strip_prefix(ROUTE)?.strip_prefix('[')?.strip_suffix(']')
}

impl Egress<'_> {
    /// The cluster to which refused connections lead.
    pub fn denied(&self) -> Arc<str> {
        format!("{DENIED}{}", self.names()).into()
    }

    /// In a sentence, for who is refused.
    fn words(&self) -> String {
        let names = self.names();
        match names.contains(',') {
            false => format!("the EgressPolicy {names} does not allow this host"),
            true => format!("none of the EgressPolicies {names} allows this host"),
        }
    }
}

/// Adds the cluster to which refused connections lead: it has no endpoints.
pub fn add_cluster(config: &mut Config, egress: &Egress<'_>) {
    let name = egress.denied();
    let nowhere = EndpointSet::new(name.clone(), Vec::new());
    let cluster = Cluster::new(name.clone(), Discovery::Static(nowhere));
    config.clusters.insert(name, Arc::new(cluster));
}

/// The filter that refuses requests where a virtual host says so, and else does nothing.
pub fn filter() -> HttpFilter {
    HttpFilter::Access(Box::new(Access { name: FILTER.into(), rules_prefix: PREFIX.into(), ..Access::default() }))
}

/// The virtual host of all that is not allowed.
pub fn host(egress: &Egress<'_>) -> VirtualHost {
    let body = format!("{}\n", egress.words());
    let action = Action::Respond(DirectResponse { status: 403, body: body.into() });
    let name = format!("{ROUTE}[{}]", egress.names());
    let rules = FilterRules {
        named: BTreeMap::from([(FILTER.into(), FilterRule::Access(Some(Arc::new(refuse(egress, Condition::Any)))))]),
        ..FilterRules::default()
    };
    VirtualHost {
        name: ROUTE.into(),
        domains: vec!["*".into()],
        routes: vec![Route { name: name.into(), ..Route::new(PathMatch::Prefix("/".into()), action) }],
        filters: rules.boxed(),
        ..VirtualHost::default()
    }
}

/// Has a virtual host of a wildcard take only requests that name its port: the port that a request names beside the host is
/// the one that the proxy dials there.
pub fn guard_port(egress: &Egress<'_>, port: u16, host: &mut VirtualHost) {
    let named = if port == HTTP { format!("[^:]+(:{port})?") } else { format!("[^:]+:{port}") };
    let Ok(pattern) = Pattern::new(&named) else { return };
    let authority = HeaderMatch::text(HeaderKey::Authority, StringMatch::Regex(pattern));
    let other = Condition::Not(Box::new(Condition::Is(Operation::Header(authority))));
    let rule = FilterRule::Access(Some(Arc::new(refuse(egress, other))));
    host.filters.get_or_insert_default().named.insert(FILTER.into(), rule);
}

/// The port that a request means that names none.
const HTTP: u16 = 80;

/// Rules that take such requests, under a name that says whose they are.
fn refuse(egress: &Egress<'_>, requests: Permission) -> Access {
    let everything = Policy { permissions: vec![requests], principals: vec![Condition::Any] };
    let policies = vec![(format!("egress-policy[{}]", egress.names()).into(), everything)];
    let rules = Rules { action: Meaning::Deny, policies };
    Access {
        name: FILTER.into(),
        rules: Some(Arc::new(Compiled::new(rules))),
        rules_prefix: PREFIX.into(),
        per_policy: true,
        ..Access::default()
    }
}
