//! LoginPolicies: the filters of gateways, how they reach the provider, their secrets, and what is warned about.

use std::sync::Arc;

use api::{Code, Resource};
use model::cluster::Transport;
use model::http_proxy::HttpFilter;
use model::matcher::HeaderMatch;
use model::oauth2::{ClientAuth, ForwardTokens};
use model::secret::SecretValue;
use model::{Config, NetworkFilter, OAuth2};
use translate::{Edit, FetchedKeys, Inputs, World};

use crate::mesh::{BOOKINFO, config, gateway, sidecar};

const INGRESS: &str = include_str!("../../../../samples/bookinfo/mesh/gateway.yaml");
const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: default}\nstringData: {client-secret: \"hush\\n\", empty: ''}\n";
const SEAL: &str = "login-seal://default/p";
const FOUND_AT: &str = "endpoints of https://login.example/.well-known/openid-configuration";

fn policy(spec: &str) -> String {
    format!(
        "apiVersion: halcyon.dev/v1alpha1\nkind: LoginPolicy\nmetadata: {{name: p, namespace: default}}\nspec: {{clientId: shop, clientSecret: {{name: s}}, {spec}}}\n"
    )
}

/// With what was found out and made.
fn world(documents: &[&str], known: &[(&str, Result<&str, &str>)]) -> World {
    let all = [&[BOOKINFO, INGRESS][..], documents].concat().join("\n---\n");
    let parsed = api::parse("test.yaml", &all);
    assert!(!parsed.has_errors(), "{:?}", parsed.problems);
    let fetched = |result: &Result<&str, &str>| match result {
        Ok(set) => FetchedKeys { set: Some((*set).into()), failure: None },
        Err(reason) => FetchedKeys { set: None, failure: Some((*reason).to_owned()) },
    };
    let key_sets = known.iter().map(|(at, result)| ((*at).to_owned(), fetched(result))).collect();
    World::new(Inputs { resources: parsed.resources, key_sets: Arc::new(key_sets), ..Inputs::default() })
}

const MADE: (&str, Result<&str, &str>) = (SEAL, Ok("12345 abcdef"));
const FOUND: (&str, Result<&str, &str>) =
    (FOUND_AT, Ok("https://login.example/authorize\nhttps://login.example/token\nhttps://login.example/end"));

fn logins(config: &Config) -> Vec<Arc<OAuth2>> {
    let chains = config.listeners.values().flat_map(|listener| &listener.chains);
    let first = chains.filter_map(|chain| match &chain.filter {
        NetworkFilter::Http(http) => http.filters.first(),
        NetworkFilter::Tcp(_) => None,
    });
    let login = |filter: &HttpFilter| if let HttpFilter::OAuth2(login) = filter { Some(login.clone()) } else { None };
    first.filter_map(login).collect()
}

fn secret(config: &Config, name: &str) -> Option<String> {
    match &config.secrets.get(name)?.value {
        SecretValue::Generic(bytes) => Some(String::from_utf8(bytes.clone()).unwrap()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_gateway_finds_the_provider_and_has_the_secrets() {
    let world = world(&[SECRET, &policy("issuer: 'https://login.example'")], &[MADE, FOUND]);
    let made = config(&world, &gateway());
    let [login] = &logins(&made)[..] else { panic!("{:?}", logins(&made)) };
    assert_eq!(login.authorization_endpoint, "https://login.example/authorize");
    assert_eq!(login.token_endpoint.uri, "https://login.example/token");
    assert_eq!(login.end_session.as_ref().unwrap().endpoint, "https://login.example/end");
    assert_eq!(login.forward, ForwardTokens::Identity(http::header::AUTHORIZATION));
    assert_eq!(login.redirect_uri.source(), "%REQ(:scheme)%://%REQ(:authority)%/oauth2/callback");
    // Nobody stands for the provider: the gateway looks its name up, and believes the authorities of its system.
    let cluster = &made.clusters[&login.token_endpoint.cluster];
    assert_eq!(&*cluster.name, "login|443|login.example");
    let Transport::Tls(tls) = &cluster.transport else { panic!("{cluster:?}") };
    assert_eq!((tls.sni.as_deref(), tls.validation.as_ref().unwrap().names.len()), (Some("login.example"), 1));
    let ClientAuth::Body(client) = &login.client_auth else { panic!("{login:?}") };
    assert_eq!((secret(&made, client), secret(&made, SEAL)), (Some("hush".into()), Some("abcdef".into())));
    // A sidecar lets nobody log in.
    let sidecar = config(&world, &sidecar("productpage/v1@2", 9080));
    assert!(logins(&sidecar).is_empty() && sidecar.secrets.keys().all(|name| !name.starts_with("login")));
    assert_eq!(translate::check(&world).iter().map(ToString::to_string).collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn a_service_of_the_provider_is_called_if_it_speaks_as_the_url_says() {
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\nspec: {hosts: [login.example], resolution: DNS, ports: [{number: 443, name: https, protocol: HTTPS}, {number: 80, name: http, protocol: HTTP}]}\n";
    let tls = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d}\nspec: {host: login.example, trafficPolicy: {tls: {mode: SIMPLE}}}\n";
    let spec = |scheme: &str| {
        policy(&format!(
            "authorizationEndpoint: 'https://login.example/a', tokenEndpoint: '{scheme}://login.example/t'"
        ))
    };
    for (documents, expected) in [
        (vec![entry, &spec("https")], "login|443|login.example"),
        (vec![entry, tls, &spec("https")], "outbound|443||login.example"),
        (vec![entry, &spec("http")], "outbound|80||login.example"),
        (vec![&*spec("http")], "login|80|login.example"),
    ] {
        let made = config(&world(&documents, &[MADE]), &gateway());
        let login = &logins(&made)[0];
        assert_eq!(&*login.token_endpoint.cluster, expected);
        assert!(made.clusters.contains_key(expected), "{expected}");
    }
}

#[test]
fn a_gateway_hears_of_what_it_needs_to_know() {
    let spec = "authorizationEndpoint: 'https://login.example/a', tokenEndpoint: 'https://login.example/t'";
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: other}\nspec: {hosts: [login.example], resolution: DNS, ports: [{number: 443, name: https, protocol: HTTPS}]}\n";
    let rule = |host: &str| {
        let rule = format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d, namespace: other}}\nspec: {{host: '{host}', trafficPolicy: {{tls: {{mode: SIMPLE}}}}}}\n"
        );
        api::parse("rule.yaml", &rule).resources
    };
    let known = |sets: &[(&str, &str)]| {
        let set = |text: &str| FetchedKeys { set: Some(text.into()), failure: None };
        Arc::new(sets.iter().map(|(at, text)| ((*at).to_owned(), set(text))).collect())
    };
    let world = world(&[SECRET, entry, &policy(spec)], &[MADE]);
    let added = |resource: Arc<Resource>| Edit { resources: vec![(None, Some(resource))], ..Edit::default() };
    let secret = api::parse("s.yaml", &SECRET.replace("hush", "other")).resources[0].clone();
    let old = api::parse("s.yaml", SECRET).resources[0].clone();
    for (what, edit) in [
        ("a rule for its provider", added(rule("login.example")[0].clone())),
        ("a rule for several hosts", added(rule("*.example")[0].clone())),
        ("another secret of its cookies", Edit { key_sets: Some(known(&[(SEAL, "1 other")])), ..Edit::default() }),
        ("another secret of the client", Edit { resources: vec![(Some(old), Some(secret))], ..Edit::default() }),
    ] {
        let (next, change) = world.next(edit);
        let own = [&world, &next].map(|world| translate::own(world, &gateway(), &[]));
        assert_ne!(own[0], own[1], "{what}");
        assert!(change.concerns_own(&gateway()), "{what}: {change:?}");
        assert!(!change.is_everything(), "{what}");
    }
}

#[test]
fn nobody_passes_while_something_is_not_known() {
    for known in [vec![MADE], vec![MADE, (FOUND_AT, Err("no answer"))], vec![FOUND]] {
        let made = config(&world(&[SECRET, &policy("issuer: 'https://login.example'")], &known), &gateway());
        let login = &logins(&made)[0];
        assert!(login.secrets().any(|name| secret(&made, name).is_none()), "{known:?}: {login:?}");
    }
}

#[test]
fn what_needs_no_login() {
    let passes = |spec: &str, authority: &str, path: &str| {
        let made =
            config(&world(&[&policy(&format!("issuer: 'https://login.example', {spec}"))], &[MADE, FOUND]), &gateway());
        let headers = http::HeaderMap::new();
        let request = model::route::RequestView {
            method: &http::Method::GET,
            scheme: "https",
            authority,
            path,
            query: None,
            headers: &headers,
            metadata: None,
        };
        let met = |condition: &HeaderMatch| model::route::header_matches(condition, &request);
        logins(&made)[0].pass_through.iter().any(met)
    };
    let hosts = "hosts: [shop.example, '*.shop.example']";
    for (authority, expected) in [
        ("shop.example", false),
        ("SHOP.example:8443", false),
        ("shop.example.", false),
        ("a.b.shop.example", false),
        ("xshop.example", true),
        ("shop.example.org", true),
    ] {
        assert_eq!(passes(hosts, authority, "/"), expected, "{authority}");
    }
    assert!(passes("passThrough: {paths: ['/static/*']}", "a", "/static/b"));
    assert!(!passes("passThrough: {paths: ['/static/*']}", "a", "/secret"));
}

#[test]
fn warnings() {
    let found = |documents: &[&str], known: &[(&str, Result<&str, &str>)]| {
        let problems = translate::check(&world(documents, known));
        let own = problems.iter().filter(|problem| problem.code == Code::LoginNotPossible);
        own.map(|problem| format!("{}: {}", problem.path, problem.message)).collect::<Vec<_>>()
    };
    let issuer = "issuer: 'https://login.example'";
    let wide = policy(issuer);
    assert_eq!(found(&[&wide], &[]), ["spec.clientSecret: there is no Secret `s` in the namespace of the gateway"]);
    let key = "apiVersion: halcyon.dev/v1alpha1\nkind: LoginPolicy\nmetadata: {name: p, namespace: default}\nspec: {clientId: shop, clientSecret: {name: s, key: empty}, issuer: 'https://login.example'}\n";
    assert_eq!(found(&[SECRET, key], &[]), ["spec.clientSecret: the Secret `s` has no key `empty`"]);
    assert_eq!(
        found(&[SECRET, &wide], &[(FOUND_AT, Err("no answer"))]),
        ["spec.issuer: where people log in cannot be found: no answer"]
    );
    assert_eq!(
        found(&[SECRET, &policy(&format!("{issuer}, selector: {{matchLabels: {{app: nobody}}}}"))], &[]),
        ["spec.selector: it is for no Gateway: nobody has to log in"]
    );
    let rule = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: r, namespace: default}\nspec: {hosts: [a.example], gateways: [bookinfo-gateway], http: [{match: [{uri: {exact: /out}}], route: [{destination: {host: reviews}}]}]}\n";
    assert_eq!(
        found(&[SECRET, rule, &policy(&format!("{issuer}, logoutPath: /out"))], &[]),
        ["spec.logoutPath: `/out` is a path of the VirtualService `r`, too"]
    );
}
