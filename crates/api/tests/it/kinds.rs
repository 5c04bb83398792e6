//! The head of documents: kinds, versions, metadata; the set; what is kept and what comes back.

use std::time::{Duration, UNIX_EPOCH};

use api::{Resource, Spec};

fn head(head: &str, expected: &[&str]) {
    let text = format!("{head}\nspec: {{hosts: [a], http: [{{route: [{{destination: {{host: b}}}}]}}]}}\n");
    assert_eq!(crate::problems(&text), expected, "{text}");
}

#[test]
fn kind_and_version() {
    head("apiVersion: networking.istio.io/v1beta1\nkind: VirtualService\nmetadata: {name: x}", &[]);
    head(
        "apiVersion: networking.istio.io/v2\nkind: VirtualService\nmetadata: {name: x}",
        &["1 error: apiVersion: there is no VirtualService of the version `networking.istio.io/v2`"],
    );
    head(
        "apiVersion: networking.k8s.io/v1\nkind: VirtualService\nmetadata: {name: x}",
        &["1 error: apiVersion: there is no VirtualService of the version `networking.k8s.io/v1`"],
    );
    head(
        "kind: VirtualService\nmetadata: {name: x}",
        &["1 error: apiVersion: this VirtualService has no `apiVersion`"],
    );
    head(
        "apiVersion: networking.istio.io/v1\nkind: VirtualServise\nmetadata: {name: x}",
        &["2 error: kind: the kind `VirtualServise` (of `networking.istio.io/v1`) is not known"],
    );
    head("apiVersion: networking.istio.io/v1\nmetadata: {name: x}", &["1 error: the document has no `kind`"]);
    let problem = &api::parse("f", "apiVersion: networking.istio.io/v2\nkind: Gateway\nmetadata: {name: x}\nspec: {}")
        .problems[0];
    assert_eq!(
        problem.expected.as_deref(),
        Some("`networking.istio.io/v1`, `networking.istio.io/v1beta1` or `networking.istio.io/v1alpha3`")
    );
    let problem = &api::parse("f", "apiVersion: x/v1\nkind: Gateway\nmetadata: {name: x}\nspec: {}").problems[0];
    assert!(problem.expected.as_deref().unwrap_or_default().contains("gateway.networking.k8s.io/*"), "{problem}");
    assert_eq!(crate::problems("just text"), ["1 error: the text `just text` stands here"]);
}

#[test]
fn opaque_kinds() {
    for (api_version, kind, expected) in [
        (
            "gateway.networking.k8s.io/v1",
            "Gateway",
            "Gateway is not enforced yet: the document is kept, and changes nothing",
        ),
        (
            "split.smi-spec.io/v1alpha4",
            "TrafficSplit",
            "TrafficSplit is not enforced yet: the document is kept, and changes nothing",
        ),
        ("batch/v1", "Job", "Job is not read by Halcyon: the document is kept, and changes nothing"),
    ] {
        let text = format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: x}}\nanything: {{at: [all]}}\n");
        assert_eq!(crate::problems(&text), [format!("2 warning: kind: {expected}")]);
        let parsed = api::parse("f", &text);
        assert_eq!(parsed.resources[0].spec, Spec::Opaque);
        assert_eq!(parsed.resources[0].document()["anything"]["at"][0], "all");
    }
    let bad = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: A_}\n";
    assert_eq!(crate::problems(bad)[1], "3 error: metadata.name: `A_` is not a name");
}

#[test]
fn metadata() {
    let with = |metadata: &str, expected: &[&str]| {
        head(&format!("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {metadata}"), expected)
    };
    with(
        "{name: x, namespace: n, labels: {a/b: c}, annotations: {a: '1'}, generation: 3, creationTimestamp: '2026-01-31T12:00:00Z', uid: x, managedFields: []}",
        &[],
    );
    with("{}", &["3 error: metadata.name: the resource has no name"]);
    with("{generateName: x-}", &["3 error: metadata.name: the resource has no name"]);
    with(
        "{name: X, namespace: a.b}",
        &[
            "3 error: metadata.name: `X` is not a name",
            "3 error: metadata.namespace: `a.b` is not the name of a namespace",
        ],
    );
    with(
        "{nam: x}",
        &["3 error: metadata.name: the resource has no name", "3 error: metadata.nam: the field `nam` is not known"],
    );
    with(
        "{name: x, labels: {a b: c, d: e f}}",
        &[
            "3 error: metadata.labels[\"a b\"]: `a b` is not the key of a label",
            "3 error: metadata.labels.d: `e f` is not the value of a label",
        ],
    );
    with("{name: x, annotations: {a: true}}", &["3 error: metadata.annotations.a: `true` stands here"]);
    with("{name: x, creationTimestamp: noon}", &["3 error: metadata.creationTimestamp: `noon` is not a time"]);
    assert_eq!(
        crate::problems("apiVersion: v1\nkind: Namespace\nmetadata: {name: x, namespace: y}"),
        ["3 warning: metadata.namespace: a Namespace does not live in a namespace; this one is ignored",]
    );
}

#[test]
fn another_default_namespace() {
    let text = crate::document("networking.istio.io/v1", "WorkloadEntry", "address: 10.0.0.1");
    let named = text.replace("name: x", "name: y\n  namespace: books");
    let parsed = api::parse_in("prod", "f", &format!("{text}---\n{named}"));
    let keys: Vec<String> = parsed.resources.iter().map(|r| r.key().to_string()).collect();
    assert_eq!(keys, ["WorkloadEntry/prod/x", "WorkloadEntry/books/y"]);
    assert_eq!(parsed.resources[0].document()["metadata"]["namespace"], "prod");
}

#[test]
fn the_same_key_twice() {
    let one = crate::document("networking.istio.io/v1", "WorkloadEntry", "address: 10.0.0.1");
    let other = one.replace("10.0.0.1", "10.0.0.2").replace("networking.istio.io/v1", "networking.istio.io/v1beta1");
    let parsed = api::parse("demo.yaml", &format!("{one}---\n{other}"));
    let found: Vec<String> = parsed.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "demo.yaml:8:1: error: WorkloadEntry/default/x is written twice; the first is at demo.yaml:1 (remove one of the two, or give it another name)",
        ]
    );
    assert_eq!(parsed.resources.len(), 1);
}

#[test]
fn one_bad_document_does_not_spoil_the_others() {
    let good = crate::document("networking.istio.io/v1", "WorkloadEntry", "address: 10.0.0.1");
    let bad = good.replace("address", "adress").replace("name: x", "name: y");
    let parsed = api::parse("f", &format!("{bad}---\nnot: [closed\n---\n{good}"));
    assert_eq!(parsed.problems.len(), 2, "{:?}", parsed.problems);
    assert_eq!(parsed.problems[0].resource.as_ref().unwrap().to_string(), "WorkloadEntry/default/y");
    assert_eq!((parsed.resources.len(), parsed.resources[0].origin.line), (1, 10));
}

#[test]
fn storage_and_output() {
    let text = "kind: VirtualService\nspec:\n  hosts: [a]\n  http:\n  - route:\n    - destination: {host: b, subset: v1}\napiVersion: networking.istio.io/v1\nstatus: {}\nmetadata:\n  labels: {x: y}\n  name: x\n  generation: 7\n  creationTimestamp: '1970-01-01T00:01:00Z'\n";
    let parsed = api::parse("f", text);
    let resource = &parsed.resources[0];
    assert_eq!(
        (resource.meta.generation, resource.meta.created),
        (Some(7), Some(UNIX_EPOCH + Duration::from_secs(60)))
    );
    insta::assert_snapshot!(resource.to_yaml());
    let back = Resource::from_json(resource.document(), resource.origin.clone()).unwrap();
    assert_eq!((&back, &back.spec), (&**resource, &resource.spec));

    let mut broken = resource.document().clone();
    broken["spec"]["hosts"] = 5.into();
    let problems = Resource::from_json(&broken, Default::default()).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "VirtualService/default/x: error: spec.hosts: a number stands here (expected a list; begin the line with `- `)"
    );
}

#[test]
fn references_remember_their_places() {
    let text = crate::document(
        "networking.istio.io/v1",
        "VirtualService",
        "hosts: [a]\nhttp:\n- route:\n  - destination:\n      host: b\n      subset: v1\n",
    );
    let parsed = api::parse("demo.yaml", &text);
    let Spec::VirtualService(rules) = &parsed.resources[0].spec else { panic!("a VirtualService") };
    let destination = &rules.http[0].route[0].destination;
    let problem = api::Problem::error("there is no subset `v1`").path("spec.http[0].route[0].destination.subset");
    let problem = parsed.resources[0].problem(problem, destination.subset.span);
    assert_eq!(
        problem.to_string(),
        "demo.yaml:11:17: error: spec.http[0].route[0].destination.subset: there is no subset `v1`"
    );
    assert_eq!(problem.resource, Some(parsed.resources[0].key()));
}

#[test]
fn a_whole_report() {
    let text = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - mach:
    - uri: {prefix: /a}
    timeout: 5
    route:
    - destination: {host: reviews, subset: v1}
      weight: 80
    - destination: {host: reviews, subset: V2}
      weigth: 20
";
    let parsed = api::parse("demo.yaml", text);
    let shown: Vec<String> = parsed.problems.iter().map(|p| p.render(text)).collect();
    insta::assert_snapshot!(shown.join("\n"));
}
