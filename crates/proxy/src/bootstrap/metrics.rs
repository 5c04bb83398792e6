//! Where metrics are told to scrapers, with those of the program.

use std::net::SocketAddr;
use std::path::Path;

use http::uri::PathAndQuery;
use serde::Deserialize;

use super::BootstrapError;

/// As typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MetricsFile {
    address: SocketAddr,
    program: Option<ProgramFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgramFile {
    port: u16,
    path: String,
}

/// Where metrics are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// The address at which scrapers ask.
    pub address: SocketAddr,
    /// Where the program tells its own; none: it has none.
    pub program: Option<ProgramMetrics>,
}

/// Where a program tells its metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramMetrics {
    /// Its port on loopback, in its own network namespace if it has one.
    pub port: u16,
    /// The path.
    pub path: PathAndQuery,
}

impl MetricsFile {
    pub(super) fn resolve(self, path: &Path) -> Result<Metrics, BootstrapError> {
        let bad = |problem| BootstrapError::Value { path: path.to_owned(), field: "metrics.program.path", problem };
        let program = self.program.map(|program| match program.path.parse::<PathAndQuery>() {
            Ok(path) if program.path.starts_with('/') => Ok(ProgramMetrics { port: program.port, path }),
            _ => Err(bad(format!("`{}` is no path: expected one such as `/metrics`", program.path))),
        });
        Ok(Metrics { address: self.address, program: program.transpose()? })
    }
}
