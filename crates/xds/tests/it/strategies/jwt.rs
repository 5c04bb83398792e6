//! Tokens.

use model::jwt::{
    ClaimHeader, JwtAuthentication, JwtProvider, JwtRouteRule, JwtRule, KeySource, RemoteKeys, Required, Requirement,
    TokenHeader,
};

use super::*;

fn remote() -> impl Strategy<Value = RemoteKeys> {
    (name(), some_time(), some_time(), of(some_time())).prop_map(|(cluster, timeout, cache_duration, beside)| {
        RemoteKeys { uri: "https://keys.example.org/set?a=b".into(), cluster, timeout, cache_duration, beside }
    })
}

fn keys() -> impl Strategy<Value = KeySource> {
    prop_oneof![text().prop_map(|text| KeySource::Inline(text.into())), remote().prop_map(KeySource::Remote)]
}

fn token_header() -> impl Strategy<Value = TokenHeader> {
    (header_name(), "[A-Za-z ]{0,8}").prop_map(|(name, prefix)| TokenHeader { name, prefix })
}

fn claim() -> impl Strategy<Value = ClaimHeader> {
    let segment = || "[a-z]{1,4}(\\.[a-z]{1,3})?";
    (header_name(), vec(segment(), 1..3)).prop_map(|(header, claim)| ClaimHeader { header, claim })
}

fn provider() -> BoxedStrategy<JwtProvider> {
    let whom = (text(), vec(text(), 0..3), of(string_match()), of(some_time()), keys());
    let places = (vec(token_header(), 0..3), vec(text(), 0..2), vec(text(), 0..2));
    let told = (of(header_name()), vec(claim(), 0..3), of(text()), vec(text(), 0..2), of(text()), of(text()));
    (whom, places, told, any::<[bool; 4]>(), 1..=u32::MAX)
        .prop_map(|(whom, places, told, flags, clock_skew)| JwtProvider {
            issuer: whom.0,
            audiences: whom.1,
            subjects: whom.2,
            require_expiration: flags[0],
            max_lifetime: whom.3,
            keys: whom.4,
            forward: flags[1],
            from_headers: places.0,
            from_params: places.1,
            from_cookies: places.2,
            payload_header: told.0,
            pad_payload: flags[2],
            payload_in_metadata: told.2,
            space_delimited: told.3,
            header_in_metadata: told.4,
            failure_in_metadata: told.5,
            clock_skew,
            claims_to_headers: told.1,
            reroute: flags[3],
        })
        .boxed()
}

/// Requirements that ask for the providers `a` and `b`.
fn requirement() -> impl Strategy<Value = Requirement> {
    let leaf = prop_oneof![
        Just(Requirement::Nothing),
        (select(vec!["a", "b"]), vec(text(), 0..2))
            .prop_map(|(name, audiences)| Requirement::Provider { name: name.into(), audiences }),
        Just(Requirement::AllowMissing),
        Just(Requirement::AllowMissingOrFailed),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![vec(inner.clone(), 2..4).prop_map(Requirement::Any), vec(inner, 2..4).prop_map(Requirement::All)]
    })
}

fn rule() -> impl Strategy<Value = JwtRule> {
    let requires = prop_oneof![requirement().prop_map(Required::Own), Just(Required::Named("main".into())),];
    (route_match(), requires).prop_map(|(matches, requires)| JwtRule { matches, requires })
}

/// A filter that checks tokens.
pub fn jwt() -> impl Strategy<Value = JwtAuthentication> {
    let all = ([provider(), provider()], vec(rule(), 0..3), requirement(), any::<[bool; 2]>());
    (filters::filter_name(), all).prop_map(|(name, ([a, b], rules, main, flags))| JwtAuthentication {
        name,
        providers: [("a".into(), a), ("b".into(), b)].into(),
        rules,
        requirements: [("main".into(), main)].into(),
        bypass_preflight: flags[0],
        strip_reason: flags[1],
    })
}

/// What a route or virtual host says to it.
pub fn route_rule() -> impl Strategy<Value = JwtRouteRule> {
    prop_oneof![Just(JwtRouteRule::Off), text().prop_map(|name| JwtRouteRule::Named(name.into()))]
}
