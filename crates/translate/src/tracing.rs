//! How proxies make spans of exchanges: which traces are recorded, and that the control plane is told, which shows them.

use std::sync::Arc;
use std::time::Duration;

use api::istio::{MeshProxyConfig, ProviderHeader, TelemetryTag};
use http::{HeaderName, HeaderValue};
use model::matcher::Fraction;
use model::tracing::{SpanSink, Tag, TagValue, Tail, Tracing};
use model::{Direction, GrpcService};

use crate::node::Node;
use crate::reports;
use crate::telemetries;
use crate::world::World;

/// Requests that took so long are worth a look, whatever the share of recorded traces is.
const SLOW: Duration = Duration::from_secs(1);

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
    let chosen = said.provider.and_then(|name| provider(world, name)).filter(|_| !said.disabled);
    // A stock Envoy tells one.
    let is_told = world.settings.is_told_of_spans() && !said.disabled && (node.ours || chosen.is_none());
    let own = is_told.then(|| SpanSink {
        service: GrpcService::new(reports::SERVICE),
        // Our proxies know their names. What is made for all workloads of a namespace knows none of them.
        service_name: "".into(),
        // Only ours knows what that is.
        tail: node.ours.then_some(Tail { errors: true, slower_than: Some(SLOW) }),
    });
    Some(Arc::new(Tracing {
        random: Fraction::percent(said.sampling.unwrap_or(settings.sampling)),
        most_path: settings.most_path,
        tags: said.tags.into_iter().flatten().filter_map(|(name, tag)| self::tag(name, tag)).collect(),
        sinks: chosen.into_iter().chain(own).collect(),
        ..Tracing::default()
    }))
}

/// A provider that takes spans by OTLP over gRPC.
fn provider(world: &World, name: &str) -> Option<SpanSink> {
    let written = world.settings.providers.get(name)?.opentelemetry.as_ref()?;
    let of = |header: &ProviderHeader| {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_str(&header.value).ok()?)).filter(|_| header.env_name.is_empty())
    };
    let metadata = written.grpc.iter().flat_map(|grpc| &grpc.initial_metadata).filter_map(of).collect();
    let cluster = world.provider_cluster(&written.service, written.port).ok()?;
    let service = GrpcService { metadata, ..GrpcService::new(cluster) };
    Some(SpanSink { service, service_name: "".into(), tail: None })
}

/// A tag; none of what is made of operators.
fn tag(name: &str, written: &TelemetryTag) -> Option<Tag> {
    let or = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
    let literal = written.literal.as_ref().map(|it| TagValue::Literal(it.value.as_str().into()));
    let environment = written.environment.as_ref();
    let environment = environment.map(|it| TagValue::Environment(it.name.as_str().into(), or(&it.default_value)));
    let header = written.header.as_ref().and_then(|it| {
        let name = HeaderName::from_bytes(it.name.as_bytes()).ok()?;
        Some(TagValue::RequestHeader(name, or(&it.default_value)))
    });
    Some(Tag { name: name.into(), value: literal.or(environment).or(header)? })
}
