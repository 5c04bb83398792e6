//! What a proxy tells others: whether its program is ready, to the control plane; what it did, in an access log.

use std::net::Ipv4Addr;
use std::pin::Pin;

use model::Config;
use model::Direction::Inbound;
use model::access_log::{FileLog, LogFormat};
use proto::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use proxy::bootstrap::Bootstrap;
use proxy::{Options, Proxy};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use xds::health::HEALTH_TYPE;

use crate::rig::*;

/// A control plane that has nothing to say, and notes what it is told of programs: the words, if it is not ready.
struct Listening(mpsc::UnboundedSender<Option<String>>);

type Silence<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Listening {
    type StreamAggregatedResourcesStream = Silence<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Silence<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("the test speaks delta"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let mut requests = request.into_inner();
        let told = self.0.clone();
        tokio::spawn(async move {
            let mut introduced = false;
            while let Ok(Some(request)) = requests.message().await {
                introduced |= request.node.is_some();
                assert!(introduced, "the node comes first");
                if request.type_url == HEALTH_TYPE {
                    let _ = told.send(request.error_detail.map(|status| status.message));
                }
            }
        });
        Ok(Response::new(Box::pin(tokio_stream::pending())))
    }
}

#[test]
fn the_control_plane_is_told_when_the_program_is_ready() {
    run(async {
        let (told, mut words) = mpsc::unbounded_channel();
        let door = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let plane = door.local_addr().unwrap();
        let (connections, incoming) = mpsc::channel(8);
        tokio::spawn(async move {
            while let Ok((stream, _)) = door.accept().await {
                drop(connections.send(Ok::<_, std::io::Error>(stream)).await);
            }
        });
        let service = AggregatedDiscoveryServiceServer::new(Listening(told));
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(ReceiverStream::new(incoming)));

        let program = free_address();
        let text = format!(
            r#"{{"node": {{"id": "sidecar~a"}}, "control_plane": {{"address": "{plane}", "tls": false}},
                "program_ready": {{"tcp": ["{program}"]}}}}"#
        );
        let _proxy = Proxy::start(Bootstrap::parse("test".as_ref(), &text).unwrap(), Options::default()).unwrap();
        assert_eq!(words.recv().await, Some(Some(format!("nothing listens on {program} yet"))));
        let _listening = std::net::TcpListener::bind(program).unwrap();
        assert_eq!(words.recv().await, Some(None));
    });
}

/// Some exchanges, logged as the control plane's `--access-log json` asks for.
#[test]
fn a_json_access_log() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let (at, app) = (free_address(), named_origin("app").await);
        let members = telemetry::log::ISTIO_JSON.map(|(name, format)| (name.to_owned(), format.to_owned()));
        let format = LogFormat::Json(members.into());
        let log = FileLog { path: path.display().to_string(), format };
        let mut filter = http(vec![
            route("/gone", to("gone")),
            route("/unknown", to("outbound|80|v9|absent.example.org")),
            route("/nobody", to("outbound|80|v1|empty.example.org")),
            route("/", to("app")),
        ]);
        filter.access_logs = vec![log.into()];
        let clusters = vec![
            cluster("app", &[app]),
            cluster("gone", &[free_address()]),
            cluster("outbound|80|v1|empty.example.org", &[]),
        ];
        let all: Config = config(vec![listener("l", at, Inbound, vec![http_chain(filter)])], clusters);
        let proxy = proxy("a", all).await;
        assert_eq!(fetch(at, "/a\"b").await.status, 200);
        for path in ["/gone", "/unknown", "/nobody"] {
            assert_eq!(fetch(at, path).await.status, 503, "{path}");
        }
        proxy.handle().stop();
        tokio::task::spawn_blocking(move || proxy.wait()).await.unwrap();

        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [good, bad, unknown, nobody] = &lines[..] else { panic!("{text}") };
        assert_eq!(good.as_object().unwrap().len(), 25);
        for (name, expected) in [
            ("method", "GET".into()),
            ("path", "/a\"b".into()),
            ("protocol", "HTTP/1.1".into()),
            ("authority", "test".into()),
            ("response_code", 200.into()),
            ("response_flags", "-".into()),
            ("bytes_received", 0.into()),
            ("upstream_cluster", "app".into()),
            ("upstream_host", app.to_string().into()),
            ("requested_server_name", Value::Null),
        ] {
            assert_eq!(good[name], expected, "{name}: {text}");
        }
        assert!(good["duration"].is_u64() && good["bytes_sent"].as_u64() > Some(0), "{text}");
        assert!(good["start_time"].as_str().is_some_and(|time| time.ends_with('Z')), "{text}");
        assert_eq!((&bad["response_code"], &bad["response_flags"]), (&503.into(), &"UF".into()));
        assert!(bad["upstream_transport_failure_reason"].is_string(), "{text}");
        // A rule that names a host or subset that nobody knows, or one without workloads: the log says which.
        for (line, flags, details, cluster) in [
            (unknown, "NC", "cluster_not_found", "outbound|80|v9|absent.example.org"),
            (nobody, "UH", "no_healthy_upstream", "outbound|80|v1|empty.example.org"),
        ] {
            let found = ["response_flags", "response_code_details", "upstream_cluster"].map(|name| &line[name]);
            assert_eq!(found, [flags, details, cluster], "{text}");
        }
    });
}
