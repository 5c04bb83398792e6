//! CUSTOM policies: which service is asked about what, and what is refused since it cannot be.

use api::Code;
use model::access::Compiled;
use model::ext_authz::{AskedPath, Authorizer};
use model::http_proxy::HttpFilter;
use model::{Config, Direction, ExtAuthz, Guard, Listener, NetworkFilter};

use crate::mesh::{BOOKINFO, config, sidecar, world};

const SERVICE: &str = "
---
apiVersion: v1
kind: Service
metadata: {name: authz, namespace: tools}
spec:
  selector: {app: authz}
  ports: [{name: http, port: 8000}, {name: grpc, port: 9000}]
";

const PROVIDERS: &str = "
- name: by-http
  envoyExtAuthzHttp:
    service: tools/authz.tools.svc.cluster.local
    port: 8000
    timeout: 2s
    pathPrefix: /check
    failOpen: true
    clearRouteCache: true
    statusOnError: '503'
    includeHeadersInCheck: [x-old]
    includeRequestHeadersInCheck: [X-User, 'x-own-*', '*-id']
    includeAdditionalHeadersInCheck: {x-from: mesh}
    includeRequestBodyInCheck: {maxRequestBytes: 10, allowPartialMessage: true, packAsBytes: true}
    headersToUpstreamOnAllow: [x-subject]
    headersToDownstreamOnDeny: [x-reason]
    headersToDownstreamOnAllow: [x-told]
- name: by-grpc
  envoyExtAuthzGrpc: {service: authz.tools.svc.cluster.local, port: 9000}
- name: mute
  envoyExtAuthzGrpc: {service: authz.tools.svc.cluster.local, port: 8000}
- name: nowhere
  envoyExtAuthzGrpc: {service: nobody.tools.svc.cluster.local, port: 9000}
- name: no-port
  envoyExtAuthzGrpc: {service: authz.tools.svc.cluster.local, port: 9001}
- name: elsewhere
  envoyExtAuthzGrpc: {service: other/authz.tools.svc.cluster.local, port: 9000}
- name: metrics
  prometheus: {}
";

fn settings() -> String {
    let indented: String = PROVIDERS.trim().lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |-\n    extensionProviders:\n{indented}"
    )
}

fn policy(name: &str, provider: &str, rules: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: default}}\nspec: {{action: CUSTOM, provider: {{name: {provider}}}, rules: {rules}}}\n"
    )
}

fn made(policies: &str) -> Config {
    let world = world(&format!("{BOOKINFO}{SERVICE}{}{policies}", settings()), &["reviews/v1@3"]);
    config(&world, &sidecar("reviews/v1@3", 9080))
}

fn incoming(config: &Config) -> &Listener {
    config.listeners.values().find(|listener| listener.direction == Direction::Inbound).unwrap()
}

fn rules(compiled: &Option<std::sync::Arc<Compiled>>) -> String {
    let names = |rules: &std::sync::Arc<Compiled>| {
        let rules = rules.rules();
        let names: Vec<&str> = rules.policies.iter().map(|(name, _)| &**name).collect();
        format!("{} {}", rules.action, names.join(","))
    };
    compiled.as_ref().map_or_else(|| "-".to_owned(), names)
}

/// What is asked of requests, in words; and the filter that asks somebody.
fn asked(config: &Config) -> (Vec<String>, Option<ExtAuthz>) {
    let chain = incoming(config).chains.iter().find_map(|chain| match &chain.filter {
        NetworkFilter::Http(http) => Some(http),
        NetworkFilter::Tcp(_) => None,
    });
    let mut asks = None;
    let word = |filter: &HttpFilter| match filter {
        HttpFilter::Access(access) => Some(format!("rules {} shadow {}", rules(&access.rules), rules(&access.shadow))),
        HttpFilter::ExtAuthz(it) => {
            asks = Some((**it).clone());
            Some(format!("asks {}", it.service.cluster()))
        }
        _ => None,
    };
    (chain.unwrap().filters.iter().filter_map(word).collect(), asks)
}

#[test]
fn a_service_of_http_is_asked_as_it_is_written() {
    let made = made(&policy("p", "by-http", "[{to: [{operation: {paths: [/admin]}}]}]"));
    let (words, asks) = asked(&made);
    let cluster = "outbound|8000||authz.tools.svc.cluster.local";
    assert_eq!(
        words,
        [
            "rules - shadow DENY istio-ext-authz-by-http-ns[default]-policy[p]-rule[0]".to_owned(),
            format!("asks {cluster}")
        ]
    );
    assert!(made.clusters.contains_key(cluster));
    let asks = asks.unwrap();
    assert!(asks.fail_open && asks.reroute && asks.error_status == 503);
    let body = asks.body.unwrap();
    assert_eq!((body.max_bytes, body.partial, body.raw), (10, true, true));
    let allowed = |name: &str| asks.allowed.as_ref().unwrap().iter().any(|one| one.matches(name));
    let told: Vec<bool> = ["x-user", "x-own-b", "trace-id", "x-old", "x-other"].map(allowed).to_vec();
    assert_eq!(told, [true, true, true, false, false]);
    let Authorizer::Http(http) = &asks.service else { panic!("{asks:?}") };
    assert_eq!((http.timeout.as_secs(), &http.path), (2, &AskedPath::Prefixed("/check".into())));
    assert_eq!((http.headers[0].0.as_str(), http.headers[0].1.to_str().unwrap()), ("x-from", "mesh"));
    for (list, name) in [(&http.upstream, "x-subject"), (&http.client, "x-reason"), (&http.client_on_success, "x-told")]
    {
        assert!(list.len() == 1 && list[0].matches(name), "{name}");
    }
    // Connections are not told of by HTTP: nobody is asked, as in Istio.
    let raw = incoming(&made).chains.iter().filter(|chain| matches!(chain.filter, NetworkFilter::Tcp(_)));
    assert!(raw.into_iter().all(|chain| chain.access.is_empty()));
}

#[test]
fn a_service_of_grpc_is_asked_about_connections_too() {
    let made = made(&policy("p", "by-grpc", "[{}]"));
    let (words, asks) = asked(&made);
    assert_eq!(words[1], "asks outbound|9000||authz.tools.svc.cluster.local");
    let Authorizer::Grpc(grpc) = asks.unwrap().service else { panic!() };
    assert_eq!(grpc.service.authority.as_deref(), Some("outbound_.9000_._.authz.tools.svc.cluster.local"));
    assert_eq!(grpc.timeout.unwrap().as_secs(), 600);
    let raw = incoming(&made).chains.iter().find(|chain| matches!(chain.filter, NetworkFilter::Tcp(_))).unwrap();
    let [Guard::Rules(access), Guard::Service(asks)] = &raw.access[..] else { panic!("{:?}", raw.access) };
    assert_eq!(rules(&access.shadow), "DENY istio-ext-authz-by-grpc-ns[default]-policy[p]-rule[0]");
    assert!(access.rules.is_none());
    let condition = asks.enabled_by.as_ref().unwrap();
    assert_eq!(
        (&*condition.filter, &*condition.path[0]),
        ("envoy.filters.network.rbac", "istio_ext_authz_shadow_effective_policy_id")
    );
}

#[test]
fn who_cannot_be_asked_refuses() {
    for provider in ["unknown", "metrics", "nowhere", "no-port", "elsewhere"] {
        let (words, asks) = asked(&made(&policy("p", provider, "[{}]")));
        let name = format!("istio-ext-authz-{provider}-ns[default]-policy[p]-rule[0]-deny-due-to-bad-CUSTOM-action");
        assert_eq!((words, asks), (vec![format!("rules DENY {name} shadow -")], None), "{provider}");
    }
    let two = policy("p", "by-http", "[{}]") + &policy("q", "by-grpc", "[{}]");
    let (words, asks) = asked(&made(&two));
    assert!(words.len() == 1 && words[0].matches("bad-CUSTOM-action").count() == 2, "{words:?}");
    assert_eq!(asks, None);
}

#[test]
fn what_is_said_of_providers() {
    for (policies, expected) in [
        (policy("p", "by-http", "[{}]"), vec![]),
        (policy("p", "unknown", "[{}]"), vec!["the settings of the mesh name no such provider that decides"]),
        (policy("p", "nowhere", "[{}]"), vec!["its service `nobody.tools.svc.cluster.local` is not known"]),
        (policy("p", "no-port", "[{}]"), vec!["has no port 9001"]),
        (
            policy("p", "mute", "[{}]"),
            vec!["port 8000 of `authz.tools.svc.cluster.local` is declared to speak HTTP/1.1"],
        ),
        (
            policy("p", "by-http", "[{}]") + &policy("q", "by-grpc", "[{}]"),
            vec![
                "asks the provider `by-grpc` at the same workloads",
                "asks the provider `by-http` at the same workloads",
            ],
        ),
    ] {
        let world = world(&format!("{BOOKINFO}{SERVICE}{}{policies}", settings()), &["reviews/v1@3"]);
        let said: Vec<String> = translate::check(&world)
            .into_iter()
            .filter(|problem| problem.code == Code::ProviderNotAsked)
            .map(|problem| problem.to_string())
            .collect();
        assert_eq!(said.len(), expected.len(), "{said:#?}");
        assert!(said.iter().zip(&expected).all(|(said, part)| said.contains(part)), "{said:#?}");
    }
}

#[test]
fn providers_that_come_later_are_asked() {
    use translate::{Edit, World};
    let before = world(&format!("{BOOKINFO}{}{}", settings(), policy("p", "by-grpc", "[{}]")), &["reviews/v1@3"]);
    let made = |world: &World| asked(&config(world, &sidecar("reviews/v1@3", 9080))).0.len();
    assert_eq!(made(&before), 1);
    let service = api::parse("s.yaml", SERVICE).resources.remove(0);
    let edit = Edit { resources: vec![(None, Some(service))], ..Edit::default() };
    let (after, change) = before.next(edit);
    assert!(change.is_everything());
    assert_eq!(made(&after), 2);
}
