//! The way to mutual TLS.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::Form;
use super::values::duration;

#[derive(Debug, Subcommand)]
pub enum MtlsCommand {
    /// Who takes and who still sends plain text, what STRICT would break, and the steps to it in the safe order. Exit code 0 if
    /// nothing stands in the way, 1 if plain text is still sent or a step failed, 2 if it cannot be known of some proxy.
    Plan(MtlsPlanArgs),
}

#[derive(Debug, Args)]
pub struct MtlsPlanArgs {
    /// Only servers of this namespace (default: of all).
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// Only this workload, or the workload of the proxy with this node id.
    #[arg(long, short, value_name = "NAME")]
    pub workload: Option<String>,
    /// Plain text that was last seen longer ago is over.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    pub window: Duration,
    /// Take the steps, one by one, each when every proxy has acknowledged the one before. Stops before STRICT if plain text is
    /// still sent, or if that cannot be known.
    #[arg(long)]
    pub apply: bool,
    /// With --apply: take what cannot be known for no plain text.
    #[arg(long, requires = "apply")]
    pub ignore_unknown: bool,
    /// The form of the answer.
    #[arg(long, short, value_enum, default_value_t = Form::Text)]
    pub output: Form,
}
