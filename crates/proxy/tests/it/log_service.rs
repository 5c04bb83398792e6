//! Logs that a service takes, which here is a real one of gRPC.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::http::Request;
use mesh_http::Body;
use model::Direction::{Inbound, Outbound};
use model::access_log::{Comparison, LogEntries, LogFilter, LogTarget, Ordering as Compares, ServiceLog};
use model::cluster::UpstreamProtocol;
use model::{AccessLog, Cluster, Config, GrpcService, HttpProxy, NetworkFilter, TcpProxy};
use proto::envoy::data::accesslog::v3::HttpAccessLogEntry;
use proto::envoy::service::accesslog::v3::access_log_service_server::{AccessLogService, AccessLogServiceServer};
use proto::envoy::service::accesslog::v3::stream_access_logs_message::LogEntries as Wire;
use proto::envoy::service::accesslog::v3::{StreamAccessLogsMessage, StreamAccessLogsResponse};
use tokio::net::{TcpListener, TcpSocket};
use tokio_stream::wrappers::TcpListenerStream;

use crate::rig::*;

type Told = Arc<Mutex<Vec<StreamAccessLogsMessage>>>;

struct Listening(Told);

#[tonic::async_trait]
impl AccessLogService for Listening {
    async fn stream_access_logs(
        &self,
        request: tonic::Request<tonic::Streaming<StreamAccessLogsMessage>>,
    ) -> Result<tonic::Response<StreamAccessLogsResponse>, tonic::Status> {
        let mut messages = request.into_inner();
        while let Some(message) = messages.message().await? {
            self.0.lock().unwrap().push(message);
        }
        Ok(tonic::Response::new(StreamAccessLogsResponse {}))
    }
}

async fn service() -> (SocketAddr, Told) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (at, told) = (listener.local_addr().unwrap(), Told::default());
    let service = AccessLogServiceServer::new(Listening(told.clone()));
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (at, told)
}

fn log(entries: LogEntries, filter: Option<LogFilter>) -> AccessLog {
    let log = ServiceLog {
        entries,
        name: "test".into(),
        service: GrpcService::new("logs"),
        flush_interval: Duration::from_millis(20),
        buffer_bytes: ServiceLog::BUFFER_BYTES,
    };
    AccessLog { to: LogTarget::Service(Arc::new(log)), filter: filter.map(Arc::new) }
}

fn of_requests(filter: Option<LogFilter>) -> AccessLog {
    let headers = vec!["x-team".parse().unwrap()];
    log(LogEntries::Http { request_headers: headers, response_headers: Vec::new() }, filter)
}

fn refused() -> Option<LogFilter> {
    let status = LogFilter::Status(Comparison { is: Compares::AtLeast, than: 400 });
    Some(LogFilter::And(vec![LogFilter::OwnAnswer, status]))
}

fn shop(at: SocketAddr, log: AccessLog, logs: SocketAddr, origin: SocketAddr) -> Config {
    let http = HttpProxy { access_logs: vec![log], ..http(vec![route("/ok", to("c")), route("/gone", to("gone"))]) };
    let clusters = vec![
        cluster("c", &[origin]),
        cluster("gone", &[]),
        Cluster { protocol: UpstreamProtocol::Http2, ..cluster("logs", &[logs]) },
    ];
    config(vec![listener("l", at, Outbound, vec![http_chain(http)])], clusters)
}

fn asking(path: &str, id: &str) -> Request<Body> {
    let mut request = get("shop", path);
    for (name, value) in [("x-request-id", id), ("x-team", "blue"), ("authorization", "Bearer secret")] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    request
}

/// What the service was told of requests, once there is as much as is expected.
async fn entries(told: &Told, count: usize) -> Vec<HttpAccessLogEntry> {
    for _ in 0..1000 {
        let found: Vec<HttpAccessLogEntry> = told
            .lock()
            .unwrap()
            .iter()
            .flat_map(|message| match message.log_entries.clone() {
                Some(Wire::HttpLogs(logs)) => logs.log_entry,
                _ => Vec::new(),
            })
            .collect();
        if found.len() >= count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not told of {count} requests: {told:?}")
}

#[test]
fn it_is_told_of_refusals_alone() {
    run(async {
        let ((logs, told), origin, at) = (service().await, named_origin("c").await, free_address());
        let proxy = proxy("a", shop(at, of_requests(refused()), logs, origin)).await;
        assert_eq!(send(at, asking("/ok", "1")).await.status, 200);
        assert_eq!(send(at, asking("/nowhere?token=secret", "2")).await.status, 404);
        assert_eq!(send(at, asking("/gone", "3")).await.status, 503);
        let entries = entries(&told, 2).await;
        let seen: Vec<_> = entries
            .iter()
            .map(|entry| {
                let (request, response) = (entry.request.clone().unwrap(), entry.response.clone().unwrap());
                let code = response.response_code.map_or(0, |code| code.value);
                (request.request_id, request.path, code, response.response_code_details)
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("2".to_owned(), "/nowhere?token=secret".to_owned(), 404, "route_not_found".to_owned()),
                ("3".to_owned(), "/gone".to_owned(), 503, "no_healthy_upstream".to_owned()),
            ]
        );
        let common = entries[1].common_properties.clone().unwrap();
        let flags = common.response_flags.unwrap();
        assert!(flags.no_healthy_upstream && !flags.no_route_found);
        assert_eq!((&*common.upstream_cluster, &*common.route_name), ("gone", "/gone"));
        assert!(format!("{:?}", common.metadata).contains("has no endpoint"), "the reason: {:?}", common.metadata);
        let wanted = &entries[0].request.as_ref().unwrap().request_headers;
        assert_eq!(wanted.get("x-team").map(String::as_str), Some("blue"));
        assert!(!format!("{entries:?}").contains("Bearer"), "a header that nobody asked for is told");
        let first = told.lock().unwrap()[0].identifier.clone().unwrap();
        assert_eq!((&*first.log_name, &*first.node.unwrap().id), ("test", "sidecar~a"));
        until_counted(&proxy, "envoy_access_logs_grpc_access_log_logs_written", &[("log_name", "test")], 2.0).await;
    });
}

#[test]
fn it_is_told_of_everything_if_it_asks_for_no_less() {
    run(async {
        let ((logs, told), origin, at) = (service().await, named_origin("c").await, free_address());
        let _proxy = proxy("a", shop(at, of_requests(None), logs, origin)).await;
        assert_eq!(send(at, asking("/ok", "1")).await.status, 200);
        let entries = entries(&told, 1).await;
        assert_eq!(entries[0].response.as_ref().unwrap().response_code_details, "via_upstream");
    });
}

#[test]
fn it_is_told_of_connections() {
    run(async {
        let ((logs, told), at) = (service().await, free_address());
        let filter = LogFilter::Or(vec![LogFilter::Flags(vec!["UF".into()]), LogFilter::Terminated]);
        let tcp = TcpProxy { access_logs: vec![log(LogEntries::Tcp, Some(filter))], ..TcpProxy::to("gone") };
        let clusters = vec![
            cluster("gone", &[free_address()]),
            Cluster { protocol: UpstreamProtocol::Http2, ..cluster("logs", &[logs]) },
        ];
        let listeners = vec![listener("l", at, Inbound, vec![chain(NetworkFilter::Tcp(tcp))])];
        let _proxy = proxy("a", config(listeners, clusters)).await;
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let source = socket.local_addr().unwrap().port();
        // It may be reset before it is known to stand.
        let _connected = socket.connect(at).await;
        for _ in 0..1000 {
            if !told.lock().unwrap().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let message = told.lock().unwrap().first().cloned().expect("it is told");
        let Some(Wire::TcpLogs(logs)) = message.log_entries else { panic!("{message:?}") };
        let common = logs.log_entry[0].common_properties.clone().unwrap();
        assert!(common.response_flags.unwrap().upstream_connection_failure);
        assert!(format!("{:?}", common.downstream_remote_address).contains(&source.to_string()));
    });
}

#[test]
fn a_service_that_is_away_costs_entries_and_nothing_else() {
    run(async {
        let (origin, at) = (named_origin("c").await, free_address());
        let proxy = proxy("a", shop(at, of_requests(refused()), free_address(), origin)).await;
        assert_eq!(send(at, asking("/nowhere", "1")).await.status, 404);
        assert_eq!(send(at, asking("/ok", "2")).await.status, 200);
        until_counted(&proxy, "envoy_access_logs_grpc_access_log_logs_dropped", &[("log_name", "test")], 1.0).await;
    });
}

#[test]
fn what_waits_goes_out_at_the_end() {
    run(async {
        let ((logs, told), origin, at) = (service().await, named_origin("c").await, free_address());
        let AccessLog { to: LogTarget::Service(log), filter } = of_requests(refused()) else { unreachable!() };
        let slow = ServiceLog { flush_interval: Duration::from_secs(3600), ..(*log).clone() };
        let slow = AccessLog { to: LogTarget::Service(Arc::new(slow)), filter };
        let proxy = proxy("a", shop(at, slow, logs, origin)).await;
        assert_eq!(send(at, asking("/nowhere", "1")).await.status, 404);
        proxy.handle().stop();
        assert_eq!(entries(&told, 1).await.len(), 1);
    });
}

#[test]
fn a_flag_that_there_is_not_is_refused() {
    run(async {
        let at = free_address();
        let unknown = of_requests(Some(LogFilter::Flags(vec!["XX".into()])));
        let bad = shop(at, unknown, free_address(), free_address());
        let proxy = proxy("a", config(Vec::new(), Vec::new())).await;
        let refused = proxy.handle().replace(bad).await;
        assert!(refused.iter().any(|(name, why)| name == "l" && why.contains("no response flag `XX`")), "{refused:?}");
    });
}
