//! The HTTP filter contract, and the built-in filters, one file each.
//!
//! Knows no pool, no cluster at run time, no script and no WebAssembly: those are [extensions](Extension). A [`Chain`] is made of the model's filters once per
//! configuration and shared by all workers; every exchange [begins](Chain::begin) its own [`Run`] of it.
//!
//! | phase | when | what a filter may do |
//! |---|---|---|
//! | [`on_request`](HttpFilter::on_request) | the head of the request is there and its route is found, before the route takes effect (or that there is none); first filter first | change the head and the body, wait, have the route chosen anew, or answer itself |
//! | [`on_response`](HttpFilter::on_response) | the head of the response is there, whoever made it; last filter first, and only those that saw the request | change the head and the body, wait |
//!
//! A filter that waits is dropped with its exchange when the downstream goes away.
//!
//! ```
//! use filter::{Chain, Flow, NoExtensions, Stats};
//! use model::fault::{Abort, AbortAnswer};
//! use model::route::{Action, DirectResponse, Found, PathMatch};
//! use model::{Fault, Fraction, Route, VirtualHost, http_proxy::HttpFilter};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let stats = Stats::new(&telemetry::Registry::new().shard(), "outbound").unwrap();
//! let abort = Abort { answer: AbortAnswer::Http(555), share: Fraction::ALL };
//! let filters = [HttpFilter::Fault(Some(Fault { delay: None, abort: Some(abort) }))];
//! let chain = Chain::new(&filters, &stats, None, &NoExtensions).unwrap();
//! let answer = Action::Respond(DirectResponse { status: 200, body: "hello".into() });
//! let route = Route::new(PathMatch::Prefix("/".into()), answer);
//! let (host, around) = (VirtualHost::default(), filter::Alone::default());
//! let mut run = chain.begin(Some(&Found { host: &host, route: &route }), 42);
//! let mut request = http::Request::get("/").body(mesh_http::Body::empty()).unwrap();
//! let Flow::Respond(local) = run.on_request(&mut request, &around).await else { panic!() };
//! assert_eq!((local.status.as_u16(), local.flags.to_string().as_str()), (555, "FI"));
//! # });
//! ```

mod access;
mod around;
mod bucket;
mod buffer;
mod chain;
mod compressor;
mod concurrency;
mod cors;
mod draw;
mod ext_authz;
mod extension;
mod fault;
mod global_limit;
mod grpc_web;
mod jwt;
mod limiter;
mod local;
mod local_limit;
mod mutation;
mod oauth2;
mod standard;
mod stats;
mod told;

pub use around::{Alone, Answer, Around, Call, Exchange, Get, Sender, WholeAnswer};
pub use bucket::TokenBucket;
pub use chain::{Chain, Facts, Flow, HttpFilter, Run};
pub use concurrency::Places;
pub use draw::Draws;
pub use ext_authz::{Ends, METHOD as AUTHORIZATION_METHOD, connection_allowed, connection_question, wire_address};
pub use extension::{Extension, Extensions, NoExtensions, Phase};
pub use local::LocalResponse;
pub use local_limit::{ConnectionLimits, Limits, RouteLimits};
pub use stats::Stats;
