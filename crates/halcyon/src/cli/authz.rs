//! Questions about who may do what.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Form;
use super::values::{Target, header, target};

#[derive(Debug, Subcommand)]
pub enum AuthzCommand {
    /// May a request or connection pass, which rule says so, and what did the nearest one ask for in vain? Exit code 0 if it
    /// may, 1 if it is denied, 2 if the question cannot be answered.
    Check(Box<AuthzCheckArgs>),
    /// Who may call whom, by policies alone. Exit code 0.
    Graph(AuthzGraphArgs),
}

#[derive(Debug, Args)]
pub struct AuthzCheckArgs {
    /// The request as JSON, or `-` for standard input: `source` (`principal`, or `namespace` and `account`; `ip`, `remoteIp`),
    /// `destination` (`namespace`, `labels`, `port`, `ip`, `gateway`), `protocol` (`http` or `tcp`), `method`, `path`, `host`,
    /// `headers`, `sni`, `claims`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to", "method", "path", "headers", "host", "sni", "ip"], required_unless_present = "to")]
    pub request: Option<PathBuf>,
    /// Who calls: a workload, a Deployment, a Pod or a service (default: somebody without an identity).
    #[arg(long, value_name = "NAME", conflicts_with = "request")]
    pub from: Option<String>,
    /// Who is called: a service, `ratings:9080`; the port may be left out if it has only one.
    #[arg(long, value_name = "HOST[:PORT]", value_parser = target)]
    pub to: Option<Target>,
    /// The namespace of both.
    #[arg(long, short, default_value = "default")]
    pub namespace: String,
    /// The method (default: GET).
    #[arg(long, short = 'X')]
    pub method: Option<String>,
    /// The path (default: /).
    #[arg(long)]
    pub path: Option<String>,
    /// A header. May be said several times.
    #[arg(long = "header", short = 'H', value_name = "NAME:VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// `Host` (default: the service's).
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// The name that the caller asks for by TLS.
    #[arg(long, value_name = "HOST")]
    pub sni: Option<String>,
    /// The caller's address.
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<IpAddr>,
    /// Ask about these files, without a control plane.
    #[arg(long = "filename", short = 'f', value_name = "FILE|DIR|-")]
    pub files: Vec<PathBuf>,
    /// The form of the answer.
    #[arg(long, short, value_enum, default_value_t = Form::Text)]
    pub output: Form,
}

#[derive(Debug, Args)]
pub struct AuthzGraphArgs {
    /// Ask about these files, without a control plane.
    #[arg(long = "filename", short = 'f', value_name = "FILE|DIR|-")]
    pub files: Vec<PathBuf>,
    /// The namespace of documents that name none.
    #[arg(long, short, default_value = "default")]
    pub namespace: String,
    /// The form of the answer.
    #[arg(long, short, value_enum, default_value_t = GraphForm::Text)]
    pub output: GraphForm,
}

/// The form of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GraphForm {
    /// A table.
    Text,
    /// For programs.
    Json,
    /// For Graphviz.
    Dot,
    /// For documents that draw Mermaid.
    Mermaid,
}
