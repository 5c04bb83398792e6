//! Listening, and ending well: after SIGTERM or SIGINT no new connection is taken and the open requests finish.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// How long open requests may take after the signal; below the 30 s after which Kubernetes kills.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(20);

/// Serves `router` until `end` completes, then drains for at most [`DRAIN_LIMIT`].
///
/// # Errors
/// When the listener breaks.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    end: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = listener.tap_io(|stream| {
        // Without it small answers wait for the other side's acknowledgement. A refusal only costs time.
        let _ = stream.set_nodelay(true);
    });
    let (draining, drain_began) = tokio::sync::oneshot::channel();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move {
        end.await;
        let _ = draining.send(());
    });
    tokio::select! {
        ended = server.into_future() => ended,
        () = async {
            // The sender lives in the server: an error means that the server is ending anyway.
            let _ = drain_began.await;
            tokio::time::sleep(DRAIN_LIMIT).await;
        } => Ok(()),
    }
}

/// Completes at the first SIGTERM or SIGINT.
///
/// # Errors
/// When the signals cannot be listened for.
pub fn stop_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
