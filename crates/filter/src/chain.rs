//! Filters in a row: the contract, the closed set of them, and one exchange's way through.

use std::sync::Arc;

use http::{HeaderValue, Request, Response};
use mesh_http::{Body, BodyErrorKind};
use model::route::{FilterRule, FilterRules, Found};
use model::{Route, VirtualHost, http_proxy};
use telemetry::ResponseFlags;

use crate::buffer::BufferFilter;
use crate::compressor::{CompressorFilter, Encodings};
use crate::cors::CorsFilter;
use crate::draw::Draws;
use crate::fault::FaultFilter;
use crate::grpc_web::{Call, GrpcWebFilter};
use crate::local::LocalResponse;
use crate::mutation::MutationFilter;
use crate::stats::Stats;

/// How an exchange goes on after a filter.
#[derive(Debug)]
pub enum Flow {
    /// To the next filter, or to the route's action.
    Continue,
    /// Back: this is the answer.
    Respond(Box<LocalResponse>),
    /// The request's body broke off, or is too long for a filter.
    Broken(BodyErrorKind),
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
    /// The route that was found, if there is one.
    pub route: Option<&'a Route>,
    /// Its virtual host.
    pub host: Option<&'a VirtualHost>,
    /// Chance.
    pub draws: Draws,
    /// What was done to the exchange.
    pub flags: ResponseFlags,
    /// The origin that may read the answer, as the CORS filter found out.
    pub(crate) origin: Option<Box<HeaderValue>>,
    /// What the client accepts, as the compressors saw it.
    pub(crate) encodings: Option<Box<Encodings>>,
    /// The call came as gRPC-Web.
    pub(crate) web_call: Option<Call>,
}

impl<'a> Facts<'a> {
    /// What the route, and what its virtual host says to the filter of this name.
    pub(crate) fn rules(&self, name: &str) -> [Option<&'a FilterRule>; 2] {
        let of = |rules: Option<&'a FilterRules>| rules?.named.get(name);
        let route = self.route.and_then(|route| route.filters.as_deref());
        [of(route), of(self.host.and_then(|host| host.filters.as_deref()))]
    }

    /// What holds for the filter of this name: what is said nearer to the request.
    pub(crate) fn rule(&self, name: &str) -> Option<&'a FilterRule> {
        let [route, host] = self.rules(name);
        route.or(host)
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
    Compressor(CompressorFilter),
    GrpcWeb(GrpcWebFilter),
    Mutation(Box<MutationFilter>),
    Buffer(BufferFilter),
}

impl HttpFilter for Builtin {
    async fn on_request(&self, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        match self {
            Self::Fault(filter) => filter.on_request(request, facts).await,
            Self::Cors(filter) => filter.on_request(request, facts).await,
            Self::Compressor(filter) => filter.on_request(request, facts).await,
            Self::GrpcWeb(filter) => filter.on_request(request, facts).await,
            Self::Mutation(filter) => filter.on_request(request, facts).await,
            Self::Buffer(filter) => filter.on_request(request, facts).await,
        }
    }

    async fn on_response(&self, response: &mut Response<Body>, facts: &mut Facts<'_>) {
        match self {
            Self::Fault(filter) => filter.on_response(response, facts).await,
            Self::Cors(filter) => filter.on_response(response, facts).await,
            Self::Compressor(filter) => filter.on_response(response, facts).await,
            Self::GrpcWeb(filter) => filter.on_response(response, facts).await,
            Self::Mutation(filter) => filter.on_response(response, facts).await,
            Self::Buffer(filter) => filter.on_response(response, facts).await,
        }
    }
}

impl Chain {
    /// The filters of the settings, counted there.
    pub fn new(filters: &[http_proxy::HttpFilter], stats: &Stats) -> Self {
        let compressors = filters.iter().filter_map(|filter| match filter {
            http_proxy::HttpFilter::Compressor(compressor) => Some((**compressor).clone()),
            _ => None,
        });
        let compressors: Arc<[_]> = compressors.collect();
        let mut next_compressor = 0..;
        let built = filters.iter().map(|filter| match filter {
            http_proxy::HttpFilter::Fault(fault) => Builtin::Fault(FaultFilter::new(fault.clone(), stats.clone())),
            http_proxy::HttpFilter::Cors => Builtin::Cors(CorsFilter::new(stats.clone())),
            http_proxy::HttpFilter::Compressor(_) => {
                let own = next_compressor.next().unwrap_or_default();
                Builtin::Compressor(CompressorFilter::new(compressors.clone(), own, stats))
            }
            http_proxy::HttpFilter::GrpcWeb => Builtin::GrpcWeb(GrpcWebFilter),
            http_proxy::HttpFilter::HeaderMutation(it) => {
                Builtin::Mutation(Box::new(MutationFilter::new((**it).clone())))
            }
            http_proxy::HttpFilter::Buffer(it) => Builtin::Buffer(BufferFilter::new(it.clone())),
        });
        Self { filters: built.collect() }
    }

    /// Does any of them wait for a body? Whoever runs such a chain sets it a limit of time.
    pub fn waits(&self) -> bool {
        self.filters.iter().any(|filter| matches!(filter, Builtin::GrpcWeb(_) | Builtin::Buffer(_)))
    }

    /// An exchange begins its way; `found` is its route, if it has one. `draw` is even over all of `u64`: all chance
    /// within the filters follows from it.
    pub fn begin<'a>(&'a self, found: Option<&Found<'a>>, draw: u64) -> Run<'a> {
        let facts = Facts {
            route: found.map(|found| found.route),
            host: found.map(|found| found.host),
            draws: Draws::new(draw),
            flags: ResponseFlags::NONE,
            origin: None,
            encodings: None,
            web_call: None,
        };
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
            match filter.on_request(request, &mut self.facts).await {
                Flow::Continue => {}
                Flow::Respond(mut local) => {
                    self.facts.flags.insert(local.flags);
                    local.flags = self.facts.flags;
                    return Flow::Respond(local);
                }
                broken @ Flow::Broken(_) => return broken,
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
