//! Cross-origin rules.

use api::StringMatch as Written;
use api::istio::{CorsPolicy, UnmatchedPreflights};
use http::HeaderValue;
use model::{Cors, StringMatch};

use super::http_rule::pattern;

/// The older list of origins counts only where the newer one is not written.
pub fn cors(written: &CorsPolicy) -> Cors {
    let origins = match &written.allow_origins[..] {
        [] => written.allow_origin.iter().map(StringMatch::exact).collect(),
        newer => newer.iter().filter_map(origin).collect(),
    };
    Cors {
        origins,
        methods: list(&written.allow_methods),
        headers: list(&written.allow_headers),
        expose: list(&written.expose_headers),
        max_age: written.max_age.map(|age| HeaderValue::from(age.as_secs())),
        credentials: written.allow_credentials,
        forward_unmatched: Some(written.unmatched_preflights != UnmatchedPreflights::Ignore),
        ..Cors::default()
    }
}

fn origin(written: &Written) -> Option<StringMatch> {
    Some(match written {
        // Refused when the document came in.
        Written::Present => return None,
        Written::Exact(text) => StringMatch::exact(text),
        Written::Prefix(text) => StringMatch::prefix(text),
        Written::Regex(source) => StringMatch::Regex(pattern(source)),
    })
}

fn list(names: &[String]) -> Option<HeaderValue> {
    if names.is_empty() { None } else { HeaderValue::try_from(names.join(",")).ok() }
}
