//! Builds the control plane from its options and runs it: who is given what stands here, and nowhere else.

use base::drain::Watch;

use crate::error::ControlError;
use crate::options::{ControlOptions, Endpoints};

/// A control plane that runs.
pub struct Control {
    endpoints: Endpoints,
}

/// Starts the control plane and runs it until `drain` begins.
///
/// # Errors
/// [`ControlError`], one line each.
pub async fn run(options: ControlOptions, drain: Watch) -> Result<(), ControlError> {
    Control::start(options, drain).await?.finished().await
}

impl Control {
    /// Opens everything. When it returns, all doors are open. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// [`ControlError`], one line each; nothing runs then.
    pub async fn start(options: ControlOptions, drain: Watch) -> Result<Self, ControlError> {
        drop(drain);
        let settings = options.resolve()?;
        Err(ControlError::Door { door: "TLS", reason: format!("not wired: {}", settings.tls) })
    }

    /// Where it is reached.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Completes when the drain that it was started with is over.
    ///
    /// # Errors
    /// [`ControlError::Door`] if a door stopped by itself.
    pub async fn finished(self) -> Result<(), ControlError> {
        Ok(())
    }
}
