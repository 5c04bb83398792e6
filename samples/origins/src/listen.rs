//! Where a server listens, what it calls itself, and when it ends.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};

use clap::Args;
use tokio::net::{TcpListener, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};

/// The options that every server takes.
#[derive(Debug, Clone, Args)]
pub struct Listen {
    /// Address to listen on.
    #[arg(long, env = "ORIGINS_BIND", default_value = "0.0.0.0")]
    pub bind: IpAddr,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, env = "ORIGINS_PORT", default_value_t = 0)]
    pub port: u16,
    /// What the server calls itself in its answers; the machine's name unless given.
    #[arg(long, env = "HOSTNAME")]
    pub name: Option<String>,
}

/// Why a server could not listen.
#[derive(Debug, thiserror::Error)]
#[error("--bind {} --port {}: cannot listen there: {source}; expected a free port on an address of this machine; choose another, or 0 for any", at.ip(), at.port())]
pub struct Refused {
    at: SocketAddr,
    source: io::Error,
}

impl Listen {
    /// A TCP listener.
    ///
    /// # Errors
    /// When the address is taken or not ours.
    pub async fn tcp(&self) -> Result<TcpListener, Refused> {
        let at = SocketAddr::new(self.bind, self.port);
        TcpListener::bind(at).await.map_err(|source| Refused { at, source })
    }

    /// A UDP socket.
    ///
    /// # Errors
    /// When the address is taken or not ours.
    pub async fn udp(&self) -> Result<UdpSocket, Refused> {
        let at = SocketAddr::new(self.bind, self.port);
        UdpSocket::bind(at).await.map_err(|source| Refused { at, source })
    }

    /// The name of this instance.
    pub fn name(&self) -> String {
        self.name
            .clone()
            .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "unknown".to_owned())
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
