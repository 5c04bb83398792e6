//! TrafficExtensions and WasmPlugins: in which proxies they are, and where they stand among their filters.

use model::extension::{Script, WasmCode, WasmFailure};
use model::http_proxy::HttpFilter;
use model::{Config, Direction, NetworkFilter};
use translate::Node;

use crate::mesh::{BOOKINFO, config, gateway, sidecar, world};

const WORKLOADS: &[&str] = &["reviews/v1@2", "productpage/v1@4"];
const EDGE: &str = "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge}\nspec:\n  \
    selector: {istio: ingressgateway}\n  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]\n";
const RULES: &str = "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a}\nspec: {rules: [{}]}\n\
    ---\napiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: t}\n\
    spec: {jwtRules: [{issuer: i, jwks: '{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}'}]}\n";

fn lua(place: &str, spec: &str) -> String {
    let script = "lua: {inlineCode: \"function envoy_on_request(h) end\"}";
    format!(
        "---\napiVersion: extensions.istio.io/v1alpha1\nkind: TrafficExtension\nmetadata: {{{place}}}\nspec: {{{spec}{}{script}}}\n",
        if spec.is_empty() { "" } else { ", " }
    )
}

fn wasm(spec: &str) -> String {
    format!(
        "---\napiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {{name: w}}\nspec: {{{spec}}}\n"
    )
}

/// The kinds of filters of the first chain of HTTP.
fn order(config: &Config, direction: Direction, listener: &str) -> String {
    let mut listeners = config.listeners.values().filter(|it| it.direction == direction);
    let listener = listeners.find(|it| it.name.contains(listener)).expect("a listener");
    let http = listener.chains.iter().chain(&listener.default_chain).find_map(|chain| match &chain.filter {
        NetworkFilter::Http(http) => Some(http),
        NetworkFilter::Tcp(_) => None,
    });
    let name = |filter: &HttpFilter| match filter {
        HttpFilter::Lua(it) => it.name.to_string(),
        HttpFilter::Wasm(it) => it.name.to_string(),
        HttpFilter::Access(_) => "RULES".to_owned(),
        HttpFilter::Jwt(_) => "TOKENS".to_owned(),
        _ => "-".to_owned(),
    };
    http.expect("a chain of HTTP").filters.iter().map(name).collect::<Vec<_>>().join(" ")
}

#[test]
fn where_they_stand() {
    let page = sidecar("productpage/v1@4", 9080);
    let (page, edge) = ((&page, Direction::Inbound, ""), gateway());
    let edge = (&edge, Direction::Outbound, "");
    let calls = (page.0, Direction::Outbound, "0.0.0.0_9080");
    let root = "name: r, namespace: istio-system";
    for (documents, (node, direction, listener), expected) in [
        (lua("name: a", ""), page, "TOKENS RULES default.a"),
        (lua("name: a", "phase: STATS"), page, "TOKENS RULES default.a"),
        (lua("name: a", "phase: AUTHZ"), page, "TOKENS default.a RULES"),
        (lua("name: a", "phase: AUTHN"), page, "default.a TOKENS RULES"),
        (lua("name: a", "") + &lua("name: b", "priority: 1"), page, "TOKENS RULES default.b default.a"),
        (lua("name: a", "") + &lua("name: b", "phase: STATS"), page, "TOKENS RULES default.b default.a"),
        (lua("name: a", "phase: AUTHN"), calls, "default.a - -"),
        (lua(root, ""), page, "TOKENS RULES istio-system.r"),
        (lua("name: a, namespace: other", ""), page, "TOKENS RULES"),
        (lua("name: a", "selector: {matchLabels: {app: productpage}}"), page, "TOKENS RULES default.a"),
        (lua("name: a", "selector: {matchLabels: {app: reviews}}"), page, "TOKENS RULES"),
        (
            lua("name: a", "targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: g}]"),
            page,
            "TOKENS RULES",
        ),
        (lua("name: a", "match: [{mode: CLIENT}]"), page, "TOKENS RULES"),
        (lua("name: a", "match: [{mode: CLIENT}]"), calls, "default.a - -"),
        (lua("name: a", "match: [{mode: SERVER, ports: [{number: 9080}]}]"), page, "TOKENS RULES default.a"),
        (lua("name: a", "match: [{ports: [{number: 80}]}]"), page, "TOKENS RULES"),
        (
            lua("name: a", "match: [{ports: [{number: 80}]}, {mode: CLIENT, ports: [{number: 9080}]}]"),
            calls,
            "default.a - -",
        ),
        (lua(root, "match: [{mode: CLIENT}]"), edge, "TOKENS RULES istio-system.r - -"),
        (lua(root, "match: [{mode: SERVER}]"), edge, "TOKENS RULES - -"),
        (wasm("url: registry.example/m"), page, "TOKENS RULES default.w"),
        (wasm("url: registry.example/m, phase: AUTHN"), page, "default.w TOKENS RULES"),
        (wasm("url: registry.example/m, type: NETWORK"), page, "TOKENS RULES"),
    ] {
        let config = config(&world(&format!("{BOOKINFO}\n{EDGE}{RULES}{documents}"), WORKLOADS), node);
        assert_eq!(order(&config, direction, listener), expected, "{documents}");
    }
}

#[test]
fn stock_envoys_fetch_nothing() {
    for (spec, expected) in [
        ("url: registry.example/m", "RULES"),
        ("url: registry.example/m, failStrategy: FAIL_OPEN", ""),
        ("url: 'file:///m.wasm'", "default.w"),
    ] {
        let config = config(
            &world(&format!("{BOOKINFO}\n{}", wasm(spec)), WORKLOADS),
            &Node { ours: false, ..sidecar("productpage/v1@4", 9080) },
        );
        assert_eq!(order(&config, Direction::Inbound, ""), expected, "{spec}");
    }
}

#[test]
fn what_a_module_is() {
    let digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    for (spec, code) in [
        ("url: registry.example/m:1".to_owned(), "oci://registry.example/m:1 -".to_owned()),
        (
            format!("url: 'oci://registry.example/m:1', sha256: '{digest}'"),
            format!("oci://registry.example/m:1@sha256:{digest} -"),
        ),
        (
            format!("url: 'oci://registry.example/m@sha256:{digest}'"),
            format!("oci://registry.example/m@sha256:{digest} -"),
        ),
        (format!("url: 'https://a.example/m.wasm', sha256: '{digest}'"), format!("https://a.example/m.wasm {digest}")),
        ("url: 'file:///m.wasm'".to_owned(), "/m.wasm".to_owned()),
    ] {
        let more = "pluginName: root, pluginConfig: {b: 1, a: [x]}, failStrategy: FAIL_RELOAD, \
                    vmConfig: {env: [{name: A, value: b}, {name: C, valueFrom: HOST}]}";
        let world = world(&format!("{BOOKINFO}\n{}", wasm(&format!("{spec}, {more}"))), WORKLOADS);
        let config = config(&world, &sidecar("productpage/v1@4", 9080));
        let mut chains = config.listeners.values().flat_map(|it| &it.chains);
        let found = chains.find_map(|chain| match &chain.filter {
            NetworkFilter::Http(http) => http.filters.iter().find_map(|filter| match filter {
                HttpFilter::Wasm(it) => Some(it.clone()),
                _ => None,
            }),
            NetworkFilter::Tcp(_) => None,
        });
        let found = found.expect("a module");
        let place = match &found.code {
            WasmCode::Remote { uri, sha256, .. } => format!("{uri} {}", sha256.as_deref().unwrap_or("-")),
            WasmCode::File(path) => path.to_string(),
            WasmCode::Inline(_) => "inline".to_owned(),
        };
        assert_eq!(place, code);
        assert_eq!((&*found.root_id, &found.configuration[..]), ("root", br#"{"b":1,"a":["x"]}"#.as_slice()));
        assert_eq!(
            (found.environment.len(), &*found.host_environment[0], found.failure),
            (1, "C", WasmFailure::Reload)
        );
    }
}

#[test]
fn the_script_is_as_written() {
    let config =
        config(&world(&format!("{BOOKINFO}\n{}", lua("name: a", "")), WORKLOADS), &sidecar("productpage/v1@4", 9080));
    let listeners = config.listeners.values().flat_map(|it| &it.chains);
    let scripts = listeners.filter_map(|chain| match &chain.filter {
        NetworkFilter::Http(http) => http.filters.iter().find_map(|filter| match filter {
            HttpFilter::Lua(it) => it.script.clone(),
            _ => None,
        }),
        NetworkFilter::Tcp(_) => None,
    });
    let expected = Script::Text("function envoy_on_request(h) end".into());
    assert!(scripts.clone().count() > 1 && scripts.clone().all(|script| script == expected));
}
