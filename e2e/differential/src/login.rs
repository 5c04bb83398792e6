//! What differs from run to run of logins: who gets another nonce each time is compared by the form of it alone.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Cookies whose values are made anew each time, by the beginnings of their names.
/// Those of one letter are those of cases that name them themselves.
const MADE: [&str; 8] = ["OauthHMAC", "OauthExpires", "OauthNonce", "CodeVerifier", "H", "E", "N", "V"];
/// Those of tokens, which are made anew if they are encrypted.
const TOKENS: [&str; 3] = ["BearerToken", "IdToken", "RefreshToken"];

/// Headers without what is made. Envoy takes cookies away in the order of a hash.
pub fn all_masked(headers: &[(String, String)]) -> Vec<(String, String)> {
    let mut masked: Vec<_> = headers.iter().map(|(name, value)| (name.clone(), masked(name, value))).collect();
    let cookie = |(name, _): &(String, String)| name.eq_ignore_ascii_case("set-cookie");
    let mut cookies: Vec<_> = masked.extract_if(.., |header| cookie(header)).collect();
    cookies.sort();
    masked.extend(cookies);
    masked
}

/// A header's value without what is made.
fn masked(name: &str, value: &str) -> String {
    match name.to_ascii_lowercase().as_str() {
        "set-cookie" => cookie(value),
        "location" if value.contains("code_challenge=") => location(value),
        "cookie" => sorted(value),
        _ => value.to_owned(),
    }
}

fn cookie(value: &str) -> String {
    let (pair, rest) = value.split_once(';').map_or((value, ""), |(pair, rest)| (pair, rest));
    let Some((name, held)) = pair.split_once('=') else { return value.to_owned() };
    let (base, flow) = name.split_once('.').unwrap_or((name, ""));
    let is_made = MADE.contains(&base) || (TOKENS.contains(&base) && !held.starts_with("plain"));
    if held == "deleted" || !is_made {
        return value.replace(flow_of(flow), "(flow)");
    }
    let name = if flow.is_empty() { base.to_owned() } else { format!("{base}.({})", flow.len()) };
    let form = match base {
        "OauthNonce" | "N" => held.split_once('.').map(|(flow, mac)| format!("({}).({})", flow.len(), mac.len())),
        "OauthExpires" | "E" => Some("(time)".to_owned()),
        _ => Some(format!("({})", held.len())),
    };
    format!("{name}={};{rest}", form.unwrap_or_else(|| held.to_owned()))
}

/// A cookie that goes keeps the number that the case has given it.
fn flow_of(flow: &str) -> &str {
    if flow.len() == 16 && flow.bytes().all(|byte| byte.is_ascii_hexdigit()) { flow } else { "\0" }
}

fn location(value: &str) -> String {
    let Some((path, query)) = value.split_once('?') else { return value.to_owned() };
    let parameters = query.split('&').map(|parameter| match parameter.split_once('=') {
        Some(("state", state)) => format!("state={}", state_of(state)),
        Some(("code_challenge", challenge)) => format!("code_challenge=({})", challenge.len()),
        _ => parameter.to_owned(),
    });
    format!("{path}?{}", parameters.collect::<Vec<_>>().join("&"))
}

/// What is in it, but for numbers and signatures.
fn state_of(state: &str) -> String {
    let Ok(bytes) = URL_SAFE_NO_PAD.decode(state) else { return state.to_owned() };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let Ok(parsed) = serde_json::from_str::<serde_json::Value>(&text) else { return text };
    ["csrf_token", "flow_id"].iter().fold(text, |text, field| match parsed[field].as_str() {
        Some(made) => text.replace(made, &format!("({})", made.len())),
        None => text,
    })
}

/// Envoy writes cookies anew in the order of a hash.
fn sorted(value: &str) -> String {
    let mut pairs: Vec<&str> = value.split("; ").collect();
    pairs.sort_unstable();
    pairs.join("; ")
}
