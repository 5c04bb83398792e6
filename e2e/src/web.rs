//! A plain HTTP/1.1 client: what a browser at the gateway does.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// No answer of the mesh takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// From the first byte sent to the last received.
    pub took: Duration,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON, if the status is 200.
    pub fn json(&self) -> Result<serde_json::Value> {
        ensure!(self.status == 200, "status {} with `{}`; expected 200", self.status, self.text().trim());
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }
}

/// A kept connection.
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    /// Connects.
    pub async fn open(to: SocketAddr) -> Result<Self> {
        let stream = tokio::time::timeout(PATIENCE, TcpStream::connect(to)).await??;
        stream.set_nodelay(true)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        // How the connection ended is seen by the request on it.
        tokio::spawn(async move { drop(driver.await) });
        Ok(Self { sender, host: to.to_string() })
    }

    /// One exchange.
    pub async fn send(&mut self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(path).header("host", &self.host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
        let begun = Instant::now();
        let exchange = async {
            let answer = self.sender.send_request(request).await?;
            let (head, body) = answer.into_parts();
            Ok::<_, hyper::Error>((head, body.collect().await?.to_bytes()))
        };
        let Ok(exchanged) = tokio::time::timeout(PATIENCE, exchange).await else {
            bail!("{path}: no answer within {} s", PATIENCE.as_secs())
        };
        let (head, body) = exchanged.with_context(|| path.to_owned())?;
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, took: begun.elapsed() })
    }

    /// GET.
    pub async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        self.send(Method::GET, path, headers, "").await
    }

    /// Can another request be sent?
    pub async fn is_open(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }
}

/// GET on a connection of its own.
pub async fn get(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    Connection::open(to).await?.get(path, headers).await
}
