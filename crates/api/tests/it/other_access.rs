//! Documents on access of Istio's old kinds and SMI that are refused, and where.

fn errors(text: &str) -> Vec<String> {
    let parsed = api::parse("o.yaml", text);
    parsed.problems.iter().filter(|problem| problem.is_error()).map(ToString::to_string).collect()
}

fn document(kind: &str, spec: &str) -> String {
    let (group, name) = match kind {
        "TrafficTarget" => ("access.smi-spec.io/v1alpha3", "t"),
        "HTTPRouteGroup" => ("specs.smi-spec.io/v1alpha4", "g"),
        _ => ("rbac.istio.io/v1alpha1", "default"),
    };
    format!("apiVersion: {group}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

#[test]
fn what_is_refused() {
    let bound = |subject: &str| format!("{{subjects: [{subject}], role: r}}");
    for (kind, spec, expected) in [
        ("ClusterRbacConfig", "{mode: ON_WITH_INCLUSION}".to_owned(), "spec.inclusion: the mode ON_WITH_INCLUSION asks"),
        ("ClusterRbacConfig", "{mode: ONN}".to_owned(), "`ONN` is not known here"),
        ("RbacConfig", "{mode: ON_WITH_EXCLUSION, exclusion: {services: ['*']}}".to_owned(), "names no service"),
        ("ServiceRole", "{rules: []}".to_owned(), "the role has no rule"),
        ("ServiceRole", "{rules: [{methods: [GET], notMethods: [PUT]}]}".to_owned(), "exclude each other"),
        ("ServiceRole", "{rules: [{ports: [70000]}]}".to_owned(), "spec.rules[0].ports[0]: 70000 is not a port"),
        ("ServiceRole", "{rules: [{constraints: [{key: destination.port, values: ['1']}], ports: [1]}]}".to_owned(), "said twice"),
        ("ServiceRole", "{rules: [{constraints: [{key: destination.lables, values: [a]}]}]}".to_owned(), "is not known"),
        (
            "ServiceRole",
            "{rules: [{constraints: [{key: destination.ip, values: [1.2.3.4]}, {key: destination.ip, values: [1.2.3.5]}]}]}".to_owned(),
            "asked for twice",
        ),
        ("ServiceRoleBinding", bound("{}"), "the subject is nobody"),
        ("ServiceRoleBinding", bound("{names: ['*']}"), "does not say whether callers without an identity"),
        ("ServiceRoleBinding", bound("{ips: [10.0.0]}"), "is not an address"),
        ("ServiceRoleBinding", bound("{properties: {source.nmae: a}}"), "nobody would be meant"),
        ("ServiceRoleBinding", bound("{names: [a], properties: {source.principal: a}}"), "said by `names` too"),
        ("ServiceRoleBinding", "{subjects: [{user: '*'}]}".to_owned(), "the binding is to no role"),
        (
            "ServiceRoleBinding",
            "{subjects: [{user: '*'}], role: a, roleRef: {kind: ServiceRole, name: a}}".to_owned(),
            "`roleRef` and `role` exclude each other",
        ),
        ("ServiceRoleBinding", "{subjects: [{user: '*'}], roleRef: {kind: Role, name: a}}".to_owned(), "cannot be bound"),
        ("HTTPRouteGroup", "{matches: [{name: a, pathRegex: '('}]}".to_owned(), "spec.matches[0].pathRegex"),
        ("HTTPRouteGroup", "{matches: [{name: a, methods: [get]}]}".to_owned(), "is not a method"),
        (
            "TrafficTarget",
            "{destination: {kind: Pod, name: a}, sources: [{name: a}], rules: [{kind: TCPRoute, name: a}]}".to_owned(),
            "spec.destination.kind",
        ),
        ("TrafficTarget", "{destination: {name: a}, sources: [], rules: []}".to_owned(), "nobody is named"),
    ] {
        let told = errors(&document(kind, &spec));
        assert!(told.iter().any(|problem| problem.contains(expected)), "{expected}: {told:?}");
    }
}

#[test]
fn names_and_spellings() {
    let named =
        "apiVersion: rbac.istio.io/v1alpha1\nkind: ClusterRbacConfig\nmetadata: {name: other}\nspec: {mode: 'ON'}\n";
    assert!(errors(named)[0].contains("metadata.name: `other` is not the switch"), "{:?}", errors(named));
    let snake = document("ServiceRole", "{rules: [{not_paths: [/a], not_ports: [1]}]}");
    assert_eq!(errors(&snake), Vec::<String>::new());
    // Without `spec`, and headers as a mapping.
    let early = "apiVersion: specs.smi-spec.io/v1alpha1\nkind: HTTPRouteGroup\nmetadata: {name: g}\nmatches: [{name: a, headers: {x: y}}]\n";
    assert_eq!(errors(early), Vec::<String>::new());
    let mistyped =
        "apiVersion: specs.smi-spec.io/v1alpha1\nkind: HTTPRouteGroup\nmetadata: {name: g}\nmatchs: [{name: a}]\n";
    assert!(errors(mistyped)[0].starts_with("o.yaml:4:1"), "{:?}", errors(mistyped));
    let namespace =
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: n, annotations: {halcyon.dev/intention-default: no}}\n";
    assert!(!errors(namespace).is_empty());
}
