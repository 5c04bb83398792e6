//! Requests of every kind through the gateway, so that there is something of each to be seen.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bookinfo::Visitor;
use crate::inside::{GRPC, HTTP, TCP};
use crate::mesh::Mesh;
use crate::place::Place;
use crate::process;
use crate::web::Connection;

const LONGEST: Duration = Duration::from_secs(60);

/// A service that exists, and that nobody serves.
const NOBODY: &str = "nobody";

/// What the gateway hands on, with `echo` the workload for everything that is not a page: faults, limits, and services that
/// are not there.
pub fn rules(echo: &str) -> String {
    let to = |host: &str, port: u16| json!([{"destination": {"host": host, "port": {"number": port}}}]);
    let gateway = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "bookinfo-gateway"},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": [
            {"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]},
            {"port": {"number": 8443, "name": "tcp", "protocol": "TCP"}, "hosts": ["*"]},
        ]},
    });
    let pages = json!([{"uri": {"exact": "/productpage"}}, {"uri": {"prefix": "/api/v1/products"}}]);
    let routes = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "bookinfo"},
        "spec": {"hosts": ["*"], "gateways": ["bookinfo-gateway"],
            "http": [
                {"match": pages, "route": to("productpage", 9080)},
                {"match": [{"uri": {"prefix": "/status/"}, "headers": {"x-fault": {"exact": "teapot"}}}],
                 "fault": {"abort": {"percentage": {"value": 100}, "httpStatus": 418}}, "route": to(echo, HTTP[0])},
                {"match": [{"uri": {"prefix": "/delay/"}}], "timeout": "0.1s", "route": to(echo, HTTP[0])},
                {"match": [{"uri": {"prefix": "/nobody"}}], "route": to(NOBODY, 80)},
                {"match": [{"uri": {"prefix": "/dead"}}], "route": to("dead.example", 80)},
                {"match": [{"uri": {"prefix": "/halcyon.samples.v1.Echo/"}}], "route": to(echo, GRPC[0])},
                {"match": [{"uri": {"prefix": "/"}}], "route": to(echo, HTTP[0])},
            ],
            "tcp": [{"match": [{"port": 8443}], "route": to(echo, TCP[0])}]},
    });
    let nobody = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": NOBODY},
        "spec": {"selector": {"app": NOBODY}, "ports": [{"name": "http", "port": 80}]},
    });
    let dead = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": {"name": "dead"},
        "spec": {"hosts": ["dead.example"], "location": "MESH_EXTERNAL", "resolution": "STATIC",
                 "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
                 // Port 1 of this machine is nobody's.
                 "endpoints": [{"address": "127.0.0.1", "ports": {"http": 1}}]},
    });
    let refused = json!({
        "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "no-status-403"},
        "spec": {"selector": {"matchLabels": {"app": echo}}, "action": "DENY",
                 // Without the port it would close connections of raw TCP too, which have no path.
                 "rules": [{"to": [{"operation": {"paths": ["/status/403"], "ports": [HTTP[0].to_string()]}}]}]},
    });
    [gateway, routes, nobody, dead, refused].map(|document| document.to_string()).join("\n---\n")
}

/// The mesh with `echo` in it and these rules.
pub async fn prepare(mesh: &mut Mesh, echo: &str) -> Result<()> {
    mesh.clear().await?;
    mesh.with_another(echo).await?;
    mesh.apply_text("traffic.yaml", &rules(echo)).await
}

/// Some of everything, once.
pub async fn round(place: &Place, mesh: &Mesh) -> Result<()> {
    let visitor = Visitor::anonymous(mesh.gateway);
    visitor.page().await?;
    visitor.spread(9).await?;
    let paths = [
        ("/status/200", "", 200),
        ("/status/404", "", 404),
        ("/status/500", "", 500),
        // Which is tried again, in vain.
        ("/status/503", "", 503),
        ("/status/200", "teapot", 418),
        ("/status/403", "", 403),
        ("/delay/1", "", 504),
        ("/nobody", "", 503),
        ("/dead", "", 503),
    ];
    for (path, fault, expected) in paths {
        ask(mesh, path, fault, expected).await?;
    }
    let upload = Connection::open(mesh.gateway).await?.send(Method::POST, "/upload", &[], &"x".repeat(5000)).await?;
    ensure!(upload.status == 200, "/upload: status {}", upload.status);
    for call in ["unary", "status", "server-stream"] {
        grpc(place, mesh, call).await?;
    }
    tcp(mesh).await
}

/// One request of the workload for everything.
pub async fn ask(mesh: &Mesh, path: &str, fault: &str, expected: u16) -> Result<()> {
    let headers: &[(&str, &str)] = if fault.is_empty() { &[] } else { &[("x-fault", fault)] };
    let answer = Connection::open(mesh.gateway).await?.get(path, headers).await?;
    ensure!(answer.status == expected, "{path}: status {}; expected {expected}: {}", answer.status, answer.text());
    Ok(())
}

/// One call of gRPC, by the name that `origins grpc-client` has for it.
pub async fn grpc(place: &Place, mesh: &Mesh, call: &str) -> Result<()> {
    let mut command = process::command(place, &place.program("origins"));
    command.args(["grpc-client", &format!("http://{}", mesh.gateway), "--only", call]);
    process::run(command, LONGEST).await?.good().with_context(|| format!("the gRPC call {call}")).map(drop)
}

async fn tcp(mesh: &Mesh) -> Result<()> {
    let mut stream = TcpStream::connect(mesh.secure).await?;
    stream.write_all(b"hello\n").await?;
    stream.shutdown().await?;
    let mut answer = Vec::new();
    tokio::time::timeout(LONGEST, stream.read_to_end(&mut answer)).await.context("no echo by TCP")??;
    ensure!(answer == b"hello\n", "the echo is {answer:?}");
    Ok(())
}
