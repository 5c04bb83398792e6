//! Injects faults (Envoy's `envoy.filters.http.fault`): a delay, then an abort, each for its share of the requests.
//!
//! A route's own faults stand in place of the filter's. Envoy's headers that let a caller ask for faults
//! (`x-envoy-fault-*`) are not honoured.

use http::{HeaderMap, Request, StatusCode};
use mesh_http::Body;
use mesh_http::grpc::GrpcStatus;
use model::Fault;
use model::fault::{Abort, AbortAnswer, Delay};
use telemetry::{Gauge, ResponseFlags};

use crate::chain::{Facts, Flow, HttpFilter};
use crate::local::LocalResponse;
use crate::stats::Stats;

/// The fault filter.
#[derive(Debug)]
pub(crate) struct FaultFilter {
    fault: Option<Fault>,
    stats: Stats,
}

impl FaultFilter {
    /// These faults for every route that does not bring its own.
    pub(crate) fn new(fault: Option<Fault>, stats: Stats) -> Self {
        Self { fault, stats }
    }

    async fn delay(&self, delay: &Delay) {
        self.stats.delays.with(&[&self.stats.prefix]).inc();
        let _active = Active::begin(self.stats.active.with(&[&self.stats.prefix]));
        tokio::time::sleep(delay.duration).await;
    }

    fn abort(&self, abort: &Abort) -> LocalResponse {
        self.stats.aborts.with(&[&self.stats.prefix]).inc();
        let (status, grpc_status) = match abort.answer {
            AbortAnswer::Http(status) => (status, None),
            AbortAnswer::Grpc(code) => (GrpcStatus(code).to_http(), Some(GrpcStatus(code))),
        };
        LocalResponse {
            // Discovery has checked the range; what is out of it is our fault and not the caller's.
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            grpc_status,
            body: "fault filter abort".into(),
            headers: HeaderMap::new(),
            details: "fault_filter_abort".into(),
            why: None,
            flags: ResponseFlags::FAULT_INJECTED,
        }
    }
}

impl HttpFilter for FaultFilter {
    async fn on_request(&self, _request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        let Some(fault) = facts.route.and_then(|route| route.fault.as_ref()).or(self.fault.as_ref()) else {
            return Flow::Continue;
        };
        if let Some(delay) = &fault.delay
            && delay.share.takes(facts.draws.draw())
        {
            facts.flags.insert(ResponseFlags::DELAY_INJECTED);
            self.delay(delay).await;
        }
        match &fault.abort {
            Some(abort) if abort.share.takes(facts.draws.draw()) => Flow::Respond(Box::new(self.abort(abort))),
            _ => Flow::Continue,
        }
    }
}

/// Counts a fault as active until it is dropped, as it is when the downstream gives up.
struct Active(Gauge);

impl Active {
    fn begin(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::route::{Action, DirectResponse, Found, PathMatch, Route};
    use model::{Fraction, VirtualHost, http_proxy};
    use telemetry::{Exposition, Registry};
    use tokio::time::Instant;

    use super::*;
    use crate::{Alone, Chain, NoExtensions};

    const SECOND: Duration = Duration::from_secs(1);

    fn delay(seconds: u64, share: Fraction) -> Fault {
        Fault { delay: Some(Delay { duration: Duration::from_secs(seconds), share }), abort: None }
    }

    fn abort(answer: AbortAnswer, share: Fraction) -> Fault {
        Fault { delay: None, abort: Some(Abort { answer, share }) }
    }

    fn route(fault: Option<Fault>) -> Route {
        let answer = Action::Respond(DirectResponse { status: 200, body: "".into() });
        Route { fault, ..Route::new(PathMatch::Prefix("/".into()), answer) }
    }

    fn chain(fault: Option<Fault>, registry: &Registry) -> Chain {
        Chain::new(
            &[http_proxy::HttpFilter::Fault(fault)],
            &Stats::new(&registry.shard(), "in").unwrap(),
            None,
            &NoExtensions,
        )
        .unwrap()
    }

    /// How long the filter took, what it answered, and the flags.
    async fn run(chain: &Chain, route: &Route, draw: u64) -> (Duration, Option<LocalResponse>, String) {
        let begun = Instant::now();
        let (host, around) = (VirtualHost::default(), Alone::default());
        let mut run = chain.begin(Some(&Found { host: &host, route }), draw);
        let mut request = Request::get("/").body(Body::empty()).unwrap();
        let answer = match run.on_request(&mut request, &around).await {
            Flow::Respond(local) => Some(*local),
            _ => None,
        };
        (begun.elapsed(), answer, run.flags().to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_injected() {
        let both = Fault { abort: abort(AbortAnswer::Http(503), Fraction::ALL).abort, ..delay(2, Fraction::ALL) };
        let none = Fault { delay: None, abort: None };
        for (of_filter, of_route, seconds, status, flags) in [
            (None, None, 0, None, "-"),
            (Some(delay(7, Fraction::ALL)), None, 7, None, "DI"),
            (Some(delay(7, Fraction::NONE)), None, 0, None, "-"),
            (Some(abort(AbortAnswer::Http(418), Fraction::ALL)), None, 0, Some(418), "FI"),
            (None, Some(abort(AbortAnswer::Grpc(14), Fraction::ALL)), 0, Some(503), "FI"),
            (None, Some(both.clone()), 2, Some(503), "DI,FI"),
            (Some(both.clone()), Some(delay(1, Fraction::ALL)), 1, None, "DI"),
            (Some(both), Some(none), 0, None, "-"),
        ] {
            let chain = chain(of_filter.clone(), &Registry::new());
            let (took, answer, seen) = run(&chain, &route(of_route.clone()), 1).await;
            let case = format!("{of_filter:?} {of_route:?}");
            assert_eq!(took.as_secs(), seconds, "{case}");
            assert_eq!(answer.as_ref().map(|a| a.status.as_u16()), status, "{case}");
            assert_eq!(seen, flags, "{case}");
            assert!(answer.is_none_or(|a| a.details == "fault_filter_abort" && a.flags.to_string() == flags), "{case}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn shares_are_kept_and_independent() {
        let half = Fraction::percent(50.0);
        let fault = Fault { abort: abort(AbortAnswer::Http(500), half).abort, ..delay(1, half) };
        let (chain, route) = (chain(Some(fault), &Registry::new()), route(None));
        let mut counts = std::collections::BTreeMap::new();
        for draw in 0..4000 {
            *counts.entry(run(&chain, &route, draw).await.2).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 4);
        assert!(counts.values().all(|n| (850..1150).contains(n)), "{counts:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_delay_ends_with_its_exchange() {
        let registry = Registry::new();
        let (chain, route) = (chain(Some(delay(60, Fraction::ALL)), &registry), route(None));
        let shown = |name: &str, value: u64| {
            let line = format!("envoy_http_fault_{name}{{envoy_http_conn_manager_prefix=\"in\"}} {value}");
            let text = registry.expose(&Exposition::default());
            assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
        };
        let mut waiting = Box::pin(run(&chain, &route, 1));
        assert!(tokio::time::timeout(SECOND, &mut waiting).await.is_err());
        shown("active_faults", 1);
        drop(waiting);
        shown("active_faults", 0);
        shown("delays_injected", 1);
    }

    #[tokio::test]
    async fn answers_in_both_languages() {
        let registry = Registry::new();
        for (answer, grpc, expected) in [
            (AbortAnswer::Http(503), false, (503, None, "fault filter abort")),
            (AbortAnswer::Http(503), true, (200, Some(14), "")),
            (AbortAnswer::Grpc(7), false, (403, None, "fault filter abort")),
            (AbortAnswer::Grpc(7), true, (200, Some(7), "")),
            (AbortAnswer::Http(1), false, (500, None, "fault filter abort")),
        ] {
            let chain = chain(Some(abort(answer, Fraction::ALL)), &registry);
            let local = run(&chain, &route(None), 0).await.1.unwrap();
            let response = local.into_response(grpc);
            let status = response.status().as_u16();
            let grpc_status = GrpcStatus::from_headers(response.headers()).map(|s| s.0);
            let body = response.into_body().collect(100).await.unwrap().data;
            assert_eq!((status, grpc_status, std::str::from_utf8(&body).unwrap()), expected, "{answer:?} {grpc}");
        }
    }
}
