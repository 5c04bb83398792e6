//! Filters in a row: the contract, the closed set of them, and one exchange's way through.

use std::sync::Arc;

use http::{HeaderValue, Request, Response};
use mesh_http::Body;
use model::rate_limit::Seen;
use model::route::{Action, Found};
use model::{Route, VirtualHost};
use telemetry::ResponseFlags;

use crate::around::Around;
use crate::cors::CorsFilter;
use crate::draw::Draws;
use crate::fault::FaultFilter;
use crate::global_limit::GlobalLimitFilter;
use crate::local::LocalResponse;
use crate::local_limit::{Limits, LocalLimitFilter};
use crate::stats::Stats;
use crate::told::Told;

/// How an exchange goes on after a filter.
#[derive(Debug)]
pub enum Flow {
    /// To the next filter, or to the route's action.
    Continue,
    /// Back: this is the answer.
    Respond(Box<LocalResponse>),
}

/// What a filter is told and may do, phase by phase. See the table at the head of this crate.
#[expect(async_fn_in_trait, reason = "filters run on one worker; their futures need not be Send")]
pub trait HttpFilter {
    /// The head of the request is there. `facts` is what is known of the exchange.
    async fn on_request(&self, _request: &mut Request<Body>, _facts: &mut Facts<'_>) -> Flow {
        Flow::Continue
    }

    /// The head of the response is there.
    async fn on_response(&self, _response: &mut Response<Body>, _facts: &mut Facts<'_>) {}
}

/// What filters know of an exchange, and what they leave to be recorded.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The route that was found.
    pub route: &'a Route,
    /// Its virtual host.
    pub host: &'a VirtualHost,
    /// The proxy around.
    pub around: &'a dyn Around,
    /// Chance.
    pub draws: Draws,
    /// What was done to the exchange.
    pub flags: ResponseFlags,
    /// What filters leave for the response. Most leave nothing.
    pub(crate) left: Option<Box<Left>>,
}

/// What filters leave for the response.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// The origin that may read the answer, as the CORS filter found out.
    pub origin: Option<HeaderValue>,
    /// What it is told of limits.
    pub told: Told,
}

impl<'a> Facts<'a> {
    /// Does the route send requests to a cluster?
    pub fn is_forwarded(&self) -> bool {
        matches!(self.route.action, Action::Forward(_))
    }

    /// The cluster that the request goes to, if its route forwards.
    pub fn cluster(&self) -> Option<&'a str> {
        match &self.route.action {
            Action::Forward(to) => to.pick(self.draws.of_cluster()).map(|cluster| &*cluster.name),
            Action::Redirect(_) | Action::Respond(_) => None,
        }
    }

    /// What descriptors are made of.
    pub(crate) fn seen<'r>(&self, request: &'r Request<Body>) -> Seen<'r>
    where
        'a: 'r,
    {
        Seen {
            request: self.around.view(request),
            remote: self.around.remote_address(request.headers()),
            source_cluster: self.around.service_cluster(),
            cluster: self.cluster(),
        }
    }
}

/// The filters of one chain. Shared by all workers.
#[derive(Debug)]
pub struct Chain {
    filters: Box<[Builtin]>,
}

/// The built-in filters: a closed set, so that none is boxed.
#[derive(Debug)]
enum Builtin {
    Fault(FaultFilter),
    Cors(CorsFilter),
    LocalLimit(LocalLimitFilter),
    GlobalLimit(GlobalLimitFilter),
}

impl HttpFilter for Builtin {
    async fn on_request(&self, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        match self {
            Self::Fault(filter) => filter.on_request(request, facts).await,
            Self::Cors(filter) => filter.on_request(request, facts).await,
            Self::LocalLimit(filter) => filter.on_request(request, facts).await,
            Self::GlobalLimit(filter) => filter.on_request(request, facts).await,
        }
    }

    async fn on_response(&self, response: &mut Response<Body>, facts: &mut Facts<'_>) {
        match self {
            Self::Fault(filter) => filter.on_response(response, facts).await,
            Self::Cors(filter) => filter.on_response(response, facts).await,
            Self::LocalLimit(filter) => filter.on_response(response, facts).await,
            Self::GlobalLimit(filter) => filter.on_response(response, facts).await,
        }
    }
}

impl Chain {
    /// The filters of the settings, counted there. What a chain `before` has counted of limits lives on in filters whose
    /// settings are the same.
    pub fn new(filters: &[model::http_proxy::HttpFilter], stats: &Stats, before: Option<&Self>) -> Self {
        let mut kept: Vec<&Arc<Limits>> = before.map(Self::limits).unwrap_or_default();
        let built = filters.iter().filter_map(|filter| match filter {
            model::http_proxy::HttpFilter::Fault(fault) => {
                Some(Builtin::Fault(FaultFilter::new(fault.clone(), stats.clone())))
            }
            model::http_proxy::HttpFilter::Cors => Some(Builtin::Cors(CorsFilter::new(stats.clone()))),
            model::http_proxy::HttpFilter::LocalRateLimit(settings) => {
                let same = kept.iter().position(|limits| limits.settings() == &**settings);
                let limits = same.map(|at| kept.remove(at).clone());
                let limits = limits.unwrap_or_else(|| Arc::new(Limits::new(settings.clone(), stats)));
                Some(Builtin::LocalLimit(LocalLimitFilter::new(limits)))
            }
            model::http_proxy::HttpFilter::GlobalRateLimit(settings) => {
                Some(Builtin::GlobalLimit(GlobalLimitFilter::new(settings.clone(), stats.clone())))
            }
            // Done before a route is chosen.
            model::http_proxy::HttpFilter::Geo(_) => None,
        });
        Self { filters: built.collect() }
    }

    fn limits(&self) -> Vec<&Arc<Limits>> {
        let own = self.filters.iter().filter_map(|filter| match filter {
            Builtin::LocalLimit(filter) => Some(filter.own()),
            _ => None,
        });
        own.collect()
    }

    /// An exchange that was routed begins its way. `draw` is even over all of `u64`: all chance within the filters
    /// follows from it, and the choice of a cluster.
    pub fn begin<'a>(&'a self, found: &Found<'a>, draw: u64) -> Run<'a> {
        let Found { route, host, .. } = *found;
        let flags = ResponseFlags::NONE;
        Run { filters: &self.filters, seen: 0, drawn: 0, flags, seed: draw, route, host, left: None }
    }
}

/// One exchange on its way through a chain. It is part of every exchange for as long as that lasts, so it is small: what
/// filters are shown beside is put together when they are asked.
#[derive(Debug)]
pub struct Run<'a> {
    filters: &'a [Builtin],
    /// How many filters saw the request. No chain is so long that it could not be told.
    seen: u16,
    /// The draws, in less room.
    drawn: u16,
    flags: ResponseFlags,
    seed: u64,
    route: &'a Route,
    host: &'a VirtualHost,
    left: Option<Box<Left>>,
}

impl<'a> Run<'a> {
    /// Shows the request to the filters, until one answers.
    pub async fn on_request(&mut self, request: &mut Request<Body>, around: &dyn Around) -> Flow {
        let mut facts = self.facts(around);
        for filter in self.filters {
            self.seen = self.seen.saturating_add(1);
            if let Flow::Respond(mut local) = filter.on_request(request, &mut facts).await {
                facts.flags.insert(local.flags);
                local.flags = facts.flags;
                self.keep(facts);
                return Flow::Respond(local);
            }
        }
        self.keep(facts);
        Flow::Continue
    }

    /// Shows the response to the filters that saw the request.
    pub async fn on_response(&mut self, response: &mut Response<Body>, around: &dyn Around) {
        let mut facts = self.facts(around);
        for filter in self.filters[..self.seen.into()].iter().rev() {
            filter.on_response(response, &mut facts).await;
        }
        self.keep(facts);
    }

    /// The chance by which the route chooses a cluster.
    pub fn cluster_draw(&self) -> u64 {
        Draws::new(self.seed).of_cluster()
    }

    /// What filters have done to the exchange so far, for its record: `DI` after a delay, say. A local response
    /// carries these too.
    pub fn flags(&self) -> ResponseFlags {
        self.flags
    }

    fn facts<'f>(&mut self, around: &'f dyn Around) -> Facts<'f>
    where
        'a: 'f,
    {
        let draws = Draws { seed: self.seed, drawn: self.drawn };
        Facts { route: self.route, host: self.host, around, draws, flags: self.flags, left: self.left.take() }
    }

    fn keep(&mut self, facts: Facts<'_>) {
        (self.drawn, self.flags, self.left) = (facts.draws.drawn, facts.flags, facts.left);
    }
}
