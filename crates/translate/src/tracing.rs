//! How proxies make spans of exchanges: which traces are recorded, and that the control plane is told, which shows them.

use std::sync::Arc;
use std::time::Duration;

use api::istio::{
    ExtensionProvider, MeshProxyConfig, OpenTelemetryProvider, ProviderHeader, TelemetryTag, ZipkinProvider,
};
use http::{HeaderName, HeaderValue};
use model::matcher::Fraction;
use model::tracing::{Collector, HttpService, SpanSink, Tag, TagValue, Tail, Tracing};
use model::{Direction, GrpcService};

use crate::names;
use crate::node::Node;
use crate::reports;
use crate::settings::text_format;
use crate::telemetries;
use crate::world::World;

/// Requests that took so long are worth a look, whatever the share of recorded traces is.
const SLOW: Duration = Duration::from_secs(1);

/// Where spans go by OTLP over HTTP (its standard), and how long that may take (Istio).
const OTLP_PATH: &str = "/v1/traces";
const OTLP_TIMEOUT: Duration = Duration::from_secs(3);
/// Where they go by Zipkin's API, and how long that may take (Istio, Envoy).
const ZIPKIN_PATH: &str = "/api/v2/spans";
const ZIPKIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How exchanges become spans, as MeshConfig says it.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanSettings {
    /// They do (`enableTracing`).
    pub are_made: bool,
    /// The share of new traces that are recorded, in percent (`defaultConfig.tracing.sampling`). Istio's default is 1.
    pub sampling: f64,
    /// Longer paths are cut (`defaultConfig.tracing.maxPathTagLength`).
    pub most_path: u32,
}

impl Default for SpanSettings {
    fn default() -> Self {
        Self { are_made: true, sampling: 1.0, most_path: Tracing::MOST_PATH }
    }
}

impl SpanSettings {
    /// These settings, where `config` says nothing else.
    #[must_use]
    pub(crate) fn with(mut self, config: &MeshProxyConfig) -> Self {
        if let Some(tracing) = &config.tracing {
            self.sampling = tracing.sampling.unwrap_or(self.sampling);
            self.most_path = tracing.max_path_tag_length.unwrap_or(self.most_path);
        }
        self
    }
}

/// Spans of a proxy's exchanges. Failures and slow requests are told in any case.
pub(crate) fn tracing(world: &World, node: &Node, direction: Direction) -> Option<Arc<Tracing>> {
    let settings = &world.settings.spans;
    if !settings.are_made {
        return None;
    }
    let said = telemetries::traced(world, node, direction);
    let chosen = said.provider.and_then(|name| world.settings.providers.get(name)).filter(|_| !said.disabled);
    let chosen = chosen.and_then(|written| provider(world, written));
    let most_path = chosen.as_ref().map(|(_, most_path)| *most_path).filter(|most| *most > 0);
    // A stock Envoy tells one.
    let is_told = world.settings.is_told_of_spans() && !said.disabled && (node.ours || chosen.is_none());
    let own = is_told.then(|| SpanSink {
        collector: Collector::Otlp(GrpcService::new(reports::SERVICE)),
        // Our proxies know their names. What is made for all workloads of a namespace knows none of them.
        service_name: "".into(),
        // Only ours knows what that is.
        tail: node.ours.then_some(Tail { errors: true, slower_than: Some(SLOW) }),
    });
    Some(Arc::new(Tracing {
        random: Fraction::percent(said.sampling.unwrap_or(settings.sampling)),
        most_path: most_path.unwrap_or(settings.most_path),
        tags: said.tags.into_iter().flatten().filter_map(|(name, tag)| self::tag(name, tag)).collect(),
        sinks: chosen.into_iter().map(|(sink, _)| sink).chain(own).collect(),
        ..Tracing::default()
    }))
}

/// A provider that takes spans, and what is cut for it; 0: nothing is said.
fn provider(world: &World, written: &ExtensionProvider) -> Option<(SpanSink, u32)> {
    let (collector, most_path) = match (&written.opentelemetry, &written.zipkin) {
        (Some(otlp), _) => (open_telemetry(world, otlp)?, otlp.max_tag_length),
        (None, Some(zipkin)) => (self::zipkin(world, zipkin)?, zipkin.max_tag_length),
        (None, None) => return None,
    };
    Some((SpanSink { collector, service_name: "".into(), tail: None }, most_path))
}

fn open_telemetry(world: &World, written: &OpenTelemetryProvider) -> Option<Collector> {
    let OpenTelemetryProvider { service, port, http, grpc, .. } = written;
    if let Some(http) = http {
        let path = if http.path.is_empty() { OTLP_PATH } else { &http.path };
        let timeout = http.timeout.unwrap_or(OTLP_TIMEOUT);
        return Some(Collector::OtlpHttp(http_service(world, (service, *port), path, timeout, &http.headers)?));
    }
    let metadata = headers(grpc.iter().flat_map(|grpc| &grpc.initial_metadata));
    let cluster = world.provider_cluster(service, *port).ok()?;
    Some(Collector::Otlp(GrpcService { metadata, ..GrpcService::new(cluster) }))
}

fn zipkin(world: &World, written: &ZipkinProvider) -> Option<Collector> {
    let path = if written.path.is_empty() { ZIPKIN_PATH } else { &written.path };
    let timeout = written.timeout.unwrap_or(ZIPKIN_TIMEOUT);
    let service = http_service(world, (&written.service, written.port), path, timeout, &written.headers)?;
    Some(Collector::Zipkin(service))
}

fn http_service(
    world: &World,
    (service, port): (&str, u32),
    path: &str,
    timeout: Duration,
    written: &[ProviderHeader],
) -> Option<HttpService> {
    let (found, port) = world.provider_service(service, port).ok()?;
    Some(HttpService {
        cluster: names::outbound(port, "", &found.host),
        authority: Some(format!("{}:{port}", found.host).into()),
        path: path.parse().ok().filter(|_| path.starts_with('/'))?,
        timeout,
        headers: headers(written),
    })
}

/// Those whose values stand there.
fn headers<'a>(written: impl IntoIterator<Item = &'a ProviderHeader>) -> Vec<(HeaderName, HeaderValue)> {
    let of = |header: &ProviderHeader| {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_str(&header.value).ok()?)).filter(|_| header.env_name.is_empty())
    };
    written.into_iter().filter_map(of).collect()
}

/// A tag; none of operators that cannot be read.
fn tag(name: &str, written: &TelemetryTag) -> Option<Tag> {
    let or = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
    let literal = written.literal.as_ref().map(|it| TagValue::Literal(it.value.as_str().into()));
    let environment = written.environment.as_ref();
    let environment = environment.map(|it| TagValue::Environment(it.name.as_str().into(), or(&it.default_value)));
    let header = written.header.as_ref().and_then(|it| {
        let name = HeaderName::from_bytes(it.name.as_bytes()).ok()?;
        Some(TagValue::RequestHeader(name, or(&it.default_value)))
    });
    let format = written.formatter.as_ref().filter(|it| text_format(&it.value).is_ok());
    let format = format.map(|it| TagValue::Format(it.value.as_str().into()));
    Some(Tag { name: name.into(), value: literal.or(environment).or(header).or(format)? })
}
