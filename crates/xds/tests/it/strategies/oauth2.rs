//! The filter by which people log in.

use model::oauth2::{
    AfterLogout, ClientAuth, Cookie, Cookies, EndSession, ForwardTokens, Lifetimes, OAuth2, SameSite, TokenCookie,
    TokenEndpoint, UriTemplate,
};

use super::*;

fn url() -> impl Strategy<Value = String> {
    "https://[a-z]{1,6}\\.example\\.org/[a-z]{0,5}(\\?a=b)?"
}

fn template() -> impl Strategy<Value = UriTemplate> {
    select(vec!["https://a.example.org/back", "%REQ(:scheme)%://%REQ(x-host?:authority):9%/100%%"])
        .prop_map(|source| UriTemplate::parse(source).expect("a template"))
}

fn cookie() -> impl Strategy<Value = Cookie> {
    let same_site = of(select(vec![SameSite::Strict, SameSite::Lax, SameSite::None]));
    ("[A-Z][a-z]{1,6}", "/[a-z]{0,3}", same_site, any::<bool>())
        .prop_map(|(name, path, same_site, partitioned)| Cookie { name, path, same_site, partitioned })
}

fn token() -> impl Strategy<Value = TokenCookie> {
    (cookie(), any::<bool>()).prop_map(|(cookie, is_set)| TokenCookie { cookie, is_set })
}

fn cookies() -> impl Strategy<Value = Cookies> {
    let tokens = (token(), token(), token());
    let others = (cookie(), cookie(), cookie(), cookie());
    let domain = of("[a-z]{1,6}\\.example\\.org");
    (domain, any::<[bool; 2]>(), tokens, others).prop_map(|(domain, flags, tokens, others)| Cookies {
        domain,
        encrypted: flags[0],
        refreshes: flags[1],
        access: tokens.0,
        identity: tokens.1,
        refresh: tokens.2,
        hmac: others.0,
        expires: others.1,
        nonce: others.2,
        verifier: others.3,
    })
}

fn lifetimes() -> impl Strategy<Value = Lifetimes> {
    (some_time(), some_time(), some_time(), some_time(), any::<bool>()).prop_map(
        |(access, refresh, nonce, verifier, identity_as_access)| Lifetimes {
            access,
            refresh,
            nonce,
            verifier,
            identity_as_access,
        },
    )
}

fn end_session() -> impl Strategy<Value = EndSession> {
    let then = prop_oneof![Just(AfterLogout::Root), template().prop_map(AfterLogout::To), Just(AfterLogout::Unsaid)];
    (url(), then).prop_map(|(endpoint, then)| EndSession { endpoint, then })
}

/// The filter.
pub fn oauth2() -> BoxedStrategy<OAuth2> {
    let client_auth = prop_oneof![
        name().prop_map(ClientAuth::Body),
        name().prop_map(ClientAuth::Basic),
        Just(ClientAuth::Certificate)
    ];
    let forward = prop_oneof![
        Just(ForwardTokens::Nothing),
        Just(ForwardTokens::Access),
        Just(ForwardTokens::Preserve),
        header_name().prop_map(ForwardTokens::Identity),
    ];
    let endpoint =
        (url(), name(), some_time()).prop_map(|(uri, cluster, timeout)| TokenEndpoint { uri, cluster, timeout });
    let headers = || vec(header_match(), 0..2);
    let basic = (filters::filter_name(), name(), endpoint, url(), of(end_session()), text(), client_auth, name());
    let back = (template(), string_match(), string_match(), forward, of(template()), vec("(\\*\\.)?[a-z]{1,5}", 0..2));
    let wishes = (vec("[a-z]{1,5}", 1..3), vec(url(), 0..2), headers(), headers(), headers());
    (basic, back, wishes, lifetimes(), cookies())
        .prop_map(|(basic, back, wishes, lifetimes, cookies)| {
            let mut scopes = wishes.0;
            // Only OpenID Connect has an end of sessions.
            scopes.extend(basic.4.is_some().then(|| OAuth2::OPENID.to_owned()));
            OAuth2 {
                name: basic.0,
                stat_prefix: basic.1,
                token_endpoint: basic.2,
                authorization_endpoint: basic.3,
                end_session: basic.4,
                client_id: basic.5,
                client_auth: basic.6,
                hmac_secret: basic.7,
                redirect_uri: back.0,
                redirect_path: back.1,
                sign_out: back.2,
                forward: back.3,
                original_uri: back.4,
                allowed_domains: back.5,
                scopes,
                resources: wishes.1,
                pass_through: wishes.2,
                deny_redirect: wishes.3,
                allow_failed: wishes.4,
                lifetimes,
                cookies,
            }
        })
        .boxed()
}
