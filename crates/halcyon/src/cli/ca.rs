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
    /// Revoke an identity, or the certificate of a workload: it is refused when it is renewed, and by its peers, whose
    /// connections with it are closed. `halcyon ca status` shows what is revoked.
    ///
    /// An identity gets no certificate any more, and its join tokens end. A certificate takes those with it that came of the
    /// same join token by renewals; its workload may join again with a new token.
    Revoke {
        /// An identity (`spiffe://...`, or `namespace/account`), the serial number of a certificate, or a connected proxy by
        /// its name in `halcyon status`.
        #[arg(value_name = "WHAT")]
        what: String,
    },
    /// Take back what `halcyon ca revoke` did: certificates that are in date are good again. Join tokens that ended stay so.
    Restore {
        /// As it was revoked.
        #[arg(value_name = "WHAT")]
        what: String,
    },
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
