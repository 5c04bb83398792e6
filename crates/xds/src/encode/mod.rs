//! Model to wire. What is written here is accepted by a stock Envoy 1.40, and read back by [`crate::decode`] to the
//! same value. Equal values give equal bytes, so a hash of the bytes serves as version.

mod access;
mod access_log;
mod balancing;
mod buffer;
mod cluster;
mod compressor;
mod concurrency;
mod dynamic_forward;
mod endpoint;
mod ext_authz;
mod extension;
mod filter_rules;
mod geo;
mod grpc_service;
mod hash;
mod headers;
mod http_proxy;
mod http_service;
mod http_uri;
mod jwt;
mod limits;
mod listener;
mod matcher;
mod metrics;
mod mutation;
mod names;
mod oauth2;
mod ordered;
mod rate_limit;
mod retry;
mod route;
mod runtime;
mod secret;
mod tcp_proxy;
mod tls;
mod tracing;

use std::time::Duration;

use model::Address;
use prost::Name;
use proto::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use proto::envoy::config::core::v3::{self as core, ConfigSource};
use proto::google::protobuf::{self, Any, BoolValue, UInt32Value};

use crate::Resource;

pub use cluster::cluster;
pub use endpoint::endpoints;
pub use listener::{api_listener, listener};
pub use names::names;
pub use route::{route, virtual_host};
pub use runtime::connection_limits;
pub use secret::secret;

/// A resource of any kind.
pub fn resource(resource: &Resource) -> Any {
    match resource {
        Resource::Cluster(it) => cluster(it),
        Resource::Endpoints(it) => endpoints(it),
        Resource::Listener(it) => listener(it),
        Resource::ApiListener(it) => api_listener(it),
        Resource::Route(it) => route(it),
        Resource::VirtualHost(_, it) => virtual_host(it),
        Resource::Secret(it) => secret(it),
        Resource::Names(_, it) => names(it),
        Resource::Limits(it) => connection_limits(it),
    }
}

/// Any typed message in its envelope.
fn pack<M: Name>(message: &M) -> Any {
    packed::<M>(message.encode_to_vec())
}

/// Bytes that are a message of type `M`.
fn packed<M: Name>(value: Vec<u8>) -> Any {
    Any { type_url: M::type_url(), value }
}

/// The longest duration that protobuf allows, in seconds.
const MAX_SECONDS: u64 = 315_576_000_000;

fn duration(value: Duration) -> protobuf::Duration {
    let seconds = value.as_secs().min(MAX_SECONDS);
    protobuf::Duration { seconds: seconds as i64, nanos: value.subsec_nanos() as i32 }
}

/// A limit whose absence Envoy writes as zero, and which is left out when it is Envoy's default.
fn limit(value: Option<Duration>, default: Option<Duration>) -> Option<protobuf::Duration> {
    (value != default).then(|| duration(value.unwrap_or_default()))
}

fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

/// A flag that is off when it is absent.
fn flag(value: bool) -> Option<BoolValue> {
    value.then_some(BoolValue { value })
}

/// The source of every discovered resource: the stream that this one came by.
fn ads() -> Option<ConfigSource> {
    Some(ConfigSource {
        resource_api_version: core::ApiVersion::V3 as i32,
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(core::AggregatedConfigSource {})),
        ..ConfigSource::default()
    })
}

fn address(address: &Address) -> Option<core::Address> {
    use core::address::Address as Wire;
    use core::socket_address::PortSpecifier;
    let socket = |address: String, port: u16, netns: &str| {
        Wire::SocketAddress(core::SocketAddress {
            address,
            network_namespace_filepath: netns.to_owned(),
            port_specifier: Some(PortSpecifier::PortValue(port.into())),
            ..core::SocketAddress::default()
        })
    };
    let wire = match address {
        Address::Socket { addr, netns } => {
            socket(addr.ip().to_string(), addr.port(), netns.as_deref().unwrap_or_default())
        }
        Address::Host { host, port } => socket(host.to_string(), *port, ""),
        Address::Pipe { path, netns: None } => {
            Wire::Pipe(core::Pipe { path: path.to_string_lossy().into_owned(), mode: 0 })
        }
        // A pipe of the wire has no namespace, and no IP address nor host begins with an `@`.
        Address::Pipe { path, netns: Some(netns) } => socket(path.to_string_lossy().into_owned(), 0, netns),
    };
    Some(core::Address { address: Some(wire) })
}
