//! AuthorizationPolicy: what is refused and what is warned about, with the words.

use api::Spec;
use api::istio::AuthorizationPolicy;

fn check(spec: &str, expected: &[&str]) {
    crate::check("security.istio.io/v1", "AuthorizationPolicy", spec, expected);
}

/// One rule with this in it.
fn rule(rule: &str, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|line| line.replacen(" .", " rules[0].", 1)).collect();
    check(&format!("rules:\n- {rule}"), &expected.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn what_is_right() {
    for spec in [
        "{}",
        "rules: [{}]",
        "action: DENY\nrules: [{}]",
        "action: CUSTOM\nprovider: {name: opa}\nrules: [{to: [{operation: {paths: ['/a*'], ports: ['80']}}]}]",
        "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: edge}]",
        "selector: {matchLabels: {app: a}}\nrules: [{from: [{source: {principals: ['*', 'a/ns/b/sa/c', '*/sa/c', 'a/*']}}]}]",
        "rules: [{from: [{source: {serviceAccounts: [a, b/c], notTrustDomains: [x]}}]}]",
        "rules: [{to: [{operation: {hosts: ['*.example.com', 'a:80'], methods: [GET, 'P*'], paths: ['/x/{*}/{**}', '*.js', '*']}}]}]",
        "rules: [{when: [{key: 'request.auth.claims[groups][a]', values: [x], notValues: ['y*']}]}]",
        "rules: [{from: [{source: {ipBlocks: [10.0.0.0/8, '2001:db8::/32', 1.2.3.4], notRemoteIpBlocks: ['::1']}}]}]",
    ] {
        check(spec, &[]);
    }
    let text = crate::document("security.istio.io/v1", "AuthorizationPolicy", "rules: [{}]");
    let parsed = api::parse("f", &text);
    let Spec::AuthorizationPolicy(policy) = &parsed.resources[0].spec else { panic!("{parsed:?}") };
    assert_eq!((policy.rules.len(), policy.rules[0].span.line > 0), (1, true));
}

#[test]
fn actions_and_targets() {
    for action in ["DENY", "AUDIT"] {
        let message = format!("error rules: a policy with the action {action} and without rules would never be met");
        check(&format!("action: {action}"), &[&message]);
    }
    check(
        "action: CUSTOM",
        &[
            "error : the action CUSTOM does not say who decides",
            "error rules: a policy with the action CUSTOM and without rules would never be met",
        ],
    );
    check("action: CUSTOM\nprovider: {}\nrules: [{}]", &["error provider: the provider has no name"]);
    check("provider: {name: a}", &["error provider: nobody is asked with the action ALLOW"]);
    check(
        "selector: {matchLabels: {a: b}}\ntargetRef: {kind: Service, name: s}",
        &["error targetRef: `selector` and `targetRef` exclude each other"],
    );
    check(
        "targetRefs:\n- {kind: Deployment, group: apps}\n- {kind: Service, name: s, namespace: other}",
        &[
            "error targetRefs[0].kind: `apps/Deployment` cannot be a target",
            "error targetRefs[0].name: the target has no name",
            "error targetRefs[1].namespace: a policy is for targets of its own namespace",
        ],
    );
    check(
        "action: CUSTOM\nprovider: {name: a}\nrules:\n- from: [{source: {principals: ['*'], ipBlocks: [1.2.3.4]}}]\n  when: [{key: 'request.auth.claims[a]', values: [b]}]",
        &[
            "error rules[0].from[0].source.principals: `principals` cannot be asked for with the action CUSTOM",
            "error rules[0].when[0].key: `request.auth.claims[a]` cannot be asked for with the action CUSTOM",
        ],
    );
}

#[test]
fn what_asks_for_nothing() {
    rule("{from: []}", &["error .from: the list is empty"]);
    rule("{from: [{}]}", &["error .from[0].source: the field `source` is missing"]);
    rule("{from: [{source: {}}]}", &["error .from[0].source: the source asks for nothing"]);
    rule("{to: [{operation: {}}]}", &["error .to[0].operation: the operation asks for nothing"]);
    rule("{when: [{key: source.ip}]}", &["error .when[0]: the condition names no value"]);
    rule("{to: [{operation: {paths: ['']}}]}", &["error .to[0].operation.paths[0]: the text is empty"]);
    rule(
        "{from: [{source: {serviceAccounts: [a], namespaces: [b]}}]}",
        &["error .from[0].source: `serviceAccounts` and `namespaces` exclude each other"],
    );
}

#[test]
fn values() {
    rule(
        "{from: [{source: {ipBlocks: [1.2.3], namespaces: ['A b'], serviceAccounts: ['a*']}}]}",
        &[
            "error .from[0].source.ipBlocks[0]: `1.2.3` is not an address",
            "error .from[0].source.namespaces[0]: `A b` is not the name of a namespace",
            "error .from[0].source.serviceAccounts[0]: accounts have no wildcards",
            "error .from[0].source: `serviceAccounts` and `namespaces` exclude each other",
        ],
    );
    rule(
        "{from: [{source: {principals: ['spiffe://a/ns/b/sa/c', 'sa/x', 'a*b']}}]}",
        &[
            "warning .from[0].source.principals[0]: `spiffe://a/ns/b/sa/c` takes nobody: identities stand here without `spiffe://`",
            "warning .from[0].source.principals[1]: `sa/x` takes nobody: no identity is called so",
            "warning .from[0].source.principals[2]: `a*b` takes nobody: no identity is called so",
        ],
    );
    rule(
        "{to: [{operation: {ports: ['70000', http, '0'], methods: [get], paths: [a, '/a?b', '/{*}/x*', '/a*b*'], hosts: ['http://a']}}]}",
        &[
            "error .to[0].operation.ports[0]: `70000` is not a port",
            "error .to[0].operation.ports[1]: `http` is not a port",
            "warning .to[0].operation.ports[2]: no connection is to port 0: this is never met",
            "warning .to[0].operation.methods[0]: `get` is met by no usual request: methods are in capitals",
            "warning .to[0].operation.paths[0]: `a` takes no request: paths begin with `/`",
            "warning .to[0].operation.paths[1]: `/a?b` takes no request: the query is not part of the path",
            "error .to[0].operation.paths[2]: `/{*}/x*` is not a template of paths: `{*}` and `{**}` are whole segments, and no other operator or `*` stands in a template",
            "warning .to[0].operation.paths[3]: in `/a*b*` only a `*` at one end stands for any text, the other for itself",
            "warning .to[0].operation.hosts[0]: `http://a` is not the host of any request",
        ],
    );
}

#[test]
fn conditions() {
    rule("{when: [{key: source.ipp, values: [a]}]}", &["error .when[0].key: `source.ipp` is not known"]);
    rule("{when: [{key: '', values: [a]}]}", &["error .when[0].key: the condition names nothing to look at"]);
    rule(
        "{when: [{key: request.headers, values: [a]}]}",
        &["error .when[0].key: `request.headers` does not say which one"],
    );
    rule(
        "{when: [{key: 'destination.labels[a]', values: [a]}]}",
        &["error .when[0].key: `destination.labels[a]` is a key of an older interface"],
    );
    rule("{when: [{key: source.ip, notValues: [x]}]}", &["error .when[0].notValues[0]: `x` is not an address"]);
    rule("{when: [{key: destination.port, values: [x]}]}", &["error .when[0].values[0]: `x` is not a port"]);
}

#[test]
fn dry_run() {
    let text = crate::document("security.istio.io/v1", "AuthorizationPolicy", "rules: [{}]");
    for (value, dry, warned) in [("true", true, 0), ("1", true, 0), ("false", false, 0), ("yes", false, 1)] {
        let annotated =
            text.replacen("metadata:", &format!("metadata:\n  annotations: {{istio.io/dry-run: '{value}'}}"), 1);
        let parsed = api::parse("f", &annotated);
        assert_eq!(parsed.problems.len(), warned, "{:?}", parsed.problems);
        assert_eq!(AuthorizationPolicy::is_dry_run(&parsed.resources[0].meta), dry, "{value}");
    }
}
