//! The rows of settings of the mesh and of proxies, which stand as text in other documents: paths begin at the settings.

use super::NotEnforced;
use super::table::of_agent;

const PORTS: &str = "the ports are those that a workload is started with";
const OWN_SPANS: &str = "spans go to the control plane, which shows them, and to the provider that a Telemetry names";
const NO_TAGS: &str = "spans have the tags of OpenTelemetry's conventions, and those of a Telemetry";
const NO_LOG_SERVICE: &str = "access logs go to services that a Telemetry names, by `extensionProviders`";
const NO_PROVIDER: &str = "there is no such provider: nobody is told";
const NO_ENVIRONMENT: &str = "headers have the values that stand here: no environment is read";
const NO_FILTER_STATE: &str = "the proxy has no such objects";
const AUTHORITY: &str = "the authority is the one that the control plane was started with";
const TLS: &str = "proxies speak TLS 1.2 and 1.3 with the suites and curves of their defaults";
const NO_TRIES: &str = "there is one program to ask: only `attempts`, `retryOn` and `backoff` count";

/// Of MeshConfig.
pub(super) const MESH_CONFIG: &[NotEnforced] = &[
    ("proxyListenPort", PORTS),
    ("proxyInboundListenPort", PORTS),
    ("proxyHttpPort", "no port takes requests as an HTTP proxy"),
    ("hboneIdleTimeout", "there are no tunnels between proxies"),
    ("enableEnvoyAccessLogService", NO_LOG_SERVICE),
    ("disableEnvoyListenerLog", "connections that no chain of a listener takes are logged too"),
    (
        "outboundTrafficPolicy.mode=ALLOW_ANY_DYNAMIC_DNS",
        "the address that the client looked up itself is dialled, as with `ALLOW_ANY`",
    ),
    ("outboundTrafficPolicy.tls{}", "connections to unknown destinations go there as the program made them"),
    ("inboundTrafficPolicy.mode=PASSTHROUGH", "programs get their connections at 127.0.0.1"),
    ("configSources", "documents come from the directory of the control plane and from `halcyon apply`"),
    ("caCertificates[].certSigners", "no signer of Kubernetes is asked, and the roots stand for nobody"),
    ("inboundClusterStatName", "clusters keep their names in metrics"),
    ("outboundClusterStatName", "clusters keep their names in metrics"),
    ("certificates", "no certificate is made and put into a Secret"),
    ("serviceSettings", "there is one cluster, and every service is reached in it"),
    ("serviceScopeConfigs", "there is one cluster, and every service is reached in it"),
    (
        "enablePrometheusMerge",
        "metrics of programs are told with those of their proxies where annotations or `--metrics` say so",
    ),
    ("verifyCertificateAtClient", "servers outside are checked as their DestinationRule says"),
    ("ca{}", AUTHORITY),
    ("extensionProviders[].lightstep{}", NO_PROVIDER),
    ("extensionProviders[].datadog{}", NO_PROVIDER),
    ("extensionProviders[].stackdriver{}", NO_PROVIDER),
    ("extensionProviders[].opencensus{}", NO_PROVIDER),
    ("extensionProviders[].skywalking{}", NO_PROVIDER),
    ("extensionProviders[].sds{}", NO_PROVIDER),
    ("extensionProviders[].zipkin.enable64bitTraceId", "ids of new traces have 128 bits"),
    ("extensionProviders[].zipkin.headers[].envName", NO_ENVIRONMENT),
    ("extensionProviders[].opentelemetry.http.headers[].envName", NO_ENVIRONMENT),
    ("extensionProviders[].opentelemetry.grpc.timeout", "what is not brought within 5 s is dropped"),
    ("extensionProviders[].opentelemetry.grpc.initialMetadata[].envName", NO_ENVIRONMENT),
    ("extensionProviders[].opentelemetry.resourceDetectors{}", "a proxy says what the control plane knows of it"),
    ("extensionProviders[].opentelemetry.dynatraceSampler{}", "traces are sampled by their share"),
    (
        "extensionProviders[].opentelemetry.serviceAttributeEnrichment=OTEL_SEMANTIC_CONVENTIONS",
        "spans stand under Istio's canonical names",
    ),
    ("extensionProviders[].envoyFileAccessLog.omitEmptyValues", "what is not there is `null` in JSON"),
    ("extensionProviders[].envoyHttpAls.filterStateObjectsToLog", NO_FILTER_STATE),
    ("extensionProviders[].envoyTcpAls.filterStateObjectsToLog", NO_FILTER_STATE),
    ("extensionProviders[].envoyHttpAls.additionalResponseTrailersToLog", "trailers are not told"),
    ("discoverySelectors", "documents of all namespaces are read"),
    ("meshMTLS{}", TLS),
    ("tlsDefaults{}", TLS),
    (
        "serviceEntryVisibility{}",
        "ServiceEntries are seen as their `exportTo` says, or as `defaultServiceExportTo` does",
    ),
    (
        "defaultHttpRetryPolicy.retryOn=retriable-headers",
        "which headers is nowhere said, so no response is tried again because of them",
    ),
    ("defaultHttpRetryPolicy.retryOn=http3-post-connect-failure", "HTTP/3 is not spoken, so there is nothing to retry"),
    ("defaultInboundHttpRetryPolicy.perTryTimeout", NO_TRIES),
    ("defaultInboundHttpRetryPolicy.retryRemoteLocalities", NO_TRIES),
    ("defaultInboundHttpRetryPolicy.retryIgnorePreviousHosts", NO_TRIES),
    (
        "defaultTrafficPolicy.outlierDetection.consecutiveErrors",
        "it is not counted: `consecutive5xxErrors` and `consecutiveGatewayErrors` are",
    ),
];

const OWN_FILE: &str = "the launcher knows its proxy and writes the file that it starts with";
const NOWHERE: &str = "metrics are asked for by Prometheus only";
const NO_ENVOY: &str = "there is no such thing in our proxy";
const BOUNDED: &str = "what waits for upstreams is bounded, by other numbers; Istio sends it to no proxy either";

/// Of the settings of a proxy: `defaultConfig` of MeshConfig, and the annotation `proxy.istio.io/config`.
pub(super) const PROXY_CONFIG: &[NotEnforced] = of_agent!(
    "proxyMetadata",
    ("configPath", OWN_FILE),
    ("binaryPath", OWN_FILE),
    ("tracingServiceName=CANONICAL_NAME_ONLY", "spans stand under the canonical name and the namespace"),
    ("serviceCluster", "spans stand under the canonical name of the workload"),
    ("drainDuration", "connections of a listener that is gone go on until they end"),
    ("discoveryAddress", "the control plane is the one of this machine, or that of `--control`"),
    ("discoveryRefreshDelay", NO_ENVOY),
    ("zipkinAddress", OWN_SPANS),
    ("statsdUdpAddress", NOWHERE),
    ("envoyMetricsServiceAddress", NOWHERE),
    ("proxyAdminPort", PORTS),
    ("availabilityZone", "where a workload runs is said by `--locality` or its labels"),
    ("controlPlaneAuthPolicy=NONE", "a proxy talks to the control plane with mutual TLS"),
    ("customConfigFile", OWN_FILE),
    ("statNameLength", NO_ENVOY),
    ("proxyBootstrapTemplatePath", NO_ENVOY),
    ("interceptionMode=REDIRECT", "how a workload is captured is said when it is started"),
    ("interceptionMode=TPROXY", "how a workload is captured is said when it is started"),
    ("interceptionMode=NONE", "how a workload is captured is said when it is started"),
    ("tracing.zipkin{}", OWN_SPANS),
    ("tracing.lightstep{}", OWN_SPANS),
    ("tracing.datadog{}", OWN_SPANS),
    ("tracing.stackdriver{}", OWN_SPANS),
    ("tracing.openCensusAgent{}", OWN_SPANS),
    ("tracing.customTags{}", NO_TAGS),
    ("tracing.tlsSettings{}", OWN_SPANS),
    ("tracing.enableIstioTags", NO_TAGS),
    ("sds{}", NO_ENVOY),
    ("envoyAccessLogService{}", NO_LOG_SERVICE),
    ("envoyMetricsService{}", NOWHERE),
    ("runtimeValues", NO_ENVOY),
    ("statusPort", PORTS),
    ("extraStatTags", "metrics have Istio's standard labels"),
    ("holdApplicationUntilProxyStarts=false", "a program always starts when its proxy is ready"),
    ("meshId", "the mesh has no name"),
    ("readinessProbe{}", "when a program is ready is said by `--ready` or its WorkloadGroup"),
    ("proxyStatsMatcher{}", "all metrics are kept"),
    ("caCertificatesPem", "a proxy trusts the mesh's own roots"),
    ("image{}", "no image is pulled: the proxy is the program beside the launcher"),
    ("privateKeyProvider{}", NO_ENVOY),
    ("proxyHeaders.attemptCount.disabled", "`x-envoy-attempt-count` is never written"),
    ("proxyHeaders.envoyDebugHeaders.disabled", "headers that tell of the proxy are written all the same"),
    (
        "proxyHeaders.metadataExchangeHeaders{}",
        "who a peer is, is known by its certificate; no such headers are written",
    ),
    ("proxyHeaders.preserveHttp1HeaderCase", "names of header fields are written in lower case"),
    ("proxyHeaders.xForwardedHost.enabled", "`x-forwarded-host` is not written"),
    ("fileFlushInterval", "a line of an access log is written soon after its request"),
    ("fileFlushMinSizeKb", "a line of an access log is written soon after its request"),
    ("statsCompression", "metrics are told as plain text"),
    ("connectionSettings.clusterPerConnectionBufferLimitBytes", BOUNDED),
);
