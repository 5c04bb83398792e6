//! The filter by which people log in.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, header};
use model::StringMatch;
use model::oauth2::{
    AfterLogout, ClientAuth, Cookie, Cookies, EndSession, ForwardTokens, Lifetimes, OAuth2, SameSite, TokenCookie,
    TokenEndpoint, UriTemplate,
};
use proto::envoy::config::core::v3 as core;
use proto::envoy::extensions::filters::http::oauth2::v3 as wire;
use proto::envoy::extensions::filters::http::oauth2::v3::cookie_config::SameSite as WireSameSite;
use proto::envoy::extensions::filters::http::oauth2::v3::o_auth2_config::AuthType;
use proto::envoy::extensions::filters::http::oauth2::v3::o_auth2_credentials::{CookieNames, TokenFormation};
use proto::envoy::extensions::filters::http::oauth2::v3::post_logout_redirect_uri::Config as After;
use proto::envoy::extensions::transport_sockets::tls::v3::SdsSecretConfig;
use proto::envoy::r#type::matcher::v3::{PathMatcher, path_matcher::Rule};
use proto::google::protobuf;

use super::http_uri::{HttpUri, http_uri};
use super::{At, Decoded, duration, each, headers, matcher, required, take, tls};

/// The filter.
pub(super) const OAUTH2: &str = "envoy.extensions.filters.http.oauth2.v3.OAuth2";

/// Of the filter that stands under this name in its chain.
pub(super) fn oauth2(value: wire::OAuth2, name: &str, at: &At<'_>) -> Decoded<OAuth2> {
    let at = at.field("config");
    take!(required(value.config, &at)?, at, wire::OAuth2Config {
        used {
            token_endpoint, authorization_endpoint, end_session_endpoint, post_logout_redirect_uri, credentials,
            redirect_uri, redirect_path_matcher, signout_path, forward_bearer_token, forward_id_token,
            preserve_authorization_header, pass_through_matcher, auth_scopes, resources, auth_type, use_refresh_token,
            default_expires_in, deny_redirect_matcher, default_refresh_token_expires_in, disable_id_token_set_cookie,
            disable_access_token_set_cookie, disable_refresh_token_set_cookie, cookie_configs, stat_prefix,
            csrf_token_expires_in, code_verifier_token_expires_in, disable_token_encryption, allow_failed_matcher,
            original_request_uri, allowed_redirect_domains, use_access_token_expiry_for_id_token_cookie,
        }
        harmless {}
        refused { retry_policy, private_key_jwt_config }
    });
    let is_open_id = auth_scopes.iter().any(|scope| scope == OAuth2::OPENID);
    let at_credentials = at.field("credentials");
    let credentials = credentials_of(required(credentials, &at_credentials)?, auth_type, &at)?;
    let set = [!disable_access_token_set_cookie, !disable_id_token_set_cookie, !disable_refresh_token_set_cookie];
    let refreshes = use_refresh_token.is_none_or(|it| it.value);
    let cookies = Cookies {
        domain: (!credentials.cookie_domain.is_empty()).then_some(credentials.cookie_domain),
        encrypted: !disable_token_encryption,
        refreshes,
        ..cookies(credentials.cookie_names, cookie_configs.unwrap_or_default(), set, &at.field("cookie_configs"))?
    };
    let forward = forwarded(forward_bearer_token, forward_id_token, preserve_authorization_header, &at)?;
    let or = Lifetimes::default();
    let seconds = |value: Option<protobuf::Duration>, or: Duration, field: &str| {
        value.map_or(Ok(or), |value| duration(value, &at.field(field)))
    };
    let matchers = |list, field: &str| each(list, &at.field(field), matcher::header);
    Ok(OAuth2 {
        name: name.into(),
        stat_prefix: stat_prefix.into(),
        token_endpoint: token_endpoint_of(token_endpoint, &at.field("token_endpoint"))?,
        authorization_endpoint: url(authorization_endpoint, &at.field("authorization_endpoint"))?,
        end_session: end_session(end_session_endpoint, post_logout_redirect_uri, is_open_id, &at)?,
        client_id: credentials.client_id,
        client_auth: credentials.client_auth,
        hmac_secret: credentials.hmac_secret,
        redirect_uri: template(not_empty(redirect_uri, &at.field("redirect_uri"))?, &at.field("redirect_uri"))?,
        redirect_path: path(redirect_path_matcher, &at.field("redirect_path_matcher"))?,
        sign_out: path(signout_path, &at.field("signout_path"))?,
        forward,
        pass_through: matchers(pass_through_matcher, "pass_through_matcher")?,
        deny_redirect: matchers(deny_redirect_matcher, "deny_redirect_matcher")?,
        allow_failed: matchers(allow_failed_matcher, "allow_failed_matcher")?,
        scopes: if auth_scopes.is_empty() { vec![OAuth2::SCOPE.to_owned()] } else { auth_scopes },
        resources,
        lifetimes: Lifetimes {
            access: seconds(default_expires_in, or.access, "default_expires_in")?,
            refresh: seconds(default_refresh_token_expires_in, or.refresh, "default_refresh_token_expires_in")?,
            nonce: seconds(csrf_token_expires_in, or.nonce, "csrf_token_expires_in")?,
            verifier: seconds(code_verifier_token_expires_in, or.verifier, "code_verifier_token_expires_in")?,
            identity_as_access: use_access_token_expiry_for_id_token_cookie,
        },
        cookies,
        original_uri: match original_request_uri.is_empty() {
            true => None,
            false => Some(template(original_request_uri, &at.field("original_request_uri"))?),
        },
        allowed_domains: allowed_redirect_domains,
    })
}

/// Who we are to the provider.
struct Credentials {
    client_id: String,
    client_auth: ClientAuth,
    hmac_secret: Arc<str>,
    cookie_domain: String,
    cookie_names: CookieNames,
}

fn credentials_of(value: wire::OAuth2Credentials, auth_type: i32, at_config: &At<'_>) -> Decoded<Credentials> {
    let at = at_config.field("credentials");
    take!(value, at, wire::OAuth2Credentials {
        used { client_id, token_secret, cookie_names, cookie_domain, token_formation }
        harmless {}
        refused {}
    });
    let secret = |value: Option<SdsSecretConfig>| {
        let at = at.field("token_secret");
        secret_name(required(value, &at)?, &at)
    };
    let at_type = at_config.field("auth_type");
    let client_auth = match AuthType::try_from(auth_type) {
        Ok(AuthType::UrlEncodedBody) => ClientAuth::Body(secret(token_secret)?),
        Ok(AuthType::BasicAuth) => ClientAuth::Basic(secret(token_secret)?),
        Ok(AuthType::TlsClientAuth) => ClientAuth::Certificate,
        Ok(AuthType::PrivateKeyJwt) => {
            return Err(at_type.unsupported("URL_ENCODED_BODY, BASIC_AUTH or TLS_CLIENT_AUTH"));
        }
        Err(_) => {
            return Err(at_type.error(format!("is {auth_type}"), "URL_ENCODED_BODY, BASIC_AUTH or TLS_CLIENT_AUTH"));
        }
    };
    let at_hmac = at.field("hmac_secret");
    let TokenFormation::HmacSecret(hmac) = required(token_formation, &at_hmac)?;
    Ok(Credentials {
        client_id: not_empty(client_id, &at.field("client_id"))?,
        client_auth,
        hmac_secret: secret_name(hmac, &at_hmac)?,
        cookie_domain,
        cookie_names: cookie_names.unwrap_or_default(),
    })
}

/// Without a source it stands in the bootstrap file.
fn secret_name(value: SdsSecretConfig, at: &At<'_>) -> Decoded<Arc<str>> {
    if value.sds_config.is_some() {
        return tls::by_discovery(value, at);
    }
    Ok(not_empty(value.name, &at.field("name"))?.into())
}

fn cookies(names: CookieNames, how: wire::CookieConfigs, set: [bool; 3], at: &At<'_>) -> Decoded<Cookies> {
    let or = Cookies::default();
    let cookie = |name: String, how: Option<wire::CookieConfig>, or: Cookie, field: &str| {
        let wire::CookieConfig { same_site, path, partitioned } = how.unwrap_or_default();
        let same_site = match WireSameSite::try_from(same_site) {
            Ok(WireSameSite::Disabled) => None,
            Ok(WireSameSite::Strict) => Some(SameSite::Strict),
            Ok(WireSameSite::Lax) => Some(SameSite::Lax),
            Ok(WireSameSite::None) => Some(SameSite::None),
            Err(_) => {
                let at = at.field(field);
                return Err(at.field("same_site").error(format!("is {same_site}"), "STRICT, LAX, NONE or DISABLED"));
            }
        };
        Ok(Cookie {
            name: if name.is_empty() { or.name } else { name },
            path: if path.is_empty() { or.path } else { path },
            same_site,
            partitioned,
        })
    };
    let token = |name, how, or: TokenCookie, is_set, field: &str| {
        Ok(TokenCookie { cookie: cookie(name, how, or.cookie, field)?, is_set })
    };
    Ok(Cookies {
        access: token(
            names.bearer_token,
            how.bearer_token_cookie_config,
            or.access,
            set[0],
            "bearer_token_cookie_config",
        )?,
        identity: token(names.id_token, how.id_token_cookie_config, or.identity, set[1], "id_token_cookie_config")?,
        refresh: token(
            names.refresh_token,
            how.refresh_token_cookie_config,
            or.refresh,
            set[2],
            "refresh_token_cookie_config",
        )?,
        hmac: cookie(names.oauth_hmac, how.oauth_hmac_cookie_config, or.hmac, "oauth_hmac_cookie_config")?,
        expires: cookie(
            names.oauth_expires,
            how.oauth_expires_cookie_config,
            or.expires,
            "oauth_expires_cookie_config",
        )?,
        nonce: cookie(names.oauth_nonce, how.oauth_nonce_cookie_config, or.nonce, "oauth_nonce_cookie_config")?,
        verifier: cookie(
            names.code_verifier,
            how.code_verifier_cookie_config,
            or.verifier,
            "code_verifier_cookie_config",
        )?,
        ..or
    })
}

/// At most one of them, as Envoy has it.
fn forwarded(
    access: bool,
    identity: Option<wire::OAuth2TokenForwarding>,
    preserve: bool,
    at: &At<'_>,
) -> Decoded<ForwardTokens> {
    Ok(match (access, identity, preserve) {
        (false, None, false) => ForwardTokens::Nothing,
        (true, None, false) => ForwardTokens::Access,
        (false, None, true) => ForwardTokens::Preserve,
        (false, Some(identity), keeps) => {
            let at = at.field("forward_id_token");
            let name = header_name(&identity.header, &at.field("header"))?;
            if keeps {
                return Err(at.error("is set", "it or `preserve_authorization_header`, not both"));
            }
            ForwardTokens::Identity(name)
        }
        (true, ..) => {
            let expected = "it, `forward_id_token` or `preserve_authorization_header`, and one of them only";
            return Err(at.field("forward_bearer_token").error("is set", expected));
        }
    })
}

fn header_name(name: &str, at: &At<'_>) -> Decoded<HeaderName> {
    match headers::name(name, at)? {
        header::HOST => Err(at.error("is `host`", "another header")),
        name => Ok(name),
    }
}

fn token_endpoint_of(value: Option<core::HttpUri>, at: &At<'_>) -> Decoded<TokenEndpoint> {
    let HttpUri { uri, cluster, timeout } = http_uri(value, at, url)?;
    Ok(TokenEndpoint { uri, cluster, timeout })
}

fn end_session(
    endpoint: String,
    then: Option<wire::PostLogoutRedirectUri>,
    is_open_id: bool,
    at: &At<'_>,
) -> Decoded<Option<EndSession>> {
    let at_endpoint = at.field("end_session_endpoint");
    // Without an endpoint it says nothing.
    if endpoint.is_empty() {
        return Ok(None);
    }
    if !is_open_id {
        return Err(at_endpoint.error("is set", "`openid` among `auth_scopes`, since only OpenID Connect has it"));
    }
    let at_then = at.field("post_logout_redirect_uri");
    let then = match then.and_then(|then| then.config) {
        None | Some(After::Disabled(false)) => AfterLogout::Root,
        Some(After::Disabled(true)) => AfterLogout::Unsaid,
        Some(After::Uri(uri)) => AfterLogout::To(template(uri, &at_then.field("uri"))?),
    };
    Ok(Some(EndSession { endpoint: url(endpoint, &at_endpoint)?, then }))
}

fn path(value: Option<PathMatcher>, at: &At<'_>) -> Decoded<StringMatch> {
    let Rule::Path(path) = required(required(value, at)?.rule, &at.field("path"))?;
    matcher::string(path, &at.field("path"))
}

fn template(text: String, at: &At<'_>) -> Decoded<UriTemplate> {
    UriTemplate::parse(&text).map_err(|problem| at.error(problem, "a URI, with `%REQ(NAME)%` for headers"))
}

fn not_empty(text: String, at: &At<'_>) -> Decoded<String> {
    if text.is_empty() { Err(at.error("is empty", "a text")) } else { Ok(text) }
}

fn url(text: String, at: &At<'_>) -> Decoded<String> {
    let is_url = text.parse::<http::Uri>().is_ok_and(|uri| uri.scheme().is_some() && uri.authority().is_some());
    if is_url {
        Ok(text)
    } else {
        Err(at.error(format!("is {text:?}"), "a URL such as `https://login.example.org/path`"))
    }
}
