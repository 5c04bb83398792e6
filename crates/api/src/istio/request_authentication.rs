//! RequestAuthentication: which tokens a workload believes.

use std::collections::BTreeSet;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

use super::destination_rule::check_place;
use super::{LabelSelector, TargetRef};
use crate::decode::{Spanned, object};
use crate::problem::quoted;
use crate::report::Report;
use crate::syntax::is_header_name;

object! {
    /// Which tokens some workloads believe (`security.istio.io`). A request without a token passes; one with a bad token does
    /// not.
    Istio struct RequestAuthentication {
        /// The workloads; none means all of the namespace, or of the mesh in its root namespace.
        selector "selector": Option<LabelSelector>,
        /// A gateway of the Gateway API, in place of a selector.
        target_ref "targetRef": Option<TargetRef>,
        /// The same, several.
        target_refs "targetRefs": Vec<TargetRef>,
        /// The tokens.
        jwt_rules "jwtRules": Vec<JwtRule>,
    }
}

object! {
    /// The tokens of an issuer.
    Istio struct JwtRule {
        /// `iss` of its tokens.
        issuer "issuer" (required): Spanned<String>,
        /// A token must be for one of these; none: for anybody.
        audiences "audiences": Vec<String>,
        /// Where its keys are. Without it and without `jwks` they are asked for by OpenID Connect Discovery.
        jwks_uri "jwksUri": Spanned<String>,
        /// Its keys (a JSON Web Key Set).
        jwks "jwks": Spanned<String>,
        /// Headers that carry tokens. Without any place: `Authorization: Bearer` and the parameter `access_token`.
        from_headers "fromHeaders": Vec<JwtHeader>,
        /// Query parameters that carry tokens.
        from_params "fromParams": Vec<String>,
        /// Cookies that carry tokens.
        from_cookies "fromCookies": Vec<String>,
        /// The payload goes to the program in this header.
        output_payload_to_header "outputPayloadToHeader": String,
        /// Claims go to the program in headers of their own.
        output_claim_to_headers "outputClaimToHeaders": Vec<ClaimToHeader>,
        /// The token goes to the program too.
        forward_original_token "forwardOriginalToken": bool,
        /// How long the keys may take to come; 5 s if it is not said.
        timeout "timeout": Option<Duration>,
        /// Claims that are lists of what stands between spaces, beside `scope` and `permission`.
        space_delimited_claims "spaceDelimitedClaims": Vec<String>,
    }
}

object! {
    /// A header that carries tokens.
    Istio struct JwtHeader {
        /// Its name.
        name "name" (required): String,
        /// What stands before the token.
        prefix "prefix": String,
    }
}

object! {
    /// A claim that goes to the program in a header.
    Istio struct ClaimToHeader {
        /// The header.
        header "header" (required): String,
        /// The claim; `a.b` is within `a`.
        claim "claim" (required): String,
    }
}

impl JwtRule {
    /// Where its keys have to be fetched, if they have to be: the URI of the keys, or that of a document that says it.
    pub fn fetched_from(&self) -> Option<KeysAt> {
        if !self.jwks.value.is_empty() {
            return None;
        }
        Some(match self.jwks_uri.value.as_str() {
            "" => KeysAt::Discovery(discovery_document(&self.issuer.value)),
            uri => KeysAt::Uri(uri.to_owned()),
        })
    }
}

/// Below an issuer's name its document is (OpenID Connect Discovery 1.0, section 4).
pub const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Where an issuer says what it has.
pub(crate) fn discovery_document(issuer: &str) -> String {
    format!("{}{DISCOVERY}", issuer.trim_end_matches('/'))
}

/// Where the keys of an issuer are, and what else is found out for documents beside them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeysAt {
    /// There.
    Uri(String),
    /// Where the document at this URI says (OpenID Connect Discovery 1.0).
    Discovery(String),
    /// What the document at this URI says of where people log in; [`ENDPOINTS`](crate::halcyon::ENDPOINTS) stands before it.
    Endpoints(String),
    /// Nowhere: under this name the control plane keeps a secret that it makes itself.
    Made(String),
}

impl KeysAt {
    /// The URI that is asked first.
    pub fn uri(&self) -> &str {
        match self {
            Self::Uri(uri) | Self::Discovery(uri) | Self::Endpoints(uri) | Self::Made(uri) => uri,
        }
    }
}

impl RequestAuthentication {
    pub(crate) fn check(&self, report: &mut Report) {
        check_place(self.selector.as_ref(), self.target_ref.is_some() || !self.target_refs.is_empty(), report);
        let mut issuers = BTreeSet::new();
        report.each("jwtRules", &self.jwt_rules, |rule, r| {
            rule.check(r);
            if !issuers.insert(&rule.issuer.value) {
                r.field("issuer", |r| {
                    r.warning(format!("the issuer {} is there twice", quoted(&rule.issuer.value)))
                        .hint("put places and audiences into one rule");
                });
            }
        });
    }
}

impl JwtRule {
    fn check(&self, report: &mut Report) {
        if self.issuer.value.is_empty() {
            report.field("issuer", |r| {
                r.error("the issuer is empty").expected("`iss` of the tokens, such as `https://accounts.example.com`");
            });
        }
        report.each("audiences", &self.audiences, |audience, r| check_filled(audience, "an audience", r));
        self.check_keys(report);
        report.each("fromHeaders", &self.from_headers, |header, r| {
            r.field("name", |r| check_header(&header.name, r));
        });
        report.each("fromParams", &self.from_params, |name, r| check_filled(name, "the name of a parameter", r));
        report.each("fromCookies", &self.from_cookies, |name, r| check_filled(name, "the name of a cookie", r));
        if !self.output_payload_to_header.is_empty() {
            report.field("outputPayloadToHeader", |r| check_header(&self.output_payload_to_header, r));
        }
        report.each("outputClaimToHeaders", &self.output_claim_to_headers, |output, r| {
            r.field("header", |r| check_header(&output.header, r));
            r.field("claim", |r| check_filled(&output.claim, "the name of a claim", r));
        });
        report.each("spaceDelimitedClaims", &self.space_delimited_claims, |name, r| {
            check_filled(name, "the name of a claim", r);
        });
        if self.timeout.is_some_and(|timeout| timeout < Duration::from_millis(1)) {
            report.field("timeout", |r| {
                r.error("nothing comes in no time").expected("1ms or more");
            });
        }
    }

    fn check_keys(&self, report: &mut Report) {
        let (uri, inline) = (&self.jwks_uri.value, &self.jwks.value);
        if !uri.is_empty() && !inline.is_empty() {
            report.field("jwksUri", |r| {
                r.warning("the keys stand in `jwks`, so nothing is fetched").hint("remove one of the two");
            });
        }
        if !uri.is_empty() {
            report.field("jwksUri", |r| check_uri(uri, r));
        }
        if !inline.is_empty() {
            report.field("jwks", |r| check_key_set(inline, r));
        }
        if uri.is_empty() && inline.is_empty() && !self.issuer.value.is_empty() && !is_web_uri(&self.issuer.value) {
            report.field("issuer", |r| {
                r.error(format!("nothing says where the keys of {} are", quoted(&self.issuer.value)))
                    .expected("`jwks`, `jwksUri`, or an issuer that is a URL, which is asked for them")
                    .hint("add `jwksUri`");
            });
        }
    }
}

fn check_filled(text: &str, what: &str, report: &mut Report) {
    if text.is_empty() {
        report.error("this is empty").expected(what);
    }
}

fn check_header(name: &str, report: &mut Report) {
    if !is_header_name(name) {
        report.error(format!("{} is not the name of a header", quoted(name)));
    }
}

fn is_web_uri(text: &str) -> bool {
    let rest = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    rest.and_then(|rest| rest.split(['/', '?', '#']).next()).is_some_and(|authority| {
        !authority.is_empty() && authority.chars().all(|c| c.is_ascii_alphanumeric() || ".-:[]_".contains(c))
    })
}

fn check_uri(text: &str, report: &mut Report) {
    if !is_web_uri(text) {
        report
            .error(format!("{} is not where keys can be fetched", quoted(text)))
            .expected("`http://` or `https://`, a host and a path");
    }
}

fn check_key_set(text: &str, report: &mut Report) {
    match read_key_set(text) {
        None => {
            report.error("this is no key set").expected("JSON with the list `keys` (RFC 7517)");
        }
        Some(keys) if !keys.iter().any(is_key) => {
            report
                .warning("there is no key in the set that can be used, so no token is believed")
                .expected("a key of the type RSA, EC, OKP or oct, with an algorithm of that type (RFC 7518)");
        }
        Some(_) => {}
    }
}

fn read_key_set(text: &str) -> Option<Vec<Value>> {
    match serde_json::from_str::<Value>(text).ok()?.get_mut("keys")?.take() {
        Value::Array(keys) => Some(keys),
        _ => None,
    }
}

/// Is there a key in the set that a proxy can use? Envoy refuses a listener for a set without one.
pub fn has_keys(set: &str) -> bool {
    read_key_set(set).is_some_and(|keys| keys.iter().any(is_key))
}

fn is_key(key: &Value) -> bool {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let number = |name: &str| text(name).and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok());
    let are_there = |names: &[&str]| names.iter().all(|name| number(name).is_some_and(|bytes| !bytes.is_empty()));
    let curve = text("crv").unwrap_or_default();
    let (algorithms, fits): (&[&str], bool) = match text("kty") {
        Some("RSA") => (&["RS", "PS"], are_there(&["n", "e"])),
        Some("EC") => (&["ES"], matches!(curve, "" | "P-256" | "P-384" | "P-521") && are_there(&["x", "y"])),
        Some("OKP") => (&["EdDSA"], curve == "Ed25519" && are_there(&["x"])),
        Some("oct") => (&["HS"], are_there(&["k"])),
        _ => (&[], false),
    };
    fits && text("alg").is_none_or(|said| algorithms.iter().any(|one| said.starts_with(one)))
}
