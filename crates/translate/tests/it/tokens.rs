//! RequestAuthentication: whose tokens a proxy believes, and routes of gateways by their claims.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::http_proxy::HttpFilter;
use model::jwt::{JwtAuthentication, KeySource, Required, Requirement};
use model::{Config, NetworkFilter};
use translate::{FetchedKeys, Inputs, Node, World};

use super::mesh::{BOOKINFO, config, gateway, sidecar, world};

const KEYS: &str = r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}"#;

fn policy(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

fn rule(issuer: &str) -> String {
    format!("{{issuer: {issuer}, jwks: '{KEYS}'}}")
}

/// The filters for tokens, one for each HTTP chain, and how many HTTP chains there are.
fn filters(config: &Config) -> (Vec<Arc<JwtAuthentication>>, usize) {
    let chains = config.listeners.values().flat_map(|listener| &listener.chains);
    let (mut found, mut all) = (Vec::new(), 0);
    for chain in chains {
        let NetworkFilter::Http(http) = &chain.filter else { continue };
        all += 1;
        found.extend(http.filters.first().and_then(|filter| match filter {
            HttpFilter::Jwt(tokens) => Some(tokens.clone()),
            _ => None,
        }));
    }
    (found, all)
}

fn issuers(config: &Config) -> Vec<String> {
    let (found, _) = filters(config);
    let of = |tokens: &JwtAuthentication| {
        tokens.providers.iter().map(|(name, provider)| format!("{name} {}", provider.issuer)).collect()
    };
    found.first().map(|tokens| of(tokens)).unwrap_or_default()
}

#[test]
fn documents_that_apply() {
    let node = sidecar("reviews/v1@3", 9080);
    let mesh = policy("mesh", "istio-system", &format!("{{jwtRules: [{}]}}", rule("m")));
    let own = policy("own", "default", &format!("{{jwtRules: [{}, {}]}}", rule("z"), rule("a")));
    let selects = |app: &str, issuer: &str, namespace: &str| {
        policy(
            issuer,
            namespace,
            &format!("{{selector: {{matchLabels: {{app: {app}}}}}, jwtRules: [{}]}}", rule(issuer)),
        )
    };
    let (mine, theirs) = (selects("reviews", "s", "default"), selects("ratings", "t", "default"));
    let from_root = selects("reviews", "r", "istio-system");
    let elsewhere = policy("e", "other", &format!("{{jwtRules: [{}]}}", rule("e")));
    let of_target = policy(
        "g",
        "default",
        &format!(
            "{{targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: g}}], jwtRules: [{}]}}",
            rule("g")
        ),
    );
    let empty = policy("n", "default", "{}");
    for (documents, expected) in [
        (vec![], &[][..]),
        (vec![&mesh], &["origins-0 m"]),
        (vec![&own], &["origins-0 a", "origins-1 z"]),
        (
            vec![&mesh, &own, &mine, &theirs, &from_root, &elsewhere],
            &["origins-0 a", "origins-1 m", "origins-2 r", "origins-3 s", "origins-4 z"],
        ),
        (vec![&theirs, &elsewhere, &of_target, &empty], &[]),
    ] {
        let text: String = documents.iter().map(|d| d.as_str()).collect();
        let config = config(&world(&format!("{BOOKINFO}\n{text}"), &["reviews/v1@3"]), &node);
        assert_eq!(issuers(&config), expected, "{text}");
        let (found, _) = filters(&config);
        let inbound = config.listeners.values().filter(|l| l.direction == model::Direction::Inbound);
        let http = inbound.flat_map(|l| &l.chains).filter(|chain| matches!(chain.filter, NetworkFilter::Http(_)));
        let wanted = if expected.is_empty() { 0 } else { http.count() };
        assert_eq!(found.len(), wanted, "on what comes in by HTTP, and nowhere else: {text}");
    }
}

#[test]
fn what_is_required() {
    let of = |rules: &[&str]| {
        let rules: Vec<String> = rules.iter().map(|issuer| rule(issuer)).collect();
        let documents = policy("p", "default", &format!("{{jwtRules: [{}]}}", rules.join(", ")));
        let config = config(&world(&format!("{BOOKINFO}\n{documents}"), &[]), &sidecar("reviews/v1@3", 9080));
        let (found, _) = filters(&config);
        let Required::Own(requirement) = found[0].rules[0].requires.clone() else { panic!() };
        assert!(found[0].bypass_preflight);
        requirement
    };
    let p = |name: &str| Requirement::provider(name);
    let optional = |name: &str| Requirement::Any(vec![p(name), Requirement::AllowMissing]);
    assert_eq!(of(&["a"]), optional("origins-0"));
    let both = Requirement::All(vec![optional("origins-0"), optional("origins-1")]);
    assert_eq!(of(&["a", "b"]), Requirement::Any(vec![p("origins-0"), p("origins-1"), both]));
}

#[test]
fn everything_of_a_rule() {
    let spec = format!(
        "{{jwtRules: [{{issuer: a, audiences: [x], jwks: '{KEYS}', fromHeaders: [{{name: X-Token, prefix: 'T '}}], fromParams: [t], fromCookies: [c], outputPayloadToHeader: x-payload, outputClaimToHeaders: [{{header: x-sub, claim: a.b}}], forwardOriginalToken: true, spaceDelimitedClaims: [roles, scope]}}]}}"
    );
    let config =
        config(&world(&format!("{BOOKINFO}\n{}", policy("p", "default", &spec)), &[]), &sidecar("reviews/v1@3", 9080));
    let (found, _) = filters(&config);
    insta::assert_snapshot!("tokens-of-a-rule", format!("{:#?}", found[0]));
}

#[test]
fn fetched_keys() {
    let at = "https://keys.example.org/set";
    let discovered = "https://d.example.org/.well-known/openid-configuration";
    let documents = policy(
        "p",
        "default",
        &format!(
            "{{jwtRules: [{{issuer: a, jwksUri: '{at}'}}, {{issuer: 'https://d.example.org/'}}, {{issuer: z, jwksUri: '{at}', jwks: '{KEYS}'}}]}}"
        ),
    );
    let of = |sets: &[(&str, &str)]| {
        let had =
            |(uri, set): &(&str, &str)| ((*uri).to_owned(), FetchedKeys { set: Some((*set).into()), failure: None });
        let sets: BTreeMap<String, FetchedKeys> = sets.iter().map(had).collect();
        let parsed = api::parse("t.yaml", &format!("{BOOKINFO}\n{documents}"));
        let inputs = Inputs { resources: parsed.resources, key_sets: Arc::new(sets), ..Inputs::default() };
        let (found, _) = filters(&config(&World::new(inputs), &sidecar("reviews/v1@3", 9080)));
        let keys = found[0].providers.values().map(|provider| match &provider.keys {
            KeySource::Inline(keys) => keys.to_string(),
            KeySource::Remote(remote) => panic!("{remote:?}"),
        });
        keys.collect::<Vec<_>>()
    };
    let nobodys = of(&[(at, r#"{"keys":[{"kty":"X"}]}"#)]);
    assert!(nobodys[..2].iter().all(|set| set.contains("nobody") && api::istio::has_keys(set)), "{nobodys:?}");
    assert_eq!(of(&[]), nobodys, "keys that cannot be had, or not be used, fit no token, and Envoy takes the set");
    let [one, two] = ["b25l", "dHdv"].map(|key| KEYS.replace("c2VjcmV0", key));
    assert_eq!(of(&[(at, &one), (discovered, &two)]), [&one, &two, KEYS]);
    let inputs = Inputs {
        resources: api::parse("t.yaml", &documents).resources,
        key_sets: Arc::new([(at.to_owned(), FetchedKeys { set: None, failure: Some("nobody there".into()) })].into()),
        ..Inputs::default()
    };
    let problems: Vec<String> =
        translate::check(&World::new(inputs)).iter().map(|p| format!("{} {}", p.path, p.message)).collect();
    assert_eq!(problems, [format!("spec.jwtRules[0].jwksUri the keys at {at} cannot be fetched: nobody there")]);
}

fn edge(documents: &str) -> (Config, Node) {
    const GATEWAY: &str = "
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
";
    let node = gateway();
    (config(&world(&format!("{BOOKINFO}\n{GATEWAY}\n{documents}"), &["reviews/v1@3"]), &node), node)
}

#[test]
fn gateways_route_by_claims() {
    let documents = policy(
        "p",
        "default",
        &format!("{{selector: {{matchLabels: {{istio: ingressgateway}}}}, jwtRules: [{}]}}", rule("a")),
    ) + "
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec:
  hosts: ['*']
  gateways: [g]
  http:
  - match: [{headers: {'@request.auth.claims.groups': {exact: dev}, x-a: {exact: b}}}]
    route: [{destination: {host: reviews}}]
  - match: [{headers: {'@request.auth.claims[a.b][c]': {}}, withoutHeaders: {'@request.auth.claims.sub': {regex: 'm.*'}}}]
    route: [{destination: {host: details}}]
  - route: [{destination: {host: ratings}}]
";
    let (config, _) = edge(&documents);
    let (found, all) = filters(&config);
    assert_eq!((found.len(), all), (1, 1));
    assert!(found[0].providers.values().all(|provider| provider.reroute));
    let routes = &config.routes["http.80"].hosts[0].routes;
    assert_eq!(routes.len(), 3, "a rule that asks for claims alone is no end of the list");
    let asked: Vec<_> = routes.iter().map(|route| &route.matches.metadata).collect();
    insta::assert_snapshot!("claims-of-rules", format!("{asked:#?}"));
}
