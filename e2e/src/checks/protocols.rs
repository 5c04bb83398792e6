//! Item 5: everything that is not a plain HTTP request, through two sidecars, on ports that are declared and on ports that
//! are not. STRICT, so that nothing can go beside the mesh.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::identity;
use crate::inside::{self, GREETING, GRPC, HTTP, NOISE, TCP, WS};
use crate::mesh::Mesh;
use crate::process::Said;
use crate::runner::{Check, Outcome};
use crate::world::World;

/// 100 MB.
const MUCH: &str = "100000000";

/// The checks.
pub fn checks() -> Vec<Check> {
    macro_rules! both {
        ($($name:literal, $seconds:literal, $run:expr;)*) => {
            vec![$(
                Check::new("declared ports", $name, $seconds, |w| Box::pin($run(w, 0))),
                Check::new("undeclared ports", $name, $seconds, |w| Box::pin($run(w, 1))),
            )*]
        };
    }
    let mut all = both! {
        "HTTP through two sidecars, with the caller's identity", 90, http;
        "gRPC, unary and streaming", 90, grpc;
        "WebSocket echo", 60, websocket;
        "TCP echo", 60, tcp;
        "server-first TCP echo", 60, greeting;
        "100 MB upload unharmed", 150, upload;
        "100 MB download unharmed", 150, download;
        "100 MB there and back over TCP unharmed", 150, much_tcp;
    };
    all.sort_by_key(|check| check.group != "declared ports");
    all.insert(0, Check::new("declared ports", "no port of the workload is open to plain text", 90, closed));
    all
}

/// The demo's mesh, STRICT, with the workload `echo` in it.
async fn mesh(world: &mut World) -> Result<&mut Mesh> {
    let strict = world.place.rule("strict-mtls.yaml");
    let mesh = world.demo().await?;
    if !mesh.has("echo") {
        mesh.clear().await?;
    }
    mesh.with_echo().await?;
    mesh.apply(&[strict]).await?;
    Ok(mesh)
}

fn closed(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let mesh = mesh(world).await?;
        let proxy = mesh.proxy("echo-v1").await?;
        let all = [HTTP, WS, GRPC, TCP, GREETING, NOISE];
        for port in all.iter().flatten() {
            let refused = identity::plain_is_refused(proxy.at(*port), "/").await;
            refused.with_context(|| format!("port {port}"))?;
        }
        Ok(format!("{} ports", all.as_flattened().len()))
    })
}

/// Runs a client as a workload of its own.
async fn client(mesh: &Mesh, program: &str, arguments: &[&str]) -> Result<Said> {
    let said = mesh.inside(program, arguments).await?;
    said.good().with_context(|| format!("{program} {}", arguments.join(" ")))
}

async fn http(world: &mut World, which: usize) -> Result<String> {
    let mesh = mesh(world).await?;
    let url = format!("http://{}/hello", inside::host(HTTP[which]));
    let load = ["load", &url, "--rate", "0", "-n", "50", "-c", "4", "--json", "--count-body-regex"];
    // The sidecar of the server says who called, and by which proof.
    let proof = "URI=(spiffe://[a-z0-9./-]+)";
    let said = client(mesh, "origins", &[&load[..], &[proof]].concat()).await?;
    let report: Value = serde_json::from_str(&said.out).context("the load report")?;
    let (good, all) = (&report["statuses"]["200"], &report["requests"]);
    ensure!(*good == 50 && *all == 50, "{good} of {all} requests were answered with 200; expected 50 of 50");
    let caller = "spiffe://cluster.local/ns/default/sa/default";
    let proven = &report["counts"][format!("body {proof}")][caller];
    ensure!(*proven == 50, "the identity {caller} was proven {proven} times; expected 50: {}", report["counts"]);
    Ok(caller.to_owned())
}

async fn grpc(world: &mut World, which: usize) -> Result<String> {
    let mesh = mesh(world).await?;
    let url = format!("http://{}", inside::host(GRPC[which]));
    let said = client(mesh, "origins", &["grpc-client", &url, "--json"]).await?;
    let checks: Value = serde_json::from_str(&said.out).context("the checklist")?;
    let names: Vec<&str> = checks.as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect();
    ensure!(names.len() == origins::grpc::checklist::NAMES.len(), "only {names:?} were tried");
    Ok(names.join(", "))
}

async fn websocket(world: &mut World, which: usize) -> Result<String> {
    let mesh = mesh(world).await?;
    let url = format!("ws://{}/echo", inside::host(WS[which]));
    lines(client(mesh, "origins", &["ws-client", &url, "one", "two", "three"]).await?, "one two three")
}

async fn tcp(world: &mut World, which: usize) -> Result<String> {
    let mesh = mesh(world).await?;
    let host = inside::host(TCP[which]);
    lines(client(mesh, "origins", &["tcp-client", &host, "one", "two"]).await?, "one two")
}

async fn greeting(world: &mut World, which: usize) -> Result<String> {
    let mesh = mesh(world).await?;
    let host = inside::host(GREETING[which]);
    let said = client(mesh, "origins", &["tcp-client", &host, "one", "two", "--greeted"]).await?;
    lines(said, "welcome one two")
}

fn lines(said: Said, expected: &str) -> Result<String> {
    let heard = said.out.lines().collect::<Vec<_>>().join(" ");
    ensure!(heard == expected, "heard `{heard}`; expected `{expected}`");
    Ok(heard)
}

async fn upload(world: &mut World, which: usize) -> Result<String> {
    much(mesh(world).await?, "upload", HTTP[which]).await
}

async fn download(world: &mut World, which: usize) -> Result<String> {
    much(mesh(world).await?, "download", NOISE[which]).await
}

async fn much_tcp(world: &mut World, which: usize) -> Result<String> {
    much(mesh(world).await?, "echo", TCP[which]).await
}

async fn much(mesh: &Mesh, how: &str, port: u16) -> Result<String> {
    client(mesh, "e2e", &["inside", how, &inside::host(port), MUCH]).await?;
    Ok("same SHA-256".to_owned())
}
