//! Logs that a service takes by OTLP, which here is a real one of gRPC.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::Direction::Outbound;
use model::access_log::{Comparison, LogFilter, LogTarget, Ordering as Compares, OtlpLog, ServiceLog};
use model::cluster::UpstreamProtocol;
use model::{AccessLog, Cluster, Config, GrpcService, HttpProxy};
use proto::opentelemetry::proto::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use proto::opentelemetry::proto::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use proto::opentelemetry::proto::common::v1::any_value::Value;
use proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;

use crate::rig::*;

type Told = Arc<Mutex<Vec<ExportLogsServiceRequest>>>;

struct Listening(Told);

#[tonic::async_trait]
impl LogsService for Listening {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, tonic::Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(tonic::Response::new(ExportLogsServiceResponse::default()))
    }
}

async fn service() -> (SocketAddr, Told) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (at, told) = (listener.local_addr().unwrap(), Told::default());
    let server = tonic::transport::Server::builder().add_service(LogsServiceServer::new(Listening(told.clone())));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (at, told)
}

fn log(body: &str) -> Arc<OtlpLog> {
    Arc::new(OtlpLog {
        name: "test".into(),
        service: GrpcService::new("logs"),
        body: Some(body.to_owned()),
        attributes: vec![("status".into(), "%RESPONSE_CODE%".into()), ("team".into(), "%REQ(X-TEAM)%".into())],
        is_named: true,
        flush_interval: Duration::from_millis(20),
        buffer_bytes: ServiceLog::BUFFER_BYTES,
    })
}

fn shop(at: SocketAddr, log: Arc<OtlpLog>, logs: SocketAddr, origin: SocketAddr) -> Config {
    let failed = LogFilter::Status(Comparison { is: Compares::AtLeast, than: 400 });
    let log = AccessLog { to: LogTarget::Otlp(log), filter: Some(Arc::new(failed)) };
    let http = HttpProxy { access_logs: vec![log], ..http(vec![route("/ok", to("c"))]) };
    let clusters =
        vec![cluster("c", &[origin]), Cluster { protocol: UpstreamProtocol::Http2, ..cluster("logs", &[logs]) }];
    config(vec![listener("l", at, Outbound, vec![http_chain(http)])], clusters)
}

fn texts(attributes: &[KeyValue]) -> Vec<(&str, &str)> {
    attributes.iter().map(|it| (it.key.as_str(), said(it.value.as_ref()))).collect()
}

fn said(value: Option<&AnyValue>) -> &str {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        _ => "",
    }
}

#[test]
fn records_of_requests() {
    run(async {
        let ((logs, told), origin, at) = (service().await, named_origin("c").await, free_address());
        let proxy = proxy("a", shop(at, log("%REQ(:METHOD)% %REQ(:PATH)%\n"), logs, origin)).await;
        assert_eq!(send(at, get("shop", "/ok")).await.status, 200);
        let mut request = get("shop", "/nowhere");
        let context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        for (name, value) in [("traceparent", context), ("x-team", "blue \"1\"")] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        assert_eq!(send(at, request).await.status, 404);
        for _ in 0..1000 {
            if !told.lock().unwrap().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let told = told.lock().unwrap().clone();
        let [request] = told.as_slice() else { panic!("once: {told:?}") };
        let logs = &request.resource_logs[0];
        let resource = texts(&logs.resource.as_ref().unwrap().attributes);
        for said in [("log_name", "test"), ("node_name", "sidecar~a"), ("service.name", "a.default")] {
            assert!(resource.contains(&said), "{said:?}: {resource:?}");
        }
        let [record] = logs.scope_logs[0].log_records.as_slice() else { panic!("one failed: {logs:?}") };
        assert_eq!(said(record.body.as_ref()), "GET /nowhere");
        assert_eq!(texts(&record.attributes), [("status", "404"), ("team", "blue \"1\"")]);
        assert!(record.time_unix_nano > 0 && record.time_unix_nano <= record.observed_time_unix_nano);
        until_counted(&proxy, "envoy_access_logs_open_telemetry_access_log_logs_written", &[], 1.0).await;
    });
}

#[test]
fn what_cannot_be_read_is_refused() {
    run(async {
        let at = free_address();
        let proxy = proxy("a", Config::default()).await;
        let rejected = proxy.handle().replace(shop(at, log("%NONSENSE%"), at, at)).await;
        assert!(rejected.iter().any(|(_, why)| why.contains("`%NONSENSE%` is not a known operator")), "{rejected:?}");
    });
}
