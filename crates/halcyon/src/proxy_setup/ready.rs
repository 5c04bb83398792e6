//! When a program is ready: the field `program_ready` in the bootstrap file of our proxy.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;

/// When a program is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReadyCheck {
    /// What it is asked.
    #[serde(flatten)]
    pub question: Question,
    /// When it is asked; none: as our proxy sees fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timing: Option<Timing>,
}

/// What a program is asked. Addresses of loopback are those of its own namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// To take a connection at each of these.
    Tcp(Vec<SocketAddr>),
    /// To take a connection there.
    TcpAt(Place),
    /// To answer a GET.
    Http { at: Place, path: String, tls: bool, headers: Vec<(String, String)> },
    /// To say that it serves, by gRPC's health checking protocol.
    Grpc { at: Place, service: String },
    /// Nothing: a command is run by who listens at this socket.
    Command(PathBuf),
}

/// Where it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    pub host: String,
    pub port: u16,
}

/// When it is asked, in Kubernetes' words. Zeros stand for Kubernetes' defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Timing {
    pub initial_delay_seconds: u32,
    pub timeout_seconds: u32,
    pub period_seconds: u32,
    pub successes: u32,
    pub failures: u32,
}
