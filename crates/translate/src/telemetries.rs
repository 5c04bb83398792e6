//! What proxies count, write down and trace, as Telemetry says it, and where it is told.
//!
//! A proxy is concerned by three documents at most: that of the root namespace, that of its own, and one that selects it, the
//! oldest of each. They are read in this order, so the narrowest says the last word (Istio's rules, row 117).

use std::collections::BTreeMap;
use std::sync::Arc;

use api::istio::{
    ExtensionProvider, IstioMetric, ProviderLogFormat, ProviderRef, TagOperation, Telemetry, TelemetryTracing,
    WorkloadMode,
};
use expression::Expression;
use http::HeaderName;
use model::access_log::{FileLog, LogEntries, LogFilter, LogFormat, LogTarget, OtlpLog, ServiceLog};
use model::metrics::{Metric, MetricRules};
use model::{AccessLog, Config, Direction, GrpcService, NetworkFilter};

use crate::access::custom::Unable;
use crate::names;
use crate::node::Node;
use crate::service::selected;
use crate::settings::{json_format, text_format};
use crate::world::{Document, World};

/// Istio's provider that there is without being named: a file, which is standard output.
pub(crate) const ENVOY: &str = "envoy";
/// The one of metrics.
pub(crate) const PROMETHEUS: &str = "prometheus";
/// Names of logs where nothing is said (Istio).
const HTTP_LOG: &str = "http_envoy_accesslog";
const TCP_LOG: &str = "tcp_envoy_accesslog";
const OTLP_LOG: &str = "otel_envoy_accesslog";

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// Requests.
    Http,
    /// Connections.
    Raw,
}

impl World {
    /// The Telemetries that concern a proxy, the widest first.
    pub(crate) fn telemetries<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = &'a Document<Telemetry>> {
        let root = self.settings.root_namespace.as_str();
        let own = node.namespace.as_str();
        let wide = move |namespace: &'a str| {
            let mut all = self.telemetries.iter();
            all.find(move |it| it.namespace() == namespace && is_for_all(it.spec()))
        };
        let narrow = self.telemetries.iter().find(move |it| it.namespace() == own && selects(it.spec(), node));
        [Some(root), Some(own).filter(|own| *own != root)].into_iter().flatten().filter_map(wide).chain(narrow)
    }

    /// The cluster of a provider's service.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn provider_cluster(&self, written: &str, port: u32) -> Result<Arc<str>, Unable> {
        let (service, port) = self.provider_service(written, port)?;
        Ok(names::outbound(port, "", &service.host))
    }
}

/// Those that name gateways of the Gateway API are for none of ours.
fn is_for_all(spec: &Telemetry) -> bool {
    let targets = spec.target_ref.is_some() || !spec.target_refs.is_empty();
    !targets && spec.selector.as_ref().is_none_or(|selector| selector.match_labels.is_empty())
}

fn selects(spec: &Telemetry, node: &Node) -> bool {
    let labels = spec.selector.as_ref().map(|selector| &selector.match_labels);
    labels.is_some_and(|labels| !labels.is_empty() && selected(labels, &node.labels))
}

/// A gateway calls, whoever calls it.
fn is_client(direction: Direction) -> bool {
    direction != Direction::Inbound
}

/// The access logs of a proxy, but for what the control plane is told.
pub(crate) fn logs(world: &World, node: &Node, direction: Direction, traffic: Traffic) -> Vec<AccessLog> {
    let mut said = false;
    let mut chosen: BTreeMap<&str, Option<&Expression>> = BTreeMap::new();
    let defaults = world.settings.default_providers.access_logging.iter();
    chosen.extend(defaults.map(|name| (name.as_str(), None)));
    said |= !chosen.is_empty();
    for document in world.telemetries(node) {
        for logging in &document.spec().access_logging {
            let mode = logging.match_.as_ref().map_or(WorkloadMode::ClientAndServer, |selector| selector.mode);
            if !mode.takes(is_client(direction)) {
                continue;
            }
            said = true;
            let filter = logging.filter.as_ref().and_then(|filter| filter.expression.as_ref());
            for name in concerned(&logging.providers, &chosen) {
                match logging.disabled {
                    Some(true) => _ = chosen.remove(name),
                    _ => {
                        let before = chosen.get(name).copied().flatten();
                        chosen.insert(name, filter.or(before));
                    }
                }
            }
        }
    }
    if !said {
        return world.settings.access_log.clone().map(AccessLog::from).into_iter().collect();
    }
    let log = |(name, filter): (&str, Option<&Expression>)| {
        let filter = filter.map(|expression| Arc::new(LogFilter::Expression(expression.clone())));
        Some(AccessLog { to: target(world, name, traffic)?, filter })
    };
    chosen.into_iter().filter_map(log).collect()
}

/// The providers that are meant: those that are named, else those that there are, else Istio's file.
fn concerned<'a>(named: &'a [ProviderRef], chosen: &BTreeMap<&'a str, Option<&Expression>>) -> Vec<&'a str> {
    match (named.is_empty(), chosen.is_empty()) {
        (false, _) => named.iter().map(|provider| provider.name.value.as_str()).collect(),
        (true, false) => chosen.keys().copied().collect(),
        (true, true) => vec![ENVOY],
    }
}

/// Where a provider's log goes; none for what it is not told of.
fn target(world: &World, name: &str, traffic: Traffic) -> Option<LogTarget> {
    let format = || world.settings.log_format.clone();
    let Some(provider) = world.settings.providers.get(name) else {
        return (name == ENVOY).then(|| LogTarget::File(FileLog { path: "/dev/stdout".to_owned(), format: format() }));
    };
    if let Some(file) = &provider.envoy_file_access_log {
        let format = file.log_format.as_ref().and_then(log_format).unwrap_or_else(format);
        return Some(LogTarget::File(FileLog { path: file.path.clone(), format }));
    }
    if let Some(otlp) = &provider.envoy_otel_als {
        let name = if otlp.log_name.is_empty() { OTLP_LOG } else { &otlp.log_name };
        let (body, attributes) = otlp.log_format.as_ref().and_then(otlp_format).unwrap_or_else(default_otlp_format);
        return Some(LogTarget::Otlp(Arc::new(OtlpLog {
            name: name.into(),
            service: GrpcService::new(world.provider_cluster(&otlp.service, otlp.port).ok()?),
            body: Some(body),
            attributes,
            is_named: true,
            flush_interval: ServiceLog::FLUSH_INTERVAL,
            buffer_bytes: ServiceLog::BUFFER_BYTES,
        })));
    }
    let (written, entries, default) = match (&provider.envoy_http_als, &provider.envoy_tcp_als, traffic) {
        (Some(http), _, Traffic::Http) => {
            let names = |written: &[String]| written.iter().filter_map(|name| header(name)).collect();
            let entries = LogEntries::Http {
                request_headers: names(&http.additional_request_headers_to_log),
                response_headers: names(&http.additional_response_headers_to_log),
            };
            (http, entries, HTTP_LOG)
        }
        (_, Some(tcp), Traffic::Raw) => (tcp, LogEntries::Tcp, TCP_LOG),
        _ => return None,
    };
    let log_name = if written.log_name.is_empty() { default } else { &written.log_name };
    Some(LogTarget::Service(Arc::new(ServiceLog {
        entries,
        name: log_name.into(),
        service: GrpcService::new(world.provider_cluster(&written.service, written.port).ok()?),
        flush_interval: ServiceLog::FLUSH_INTERVAL,
        buffer_bytes: ServiceLog::BUFFER_BYTES,
    })))
}

fn header(name: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).ok()
}

/// A form that can be read; [`check`](crate::check) says of the others that they cannot.
pub(crate) fn log_format(written: &ProviderLogFormat) -> Option<LogFormat> {
    match (written.labels.is_empty(), written.text.is_empty()) {
        (false, _) => json_format(written.labels.clone().into_iter().collect()).ok(),
        (true, false) => text_format(&written.text).ok(),
        (true, true) => None,
    }
}

/// The body and the attributes of records, if they can be read.
pub(crate) fn otlp_format(written: &ProviderLogFormat) -> Option<(String, Vec<(String, String)>)> {
    let LogFormat::Json(attributes) = json_format(written.labels.clone().into_iter().collect()).ok()? else {
        return None;
    };
    let (body, _) = default_otlp_format();
    let body =
        if written.text.is_empty() { body } else { text_format(&written.text).ok().map(|_| written.text.clone())? };
    Some((body, attributes))
}

/// Istio's line, and no attributes.
fn default_otlp_format() -> (String, Vec<(String, String)>) {
    (telemetry::log::ISTIO_TEXT.trim_end().to_owned(), Vec::new())
}

/// Puts into the listeners of a proxy how their traffic is counted, where that is not as by default.
pub(crate) fn count(config: &mut Config, world: &World, node: &Node) {
    if !node.ours
        || world.telemetries(node).all(|document| document.spec().metrics.is_empty()) && prometheus_asks(world)
    {
        return;
    }
    let rules = [Direction::Inbound, Direction::Outbound].map(|direction| {
        let rules = metrics(world, node, direction);
        (!rules.is_empty()).then(|| Arc::new(rules))
    });
    for listener in config.listeners.values_mut() {
        let Some(rules) = &rules[usize::from(is_client(listener.direction))] else { continue };
        let listener = Arc::make_mut(listener);
        for chain in listener.chains.iter_mut().chain(&mut listener.default_chain) {
            if matches!(chain.filter, NetworkFilter::Http(_) | NetworkFilter::Tcp(_)) {
                chain.metrics = Some(rules.clone());
            }
        }
    }
}

fn prometheus_asks(world: &World) -> bool {
    let defaults = &world.settings.default_providers.metrics;
    defaults.is_empty() || defaults.iter().any(|name| is_prometheus(world, name))
}

fn is_prometheus(world: &World, name: &str) -> bool {
    let provider = world.settings.providers.get(name);
    provider.map_or(name == PROMETHEUS, |provider| provider.prometheus.is_some())
}

/// How metrics are counted, where that is not as by default.
fn metrics(world: &World, node: &Node, direction: Direction) -> MetricRules {
    let mut rules = MetricRules::new();
    let mut asks = prometheus_asks(world);
    for metrics in world.telemetries(node).flat_map(|document| &document.spec().metrics) {
        if !metrics.providers.is_empty() {
            asks = metrics.providers.iter().any(|provider| is_prometheus(world, &provider.name.value));
        }
        if !asks {
            continue;
        }
        for change in &metrics.overrides {
            let (which, mode) = match &change.match_ {
                None => (Metric::ALL, WorkloadMode::ClientAndServer),
                Some(selector) if !selector.custom_metric.is_empty() => continue,
                Some(selector) => (of_istio(selector.metric), selector.mode),
            };
            if !mode.takes(is_client(direction)) {
                continue;
            }
            for metric in which {
                let rule = rules.entry(*metric).or_default();
                rule.dropped = change.disabled.unwrap_or(rule.dropped);
                for (name, tag) in &change.tag_overrides {
                    let value = tag.value.clone().filter(|_| tag.operation == TagOperation::Upsert);
                    rule.labels.insert(name.as_str().into(), value);
                }
            }
        }
    }
    if !asks {
        return Metric::ALL.iter().map(|metric| (*metric, dropped())).collect();
    }
    rules.retain(|_, rule| *rule != model::metrics::MetricRule::default());
    rules
}

fn dropped() -> model::metrics::MetricRule {
    model::metrics::MetricRule { dropped: true, ..Default::default() }
}

fn of_istio(metric: IstioMetric) -> &'static [Metric] {
    match metric {
        IstioMetric::All => Metric::ALL,
        IstioMetric::RequestCount => &[Metric::RequestCount],
        IstioMetric::RequestDuration => &[Metric::RequestDuration],
        IstioMetric::RequestSize => &[Metric::RequestSize],
        IstioMetric::ResponseSize => &[Metric::ResponseSize],
        IstioMetric::TcpOpened => &[Metric::TcpOpened],
        IstioMetric::TcpClosed => &[Metric::TcpClosed],
        IstioMetric::TcpSent => &[Metric::TcpSent],
        IstioMetric::TcpReceived => &[Metric::TcpReceived],
        IstioMetric::RequestMessages => &[Metric::RequestMessages],
        IstioMetric::ResponseMessages => &[Metric::ResponseMessages],
    }
}

/// What the Telemetries say of spans, the narrowest word of each kind.
#[derive(Debug, Default)]
pub(crate) struct Traced<'a> {
    /// Who is told.
    pub provider: Option<&'a str>,
    /// The share of new traces that are recorded, in percent.
    pub sampling: Option<f64>,
    /// Nobody is told.
    pub disabled: bool,
    /// Further tags.
    pub tags: Option<&'a BTreeMap<String, api::istio::TelemetryTag>>,
}

/// What is said of the spans of a proxy's exchanges.
pub(crate) fn traced<'a>(world: &'a World, node: &'a Node, direction: Direction) -> Traced<'a> {
    let mut traced =
        Traced { provider: world.settings.default_providers.tracing.first().map(String::as_str), ..Traced::default() };
    let all = world.telemetries(node).flat_map(|document| &document.spec().tracing);
    let takes = |tracing: &&TelemetryTracing| {
        let mode = tracing.match_.as_ref().map_or(WorkloadMode::ClientAndServer, |selector| selector.mode);
        mode.takes(is_client(direction))
    };
    for tracing in all.filter(takes) {
        traced.provider = tracing.providers.first().map(|provider| provider.name.value.as_str()).or(traced.provider);
        traced.sampling = tracing.random_sampling_percentage.or(traced.sampling);
        traced.disabled = tracing.disable_span_reporting.unwrap_or(traced.disabled);
        if !tracing.custom_tags.is_empty() {
            traced.tags = Some(&tracing.custom_tags);
        }
    }
    traced
}

/// The services that a provider stands for, as they are written.
pub(crate) fn written_services(provider: &ExtensionProvider) -> impl Iterator<Item = &str> {
    let http = provider.envoy_ext_authz_http.as_ref().map(|it| it.service.as_str());
    let grpc = provider.envoy_ext_authz_grpc.as_ref().map(|it| it.service.as_str());
    let zipkin = provider.zipkin.as_ref().map(|it| it.service.as_str());
    let spans = provider.opentelemetry.as_ref().map(|it| it.service.as_str());
    let of_http = provider.envoy_http_als.as_ref().map(|it| it.service.as_str());
    let of_tcp = provider.envoy_tcp_als.as_ref().map(|it| it.service.as_str());
    let logs = provider.envoy_otel_als.as_ref().map(|it| it.service.as_str());
    [http, grpc, zipkin, spans, of_http, of_tcp, logs].into_iter().flatten()
}
