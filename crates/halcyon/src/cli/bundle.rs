//! The SPIFFE bundle endpoint of the control plane.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values::duration;

/// How other trust domains learn the keys of this one.
#[derive(Debug, Args)]
#[command(next_help_heading = "SPIFFE federation")]
pub struct BundleArgs {
    /// Serve the SPIFFE bundle of the trust domain there over HTTPS: with the control plane's own certificate
    /// (`https_spiffe`), unless another is given. Everybody may read it.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub bundle_endpoint: Option<SocketAddr>,
    /// A certificate chain for it in PEM, of an authority of the web (`https_web`); read again when it changes.
    #[arg(long, value_name = "FILE", requires_all = ["bundle_endpoint", "bundle_endpoint_key"])]
    pub bundle_endpoint_cert: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "bundle_endpoint_cert")]
    pub bundle_endpoint_key: Option<PathBuf>,
    /// How often those who fetch the bundle are asked to look for another. A new root is told for three times as long before
    /// it signs.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub bundle_refresh_hint: Duration,
}
