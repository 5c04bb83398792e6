//! Spans on their way to the service, on the side runtime.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::tracing::SpanSink;
use prost::Message as _;
use proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use proto::opentelemetry::proto::common::v1::any_value::Value;
use proto::opentelemetry::proto::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use proto::opentelemetry::proto::resource::v1::Resource;
use proto::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span};
use telemetry::{Counter, DeclareError, Desc};

use crate::live::{Live, View};
use crate::node::Shared;
use crate::outlet::Opened;
use crate::unary;

/// The method of the service.
const METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// The service may take this long for what it is sent at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// Spans wait so long for others to go with.
const GATHER: Duration = Duration::from_secs(1);
/// So many go at once at most.
const AT_ONCE: usize = 500;

/// What is counted, by the names of Envoy.
#[derive(Clone)]
struct Counters {
    sent: Counter,
    dropped: Counter,
}

/// The way to services.
struct Way {
    live: Arc<Live>,
    upstream: Rc<upstream::Worker>,
    shared: Arc<Shared>,
    counters: Counters,
}

/// Serves every service that is opened from now on. The first call counts.
///
/// # Errors
/// A statistic is declared in two ways.
pub(crate) fn follow(shared: &Arc<Shared>, live: &Arc<Live>) -> Result<(), DeclareError> {
    let Some(mut opened) = shared.spans.0.opened() else { return Ok(()) };
    let shard = shared.registry.shard();
    let counter = |name, help| Ok(shard.counters(Desc::new(name, help))?.with(&[]));
    let counters = Counters {
        sent: counter("envoy_tracing_opentelemetry_spans_sent", "Spans that services took.")?,
        dropped: counter("envoy_tracing_opentelemetry_spans_dropped", "Spans that no service got.")?,
    };
    let upstream = upstream::Worker::new(shared.dialer(), &shard)?;
    let way = Rc::new(Way { live: live.clone(), upstream, shared: shared.clone(), counters });
    tokio::task::spawn_local(async move {
        // The shard is what is counted in: it stays as long as anything is.
        let _shard = shard;
        while let Some(sink) = opened.recv().await {
            tokio::task::spawn_local(serve(way.clone(), sink));
        }
    });
    Ok(())
}

/// Carries spans until nobody leaves any more.
async fn serve(way: Rc<Way>, mut opened: Opened<SpanSink, Span>) {
    let settings = opened.settings.clone();
    while let Some((_, batch)) = opened.next(GATHER, AT_ONCE, |_| true).await {
        let count = batch.len() as u64;
        let call = filter::Call {
            service: &settings.service,
            path: METHOD,
            message: way.message(&settings.service_name, batch),
            timeout: Some(PATIENCE),
        };
        match unary::call(&View::new(way.live.load(), way.upstream.clone()), call).await {
            Ok(_) => way.counters.sent.add(count),
            Err(problem) => {
                tracing::debug!("{count} spans are dropped: {problem}");
                way.counters.dropped.add(count);
            }
        }
        way.counters.dropped.add(opened.take_dropped());
        opened.done(count);
    }
}

impl Way {
    /// Spans with who tells them.
    fn message(&self, service_name: &str, spans: Vec<Span>) -> Bytes {
        let workload = &self.shared.workload;
        let own = || match workload.service.is_empty() {
            true => self.shared.service_cluster.to_string(),
            false => format!("{}.{}", workload.service, workload.namespace),
        };
        let name = if service_name.is_empty() { own() } else { service_name.to_owned() };
        let text = |(key, value): (&str, &str)| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) }),
        };
        let attributes = [
            ("service.name", name.as_str()),
            ("service.namespace", &*workload.namespace),
            ("service.version", &*workload.version),
            ("service.instance.id", &*self.shared.node),
            ("k8s.deployment.name", &*workload.name),
            ("k8s.namespace.name", &*workload.namespace),
            ("telemetry.sdk.name", "halcyon"),
            ("telemetry.sdk.language", "rust"),
            ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
        ];
        let attributes = attributes.into_iter().filter(|(_, value)| !value.is_empty()).map(text).collect();
        let scope = InstrumentationScope {
            name: "halcyon-proxy".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }];
        let resource = Resource { attributes, dropped_attributes_count: 0 };
        let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans, schema_url: String::new() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
    }
}
