//! Kubernetes' own kinds.

use api::{Spec, kubernetes::TransportProtocol};

#[test]
fn service() {
    let check = |spec: &str, expected: &[&str]| crate::check("v1", "Service", spec, expected);
    check(
        "{selector: {app: a}, ports: [{port: 80, targetPort: web, name: http, appProtocol: http}, {port: 80, protocol: UDP, name: u, targetPort: 9, nodePort: 30000}]}",
        &[],
    );
    check("{clusterIP: None, selector: {app: a}}", &[]);
    check("{type: ExternalName, externalName: a.example.org}", &[]);
    check("{type: ExternalName}", &["error externalName: `` is not a DNS name"]);
    check(
        "{type: Cluster, ports: []}",
        &["error type: `Cluster` is not known here", "error ports: the service has no port"],
    );
    check(
        "{ports: [{port: 80}, {port: 80, name: A}, {port: 0, name: a, targetPort: '80'}, {name: a}]}",
        &[
            "error ports[3].port: the field `port` is missing",
            "error ports[0].name: the port has no name",
            "error ports[1].port: the port 80/TCP is listed twice",
            "error ports[1].name: `A` is not the name of a port",
            "error ports[2].port: 0 is not a port",
            "error ports[2].targetPort: `80` is a number in quotes",
            "error ports[3].name: two ports are called `a`",
        ],
    );
    check(
        "{ports: [{port: 80, target_port: 1}]}",
        &["error ports[0].target_port: the field `target_port` is not known"],
    );
    check(
        "{ports: [{port: 80}], sessionAffinity: Client, trafficDistribution: Close}",
        &["error sessionAffinity: `Client` is not known", "error trafficDistribution: `Close` is not known"],
    );
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a, annotations: {networking.istio.io/traffic-distribution: Near}}\nspec: {ports: [{port: 80}]}\n";
    let found = crate::problems(text);
    assert!(found.len() == 1 && found[0].contains("`Near` is not known, so requests go anywhere"), "{found:?}");
    check("{clusterIP: here, ports: [{port: 80}]}", &["error : `here` is not an address"]);
}

#[test]
fn deployment() {
    let text = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews-v1, namespace: books, labels: {app: reviews}}
spec:
  replicas: 2
  selector: {matchLabels: {app: reviews}}
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1}}
  template:
    metadata: {labels: {app: reviews, version: v1}, annotations: {a: b}, creationTimestamp: null}
    spec:
      serviceAccountName: bookinfo-reviews
      volumes: [{name: tmp, emptyDir: {}}]
      containers:
      - name: reviews
        image: reviews:1
        env: [{name: LOG_DIR, value: /tmp}]
        ports: [{containerPort: 9080, name: http}]
status: {replicas: 2}
";
    let parsed = api::parse("f", text);
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    let Spec::Deployment(deployment) = &parsed.resources[0].spec else { panic!("a Deployment") };
    let pod = &deployment.template.spec;
    assert_eq!((deployment.replicas, pod.service_account()), (Some(2), "bookinfo-reviews"));
    let port = &pod.containers[0].ports[0];
    assert_eq!((port.container_port.value, port.protocol), (9080, TransportProtocol::Tcp));
    assert_eq!((port.container_port.span.line, port.container_port.span.column), (18, 33));

    let check = |spec: &str, expected: &[&str]| crate::check("apps/v1", "Deployment", spec, expected);
    check(
        "{selector: {matchLabels: {app: a}}, template: {metadata: {labels: {app: b}}, spec: {containers: []}}}",
        &[
            "error template.metadata.labels: the selector does not take the pods of the template",
            "error template.spec.containers: there is no container",
        ],
    );
    check(
        "{replica: 1, selector: {matchLabels: {app: a}}, template: {metadata: {labels: {app: a}}, spec: {containers: [{name: c, ports: [{containerPort: 0, name: longer-than-fifteen}]}]}}}",
        &[
            "error replica: the field `replica` is not known",
            "error template.spec.containers[0].ports[0].containerPort: 0 is not a port",
            "error template.spec.containers[0].ports[0].name: `longer-than-fifteen` is not the name of a port",
        ],
    );
    check(
        "{selector: {matchExpressions: [{key: app, operator: In, values: []}]}, template: {spec: {containers: [{name: c}]}}}",
        &[
            "error selector.matchExpressions[0]: `values` does not fit the operator In",
            "error template.metadata.labels: the selector does not take the pods of the template",
        ],
    );
}

#[test]
fn secrets() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: cert}\ntype: kubernetes.io/tls\ndata: {tls.crt: Y2VydA==}\nstringData: {tls.key: hush-hush}\n";
    let parsed = api::parse("f", text);
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    let resource = &parsed.resources[0];
    let Spec::Secret(secret) = &resource.spec else { panic!("a Secret") };
    assert_eq!((secret.get("tls.crt"), secret.get("tls.key")), (Some(&b"cert"[..]), Some(&b"hush-hush"[..])));
    let shown = format!("{resource:?} {secret:?}");
    assert!(!shown.contains("hush") && !shown.contains("Y2VydA") && !shown.contains("99, 101"), "{shown}");

    for (text, expected) in [
        (
            "type: kubernetes.io/tls\ndata: {tls.crt: Y2VydA==}",
            "4 error: a Secret of the type kubernetes.io/tls has no `tls.key`",
        ),
        ("data: {a: '%hush%'}", "4 error: data.a: the value is not base64"),
        ("stringData: {a: 12345}", "4 error: stringData.a: a number stands here"),
        ("data: hush-hush", "4 error: data: text stands here"),
        ("stringData: 12345", "4 error: stringData: a number stands here"),
        ("dta: {}", "4 error: dta: the field `dta` is not known"),
    ] {
        let text = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: cert}}\n{text}\n");
        let found = crate::problems(&text);
        let expected = if expected.contains("has no") { expected.replacen('4', "1", 1) } else { expected.to_owned() };
        assert_eq!(found, [expected], "{text}");
        for problem in api::parse("f", &text).problems {
            let shown = problem.render(&text);
            assert!(!shown.contains("hush") && !shown.contains("12345"), "{shown}");
        }
    }
}

#[test]
fn small_kinds() {
    let text = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: books, labels: {istio-injection: enabled}}}
- {apiVersion: v1, kind: ServiceAccount, metadata: {name: sa, namespace: books}, secrets: [{name: x}]}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: cm}, data: {a: b}, binaryData: {c: ZA==}}
- {apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c}], restartPolicy: Never}}
---
apiVersion: v1
kind: ServiceList
items:
- {apiVersion: v1, metadata: {name: s}, spec: {ports: [{port: 80}]}}
";
    let parsed = api::parse("f", text);
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    let keys: Vec<String> = parsed.resources.iter().map(|r| r.key().to_string()).collect();
    assert_eq!(
        keys,
        ["Namespace/books", "ServiceAccount/books/sa", "ConfigMap/default/cm", "Pod/default/p", "Service/default/s"]
    );
    let found = crate::problems(
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: A}, data: {a: 1}}\n- x\n",
    );
    assert_eq!(
        found,
        [
            "4 error: items[0].metadata.name: `A` is not a name",
            "4 error: items[0].data.a: the number `1` stands here",
            "5 error: items[1]: the text `x` stands here",
        ]
    );
}

#[test]
fn ingress() {
    let check = |spec: &str, expected: &[&str]| crate::check("networking.k8s.io/v1", "Ingress", spec, expected);
    let path = |fields: &str, port: &str| {
        format!("rules: [{{http: {{paths: [{{{fields}, backend: {{service: {{name: a, port: {{{port}}}}}}}}}]}}}}]")
    };
    check("defaultBackend: {service: {name: a, port: {number: 80}}}", &[]);
    check(&path("path: /a, pathType: Prefix", "name: http"), &[]);
    check(&path("pathType: ImplementationSpecific", "number: 80"), &[]);
    check("{}", &["error : the Ingress opens nothing"]);
    check(
        "{tls: [{hosts: [a.example.org]}, {hosts: ['*', '10.0.0.1', A], secretName: a}], rules: [{host: 'a.*'}, {host: a.b}]}",
        &[
            "warning tls[0]: there is no `secretName`: these hosts are not opened by TLS",
            "error tls[1].hosts[0]: `*` is not a host",
            "error tls[1].hosts[1]: `10.0.0.1` is not a host",
            "error tls[1].hosts[2]: `A` is not a host",
            "error rules[0].host: `a.*` is not a host",
            "warning rules[0]: there is neither a path nor a default backend: requests are answered 404",
            "warning rules[1]: there is neither a path nor a default backend: requests are answered 404",
        ],
    );
    let at = "rules[0].http.paths[0]";
    for (fields, port, expected) in [
        ("path: a, pathType: Exact", "number: 80", "path: `a` is not a path"),
        ("pathType: Prefix", "number: 80", "path: `` is not a path"),
        ("path: /a/../b, pathType: Prefix", "number: 80", "path: `/a/../b` is not in its normal form"),
        ("path: '/a%2Fb', pathType: Exact", "number: 80", "path: `/a%2Fb` is not in its normal form"),
        ("path: /", "number: 80", "pathType: the field `pathType` is missing"),
        ("path: /, pathType: Perfix", "number: 80", "pathType: `Perfix` is not known here"),
        ("path: /, pathType: Exact", "number: 0", "backend.service.port.number: 0 is not a port"),
        ("path: /, pathType: Exact", "", "backend.service.port: the port is not said"),
        (
            "path: /, pathType: Exact",
            "number: 1, name: a",
            "backend.service.port: `number` and `name` exclude each other",
        ),
        ("path: /, pathType: Exact", "nmae: a", "backend.service.port.nmae: the field `nmae` is not known"),
    ] {
        check(&path(fields, port), &[&format!("error {at}.{expected}")]);
    }
    let text = "apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: x}\nspec: {}\n";
    assert!(crate::problems(text)[0].contains("there is no Ingress of the version `extensions/v1beta1`"));
}
