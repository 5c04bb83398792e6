//! People log in at the gateway (`LoginPolicy`): the way to the provider and back, who passes then, and who does not.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use http::header::{LOCATION, SET_COOKIE};
use origins::openid::{Mood, Provider, Settings};
use serde_json::json;
use testkit::tokens::{Signer, key_set};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::clients::{self, SHOP};
use crate::bookinfo::{Page, Seen};
use crate::chromium;
use crate::mesh::Mesh;
use crate::poll;
use crate::runner::{Check, Outcome};
use crate::web::{Answer, Connection, get};
use crate::world::{Wanted, World};

const GROUP: &str = "login";
const PAGE: &str = "/productpage";
/// What begins with this passes without login.
const OPEN: &str = "/static/";
/// The cookies of a login.
const COOKIES: [&str; 5] = ["BearerToken", "IdToken", "RefreshToken", "OauthHMAC", "OauthExpires"];
/// Access tokens are good for so many seconds.
const SECONDS: u64 = 4;
const LONGEST: Duration = Duration::from_secs(20);

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new(GROUP, "to the provider and back, and only whom the rules allow passes", 180, whole_way),
        Check::new(GROUP, "forged, stolen and broken logins come to nothing", 180, attacks),
        Check::new(GROUP, "a login outlives its token and the control plane, and ends", 180, life),
        Check::new(GROUP, "Chromium logs in and shows the page", 120, browser),
    ]
}

/// A provider that logs everybody in; it ends when this is dropped.
struct Login {
    provider: Arc<Provider>,
    at: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Login {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Login {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let at = listener.local_addr()?;
        let signer = Signer::rsa("provider");
        let provider = Provider::new(Settings {
            issuer: format!("http://localhost:{}", at.port()),
            client: ("shop".to_owned(), "what only the two know".to_owned()),
            seconds: SECONDS,
            keys: key_set(&[&signer]),
            sign: Box::new(move |claims| signer.token(claims)),
        });
        provider.says(json!({"sub": "jane", "groups": ["dev"]}));
        let serving = provider.clone().serve(listener, std::future::pending());
        Ok(Self { provider, at, task: tokio::spawn(async move { drop(serving.await) }) })
    }

    /// Who comes through the gateway logs in, and has to be one of `dev`.
    fn documents(&self) -> String {
        let port = self.at.port();
        let issuer = format!("http://localhost:{port}");
        let selector = json!({"matchLabels": {"istio": "ingressgateway"}});
        [
            json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "login"},
                "stringData": {"client-secret": "what only the two know\n"},
            }),
            json!({
                "apiVersion": "halcyon.dev/v1alpha1", "kind": "LoginPolicy", "metadata": {"name": "login"},
                "spec": {"selector": selector, "issuer": issuer, "clientId": "shop", "clientSecret": {"name": "login"},
                         "timeout": "1s", "passThrough": {"paths": [format!("{OPEN}*")]},
                         "denyRedirect": {"headers": [{"name": "x-requested-with", "value": "XMLHttpRequest"}]}},
            }),
            json!({
                "apiVersion": "security.istio.io/v1", "kind": "RequestAuthentication", "metadata": {"name": "login"},
                "spec": {"selector": selector, "jwtRules": [{"issuer": issuer}]},
            }),
            json!({
                "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "login"},
                "spec": {"selector": selector, "rules": [
                    {"when": [{"key": "request.auth.claims[groups]", "values": ["dev"]}]},
                    {"to": [{"operation": {"paths": [format!("{OPEN}*")]}}]},
                ]},
            }),
        ]
        .map(|document| document.to_string())
        .join("\n---\n")
    }

    /// Applies all that, and waits until people are sent to log in.
    async fn guard(&self, mesh: &Mesh) -> Result<()> {
        mesh.apply_text("login.yaml", &self.documents()).await?;
        until_sent(mesh.gateway).await
    }

    /// All the way, from being sent to log in to the page.
    async fn log_in(&self, browser: &mut Browser) -> Result<Answer> {
        let sent = browser.go(PAGE).await?;
        let back = self.back(&sent).await?;
        let again = browser.go(&back).await.context("back from the provider")?;
        ensure!(again.status == 302, "back from the provider: status {} {}; expected 302", again.status, again.text());
        browser.go(&path_of(&location(&again)?)).await
    }

    /// Logs in at the provider; the path by which it sends people back.
    async fn back(&self, sent: &Answer) -> Result<String> {
        ensure!(sent.status == 302, "status {} {}; expected to be sent to log in", sent.status, sent.text());
        let to = location(sent)?;
        let there = format!("http://localhost:{}/authorize?", self.at.port());
        ensure!(to.starts_with(&there), "sent to {to}; expected {there}");
        let said = get(self.at, &path_of(&to), &[]).await?;
        ensure!(said.status == 302, "{to}: {} {}", said.status, said.text());
        Ok(path_of(&location(&said)?))
    }
}

async fn until_sent(gateway: SocketAddr) -> Result<()> {
    poll::until("the gateway asks people to log in", LONGEST, async || {
        let answer = get(gateway, PAGE, &[]).await?;
        ensure!(answer.status == 302, "status {} {}", answer.status, answer.text());
        Ok(())
    })
    .await
}

fn location(answer: &Answer) -> Result<String> {
    Ok(answer.headers.get(LOCATION).context("there is no Location")?.to_str()?.to_owned())
}

/// What stands behind a URL's host.
fn path_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or_else(|| "/".to_owned(), |begin| rest[begin..].to_owned())
}

/// What keeps cookies.
#[derive(Clone)]
struct Browser {
    gateway: SocketAddr,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn new(gateway: SocketAddr) -> Self {
        Self { gateway, cookies: BTreeMap::new() }
    }

    async fn go(&mut self, path: &str) -> Result<Answer> {
        self.go_with(path, &[]).await
    }

    async fn go_with(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        let all: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let all = all.join("; ");
        let mut headers = headers.to_vec();
        headers.extend((!all.is_empty()).then_some(("cookie", all.as_str())));
        let answer = Connection::open(self.gateway).await?.send(Method::GET, path, &headers, "").await?;
        for cookie in answer.headers.get_all(SET_COOKIE) {
            let cookie = cookie.to_str()?;
            let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
            let (name, value) = pair.split_once('=').context("a cookie without `=`")?;
            let attributes = attributes.to_ascii_lowercase();
            if attributes.contains("01 jan 1970") || attributes.contains("max-age=0") {
                self.cookies.remove(name);
            } else {
                ensure!(attributes.contains("httponly") && attributes.contains("secure"), "unsafe cookie: {cookie}");
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(answer)
    }

    fn is_logged_in(&self) -> bool {
        COOKIES.iter().all(|name| self.cookies.contains_key(*name))
    }
}

fn is_page(answer: &Answer) -> Result<()> {
    ensure!(answer.status == 200, "status {} {}; expected the page", answer.status, answer.text());
    let page = Page::read(&answer.text(), Duration::ZERO);
    ensure!(page.details, "{page:?}");
    Ok(())
}

fn is_refused(answer: &Answer, status: u16, what: &str) -> Result<()> {
    ensure!(answer.status == status, "{what}: status {} {}; expected {status}", answer.status, answer.text());
    Ok(())
}

/// Bookinfo behind a gateway at which people log in.
async fn open(world: &mut World) -> Result<(&mut Mesh, Login)> {
    let mesh = world.mesh(Wanted::Parts).await?;
    mesh.clear().await?;
    let login = Login::start().await?;
    login.guard(mesh).await?;
    Ok((mesh, login))
}

async fn close(mesh: &Mesh) -> Result<()> {
    mesh.clear().await?;
    mesh.halcyon(&["delete", "secret", "login"]).await?.good().map(drop)
}

fn whole_way(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let (mesh, login) = open(world).await?;
        let mut jane = Browser::new(mesh.gateway);
        is_page(&login.log_in(&mut jane).await?)?;
        ensure!(jane.is_logged_in(), "cookies {:?}", jane.cookies.keys());
        is_page(&jane.go(PAGE).await?).context("again")?;

        let mut other = Browser::new(mesh.gateway);
        let script = other.go_with(PAGE, &[("x-requested-with", "XMLHttpRequest")]).await?;
        is_refused(&script, 401, "a script that nobody has logged in for")?;
        // The path is not there, which its service says.
        is_refused(&other.go(&format!("{OPEN}none")).await?, 404, "a path that needs no login")?;
        let forged = other.go_with(PAGE, &[("authorization", "Bearer e30.e30.e30")]).await?;
        is_refused(&forged, 302, "a token of one's own")?;

        login.provider.says(json!({"sub": "joe", "groups": ["sales"]}));
        let refused = login.log_in(&mut Browser::new(mesh.gateway)).await?;
        is_refused(&refused, 403, "one whom the rules do not allow")?;
        is_page(&jane.go(PAGE).await?).context("jane, after joe")?;
        close(mesh).await?;
        Ok(format!("{} logins", login.provider.given()))
    })
}

fn attacks(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let (mesh, login) = open(world).await?;
        let mut jane = Browser::new(mesh.gateway);
        is_page(&login.log_in(&mut jane).await?)?;
        let mut count = 0;
        for name in COOKIES {
            let mut forger = jane.clone();
            let value = forger.cookies.get_mut(name).context(name)?;
            let last = value.pop().context(name)?;
            value.push(if last == 'A' { 'B' } else { 'A' });
            // With a good token to refresh by one is who one was.
            if name != "RefreshToken" {
                forger.cookies.remove("RefreshToken");
            }
            is_refused(&forger.go(PAGE).await?, 302, &format!("{name} altered"))?;
            count += 1;
        }
        let mut other = Browser::new(mesh.gateway);
        let back = login.back(&other.go(PAGE).await?).await?;
        is_refused(&jane.clone().go(&format!("{back}0")).await?, 401, "an altered state")?;
        is_refused(&Browser::new(mesh.gateway).go(&back).await?, 401, "a code in another browser")?;
        is_refused(&other.go(&back).await?, 302, "the code where it belongs")?;
        is_refused(&Browser::new(mesh.gateway).go("/oauth2/callback").await?, 401, "a way back without a code")?;
        count += 4;
        for mood in [Mood::Ill, Mood::Babbling, Mood::Hanging] {
            let mut waiting = Browser::new(mesh.gateway);
            let back = login.back(&waiting.go(PAGE).await?).await?;
            login.provider.feels(mood);
            let answer = waiting.go(&back).await?;
            login.provider.feels(Mood::Good);
            is_refused(&answer, 401, &format!("{mood:?}"))?;
            ensure!(!waiting.is_logged_in(), "{mood:?}: logged in");
            count += 1;
        }
        close(mesh).await?;
        Ok(format!("{count} attempts"))
    })
}

fn life(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let (mesh, login) = open(world).await?;
        let mut jane = Browser::new(mesh.gateway);
        is_page(&login.log_in(&mut jane).await?)?;
        let given = login.provider.given();
        tokio::time::sleep(Duration::from_secs(SECONDS + 1)).await;
        is_page(&jane.go(PAGE).await?).context("after the token ended")?;
        ensure!(login.provider.given() == given + 1, "the token was not refreshed");

        mesh.kill("control").await?;
        mesh.start_again("control")?;
        mesh.wait_control().await?;
        until_sent(mesh.gateway).await?;
        is_page(&jane.go(PAGE).await?).context("after the control plane was started again")?;

        let out = jane.go("/oauth2/logout").await?;
        is_refused(&out, 302, "logging out")?;
        ensure!(location(&out)?.contains("/end?"), "sent to {}; expected the provider's end", location(&out)?);
        ensure!(!COOKIES.iter().any(|name| jane.cookies.contains_key(*name)), "cookies {:?}", jane.cookies.keys());
        is_refused(&jane.go(PAGE).await?, 302, "who has logged out")?;

        mesh.halcyon(&["delete", "secret", "login"]).await?.good()?;
        poll::until("nobody passes without the client's secret", LONGEST, async || {
            is_refused(&get(mesh.gateway, PAGE, &[]).await?, 503, "without the secret")
        })
        .await?;
        mesh.clear().await?;
        Ok(format!("refreshed {} times", login.provider.given() - given))
    })
}

fn browser(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        chromium::installed(&place)?;
        let (mesh, _) = clients::open(world).await?;
        let login = Login::start().await?;
        login.guard(mesh).await?;
        let url = format!("https://{SHOP}:{}{PAGE}", mesh.secure.port());
        let page = Page::read(&chromium::page(&place, &url).await?, Duration::ZERO);
        ensure!(page.details && page.reviews != Seen::Failed, "{url}: {page:?}");
        ensure!(login.provider.given() > 0, "nobody asked the provider for tokens");
        close(mesh).await?;
        Ok(format!("reviews {}", page.reviews))
    })
}
