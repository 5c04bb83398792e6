//! Consul's intentions.

use super::{Ask, Asked, allowed, ask, read};

const WEB: &str = "
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
";

fn intentions(name: &str, destination: &str, sources: &str) -> String {
    format!(
        "---\napiVersion: consul.hashicorp.com/v1alpha1\nkind: ServiceIntentions\nmetadata: {{name: {name}}}\nspec: {{destination: {{{destination}}}, sources: [{sources}]}}\n"
    )
}

fn default(of: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: default, annotations: {{halcyon.dev/intention-default: {of}}}}}\n"
    )
}

const OF: Asked<'_> = Asked { labels: &[("app", "web")], account: "web", services: &["web"] };

/// One is allowed, the other not, by the one intention that comes first; both ways of defaults; as they are converted too.
#[test]
fn precedence() {
    let exact = intentions("e", "name: web", "{name: a, action: deny}, {name: '*', action: allow}");
    let any = intentions("f", "name: '*'", "{name: a, action: allow}, {name: b, action: deny}");
    let all = intentions("g", "name: '*', namespace: '*'", "{name: '*', namespace: '*', action: deny}");
    let (a, b, c, o) = (("default", "a"), ("default", "b"), ("default", "c"), ("other", "a"));
    for (text, expected) in [
        // A named destination comes before a named source.
        (format!("{exact}{any}"), [false, true, true, true]),
        (format!("{exact}{any}{all}"), [false, true, true, false]),
        (format!("{any}{all}"), [true, false, false, false]),
        (format!("{any}{}", default("deny")), [true, false, false, false]),
        (any.clone(), [true, false, true, true]),
        (default("deny"), [false; 4]),
        (String::new(), [true; 4]),
        // Of two of the same weight the one that refuses counts.
        (intentions("h", "name: web", "{name: a, action: allow}") + &exact, [false, true, true, true]),
    ] {
        let world = read(&format!("{WEB}{text}"));
        let converted = translate::access::convert::convert(&world);
        assert!(converted.losses.is_empty(), "{:?}", converted.losses);
        let policies: Vec<String> = converted.policies.iter().map(|policy| policy.to_yaml()).collect();
        let new = read(&format!("{WEB}---\n{}", policies.join("---\n")));
        for (from, expected) in [a, b, c, o].into_iter().zip(expected) {
            let call = ask(Some(from), "GET", "/");
            assert_eq!(allowed(&world, &OF, &call), expected, "{from:?}\n{text}");
            let is_converted = text.contains("ServiceIntentions");
            assert!(!is_converted || allowed(&new, &OF, &call) == expected, "{from:?}\n{}", policies.join("---\n"));
        }
        // Nobody comes without an identity once an intention is there.
        assert_eq!(allowed(&world, &OF, &ask(None, "GET", "/")), text.is_empty(), "{text}");
    }
}

#[test]
fn permissions() {
    let sources = "{name: a, permissions: [\
        {action: deny, http: {pathPrefix: /admin, methods: [POST]}}, \
        {action: allow, http: {pathRegex: '/v[0-9]+/.*'}}, \
        {action: allow, http: {pathExact: /, header: [{name: x-v, exact: V1, ignoreCase: true}]}}, \
        {action: deny, http: {pathPrefix: /admin}}]}";
    let text = intentions("i", "name: web", sources);
    let from = Some(("default", "a"));
    for (default_is, of_default) in [("deny", false), ("allow", true)] {
        let world = read(&format!("{WEB}{text}{}", default(default_is)));
        for (method, path, expected) in [
            ("POST", "/admin", Some(false)),
            ("GET", "/admin", Some(false)),
            ("GET", "/v1/x", Some(true)),
            ("GET", "/v/x", None),
            ("GET", "/", None),
        ] {
            let expected = expected.unwrap_or(of_default);
            assert_eq!(allowed(&world, &OF, &ask(from, method, path)), expected, "{default_is}: {method} {path}");
        }
        let mut call = ask(from, "GET", "/");
        call.http.as_mut().unwrap().headers.push(("x-v", "v1"));
        assert!(allowed(&world, &OF, &call));
        // Of a connection nothing is known that permissions ask for.
        assert!(!allowed(&world, &OF, &Ask { http: None, ..call }));
    }
}

#[test]
fn what_does_not_exist_here() {
    for (sources, part) in [
        ("{name: a, peer: east, action: allow}", "there are no peers here"),
        ("{name: a, partition: p, action: allow}", "there is no partition `p` here"),
        ("{name: a, samenessGroup: g, action: allow}", "no groups of clusters"),
        ("{name: a}", "nothing is said of what becomes of it"),
        ("{name: a, namespace: '*', action: allow}", "of any namespace cannot be named"),
        ("{name: a, permissions: [{action: allow, http: {pathExact: /, pathPrefix: /}}]}", "exclude each other"),
        (
            "{name: a, permissions: [{action: allow, http: {pathExact: /}, jwt: {providers: [{name: okta}]}}]}",
            "tokens cannot be asked for",
        ),
    ] {
        let parsed = api::parse("o.yaml", &intentions("i", "name: web", sources));
        let told: Vec<String> = parsed.problems.iter().filter(|p| p.is_error()).map(ToString::to_string).collect();
        assert!(told.iter().any(|problem| problem.contains(part)), "{part}: {told:?}");
    }
}
