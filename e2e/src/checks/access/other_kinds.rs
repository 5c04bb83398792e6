//! The same questions under the kinds of others: Istio's old roles, Consul's intentions, SMI's targets.

use super::Caller::{Client, Plain};
use super::Is::{Answered, Forbidden};
use super::{Step, ask, either, policy};

/// What is deleted between two sets.
pub const KINDS: [&str; 8] = [
    "clusterrbacconfig",
    "rbacconfig",
    "servicerole",
    "servicerolebinding",
    "serviceintentions",
    "traffictarget",
    "httproutegroup",
    "tcproutes.specs.smi-spec.io",
];

const SWITCH: &str = "apiVersion: rbac.istio.io/v1alpha1\nkind: ClusterRbacConfig\nmetadata: {name: default}\nspec: {mode: \
     ON_WITH_INCLUSION, inclusion: {services: [details.default.svc.cluster.local]}}\n---\n";
const ROLE: &str = "apiVersion: rbac.istio.io/v1alpha1\nkind: ServiceRole\nmetadata: {name: reader}\nspec: {rules: [{services: \
     [details.default.svc.cluster.local], methods: [GET], paths: ['/details/*']}]}\n---\n";
const ROUTES: &str = "apiVersion: specs.smi-spec.io/v1alpha4\nkind: HTTPRouteGroup\nmetadata: {name: api}\nspec: {matches: \
     [{name: details, pathRegex: /details, methods: [GET]}, {name: health, pathRegex: /health, methods: [POST]}]}\n---\n";

fn binding(subject: &str) -> String {
    format!(
        "apiVersion: rbac.istio.io/v1alpha1\nkind: ServiceRoleBinding\nmetadata: {{name: readers}}\nspec: {{subjects: \
         [{{{subject}}}], roleRef: {{kind: ServiceRole, name: reader}}}}\n---\n"
    )
}

fn intentions(sources: &str) -> String {
    format!(
        "apiVersion: consul.hashicorp.com/v1alpha1\nkind: ServiceIntentions\nmetadata: {{name: details}}\nspec: \
         {{destination: {{name: details}}, sources: [{sources}]}}\n---\n"
    )
}

fn target(source: &str) -> String {
    format!(
        "apiVersion: access.smi-spec.io/v1alpha3\nkind: TrafficTarget\nmetadata: {{name: details}}\nspec: {{destination: \
         {{kind: ServiceAccount, name: bookinfo-details}}, sources: [{{kind: ServiceAccount, name: {source}}}], rules: \
         [{{kind: HTTPRouteGroup, name: api}}]}}\n---\n"
    )
}

/// The sets.
pub fn steps() -> Vec<Step> {
    let step = |name, rules: &[String], requests| Step { name, rules: rules.concat(), requests };
    let (switch, role, routes) = (SWITCH.to_owned(), ROLE.to_owned(), ROUTES.to_owned());
    let allow_posts = policy("a", "action: ALLOW, rules: [{to: [{operation: {methods: [POST]}}]}]");
    let permissions = "{name: default, permissions: [{action: deny, http: {methods: [POST]}}]}";
    vec![
        step("a switch without roles", std::slice::from_ref(&switch), either(Forbidden, Forbidden)),
        step("roles without a switch", &[role.clone(), binding("user: nobody")], either(Answered, Answered)),
        step(
            "a role for an account",
            &[switch.clone(), role.clone(), binding("user: cluster.local/ns/default/sa/default")],
            vec![
                ask(Client, "GET", "/details/0", Answered),
                ask(Client, "POST", "/details/0", Forbidden),
                ask(Client, "GET", "/health", Forbidden),
                ask(Plain, "GET", "/details/0", Forbidden),
            ],
        ),
        step("a role for anybody", &[switch.clone(), role.clone(), binding("user: '*'")], either(Answered, Answered)),
        step(
            "a policy in the place of roles",
            &[switch, role, binding("user: '*'"), allow_posts],
            vec![ask(Plain, "GET", "/details/0", Forbidden), ask(Plain, "POST", "/details/0", Answered)],
        ),
        step(
            "an intention against an account",
            &[intentions("{name: default, action: deny}")],
            either(Forbidden, Forbidden),
        ),
        step("an intention against another", &[intentions("{name: other, action: deny}")], either(Answered, Forbidden)),
        step(
            "permissions of an intention",
            &[intentions(permissions)],
            vec![ask(Client, "GET", "/details/0", Answered), ask(Client, "POST", "/details/0", Forbidden)],
        ),
        step(
            "a target for an account",
            &[routes.clone(), target("default")],
            vec![
                ask(Client, "GET", "/details/0", Answered),
                ask(Client, "POST", "/details/0", Forbidden),
                ask(Client, "POST", "/health", Answered),
                ask(Plain, "GET", "/details/0", Forbidden),
            ],
        ),
        step("a target for another account", &[routes, target("other")], either(Forbidden, Forbidden)),
    ]
}
