//! One connection to the server, opened again when it was lost. Uses hyper's connections directly: no pool stands between.

use std::rc::Rc;

use axum::http::HeaderMap;
use axum::http::response::Parts;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::plan::{Plan, Protocol};

/// How much of a body is searched.
const SEARCHED_BODY: usize = 4 << 20;
const WINDOW: u32 = 1 << 20;

/// An answer, read to its end.
pub struct Answer {
    /// Status and headers.
    pub head: Parts,
    /// Trailers, if there were any.
    pub trailers: HeaderMap,
    /// Bytes of body.
    pub bytes: u64,
    /// The body's beginning, when somebody searches it.
    pub body: BytesMut,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The connection ended, or the stream was reset, before an answer.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// The answer's body broke off.
    #[error("the body broke off: {0}")]
    Body(String),
    /// Too late.
    #[error("not answered in time")]
    Timeout,
}

impl CallError {
    /// Its name in the report.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::NoAnswer(_) => "no-answer",
            Self::Body(_) => "body",
            Self::Timeout => "timeout",
        }
    }
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    /// Waits until the answer before is done with, and says whether the connection still stands.
    async fn is_open(&mut self) -> bool {
        match self {
            Self::Http1(sender) => sender.ready().await.is_ok(),
            Self::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    /// Another sender of the same connection, where requests can share one.
    fn share(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(sender) => Some(Self::Http2(sender.clone())),
        }
    }
}

/// A connection and the plan that it serves.
pub struct Connection {
    plan: Rc<Plan>,
    sender: Mutex<Option<Sender>>,
}

impl Connection {
    /// Not yet connected.
    pub fn new(plan: Rc<Plan>) -> Self {
        Self { plan, sender: Mutex::new(None) }
    }

    /// Connects ahead of the first request, if it can.
    pub async fn open(&self) {
        let connected = tokio::time::timeout(self.plan.timeout, self.connect()).await;
        if let Ok(Ok(sender)) = connected {
            *self.sender.lock().await = Some(sender);
        }
    }

    /// Sends one request and reads its answer to the end.
    ///
    /// # Errors
    /// When there is no whole answer. The caller limits the time; an HTTP/1.1 connection that is given up on is closed.
    pub async fn exchange(&self) -> Result<Answer, CallError> {
        match self.sender().await? {
            Sender::Http1(mut sender) => {
                let response = sender.send_request(self.plan.request()).await.map_err(no_answer)?;
                let answer = self.read(response).await?;
                if self.plan.keepalive {
                    *self.sender.lock().await = Some(Sender::Http1(sender));
                }
                Ok(answer)
            }
            Sender::Http2(mut sender) => {
                let response = sender.send_request(self.plan.request()).await.map_err(no_answer)?;
                self.read(response).await
            }
        }
    }

    /// A sender that can send now: HTTP/1.1 for this request alone, HTTP/2 shared.
    async fn sender(&self) -> Result<Sender, CallError> {
        let mut held = self.sender.lock().await;
        // A server may close what is idle: that is no error of the next request.
        if let Some(mut sender) = held.take()
            && sender.is_open().await
        {
            *held = sender.share();
            return Ok(sender);
        }
        let sender = self.connect().await?;
        *held = sender.share();
        Ok(sender)
    }

    async fn connect(&self) -> Result<Sender, CallError> {
        let failed = |why: &dyn std::error::Error| CallError::Connect(chain(why));
        let stream = TcpStream::connect(&self.plan.connect).await.map_err(|e| failed(&e))?;
        stream.set_nodelay(true).map_err(|e| failed(&e))?;
        let io = TokioIo::new(stream);
        // What ends a connection is seen by the requests on it; the drivers have nothing to add.
        match self.plan.protocol {
            Protocol::Http1 => {
                let (sender, driver) = http1::handshake(io).await.map_err(|e| failed(&e))?;
                tokio::spawn(async move { drop(driver.await) });
                Ok(Sender::Http1(sender))
            }
            Protocol::Http2 => {
                let (sender, driver) = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .initial_stream_window_size(WINDOW)
                    .initial_connection_window_size(16 * WINDOW)
                    .handshake(io)
                    .await
                    .map_err(|e| failed(&e))?;
                tokio::spawn(async move { drop(driver.await) });
                Ok(Sender::Http2(sender))
            }
        }
    }

    async fn read(&self, response: axum::http::Response<Incoming>) -> Result<Answer, CallError> {
        let (head, mut incoming) = response.into_parts();
        let mut answer = Answer { head, trailers: HeaderMap::new(), bytes: 0, body: BytesMut::new() };
        let search = !self.plan.count_body.is_empty();
        while let Some(frame) = incoming.frame().await {
            match frame.map_err(|e| CallError::Body(chain(&e)))?.into_data() {
                Ok(data) => {
                    answer.bytes += data.len() as u64;
                    if search {
                        let room = SEARCHED_BODY - answer.body.len();
                        answer.body.extend_from_slice(&data[..data.len().min(room)]);
                    }
                }
                Err(frame) => answer.trailers.extend(frame.into_trailers().unwrap_or_default()),
            }
        }
        Ok(answer)
    }
}

fn no_answer(error: hyper::Error) -> CallError {
    CallError::NoAnswer(chain(&error))
}

/// An error and what is behind it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
