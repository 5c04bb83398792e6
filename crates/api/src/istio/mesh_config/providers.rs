//! The parts of MeshConfig that have no effect here. Their fields are known by name down to where a part belongs to one
//! provider only.

use std::collections::BTreeMap;

use super::MeshLabelSelector;
use crate::Spanned;
use crate::decode::{Unread, choice, object};
use crate::istio::ClientTlsSettings;

object! {
    /// A source of documents.
    Istio struct ConfigSource {
        /// Where it is.
        address "address": String,
        /// TLS towards it.
        tls_settings "tlsSettings": Option<ClientTlsSettings>,
        /// What is taken from it.
        subscribed_resources "subscribedResources": Vec<String>,
    }
}

object! {
    /// A further authority.
    Istio struct CertificateData {
        /// Its certificate.
        pem "pem": Spanned<String>,
        /// Where its bundle is fetched.
        spiffe_bundle_url "spiffeBundleUrl": String,
        /// Signers of Kubernetes that it vouches for.
        cert_signers "certSigners": Vec<String>,
        /// Trust domains that it vouches for.
        trust_domains "trustDomains": Vec<Spanned<String>>,
    }
}

object! {
    /// A certificate that the control plane makes.
    Istio struct MeshCertificate {
        /// The Secret that it is put in.
        secret_name "secretName": String,
        /// Its names.
        dns_names "dnsNames": Vec<String>,
    }
}

object! {
    /// Settings of some services.
    Istio struct ServiceSettings {
        /// The settings.
        settings "settings": Option<ServiceSetting>,
        /// The services.
        hosts "hosts": Vec<String>,
    }
}

object! {
    /// Settings of a service.
    Istio struct ServiceSetting {
        /// It is reached in its own cluster only.
        cluster_local "clusterLocal": bool,
    }
}

object! {
    /// Which services are seen from other clusters.
    Istio struct ServiceScopeConfig {
        /// Their namespaces.
        namespace_selector "namespaceSelector": Option<MeshLabelSelector>,
        /// The services.
        services_selector "servicesSelector": Option<MeshLabelSelector>,
        /// From where.
        scope "scope": ServiceScope,
    }
}

choice! {
    /// From where services are seen.
    enum ServiceScope {
        /// From their own cluster.
        Local "LOCAL",
        /// From all.
        Global "GLOBAL",
    }
}

object! {
    /// Another authority.
    Istio struct MeshCa {
        /// Where it is.
        address "address": String,
        /// TLS towards it.
        tls_settings "tlsSettings": Option<ClientTlsSettings>,
        /// How long it may take.
        request_timeout "requestTimeout": Option<std::time::Duration>,
        /// It is asked by the control plane.
        istiod_side "istiodSide": bool,
    }
}

object! {
    /// A service that proxies ask or tell.
    Istio struct ExtensionProvider {
        /// Its name, to which policies refer.
        name "name" (required): String,
        /// Decides on requests, over HTTP.
        envoy_ext_authz_http "envoyExtAuthzHttp": Option<HttpAuthorizerProvider>,
        /// Decides on requests, over gRPC.
        envoy_ext_authz_grpc "envoyExtAuthzGrpc": Option<GrpcAuthorizerProvider>,
        /// Takes spans.
        zipkin "zipkin": Option<ZipkinProvider>,
        /// Takes spans.
        lightstep "lightstep": Unread,
        /// Takes spans.
        datadog "datadog": Unread,
        /// Takes spans and metrics.
        stackdriver "stackdriver": Unread,
        /// Takes spans.
        opencensus "opencensus": Unread,
        /// Takes spans.
        skywalking "skywalking": Unread,
        /// Takes spans.
        opentelemetry "opentelemetry": Option<OpenTelemetryProvider>,
        /// Asks for metrics.
        prometheus "prometheus": Option<PrometheusProvider>,
        /// A file of access logs.
        envoy_file_access_log "envoyFileAccessLog": Option<FileLogProvider>,
        /// Takes access logs of HTTP.
        envoy_http_als "envoyHttpAls": Option<LogServiceProvider>,
        /// Takes access logs of connections.
        envoy_tcp_als "envoyTcpAls": Option<LogServiceProvider>,
        /// Takes access logs.
        envoy_otel_als "envoyOtelAls": Option<OpenTelemetryLogProvider>,
        /// Gives secrets.
        sds "sds": Unread,
    }
}

/// How a provider that decides on requests is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AuthorizerProvider<'a> {
    /// Over HTTP.
    Http(&'a HttpAuthorizerProvider),
    /// Over gRPC.
    Grpc(&'a GrpcAuthorizerProvider),
}

impl ExtensionProvider {
    /// Does it decide on requests, and how is it asked?
    pub fn authorizer(&self) -> Option<AuthorizerProvider<'_>> {
        let grpc = self.envoy_ext_authz_grpc.as_ref().map(AuthorizerProvider::Grpc);
        self.envoy_ext_authz_http.as_ref().map(AuthorizerProvider::Http).or(grpc)
    }
}

object! {
    /// A service of HTTP that decides on requests.
    Istio struct HttpAuthorizerProvider {
        /// `[namespace/]host`
        service "service": String,
        /// Its port.
        port "port": u32,
        /// How long it may take; none means 600 s.
        timeout "timeout": Option<std::time::Duration>,
        /// What stands before the paths that it is asked for.
        path_prefix "pathPrefix": String,
        /// Requests pass if it cannot be asked.
        fail_open "failOpen": bool,
        /// A route is chosen anew if it changes a request.
        clear_route_cache "clearRouteCache": bool,
        /// The status of requests that are refused since it cannot be asked; empty means 403.
        status_on_error "statusOnError": String,
        /// An older name of `includeRequestHeadersInCheck`.
        include_headers_in_check "includeHeadersInCheck": Vec<String>,
        /// Headers of the request that it is told, beside those that it always is.
        include_request_headers_in_check "includeRequestHeadersInCheck": Vec<String>,
        /// Headers that it is told beside.
        include_additional_headers_in_check "includeAdditionalHeadersInCheck": BTreeMap<String, String>,
        /// What it is told of bodies.
        include_request_body_in_check "includeRequestBodyInCheck": Option<AuthorizerBody>,
        /// Headers of its answer that requests get that may pass.
        headers_to_upstream_on_allow "headersToUpstreamOnAllow": Vec<String>,
        /// Headers of its answer that refused clients get; none means all.
        headers_to_downstream_on_deny "headersToDownstreamOnDeny": Vec<String>,
        /// Headers of its answer that clients get whose requests may pass.
        headers_to_downstream_on_allow "headersToDownstreamOnAllow": Vec<String>,
    }
}

object! {
    /// A service of gRPC that decides on requests and connections.
    Istio struct GrpcAuthorizerProvider {
        /// `[namespace/]host`
        service "service": String,
        /// Its port.
        port "port": u32,
        /// How long it may take; none means 600 s.
        timeout "timeout": Option<std::time::Duration>,
        /// Requests pass if it cannot be asked.
        fail_open "failOpen": bool,
        /// A route is chosen anew if it changes a request.
        clear_route_cache "clearRouteCache": bool,
        /// The status of requests that are refused since it cannot be asked; empty means 403.
        status_on_error "statusOnError": String,
        /// What it is told of bodies.
        include_request_body_in_check "includeRequestBodyInCheck": Option<AuthorizerBody>,
    }
}

object! {
    /// A service that takes spans by Zipkin's API.
    Istio struct ZipkinProvider {
        /// `[namespace/]host`
        service "service": String,
        /// Its port.
        port "port": u32,
        /// Longer paths are cut in tags.
        max_tag_length "maxTagLength": u32,
        /// Ids of traces have 64 bits.
        enable_64bit_trace_id "enable64bitTraceId": bool,
        /// Where spans are sent; empty means `/api/v2/spans`.
        path "path": String,
        /// The headers by which contexts go on.
        trace_context_option "traceContextOption": TraceContextOption,
        /// How long it may take.
        timeout "timeout": Option<std::time::Duration>,
        /// Headers that it is sent.
        headers "headers": Vec<ProviderHeader>,
    }
}

choice! {
    /// The headers by which contexts of traces go on.
    enum TraceContextOption {
        /// Those of B3.
        B3 "USE_B3",
        /// Those of B3 and those of W3C.
        B3AndW3c "USE_B3_WITH_W3C_PROPAGATION",
    }
}

object! {
    /// A service that takes spans by OTLP.
    Istio struct OpenTelemetryProvider {
        /// `[namespace/]host`
        service "service": String,
        /// Its port.
        port "port": u32,
        /// Longer paths are cut in tags.
        max_tag_length "maxTagLength": u32,
        /// It is told over HTTP.
        http "http": Option<ProviderHttp>,
        /// How it is told over gRPC.
        grpc "grpc": Option<ProviderGrpc>,
        /// What else a proxy says of itself.
        resource_detectors "resourceDetectors": Unread,
        /// Which names services have.
        service_attribute_enrichment "serviceAttributeEnrichment": ServiceNames,
        /// Dynatrace's sampler.
        dynatrace_sampler "dynatraceSampler": Unread,
    }
}

choice! {
    /// Which names services have in spans.
    enum ServiceNames {
        /// Istio's canonical names.
        IstioCanonical "ISTIO_CANONICAL",
        /// Those of OpenTelemetry's conventions for Kubernetes.
        OpenTelemetry "OTEL_SEMANTIC_CONVENTIONS",
    }
}

object! {
    /// How a provider is told over HTTP.
    Istio struct ProviderHttp {
        /// The path.
        path "path": String,
        /// How long it may take.
        timeout "timeout": Option<std::time::Duration>,
        /// Headers that it is sent.
        headers "headers": Vec<ProviderHeader>,
    }
}

object! {
    /// How a provider is told over gRPC.
    Istio struct ProviderGrpc {
        /// How long it may take.
        timeout "timeout": Option<std::time::Duration>,
        /// Metadata that it is sent.
        initial_metadata "initialMetadata": Vec<ProviderHeader>,
    }
}

object! {
    /// A header that a provider is sent.
    Istio struct ProviderHeader {
        /// Its name.
        name "name" (required): String,
        /// Its value.
        value "value": String,
        /// The variable of the control plane's environment that holds it.
        env_name "envName": String,
    }
}

object! {
    /// Prometheus, which asks.
    Istio struct PrometheusProvider {}
}

object! {
    /// A file of access logs.
    Istio struct FileLogProvider {
        /// The file.
        path "path" (required): String,
        /// The form of a line; none means that of the mesh.
        log_format "logFormat": Option<ProviderLogFormat>,
        /// What is not there is left out of JSON.
        omit_empty_values "omitEmptyValues": bool,
    }
}

object! {
    /// The form of a line.
    Istio struct ProviderLogFormat {
        /// A text with operators.
        text "text": String,
        /// Members with texts with operators.
        labels "labels": BTreeMap<String, String>,
    }
}

object! {
    /// A service that takes access logs by Envoy's protocol.
    Istio struct LogServiceProvider {
        /// `[namespace/]host`
        service "service": String,
        /// Its port.
        port "port": u32,
        /// The log's name.
        log_name "logName": String,
        /// Facts of filters that are told.
        filter_state_objects_to_log "filterStateObjectsToLog": Vec<String>,
        /// Headers of requests that are told.
        additional_request_headers_to_log "additionalRequestHeadersToLog": Vec<String>,
        /// Headers of responses that are told.
        additional_response_headers_to_log "additionalResponseHeadersToLog": Vec<String>,
        /// Trailers of responses that are told.
        additional_response_trailers_to_log "additionalResponseTrailersToLog": Vec<String>,
    }
}

object! {
    /// A service that takes access logs by OTLP.
    Istio struct OpenTelemetryLogProvider {
        /// `[namespace/]host`
        service "service": String,
        /// Its port.
        port "port": u32,
        /// The log's name.
        log_name "logName": String,
        /// What is told: a text, and attributes.
        log_format "logFormat": Option<ProviderLogFormat>,
    }
}

object! {
    /// What a service that decides is told of bodies.
    Istio struct AuthorizerBody {
        /// At most so many bytes.
        max_request_bytes "maxRequestBytes": u32,
        /// Of a longer body it is told the begin; otherwise the request is refused.
        allow_partial_message "allowPartialMessage": bool,
        /// As bytes, not as text.
        pack_as_bytes "packAsBytes": bool,
    }
}

object! {
    /// Providers that are used where nothing is said.
    Istio struct DefaultProviders {
        /// For spans.
        tracing "tracing": Vec<String>,
        /// For metrics.
        metrics "metrics": Vec<String>,
        /// For access logs.
        access_logging "accessLogging": Vec<String>,
    }
}

object! {
    /// Who sees ServiceEntries.
    Istio struct ServiceEntryVisibility {
        /// Where no policy says anything.
        default_visibility "defaultVisibility": EntryVisibility,
        /// Does it hold for sidecars?
        apply_to_sidecars "applyToSidecars": bool,
        /// For some namespaces.
        policies "policies": Vec<VisibilityPolicy>,
    }
}

object! {
    /// Who sees the ServiceEntries of some namespaces.
    Istio struct VisibilityPolicy {
        /// Who.
        visibility "visibility": EntryVisibility,
        /// Of which namespaces.
        matching_rules "matchingRules": Vec<VisibilityRule>,
    }
}

object! {
    /// Some namespaces.
    Istio struct VisibilityRule {
        /// By their labels.
        namespace_selector "namespaceSelector": Option<MeshLabelSelector>,
    }
}

choice! {
    /// Who sees a ServiceEntry.
    enum EntryVisibility {
        /// As the default is.
        Unspecified "VISIBILITY_UNSPECIFIED",
        /// Nobody.
        None "NONE",
        /// Its namespace.
        Namespace "NAMESPACE",
        /// Everybody.
        Public "PUBLIC",
    }
}
