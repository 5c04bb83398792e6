//! Clients in Python: libraries that others use, each in a script that prints one JSON object.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::place::Place;
use crate::process;

/// A script.
pub struct Script {
    name: &'static str,
    text: &'static str,
}

/// Calls of the echo service by `grpcio`.
pub const GRPC_ECHO: Script = Script { name: "grpc_echo.py", text: include_str!("python/grpc_echo.py") };
/// Messages to the WebSocket echo by `websockets`.
pub const WEBSOCKET_ECHO: Script = Script { name: "websocket_echo.py", text: include_str!("python/websocket_echo.py") };

/// What a program has by the SPIFFE Workload API, by `spiffe`.
pub const SPIFFE_CLIENT: Script = Script { name: "spiffe_client.py", text: include_str!("python/spiffe_client.py") };

/// How long a script may take.
const LONGEST: Duration = Duration::from_secs(60);

impl Script {
    /// Where it stands, for who runs it otherwise.
    pub fn path(&self, place: &Place) -> Result<PathBuf> {
        place.write(self.name, self.text)
    }

    /// Runs it, and reads what it printed.
    pub async fn run(
        &self,
        place: &Place,
        arguments: &[impl AsRef<Path>],
        variable: Option<(&str, String)>,
    ) -> Result<Value> {
        let python = place.python()?;
        let script = self.path(place)?;
        let mut command = process::command(place, &python);
        command.arg(script).args(arguments.iter().map(AsRef::as_ref)).envs(variable);
        let said = process::run(command, LONGEST).await?.good().context(self.name)?.out;
        serde_json::from_str(&said).with_context(|| format!("{} printed `{said}`", self.name))
    }
}
