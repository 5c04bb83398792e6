//! VirtualService, rule by rule (rows 1 to 30 of the reference).

fn check(spec: &str, expected: &[&str]) {
    crate::check("networking.istio.io/v1", "VirtualService", spec, expected);
}

/// A VirtualService for `a` with one HTTP rule that routes to `b`, and these further lines in the rule.
fn rule(lines: &str, expected: &[&str]) {
    check(&format!("hosts: [a]\nhttp:\n- route:\n  - destination: {{host: b}}\n{}", indented(lines)), expected);
}

/// The same without the route.
fn action(lines: &str, expected: &[&str]) {
    check(&format!("hosts: [a]\nhttp:\n- name: r\n{}", indented(lines)), expected);
}

fn indented(lines: &str) -> String {
    lines.trim_matches('\n').lines().map(|l| format!("  {l}\n")).collect()
}

#[test]
fn hosts_gateways_and_visibility() {
    let with = |head: &str, expected: &[&str]| {
        check(&format!("{head}\nhttp:\n- route: [{{destination: {{host: b}}}}]"), expected)
    };
    with("hosts: [a, b.example.org, '*.example.com', 10.0.0.1]", &[]);
    with("hosts: ['*']\ngateways: [gw]", &[]);
    with("hosts: ['*']", &["error hosts[0]: `*` as a host would take all traffic of every sidecar"]);
    with(
        "hosts: ['*']\ngateways: [gw, mesh]",
        &["error hosts[0]: `*` as a host would take all traffic of every sidecar"],
    );
    with("hosts: [a, a]", &["error hosts[1]: the host `a` is listed twice"]);
    with("hosts: ['*.b', a.b]", &["error hosts[1]: the hosts `*.b` and `a.b` overlap"]);
    with(
        "hosts: ['a b', 'a:80', 'http://a', 'a*.b']",
        &[
            "error hosts[0]: `a b` is not a host",
            "error hosts[1]: `a:80` is not a host",
            "error hosts[2]: `http://a` is not a host",
            "error hosts[3]: `a*.b` is not a host",
        ],
    );
    with(
        "hosts: [a]\ngateways: [mesh, ns/gw, gw, gw.ns.svc.cluster.local, 'a/b/c', 'Gw']",
        &[
            "warning gateways[3]: `gw.ns.svc.cluster.local` is an old way to name a gateway",
            "error gateways[4]: `a/b/c` does not name a gateway",
            "error gateways[5]: `Gw` does not name a gateway",
        ],
    );
    with("hosts: [a]\nexportTo: ['.']", &[]);
    with("hosts: [a]\nexportTo: ['.', '*']", &["error exportTo: `*` means everybody, and stands beside others"]);
    with("hosts: [a]\nexportTo: ['.', default]", &["error exportTo[1]: `default` says the same as `.`"]);
    with("hosts: [a]\nexport_to: ['~']", &["error exportTo[0]: `~` is not a namespace"]);
    check("hosts: [a]", &["error : there is no rule"]);
}

#[test]
fn order_and_actions() {
    check(
        "hosts: [a]\nhttp:\n- route: [{destination: {host: b}}]\n- match: [{port: 80}]\n  route: [{destination: {host: b}}]",
        &["warning http[1]: this rule and those below are never reached: http[0] has no `match` and takes everything"],
    );
    check(
        "hosts: [a]\nhttp:\n- match: [{port: 80}, {port: 81}]\n  route: [{destination: {host: b}}]\n- match: [{port: 81, name: again}, {port: 82}]\n  route: [{destination: {host: c}}]",
        &["warning http[1].match[0]: this is never reached: it is the same as spec.http[0].match[1]"],
    );
    action("timeout: 1s", &["error http[0]: the rule does nothing"]);
    rule("redirect: {uri: /x}", &["error http[0]: `route` and `redirect` exclude each other"]);
    rule("directResponse: {status: 200}", &["error http[0]: `route` and `directResponse` exclude each other"]);
    action(
        "redirect: {uri: /x}\nfault: {abort: {httpStatus: 500, percentage: {value: 1}}}\nrewrite: {uri: /}",
        &[
            "error http[0].fault: `fault` and `redirect` exclude each other",
            "error http[0].rewrite: `rewrite` and `redirect` exclude each other",
        ],
    );
}

#[test]
fn matches() {
    let with = |m: &str, expected: &[&str]| rule(&format!("match:\n- {m}"), expected);
    with(
        "{uri: {prefix: /a}, method: {exact: GET}, headers: {x: {regex: 'a.*'}, ':path': {}}, port: 80, ignoreUriCase: true}",
        &[],
    );
    with("{headers: {x: {}, y: {regex: '*'}}, withoutHeaders: {z: {exact: ''}}, queryParams: {q: {exact: '1'}}}", &[]);
    with("{uri: {exact: /a, prefix: /b}}", &["error http[0].match[0].uri: exact and prefix exclude each other"]);
    with("{uri: /a}", &["error http[0].match[0].uri: the text `/a` stands here"]);
    with("{uri: {regex: '('}}", &["error http[0].match[0].uri.regex: not a regular expression: unclosed group"]);
    with("{uri: {prefix: ''}}", &["error http[0].match[0].uri.prefix: the prefix is empty"]);
    with("{uri: {perfix: /a}}", &["error http[0].match[0].uri.perfix: the field `perfix` is not known"]);
    with(
        "{headers: {'a b': {exact: x}}}",
        &["error http[0].match[0].headers[\"a b\"]: `a b` is not the name of a header"],
    );
    with("{headers: {x: }}", &["error http[0].match[0].headers.x: nothing stands here"]);
    with("{port: 0}", &["error http[0].match[0].port: 0 is not a port"]);
    with("{port: http}", &["error http[0].match[0].port: the text `http` stands here"]);
    with("{sourceLabels: {'a!': b}}", &["error http[0].match[0].sourceLabels[\"a!\"]: `a!` is not the key of a label"]);
    with("{sourceNamespace: A}", &["error http[0].match[0].sourceNamespace: `A` is not the name of a namespace"]);
    with(
        "{uri: {regex: a}, ignoreUriCase: true}",
        &["warning http[0].match[0].ignoreUriCase: this has no effect here"],
    );
    with(
        "{headers: {'@request.auth.claims.group': {exact: x}}}",
        &[
            "error http[0].match[0].headers[\"@request.auth.claims.group\"]: routing by the claims of a token works at gateways only",
        ],
    );
    check(
        "hosts: [a]\ngateways: [gw]\nhttp:\n- match: [{headers: {'@request.auth.claims.group': {exact: x}}}]\n  route: [{destination: {host: b}}]",
        &[],
    );
}

#[test]
fn destinations_and_weights() {
    let with = |route: &str, expected: &[&str]| check(&format!("hosts: [a]\nhttp:\n- route:\n{route}"), expected);
    with(
        "  - {destination: {host: b, subset: v1, port: {number: 80}}, weight: 3}\n  - {destination: {host: b}, weight: 9}",
        &[],
    );
    with(
        "  - {destination: {host: b}}\n  - {destination: {host: c}}",
        &["error http[0].route: no destination has a weight"],
    );
    with(
        "  - {destination: {host: b}, weight: 0}",
        &["warning http[0].route[0].weight: the weight of a lone destination does not count: it gets everything"],
    );
    with(
        "  - {destination: {host: b}, weight: -1}",
        &["error http[0].route[0].weight: the number `-1` does not fit here"],
    );
    with("  - {destination: {host: b}, weight: '50'}", &["error http[0].route[0].weight: the text `50` stands here"]);
    with("  - {destination: {host: b}, weight: 50%}", &["error http[0].route[0].weight: the text `50%` stands here"]);
    with(
        "  - {destination: {host: '*', subset: V_1, port: {number: 70000}}}",
        &[
            "error http[0].route[0].destination.host: `*` cannot be a destination",
            "error http[0].route[0].destination.subset: `V_1` is not the name of a subset",
            "error http[0].route[0].destination.port.number: 70000 is not a port",
        ],
    );
    with("  - {weight: 1}", &["error http[0].route[0].destination: the field `destination` is missing"]);
    with("  - {destination: {subset: v1}}", &["error http[0].route[0].destination.host: the field `host` is missing"]);
    with("    destination: {host: b}", &["error http[0].route: a mapping stands here"]);
}

#[test]
fn redirect_rewrite_and_direct_response() {
    action("redirect: {uri: /x, redirectCode: 308, scheme: https, port: 8443}", &[]);
    action("redirect: {prefixRewrite: /x, derivePort: FROM_REQUEST_PORT}", &[]);
    action(
        "redirect: {redirectCode: 305, scheme: ftp, port: 1, derivePort: FROM_PORT}",
        &[
            "error http[0].redirect.derivePort: `FROM_PORT` is not known here",
            "error http[0].redirect.redirectCode: 305 is not the code of a redirect",
            "error http[0].redirect.scheme: `ftp` is not a scheme",
        ],
    );
    action("redirect: {}", &["error http[0].redirect: the redirect leads to where it comes from"]);
    rule("rewrite: {uri: /x, authority: y}", &[]);
    rule("rewrite: {uriRegexRewrite: {match: '^/a/(.*)$', rewrite: '/b/\\1'}}", &[]);
    rule(
        "rewrite: {uri: /x, uriRegexRewrite: {match: '[', rewrite: ''}}",
        &[
            "error http[0].rewrite: `uri` and `uriRegexRewrite` exclude each other",
            "error http[0].rewrite.uriRegexRewrite.match: not a regular expression: unclosed character class",
            "error http[0].rewrite.uriRegexRewrite.rewrite: there is nothing to put in place of the match",
        ],
    );
    rule("rewrite: {}", &["error http[0].rewrite: the rewrite changes nothing"]);
    rule(
        "rewrite: {authority: x}\nheaders: {request: {set: {Host: y}}}",
        &["error http[0]: the authority is changed in more than one place"],
    );
    action("directResponse: {status: 503, body: {string: sorry}}", &[]);
    action(
        "directResponse: {status: 100, body: {string: a, bytes: YQ==}}",
        &[
            "error http[0].directResponse.status: 100 is not a status of a response",
            "error http[0].directResponse.body: `string` and `bytes` exclude each other",
        ],
    );
    let large = |n: usize| format!("directResponse: {{status: 200, body: {{string: {}}}}}", "x".repeat(n));
    action(
        &large(200_000),
        &["warning http[0].directResponse.body: the body has 200000 bytes, which every proxy holds in memory"],
    );
    action(&large(2_000_000), &["error http[0].directResponse.body: the body has 2000000 bytes"]);
}

#[test]
fn delegation() {
    action("delegate: {name: part, namespace: other}", &[]);
    action(
        "delegate: {name: part}\nredirect: {uri: /}",
        &["error http[0]: `redirect` and `delegate` exclude each other"],
    );
    action(
        "delegate: {name: part}\nmatch: [{uri: {regex: a}}]",
        &[
            "error http[0].match[0].uri: a rule that delegates, or is delegated to, cannot match by a regular expression",
        ],
    );
    check("http:\n- route: [{destination: {host: b}}]", &[]);
    check(
        "gateways: [gw]\ntcp:\n- route: [{destination: {host: b}}]",
        &[
            "error gateways: a VirtualService without `hosts` is one to delegate to, and cannot have `gateways`",
            "error tcp: a VirtualService without `hosts` is one to delegate to, and cannot have `tcp`",
        ],
    );
    check(
        "http:\n- delegate: {name: more}",
        &["error http[0].delegate: a VirtualService that is delegated to cannot delegate further"],
    );
}

#[test]
fn timeouts_and_retries() {
    rule("timeout: 5s\nretries: {attempts: 3, perTryTimeout: 250ms, retryOn: '5xx,reset, 503', backoff: 10ms}", &[]);
    rule("timeout: 0.5s\nretries: {attempts: 0}", &[]);
    rule("timeout: 5", &["error http[0].timeout: the duration `5` has no unit"]);
    rule("timeout: 5 seconds", &["error http[0].timeout: `5 seconds` is not a duration"]);
    rule("timeout: -1s", &["error http[0].timeout: `-1s` is not a duration"]);
    rule("timeout: 0s", &["error http[0].timeout: the duration is zero"]);
    rule(
        "retries: {attempts: 0, retryOn: 5xx}",
        &["error http[0].retries.attempts: `attempts: 0` turns retries off, but other fields set them up"],
    );
    rule("retries: {retryOn: 5xx}", &["error http[0].retries: retries are set up without `attempts`, which then is 0"]);
    rule(
        "retries: {attempts: 2, retryOn: '5xx,conect-failure'}",
        &["error http[0].retries.retryOn: `conect-failure` is not a condition to retry on"],
    );
}

#[test]
fn faults() {
    rule(
        "fault: {delay: {fixedDelay: 5s, percentage: {value: 0.1}}, abort: {grpcStatus: UNAVAILABLE, percentage: {value: 100}}}",
        &[],
    );
    rule("fault: {}", &["error http[0].fault: the fault is empty"]);
    rule(
        "fault: {delay: {fixedDelay: 5s}}",
        &["warning http[0].fault.delay: no `percentage` means 0: no request is concerned"],
    );
    rule(
        "fault: {delay: {fixedDelay: 5s, percent: 101}}",
        &[
            "error http[0].fault.delay.percent: 101 is not a percentage",
            "warning http[0].fault.delay.percent: this is deprecated",
        ],
    );
    rule(
        "fault: {delay: {exponentialDelay: 5s, percentage: {value: 1}}}",
        &["error http[0].fault.delay.exponentialDelay: this does not exist, in Istio neither"],
    );
    rule(
        "fault: {abort: {httpStatus: 99, percentage: {value: 101}}}",
        &[
            "error http[0].fault.abort.httpStatus: 99 is not a status of a response",
            "error http[0].fault.abort.percentage.value: 101 is not a percentage",
        ],
    );
    rule(
        "fault: {abort: {httpStatus: 500, grpcStatus: UNAVAILBLE, percentage: {value: 1}}}",
        &[
            "error http[0].fault.abort: `httpStatus` and `grpcStatus` exclude each other",
            "error http[0].fault.abort.grpcStatus: `UNAVAILBLE` is not a status of gRPC",
        ],
    );
    rule(
        "fault: {abort: {http2Error: x, percentage: {value: 1}}}",
        &["error http[0].fault.abort.http2Error: this does not exist, in Istio neither"],
    );
}

#[test]
fn numbers_of_grpc_statuses() {
    for (status, expected) in [
        ("grpcStatus: OK", Some(0)),
        ("grpcStatus: CANCELLED", Some(1)),
        ("grpcStatus: UNAVAILABLE", Some(14)),
        ("grpcStatus: UNAUTHENTICATED", Some(16)),
        ("httpStatus: 503", None),
    ] {
        let spec = format!(
            "hosts: [a]\nhttp: [{{fault: {{abort: {{{status}, percentage: {{value: 1}}}}}}, route: [{{destination: {{host: b}}}}]}}]"
        );
        let text = crate::document("networking.istio.io/v1", "VirtualService", &spec);
        let parsed = api::parse("f", &text);
        let api::Spec::VirtualService(spec) = &parsed.resources[0].spec else { unreachable!("{text}") };
        let abort = spec.http[0].fault.as_ref().and_then(|fault| fault.abort.as_ref());
        assert_eq!(abort.and_then(api::istio::FaultAbort::grpc_code), expected, "{status}");
    }
}

#[test]
fn mirrors_cors_and_headers() {
    rule("mirror: {host: c}\nmirrorPercentage: {value: 50}", &[]);
    rule("mirrors: [{destination: {host: c}, percentage: {value: 1}}, {destination: {host: d}}]", &[]);
    rule(
        "mirror: {host: c}\nmirrors: [{destination: {host: d}}]",
        &["error http[0]: `mirror` and `mirrors` exclude each other"],
    );
    rule("mirror: {host: c}\nmirrorPercent: 5", &["warning http[0].mirrorPercent: this is deprecated"]);
    rule(
        "mirrorPercentage: {value: -1}",
        &[
            "error http[0].mirrorPercentage.value: -1 is not a percentage",
            "warning http[0].mirrorPercentage: this has no effect without `mirror`",
        ],
    );
    rule(
        "corsPolicy: {allowOrigins: [{exact: 'https://a'}], allowMethods: [GET, '*'], allowHeaders: [x-a], maxAge: 24h, allowCredentials: true, unmatchedPreflights: IGNORE}",
        &[],
    );
    rule(
        "corsPolicy: {allowOrigins: [{}], allowMethods: [GTE], allowHeaders: ['x a'], maxAge: 1.5s}",
        &[
            "error http[0].corsPolicy.allowOrigins[0]: the origin is empty",
            "error http[0].corsPolicy.allowMethods[0]: `GTE` is not a method",
            "error http[0].corsPolicy.allowHeaders[0]: `x a` is not the name of a header",
            "error http[0].corsPolicy.maxAge: the duration has a part of a second",
        ],
    );
    rule("headers: {request: {set: {':authority': x}, add: {x-a: b}, remove: [y]}, response: {remove: [z]}}", &[]);
    rule(
        "headers: {request: {set: {':path': x}, remove: [host]}, response: {set: {host: x}, add: {'a b': c}}}",
        &[
            "error http[0].headers.request.set[\":path\"]: the header `:path` cannot be changed here",
            "error http[0].headers.request.remove[0]: the header `host` cannot be changed here",
            "error http[0].headers.response.set.host: the header `host` cannot be changed here",
            "error http[0].headers.response.add[\"a b\"]: `a b` is not the name of a header",
        ],
    );
    rule("headers: {request: {set: {x: 1}}}", &["error http[0].headers.request.set.x: the number `1` stands here"]);
}

#[test]
fn tcp_and_tls() {
    check(
        "hosts: [a]\ntcp:\n- match: [{port: 80, destinationSubnets: [10.0.0.0/8, 10.1.2.3]}]\n  route: [{destination: {host: b}}]",
        &[],
    );
    check(
        "hosts: [a]\ntcp:\n- match: [{sourceSubnet: 10.0.0.0/8, destinationSubnets: [ten]}]",
        &[
            "error tcp[0].match[0].destinationSubnets[0]: `ten` is not an address",
            "warning tcp[0].match[0].sourceSubnet: this is never enforced, in Istio neither: the rule matches clients of any address",
            "error tcp[0]: the rule has no destination",
        ],
    );
    check(
        "hosts: ['*.example.org']\ntls:\n- match: [{sniHosts: [a.example.org]}]\n  route: [{destination: {host: b}}]",
        &[],
    );
    check(
        "hosts: [a.example.org]\ntls:\n- match: [{sniHosts: ['*.example.org', 10.0.0.1]}, {sniHosts: []}, {}]\n  route: [{destination: {host: b}}]",
        &[
            "error tls[0].match[2].sniHosts: the field `sniHosts` is missing",
            "error tls[0].match[0].sniHosts[0]: `*.example.org` is not within the hosts of this VirtualService",
            "warning tls[0].match[0].sniHosts[1]: `10.0.0.1` is an address: clients send names only (RFC 6066)",
            "error tls[0].match[1].sniHosts: there is no server name",
        ],
    );
}
