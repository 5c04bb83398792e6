//! Envoy's attributes (<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes>), and Istio's
//! of the peers.

macro_rules! attributes {
    ($($group:literal { $($(#[$doc:meta])* $variant:ident $name:literal,)* })*) => {
        /// A fact of an exchange or a connection that expressions may read.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Attribute {
            $($($(#[$doc])* $variant,)*)*
        }

        impl Attribute {
            /// All of them.
            pub const ALL: &'static [Self] = &[$($(Self::$variant,)*)*];

            /// Its group, and its name in it.
            pub fn name(self) -> (&'static str, &'static str) {
                match self {
                    $($(Self::$variant => ($group, $name),)*)*
                }
            }
        }
    };
}

attributes! {
    "request" {
        /// The path and query. Text.
        RequestPath "path",
        /// The path without its query. Text.
        RequestUrlPath "url_path",
        /// The query without its `?`. Text.
        RequestQuery "query",
        /// The authority. Text.
        RequestHost "host",
        /// `http` or `https`. Text.
        RequestScheme "scheme",
        /// The method. Text.
        RequestMethod "method",
        /// The header fields, by their names in lower case. A map of texts.
        RequestHeaders "headers",
        /// The header `referer`. Text.
        RequestReferer "referer",
        /// The header `user-agent`. Text.
        RequestUserAgent "useragent",
        /// When its first byte came. Time.
        RequestTime "time",
        /// The header `x-request-id`. Text.
        RequestId "id",
        /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`. Text.
        RequestProtocol "protocol",
        /// From its first byte to the response's last. Duration.
        RequestDuration "duration",
        /// Bytes of the body. Number.
        RequestSize "size",
    }
    "response" {
        /// The status. Number.
        ResponseCode "code",
        /// Envoy's `RESPONSE_CODE_DETAILS`. Text.
        ResponseCodeDetails "code_details",
        /// Envoy's response flags, as bits. Number.
        ResponseFlags "flags",
        /// The status of gRPC. Number.
        ResponseGrpcStatus "grpc_status",
        /// The header fields, by their names in lower case. A map of texts.
        ResponseHeaders "headers",
        /// Bytes of the body. Number.
        ResponseSize "size",
    }
    "source" {
        /// The downstream's address with its port. Text.
        SourceAddress "address",
        /// Its port. Number.
        SourcePort "port",
    }
    "destination" {
        /// The address that the downstream dialled, with its port. Text.
        DestinationAddress "address",
        /// Its port. Number.
        DestinationPort "port",
    }
    "connection" {
        /// The downstream has proven who it is by a certificate. Truth value.
        ConnectionMtls "mtls",
        /// The name that the downstream asked for in TLS. Text.
        ConnectionServerName "requested_server_name",
        /// `TLSv1.3`. Text.
        ConnectionTlsVersion "tls_version",
        /// The URI of our own certificate. Text.
        ConnectionLocalUri "uri_san_local_certificate",
        /// The URI of the downstream's certificate. Text.
        ConnectionPeerUri "uri_san_peer_certificate",
        /// Why the connection was ended. Text.
        ConnectionTermination "termination_details",
    }
    "upstream" {
        /// The upstream's address with its port. Text.
        UpstreamAddress "address",
        /// Its port. Number.
        UpstreamPort "port",
        /// What the transport towards it said. Text.
        UpstreamFailure "transport_failure_reason",
        /// Tries. Number.
        UpstreamAttempts "request_attempt_count",
    }
    "xds" {
        /// The cluster's name. Text.
        XdsCluster "cluster_name",
        /// The route's name. Text.
        XdsRoute "route_name",
        /// The virtual host's name. Text.
        XdsVirtualHost "virtual_host_name",
        /// The direction: 1 inbound, 2 outbound. Number.
        XdsDirection "listener_direction",
    }
    "downstream_peer" {
        /// The workload's name. Text.
        DownstreamName "workload",
        /// Its namespace. Text.
        DownstreamNamespace "namespace",
        /// Its app. Text.
        DownstreamApp "app",
        /// Its version. Text.
        DownstreamVersion "version",
        /// Its canonical service. Text.
        DownstreamService "service",
        /// Its cluster. Text.
        DownstreamCluster "cluster",
    }
    "upstream_peer" {
        /// The workload's name. Text.
        UpstreamName "workload",
        /// Its namespace. Text.
        UpstreamNamespace "namespace",
        /// Its app. Text.
        UpstreamApp "app",
        /// Its version. Text.
        UpstreamVersion "version",
        /// Its canonical service. Text.
        UpstreamService "service",
        /// Its cluster. Text.
        UpstreamCluster "cluster",
    }
}

impl Attribute {
    /// The attribute of this name in its group.
    pub fn named(group: &str, name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|attribute| attribute.name() == (group, name))
    }

    /// Is it a map, of which single entries may be asked for?
    pub fn is_map(self) -> bool {
        matches!(self, Self::RequestHeaders | Self::ResponseHeaders)
    }
}

/// Attributes that Envoy and Istio's proxy know, and our proxies do not.
pub(crate) const ELSEWHERE: &[(&str, &str)] = &[
    ("request", "total_size"),
    ("response", "total_size"),
    ("response", "trailers"),
    ("response", "backend_latency"),
    ("connection", "id"),
    ("connection", "subject_local_certificate"),
    ("connection", "subject_peer_certificate"),
    ("connection", "dns_san_local_certificate"),
    ("connection", "dns_san_peer_certificate"),
    ("connection", "sha256_peer_certificate_digest"),
    ("connection", "transport_failure_reason"),
    ("upstream", "tls_version"),
    ("upstream", "uri_san_peer_certificate"),
    ("upstream", "subject_local_certificate"),
    ("upstream", "subject_peer_certificate"),
    ("upstream", "dns_san_local_certificate"),
    ("upstream", "dns_san_peer_certificate"),
    ("upstream", "uri_san_local_certificate"),
    ("upstream", "sha256_peer_certificate_digest"),
    ("upstream", "local_address"),
    ("upstream", "cx_pool_ready_duration"),
    ("upstream", "locality"),
    ("xds", "node"),
    ("xds", "cluster_metadata"),
    ("xds", "listener_metadata"),
    ("xds", "route_metadata"),
    ("xds", "virtual_host_metadata"),
    ("xds", "upstream_host_metadata"),
    ("xds", "upstream_host_locality_metadata"),
    ("xds", "filter_chain_name"),
    ("downstream_peer", "name"),
    ("downstream_peer", "labels"),
    ("downstream_peer", "revision"),
    ("downstream_peer", "identity"),
    ("downstream_peer", "id"),
    ("downstream_peer", "locality"),
    ("upstream_peer", "name"),
    ("upstream_peer", "labels"),
    ("upstream_peer", "revision"),
    ("upstream_peer", "identity"),
    ("upstream_peer", "id"),
    ("upstream_peer", "locality"),
];

/// Groups of which our proxies know nothing at all.
pub(crate) const GROUPS_ELSEWHERE: &[&str] = &[
    "metadata",
    "filter_state",
    "upstream_filter_state",
    "node",
    "cluster_name",
    "cluster_metadata",
    "listener_metadata",
    "route_name",
    "route_metadata",
    "plugin_name",
    "plugin_root_id",
    "plugin_vm_id",
    "listener_direction",
];
