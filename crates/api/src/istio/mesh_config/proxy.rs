//! Settings of proxies: `defaultConfig` of MeshConfig, the annotation [`PROXY_CONFIG`] on pods, and the kind ProxyConfig,
//! which knows a few of them only.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::decode::{Unread, choice, object};
use crate::istio::{ClientTlsSettings, LabelSelector, ReadinessProbe, TcpKeepalive};
use crate::meta::check_selector;
use crate::report::Report;

/// The annotation of a pod that holds the settings of its proxy, as text.
pub const PROXY_CONFIG: &str = "proxy.istio.io/config";

object! {
    /// Settings of proxies (`networking.istio.io`): those that are said at their start.
    Istio struct ProxyConfig {
        /// Whose; none means all of the namespace, or of the mesh in its root namespace.
        selector "selector": Option<LabelSelector>,
        /// Worker threads; 0 means one for each core.
        concurrency "concurrency": Option<u32>,
        /// Variables of the process.
        environment_variables "environmentVariables": BTreeMap<String, String>,
        /// The image.
        image "image": Option<ProxyImage>,
    }
}

object! {
    /// The image of a proxy.
    Istio struct ProxyImage {
        /// `default`, `debug`, `distroless`.
        image_type "imageType": String,
    }
}

impl ProxyConfig {
    pub(crate) fn check(&self, report: &mut Report) {
        report.opt("selector", &self.selector, |selector, r| check_selector("matchLabels", &selector.match_labels, r));
    }
}

object! {
    /// Settings of a proxy (`istio.mesh.v1alpha1`).
    Istio struct MeshProxyConfig {
        /// Where its own configuration is written.
        config_path "configPath": String,
        /// Its program.
        binary_path "binaryPath": String,
        /// Its name in spans.
        service_cluster "serviceCluster": String,
        /// What that name is made of.
        tracing_service_name "tracingServiceName": TracingServiceName,
        /// How long a drain takes.
        drain_duration "drainDuration": Option<Duration>,
        /// Where the control plane is.
        discovery_address "discoveryAddress": String,
        /// Deprecated.
        discovery_refresh_delay "discoveryRefreshDelay": Option<Duration>,
        /// Where spans go. Deprecated.
        zipkin_address "zipkinAddress": String,
        /// Where metrics go.
        statsd_udp_address "statsdUdpAddress": String,
        /// Where metrics go. Deprecated.
        envoy_metrics_service_address "envoyMetricsServiceAddress": String,
        /// The port of its admin endpoint.
        proxy_admin_port "proxyAdminPort": Option<u32>,
        /// Where it runs. Deprecated.
        availability_zone "availabilityZone": String,
        /// TLS towards the control plane.
        control_plane_auth_policy "controlPlaneAuthPolicy": ControlPlaneAuthPolicy,
        /// A file that counts instead of all this.
        custom_config_file "customConfigFile": String,
        /// How long names of metrics may be.
        stat_name_length "statNameLength": Option<u32>,
        /// Worker threads; 0 means one for each core.
        concurrency "concurrency": Option<u32>,
        /// A template for its bootstrap file.
        proxy_bootstrap_template_path "proxyBootstrapTemplatePath": String,
        /// How connections to the workload are captured.
        interception_mode "interceptionMode": InterceptionMode,
        /// Spans.
        tracing "tracing": Option<ProxyTracing>,
        /// Deprecated.
        sds "sds": Unread,
        /// Where access logs go.
        envoy_access_log_service "envoyAccessLogService": Option<RemoteService>,
        /// Where metrics go.
        envoy_metrics_service "envoyMetricsService": Option<RemoteService>,
        /// Variables of the process, and what the control plane is told.
        proxy_metadata "proxyMetadata": BTreeMap<String, String>,
        /// Envoy's runtime.
        runtime_values "runtimeValues": BTreeMap<String, String>,
        /// The port of its health endpoint.
        status_port "statusPort": Option<u32>,
        /// Further labels of metrics.
        extra_stat_tags "extraStatTags": Vec<String>,
        /// What stands in front of a gateway.
        gateway_topology "gatewayTopology": Option<GatewayTopology>,
        /// How long a drain takes when it ends.
        termination_drain_duration "terminationDrainDuration": Option<Duration>,
        /// The mesh's name.
        mesh_id "meshId": String,
        /// What tells that the program is ready.
        readiness_probe "readinessProbe": Option<ReadinessProbe>,
        /// Which metrics it keeps.
        proxy_stats_matcher "proxyStatsMatcher": Option<ProxyStatsMatcher>,
        /// Does the program wait for it?
        hold_application_until_proxy_starts "holdApplicationUntilProxyStarts": Option<bool>,
        /// Further roots.
        ca_certificates_pem "caCertificatesPem": Vec<String>,
        /// Its image.
        image "image": Option<ProxyImage>,
        /// Hardware for private keys.
        private_key_provider "privateKeyProvider": Unread,
        /// Headers that it writes.
        proxy_headers "proxyHeaders": Option<ProxyHeaders>,
        /// How often access logs are written out.
        file_flush_interval "fileFlushInterval": Option<Duration>,
        /// After how many KiB they are.
        file_flush_min_size_kb "fileFlushMinSizeKb": Option<u32>,
        /// Are metrics told compressed?
        stats_compression "statsCompression": Option<bool>,
        /// How much and how long connections from downstream may be.
        connection_settings "connectionSettings": Option<ConnectionSettings>,
    }
}

choice! {
    /// What a proxy's name in spans is made of.
    enum TracingServiceName {
        /// The label `app` and the namespace.
        AppLabelAndNamespace "APP_LABEL_AND_NAMESPACE",
        /// The canonical name.
        CanonicalNameOnly "CANONICAL_NAME_ONLY",
        /// The canonical name and the namespace.
        CanonicalNameAndNamespace "CANONICAL_NAME_AND_NAMESPACE",
    }
}

choice! {
    /// TLS towards the control plane.
    enum ControlPlaneAuthPolicy {
        /// None.
        None "NONE",
        /// Mutual.
        MutualTls "MUTUAL_TLS",
        /// As something wider says.
        Inherit "INHERIT",
    }
}

choice! {
    /// How connections to a workload are captured.
    enum InterceptionMode {
        /// By redirection.
        Redirect "REDIRECT",
        /// With the client's address.
        Tproxy "TPROXY",
        /// They are not.
        None "NONE",
    }
}

object! {
    /// Spans.
    Istio struct ProxyTracing {
        /// To Zipkin.
        zipkin "zipkin": Unread,
        /// To Lightstep.
        lightstep "lightstep": Unread,
        /// To Datadog.
        datadog "datadog": Unread,
        /// To Stackdriver.
        stackdriver "stackdriver": Unread,
        /// To OpenCensus.
        open_census_agent "openCensusAgent": Unread,
        /// Further tags.
        custom_tags "customTags": BTreeMap<String, Unread>,
        /// How long the tag of the path may be.
        max_path_tag_length "maxPathTagLength": Option<u32>,
        /// Which share, in percent.
        sampling "sampling": Option<f64>,
        /// TLS towards the collector.
        tls_settings "tlsSettings": Option<ClientTlsSettings>,
        /// Istio's own tags.
        enable_istio_tags "enableIstioTags": Option<bool>,
    }
}

object! {
    /// A service that a proxy tells something.
    Istio struct RemoteService {
        /// Where it is.
        address "address": String,
        /// TLS towards it.
        tls_settings "tlsSettings": Option<ClientTlsSettings>,
        /// TCP keep-alive towards it.
        tcp_keepalive "tcpKeepalive": Option<TcpKeepalive>,
    }
}

object! {
    /// Which metrics a proxy keeps.
    Istio struct ProxyStatsMatcher {
        /// By prefix.
        inclusion_prefixes "inclusionPrefixes": Vec<String>,
        /// By suffix.
        inclusion_suffixes "inclusionSuffixes": Vec<String>,
        /// By expression.
        inclusion_regexps "inclusionRegexps": Vec<String>,
    }
}

object! {
    /// What stands in front of a gateway.
    Istio struct GatewayTopology {
        /// Proxies in front of it that are believed.
        num_trusted_proxies "numTrustedProxies": u32,
        /// What becomes of `x-forwarded-client-cert`.
        forward_client_cert_details "forwardClientCertDetails": ForwardClientCertDetails,
        /// The PROXY protocol is spoken to it.
        proxy_protocol "proxyProtocol": Option<GatewayProxyProtocol>,
    }
}

object! {
    /// The PROXY protocol is spoken to a gateway.
    Istio struct GatewayProxyProtocol {}
}

choice! {
    /// What becomes of `x-forwarded-client-cert`.
    enum ForwardClientCertDetails {
        /// As the default is.
        Undefined "UNDEFINED",
        /// It is dropped.
        Sanitize "SANITIZE",
        /// It is passed on from mutual TLS.
        ForwardOnly "FORWARD_ONLY",
        /// Ours is appended to it on mutual TLS.
        AppendForward "APPEND_FORWARD",
        /// Ours takes its place on mutual TLS.
        SanitizeSet "SANITIZE_SET",
        /// It is passed on.
        AlwaysForwardOnly "ALWAYS_FORWARD_ONLY",
    }
}

object! {
    /// Headers that a proxy writes.
    Istio struct ProxyHeaders {
        /// What becomes of `x-forwarded-client-cert`.
        forwarded_client_cert "forwardedClientCert": ForwardClientCertDetails,
        /// What our part of it says.
        set_current_client_cert_details "setCurrentClientCertDetails": Option<SetClientCertDetails>,
        /// `x-request-id`.
        request_id "requestId": Option<HeaderOff>,
        /// `server`.
        server "server": Option<ServerHeaderSetting>,
        /// `x-envoy-attempt-count`.
        attempt_count "attemptCount": Option<HeaderOff>,
        /// `x-envoy-*` that tell of the proxy.
        envoy_debug_headers "envoyDebugHeaders": Option<HeaderOff>,
        /// Headers by which proxies tell each other who they are.
        metadata_exchange_headers "metadataExchangeHeaders": Option<MetadataExchangeHeaders>,
        /// Names of HTTP/1.1 keep their case.
        preserve_http1_header_case "preserveHttp1HeaderCase": Option<bool>,
        /// `x-forwarded-host`.
        x_forwarded_host "xForwardedHost": Option<HeaderOn>,
        /// `x-forwarded-port`.
        x_forwarded_port "xForwardedPort": Option<HeaderOn>,
    }
}

object! {
    /// A header that is written unless it is turned off.
    Istio struct HeaderOff {
        /// It is not written.
        disabled "disabled": Option<bool>,
    }
}

object! {
    /// A header that is written if it is turned on.
    Istio struct HeaderOn {
        /// It is written.
        enabled "enabled": Option<bool>,
    }
}

object! {
    /// The header `server`.
    Istio struct ServerHeaderSetting {
        /// The upstream's stays.
        disabled "disabled": Option<bool>,
        /// What is written.
        value "value": String,
    }
}

object! {
    /// Headers by which proxies tell each other who they are.
    Istio struct MetadataExchangeHeaders {
        /// To whom.
        mode "mode": MetadataExchangeMode,
    }
}

choice! {
    /// To whom proxies tell who they are.
    enum MetadataExchangeMode {
        /// To everybody.
        Undefined "UNDEFINED",
        /// Within the mesh.
        InMesh "IN_MESH",
    }
}

object! {
    /// What our part of `x-forwarded-client-cert` says.
    Istio struct SetClientCertDetails {
        /// The subject; none means yes.
        subject "subject": Option<bool>,
        /// The certificate.
        cert "cert": Option<bool>,
        /// The certificate and those that vouch for it.
        chain "chain": Option<bool>,
        /// DNS names; none means yes.
        dns "dns": Option<bool>,
        /// URIs; none means yes.
        uri "uri": Option<bool>,
    }
}

object! {
    /// How much and how long connections from downstream may be. What is `None` has its default.
    Istio struct ConnectionSettings {
        /// For whom the defaults are.
        profile "profile": ConnectionProfile,
        /// How much a connection from downstream may have waiting.
        listener_per_connection_buffer_limit_bytes "listenerPerConnectionBufferLimitBytes": Option<u32>,
        /// The same towards upstreams.
        cluster_per_connection_buffer_limit_bytes "clusterPerConnectionBufferLimitBytes": Option<u32>,
        /// A connection without exchanges ends after this.
        http_idle_timeout "httpIdleTimeout": Option<Duration>,
        /// A connection is drained after this.
        http_max_connection_duration "httpMaxConnectionDuration": Option<Duration>,
        /// How long the old work may go on in a drain.
        http_drain_timeout "httpDrainTimeout": Option<Duration>,
        /// A request must be whole within this.
        http_request_timeout "httpRequestTimeout": Option<Duration>,
        /// Its head must be.
        http_request_headers_timeout "httpRequestHeadersTimeout": Option<Duration>,
        /// An exchange in which nothing moves ends after this.
        http_stream_idle_timeout "httpStreamIdleTimeout": Option<Duration>,
        /// An exchange ends after this.
        http_max_stream_duration "httpMaxStreamDuration": Option<Duration>,
        /// HTTP/2: the most streams at once.
        http_max_concurrent_streams "httpMaxConcurrentStreams": Option<u32>,
        /// HTTP/2: the window of a stream.
        http2_initial_stream_window_size "http2InitialStreamWindowSize": Option<u32>,
        /// HTTP/2: the window of a connection.
        http2_initial_connection_window_size "http2InitialConnectionWindowSize": Option<u32>,
        /// Header fields with an underscore in their name.
        http_headers_with_underscores_action "httpHeadersWithUnderscoresAction": UnderscoresAction,
        /// Do slashes that follow each other become one?
        http_merge_slashes "httpMergeSlashes": Option<bool>,
        /// Escaped slashes in paths.
        http_path_with_escaped_slashes_action "httpPathWithEscapedSlashesAction": EscapedSlashesAction,
        /// The most connections of a listener.
        listener_connection_limit "listenerConnectionLimit": Option<u32>,
        /// The most connections of all.
        global_downstream_connection_limit "globalDownstreamConnectionLimit": Option<u32>,
    }
}

choice! {
    /// For whom a proxy's defaults are.
    enum ConnectionProfile {
        /// For workloads.
        Sidecar "SIDECAR",
        /// For everybody.
        Edge "EDGE",
    }
}

choice! {
    /// What becomes of header fields with an underscore in their name.
    enum UnderscoresAction {
        /// As the default is.
        Unspecified "HEADERS_WITH_UNDERSCORES_UNSPECIFIED",
        /// They pass.
        Allow "HEADERS_WITH_UNDERSCORES_ALLOW",
        /// The request is refused.
        RejectRequest "HEADERS_WITH_UNDERSCORES_REJECT_REQUEST",
        /// They are dropped.
        DropHeader "HEADERS_WITH_UNDERSCORES_DROP_HEADER",
    }
}

choice! {
    /// What becomes of a path with escaped slashes.
    enum EscapedSlashesAction {
        /// As the default is.
        Unspecified "PATH_WITH_ESCAPED_SLASHES_UNSPECIFIED",
        /// It stays as it is.
        KeepUnchanged "KEEP_UNCHANGED",
        /// The request is refused.
        RejectRequest "REJECT_REQUEST",
        /// They are unescaped, and the client is sent there.
        UnescapeAndRedirect "UNESCAPE_AND_REDIRECT",
        /// They are unescaped.
        UnescapeAndForward "UNESCAPE_AND_FORWARD",
    }
}
