//! The statistics of routes that ask for some (Envoy's `stat_prefix` of a route), by Envoy's names: `envoy_vhost_route_*` with
//! the labels `envoy_virtual_host` and `envoy_route`. Handles are made with the table that has such a route, and are the same
//! for all workers.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::http::StatusCode;
use model::{Route, VirtualHost};
use telemetry::{Counter, DeclareError, Desc, Family, Histogram, Shard};

/// What happens to a request on its route and is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouteEvent {
    /// `upstream_rq_total`: a request was given to an endpoint.
    Request,
    /// `upstream_rq_completed`: it was answered, by the upstream or in its place.
    Completed,
    /// `upstream_rq_timeout`: the time for all tries was over.
    Timeout,
    /// `upstream_rq_retry`: it was tried again.
    Retry,
    /// `upstream_rq_retry_success`: and that was good.
    RetrySuccess,
    /// `upstream_rq_retry_limit_exceeded`: no tries were left.
    RetryLimitExceeded,
    /// `upstream_rq_retry_overflow`: too many further tries were under way.
    RetryOverflow,
}

const EVENTS: [(RouteEvent, &str, &str); 7] = [
    (RouteEvent::Request, "total", "Requests of the route that were given to endpoints, each try."),
    (RouteEvent::Completed, "completed", "Requests of the route that were answered."),
    (RouteEvent::Timeout, "timeout", "Requests of the route whose time for all tries was over."),
    (RouteEvent::Retry, "retry", "Further tries of the route."),
    (RouteEvent::RetrySuccess, "retry_success", "Further tries of the route that succeeded."),
    (RouteEvent::RetryLimitExceeded, "retry_limit_exceeded", "Requests of the route for which no tries were left."),
    (RouteEvent::RetryOverflow, "retry_overflow", "Further tries of the route not made since too many are under way."),
];

const OWNER: [&str; 2] = ["envoy_virtual_host", "envoy_route"];
/// From 100 to 599.
const CODES: usize = 500;

/// The families of all routes.
pub(crate) struct RouteFamilies {
    events: [Family<Counter>; EVENTS.len()],
    classes: Family<Counter>,
    codes: Family<Counter>,
    time: Family<Histogram>,
}

impl RouteFamilies {
    /// Declares them.
    ///
    /// # Errors
    /// Somebody else has declared one of them in another way: a mistake of the program.
    pub(crate) fn new(shard: &Shard) -> Result<Arc<Self>, DeclareError> {
        let desc = |name: &str, help: &str, more: &[&str]| {
            let labels: Vec<&str> = OWNER.iter().chain(more).copied().collect();
            Desc::new(&format!("envoy_vhost_route_upstream_rq{name}"), help).labels(&labels)
        };
        let mut events = Vec::with_capacity(EVENTS.len());
        for (_, name, help) in EVENTS {
            events.push(shard.counters(desc(&format!("_{name}"), help, &[]))?);
        }
        Ok(Arc::new(Self {
            events: events.try_into().unwrap_or_else(|_| unreachable!("one family for each event")),
            classes: shard.counters(desc("_xx", "Answers of the route.", &["envoy_response_code_class"]))?,
            codes: shard.counters(desc("", "Answers of the route.", &["envoy_response_code"]))?,
            time: shard.histograms(desc("_time", "Time of the upstream for the route, in milliseconds.", &[]))?,
        }))
    }
}

/// What is counted of one route.
pub(crate) struct RouteStats {
    families: Arc<RouteFamilies>,
    host: Arc<str>,
    prefix: Arc<str>,
    events: [Counter; EVENTS.len()],
    classes: [Counter; 5],
    /// Few of them ever come; each is made when it first does.
    codes: Box<[OnceLock<Counter>]>,
    time: Histogram,
}

impl RouteStats {
    fn new(families: &Arc<RouteFamilies>, host: &Arc<str>, prefix: &Arc<str>) -> Self {
        let labels: [&str; 2] = [host, prefix];
        Self {
            events: std::array::from_fn(|at| families.events[at].with(&labels)),
            classes: ["1", "2", "3", "4", "5"].map(|class| families.classes.with(&[host, prefix, class])),
            codes: (0..CODES).map(|_| OnceLock::new()).collect(),
            time: families.time.with(&labels),
            families: families.clone(),
            host: host.clone(),
            prefix: prefix.clone(),
        }
    }

    /// Counts one.
    pub(crate) fn count(&self, event: RouteEvent) {
        self.events[event as usize].inc();
    }

    /// A request is answered with this status.
    pub(crate) fn answered(&self, status: StatusCode) {
        self.count(RouteEvent::Completed);
        let number = usize::from(status.as_u16());
        if let Some(class) = (number / 100).checked_sub(1).and_then(|class| self.classes.get(class)) {
            class.inc();
        }
        if let Some(code) = number.checked_sub(100).and_then(|at| self.codes.get(at)) {
            code.get_or_init(|| self.families.codes.with(&[&self.host, &self.prefix, status.as_str()])).inc();
        }
    }

    /// From the end of a request to the end of the upstream's answer it took so long.
    pub(crate) fn took(&self, time: Duration) {
        self.time.observe(time.as_secs_f64() * 1000.0);
    }
}

impl fmt::Debug for RouteStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteStats").field("host", &self.host).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// The statistics of a table's routes. In most tables no route has any.
#[derive(Debug, Default)]
pub(crate) struct CountedRoutes {
    /// By where the route stands in memory, where it stays as long as the table.
    by_place: HashMap<usize, Arc<RouteStats>>,
}

impl CountedRoutes {
    /// Those of the routes of these virtual hosts, which must stay where they are. Routes of one virtual host with one prefix
    /// are counted together, and with those that the table had `before`.
    pub(crate) fn new<'a>(
        hosts: impl Iterator<Item = &'a VirtualHost>,
        families: &Arc<RouteFamilies>,
        before: Option<&Self>,
    ) -> Self {
        let mut known: HashMap<(Arc<str>, Arc<str>), Arc<RouteStats>> = HashMap::new();
        for stats in before.into_iter().flat_map(|before| before.by_place.values()) {
            known.insert((stats.host.clone(), stats.prefix.clone()), stats.clone());
        }
        let mut by_place = HashMap::new();
        for host in hosts {
            for route in &host.routes {
                let Some(prefix) = &route.stat_prefix else { continue };
                let stats = known.entry((host.name.clone(), prefix.clone()));
                let stats = stats.or_insert_with(|| Arc::new(RouteStats::new(families, &host.name, prefix)));
                by_place.insert(place(route), stats.clone());
            }
        }
        Self { by_place }
    }

    /// Those of a route of the table.
    pub(crate) fn of(&self, route: &Route) -> Option<&Arc<RouteStats>> {
        route.stat_prefix.as_ref().and_then(|_| self.by_place.get(&place(route)))
    }
}

fn place(route: &Route) -> usize {
    std::ptr::from_ref(route).addr()
}

#[cfg(test)]
mod tests {
    use model::route::{Action, Forward, PathMatch};
    use telemetry::{Exposition, Registry};

    use super::*;

    fn route(prefix: Option<&str>) -> Route {
        let forward = Action::Forward(Box::new(Forward::to("c")));
        Route { stat_prefix: prefix.map(Into::into), ..Route::new(PathMatch::Prefix("/".into()), forward) }
    }

    #[test]
    fn routes_with_a_prefix_are_counted() {
        assert!(EVENTS.iter().enumerate().all(|(at, (event, ..))| *event as usize == at));
        let registry = Registry::new();
        let families = RouteFamilies::new(&registry.shard()).unwrap();
        let routes = vec![route(Some("a")), route(None), route(Some("a"))];
        let hosts = [VirtualHost { name: "h:80".into(), routes, ..VirtualHost::default() }];
        let counted = CountedRoutes::new(hosts.iter(), &families, None);
        assert!(counted.of(&hosts[0].routes[1]).is_none());
        let stats = counted.of(&hosts[0].routes[0]).unwrap();
        stats.count(RouteEvent::Request);
        stats.answered(StatusCode::NOT_FOUND);
        let again = hosts.clone();
        let again = CountedRoutes::new(again.iter(), &families, Some(&counted)).by_place;
        again.values().for_each(|stats| stats.answered(StatusCode::NOT_FOUND));
        let text = registry.expose(&Exposition::default());
        let of = r#"envoy_virtual_host="h:80",envoy_route="a""#;
        for (line, value) in [
            (format!("envoy_vhost_route_upstream_rq_total{{{of}}}"), 1),
            (format!("envoy_vhost_route_upstream_rq_completed{{{of}}}"), 3),
            (format!("envoy_vhost_route_upstream_rq_xx{{{of},envoy_response_code_class=\"4\"}}"), 3),
            (format!("envoy_vhost_route_upstream_rq{{{of},envoy_response_code=\"404\"}}"), 3),
        ] {
            assert!(text.lines().any(|found| found == format!("{line} {value}")), "{line} {value} in\n{text}");
        }
    }
}
