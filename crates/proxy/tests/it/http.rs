//! HTTP: what a request gets for an answer, and what is recorded of it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use mesh_http::Body;
use model::Direction::Outbound;
use model::fault::{Abort, AbortAnswer};
use model::http_proxy::HttpFilter;
use model::matcher::{HeaderKey, HeaderMatch, ValueMatch};
use model::retry::{RateLimitedBackOff, ResetFormat, RetryDetails, RetryOn};
use model::route::{Action, DirectResponse, Forward, HostRewrite, Mirror, PathRewrite, Redirect, WeightedCluster};
use model::{Fraction, RetryPolicy, ServerHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::rig::*;

fn forward(to: &str, change: impl FnOnce(&mut Forward)) -> Action {
    let mut forward = Forward::to(to);
    change(&mut forward);
    Action::Forward(Box::new(forward))
}

fn retries(on: &str, attempts: u32) -> RetryPolicy {
    let on = RetryOn { status_codes: vec![503], ..RetryOn::parse(on).0 };
    RetryPolicy { on, attempts, base_interval: Duration::from_millis(1), ..RetryPolicy::istio_default() }
}

#[test]
fn answers_and_flags() {
    run(async {
        let slow = origin(|_| std::future::pending()).await;
        let broken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let breaks = broken.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            loop {
                let (mut stream, _) = broken.accept().await.unwrap();
                // Read the request first, so that closing is no reset.
                let _ = stream.read(&mut [0; 4096]).await;
            }
        });
        let gone = free_address();
        let redirect = Redirect {
            status: 302,
            scheme: Some("https".into()),
            host: None,
            port: None,
            path: None,
            strip_query: false,
        };
        let aborted =
            model::Fault { delay: None, abort: Some(Abort { answer: AbortAnswer::Http(418), share: Fraction::ALL }) };
        let routes = vec![
            route("/ok", to("ok")),
            route("/redirect", Action::Redirect(redirect)),
            route("/direct", Action::Respond(DirectResponse { status: 200, body: "here".into() })),
            route("/unknown", to("unknown")),
            route("/empty", to("empty")),
            route("/gone", to("gone")),
            route("/broken", to("broken")),
            route("/slow", forward("slow", |f| f.timeout = Some(Duration::from_millis(50)))),
            route("/idle", forward("slow", |f| f.idle_timeout = Some(Duration::from_millis(50)))),
            model::Route { fault: Some(aborted), ..route("/fault", to("ok")) },
        ];
        let at = free_address();
        let proxy_settings = model::HttpProxy { filters: vec![HttpFilter::Fault(None)], ..http(routes) };
        let listeners = vec![listener("l", at, Outbound, vec![http_chain(proxy_settings)])];
        let clusters = vec![
            cluster("ok", &[named_origin("ok").await]),
            cluster("empty", &[]),
            cluster("gone", &[gone]),
            cluster("broken", &[breaks]),
            cluster("slow", &[slow]),
        ];
        let proxy = proxy("a", config(listeners, clusters)).await;
        for (path, status, body, flags) in [
            ("/ok/1", 200, "ok /ok/1", "-"),
            ("/redirect", 302, "", "-"),
            ("/direct", 200, "here", "-"),
            ("/nothing", 404, "", "NR"),
            ("/unknown", 503, "", "NC"),
            ("/empty", 503, "no healthy upstream", "UH"),
            ("/gone", 503, "upstream connect error or disconnect/reset before headers. reset reason: ", "UF"),
            ("/broken", 503, "upstream connect error or disconnect/reset before headers. reset reason: ", "UC"),
            ("/slow", 504, "upstream request timeout", "UT"),
            ("/idle", 504, "stream timeout", "SI"),
            ("/fault", 418, "", "FI"),
        ] {
            let before = counted(&proxy, "istio_requests_total", &[("response_flags", flags)]);
            let answer = fetch(at, path).await;
            assert_eq!(answer.status.as_u16(), status, "{path}: {answer:?}");
            assert!(answer.body.starts_with(body), "{path}: {answer:?}");
            until_counted(&proxy, "istio_requests_total", &[("response_flags", flags)], before + 1.0).await;
        }
        let answer = fetch(at, "/redirect?x").await;
        assert_eq!(answer.headers["location"], "https://test/redirect?x");
    });
}

#[test]
fn direct_responses_are_given_byte_for_byte() {
    run(async {
        let body = Bytes::from_static(b"\xff\0%\xfe");
        let at = free_address();
        let routes = vec![route("/", Action::Respond(DirectResponse { status: 503, body: body.clone() }))];
        let listeners = vec![listener("l", at, Outbound, vec![http_chain(http(routes))])];
        let _proxy = proxy("a", config(listeners, Vec::new())).await;
        let ask = |content_type: &'static str| async move {
            let (sender, driver) = mesh_http::h1::connect(TcpStream::connect(at).await.unwrap(), &Default::default());
            tokio::task::spawn_local(driver);
            let request = Request::post("/").header("host", "test").header("content-type", content_type);
            sender.send(request.body(Body::empty()).unwrap()).await.unwrap()
        };
        assert_eq!(ask("text/plain").await.into_body().collect(100).await.unwrap().data, body);
        let answer = ask("application/grpc").await;
        assert_eq!(answer.headers()["grpc-message"], "%FF%00%25%FE");
    });
}

#[test]
fn limits_hold_for_bodies_too() {
    run(async {
        let endless = origin(|_| async {
            let (mut sender, body) = Body::channel(1);
            tokio::task::spawn_local(async move {
                let _ = sender.send("begin").await;
                std::future::pending::<()>().await;
            });
            Response::new(body)
        })
        .await;
        let routes = vec![
            route("/whole", forward("endless", |f| f.timeout = Some(Duration::from_millis(50)))),
            route("/idle", forward("endless", |f| f.idle_timeout = Some(Duration::from_millis(50)))),
        ];
        let at = free_address();
        let listeners = vec![listener("l", at, Outbound, vec![http_chain(http(routes))])];
        let proxy = proxy("a", config(listeners, vec![cluster("endless", &[endless])])).await;
        for (path, flags) in [("/whole", "UT"), ("/idle", "SI")] {
            let stream = TcpStream::connect(at).await.unwrap();
            let (sender, driver) = mesh_http::h1::connect(stream, &Default::default());
            tokio::task::spawn_local(driver);
            let response = sender.send(get("test", path)).await.unwrap();
            assert_eq!(response.status(), 200);
            assert!(response.into_body().collect(1 << 20).await.is_err(), "{path}");
            let labels = [("response_flags", flags), ("response_code", "200")];
            until_counted(&proxy, "istio_requests_total", &labels, 1.0).await;
        }
    });
}

#[test]
fn heads_are_completed_and_changed() {
    run(async {
        let rewrite = forward("ok", |f| {
            f.path_rewrite = Some(PathRewrite::Prefix("/new".into()));
            f.host_rewrite = Some(HostRewrite::Literal("other".into()));
        });
        let at = free_address();
        let settings = model::HttpProxy {
            use_remote_address: true,
            server: ServerHeader::Overwrite("halcyon".into()),
            tracing: Some(std::sync::Arc::default()),
            ..http(vec![route("/old", rewrite)])
        };
        let listeners = vec![listener("l", at, Outbound, vec![http_chain(settings)])];
        let _proxy = proxy("a", config(listeners, vec![cluster("ok", &[named_origin("ok").await])])).await;
        let request = Request::get("/old/1?q")
            .header("host", "test")
            .header("x-request-id", "forged")
            .body(Body::empty())
            .unwrap();
        let answer = send(at, request).await;
        assert!(answer.body.starts_with("ok /new/1\n"), "{answer:?}");
        for part in ["host: other\n", "x-forwarded-for: 127.0.0.1\n", "x-forwarded-proto: http\n", "traceparent: 00-"] {
            assert!(answer.body.contains(part), "{part} in {}", answer.body);
        }
        for part in ["forged", "connection"] {
            assert!(!answer.body.contains(part), "{part} in {}", answer.body);
        }
        assert_eq!(answer.headers["server"], "halcyon");
        assert!(answer.headers.contains_key("x-envoy-upstream-service-time"));
    });
}

#[test]
fn retries_by_policy() {
    run(async {
        let seen = Rc::new(Cell::new(0));
        let count = seen.clone();
        let flaky = origin(move |request: Request<Body>| {
            count.set(count.get() + 1);
            let good = count.get() % 3 == 0;
            async move {
                let body = request.into_body().collect(1 << 20).await.unwrap().data;
                let mut response = Response::new(Body::from(body));
                *response.status_mut() = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                response
            }
        })
        .await;
        let at = free_address();
        let mut routes: Vec<_> = [("/codes", "retriable-status-codes", 2), ("/few", "5xx", 1), ("/none", "reset", 5)]
            .map(|(path, on, n)| route(path, forward("flaky", |f| f.retry = Some(retries(on, n)))))
            .into();
        routes.push(route("/gone", forward("half", |f| f.retry = Some(retries("connect-failure", 3)))));
        let listeners = vec![listener("l", at, Outbound, vec![http_chain(http(routes))])];
        let clusters = vec![cluster("flaky", &[flaky]), cluster("half", &[free_address(), named_origin("ok").await])];
        let proxy = proxy("a", config(listeners, clusters)).await;
        for (path, body, status, tries) in
            [("/codes", "abc", 200, 3), ("/few", "", 503, 2), ("/few", "", 200, 1), ("/none", "", 503, 1)]
        {
            let before = seen.get();
            let request = Request::post(path).header("host", "test").body(Body::from(body.to_owned())).unwrap();
            let answer = send(at, request).await;
            assert_eq!((answer.status.as_u16(), seen.get() - before), (status, tries), "{path}");
            assert_eq!(answer.body, body, "{path}");
        }
        until_counted(&proxy, "istio_requests_total", &[("response_flags", "URX")], 1.0).await;
        for _ in 0..4 {
            assert_eq!(fetch(at, "/gone").await.status, 200, "another endpoint takes it");
        }
    });
}

#[test]
fn routes_that_ask_for_it_are_counted() {
    run(async {
        let seen = Rc::new(Cell::new(0));
        let flaky = origin(move |_| {
            seen.set(seen.get() + 1);
            let status = if seen.get() == 3 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            async move { Response::builder().status(status).body(Body::from("x")).unwrap() }
        })
        .await;
        let never = origin(|_| std::future::pending()).await;
        let named = |path, action| model::Route { stat_prefix: Some("mine".into()), ..route(path, action) };
        let routes = vec![
            named("/tries", forward("flaky", |f| f.retry = Some(retries("5xx", 2)))),
            named("/never", forward("never", |f| f.timeout = Some(Duration::from_millis(50)))),
            named("/gone", to("gone")),
            named("/here", Action::Respond(DirectResponse { status: 200, body: "".into() })),
            route("/other", to("never")),
        ];
        let at = free_address();
        let listeners = vec![listener("l", at, Outbound, vec![http_chain(http(routes))])];
        let clusters = vec![cluster("flaky", &[flaky]), cluster("never", &[never]), cluster("gone", &[free_address()])];
        let proxy = proxy("a", config(listeners, clusters)).await;
        for (path, status) in [("/tries", 200), ("/never", 504), ("/gone", 503), ("/here", 200), ("/tries", 503)] {
            assert_eq!(fetch(at, path).await.status.as_u16(), status, "{path}");
        }
        for (name, more, value) in [
            ("_total", None, 3.0 + 1.0 + 3.0),
            ("_completed", None, 4.0),
            ("_timeout", None, 1.0),
            ("_retry", None, 4.0),
            ("_retry_success", None, 1.0),
            ("_retry_limit_exceeded", None, 1.0),
            ("_xx", Some(("envoy_response_code_class", "2")), 1.0),
            ("_xx", Some(("envoy_response_code_class", "5")), 3.0),
            ("", Some(("envoy_response_code", "503")), 2.0),
            ("_time_count", None, 2.0),
        ] {
            let labels: Vec<_> =
                [("envoy_virtual_host", "all"), ("envoy_route", "mine")].into_iter().chain(more).collect();
            until_counted(&proxy, &format!("envoy_vhost_route_upstream_rq{name}"), &labels, value).await;
        }
        until_counted(&proxy, "envoy_cluster_upstream_rq_retry_success", &[("cluster_name", "flaky")], 1.0).await;
    });
}

#[test]
fn weights_and_mirrors() {
    run(async {
        let copies = Rc::new(Cell::new(0));
        let count = copies.clone();
        let mirror = origin(move |_| {
            count.set(count.get() + 1);
            async { Response::new(Body::empty()) }
        })
        .await;
        let split = forward("a", |f| {
            f.clusters = vec![WeightedCluster::new("a", 0), WeightedCluster::new("b", 10)];
            f.mirrors = vec![Mirror { cluster: "mirror".into(), share: Fraction::ALL }];
        });
        let at = free_address();
        let listeners = vec![listener("l", at, Outbound, vec![http_chain(http(vec![route("/", split)]))])];
        let clusters = vec![
            cluster("a", &[named_origin("a").await]),
            cluster("b", &[named_origin("b").await]),
            cluster("mirror", &[mirror]),
        ];
        let _proxy = proxy("a", config(listeners, clusters)).await;
        for _ in 0..3 {
            assert!(fetch(at, "/x").await.body.starts_with("b /x"));
        }
        while copies.get() < 3 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
}

#[test]
fn nonsense_is_refused() {
    run(async {
        let at = free_address();
        let listeners = vec![listener("l", at, Outbound, vec![http_chain(http(vec![route("/", to("ok"))]))])];
        let _proxy = proxy("a", config(listeners, vec![cluster("ok", &[named_origin("ok").await])])).await;
        let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(70_000));
        for (bytes, expected) in [
            ("GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n", "HTTP/1.1 200"),
            ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400"),
            ("nonsense\r\n\r\n", "HTTP/1.1 400"),
            ("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", "HTTP/1.1 400"),
            (&long, "HTTP/1.1 431"),
            ("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n", "HTTP/1.1 403"),
            ("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\r\n", "HTTP/1.1 403"),
        ] {
            let mut stream = TcpStream::connect(at).await.unwrap();
            // The refusal may come before all is written.
            let _ = stream.write_all(bytes.as_bytes()).await;
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(std::str::from_utf8(&answer), Ok(expected), "{}", &bytes[..bytes.len().min(60)]);
        }
        assert_eq!(fetch(at, "/").await.status, 200);
    });
}

#[test]
fn retries_by_headers_and_by_wish() {
    run(async {
        let seen = Rc::new(Cell::new(0));
        let count = seen.clone();
        let flaky = origin(move |_| {
            count.set(count.get() + 1);
            let good = count.get() % 3 == 0;
            async move {
                let mut response = Response::new(Body::from("whole"));
                if !good {
                    *response.status_mut() = StatusCode::NOT_FOUND;
                    response.headers_mut().insert("x-again", "1".parse().unwrap());
                    response.headers_mut().insert("retry-after", "0".parse().unwrap());
                }
                response
            }
        })
        .await;
        let again = HeaderMatch {
            key: HeaderKey::parse("x-again").unwrap(),
            value: ValueMatch::Present(true),
            invert: false,
            missing_as_empty: false,
        };
        let after = vec![("retry-after".parse().unwrap(), ResetFormat::Seconds)];
        let rate_limited = RateLimitedBackOff { reset_headers: after, max_interval: Duration::from_secs(1) };
        let more = RetryDetails { headers: vec![again], rate_limited: Some(rate_limited), ..RetryDetails::default() };
        let policy = RetryPolicy { more: Some(Box::new(more)), ..retries("retriable-headers", 2) };
        let by_header = route("/headers", forward("flaky", |f| f.retry = Some(policy)));
        let (at, trusting) = (free_address(), free_address());
        let routes = vec![by_header, route("/plain", to("flaky"))];
        let mut believes = http(routes.clone());
        (believes.use_remote_address, believes.edge.internal) = (true, vec!["127.0.0.0/8".parse().unwrap()]);
        let listeners = vec![
            listener("l", at, Outbound, vec![http_chain(http(routes))]),
            listener("t", trusting, Outbound, vec![http_chain(believes)]),
        ];
        let _proxy = proxy("a", config(listeners, vec![cluster("flaky", &[flaky])])).await;
        let wishes = [
            ("x-envoy-retry-on", "retriable-status-codes"),
            ("x-envoy-retriable-status-codes", "404"),
            ("x-envoy-max-retries", "2"),
        ];
        for (at, path, fields, status, tries) in
            [(at, "/headers", &[][..], 200, 3), (at, "/plain", &wishes, 404, 1), (trusting, "/plain", &wishes, 200, 3)]
        {
            seen.set(0);
            let mut request = Request::get(path).header("host", "test");
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            let answer = send(at, request.body(Body::empty()).unwrap()).await;
            assert_eq!((answer.status.as_u16(), seen.get()), (status, tries), "{path}");
        }
    });
}
