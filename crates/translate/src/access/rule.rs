//! A rule of a policy as conditions on a request or connection.
//!
//! What a connection does not have (HTTP's fields) is left out where that makes a policy refuse or note down more, and makes
//! the rule as a whole fall away where it would allow more (Istio's asymmetry for TCP).

use api::Spanned;
use api::istio::{AccessCondition, AccessOperation, AccessRule, AccessSource, ConditionKey, Pair, is_path_template};
use ipnet::IpNet;
use model::StringMatch;
use model::access::{Condition, Operation, PathTemplate, Permission, Policy, Principal, Source};
use model::matcher::{HeaderKey, HeaderMatch, ValueMatch};
use model::metadata::{MetadataMatch, MetadataValue};

use super::text::{any_case, literal, not_empty, pattern, text};
use super::trust;

/// The filter that says what is in tokens, and where.
const JWT_FILTER: &str = "envoy.filters.http.jwt_authn";
const JWT_PAYLOAD: &str = "payload";

/// How a rule is read.
pub struct Reading<'a> {
    /// The policy's namespace.
    pub namespace: &'a str,
    /// It must not take more than it says, since it allows; else it must not take less.
    pub narrow: bool,
    /// For connections of which no request is read.
    pub tcp: bool,
    /// Which ports mean which.
    pub ports: Ports,
    /// The trust domain of the mesh, and others that stand for the same.
    pub trust_domains: Vec<&'a str>,
}

/// A port by which policies know a program, and the one at which its proxy takes connections for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ports(Option<(u16, u16)>);

impl Ports {
    /// Policies mean `program`, connections come to `listener`.
    pub fn of(program: u16, listener: Option<u16>) -> Self {
        Self(listener.filter(|listener| *listener != program).map(|listener| (program, listener)))
    }

    /// The condition on the port that a policy means by this number.
    pub(super) fn condition(self, port: u16) -> Permission {
        let is = |port| Condition::Is(Operation::DestinationPort(port..=port));
        match self.0 {
            Some((program, listener)) if port == program => is(listener),
            Some((_, listener)) if port == listener => Condition::Not(Box::new(Condition::Any)),
            _ => is(port),
        }
    }
}

/// The policy that a rule stands for; none if nothing is left of it.
pub fn policy(rule: &AccessRule, reading: &Reading<'_>) -> Option<Policy> {
    let (mut permissions, mut principals) = (Vec::new(), Vec::new());
    for condition in rule.when.iter().flatten() {
        further(condition, reading, &mut permissions, &mut principals)?;
    }
    let to = rule.to.as_deref().unwrap_or_default().iter().map(|to| operation(&to.operation, reading));
    let from = rule.from.as_deref().unwrap_or_default().iter().map(|from| source(&from.source, reading));
    Some(Policy { permissions: alternatives(to, permissions)?, principals: alternatives(from, principals)? })
}

/// Each alternative with what has to hold beside it; without alternatives that alone.
fn alternatives<T: Clone>(
    each: impl Iterator<Item = Option<Vec<Condition<T>>>>,
    beside: Vec<Condition<T>>,
) -> Option<Vec<Condition<T>>> {
    let each: Vec<Vec<Condition<T>>> = each.collect::<Option<_>>()?;
    if each.is_empty() {
        return Some(vec![all(beside)]);
    }
    Some(each.into_iter().map(|own| all(own.into_iter().chain(beside.iter().cloned()).collect())).collect())
}

fn all<T>(mut conditions: Vec<Condition<T>>) -> Condition<T> {
    match conditions.len() {
        0 => Condition::Any,
        1 => conditions.remove(0),
        _ => Condition::All(conditions),
    }
}

/// Adds a field: one of its values, none of those that must not be. `make` gives the conditions that a value stands for; none
/// if it has no meaning here.
fn field<T>(
    conditions: &mut Vec<Condition<T>>,
    (values, not_values): Pair<'_>,
    narrow: bool,
    make: impl Fn(&str) -> Option<Vec<Condition<T>>>,
) -> Option<()> {
    let made = |list: &[Spanned<String>]| -> Option<Option<Condition<T>>> {
        let mut any = Vec::new();
        for value in list {
            match make(value) {
                Some(some) => any.extend(some),
                None if narrow => return None,
                None => {}
            }
        }
        Some(match any.len() {
            0 => None,
            1 => any.pop(),
            _ => Some(Condition::Either(any)),
        })
    };
    let (values, not_values) = (made(values)?, made(not_values)?);
    conditions.extend(values);
    conditions.extend(not_values.map(|any| Condition::Not(Box::new(any))));
    Some(())
}

fn operation(written: &AccessOperation, reading: &Reading<'_>) -> Option<Vec<Permission>> {
    let mut conditions = Vec::new();
    for (name, _, lists) in written.fields() {
        field(&mut conditions, lists, reading.narrow, |value| {
            let fact = match name {
                "ports" => return Some(vec![reading.ports.condition(value.parse().ok()?)]),
                _ if reading.tcp => return None,
                "hosts" => Operation::Header(header(HeaderKey::Authority, value, any_case)?),
                "methods" => Operation::Header(header(HeaderKey::Method, value, text)?),
                _ if is_path_template(value) => Operation::Template(PathTemplate::of_istio(value).ok()?),
                _ => Operation::Path(text(value)?),
            };
            Some(vec![Condition::Is(fact)])
        })?;
    }
    Some(conditions)
}

fn source(written: &AccessSource, reading: &Reading<'_>) -> Option<Vec<Principal>> {
    let mut conditions = Vec::new();
    for (name, _, lists) in written.fields() {
        let key = match name {
            "principals" => ConditionKey::SourcePrincipal,
            "requestPrincipals" => ConditionKey::RequestPrincipal,
            "namespaces" => ConditionKey::SourceNamespace,
            "serviceAccounts" => ConditionKey::SourceServiceAccount,
            "trustDomains" => ConditionKey::SourceTrustDomain,
            "ipBlocks" => ConditionKey::SourceIp,
            _ => ConditionKey::RemoteIp,
        };
        field(&mut conditions, lists, reading.narrow, |value| who(&key, value, reading))?;
    }
    Some(conditions)
}

/// A further condition: on what is done, or on who does it.
fn further(
    written: &AccessCondition,
    reading: &Reading<'_>,
    permissions: &mut Vec<Permission>,
    principals: &mut Vec<Principal>,
) -> Option<()> {
    let lists = (&written.values[..], &written.not_values[..]);
    let Ok(key) = ConditionKey::read(&written.key) else { return (!reading.narrow).then_some(()) };
    match key {
        ConditionKey::DestinationIp
        | ConditionKey::DestinationPort
        | ConditionKey::ServerName
        | ConditionKey::FilterMetadata { .. } => {
            field(permissions, lists, reading.narrow, |value| what(&key, value, reading))
        }
        _ => field(principals, lists, reading.narrow, |value| who(&key, value, reading)),
    }
}

/// What is done, by a key of further conditions.
fn what(key: &ConditionKey<'_>, value: &str, reading: &Reading<'_>) -> Option<Vec<Permission>> {
    let fact = match key {
        ConditionKey::DestinationIp => Operation::DestinationIp(block(value)?),
        ConditionKey::DestinationPort => return Some(vec![reading.ports.condition(value.parse().ok()?)]),
        ConditionKey::ServerName => Operation::ServerName(text(value)?),
        ConditionKey::FilterMetadata { filter, key } => {
            let in_list = value.strip_prefix('[').and_then(|value| value.strip_suffix(']'));
            let asked = MetadataValue::Text(text(in_list.unwrap_or(value))?);
            let asked = if in_list.is_some() { MetadataValue::OneOf(Box::new(asked)) } else { asked };
            let path = vec![(*key).to_owned()];
            Operation::Metadata(MetadataMatch { filter: (*filter).to_owned(), path, value: asked, invert: false })
        }
        _ => return None,
    };
    Some(vec![Condition::Is(fact)])
}

/// Who does it, by a key of further conditions.
fn who(key: &ConditionKey<'_>, value: &str, reading: &Reading<'_>) -> Option<Vec<Principal>> {
    if reading.tcp && key.is_http() {
        return None;
    }
    let one = |fact: Source| Some(vec![Condition::Is(fact)]);
    let named = |text: StringMatch| Condition::Is(Source::Authenticated(Some(text)));
    match key {
        ConditionKey::SourceIp => one(Source::DirectRemoteIp(block(value)?)),
        ConditionKey::RemoteIp => one(Source::RemoteIp(block(value)?)),
        ConditionKey::SourcePrincipal => {
            let meant = trust::principals(value, &reading.trust_domains);
            meant.iter().map(|value| Some(named(identity(value)?))).collect()
        }
        ConditionKey::SourceNamespace => {
            let namespace: Vec<String> = value.split('*').map(literal).collect();
            Some(vec![named(pattern(&format!(".*/ns/{}/.*", namespace.join(".*")))?)])
        }
        ConditionKey::SourceServiceAccount => {
            let (namespace, account) = value.split_once('/').unwrap_or((reading.namespace, value));
            let (namespace, account) = (literal(namespace), literal(account));
            Some(vec![named(pattern(&format!("spiffe://.+/ns/{namespace}/(.+/|)sa/{account}(/.+)?"))?)])
        }
        ConditionKey::SourceTrustDomain => {
            let meant = trust::domains(value, &reading.trust_domains);
            meant.iter().map(|value| Some(named(trust_domain(value)?))).collect()
        }
        ConditionKey::RequestPrincipal => Some(vec![token(value)?]),
        ConditionKey::RequestAudiences => Some(vec![claim(&["aud"], value)?]),
        ConditionKey::RequestPresenter => Some(vec![claim(&["azp"], value)?]),
        ConditionKey::RequestClaims(path) => Some(vec![claim(path, value)?]),
        ConditionKey::RequestHeader(name) => one(Source::Header(header(HeaderKey::parse(name)?, value, text)?)),
        _ => None,
    }
}

/// A header with a value; `*` asks that it is there.
fn header(key: HeaderKey, value: &str, text: fn(&str) -> Option<StringMatch>) -> Option<HeaderMatch> {
    let value = if value == "*" { ValueMatch::Present(true) } else { ValueMatch::Text(text(value)?) };
    Some(HeaderMatch { key, value, invert: false, missing_as_empty: false })
}

/// An identity by its SPIFFE ID.
fn identity(written: &str) -> Option<StringMatch> {
    const SCHEME: &str = "spiffe://";
    match (written, written.strip_prefix('*'), written.strip_suffix('*')) {
        ("*", ..) => not_empty(),
        (_, Some(end), _) => pattern(&format!("{SCHEME}.*{}", literal(end))),
        (_, None, Some(beginning)) => Some(StringMatch::prefix(format!("{SCHEME}{beginning}"))),
        (whole, None, None) => Some(StringMatch::exact(format!("{SCHEME}{whole}"))),
    }
}

/// A trust domain in a SPIFFE ID.
fn trust_domain(written: &str) -> Option<StringMatch> {
    match (written, written.strip_prefix('*'), written.strip_suffix('*')) {
        ("*", ..) => pattern("spiffe://[^/]+/.*"),
        (_, Some(end), _) => pattern(&format!("spiffe://[^/]*{}/.*", literal(end))),
        (_, None, Some(beginning)) => pattern(&format!("spiffe://{}[^/]*/.*", literal(beginning))),
        (whole, None, None) => Some(StringMatch::prefix(format!("spiffe://{whole}/"))),
    }
}

/// Issuer and subject of a token. The issuer may hold slashes, the subject does not.
fn token(written: &str) -> Option<Principal> {
    let (issuer, subject) = match (written, written.rsplit_once('/')) {
        ("*", _) => (not_empty()?, not_empty()?),
        // A beginning with a wildcard belongs to the issuer, an end to the subject; what is left is exact.
        (_, Some((issuer, subject))) if written.starts_with('*') => (text(issuer)?, StringMatch::exact(subject)),
        (_, Some((issuer, subject))) if written.ends_with('*') => (StringMatch::exact(issuer), text(subject)?),
        (_, Some((issuer, subject))) => (StringMatch::exact(issuer), StringMatch::exact(subject)),
        (_, None) if written.starts_with('*') => (not_empty()?, text(written)?),
        (_, None) if written.ends_with('*') => (text(written)?, not_empty()?),
        (whole, None) => (StringMatch::exact(whole), StringMatch::exact("")),
    };
    let is = |name: &str, text| Condition::Is(Source::Metadata(of_token(&[name], MetadataValue::Text(text))));
    Some(Condition::All(vec![is("iss", issuer), is("sub", subject)]))
}

/// A claim that is such a text, or a list with one.
fn claim(path: &[&str], value: &str) -> Option<Principal> {
    let text = MetadataValue::Text(text(value)?);
    let either = MetadataValue::Any(vec![MetadataValue::OneOf(Box::new(text.clone())), text]);
    Some(Condition::Is(Source::Metadata(of_token(path, either))))
}

fn of_token(path: &[&str], value: MetadataValue) -> MetadataMatch {
    let path = [JWT_PAYLOAD].iter().chain(path).map(|name| (*name).to_owned()).collect();
    MetadataMatch { filter: JWT_FILTER.to_owned(), path, value, invert: false }
}

/// An address, or a block of them.
fn block(written: &str) -> Option<IpNet> {
    written.parse().ok().or_else(|| Some(IpNet::from(written.parse::<std::net::IpAddr>().ok()?)))
}

/// The fields of a rule that only requests of HTTP have, by their paths within the rule.
pub fn http_fields(rule: &AccessRule) -> Vec<String> {
    let mut found = Vec::new();
    for (i, from) in rule.from.iter().flatten().enumerate() {
        for (name, not, (values, not_values)) in from.source.fields() {
            let names = [(name, values), (not, not_values)];
            let names = names.iter().filter(|(_, list)| name == "requestPrincipals" && !list.is_empty());
            found.extend(names.map(|(name, _)| format!("from[{i}].source.{name}")));
        }
    }
    for (i, to) in rule.to.iter().flatten().enumerate() {
        for (name, not, (values, not_values)) in to.operation.fields() {
            let names = [(name, values), (not, not_values)];
            let names = names.iter().filter(|(_, list)| name != "ports" && !list.is_empty());
            found.extend(names.map(|(name, _)| format!("to[{i}].operation.{name}")));
        }
    }
    for (i, condition) in rule.when.iter().flatten().enumerate() {
        if ConditionKey::read(&condition.key).is_ok_and(|key| key.is_http()) {
            found.push(format!("when[{i}].key"));
        }
    }
    found
}
