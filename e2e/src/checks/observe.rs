//! What the mesh saw: figures, edges, traces and taps on the command line, and the dashboard in a browser.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::{Method, StatusCode, header};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bookinfo::Visitor;
use crate::chromium;
use crate::mesh::Mesh;
use crate::poll;
use crate::runner::{Check, Outcome, Skipped};
use crate::web::{self, Connection};
use crate::world::World;

const GROUP: &str = "observe";
/// Proxies report every five seconds while nobody looks.
const SOON: Duration = Duration::from_secs(20);

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new(GROUP, "figures of every workload, and edges with identities", 90, |w| Box::pin(figures(w))),
        Check::new(GROUP, "a page is one trace through gateway and services", 90, |w| Box::pin(traces(w))),
        Check::new(GROUP, "a tap shows requests, and no secrets", 90, |w| Box::pin(tap(w))),
        Check::new(GROUP, "the dashboard knows who may look", 60, |w| Box::pin(door(w))),
        Check::new(GROUP, "the dashboard in Chromium", 120, browser),
    ]
}

/// So many pages pass.
async fn pages(mesh: &Mesh, count: u32) -> Result<()> {
    Visitor::anonymous(mesh.gateway).spread(count).await.map(drop)
}

async fn ask(mesh: &Mesh, arguments: &[&str]) -> Result<Value> {
    let said = mesh.halcyon(&[arguments, &["-o", "json"]].concat()).await?.good()?;
    serde_json::from_str(&said.out).with_context(|| format!("halcyon {}: {}", arguments.join(" "), said.out))
}

async fn figures(world: &mut World) -> Result<String> {
    let mesh = world.demo().await?;
    mesh.clear().await?;
    pages(mesh, 60).await?;
    let rows = poll::until("figures of six workloads", SOON, async || {
        let stat = ask(mesh, &["stat", "--window", "2m"]).await?;
        let rows = stat["rows"].as_array().context("no rows")?.clone();
        ensure!(rows.len() >= 6, "{} rows: {stat}", rows.len());
        Ok(rows)
    })
    .await?;
    let mut told = Vec::new();
    for row in rows.iter().filter(|row| row["namespace"] == "default") {
        let (name, traffic) = (row["name"].as_str().unwrap_or_default(), &row["traffic"]);
        let rps = traffic["rps"].as_f64().unwrap_or_default();
        ensure!(rps > 0.0 && traffic["p99"].as_f64().is_some_and(|ms| ms > 0.0), "{name}: {traffic}");
        told.push(name.to_owned());
    }
    let edges = ask(mesh, &["edges", "--window", "2m"]).await?;
    let edges = edges["rows"].as_array().context("no edges")?;
    for (from, to) in
        [("ingressgateway", "productpage-v1"), ("productpage-v1", "details-v1"), ("reviews-v2", "ratings-v1")]
    {
        let is = |edge: &&Value| edge["from"] == format!("default/{from}") && edge["to"] == format!("default/{to}");
        let edge = edges.iter().find(is).with_context(|| format!("no edge from {from} to {to}: {edges:?}"))?;
        ensure!(edge["security"] == "mutual_tls", "{edge}");
        let identity = edge["destinationPrincipal"].as_str().unwrap_or_default();
        ensure!(identity.starts_with("spiffe://cluster.local/ns/default/sa/"), "{edge}");
    }
    let dot = mesh.halcyon(&["graph", "-o", "dot"]).await?.good()?.out;
    ensure!(dot.contains("productpage-v1") && dot.trim_end().ends_with('}'), "{dot}");
    Ok(format!("{} and {} edges", told.join(", "), edges.len()))
}

async fn traces(world: &mut World) -> Result<String> {
    let all = world.place.rule("tracing.yaml");
    let mesh = world.demo().await?;
    mesh.clear().await?;
    // As in the demo, all of them are recorded.
    mesh.apply(&[all]).await?;
    for _ in 0..20 {
        Visitor::anonymous(mesh.gateway).page().await?;
    }
    poll::until("a whole trace", SOON, async || {
        let list = ask(mesh, &["trace", "--last", "60"]).await?;
        let found = list["traces"].as_array().context("no traces")?;
        // Gateway, product page, details, reviews and ratings: both sides of four calls.
        let whole = found.iter().find(|trace| trace["spans"] == 8);
        let whole = whole.with_context(|| format!("none of {} has 8 spans: {}", found.len(), found[0]))?;
        let id = whole["traceId"].as_str().context("no id")?;
        let trace = ask(mesh, &["trace", id]).await?;
        let spans = trace["spans"].as_array().context("no spans")?;
        let known: Vec<&str> = spans.iter().filter_map(|span| span["spanId"].as_str()).collect();
        let roots: Vec<&Value> = spans.iter().filter(|span| span["parentId"].is_null()).collect();
        ensure!(roots.len() == 1 && roots[0]["service"] == "ingressgateway.default", "roots: {roots:?}");
        for span in spans.iter().filter(|span| !span["parentId"].is_null()) {
            ensure!(known.contains(&span["parentId"].as_str().unwrap_or_default()), "nobody's child: {span}");
        }
        let drawn = mesh.halcyon(&["trace", id]).await?.good()?.out;
        ensure!(drawn.contains("GET reviews.default.svc.cluster.local") && drawn.contains('█'), "{drawn}");
        Ok(format!("{} spans, {} ms", spans.len(), trace["durationMs"]))
    })
    .await
}

async fn tap(world: &mut World) -> Result<String> {
    let mesh = world.demo().await?;
    mesh.clear().await?;
    let looking = mesh.halcyon(&["tap", "--to", "productpage-v1", "--headers", "--count", "3", "-o", "json"]);
    let asking = async {
        // Proxies hear of the tap within moments; until then requests pass unseen.
        for _ in 0..200 {
            let headers = [("authorization", "Bearer secret-of-mine"), ("x-seen", "yes")];
            web::get(mesh.gateway, "/productpage", &headers).await?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::bail!("the tap showed nothing of 200 requests")
    };
    let said = tokio::select! {
        said = looking => said?.good()?,
        never = asking => return never,
    };
    ensure!(!said.all().contains("secret-of-mine"), "{}", said.all());
    let events: Vec<Value> = said.out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(events.len() == 3, "{} events", events.len());
    for event in &events {
        ensure!(event["path"] == "/productpage" && event["status"] == 200, "{event}");
        let headers = event["requestHeaders"].as_array().context("no headers")?;
        let value = |name: &str| headers.iter().find(|it| it["name"] == name).map(|it| it["value"].clone());
        ensure!(value("authorization") == Some("[redacted]".into()), "{event}");
        ensure!(value("x-seen") == Some("yes".into()), "{event}");
    }
    Ok(format!("{} requests", events.len()))
}

/// Where the dashboard is, and a key for it.
async fn key(mesh: &Mesh) -> Result<(SocketAddr, String)> {
    let said = mesh.halcyon(&["dashboard", "--print"]).await?.good()?;
    let url = said.out.trim().strip_prefix("http://").context("no URL")?;
    let (address, path) = url.split_once('/').context("no path")?;
    Ok((address.parse()?, format!("/{path}")))
}

/// A connection to the dashboard, and the cookie of somebody who is signed in.
pub(super) async fn signed_in(mesh: &Mesh) -> Result<(Connection, String)> {
    let (at, login) = key(mesh).await?;
    let mut connection = Connection::open(at).await?;
    let answer = connection.get(&login, &[]).await?;
    let cookie = answer.headers.get(header::SET_COOKIE).context("no cookie")?.to_str()?;
    Ok((connection, cookie.split(';').next().unwrap_or_default().to_owned()))
}

async fn door(world: &mut World) -> Result<String> {
    let mesh = world.demo().await?;
    let (at, login) = key(mesh).await?;
    let mut connection = Connection::open(at).await?;
    let status = async |connection: &mut Connection, path: &str, headers: &[(&str, &str)]| {
        anyhow::Ok(connection.get(path, headers).await?.status)
    };
    ensure!(status(&mut connection, "/v1/graph", &[]).await? == StatusCode::UNAUTHORIZED, "without a cookie");
    let answer = connection.get(&login, &[]).await?;
    let cookie = answer.headers.get(header::SET_COOKIE).and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned();
    ensure!(answer.status == StatusCode::SEE_OTHER, "{}", answer.status);
    ensure!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let again = connection.get(&login, &[]).await?;
    let second = again.headers.get(header::LOCATION).and_then(|it| it.to_str().ok()).unwrap_or_default();
    ensure!(second == "/?expired", "a key is good once: {second}");
    let cookie = cookie.split(';').next().unwrap_or_default();
    let signed = [("cookie", cookie)];
    ensure!(status(&mut connection, "/v1/graph", &signed).await? == StatusCode::OK, "with the cookie");
    let elsewhere = under_another_name(at, cookie).await?;
    ensure!(elsewhere.starts_with("HTTP/1.1 421 "), "under another name: {elsewhere}");
    let body = r#"{"documents": [], "dry_run": true}"#;
    let json = ("content-type", "application/json");
    let forged = connection.send(Method::POST, "/v1/apply", &[signed[0], json], body).await?;
    ensure!(forged.status == StatusCode::FORBIDDEN, "a change without the header: {}", forged.status);
    let own = [signed[0], json, ("x-halcyon-dashboard", "1")];
    let changed = connection.send(Method::POST, "/v1/apply", &own, body).await?;
    ensure!(changed.status == StatusCode::OK, "a change of the page: {} {}", changed.status, changed.text());
    Ok("a key once, a cookie, a header for changes, no other names".to_owned())
}

/// What a page of another site would get that made its name mean this machine.
async fn under_another_name(at: SocketAddr, cookie: &str) -> Result<String> {
    let mut stream = TcpStream::connect(at).await?;
    let request =
        format!("GET /v1/graph HTTP/1.1\r\nhost: attacker.example\r\ncookie: {cookie}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned())
}

fn browser(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        let mesh = world.demo().await?;
        pages(mesh, 20).await?;
        let (at, login) = key(mesh).await?;
        let answer = web::get(at, "/", &[]).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(Skipped("the programs were built without Node.js, and so without the page".to_owned()).into());
        }
        let page = chromium::live_page(&place, &format!("http://{at}{login}&to=/workloads")).await?;
        for word in ["Workloads", "productpage-v1", "reviews-v3"] {
            ensure!(page.contains(word), "`{word}` is not in the page: {} bytes", page.len());
        }
        Ok(format!("{} bytes", page.len()))
    })
}
