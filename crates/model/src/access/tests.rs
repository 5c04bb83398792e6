//! What rules say of calls, in tables; and that looking policies up changes nothing.

mod random;

use http::{HeaderMap, Method};

use super::*;
use crate::Metadata;
use crate::matcher::{HeaderKey, ValueMatch};
use crate::metadata::{Fields, MetadataValue, Value};

/// What a call is made of, to borrow from.
struct Known {
    method: Method,
    path: &'static str,
    headers: HeaderMap,
    metadata: Metadata,
    uris: Vec<String>,
    dns: Vec<String>,
}

impl Known {
    fn new() -> Self {
        let mut metadata = Metadata::default();
        let claims = Fields::from([("iss".to_owned(), Value::Text("issuer".into()))]);
        metadata.of("jwt").insert("payload".into(), Value::Fields(claims));
        Self {
            method: Method::GET,
            path: "/api/v1",
            headers: HeaderMap::from_iter([("x-user".parse().unwrap(), "jason".parse().unwrap())]),
            metadata,
            uris: vec!["spiffe://td/ns/a/sa/web".into()],
            dns: vec!["web.a.svc".into()],
        }
    }

    fn call(&self) -> Call<'_> {
        let request = RequestView {
            method: &self.method,
            headers: &self.headers,
            metadata: Some(&self.metadata),
            ..RequestView::get("reviews:9080", self.path)
        };
        Call {
            request: Some(request),
            peer: Some(Names { uris: &self.uris, dns: &self.dns, subject: "CN=web" }),
            direct_remote: "10.0.0.1".parse().unwrap(),
            source: "10.0.0.2".parse().unwrap(),
            remote: "10.0.0.3".parse().unwrap(),
            destination: "10.1.0.1:9080".parse().unwrap(),
            server_name: Some("reviews"),
        }
    }
}

fn exact(text: &str) -> StringMatch {
    StringMatch::exact(text)
}

fn header(name: &str, value: ValueMatch) -> HeaderMatch {
    HeaderMatch { key: HeaderKey::parse(name).unwrap(), value, invert: false, missing_as_empty: false }
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn issuer(text: &str) -> MetadataMatch {
    let value = MetadataValue::Text(exact(text));
    MetadataMatch { filter: "jwt".into(), path: vec!["payload".into(), "iss".into()], value, invert: false }
}

#[test]
fn facts_of_what_is_done() {
    let known = Known::new();
    let call = known.call();
    let of_connection = Call { request: None, server_name: None, ..call };
    // The fact; of a request; of a connection.
    for (fact, of_request, of_raw) in [
        (Operation::Header(header("x-user", ValueMatch::Text(exact("jason")))), true, false),
        (Operation::Header(header("x-user", ValueMatch::Present(false))), false, true),
        (Operation::Header(HeaderMatch { invert: true, ..header("x-user", ValueMatch::Present(true)) }), false, true),
        (Operation::Header(header(":method", ValueMatch::Text(exact("GET")))), true, false),
        (Operation::Path(exact("/api/v1")), true, false),
        (Operation::Path(StringMatch::prefix("")), true, false),
        (Operation::Template(PathTemplate::new("/api/*").unwrap()), true, false),
        (Operation::DestinationIp(net("10.1.0.0/16")), true, true),
        (Operation::DestinationIp(net("10.2.0.0/16")), false, false),
        (Operation::DestinationPort(9080..=9080), true, true),
        (Operation::DestinationPort(1..=9079), false, false),
        (Operation::ServerName(exact("reviews")), true, false),
        (Operation::ServerName(exact("")), false, true),
        (Operation::Metadata(issuer("issuer")), true, false),
        (Operation::Metadata(MetadataMatch { invert: true, ..issuer("other") }), true, true),
    ] {
        assert_eq!(fact.holds(&call), of_request, "{fact}");
        assert_eq!(fact.holds(&of_connection), of_raw, "{fact} of a connection");
    }
}

#[test]
fn facts_of_who_does_it() {
    let known = Known::new();
    let proven = known.call();
    let unproven = Call { peer: Some(Names::default()), ..proven };
    let plain = Call { peer: None, ..proven };
    let named = |text: StringMatch| Source::Authenticated(Some(text));
    // The fact; of a peer with a certificate; by TLS without one; without TLS.
    for (fact, expected) in [
        (Source::Authenticated(None), [true, true, false]),
        (named(exact("spiffe://td/ns/a/sa/web")), [true, false, false]),
        (named(exact("web.a.svc")), [true, false, false]),
        (named(exact("CN=web")), [true, false, false]),
        (named(exact("web")), [false, false, false]),
        (named(StringMatch::prefix("")), [true, true, false]),
        (named(StringMatch::Regex(crate::Pattern::new(".+").unwrap())), [true, false, false]),
        (Source::DirectRemoteIp(net("10.0.0.1/32")), [true; 3]),
        (Source::SourceIp(net("10.0.0.2/32")), [true; 3]),
        (Source::RemoteIp(net("10.0.0.3/32")), [true; 3]),
        (Source::RemoteIp(net("10.0.0.1/32")), [false; 3]),
        (Source::Path(StringMatch::prefix("/api")), [true; 3]),
        (Source::Metadata(issuer("issuer")), [true; 3]),
    ] {
        assert_eq!([proven, unproven, plain].map(|call| fact.holds(&call)), expected, "{fact}");
    }
    // A socket of both families tells IPv4 addresses as IPv6 ones.
    let mapped = Call { direct_remote: "::ffff:10.0.0.1".parse().unwrap(), ..plain };
    assert!(Source::DirectRemoteIp(net("10.0.0.0/8")).holds(&mapped));
}

#[test]
fn paths_without_query_and_fragment() {
    let mut known = Known::new();
    known.path = "/a?b=/c#d";
    assert!(Operation::Path(exact("/a")).holds(&known.call()));
    known.path = "/a#/b";
    assert!(Operation::Path(exact("/a")).holds(&known.call()));
    // What has no path, as CONNECT, fits none.
    known.path = "";
    assert!(!Operation::Path(StringMatch::prefix("")).holds(&known.call()));
    known.path = "//a/../b";
    assert!(Operation::Path(exact("//a/../b")).holds(&known.call()));
}

#[test]
fn conditions_of_conditions() {
    let known = Known::new();
    let (yes, no) =
        (|| Condition::Is(Operation::Path(exact("/api/v1"))), || Condition::Is(Operation::Path(exact("/"))));
    for (condition, expected) in [
        (Condition::Any, true),
        (Condition::Not(Box::new(Condition::Any)), false),
        (Condition::All(vec![]), true),
        (Condition::All(vec![yes(), no()]), false),
        (Condition::Either(vec![]), false),
        (Condition::Either(vec![no(), yes()]), true),
        (Condition::Not(Box::new(Condition::Either(vec![no()]))), true),
    ] {
        assert_eq!(condition.holds(&known.call()), expected, "{condition}");
    }
}

fn rules(action: Action, policies: Vec<(&str, Policy)>) -> Rules {
    Rules { action, policies: policies.into_iter().map(|(name, policy)| (name.into(), policy)).collect() }
}

fn policy(permissions: Vec<Permission>, principals: Vec<Principal>) -> Policy {
    Policy { permissions, principals }
}

fn path(text: &str) -> Permission {
    Condition::Is(Operation::Path(exact(text)))
}

fn method(text: &str) -> Permission {
    Condition::Is(Operation::Header(header(":method", ValueMatch::Text(exact(text)))))
}

fn named(text: &str) -> Principal {
    Condition::Is(Source::Authenticated(Some(exact(text))))
}

#[test]
fn actions() {
    let known = Known::new();
    let fits = || policy(vec![path("/api/v1")], vec![Condition::Any]);
    let other = || policy(vec![path("/")], vec![Condition::Any]);
    let nobody = || policy(vec![Condition::Any], vec![]);
    let both = || vec![("a", other()), ("b", fits()), ("c", fits())];
    let none = || vec![("a", other()), ("b", nobody())];
    for (action, policies, allowed, taken) in [
        (Action::Allow, both(), true, Some("b")),
        (Action::Allow, none(), false, None),
        (Action::Allow, vec![], false, None),
        (Action::Deny, both(), false, Some("b")),
        (Action::Deny, none(), true, None),
        (Action::Log, both(), true, Some("b")),
        (Action::Log, none(), true, None),
    ] {
        let rules = rules(action, policies);
        let compiled = Compiled::new(rules.clone());
        for decision in [rules.decide(&known.call()), compiled.decide(&known.call())] {
            assert_eq!((decision.allowed, decision.policy.map(|name| &**name)), (allowed, taken), "{rules:?}");
        }
    }
}

#[test]
fn why_a_call_is_refused() {
    let known = Known::new();
    let any = || vec![Condition::Any];
    let not = |one| Condition::Not(Box::new(one));
    let words = |policies: Vec<(&str, Policy)>| {
        let rules = rules(Action::Allow, policies);
        let (call, compiled) = (known.call(), Compiled::new(rules.clone()));
        let why = compiled.why(&call);
        assert_eq!(why.is_some(), rules.why(&call).is_some());
        match why? {
            Refusal::NotAllowed(nearest) => Some(nearest?.in_words(&call, &|field| field.to_string())),
            Refusal::Denied(name) => panic!("denied by {name}"),
        }
    };
    for (policies, expected) in [
        (vec![], None),
        (vec![("never", policy(vec![], any()))], None),
        (vec![("fits", policy(vec![Condition::Any], any()))], None),
        (
            vec![("p", policy(vec![path("/a")], any()))],
            Some("the nearest policy is `p`: path is `/api/v1`, where it asks for one that is `/a`"),
        ),
        (
            vec![("p", policy(vec![path("/a"), path("/b"), path("/c"), path("/d")], any()))],
            Some(
                "the nearest policy is `p`: path is `/api/v1`, where it asks for one that is `/a` or is `/b` or is `/c` \
                 or one of 1 more",
            ),
        ),
        (
            vec![("p", policy(vec![Condition::All(vec![path("/a"), method("POST")])], any()))],
            Some(
                "the nearest policy is `p`: path is `/api/v1`, where it asks for one that is `/a`, and method is `GET`, \
                 where it asks for one that is `POST`",
            ),
        ),
        (
            vec![
                ("far", policy(vec![path("/a")], vec![named("spiffe://td/ns/a/sa/x")])),
                ("near", policy(vec![method("GET")], vec![named("spiffe://td/ns/a/sa/x")])),
            ],
            Some(
                "the nearest policy is `near`: principal is `spiffe://td/ns/a/sa/web`, where it asks for one that is \
                 `spiffe://td/ns/a/sa/x`",
            ),
        ),
        (
            vec![("p", policy(vec![not(path("/api/v1"))], any()))],
            Some("the nearest policy is `p`: path is `/api/v1`, which it excludes"),
        ),
        (
            vec![(
                "p",
                policy(vec![Condition::Is(Operation::Header(header("x-a", ValueMatch::Present(true))))], any()),
            )],
            Some("the nearest policy is `p`: header x-a is missing, where it asks for one that is there"),
        ),
    ] {
        assert_eq!(words(policies).as_deref(), expected);
    }
    let denies = Compiled::new(rules(Action::Deny, vec![("no", policy(vec![Condition::Any], any()))]));
    assert_eq!(denies.why(&known.call()), Some(Refusal::Denied(&"no".into())));
}

#[test]
fn nobody_waits_long_for_the_reason() {
    let known = Known::new();
    let far = |at: usize| Condition::All(vec![path(&format!("/{at}")), method("POST")]);
    let policies = (0..100_000).map(|at| (format!("{at:06}").into(), policy(vec![far(at)], vec![Condition::Any])));
    let mut rules = Rules { action: Action::Allow, policies: policies.collect() };
    // It would be nearest, but nobody looks that far, unless it has something in common with the call.
    rules.policies.push(("x".into(), policy(vec![method("POST")], vec![Condition::Any])));
    let compiled = Compiled::new(rules);
    let call = known.call();
    let nearest = |why| match why {
        Some(Refusal::NotAllowed(Some(Nearest { policy, .. }))) => String::from(&**policy),
        other => panic!("{other:?}"),
    };
    assert_eq!(nearest(compiled.rules().why(&call)), "x");
    assert_eq!(nearest(compiled.why(&call)), "x", "it has to be asked anyway, so it is looked at first");
    let mut rules = Rules::clone(compiled.rules());
    let common = Condition::All(vec![path("/api/v1"), method("POST")]);
    rules.policies.last_mut().unwrap().1.permissions = vec![common];
    assert_eq!(nearest(Compiled::new(rules).why(&call)), "x");
}

#[test]
fn in_words() {
    let principal =
        Condition::All(vec![named("a"), Condition::Not(Box::new(Condition::Is(Source::RemoteIp(net("10.0.0.0/8")))))]);
    assert_eq!(principal.to_string(), "(principal is `a` and not remote address is in 10.0.0.0/8)");
    let port = Condition::Either(vec![Condition::Is(Operation::DestinationPort(80..=90)), Condition::Any]);
    assert_eq!(port.to_string(), "(destination port is from 80 to 90 or anything)");
    assert_eq!(Condition::<Operation>::Either(vec![]).to_string(), "nothing at all");
}
