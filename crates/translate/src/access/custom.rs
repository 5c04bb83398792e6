//! CUSTOM policies: a service decides on what their rules take (MeshConfig `extensionProviders`).
//!
//! As Istio makes it: rules that are only asked say by metadata which of them takes a request or connection, and the filter
//! behind them asks the service where one has. A workload has one such service; where policies name several, or one that
//! cannot be asked, what they take is refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::istio::{
    AuthorizerBody, AuthorizerProvider, ExtensionProvider, GrpcAuthorizerProvider, HttpAuthorizerProvider,
};
use http::{HeaderName, HeaderValue};
use model::ext_authz::{
    AskedBody, AskedPath, Authorizer, ConnectionExtAuthz, ExtAuthz, GrpcAuthorizer, HttpAuthorizer,
};
use model::http_proxy::HttpFilter;
use model::metadata::MetadataValue;
use model::{GrpcService, Guard, MetadataMatch, StringMatch};

use super::{HTTP_NAME, Layer, TCP_PREFIX, of_connections, of_request};
use crate::names;
use crate::service::Service;
use crate::telemetries;
use crate::world::World;

/// What stands before what the rules of such policies tell.
pub(super) const PREFIX: &str = "istio_ext_authz_";
const TCP_NAME: &str = "envoy.filters.network.rbac";
/// Istio's, where a provider says none.
const TIMEOUT: Duration = Duration::from_secs(600);

/// The providers of the mesh, by name. Of two with one name the last counts, as in Istio.
pub type Providers = BTreeMap<String, ExtensionProvider>;

/// Those of the settings.
pub fn providers(all: &[ExtensionProvider]) -> Providers {
    all.iter().map(|provider| (provider.name.clone(), provider.clone())).collect()
}

/// Why a provider cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unable {
    /// The settings name none of this name.
    Unknown,
    /// There is no such service.
    NoService(String),
    /// The service has not this port.
    NoPort(String, u32),
}

impl std::fmt::Display for Unable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown => f.write_str("the settings of the mesh name no such provider that decides"),
            Self::NoService(host) => write!(f, "its service `{host}` is not known"),
            Self::NoPort(host, port) => write!(f, "its service `{host}` has no port {port}"),
        }
    }
}

impl World {
    /// The provider of a name, with the service that is asked and its port.
    ///
    /// # Errors
    /// It cannot be asked.
    pub fn authorizer(&self, name: &str) -> Result<(&ExtensionProvider, &Arc<Service>, u16), Unable> {
        let provider = self.settings.providers.get(name).ok_or(Unable::Unknown)?;
        let (written, port) = match provider.authorizer().ok_or(Unable::Unknown)? {
            AuthorizerProvider::Http(http) => (&http.service, http.port),
            AuthorizerProvider::Grpc(grpc) => (&grpc.service, grpc.port),
        };
        let (service, number) = self.provider_service(written, port)?;
        Ok((provider, service, number))
    }

    /// The service that a provider stands for, with its port.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn provider_service(&self, written: &str, port: u32) -> Result<(&Arc<Service>, u16), Unable> {
        let (namespace, host) = host_of(written);
        let service = self.service_named(host);
        let service = service.filter(|service| namespace.is_none_or(|namespace| *service.namespace == *namespace));
        let service = service.ok_or_else(|| Unable::NoService(written.to_owned()))?;
        let number = u16::try_from(port).ok().filter(|port| service.port(*port).is_some());
        Ok((service, number.ok_or_else(|| Unable::NoPort(host.to_owned(), port))?))
    }
}

/// `[namespace/]host`
pub(crate) fn host_of(written: &str) -> (Option<&str>, &str) {
    written.split_once('/').map_or((None, written), |(namespace, host)| (Some(namespace), host))
}

/// Is this the host of the provider's service?
pub(crate) fn is_at(provider: &ExtensionProvider, host: &str) -> bool {
    telemetries::written_services(provider).any(|written| host_of(written).1 == host)
}

/// The filters of requests that ask the provider of a layer about what its rules take.
pub(super) fn of_requests(world: &World, layer: Layer) -> Vec<HttpFilter> {
    let asks = layer.provider.as_ref().and_then(|name| Some((name.clone(), filter(world, name)?)));
    let rules = HttpFilter::Access(Box::new(of_request(layer)));
    let asks = asks.map(|(name, asks)| ExtAuthz { enabled_by: Some(taken(HTTP_NAME, &name)), ..asks });
    [Some(rules), asks.map(|asks| HttpFilter::ExtAuthz(Arc::new(asks)))].into_iter().flatten().collect()
}

/// The same of connections. Nobody is asked whose service speaks HTTP only.
pub(super) fn of_raw(world: &World, layer: Layer) -> Vec<Guard> {
    let Some(name) = layer.provider.clone() else { return vec![Guard::Rules(of_connections(layer))] };
    let Some(ExtAuthz { service: Authorizer::Grpc(service), fail_open, .. }) = filter(world, &name) else {
        return Vec::new();
    };
    let asks = ConnectionExtAuthz {
        fail_open,
        enabled_by: Some(taken(TCP_NAME, &name)),
        ..ConnectionExtAuthz::new(TCP_PREFIX, service)
    };
    vec![Guard::Rules(of_connections(layer)), Guard::Service(Box::new(asks))]
}

/// A rule of a policy of the provider has taken it.
fn taken(filter: &str, provider: &str) -> MetadataMatch {
    let prefix = StringMatch::prefix(format!("istio-ext-authz-{provider}-"));
    MetadataMatch {
        filter: filter.to_owned(),
        path: vec![format!("{PREFIX}shadow_effective_policy_id")],
        value: MetadataValue::Text(prefix),
        invert: false,
    }
}

fn filter(world: &World, name: &str) -> Option<ExtAuthz> {
    let (provider, service, port) = world.authorizer(name).ok()?;
    let cluster = names::outbound(port, "", &service.host);
    Some(match provider.authorizer()? {
        AuthorizerProvider::Http(written) => over_http(written, &cluster, &service.host),
        AuthorizerProvider::Grpc(written) => over_grpc(written, &cluster),
    })
}

fn over_grpc(written: &GrpcAuthorizerProvider, cluster: &Arc<str>) -> ExtAuthz {
    let service = GrpcService {
        // An authority must not have the bars of a cluster's name.
        authority: Some(cluster.replace('|', "_.").into()),
        ..GrpcService::new(cluster.clone())
    };
    let service = GrpcAuthorizer { service, timeout: Some(written.timeout.unwrap_or(TIMEOUT)) };
    ExtAuthz {
        fail_open: written.fail_open,
        error_status: status(&written.status_on_error),
        reroute: written.clear_route_cache,
        body: written.include_request_body_in_check.as_ref().map(body),
        ..ExtAuthz::new(Authorizer::Grpc(service))
    }
}

fn over_http(written: &HttpAuthorizerProvider, cluster: &Arc<str>, host: &str) -> ExtAuthz {
    // The older list counts only where the newer one is not written.
    let told = match &written.include_request_headers_in_check[..] {
        [] => &written.include_headers_in_check,
        newer => newer,
    };
    let added = written.include_additional_headers_in_check.iter();
    let added = added.filter_map(|(name, value)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
    });
    let service = HttpAuthorizer {
        path: AskedPath::Prefixed(written.path_prefix.clone()),
        headers: added.collect(),
        upstream: patterns(&written.headers_to_upstream_on_allow),
        client: patterns(&written.headers_to_downstream_on_deny),
        client_on_success: patterns(&written.headers_to_downstream_on_allow),
        ..HttpAuthorizer::new(cluster.clone(), format!("http://{host}"), written.timeout.unwrap_or(TIMEOUT))
    };
    ExtAuthz {
        fail_open: written.fail_open,
        error_status: status(&written.status_on_error),
        reroute: written.clear_route_cache,
        body: written.include_request_body_in_check.as_ref().map(body),
        allowed: Some(patterns(told)).filter(|patterns| !patterns.is_empty()),
        ..ExtAuthz::new(Authorizer::Http(Box::new(service)))
    }
}

fn body(written: &AuthorizerBody) -> AskedBody {
    AskedBody {
        max_bytes: written.max_request_bytes,
        partial: written.allow_partial_message,
        raw: written.pack_as_bytes,
    }
}

fn status(written: &str) -> u16 {
    written.parse().unwrap_or(403)
}

/// Names of headers, of which one may begin or end in `*`.
fn patterns(names: &[String]) -> Vec<StringMatch> {
    let ignore_case = true;
    let pattern = |name: &String| match (name.strip_prefix('*'), name.strip_suffix('*')) {
        (Some(value), _) => StringMatch::Suffix { value: value.to_owned(), ignore_case },
        (None, Some(value)) => StringMatch::Prefix { value: value.to_owned(), ignore_case },
        (None, None) => StringMatch::Exact { value: name.clone(), ignore_case },
    };
    names.iter().map(pattern).collect()
}
