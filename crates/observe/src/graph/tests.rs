//! Known traffic in, exact figures out.

use proto::halcyon::observe::v1::Protocol;

use super::*;
use crate::documents::Health;
use crate::simulated::{Line, Simulated, T0, line};

fn ask(mesh: &Simulated, query: &GraphQuery) -> Graph {
    let past = mesh.observe.past();
    graph(&past.window(query.span(past.shot.now)), query)
}

fn asked(mesh: &Simulated, kind: GraphType) -> Graph {
    let query = GraphQuery { kind, namespaces: vec![], at: None, window_s: 60 };
    ask(mesh, &query)
}

fn edges(graph: &Graph) -> Vec<(&str, f64, Option<f64>, &str)> {
    graph.edges.iter().map(|it| (&*it.id, it.traffic.rps, it.traffic.success, &*it.reporter)).collect()
}

#[test]
fn both_sides_count_once() {
    let mut mesh = Simulated::new(None);
    // What arrived, as both sides saw it: 100 by the called side, 99 by the caller's (one retried).
    mesh.tell(line(true, "web-v1", "api-v1", 99));
    mesh.tell(line(false, "web-v1", "api-v1", 100));
    // The caller's proxy could not connect: known destination, nobody else tells.
    mesh.tell(Line { code: 503, flags: "URX,UF", count: 6, ..line(true, "web-v1", "api-v1", 0) });
    // It timed out: the called side tells of that itself.
    mesh.tell(Line { code: 504, flags: "UT", count: 7, ..line(true, "web-v1", "api-v1", 0) });
    mesh.tell(Line { code: 0, flags: "DC", count: 14, ..line(false, "web-v1", "api-v1", 0) });
    // No healthy endpoint: the destination is unknown.
    mesh.tell(Line { code: 503, flags: "UH", count: 12, service: "api", ..line(true, "web-v1", "", 0) });
    // Somebody without a proxy is called, and somebody without one calls.
    mesh.tell(line(true, "web-v1", "db-v1", 30));
    mesh.tell(line(false, "", "web-v1", 60));
    mesh.pass(60);
    let found = asked(&mesh, GraphType::Workload);
    assert_eq!(
        edges(&found),
        [
            ("unknown>workload:default/web-v1>http", 1.0, Some(1.0), "destination"),
            ("workload:default/web-v1>service:default/api>http", 0.2, Some(0.0), "source"),
            ("workload:default/web-v1>workload:default/api-v1>http", 2.0, Some(0.8333), "both"),
            ("workload:default/web-v1>workload:default/db-v1>http", 0.5, Some(1.0), "source"),
        ]
    );
    let edge = &found.edges[2];
    assert_eq!((edge.mtls, edge.health), (Some(1.0), Health::Failing));
    assert_eq!(edge.reasons, ["5.0 % of requests answered 5xx", "11.7 % of requests got no response"]);
    let responses: Vec<(&str, &str, f64)> = edge.responses.iter().map(|it| (&*it.code, &*it.flags, it.rps)).collect();
    assert_eq!(responses, [("-", "DC", 0.23333), ("200", "", 1.6667), ("503", "UF,URX", 0.1)]);
    assert_eq!(edge.services[0].host, "api.default.svc.cluster.local");
    // 10 ms are in 8192..10240 us, 20 ms in 16384..20480.
    let node = |id: &str| found.nodes.iter().find(|node| node.id == id).unwrap();
    let (api, web) = (node("workload:default/api-v1"), node("workload:default/web-v1"));
    assert_eq!((api.inbound.p50, api.inbound.mean, edge.traffic.mean), (Some(9.216), Some(10.0), Some(20.0)));
    assert_eq!((edge.traffic.p50, web.outbound.rps), (Some(18.432), 2.7));
    assert_eq!((web.root, node("unknown").root, api.root), (false, true, false));
    assert_eq!((api.app.as_deref(), api.version.as_deref()), (Some("api"), Some("v1")));
    assert_eq!(web.reasons[0], "11.1 % of outbound requests answered 5xx");
    assert_eq!((&*found.at, found.window_s), ("2026-01-01T00:01:00.000Z", 60));
    assert!(found.notices.is_empty(), "{:?}", found.notices);
}

#[test]
fn kinds_of_nodes() {
    let mut mesh = Simulated::new(None);
    mesh.tell(line(false, "web-v1", "api-v1", 60));
    mesh.tell(line(false, "web-v1", "api-v2", 60));
    mesh.tell(line(false, "api-v1", "db-v1", 60));
    mesh.tell(Line { service: "PassthroughCluster", ..line(true, "api-v2", "", 60) });
    mesh.tell(Line { service: "", ..line(true, "api-v2", "", 60) });
    mesh.pass(60);
    for (kind, expected) in [
        (GraphType::App, "app:default/api app:default/db app:default/web external:PassthroughCluster unknown"),
        (
            GraphType::VersionedApp,
            "app:default/api@v1 app:default/api@v2 app:default/db@v1 app:default/web@v1 external:PassthroughCluster unknown",
        ),
        // Nobody calls `web`: no service is known for it.
        (
            GraphType::Service,
            "external:PassthroughCluster service:default/api service:default/db unknown workload:default/web-v1",
        ),
    ] {
        let found = asked(&mesh, kind);
        let ids: Vec<&str> = found.nodes.iter().map(|node| &*node.id).collect();
        assert_eq!(ids.join(" "), expected);
    }
    let query = GraphQuery { kind: GraphType::App, namespaces: vec!["other".into()], at: None, window_s: 60 };
    assert!(ask(&mesh, &query).nodes.is_empty());
}

#[test]
fn grpc_and_tcp() {
    let mut mesh = Simulated::new(None);
    let grpc = |grpc, count| Line { protocol: Protocol::Grpc, grpc: Some(grpc), ..line(false, "a", "b", count) };
    mesh.tell(grpc(0, 54));
    mesh.tell(grpc(14, 6));
    mesh.tell(Line { protocol: Protocol::Tcp, ..line(false, "a", "c", 6) });
    mesh.pass(60);
    let found = asked(&mesh, GraphType::Workload);
    let grpc = &found.edges[0];
    assert_eq!(
        (&*grpc.protocol, grpc.traffic.rps, grpc.traffic.grpc_errors, grpc.traffic.success),
        ("grpc", 1.0, 0.1, Some(0.9))
    );
    assert_eq!(grpc.reasons, ["10.0 % of gRPC requests ended in an error"]);
    assert_eq!(grpc.responses[1].grpc_status.as_deref(), Some("14"));
    let tcp = &found.edges[1].traffic;
    assert_eq!((tcp.rps, tcp.success, tcp.p50), (0.0, None, None));
    assert_eq!((tcp.tcp_sent, tcp.tcp_received, tcp.tcp_opened, tcp.tcp_open), (10.0, 1.0, 0.1, 6));
    // Connections that stand are an edge, even if nothing passes.
    mesh.pass(600);
    assert_eq!(asked(&mesh, GraphType::Workload).edges[0].traffic.tcp_open, 6);
    mesh.hang_up();
    mesh.pass(120);
    assert!(asked(&mesh, GraphType::Workload).edges.is_empty());
}

#[test]
fn any_window_has_what_passed_in_it() {
    let mut mesh = Simulated::new(None);
    // Three requests in each five seconds, for eleven minutes.
    for _ in 0..132 {
        mesh.tell(line(false, "a", "b", 3));
        mesh.pass(5);
    }
    for window_s in [1, 5, 7, 60, 119, 120, 121, 300, 555, 600] {
        let query = GraphQuery { kind: GraphType::App, namespaces: vec![], at: None, window_s };
        let found = ask(&mesh, &query);
        assert_eq!(found.edges[0].traffic.rps, 0.6, "{window_s}");
    }
    for ago_s in [10, 130, 300] {
        let at = Some(T0 + 660_000 - ago_s * 1000);
        let query = GraphQuery { kind: GraphType::App, namespaces: vec![], at, window_s: 30 };
        assert_eq!(ask(&mesh, &query).edges[0].traffic.rps, 0.6, "{ago_s} s ago");
    }
    let before = GraphQuery { kind: GraphType::App, namespaces: vec![], at: Some(T0 - 60_000), window_s: 60 };
    let found = ask(&mesh, &before);
    assert_eq!((found.edges.len(), found.notices.len()), (0, 1));
    let query = GraphQuery { kind: GraphType::App, namespaces: vec![], at: None, window_s: 3600 };
    let found = ask(&mesh, &query);
    assert_eq!(found.edges[0].traffic.rps, 0.6);
    assert_eq!(found.notices, ["history is from 00:01:00 UTC on"]);
}

#[test]
fn a_clock_that_goes_back() {
    let mut mesh = Simulated::new(None);
    mesh.tell(line(false, "a", "b", 60));
    mesh.pass(60);
    let mut table = mesh.observe.table();
    for now in [T0 + 59_000, T0 - 3_600_000, T0 - 3_590_000, T0, T0 + 1_000_000_000] {
        table.roll(now);
        let past = crate::window::Past::new(Arc::new(table.snapshot(now)), None);
        let query = GraphQuery { kind: GraphType::App, namespaces: vec![], at: None, window_s: 600 };
        let _ = graph(&past.window(query.span(past.shot.now)), &query);
    }
}

#[test]
fn in_the_words_of_others() {
    let mut mesh = Simulated::new(None);
    mesh.tell(line(false, "", "web\"-v1", 60));
    mesh.tell(Line { code: 500, ..line(false, "web\"-v1", "api-v1", 60) });
    mesh.tell(line(true, "web\"-v1", "api-v1", 60));
    mesh.pass(60);
    let found = asked(&mesh, GraphType::App);
    let vizceral = render::vizceral(&found, T0);
    let region = &vizceral["nodes"][1];
    assert_eq!(region["connections"][0]["source"], "INTERNET");
    assert_eq!(
        region["connections"][1]["metrics"],
        serde_json::json!({ "normal": 0.0, "warning": 0.0, "danger": 1.0 })
    );
    assert_eq!(region["nodes"][1]["class"], "danger");
    assert_eq!(vizceral["connections"][0]["metrics"]["normal"], 1.0);
    let dot = render::dot(&found);
    let line = r#""app:default/web\"" -> "app:default/api" [label="1.0 rps 0.0 % "#;
    assert!(dot.contains(line), "{dot}");
    let mermaid = render::mermaid(&found);
    assert!(mermaid.contains("[\"web#34;\"]:::failing"), "{mermaid}");
}
