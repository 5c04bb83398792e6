//! Questions about the traffic.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Form;
use super::values::{duration, header_name};

/// The traffic that is meant, and when.
#[derive(Debug, Clone, Args)]
pub struct Window {
    /// How much of the past counts, such as `1m`, `30m`, `6h`.
    #[arg(long, short, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    pub window: Duration,
    /// Up to this time (RFC 3339), not up to now.
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
}

/// What numbers are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StatBy {
    /// Services that are called.
    Service,
    /// Workloads, such as `reviews-v1`.
    Workload,
    /// Apps, such as `reviews` in all versions.
    App,
    /// Namespaces.
    Namespace,
}

impl StatBy {
    /// Its word in the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Workload => "workload",
            Self::App => "app",
            Self::Namespace => "namespace",
        }
    }
}

/// Which figures, when, and in which form.
#[derive(Debug, Clone, Args)]
pub struct Figures {
    /// Only of this namespace, at either end of what is between two (default: all).
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// Only what this workload sends: `NAMESPACE/NAME`, or `NAME` of the namespace `default`.
    #[arg(long, value_name = "WORKLOAD")]
    pub from: Option<String>,
    #[command(flatten)]
    pub window: Window,
    /// The form of the answer.
    #[arg(long, short, value_enum, default_value_t = Form::Text)]
    pub output: Form,
}

#[derive(Debug, Args)]
pub struct StatArgs {
    /// What the rows are.
    #[arg(value_enum, default_value_t = StatBy::Workload)]
    pub by: StatBy,
    /// Only this one.
    pub name: Option<String>,
    /// Only what is sent to this workload.
    #[arg(long, value_name = "WORKLOAD")]
    pub to: Option<String>,
    /// What they send, in place of what they get.
    #[arg(long)]
    pub outbound: bool,
    #[command(flatten)]
    pub figures: Figures,
}

#[derive(Debug, Args)]
pub struct RoutesArgs {
    /// The service, by its name or host (default: all).
    pub service: Option<String>,
    #[command(flatten)]
    pub figures: Figures,
}

#[derive(Debug, Args)]
pub struct EdgesArgs {
    /// Only to this workload.
    #[arg(long, value_name = "WORKLOAD")]
    pub to: Option<String>,
    #[command(flatten)]
    pub figures: Figures,
}

/// Which requests.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// From this workload.
    #[arg(long, value_name = "WORKLOAD")]
    pub from: Option<String>,
    /// To this workload, or to a service by its host.
    #[arg(long, value_name = "WORKLOAD|HOST")]
    pub to: Option<String>,
    /// With this method.
    #[arg(long)]
    pub method: Option<String>,
    /// With a path that begins so.
    #[arg(long, value_name = "PREFIX")]
    pub path: Option<String>,
    /// To this authority; `*` at its end stands for anything.
    #[arg(long, value_name = "HOST")]
    pub authority: Option<String>,
    /// With this status, such as `503` or `5xx`.
    #[arg(long)]
    pub status: Option<String>,
    /// That took at least so long.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub slower_than: Option<Duration>,
    /// The most a second of each proxy; more are counted and not shown.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub per_second: u32,
}

#[derive(Debug, Args)]
pub struct TapArgs {
    #[command(flatten)]
    pub which: Which,
    /// With headers. Values that are secret are not shown.
    #[arg(long)]
    pub headers: bool,
    /// With so many bytes of each body, from proxies that were started with `--tap-bodies`.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub bodies: u32,
    /// As many, then end.
    #[arg(long, value_name = "COUNT")]
    pub count: Option<usize>,
    /// The form: a line each, or JSON, one document a line.
    #[arg(long, short, value_enum, default_value_t = Form::Text)]
    pub output: Form,
}

#[derive(Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    pub which: Which,
    /// Paths as they are, with what stands for ids in them (default: numbers and ids become `*`).
    #[arg(long)]
    pub raw_paths: bool,
    /// Look for so long, print a table, and end (default where the output is no terminal: 5s).
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub period: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct TraceArgs {
    /// The trace to show (default: search).
    pub trace: Option<String>,
    /// That this service took part in.
    #[arg(long)]
    pub service: Option<String>,
    /// With a span of this name.
    #[arg(long, value_name = "NAME")]
    pub operation: Option<String>,
    /// That took at least so long.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub slower_than: Option<Duration>,
    /// In which something failed.
    #[arg(long)]
    pub errors: bool,
    /// With a span that has this attribute, such as `http.response.status_code=503`.
    #[arg(long, value_name = "KEY=VALUE")]
    pub tag: Option<String>,
    /// So many, the newest.
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    pub last: usize,
    /// The form of the answer.
    #[arg(long, short, value_enum, default_value_t = Form::Text)]
    pub output: Form,
}

/// How the nodes of a graph are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GraphKind {
    /// One for each workload.
    Workload,
    /// One for each app.
    App,
    /// One for each version of an app.
    VersionedApp,
    /// One for each service.
    Service,
}

impl GraphKind {
    /// Its word in the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Workload => "workload",
            Self::App => "app",
            Self::VersionedApp => "versionedApp",
            Self::Service => "service",
        }
    }
}

/// The form of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PictureForm {
    /// For Graphviz.
    Dot,
    /// As the API gives it.
    Json,
    /// For Mermaid, as in Markdown.
    Mermaid,
    /// For Netflix' Vizceral.
    Vizceral,
}

impl PictureForm {
    /// Its word in the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Dot => "dot",
            Self::Json => "json",
            Self::Mermaid => "mermaid",
            Self::Vizceral => "vizceral",
        }
    }
}

#[derive(Debug, Args)]
pub struct GraphArgs {
    /// What the nodes are.
    #[arg(long = "type", value_enum, default_value_t = GraphKind::Workload)]
    pub kind: GraphKind,
    /// Only of these namespaces (default: all).
    #[arg(long, short, value_delimiter = ',')]
    pub namespace: Vec<String>,
    #[command(flatten)]
    pub window: Window,
    /// The form.
    #[arg(long, short, value_enum, default_value_t = PictureForm::Dot)]
    pub output: PictureForm,
}

#[derive(Debug, Args)]
pub struct DashboardArgs {
    /// Print the address, with a key that is good once and for five minutes, and open no browser.
    #[arg(long)]
    pub print: bool,
}

/// What a proxy tells of exchanges that somebody looks at.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What is told of requests that somebody taps")]
pub struct TellArgs {
    /// A further header whose values are secrets, and not told; tokens, cookies and keys never are.
    #[arg(long = "redact-header", value_name = "NAME", value_parser = header_name)]
    pub redact_headers: Vec<String>,
    /// Beginnings of bodies may be told (`halcyon tap --bodies`).
    #[arg(long)]
    pub tap_bodies: bool,
}
