//! When the program behind the sidecar is ready.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::BootstrapError;

/// When the program is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadyCheck {
    /// What it is asked.
    pub question: Question,
    /// When it is asked; none: often until it is ready, then as [`Timing::default`] says, and if it only has to take
    /// connections never again.
    pub timing: Option<Timing>,
}

/// What a program is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// It takes a connection at each of these.
    Tcp(Vec<SocketAddr>),
    /// It takes a connection there.
    TcpAt(Place),
    /// It answers a GET well (200 to 399).
    Http(HttpQuestion),
    /// It says that it serves, by gRPC's health checking protocol.
    Grpc {
        /// Where.
        at: Place,
        /// The service that is asked for; empty: the server as a whole.
        service: String,
    },
    /// A command ends well, which is run by who listens at this Unix socket: it takes a connection for a wish, answers with a line
    /// (empty: it ended well; else how it ended), and ends the command when the connection is closed.
    Command(PathBuf),
}

/// Where a program is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// A name or an address. Those of loopback are meant in the program's network namespace, if it has its own; others are
    /// reached from where the proxy is.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpQuestion {
    /// Where.
    pub at: Place,
    /// For which path, such as `/health`.
    pub path: String,
    /// Over TLS; the certificate is not checked.
    pub tls: bool,
    /// Further headers; `host` takes the place of the one that is sent otherwise.
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
}

/// When a program is asked (Kubernetes' probes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How long after the start of the proxy.
    pub initial_delay: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Time between two questions. Until it is ready for the first time it may be asked more often.
    pub period: Duration,
    /// So many good answers in a row make it ready.
    pub successes: u32,
    /// So many bad ones in a row make it not ready.
    pub failures: u32,
}

impl Default for Timing {
    /// Kubernetes' defaults.
    fn default() -> Self {
        Self {
            initial_delay: Duration::ZERO,
            timeout: Duration::from_secs(1),
            period: Duration::from_secs(10),
            successes: 1,
            failures: 3,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadyFile {
    #[serde(default)]
    tcp: Vec<SocketAddr>,
    tcp_at: Option<PlaceFile>,
    http: Option<HttpFile>,
    grpc: Option<GrpcFile>,
    command: Option<PathBuf>,
    timing: Option<TimingFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaceFile {
    host: String,
    port: u16,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpFile {
    at: PlaceFile,
    path: String,
    #[serde(default)]
    tls: bool,
    #[serde(default)]
    headers: Vec<(String, String)>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GrpcFile {
    at: PlaceFile,
    #[serde(default)]
    service: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimingFile {
    initial_delay_seconds: u32,
    timeout_seconds: u32,
    period_seconds: u32,
    successes: u32,
    failures: u32,
}

impl PlaceFile {
    fn resolve(self) -> Place {
        Place { host: self.host, port: self.port }
    }
}

impl ReadyFile {
    pub(super) fn resolve(self, path: &Path) -> Result<ReadyCheck, BootstrapError> {
        let bad = |problem: String| BootstrapError::Value { path: path.to_owned(), field: "program_ready", problem };
        let timing = self.timing.map(TimingFile::resolve);
        let mut questions = Vec::new();
        questions.extend((!self.tcp.is_empty()).then_some(Question::Tcp(self.tcp)));
        questions.extend(self.tcp_at.map(|at| Question::TcpAt(at.resolve())));
        if let Some(http) = self.http {
            questions.push(Question::Http(http.resolve().map_err(bad)?));
        }
        questions.extend(self.grpc.map(|grpc| Question::Grpc { at: grpc.at.resolve(), service: grpc.service }));
        questions.extend(self.command.map(Question::Command));
        match (questions.pop(), questions.is_empty()) {
            (Some(question), true) => Ok(ReadyCheck { question, timing }),
            _ => Err(bad("expected one of `tcp`, `tcp_at`, `http`, `grpc` and `command`".to_owned())),
        }
    }
}

impl HttpFile {
    fn resolve(self) -> Result<HttpQuestion, String> {
        if !self.path.starts_with('/') {
            return Err("`http.path` is no path: expected one such as `/health`".to_owned());
        }
        let header = |(name, value): (String, String)| match (name.parse(), value.parse()) {
            (Ok(name), Ok(value)) => Ok((name, value)),
            _ => Err(format!("`http.headers` has `{name}: {value}`, which is no header: expected a name and a value")),
        };
        let headers = self.headers.into_iter().map(header).collect::<Result<_, _>>()?;
        Ok(HttpQuestion { at: self.at.resolve(), path: self.path, tls: self.tls, headers })
    }
}

impl TimingFile {
    /// Zero stands for Kubernetes' default, as in its documents.
    fn resolve(self) -> Timing {
        let default = Timing::default();
        let time = |seconds: u32, default| if seconds == 0 { default } else { Duration::from_secs(seconds.into()) };
        let count = |count: u32, default| if count == 0 { default } else { count };
        Timing {
            initial_delay: Duration::from_secs(self.initial_delay_seconds.into()),
            timeout: time(self.timeout_seconds, default.timeout),
            period: time(self.period_seconds, default.period),
            successes: count(self.successes, default.successes),
            failures: count(self.failures, default.failures),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files() {
        let read = |text: &str| -> Result<ReadyCheck, String> {
            let file: ReadyFile = serde_json::from_str(text).map_err(|e| e.to_string())?;
            file.resolve(Path::new("b.json")).map_err(|e| e.to_string())
        };
        let at = || Place { host: "127.0.0.1".into(), port: 80 };
        let timing = r#""timing": {"initial_delay_seconds": 3, "timeout_seconds": 0, "period_seconds": 2, "successes": 0, "failures": 1}"#;
        assert_eq!(
            read(&format!(r#"{{"grpc": {{"at": {{"host": "127.0.0.1", "port": 80}}, "service": "s"}}, {timing}}}"#)),
            Ok(ReadyCheck {
                question: Question::Grpc { at: at(), service: "s".into() },
                timing: Some(Timing {
                    initial_delay: Duration::from_secs(3),
                    period: Duration::from_secs(2),
                    failures: 1,
                    ..Timing::default()
                }),
            })
        );
        let http = read(
            r#"{"http": {"at": {"host": "127.0.0.1", "port": 80}, "path": "/x", "tls": true, "headers": [["A", "b"]]}}"#,
        );
        let headers = vec![(http::HeaderName::from_static("a"), http::HeaderValue::from_static("b"))];
        let question = Question::Http(HttpQuestion { at: at(), path: "/x".into(), tls: true, headers });
        assert_eq!(http, Ok(ReadyCheck { question, timing: None }));
        for (text, expected) in [
            (r#"{"http": {"at": {"host": "a", "port": 1}, "path": "x"}}"#, "is no path"),
            (
                r#"{"http": {"at": {"host": "a", "port": 1}, "path": "/", "headers": [["a b", "c"]]}}"#,
                "which is no header",
            ),
            (r#"{"tcp": ["127.0.0.1:1"], "command": "/x"}"#, "expected one of"),
            ("{}", "expected one of"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
