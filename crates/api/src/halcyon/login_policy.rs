//! LoginPolicy: people log in at gateways, by OpenID Connect or OAuth 2.0, before any rule looks at what they ask for.

use std::time::Duration;

use crate::decode::{Spanned, choice, object};
use crate::istio::{KeysAt, LabelSelector, discovery_document};
use crate::meta::check_selector;
use crate::problem::quoted;
use crate::report::Report;
use crate::syntax::{is_header_name, is_header_value};

object! {
    /// Who comes through a gateway has to log in. It stands for the gateways of its namespace, or in the root namespace for
    /// all.
    Exact struct LoginPolicy {
        /// The gateways; none means all.
        selector "selector": Option<LabelSelector>,
        /// The hosts that one has to log in for; none means all. `*.` stands for those below one.
        hosts "hosts": Vec<Spanned<String>>,
        /// The provider, whose endpoints are found by OpenID Connect Discovery 1.0.
        issuer "issuer": Option<Spanned<String>>,
        /// Where people log in, in place of what discovery finds.
        authorization_endpoint "authorizationEndpoint": Option<Spanned<String>>,
        /// Where codes become tokens, in place of what discovery finds.
        token_endpoint "tokenEndpoint": Option<Spanned<String>>,
        /// Where people log out at the provider, in place of what discovery finds.
        end_session_endpoint "endSessionEndpoint": Option<Spanned<String>>,
        /// Whom the provider knows us as.
        client_id "clientId" (required): Spanned<String>,
        /// What proves it.
        client_secret "clientSecret" (required): SecretKey,
        /// How it is proven; none means BODY.
        client_authentication "clientAuthentication": ClientAuthentication,
        /// The path that the provider sends people back to; none means `/oauth2/callback`.
        redirect_path "redirectPath": Option<Spanned<String>>,
        /// The path by which people log out; none means `/oauth2/logout`.
        logout_path "logoutPath": Option<Spanned<String>>,
        /// What is asked for; none means `openid`.
        scopes "scopes": Vec<Spanned<String>>,
        /// The cookies that a login lives in.
        cookies "cookies": Option<LoginCookies>,
        /// Requests that need no login.
        pass_through "passThrough": Option<LoginMatch>,
        /// Requests of those who have not logged in that are answered with 401, and not sent to the provider.
        deny_redirect "denyRedirect": Option<LoginMatch>,
        /// What of the tokens the upstream, and the rules of the gateway, get in `Authorization`; none means IDENTITY.
        forward_token "forwardToken": Option<ForwardToken>,
        /// How long the provider may take to give tokens; none means 5 s.
        timeout "timeout": Option<Duration>,
    }
}

object! {
    /// A key of a Secret in the namespace of the gateway.
    Exact struct SecretKey {
        /// The Secret.
        name "name" (required): Spanned<String>,
        /// Its key; none means `client-secret`.
        key "key": String,
    }
}

object! {
    /// The cookies that a login lives in.
    Exact struct LoginCookies {
        /// The domain that they are for; none means the host alone.
        domain "domain": Option<String>,
        /// Whether other sites may make a browser send them; none means LAX.
        same_site "sameSite": Option<LoginSameSite>,
    }
}

object! {
    /// Requests of which any of these is true.
    Exact struct LoginMatch {
        /// Paths: whole ones, those that begin with something (`/public/*`), or end in something (`*.css`).
        paths "paths": Vec<Spanned<String>>,
        /// Methods.
        methods "methods": Vec<Spanned<String>>,
        /// Headers with these values.
        headers "headers": Vec<LoginHeader>,
    }
}

object! {
    /// A header with a value.
    Exact struct LoginHeader {
        /// Its name.
        name "name" (required): Spanned<String>,
        /// Its value; none means any.
        value "value": Option<Spanned<String>>,
    }
}

choice! {
    /// How a provider knows that it is us.
    enum ClientAuthentication {
        /// A form's fields.
        Body "BODY",
        /// HTTP's Basic authentication.
        Basic "BASIC",
    }
}

choice! {
    /// Whether other sites may make a browser send a cookie.
    enum LoginSameSite {
        /// By links that are followed.
        Lax "LAX",
        /// Never.
        Strict "STRICT",
        /// Always.
        None "NONE",
    }
}

choice! {
    /// What goes on of tokens.
    enum ForwardToken {
        /// The identity token.
        Identity "IDENTITY",
        /// The access token.
        Access "ACCESS",
        /// Nothing.
        None "NONE",
    }
}

/// The path that people come back to where nothing is said.
const REDIRECT: &str = "/oauth2/callback";
/// The path by which they log out where nothing is said.
const LOGOUT: &str = "/oauth2/logout";
/// The key of a Secret where nothing is said.
const KEY: &str = "client-secret";

impl LoginPolicy {
    /// The path that people come back to.
    pub fn redirect_path(&self) -> &str {
        self.redirect_path.as_ref().map_or(REDIRECT, |path| &path.value)
    }

    /// The path by which they log out.
    pub fn logout_path(&self) -> &str {
        self.logout_path.as_ref().map_or(LOGOUT, |path| &path.value)
    }

    /// Where the endpoints are found that it does not say.
    pub fn discovered_from(&self) -> Option<KeysAt> {
        let issuer = self.issuer.as_ref()?;
        let all = self.authorization_endpoint.is_some() && self.token_endpoint.is_some();
        (!all).then(|| KeysAt::Endpoints(format!("{ENDPOINTS}{}", discovery_document(&issuer.value))))
    }

    pub(crate) fn check(&self, report: &mut Report) {
        report.opt("selector", &self.selector, |selector, r| {
            check_selector("matchLabels", &selector.match_labels, r);
        });
        report.each("hosts", &self.hosts, |host, r| {
            let bare = host.value.strip_prefix("*.").unwrap_or(&host.value);
            if bare.is_empty() || bare.contains('*') || bare.contains(['/', ':', ' ']) {
                r.error(format!("{} is no host", quoted(&host.value)))
                    .expected("`shop.example.org`, or `*.example.org`");
            }
        });
        let whole = self.authorization_endpoint.is_some() && self.token_endpoint.is_some();
        if self.issuer.is_none() && !whole {
            report
                .error("nothing says where people log in")
                .expected("`issuer`, or both `authorizationEndpoint` and `tokenEndpoint`");
        }
        for (name, url) in [
            ("issuer", &self.issuer),
            ("authorizationEndpoint", &self.authorization_endpoint),
            ("tokenEndpoint", &self.token_endpoint),
            ("endSessionEndpoint", &self.end_session_endpoint),
        ] {
            report.opt(name, url, check_url);
        }
        report.field("clientId", |r| {
            if self.client_id.value.is_empty() {
                r.error("it is empty").expected("the name by which the provider knows the application");
            }
        });
        for (name, path) in [("redirectPath", &self.redirect_path), ("logoutPath", &self.logout_path)] {
            report.opt(name, path, |path, r| {
                if !path.value.starts_with('/') || path.value.contains(['?', '#', '*', '%', ' ']) {
                    r.error(format!("{} is no path", quoted(&path.value)))
                        .expected("a path such as `/oauth2/callback`");
                }
            });
        }
        if self.redirect_path() == self.logout_path() {
            report.field("logoutPath", |r| {
                r.error("it is the path that people come back to").expected("another path");
            });
        }
        let is_open_id = self.scopes.is_empty() || self.scopes.iter().any(|scope| scope.value == "openid");
        if self.end_session_endpoint.is_some() && !is_open_id {
            report.field("endSessionEndpoint", |r| {
                r.error("only OpenID Connect has one").expected("`openid` among `scopes`");
            });
        }
        report.opt("passThrough", &self.pass_through, LoginMatch::check);
        report.opt("denyRedirect", &self.deny_redirect, LoginMatch::check);
    }
}

/// What stands before the address of a document whose endpoints are asked for, so that it is not taken for its keys.
pub const ENDPOINTS: &str = "endpoints of ";

impl SecretKey {
    /// The key.
    pub fn key(&self) -> &str {
        if self.key.is_empty() { KEY } else { &self.key }
    }
}

impl LoginMatch {
    fn check(&self, report: &mut Report) {
        report.each("paths", &self.paths, |path, r| {
            let text = &path.value;
            let stars = text.matches('*').count();
            let is_good = match stars {
                0 => text.starts_with('/'),
                1 => (text.starts_with('/') && text.ends_with('*')) || (text.starts_with('*') && text.len() > 1),
                _ => false,
            };
            if !is_good || text.contains(['?', '#']) {
                r.error(format!("{} is no path", quoted(text))).expected("`/path`, `/path/*` or `*.css`");
            }
        });
        report.each("headers", &self.headers, |header, r| {
            if !is_header_name(&header.name.value) {
                r.error(format!("{} is no header", quoted(&header.name.value))).expected("a header's name");
            }
            if header.value.as_ref().is_some_and(|value| !is_header_value(&value.value)) {
                r.error("its value cannot stand in a header").expected("a text without control characters");
            }
        });
    }
}

fn check_url(url: &Spanned<String>, report: &mut Report) {
    let rest = url.value.strip_prefix("https://").or_else(|| url.value.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    if !host.is_some_and(|host| !host.is_empty() && !host.contains([' ', '@'])) {
        report.error(format!("{} is no URL", quoted(&url.value))).expected("`https://login.example.org/path`");
    }
}
