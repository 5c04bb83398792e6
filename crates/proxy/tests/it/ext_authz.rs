//! A service that decides: real ones of gRPC and HTTP, that allow, refuse, hang, die and answer with a mistake.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::http::{Request, Response, StatusCode};
use mesh_http::Body;
use model::Direction::{Inbound, Outbound};
use model::access::{Action, Condition, ConnectionAccess, Policy, Rules};
use model::cluster::UpstreamProtocol;
use model::ext_authz::{
    AskedBody, AskedPath, Authorizer, BodyRule, ConnectionExtAuthz, ExtAuthz, ExtAuthzRule, GrpcAuthorizer,
    HttpAuthorizer,
};
use model::http_proxy::HttpFilter;
use model::metadata::MetadataValue;
use model::route::{FilterRule, FilterRules};
use model::{Cluster, Config, FilterChain, Fraction, Guard, HttpProxy, MetadataMatch, Route, StringMatch};
use proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption, QueryParameter};
use proto::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use proto::envoy::service::auth::v3::check_response::HttpResponse;
use proto::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use proto::envoy::r#type::v3::HttpStatus;
use proto::google::protobuf::BoolValue;
use proto::google::rpc::Status;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;

use crate::rig::*;

type Asked = Arc<Mutex<Vec<AttributeContext>>>;

/// Decides by the header `x-may`, and of connections as it is told.
struct Deciding {
    connections: bool,
    asked: Asked,
}

fn option(key: &str, value: &str, append: bool) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: key.into(), value: value.into(), raw_value: Vec::new() }),
        #[allow(deprecated)]
        append: append.then_some(BoolValue { value: true }),
        ..HeaderValueOption::default()
    }
}

#[tonic::async_trait]
impl Authorization for Deciding {
    async fn check(
        &self,
        request: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, tonic::Status> {
        let asked = request.into_inner().attributes.unwrap();
        let http = asked.request.clone().and_then(|request| request.http);
        self.asked.lock().unwrap().push(asked);
        let denied = Some(Status { code: 7, ..Status::default() });
        let Some(http) = http else {
            let status = if self.connections { None } else { denied };
            return Ok(tonic::Response::new(CheckResponse { status, ..CheckResponse::default() }));
        };
        let (status, http_response) = match http.headers.get("x-may").map(String::as_str) {
            Some("yes") => {
                let ok = OkHttpResponse {
                    headers: vec![
                        option("x-user", "anna", false),
                        option("x-list", "b", true),
                        option("x-none", "b", true),
                    ],
                    headers_to_remove: vec!["x-secret".into(), "host".into()],
                    response_headers_to_add: vec![option("x-told", "1", false)],
                    query_parameters_to_set: vec![QueryParameter { key: "by".into(), value: "authz".into() }],
                    query_parameters_to_remove: vec!["gone".into()],
                    ..OkHttpResponse::default()
                };
                (None, Some(HttpResponse::OkResponse(ok)))
            }
            Some("bad") => {
                let ok = OkHttpResponse { headers: vec![option("no name", "1", false)], ..OkHttpResponse::default() };
                (None, Some(HttpResponse::OkResponse(ok)))
            }
            Some("hang") => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                (None, None)
            }
            Some("mistake") => return Err(tonic::Status::internal("no")),
            _ => {
                let answer = DeniedHttpResponse {
                    status: Some(HttpStatus { code: 401 }),
                    headers: vec![option("x-why", "no pass", false)],
                    body: "who are you?".into(),
                };
                (denied, Some(HttpResponse::DeniedResponse(answer)))
            }
        };
        Ok(tonic::Response::new(CheckResponse { status, http_response, ..CheckResponse::default() }))
    }
}

async fn deciding(connections: bool) -> (SocketAddr, Asked) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (at, asked) = (listener.local_addr().unwrap(), Asked::default());
    let service = AuthorizationServer::new(Deciding { connections, asked: asked.clone() });
    tokio::spawn(
        tonic::transport::Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)),
    );
    (at, asked)
}

fn grpc(timeout: Duration) -> Authorizer {
    Authorizer::Grpc(GrpcAuthorizer { timeout: Some(timeout), ..GrpcAuthorizer::new("authz") })
}

fn filtered(at: SocketAddr, asks: ExtAuthz, rules: FilterRules, clusters: Vec<Cluster>) -> Config {
    let routes = vec![Route { filters: rules.boxed(), ..route("/", to("c")) }];
    let http = HttpProxy { filters: vec![HttpFilter::ExtAuthz(Arc::new(asks))], ..http(routes) };
    config(vec![listener("l", at, Outbound, vec![http_chain(http)])], clusters)
}

fn asking(path: &str, may: &str, body: &'static str) -> Request<Body> {
    let mut request = get("test", path);
    let headers = request.headers_mut();
    headers.insert("x-may", may.parse().unwrap());
    headers.insert("x-secret", "1".parse().unwrap());
    headers.insert("x-list", "a".parse().unwrap());
    if !body.is_empty() {
        *request.method_mut() = ::http::Method::POST;
        *request.body_mut() = Body::full(body);
    }
    request
}

/// An origin that says what it was sent.
async fn telling() -> SocketAddr {
    origin(|request: Request<Body>| async move {
        let (head, body) = request.into_parts();
        let text = |name: &str| {
            let all = head.headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>().join("+");
            if all.is_empty() { "-".to_owned() } else { all }
        };
        let names = ["x-user", "x-list", "x-none", "x-secret", "x-envoy-auth-failure-mode-allowed"].map(text).join(" ");
        let data = body.collect(1000).await.unwrap().data;
        Response::new(Body::from(format!("{} {names} {}", head.uri, String::from_utf8_lossy(&data))))
    })
    .await
}

#[test]
fn a_service_of_grpc_decides() {
    run(async {
        let ((authz, asked), origin, at) = (deciding(true).await, telling().await, free_address());
        let service = Cluster { protocol: UpstreamProtocol::Http2, ..cluster("authz", &[authz]) };
        let extensions = BTreeMap::from([("shop".to_owned(), "one".to_owned())]);
        let rule = FilterRule::ExtAuthz(ExtAuthzRule::Told { extensions, body: BodyRule::Same });
        let rules = FilterRules { named: [(ExtAuthz::NAME.into(), rule)].into(), ..FilterRules::default() };
        let body = AskedBody { max_bytes: 4, partial: true, raw: false };
        let asks = ExtAuthz {
            validate: true,
            body: Some(body),
            disallowed: vec![StringMatch::exact("x-secret")],
            ..ExtAuthz::new(grpc(Duration::from_secs(10)))
        };
        let proxy = proxy("a", filtered(at, asks, rules, vec![cluster("c", &[origin]), service])).await;
        let answer = send(at, asking("/p?gone=1&z=2", "yes", "123456")).await;
        assert_eq!((answer.status, &*answer.body), (StatusCode::OK, "/p?by=authz&z=2 anna a,b - - - 123456"));
        assert_eq!(answer.headers["x-told"], "1");
        let answer = send(at, asking("/", "no", "")).await;
        assert_eq!((answer.status, &*answer.body), (StatusCode::UNAUTHORIZED, "who are you?"));
        assert_eq!(answer.headers["x-why"], "no pass");
        assert_eq!(send(at, asking("/", "bad", "")).await.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(send(at, asking("/", "mistake", "")).await.status, StatusCode::FORBIDDEN);
        let first = asked.lock().unwrap()[0].clone();
        let http = first.request.unwrap().http.unwrap();
        assert_eq!((&*http.method, &*http.path, &*http.host, &*http.body), ("POST", "/p?gone=1&z=2", "test", "1234"));
        let said = |name: &str| http.headers.get(name).cloned();
        assert_eq!(said("x-envoy-auth-partial-body").as_deref(), Some("true"));
        assert_eq!((said(":path").as_deref(), said("x-secret")), (Some("/p?gone=1&z=2"), None));
        assert_eq!(first.context_extensions["shop"], "one");
        until_counted(&proxy, "istio_requests_total", &[("response_flags", "UAEX")], 3.0).await;
        for (name, value) in [("ok", 1.0), ("denied", 1.0), ("error", 1.0), ("invalid", 1.0)] {
            assert_eq!(counted(&proxy, &format!("envoy_http_ext_authz_{name}"), &[]), value, "{name}");
            assert_eq!(counted(&proxy, &format!("envoy_cluster_ext_authz_{name}"), &[("cluster_name", "c")]), value);
        }
    });
}

#[test]
fn a_service_that_does_not_answer() {
    run(async {
        let ((authz, _), origin) = (deciding(true).await, telling().await);
        let nobody = free_address();
        for (service, may, open, expected) in [
            (authz, "hang", false, (StatusCode::SERVICE_UNAVAILABLE, "")),
            (authz, "hang", true, (StatusCode::OK, "/ - a - 1 true ")),
            (nobody, "yes", false, (StatusCode::SERVICE_UNAVAILABLE, "")),
            (nobody, "yes", true, (StatusCode::OK, "/ - a - 1 true ")),
        ] {
            let at = free_address();
            let service = Cluster { protocol: UpstreamProtocol::Http2, ..cluster("authz", &[service]) };
            let asks = ExtAuthz {
                fail_open: open,
                tells_failure: true,
                error_status: 503,
                ..ExtAuthz::new(grpc(Duration::from_millis(100)))
            };
            let config = filtered(at, asks, FilterRules::default(), vec![cluster("c", &[origin]), service]);
            let proxy = proxy("a", config).await;
            let answer = send(at, asking("/", may, "")).await;
            assert_eq!((answer.status, &*answer.body), expected, "{may} {open}");
            until_counted(&proxy, "envoy_http_ext_authz_failure_mode_allowed", &[], f64::from(u8::from(open))).await;
        }
    });
}

/// Answers by the path that it is asked for, and tells what it was asked.
async fn deciding_over_http() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let told = asked.clone();
    let at = origin(move |request: Request<Body>| {
        let told = told.clone();
        async move {
            let (head, body) = request.into_parts();
            let data = body.collect(1000).await.unwrap().data;
            let mut names: Vec<&str> = head.headers.keys().map(::http::HeaderName::as_str).collect();
            names.sort_unstable();
            told.lock().unwrap().push(format!("{} {} {} {data:?}", head.method, head.uri, names.join(",")));
            let (status, text) = match head.uri.path() {
                "/check/yes" => (200, ""),
                "/check/broken" => (502, ""),
                "/check/login" => (302, ""),
                _ => (403, "go away"),
            };
            let answer = Response::builder()
                .status(status)
                .header("x-user", "anna")
                .header("x-told", "t")
                .header("x-list", "b")
                .header("location", "/login")
                .header("x-envoy-auth-headers-to-remove", "x-secret, x-more");
            answer.body(Body::from(text)).unwrap()
        }
    })
    .await;
    (at, asked)
}

#[test]
fn a_service_of_http_decides() {
    run(async {
        let ((authz, asked), origin, at) = (deciding_over_http().await, telling().await, free_address());
        let service = HttpAuthorizer {
            path: AskedPath::Prefixed("/check".into()),
            headers: vec![("x-from".parse().unwrap(), "mesh".parse().unwrap())],
            upstream: vec![StringMatch::exact("x-user")],
            upstream_append: vec![StringMatch::exact("x-list")],
            client: vec![StringMatch::prefix("x-t")],
            client_on_success: vec![StringMatch::exact("x-told")],
            ..HttpAuthorizer::new("authz", "http://authz", Duration::from_secs(10))
        };
        let asks = ExtAuthz {
            body: Some(AskedBody { max_bytes: 4, partial: false, raw: false }),
            allowed: Some(vec![StringMatch::exact("x-may")]),
            ..ExtAuthz::new(Authorizer::Http(Box::new(service)))
        };
        let clusters = vec![cluster("c", &[origin]), cluster("authz", &[authz])];
        let _proxy = proxy("a", filtered(at, asks, FilterRules::default(), clusters)).await;
        let answer = send(at, asking("/yes?a=b", "?", "123")).await;
        assert_eq!((answer.status, &*answer.body), (StatusCode::OK, "/yes?a=b anna a+b - - - 123"));
        assert_eq!(answer.headers["x-told"], "t");
        let question = asked.lock().unwrap()[0].clone();
        assert!(question.starts_with("POST /check/yes?a=b "), "{question}");
        for part in ["x-from", "x-may", "x-envoy-auth-partial-body", "b\"123\""] {
            assert!(question.contains(part), "{question}");
        }
        assert!(!question.contains("x-secret") && !question.contains("x-list"), "{question}");
        let answer = send(at, asking("/other", "?", "")).await;
        assert_eq!((answer.status, &*answer.body), (StatusCode::FORBIDDEN, "go away"));
        assert!(answer.headers.contains_key("x-told") && !answer.headers.contains_key("x-user"), "{answer:?}");
        let answer = send(at, asking("/login", "?", "")).await;
        assert_eq!((answer.status, &answer.headers["location"]), (StatusCode::FOUND, &"/login".parse().unwrap()));
        // Its mistakes are no answers.
        let answer = send(at, asking("/broken", "?", "")).await;
        assert_eq!((answer.status, &*answer.body), (StatusCode::FORBIDDEN, ""));
        assert_eq!(send(at, asking("/yes", "?", "12345")).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    });
}

#[test]
fn who_is_not_asked_about() {
    run(async {
        let nobody = free_address();
        let off = FilterRule::ExtAuthz(ExtAuthzRule::Off);
        let off = FilterRules { named: [(ExtAuthz::NAME.into(), off)].into(), ..FilterRules::default() };
        let said = MetadataMatch {
            filter: "x".into(),
            path: vec!["y".into()],
            value: MetadataValue::Present(true),
            invert: false,
        };
        let asks = || ExtAuthz::new(grpc(Duration::from_secs(10)));
        for (asks, rules, expected, disabled) in [
            (asks(), FilterRules::default(), 403, 0.0),
            (asks(), off, 200, 0.0),
            (ExtAuthz { enabled: Fraction::NONE, ..asks() }, FilterRules::default(), 200, 1.0),
            (ExtAuthz { enabled_by: Some(said.clone()), ..asks() }, FilterRules::default(), 200, 1.0),
            (ExtAuthz { enabled: Fraction::NONE, deny_when_off: true, ..asks() }, FilterRules::default(), 403, 1.0),
        ] {
            let (origin, at) = (telling().await, free_address());
            let clusters = vec![cluster("c", &[origin]), cluster("authz", &[nobody])];
            let proxy = proxy("a", filtered(at, asks, rules, clusters)).await;
            assert_eq!(send(at, asking("/", "yes", "")).await.status, expected);
            until_counted(&proxy, "envoy_http_ext_authz_disabled", &[], disabled).await;
        }
    });
}

/// Rules that are only asked say what the service is asked about.
fn guards(name: &str, fail_open: bool) -> Vec<Guard> {
    let policy = Policy { permissions: vec![Condition::Any], principals: vec![Condition::Any] };
    let rules = Rules { action: Action::Deny, policies: vec![(name.into(), policy)] };
    let shadow = Some(Arc::new(model::access::Compiled::new(rules)));
    let enabled_by = MetadataMatch {
        filter: "envoy.filters.network.rbac".into(),
        path: vec!["p_shadow_effective_policy_id".into()],
        value: MetadataValue::Text(StringMatch::prefix("mine")),
        invert: false,
    };
    let service = GrpcAuthorizer { timeout: Some(Duration::from_secs(10)), ..GrpcAuthorizer::new("authz") };
    let asks =
        ConnectionExtAuthz { fail_open, enabled_by: Some(enabled_by), ..ConnectionExtAuthz::new("tcp.", service) };
    let access =
        ConnectionAccess { stat_prefix: "tcp.".into(), shadow, shadow_prefix: "p_".into(), ..Default::default() };
    vec![Guard::Rules(access), Guard::Service(Box::new(asks))]
}

#[test]
fn a_service_decides_about_connections() {
    run(async {
        for (policy, connections, lives, open, expected, counter) in [
            ("mine", true, true, false, true, "ok"),
            ("mine", false, true, false, false, "denied"),
            ("mine", true, false, false, false, "error"),
            ("mine", true, false, true, true, "failure_mode_allowed"),
            ("other", false, true, false, true, "disabled"),
        ] {
            let (origin, at) = (named_origin("c").await, free_address());
            let (authz, asked) = if lives { deciding(connections).await } else { (free_address(), Asked::default()) };
            let service = Cluster { protocol: UpstreamProtocol::Http2, ..cluster("authz", &[authz]) };
            let chain = FilterChain { access: guards(policy, open), ..tcp_chain("c") };
            let config = config(vec![listener("l", at, Inbound, vec![chain])], vec![cluster("c", &[origin]), service]);
            let proxy = proxy("a", config).await;
            let mut stream = TcpStream::connect(at).await.unwrap();
            let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            assert_eq!(text.contains("c /"), expected, "{counter}: {text}");
            let labels = [("envoy_ext_authz_prefix", "tcp")];
            until_counted(&proxy, &format!("envoy_ext_authz_{counter}"), &labels, 1.0).await;
            let told = asked.lock().unwrap().first().cloned();
            assert_eq!(told.is_some(), lives && policy == "mine");
            let source = told.and_then(|told| told.source?.address);
            assert_eq!(source.is_some(), lives && policy == "mine");
        }
    });
}
