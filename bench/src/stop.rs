//! The end that people ask for with Ctrl-C, seen at every pause.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

/// Whether somebody asked for the end.
#[derive(Clone, Default)]
pub struct Stop(Arc<(Mutex<bool>, Condvar)>);

/// Somebody asked for the end.
#[derive(Debug, thiserror::Error)]
#[error("ended by a signal; nothing was written")]
pub struct Stopped;

impl Stop {
    /// Listens for SIGINT and SIGTERM on a thread of its own.
    ///
    /// # Errors
    /// When the system gives no thread or no signals.
    pub fn on_signals() -> anyhow::Result<Self> {
        let stop = Self::default();
        let told = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let listen = move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            *told.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            told.0.1.notify_all();
        };
        std::thread::Builder::new().name("signals".into()).spawn(listen).context("cannot start a thread")?;
        Ok(stop)
    }

    /// Waits, unless somebody asks for the end.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn pause(&self, duration: Duration) -> Result<(), Stopped> {
        let until = Instant::now() + duration;
        let mut stopped = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stopped {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            stopped = self.0.1.wait_timeout(stopped, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Err(Stopped)
    }
}
