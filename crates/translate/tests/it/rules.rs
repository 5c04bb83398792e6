//! VirtualService and DestinationRule, as sidecars get them.

use model::cluster::{Transport, UpstreamProtocol};
use model::route::Action;

use super::mesh::{BOOKINFO, config, sidecar, sidecar_with_upstream, world};
use super::outline;

const SUBSETS: &str = include_str!("../../../../samples/bookinfo/mesh/destination-rules.yaml");

/// The routes that productpage has for reviews under these rules.
fn reviews(rules: &str) -> String {
    let world = world(&format!("{BOOKINFO}\n---\n{SUBSETS}\n---\n{rules}"), &["reviews/v1@3"]);
    let config = config(&world, &sidecar("productpage/v1@2", 9080));
    let table = outline::routes(&config.routes["9080"]);
    let from = table.find("reviews.default").unwrap();
    let rest = &table[from..];
    let end = rest[1..].find("\n[a-z*]").map_or(rest.len(), |at| at + 1);
    rest[..end].lines().skip(1).take_while(|l| l.starts_with("  ")).map(|l| format!("{}\n", l.trim())).collect()
}

/// A VirtualService for reviews with these HTTP rules, in flow style.
fn rule(http: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: reviews}}\nspec: {{hosts: [reviews], http: [{http}]}}"
    )
}

#[test]
fn a_sidecar_of_bookinfo() {
    let world = world(BOOKINFO, &["productpage/v1@2", "reviews/v1@3", "reviews/v2@4", "details/v1@5"]);
    let config = config(&world, &sidecar("productpage/v1@2", 9080));
    insta::assert_snapshot!("bookinfo-listeners", outline::listeners(&config));
    insta::assert_snapshot!("bookinfo-clusters", outline::clusters(&config));
    insta::assert_snapshot!("bookinfo-routes", outline::routes(&config.routes["9080"]));
    let names: Vec<_> = config.names["names"].names.keys().filter(|n| n.starts_with("reviews")).collect();
    assert_eq!(names, ["reviews", "reviews.default", "reviews.default.svc", "reviews.default.svc.cluster.local"]);
}

#[test]
fn http_rules() {
    let to = "route: [{destination: {host: reviews, subset: v1}}]";
    let rules = [
        ("by header", format!("{{match: [{{headers: {{end-user: {{exact: jason}}}}}}], route: [{{destination: {{host: reviews, subset: v2}}}}]}}, {{{to}}}")),
        ("by weight", "{route: [{destination: {host: reviews, subset: v1}, weight: 90}, {destination: {host: reviews, subset: v3}, weight: 10}]}".into()),
        ("without weight", "{route: [{destination: {host: reviews, subset: v1}, weight: 0}]}".into()),
        ("after all", format!("{{{to}}}, {{match: [{{uri: {{prefix: /never}}}}], {to}}}")),
        ("two conditions", format!("{{match: [{{uri: {{exact: /a}}, method: {{exact: GET}}}}, {{queryParams: {{q: {{}}}}, withoutHeaders: {{x: {{exact: y}}}}}}], {to}}}")),
        ("timeout and no retry", format!("{{timeout: 500ms, retries: {{attempts: 0}}, {to}}}")),
        ("retries", format!("{{retries: {{attempts: 5, perTryTimeout: 1s, retryOn: \"gateway-error,503\"}}, {to}}}")),
        ("retries without conditions", format!("{{retries: {{attempts: 5}}, {to}}}")),
        ("fault", format!("{{fault: {{delay: {{fixedDelay: 7s, percentage: {{value: 50}}}}, abort: {{httpStatus: 500}}}}, {to}}}")),
        ("fault by name", format!("{{fault: {{abort: {{grpcStatus: UNAVAILABLE, percentage: {{value: 100}}}}}}, {to}}}")),
        ("rewrite", format!("{{match: [{{uri: {{prefix: /a}}}}], rewrite: {{uri: /b}}, {to}}}")),
        ("mirror", format!("{{mirror: {{host: reviews, subset: v3}}, {to}}}")),
        ("other callers", format!("{{match: [{{sourceLabels: {{app: other}}}}, {{sourceNamespace: other}}, {{port: 80}}, {{gateways: [g]}}], {to}}}")),
        ("this caller", format!("{{match: [{{sourceLabels: {{app: productpage}}}}], {to}}}")),
        ("redirect", "{redirect: {uri: /new, redirectCode: 308}}".into()),
        ("redirect to the default port", "{redirect: {scheme: https, derivePort: FROM_PROTOCOL_DEFAULT}}".into()),
        ("redirect to the port of the request", "{redirect: {scheme: https, derivePort: FROM_REQUEST_PORT}}".into()),
        ("cors", format!("{{corsPolicy: {{allowOrigins: [{{prefix: 'https://'}}], allowMethods: [GET, PUT], allowHeaders: [x-a], exposeHeaders: [x-b], maxAge: 1h, allowCredentials: true}}, {to}}}")),
        ("cors, the older list", format!("{{corsPolicy: {{allowOrigin: [a], unmatchedPreflights: IGNORE}}, {to}}}")),
        ("statistics", format!("{{match: [{{uri: {{exact: /a}}, statPrefix: a}}, {{uri: {{exact: /b}}}}], {to}}}")),
        ("answer", "{directResponse: {status: 418, body: {string: teapot}}}".into()),
    ];
    let text: String = rules.iter().map(|(name, http)| format!("{name}\n{}\n", reviews(&rule(http)))).collect();
    insta::assert_snapshot!("http-rules", text);
}

#[test]
fn answers_are_text_or_bytes() {
    for (body, expected) in [("string: teapot", &b"teapot"[..]), ("bytes: //4A", b"\xff\xfe\0")] {
        let rule = rule(&format!("{{directResponse: {{status: 418, body: {{{body}}}}}}}"));
        let world = world(&format!("{BOOKINFO}\n---\n{rule}"), &["reviews/v1@3"]);
        let config = config(&world, &sidecar("productpage/v1@2", 9080));
        let mut routes = config.routes.values().flat_map(|table| &table.hosts).flat_map(|host| &host.routes);
        let answer = routes.find_map(|route| match &route.action {
            Action::Respond(answer) if answer.status == 418 => Some(&answer.body[..]),
            _ => None,
        });
        assert_eq!(answer, Some(expected), "{body}");
    }
}

#[test]
fn destination_rules() {
    let rule = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy:
    loadBalancer: {simple: ROUND_ROBIN}
    connectionPool: {tcp: {connectTimeout: 1s}}
  subsets:
  - {name: v1, labels: {version: v1}}
  - name: v2
    labels: {version: v2}
    trafficPolicy: {loadBalancer: {simple: RANDOM}, tls: {mode: DISABLE}}
  - name: v3
    labels: {version: v3}
    trafficPolicy: {portLevelSettings: [{port: {number: 9080}, tls: {mode: ISTIO_MUTUAL, sni: own}}]}
";
    let world = world(&format!("{BOOKINFO}\n---\n{rule}"), &["reviews/v1@3", "reviews/v2@4"]);
    let config = config(&world, &sidecar("productpage/v1@2", 9080));
    let of_reviews: String =
        outline::clusters(&config).lines().filter(|l| l.contains("reviews")).map(|l| format!("{l}\n")).collect();
    insta::assert_snapshot!("destination-rule", of_reviews);
    let timeout = |name: &str| config.clusters[name].connect_timeout.as_secs();
    let host = "reviews.default.svc.cluster.local";
    assert_eq!(timeout(&format!("outbound|9080|v1|{host}")), 1, "a subset inherits");
    assert_eq!(timeout(&format!("outbound|9080|v3|{host}")), 10, "a port does not");
}

#[test]
fn which_rule_decides() {
    let rule = |name: &str, namespace: &str, spec: &str| {
        format!(
            "\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}"
        )
    };
    let host = "reviews.default.svc.cluster.local";
    let with =
        |host: &str, simple: &str| format!("host: \"{host}\", trafficPolicy: {{loadBalancer: {{simple: {simple}}}}}");
    let root = rule("r", "istio-system", &with(host, "RANDOM"));
    let own = rule("o", "default", &with("reviews", "ROUND_ROBIN"));
    let wide = rule("w", "default", &with("*.default.svc.cluster.local", "RANDOM"));
    let second = rule("p", "default", "host: reviews, subsets: [{name: v1, labels: {version: v1}}]");
    let hidden = rule("h", "default", &format!("{}, exportTo: [other]", with(host, "RANDOM")));
    let for_me = "workloadSelector: {matchLabels: {app: productpage}}";
    let for_others = "workloadSelector: {matchLabels: {app: other}}";
    let selected = rule("s", "default", &format!("{}, {for_me}", with(host, "RANDOM")));
    let unselected = rule("s", "default", &format!("{}, {for_others}", with(host, "RANDOM")));
    let least = "LeastRequest { choices: 2 }";
    for (rules, expected, subset) in [
        (vec![], least, false),
        (vec![&root], "Random", false),
        (vec![&root, &own], "RoundRobin", false),
        (vec![&wide, &own], "RoundRobin", false),
        (vec![&own, &second], "RoundRobin", true),
        (vec![&root, &second], least, true),
        (vec![&hidden], least, false),
        (vec![&selected], "Random", false),
        (vec![&unselected], least, false),
    ] {
        let documents: String = std::iter::once(BOOKINFO).chain(rules.iter().map(|r| r.as_str())).collect();
        let config = config(&world(&documents, &[]), &sidecar("productpage/v1@2", 9080));
        let balancing = format!("{:?}", config.clusters[&*format!("outbound|9080||{host}")].balancing);
        assert_eq!(balancing, expected, "{rules:#?}");
        assert_eq!(config.clusters.contains_key(&*format!("outbound|9080|v1|{host}")), subset, "{rules:#?}");
    }
}

/// The changes of request headers by the route and by its first destination.
fn header_changes(http: &str) -> (Vec<String>, Vec<String>) {
    let world = world(&format!("{BOOKINFO}\n---\n{}", rule(http)), &[]);
    let config = config(&world, &sidecar("productpage/v1@2", 9080));
    let host = config.routes["9080"].hosts.iter().find(|h| h.name.starts_with("reviews")).unwrap();
    let model::route::Action::Forward(forward) = &host.routes[0].action else { panic!("{host:?}") };
    let text = |changes: &model::HeaderChanges| {
        let removed = changes.remove().iter().map(|name| format!("-{name}"));
        let written =
            changes.write().iter().map(|w| format!("{}={} {:?}", w.name, w.value.to_str().unwrap(), w.action));
        removed.chain(written).collect()
    };
    (text(&host.routes[0].request_headers), text(&forward.clusters[0].request_headers))
}

#[test]
fn headers() {
    let to = "destination: {host: reviews}, headers: {request: {set: {b: x}, add: {c: x}, remove: [a]}}";
    let (of_route, of_cluster) =
        header_changes(&format!("{{headers: {{request: {{set: {{a: y, b: y}}, remove: [d]}}}}, route: [{{{to}}}]}}"));
    assert_eq!(
        of_route,
        ["-d", "-a", "b=y Overwrite", "b=x Overwrite", "c=x Append"],
        "a lone destination has the last word"
    );
    assert_eq!(of_cluster, [""; 0]);
    let (of_route, of_cluster) = header_changes(&format!(
        "{{headers: {{request: {{add: {{':authority': other.example.org}}}}}}, route: [{{{to}, weight: 1}}, {{destination: {{host: ratings}}, weight: 1}}]}}"
    ));
    assert_eq!(of_route, ["host=other.example.org Overwrite"], "there is one authority");
    assert_eq!(of_cluster, ["-a", "b=x Overwrite", "c=x Append"]);
}

#[test]
fn policies_that_decide_where_and_how() {
    let rule = |policy: &str| {
        format!(
            "{BOOKINFO}\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: r}}\nspec: {{host: reviews.default.svc.cluster.local., trafficPolicy: {policy}}}"
        )
    };
    let name = "outbound|9080||reviews.default.svc.cluster.local";
    let line = |policy: &str| {
        let config = config(&world(&rule(policy), &["reviews/v1@3"]), &sidecar("productpage/v1@2", 9080));
        let text = outline::clusters(&config);
        text.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim_start_matches(": ").to_owned()
    };
    let least = "LeastRequest { choices: 2 }";
    for (policy, expected) in [
        ("{loadBalancer: {simple: PASSTHROUGH}, tls: {mode: DISABLE}}", "Auto Provided plain []".to_owned()),
        (
            "{tls: {mode: SIMPLE, caCertificates: /ca}}",
            format!("Auto {least} tls Some(\"reviews.default.svc.cluster.local\") names Some(0) [127.64.0.3:9080]"),
        ),
        (
            "{connectionPool: {http: {useClientProtocol: true}}, tls: {mode: DISABLE}}",
            format!("SameAsDownstream {least} plain [127.64.0.3:9080]"),
        ),
        (
            "{connectionPool: {http: {h2UpgradePolicy: UPGRADE}}, tls: {mode: DISABLE}}",
            format!("Http2 {least} plain [127.64.0.3:9080]"),
        ),
    ] {
        assert_eq!(line(policy), expected, "{policy}");
    }
}

#[test]
fn http1_that_is_kept_is_all_that_is_offered() {
    let offered = |policy: &str| {
        let rule = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: reviews}}\nspec: {{host: reviews, trafficPolicy: {{connectionPool: {{http: {{h2UpgradePolicy: {policy}}}}}}}}}"
        );
        let world = world(&format!("{BOOKINFO}\n---\n{rule}"), &["reviews/v1@3"]);
        let config = config(&world, &sidecar("productpage/v1@2", 9080));
        let reviews = &config.clusters["outbound|9080||reviews.default.svc.cluster.local"];
        let Transport::MeshTls(tls) = &reviews.transport else { panic!("{:?}", reviews.transport) };
        (reviews.protocol, tls.alpn.clone())
    };
    let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let both = names(&["istio-h2", "istio-http/1.1", "h2", "http/1.1"]);
    assert_eq!(offered("DEFAULT"), (UpstreamProtocol::Auto, both.clone()));
    assert_eq!(offered("UPGRADE"), (UpstreamProtocol::Http2, both));
    assert_eq!(offered("DO_NOT_UPGRADE"), (UpstreamProtocol::Http1, names(&["istio-http/1.1", "http/1.1"])));
}

#[test]
fn upstreams_under_local_addresses() {
    let world = world(BOOKINFO, &["ratings/v1@6"]);
    let config = config(&world, &sidecar_with_upstream("reviews/v2@4", "ratings", 9080));
    insta::assert_snapshot!("upstreams-listeners", outline::listeners(&config));
    insta::assert_snapshot!("upstreams-routes", outline::routes(config.routes.values().next().unwrap()));
}
