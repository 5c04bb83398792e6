//! A proxy's side towards downstream: what a gateway is told of the place where it stands (Istio's `gatewayTopology`, and
//! `connectionSettings` with its profile `EDGE`) and of what it does for browsers, and what the mesh's settings say of it.

use std::sync::Arc;
use std::time::Duration;

use api::halcyon::{CITY_HEADER, COUNTRY_HEADER, REGION_HEADER};
use api::istio::{
    ConnectionProfile, ConnectionSettings, EscapedSlashesAction, ForwardClientCertDetails, GatewayTopology,
    MeshProxyConfig, ProxyHeaders, UnderscoresAction,
};
use http::HeaderName;
use model::compression::{Brotli, Encoding, Gzip, Zstd};
use model::edge::{ClientCertDetails, Underscores};
use model::geo::GeoClient;
use model::http_proxy::{ForwardClientCert, HttpFilter};
use model::target::EscapedSlashes;
use model::{Compressor, Config, ConnectionLimits, Geo, HttpLimits, HttpProxy, ServerHeader};

use crate::start::StartSettings;

/// The place where a gateway stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GatewayEdge {
    /// Proxies in front of it that are believed (`numTrustedProxies`).
    pub trusted_proxies: u32,
    /// The PROXY protocol is spoken to it (`proxyProtocol`): every connection has to begin with its header.
    pub proxy_protocol: bool,
    /// What becomes of `x-forwarded-client-cert` (`forwardClientCertDetails`); none: it is written anew.
    pub forward_client_cert: Option<ForwardClientCert>,
    /// A database on its machine that says where clients are, in MaxMind's format.
    pub geo_database: Option<Arc<str>>,
    /// It faces everybody (`profile: EDGE`): Istio's bounds for that hold.
    pub hardened: bool,
    /// It compresses responses for clients that accept one of these; of those that are as welcome the first is taken.
    pub compress: Vec<Compression>,
    /// It takes gRPC-Web.
    pub grpc_web: bool,
}

/// An encoding in which a gateway compresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// gzip.
    Gzip,
    /// Brotli.
    Brotli,
    /// Zstandard.
    Zstd,
}

impl Compression {
    fn encoding(self) -> Encoding {
        match self {
            Self::Gzip => Encoding::Gzip(Gzip::default()),
            Self::Brotli => Encoding::Brotli(Brotli::default()),
            Self::Zstd => Encoding::Zstd(Zstd::default()),
        }
    }
}

impl GatewayEdge {
    /// Filters before all others: they see responses as they go out, and gRPC-Web is compressed as what it became.
    fn filters(&self) -> Vec<HttpFilter> {
        let compressors = self.compress.iter().enumerate().map(|(index, compression)| {
            let encoding = compression.encoding();
            HttpFilter::Compressor(Box::new(Compressor {
                preferred: index == 0,
                // A part of a body is a part of the bytes that it was asked as.
                except_statuses: vec![206],
                ..Compressor::new(format!("envoy.filters.http.compressor.{}", encoding.name()), encoding)
            }))
        });
        compressors.chain(self.grpc_web.then_some(HttpFilter::GrpcWeb)).collect()
    }
}

/// What the mesh's settings say of a proxy's downstream side (`defaultConfig`, and the annotation of a gateway's pod).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProxySettings {
    topology: Option<GatewayTopology>,
    headers: Option<ProxyHeaders>,
    connections: Option<ConnectionSettings>,
    start: StartSettings,
}

impl ProxySettings {
    /// These settings, where `config` says nothing else. A block takes the place of a block.
    pub fn with(&self, config: &MeshProxyConfig) -> Self {
        Self {
            topology: config.gateway_topology.clone().or_else(|| self.topology.clone()),
            headers: config.proxy_headers.clone().or_else(|| self.headers.clone()),
            connections: config.connection_settings.clone().or_else(|| self.connections.clone()),
            start: self.start.with(config),
        }
    }

    /// What its process is told at its start.
    pub fn start(&self) -> &StartSettings {
        &self.start
    }

    /// Is the PROXY protocol spoken to gateways?
    pub fn proxy_protocol(&self) -> bool {
        self.topology.as_ref().is_some_and(|topology| topology.proxy_protocol.is_some())
    }

    /// Puts them into the HTTP side of a sidecar's chain. The profile `EDGE` is for gateways.
    pub fn for_sidecar(&self, http: &mut HttpProxy, inbound: bool) {
        if let Some(headers) = &self.headers {
            write_headers(headers, http);
            let details = client_cert(headers.forwarded_client_cert).filter(|_| inbound);
            http.forward_client_cert = details.unwrap_or(http.forward_client_cert);
        }
        if let Some(connections) = &self.connections {
            bound(connections, http);
        }
    }

    /// Puts them into the HTTP side of a gateway's chain. What the gateway was told at its start counts more.
    pub fn for_gateway(&self, told: &GatewayEdge, http: &mut HttpProxy) {
        let topology = self.topology.as_ref();
        http.edge.trusted_hops = match told.trusted_proxies {
            0 => topology.map_or(0, |topology| topology.num_trusted_proxies),
            told => told,
        };
        http.filters.splice(0..0, told.filters());
        if let Some(database) = &told.geo_database {
            http.filters.insert(0, HttpFilter::Geo(Box::new(geo(database, http.edge.trusted_hops))));
        }
        let by_topology = || topology.and_then(|topology| client_cert(topology.forward_client_cert_details));
        let by_headers = || self.headers.as_ref().and_then(|headers| client_cert(headers.forwarded_client_cert));
        http.forward_client_cert =
            told.forward_client_cert.or_else(by_topology).or_else(by_headers).unwrap_or(ForwardClientCert::SanitizeSet);
        if let Some(headers) = &self.headers {
            write_headers(headers, http);
        }
        let connections = self.connections.as_ref();
        if self.is_hardened(told) {
            harden(http);
        }
        if let Some(connections) = connections {
            bound(connections, http);
        }
    }
}

/// What the profile `EDGE` lets wait of one connection, in bytes.
const EDGE_BUFFER: u32 = 32 << 10;

impl ProxySettings {
    /// Bytes that may wait of one connection to a gateway; sidecars have no such limit, in Istio neither.
    pub fn buffer_of_gateway(&self, told: &GatewayEdge) -> Option<u32> {
        let said = self.connections.as_ref().and_then(|settings| settings.listener_per_connection_buffer_limit_bytes);
        said.or(self.is_hardened(told).then_some(EDGE_BUFFER))
    }

    /// Is a gateway one that faces everybody?
    fn is_hardened(&self, told: &GatewayEdge) -> bool {
        told.hardened || self.connections.as_ref().is_some_and(|settings| settings.profile == ConnectionProfile::Edge)
    }

    /// Limits the connections to the listeners of a proxy, those that have a socket.
    pub fn limit(&self, config: &mut Config) {
        let settings = self.connections.as_ref();
        let most = settings.and_then(|settings| settings.listener_connection_limit);
        let bound = config.listeners.values().filter(|listener| listener.bind);
        let limits = ConnectionLimits {
            name: ConnectionLimits::RESOURCE.into(),
            common: settings.and_then(|settings| settings.global_downstream_connection_limit),
            by_listener: bound.filter_map(|listener| Some((listener.name.clone(), most?))).collect(),
        };
        config.limits.insert(limits.name.clone(), Arc::new(limits));
    }
}

/// Istio's bounds for who faces everybody.
fn harden(http: &mut HttpProxy) {
    http.idle_timeout = Some(Duration::from_secs(3600));
    http.stream_idle_timeout = Some(Duration::from_secs(300));
    http.headers_timeout = Some(Duration::from_secs(60));
    http.target.merge_slashes = true;
    http.target.escaped_slashes = EscapedSlashes::Redirect;
    http.limits = HttpLimits {
        underscores: Underscores::Reject,
        request_timeout: Some(Duration::from_secs(300)),
        max_streams: Some(100),
        stream_window: Some(64 << 10),
        connection_window: Some(1 << 20),
        ..std::mem::take(&mut http.limits)
    };
}

/// Zero means no limit.
fn bound(settings: &ConnectionSettings, http: &mut HttpProxy) {
    let over = |before: Option<Duration>, said: Option<Duration>| match said {
        Some(said) => Some(said).filter(|limit| !limit.is_zero()),
        None => before,
    };
    http.idle_timeout = over(http.idle_timeout, settings.http_idle_timeout);
    http.stream_idle_timeout = over(http.stream_idle_timeout, settings.http_stream_idle_timeout);
    http.headers_timeout = over(http.headers_timeout, settings.http_request_headers_timeout);
    http.drain_timeout = settings.http_drain_timeout.unwrap_or(http.drain_timeout);
    let limits = &mut http.limits;
    limits.request_timeout = over(limits.request_timeout, settings.http_request_timeout);
    limits.max_connection = over(limits.max_connection, settings.http_max_connection_duration);
    limits.max_stream = over(limits.max_stream, settings.http_max_stream_duration);
    limits.max_streams = settings.http_max_concurrent_streams.or(limits.max_streams);
    limits.stream_window = settings.http2_initial_stream_window_size.or(limits.stream_window);
    limits.connection_window = settings.http2_initial_connection_window_size.or(limits.connection_window);
    limits.underscores = match settings.http_headers_with_underscores_action {
        UnderscoresAction::Unspecified => limits.underscores,
        UnderscoresAction::Allow => Underscores::Allow,
        UnderscoresAction::RejectRequest => Underscores::Reject,
        UnderscoresAction::DropHeader => Underscores::Drop,
    };
    http.target.merge_slashes = settings.http_merge_slashes.unwrap_or(http.target.merge_slashes);
    http.target.escaped_slashes = match settings.http_path_with_escaped_slashes_action {
        EscapedSlashesAction::Unspecified => http.target.escaped_slashes,
        EscapedSlashesAction::KeepUnchanged => EscapedSlashes::Keep,
        EscapedSlashesAction::RejectRequest => EscapedSlashes::Reject,
        EscapedSlashesAction::UnescapeAndRedirect => EscapedSlashes::Redirect,
        EscapedSlashesAction::UnescapeAndForward => EscapedSlashes::Forward,
    };
}

fn write_headers(settings: &ProxyHeaders, http: &mut HttpProxy) {
    if let Some(server) = &settings.server {
        if server.disabled == Some(true) {
            http.server = ServerHeader::Pass;
        } else if !server.value.is_empty() {
            http.server = ServerHeader::Overwrite(server.value.clone());
        }
    }
    http.generate_request_id &= settings.request_id.as_ref().is_none_or(|id| id.disabled != Some(true));
    http.edge.forwarded_port |= settings.x_forwarded_port.as_ref().is_some_and(|port| port.enabled == Some(true));
    if let Some(details) = &settings.set_current_client_cert_details {
        http.edge.client_cert = ClientCertDetails {
            cert: details.cert.unwrap_or(false),
            chain: details.chain.unwrap_or(false),
            subject: details.subject.unwrap_or(true),
            uri: details.uri.unwrap_or(true),
            dns: details.dns.unwrap_or(true),
        };
    }
}

fn client_cert(written: ForwardClientCertDetails) -> Option<ForwardClientCert> {
    Some(match written {
        ForwardClientCertDetails::Undefined => return None,
        ForwardClientCertDetails::Sanitize => ForwardClientCert::Sanitize,
        ForwardClientCertDetails::ForwardOnly => ForwardClientCert::ForwardOnly,
        ForwardClientCertDetails::AppendForward => ForwardClientCert::AppendForward,
        ForwardClientCertDetails::SanitizeSet => ForwardClientCert::SanitizeSet,
        ForwardClientCertDetails::AlwaysForwardOnly => ForwardClientCert::AlwaysForwardOnly,
    })
}

/// Where a client is, who is the one that trusted proxies name.
fn geo(database: &Arc<str>, hops: u32) -> Geo {
    Geo {
        cities: Some(database.clone()),
        client: GeoClient::Forwarded { hops },
        country: Some(HeaderName::from_static(COUNTRY_HEADER)),
        region: Some(HeaderName::from_static(REGION_HEADER)),
        city: Some(HeaderName::from_static(CITY_HEADER)),
        ..Geo::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::http_proxy::RouteSource;

    #[test]
    fn what_it_changes() {
        let made = |edge: GatewayEdge| {
            let mut http = HttpProxy::new("x", RouteSource::Rds("r".into()));
            http.limits.http10 = true;
            ProxySettings::default().for_gateway(&edge, &mut http);
            http
        };
        let plain = made(GatewayEdge::default());
        assert_eq!((plain.edge.trusted_hops, plain.forward_client_cert), (0, ForwardClientCert::SanitizeSet));
        assert_eq!((plain.limits.max_streams, plain.target.merge_slashes), (None, false));
        let forward_client_cert = Some(ForwardClientCert::AppendForward);
        let hard =
            made(GatewayEdge { trusted_proxies: 2, forward_client_cert, hardened: true, ..GatewayEdge::default() });
        assert_eq!((hard.edge.trusted_hops, hard.forward_client_cert), (2, ForwardClientCert::AppendForward));
        assert_eq!((hard.limits.max_streams, hard.limits.underscores), (Some(100), Underscores::Reject));
        assert!(hard.limits.http10 && hard.target.merge_slashes, "what it says nothing of stays");
        assert_eq!(hard.limits.request_timeout, Some(Duration::from_secs(300)));
    }

    #[test]
    fn single_settings_count_more() {
        let made = |told: GatewayEdge, before: &str, config: &str| {
            let read = |text: &str| MeshProxyConfig::read(text).unwrap_or_else(|| panic!("{text}"));
            let settings = ProxySettings::default().with(&read(before)).with(&read(config));
            let (mut gateway, mut sidecar) =
                (HttpProxy::new("x", RouteSource::Rds("r".into())), HttpProxy::new("x", RouteSource::Rds("r".into())));
            settings.for_gateway(&told, &mut gateway);
            settings.for_sidecar(&mut sidecar, true);
            (gateway, sidecar)
        };
        let nothing_told = GatewayEdge::default;
        let (gateway, sidecar) = made(
            nothing_told(),
            "connectionSettings: {httpIdleTimeout: 1s}",
            "connectionSettings: {profile: EDGE, httpMaxConcurrentStreams: 7, httpRequestTimeout: 0s}",
        );
        assert_eq!((gateway.limits.max_streams, gateway.limits.request_timeout), (Some(7), None));
        assert_eq!(gateway.idle_timeout, Some(Duration::from_secs(3600)), "a block takes the place of a block");
        assert_eq!((sidecar.limits.max_streams, sidecar.target.merge_slashes), (Some(7), false));
        let topology = "gatewayTopology: {numTrustedProxies: 3, forwardClientCertDetails: SANITIZE, proxyProtocol: {}}";
        let (gateway, sidecar) = made(nothing_told(), "{}", topology);
        assert_eq!((gateway.edge.trusted_hops, gateway.forward_client_cert), (3, ForwardClientCert::Sanitize));
        assert_eq!(sidecar.edge.trusted_hops, 0);
        let told = GatewayEdge {
            trusted_proxies: 1,
            forward_client_cert: Some(ForwardClientCert::ForwardOnly),
            ..nothing_told()
        };
        let (gateway, _) = made(told, "{}", topology);
        assert_eq!((gateway.edge.trusted_hops, gateway.forward_client_cert), (1, ForwardClientCert::ForwardOnly));
        let (gateway, sidecar) = made(
            nothing_told(),
            "{}",
            "proxyHeaders: {server: {value: a}, requestId: {disabled: true}, xForwardedPort: {enabled: true}, \
             forwardedClientCert: FORWARD_ONLY, setCurrentClientCertDetails: {uri: false, cert: true}}",
        );
        for http in [gateway, sidecar] {
            assert_eq!(http.server, ServerHeader::Overwrite("a".to_owned()));
            assert_eq!((http.generate_request_id, http.edge.forwarded_port), (false, true));
            assert_eq!(http.forward_client_cert, ForwardClientCert::ForwardOnly);
            assert_eq!((http.edge.client_cert.uri, http.edge.client_cert.cert), (false, true));
        }
    }

    #[test]
    fn filters_for_browsers() {
        let mut http = HttpProxy::new("x", RouteSource::Rds("r".into()));
        http.filters = vec![HttpFilter::Cors];
        let compress = vec![Compression::Brotli, Compression::Gzip];
        let told = GatewayEdge { compress, grpc_web: true, ..GatewayEdge::default() };
        ProxySettings::default().for_gateway(&told, &mut http);
        let [HttpFilter::Compressor(first), HttpFilter::Compressor(second), HttpFilter::GrpcWeb, HttpFilter::Cors] =
            &http.filters[..]
        else {
            panic!("{:?}", http.filters)
        };
        assert_eq!((first.encoding.name(), first.preferred), ("br", true));
        assert_eq!((second.encoding.name(), second.preferred), ("gzip", false));
        assert_ne!(first.name, second.name, "routes could not tell them apart");
        ProxySettings::default().for_gateway(&GatewayEdge::default(), &mut http);
        assert_eq!(http.filters.len(), 4, "nothing is added unasked");
    }
}
