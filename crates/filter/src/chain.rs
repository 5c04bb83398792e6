//! Filters in a row: the contract, the set of them, and one exchange's way through.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderValue, Request, Response};
use mesh_http::{Body, BodyErrorKind};
use model::headers::HeaderWrite;
use model::rate_limit::Seen;
use model::route::{Action, FilterRule, FilterRules, Found};
use model::{Route, VirtualHost, http_proxy};
use telemetry::ResponseFlags;

use crate::access::AccessFilter;
use crate::around::Around;
use crate::buffer::BufferFilter;
use crate::compressor::{CompressorFilter, Encodings};
use crate::concurrency::{ConcurrencyFilter, Controller, Controllers, Places};
use crate::cors::CorsFilter;
use crate::draw::Draws;
use crate::ext_authz::ExtAuthzFilter;
use crate::extension::{Extension, Extensions, Kept};
use crate::fault::FaultFilter;
use crate::global_limit::GlobalLimitFilter;
use crate::grpc_web::{GrpcWebFilter, WebCall};
use crate::jwt::{JwtFilter, Tokens};
use crate::local::LocalResponse;
use crate::local_limit::{Limits, LocalLimitFilter};
use crate::mutation::MutationFilter;
use crate::oauth2::OAuth2Filter;
use crate::stats::Stats;
use crate::told::Told;

/// How an exchange goes on after a filter.
#[derive(Debug)]
pub enum Flow {
    /// To the next filter, or to the route's action.
    Continue,
    /// The same, on the route that fits the request now: it is found again first.
    Reroute,
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
    /// What the client accepts, as the compressors saw it.
    pub encodings: Encodings,
    /// The call came as gRPC-Web.
    pub web_call: Option<WebCall>,
    /// The places that it has under limits.
    pub places: Places,
    /// What a service that authorized the request writes to the response.
    pub writes: Vec<HeaderWrite>,
    /// Cookies that somebody whose login was renewed is given.
    pub cookies: Vec<HeaderValue>,
    /// What extensions keep.
    pub kept: Kept,
}

impl<'a> Facts<'a> {
    /// Does the route send requests to a cluster?
    pub fn is_forwarded(&self) -> bool {
        self.route.is_some_and(|route| matches!(route.action, Action::Forward(_)))
    }

    /// The cluster that the request goes to, if its route forwards.
    pub fn cluster(&self) -> Option<&'a str> {
        match &self.route?.action {
            Action::Forward(to) => to.pick(self.draws.of_cluster()).map(|cluster| &*cluster.name),
            Action::Redirect(_) | Action::Respond(_) => None,
        }
    }

    /// What the route, and what its virtual host says to all filters.
    pub(crate) fn said(&self) -> [Option<&'a FilterRules>; 2] {
        let route = self.route.and_then(|route| route.filters.as_deref());
        [route, self.host.and_then(|host| host.filters.as_deref())]
    }

    /// Keeps something of an extension's for the response, and until the exchange is over.
    pub fn keep(&mut self, filter: &dyn Extension, value: Rc<dyn Any>) {
        self.left.get_or_insert_default().kept.insert(address(filter), value);
    }

    /// What an extension has [kept](Self::keep).
    pub fn kept(&self, filter: &dyn Extension) -> Option<Rc<dyn Any>> {
        self.left.as_ref()?.kept.get(address(filter))
    }

    /// What the route, and what its virtual host says to the filter of this name.
    pub(crate) fn rules(&self, name: &str) -> [Option<&'a FilterRule>; 2] {
        self.said().map(|rules| rules?.named.get(name))
    }

    /// What holds for the filter of this name: what is said nearer to the request.
    pub fn rule(&self, name: &str) -> Option<&'a FilterRule> {
        let [route, host] = self.rules(name);
        route.or(host)
    }

    /// What descriptors are made of.
    pub(crate) fn seen<'r>(&self, request: &'r Request<Body>) -> Seen<'r>
    where
        'a: 'r,
    {
        Seen {
            request: self.around.view(request),
            remote: self.around.remote_address(request.headers()),
            identity: self.around.identity(),
            route: self.route.map(|route| &*route.name),
            source_cluster: self.around.service_cluster(),
            cluster: self.cluster(),
        }
    }
}

/// Tells one filter of a chain from the others.
fn address(filter: &dyn Extension) -> usize {
    std::ptr::from_ref(filter).cast::<()>().addr()
}

/// The filters of one chain. Shared by all workers.
#[derive(Debug)]
pub struct Chain {
    filters: Box<[Filter]>,
    /// Any of them waits for a body.
    waits: bool,
}

/// The filters. Those that are built in are a closed set, so that none is boxed.
#[derive(Debug)]
enum Filter {
    Fault(FaultFilter),
    Cors(CorsFilter),
    LocalLimit(LocalLimitFilter),
    GlobalLimit(GlobalLimitFilter),
    Compressor(CompressorFilter),
    GrpcWeb(GrpcWebFilter),
    Mutation(Box<MutationFilter>),
    Buffer(BufferFilter),
    Access(Box<AccessFilter>),
    Concurrency(ConcurrencyFilter),
    Jwt(JwtFilter),
    ExtAuthz(ExtAuthzFilter),
    OAuth2(OAuth2Filter),
    Extension(Arc<dyn Extension>),
}

impl HttpFilter for Filter {
    async fn on_request(&self, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        match self {
            Self::Fault(filter) => filter.on_request(request, facts).await,
            Self::Cors(filter) => filter.on_request(request, facts).await,
            Self::LocalLimit(filter) => filter.on_request(request, facts).await,
            Self::GlobalLimit(filter) => filter.on_request(request, facts).await,
            Self::Compressor(filter) => filter.on_request(request, facts).await,
            Self::GrpcWeb(filter) => filter.on_request(request, facts).await,
            Self::Mutation(filter) => filter.on_request(request, facts).await,
            Self::Buffer(filter) => filter.on_request(request, facts).await,
            Self::Access(filter) => filter.on_request(request, facts).await,
            Self::Concurrency(filter) => filter.on_request(request, facts).await,
            Self::Jwt(filter) => filter.on_request(request, facts).await,
            Self::ExtAuthz(filter) => filter.on_request(request, facts).await,
            Self::OAuth2(filter) => filter.on_request(request, facts).await,
            Self::Extension(filter) => filter.on_request(request, facts).await,
        }
    }

    async fn on_response(&self, response: &mut Response<Body>, facts: &mut Facts<'_>) {
        match self {
            Self::Fault(filter) => filter.on_response(response, facts).await,
            Self::Cors(filter) => filter.on_response(response, facts).await,
            Self::LocalLimit(filter) => filter.on_response(response, facts).await,
            Self::GlobalLimit(filter) => filter.on_response(response, facts).await,
            Self::Compressor(filter) => filter.on_response(response, facts).await,
            Self::GrpcWeb(filter) => filter.on_response(response, facts).await,
            Self::Mutation(filter) => filter.on_response(response, facts).await,
            Self::Buffer(filter) => filter.on_response(response, facts).await,
            // It has nothing to say of responses.
            Self::Access(_) => {}
            Self::Concurrency(filter) => filter.on_response(response, facts).await,
            Self::Jwt(filter) => filter.on_response(response, facts).await,
            Self::ExtAuthz(filter) => filter.on_response(response, facts).await,
            Self::OAuth2(filter) => filter.on_response(response, facts).await,
            Self::Extension(filter) => filter.on_response(response, facts).await,
        }
    }
}

impl Chain {
    /// The filters of the settings, counted there; those that are not built in are made by `extensions`. What a chain
    /// `before` has counted of limits lives on in filters whose settings are the same.
    ///
    /// # Errors
    /// Why there is no filter of some settings.
    pub fn new(
        filters: &[http_proxy::HttpFilter],
        stats: &Stats,
        before: Option<&Self>,
        extensions: &dyn Extensions,
    ) -> Result<Self, String> {
        let compressors = filters.iter().filter_map(|filter| match filter {
            http_proxy::HttpFilter::Compressor(compressor) => Some((**compressor).clone()),
            _ => None,
        });
        let compressors: Arc<[_]> = compressors.collect();
        let mut next_compressor = 0..;
        let mut kept: Vec<&Arc<Limits>> = before.map(Self::limits).unwrap_or_default();
        let mut kept_tokens: Vec<&Arc<Tokens>> = before.map(Self::tokens).unwrap_or_default();
        let mut controllers = Controllers::before(before.map(Self::controllers).unwrap_or_default());
        let mut built = Vec::with_capacity(filters.len());
        for filter in filters {
            built.push(match filter {
                http_proxy::HttpFilter::Fault(fault) => Filter::Fault(FaultFilter::new(fault.clone(), stats.clone())),
                http_proxy::HttpFilter::Cors => Filter::Cors(CorsFilter::new(stats.clone())),
                http_proxy::HttpFilter::LocalRateLimit(settings) => {
                    let same = kept.iter().position(|limits| limits.settings() == &**settings);
                    let limits = same.map(|at| kept.remove(at).clone());
                    let limits = limits.unwrap_or_else(|| Arc::new(Limits::new(settings.clone(), stats)));
                    Filter::LocalLimit(LocalLimitFilter::new(limits))
                }
                http_proxy::HttpFilter::GlobalRateLimit(settings) => {
                    Filter::GlobalLimit(GlobalLimitFilter::new(settings.clone(), stats.clone()))
                }
                http_proxy::HttpFilter::Compressor(_) => {
                    let own = next_compressor.next().unwrap_or_default();
                    Filter::Compressor(CompressorFilter::new(compressors.clone(), own, stats))
                }
                http_proxy::HttpFilter::GrpcWeb => Filter::GrpcWeb(GrpcWebFilter),
                http_proxy::HttpFilter::HeaderMutation(it) => {
                    Filter::Mutation(Box::new(MutationFilter::new((**it).clone())))
                }
                http_proxy::HttpFilter::Access(it) => {
                    Filter::Access(Box::new(AccessFilter::new((**it).clone(), stats)))
                }
                http_proxy::HttpFilter::Buffer(it) => Filter::Buffer(BufferFilter::new(it.clone())),
                http_proxy::HttpFilter::AdaptiveConcurrency(settings) => {
                    Filter::Concurrency(ConcurrencyFilter::new(controllers.next(settings, stats)))
                }
                http_proxy::HttpFilter::Jwt(settings) => {
                    let same = kept_tokens.iter().position(|tokens| *tokens.settings() == **settings);
                    let tokens = same.map(|at| kept_tokens.remove(at).clone());
                    let tokens = tokens.unwrap_or_else(|| Arc::new(Tokens::new(settings.clone())));
                    Filter::Jwt(JwtFilter::new(tokens, stats.clone()))
                }
                http_proxy::HttpFilter::ExtAuthz(settings) => {
                    Filter::ExtAuthz(ExtAuthzFilter::new(settings.clone(), stats.clone()))
                }
                http_proxy::HttpFilter::OAuth2(settings) => {
                    Filter::OAuth2(OAuth2Filter::new(settings.clone(), stats.clone()))
                }
                // Done before a route is chosen.
                http_proxy::HttpFilter::Geo(_) | http_proxy::HttpFilter::DynamicForward(_) => continue,
                http_proxy::HttpFilter::Lua(it) => {
                    Filter::Extension(extensions.lua(it, &stats.shard, &stats.prefix)?)
                }
                http_proxy::HttpFilter::Wasm(it) => {
                    Filter::Extension(extensions.wasm(it, &stats.shard, &stats.prefix)?)
                }
            });
        }
        let waits = built.iter().any(|filter| {
            matches!(filter, Filter::GrpcWeb(_) | Filter::Buffer(_) | Filter::ExtAuthz(_) | Filter::Extension(_))
        });
        Ok(Self { filters: built.into(), waits })
    }

    fn limits(&self) -> Vec<&Arc<Limits>> {
        let own = self.filters.iter().filter_map(|filter| match filter {
            Filter::LocalLimit(filter) => Some(filter.own()),
            _ => None,
        });
        own.collect()
    }

    fn tokens(&self) -> Vec<&Arc<Tokens>> {
        let own = self.filters.iter().filter_map(|filter| match filter {
            Filter::Jwt(filter) => Some(filter.tokens()),
            _ => None,
        });
        own.collect()
    }

    pub(crate) fn controllers(&self) -> Vec<&Arc<Controller>> {
        let own = self.filters.iter().filter_map(|filter| match filter {
            Filter::Concurrency(filter) => Some(filter.controller()),
            _ => None,
        });
        own.collect()
    }

    /// Does any of them wait for a body? Whoever runs such a chain sets it a limit of time.
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// An exchange begins its way; `found` is its route, if it has one. `draw` is even over all of `u64`: all chance
    /// within the filters follows from it, and the choice of a cluster.
    pub fn begin<'a>(&'a self, found: Option<&Found<'a>>, draw: u64) -> Run<'a> {
        let (route, host) = (found.map(|found| found.route), found.map(|found| found.host));
        let flags = ResponseFlags::NONE;
        Run { filters: &self.filters, seen: 0, drawn: 0, flags, seed: draw, route, host, left: None }
    }
}

/// One exchange on its way through a chain. It is part of every exchange for as long as that lasts, so it is small: what
/// filters are shown beside is put together when they are asked.
#[derive(Debug)]
pub struct Run<'a> {
    filters: &'a [Filter],
    /// How many filters saw the request. No chain is so long that it could not be told.
    seen: u16,
    /// The draws, in less room.
    drawn: u16,
    flags: ResponseFlags,
    seed: u64,
    route: Option<&'a Route>,
    host: Option<&'a VirtualHost>,
    left: Option<Box<Left>>,
}

impl<'a> Run<'a> {
    /// Shows the request to the filters, until one answers or wants the route [chosen anew](Run::rerouted); asked again
    /// then, it goes on after that one.
    pub async fn on_request(&mut self, request: &mut Request<Body>, around: &dyn Around) -> Flow {
        let mut facts = self.facts(around);
        for filter in &self.filters[self.seen.into()..] {
            self.seen = self.seen.saturating_add(1);
            let flow = match filter.on_request(request, &mut facts).await {
                Flow::Continue => continue,
                Flow::Respond(mut local) => {
                    facts.flags.insert(local.flags);
                    local.flags = facts.flags;
                    Flow::Respond(local)
                }
                other @ (Flow::Reroute | Flow::Broken(_)) => other,
            };
            self.keep(facts);
            return flow;
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

    /// The route was chosen anew.
    pub fn rerouted(&mut self, found: Option<&Found<'a>>) {
        (self.route, self.host) = (found.map(|found| found.route), found.map(|found| found.host));
    }

    /// The places that the request has taken under limits, to be held until it is over.
    pub fn places(&mut self) -> Places {
        self.left.as_mut().map(|left| std::mem::take(&mut left.places)).unwrap_or_default()
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
