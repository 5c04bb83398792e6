//! Who may do what: users, tokens, and the doors that they come through.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use base::TrustDomain;
use clap::{Args, Subcommand};
use control::v1::Role;

use super::Form;
use super::values::{duration, role_of_group, roots_of_domain};

/// A control plane of another machine.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Control plane of another machine")]
pub struct Remote {
    /// The API of a control plane of another machine, `https://HOST:PORT`; needs a token (--token-file or HALCYON_TOKEN) or
    /// a certificate (--client-cert).
    #[arg(long, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// A file with a token: with --server one that `halcyon user token` printed (default: what HALCYON_TOKEN holds); with
    /// --control of `run` and `gateway` one that `halcyon token create` printed.
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// A file with the roots that the API's certificate is checked against: what `halcyon token trust-bundle` prints there
    /// (default: the roots of this machine).
    #[arg(long, global = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// A file with a certificate chain of a user's identity; needs --client-key.
    #[arg(long, global = true, value_name = "FILE", requires = "client_key")]
    pub client_cert: Option<PathBuf>,
    /// Its key.
    #[arg(long, global = true, value_name = "FILE", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
}

/// Who is let in to the control plane's API, beside its owner and root.
#[derive(Debug, Args)]
pub struct ApiArgs {
    /// Serve the API over TLS 1.3 too, at this address, for users with a token or a certificate; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub api: Option<SocketAddr>,
    /// A file with the certificate chain to show there (default: a certificate of the mesh's authority).
    #[arg(long, value_name = "FILE", requires_all = ["api", "api_key"])]
    pub api_cert: Option<PathBuf>,
    /// A file with its key.
    #[arg(long, value_name = "FILE", requires = "api_cert")]
    pub api_key: Option<PathBuf>,
    /// Further roots for users' certificates there, for identities of this trust domain. May be said several times.
    #[arg(long = "api-client-ca", value_name = "TRUST_DOMAIN=FILE", requires = "api", value_parser = roots_of_domain)]
    pub api_client_cas: Vec<(TrustDomain, PathBuf)>,
    /// Let members of a group use the Unix socket, as `viewer`, `operator` or `admin`.
    #[arg(long, value_name = "GROUP=ROLE", value_parser = role_of_group)]
    pub socket_group: Option<(String, Role)>,
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token that lets one workload join from another machine, once.
    Create {
        /// The namespace.
        #[arg(long, short, default_value = "default")]
        namespace: String,
        /// The service account that its identity is made of.
        #[arg(long, default_value = "default")]
        service_account: String,
        /// How long it may be used, such as `1h`; at most `24h`.
        #[arg(long, default_value = "1h", value_parser = duration)]
        ttl: Duration,
    },
    /// Show the tokens that are good, and for a week those that were; never their secrets.
    List {
        /// The form of the answer.
        #[arg(long, short, value_enum, default_value_t = Form::Text)]
        output: Form,
    },
    /// Take a token back that nobody has used yet.
    Revoke {
        /// Its id, as `halcyon token list` shows it.
        id: String,
    },
    /// Print the roots that the control plane's certificate is checked against.
    TrustBundle,
}

/// What a user may do.
#[derive(Debug, Args)]
pub struct UserArgs {
    /// The name.
    pub name: String,
    /// `viewer`: see everything but secrets; `operator`: change resources too; `admin`: also users, tokens and who joins.
    #[arg(long)]
    pub role: Role,
    /// A namespace that an operator may write to (default: all). May be said several times.
    #[arg(long = "namespace", short, value_name = "NAMESPACE", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// A SPIFFE ID: whoever shows a certificate of it is this user, without a token.
    #[arg(long, value_name = "SPIFFE_ID")]
    pub identity: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make a user.
    Add(UserArgs),
    /// Say anew what a user may do; what is not said has its default.
    Set(UserArgs),
    /// Show every user.
    List {
        /// The form of the answer.
        #[arg(long, short, value_enum, default_value_t = Form::Text)]
        output: Form,
    },
    /// Remove a user, and all tokens of the user.
    Remove {
        /// The name.
        name: String,
    },
    /// Who you are to the control plane, and what you may do.
    Whoami,
    /// Make a token for a user and print it, this once.
    Token {
        /// The user.
        name: String,
        /// How long it is good, such as `8h`; at most 366 days.
        #[arg(long, default_value = "8h", value_parser = duration)]
        ttl: Duration,
    },
    /// Tokens that were made.
    #[command(subcommand)]
    Tokens(UserTokensCommand),
}

#[derive(Debug, Subcommand)]
pub enum UserTokensCommand {
    /// Show every token: whose it is, until when, and when it was used last; never its secret.
    List {
        /// The form of the answer.
        #[arg(long, short, value_enum, default_value_t = Form::Text)]
        output: Form,
    },
    /// Take a token back: it is good for nothing from now on.
    Revoke {
        /// Its id, as `halcyon user tokens list` shows it.
        id: String,
    },
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AuditArgs {
    #[command(subcommand)]
    pub command: Option<AuditCommand>,
    /// Not older than this, such as `2h`, or since a time, such as `2026-01-31T12:00:00Z`.
    #[arg(long, value_name = "DURATION|TIME")]
    pub since: Option<String>,
    /// A part of who: `alice`, `uid 0`, an identity.
    #[arg(long, value_name = "TEXT")]
    pub who: Option<String>,
    /// A part of what was done, or of what to: `delete`, `VirtualService/default/reviews`.
    #[arg(long, value_name = "TEXT")]
    pub what: Option<String>,
    /// The newest so many; at most 10000.
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    pub limit: usize,
    /// Show what is different, too.
    #[arg(long)]
    pub diff: bool,
    /// The form of the answer.
    #[arg(long, short, value_enum, default_value_t = Form::Text)]
    pub output: Form,
}

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Check every link of the log; exit code 1 if one does not hold, which is named.
    Verify {
        /// A copy of the log's folder, in place of a control plane.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// The form of the answer.
        #[arg(long, short, value_enum, default_value_t = Form::Text)]
        output: Form,
    },
}
