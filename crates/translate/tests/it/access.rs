//! AuthorizationPolicy: whom it concerns, what it becomes, and that it means what Istio says it does.

mod naive;
mod questions;
mod random;

use std::collections::BTreeMap;

use api::Spec;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use model::access::{Call, Names};
use model::metadata::{Fields, Metadata, Value};
use model::route::RequestView;
use translate::access::{Layer, Ports, Subject};
use translate::{Inputs, MeshSettings, World};

use naive::{Claim, Mesh, Plain};
use random::{Chance, Written};

fn world(text: &str, trust_domain: &str) -> World {
    let parsed = api::parse("p.yaml", text);
    let errors: Vec<_> = parsed.problems.iter().filter(|p| p.is_error()).map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{text}");
    let settings = MeshSettings { trust_domain: trust_domain.parse().unwrap(), ..MeshSettings::default() };
    World::new(Inputs { settings, resources: parsed.resources, ..Inputs::default() })
}

fn policy(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// What the layers of a workload say, in the order in which they are asked.
fn decide(layers: &[Layer], call: &Call<'_>) -> bool {
    layers.iter().filter_map(|layer| layer.rules.as_ref()).all(|rules| rules.decide(call).allowed)
}

fn value(claim: &Claim) -> Value {
    match claim {
        Claim::Text(text) => Value::Text(text.clone()),
        Claim::List(list) => Value::List(list.iter().cloned().map(Value::Text).collect()),
        Claim::Within(claims) => {
            Value::Fields(claims.iter().map(|(name, claim)| (name.clone(), value(claim))).collect())
        }
    }
}

/// Asks with a call that is what the plain words say.
fn asked(plain: &Plain, ask: impl FnOnce(&Call<'_>) -> bool) -> bool {
    let uris: Vec<String> =
        plain.identity.iter().map(|(domain, ns, sa)| format!("spiffe://{domain}/ns/{ns}/sa/{sa}")).collect();
    let mut headers = HeaderMap::new();
    let mut metadata = Metadata::default();
    let mut method = Method::GET;
    if let Some(http) = &plain.http {
        for (name, value) in &http.headers {
            headers.insert(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
        }
        let claims: Fields = http.claims.iter().map(|(name, claim)| (name.clone(), value(claim))).collect();
        if !claims.is_empty() {
            metadata.of("envoy.filters.http.jwt_authn").insert("payload".into(), Value::Fields(claims));
        }
        method = http.method.parse().unwrap();
    }
    let request = plain.http.as_ref().map(|http| RequestView {
        method: &method,
        headers: &headers,
        metadata: Some(&metadata),
        ..RequestView::get(&http.host, &http.path)
    });
    ask(&Call {
        request,
        peer: plain.identity.as_ref().map(|_| Names { uris: &uris, ..Names::default() }),
        direct_remote: plain.source,
        source: plain.source,
        remote: plain.remote,
        destination: (plain.destination, plain.port).into(),
        server_name: plain.sni.as_deref(),
    })
}

const TRUST_DOMAIN: &str = "td";

/// The policies as they are written, and as they are translated for requests and for connections.
fn read(policies: &[Written]) -> (Vec<api::istio::AuthorizationPolicy>, [Vec<Layer>; 2]) {
    let text = random::text(policies);
    let world = world(&text, TRUST_DOMAIN);
    let parsed = api::parse("p.yaml", &text);
    let written = parsed.resources.iter().filter_map(|resource| match &resource.spec {
        Spec::AuthorizationPolicy(policy) => Some((**policy).clone()),
        _ => None,
    });
    let subject =
        Subject { namespace: "default", labels: &BTreeMap::new(), is_gateway: false, account: None, services: &[] };
    (written.collect(), [false, true].map(|tcp| world.access_layers(subject, tcp, Ports::default())))
}

/// What both say.
fn both((written, layers): &(Vec<api::istio::AuthorizationPolicy>, [Vec<Layer>; 2]), plain: &Plain) -> (bool, bool) {
    let mesh = Mesh { trust_domain: TRUST_DOMAIN, policy_namespace: "default" };
    let layers = &layers[usize::from(plain.http.is_none())];
    (naive::allowed(written, plain, &mesh), asked(plain, |call| decide(layers, call)))
}

/// Leaves out policies, and then rules, as long as the two still disagree.
fn smallest(mut policies: Vec<Written>, plain: &Plain) -> Vec<Written> {
    let differ = |policies: &[Written]| {
        let (naive, translated) = both(&read(policies), plain);
        naive != translated
    };
    loop {
        let without_policy = (0..policies.len()).map(|i| {
            let mut fewer = policies.clone();
            fewer.remove(i);
            fewer
        });
        let without_rule = policies.iter().enumerate().flat_map(|(i, policy)| {
            let least = usize::from(policy.action != "ALLOW");
            let policies = &policies;
            (0..policy.rules.len()).filter(move |_| policy.rules.len() > least).map(move |rule| {
                let mut fewer = policies.clone();
                fewer[i].rules.remove(rule);
                fewer
            })
        });
        match without_policy.chain(without_rule).find(|fewer| differ(fewer)) {
            Some(fewer) => policies = fewer,
            None => return policies,
        }
    }
}

#[test]
fn a_hundred_thousand_policies_and_requests_mean_what_is_written() {
    let mut chance = Chance(20_261_122);
    let (mut allowed, mut refused) = (0_u32, 0_u32);
    for _ in 0..4_000 {
        let policies = random::policies(&mut chance);
        let made = read(&policies);
        for _ in 0..25 {
            let plain = random::call(&mut chance);
            let (naive, translated) = both(&made, &plain);
            if naive != translated {
                let least = smallest(policies, &plain);
                panic!("by the documentation {naive}, translated {translated}:\n{}\n{plain:#?}", random::text(&least));
            }
            if naive { allowed += 1 } else { refused += 1 }
        }
    }
    assert_eq!(allowed + refused, 100_000);
    assert!(allowed > 20_000 && refused > 20_000, "{allowed} allowed, {refused} refused");
}

#[test]
fn whom_a_policy_concerns() {
    let app = |value: &str| format!("{{selector: {{matchLabels: {{app: {value}}}}}}}");
    let target = "{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]}";
    let all = [
        policy("own", "default", "{}"),
        policy("labels", "default", &app("a")),
        policy("others", "default", &app("b")),
        policy("far", "other", "{}"),
        policy("root", "istio-system", "{}"),
        policy("root-labels", "istio-system", &app("a")),
        policy("target", "default", target),
        policy("service", "default", "{targetRef: {kind: Service, name: a}}"),
    ];
    let world = world(&all.concat(), "cluster.local");
    let gateway = [("app", "b"), ("gateway.networking.k8s.io/gateway-name", "edge")];
    for (namespace, own, is_gateway, expected) in [
        ("default", &[("app", "a")][..], false, &["own", "labels", "root", "root-labels"][..]),
        ("other", &[("app", "a")], false, &["far", "root", "root-labels"]),
        ("third", &[], false, &["root"]),
        ("default", &gateway, true, &["own", "others", "root", "target"]),
        ("default", &gateway, false, &["own", "others", "root"]),
    ] {
        let labels = labels(own);
        let subject = Subject { namespace, labels: &labels, is_gateway, account: None, services: &[] };
        let mut found = policies(&world, subject);
        let mut expected: Vec<String> = expected.iter().map(|name| (*name).to_owned()).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{namespace} {own:?}");
    }
}

/// The names of the policies from which a workload's rules are made.
fn policies(world: &World, subject: Subject<'_>) -> Vec<String> {
    let layers = world.access_layers(subject, false, Ports::default());
    let names = layers.iter().flat_map(|layer| layer.rules.as_ref().map(|rules| rules.policies.clone())).flatten();
    names.map(|(name, _)| name.split("policy[").nth(1).unwrap().split(']').next().unwrap().to_owned()).collect()
}

/// The layers of one policy, in Rust's words.
fn outline(spec: &str, tcp: bool) -> String {
    let world = world(&policy("p", "default", spec), "td");
    let subject =
        Subject { namespace: "default", labels: &BTreeMap::new(), is_gateway: false, account: None, services: &[] };
    format!("{:#?}", world.access_layers(subject, tcp, Ports::of(80, Some(8080))))
}

#[test]
fn what_policies_become() {
    let mut text = String::new();
    for spec in [
        "{}",
        "{rules: [{}]}",
        "{action: CUSTOM, provider: {name: opa}, rules: [{to: [{operation: {paths: [/admin*]}}]}]}",
        "{rules: [{from: [{source: {principals: [cluster.local/ns/a/sa/b, 'x/*', '*/sa/c', '*'], notNamespaces: ['a*']}}]}]}",
        "{rules: [{from: [{source: {serviceAccounts: [x.y, a/b], trustDomains: [td, 'o*']}}]}]}",
        "{rules: [{from: [{source: {requestPrincipals: ['iss/sub', '*'], notIpBlocks: [10.0.0.0/8], remoteIpBlocks: [1.2.3.4]}}]}]}",
        "{action: DENY, rules: [{to: [{operation: {hosts: ['A.b', '*.c', '*'], methods: [GET], notPaths: ['/a', '/b/{*}/{**}', '*.js'], ports: ['80', '8080', '81']}}]}]}",
        "{action: AUDIT, rules: [{when: [{key: 'request.headers[X-A]', values: ['*']}, {key: 'request.auth.claims[a][b]', values: [c]}, {key: connection.sni, notValues: ['*.d']}, {key: 'experimental.envoy.filters.network.mysql[db]', values: ['[x]', y]}]}]}",
    ] {
        text.push_str(&format!("# {spec}\n{}\n\n", outline(spec, false)));
    }
    insta::assert_snapshot!("access-rules", text);
}

#[test]
fn fields_of_http_on_connections() {
    let mut text = String::new();
    let rules = "rules: [{to: [{operation: {methods: [GET], ports: ['3306']}}]}, {from: [{source: {namespaces: [a], requestPrincipals: ['*']}}]}, {from: [{source: {namespaces: [b]}}]}]";
    for action in ["ALLOW", "DENY", "AUDIT"] {
        text.push_str(&format!("# {action}\n{}\n\n", outline(&format!("{{action: {action}, {rules}}}"), true)));
    }
    insta::assert_snapshot!("access-of-connections", text);
    // Nothing is left of the rules, and still nobody is allowed.
    let world = world(&policy("p", "default", "{rules: [{to: [{operation: {methods: [GET]}}]}]}"), "td");
    let subject =
        Subject { namespace: "default", labels: &BTreeMap::new(), is_gateway: false, account: None, services: &[] };
    let layers = world.access_layers(subject, true, Ports::default());
    assert_eq!(layers[0].rules.as_ref().map(|rules| rules.policies.len()), Some(0));
}

#[test]
fn what_is_only_tried() {
    let dry = |name: &str, action: &str| {
        policy(name, "default", &format!("{{action: {action}, rules: [{{}}]}}")).replacen(
            "namespace: default",
            "namespace: default, annotations: {istio.io/dry-run: 'true'}",
            1,
        )
    };
    let text =
        format!("{}{}{}", dry("a", "ALLOW"), dry("d", "DENY"), policy("e", "default", "{action: DENY, rules: [{}]}"));
    let world = world(&text, "td");
    let subject =
        Subject { namespace: "default", labels: &BTreeMap::new(), is_gateway: false, account: None, services: &[] };
    let layers = world.access_layers(subject, false, Ports::default());
    let count = |rules: &Option<std::sync::Arc<model::access::Rules>>| rules.as_ref().map(|rules| rules.policies.len());
    let found: Vec<_> =
        layers.iter().map(|layer| (layer.action.as_str(), count(&layer.rules), count(&layer.shadow))).collect();
    assert_eq!(found, [("DENY", Some(1), Some(1)), ("ALLOW", None, Some(1))]);
}

/// Chain by chain what is asked of requests and of connections: the actions in their order, with the number of policies.
fn asked_at(config: &model::Config, listener: impl Fn(&model::Listener) -> bool) -> Vec<String> {
    use model::access::Compiled;
    use model::http_proxy::HttpFilter;
    let word = |rules: &Option<std::sync::Arc<Compiled>>| match rules {
        Some(rules) => format!("{:?} {}", rules.rules().action, rules.rules().policies.len()),
        None => "nothing".to_owned(),
    };
    let of_chain = |chain: &model::FilterChain| {
        let guard = |guard: &model::Guard| match guard {
            model::Guard::Rules(access) => word(&access.rules),
            model::Guard::Service(asks) => format!("asks {}", asks.service.service.cluster),
        };
        let connections: Vec<String> = chain.access.iter().map(guard).collect();
        let requests: Vec<String> = match &chain.filter {
            model::NetworkFilter::Tcp(_) => Vec::new(),
            model::NetworkFilter::Http(http) => http
                .filters
                .iter()
                .map(|filter| match filter {
                    HttpFilter::Access(access) => word(&access.rules),
                    other => format!("{other:?}").chars().take_while(|c| c.is_alphanumeric()).collect(),
                })
                .collect(),
        };
        format!("{}: requests [{}] connections [{}]", chain.name, requests.join(", "), connections.join(", "))
    };
    let listeners = config.listeners.values().filter(|it| listener(it));
    listeners.flat_map(|listener| listener.chains.iter().map(of_chain)).collect()
}

#[test]
fn where_the_filters_stand() {
    use crate::mesh::{BOOKINFO, config, gateway, sidecar, world};
    let edge = include_str!("../../../../samples/bookinfo/mesh/gateway.yaml");
    let all = [
        policy("allow", "default", "{rules: [{to: [{operation: {methods: [GET]}}]}]}"),
        policy("deny", "istio-system", "{action: DENY, rules: [{to: [{operation: {ports: ['1']}}]}]}"),
        policy("audit", "default", "{action: AUDIT, rules: [{}]}"),
        policy("custom", "default", "{action: CUSTOM, provider: {name: a}, rules: [{}]}"),
        policy("other", "default", "{selector: {matchLabels: {app: ratings}}, action: DENY, rules: [{}]}"),
    ];
    let world = world(&format!("{BOOKINFO}\n---\n{edge}\n{}", all.concat()), &["reviews/v1@3"]);
    let made = config(&world, &sidecar("reviews/v1@3", 9080));
    let inbound = |listener: &model::Listener| listener.direction == model::Direction::Inbound;
    let requests = "requests [Deny 1, Log 1, Deny 1, Allow 1] connections []";
    // Of the rule on a method nothing is left for raw connections, and still it allows nobody.
    let connections = "requests [] connections [Deny 1, Log 1, Deny 1, Allow 0]";
    assert_eq!(
        asked_at(&made, inbound),
        [format!("mesh: {requests}"), format!("plain: {requests}"), format!("tls: {connections}")]
    );
    let outbound = asked_at(&made, |listener| !inbound(listener));
    assert!(outbound.iter().all(|chain| !chain.contains("Allow") && !chain.contains("Deny")), "{outbound:#?}");
    let at_gateway = asked_at(&config(&world, &gateway()), |_| true);
    let first = at_gateway.first().expect("a chain of the gateway");
    assert!(first.contains("requests [Deny 1, Log 1, Deny 1, Allow 1"), "{at_gateway:#?}");
}
