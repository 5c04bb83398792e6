//! Who may do what: questions and answers between the API's words and translation's. The command line asks about files in the
//! same way.

use std::net::{IpAddr, Ipv4Addr};

use api::DEFAULT_NAMESPACE;
use base::SpiffeId;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use model::metadata::{Metadata, Value};
use model::route::RequestView;
use serde_json::Value as Json;
use translate::access::Standing;
use translate::access::graph::{self, May};
use translate::access::question::{self, Because, Called, Place, Question};
use translate::{Node, Role, World};

use crate::v1::{
    AccessAnswer, AccessAnswers, AccessEdge, AccessField, AccessGraph, AccessMiss, AccessQuestion, AccessRequest,
    AccessRule, AccessTry,
};

/// What becomes of a request or connection.
///
/// # Errors
/// Why nothing can be said of it.
pub fn answers(world: &World, asked: &AccessRequest) -> Result<AccessAnswers, String> {
    let identity = identity(world, asked)?;
    let called = called(world, asked)?;
    let written = Written::of(&asked.question)?;
    let answers: Vec<AccessAnswer> =
        called.iter().map(|called| one(world, called, identity.as_deref(), &written)).collect();
    let all = answers.iter().all(|answer| answer.decision == "allow");
    Ok(AccessAnswers { decision: decision(all), answers })
}

/// What becomes of a request or connection at the workload of a proxy, to a port of its program.
///
/// # Errors
/// Why nothing can be said of it.
pub(crate) fn of_node(
    world: &World,
    node: &Node,
    port: u16,
    tcp: bool,
    identity: Option<&str>,
    asked: &AccessQuestion,
) -> Result<AccessAnswer, String> {
    let called = Called {
        namespace: node.namespace.clone(),
        labels: node.labels.clone(),
        is_gateway: matches!(node.role, Role::Gateway { .. }),
        standing: question::standing(world, node, port),
        port,
        tcp,
        // It has proven it already.
        takes_identities: true,
    };
    Ok(one(world, &called, identity, &Written::of(asked)?))
}

/// Who may call whom.
pub fn graph(world: &World) -> AccessGraph {
    let edge = |edge: graph::Edge| AccessEdge {
        from: edge.from.map_or("*".to_owned(), |(namespace, account)| format!("{namespace}/{account}")),
        to: edge.to,
        port: edge.port,
        may: if edge.may == May::All { "all" } else { "some" }.to_owned(),
        by: edge.by.into_iter().collect(),
    };
    AccessGraph { edges: graph::graph(world).into_iter().map(edge).collect() }
}

fn decision(allowed: bool) -> String {
    if allowed { "allow" } else { "deny" }.to_owned()
}

/// The identity of the caller, as a SPIFFE ID.
fn identity(world: &World, asked: &AccessRequest) -> Result<Option<String>, String> {
    if let Some(name) = &asked.from {
        let unknown = || format!("nobody in the namespace `{}` is called `{name}`", asked.namespace);
        return world.identity_of_caller(&asked.namespace, name).map(Some).ok_or_else(unknown);
    }
    let source = &asked.question.source;
    match (&source.principal, &source.namespace, &source.account) {
        (None, None, None) => Ok(None),
        (Some(principal), namespace, account) => {
            let whole = principal.strip_prefix("spiffe://").unwrap_or(principal);
            let id = format!("spiffe://{whole}").parse::<SpiffeId>().ok();
            let Some((id, of, name)) = id.as_ref().and_then(|id| Some((id, id.namespace()?, id.service_account()?)))
            else {
                return Err(format!("`{principal}` is no identity; expected `TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT`"));
            };
            for (what, said, is) in [("namespace", namespace, of), ("account", account, name)] {
                if said.as_ref().is_some_and(|said| said != is) {
                    return Err(format!("the source's principal and its {what} do not agree; leave one of them out"));
                }
            }
            Ok(Some(id.to_string()))
        }
        (None, Some(namespace), account) => {
            let account = account.as_deref().unwrap_or("default");
            let unfit = || format!("`{namespace}` and `{account}` make no identity");
            world.identity(namespace, account).map(Some).ok_or_else(unfit)
        }
        (None, None, Some(_)) => Err("an account belongs to a namespace; say `namespace` beside it".to_owned()),
    }
}

/// Who is called: a workload that is written in full, or those of a service.
fn called(world: &World, asked: &AccessRequest) -> Result<Vec<Called>, String> {
    let written = &asked.question.destination;
    let Some(host) = &asked.to else {
        let tcp = match asked.question.protocol.as_deref() {
            None | Some("http") => false,
            Some("tcp") => true,
            Some(other) => return Err(format!("`{other}` is not a protocol; expected `http` or `tcp`")),
        };
        return Ok(vec![Called {
            namespace: written.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
            labels: written.labels.clone(),
            is_gateway: written.gateway,
            standing: Standing {
                account: written.account.clone(),
                services: written.services.iter().map(|host| host.as_str().into()).collect(),
            },
            port: written.port.ok_or("the destination has no port; expected the port of its program")?,
            tcp,
            takes_identities: true,
        }]);
    };
    question::called(world, &asked.namespace, host, asked.port)
}

/// A request's parts in the forms in which they are looked at.
struct Written {
    method: Method,
    path: String,
    host: String,
    headers: HeaderMap,
    metadata: Metadata,
    source: IpAddr,
    remote: IpAddr,
    destination: IpAddr,
    sni: Option<String>,
}

impl Written {
    fn of(asked: &AccessQuestion) -> Result<Self, String> {
        let bad = |what: &str, text: &str| format!("`{text}` is not {what}");
        let method = asked.method.as_deref().unwrap_or("GET");
        let path = asked.path.as_deref().unwrap_or("/");
        if !path.starts_with('/') {
            return Err(format!("`{path}` is not a path; expected one that begins with `/`"));
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &asked.headers {
            let key = HeaderName::try_from(name.as_str()).map_err(|_| bad("the name of a header", name))?;
            headers
                .append(key, HeaderValue::try_from(value.as_str()).map_err(|_| bad("the value of a header", value))?);
        }
        let mut metadata = Metadata::default();
        if !asked.claims.is_empty() {
            let claims = asked.claims.iter().map(|(name, claim)| (name.clone(), value(claim)));
            metadata.of("envoy.filters.http.jwt_authn").insert("payload".to_owned(), Value::Fields(claims.collect()));
        }
        let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let source = asked.source.ip.unwrap_or(unspecified);
        Ok(Self {
            method: Method::try_from(method).map_err(|_| bad("a method", method))?,
            path: path.to_owned(),
            host: asked.host.clone().unwrap_or_default(),
            headers,
            metadata,
            source,
            remote: asked.source.remote_ip.unwrap_or(source),
            destination: asked.destination.ip.unwrap_or(unspecified),
            sni: asked.sni.clone(),
        })
    }
}

fn value(claim: &Json) -> Value {
    match claim {
        Json::Null => Value::Null,
        Json::Bool(is) => Value::Bool(*is),
        Json::Number(number) => Value::Number(number.as_f64().unwrap_or_default()),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(list) => Value::List(list.iter().map(value).collect()),
        Json::Object(map) => Value::Fields(map.iter().map(|(name, claim)| (name.clone(), value(claim))).collect()),
    }
}

fn one(world: &World, called: &Called, identity: Option<&str>, written: &Written) -> AccessAnswer {
    let view = RequestView {
        method: &written.method,
        headers: &written.headers,
        metadata: Some(&written.metadata),
        ..RequestView::get(&written.host, &written.path)
    };
    let question = Question {
        subject: called.subject(),
        identity: identity.filter(|_| called.takes_identities),
        source: written.source,
        remote: written.remote,
        destination: (written.destination, called.port).into(),
        request: (!called.tcp).then_some(view),
        server_name: written.sni.as_deref(),
    };
    let found = question::answer(world, &question);
    let (by, nearest) = match &found.because {
        Because::Refused(place) | Because::Allowed(place) => (Some(rule(place)), None),
        Because::NotAllowed(missed) => (None, missed.as_ref().map(miss)),
        Because::NoPolicy | Because::NotRefused => (None, None),
    };
    let tried = found.tried.iter().map(|(action, allowed, by)| AccessTry {
        action: action.as_str().to_owned(),
        decision: decision(*allowed),
        by: by.as_ref().map(rule),
    });
    AccessAnswer {
        workload: called.title(),
        decision: decision(found.allowed),
        reason: match &found.asked {
            None => found.because.to_string(),
            Some((provider, by)) => {
                format!("the provider `{provider}` decides first, which {by} asks; then {}", found.because)
            }
        },
        by,
        nearest,
        audited: found.audited.iter().map(rule).collect(),
        dry_run: tried.collect(),
        policies: found.policies.iter().map(|policy| format!("{} ({})", policy.key(), policy.origin)).collect(),
    }
}

pub(crate) fn rule(place: &Place) -> AccessRule {
    let policy = format!("{}/{}", place.policy.namespace(), place.policy.meta.name);
    AccessRule { policy, rule: place.rule, at: place.at.clone() }
}

fn miss(missed: &question::Missed) -> AccessMiss {
    let failed = missed.lacks.iter().map(|lack| AccessField {
        field: lack.field.clone(),
        at: lack.at.clone(),
        reason: lack.words.clone(),
    });
    AccessMiss { rule: rule(&missed.rule), failed: failed.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use translate::Inputs;

    const POLICIES: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: api}
spec:
  selector: {matchLabels: {app: api}}
  rules:
  - from:
    - source: {requestPrincipals: ['https://issuer.example/*']}
    to:
    - operation: {methods: [GET], paths: ['/v1/{*}']}
    when:
    - key: request.auth.claims[groups]
      values: [dev]
";

    fn ask(question: Json) -> Result<AccessAnswers, String> {
        let parsed = api::parse("p.yaml", POLICIES);
        assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
        let world = World::new(Inputs { resources: parsed.resources, ..Inputs::default() });
        let question = serde_json::from_value(question).map_err(|error| error.to_string())?;
        answers(&world, &AccessRequest { question, namespace: "default".to_owned(), ..AccessRequest::default() })
    }

    fn to_api(method: &str, claims: Json) -> Json {
        let destination = json!({"labels": {"app": "api"}, "port": 80});
        json!({"destination": destination, "method": method, "path": "/v1/a?b=c", "claims": claims})
    }

    #[test]
    fn tokens_and_what_is_missing() {
        let claims = |group: &str| json!({"iss": "https://issuer.example", "sub": "a", "groups": [group]});
        let allowed = ask(to_api("GET", claims("dev"))).unwrap();
        assert_eq!(allowed.decision, "allow");
        let by = allowed.answers[0].by.as_ref().map(|by| (by.policy.as_str(), by.rule, by.at.as_str()));
        assert_eq!(by, Some(("default/api", 0, "p.yaml:8")));
        let refused = ask(to_api("POST", claims("dev"))).unwrap();
        let nearest = refused.answers[0].nearest.as_ref().unwrap();
        let failed: Vec<_> = nearest.failed.iter().map(|it| (it.field.as_str(), it.at.as_str())).collect();
        assert_eq!(
            (&*refused.decision, failed),
            ("deny", vec![("spec.rules[0].to[0].operation.methods", "p.yaml:11")])
        );
        let refused = ask(to_api("GET", claims("ops"))).unwrap();
        let failed = &refused.answers[0].nearest.as_ref().unwrap().failed[0];
        assert_eq!((failed.field.as_str(), failed.at.as_str()), ("spec.rules[0].when[0]", "p.yaml:13"));
        assert!(failed.reason.starts_with("the claim `groups`"), "{}", failed.reason);
        assert_eq!(ask(to_api("GET", json!({}))).unwrap().decision, "deny");
        let elsewhere = json!({"destination": {"labels": {"app": "web"}, "port": 80}});
        assert_eq!(
            ask(elsewhere).unwrap().answers[0].reason,
            "no policy concerns the workload, so everything may pass"
        );
    }

    #[test]
    fn questions_that_are_none() {
        for (question, expected) in [
            (json!({}), "the destination has no port; expected the port of its program"),
            (
                json!({"destination": {"port": 80}, "protocol": "udp"}),
                "`udp` is not a protocol; expected `http` or `tcp`",
            ),
            (json!({"destination": {"port": 80}, "path": "a"}), "`a` is not a path; expected one that begins with `/`"),
            (
                json!({"destination": {"port": 80}, "source": {"principal": "a"}}),
                "`a` is no identity; expected `TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT`",
            ),
            (
                json!({"destination": {"port": 80}, "source": {"principal": "t/ns/a/sa/b", "namespace": "c"}}),
                "the source's principal and its namespace do not agree; leave one of them out",
            ),
        ] {
            assert_eq!(ask(question.clone()), Err(expected.to_owned()), "{question}");
        }
    }
}
