//! Why a request is refused or allowed, and who may call whom.

use std::collections::BTreeMap;

use model::route::RequestView;
use translate::access::Subject;
use translate::access::graph::{May, graph};
use translate::access::question::{Answer, Because, Question, answer};
use translate::{Inputs, World};

use super::{labels, policy, world};
use crate::mesh::BOOKINFO;

const CALLER: &str = "spiffe://cluster.local/ns/default/sa/bookinfo-productpage";

fn ask(world: &World, app: &str, identity: Option<&str>, method: &str, path: &str) -> Answer {
    let labels = labels(&[("app", app)]);
    let method = method.parse().unwrap();
    let question = Question {
        subject: Subject { namespace: "default", labels: &labels, is_gateway: false, account: None, services: &[] },
        identity,
        source: "10.0.0.9".parse().unwrap(),
        remote: "10.0.0.9".parse().unwrap(),
        destination: "10.0.0.1:9080".parse().unwrap(),
        request: Some(RequestView { method: &method, ..RequestView::get("reviews", path) }),
        server_name: None,
    };
    answer(world, &question)
}

fn chain() -> String {
    let path = format!("{}/../../samples/bookinfo/mesh/allow-chain.yaml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// `allowed by reviews[0] at p.yaml:41` and the like.
fn told(answer: &Answer) -> String {
    let place = |place: &translate::access::question::Place| {
        format!("{}[{}] at {}", place.policy.meta.name, place.rule, place.at)
    };
    match &answer.because {
        Because::NoPolicy => "no policy".to_owned(),
        Because::NotRefused => "not refused".to_owned(),
        Because::Refused(by) => format!("refused by {}", place(by)),
        Because::Allowed(by) => format!("allowed by {}", place(by)),
        Because::NotAllowed(None) => "not allowed".to_owned(),
        Because::NotAllowed(Some(missed)) => {
            let lacks: Vec<_> =
                missed.lacks.iter().map(|lack| format!("{} at {}: {}", lack.field, lack.at, lack.words)).collect();
            format!("not allowed, nearest {}: {}", place(&missed.rule), lacks.join("; "))
        }
    }
}

#[test]
fn reasons() {
    let deny = policy("no-delete", "default", "{action: DENY, rules: [{to: [{operation: {methods: [DELETE]}}]}]}");
    let all = world(&format!("{}\n{deny}", chain()), "cluster.local");
    for (app, identity, method, expected) in [
        ("reviews", Some(CALLER), "GET", "allowed by reviews[0] at p.yaml:41"),
        (
            "reviews",
            Some(CALLER),
            "POST",
            "not allowed, nearest reviews[0] at p.yaml:41: spec.rules[0].to[0].operation.methods at p.yaml:46: the method is `POST`, where it asks for one that is `GET`",
        ),
        (
            "reviews",
            None,
            "GET",
            "not allowed, nearest reviews[0] at p.yaml:41: spec.rules[0].from[0].source.principals at p.yaml:43: the caller's identity is missing, where it asks for one that is `spiffe://cluster.local/ns/default/sa/bookinfo-productpage`",
        ),
        ("reviews", Some(CALLER), "DELETE", "refused by no-delete[0] at p.yaml:68"),
        ("other", Some(CALLER), "GET", "not refused"),
    ] {
        assert_eq!(told(&ask(&all, app, identity, method, "/reviews/1")), expected, "{app} {method}");
    }
    assert_eq!(told(&ask(&world("", "cluster.local"), "reviews", None, "GET", "/")), "no policy");
    let nothing = world(&policy("all", "default", "{}"), "cluster.local");
    assert_eq!(told(&ask(&nothing, "reviews", Some(CALLER), "GET", "/")), "not allowed");
}

#[test]
fn what_would_become_of_it() {
    let dry = policy("dry", "default", "{action: DENY, rules: [{}]}").replacen(
        "namespace: default",
        "namespace: default, annotations: {istio.io/dry-run: 'true'}",
        1,
    );
    let audit = policy("audit", "default", "{action: AUDIT, rules: [{}]}");
    let answer = ask(&world(&format!("{dry}{audit}"), "cluster.local"), "reviews", None, "GET", "/");
    let tried: Vec<_> =
        answer.tried.iter().map(|(action, allowed, by)| (action.as_str(), *allowed, by.is_some())).collect();
    assert_eq!((answer.allowed, tried), (true, vec![("DENY", false, true)]));
    assert_eq!(answer.audited.iter().map(|place| place.policy.meta.name.as_str()).collect::<Vec<_>>(), ["audit"]);
    assert_eq!(answer.policies.len(), 2);
}

fn edges(documents: &str) -> Vec<String> {
    let parsed = api::parse("p.yaml", &format!("{BOOKINFO}\n---\n{documents}"));
    let world = World::new(Inputs { resources: parsed.resources, ..Inputs::default() });
    let short = |host: &str| host.split('.').next().unwrap().to_owned();
    let edge = |edge: translate::access::graph::Edge| {
        let from = edge.from.map_or("anybody".to_owned(), |(_, account)| account.replace("bookinfo-", ""));
        let may = if edge.may == May::All { "=>" } else { "->" };
        let by: Vec<String> = edge.by.into_iter().collect();
        format!("{from} {may} {}:{} {}", short(&edge.to), edge.port, by.join(","))
    };
    graph(&world).into_iter().map(edge).collect()
}

#[test]
fn who_may_call_whom() {
    let strict = "\n---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: s}\nspec: {mtls: {mode: STRICT}}\n";
    assert_eq!(edges("").len(), 5 * 4, "without policies everybody may call everybody");
    assert_eq!(edges(&policy("none", "istio-system", "{}")), Vec::<String>::new());
    assert_eq!(
        edges(&format!("{}{strict}", chain())),
        [
            "details -> productpage:9080 default/productpage",
            "productpage -> details:9080 default/details",
            "productpage -> productpage:9080 default/productpage",
            "productpage -> ratings:9080 default/ratings",
            "productpage -> reviews:9080 default/reviews",
            "ratings -> productpage:9080 default/productpage",
            "reviews -> productpage:9080 default/productpage",
            "reviews -> ratings:9080 default/ratings",
        ]
    );
    let to_details = policy(
        "d",
        "default",
        "{selector: {matchLabels: {app: details}}, action: DENY, rules: [{from: [{source: {notPrincipals: ['*/sa/bookinfo-productpage']}}]}, {to: [{operation: {paths: [/x]}}]}]}",
    );
    let found = edges(&to_details);
    let to_details: Vec<&String> = found.iter().filter(|edge| edge.contains("details:")).collect();
    assert_eq!(to_details, ["productpage -> details:9080 "], "a refusal of one path leaves the others");
}

#[test]
fn of_a_workload_without_labels() {
    let none = BTreeMap::new();
    let subject = Subject { namespace: "default", labels: &none, is_gateway: false, account: None, services: &[] };
    let question = Question {
        subject,
        identity: None,
        source: "10.0.0.9".parse().unwrap(),
        remote: "10.0.0.9".parse().unwrap(),
        destination: "10.0.0.1:3306".parse().unwrap(),
        request: None,
        server_name: None,
    };
    // A field of HTTP in what refuses is left out for raw TCP.
    let deny =
        policy("d", "default", "{action: DENY, rules: [{to: [{operation: {methods: [GET], ports: ['3306']}}]}]}");
    assert_eq!(told(&answer(&world(&deny, "td"), &question)), "refused by d[0] at p.yaml:5");
}
