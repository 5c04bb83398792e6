//! What tokens are taken and what is made of them, and a list of attacks.

mod fetched;

use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderName;
use model::jwt::{ClaimHeader, JwtRule, TokenHeader};
use model::matcher::StringMatch;
use model::metadata::{MetadataMatch, MetadataValue};
use model::route::{Action, DirectResponse, FilterRules, Found, PathMatch, RouteMatch};
use model::{Route, VirtualHost, http_proxy};
use serde_json::{Value, json};
use telemetry::Registry;
use testkit::tokens::{Signer, key_set};

use super::*;
use crate::around::Around;
use crate::{Alone, Chain, NoExtensions};

static RSA: LazyLock<Signer> = LazyLock::new(|| Signer::rsa("rsa"));
static OTHER: LazyLock<Signer> = LazyLock::new(|| Signer::rsa("rsa"));

fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64
}

fn claims() -> Value {
    json!({"iss": "https://a", "sub": "me", "aud": ["x", "y"], "exp": now() + 600, "scope": "read write", "n": {"m": 7}})
}

fn provider(keys: &str) -> JwtProvider {
    JwtProvider::new("https://a", KeySource::Inline(keys.into()))
}

/// A filter with one provider, `a`, whose token every request needs.
fn requiring(provider: JwtProvider) -> JwtAuthentication {
    filter([("a", provider)], Requirement::provider("a"))
}

fn filter<const N: usize>(providers: [(&str, JwtProvider); N], requires: Requirement) -> JwtAuthentication {
    let matches = RouteMatch::new(PathMatch::Prefix("/".into()));
    JwtAuthentication {
        providers: providers.into_iter().map(|(name, it)| (name.into(), it)).collect(),
        rules: vec![JwtRule { matches, requires: Required::Own(requires) }],
        ..JwtAuthentication::new()
    }
}

/// What became of a request.
struct Outcome {
    flow: Flow,
    request: Request<Body>,
}

impl Outcome {
    /// The text of the refusal; none: it went on.
    fn refused(&self) -> Option<String> {
        match &self.flow {
            Flow::Continue | Flow::Reroute => None,
            Flow::Respond(local) => Some(local.text().into_owned()),
            Flow::Broken(kind) => panic!("{kind:?}"),
        }
    }

    fn header(&self, name: &str) -> Vec<&str> {
        self.request.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }
}

fn bearer(token: &str) -> Request<Body> {
    Request::get("/p?q=1").header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap()
}

async fn run(settings: &JwtAuthentication, request: Request<Body>) -> Outcome {
    run_on(settings, None, request, &Alone::default()).await
}

async fn run_on(
    settings: &JwtAuthentication,
    rules: Option<Box<FilterRules>>,
    mut request: Request<Body>,
    around: &dyn Around,
) -> Outcome {
    let chain = chain(settings);
    let action = Action::Respond(DirectResponse { status: 200, body: "".into() });
    let route = Route { filters: rules, ..Route::new(PathMatch::Prefix("/".into()), action) };
    let host = VirtualHost::default();
    let mut run = chain.begin(Some(&Found { host: &host, route: &route }), 1);
    let flow = run.on_request(&mut request, around).await;
    Outcome { flow, request }
}

fn chain(settings: &JwtAuthentication) -> Chain {
    let stats = Stats::new(&Registry::new().shard(), "in").unwrap();
    Chain::new(&[http_proxy::HttpFilter::Jwt(Arc::new(settings.clone()))], &stats, None, &NoExtensions).unwrap()
}

#[tokio::test]
async fn every_algorithm() {
    let (p256, p384, p521) =
        (Signer::elliptic("a", "ES256"), Signer::elliptic("b", "ES384"), Signer::elliptic("c", "ES512"));
    let (edwards, secret) = (Signer::edwards("d"), Signer::secret("e", b"0123456789abcdef0123456789abcdef"));
    let all = [&*RSA, &p256, &p384, &p521, &edwards, &secret];
    let settings = requiring(provider(&key_set(&all)));
    for (signer, algorithms) in [
        (&*RSA, &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..]),
        (&p256, &["ES256"]),
        (&p384, &["ES384"]),
        (&p521, &["ES512"]),
        (&edwards, &["EdDSA"]),
        (&secret, &["HS256", "HS384", "HS512"]),
    ] {
        for algorithm in algorithms {
            // With the name of its key, and without: then every key is tried.
            for header in [json!({"alg": algorithm, "kid": signer.key()["kid"]}), json!({"alg": algorithm})] {
                let token = signer.token_with(&header, &claims());
                assert_eq!(run(&settings, bearer(&token)).await.refused(), None, "{header}");
                let mut forged = token.clone().into_bytes();
                let at = forged.len() - 10;
                forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
                let refused = run(&settings, bearer(&String::from_utf8(forged).unwrap())).await.refused();
                assert_eq!(refused.as_deref(), Some("Jwt verification fails"), "{header}");
            }
        }
    }
}

#[tokio::test]
async fn attacks() {
    let p256 = Signer::elliptic("ec", "ES256");
    let edwards = Signer::edwards("ed");
    let settings =
        requiring(JwtProvider { audiences: vec!["https://x/".into()], ..provider(&key_set(&[&RSA, &p256, &edwards])) });
    let with = |change: fn(&mut Value)| {
        let mut claims = claims();
        change(&mut claims);
        RSA.token(&claims)
    };
    let good = RSA.token(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let of = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let (head, body, tail) = (parts[0], parts[1], parts[2]);
    let confused = Signer::secret("rsa", &RSA.public_bytes());
    let der = Signer::secret("rsa", RSA.key()["n"].as_str().unwrap().as_bytes());
    let own_key = Signer::rsa("rsa");
    let fails = "Jwt verification fails";
    for (what, token, expected) in [
        (
            "no signature at all",
            format!("{}.{body}.", of(r#"{"alg":"none"}"#)),
            "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
        ),
        (
            "none, with a signature",
            format!("{}.{body}.{tail}", of(r#"{"alg":"none"}"#)),
            "Jwt header [alg] is not supported",
        ),
        (
            "none in other letters",
            format!("{}.{body}.{tail}", of(r#"{"alg":"NoNe"}"#)),
            "Jwt header [alg] is not supported",
        ),
        (
            "an algorithm in small letters",
            format!("{}.{body}.{tail}", of(r#"{"alg":"rs256"}"#)),
            "Jwt header [alg] is not supported",
        ),
        (
            "no algorithm",
            format!("{}.{body}.{tail}", of("{}")),
            "Jwt header [alg] field is required and must be a string",
        ),
        (
            "an algorithm that is a list",
            format!("{}.{body}.{tail}", of(r#"{"alg":["RS256"]}"#)),
            "Jwt header [alg] field is required and must be a string",
        ),
        ("a public key as a secret", confused.token_with(&json!({"alg": "HS256", "kid": "rsa"}), &claims()), fails),
        ("its modulus as a secret", der.token_with(&json!({"alg": "HS256"}), &claims()), fails),
        ("an empty secret", Signer::secret("rsa", b"").token_with(&json!({"alg": "HS512"}), &claims()), fails),
        ("another's key by the same name", OTHER.token(&claims()), fails),
        (
            "a key that the token brings itself",
            own_key.token_with(&json!({"alg": "RS256", "kid": "rsa", "jwk": own_key.key()}), &claims()),
            fails,
        ),
        (
            "a key that the token says where to get",
            own_key.token_with(
                &json!({"alg": "RS256", "kid": "rsa", "jku": "http://127.0.0.1/k", "x5u": "http://127.0.0.1/c"}),
                &claims(),
            ),
            fails,
        ),
        ("the name of a key of another type", RSA.token_with(&json!({"alg": "RS256", "kid": "ec"}), &claims()), fails),
        (
            "a way that leads elsewhere as a key's name",
            RSA.token_with(&json!({"alg": "RS256", "kid": "../../dev/null"}), &claims()),
            "Jwks doesn't have key to match kid or alg from Jwt",
        ),
        (
            "a key's name that is a number",
            RSA.token_with(&json!({"alg": "RS256", "kid": 1}), &claims()),
            "Jwt header [kid] field is not a string",
        ),
        (
            "one algorithm named, another used",
            RSA.token_with(&json!({"alg": "RS512", "kid": "rsa"}), &claims()).replacen(
                &of(r#"{"alg":"RS512","kid":"rsa"}"#),
                &of(r#"{"alg":"RS256","kid":"rsa"}"#),
                1,
            ),
            fails,
        ),
        (
            "an empty signature of a curve",
            format!("{}.{body}.{}", of(r#"{"alg":"ES256","kid":"ec"}"#), URL_SAFE_NO_PAD.encode([0u8; 64])),
            fails,
        ),
        (
            "a short signature of Ed25519",
            format!("{}.{body}.{}", of(r#"{"alg":"EdDSA","kid":"ed"}"#), URL_SAFE_NO_PAD.encode([0u8; 63])),
            "Jwt ED25519 signature is wrong length",
        ),
        (
            "another payload",
            format!("{head}.{}.{tail}", of(&json!({"iss": "https://a", "aud": "x", "sub": "root"}).to_string())),
            fails,
        ),
        ("another header", format!("{}.{body}.{tail}", of(r#"{"alg":"RS256","kid":"rsa","x":1}"#)), fails),
        (
            "two parts",
            format!("{head}.{body}"),
            "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
        ),
        (
            "four parts",
            format!("{good}.x"),
            "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
        ),
        (
            "an encrypted one",
            format!("{head}.a.b.c.d"),
            "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
        ),
        (
            "nothing but dots",
            "..".to_owned(),
            "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
        ),
        ("garbage", "a.b.c".to_owned(), "Jwt header is an invalid Base64url encoded"),
        ("a header that is no object", format!("{}.{body}.{tail}", of("[]")), "Jwt header is an invalid JSON"),
        ("a payload that is no object", format!("{head}.{}.{tail}", of("7")), "Jwt payload is an invalid JSON"),
        (
            "a payload as deep as it is long",
            format!("{head}.{}.{tail}", of(&"[".repeat(20_000))),
            "Jwt payload is an invalid JSON",
        ),
        (
            "a payload of the other Base64",
            format!("{head}.{body}+/.{tail}"),
            "Jwt payload is an invalid Base64url encoded",
        ),
        ("expired", with(|claims| claims["exp"] = (now() - 61).into()), "Jwt is expired"),
        ("expired long ago, in small numbers", with(|claims| claims["exp"] = 1.into()), "Jwt is expired"),
        (
            "an expiry that is text",
            with(|claims| claims["exp"] = "9999999999".into()),
            "Jwt payload [exp] field is not an integer",
        ),
        (
            "an expiry that is negative",
            with(|claims| claims["exp"] = (-1).into()),
            "Jwt payload [exp] field is not a positive 64 bit integer",
        ),
        (
            "an expiry beyond all numbers",
            with(|claims| claims["exp"] = 1e300.into()),
            "Jwt payload [exp] field is not a positive 64 bit integer",
        ),
        ("not yet", with(|claims| claims["nbf"] = (now() + 70).into()), "Jwt not yet valid"),
        ("another issuer", with(|claims| claims["iss"] = "https://b".into()), "Jwt issuer is not configured"),
        (
            "no issuer",
            with(|claims| drop(claims.as_object_mut().unwrap().remove("iss"))),
            "Jwt issuer is not configured",
        ),
        (
            "an issuer with a slash more",
            with(|claims| claims["iss"] = "https://a/".into()),
            "Jwt issuer is not configured",
        ),
        (
            "an issuer that is a list",
            with(|claims| claims["iss"] = json!(["https://a"])),
            "Jwt payload [iss] field is not a string",
        ),
        ("another audience", with(|claims| claims["aud"] = "z".into()), "Audiences in Jwt are not allowed"),
        (
            "a part of an audience",
            with(|claims| claims["aud"] = "https://x/y".into()),
            "Audiences in Jwt are not allowed",
        ),
        (
            "no audience",
            with(|claims| drop(claims.as_object_mut().unwrap().remove("aud"))),
            "Audiences in Jwt are not allowed",
        ),
        (
            "an audience that is a number",
            with(|claims| claims["aud"] = 7.into()),
            "Jwt payload [aud] field is not a string or string list",
        ),
    ] {
        let outcome = run(&settings, bearer(&token)).await;
        assert_eq!(outcome.refused().as_deref(), Some(expected), "{what}");
        assert!(outcome.request.extensions().get::<Metadata>().is_none(), "{what}: nothing of it is believed");
    }
    for (what, token) in [
        ("as it should be", good.clone()),
        ("expired, but clocks may be apart", with(|claims| claims["exp"] = (now() - 55).into())),
        ("not yet, but clocks may be apart", with(|claims| claims["nbf"] = (now() + 55).into())),
        ("without an expiry", with(|claims| drop(claims.as_object_mut().unwrap().remove("exp")))),
    ] {
        assert_eq!(run(&settings, bearer(&token)).await.refused(), None, "{what}");
    }
}

#[tokio::test]
async fn keys_are_for_what_they_say() {
    let token = RSA.token(&claims());
    let key = |change: fn(&mut Value)| {
        let mut key = RSA.key();
        change(&mut key);
        json!({"keys": [key]}).to_string()
    };
    let none = Some("Jwks doesn't have any valid public key");
    let misfit = Some("Jwks doesn't have key to match kid or alg from Jwt");
    for (what, keys, expected) in [
        ("as usual", key(|_| {}), None),
        ("for another algorithm", key(|key| key["alg"] = "PS256".into()), misfit),
        ("for no algorithm of its type", key(|key| key["alg"] = "ES256".into()), none),
        ("for encryption", key(|key| key["alg"] = "RSA-OAEP".into()), none),
        ("an exponent of one", key(|key| key["e"] = "AQ".into()), none),
        ("too short", key(|key| key["n"] = key["n"].as_str().unwrap()[..170].into()), none),
        ("no name: tried", key(|key| drop(key.as_object_mut().unwrap().remove("kid"))), None),
        ("no type", key(|key| drop(key.as_object_mut().unwrap().remove("kty"))), none),
        ("no set", "[]".to_owned(), none),
        ("no JSON", "keys".to_owned(), none),
        ("empty", r#"{"keys":[]}"#.to_owned(), none),
        ("one of many is good", json!({"keys": [1, {"kty": "?"}, RSA.key()]}).to_string(), None),
        // A curve's point that is not on it.
        ("a bad point", json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"}]}).to_string(), none),
    ] {
        let outcome = run(&requiring(provider(&keys)), bearer(&token)).await;
        assert_eq!(outcome.refused().as_deref(), expected, "{what}");
    }
}

#[tokio::test]
async fn refusals() {
    let settings = requiring(provider(&key_set(&[&RSA])));
    let bare = Request::get("/p?q=1").header("host", "h").body(Body::empty()).unwrap();
    let Flow::Respond(local) = run(&settings, bare).await.flow else { panic!() };
    assert_eq!((local.status.as_u16(), &*local.text()), (401, "Jwt is missing"));
    assert_eq!(local.details, "jwt_authn_access_denied{Jwt_is_missing}");
    assert_eq!(local.headers[WWW_AUTHENTICATE], "Bearer realm=\"http://h/p?q=1\"");
    let Flow::Respond(local) = run(&settings, bearer("x")).await.flow else { panic!() };
    assert!(local.headers[WWW_AUTHENTICATE].to_str().unwrap().ends_with("\", error=\"invalid_token\""));
    let others = requiring(JwtProvider { audiences: vec!["z".into()], ..provider(&key_set(&[&RSA])) });
    let Flow::Respond(local) = run(&others, bearer(&RSA.token(&claims()))).await.flow else { panic!() };
    assert_eq!(local.status.as_u16(), 403);
    let silent = JwtAuthentication { strip_reason: true, ..settings };
    let Flow::Respond(local) = run(&silent, bearer("x")).await.flow else { panic!() };
    assert_eq!((local.status.as_u16(), &*local.text(), local.headers.len()), (401, "", 0));
}

#[tokio::test]
async fn lifetimes_and_subjects() {
    let with = |change: fn(&mut JwtProvider)| {
        let mut provider = provider(&key_set(&[&RSA]));
        change(&mut provider);
        requiring(provider)
    };
    let endless = {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove("exp");
        RSA.token(&claims)
    };
    let ends = RSA.token(&claims());
    for (settings, token, good) in [
        (with(|it| it.require_expiration = true), &endless, false),
        (with(|it| it.require_expiration = true), &ends, true),
        (with(|it| it.max_lifetime = Some(Duration::from_secs(60))), &endless, false),
        (with(|it| it.max_lifetime = Some(Duration::from_secs(60))), &ends, false),
        (with(|it| it.max_lifetime = Some(Duration::from_secs(700))), &ends, true),
        (with(|it| it.subjects = Some(StringMatch::prefix("m"))), &ends, true),
        (with(|it| it.subjects = Some(StringMatch::prefix("you"))), &ends, false),
    ] {
        assert_eq!(run(&settings, bearer(token)).await.refused().is_none(), good, "{settings:?}");
    }
}

#[tokio::test]
async fn what_goes_on() {
    let name = |name: &'static str| HeaderName::from_static(name);
    let claim = |header, path: &str| ClaimHeader {
        header: HeaderName::from_static(header),
        claim: path.split('.').map(str::to_owned).collect(),
    };
    let telling = JwtProvider {
        payload_header: Some(name("x-payload")),
        pad_payload: true,
        claims_to_headers: vec![claim("x-sub", "sub"), claim("x-m", "n.m"), claim("x-none", "absent")],
        payload_in_metadata: Some("payload".into()),
        space_delimited: vec!["scope".into()],
        ..provider(&key_set(&[&RSA]))
    };
    let token = RSA.token(&claims());
    let mut request = bearer(&token);
    for header in ["x-payload", "x-sub", "x-none"] {
        request.headers_mut().insert(header, HeaderValue::from_static("forged"));
    }
    let outcome = run(&requiring(telling.clone()), request).await;
    assert!(matches!(outcome.flow, Flow::Continue), "{:?}", outcome.flow);
    assert_eq!(outcome.header("authorization"), [""; 0]);
    assert_eq!(outcome.header("x-sub"), ["me"]);
    assert_eq!(outcome.header("x-m"), ["7"]);
    assert_eq!(outcome.header("x-none"), [""; 0], "what the client says of claims is taken off");
    let [payload] = outcome.header("x-payload")[..] else { panic!() };
    assert_eq!((payload.trim_end_matches('='), payload.len() % 4), (token.split('.').nth(1).unwrap(), 0));
    let metadata = outcome.request.extensions().get::<Metadata>().unwrap();
    let scope = MetadataMatch {
        filter: JwtAuthentication::NAME.into(),
        path: vec!["payload".into(), "scope".into()],
        value: MetadataValue::OneOf(Box::new(MetadataValue::Text(StringMatch::exact("write")))),
        invert: false,
    };
    assert!(scope.matches(Some(metadata)), "{metadata:?}");
    let kept = run(&requiring(JwtProvider { forward: true, reroute: true, ..telling }), bearer(&token)).await;
    assert_eq!(kept.header("authorization"), [format!("Bearer {token}")]);
    assert!(matches!(kept.flow, Flow::Reroute), "{:?}", kept.flow);
    // Where nothing is required, claims are nobody's to forge either.
    let lax = JwtAuthentication {
        rules: Vec::new(),
        ..requiring(JwtProvider { claims_to_headers: vec![claim("x-sub", "sub")], ..provider("") })
    };
    let request = Request::get("/").header("x-sub", "forged").body(Body::empty()).unwrap();
    assert_eq!(run(&lax, request).await.header("x-sub"), [""; 0]);
}

#[tokio::test]
async fn places() {
    let good = RSA.token(&claims());
    let elsewhere = requiring(JwtProvider {
        from_headers: vec![TokenHeader { name: HeaderName::from_static("x-token"), prefix: "T ".into() }],
        from_params: vec!["t".into()],
        from_cookies: vec!["c".into()],
        ..provider(&key_set(&[&RSA]))
    });
    let get = |uri: &str| Request::get(uri);
    let sent = |request: http::request::Builder| request.body(Body::empty()).unwrap();
    for (what, request, expected) in [
        ("the usual place", bearer(&good), Some("Jwt is missing")),
        ("a header", sent(get("/").header("x-token", format!("T {good}"))), None),
        ("a parameter", sent(get(&format!("/?a=b&t={good}"))), None),
        ("a cookie", sent(get("/").header("cookie", format!("a=b; c={good}"))), None),
        ("two good ones", sent(get(&format!("/?t={good}")).header("x-token", format!("T {good}"))), None),
        (
            "a good one and a bad one",
            sent(get("/?t=x").header("x-token", format!("T {good}"))),
            Some("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"),
        ),
        (
            "a good one, and a bad one in the same header",
            sent(get("/").header("x-token", format!("T {good}")).header("x-token", "T x.y.z")),
            Some("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"),
        ),
    ] {
        let outcome = run(&elsewhere, request).await;
        assert_eq!(outcome.refused().as_deref(), expected, "{what}");
        if expected.is_none() {
            assert_eq!(
                (outcome.header("x-token"), outcome.request.uri().query().unwrap_or("a=b")),
                (vec![], "a=b"),
                "{what}"
            );
        }
    }
}

#[tokio::test]
async fn requirements() {
    let (first, second) = (Signer::elliptic("k", "ES256"), Signer::elliptic("k", "ES256"));
    let of = |signer: &Signer, issuer: &str| JwtProvider::new(issuer, KeySource::Inline(key_set(&[signer]).into()));
    let settings = |requires| filter([("a", of(&first, "1")), ("b", of(&second, "2"))], requires);
    let token = |signer: &Signer, issuer: &str| signer.token(&json!({"iss": issuer, "aud": "x"}));
    let (a, b, forged) = (token(&first, "1"), token(&second, "2"), token(&second, "1"));
    let p = Requirement::provider;
    let any = |list: &[Requirement]| Requirement::Any(list.to_vec());
    // As Istio's control plane asks for two issuers whose tokens may be missing.
    let optional = |name: &'static str| any(&[p(name), Requirement::AllowMissing]);
    let istio = any(&[p("a"), p("b"), Requirement::All(vec![optional("a"), optional("b")])]);
    let for_y = Requirement::Provider { name: "a".into(), audiences: vec!["y".into()] };
    let (unknown, missing, fails) =
        (Some("Jwt issuer is not configured"), Some("Jwt is missing"), Some("Jwt verification fails"));
    let everybody = [None; 5];
    for (requires, expected) in [
        // None, of the first, of the second, forged, garbage.
        (Requirement::Nothing, everybody),
        (p("a"), [missing, None, unknown, fails, Some("Jwt header is an invalid Base64url encoded")]),
        (any(&[p("a"), p("b")]), [missing, None, None, fails, Some("Jwt header is an invalid Base64url encoded")]),
        (optional("a"), [None, None, unknown, fails, Some("Jwt header is an invalid Base64url encoded")]),
        (istio, [None, None, None, fails, Some("Jwt header is an invalid Base64url encoded")]),
        (Requirement::AllowMissing, [None, None, None, fails, Some("Jwt header is an invalid Base64url encoded")]),
        (Requirement::AllowMissingOrFailed, everybody),
        (any(&[p("a"), Requirement::AllowMissingOrFailed]), everybody),
        (
            for_y,
            [
                missing,
                Some("Audiences in Jwt are not allowed"),
                unknown,
                fails,
                Some("Jwt header is an invalid Base64url encoded"),
            ],
        ),
    ] {
        let settings = settings(requires);
        let requests = [None, Some(a.as_str()), Some(&b), Some(&forged), Some("x.y.z")];
        for (token, expected) in requests.into_iter().zip(expected) {
            let request = token.map_or_else(|| Request::new(Body::empty()), bearer);
            let refused = run(&settings, request).await.refused();
            // The audience of a forged token is looked at before its signature.
            let expected = if refused.as_deref() == Some("Audiences in Jwt are not allowed") && expected == fails {
                Some("Audiences in Jwt are not allowed")
            } else {
                expected
            };
            assert_eq!(refused.as_deref(), expected, "{:?} with {token:?}", settings.rules);
        }
    }
}

#[tokio::test]
async fn rules_and_routes() {
    let strict = JwtRule {
        matches: RouteMatch::new(PathMatch::Prefix("/strict".into())),
        requires: Required::Named("main".into()),
    };
    let settings = JwtAuthentication {
        rules: vec![strict],
        requirements: [("main".into(), Requirement::provider("a"))].into(),
        bypass_preflight: true,
        ..requiring(provider(&key_set(&[&RSA])))
    };
    let get = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(run(&settings, get("/lax")).await.refused(), None);
    assert_eq!(run(&settings, get("/strict")).await.refused().as_deref(), Some("Jwt is missing"));
    let on_route = |rule: JwtRouteRule| {
        let named = [(JwtAuthentication::NAME.into(), FilterRule::Jwt(rule))].into();
        FilterRules { named, ..FilterRules::default() }.boxed()
    };
    let alone = Alone::default();
    let off = run_on(&settings, on_route(JwtRouteRule::Off), get("/strict"), &alone).await;
    assert_eq!(off.refused(), None);
    let named = run_on(&settings, on_route(JwtRouteRule::Named("main".into())), get("/lax"), &alone).await;
    assert_eq!(named.refused().as_deref(), Some("Jwt is missing"));
    let wrong = run_on(&settings, on_route(JwtRouteRule::Named("x".into())), get("/lax"), &alone).await;
    let Flow::Respond(local) = wrong.flow else { panic!() };
    assert_eq!(local.status.as_u16(), 403);
    let preflight =
        Request::options("/strict").header("origin", "https://o").header("access-control-request-method", "PUT");
    assert_eq!(run(&settings, preflight.body(Body::empty()).unwrap()).await.refused(), None);
    let no_preflight = Request::options("/strict").header("origin", "https://o").body(Body::empty()).unwrap();
    assert_eq!(run(&settings, no_preflight).await.refused().as_deref(), Some("Jwt is missing"));
}
