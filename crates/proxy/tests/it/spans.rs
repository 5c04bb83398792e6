//! Exchanges as spans, told to a service of OTLP, which here is a real one of gRPC.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::http::Request;
use mesh_http::Body;
use model::Direction::Outbound;
use model::cluster::UpstreamProtocol;
use model::matcher::Fraction;
use model::tracing::{SpanSink, Tag, TagValue, Tail, Tracing};
use model::{Cluster, Config, GrpcService, HttpProxy};
use proto::opentelemetry::proto::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use proto::opentelemetry::proto::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use proto::opentelemetry::proto::common::v1::any_value::Value;
use proto::opentelemetry::proto::trace::v1::Span;
use proto::opentelemetry::proto::trace::v1::status::StatusCode;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;

use crate::rig::*;

type Told = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

struct Listening(Told);

#[tonic::async_trait]
impl TraceService for Listening {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn service() -> (SocketAddr, Told) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (at, told) = (listener.local_addr().unwrap(), Told::default());
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Listening(told.clone())));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (at, told)
}

/// Nothing is recorded by chance.
fn tracing(tail: Option<Tail>) -> Tracing {
    let sink = SpanSink { service: GrpcService::new("spans"), service_name: "shop".into(), tail };
    let tag = |name: &str, value| Tag { name: name.into(), value };
    Tracing {
        random: Fraction::NONE,
        client: Fraction::NONE,
        tags: vec![
            tag("team", TagValue::RequestHeader("x-team".parse().unwrap(), Some("none".into()))),
            tag("stage", TagValue::Literal("test".into())),
        ],
        sinks: vec![sink],
        ..Tracing::default()
    }
}

fn shop(at: SocketAddr, tracing: Tracing, spans: SocketAddr, origin: SocketAddr) -> Config {
    let routes = vec![route("/ok", to("c")), route("/gone", to("gone"))];
    let http = HttpProxy { tracing: Some(Arc::new(tracing)), ..http(routes) };
    let clusters = vec![
        cluster("c", &[origin]),
        cluster("gone", &[]),
        Cluster { protocol: UpstreamProtocol::Http2, ..cluster("spans", &[spans]) },
    ];
    config(vec![listener("l", at, Outbound, vec![http_chain(http)])], clusters)
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn asking(path: &str, recorded: bool) -> Request<Body> {
    let mut request = get("shop", path);
    let context = format!("00-{TRACE}-{PARENT}-0{}", u8::from(recorded));
    for (name, value) in [("traceparent", context.as_str()), ("x-team", "blue"), ("x-request-id", "r1")] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    request
}

/// What the service was told, once there is as much as is expected.
async fn spans(told: &Told, count: usize) -> Vec<Span> {
    for _ in 0..1000 {
        let found: Vec<Span> = {
            let told = told.lock().unwrap();
            let scopes = told.iter().flat_map(|request| &request.resource_spans).flat_map(|it| &it.scope_spans);
            scopes.flat_map(|scope| scope.spans.clone()).collect()
        };
        if found.len() >= count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not told of {count} spans: {told:?}")
}

fn attributes(span: &Span) -> BTreeMap<&str, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let of = |value: &Option<_>| -> Option<String> {
        let value: &Option<proto::opentelemetry::proto::common::v1::AnyValue> = value;
        value.as_ref()?.value.as_ref().map(text)
    };
    span.attributes.iter().map(|it| (it.key.as_str(), of(&it.value).unwrap_or_default())).collect()
}

#[test]
fn a_recorded_trace_goes_on() {
    run(async {
        let ((sink, told), origin, at) = (service().await, named_origin("c").await, free_address());
        let _proxy = proxy("a", shop(at, tracing(None), sink, origin)).await;
        assert_eq!(send(at, asking("/ok?q=1", false)).await.status, 200);
        assert_eq!(send(at, asking("/ok?q=1", true)).await.status, 200);
        let spans = spans(&told, 1).await;
        let [span] = spans.as_slice() else { panic!("one was recorded: {spans:?}") };
        assert_eq!(span.trace_id, hex(TRACE));
        assert_eq!(span.parent_span_id, hex(PARENT));
        assert!(span.span_id.len() == 8 && span.span_id != span.parent_span_id);
        assert_eq!(span.name, "GET c");
        assert!(span.end_time_unix_nano > span.start_time_unix_nano);
        let said = attributes(span);
        for (key, value) in [
            ("http.request.method", "GET"),
            ("url.path", "/ok?q=1"),
            ("server.address", "shop"),
            ("http.response.status_code", "200"),
            ("upstream_cluster", "c"),
            ("guid:x-request-id", "r1"),
            ("team", "blue"),
            ("stage", "test"),
        ] {
            assert_eq!(said.get(key).map(String::as_str), Some(value), "{key}: {said:?}");
        }
        let resource = told.lock().unwrap()[0].resource_spans[0].resource.clone().unwrap();
        assert!(format!("{resource:?}").contains("\"shop\""), "{resource:?}");
    });
}

#[test]
fn what_failed_is_told_though_it_is_not_recorded() {
    run(async {
        let ((sink, told), origin, at) = (service().await, named_origin("c").await, free_address());
        let tail = Tail { errors: true, slower_than: None };
        let _proxy = proxy("a", shop(at, tracing(Some(tail)), sink, origin)).await;
        assert_eq!(send(at, asking("/ok", false)).await.status, 200);
        assert_eq!(send(at, asking("/gone", false)).await.status, 503);
        let spans = spans(&told, 1).await;
        let [span] = spans.as_slice() else { panic!("one failed: {spans:?}") };
        assert_eq!(span.status.as_ref().map(|status| status.code), Some(StatusCode::Error.into()));
        let said = attributes(span);
        assert_eq!((said["url.path"].as_str(), said["response_flags"].as_str()), ("/gone", "UH"));
        assert_eq!(span.flags, 0, "its trace is not recorded");
    });
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
