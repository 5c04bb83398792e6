//! What others wrote, as visitors of a gateway: command lines, libraries, a browser, with TLS and without.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::authority::WebAuthority;
use crate::bookinfo::{Page, REVIEWS, Seen};
use crate::chromium;
use crate::inside::{GRPC, WS};
use crate::load::{all_good, load};
use crate::mesh::Mesh;
use crate::place::Place;
use crate::poll;
use crate::process;
use crate::python::{GRPC_ECHO, WEBSOCKET_ECHO};
use crate::runner::{Check, Outcome};
use crate::web::{Connection, Door};
use crate::world::{Wanted, World};

const GROUP: &str = "clients of a gateway";
/// The names under which the gateway is known outside.
pub(super) const SHOP: &str = "bookinfo.example.com";
const ECHO: &str = "echo.example.com";
/// The Secret with the gateway's certificate.
const SECRET: &str = "storefront";
const LONGEST: Duration = Duration::from_secs(60);

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new(GROUP, "curl: HTTP/1.0, HTTP/1.1 and HTTP/2, with TLS and without", 120, curl),
        Check::new(GROUP, "nghttp: twenty streams at once, with TLS and without", 120, nghttp),
        Check::new(GROUP, "wrk: two seconds on 32 connections, with TLS and without: no error", 120, wrk),
        Check::new(GROUP, "grpcio: unary and streaming calls, with TLS and without", 120, grpcio),
        Check::new(GROUP, "websockets: texts, bytes, fragments and pings, with TLS and without", 120, websockets),
        Check::new(GROUP, "Chromium shows the page by HTTPS", 180, browser),
        Check::new(GROUP, "its certificate replaced five times at 200 requests/s: no failed request", 180, reload),
    ]
}

/// The mesh in which the gateway has a certificate of this authority.
pub(super) async fn open(world: &mut World) -> Result<(&mut Mesh, WebAuthority)> {
    let authority = WebAuthority::new()?;
    let secret = world.place.write("certificate.yaml", &authority.issue(&[SHOP, ECHO])?.secret(SECRET))?;
    let rules = world.place.write("storefront.yaml", &rules())?;
    world.place.write("authority.pem", &authority.pem())?;
    let mesh = world.mesh(Wanted::Parts).await?;
    mesh.clear().await?;
    mesh.apply(&[secret, rules]).await?;
    mesh.with_echo().await?;
    mesh.settle(0).await?;
    Ok((mesh, authority))
}

/// Bookinfo's gateway with TLS beside plain text, and a second host behind it.
fn rules() -> String {
    let to = |prefix: &str, port: u16| {
        json!({"match": [{"uri": {"prefix": prefix}}],
               "route": [{"destination": {"host": "echo", "port": {"number": port}}}]})
    };
    let gateway = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "bookinfo-gateway"},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": [
            {"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]},
            {"port": {"number": 8443, "name": "https", "protocol": "HTTPS"}, "hosts": ["*"],
             "tls": {"mode": "SIMPLE", "credentialName": SECRET}},
        ]},
    });
    let echo = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "echo-outside"},
        "spec": {"hosts": [ECHO], "gateways": ["bookinfo-gateway"],
                 "http": [to("/halcyon.samples.v1.Echo/", GRPC[0]), to("/echo", WS[0])]},
    });
    format!("{gateway}\n---\n{echo}\n")
}

/// A program of others, run to its good end; what it printed.
async fn run(place: &Place, program: &str, package: &str, arguments: &[&str]) -> Result<String> {
    let mut command = process::command(place, &place.installed(program, package)?);
    command.args(arguments);
    let said = process::run(command, LONGEST).await?;
    Ok(said.good().with_context(|| format!("{program} {}", arguments.join(" ")))?.out)
}

fn authority_file(place: &Place) -> PathBuf {
    place.run.join("files/authority.pem")
}

fn curl(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        place.installed("curl", "curl")?;
        let (mesh, _) = open(world).await?;
        let (plain, secure) = (mesh.gateway.port(), mesh.secure.port());
        let resolve = [plain, secure].map(|port| format!("{SHOP}:{port}:127.0.0.1"));
        let ca = authority_file(&place).display().to_string();
        let urls = [format!("http://{SHOP}:{plain}{REVIEWS}"), format!("https://{SHOP}:{secure}{REVIEWS}")];
        let mut seen = Vec::new();
        for (url, versions) in [
            (&urls[0], &[("--http1.0", "1.0"), ("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")]),
            (&urls[1], &[("--http1.0", "1.0"), ("--http1.1", "1.1"), ("--http2", "2")]),
        ] {
            for (how, version) in versions {
                let told = ["-sS", "--fail-with-body", how, "-w", "\n%{http_code} %{http_version}", "--cacert", &ca];
                let to = ["--resolve", &resolve[0], "--resolve", &resolve[1], url];
                let said = run(&place, "curl", "curl", &[&told[..], &to].concat()).await?;
                let (body, status) = said.rsplit_once('\n').unwrap_or_default();
                // Who asks as HTTP/1.0 is answered as 1.0 or 1.1.
                let fits = |spoken: &str| spoken == *version || *version == "1.0" && spoken == "1.1";
                let spoken = status.strip_prefix("200 ").with_context(|| format!("{url} {how}: {said}"))?;
                ensure!(fits(spoken) && body.contains("\"reviews\""), "{url} {how}: {said}");
                seen.push(spoken.to_owned());
            }
        }
        Ok(format!("HTTP/{}", seen.join(", ")))
    })
}

fn nghttp(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        place.installed("nghttp", "nghttp2-client")?;
        let (mesh, _) = open(world).await?;
        let urls = [format!("http://{}/productpage", mesh.gateway), format!("https://{}/productpage", mesh.secure)];
        for url in &urls {
            let told = ["--no-verify-peer", "--null-out", "--stat", "--multiply=20", "--timeout=20", url];
            let said = run(&place, "nghttp", "nghttp2-client", &told).await?;
            let good = said.lines().filter(|line| line.contains(" 200 ") && line.ends_with("/productpage")).count();
            ensure!(good == 20, "{url}: {good} of 20 streams were answered with 200:\n{said}");
        }
        Ok("40 streams".to_owned())
    })
}

fn wrk(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        place.installed("wrk", "wrk")?;
        let (mesh, _) = open(world).await?;
        let urls = [format!("http://{}{REVIEWS}", mesh.gateway), format!("https://{}{REVIEWS}", mesh.secure)];
        let mut seen = Vec::new();
        for url in &urls {
            let said = run(&place, "wrk", "wrk", &["-t1", "-c32", "-d2s", "--timeout", "20s", url]).await?;
            let count = said.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse::<u64>().ok());
            let count = count.filter(|count| *count > 0).with_context(|| format!("{url}: {said}"))?;
            let wrong = said.lines().find(|line| line.contains("Socket errors") || line.contains("Non-2xx"));
            ensure!(wrong.is_none(), "{url}: {}", wrong.unwrap_or_default().trim());
            seen.push(count);
        }
        Ok(format!("{} and {} requests", seen[0], seen[1]))
    })
}

fn grpcio(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        place.python()?;
        let (mesh, _) = open(world).await?;
        let ca = authority_file(&place).display().to_string();
        let (plain, secure) = (mesh.gateway.to_string(), mesh.secure.to_string());
        for more in [&[][..], &["--ca", &ca]] {
            let to = if more.is_empty() { &plain } else { &secure };
            let told = [more, &["--authority", ECHO, to, "20", "20"]].concat();
            let seen = GRPC_ECHO.run(&place, &told, None).await?;
            ensure!(seen["statuses"] == json!({"OK": 20}), "{to}: {seen}");
            ensure!(seen["streams"] == json!(["server", "client", "both"]), "{to}: {seen}");
        }
        Ok("40 calls, 6 streams".to_owned())
    })
}

fn websockets(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        place.python()?;
        let (mesh, _) = open(world).await?;
        let ca = authority_file(&place).display().to_string();
        for (port, scheme, more) in
            [(mesh.gateway.port(), "ws", &[][..]), (mesh.secure.port(), "wss", &["--ca", ca.as_str()])]
        {
            let (port, url) = (port.to_string(), format!("{scheme}://{ECHO}/echo"));
            let seen = WEBSOCKET_ECHO.run(&place, &[more, &[&port, &url]].concat(), None).await?;
            ensure!(seen == json!({"echoed": 7, "code": 1000}), "{url}: {seen}; expected 7 messages and code 1000");
        }
        Ok("14 messages".to_owned())
    })
}

fn browser(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        chromium::installed(&place)?;
        let (mesh, _) = open(world).await?;
        let url = format!("https://{SHOP}:{}/productpage", mesh.secure.port());
        let page = Page::read(&chromium::page(&place, &url).await?, Duration::ZERO);
        ensure!(page.details && page.reviews != Seen::Failed, "{url}: {page:?}");
        Ok(format!("reviews {}", page.reviews))
    })
}

/// Requests per second.
const RATE: u32 = 200;
/// How often the certificate is replaced.
const TIMES: u32 = 5;
/// How long a connection is kept: most requests go over one, and there are always some that have to shake hands.
const KEPT_FOR: u32 = 10;

fn reload(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        let (mesh, authority) = open(world).await?;
        let door = Door::secure(mesh.secure, authority.client()?, SHOP)?;
        let replacing = async {
            for n in 0..TIMES {
                let pair = authority.issue(&[SHOP, ECHO])?;
                mesh.apply(&[place.write("certificate.yaml", &pair.secret(SECRET))?]).await?;
                poll::until(&format!("certificate {n}"), LONGEST, async || {
                    let shown = Connection::open(door.clone()).await?.certificate;
                    ensure!(shown.as_ref() == Some(&pair.der), "another one is shown");
                    Ok(())
                })
                .await?;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Ok(())
        };
        let (samples, ()) = load(door.clone().kept_for(KEPT_FOR), RATE, replacing).await?;
        all_good(&samples, RATE as usize)?;
        Ok(format!("{} requests", samples.len()))
    })
}
