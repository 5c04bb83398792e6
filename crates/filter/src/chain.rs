//! Filters in a row: the contract, the closed set of them, and one exchange's way through.

use http::{HeaderValue, Request, Response};
use mesh_http::Body;
use model::route::Found;
use model::{Route, VirtualHost};
use telemetry::ResponseFlags;

use crate::cors::CorsFilter;
use crate::draw::Draws;
use crate::fault::FaultFilter;
use crate::local::LocalResponse;
use crate::stats::Stats;

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
    /// Chance.
    pub draws: Draws,
    /// What was done to the exchange.
    pub flags: ResponseFlags,
    /// The origin that may read the answer, as the CORS filter found out.
    pub(crate) origin: Option<Box<HeaderValue>>,
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
}

impl HttpFilter for Builtin {
    async fn on_request(&self, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        match self {
            Self::Fault(filter) => filter.on_request(request, facts).await,
            Self::Cors(filter) => filter.on_request(request, facts).await,
        }
    }

    async fn on_response(&self, response: &mut Response<Body>, facts: &mut Facts<'_>) {
        match self {
            Self::Fault(filter) => filter.on_response(response, facts).await,
            Self::Cors(filter) => filter.on_response(response, facts).await,
        }
    }
}

impl Chain {
    /// The filters of the settings, counted there.
    pub fn new(filters: &[model::http_proxy::HttpFilter], stats: &Stats) -> Self {
        let built = filters.iter().filter_map(|filter| match filter {
            model::http_proxy::HttpFilter::Fault(fault) => {
                Some(Builtin::Fault(FaultFilter::new(fault.clone(), stats.clone())))
            }
            model::http_proxy::HttpFilter::Cors => Some(Builtin::Cors(CorsFilter::new(stats.clone()))),
            // Done before a route is chosen.
            model::http_proxy::HttpFilter::Geo(_) => None,
        });
        Self { filters: built.collect() }
    }

    /// An exchange that was routed begins its way. `draw` is even over all of `u64`: all chance within the filters
    /// follows from it.
    pub fn begin<'a>(&'a self, found: &Found<'a>, draw: u64) -> Run<'a> {
        let Found { route, host, .. } = *found;
        let facts = Facts { route, host, draws: Draws::new(draw), flags: ResponseFlags::NONE, origin: None };
        Run { filters: &self.filters, seen: 0, facts }
    }
}

/// One exchange on its way through a chain.
#[derive(Debug)]
pub struct Run<'a> {
    filters: &'a [Builtin],
    /// How many filters saw the request.
    seen: usize,
    facts: Facts<'a>,
}

impl Run<'_> {
    /// Shows the request to the filters, until one answers.
    pub async fn on_request(&mut self, request: &mut Request<Body>) -> Flow {
        for filter in self.filters {
            self.seen += 1;
            if let Flow::Respond(mut local) = filter.on_request(request, &mut self.facts).await {
                self.facts.flags.insert(local.flags);
                local.flags = self.facts.flags;
                return Flow::Respond(local);
            }
        }
        Flow::Continue
    }

    /// Shows the response to the filters that saw the request.
    pub async fn on_response(&mut self, response: &mut Response<Body>) {
        for filter in self.filters[..self.seen].iter().rev() {
            filter.on_response(response, &mut self.facts).await;
        }
    }

    /// What filters have done to the exchange so far, for its record: `DI` after a delay, say. A local response
    /// carries these too.
    pub fn flags(&self) -> ResponseFlags {
        self.facts.flags
    }
}
