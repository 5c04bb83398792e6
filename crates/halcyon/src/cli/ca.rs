//! `halcyon ca`: the certificate authority.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum CaCommand {
    /// The roots that are trusted, where a rotation stands, and who is waited for.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Exchange the root for a new one, with no restart and no failed request. It goes on by itself: the new root is used
    /// when every connected proxy has acknowledged it, and the old one is trusted until nobody uses a certificate of it.
    Rotate(RotateArgs),
    /// Exchange the authority for one of your own, in the files of Istio's `cacerts`, in the same way.
    Import(ImportArgs),
    /// Print the roots that are trusted; or write the authority with its key.
    Export {
        /// Write the authority into this new folder: ca-cert.pem, ca-key.pem (mode 0600), root-cert.pem, cert-chain.pem.
        #[arg(long, value_name = "DIR")]
        with_key: Option<PathBuf>,
        /// Encrypt the key under the passphrase in this file.
        #[arg(long, value_name = "FILE", requires = "with_key")]
        passphrase_file: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct RotateArgs {
    /// Take the step that is waited for now: refused while a connected proxy would be locked out by it. Who is away with a
    /// certificate of the old root has to be started anew.
    #[arg(long, conflicts_with = "cancel")]
    pub finish: bool,
    /// Although connected proxies are locked out.
    #[arg(long, requires = "finish")]
    pub force: bool,
    /// Take back a rotation whose new root is not in use yet.
    #[arg(long)]
    pub cancel: bool,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The folder with the files.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// The passphrase of ca-key.pem, if that is encrypted.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}
