//! A rule of a role and a subject of a binding as a rule of an AuthorizationPolicy.
//!
//! Istio 1.4 compared hosts as clients wrote them and paths together with the query, so these become conditions on the headers
//! `:authority` and `:path`. What is excluded is excluded in any case of letters and with any query too: Istio 1.4 let a
//! request to `/admin?` pass where `/admin` was excluded.

use api::Spanned;
use api::istio::{
    ALL_AUTHENTICATED_USERS, ALL_USERS, AccessCondition, AccessFrom, AccessOperation, AccessRule, AccessSource,
    AccessTo, ConstraintKey, RoleRule, RoleSubject, is_path_template,
};

use crate::access::Subject;
use crate::service::Service;

type Texts = Vec<Spanned<String>>;

/// Is a rule for this service, and this workload behind it?
pub fn fits(rule: &RoleRule, service: &Service, subject: Subject<'_>) -> bool {
    let of_service = rule.services.is_empty() || is_one(&service.host, &rule.services);
    of_service
        && rule.constraints.iter().all(|constraint| match ConstraintKey::read(&constraint.key) {
            Some(ConstraintKey::Label(name)) => {
                subject.labels.get(name).is_some_and(|value| is_one(value, &constraint.values))
            }
            Some(ConstraintKey::Name) => is_one(&service.name, &constraint.values),
            Some(ConstraintKey::Namespace) => is_one(&service.namespace, &constraint.values),
            Some(ConstraintKey::User) => subject.account.is_some_and(|account| is_one(account, &constraint.values)),
            Some(ConstraintKey::Condition(_)) => true,
            None => false,
        })
}

/// Is a text one of these, in which `*` at one end stands for any text?
pub fn is_one(text: &str, list: &[Spanned<String>]) -> bool {
    list.iter().any(|one| {
        let (prefix, suffix) = (one.strip_suffix('*'), one.strip_prefix('*'));
        one.value == text
            || prefix.is_some_and(|prefix| text.starts_with(prefix))
            || suffix.is_some_and(|suffix| text.ends_with(suffix))
    })
}

/// May a subject be met by connections of which no request is read? The property `source.user` is one of requests.
pub fn takes(subject: &RoleSubject, tcp: bool) -> bool {
    !(tcp && subject.properties.contains_key("source.user"))
}

/// The rule that both are together, at services that [`fits`] was asked for.
pub fn lower(rule: &RoleRule, subject: &RoleSubject) -> AccessRule {
    let mut when = Vec::new();
    let operation = operation(rule, &mut when);
    let source = source(subject, &mut when);
    let to = (operation != AccessOperation::default()).then(|| vec![AccessTo { operation }]);
    let from = (source != AccessSource::default()).then(|| vec![AccessFrom { source }]);
    AccessRule { from, to, when: (!when.is_empty()).then_some(when) }
}

fn operation(rule: &RoleRule, when: &mut Vec<AccessCondition>) -> AccessOperation {
    condition(when, "request.headers[:authority]", rule.hosts.clone(), Vec::new());
    condition(when, "request.headers[:path]", rule.paths.clone(), rule.not_paths.clone());
    for constraint in &rule.constraints {
        match ConstraintKey::read(&constraint.key) {
            // Any server name, also none.
            Some(ConstraintKey::Condition(api::istio::ConditionKey::ServerName))
                if constraint.values.iter().any(|value| value.value == "*") => {}
            Some(ConstraintKey::Condition(_)) => {
                condition(when, &constraint.key, constraint.values.clone(), Vec::new())
            }
            _ => {}
        }
    }
    let numbers = |list: &[Spanned<u32>]| -> Texts {
        list.iter().map(|port| Spanned { value: port.value.to_string(), span: port.span }).collect()
    };
    AccessOperation {
        not_hosts: rule.not_hosts.clone(),
        methods: rule.methods.clone(),
        not_methods: rule.not_methods.clone(),
        not_paths: rule.not_paths.iter().filter(|path| !is_path_template(path)).cloned().collect(),
        ports: numbers(&rule.ports),
        not_ports: numbers(&rule.not_ports),
        ..AccessOperation::default()
    }
}

fn source(subject: &RoleSubject, when: &mut Vec<AccessCondition>) -> AccessSource {
    const CLAIM: &str = "request.auth.claims[groups]";
    const PRINCIPAL: &str = "source.principal";
    let users = match subject.user.is_empty() || subject.user.value == "*" {
        true => Vec::new(),
        false => names(std::slice::from_ref(&subject.user)).unwrap_or_default(),
    };
    let names_of = names(&subject.names).unwrap_or_default();
    // Beside a user they are a further condition.
    let (principals, beside) = if users.is_empty() { (names_of, Vec::new()) } else { (users, names_of) };
    condition(when, PRINCIPAL, beside, Vec::new());
    if !subject.group.is_empty() {
        condition(when, CLAIM, vec![subject.group.clone()], Vec::new());
    }
    condition(when, CLAIM, subject.groups.clone(), subject.not_groups.clone());
    for (key, value) in &subject.properties {
        let (key, values) = match key.as_str() {
            PRINCIPAL | "source.user" => (PRINCIPAL, names(std::slice::from_ref(value)).unwrap_or_default()),
            key => (key, vec![value.clone()]),
        };
        condition(when, key, values, Vec::new());
    }
    let not_principals = names(&subject.not_names);
    if not_principals.is_none() {
        nobody(when);
    }
    AccessSource {
        principals,
        not_principals: not_principals.unwrap_or_default(),
        namespaces: subject.namespaces.clone(),
        not_namespaces: subject.not_namespaces.clone(),
        ip_blocks: subject.ips.clone(),
        not_ip_blocks: subject.not_ips.clone(),
        ..AccessSource::default()
    }
}

/// Identities; none if anybody is meant, without an identity too.
fn names(list: &[Spanned<String>]) -> Option<Texts> {
    let name = |name: &Spanned<String>| match name.as_str() {
        ALL_USERS => None,
        ALL_AUTHENTICATED_USERS => Some(Spanned { value: "*".to_owned(), span: name.span }),
        _ => Some(name.clone()),
    };
    list.iter().map(name).collect()
}

/// Excludes everybody: no address is in none.
fn nobody(when: &mut Vec<AccessCondition>) {
    let all = ["0.0.0.0/0", "::/0"].map(|block| Spanned { value: block.to_owned(), ..Spanned::default() });
    condition(when, "source.ip", Vec::new(), all.to_vec());
}

fn condition(when: &mut Vec<AccessCondition>, key: &str, values: Texts, not_values: Texts) {
    if !values.is_empty() || !not_values.is_empty() {
        let key = Spanned { value: key.to_owned(), ..Spanned::default() };
        when.push(AccessCondition { key, values, not_values });
    }
}
