//! Tokens that a proxy believes: the rules of all RequestAuthentications that are for it, and the claims that rules of
//! gateways ask for.
//!
//! Providers and requirements have the names and the form that Istio's control plane gives them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::istio::{JwtRule, KeysAt, RequestAuthentication, has_keys};
use api::{Problem, StringMatch as Written};
use http::HeaderName;
use model::jwt::{
    ClaimHeader, JwtAuthentication, JwtProvider, JwtRule as Rule, KeySource, Required, Requirement, TokenHeader,
};
use model::metadata::MetadataValue;
use model::route::{PathMatch, RouteMatch};
use model::{MetadataMatch, StringMatch};

use crate::node::{Node, Role};
use crate::routes::pattern;
use crate::service::selected;
use crate::world::{Document, World};

/// The key under which payloads are said.
pub(crate) const PAYLOAD: &str = "payload";
/// Claims that are always lists of what stands between spaces.
const SPACED: [&str; 2] = ["scope", "permission"];
/// A set that no token fits, in place of keys that cannot be had. Envoy takes no set without a key, so there is one, which
/// nobody has the private half of: its `x` is the SHA-256 of `nobody's key 0`.
const NO_KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","kid":"nobody","x":"8AT8exLx3z28FrzboLV135iF0Xt4-fYGnAzPYCG-3Eo","y":"TJpTrLn9cAY2t7XxvfasBgpZKB6JlH5GnNEg2GOV7qU"}]}"#;

/// How tokens are checked at a proxy, if any document says it.
pub fn of_node(world: &World, node: &Node) -> Option<JwtAuthentication> {
    let mut rules: Vec<&JwtRule> =
        documents(world, &node.namespace, &node.labels).flat_map(|document| &document.spec().jwt_rules).collect();
    rules.sort_by(|a, b| a.issuer.value.cmp(&b.issuer.value));
    let names: Vec<Arc<str>> = (0..rules.len()).map(|i| format!("origins-{i}").into()).collect();
    let requires = requirement(&names)?;
    let reroute = matches!(node.role, Role::Gateway { .. });
    let providers = names.into_iter().zip(rules).map(|(name, rule)| (name, provider(world, rule, reroute)));
    let everything = RouteMatch::new(PathMatch::Prefix("/".into()));
    Some(JwtAuthentication {
        providers: providers.collect(),
        rules: vec![Rule { matches: everything, requires: Required::Own(requires) }],
        bypass_preflight: true,
        ..JwtAuthentication::new()
    })
}

/// The documents that are for a workload's proxy. A selector without labels takes everybody; one that names gateways of the Gateway API
/// takes none of ours.
pub(crate) fn documents<'a>(
    world: &'a World,
    namespace: &'a str,
    labels: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = &'a Document<RequestAuthentication>> {
    let root = &world.settings.root_namespace;
    world.request_authentications.iter().filter(move |document| {
        let spec = document.spec();
        let near = document.namespace() == root || document.namespace() == namespace;
        let of_targets = spec.target_ref.is_some() || !spec.target_refs.is_empty();
        near && !of_targets && spec.selector.as_ref().is_none_or(|it| selected(&it.match_labels, labels))
    })
}

/// A token may be missing; one that is there must be good. With several issuers one that knows the token suffices: where they
/// share a place, each of them alone would refuse the others' tokens.
fn requirement(names: &[Arc<str>]) -> Option<Requirement> {
    let of = |name: &Arc<str>| Requirement::provider(name.clone());
    let optional = |name: &Arc<str>| Requirement::Any(vec![of(name), Requirement::AllowMissing]);
    match names {
        [] => None,
        [only] => Some(optional(only)),
        several => {
            let all = Requirement::All(several.iter().map(optional).collect());
            Some(Requirement::Any(several.iter().map(of).chain([all]).collect()))
        }
    }
}

fn provider(world: &World, rule: &JwtRule, reroute: bool) -> JwtProvider {
    let header = |name: &str| HeaderName::from_bytes(name.as_bytes()).ok();
    let claims = rule.output_claim_to_headers.iter().filter_map(|output| {
        let claim = output.claim.split('.').map(str::to_owned).collect();
        Some(ClaimHeader { header: header(&output.header)?, claim })
    });
    let places = rule
        .from_headers
        .iter()
        .filter_map(|from| Some(TokenHeader { name: header(&from.name)?, prefix: from.prefix.clone() }));
    let spaced = SPACED.into_iter().chain(rule.space_delimited_claims.iter().map(String::as_str));
    let mut space_delimited: Vec<String> = Vec::new();
    spaced.for_each(|name| {
        if !space_delimited.iter().any(|known| known == name) {
            space_delimited.push(name.to_owned())
        }
    });
    JwtProvider {
        audiences: rule.audiences.clone(),
        forward: rule.forward_original_token,
        from_headers: places.collect(),
        from_params: rule.from_params.clone(),
        from_cookies: rule.from_cookies.clone(),
        payload_header: header(&rule.output_payload_to_header),
        payload_in_metadata: Some(PAYLOAD.to_owned()),
        space_delimited,
        claims_to_headers: claims.collect(),
        reroute,
        ..JwtProvider::new(&rule.issuer.value, KeySource::Inline(keys(world, rule)))
    }
}

fn keys(world: &World, rule: &JwtRule) -> Arc<str> {
    let set = match rule.fetched_from() {
        None => Some(rule.jwks.value.as_str().into()),
        Some(at) => world.key_sets.get(at.uri()).and_then(|had| had.set.clone()),
    };
    set.filter(|set| has_keys(set)).unwrap_or_else(|| NO_KEYS.into())
}

impl World {
    /// Where keys have to be fetched from, and what else is to be found out, and how long that may take.
    pub fn keys_asked(&self) -> BTreeMap<KeysAt, Duration> {
        const TIMEOUT: Duration = Duration::from_secs(5);
        let rules = self.request_authentications.iter().flat_map(|document| &document.spec().jwt_rules);
        let mut asked = BTreeMap::new();
        for (at, timeout) in rules.filter_map(|rule| Some((rule.fetched_from()?, rule.timeout.unwrap_or(TIMEOUT)))) {
            let longest = asked.entry(at).or_insert(timeout);
            *longest = timeout.max(*longest);
        }
        for at in self.logins_asked() {
            asked.entry(at).or_insert(TIMEOUT);
        }
        asked
    }
}

/// Keys that cannot be had: until they can, nobody's token is believed, or old ones stand.
pub fn check_keys(world: &World, problems: &mut Vec<Problem>) {
    for document in world.request_authentications.iter() {
        for (i, rule) in document.spec().jwt_rules.iter().enumerate() {
            let Some(at) = rule.fetched_from() else { continue };
            let Some((had, failure)) = world.key_sets.get(at.uri()).and_then(|had| Some((had, had.failure.as_ref()?)))
            else {
                continue;
            };
            let hint = match had.set {
                Some(_) => "those that were fetched before still count",
                None => "no token of this issuer is believed until they can be fetched",
            };
            let field = if rule.jwks_uri.value.is_empty() { "issuer" } else { "jwksUri" };
            let problem = Problem::warning(format!("the keys at {} cannot be fetched: {failure}", at.uri()))
                .path(format!("spec.jwtRules[{i}].{field}"))
                .hint(hint);
            problems.push(document.resource.problem(problem, rule.jwks_uri.span));
        }
    }
}

/// The way to the claim that a header of a match stands for: `@request.auth.claims.a.b`, `@request.auth.claims[a][b]` or
/// `[@request.auth.claims][a][b]`. In brackets a name may have dots.
pub fn claim_path(header: &str) -> Option<Vec<String>> {
    const CLAIMS: &str = "@request.auth.claims";
    let rest = header.strip_prefix('[').and_then(|bare| bare.strip_prefix(CLAIMS)?.strip_prefix(']'));
    let rest = rest.or_else(|| header.strip_prefix(CLAIMS))?;
    let path: Vec<String> = match rest.strip_prefix('.') {
        Some(names) => names.split('.').map(str::to_owned).collect(),
        None => rest.strip_prefix('[')?.strip_suffix(']')?.split("][").map(str::to_owned).collect(),
    };
    path.iter().all(|name| !name.is_empty()).then_some(path)
}

/// A condition on a claim: on its text, or on one of its texts if it is a list.
pub fn claim(path: Vec<String>, value: &Written, invert: bool) -> MetadataMatch {
    let text = match value {
        Written::Present => None,
        Written::Regex(source) if source == "*" => None,
        Written::Exact(text) => Some(StringMatch::exact(text)),
        Written::Prefix(text) => Some(StringMatch::prefix(text)),
        Written::Regex(source) => Some(StringMatch::Regex(pattern(source))),
    };
    let value = text.map_or(MetadataValue::Present(true), |text| {
        let text = MetadataValue::Text(text);
        MetadataValue::Any(vec![text.clone(), MetadataValue::OneOf(Box::new(text))])
    });
    let path = [PAYLOAD.to_owned()].into_iter().chain(path).collect();
    MetadataMatch { filter: JwtAuthentication::NAME.to_owned(), path, value, invert }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_of_headers() {
        for (header, expected) in [
            ("@request.auth.claims.sub", Some("sub")),
            ("@request.auth.claims.a.b", Some("a|b")),
            ("@request.auth.claims[a.b][c]", Some("a.b|c")),
            ("[@request.auth.claims][a.b][c]", Some("a.b|c")),
            ("[@request.auth.claims].a", Some("a")),
            ("@request.auth.claims", None),
            ("@request.auth.claims.", None),
            ("@request.auth.claims[]", None),
            ("@request.auth.claims[a", None),
            ("@request.auth.claimsx", None),
            ("x-sub", None),
        ] {
            assert_eq!(claim_path(header).map(|path| path.join("|")).as_deref(), expected, "{header}");
        }
    }
}
