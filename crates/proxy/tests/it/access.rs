//! Rules of access in a running proxy: requests and connections that are refused, by whom, and what is told of them.

use std::net::SocketAddr;
use std::sync::Arc;

use ::http::Request;
use mesh_http::{Body, h2};
use model::Direction::{Inbound, Outbound};
use model::access::{
    Access, Action, Condition, ConnectionAccess, Operation, Permission, Policy, Principal, Rules, Source,
};
use model::access_log::{FileLog, LogFormat};
use model::http_proxy::HttpFilter;
use model::listener::{ExpectHeader, Inspect};
use model::matcher::{HeaderKey, HeaderMatch};
use model::tls::{DownstreamTls, TlsVersions};
use model::{AccessLog, Config, FilterChain, Guard, HttpProxy, Listener, StringMatch};
use testkit::TestCa;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use transport::Stream;
use transport::tls::{Accept, ClientOptions, ClientTls, PeerCheck, ServerCheck};

use crate::mesh::{secrets, validation};
use crate::rig::*;

fn rules(action: Action, permission: Permission, principal: Principal) -> Option<Arc<model::access::Compiled>> {
    let policy = Policy { permissions: vec![permission], principals: vec![principal] };
    Some(Rules { action, policies: vec![("p".into(), policy)] }.into())
}

fn path(text: StringMatch) -> Permission {
    Condition::Is(Operation::Path(text))
}

fn named(text: &str) -> Principal {
    Condition::Is(Source::Authenticated(Some(StringMatch::exact(text))))
}

fn asking(rules: Option<Arc<model::access::Compiled>>) -> HttpProxy {
    let access = Access { name: "rbac".into(), rules, ..Access::default() };
    HttpProxy { filters: vec![HttpFilter::Access(Box::new(access))], ..http(vec![route("/", to("ok"))]) }
}

fn connections(rules: Option<Arc<model::access::Compiled>>) -> Vec<Guard> {
    vec![Guard::Rules(ConnectionAccess { stat_prefix: "tcp.".into(), rules, ..ConnectionAccess::default() })]
}

/// A log with these operators, and the file in which it is.
fn log(folder: &tempfile::TempDir, format: &str) -> (AccessLog, std::path::PathBuf) {
    let path = folder.path().join("log");
    (FileLog { path: path.display().to_string(), format: LogFormat::Text(format!("{format}\n")) }.into(), path)
}

/// The log when it has so many lines.
async fn lines(path: &std::path::Path, count: usize) -> Vec<String> {
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.len() >= count {
            return lines;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

async fn ok(listeners: Vec<Listener>) -> Config {
    config(listeners, vec![cluster("ok", &[named_origin("ok").await])])
}

#[test]
fn requests_are_refused_and_told_of() {
    run(async {
        let at = free_address();
        let folder = tempfile::tempdir().unwrap();
        let format = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% \
                      %DYNAMIC_METADATA(envoy.filters.http.rbac:shadow_engine_result)% %DYNAMIC_METADATA(halcyon:reason)%";
        let (log, file) = log(&folder, format);
        let rules = |action, text| rules(action, path(StringMatch::prefix(text)), Condition::Any);
        let mut http = asking(rules(Action::Allow, "/open"));
        let HttpFilter::Access(access) = &mut http.filters[0] else { panic!() };
        access.shadow = rules(Action::Deny, "/open/but");
        http.access_logs = vec![log];
        http.target.normalize = true;
        let proxy = proxy("a", ok(vec![listener("l", at, Outbound, vec![http_chain(http)])]).await).await;
        for (path, status) in
            [("/open/a", 200), ("/open/but", 200), ("/shut", 403), ("/shut/../open", 200), ("//open", 403)]
        {
            let answer = fetch(at, path).await;
            assert_eq!(answer.status, status, "{path}: {answer:?}");
            if status == 403 {
                assert_eq!(
                    (&*answer.body, &answer.headers["content-type"]),
                    ("RBAC: access denied", &"text/plain".parse().unwrap())
                );
            }
        }
        let lines = lines(&file, 5).await;
        let denied = "403 - rbac_access_denied_matched_policy[none] allowed no policy allows it; the nearest policy is `p`: path is";
        for (line, expected) in [
            (0, "200 - via_upstream allowed -".to_owned()),
            (1, "200 - via_upstream denied -".to_owned()),
            (2, format!("{denied} `/shut`, where it asks for one that begins with `/open`")),
            (4, format!("{denied} `//open`, where it asks for one that begins with `/open`")),
        ] {
            assert_eq!(lines[line], expected);
        }
        let labels = [("envoy_http_conn_manager_prefix", "test")];
        until_counted(&proxy, "envoy_http_rbac_denied", &labels, 2.0).await;
        until_counted(&proxy, "envoy_http_rbac_allowed", &labels, 3.0).await;
        until_counted(&proxy, "envoy_http_rbac_shadow_denied", &labels, 1.0).await;
    });
}

/// A listener that takes mutual TLS, where clients may show a certificate.
fn tls_chain(chain: FilterChain) -> FilterChain {
    let tls = DownstreamTls {
        certificates: vec!["default".into()],
        validation: validation(),
        require_client_certificate: false,
        alpn: vec!["h2".into(), "http/1.1".into()],
        versions: TlsVersions::default(),
        cipher_suites: Vec::new(),
    };
    FilterChain { tls: Some(tls), ..chain }
}

/// A connection by mutual TLS as this workload.
async fn dial(ca: &TestCa, at: SocketAddr, name: Option<&str>) -> Stream {
    let accept = Accept::identities([&ca.id("reviews")]);
    let mut options = ClientOptions::new(ServerCheck::Peer(PeerCheck::Spiffe { trust: ca.trust(), accept }));
    options.cert = name.map(|name| ca.workload(name));
    options.alpn = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(at).await.unwrap();
    let (stream, _peer) = ClientTls::new(options).unwrap().connect(stream.into(), None, PATIENCE).await.unwrap();
    stream
}

/// Names that a client only claims are no names.
#[test]
fn identities_are_proven_and_not_claimed() {
    run(async {
        let ca = TestCa::default();
        let at = free_address();
        let http = asking(rules(Action::Allow, Condition::Any, named("spiffe://cluster.local/ns/default/sa/web")));
        let http = HttpProxy { forward_client_cert: model::http_proxy::ForwardClientCert::AppendForward, ..http };
        let mut config = ok(vec![listener("in", at, Inbound, vec![tls_chain(http_chain(http))])]).await;
        secrets(&mut config, &ca, "reviews");
        let _proxy = proxy("reviews", config).await;
        let claims = [
            (
                "x-forwarded-client-cert",
                "By=spiffe://cluster.local/ns/default/sa/reviews;URI=spiffe://cluster.local/ns/default/sa/web",
            ),
            ("x-envoy-peer-metadata-id", "sidecar~web"),
            ("x-envoy-external-address", "10.0.0.1"),
            ("x-envoy-internal", "true"),
        ];
        for (name, status) in [(Some("web"), 200), (Some("other"), 403), (None, 403)] {
            let (sender, driver) = h2::connect(dial(&ca, at, name).await, &Default::default()).await.unwrap();
            tokio::task::spawn_local(driver);
            let mut request = Request::get("http://reviews/").body(Body::empty()).unwrap();
            for (name, value) in claims {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
            let answer = read(sender.send(request).await.unwrap()).await;
            assert_eq!(answer.status, status, "{name:?} {answer:?}");
        }
    });
}

/// What counts is what the request is routed by: `:authority`, and `:method` and `:path` of a call.
#[test]
fn hosts_and_methods_are_those_of_the_request() {
    run(async {
        let at = free_address();
        let is = |name: &str, value: &str| {
            let key = HeaderKey::parse(name).unwrap();
            Condition::Is(Operation::Header(HeaderMatch::text(key, StringMatch::exact(value))))
        };
        let call = path(StringMatch::exact("/shop.Orders/Read"));
        let both = Condition::All(vec![is(":authority", "shop"), is(":method", "POST"), call]);
        let http = asking(rules(Action::Allow, both, Condition::Any));
        let _proxy = proxy("a", ok(vec![listener("l", at, Outbound, vec![http_chain(http)])]).await).await;
        for (method, target, more, allowed) in [
            ("POST", "http://shop/shop.Orders/Read", None, true),
            ("POST", "http://shop/shop.Orders/Delete", None, false),
            ("POST", "http://shop/shop.Orders/Delete", Some((":path-x", "/shop.Orders/Read")), false),
            ("GET", "http://shop/shop.Orders/Read", Some(("x-http-method-override", "POST")), false),
            ("POST", "http://other/shop.Orders/Read", Some(("host", "shop")), false),
            ("POST", "http://shop/shop.Orders/Read/../Delete", None, false),
            ("POST", "http://shop//shop.Orders/Read", None, false),
            ("POST", "http://shop/shop.Orders%2fRead", None, false),
        ] {
            let stream = TcpStream::connect(at).await.unwrap();
            let (sender, driver) = h2::connect(stream, &Default::default()).await.unwrap();
            tokio::task::spawn_local(driver);
            let mut request = Request::builder().method(method).uri(target).header("content-type", "application/grpc");
            if let Some((name, value)) = more.filter(|(name, _)| !name.starts_with(':')) {
                request = request.header(name, value);
            }
            let answer = read(sender.send(request.body(Body::empty()).unwrap()).await.unwrap()).await;
            let refused = answer.headers.get("grpc-status").is_some_and(|status| status == "7");
            assert_eq!((answer.status.as_u16(), refused), (200, !allowed), "{method} {target} {more:?} {answer:?}");
        }
    });
}

/// What a client reads that says something, and the log.
async fn said(at: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

#[test]
fn connections_are_refused_before_anything_is_shown() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let (log, file) =
            log(&folder, "%CONNECTION_TERMINATION_DETAILS% %BYTES_SENT% %DYNAMIC_METADATA(halcyon:reason)%");
        let from = |block: &str| {
            rules(Action::Allow, Condition::Any, Condition::Is(Source::DirectRemoteIp(block.parse().unwrap())))
        };
        let to_port =
            |port| rules(Action::Deny, Condition::Is(Operation::DestinationPort(port..=port)), Condition::Any);
        let [open, shut, web, shadow] = [(); 4].map(|()| free_address());
        let one = |name: &str, at: SocketAddr, chain: FilterChain, access| {
            let chain = FilterChain { access, ..chain };
            Listener { access_logs: vec![log.clone()], ..listener(name, at, Inbound, vec![chain]) }
        };
        let listeners = vec![
            one("open", open, tcp_chain("ok"), connections(from("127.0.0.0/8"))),
            one(
                "shut",
                shut,
                tcp_chain("ok"),
                [connections(from("127.0.0.0/8")), connections(to_port(shut.port()))].concat(),
            ),
            one("web", web, http_chain(http(vec![route("/", to("ok"))])), connections(from("10.0.0.0/8"))),
            one("shadow", shadow, tcp_chain("ok"), {
                let shadow = from("10.0.0.0/8");
                vec![Guard::Rules(ConnectionAccess { stat_prefix: "tcp.".into(), shadow, ..Default::default() })]
            }),
        ];
        let proxy = proxy("a", ok(listeners).await).await;
        assert!(said(open).await.unwrap().contains("ok /"));
        assert!(said(shadow).await.unwrap().contains("ok /"));
        // An end, and no reset.
        assert_eq!(said(shut).await.unwrap(), "");
        assert_eq!(said(web).await.unwrap(), "");
        let found = lines(&file, 4).await;
        let nearest = "0 no policy allows it; the nearest policy is `p`: direct remote address is `127.0.0.1`, where it \
                       asks for one that is in 10.0.0.0/8";
        assert!(
            found.contains(&"rbac_access_denied_matched_policy[p] 0 the policy `p` denies it".to_owned()),
            "{found:?}"
        );
        assert!(found.contains(&format!("rbac_access_denied_matched_policy[none] {nearest}")), "{found:?}");
        let labels = [("envoy_tcp_prefix", "tcp")];
        until_counted(&proxy, "envoy_tcp_rbac_denied", &labels, 2.0).await;
        until_counted(&proxy, "envoy_tcp_rbac_allowed", &labels, 2.0).await;
        until_counted(&proxy, "envoy_tcp_rbac_shadow_denied", &labels, 1.0).await;
    });
}

/// A client that is refused hears nothing of a server that speaks first.
#[test]
fn a_server_that_speaks_first_is_not_heard() {
    run(async {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to_server = server.local_addr().unwrap();
        let at = free_address();
        let nobody = rules(Action::Allow, Condition::Any, Condition::Not(Box::new(Condition::Any)));
        let chain = FilterChain { access: connections(nobody), ..tcp_chain("server") };
        let config = config(vec![listener("l", at, Inbound, vec![chain])], vec![cluster("server", &[to_server])]);
        let _proxy = proxy("a", config).await;
        let mut stream = TcpStream::connect(at).await.unwrap();
        let mut heard = Vec::new();
        tokio::select! {
            end = stream.read_to_end(&mut heard) => assert_eq!((end.unwrap(), heard), (0, Vec::new())),
            _ = server.accept() => panic!("the server was reached"),
        }
    });
}

/// The PROXY header tells the source, and not who is directly at the other end.
#[test]
fn addresses_of_a_proxy_header() {
    run(async {
        let block = |text: &str| text.parse().unwrap();
        for (source, expected) in [
            (Source::DirectRemoteIp(block("127.0.0.0/8")), true),
            (Source::DirectRemoteIp(block("10.1.0.0/16")), false),
            (Source::SourceIp(block("10.1.0.0/16")), true),
            (Source::SourceIp(block("127.0.0.0/8")), false),
            (Source::RemoteIp(block("10.1.0.0/16")), true),
        ] {
            let at = free_address();
            let access = connections(rules(Action::Allow, Condition::Any, Condition::Is(source.clone())));
            let chain = FilterChain { access, ..tcp_chain("ok") };
            let inspect = Inspect { proxy_header: ExpectHeader::Required, ..Inspect::default() };
            let _proxy =
                proxy("a", ok(vec![Listener { inspect, ..listener("l", at, Inbound, vec![chain]) }]).await).await;
            let mut stream = TcpStream::connect(at).await.unwrap();
            let header = format!("PROXY TCP4 10.1.2.3 127.0.0.1 1000 {}\r\n", at.port());
            let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            stream.write_all((header + request).as_bytes()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            assert_eq!(text.contains("ok /"), expected, "{source}: {text}");
        }
    });
}

/// Raw connections by the names that TLS has proven.
#[test]
fn connections_of_identities() {
    run(async {
        let ca = TestCa::default();
        let at = free_address();
        let access =
            connections(rules(Action::Allow, Condition::Any, named("spiffe://cluster.local/ns/default/sa/web")));
        let chain = tls_chain(FilterChain { access, ..tcp_chain("ok") });
        let mut config = ok(vec![listener("in", at, Inbound, vec![chain])]).await;
        secrets(&mut config, &ca, "reviews");
        let _proxy = proxy("reviews", config).await;
        for (name, allowed) in [(Some("web"), true), (Some("other"), false), (None, false)] {
            let mut stream = dial(&ca, at, name).await;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut bytes = Vec::new();
            // TLS may end without a word of goodbye.
            let _end = stream.read_to_end(&mut bytes).await;
            assert_eq!(String::from_utf8_lossy(&bytes).contains("ok /"), allowed, "{name:?}");
        }
    });
}
