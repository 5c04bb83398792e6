//! EgressPolicies: what proxies are told of them.

use base::SpiffeId;
use model::Config;
use model::cluster::{Discovery, Transport};
use translate::Node;
use translate::explain::{Question, explain};

use super::mesh::{BOOKINFO, config, gateway, sidecar, sidecar_with_upstream, world};
use super::outline;

/// A policy of the namespace `default`, or of another before a `/`.
fn policy(name: &str, spec: &str) -> String {
    let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
    format!(
        "---\napiVersion: halcyon.dev/v1alpha1\nkind: EgressPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

fn entry(name: &str, spec: &str) -> String {
    format!("---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

fn told(documents: &str) -> Config {
    config(&world(&format!("{BOOKINFO}\n{documents}"), &["reviews/v1@3"]), &sidecar("productpage/v1@2", 9080))
}

/// What the policies are called that select a node; none if its unknown destinations are passed on.
fn selecting(documents: &str, node: &Node) -> Option<String> {
    let config = config(&world(&format!("{BOOKINFO}\n{documents}"), &[]), node);
    let names = config.names.get("names")?;
    names.limit.as_ref().map(|limit| limit.policies.to_string())
}

#[test]
fn for_whom_policies_are() {
    let node = sidecar("reviews/v1@3", 9080);
    for (documents, expected) in [
        (policy("p", "{}"), Some("default/p")),
        (policy("istio-system/p", "{}"), Some("istio-system/p")),
        (policy("other/p", "{}"), None),
        (policy("p", "{selector: {matchLabels: {app: reviews}}}"), Some("default/p")),
        (policy("p", "{selector: {matchLabels: {app: ratings}}}"), None),
        (policy("istio-system/p", "{selector: {matchLabels: {app: ratings}}}"), None),
        (policy("a", "{}") + &policy("istio-system/b", "{}"), Some("default/a,istio-system/b")),
    ] {
        assert_eq!(selecting(&documents, &node).as_deref(), expected, "{documents}");
    }
    assert_eq!(selecting(&policy("p", "{}"), &gateway()), None);
}

#[test]
fn accounts_are_those_that_are_proven() {
    let id = |path: &str| Some(format!("spiffe://cluster.local/ns/{path}").parse::<SpiffeId>().unwrap());
    for (accounts, identity, expected) in [
        ("[bookinfo-reviews]", id("default/sa/bookinfo-reviews"), true),
        ("[default/bookinfo-reviews]", id("default/sa/bookinfo-reviews"), true),
        ("[other/bookinfo-reviews]", id("default/sa/bookinfo-reviews"), false),
        ("[bookinfo-ratings]", id("default/sa/bookinfo-reviews"), false),
        ("[bookinfo-ratings]", None, true),
    ] {
        let node = Node { identity, ..sidecar("reviews/v1@3", 9080) };
        let documents = policy("p", &format!("{{accounts: {accounts}}}"));
        assert_eq!(selecting(&documents, &node).is_some(), expected, "{accounts} {:?}", node.identity);
        // What proxies of one account have in common is not what those of another have.
        let world = world(&format!("{BOOKINFO}\n{documents}"), &[]);
        assert_eq!(world.scope(&node).identity, node.identity);
    }
}

#[test]
fn nothing_outside() {
    let outside =
        entry("out", "{hosts: [api.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}");
    let config = told(&(outside + &policy("none", "{}")));
    assert!(!config.clusters.keys().any(|name| name.contains("example.com")));
    let listeners = outline::listeners(&config);
    assert!(!listeners.contains("PassthroughCluster") && !listeners.contains("BlackHoleCluster"), "{listeners}");
    assert!(listeners.contains("else unknown: -> tcp to EgressDenied|default/none x1"), "{listeners}");
    let denied = &config.clusters["EgressDenied|default/none"];
    assert!(matches!(&denied.discovery, Discovery::Static(set) if set.iter().next().is_none()));
    // The mesh is as it was.
    let routes = outline::routes(&config.routes["9080"]);
    assert!(routes.contains("reviews.default.svc.cluster.local:9080"), "{routes}");
    assert!(routes.contains("egress_denied [*]") && routes.contains("status: 403"), "{routes}");
}

#[test]
fn hosts_blocks_and_ports() {
    let config = told(&policy(
        "p",
        "{rules: [{hosts: [api.example.com, '*.example.org']}, {hosts: [db.example.com], ports: [{number: 5432, \
         protocol: TCP}]}, {cidrs: [203.0.113.0/24, '2001:db8::/32'], ports: [{number: 443, protocol: TLS}, {number: 9080, \
         protocol: HTTP}]}, {cidrs: [198.51.100.7]}]}",
    ));
    insta::assert_snapshot!("egress_listeners", outline::listeners(&config));
    insta::assert_snapshot!("egress_clusters", outline::clusters(&config));
    let routes = ["80", "9080", "egress_9080"].map(|name| format!("{name}\n{}", outline::routes(&config.routes[name])));
    insta::assert_snapshot!("egress_routes", routes.join("\n"));
    let names = &config.names["names"];
    let limit = names.limit.as_ref().unwrap();
    assert_eq!(limit.names, ["*.example.org", "api.example.com", "db.example.com"]);
    assert!(names.names.contains_key("db.example.com") && names.names.contains_key("api.example.com"));
    assert!(!names.names.contains_key("*.example.org"));
}

#[test]
fn entries_are_narrowed() {
    let ports = "ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS}, {number: 9000, name: tcp, protocol: TCP}]";
    let entries = entry("a", &format!("{{hosts: [a.example.com], {ports}, resolution: NONE}}"))
        + &entry(
            "b",
            &format!("{{hosts: [b.example.com], {ports}, resolution: STATIC, endpoints: [{{address: 192.0.2.1}}]}}"),
        )
        + &entry("w", "{hosts: ['*.example.net'], ports: [{number: 443, name: tls, protocol: TLS}], resolution: NONE}");
    let config = told(&(entries + &policy("p", "{rules: [{hosts: [a.example.com, b.example.com, x.example.net]}]}")));
    let mut clusters: Vec<_> = config.clusters.keys().filter(|name| name.contains("example")).collect();
    clusters.sort();
    assert_eq!(
        clusters.iter().map(|name| &***name).collect::<Vec<_>>(),
        [
            "outbound|443||a.example.com",
            "outbound|443||b.example.com",
            "outbound|443||x.example.net",
            "outbound|80||a.example.com",
            "outbound|80||b.example.com",
            "outbound|80||x.example.net",
        ]
    );
    // What a program dialled is not believed where only a name was allowed.
    assert!(matches!(config.clusters["outbound|443||a.example.com"].discovery, Discovery::StrictDns(_)));
    let listeners = outline::listeners(&config);
    assert!(
        listeners.contains("tcp b.example.com: sni b.example.com -> tcp to outbound|443||b.example.com x1"),
        "{listeners}"
    );
    // A name that TLS does not ask for leads nowhere, at the address of the host too.
    for listener in config.listeners.values().filter(|listener| listener.name.ends_with("_443")) {
        let nameless = listener.chains.iter().find(|chain| chain.matches.server_names.is_empty());
        assert_eq!(nameless.map(|chain| &chain.name), None, "{}", listener.name);
        let rest = listener.default_chain.as_ref().map(|chain| format!("{:?}", chain.filter));
        assert!(rest.is_some_and(|rest| rest.contains("EgressDenied|default/p")), "{}", listener.name);
    }
}

#[test]
fn tls_that_the_proxy_begins() {
    let rule = "{rules: [{hosts: [api.example.com], ports: [{number: 80, protocol: HTTP, targetPort: 443}], tls: {mode: SIMPLE}}, \
                {hosts: [own.example.com], ports: [{number: 81, protocol: HTTP}], tls: {mode: SIMPLE, sni: other.example.com, \
                caCertificates: /etc/roots.pem, subjectAltNames: [a.test]}}]}";
    let tls = |config: &Config, name: &str| match &config.clusters[name].transport {
        Transport::Tls(tls) => {
            let validation = tls.validation.as_ref().unwrap();
            format!("{} {} {:?}", tls.sni.as_deref().unwrap(), validation.trust, validation.names)
        }
        other => format!("{other:?}"),
    };
    let config = told(&policy("p", rule));
    assert_eq!(
        tls(&config, "outbound|80||api.example.com"),
        "api.example.com file-root:system [Exact { value: \"api.example.com\", ignore_case: false }]"
    );
    let own = tls(&config, "outbound|81||own.example.com");
    assert!(own.starts_with("other.example.com file-root:/etc/roots.pem ") && own.contains("a.test"), "{own}");
    let Discovery::StrictDns(set) = &config.clusters["outbound|80||api.example.com"].discovery else { panic!() };
    assert_eq!(set.iter().next().unwrap().address.to_string(), "api.example.com:443");
    // A DestinationRule says it for its clients, together with a policy too.
    let ruled = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: r}\nspec: {host: \
                 plain.example.com, trafficPolicy: {tls: {mode: SIMPLE}}}\n";
    let config = told(&format!(
        "{ruled}{}",
        policy("p", "{rules: [{hosts: [plain.example.com], ports: [{number: 80, protocol: HTTP, targetPort: 443}]}]}")
    ));
    assert!(tls(&config, "outbound|80||plain.example.com").starts_with("plain.example.com file-root:system "));
}

#[test]
fn programs_that_are_not_captured() {
    let outside =
        entry("out", "{hosts: [api.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}");
    let node = sidecar_with_upstream("reviews/v1@3", "api.example.com", 80);
    let of = |documents: &str| {
        let config = config(&world(&format!("{BOOKINFO}\n{outside}{documents}"), &[]), &node);
        config.listeners.keys().any(|name| name.ends_with("_19080"))
    };
    assert!(of(""));
    assert!(!of(&policy("p", "{}")));
    assert!(of(&policy("p", "{rules: [{hosts: ['*.example.com']}]}")));
}

fn explained(documents: &str, host: &str, port: u16, server_name: Option<&str>) -> (String, bool) {
    let world = world(&format!("{BOOKINFO}\n{documents}"), &["reviews/v1@3"]);
    let question = Question {
        host: host.into(),
        port,
        authority: None,
        server_name: server_name.map(str::to_owned),
        method: http::Method::GET,
        path: "/".into(),
        headers: http::HeaderMap::new(),
    };
    let explanation = explain(&world, &sidecar("productpage/v1@2", 9080), &question);
    (explanation.verdict, explanation.served)
}

#[test]
fn who_refuses_is_explained() {
    let documents = policy(
        "p",
        "{rules: [{hosts: [api.example.com]}, {hosts: [db.example.com], ports: [{number: 5432, protocol: TCP}]}]}",
    );
    for (host, port, name, expected) in [
        ("api.example.com", 80, None, "goes to `outbound|80||api.example.com`"),
        ("api.example.com", 443, None, "goes to `outbound|443||api.example.com`"),
        ("db.example.com", 5432, None, "goes to `outbound|5432||db.example.com`"),
        ("reviews", 9080, None, "goes to `outbound|9080||reviews.default.svc.cluster.local`"),
        (
            "api.example.com",
            443,
            Some("evil.test"),
            "closes the connection, since no rule of the EgressPolicy default/p",
        ),
        ("evil.test", 80, None, "answers 403, since no rule of the EgressPolicy default/p allows"),
        ("evil.test", 8080, None, "closes the connection, since no rule of the EgressPolicy default/p"),
    ] {
        let (verdict, served) = explained(&documents, host, port, name);
        assert!(verdict.contains(expected), "{host}:{port} {name:?}: {verdict}");
        assert_eq!(served, expected.starts_with("goes"), "{verdict}");
    }
}

#[test]
fn ports_that_requests_name_are_checked_under_wildcards() {
    let config = told(&policy("p", "{rules: [{hosts: ['*.example.org']}]}"));
    let host = config.routes["80"].hosts.iter().find(|host| host.domains == ["*.example.org"]).unwrap();
    let rules = host.filters.as_ref().and_then(|rules| rules.named.get("halcyon.egress")).unwrap();
    let text = format!("{rules:?}");
    assert!(text.contains("[^:]+(:80)?") && text.contains("egress-policy[default/p]"), "{text}");
}

#[test]
fn what_analysis_finds() {
    let outside = entry(
        "out",
        "{hosts: [api.example.com, cdn.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}",
    );
    let found = |documents: &str| -> Vec<String> {
        let world = world(&format!("{BOOKINFO}\n{documents}"), &["reviews/v1@3"]);
        let mut problems = translate::check(&world);
        problems.extend(translate::check_selection(&world));
        let ours = problems.into_iter().filter(|problem| {
            problem.resource.as_ref().is_some_and(|resource| resource.kind == api::Kind::EgressPolicy)
        });
        ours.map(|problem| format!("{} {problem}", problem.code)).collect()
    };
    for (documents, expected) in [
        (policy("p", "{rules: [{hosts: [api.example.com]}]}"), None),
        (policy("p", "{selector: {matchLabels: {app: nobody}}}"), Some(("IST0127", "no workload has `app=nobody`"))),
        (policy("p", "{accounts: [bookinfo-reviews]}"), None),
        (policy("p", "{accounts: [ghost]}"), Some(("HAL0021", "no service account `ghost`"))),
        (policy("p", "{accounts: [other/bookinfo-reviews]}"), Some(("HAL0021", "is not for workloads of `other`"))),
        (policy("p", "{rules: [{hosts: [reviews.default.svc.cluster.local]}]}"), Some(("HAL0020", "lies in the mesh"))),
        (
            policy("p", "{rules: [{hosts: [a.test]}, {hosts: [a.test], ports: [{number: 443, protocol: TCP}]}]}"),
            Some(("HAL0020", "a.test speaks TLS on port 443, which counts")),
        ),
        (outside.clone() + &policy("p", "{rules: [{hosts: ['*.example.com']}]}"), None),
        (
            outside.clone() + &policy("p", "{rules: [{hosts: [api.example.com]}]}"),
            Some(("HAL0022", "no rule allows `cdn.example.com` (`default`)")),
        ),
        (outside + &policy("p", "{selector: {matchLabels: {app: reviews}}}"), None),
    ] {
        let told = found(&documents);
        match expected {
            None => assert_eq!(told, Vec::<String>::new(), "{documents}"),
            Some((code, text)) => {
                assert!(
                    told.len() == 1 && told[0].starts_with(code) && told[0].contains(text),
                    "{documents}: {told:?}"
                );
            }
        }
    }
}
