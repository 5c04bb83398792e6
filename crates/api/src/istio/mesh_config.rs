//! MeshConfig: settings of the mesh as a whole. Istio keeps them as text in the ConfigMap `istio`, under the key `mesh`,
//! and in `IstioOperator.spec.meshConfig`.

pub(super) mod check;
mod operator;
mod providers;
mod proxy;

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    ClientTlsSettings, ConnectionPoolSettings, HttpRetry, LocalityLbSetting, OutlierDetection, TcpKeepalive,
    TlsProtocol, ZoneAwareLbSetting,
};
use crate::decode::{Decode, Spanned, choice, object};
use crate::report::Report;
use crate::yaml::{Limits, read};

pub use operator::IstioOperator;
pub use providers::*;
pub use proxy::*;

/// The name of the ConfigMap that holds the settings of the mesh, in its root namespace.
pub const MESH_CONFIG_MAP: &str = "istio";
/// The key under which they stand there.
pub const MESH_CONFIG_KEY: &str = "mesh";

object! {
    /// Settings of the mesh (`istio.mesh.v1alpha1`). What is `None` or empty has its default.
    Istio struct MeshConfig {
        /// The port to which outgoing connections are redirected.
        proxy_listen_port "proxyListenPort": Option<u32>,
        /// The port to which incoming connections are redirected.
        proxy_inbound_listen_port "proxyInboundListenPort": Option<u32>,
        /// A port at which the proxy is asked as an HTTP proxy.
        proxy_http_port "proxyHttpPort": Option<u32>,
        /// Limit for making a connection; none means 10 s.
        connect_timeout "connectTimeout": Option<Duration>,
        /// When an idle tunnel between proxies ends.
        hbone_idle_timeout "hboneIdleTimeout": Option<Duration>,
        /// How long the first bytes of an undeclared protocol are waited for; zero means for ever.
        protocol_detection_timeout "protocolDetectionTimeout": Option<Duration>,
        /// TCP keep-alive towards upstreams, for what a rule leaves unsaid.
        tcp_keepalive "tcpKeepalive": Option<TcpKeepalive>,
        /// The class of Ingresses that are read.
        ingress_class "ingressClass": String,
        /// The service of the gateway for Ingresses.
        ingress_service "ingressService": String,
        /// Which Ingresses are read.
        ingress_controller_mode "ingressControllerMode": IngressControllerMode,
        /// The label of the gateway for Ingresses.
        ingress_selector "ingressSelector": String,
        /// Are spans sent?
        enable_tracing "enableTracing": Option<bool>,
        /// The file of access logs; an empty text turns them off.
        access_log_file "accessLogFile": Option<String>,
        /// The form of a line, in Envoy's command operators.
        access_log_format "accessLogFormat": Spanned<String>,
        /// Text or JSON.
        access_log_encoding "accessLogEncoding": Option<AccessLogEncoding>,
        /// Access logs go to a service.
        enable_envoy_access_log_service "enableEnvoyAccessLogService": bool,
        /// No access log for connections that no chain of a listener takes.
        disable_envoy_listener_log "disableEnvoyListenerLog": bool,
        /// Settings of every proxy.
        default_config "defaultConfig": Option<MeshProxyConfig>,
        /// What becomes of destinations that nobody knows.
        outbound_traffic_policy "outboundTrafficPolicy": Option<MeshOutboundPolicy>,
        /// At which address programs get their connections.
        inbound_traffic_policy "inboundTrafficPolicy": Option<MeshInboundPolicy>,
        /// Where documents come from.
        config_sources "configSources": Vec<ConfigSource>,
        /// Is mutual TLS spoken to every workload that takes it? None means yes.
        enable_auto_mtls "enableAutoMtls": Option<bool>,
        /// The trust domain.
        trust_domain "trustDomain": Spanned<String>,
        /// Trust domains that count as the same.
        trust_domain_aliases "trustDomainAliases": Vec<Spanned<String>>,
        /// Further authorities.
        ca_certificates "caCertificates": Vec<CertificateData>,
        /// Who sees services that do not say it.
        default_service_export_to "defaultServiceExportTo": Vec<Spanned<String>>,
        /// Who sees VirtualServices that do not say it.
        default_virtual_service_export_to "defaultVirtualServiceExportTo": Vec<Spanned<String>>,
        /// Who sees DestinationRules that do not say it.
        default_destination_rule_export_to "defaultDestinationRuleExportTo": Vec<Spanned<String>>,
        /// The namespace whose rules concern all others.
        root_namespace "rootNamespace": Spanned<String>,
        /// What localities have to do with the choice of a workload.
        locality_lb_setting "localityLbSetting": Option<LocalityLbSetting>,
        /// The same by zone, which counts more.
        zone_aware_lb_setting "zoneAwareLbSetting": Option<ZoneAwareLbSetting>,
        /// Time between two lookups of a name.
        dns_refresh_rate "dnsRefreshRate": Option<Duration>,
        /// Is HTTP/1.1 carried on as HTTP/2?
        h2_upgrade_policy "h2UpgradePolicy": MeshH2UpgradePolicy,
        /// The names of inbound clusters in statistics.
        inbound_cluster_stat_name "inboundClusterStatName": String,
        /// The names of outbound clusters in statistics.
        outbound_cluster_stat_name "outboundClusterStatName": String,
        /// Certificates that the control plane makes. Deprecated.
        certificates "certificates": Vec<MeshCertificate>,
        /// Settings of services.
        service_settings "serviceSettings": Vec<ServiceSettings>,
        /// Which services are seen from other clusters.
        service_scope_configs "serviceScopeConfigs": Vec<ServiceScopeConfig>,
        /// Are the program's and the proxy's metrics told as one?
        enable_prometheus_merge "enablePrometheusMerge": Option<bool>,
        /// Is a server's certificate checked against the operating system's roots? Deprecated.
        verify_certificate_at_client "verifyCertificateAtClient": Option<bool>,
        /// Another authority.
        ca "ca": Option<MeshCa>,
        /// Services that proxies ask or tell.
        extension_providers "extensionProviders": Vec<ExtensionProvider>,
        /// Which of these are used where nothing is said.
        default_providers "defaultProviders": Option<DefaultProviders>,
        /// Namespaces that the control plane looks at.
        discovery_selectors "discoverySelectors": Vec<MeshLabelSelector>,
        /// The normal form of paths.
        path_normalization "pathNormalization": Option<PathNormalization>,
        /// Retries where no rule says anything of them.
        default_http_retry_policy "defaultHttpRetryPolicy": Option<HttpRetry>,
        /// Retries on the way from the sidecar to its program.
        default_inbound_http_retry_policy "defaultInboundHttpRetryPolicy": Option<HttpRetry>,
        /// TLS between proxies.
        mesh_mtls "meshMTLS": Option<MeshTls>,
        /// TLS of other kinds.
        tls_defaults "tlsDefaults": Option<MeshTls>,
        /// What DestinationRules leave unsaid.
        default_traffic_policy "defaultTrafficPolicy": Option<DefaultTrafficPolicy>,
        /// Who sees ServiceEntries.
        service_entry_visibility "serviceEntryVisibility": Option<ServiceEntryVisibility>,
    }
}

choice! {
    /// Which Ingresses are read.
    enum IngressControllerMode {
        /// As the default is.
        Unspecified "UNSPECIFIED",
        /// None.
        Off "OFF",
        /// Those without a class too.
        Default "DEFAULT",
        /// Those of the class.
        Strict "STRICT",
    }
}

choice! {
    /// The form of access logs.
    enum AccessLogEncoding {
        /// Lines of text.
        Text "TEXT",
        /// JSON objects.
        Json "JSON",
    }
}

object! {
    /// What becomes of destinations that nobody knows.
    Istio struct MeshOutboundPolicy {
        /// Which of these.
        mode "mode": Option<MeshOutboundMode>,
        /// TLS to destinations whose names are looked up.
        tls "tls": Option<ClientTlsSettings>,
    }
}

choice! {
    /// What becomes of destinations that nobody knows.
    enum MeshOutboundMode {
        /// They are refused.
        RegistryOnly "REGISTRY_ONLY",
        /// They are dialled as they are.
        AllowAny "ALLOW_ANY",
        /// Their names are looked up by the proxy.
        AllowAnyDynamicDns "ALLOW_ANY_DYNAMIC_DNS",
    }
}

object! {
    /// At which address programs get their connections.
    Istio struct MeshInboundPolicy {
        /// Which of these.
        mode "mode": MeshInboundMode,
    }
}

choice! {
    /// At which address programs get their connections.
    enum MeshInboundMode {
        /// At that of the workload.
        Passthrough "PASSTHROUGH",
        /// At 127.0.0.1.
        Localhost "LOCALHOST",
    }
}

choice! {
    /// Is HTTP/1.1 carried on as HTTP/2?
    enum MeshH2UpgradePolicy {
        /// It is not.
        DoNotUpgrade "DO_NOT_UPGRADE",
        /// It is, on ports that are declared to be HTTP.
        Upgrade "UPGRADE",
    }
}

object! {
    /// The normal form of paths.
    Istio struct PathNormalization {
        /// Which one.
        normalization "normalization": NormalizationType,
    }
}

choice! {
    /// Normal forms of paths.
    enum NormalizationType {
        /// The same as `BASE`.
        Default "DEFAULT",
        /// The path stays as it is.
        None "NONE",
        /// RFC 3986.
        Base "BASE",
        /// Slashes that follow each other become one, too.
        MergeSlashes "MERGE_SLASHES",
        /// Escaped slashes and backslashes become plain ones before that.
        DecodeAndMergeSlashes "DECODE_AND_MERGE_SLASHES",
    }
}

object! {
    /// What DestinationRules leave unsaid, block by block.
    Istio struct DefaultTrafficPolicy {
        /// Limits on connections and requests.
        connection_pool "connectionPool": Option<ConnectionPoolSettings>,
        /// When a failing workload is left out for a while.
        outlier_detection "outlierDetection": Option<OutlierDetection>,
    }
}

object! {
    /// Versions and suites of TLS.
    Istio struct MeshTls {
        /// The oldest version.
        min_protocol_version "minProtocolVersion": TlsProtocol,
        /// Curves.
        ecdh_curves "ecdhCurves": Vec<String>,
        /// Cipher suites.
        cipher_suites "cipherSuites": Vec<String>,
    }
}

object! {
    /// Labels, and conditions on them.
    Istio struct MeshLabelSelector {
        /// All of these have to be there.
        match_labels "matchLabels": BTreeMap<String, String>,
        /// Further conditions.
        match_expressions "matchExpressions": Vec<MeshLabelExpression>,
    }
}

object! {
    /// A condition on a label.
    Istio struct MeshLabelExpression {
        /// The label's key.
        key "key" (required): String,
        /// The condition.
        operator "operator" (required): String,
        /// Values to compare with.
        values "values": Vec<String>,
    }
}

impl MeshConfig {
    /// Reads the settings that a text holds. None if they cannot be read, or are refused.
    pub fn read(text: &str) -> Option<Self> {
        decode(text, |config: &Self, report| config.check(report))
    }
}

impl MeshProxyConfig {
    /// Reads the settings that a text holds, such as that of [`PROXY_CONFIG`]. None if they cannot be read, or are refused.
    pub fn read(text: &str) -> Option<Self> {
        decode(text, |config: &Self, report| config.check(report))
    }
}

/// Nothing in the text means that nothing is set.
fn decode<T: Decode + Default>(text: &str, check: impl FnOnce(&T, &mut Report)) -> Option<T> {
    let stream = read("", text, &Limits::default());
    if !stream.problems.is_empty() || stream.documents.len() > 1 {
        return None;
    }
    let Some(root) = stream.documents.first() else { return Some(T::default()) };
    let mut report = Report::new("", root);
    let config = T::decode(root, &mut report)?;
    report.begin_checks();
    check(&config, &mut report);
    (!report.finish(None).iter().any(|problem| problem.is_error())).then_some(config)
}
