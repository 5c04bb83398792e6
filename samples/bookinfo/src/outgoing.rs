//! Calls to the other services: HTTP/1.1, one connection for each call, so that balancing shows at once.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{CONNECTION, HOST, HeaderMap, HeaderValue};
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// The largest answer that is read, in bytes.
const ANSWER_LIMIT: usize = 1 << 20;

/// A host and a port to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A stream that is being opened.
pub type Dialing = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

/// Opens streams. The seam between this application and the network: tests put an in-memory one here.
pub trait Dial: Send + Sync {
    /// Opens a new stream to `to`.
    fn dial(&self, to: &Destination) -> Dialing;
}

/// Dials over TCP, resolving names with the system's resolver.
pub struct Tcp;

impl Dial for Tcp {
    fn dial(&self, to: &Destination) -> Dialing {
        let to = to.clone();
        Box::pin(async move {
            let stream = TcpStream::connect((to.host.as_str(), to.port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

/// An answer that came.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its whole body.
    pub body: Bytes,
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum CallFault {
    /// The other side could not be reached.
    #[error("cannot connect to {to}")]
    Connect {
        /// Who was called.
        to: Destination,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing came in time.
    #[error("{to} did not answer within {} s", within.as_secs_f64())]
    Timeout {
        /// Who was called.
        to: Destination,
        /// The time limit.
        within: Duration,
    },
    /// The exchange broke.
    #[error("the exchange with {to} broke off")]
    Exchange {
        /// Who was called.
        to: Destination,
        /// What broke.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Makes the calls of one service.
#[derive(Clone)]
pub struct Outgoing {
    dial: Arc<dyn Dial>,
}

impl Outgoing {
    /// Calls through `dial`.
    pub fn new(dial: Arc<dyn Dial>) -> Self {
        Self { dial }
    }

    /// `GET path` on a new connection, with `headers` (from [`crate::propagate`]). `within` limits the whole call, from name lookup
    /// to the last byte.
    ///
    /// # Errors
    /// When no complete answer came in time. An answer with an error status is a reply.
    pub async fn get(
        &self,
        to: &Destination,
        path: &str,
        headers: &HeaderMap,
        within: Duration,
    ) -> Result<Reply, CallFault> {
        tokio::time::timeout(within, self.exchange(to, path, headers))
            .await
            .unwrap_or_else(|_| Err(CallFault::Timeout { to: to.clone(), within }))
    }

    async fn exchange(&self, to: &Destination, path: &str, headers: &HeaderMap) -> Result<Reply, CallFault> {
        let stream = self.dial.dial(to).await.map_err(|source| CallFault::Connect { to: to.clone(), source })?;
        let broke = |source: Box<dyn std::error::Error + Send + Sync>| CallFault::Exchange { to: to.clone(), source };
        let mut request = Request::get(path).body(Empty::<Bytes>::new()).map_err(|e| broke(e.into()))?;
        *request.headers_mut() = headers.clone();
        request.headers_mut().insert(HOST, HeaderValue::try_from(to.to_string()).map_err(|e| broke(e.into()))?);
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));

        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| broke(e.into()))?;
        let driver = AbortOnDrop(tokio::spawn(async move {
            // What ends the connection early is seen by the exchange as well.
            let _ = connection.await;
        }));
        let answer = sender.send_request(request).await.map_err(|e| broke(e.into()))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_LIMIT).collect().await.map_err(broke)?.to_bytes();
        drop(driver);
        Ok(Reply { status, body })
    }
}

/// A call that is given up closes its connection too.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
