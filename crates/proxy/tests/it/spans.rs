//! Exchanges as spans, told to a service of OTLP, which here is a real one of gRPC, and to services of HTTP.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::http::{Request, Response};
use mesh_http::Body;
use model::Direction::Outbound;
use model::cluster::UpstreamProtocol;
use model::matcher::Fraction;
use model::tracing::{Collector, HttpService, SpanSink, Tag, TagValue, Tail, Tracing};
use model::{Cluster, Config, GrpcService, HttpProxy};
use prost::Message as _;
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
    let sink = SpanSink { collector: Collector::Otlp(GrpcService::new("spans")), service_name: "shop".into(), tail };
    let tag = |name: &str, value| Tag { name: name.into(), value };
    Tracing {
        random: Fraction::NONE,
        client: Fraction::NONE,
        tags: vec![
            tag("team", TagValue::RequestHeader("x-team".parse().unwrap(), Some("none".into()))),
            tag("stage", TagValue::Literal("test".into())),
            tag("said", TagValue::Format("%REQ(:METHOD)% %RESPONSE_CODE%".into())),
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
            ("said", "GET 200"),
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

#[test]
fn services_of_http_are_told_too() {
    run(async {
        let asked: Arc<Mutex<Vec<(String, String, Vec<u8>)>>> = Arc::default();
        let all = asked.clone();
        let sink = origin(move |request: Request<Body>| {
            let all = all.clone();
            async move {
                let (head, body) = request.into_parts();
                let of = |name: &str| head.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
                let line =
                    format!("{} {} {} {} {}", head.method, head.uri, of("host"), of("content-type"), of("x-key"));
                let body = body.collect(1 << 20).await.unwrap().data;
                all.lock().unwrap().push((line, of("x-envoy-expected-rq-timeout-ms"), body.to_vec()));
                Response::builder().status(202).body(Body::empty()).unwrap()
            }
        })
        .await;
        let (origin, at) = (named_origin("c").await, free_address());
        let service = |path: &str, authority: Option<&str>| HttpService {
            cluster: "spans".into(),
            authority: authority.map(Into::into),
            path: path.parse().unwrap(),
            timeout: Duration::from_secs(3),
            headers: vec![("x-key".parse().unwrap(), "k1".parse().unwrap())],
        };
        let of = |collector| SpanSink { collector, service_name: "".into(), tail: None };
        let tracing = Tracing {
            sinks: vec![
                of(Collector::Zipkin(service("/api/v2/spans", Some("zipkin:9411")))),
                of(Collector::OtlpHttp(service("/v1/traces?a=b", None))),
            ],
            ..tracing(None)
        };
        let mut config = shop(at, tracing, sink, origin);
        config.clusters.insert("spans".into(), Arc::new(cluster("spans", &[sink])));
        let proxy = proxy("a", config).await;
        assert_eq!(send(at, asking("/ok", true)).await.status, 200);
        let mut found = Vec::new();
        for _ in 0..1000 {
            found = asked.lock().unwrap().clone();
            if found.len() > 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        found.sort();
        let [(zipkin, limit, json), (otlp, _, protobuf)] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(zipkin, "POST /api/v2/spans zipkin:9411 application/json k1");
        assert_eq!((otlp.as_str(), limit.as_str()), ("POST /v1/traces?a=b spans application/x-protobuf k1", "3000"));
        let json: serde_json::Value = serde_json::from_slice(json).unwrap();
        let (span, tags) = (&json[0], &json[0]["tags"]);
        assert_eq!(
            (&span["traceId"], &span["parentId"], &span["kind"]),
            (&TRACE.into(), &PARENT.into(), &"CLIENT".into())
        );
        assert_eq!((&tags["http.response.status_code"], &tags["team"]), (&"200".into(), &"blue".into()));
        let request = ExportTraceServiceRequest::decode(protobuf.as_slice()).unwrap();
        assert_eq!(request.resource_spans[0].scope_spans[0].spans[0].trace_id, hex(TRACE));
        for tracer in ["zipkin", "opentelemetry"] {
            until_counted(&proxy, &format!("envoy_tracing_{tracer}_spans_sent"), &[], 1.0).await;
        }
    });
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}
