//! PeerAuthentication: the mode of a port, and the chains it makes.

use std::sync::Arc;

use translate::{Inputs, Mode, Workload, World};

use super::mesh::{BOOKINFO, config, sidecar, workload, world};
use super::outline;

fn policy(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

#[test]
fn the_narrowest_policy_decides() {
    let mesh = policy("mesh", "istio-system", "{mtls: {mode: STRICT}}");
    let namespace = policy("ns", "default", "{mtls: {mode: DISABLE}}");
    let unset = policy("ns", "default", "{mtls: {mode: UNSET}}");
    let workload = policy("w", "default", "{selector: {matchLabels: {app: reviews}}, mtls: {mode: PERMISSIVE}}");
    let port = policy(
        "w",
        "default",
        "{selector: {matchLabels: {app: reviews}}, mtls: {mode: PERMISSIVE}, portLevelMtls: {9080: {mode: STRICT}}}",
    );
    let root_selector = policy("r", "istio-system", "{selector: {matchLabels: {app: reviews}}, mtls: {mode: DISABLE}}");
    let older = policy("a", "default", "{mtls: {mode: STRICT}}");
    for (documents, expected) in [
        (vec![], Mode::Permissive),
        (vec![&mesh], Mode::Strict),
        (vec![&mesh, &namespace], Mode::Disable),
        (vec![&mesh, &unset], Mode::Strict),
        (vec![&mesh, &namespace, &workload], Mode::Permissive),
        (vec![&mesh, &port], Mode::Strict),
        (vec![&root_selector], Mode::Permissive),
        (vec![&namespace, &older], Mode::Strict),
    ] {
        let text: String = documents.iter().map(|d| d.as_str()).collect();
        let mode = world(&text, &[]).mutual_tls(&sidecar("reviews/v1@3", 9080), 9080);
        assert_eq!(mode, expected, "{text}");
    }
}

#[test]
fn clients_know_where_tls_is_turned_off() {
    let of_port = "{selector: {matchLabels: {app: reviews}}, portLevelMtls: {9080: {mode: DISABLE}}}";
    for (spec, expected) in [("{mtls: {mode: STRICT}}", true), ("{mtls: {mode: DISABLE}}", false), (of_port, false)] {
        let documents = format!("{BOOKINFO}\n{}", policy("p", "default", spec));
        let config = config(&world(&documents, &["reviews/v1@3"]), &sidecar("productpage/v1@2", 9080));
        let set = &config.endpoints["outbound|9080||reviews.default.svc.cluster.local"];
        assert_eq!(set.iter().map(|e| e.mesh_tls).collect::<Vec<_>>(), [expected], "{spec}");
    }
}

#[test]
fn a_port_beside_the_sidecar() {
    for (beside, expected) in [(9080, false), (9081, true)] {
        let reviews = Workload { beside: [beside].into(), ..workload("reviews/v1@3") };
        let parsed = api::parse("test.yaml", BOOKINFO);
        let workloads = vec![Arc::new(reviews)];
        let world = World::new(Inputs { resources: parsed.resources, workloads, ..Inputs::default() });
        let config = config(&world, &sidecar("productpage/v1@2", 9080));
        let set = &config.endpoints["outbound|9080||reviews.default.svc.cluster.local"];
        assert_eq!(set.iter().map(|e| e.mesh_tls).collect::<Vec<_>>(), [expected], "{beside}");
    }
}

#[test]
fn chains() {
    let mut text = String::new();
    for mode in ["DISABLE", "PERMISSIVE", "STRICT"] {
        for port_name in ["http", "tcp", "unknown"] {
            let bookinfo = BOOKINFO.replace("name: http", &format!("name: {port_name}"));
            let all = format!("{bookinfo}\n{}", policy("p", "default", &format!("{{mtls: {{mode: {mode}}}}}")));
            let config = config(&world(&all, &["reviews/v1@3"]), &sidecar("reviews/v1@3", 9080));
            let outline = outline::listeners(&config);
            let inbound: String = outline
                .split_inclusive('\n')
                .skip_while(|l| !l.starts_with("inbound"))
                .enumerate()
                .take_while(|(i, l)| *i == 0 || l.starts_with("  "))
                .map(|(_, l)| l)
                .collect();
            text.push_str(&format!("{mode} {port_name}\n{inbound}\n"));
        }
    }
    insta::assert_snapshot!("inbound-chains", text);
}

#[test]
fn requests_to_the_program_are_tried_again() {
    use model::http_proxy::RouteSource;
    use model::route::Action;
    let world = world(BOOKINFO, &["reviews/v1@3"]);
    let made = config(&world, &sidecar("reviews/v1@3", 9080));
    let chains = made.listeners.values().flat_map(|l| &l.chains);
    let tables = chains.filter_map(|chain| match &chain.filter {
        model::NetworkFilter::Http(http) => Some(http),
        model::NetworkFilter::Tcp(_) => None,
    });
    let mut found = 0;
    for http in tables {
        let RouteSource::Inline(table) = &http.routes else { continue };
        let Action::Forward(forward) = &table.hosts[0].routes[0].action else { panic!("{table:?}") };
        assert_eq!(forward.retry, Some(model::RetryPolicy::istio_inbound()));
        found += 1;
    }
    assert!(found > 0);
}
