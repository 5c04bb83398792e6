//! People who log in at a gateway (Envoy's `envoy.filters.http.oauth2`; RFC 6749, RFC 7636 and OpenID Connect): where they
//! are sent for it, how the answer is exchanged for tokens, and in which cookies these live.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::StringMatch;
use crate::matcher::{HeaderKey, HeaderMatch};
use crate::route::{RequestView, header_value};

/// A filter that lets only those pass who have logged in.
#[derive(Debug, Clone, PartialEq)]
pub struct OAuth2 {
    /// The name under which it stands in its chain.
    pub name: Arc<str>,
    /// A further prefix of its statistics.
    pub stat_prefix: Arc<str>,
    /// Where codes are exchanged for tokens.
    pub token_endpoint: TokenEndpoint,
    /// The URL where people log in.
    pub authorization_endpoint: String,
    /// The URL where they log out at the provider too; none: only here.
    pub end_session: Option<EndSession>,
    /// Whom the provider knows us as.
    pub client_id: String,
    /// How that is proven.
    pub client_auth: ClientAuth,
    /// The secret that the cookies are signed and encrypted with.
    pub hmac_secret: Arc<str>,
    /// Where the provider sends people back to.
    pub redirect_uri: UriTemplate,
    /// The targets that are meant by it.
    pub redirect_path: StringMatch,
    /// The targets that log out.
    pub sign_out: StringMatch,
    /// What goes on of tokens.
    pub forward: ForwardTokens,
    /// Requests of which one of these is true pass without login.
    pub pass_through: Vec<HeaderMatch>,
    /// Those who are not logged in are refused here, and not sent to log in.
    pub deny_redirect: Vec<HeaderMatch>,
    /// Those who are not logged in pass here, and the upstream is told so.
    pub allow_failed: Vec<HeaderMatch>,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// For which resources (RFC 8707).
    pub resources: Vec<String>,
    /// How long what the provider gives is good for.
    pub lifetimes: Lifetimes,
    /// The cookies.
    pub cookies: Cookies,
    /// In place of the scheme and host of requests in the address that people come back to.
    pub original_uri: Option<UriTemplate>,
    /// The hosts that people may be sent to, `*.` for those below one; empty: all.
    pub allowed_domains: Vec<String>,
}

impl OAuth2 {
    /// The name that Envoy gives the filter.
    pub const NAME: &'static str = "envoy.filters.http.oauth2";
    /// What is asked for where nothing is said.
    pub const SCOPE: &'static str = "user";
    /// The scope that makes it OpenID Connect.
    pub const OPENID: &'static str = "openid";

    /// The secrets that it needs.
    pub fn secrets(&self) -> impl Iterator<Item = &Arc<str>> {
        let own = match &self.client_auth {
            ClientAuth::Body(secret) | ClientAuth::Basic(secret) => Some(secret),
            ClientAuth::Certificate => None,
        };
        own.into_iter().chain([&self.hmac_secret])
    }
}

/// Where codes are exchanged for tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenEndpoint {
    /// The URL.
    pub uri: String,
    /// The cluster that has it.
    pub cluster: Arc<str>,
    /// How long an exchange may take.
    pub timeout: Duration,
}

/// How people log out at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndSession {
    /// The URL.
    pub endpoint: String,
    /// Where they are sent from there.
    pub then: AfterLogout,
}

/// Where people are sent who have logged out at the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterLogout {
    /// To `/` of the host where they did.
    Root,
    /// There.
    To(UriTemplate),
    /// Wherever the provider likes.
    Unsaid,
}

/// How the provider knows that it is us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAuth {
    /// A secret of this name, in the body.
    Body(Arc<str>),
    /// A secret of this name, by HTTP's Basic authentication.
    Basic(Arc<str>),
    /// The certificate of the cluster (RFC 8705).
    Certificate,
}

/// What goes on of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ForwardTokens {
    /// Nothing: `Authorization` is taken off.
    Nothing,
    /// The access token, in `Authorization`.
    Access,
    /// The identity token: in `Authorization` as a bearer token, in another header as it is.
    Identity(HeaderName),
    /// The client's own `Authorization`.
    Preserve,
}

/// How long what the provider gives is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifetimes {
    /// Access tokens of which it says nothing; zero: it must.
    pub access: Duration,
    /// Refresh tokens that do not say it themselves.
    pub refresh: Duration,
    /// A login that is under way: its nonce.
    pub nonce: Duration,
    /// The same: its code verifier.
    pub verifier: Duration,
    /// The cookie of the identity token lives as long as the access token.
    pub identity_as_access: bool,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            access: Duration::ZERO,
            refresh: Duration::from_secs(604_800),
            nonce: Duration::from_secs(600),
            verifier: Duration::from_secs(600),
            identity_as_access: false,
        }
    }
}

/// The cookies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookies {
    /// The domain that they are for; none: the host that sets them.
    pub domain: Option<String>,
    /// The tokens within them are encrypted.
    pub encrypted: bool,
    /// Access tokens are refreshed by their refresh tokens.
    pub refreshes: bool,
    /// The access token.
    pub access: TokenCookie,
    /// The identity token.
    pub identity: TokenCookie,
    /// The refresh token.
    pub refresh: TokenCookie,
    /// What proves that the others are ours.
    pub hmac: Cookie,
    /// Until when.
    pub expires: Cookie,
    /// What proves that a login began here.
    pub nonce: Cookie,
    /// The proof key of a login (RFC 7636).
    pub verifier: Cookie,
}

impl Default for Cookies {
    fn default() -> Self {
        Self {
            domain: None,
            encrypted: true,
            refreshes: true,
            access: TokenCookie::new("BearerToken"),
            identity: TokenCookie::new("IdToken"),
            refresh: TokenCookie::new("RefreshToken"),
            hmac: Cookie::new("OauthHMAC"),
            expires: Cookie::new("OauthExpires"),
            nonce: Cookie::new("OauthNonce"),
            verifier: Cookie::new("CodeVerifier"),
        }
    }
}

impl Cookies {
    /// Those of tokens: access, identity, refresh.
    pub fn of_tokens(&self) -> [&Cookie; 3] {
        [&self.access.cookie, &self.identity.cookie, &self.refresh.cookie]
    }
}

/// The cookie of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenCookie {
    /// The cookie.
    pub cookie: Cookie,
    /// It is set; otherwise it is only read.
    pub is_set: bool,
}

impl TokenCookie {
    /// One that is set, with this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { cookie: Cookie::new(name), is_set: true }
    }
}

/// A cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// The paths that it is for.
    pub path: String,
    /// Whether other sites may make a browser send it; none: as browsers like.
    pub same_site: Option<SameSite>,
    /// It is kept apart for each site that embeds ours.
    pub partitioned: bool,
}

impl Cookie {
    /// A cookie for all paths.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), path: "/".to_owned(), same_site: None, partitioned: false }
    }
}

/// Whether other sites may make a browser send a cookie (RFC 6265bis).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Never.
    Strict,
    /// By links that are followed.
    Lax,
    /// Always.
    None,
}

/// A URI in which `%REQ(NAME)%` stands for a header of the request, `%REQ(NAME?OTHER)%` for the other where there is none of
/// the first, `%REQ(NAME):Z%` for its first Z bytes, and `%%` for `%`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UriTemplate {
    source: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Header { key: HeaderKey, or: Option<HeaderKey>, most: Option<usize> },
}

impl UriTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it, to be said after its name.
    pub fn parse(source: &str) -> Result<Self, String> {
        let (mut parts, mut text, mut rest) = (Vec::new(), String::new(), source);
        while let Some((before, after)) = rest.split_once('%') {
            text.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                text.push('%');
                rest = after;
                continue;
            }
            let (operator, after) =
                after.split_once('%').ok_or_else(|| format!("has a `%` without another in `{source}`"))?;
            parts.push(Part::Text(std::mem::take(&mut text)));
            parts.push(header(operator).ok_or_else(|| format!("has the unknown operator `%{operator}%`"))?);
            rest = after;
        }
        text.push_str(rest);
        parts.push(Part::Text(text));
        parts.retain(|part| *part != Part::Text(String::new()));
        Ok(Self { source: source.to_owned(), parts })
    }

    /// A path of the host that a request is for.
    pub fn at_host(path: &str) -> Self {
        let header = |key| Part::Header { key, or: None, most: None };
        let text = |text: &str| Part::Text(text.to_owned());
        Self {
            source: format!("%REQ(:scheme)%://%REQ(:authority)%{}", path.replace('%', "%%")),
            parts: vec![header(HeaderKey::Scheme), text("://"), header(HeaderKey::Authority), text(path)],
        }
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The URI for a request. A header that is not there is written `-`.
    pub fn fill(&self, request: &RequestView<'_>) -> String {
        let value = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Header { key, or, most } => {
                let value = header_value(key, request).or_else(|| header_value(or.as_ref()?, request));
                let value = value.map_or_else(|| "-".to_owned(), Cow::into_owned);
                most.map_or_else(|| value.clone(), |most| value.chars().take(most).collect())
            }
        };
        self.parts.iter().map(value).collect()
    }
}

/// `REQ(A)`, `REQ(A?B)`, `REQ(A):3`
fn header(operator: &str) -> Option<Part> {
    let (names, most) = operator.strip_prefix("REQ(")?.split_once(')')?;
    let most = match most {
        "" => None,
        most => Some(most.strip_prefix(':')?.parse().ok()?),
    };
    let (first, second) = names.split_once('?').map_or((names, None), |(first, second)| (first, Some(second)));
    let or = match second {
        Some(name) => Some(HeaderKey::parse(name)?),
        None => None,
    };
    Some(Part::Header { key: HeaderKey::parse(first)?, or, most })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};

    use super::*;

    #[test]
    fn templates() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        let request = RequestView {
            method: &Method::GET,
            scheme: "http",
            authority: "a.example",
            path: "/p",
            query: Some("q"),
            headers: &headers,
            metadata: None,
        };
        for (source, expected) in [
            ("https://a/callback", Ok("https://a/callback")),
            ("%REQ(x-forwarded-proto)%://%REQ(:authority)%/c", Ok("https://a.example/c")),
            ("%REQ(x-none?:scheme)%://x%REQ(:path)%", Ok("http://x/p?q")),
            ("%REQ(x-none)%", Ok("-")),
            ("%REQ(:authority):1%%%2f", Ok("a%2f")),
            ("", Ok("")),
            ("100%", Err("has a `%` without another in `100%`")),
            ("%PROTOCOL%", Err("has the unknown operator `%PROTOCOL%`")),
            ("%REQ(a b)%", Err("has the unknown operator `%REQ(a b)%`")),
        ] {
            let found = UriTemplate::parse(source).map(|template| template.fill(&request));
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{source}");
        }
        let own = UriTemplate::at_host("/c%");
        assert_eq!(
            (own.fill(&request).as_str(), UriTemplate::parse(own.source())),
            ("http://a.example/c%", Ok(own.clone()))
        );
    }
}
