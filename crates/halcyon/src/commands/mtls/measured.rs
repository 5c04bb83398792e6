//! Who sends plain text, as the sidecars of the servers saw it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use control::v1::{MutualTlsServer, Status};
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::Client;

/// A proxy answers in this time, or is not asked any more.
const PATIENCE: Duration = Duration::from_secs(3);
/// No answer is larger.
const LARGEST: usize = 1 << 20;

/// What was found out.
#[derive(Debug, Default)]
pub struct Measured {
    /// Who sends plain text.
    pub senders: Vec<Sender>,
    /// Of whom nothing can be known.
    pub unknown: Vec<Unknown>,
}

/// Somebody who sends plain text to a port.
#[derive(Debug)]
pub struct Sender {
    /// Namespace and name of the server.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// Who it is: a workload, or an address.
    pub from: String,
    /// Its address.
    pub address: IpAddr,
    /// Connections since the server's proxy was started.
    pub connections: u64,
    /// Connections that stand.
    pub open: u64,
    /// When it was seen last.
    pub seconds_ago: f64,
    /// STRICT would refuse it; else the port refuses it already.
    pub breaks: bool,
}

/// A server of which nothing can be known.
#[derive(Debug)]
pub struct Unknown {
    /// Namespace and name.
    pub server: String,
    /// Why not.
    pub reason: String,
}

#[derive(Deserialize)]
struct Callers {
    callers: Vec<Caller>,
}

/// As the proxy's admin endpoint says it.
#[derive(Deserialize)]
struct Caller {
    address: IpAddr,
    port: u16,
    connections: u64,
    open: u64,
    seconds_ago: f64,
}

/// Asks the proxies of all servers.
pub async fn ask(client: &Client, servers: &[MutualTlsServer], window: Duration) -> Result<Measured> {
    let status = client.status().await?;
    let mut measured = Measured::default();
    for (server, said) in join_all(servers.iter().map(async |server| (server, of_server(server).await))).await {
        let name = format!("{}/{}", server.namespace, server.workload);
        match said {
            Err(error) => measured.unknown.push(Unknown { server: name, reason: format!("{error:#}") }),
            Ok(callers) => {
                let recent = callers.into_iter().filter(|it| it.open > 0 || it.seconds_ago <= window.as_secs_f64());
                measured.senders.extend(recent.map(|caller| sender(server, &name, caller, &status)));
            }
        }
    }
    Ok(measured)
}

fn sender(server: &MutualTlsServer, name: &str, caller: Caller, status: &Status) -> Sender {
    let port = server.ports.iter().find(|port| port.bind.port() == caller.port || port.port == caller.port);
    let known = status.proxies.iter().find(|proxy| proxy.address == caller.address);
    let from = match known {
        Some(proxy) => format!("{}/{} ({})", proxy.namespace, proxy.workload, caller.address),
        None => caller.address.to_string(),
    };
    Sender {
        server: name.to_owned(),
        port: port.map_or(caller.port, |port| port.port),
        from,
        address: caller.address,
        connections: caller.connections,
        open: caller.open,
        seconds_ago: caller.seconds_ago,
        breaks: port.is_none_or(|port| port.mode != "STRICT"),
    }
}

async fn of_server(server: &MutualTlsServer) -> Result<Vec<Caller>> {
    if !server.ours {
        bail!("its proxy is not one of ours, and does not count who sends plain text");
    }
    let admin = server.admin.context("its proxy has no admin endpoint")?;
    let answer = timeout(PATIENCE, get(admin, "/plaintext")).await;
    let answer = answer.map_err(|_| anyhow::anyhow!("its proxy did not answer at {admin}"))?;
    let body = answer.with_context(|| format!("its proxy cannot be asked at {admin}"))?;
    let said: Callers =
        serde_json::from_slice(&body).context("its proxy answers in another form: is it an older one?")?;
    Ok(said.callers)
}

async fn get(at: SocketAddr, path: &str) -> Result<Bytes> {
    let stream = TcpStream::connect(at).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path).header("host", at.to_string()).body(Full::<Bytes>::default())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST).collect().await.map_err(|e| anyhow::anyhow!(e))?;
    connection.abort();
    if !status.is_success() {
        bail!("the answer has status {status}");
    }
    Ok(body.to_bytes())
}
