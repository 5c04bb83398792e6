//! Consul's intentions. For a caller and a service the one of the highest precedence decides alone: an exact service before any,
//! and then an exact caller before any. Callers are known by their accounts, which Consul on Kubernetes wants to be called like
//! their services. Nobody without an identity of the mesh may call a service that an intention is for, since Consul's
//! proxies take mutual TLS alone.

use std::cmp::Reverse;

use api::INTENTION_DEFAULT;
use api::Spanned;
use api::consul::{
    ANY, IntentionAction, IntentionHeader, IntentionHttp, IntentionPermission, IntentionSource, ServiceIntentions,
    namespace_or,
};
use api::istio::AccessAction;
use api::yaml::Span;
use model::StringMatch;
use model::access::{Condition, Operation, Permission, Policy, Principal};
use model::matcher::{HeaderKey, HeaderMatch, ValueMatch};

use super::{Made, OtherLayer, Whence, all, either, layer_of, named, not, of_mesh, once, refuses_by_default};
use crate::access::Subject;
use crate::access::text::pattern;
use crate::service::Service;
use crate::world::{Document, World};

/// An entry for a service, and who it is for.
pub struct Intention<'w> {
    /// The document.
    pub document: &'w Document<ServiceIntentions>,
    /// The number of the source.
    pub index: usize,
    /// The source.
    pub source: &'w Spanned<IntentionSource>,
    /// Consul's precedence, from 1 to 9.
    pub precedence: u8,
    /// The caller's namespace; `*` is any.
    pub namespace: &'w str,
    /// The caller's name; `*` is any.
    pub name: &'w str,
}

/// How exact a name is.
fn exactness(namespace: &str, name: &str) -> u8 {
    match (namespace, name) {
        (ANY, _) => 0,
        (_, ANY) => 1,
        _ => 2,
    }
}

impl World {
    /// The intentions for a service, those first that decide before others. Of two of the same precedence that are for the
    /// same caller the one that refuses more counts, and then the older one; the other is left out.
    pub(crate) fn intentions(&self, namespace: &str, name: &str) -> Vec<Intention<'_>> {
        let mut found: Vec<Intention<'_>> = self
            .other_access
            .intentions
            .iter()
            .filter_map(|document| Some((document, leads_to(document, namespace, name)?)))
            .flat_map(|(document, to)| {
                let sources = document.spec().sources.iter().enumerate();
                sources.map(move |(index, source)| {
                    let of = namespace_or(&source.namespace, document.namespace());
                    let precedence = to * 3 + exactness(of, &source.name) + 1;
                    Intention { document, index, source, precedence, namespace: of, name: &source.name }
                })
            })
            .collect();
        found.sort_by_key(|intention| (Reverse(intention.precedence), strictness(intention.source)));
        let mut kept: Vec<Intention<'_>> = Vec::new();
        for one in found {
            if !kept.iter().any(|other| (other.namespace, other.name) == (one.namespace, one.name)) {
                kept.push(one);
            }
        }
        kept
    }
}

/// How exactly a document names a service; none if it is for another.
fn leads_to(document: &Document<ServiceIntentions>, namespace: &str, name: &str) -> Option<u8> {
    let to = &document.spec().destination;
    let of = namespace_or(&to.namespace, document.namespace());
    let fits = (of == ANY || of == namespace) && (to.name.value == ANY || to.name.value == name);
    fits.then(|| exactness(of, &to.name))
}

fn strictness(source: &IntentionSource) -> u8 {
    match source.action {
        Some(IntentionAction::Deny) => 0,
        None => 1,
        Some(IntentionAction::Allow) => 2,
    }
}

/// What is asked at a workload: for each of the services that lead to the port. Gateways are no services of Consul's.
pub fn layers(world: &World, subject: Subject<'_>, tcp: bool) -> Vec<OtherLayer> {
    if subject.is_gateway {
        return Vec::new();
    }
    let services = subject.services.iter().filter_map(|host| world.service(host));
    services.filter_map(|service| layer(world, service, tcp)).collect()
}

fn layer(world: &World, service: &Service, tcp: bool) -> Option<OtherLayer> {
    let refuses = refuses_by_default(world, INTENTION_DEFAULT, &service.namespace);
    let intentions = world.intentions(&service.namespace, &service.name);
    if intentions.is_empty() && !refuses {
        return None;
    }
    let wanted = if refuses { IntentionAction::Allow } else { IntentionAction::Deny };
    let mut made: Vec<Made> =
        intentions.iter().flat_map(|one| of_source(world, one, &intentions, wanted, tcp)).collect();
    if !refuses {
        made.extend(intentions.first().map(|first| strangers(world, first)));
    }
    let documents = once(intentions.iter().map(|one| &one.document.resource));
    Some(layer_of(if refuses { AccessAction::Allow } else { AccessAction::Deny }, made, documents))
}

/// The rules of a source that allow or refuse, whichever is not the default.
fn of_source(
    world: &World,
    one: &Intention<'_>,
    others: &[Intention<'_>],
    wanted: IntentionAction,
    tcp: bool,
) -> Vec<Made> {
    let before = others.iter().filter(|other| other.precedence > one.precedence).map(|other| not(who(world, other)));
    let principal = all([who(world, one)].into_iter().chain(before).collect());
    let name = format!("ns[{}]-intentions[{}]-source[{}]", one.document.namespace(), one.document.name(), one.index);
    let made = |name: String, span: Span, permission: Permission| Made {
        name: name.into(),
        policy: Policy { permissions: vec![permission], principals: vec![principal.clone()] },
        whence: whence(one, span),
    };
    match (one.source.action, tcp) {
        (Some(action), _) if action == wanted => vec![made(name, one.source.span, Condition::Any)],
        (Some(_), _) => Vec::new(),
        // Of connections nothing is known that permissions ask for: they are refused (Consul).
        (None, true) if wanted == IntentionAction::Deny => vec![made(name, one.source.span, Condition::Any)],
        (None, true) => Vec::new(),
        (None, false) => {
            let permissions = &one.source.permissions;
            let of_action = permissions.iter().enumerate().filter(|(_, permission)| permission.action == wanted);
            let rule = |(index, permission): (usize, &Spanned<IntentionPermission>)| {
                let fits =
                    all([requests(&permission.http)?].into_iter().chain(earlier(&permissions[..index])?).collect());
                Some(made(format!("{name}-permission[{index}]"), permission.span, fits))
            };
            of_action.filter_map(rule).collect()
        }
    }
}

/// None of the permissions before has decided.
fn earlier(permissions: &[Spanned<IntentionPermission>]) -> Option<Vec<Permission>> {
    permissions.iter().map(|permission| Some(not(requests(&permission.http)?))).collect()
}

fn whence(one: &Intention<'_>, span: Span) -> Whence {
    Whence { document: one.document.resource.clone(), part: "source", index: one.index, span, by: None }
}

/// Whoever has no identity of the mesh.
fn strangers(world: &World, first: &Intention<'_>) -> Made {
    let name = format!("ns[{}]-intentions[{}]-unknown-caller", first.document.namespace(), first.document.name());
    Made {
        name: name.into(),
        policy: Policy { permissions: vec![Condition::Any], principals: vec![not(of_mesh(world))] },
        whence: Whence { part: "", ..whence(first, Span::default()) },
    }
}

/// The callers that an intention is for.
fn who(world: &World, one: &Intention<'_>) -> Principal {
    match (one.namespace, one.name) {
        (ANY, _) => of_mesh(world),
        (namespace, ANY) => named(world, &format!("ns/{namespace}/"), StringMatch::prefix),
        (namespace, name) => named(world, &format!("ns/{namespace}/sa/{name}"), StringMatch::exact),
    }
}

/// The requests that a permission is for; none if an expression cannot be read, which is refused before.
fn requests(http: &IntentionHttp) -> Option<Permission> {
    let path = |text| Condition::Is(Operation::Path(text));
    let mut conditions = Vec::new();
    if !http.path_exact.is_empty() {
        conditions.push(path(StringMatch::exact(&*http.path_exact.value)));
    }
    if !http.path_prefix.is_empty() {
        conditions.push(path(StringMatch::prefix(&*http.path_prefix.value)));
    }
    if !http.path_regex.is_empty() {
        conditions.push(path(pattern(&http.path_regex)?));
    }
    if !http.methods.is_empty() {
        let method = |method: &Spanned<String>| {
            let value = ValueMatch::Text(StringMatch::exact(&*method.value));
            header(HeaderKey::Method, value, false)
        };
        conditions.push(either(http.methods.iter().map(method).collect()));
    }
    for asked in &http.header {
        conditions.push(header(HeaderKey::parse(&asked.name)?, value(asked)?, asked.invert));
    }
    Some(all(conditions))
}

fn header(key: HeaderKey, value: ValueMatch, invert: bool) -> Permission {
    Condition::Is(Operation::Header(HeaderMatch { key, value, invert, missing_as_empty: false }))
}

fn value(asked: &IntentionHeader) -> Option<ValueMatch> {
    let ignore_case = asked.ignore_case;
    let texts = [
        (&asked.exact, StringMatch::Exact { value: asked.exact.clone(), ignore_case }),
        (&asked.prefix, StringMatch::Prefix { value: asked.prefix.clone(), ignore_case }),
        (&asked.suffix, StringMatch::Suffix { value: asked.suffix.clone(), ignore_case }),
        (&asked.contains, StringMatch::Contains { value: asked.contains.clone(), ignore_case }),
    ];
    if asked.present {
        return Some(ValueMatch::Present(true));
    }
    let said = texts.into_iter().find(|(text, _)| !text.is_empty()).map(|(_, text)| text);
    said.or_else(|| pattern(&asked.regex)).map(ValueMatch::Text)
}
