//! When a program is ready, as the bootstrap file of our proxy says it.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value, json};

/// When a program is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyCheck {
    /// What it is asked.
    pub question: Question,
    /// When it is asked; none: as our proxy sees fit.
    pub timing: Option<Timing>,
}

/// What a program is asked. Addresses of loopback are those of its own namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub host: String,
    pub port: u16,
}

/// When it is asked, in Kubernetes' words. Zeros stand for Kubernetes' defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    pub initial_delay_seconds: u32,
    pub timeout_seconds: u32,
    pub period_seconds: u32,
    pub successes: u32,
    pub failures: u32,
}

impl ReadyCheck {
    /// The field `program_ready` of the bootstrap file.
    pub fn json(&self) -> Value {
        let place = |at: &Place| json!({ "host": at.host, "port": at.port });
        let mut file = match &self.question {
            Question::Tcp(addresses) => json!({ "tcp": addresses }),
            Question::TcpAt(at) => json!({ "tcp_at": place(at) }),
            Question::Http { at, path, tls, headers } => {
                json!({ "http": { "at": place(at), "path": path, "tls": tls, "headers": headers } })
            }
            Question::Grpc { at, service } => json!({ "grpc": { "at": place(at), "service": service } }),
            Question::Command(socket) => json!({ "command": socket }),
        };
        if let Some(timing) = &self.timing {
            file["timing"] = json!({
                "initial_delay_seconds": timing.initial_delay_seconds,
                "timeout_seconds": timing.timeout_seconds,
                "period_seconds": timing.period_seconds,
                "successes": timing.successes,
                "failures": timing.failures,
            });
        }
        file
    }
}
