//! Spans on their way to the service, on the side runtime.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderValue, Request, header};
use bytes::Bytes;
use filter::{Call, Exchange};
use model::tracing::{Collector, HttpService, SpanSink};
use prost::Message as _;
use proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use proto::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span};
use telemetry::{Counter, DeclareError, Desc, Shard};

use super::zipkin;
use crate::live::{Live, View};
use crate::node::Shared;
use crate::otlp;
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

/// What is counted of spans that go one way.
struct Counters {
    sent: Counter,
    dropped: Counter,
}

impl Counters {
    /// Under the name of Envoy's tracer.
    fn declare(shard: &Shard, tracer: &str) -> Result<Self, DeclareError> {
        let counter = |what: &str, help| {
            Ok(shard.counters(Desc::new(&format!("envoy_tracing_{tracer}_spans_{what}"), help))?.with(&[]))
        };
        Ok(Self {
            sent: counter("sent", "Spans that services took.")?,
            dropped: counter("dropped", "Spans that no service got.")?,
        })
    }
}

/// The way to services.
struct Way {
    live: Arc<Live>,
    upstream: Rc<upstream::Worker>,
    shared: Arc<Shared>,
    otlp: Counters,
    zipkin: Counters,
}

/// Serves every service that is opened from now on. The first call counts.
///
/// # Errors
/// A statistic is declared in two ways.
pub(crate) fn follow(shared: &Arc<Shared>, live: &Arc<Live>) -> Result<(), DeclareError> {
    let Some(mut opened) = shared.spans.0.opened() else { return Ok(()) };
    let shard = shared.registry.shard();
    let (otlp, zipkin) = (Counters::declare(&shard, "opentelemetry")?, Counters::declare(&shard, "zipkin")?);
    let upstream = upstream::Worker::new(shared.dialer(), &shard)?;
    let way = Rc::new(Way { live: live.clone(), upstream, shared: shared.clone(), otlp, zipkin });
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
    let counters = match settings.collector {
        Collector::Otlp(_) | Collector::OtlpHttp(_) => &way.otlp,
        Collector::Zipkin(_) => &way.zipkin,
    };
    while let Some((_, batch)) = opened.next(GATHER, AT_ONCE, |_| true).await {
        let count = batch.len() as u64;
        match way.bring(&settings, batch).await {
            Ok(()) => counters.sent.add(count),
            Err(problem) => {
                tracing::debug!("{count} spans for {} are dropped: {problem}", settings.collector.cluster());
                counters.dropped.add(count);
            }
        }
        counters.dropped.add(opened.take_dropped());
        opened.done(count);
    }
}

impl Way {
    async fn bring(&self, settings: &SpanSink, spans: Vec<Span>) -> Result<(), String> {
        let name = otlp::service_name(&self.shared, &settings.service_name);
        match &settings.collector {
            Collector::Otlp(service) => {
                let call = Call { service, path: METHOD, message: self.otlp(&name, spans), timeout: Some(PATIENCE) };
                unary::call(&self.view(), call).await.map(drop)
            }
            Collector::OtlpHttp(service) => self.post(service, "application/x-protobuf", self.otlp(&name, spans)).await,
            Collector::Zipkin(service) => self.post(service, "application/json", zipkin::message(&name, &spans)).await,
        }
    }

    async fn post(&self, service: &HttpService, form: &'static str, message: Bytes) -> Result<(), String> {
        let authority = unary::authority(service.authority.as_ref().unwrap_or(&service.cluster));
        let mut request = Request::post(service.path.as_str())
            .header(header::HOST, authority)
            .header(header::CONTENT_TYPE, HeaderValue::from_static(form))
            .body(message)
            .map_err(|error| error.to_string())?;
        request.headers_mut().extend(service.headers.iter().cloned());
        let timeout = Some(service.timeout).filter(|limit| !limit.is_zero());
        let exchange = Exchange { cluster: &service.cluster, request, timeout };
        match unary::exchange(&self.view(), exchange).await?.status() {
            status if status.is_success() => Ok(()),
            other => Err(format!("the answer has status {other}")),
        }
    }

    fn view(&self) -> View {
        View::new(self.live.load(), self.upstream.clone())
    }

    /// Spans with who tells them.
    fn otlp(&self, name: &str, spans: Vec<Span>) -> Bytes {
        let resource = Some(otlp::resource(&self.shared, name, []));
        let scope_spans = vec![ScopeSpans { scope: Some(otlp::scope()), spans, schema_url: String::new() }];
        let resource_spans = vec![ResourceSpans { resource, scope_spans, schema_url: String::new() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
    }
}
