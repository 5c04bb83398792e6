//! The filter by which people log in.

use model::StringMatch;
use model::matcher::HeaderMatch;
use model::oauth2::{
    AfterLogout, ClientAuth, Cookie, Cookies, ForwardTokens, Lifetimes, OAuth2, SameSite, TokenEndpoint,
};
use proto::envoy::config::route::v3::HeaderMatcher;
use proto::envoy::extensions::filters::http::oauth2::v3 as wire;
use proto::envoy::extensions::filters::http::oauth2::v3::cookie_config::SameSite as WireSameSite;
use proto::envoy::extensions::filters::http::oauth2::v3::o_auth2_config::AuthType;
use proto::envoy::extensions::filters::http::oauth2::v3::o_auth2_credentials::{CookieNames, TokenFormation};
use proto::envoy::extensions::filters::http::oauth2::v3::post_logout_redirect_uri::Config as After;
use proto::envoy::r#type::matcher::v3::{PathMatcher, path_matcher::Rule};
use proto::google::protobuf::{Any, BoolValue};

use super::http_uri::http_uri;
use super::tls::by_discovery;
use super::{duration, matcher, pack};

pub(super) fn oauth2(login: &OAuth2) -> Any {
    pack(&wire::OAuth2 { config: Some(config(login)) })
}

fn config(login: &OAuth2) -> wire::OAuth2Config {
    let TokenEndpoint { uri, cluster, timeout } = &login.token_endpoint;
    let (cookies, lifetimes, or) = (&login.cookies, &login.lifetimes, Lifetimes::default());
    let seconds = |value, or| (value != or).then(|| duration(value));
    let end = login.end_session.as_ref();
    wire::OAuth2Config {
        token_endpoint: Some(http_uri(uri, cluster, *timeout)),
        authorization_endpoint: login.authorization_endpoint.clone(),
        end_session_endpoint: end.map(|end| end.endpoint.clone()).unwrap_or_default(),
        post_logout_redirect_uri: end.and_then(|end| after(&end.then)),
        credentials: Some(credentials(login)),
        redirect_uri: login.redirect_uri.source().to_owned(),
        redirect_path_matcher: Some(path(&login.redirect_path)),
        signout_path: Some(path(&login.sign_out)),
        forward_bearer_token: login.forward == ForwardTokens::Access,
        forward_id_token: match &login.forward {
            ForwardTokens::Identity(header) => Some(wire::OAuth2TokenForwarding { header: header.to_string() }),
            _ => None,
        },
        preserve_authorization_header: login.forward == ForwardTokens::Preserve,
        pass_through_matcher: matchers(&login.pass_through),
        deny_redirect_matcher: matchers(&login.deny_redirect),
        allow_failed_matcher: matchers(&login.allow_failed),
        auth_scopes: login.scopes.clone(),
        resources: login.resources.clone(),
        auth_type: match &login.client_auth {
            ClientAuth::Body(_) => AuthType::UrlEncodedBody,
            ClientAuth::Basic(_) => AuthType::BasicAuth,
            ClientAuth::Certificate => AuthType::TlsClientAuth,
        } as i32,
        use_refresh_token: (!cookies.refreshes).then_some(BoolValue { value: false }),
        default_expires_in: seconds(lifetimes.access, or.access),
        default_refresh_token_expires_in: seconds(lifetimes.refresh, or.refresh),
        csrf_token_expires_in: seconds(lifetimes.nonce, or.nonce),
        code_verifier_token_expires_in: seconds(lifetimes.verifier, or.verifier),
        use_access_token_expiry_for_id_token_cookie: lifetimes.identity_as_access,
        disable_access_token_set_cookie: !cookies.access.is_set,
        disable_id_token_set_cookie: !cookies.identity.is_set,
        disable_refresh_token_set_cookie: !cookies.refresh.is_set,
        disable_token_encryption: !cookies.encrypted,
        cookie_configs: cookie_configs(cookies),
        stat_prefix: login.stat_prefix.to_string(),
        original_request_uri: login.original_uri.as_ref().map(|uri| uri.source().to_owned()).unwrap_or_default(),
        allowed_redirect_domains: login.allowed_domains.clone(),
        ..wire::OAuth2Config::default()
    }
}

fn credentials(login: &OAuth2) -> wire::OAuth2Credentials {
    let (cookies, or) = (&login.cookies, Cookies::default());
    let name = |cookie: &Cookie, or: &Cookie| if cookie.name == or.name { String::new() } else { cookie.name.clone() };
    let names = CookieNames {
        bearer_token: name(&cookies.access.cookie, &or.access.cookie),
        id_token: name(&cookies.identity.cookie, &or.identity.cookie),
        refresh_token: name(&cookies.refresh.cookie, &or.refresh.cookie),
        oauth_hmac: name(&cookies.hmac, &or.hmac),
        oauth_expires: name(&cookies.expires, &or.expires),
        oauth_nonce: name(&cookies.nonce, &or.nonce),
        code_verifier: name(&cookies.verifier, &or.verifier),
    };
    wire::OAuth2Credentials {
        client_id: login.client_id.clone(),
        token_secret: match &login.client_auth {
            ClientAuth::Body(secret) | ClientAuth::Basic(secret) => Some(by_discovery(secret)),
            ClientAuth::Certificate => None,
        },
        cookie_names: (names != CookieNames::default()).then_some(names),
        cookie_domain: cookies.domain.clone().unwrap_or_default(),
        token_formation: Some(TokenFormation::HmacSecret(by_discovery(&login.hmac_secret))),
    }
}

fn cookie_configs(cookies: &Cookies) -> Option<wire::CookieConfigs> {
    let config = |cookie: &Cookie| {
        let config = wire::CookieConfig {
            same_site: match cookie.same_site {
                None => WireSameSite::Disabled,
                Some(SameSite::Strict) => WireSameSite::Strict,
                Some(SameSite::Lax) => WireSameSite::Lax,
                Some(SameSite::None) => WireSameSite::None,
            } as i32,
            path: if cookie.path == "/" { String::new() } else { cookie.path.clone() },
            partitioned: cookie.partitioned,
        };
        (config != wire::CookieConfig::default()).then_some(config)
    };
    let all = wire::CookieConfigs {
        bearer_token_cookie_config: config(&cookies.access.cookie),
        oauth_hmac_cookie_config: config(&cookies.hmac),
        oauth_expires_cookie_config: config(&cookies.expires),
        id_token_cookie_config: config(&cookies.identity.cookie),
        refresh_token_cookie_config: config(&cookies.refresh.cookie),
        oauth_nonce_cookie_config: config(&cookies.nonce),
        code_verifier_cookie_config: config(&cookies.verifier),
    };
    (all != wire::CookieConfigs::default()).then_some(all)
}

fn after(then: &AfterLogout) -> Option<wire::PostLogoutRedirectUri> {
    let config = match then {
        AfterLogout::Root => return None,
        AfterLogout::To(uri) => After::Uri(uri.source().to_owned()),
        AfterLogout::Unsaid => After::Disabled(true),
    };
    Some(wire::PostLogoutRedirectUri { config: Some(config) })
}

fn path(text: &StringMatch) -> PathMatcher {
    PathMatcher { rule: Some(Rule::Path(matcher::string(text))) }
}

fn matchers(list: &[HeaderMatch]) -> Vec<HeaderMatcher> {
    list.iter().map(matcher::header).collect()
}
