//! Settings of the mesh as a whole: what the control plane was started with, and over it what Istio's `MeshConfig` says.

use std::net::SocketAddr;
use std::time::Duration;

use api::istio::{
    AccessLogEncoding, CertificateData, ConnectionPoolSettings, DefaultProviders, HttpRetry, LocalityLbSetting,
    MeshConfig, MeshH2UpgradePolicy, MeshOutboundMode, NormalizationType, OutlierDetection, TcpKeepalive,
    ZoneAwareLbSetting,
};
use base::TrustDomain;
use model::TargetRules;
use model::access_log::{FileLog, LogFormat};
use model::target::EscapedSlashes;

use crate::access::custom::{self, Providers};
use crate::edge::ProxySettings;
use crate::federation::{Federation, federation};
use crate::ingress::IngressSettings;
use crate::tracing::SpanSettings;

/// Settings of the mesh.
#[derive(Debug, Clone, PartialEq)]
pub struct MeshSettings {
    /// The trust domain of its workloads.
    pub trust_domain: TrustDomain,
    /// Trust domains that stand for the same: their members are believed, and policies for one are for all.
    pub trust_domain_aliases: Vec<TrustDomain>,
    /// Roots beside those of the mesh.
    pub anchors: Vec<Anchor>,
    /// Trust domains whose roots are fetched.
    pub federations: Vec<Federation>,
    /// The suffix of service names: `svc.<domain>`.
    pub dns_domain: String,
    /// The namespace whose rules concern all others.
    pub root_namespace: String,
    /// What happens to destinations that nobody knows.
    pub outbound_policy: OutboundPolicy,
    /// Where access logs go, such as `/dev/stdout`; none: they are off.
    pub access_log: Option<FileLog>,
    /// The form of a line, where nothing else is said of it.
    pub log_format: LogFormat,
    /// Who is told where no Telemetry says it.
    pub default_providers: DefaultProviders,
    /// Limit for making a connection.
    pub connect_timeout: Duration,
    /// TCP keep-alive towards upstreams, for what a rule leaves unsaid.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// How long the first bytes of an undeclared protocol, or of plain text where TLS may come, are waited for. Then the
    /// server is taken to speak first. None: for ever.
    pub detection: Option<Duration>,
    /// Limits where no rule has any.
    pub pool: Option<ConnectionPoolSettings>,
    /// Outlier detection where no rule has any.
    pub outliers: Option<OutlierDetection>,
    /// Retries where no rule says anything of them; none: Istio's default.
    pub retries: Option<HttpRetry>,
    /// Retries on the way to the program itself; none: Istio's default.
    pub inbound_retries: Option<HttpRetry>,
    /// Time between two lookups of a name.
    pub dns_refresh: Duration,
    /// Mutual TLS is spoken to every workload that takes it.
    pub auto_mtls: bool,
    /// HTTP/1.1 is carried on as HTTP/2, on ports that are declared to be HTTP.
    pub h2_upgrade: bool,
    /// Who sees what says nothing of it.
    pub export_to: ExportTo,
    /// What localities have to do with the choice of an endpoint, where nothing else says it.
    pub localities: Option<LocalityLbSetting>,
    /// The same by zone, which counts more.
    pub zones: Option<ZoneAwareLbSetting>,
    /// What is made of requests' targets.
    pub target: TargetRules,
    /// Settings of every proxy.
    pub proxy: ProxySettings,
    /// Which Ingresses are read.
    pub ingress: IngressSettings,
    /// Services that decide on requests, by the names that policies call them.
    pub providers: Providers,
    /// Where the control plane counts requests for all; none: nowhere that proxies reach.
    pub limit_service: Option<LimitServiceAt>,
    /// Proxies tell the control plane, where it counts requests too, of what they refuse and of what fails.
    pub tells_refusals: bool,
    /// Proxies tell the control plane, there too, of spans.
    pub tells_spans: bool,
    /// How exchanges become spans.
    pub spans: SpanSettings,
    /// A control plane serves this, rather than somebody who only wants to know what it would be.
    pub is_served: bool,
    /// The control plane was started with limits in files.
    pub has_limit_files: bool,
}

/// Where the control plane counts requests for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitServiceAt {
    /// The address, as proxies reach it.
    pub address: SocketAddr,
    /// The identity that it shows, as a SPIFFE ID.
    pub identity: String,
}

/// Roots beside those of the mesh (Istio `caCertificates`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// PEM.
    pub roots: String,
    /// The trust domains that they vouch for; none: all.
    pub trust_domains: Vec<String>,
}

/// Who sees what says nothing of it, as `exportTo` says it. Empty: everybody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExportTo {
    /// Services.
    pub services: Vec<String>,
    /// VirtualServices.
    pub virtual_services: Vec<String>,
    /// DestinationRules.
    pub destination_rules: Vec<String>,
}

/// What happens to destinations that nobody knows (Istio `outboundTrafficPolicy.mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboundPolicy {
    /// They are dialled as they are.
    AllowAny,
    /// They are refused: 502 for HTTP, a close for TCP.
    RegistryOnly,
}

impl Default for MeshSettings {
    fn default() -> Self {
        Self {
            trust_domain: TrustDomain::default(),
            trust_domain_aliases: Vec::new(),
            anchors: Vec::new(),
            federations: Vec::new(),
            dns_domain: "cluster.local".to_owned(),
            root_namespace: "istio-system".to_owned(),
            outbound_policy: OutboundPolicy::AllowAny,
            access_log: None,
            log_format: LogFormat::Default,
            default_providers: DefaultProviders::default(),
            connect_timeout: Duration::from_secs(10),
            tcp_keepalive: None,
            detection: Some(Duration::from_secs(1)),
            pool: None,
            outliers: None,
            retries: None,
            inbound_retries: None,
            dns_refresh: Duration::from_secs(60),
            auto_mtls: true,
            h2_upgrade: false,
            export_to: ExportTo::default(),
            localities: None,
            zones: None,
            target: TargetRules { normalize: true, ..TargetRules::default() },
            proxy: ProxySettings::default(),
            ingress: IngressSettings::default(),
            providers: Providers::default(),
            limit_service: None,
            tells_refusals: false,
            tells_spans: false,
            spans: SpanSettings::default(),
            is_served: false,
            has_limit_files: false,
        }
    }
}

impl MeshSettings {
    /// Is the control plane told of refusals, and can it be reached?
    pub(crate) fn is_told_of_refusals(&self) -> bool {
        self.tells_refusals && self.limit_service.is_some()
    }

    /// Is the control plane told of spans, and can it be reached?
    pub(crate) fn is_told_of_spans(&self) -> bool {
        self.tells_spans && self.limit_service.is_some()
    }

    /// These settings, where `config` says nothing else. Trust domain and root namespace stay: certificates and rules
    /// stand on them, and a control plane is told them at its start.
    pub fn with(&self, config: &MeshConfig) -> Self {
        let mut now = self.clone();
        now.trust_domain_aliases = aliases(&self.trust_domain, &config.trust_domain_aliases);
        now.anchors = config.ca_certificates.iter().filter_map(anchor).collect();
        now.federations = config.ca_certificates.iter().filter_map(federation).collect();
        now.access_log = access_log(self.access_log.as_ref(), config);
        if let Some(log) = &now.access_log {
            now.log_format = log.format.clone();
        } else if let Ok(format) = log_format(config) {
            now.log_format = format;
        }
        now.default_providers = config.default_providers.clone().unwrap_or_default();
        match config.outbound_traffic_policy.as_ref().and_then(|policy| policy.mode) {
            Some(MeshOutboundMode::RegistryOnly) => now.outbound_policy = OutboundPolicy::RegistryOnly,
            Some(MeshOutboundMode::AllowAny | MeshOutboundMode::AllowAnyDynamicDns) => {
                now.outbound_policy = OutboundPolicy::AllowAny;
            }
            None => {}
        }
        now.connect_timeout = config.connect_timeout.unwrap_or(now.connect_timeout);
        now.tcp_keepalive = config.tcp_keepalive.clone().or(now.tcp_keepalive);
        if let Some(limit) = config.protocol_detection_timeout {
            now.detection = Some(limit).filter(|limit| !limit.is_zero());
        }
        if let Some(policy) = &config.default_traffic_policy {
            now.pool.clone_from(&policy.connection_pool);
            now.outliers.clone_from(&policy.outlier_detection);
        }
        now.retries = config.default_http_retry_policy.clone().or(now.retries);
        now.inbound_retries = config.default_inbound_http_retry_policy.clone().or(now.inbound_retries);
        now.dns_refresh = config.dns_refresh_rate.unwrap_or(now.dns_refresh);
        now.spans.are_made = config.enable_tracing.unwrap_or(now.spans.are_made);
        now.auto_mtls = config.enable_auto_mtls.unwrap_or(now.auto_mtls);
        now.ingress = self.ingress.with(config);
        now.providers = custom::providers(&config.extension_providers);
        now.h2_upgrade = config.h2_upgrade_policy == MeshH2UpgradePolicy::Upgrade;
        let list = |written: &[api::Spanned<String>]| written.iter().map(|to| to.value.clone()).collect();
        now.export_to = ExportTo {
            services: list(&config.default_service_export_to),
            virtual_services: list(&config.default_virtual_service_export_to),
            destination_rules: list(&config.default_destination_rule_export_to),
        };
        now.localities = config.locality_lb_setting.clone().or(now.localities);
        now.zones = config.zone_aware_lb_setting.clone().or(now.zones);
        if let Some(paths) = &config.path_normalization {
            now.target = target(paths.normalization);
        }
        if let Some(proxy) = &config.default_config {
            now.spans = now.spans.with(proxy);
            now.proxy = now.proxy.with(proxy);
        }
        now
    }
}

fn aliases(own: &TrustDomain, written: &[api::Spanned<String>]) -> Vec<TrustDomain> {
    // What is no trust domain was refused when it came in.
    let mut all: Vec<TrustDomain> = written.iter().filter_map(|name| name.parse().ok()).collect();
    all.retain(|alias| alias != own);
    all.sort();
    all.dedup();
    all
}

/// Those that a signer of Kubernetes has are not had: it is warned about them. Those that a URL leads to are fetched.
fn anchor(written: &CertificateData) -> Option<Anchor> {
    let domains = written.trust_domains.iter().map(|domain| domain.value.clone()).collect();
    let here = !written.pem.value.trim().is_empty() && written.cert_signers.is_empty();
    here.then(|| Anchor { roots: written.pem.value.trim().to_owned() + "\n", trust_domains: domains })
}

/// The rules of Istio's normal forms of paths.
fn target(form: NormalizationType) -> TargetRules {
    let merges = matches!(form, NormalizationType::MergeSlashes | NormalizationType::DecodeAndMergeSlashes);
    TargetRules {
        normalize: form != NormalizationType::None,
        merge_slashes: merges,
        escaped_slashes: match form {
            NormalizationType::DecodeAndMergeSlashes => EscapedSlashes::Forward,
            _ => EscapedSlashes::Keep,
        },
        ..TargetRules::default()
    }
}

/// The access log: the file and the form each as said in the settings, else as it was. An empty name turns it off. A form
/// that cannot be read is left out, and [`check`](crate::check) says so.
fn access_log(before: Option<&FileLog>, config: &MeshConfig) -> Option<FileLog> {
    let path = match &config.access_log_file {
        Some(path) => path.clone(),
        None => before?.path.clone(),
    };
    let said = config.access_log_encoding.is_some() || !config.access_log_format.is_empty();
    let as_before = || before.map_or(LogFormat::Default, |log| log.format.clone());
    let format = if said { log_format(config).unwrap_or_else(|_| as_before()) } else { as_before() };
    (!path.is_empty()).then_some(FileLog { path, format })
}

/// The form of a line that the settings say, or why it cannot be read.
pub(crate) fn log_format(config: &MeshConfig) -> Result<LogFormat, String> {
    let text = config.access_log_format.as_str();
    if config.access_log_encoding != Some(AccessLogEncoding::Json) {
        return if text.is_empty() { Ok(LogFormat::Default) } else { text_format(text) };
    }
    if text.is_empty() {
        return Ok(istio_json());
    }
    json_format(config.json_log_format().ok_or("it is no object of texts")?)
}

/// A line of text, which ends where it does not say so itself; or why it cannot be read.
pub(crate) fn text_format(text: &str) -> Result<LogFormat, String> {
    telemetry::log::LogFormat::text(text).map_err(|error| error.to_string())?;
    let end = if text.ends_with('\n') { "" } else { "\n" };
    Ok(LogFormat::Text(format!("{text}{end}")))
}

/// A line of JSON, or why it cannot be read.
pub(crate) fn json_format(members: Vec<(String, String)>) -> Result<LogFormat, String> {
    for (name, format) in &members {
        telemetry::log::LogFormat::text(format).map_err(|error| format!("`{name}`: {error}"))?;
    }
    Ok(LogFormat::Json(members))
}

/// Istio's default line as JSON.
pub fn istio_json() -> LogFormat {
    let mut members: Vec<(String, String)> =
        telemetry::log::ISTIO_JSON.iter().map(|(name, format)| ((*name).to_owned(), (*format).to_owned())).collect();
    members.sort();
    LogFormat::Json(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_logs() {
        let before = FileLog { path: "/a".into(), format: istio_json() };
        let log = |path: &str, format| Some(FileLog { path: path.into(), format });
        let text = |text: &str| LogFormat::Text(text.to_owned());
        for (before, config, expected) in [
            (None, "{}", None),
            (Some(&before), "{}", log("/a", istio_json())),
            (Some(&before), "accessLogFile: ''", None),
            (Some(&before), "accessLogEncoding: TEXT", log("/a", LogFormat::Default)),
            (None, "accessLogEncoding: JSON", None),
            (None, "{accessLogFile: /b, accessLogEncoding: JSON}", log("/b", istio_json())),
            (None, "{accessLogFile: /b, accessLogFormat: '%RESPONSE_CODE%'}", log("/b", text("%RESPONSE_CODE%\n"))),
            (None, "{accessLogFile: /b, accessLogFormat: '%RESPONSE_CODE'}", log("/b", LogFormat::Default)),
            (
                None,
                "{accessLogFile: /b, accessLogEncoding: JSON, accessLogFormat: '{\"b\": \"%DURATION%\", \"a\": \"x\"}'}",
                log("/b", LogFormat::Json(vec![("a".into(), "x".into()), ("b".into(), "%DURATION%".into())])),
            ),
        ] {
            let config_read = MeshConfig::read(config).unwrap_or_else(|| panic!("{config}"));
            assert_eq!(access_log(before, &config_read), expected, "{config}");
        }
    }

    #[test]
    fn paths() {
        for (form, expected) in [
            ("NONE", (false, false, EscapedSlashes::Keep)),
            ("DEFAULT", (true, false, EscapedSlashes::Keep)),
            ("BASE", (true, false, EscapedSlashes::Keep)),
            ("MERGE_SLASHES", (true, true, EscapedSlashes::Keep)),
            ("DECODE_AND_MERGE_SLASHES", (true, true, EscapedSlashes::Forward)),
        ] {
            let config = MeshConfig::read(&format!("pathNormalization: {{normalization: {form}}}")).unwrap();
            let rules = MeshSettings::default().with(&config).target;
            assert_eq!((rules.normalize, rules.merge_slashes, rules.escaped_slashes), expected, "{form}");
        }
    }
}
