//! Tokens: whose are taken, from where, and what of them goes on.

use std::sync::LazyLock;
use std::time::SystemTime;

use serde_json::{Value, json};
use testkit::tokens::{Signer, key_set};

use crate::bootstrap::{Bootstrap, cluster, routes};
use crate::case::{Case, Group, Request, case, get};

/// The groups.
pub fn groups() -> Vec<Group> {
    vec![
        good_and_bad(),
        algorithms(),
        key_sets(),
        places(),
        outputs(),
        requirements(),
        by_route(),
        claims_and_routes(),
        fetched(),
    ]
}

static RSA: LazyLock<Signer> = LazyLock::new(|| Signer::rsa("rsa"));
static OTHER: LazyLock<Signer> = LazyLock::new(|| Signer::rsa("rsa"));
static SECOND: LazyLock<Signer> = LazyLock::new(|| Signer::elliptic("ec", "ES256"));

const JWT: &str = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
const PER_ROUTE: &str = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.PerRouteConfig";

fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

fn claims() -> Value {
    json!({
        "iss": "https://a", "sub": "me", "aud": ["x", "https://y/"], "exp": now() + 3600, "scope": "read write", "n": {"m": 7},
        "f": 1.5, "b": true, "l": ["p", "q"], "z": null, "e": "",
    })
}

fn with(change: impl FnOnce(&mut Value)) -> String {
    let mut claims = claims();
    change(&mut claims);
    RSA.token(&claims)
}

/// A filter of providers, rules, and more.
fn filter(more: Value) -> String {
    let mut config = more;
    config["@type"] = JWT.into();
    let filter = json!({"name": "envoy.filters.http.jwt_authn", "typed_config": config});
    format!("- {filter}\n")
}

fn provider(keys: &str, more: Value) -> Value {
    let mut provider = json!({"issuer": "https://a", "local_jwks": {"inline_string": keys}});
    if let (Some(provider), Value::Object(more)) = (provider.as_object_mut(), more) {
        provider.extend(more);
    }
    provider
}

fn requiring(provider: Value) -> String {
    let rule = json!({"match": {"prefix": "/"}, "requires": {"provider_name": "a"}});
    filter(json!({"providers": {"a": provider}, "rules": [rule]}))
}

fn file(filters: &str) -> Bootstrap {
    routes("- {match: {prefix: /}, route: {cluster: one}}").http_filters(filters)
}

fn bearer(token: &str) -> Request {
    get("/p?q=1").header("authorization", &format!("Bearer {token}"))
}

fn good_and_bad() -> Group {
    let good = RSA.token(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let of = |text: &str| encoded(text.as_bytes());
    let (head, body, tail) = (parts[0], parts[1], parts[2]);
    let confused = Signer::secret("rsa", &RSA.public_bytes());
    let one = |name, token: String| case(name, bearer(&token));
    Group::new(
        "tokens",
        file(&requiring(provider(&key_set(&[&RSA, &SECOND]), json!({"audiences": ["x", "y"]})))).text(),
        vec![
            case("none", get("/p?q=1")),
            case("none, by HTTP/2", get("/p").h2()),
            case("none, for gRPC", get("/p").h2().header("content-type", "application/grpc")),
            case("none, and a long path", get(&format!("/{}", "p".repeat(300)))),
            case("another scheme", get("/p").header("authorization", "Basic abc")),
            case("no token after the scheme", get("/p").header("authorization", "Bearer ")),
            one("good", good.clone()),
            case("good, by HTTP/2", bearer(&good).h2()),
            case("good, for an OPTIONS", bearer(&good).method("OPTIONS")),
            one("without a key's name", RSA.token_with(&json!({"alg": "RS256"}), &claims())),
            one("expired", with(|claims| claims["exp"] = (now() - 120).into())),
            one("just expired", with(|claims| claims["exp"] = (now() - 30).into())),
            one("not yet", with(|claims| claims["nbf"] = (now() + 120).into())),
            one("nearly", with(|claims| claims["nbf"] = (now() + 30).into())),
            one("no expiry", with(|claims| drop(claims.as_object_mut().map(|claims| claims.remove("exp"))))),
            one("another issuer", with(|claims| claims["iss"] = "https://b".into())),
            one("no issuer", with(|claims| drop(claims.as_object_mut().map(|claims| claims.remove("iss"))))),
            one("another audience", with(|claims| claims["aud"] = "z".into())),
            one("an audience with a scheme", with(|claims| claims["aud"] = "https://x/".into())),
            one("no audience", with(|claims| drop(claims.as_object_mut().map(|claims| claims.remove("aud"))))),
            one("an unknown key", RSA.token_with(&json!({"alg": "RS256", "kid": "x"}), &claims())),
            one("another's key", OTHER.token(&claims())),
            one("a key of another type", RSA.token_with(&json!({"alg": "RS256", "kid": "ec"}), &claims())),
            one("none as algorithm", format!("{}.{body}.{tail}", of(r#"{"alg":"none"}"#))),
            one("none, and no signature", format!("{}.{body}.", of(r#"{"alg":"none"}"#))),
            one("an unknown algorithm", format!("{}.{body}.{tail}", of(r#"{"alg":"RS1"}"#))),
            one("no algorithm", format!("{}.{body}.{tail}", of("{}"))),
            one("a number as algorithm", format!("{}.{body}.{tail}", of(r#"{"alg":256}"#))),
            one("a number as key's name", RSA.token_with(&json!({"alg": "RS256", "kid": 7}), &claims())),
            one("another algorithm than signed", format!("{}.{body}.{tail}", of(r#"{"alg":"RS512","kid":"rsa"}"#))),
            one("a public key as secret", confused.token_with(&json!({"alg": "HS256", "kid": "rsa"}), &claims())),
            one("another payload", format!("{head}.{}.{tail}", of(r#"{"iss":"https://a","aud":"x"}"#))),
            one("another signature", format!("{head}.{body}.{}", of("signature"))),
            one("garbage", "a.b.c".into()),
            one("no dots", "garbage".into()),
            one("one dot", format!("{head}.{body}")),
            one("three dots", format!("{good}.x")),
            one("an empty part", format!("{head}..{tail}")),
            one("a header that is a list", format!("{}.{body}.{tail}", of("[]"))),
            one("a payload that is a number", format!("{head}.{}.{tail}", of("7"))),
            one("a payload that is no JSON", format!("{head}.{}.{tail}", of("{"))),
            one("a payload that is no Base64", format!("{head}.!{body}.{tail}")),
            one("a signature that is no Base64", format!("{head}.{body}.!{tail}")),
            one("an expiry that is text", with(|claims| claims["exp"] = "soon".into())),
            one("an expiry that is negative", with(|claims| claims["exp"] = (-1).into())),
            one("an expiry beyond all numbers", with(|claims| claims["exp"] = 1e300.into())),
            one("an audience that is a number", with(|claims| claims["aud"] = 7.into())),
            one("a subject that is a number", with(|claims| claims["sub"] = 7.into())),
            one("a long one", with(|claims| claims["long"] = "x".repeat(20_000).into())),
            case("two good ones", bearer(&good).header("authorization", &format!("Bearer {good}"))),
            case("a good one and a bad one", bearer(&good).header("authorization", "Bearer x.y.z")),
            case(
                "a bad one as parameter",
                get("/p?access_token=x.y.z").header("authorization", &format!("Bearer {good}")),
            ),
            case("as parameter", get(&format!("/p?access_token={good}"))),
            case(
                "a preflight",
                get("/p")
                    .method("OPTIONS")
                    .header("origin", "https://o")
                    .header("access-control-request-method", "PUT"),
            ),
        ],
    )
}

fn encoded(bytes: &[u8]) -> String {
    testkit::tokens::encoded(bytes)
}

fn algorithms() -> Group {
    static ALL: LazyLock<[Signer; 5]> = LazyLock::new(|| {
        [
            Signer::elliptic("es256", "ES256"),
            Signer::elliptic("es384", "ES384"),
            Signer::elliptic("es512", "ES512"),
            Signer::edwards("ed"),
            Signer::secret("hs", b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
        ]
    });
    let signers: Vec<&Signer> = ALL.iter().chain([&*RSA]).collect();
    let named = |signer: &Signer, algorithm: &str| {
        bearer(&signer.token_with(&json!({"alg": algorithm, "kid": signer.key()["kid"]}), &claims()))
    };
    let [es256, es384, es512, ed, hs] = &*ALL;
    let short = ed.token(&claims());
    let short = format!("{}.{}", &short[..short.rfind('.').unwrap_or_default()], encoded(&[0; 63]));
    Group::new(
        "algorithms of tokens",
        file(&requiring(provider(&key_set(&signers), json!({})))).text(),
        vec![
            case("ES256", named(es256, "ES256")),
            case("ES384", named(es384, "ES384")),
            case("ES512", named(es512, "ES512")),
            case("EdDSA", named(ed, "EdDSA")),
            case("EdDSA, too short", bearer(&short)),
            case("HS256", named(hs, "HS256")),
            case("HS384", named(hs, "HS384")),
            case("HS512", named(hs, "HS512")),
            case("RS384", named(&RSA, "RS384")),
            case("RS512", named(&RSA, "RS512")),
            case("PS256", named(&RSA, "PS256")),
            case("PS384", named(&RSA, "PS384")),
            case("PS512", named(&RSA, "PS512")),
            case("any key", bearer(&es512.token_with(&json!({"alg": "ES512"}), &claims()))),
        ],
    )
}

/// A provider for each kind of key set, by path. Each has a good key of somebody else, since Envoy takes no set without one.
fn key_sets() -> Group {
    let key = |change: fn(&mut Value)| {
        let mut key = RSA.key();
        change(&mut key);
        json!({"keys": [key, SECOND.key()]}).to_string()
    };
    let sets = [
        ("other-algorithm", key(|key| key["alg"] = "PS256".into())),
        ("no-algorithm-of-it", key(|key| key["alg"] = "ES256".into())),
        ("own-algorithm", key(|key| key["alg"] = "RS256".into())),
        ("no-type", key(|key| drop(key.as_object_mut().map(|key| key.remove("kty"))))),
        ("unknown-type", key(|key| key["kty"] = "X".into())),
        ("exponent", key(|key| key["e"] = "AQ".into())),
        ("one-good", json!({"keys": [{"kty": "X"}, RSA.key()]}).to_string()),
    ];
    let providers: serde_json::Map<String, Value> =
        sets.iter().map(|(name, keys)| ((*name).to_owned(), provider(keys, json!({})))).collect();
    let rules: Vec<Value> = sets
        .iter()
        .map(|(name, _)| json!({"match": {"path": format!("/{name}")}, "requires": {"provider_name": name}}))
        .collect();
    let good = RSA.token(&claims());
    let of =
        |name: &'static str| case(name, get(&format!("/{name}")).header("authorization", &format!("Bearer {good}")));
    Group::new(
        "keys of tokens",
        file(&filter(json!({"providers": providers, "rules": rules}))).text(),
        sets.iter().map(|(name, _)| of(name)).collect(),
    )
}

fn places() -> Group {
    let good = RSA.token(&claims());
    let more = json!({
        "from_headers": [{"name": "x-token", "value_prefix": "T "}, {"name": "x-bare"}],
        "from_params": ["t", "u"], "from_cookies": ["c"],
    });
    let one = |name, request: Request| case(name, request);
    Group::new(
        "places of tokens",
        file(&requiring(provider(&key_set(&[&RSA]), more))).text(),
        vec![
            one("the usual one", bearer(&good)),
            one("a header", get("/").header("x-token", &format!("T {good}"))),
            one("a header, spaces", get("/").header("x-token", &format!("T    {good}"))),
            one("a header, more before", get("/").header("x-token", &format!("a T {good}"))),
            one("a header, no prefix", get("/").header("x-token", &good)),
            one("a bare header", get("/").header("x-bare", &good)),
            one("a parameter", get(&format!("/?t={good}"))),
            one("a parameter after others", get(&format!("/?a=b&t={good}"))),
            one("a parameter twice", get(&format!("/?t={good}&t=x"))),
            one("a parameter, bad", get("/?t=x.y.z")),
            one("a parameter, empty", get("/?t=")),
            one("a cookie", get("/").header("cookie", &format!("a=b; c={good}"))),
            one("a cookie in quotes", get("/").header("cookie", &format!("c=\"{good}\""))),
            one("a cookie, bad", get("/").header("cookie", "c=x")),
            one("two places", get(&format!("/?t={good}")).header("x-bare", &good)),
            one("two places, one bad", get("/?t=x.y.z").header("x-bare", &good)),
            one("two places, the other bad", get(&format!("/?t={good}")).header("x-bare", "x.y.z")),
            one("three places, of which two are good", get(&format!("/?t={good}&u=x")).header("x-bare", &good)),
        ],
    )
}

fn outputs() -> Group {
    let good = RSA.token(&claims());
    let claim = |header: &str, claim: &str| json!({"header_name": header, "claim_name": claim});
    let more = json!({
        "forward_payload_header": "x-payload", "pad_forward_payload_header": true,
        "claim_to_headers": [
            claim("x-sub", "sub"), claim("x-n", "n.m"), claim("x-f", "f"), claim("x-b", "b"), claim("x-l", "l"),
            claim("x-z", "z"), claim("x-e", "e"), claim("x-none", "none"), claim("x-exp-less", "n.none"),
        ],
    });
    let keeping = json!({"forward": true, "forward_payload_header": "x-payload", "issuer": "https://a"});
    let providers = json!({"a": provider(&key_set(&[&RSA]), more), "b": provider(&key_set(&[&RSA]), keeping)});
    let rules = json!([
        {"match": {"prefix": "/keep"}, "requires": {"provider_name": "b"}},
        {"match": {"prefix": "/free"}},
        {"match": {"prefix": "/"}, "requires": {"provider_name": "a"}},
    ]);
    let forged =
        |request: Request| request.header("x-sub", "forged").header("x-none", "forged").header("x-payload", "forged");
    Group::new(
        "outputs of tokens",
        file(&filter(json!({"providers": providers, "rules": rules}))).text(),
        vec![
            case("claims and payload", bearer(&good)),
            case("forged headers", forged(bearer(&good))),
            case("forged headers where nothing is asked for", forged(get("/free"))),
            case("kept", get("/keep").header("authorization", &format!("Bearer {good}"))),
            case("kept as parameter", get(&format!("/keep?access_token={good}"))),
        ],
    )
}

fn requirements() -> Group {
    let a = provider(&key_set(&[&RSA]), json!({}));
    let b = json!({"issuer": "https://b", "local_jwks": {"inline_string": key_set(&[&SECOND])}});
    let p = |name: &str| json!({"provider_name": name});
    let any = |list: Value| json!({"requires_any": {"requirements": list}});
    let all = |list: Value| json!({"requires_all": {"requirements": list}});
    let (missing, failed) = (json!({"allow_missing": {}}), json!({"allow_missing_or_failed": {}}));
    let optional = |name: &str| any(json!([p(name), missing]));
    let kinds = [
        ("nothing", json!({})),
        ("one", p("a")),
        ("audiences", json!({"provider_and_audiences": {"provider_name": "a", "audiences": ["x"]}})),
        ("other-audiences", json!({"provider_and_audiences": {"provider_name": "a", "audiences": ["z"]}})),
        ("any", any(json!([p("a"), p("b")]))),
        ("optional", optional("a")),
        ("lax", any(json!([p("a"), failed]))),
        ("missing", missing.clone()),
        ("failed", failed.clone()),
        ("istio", any(json!([p("a"), p("b"), all(json!([optional("a"), optional("b")]))]))),
        ("both", all(json!([p("a"), p("b")]))),
    ];
    let rules: Vec<Value> = kinds
        .iter()
        .map(|(name, requires)| json!({"match": {"path": format!("/{name}")}, "requires": requires}))
        .collect();
    let of_b = SECOND.token(&json!({"iss": "https://b"}));
    let tokens = [
        ("none", None),
        ("of the first", Some(RSA.token(&claims()))),
        ("of the second", Some(of_b)),
        ("forged", Some(OTHER.token(&claims()))),
        ("of nobody", Some(with(|claims| claims["iss"] = "https://c".into()))),
        ("garbage", Some("x.y.z".to_owned())),
    ];
    let mut cases: Vec<Case> = Vec::new();
    for (kind, _) in &kinds {
        for (name, token) in &tokens {
            let request = get(&format!("/{kind}"));
            let request = match token {
                Some(token) => request.header("authorization", &format!("Bearer {token}")),
                None => request,
            };
            // Cases live as long as the program.
            cases.push(case(Box::leak(format!("{kind}, {name}").into_boxed_str()), request));
        }
    }
    Group::new(
        "requirements of tokens",
        file(&filter(json!({"providers": {"a": a, "b": b}, "rules": rules}))).text(),
        cases,
    )
}

fn by_route() -> Group {
    let filters = filter(json!({
        "providers": {"a": provider(&key_set(&[&RSA]), json!({"require_expiration": true, "max_lifetime": "7200s", "subjects": {"prefix": "m"}}))},
        "rules": [{"match": {"prefix": "/strict"}, "requirement_name": "main"}],
        "requirement_map": {"main": {"provider_name": "a"}},
        "bypass_cors_preflight": true,
        "strip_failure_response": true,
    }));
    let per_route = |path: &str, said: &str| {
        format!(
            "- match: {{prefix: {path}}}\n  route: {{cluster: one}}\n  typed_per_filter_config: {{envoy.filters.http.jwt_authn: {{'@type': {PER_ROUTE}, {said}}}}}\n"
        )
    };
    let table = per_route("/strict/off", "disabled: true")
        + &per_route("/on", "requirement_name: main")
        + &per_route("/wrong", "requirement_name: x")
        + "- {match: {prefix: /}, route: {cluster: one}}\n";
    let strict = |token: String| get("/strict").header("authorization", &format!("Bearer {token}"));
    Group::new(
        "tokens by route",
        routes(&table).http_filters(&filters).text(),
        vec![
            case("no rule", get("/")),
            case("a rule by name", get("/strict")),
            case("switched off", get("/strict/off")),
            case("a name by route", get("/on")),
            case("a wrong name", get("/wrong")),
            case(
                "a preflight",
                get("/strict")
                    .method("OPTIONS")
                    .header("origin", "https://o")
                    .header("access-control-request-method", "PUT"),
            ),
            case("no preflight", get("/strict").method("OPTIONS").header("origin", "https://o")),
            case("good", strict(RSA.token(&claims()))),
            case("no expiry", strict(with(|claims| drop(claims.as_object_mut().map(|claims| claims.remove("exp")))))),
            case("too long a life", strict(with(|claims| claims["exp"] = (now() + 9000).into()))),
            case("another subject", strict(with(|claims| claims["sub"] = "you".into()))),
        ],
    )
}

/// Routes by what tokens say.
fn claims_and_routes() -> Group {
    let more = json!({"payload_in_metadata": "payload", "normalize_payload_in_metadata": {"space_delimited_claims": ["scope"]}, "clear_route_cache": true});
    let text = |path: &str, value: &str| {
        let path: Vec<String> = format!("payload.{path}").split('.').map(|key| format!("{{key: '{key}'}}")).collect();
        format!("{{filter: envoy.filters.http.jwt_authn, path: [{}], value: {value}}}", path.join(", "))
    };
    let route = |path: &str, condition: &str| {
        format!(
            "- match: {{prefix: {path}, dynamic_metadata: [{condition}]}}\n  direct_response: {{status: 200, body: {{inline_string: matched}}}}\n"
        )
    };
    let table = route("/sub", &text("sub", "{string_match: {exact: me}}"))
        + &route("/scope", &text("scope", "{list_match: {one_of: {string_match: {exact: write}}}}"))
        + &route(
            "/or",
            &text(
                "scope",
                "{or_match: {value_matchers: [{string_match: {exact: write}}, {list_match: {one_of: {string_match: {exact: write}}}}]}}",
            ),
        )
        + &route("/deep", &text("n.m", "{double_match: {exact: 7}}"))
        + &route("/none", &text("none", "{present_match: true}"))
        + "- {match: {prefix: /}, route: {cluster: one}}\n";
    let rule = json!({"match": {"prefix": "/"}, "requires": {"requires_any": {"requirements": [{"provider_name": "a"}, {"allow_missing": {}}]}}});
    let filters = filter(json!({"providers": {"a": provider(&key_set(&[&RSA]), more)}, "rules": [rule]}));
    let good = RSA.token(&claims());
    let mut cases = Vec::new();
    for path in ["/sub", "/scope", "/or", "/deep", "/none"] {
        let with = get(path).header("authorization", &format!("Bearer {good}"));
        cases.push(case(path, with));
    }
    cases.push(case("no token", get("/sub")));
    Group::new("claims and routes", routes(&table).http_filters(&filters).text(), cases)
}

/// Keys that a cluster has, or has not.
fn fetched() -> Group {
    let remote = |cluster: &str, path: &str| json!({"issuer": "https://a", "remote_jwks": {"http_uri": {"uri": format!("http://keys.example{path}"), "cluster": cluster, "timeout": "1s"}}});
    let providers = json!({"dead": remote("dead", "/set"), "none": remote("one", "/none"), "absent": remote("one", "/x?status=404")});
    let rules: Vec<Value> = ["dead", "none", "absent"]
        .iter()
        .map(|name| json!({"match": {"path": format!("/{name}")}, "requires": {"provider_name": name}}))
        .collect();
    let good = RSA.token(&claims());
    let of = |name: &'static str, path: &str| case(name, get(path).header("authorization", &format!("Bearer {good}")));
    Group::new(
        "keys that are fetched",
        file(&filter(json!({"providers": providers, "rules": rules}))).clusters(&cluster("unused", &["B2"], "")).text(),
        vec![of("nobody there", "/dead"), of("no keys there", "/none"), case("no token, so nobody asks", get("/dead"))],
    )
}
