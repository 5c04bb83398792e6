//! People who log in: where they are sent, what they bring back, and the cookies of it.

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::bootstrap::{cluster, routes};
use crate::case::{Case, Group, Request, case, get, post};

/// The groups.
pub fn groups() -> Vec<Group> {
    vec![begun(), logged_in(), came_back(), by_basic(), failed(), refreshed(), special(), logged_out()]
}

const OAUTH2: &str = "type.googleapis.com/envoy.extensions.filters.http.oauth2.v3.OAuth2";
/// The secret that cookies are signed and encrypted with.
const SECRET: &str = "the hmac secret";
/// A login that is under way, and its proof key: `the-verifier`, encrypted by openssl under the secret.
const FLOW: &str = "0123456789abcdef";
const VERIFIER: &str = "AAECAwQFBgcICQoLDA0OD0pUY6N8Dzv7390MZUJF1rE";
/// `plain-access`, likewise.
const SEALED: &str = "AAECAwQFBgcICQoLDA0OD4_gftW3ymnEuInbdcmXE4g";
/// In the year 2100.
const LATER: &str = "4102444800";
/// What a provider gives; the access token tells what it was asked.
const GIVEN: &str = r#"body={"access_token":"plain$ASKED","id_token":"plain-identity","refresh_token":"plain-refresh","expires_in":3600}"#;

fn sign(text: &str) -> String {
    STANDARD.encode(hmac::sign(&hmac::Key::new(HMAC_SHA256, SECRET.as_bytes()), text.as_bytes()))
}

fn nonce() -> String {
    format!("{FLOW}.{}", sign(FLOW))
}

fn merged(mut one: Value, more: Value) -> Value {
    if let (Some(one), Value::Object(more)) = (one.as_object_mut(), more) {
        one.extend(more);
    }
    one
}

/// A file of one filter, with more of its fields, and a provider that does this.
fn file(provider: &str, more: Value) -> String {
    file_with(provider, more, json!({}))
}

fn file_with(provider: &str, more: Value, credentials: Value) -> String {
    let orders = URL_SAFE_NO_PAD.encode(provider);
    let path = |path: &str| json!({"path": {"exact": path}});
    let credentials = merged(
        json!({"client_id": "shop", "token_secret": {"name": "token"}, "hmac_secret": {"name": "hmac"}}),
        credentials,
    );
    let config = json!({
        "token_endpoint": {"uri": format!("http://login.example/do/{orders}"), "cluster": "two", "timeout": "1s"},
        "authorization_endpoint": "https://login.example/authorize?tenant=t",
        "redirect_uri": "%REQ(:scheme)%://%REQ(:authority)%/callback",
        "redirect_path_matcher": path("/callback"),
        "signout_path": path("/logout"),
        "auth_scopes": ["openid", "e mail"],
        "credentials": credentials,
        "forward_bearer_token": true,
        "disable_token_encryption": true,
    });
    let filter =
        json!({"name": "envoy.filters.http.oauth2", "typed_config": {"@type": OAUTH2, "config": merged(config, more)}});
    let secret = |name: &str, text: &str| json!({"name": name, "generic_secret": {"secret": {"inline_string": text}}});
    let secrets = json!([secret("token", "the client's secret/+"), secret("hmac", SECRET)]);
    let text = routes("- {match: {prefix: /}, route: {cluster: one}}")
        .http_filters(&format!("- {filter}\n"))
        .clusters(&cluster("unused", &["B2"], ""))
        .text();
    text.replacen("static_resources:\n", &format!("static_resources:\n  secrets: {secrets}\n"), 1)
}

fn begun() -> Group {
    let more = json!({
        "resources": ["https://a.example/?b=c", "d"],
        "pass_through_matcher": [{"name": ":path", "string_match": {"prefix": "/public"}}, {"name": ":method", "string_match": {"exact": "OPTIONS"}}],
        "deny_redirect_matcher": [{"name": "x-requested-with", "string_match": {"exact": "XMLHttpRequest"}}],
        "allow_failed_matcher": [{"name": "x-lax", "present_match": true}],
    });
    Group::new(
        "logins begun",
        file(GIVEN, more),
        vec![
            case("a page", get("/page?a=1&b=%20")),
            case("a page by HTTP/2", get("/page").h2()),
            case("another host", get("/").host("other.example:8080")),
            case("a form", post("/page", "a=b")),
            case("a HEAD", get("/page").method("HEAD")),
            case("needs no login", get("/public/a").header("authorization", "mine").header("cookie", "BearerToken=x")),
            case("a preflight", get("/page").method("OPTIONS")),
            case("not by a script", get("/api?x").header("x-requested-with", "XMLHttpRequest")),
            case(
                "as nobody",
                get("/page")
                    .header("x-lax", "1")
                    .header("cookie", "own=1; BearerToken=x; OauthHMAC=y")
                    .header("authorization", "mine"),
            ),
            case("as nobody, says so itself", get("/public").header("x-envoy-oauth-status", "mine")),
            case("cookies of nobody", get("/page").header("cookie", "OauthHMAC=a; OauthExpires=b; BearerToken=c")),
        ],
    )
}

/// The cookies of somebody who has logged in.
fn cookies(host: &str, expires: &str, access: &str) -> String {
    let hmac = sign(&[host, expires, access, "plain-identity", ""].join("\n"));
    format!("OauthHMAC={hmac}; OauthExpires={expires}; BearerToken={access}; IdToken=plain-identity")
}

fn with(cookies: &str) -> Request {
    get("/page?a=1").header("cookie", cookies)
}

fn logged_in() -> Group {
    let good = cookies("a.example", LATER, "plain-access");
    let sealed = good.replace("BearerToken=plain-access", &format!("BearerToken={SEALED}"));
    let older = {
        let hmac = hmac::sign(
            &hmac::Key::new(HMAC_SHA256, SECRET.as_bytes()),
            ["a.example", LATER, "plain-access", "plain-identity", ""].join("\n").as_bytes(),
        );
        let hex: String = hmac.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        good.replace(
            &sign(&["a.example", LATER, "plain-access", "plain-identity", ""].join("\n")),
            &STANDARD.encode(hex),
        )
    };
    let state = state("https://a.example/page");
    Group::new(
        "logins known",
        file(GIVEN, json!({"disable_token_encryption": false})),
        vec![
            case("known", with(&good).header("authorization", "mine")),
            case(
                "known, other cookies",
                with(&format!("own=1; {good}; OauthNonce=a; OauthNonce.1=b; OauthCodeVerifier.1=c; RefreshToken=")),
            ),
            case("known, cookies in two lines", with("own=1").header("cookie", &good)),
            case("known, encrypted", with(&sealed)),
            case("known, by the older signature", with(&older)),
            case("known, by HTTP/2", with(&good).h2()),
            case("of another host", with(&cookies("b.example", LATER, "plain-access"))),
            case("of another token", with(&good.replace("plain-access", "other"))),
            case("of another time", with(&good.replace(LATER, "4102444801"))),
            case("over", with(&cookies("a.example", "1000000000", "plain-access"))),
            case("without a signature", with(&good.replace("OauthHMAC", "Other"))),
            case(
                "comes back once more",
                get(&format!("/callback?code=c&state={state}")).header("cookie", &format!("{good}; {}", under_way())),
            ),
            case("comes back with nothing", get("/callback").header("cookie", &good)),
        ],
    )
}

fn state(url: &str) -> String {
    state_of(&json!({"url": url, "csrf_token": nonce(), "flow_id": FLOW}))
}

fn state_of(state: &Value) -> String {
    URL_SAFE_NO_PAD.encode(state.to_string())
}

/// The cookies of a login that is under way.
fn under_way() -> String {
    format!("OauthNonce.{FLOW}={}; OauthCodeVerifier.{FLOW}={VERIFIER}", nonce())
}

fn back(name: &'static str, target: &str) -> Case {
    case(name, get(target).header("cookie", &under_way()))
}

fn came_back() -> Group {
    let good = format!("/callback?code=a%2Fb&state={}", state("https://a.example/page?x=1"));
    let older = under_way().replace(&format!(".{FLOW}="), "=");
    Group::new(
        "logins come back",
        file(GIVEN, json!({})),
        vec![
            back("good", &good),
            case("good, by HTTP/2", get(&good).h2().header("cookie", &under_way())),
            case("good, cookies of an older gateway", get(&good).header("cookie", &older)),
            case(
                "good, with old tokens",
                get(&good).header("cookie", &format!("{}; BearerToken=x; OauthHMAC=y", under_way())),
            ),
            back("to another host", &format!("/callback?code=c&state={}", state("https://other.example/"))),
            case("without cookies", get(&good)),
            case("without the verifier", get(&good).header("cookie", &format!("OauthNonce.{FLOW}={}", nonce()))),
            case("a verifier that is none", get(&good).header("cookie", &under_way().replace(VERIFIER, "AAAA"))),
            case(
                "another nonce",
                get(&good)
                    .header("cookie", &under_way().replace("Nonce.0123456789abcdef=0", "Nonce.0123456789abcdef=1")),
            ),
            back(
                "a nonce that is not signed",
                &format!(
                    "/callback?code=c&state={}",
                    state_of(&json!({"url": "https://a.example/", "csrf_token": "a.b", "flow_id": FLOW}))
                ),
            ),
            back("no code", &format!("/callback?state={}", state("https://a.example/"))),
            back("no state", "/callback?code=c"),
            back("a state that is none", "/callback?code=c&state=AAAA"),
            back(
                "a state without a URL",
                &format!("/callback?code=c&state={}", state_of(&json!({"csrf_token": nonce(), "flow_id": FLOW}))),
            ),
            back("a URL that is none", &format!("/callback?code=c&state={}", state("page"))),
            back("an error", "/callback?error=access_denied"),
            back(
                "an error of this login",
                &format!("/callback?error=access_denied&state={}", state("https://a.example/")),
            ),
        ],
    )
}

fn by_basic() -> Group {
    let names = json!({
        "cookie_names": {"bearer_token": "B", "oauth_hmac": "H", "oauth_expires": "E", "id_token": "__Host-I", "refresh_token": "R", "oauth_nonce": "N", "code_verifier": "V"},
        "cookie_domain": "example",
    });
    let cookie = |same_site: &str| json!({"same_site": same_site, "path": "/p", "partitioned": true});
    let more = json!({
        "auth_type": "BASIC_AUTH",
        "cookie_configs": {
            "bearer_token_cookie_config": cookie("STRICT"), "oauth_nonce_cookie_config": cookie("LAX"), "id_token_cookie_config": cookie("NONE"),
        },
        "csrf_token_expires_in": "30s", "code_verifier_token_expires_in": "40s", "default_refresh_token_expires_in": "50s",
        "allowed_redirect_domains": ["*.example"],
    });
    let cookies = format!("N.{FLOW}={}; V.{FLOW}={VERIFIER}", nonce());
    let good = |url: &str| get(&format!("/callback?code=c&state={}", state(url))).header("cookie", &cookies);
    let bearer = {
        let hmac = sign(&["example", LATER, "plain-access", "", ""].join("\n"));
        format!("H={hmac}; E={LATER}; B=plain-access")
    };
    Group::new(
        "logins in other words",
        file_with(GIVEN, more, names),
        vec![
            case("begun", get("/page")),
            case("begun elsewhere", get("/page").host("a.other")),
            case("known", with(&bearer)),
            case("good", good("https://b.example/page")),
            case("good, to another domain", good("https://b.other/page")),
            case("logged out", get("/logout").header("cookie", &cookies)),
        ],
    )
}

fn failed() -> Group {
    let good = format!("/callback?code=c&state={}", state("https://a.example/page"));
    let config = |provider: &str| file(provider, json!({}));
    // One file has one provider: each case chooses the answer by the code that it brings.
    let provider = r#"b2?status=400;body={"error":"invalid_grant"}"#;
    Group::new("logins that fail", config(provider), vec![back("refused", &good)])
}

fn refreshed() -> Group {
    let old = cookies("a.example", "1000000000", "plain-access") + "; RefreshToken=plain/ref; own=1";
    Group::new(
        "logins refreshed",
        file(r#"body={"access_token":"plain$ASKED","expires_in":60}"#, json!({"default_expires_in": "9s"})),
        vec![
            case("over", with(&old)),
            case("over, by HTTP/2", with(&old).h2()),
            case("unknown", with("RefreshToken=plain")),
        ],
    )
}

fn special() -> Group {
    let more = json!({
        "forward_bearer_token": false, "forward_id_token": {"header": "x-identity"}, "use_refresh_token": false,
        "disable_access_token_set_cookie": true, "original_request_uri": "https://%REQ(x-host?:authority)%",
    });
    let good = format!("/callback?code=c&state={}", state("https://a.example/page"));
    Group::new(
        "logins, special",
        file(
            r#"body={"access_token":"plain","id_token":"plain-identity","refresh_token":"plain","expires_in":60}"#,
            more,
        ),
        vec![
            case(
                "known",
                with(&cookies("a.example", LATER, "plain-access"))
                    .header("x-identity", "mine")
                    .header("authorization", "mine"),
            ),
            back("good", &good),
            case("begun", get("/page").header("x-host", "outside.example")),
            case("nothing is refreshed", with(&(cookies("a.example", "1000000000", "a") + "; RefreshToken=r"))),
        ],
    )
}

fn logged_out() -> Group {
    let good = cookies("a.example", LATER, "plain-access");
    Group::new(
        "logins ended",
        file(GIVEN, json!({"end_session_endpoint": "https://login.example/end"})),
        vec![
            case("known", get("/logout").header("cookie", &good)),
            case("known, with a query", get("/logout?all").header("cookie", &good)),
            case("under way", get("/logout").header("cookie", &under_way())),
            case("nobody", get("/logout")),
            case("nobody, by HTTP/2", get("/logout").h2()),
        ],
    )
}
