//! What AuthorizationPolicies mean, written down from Istio's documentation alone and as plainly as possible: it knows
//! nothing of Envoy, of the model, nor of how policies are translated.

use std::collections::BTreeMap;
use std::net::IpAddr;

use api::Spanned;
use api::istio::{AccessAction, AccessCondition, AccessOperation, AccessRule, AccessSource, AuthorizationPolicy, Pair};

/// A request or connection in plain words.
#[derive(Debug, Clone)]
pub struct Plain {
    /// Trust domain, namespace and account, if mutual TLS has proven them.
    pub identity: Option<(String, String, String)>,
    pub source: IpAddr,
    pub remote: IpAddr,
    pub destination: IpAddr,
    pub port: u16,
    pub sni: Option<String>,
    /// None: raw TCP.
    pub http: Option<Http>,
}

#[derive(Debug, Clone)]
pub struct Http {
    pub method: String,
    pub path: String,
    pub host: String,
    pub headers: BTreeMap<String, String>,
    /// Of a valid token.
    pub claims: BTreeMap<String, Claim>,
}

#[derive(Debug, Clone)]
pub enum Claim {
    Text(String),
    List(Vec<String>),
    Within(BTreeMap<String, Claim>),
}

/// The workload's namespace, the mesh's trust domain.
pub struct Mesh<'a> {
    pub trust_domain: &'a str,
    pub policy_namespace: &'a str,
}

/// May it pass? All the policies select the workload.
pub fn allowed(policies: &[AuthorizationPolicy], call: &Plain, mesh: &Mesh<'_>) -> bool {
    let of = |action| policies.iter().filter(move |policy| policy.action == action);
    // Nobody decides for CUSTOM here, so it refuses.
    for policy in of(AccessAction::Custom).chain(of(AccessAction::Deny)) {
        if policy.rules.iter().any(|rule| refuses(rule, call, mesh)) {
            return false;
        }
    }
    let mut allowing = of(AccessAction::Allow).peekable();
    allowing.peek().is_none() || allowing.any(|policy| policy.rules.iter().any(|rule| allows(rule, call, mesh)))
}

fn refuses(rule: &AccessRule, call: &Plain, mesh: &Mesh<'_>) -> bool {
    matches(&if call.http.is_none() { without_http(rule) } else { rule.clone() }, call, mesh)
}

fn allows(rule: &AccessRule, call: &Plain, mesh: &Mesh<'_>) -> bool {
    (call.http.is_some() || *rule == without_http(rule)) && matches(rule, call, mesh)
}

/// The rule with what only HTTP has taken out.
fn without_http(rule: &AccessRule) -> AccessRule {
    let mut rule = rule.clone();
    for from in rule.from.iter_mut().flatten() {
        from.source.request_principals.clear();
        from.source.not_request_principals.clear();
    }
    for to in rule.to.iter_mut().flatten() {
        let operation = &mut to.operation;
        let ports = (std::mem::take(&mut operation.ports), std::mem::take(&mut operation.not_ports));
        *operation = AccessOperation { ports: ports.0, not_ports: ports.1, ..AccessOperation::default() };
    }
    for condition in rule.when.iter_mut().flatten().filter(|condition| condition.key.starts_with("request.")) {
        condition.values.clear();
        condition.not_values.clear();
    }
    rule
}

fn matches(rule: &AccessRule, call: &Plain, mesh: &Mesh<'_>) -> bool {
    let from = rule.from.as_ref().is_none_or(|from| from.iter().any(|from| is_source(&from.source, call, mesh)));
    let to = rule.to.as_ref().is_none_or(|to| to.iter().any(|to| is_operation(&to.operation, call)));
    let when = rule.when.iter().flatten().all(|condition| is_so(condition, call, mesh));
    from && to && when
}

/// One of the values, none of the others.
fn field((values, not_values): Pair<'_>, is: impl Fn(&str) -> bool) -> bool {
    let any = |list: &[Spanned<String>]| list.iter().any(|value| is(value));
    (values.is_empty() || any(values)) && !any(not_values)
}

fn is_source(source: &AccessSource, call: &Plain, mesh: &Mesh<'_>) -> bool {
    let (values, not_values) = (&source.principals[..], &source.not_principals[..]);
    field((values, not_values), |value| principal(value, call, mesh))
        && field((&source.request_principals, &source.not_request_principals), |value| token(value, call))
        && field((&source.namespaces, &source.not_namespaces), |value| namespace(value, call))
        && field((&source.service_accounts, &source.not_service_accounts), |value| account(value, call, mesh))
        && field((&source.trust_domains, &source.not_trust_domains), |value| domain(value, call, mesh))
        && field((&source.ip_blocks, &source.not_ip_blocks), |value| block(value, call.source))
        && field((&source.remote_ip_blocks, &source.not_remote_ip_blocks), |value| block(value, call.remote))
}

fn is_operation(operation: &AccessOperation, call: &Plain) -> bool {
    let http = |is: &dyn Fn(&Http) -> bool| call.http.as_ref().is_some_and(is);
    field((&operation.ports, &operation.not_ports), |value| value == call.port.to_string())
        && field((&operation.methods, &operation.not_methods), |value| http(&|http| text(value, &http.method)))
        && field((&operation.hosts, &operation.not_hosts), |value| {
            http(&|http| text(&value.to_lowercase(), &http.host.to_lowercase()))
        })
        && field((&operation.paths, &operation.not_paths), |value| http(&|http| path(value, &http.path)))
}

fn is_so(condition: &AccessCondition, call: &Plain, mesh: &Mesh<'_>) -> bool {
    let key = condition.key.as_str();
    let claims = call.http.as_ref().map(|http| &http.claims);
    let in_brackets = |key: &str| key.split_once('[').map(|(_, rest)| rest.trim_end_matches(']').to_owned());
    field((&condition.values, &condition.not_values), |value| match key {
        "source.ip" => block(value, call.source),
        "remote.ip" => block(value, call.remote),
        "destination.ip" => block(value, call.destination),
        "destination.port" => value == call.port.to_string(),
        "connection.sni" => text(value, call.sni.as_deref().unwrap_or_default()),
        "source.namespace" => namespace(value, call),
        "source.principal" => principal(value, call, mesh),
        "source.serviceAccount" => account(value, call, mesh),
        "source.trustDomain" => domain(value, call, mesh),
        "request.auth.principal" => token(value, call),
        "request.auth.audiences" => claims.is_some_and(|claims| claim(&["aud"], value, claims)),
        "request.auth.presenter" => claims.is_some_and(|claims| claim(&["azp"], value, claims)),
        _ => {
            let name = in_brackets(key).unwrap_or_default();
            if key.starts_with("request.headers") {
                let header = call.http.as_ref().and_then(|http| http.headers.get(&name.to_lowercase()));
                return header.is_some_and(|header| value == "*" || text(value, header));
            }
            let path: Vec<&str> = name.split("][").collect();
            claims.is_some_and(|claims| claim(&path, value, claims))
        }
    })
}

/// `*` alone is any text that is not empty; at one end it is any text.
fn text(pattern: &str, text: &str) -> bool {
    match pattern {
        "*" => !text.is_empty(),
        _ if pattern.starts_with('*') => text.ends_with(&pattern[1..]),
        _ if pattern.ends_with('*') => text.starts_with(&pattern[..pattern.len() - 1]),
        _ => text == pattern,
    }
}

/// With templates: `{*}` is one segment, `{**}` the rest up to what stands behind it.
fn path(pattern: &str, path: &str) -> bool {
    if !pattern.contains("{*}") && !pattern.contains("{**}") {
        return text(pattern, path);
    }
    segments(&pattern.split('/').collect::<Vec<_>>(), &path.split('/').collect::<Vec<_>>())
}

fn segments(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"{**}", rest)), _) => (1..=path.len()).any(|taken| segments(rest, &path[taken..])),
        (Some((&"{*}", rest)), Some((one, left))) => !one.is_empty() && segments(rest, left),
        (Some((literal, rest)), Some((one, left))) => literal == one && segments(rest, left),
        _ => false,
    }
}

fn principal(pattern: &str, call: &Plain, mesh: &Mesh<'_>) -> bool {
    let Some((domain, namespace, account)) = &call.identity else { return false };
    // In a whole identity `cluster.local` is the mesh's own trust domain.
    let pattern = match pattern.strip_prefix("cluster.local/ns/") {
        Some(rest) if pattern.split('/').count() == 5 => format!("{}/ns/{rest}", mesh.trust_domain),
        _ => pattern.to_owned(),
    };
    text(&pattern, &format!("{domain}/ns/{namespace}/sa/{account}"))
}

/// `*` may stand anywhere in a namespace.
fn namespace(pattern: &str, call: &Plain) -> bool {
    fn glob(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|taken| glob(rest, &text[taken..])),
            Some((c, rest)) => text.first() == Some(c) && glob(rest, &text[1..]),
        }
    }
    call.identity.as_ref().is_some_and(|(_, own, _)| glob(pattern.as_bytes(), own.as_bytes()))
}

fn account(value: &str, call: &Plain, mesh: &Mesh<'_>) -> bool {
    let (wanted, name) = value.split_once('/').unwrap_or((mesh.policy_namespace, value));
    call.identity.as_ref().is_some_and(|(_, namespace, account)| namespace == wanted && account == name)
}

fn domain(pattern: &str, call: &Plain, mesh: &Mesh<'_>) -> bool {
    let pattern = if pattern == "cluster.local" { mesh.trust_domain } else { pattern };
    call.identity.as_ref().is_some_and(|(domain, ..)| text(pattern, domain))
}

/// Issuer and subject with a slash between.
fn token(pattern: &str, call: &Plain) -> bool {
    let claims = call.http.as_ref().map(|http| &http.claims);
    let Some((Some(Claim::Text(issuer)), Some(Claim::Text(subject)))) =
        claims.map(|claims| (claims.get("iss"), claims.get("sub")))
    else {
        return false;
    };
    text(pattern, &format!("{issuer}/{subject}"))
}

fn claim(path: &[&str], pattern: &str, claims: &BTreeMap<String, Claim>) -> bool {
    let Some(found) = claims.get(path[0]) else { return false };
    match (found, &path[1..]) {
        (Claim::Text(found), []) => text(pattern, found),
        (Claim::List(list), []) => list.iter().any(|found| text(pattern, found)),
        (Claim::Within(claims), rest) if !rest.is_empty() => claim(rest, pattern, claims),
        _ => false,
    }
}

fn block(written: &str, ip: IpAddr) -> bool {
    match written.parse::<ipnet::IpNet>() {
        Ok(block) => block.contains(&ip),
        Err(_) => written.parse() == Ok(ip),
    }
}
