//! An HTTP/1.1 client, with TLS if it is asked to: what a browser at the gateway does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

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

/// Where visitors come in, and how.
#[derive(Debug, Clone)]
pub struct Door {
    at: SocketAddr,
    /// What the server must prove, and which of its names is asked for.
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// How many exchanges a connection is kept for.
    exchanges: u32,
}

impl From<SocketAddr> for Door {
    fn from(at: SocketAddr) -> Self {
        Self { at, tls: None, exchanges: u32::MAX }
    }
}

impl Door {
    /// By TLS, to the server of this name.
    pub fn secure(at: SocketAddr, config: Arc<ClientConfig>, name: &'static str) -> Result<Self> {
        Ok(Self { tls: Some((config, ServerName::try_from(name)?)), ..Self::from(at) })
    }

    /// With another connection after so many exchanges.
    pub fn kept_for(self, exchanges: u32) -> Self {
        Self { exchanges, ..self }
    }
}

/// A kept connection.
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
    /// What the server showed, if it has proven itself.
    pub certificate: Option<CertificateDer<'static>>,
    /// How many more exchanges it is kept for.
    left: u32,
}

impl Connection {
    /// Connects.
    pub async fn open(door: impl Into<Door>) -> Result<Self> {
        let Door { at, tls, exchanges } = door.into();
        let stream = tokio::time::timeout(PATIENCE, TcpStream::connect(at)).await??;
        stream.set_nodelay(true)?;
        let (sender, host, certificate) = match tls {
            None => (handshake(stream).await?, at.to_string(), None),
            Some((config, name)) => {
                let host = format!("{}:{}", name.to_str(), at.port());
                let shaking = TlsConnector::from(config).connect(name, stream);
                let stream = tokio::time::timeout(PATIENCE, shaking).await??;
                let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
                (handshake(stream).await?, host, shown.map(CertificateDer::into_owned))
            }
        };
        Ok(Self { sender, host, certificate, left: exchanges })
    }

    /// One exchange.
    pub async fn send(&mut self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(path).header("host", &self.host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
        self.left = self.left.saturating_sub(1);
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
        self.left > 0 && self.sender.ready().await.is_ok()
    }
}

async fn handshake<S>(stream: S) -> Result<http1::SendRequest<Full<Bytes>>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
    // How the connection ended is seen by the request on it.
    tokio::spawn(async move { drop(driver.await) });
    Ok(sender)
}

/// GET on a connection of its own.
pub async fn get(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    Connection::open(to).await?.get(path, headers).await
}
