//! Old roles against their plain meaning, as they are enforced and as they are converted.

use api::Spec;

use super::naive::{self, Legacy};
use super::{Ask, Asked, Request, allowed, ask, read};

const SERVICES: &str = "
---
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {selector: {app: a}, ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp-db, port: 90, targetPort: 9090}]}
---
apiVersion: v1
kind: Service
metadata: {name: b}
spec: {selector: {app: b}, ports: [{name: http, port: 80, targetPort: 8080}]}
";

struct Chance(u64);

impl Chance {
    fn up_to(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % (n as u64 + 1)) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.up_to(from.len() - 1)]
    }
}

fn list(chance: &mut Chance, from: &[&str]) -> String {
    let values: Vec<String> = (0..=chance.up_to(1)).map(|_| format!("\"{}\"", chance.pick(from))).collect();
    format!("[{}]", values.join(", "))
}

fn fields(chance: &mut Chance, of: &[(&str, &[&str])], most: usize) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    for _ in 0..=chance.up_to(most) {
        let (name, values) = of[chance.up_to(of.len() - 1)];
        let opposite = match name.strip_prefix("not") {
            Some(rest) => rest.to_lowercase(),
            None => format!("not{}{}", name[..1].to_uppercase(), &name[1..]),
        };
        let said =
            |field: &String| field.starts_with(&format!("{name}:")) || field.starts_with(&format!("{opposite}:"));
        if !fields.iter().any(said) {
            fields.push(format!("{name}: {}", list(chance, values)));
        }
    }
    fields
}

fn rule(chance: &mut Chance) -> String {
    const PATHS: &[&str] = &["/x", "/x*", "*/y", "*", "/admin", "/x?q=1"];
    const HOSTS: &[&str] = &["web", "w*", "*b", "*", "other"];
    const METHODS: &[&str] = &["GET", "POST", "*", "P*"];
    let of: [(&str, &[&str]); 7] = [
        ("services", &["a.default.svc.cluster.local", "b*", "*", "*.cluster.local", "*.other.svc.cluster.local"]),
        ("hosts", HOSTS),
        ("notHosts", HOSTS),
        ("paths", PATHS),
        ("notPaths", PATHS),
        ("methods", METHODS),
        ("notMethods", METHODS),
    ];
    let mut all = fields(chance, &of, 2);
    let ports = chance.pick(&["", "", "ports: [8080]", "ports: [9090, 1]", "notPorts: [8080]"]);
    if !ports.is_empty() {
        all.push(ports.to_owned());
    }
    let constraint = chance.pick(&[
        "",
        "",
        "{key: 'destination.labels[app]', values: [a, c]}",
        "{key: 'destination.name', values: ['b*']}",
        "{key: 'request.headers[x-v]', values: ['v1', '*2']}",
        "{key: 'request.headers[x-v]', values: ['*']}",
    ]);
    if !constraint.is_empty() {
        all.push(format!("constraints: [{constraint}]"));
    }
    format!("{{{}}}", all.join(", "))
}

fn subject(chance: &mut Chance) -> String {
    const NAMES: &[&str] =
        &["cluster.local/ns/default/sa/x", "cluster.local/ns/other/*", "*/sa/y", "allUsers", "allAuthenticatedUsers"];
    const NAMESPACES: &[&str] = &["default", "other", "o*"];
    const IPS: &[&str] = &["10.1.0.0/16", "10.9.9.9"];
    let of: [(&str, &[&str]); 6] = [
        ("names", NAMES),
        ("notNames", NAMES),
        ("namespaces", NAMESPACES),
        ("notNamespaces", NAMESPACES),
        ("ips", IPS),
        ("notIps", IPS),
    ];
    let mut all = fields(chance, &of, 1);
    match chance.up_to(5) {
        0 => all.push(format!("user: \"{}\"", chance.pick(&["*", "cluster.local/ns/default/sa/x", "*/sa/y"]))),
        1 if !all.iter().any(|field| field.starts_with("names")) => {
            all.push(format!("properties: {{source.principal: \"{}\"}}", chance.pick(&["*", "*/sa/x"])));
        }
        2 => all.push("properties: {'request.headers[x-v]': 'v*'}".to_owned()),
        _ => {}
    }
    format!("{{{}}}", all.join(", "))
}

fn documents(chance: &mut Chance) -> String {
    let mode = chance.pick(&[
        "{mode: 'ON'}",
        "{mode: ON_WITH_INCLUSION, inclusion: {namespaces: [default]}}",
        "{mode: ON_WITH_INCLUSION, inclusion: {services: [a.default.svc.cluster.local]}}",
        "{mode: ON_WITH_EXCLUSION, exclusion: {services: [b.default.svc.cluster.local]}}",
        "{mode: ON_WITH_EXCLUSION, exclusion: {namespaces: [default]}}",
        "{mode: 'OFF'}",
    ]);
    let group = "apiVersion: rbac.istio.io/v1alpha1";
    let mut text = format!("---\n{group}\nkind: ClusterRbacConfig\nmetadata: {{name: default}}\nspec: {mode}\n");
    for role in ["r", "s"] {
        let rules: Vec<String> = (0..=chance.up_to(1)).map(|_| rule(chance)).collect();
        text += &format!(
            "---\n{group}\nkind: ServiceRole\nmetadata: {{name: {role}}}\nspec: {{rules: [{}]}}\n",
            rules.join(", ")
        );
    }
    for binding in ["k", "l", "m"] {
        let subjects: Vec<String> = (0..=chance.up_to(1)).map(|_| subject(chance)).collect();
        let role = match chance.up_to(4) {
            0 => "role: s".to_owned(),
            1 => format!("actions: [{}]", rule(chance)),
            _ => format!("roleRef: {{kind: ServiceRole, name: {}}}", chance.pick(&["r", "s", "gone"])),
        };
        let mode = chance.pick(&["ENFORCED", "ENFORCED", "PERMISSIVE"]);
        text += &format!(
            "---\n{group}\nkind: ServiceRoleBinding\nmetadata: {{name: {binding}}}\nspec: {{subjects: [{}], mode: {mode}, {role}}}\n",
            subjects.join(", ")
        );
    }
    text
}

fn call(chance: &mut Chance) -> Ask {
    let froms = [None, Some(("default", "x")), Some(("default", "y")), Some(("other", "y")), Some(("other", "z"))];
    let raw = chance.up_to(3) == 0;
    let header = chance.pick(&["", "v1", "v2", "other"]);
    let http = Request {
        method: chance.pick(&["GET", "POST", "DELETE"]),
        path: chance.pick(&["/x", "/x?q=1", "/x/y", "/admin", "/admin?a", "/"]),
        host: chance.pick(&["web", "WEB", "other"]),
        headers: if header.is_empty() { Vec::new() } else { vec![("x-v", header)] },
    };
    Ask {
        from: froms[chance.up_to(4)],
        source: chance.pick(&["10.1.2.3", "10.9.9.9"]),
        port: if raw { 9090 } else { 8080 },
        http: (!raw).then_some(http),
    }
}

fn plain(text: &str) -> Legacy {
    let (mut config, mut roles, mut bindings) = (None, Vec::new(), Vec::new());
    for resource in api::parse("o.yaml", text).resources {
        match &resource.spec {
            Spec::ClusterRbacConfig(spec) => config = Some((**spec).clone()),
            Spec::ServiceRole(spec) => roles.push((resource.meta.name.clone(), (**spec).clone())),
            Spec::ServiceRoleBinding(spec) => bindings.push((**spec).clone()),
            _ => {}
        }
    }
    Legacy { config: config.unwrap(), roles, bindings }
}

/// Roles mean what Istio 1.4 says, and policies that they are converted to mean the same.
#[test]
fn thousands_of_roles_and_what_they_are_converted_to() {
    let mut chance = Chance(20_261_122);
    let (mut passed, mut refused) = (0, 0);
    for _ in 0..400 {
        let text = documents(&mut chance);
        let legacy = read(&format!("{SERVICES}{text}"));
        let converted = translate::access::convert::convert(&legacy);
        assert!(converted.losses.is_empty(), "{:?}\n{text}", converted.losses);
        let policies: Vec<String> = converted.policies.iter().map(|policy| policy.to_yaml()).collect();
        let policies = policies.join("---\n");
        let new = read(&format!("{SERVICES}---\n{policies}"));
        let plain = plain(&text);
        for _ in 0..30 {
            let call = call(&mut chance);
            let service = if call.port == 9090 { "a" } else { chance.pick(&["a", "b"]) };
            let of = Asked { labels: &[("app", service)], account: service, services: &[service] };
            let expected = naive::allowed(&plain, service, &call);
            let (before, after) = (allowed(&legacy, &of, &call), allowed(&new, &of, &call));
            assert_eq!((before, after), (expected, expected), "at {service}: {call:?}\n{text}\n{policies}");
            if expected { passed += 1 } else { refused += 1 }
        }
    }
    assert!(passed > 1_000 && refused > 1_000, "{passed} {refused}");
}

const SIMPLE: &str = "
---
apiVersion: rbac.istio.io/v1alpha1
kind: ClusterRbacConfig
metadata: {name: default}
spec: {mode: 'ON'}
---
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRole
metadata: {name: reader}
spec:
  rules:
    - services: ['a.default.svc.cluster.local']
      methods: [GET]
      paths: ['/x*']
      constraints: [{key: 'destination.labels[version]', values: [v1]}]
---
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRoleBinding
metadata: {name: readers}
spec:
  subjects: [{user: cluster.local/ns/default/sa/x}, {groups: [staff], notNames: [allAuthenticatedUsers]}]
  roleRef: {kind: ServiceRole, name: reader}
";

#[test]
fn a_policy_takes_their_place() {
    let of = Asked { labels: &[("app", "a"), ("version", "v1")], account: "a", services: &["a"] };
    let policy = |action: &str, rest: &str| {
        format!(
            "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p{rest}}}\nspec: {{action: {action}, rules: [{{to: [{{operation: {{methods: [PUT]}}}}]}}]}}\n"
        )
    };
    let dry = ", annotations: {istio.io/dry-run: 'true'}";
    for (policies, method, expected) in [
        (String::new(), "GET", true),
        (String::new(), "POST", false),
        // What refuses only leaves the rest open, as in Istio 1.5.
        (policy("DENY", ""), "POST", true),
        (policy("ALLOW", ""), "GET", false),
        (policy("AUDIT", ""), "POST", false),
        (policy("DENY", dry), "POST", false),
    ] {
        let world = read(&format!("{SERVICES}{SIMPLE}{policies}"));
        assert_eq!(allowed(&world, &of, &ask(Some(("default", "x")), method, "/x/1")), expected, "{policies} {method}");
    }
}

#[test]
fn what_is_written() {
    let world = read(&format!("{SERVICES}{SIMPLE}"));
    let converted = translate::access::convert::convert(&world);
    let policies: Vec<String> = converted.policies.iter().map(|policy| policy.to_yaml()).collect();
    insta::assert_snapshot!(policies.join("---\n"));
    let text = SIMPLE.replace("destination.labels[version]", "destination.user");
    let losses = translate::access::convert::convert(&read(&format!("{SERVICES}{text}"))).losses;
    let losses: Vec<String> = losses.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(losses.join("\n"));
}

#[test]
fn what_is_only_tried_is_asked_and_lets_pass() {
    let text = SIMPLE.replace("{mode: 'ON'}", "{mode: 'ON', enforcement_mode: PERMISSIVE}");
    let of = Asked { labels: &[("app", "a"), ("version", "v1")], account: "a", services: &["a"] };
    let call = ask(None, "POST", "/");
    assert!(allowed(&read(&format!("{SERVICES}{text}")), &of, &call));
    assert!(!allowed(&read(&format!("{SERVICES}{SIMPLE}")), &of, &call));
}

#[test]
fn what_is_warned_about() {
    let text = "
---
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRole
metadata: {name: lonely}
spec: {rules: [{services: [nobody.default.svc.cluster.local]}]}
---
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRoleBinding
metadata: {name: lost}
spec: {subjects: [{user: '*'}], roleRef: {kind: ServiceRole, name: gone}}
";
    let problems = translate::check(&read(text));
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(told.join("\n"));
}

/// The answer names role and binding, and what the nearest rule lacked.
#[test]
fn who_decided() {
    use model::route::RequestView;
    use translate::access::Subject;
    use translate::access::question::{Because, Question, answer};
    let text = "
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec: {selector: {matchLabels: {app: a}}, template: {metadata: {labels: {app: a, version: v1}}, spec: {serviceAccountName: a, containers: [{name: a, image: a}]}}}
";
    let world = read(&format!("{SERVICES}{SIMPLE}{text}"));
    let called = translate::access::question::called(&world, "default", "a", Some(80)).unwrap();
    let [called] = &called[..] else { panic!("{called:?}") };
    let subject: Subject<'_> = called.subject();
    assert_eq!((subject.account, subject.services.len()), (Some("a"), 1));
    let told = |path: &str| {
        let asked = Question {
            subject,
            identity: Some("spiffe://cluster.local/ns/default/sa/x"),
            source: "10.1.2.3".parse().unwrap(),
            remote: "10.1.2.3".parse().unwrap(),
            destination: "10.0.0.1:8080".parse().unwrap(),
            request: Some(RequestView::get("a", path)),
            server_name: None,
        };
        let found = answer(&world, &asked);
        let lacks = match &found.because {
            Because::NotAllowed(Some(missed)) => missed.lacks.iter().map(|lack| lack.words.clone()).collect(),
            _ => Vec::new(),
        };
        assert_eq!(found.policies.len(), 3, "switch, role and binding");
        (found.because.to_string(), lacks)
    };
    let (why, _) = told("/x/1");
    for part in
        ["rule 0 of `ServiceRole/default/reader` (o.yaml:", " by `ServiceRoleBinding/default/readers`", "allows it"]
    {
        assert!(why.contains(part), "{part}: {why}");
    }
    let (why, lacks) = told("/y");
    assert!(why.contains("none allows it; nearest is rule 0 of `ServiceRole/default/reader`"), "{why}");
    assert!(lacks[0].contains("`/y`") && lacks[0].contains("begins with `/x`"), "{lacks:?}");
}
