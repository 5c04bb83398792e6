//! Wire to model. Defaults are Envoy's. What the model has no word for is an error that names its place, unless it
//! stands in an explicit list of fields that change nothing for a request; nothing is dropped in silence.

mod access;
mod access_log;
mod bootstrap;
mod buffer;
mod cluster;
mod compressor;
mod concurrency;
mod dynamic_forward;
mod endpoint;
mod ext_authz;
mod extension;
mod fault;
mod filter_rules;
mod geo;
mod grpc_service;
mod headers;
mod http_proxy;
mod http_service;
mod http_uri;
mod jwt;
mod listener;
mod matcher;
mod metrics;
mod mutation;
mod names;
mod oauth2;
mod path;
mod rate_limit;
mod retry;
mod route;
mod runtime;
mod secret;
mod tcp_proxy;
mod tls;
mod tracing;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use expression::Expression;
use model::{Address, NameTable, ResourceKind};
use prost::{Message, Name};
use proto::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use proto::envoy::config::core::v3::{self as core, ConfigSource, RuntimeFeatureFlag};
use proto::envoy::r#type::v3::Percent;
use proto::google::protobuf::{self, Any, BoolValue, value::Kind};

use crate::{Resource, type_url};

pub use bootstrap::{Bootstrap, Control, bootstrap};
pub(crate) use cluster::PEAK_EWMA;
pub use cluster::cluster;
pub use endpoint::endpoints;
pub use listener::{api_listener, listener};
pub(crate) use metrics::STATS;
pub use names::names;
pub use path::DecodeError;
pub use route::{route, virtual_host};
pub use runtime::connection_limits;
pub use secret::secret;
pub(crate) use tracing::{PROVIDERS, TAIL, ZIPKIN_TIMEOUT};

use path::{At, Decoded, take};

/// A resource of a given kind; its type URL must be that kind's. A virtual host has the name of its body, and a table of
/// names that of the one that is always there, until [`Resource::under`] gives them those that they were sent under.
pub fn resource(kind: ResourceKind, any: &Any) -> Result<Resource, DecodeError> {
    Ok(match kind {
        ResourceKind::Cluster => Resource::Cluster(Arc::new(cluster(any)?)),
        ResourceKind::Endpoints => Resource::Endpoints(Arc::new(endpoints(any)?)),
        ResourceKind::Listener => Resource::Listener(Arc::new(listener(any)?)),
        ResourceKind::Route => Resource::Route(Arc::new(route(any)?)),
        ResourceKind::VirtualHost => {
            let host = virtual_host(any)?;
            Resource::VirtualHost(host.name.clone(), Arc::new(host))
        }
        ResourceKind::Secret => Resource::Secret(Arc::new(secret(any)?)),
        ResourceKind::Names => Resource::Names(NameTable::RESOURCE.into(), Arc::new(names(any)?)),
        ResourceKind::Runtime => Resource::Limits(Arc::new(connection_limits(any)?)),
    })
}

/// Reads the message that an envelope holds.
fn unpack<M: Message + Default + Name>(any: &Any, at: &At<'_>) -> Decoded<M> {
    if type_name(&any.type_url) != type_name(&M::type_url()) {
        let problem = format!("is of type `{}`", any.type_url);
        return Err(at.error(problem, format!("`{}`", M::type_url())));
    }
    parse(&any.value, at)
}

fn parse<M: Message + Default>(bytes: &[u8], at: &At<'_>) -> Decoded<M> {
    M::decode(bytes).map_err(|error| at.error(format!("cannot be read ({error})"), "a protobuf message of its type"))
}

/// Reads the envelope of a whole resource of a kind.
fn open<M: Message + Default>(kind: ResourceKind, any: &Any) -> Decoded<M> {
    let at = At::resource("");
    let expected = type_url(kind);
    if any.type_url != expected {
        return Err(at.field("type_url").error(format!("is `{}`", any.type_url), format!("`{expected}`")));
    }
    parse(&any.value, &at.field("value"))
}

/// The full name of a message in a type URL: what comes after the last slash.
fn type_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

/// The elements of a list, each read at its own place.
fn each<T, U>(list: Vec<T>, at: &At<'_>, read: impl Fn(T, &At<'_>) -> Decoded<U>) -> Decoded<Vec<U>> {
    // Not collected: that would keep the list's own memory, in which the wire's large elements lay with room for more.
    let mut all = Vec::with_capacity(list.len());
    for (index, element) in list.into_iter().enumerate() {
        all.push(read(element, &at.index(index))?);
    }
    Ok(all)
}

/// An expression about exchanges.
fn expression(text: &str, at: &At<'_>) -> Decoded<Expression> {
    let parsed = Expression::parse(text);
    parsed.map_err(|error| at.error(format!("is `{text}`: {error}"), "CEL over Envoy's attributes"))
}

/// A list that must hold something.
fn filled<T>(list: Vec<T>, at: &At<'_>) -> Decoded<Vec<T>> {
    if list.is_empty() { Err(at.error("is empty", "one or more")) } else { Ok(list) }
}

fn required<T>(value: Option<T>, at: &At<'_>) -> Decoded<T> {
    value.ok_or_else(|| at.error("is missing", "a value"))
}

fn duration(value: protobuf::Duration, at: &At<'_>) -> Decoded<Duration> {
    let whole = u64::try_from(value.seconds).ok();
    let nanos = u32::try_from(value.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    match (whole, nanos) {
        (Some(whole), Some(nanos)) => Ok(Duration::new(whole, nanos)),
        _ => Err(at.error(
            format!("is {} s and {} ns", value.seconds, value.nanos),
            "a duration of zero or more, with less than a second of nanoseconds",
        )),
    }
}

/// A limit: absent is Envoy's default, zero is none.
fn limit(value: Option<protobuf::Duration>, default: Option<Duration>, at: &At<'_>) -> Decoded<Option<Duration>> {
    match value {
        None => Ok(default),
        Some(value) => Ok(Some(duration(value, at)?).filter(|limit| !limit.is_zero())),
    }
}

fn optional_duration(value: Option<protobuf::Duration>, at: &At<'_>) -> Decoded<Option<Duration>> {
    value.map(|value| duration(value, at)).transpose()
}

/// A share from 0 to 100.
fn percent(value: Percent, at: &At<'_>) -> Decoded<f64> {
    match value.value {
        value if (0.0..=100.0).contains(&value) => Ok(value),
        value => Err(at.error(format!("is {value}"), "a percentage from 0 to 100")),
    }
}

/// A feature that is on when it is absent. There is no runtime here that could overrule the default.
fn enabled(value: Option<RuntimeFeatureFlag>) -> bool {
    let RuntimeFeatureFlag { default_value, runtime_key: _ } = value.unwrap_or_default();
    default_value.is_none_or(|it| it.value)
}

/// A flag that is off when it is absent.
fn flag(value: Option<BoolValue>) -> bool {
    value.is_some_and(|value| value.value)
}

/// Refuses a feature that is switched on; being switched off aloud is no harm.
fn off(value: Option<BoolValue>, at: &At<'_>) -> Decoded<()> {
    if flag(value) { Err(at.unsupported("it to be false or absent")) } else { Ok(()) }
}

fn port(value: u32, at: &At<'_>) -> Decoded<u16> {
    u16::try_from(value).map_err(|_| at.error(format!("is {value}"), "a port of at most 65535"))
}

/// Everything that is discovered comes by the stream that this resource came by.
fn ads(source: Option<ConfigSource>, at: &At<'_>) -> Decoded<()> {
    // How long a fetch may take is for the session to say.
    take!(required(source, at)?, at, ConfigSource {
        used { resource_api_version, config_source_specifier }
        harmless { initial_fetch_timeout }
        refused { authorities }
    });
    if resource_api_version != core::ApiVersion::V3 as i32 && resource_api_version != 0 {
        return Err(at.field("resource_api_version").error("is not V3", "V3"));
    }
    match config_source_specifier {
        Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)) => Ok(()),
        _ => Err(at.error("is not the aggregated stream", "`ads: {}`")),
    }
}

fn address(value: Option<core::Address>, at: &At<'_>) -> Decoded<Address> {
    use core::address::Address as Wire;
    match value.and_then(|value| value.address) {
        Some(Wire::SocketAddress(socket)) => socket_address(socket, &at.field("socket_address")),
        Some(Wire::Pipe(pipe)) => {
            let at = at.field("pipe");
            at.refuse("mode", &pipe.mode)?;
            Ok(Address::pipe(pipe.path))
        }
        Some(Wire::EnvoyInternalAddress(_)) => {
            Err(at.field("envoy_internal_address").unsupported("a socket address or a pipe"))
        }
        None => Err(at.error("is missing", "a socket address or a pipe")),
    }
}

fn socket_address(value: core::SocketAddress, at: &At<'_>) -> Decoded<Address> {
    use core::socket_address::PortSpecifier;
    // IPv4-mapped addresses are taken as they are.
    take!(value, at, core::SocketAddress {
        used { address, network_namespace_filepath, port_specifier }
        harmless { ipv4_compat }
        refused { protocol, resolver_name }
    });
    let port = match port_specifier {
        Some(PortSpecifier::PortValue(value)) => port(value, &at.field("port_value"))?,
        Some(PortSpecifier::NamedPort(_)) => return Err(at.field("named_port").unsupported("`port_value`")),
        None => return Err(at.field("port_value").error("is missing", "a port")),
    };
    let netns = (!network_namespace_filepath.is_empty()).then(|| network_namespace_filepath.as_str().into());
    match address.parse::<IpAddr>() {
        Ok(ip) => Ok(Address::Socket { addr: SocketAddr::new(ip, port), netns }),
        // An abstract name of a namespace, which a pipe of the wire cannot say.
        Err(_) if address.starts_with('@') && netns.is_some() => Ok(Address::Pipe { path: address.into(), netns }),
        Err(_) if address.is_empty() => Err(at.field("address").error("is missing", "an IP address or a host name")),
        Err(_) => {
            at.refuse("network_namespace_filepath", &network_namespace_filepath)?;
            Ok(Address::Host { host: address.into(), port })
        }
    }
}

/// The text under a key of metadata.
fn text<'s>(fields: &'s protobuf::Struct, key: &str) -> Option<&'s str> {
    match fields.fields.get(key)?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}
