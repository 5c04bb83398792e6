//! What analysis finds: one document set for each code, and sets in which it must find nothing.

use std::sync::Arc;

use api::{Code, Problem, Resource};
use translate::{Inputs, World};

use super::mesh::BOOKINFO;

/// `CODE Kind/namespace/name path: message` of everything that analysis finds beside the codes of the setting.
fn analyze(documents: &str) -> Vec<String> {
    let parsed = api::parse("test.yaml", documents);
    let errors: Vec<_> = parsed.problems.iter().filter(|p| p.is_error()).map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let resources: Vec<Arc<Resource>> = parsed.resources;
    let world = World::new(Inputs { resources: resources.clone(), ..Inputs::default() });
    let found = parsed.problems.into_iter().map(translate::by_code).chain(translate::analyze(&world, &resources));
    let told = |p: &Problem| !matches!(p.code, Code::NotEnforced | Code::SchemaWarning);
    let of = |p: &Problem| p.resource.as_ref().map_or_else(String::new, ToString::to_string);
    let line = |p: Problem| format!("{} {} {}: {}", p.code, of(&p), p.path, without_lines(&p.message));
    found.filter(told).map(line).collect()
}

/// Line numbers are those of the setting: `test.yaml:12` becomes `test.yaml:_`.
fn without_lines(message: &str) -> String {
    let mut parts = message.split("test.yaml:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + "test.yaml:_" + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

fn check(documents: &str, expected: &[&str]) {
    assert_eq!(analyze(&format!("{BOOKINFO}\n---\n{documents}")), expected, "{documents}");
}

fn rule(name: &str, spec: &str) -> String {
    format!("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n")
}

#[test]
fn what_works_is_not_complained_about() {
    let rules = ["all-v1", "gateway", "reviews-80-20", "strict-mtls"];
    for name in rules {
        let path = format!("{}/../../samples/bookinfo/mesh/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        let subsets = include_str!("../../../../samples/bookinfo/mesh/destination-rules.yaml");
        let found = analyze(&format!("{BOOKINFO}\n---\n{}\n---\n{subsets}", std::fs::read_to_string(path).unwrap()));
        // Subsets that nothing is deployed for, and no rule names.
        let others: Vec<_> = found.iter().filter(|line| !line.starts_with("IST0173")).collect();
        assert_eq!(others, Vec::<&String>::new(), "{name}");
    }
}

#[test]
fn references() {
    check(
        &rule("r", "{hosts: [reviews], gateways: [nowhere], http: [{route: [{destination: {host: absent}}]}]}"),
        &[
            "IST0101 VirtualService/default/r spec.gateways[0]: the gateway `nowhere` is not known",
            "IST0101 VirtualService/default/r spec.http[0].route[0].destination.host: no service has the host `absent` (that is `absent.default.svc.cluster.local`)",
        ],
    );
    let two_ports = "apiVersion: v1\nkind: Service\nmetadata: {name: two}\nspec: {ports: [{name: http-a, port: 80}, {name: http-b, port: 81}]}\n---\n";
    check(
        &format!("{two_ports}{}", rule("r", "{hosts: [two], http: [{route: [{destination: {host: two}}]}]}")),
        &[
            "IST0112 VirtualService/default/r spec.http[0].route[0].destination.port: `two.default.svc.cluster.local` has several ports, and the destination says none",
        ],
    );
    let hidden = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: other}\nspec: {hosts: [a.example.org], exportTo: ['.'], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}\n---\n";
    check(
        &format!(
            "{hidden}{}",
            rule("r", "{hosts: [reviews], http: [{route: [{destination: {host: a.example.org}}]}]}")
        ),
        &[
            "IST0101 VirtualService/default/r spec.http[0].route[0].destination.host: the service `a.example.org` is not exported to the namespace `default`",
        ],
    );
    check(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d}\nspec: {host: absent}",
        &[
            "IST0174 DestinationRule/default/d spec.host: no service has the host `absent` (that is `absent.default.svc.cluster.local`)",
        ],
    );
    check(
        "apiVersion: halcyon.dev/v1alpha1\nkind: ServicePolicy\nmetadata: {name: p}\nspec: {host: absent, healthCheck: {tcp: {}}}",
        &[
            "HAL0006 ServicePolicy/default/p spec.host: no service has the host `absent` (that is `absent.default.svc.cluster.local`)",
        ],
    );
}

#[test]
fn hosts() {
    let to = "http: [{route: [{destination: {host: reviews}}]}]";
    check(
        &format!(
            "{}{}",
            rule("a", &format!("{{hosts: [reviews], {to}}}")),
            rule("b", &format!("{{hosts: [reviews.default.svc.cluster.local], {to}}}"))
        ),
        &[
            "IST0109 VirtualService/default/a spec.hosts[0]: the host `reviews.default.svc.cluster.local` has rules in `VirtualService/default/b` (test.yaml:_) too",
            "IST0109 VirtualService/default/b spec.hosts[0]: the host `reviews.default.svc.cluster.local` has rules in `VirtualService/default/a` (test.yaml:_) too",
        ],
    );
    let gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.example.org]}]}\n---\n";
    check(
        &format!("{gateway}{}", rule("a", &format!("{{hosts: [blog.example.org], gateways: [g], {to}}}"))),
        &["IST0132 VirtualService/default/a spec.gateways[0]: the gateway `g` opens none of the hosts of these rules"],
    );
    check(&format!("{gateway}{}", rule("a", &format!("{{hosts: ['*.example.org'], gateways: [g], {to}}}"))), &[]);
    let split = "http: [{route: [{destination: {host: reviews, subset: v1}}]}]";
    let subsets = include_str!("../../../../samples/bookinfo/mesh/destination-rules.yaml");
    check(
        &format!(
            "{subsets}\n---\n{gateway}{}{}",
            rule("a", &format!("{{hosts: [reviews], {split}}}")),
            rule("b", &format!("{{hosts: [shop.example.org], gateways: [g], {to}}}"))
        ),
        &[
            "IST0140 VirtualService/default/b spec.http[0].route[0].destination: the subsets that `VirtualService/default/a` chooses do not count here",
            "IST0173 DestinationRule/default/details spec.subsets[1].labels: the subset `v2` selects no workload of `details.default.svc.cluster.local`",
            "IST0173 DestinationRule/default/ratings spec.subsets[1].labels: the subset `v2` selects no workload of `ratings.default.svc.cluster.local`",
        ],
    );
}

#[test]
fn reach() {
    let to = "route: [{destination: {host: reviews}}]";
    check(
        &rule(
            "r",
            &format!(
                "{{hosts: [reviews], http: [{{match: [{{uri: {{prefix: /a}}}}], {to}}}, {{match: [{{uri: {{exact: /a/b}}, method: {{exact: GET}}}}], {to}}}]}}"
            ),
        ),
        &[
            "IST0130 VirtualService/default/r spec.http[1]: this rule is never reached: earlier rules take all of its matches",
            "IST0131 VirtualService/default/r spec.http[1].match[0]: this is never reached: all of it goes to spec.http[0].match[0]",
        ],
    );
    for narrower in
        ["uri: {prefix: /ab}", "method: {exact: GET}", "uri: {regex: /a.*}", "uri: {exact: /b}, headers: {x: {}}"]
    {
        let wide = if narrower.starts_with("uri: {prefix") { "{prefix: /abc}" } else { "{exact: /a}" };
        check(
            &rule(
                "r",
                &format!(
                    "{{hosts: [reviews], http: [{{match: [{{uri: {wide}}}], {to}}}, {{match: [{{{narrower}}}], {to}}}]}}"
                ),
            ),
            &[],
        );
    }
}

#[test]
fn gateways_and_certificates() {
    let gateway = |name: &str, port: u16, tls: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\nspec: {{selector: {{istio: ingressgateway}}, servers: [{{port: {{number: {port}, name: https, protocol: HTTPS}}, hosts: [a.example.org], tls: {tls}}}]}}\n---\n"
        )
    };
    let secret =
        |data: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: cert}}\nstringData: {data}\n---\n");
    let good = secret("{tls.crt: '-----BEGIN CERTIFICATE-----', tls.key: '-----BEGIN PRIVATE KEY-----'}");
    let tls = "{mode: SIMPLE, credentialName: cert}";
    check(&format!("{good}{}", gateway("a", 443, tls)), &[]);
    check(
        &gateway("a", 443, tls),
        &["IST0101 Gateway/default/a spec.servers[0].tls.credentialName: there is no Secret `cert`"],
    );
    check(
        &format!("{}{}", secret("{tls.crt: no}"), gateway("a", 443, tls)),
        &[
            "IST0161 Gateway/default/a spec.servers[0].tls.credentialName: the Secret `cert` holds no certificate with its key in PEM",
        ],
    );
    let mutual = gateway("a", 443, "{mode: MUTUAL, credentialName: cert, caCertCredentialName: roots}");
    check(
        &format!("{good}{mutual}"),
        &[
            "IST0101 Gateway/default/a spec.servers[0].tls.caCertCredentialName: there is no Secret or ConfigMap `roots` with `ca.crt`",
        ],
    );
    let roots = secret("{ca.crt: x}").replace("name: cert", "name: roots");
    check(&format!("{good}{mutual}\n{roots}"), &[]);
    let map = |place: &str, data: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{{place}}}\ndata: {data}\n---\n")
    };
    check(&format!("{good}{mutual}{}", map("name: roots", "{ca.crt: x}")), &[]);
    assert_eq!(analyze(&format!("{good}{mutual}{}", map("name: roots", "{ca.crl: x}"))).len(), 1);
    let whole = mutual.replace("Name: roots", "Name: 'configmap://other/roots'");
    check(&format!("{good}{whole}{}", map("name: roots, namespace: other", "{cacert: x}")), &[]);
    check(
        &format!("{good}{whole}{}", map("name: roots", "{ca.crt: x}")),
        &[
            "IST0101 Gateway/default/a spec.servers[0].tls.caCertCredentialName: there is no ConfigMap `other/roots` with `ca.crt`",
        ],
    );
    check(
        &format!("{good}{}{}", gateway("a", 443, tls), gateway("b", 8443, tls)),
        &[
            "IST0138 Gateway/default/a spec.servers[0].tls: the Gateway `Gateway/default/b` shows the certificate `cert` too",
            "IST0138 Gateway/default/b spec.servers[0].tls: the Gateway `Gateway/default/a` shows the certificate `cert` too",
        ],
    );
    let codes = |documents: &str| -> Vec<String> {
        analyze(documents).iter().map(|line| line.split(" spec").next().unwrap().to_owned()).collect()
    };
    let both =
        format!("{good}{}{}", gateway("a", 443, tls), gateway("b", 443, "{mode: SIMPLE, credentialName: cert2}"));
    assert_eq!(
        codes(&both),
        ["IST0145 Gateway/default/b", "IST0145 Gateway/default/a", "IST0101 Gateway/default/b"],
        "both sides of a clash are told"
    );
}

#[test]
fn selection() {
    check(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: d}\nspec: {host: reviews, subsets: [{name: v9, labels: {version: v9}}, {name: v1, labels: {version: v1}}]}",
        &[
            "IST0173 DestinationRule/default/d spec.subsets[0].labels: the subset `v9` selects no workload of `reviews.default.svc.cluster.local`",
        ],
    );
    let sidecar = |name: &str, selector: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: {name}}}\nspec: {{{selector} egress: [{{hosts: ['./*']}}]}}\n---\n"
        )
    };
    let of = |labels: &str| format!("workloadSelector: {{labels: {labels}}},");
    check(
        &format!("{}{}", sidecar("a", ""), sidecar("b", "")),
        &[
            "IST0111 Sidecar/default/a : the namespace `default` has other Sidecars without a selector: `Sidecar/default/b` (test.yaml:_)",
            "IST0111 Sidecar/default/b : the namespace `default` has other Sidecars without a selector: `Sidecar/default/a` (test.yaml:_)",
        ],
    );
    check(
        &format!(
            "{}{}{}",
            sidecar("a", &of("{app: reviews}")),
            sidecar("b", &of("{app: reviews, version: v1}")),
            sidecar("c", &of("{app: absent}"))
        ),
        &[
            "IST0110 Sidecar/default/a spec.workloadSelector.labels: other Sidecars select the same workloads: `Sidecar/default/b` (test.yaml:_)",
            "IST0110 Sidecar/default/b spec.workloadSelector.labels: other Sidecars select the same workloads: `Sidecar/default/a` (test.yaml:_)",
            "IST0101 Sidecar/default/c spec.workloadSelector.labels: no workload of the namespace `default` has `app=absent`",
        ],
    );
    let by_namespace = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\nspec: {rules: [{from: [{source: {namespaces: [absent, default, 'a*']}}]}]}";
    check(
        by_namespace,
        &[
            "IST0101 AuthorizationPolicy/default/p spec.rules[0].from[0].source.namespaces[0]: there is no namespace `absent`",
        ],
    );
    check(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\nspec: {selector: {matchLabels: {app: absent}}}",
        &["IST0127 AuthorizationPolicy/default/p spec.selector.matchLabels: no workload has `app=absent`"],
    );
}

fn access(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n---\n"
    )
}

#[test]
fn policies_on_access() {
    check(
        &access("all", "istio-system", "{}"),
        &[
            "HAL0008 AuthorizationPolicy/istio-system/all spec: no workload of the mesh takes any request or connection that no other policy allows: this one stands in the root namespace, selects everything and has no rule",
        ],
    );
    check(
        &access("all", "istio-system", "{action: DENY, rules: [{}]}"),
        &[
            "HAL0008 AuthorizationPolicy/istio-system/all spec: every request and connection of the mesh is refused, and no other policy can allow one: this one stands in the root namespace, selects everything and has a rule without conditions",
        ],
    );
    for harmless in [
        access("p", "default", "{}"),
        access("p", "istio-system", "{selector: {matchLabels: {app: reviews}}}"),
        access("p", "istio-system", "{rules: [{from: [{source: {notNamespaces: [default]}}]}]}"),
        access("p", "istio-system", "{}")
            .replace("namespace: istio-system", "namespace: istio-system, annotations: {istio.io/dry-run: 'true'}"),
        access(
            "p",
            "default",
            "{rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/bookinfo-reviews], serviceAccounts: []}}]}]}",
        ),
        access("p", "default", "{rules: [{from: [{source: {serviceAccounts: [bookinfo-reviews]}}]}]}"),
        access("p", "default", "{targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: absent}]}"),
    ] {
        check(&harmless, &[]);
    }
    check(
        &access(
            "p",
            "default",
            "{rules: [{to: [{operation: {methods: [GET], notMethods: [GET, PUT]}}], when: [{key: source.ip, values: [::1], notValues: [::1]}]}]}",
        ),
        &[
            "HAL0009 AuthorizationPolicy/default/p spec.rules[0].to[0].operation.methods: whatever `methods` asks for is excluded beside it: this is never met",
            "HAL0009 AuthorizationPolicy/default/p spec.rules[0].when[0].values: whatever `values` asks for is excluded beside it: this is never met",
        ],
    );
    check(
        &access(
            "p",
            "default",
            "{rules: [{from: [{source: {principals: [td/ns/default/sa/bookinfo-reviews, 'td/*', '*/sa/x']}}]}]}",
        ),
        &[
            "HAL0009 AuthorizationPolicy/default/p spec.rules[0].from[0].source.principals[0]: nobody in the mesh has an identity of the trust domain `td`",
        ],
    );
    check(
        &access(
            "p",
            "default",
            "{rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/absent, cluster.local/ns/gone/sa/a]}}], when: [{key: source.serviceAccount, values: [bookinfo-absent]}, {key: source.namespace, notValues: [nowhere]}]}]}",
        ),
        &[
            "IST0101 AuthorizationPolicy/default/p spec.rules[0].when[1].notValues[0]: there is no namespace `nowhere`",
            "IST0101 AuthorizationPolicy/default/p spec.rules[0].from[0].source.principals[0]: nothing in the namespace `default` runs as `absent`",
            "IST0101 AuthorizationPolicy/default/p spec.rules[0].from[0].source.principals[1]: there is no namespace `gone`",
            "IST0101 AuthorizationPolicy/default/p spec.rules[0].when[0].values[0]: nothing in the namespace `default` runs as `bookinfo-absent`",
        ],
    );
    let database = "apiVersion: v1\nkind: Service\nmetadata: {name: db}\nspec: {selector: {app: ratings}, ports: [{name: tcp, port: 3306}]}\n---\n";
    let with_method = |ports: &str| {
        format!(
            "{database}{}",
            access(
                "p",
                "default",
                &format!(
                    "{{selector: {{matchLabels: {{app: ratings}}}}, action: DENY, rules: [{{to: [{{operation: {{methods: [GET]{ports}}}}}]}}]}}"
                )
            )
        )
    };
    check(
        &with_method(""),
        &[
            "HAL0010 AuthorizationPolicy/default/p spec.rules[0].to[0].operation.methods: `to[0].operation.methods` has no meaning for connections to port 3306 of db.default.svc.cluster.local, which is raw TCP",
        ],
    );
    check(&with_method(", ports: ['9080']"), &[]);
    check(&with_method(", notPorts: ['3306']"), &[]);
}

#[test]
fn services() {
    let service = |name: &str, ports: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{selector: {{app: reviews}}, ports: [{ports}]}}\n---\n"
        )
    };
    check(
        &service("odd", "{name: web, port: 9080}"),
        &["IST0118 Service/default/odd spec.ports[0].name: the name `web` of port 9080 does not tell its protocol"],
    );
    check(
        &service("odd", "{name: http, port: 80, targetPort: 9080}"),
        &[
            "IST0137 Deployment/default/reviews-v1 : its services lead from the ports 80 and 9080 to port 9080: `Service/default/reviews` (test.yaml:_) and `Service/default/odd` (test.yaml:_)",
            "IST0137 Deployment/default/reviews-v2 : its services lead from the ports 80 and 9080 to port 9080: `Service/default/reviews` (test.yaml:_) and `Service/default/odd` (test.yaml:_)",
            "IST0137 Deployment/default/reviews-v3 : its services lead from the ports 80 and 9080 to port 9080: `Service/default/reviews` (test.yaml:_) and `Service/default/odd` (test.yaml:_)",
        ],
    );
    check(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\nspec: {hosts: [reviews.default.svc.cluster.local], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}",
        &[
            "HAL0003 ServiceEntry/default/e : `Service/default/reviews` defines a service of the host `reviews.default.svc.cluster.local` already",
        ],
    );
}

#[test]
fn kinds_that_are_not_read() {
    let gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}\n---\n";
    let by_claim = rule(
        "r",
        "{hosts: ['*'], gateways: [g], http: [{match: [{headers: {'@request.auth.claims.group': {exact: a}}}], route: [{destination: {host: reviews}}]}]}",
    );
    check(
        &format!("{gateway}{by_claim}"),
        &[
            "IST0149 VirtualService/default/r spec.http[0].match: the rule asks for the claim `@request.auth.claims.group`, and no RequestAuthentication reads tokens at `default/g`",
        ],
    );
    let filter = |operation: &str, place: &str, more: &str| {
        format!(
            "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {{name: f}}\nspec: {{{more} configPatches: [{{applyTo: {place}, patch: {{operation: {operation}, value: {{}}}}}}]}}"
        )
    };
    let code = |documents: &str| -> Vec<String> {
        analyze(documents).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    for (operation, place, more, expected) in [
        ("INSERT_BEFORE", "HTTP_FILTER", "", &["IST0151"][..]),
        ("INSERT_BEFORE", "HTTP_FILTER", "priority: 10,", &[]),
        ("INSERT_FIRST", "HTTP_FILTER", "", &[]),
        ("REPLACE", "VIRTUAL_HOST", "", &["IST0151"]),
        ("REPLACE", "CLUSTER", "", &["IST0152"]),
        ("REMOVE", "HTTP_FILTER", "", &["IST0151"]),
        ("ADD", "HTTP_ROUTE", "", &["IST0153"]),
        ("REMOVE", "ROUTE_CONFIGURATION", "", &["IST0154"]),
    ] {
        assert_eq!(code(&filter(operation, place, more)), expected, "{operation} {place}");
    }
    let telemetry = |name: &str| {
        format!("apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {{name: {name}}}\nspec: {{}}\n---\n")
    };
    assert_eq!(code(&format!("{}{}", telemetry("a"), telemetry("b"))), ["IST0160", "IST0160"]);
}
