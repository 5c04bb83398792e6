//! Why a request came to nothing: told to who asks and may, and in the access log.

use std::time::Duration;

use ::http::{HeaderValue, Request};
use mesh_http::Body;
use model::Direction::{Inbound, Outbound};
use model::access_log::{FileLog, LogFormat};
use model::fault::{Abort, AbortAnswer};
use model::http_proxy::{HttpFilter, RouteSource};
use model::route::{Action, DirectResponse, Forward};
use model::{Fraction, HttpProxy, RouteConfiguration, VirtualHost};
use proxy::bootstrap::Bootstrap;

use crate::rig::*;

const ASKS: &str = "x-halcyon-explain";
const TELLS: &str = "x-halcyon-reason";

fn asking(host: &str, path: &str) -> Request<Body> {
    let mut request = get(host, path);
    request.headers_mut().insert(ASKS, HeaderValue::from_static("1"));
    request
}

fn explaining() -> Bootstrap {
    Bootstrap { explain: true, ..node("a") }
}

fn shop(routes: Vec<model::Route>) -> HttpProxy {
    let host =
        VirtualHost { name: "shop".into(), domains: vec!["shop.example.com".into()], routes, ..VirtualHost::default() };
    let table = RouteConfiguration { ignore_port: true, ..RouteConfiguration::new("t", vec![host]) };
    HttpProxy { routes: RouteSource::Inline(table.into()), filters: vec![HttpFilter::Fault(None)], ..http(Vec::new()) }
}

#[test]
fn every_kind() {
    run(async {
        let slow = origin(|_| std::future::pending()).await;
        let gone = free_address();
        let late = Forward { timeout: Some(Duration::from_millis(50)), ..Forward::to("slow") };
        let aborted =
            model::Fault { delay: None, abort: Some(Abort { answer: AbortAnswer::Http(418), share: Fraction::ALL }) };
        let own = DirectResponse { status: 403, body: "".into() };
        let routes = vec![
            route("/unknown", to("unknown")),
            route("/empty", to("empty")),
            route("/gone", to("gone")),
            route("/slow", Action::Forward(Box::new(late))),
            route("/own", Action::Respond(own)),
            model::Route { fault: Some(aborted), ..route("/fault", to("ok")) },
            route("/ok", to("ok")),
        ];
        let at = free_address();
        let listeners = vec![listener("l", at, Outbound, vec![http_chain(shop(routes))])];
        let clusters = vec![
            cluster("ok", &[named_origin("ok").await]),
            cluster("empty", &[]),
            cluster("gone", &[gone]),
            cluster("slow", &[slow]),
        ];
        let _proxy = proxy_of(explaining(), config(listeners, clusters)).await;
        let port = at.port();
        for (host, path, expected) in [
            (
                "shops.example.com",
                "/ok",
                format!("no route for host `shops.example.com` on port {port}; nearest is `shop.example.com`"),
            ),
            ("elsewhere.org", "/ok", format!("no route for host `elsewhere.org` on port {port}")),
            (
                "shop.example.com",
                "/none",
                format!("none of the 7 rules for `shop` takes GET /none (host `shop.example.com`, port {port})"),
            ),
            (
                "shop.example.com",
                "/unknown",
                "route `/unknown` leads to the cluster `unknown`, which is not there".to_owned(),
            ),
            ("shop.example.com", "/empty", "the cluster `empty` has no endpoint that is ready and healthy".to_owned()),
            (
                "shop.example.com",
                "/slow",
                "no answer from the cluster `slow` within the timeout of route `/slow`".to_owned(),
            ),
            ("shop.example.com", "/own", "route `/own` answers 403 itself".to_owned()),
            (
                "shop.example.com",
                "/fault",
                "the fault of the rule answered in place of the service (fault injection)".to_owned(),
            ),
        ] {
            let answer = send(at, asking(host, path)).await;
            assert_eq!(
                answer.headers.get(TELLS).map(|value| value.to_str().unwrap()),
                Some(&*expected),
                "{host}{path}"
            );
            let silent = send(at, get(host, path)).await;
            assert!(!silent.headers.contains_key(TELLS), "{host}{path}: nobody asked");
            assert_eq!((answer.status, answer.body), (silent.status, silent.body), "{host}{path}");
        }
        let answer = send(at, asking("shop.example.com", "/gone")).await;
        let told = answer.headers[TELLS].to_str().unwrap();
        assert!(told.starts_with(&format!("no connection to {gone} of the cluster `gone`: ")), "{told}");
        let good = send(at, asking("shop.example.com", "/ok")).await;
        assert!(
            !good.headers.contains_key(TELLS) && good.body.contains(ASKS),
            "whoever is next is asked too: {good:?}"
        );
    });
}

#[test]
fn not_to_everybody() {
    run(async {
        let origin = named_origin("ok").await;
        let (inside, outside) = (free_address(), free_address());
        let proxy_settings = || shop(vec![route("/ok", to("ok"))]);
        let listeners = |direction, at| vec![listener("l", at, direction, vec![http_chain(proxy_settings())])];
        let clusters = || vec![cluster("ok", &[origin])];
        // Whoever comes in and has not proven who it is; and a proxy that was not told to.
        let _inbound = proxy_of(explaining(), config(listeners(Inbound, inside), clusters())).await;
        let _gateway = proxy("g", config(listeners(Outbound, outside), clusters())).await;
        for at in [inside, outside] {
            let answer = send(at, asking("nobody", "/ok")).await;
            assert_eq!(answer.status, 404);
            assert!(!answer.headers.contains_key(TELLS));
            let good = send(at, asking("shop.example.com", "/ok")).await;
            assert!(good.body.starts_with("ok /ok") && !good.body.contains(ASKS), "nobody behind is asked: {good:?}");
        }
    });
}

#[test]
fn in_the_log() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let members = [("host", "%REQ(:AUTHORITY)%"), ("reason", "%DYNAMIC_METADATA(halcyon:reason)%")];
        let members = members.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let log = FileLog { path: path.display().to_string(), format: LogFormat::Json(members.into()) };
        let at = free_address();
        let http = HttpProxy { access_logs: vec![log.into()], ..shop(vec![route("/", to("ok"))]) };
        let clusters = vec![cluster("ok", &[named_origin("ok").await])];
        let proxy = proxy("a", config(vec![listener("l", at, Outbound, vec![http_chain(http)])], clusters)).await;
        for host in ["shop.example.com", "shop.example.net"] {
            let answer = send(at, get(host, "/")).await;
            assert!(!answer.headers.contains_key(TELLS));
        }
        proxy.handle().stop();
        tokio::task::spawn_blocking(move || proxy.wait()).await.unwrap();
        let lines = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let said = format!("no route for host `shop.example.net` on port {}; nearest is `shop.example.com`", at.port());
        assert_eq!(
            lines,
            [
                serde_json::json!({"host": "shop.example.com", "reason": null}),
                serde_json::json!({"host": "shop.example.net", "reason": said}),
            ]
        );
    });
}
