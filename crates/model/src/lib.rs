//! The one internal model of what a proxy does: listeners, filter chains, virtual hosts, routes, clusters, endpoints,
//! secrets; and pure questions on it (select a filter chain, match a request, order priorities).
//!
//! It follows xDS v3 in words and meaning. `translate` writes it, `xds` carries it over the wire in both directions,
//! `proxy` runs it. Deliberately absent: async, sockets, serde, protobuf, YAML, clocks, metrics.
//!
//! ```
//! use model::route::{self, Action, DirectResponse, PathMatch, RequestView, Route, RouteConfiguration, VirtualHost};
//! let answer = Action::Respond(DirectResponse { status: 200, body: "hello".into() });
//! let table = RouteConfiguration::new("80", vec![VirtualHost {
//!     name: "all".into(),
//!     domains: vec!["*".into()],
//!     routes: vec![Route::new(PathMatch::Prefix("/".into()), answer)],
//!     ..VirtualHost::default()
//! }]);
//! let index = route::HostIndex::new(&table);
//! let request = RequestView::get("reviews:9080", "/reviews/0");
//! assert_eq!(&*route::find(&table, &index, &request, 0).unwrap().host.name, "all");
//! ```

pub mod access;
pub mod access_log;
pub mod address;
pub mod buffer;
pub mod chain;
pub mod cluster;
pub mod compression;
pub mod concurrency;
pub mod config;
pub mod connection_limits;
pub mod cors;
pub mod dynamic_forward;
pub mod edge;
pub mod endpoint;
pub mod ext_authz;
pub mod extension;
pub mod fault;
pub mod geo;
pub mod grpc_service;
pub mod headers;
pub mod health_check;
pub mod http_proxy;
pub mod jwt;
pub mod limits;
pub mod listener;
pub mod matcher;
pub mod metadata;
pub mod metrics;
pub mod mutation;
pub mod names;
pub mod oauth2;
pub mod outlier;
pub mod rate_limit;
pub mod retry;
pub mod route;
pub mod secret;
pub mod slow_start;
pub mod target;
pub mod tcp_proxy;
pub mod tls;
pub mod tracing;
pub mod words;
mod workload;

pub use access::Access;
pub use access_log::AccessLog;
pub use address::Address;
pub use buffer::Buffer;
pub use cluster::Cluster;
pub use compression::Compressor;
pub use concurrency::AdaptiveConcurrency;
pub use config::{Config, ResourceKind};
pub use connection_limits::ConnectionLimits;
pub use cors::Cors;
pub use dynamic_forward::DnsCache;
pub use edge::{Edge, HttpLimits, ServerHeader};
pub use endpoint::{Endpoint, EndpointSet, Locality, LocalityEndpoints};
pub use ext_authz::ExtAuthz;
pub use fault::Fault;
pub use geo::Geo;
pub use grpc_service::GrpcService;
pub use headers::HeaderChanges;
pub use health_check::HealthCheck;
pub use http_proxy::HttpProxy;
pub use jwt::JwtAuthentication;
pub use limits::CircuitBreakers;
pub use listener::{ApiListener, Direction, FilterChain, Guard, Listener, NetworkFilter};
pub use matcher::{Fraction, Pattern, StringMatch};
pub use metadata::{Metadata, MetadataMatch};
pub use mutation::HeaderMutation;
pub use names::{NameLimit, NameTable, NameTables};
pub use oauth2::OAuth2;
pub use outlier::OutlierDetection;
pub use rate_limit::{GlobalRateLimit, LocalRateLimit};
pub use retry::RetryPolicy;
pub use route::{Route, RouteConfiguration, VirtualHost};
pub use secret::Secret;
pub use slow_start::SlowStart;
pub use target::TargetRules;
pub use tcp_proxy::TcpProxy;
pub use workload::{DestinationService, WorkloadRef};
