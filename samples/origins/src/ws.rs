//! WebSocket echo, and a client that checks it.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::{self, Message as Sent};

/// Serves on `listener` until `end` completes: every path upgrades, every text and binary message comes back.
///
/// # Errors
/// When the listener breaks.
pub async fn serve(listener: TcpListener, end: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
    axum::serve(listener, router()).with_graceful_shutdown(end).await
}

/// The one route.
pub fn router() -> Router {
    Router::new().fallback(|upgrade: WebSocketUpgrade| async move { upgrade.on_upgrade(echo) })
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        // Pings are answered and closes confirmed by the library.
        let data = matches!(message, Message::Text(_) | Message::Binary(_));
        if data && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// Why the echo was not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum EchoFault {
    /// No connection, no upgrade, or a broken one.
    #[error("{url}: {source}; expected a WebSocket echo server there")]
    WebSocket {
        /// Whom we called.
        url: String,
        /// What the library says.
        source: Box<tungstenite::Error>,
    },
    /// Something else came back.
    #[error("{url}: sent `{sent}`, got back `{got}`")]
    Differs {
        /// Whom we called.
        url: String,
        /// What we said.
        sent: String,
        /// What came back.
        got: String,
    },
    /// Nothing came back.
    #[error("{url}: no answer to `{sent}` within {} s", within.as_secs_f64())]
    Timeout {
        /// Whom we called.
        url: String,
        /// What we said.
        sent: String,
        /// How long we waited.
        within: Duration,
    },
}

/// Connects to `url` (`ws://host:port/path`), sends each message, awaits its echo before the next, and closes.
/// `heard` is called with each echo. Each step may take `within`.
///
/// # Errors
/// At the first echo that is missing or differs.
pub async fn client(
    url: &str,
    messages: &[String],
    within: Duration,
    mut heard: impl FnMut(&str),
) -> Result<(), EchoFault> {
    let broke = |source| EchoFault::WebSocket { url: url.to_owned(), source: Box::new(source) };
    let late = |sent: &str| EchoFault::Timeout { url: url.to_owned(), sent: sent.to_owned(), within };
    let (mut socket, _) = tokio::time::timeout(within, tokio_tungstenite::connect_async(url))
        .await
        .map_err(|_| late("the upgrade request"))?
        .map_err(broke)?;
    for message in messages {
        socket.send(Sent::text(message.as_str())).await.map_err(broke)?;
        let got = loop {
            let next = tokio::time::timeout(within, socket.next()).await.map_err(|_| late(message))?;
            match next.unwrap_or(Err(tungstenite::Error::ConnectionClosed)).map_err(broke)? {
                Sent::Text(text) => break text.to_string(),
                Sent::Close(_) => return Err(broke(tungstenite::Error::ConnectionClosed)),
                _ => {}
            }
        };
        heard(&got);
        if got != *message {
            return Err(EchoFault::Differs { url: url.to_owned(), sent: message.clone(), got });
        }
    }
    socket.close(None).await.map_err(broke)
}
