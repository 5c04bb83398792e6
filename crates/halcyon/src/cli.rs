//! What can be typed. What it does is in `commands`.

mod access;
mod authz;
mod bundle;
mod ca;
mod certificates;
mod control;
mod metrics;
mod mtls;
mod observe;
mod traffic;
mod values;
mod why;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ::control::registration::{RegisteredClientCert, RegisteredCompression, RegisteredEdge, RegisteredProfile};
use clap::{Args, Parser, Subcommand, ValueEnum};

pub use access::{ApiArgs, AuditArgs, AuditCommand, Remote, TokenCommand, UserArgs, UserCommand, UserTokensCommand};
pub use authz::{AuthzCheckArgs, AuthzCommand, AuthzGraphArgs, GraphForm};
pub use bundle::BundleArgs;
pub use ca::{CaCommand, RotateArgs};
pub use certificates::CertificateArgs;
pub use control::{ControlArgs, OutboundPolicy};
pub use metrics::{MetricsArgs, MetricsAt};
pub use mtls::{MtlsCommand, MtlsPlanArgs};
pub use observe::{
    DashboardArgs, EdgesArgs, Figures, GraphArgs, RoutesArgs, StatArgs, TapArgs, TellArgs, TopArgs, TraceArgs, Which,
    Window,
};
pub use traffic::TrafficArgs;
pub use values::{AccessLog, Locality, Port, Ready, Target, Upstream};
use values::{duration, existing_file, header, label, locality, port, port_pair, ready, target, upstream};
pub use why::WhyArgs;

/// A service mesh that explains itself: traffic rules, mutual TLS and a picture of it all, from Istio's own YAML.
#[derive(Debug, Parser)]
#[command(name = "halcyon", version, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    pub place: Place,
    #[command(subcommand)]
    pub command: Command,
}

/// Which control plane.
#[derive(Debug, Clone, Args)]
pub struct Place {
    /// Where the control plane keeps its data, and its socket (default: $XDG_DATA_HOME/halcyon or
    /// ~/.local/share/halcyon).
    #[arg(long, global = true, env = "HALCYON_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    #[command(flatten)]
    pub remote: Remote,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run Bookinfo through the mesh on this machine.
    Demo(DemoArgs),
    /// Run the control plane.
    Control(ControlArgs),
    /// Put a program into the mesh, unchanged.
    Run(Box<RunArgs>),
    /// Run a gateway at the edge of the mesh.
    Gateway(GatewayArgs),
    /// Create or change resources: all of them, or none if one is wrong.
    Apply(ApplyArgs),
    /// Show resources.
    Get(GetArgs),
    /// Delete resources.
    Delete(DeleteArgs),
    /// Show what `apply` would change.
    Diff(FilesArgs),
    /// Check documents without a control plane: exit code 0 if accepted, 1 if refused.
    Validate(ValidateArgs),
    /// Look for what cannot work: names that lead nowhere, rules that are never reached or contradict each other, by
    /// Istio's codes. Exit code 1 if there is an error.
    Analyze(AnalyzeArgs),
    /// What a request would meet: listener, route, cluster, endpoints and policies, and why each other rule was passed over.
    Explain(ExplainArgs),
    /// Who may do what, by AuthorizationPolicies: one request judged, or all callers and services.
    #[command(subcommand)]
    Authz(AuthzCommand),
    /// Write Istio's old roles (`rbac.istio.io`) and Consul's intentions as AuthorizationPolicies that mean the same, with where
    /// each rule comes from. What cannot be kept is told with its place, and lets less pass, never more. The Services are needed
    /// too, since roles are for services and policies for workloads.
    Convert(ConvertArgs),
    /// What applying files would do to routes and proxies. Nothing is changed.
    Plan(PlanArgs),
    /// Every proxy: what it runs, and what it refused.
    Status(StatusArgs),
    /// What one proxy really runs.
    ProxyConfig(ProxyConfigArgs),
    /// Open the dashboard in a browser.
    Dashboard(DashboardArgs),
    /// Requests per second, success, latency and bytes: of services, workloads, apps or namespaces.
    Stat(StatArgs),
    /// The same for each route of a service.
    Routes(RoutesArgs),
    /// Who calls whom, with what identity, and whether by mutual TLS.
    Edges(EdgesArgs),
    /// The busiest paths, live.
    Top(TopArgs),
    /// Requests as they pass, live.
    Tap(TapArgs),
    /// Traces: search for them, or show one.
    Trace(TraceArgs),
    /// The graph of who calls whom, as a picture or as data.
    Graph(GraphArgs),
    /// The certificate authority: its roots, and their exchange.
    #[command(subcommand)]
    Ca(CaCommand),
    /// Tokens by which workloads of other machines join.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Users of the control plane's API, what they may do, and their tokens.
    #[command(subcommand)]
    User(UserCommand),
    /// Who changed what, and who was refused.
    Audit(AuditArgs),
    /// The way to mutual TLS: who still sends plain text, and the steps after which nobody may.
    #[command(subcommand)]
    Mtls(MtlsCommand),
    /// Why a request was refused or failed: who said so, which rule of which document decided, and what to do. Without an id
    /// the newest refusals. Exit code 1 if nothing is known of the request.
    Why(WhyArgs),
    /// Completion for a shell, to be sourced.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Where the gateway listens.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub gateway: SocketAddr,
    /// Where the dashboard is served, on a loopback address
    /// (default: 127.0.0.1:20001, or another port where that is in use).
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub dashboard: Option<SocketAddr>,
    /// Requests per second of the gentle load; 0 for none.
    #[arg(long, default_value_t = 2.0)]
    pub load: f64,
    /// Keep data, logs and process numbers there, and leave them there (default: a temporary folder that is removed).
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Let a stock Envoy be the sidecar of this workload, such as `details-v1=/usr/bin/envoy`.
    #[arg(long, value_name = "WORKLOAD=PROGRAM")]
    pub stock_envoy: Option<String>,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The service that the program is an instance of.
    #[arg(long)]
    pub service: String,
    /// Its version: the label `version`.
    #[arg(long, default_value = "v1")]
    pub version: String,
    /// A port on which the program listens, with the name that declares its protocol: `9080`, `9080:http`, `50051:grpc`,
    /// `3306:tcp`. May be said several times.
    #[arg(long = "port", value_name = "PORT[:NAME]", value_parser = port)]
    pub ports: Vec<Port>,
    /// When the program is ready and gets requests: `tcp`, as soon as each --port takes a connection; `http:PATH`, as soon
    /// as a GET of that path at the first --port (or `http:PORT/PATH`) is answered with 200 to 399, and as long as it is;
    /// `none`, at once (default: `tcp`; with --envoy: `none`).
    #[arg(long, value_name = "tcp|http:PATH|none", value_parser = ready)]
    pub ready: Option<Ready>,
    /// On SIGTERM, how long others may take to hear that the workload leaves, before the program gets the signal; 0s: at
    /// once, as with --envoy.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub leave_delay: std::time::Duration,
    /// The namespace.
    #[arg(long, short, default_value = "default")]
    pub namespace: String,
    /// The service account that its identity is made of (default: that of a Deployment with the same labels, else
    /// `default`).
    #[arg(long, value_name = "NAME")]
    pub service_account: Option<String>,
    /// The WorkloadGroup of its namespace that it belongs to: what this says of labels, service account, locality, weight,
    /// ports and readiness (its probe) holds, unless it is said here.
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// A further label of the workload.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Where it runs, `region/zone/subzone` or the first parts of it (default: what the labels topology.kubernetes.io/region,
    /// topology.kubernetes.io/zone and topology.istio.io/subzone say).
    #[arg(long, value_name = "REGION[/ZONE[/SUBZONE]]", value_parser = locality)]
    pub locality: Option<Locality>,
    /// How its outgoing connections reach the sidecar.
    #[arg(long, value_enum, default_value_t = Capture::Auto)]
    pub capture: Capture,
    /// Without capture: an upstream under a local port, `ratings:9080` or `ratings:9080=19080`.
    #[arg(long = "upstream", value_name = "SERVICE:PORT[=LOCAL]", value_parser = upstream)]
    pub upstreams: Vec<Upstream>,
    /// The sidecar's address (default: a free one of 127.64.0.0/10).
    #[arg(long)]
    pub address: Option<IpAddr>,
    /// The worker threads of the sidecar (default: the `concurrency` of a ProxyConfig or of the mesh's settings, else 1).
    #[arg(long)]
    pub workers: Option<usize>,
    /// What the sidecar knows of the mesh: what its program calls, asked for when it is called first; or all of it at once.
    /// A stock Envoy always has `full`.
    #[arg(long, value_enum, default_value_t = Discovery::OnDemand)]
    pub discovery: Discovery,
    /// Another proxy as the sidecar: the path of a stock Envoy.
    #[arg(long, value_name = "PROGRAM")]
    pub envoy: Option<PathBuf>,
    /// A file for the sidecar's own output (default: with the program's).
    #[arg(long, value_name = "FILE")]
    pub sidecar_log: Option<PathBuf>,
    #[command(flatten)]
    pub metrics: MetricsArgs,
    #[command(flatten)]
    pub tell: TellArgs,
    #[command(flatten)]
    pub traffic: TrafficArgs,
    #[command(flatten)]
    pub join: Join,
    /// The program and its arguments.
    #[arg(required = true, last = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,
}

/// How a workload of another machine joins.
#[derive(Debug, Clone, Args)]
pub struct Join {
    /// The control plane of another machine, `host:15012`; needs --trust-bundle, and --token-file with a token that
    /// `halcyon token create` printed there.
    #[arg(long, value_name = "HOST:PORT", requires = "trust_bundle")]
    pub control: Option<String>,
    /// A file with the roots that the control plane's certificate is checked against.
    #[arg(long, value_name = "FILE")]
    pub trust_bundle: Option<PathBuf>,
    /// The trust domain of that control plane.
    #[arg(long, value_name = "NAME", default_value = "cluster.local")]
    pub trust_domain: String,
    #[command(flatten)]
    pub certificates: CertificateArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Capture {
    /// In a namespace if that is possible, else not, and say so.
    Auto,
    /// In a network namespace of its own, or fail.
    Namespace,
    /// Not: the program runs on the host's network and names its upstreams.
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Discovery {
    /// What is needed, when it is needed.
    OnDemand,
    /// Everything.
    Full,
}

#[derive(Debug, Args)]
pub struct GatewayArgs {
    /// The gateway's name.
    #[arg(long, default_value = "ingressgateway")]
    pub name: String,
    /// The namespace.
    #[arg(long, short, default_value = "default")]
    pub namespace: String,
    /// Labels that `Gateway` documents select it by (default: istio=NAME).
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Where it runs, `region/zone/subzone` or the first parts of it (default: what the labels topology.kubernetes.io/region,
    /// topology.kubernetes.io/zone and topology.istio.io/subzone say).
    #[arg(long, value_name = "REGION[/ZONE[/SUBZONE]]", value_parser = locality)]
    pub locality: Option<Locality>,
    /// The address on which the ports of `Gateway` documents are opened.
    #[arg(long, default_value = "127.0.0.1")]
    pub bind: IpAddr,
    /// A port opened elsewhere than the document says, `80=8080`, for who may not open low ports.
    #[arg(long = "map", value_name = "PORT=PORT", value_parser = port_pair)]
    pub map: Vec<(u16, u16)>,
    /// Proxies in front of it whose `x-forwarded-for` is believed.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub trusted_proxies: u32,
    /// What stands in front of it speaks the PROXY protocol (version 1 or 2): every connection has to begin with its
    /// header, whose addresses count.
    #[arg(long)]
    pub proxy_protocol: bool,
    /// What becomes of the header x-forwarded-client-cert.
    #[arg(long, value_enum, default_value_t = ClientCert::SanitizeSet)]
    pub forward_client_cert: ClientCert,
    /// A database of MaxMind's format (GeoLite2 City, or one of countries) that says where clients are: requests get the
    /// headers x-geo-country, x-geo-region and x-geo-city, and `GeoRoute` documents count. Read again when it changes.
    #[arg(long, value_name = "FILE", value_parser = existing_file)]
    pub geo_database: Option<String>,
    /// It faces everybody: bounds on times and streams, and no doubtful paths and headers (Istio's profile EDGE).
    #[arg(long)]
    pub edge: bool,
    /// Compress responses for clients that accept it; of encodings that a client takes as gladly the first here is used.
    #[arg(long, value_name = "ENCODINGS", value_enum, value_delimiter = ',')]
    pub compress: Vec<Encoding>,
    /// Take gRPC-Web, the form in which browsers speak gRPC.
    #[arg(long)]
    pub grpc_web: bool,
    /// Tell whoever asks by the header x-halcyon-explain why a request came to nothing, in x-halcyon-reason. That names
    /// hosts and addresses within.
    #[arg(long)]
    pub explain: bool,
    /// The worker threads (default: the `concurrency` of a ProxyConfig or of the mesh's settings, else 1).
    #[arg(long)]
    pub workers: Option<usize>,
    #[command(flatten)]
    pub tell: TellArgs,
    #[command(flatten)]
    pub join: Join,
}

/// How responses are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Encoding {
    /// Everybody understands it.
    Gzip,
    /// Brotli: smaller.
    Br,
    /// Zstandard: quicker.
    Zstd,
}

/// What becomes of the header x-forwarded-client-cert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClientCert {
    /// It is dropped.
    Sanitize,
    /// It is passed on from mutual TLS.
    ForwardOnly,
    /// Ours is appended to it on mutual TLS.
    AppendForward,
    /// Ours takes its place on mutual TLS.
    SanitizeSet,
    /// It is passed on.
    AlwaysForwardOnly,
}

impl GatewayArgs {
    /// The place where it stands, as the control plane is told.
    pub fn edge(&self) -> RegisteredEdge {
        let details = match self.forward_client_cert {
            ClientCert::Sanitize => Some(RegisteredClientCert::Sanitize),
            ClientCert::ForwardOnly => Some(RegisteredClientCert::ForwardOnly),
            ClientCert::AppendForward => Some(RegisteredClientCert::AppendForward),
            // The default.
            ClientCert::SanitizeSet => None,
            ClientCert::AlwaysForwardOnly => Some(RegisteredClientCert::AlwaysForwardOnly),
        };
        RegisteredEdge {
            num_trusted_proxies: self.trusted_proxies,
            proxy_protocol: self.proxy_protocol,
            forward_client_cert_details: details,
            geo_database: self.geo_database.clone(),
            profile: self.edge.then_some(RegisteredProfile::Edge),
            compress: self.encodings(),
            grpc_web: self.grpc_web,
        }
    }

    /// The encodings, each once.
    fn encodings(&self) -> Vec<RegisteredCompression> {
        let mut all = Vec::new();
        for encoding in &self.compress {
            let encoding = match encoding {
                Encoding::Gzip => RegisteredCompression::Gzip,
                Encoding::Br => RegisteredCompression::Br,
                Encoding::Zstd => RegisteredCompression::Zstd,
            };
            if !all.contains(&encoding) {
                all.push(encoding);
            }
        }
        all
    }

    /// The labels, with the default where none was said.
    pub fn all_labels(&self) -> BTreeMap<String, String> {
        match self.labels.is_empty() {
            true => [("istio".to_owned(), self.name.clone()), ("app".to_owned(), self.name.clone())].into(),
            false => self.labels.iter().cloned().collect(),
        }
    }
}

#[derive(Debug, Args)]
pub struct FilesArgs {
    /// A file, a directory of `.yaml`, `.yml` and `.json` files, or `-` for standard input. May be said several times.
    #[arg(long = "filename", short = 'f', required = true, value_name = "FILE|DIR|-")]
    pub files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    pub files: FilesArgs,
    /// Refuse warnings too.
    #[arg(long)]
    pub strict: bool,
    /// Only say what would happen.
    #[arg(long)]
    pub dry_run: bool,
    /// The namespace of documents that name none.
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// The form of the answer.
    #[arg(long, short, value_enum, default_value_t = Form::Text)]
    pub output: Form,
}

#[derive(Debug, Args)]
pub struct ValidateArgs {
    #[command(flatten)]
    pub files: FilesArgs,
    /// Refuse warnings too.
    #[arg(long)]
    pub strict: bool,
    /// The form of the answer.
    #[arg(long, short, value_enum, default_value_t = Form::Text)]
    pub output: Form,
}

#[derive(Debug, Args)]
pub struct AnalyzeArgs {
    /// Files to look at, without a control plane; otherwise all that is applied.
    #[arg(long = "filename", short = 'f', value_name = "FILE|DIR|-")]
    pub files: Vec<PathBuf>,
    /// More files.
    #[arg(value_name = "FILE|DIR|-")]
    pub more: Vec<PathBuf>,
    /// The namespace of documents that name none.
    #[arg(long, short, default_value = "default")]
    pub namespace: String,
    /// Leave out a code, or a code of one resource: `IST0118`, `IST0101=VirtualService/default/reviews`; `*` stands for any
    /// text. May be said several times.
    #[arg(long, value_name = "CODE[=RESOURCE]")]
    pub suppress: Vec<String>,
    /// From which level on the exit code is 1.
    #[arg(long, value_enum, default_value_t = Threshold::Error)]
    pub failure_threshold: Threshold,
    /// Only list the codes and what they mean.
    #[arg(long, short = 'L')]
    pub list_all: bool,
    /// The form of the answer.
    #[arg(long, short, value_enum, default_value_t = Form::Text)]
    pub output: Form,
}

#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// Files to convert, with the Services that they name, without a control plane; otherwise all that is applied.
    #[arg(long = "filename", short = 'f', value_name = "FILE|DIR|-")]
    pub files: Vec<PathBuf>,
    /// The namespace of documents that name none.
    #[arg(long, short, default_value = "default")]
    pub namespace: String,
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Who sends the request: a workload, a service (any of its workloads), or a gateway.
    #[arg(long, value_name = "NAME")]
    pub from: String,
    /// Where to, `ratings:9080`; the port may be left out if the service has only one.
    #[arg(long, value_name = "HOST[:PORT]", value_parser = target)]
    pub to: Target,
    /// The namespace of the caller.
    #[arg(long, short, default_value = "default")]
    pub namespace: String,
    /// The method.
    #[arg(long, short = 'X', default_value = "GET")]
    pub method: String,
    /// The path, with its query.
    #[arg(long, default_value = "/")]
    pub path: String,
    /// A header. May be said several times.
    #[arg(long = "header", short = 'H', value_name = "NAME:VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// The authority (`Host`), if it is not the host.
    #[arg(long, value_name = "HOST")]
    pub authority: Option<String>,
    /// The server name, for a caller that speaks TLS.
    #[arg(long, value_name = "HOST")]
    pub sni: Option<String>,
    /// Ask about these files, without a control plane.
    #[arg(long = "filename", short = 'f', value_name = "FILE|DIR|-")]
    pub files: Vec<PathBuf>,
    /// The form of the answer.
    #[arg(long, short, value_enum, default_value_t = Form::Text)]
    pub output: Form,
}

#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub files: FilesArgs,
    /// The namespace of documents that name none.
    #[arg(long, short)]
    pub namespace: Option<String>,
    /// The form of the answer.
    #[arg(long, short, value_enum, default_value_t = Form::Text)]
    pub output: Form,
}

/// How bad a problem has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Threshold {
    Info,
    Warning,
    Error,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Debug, Args)]
pub struct GetArgs {
    /// The kind, such as `virtualservices`, `vs`, or `all`.
    pub kind: String,
    /// One resource of it.
    pub name: Option<String>,
    /// The namespace.
    #[arg(long, short, default_value = "default")]
    pub namespace: String,
    /// Every namespace.
    #[arg(long, short = 'A')]
    pub all_namespaces: bool,
    /// The form of the answer.
    #[arg(long, short, value_enum, default_value_t = GetForm::Table)]
    pub output: GetForm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GetForm {
    /// A table.
    Table,
    /// A table with more columns.
    Wide,
    /// The documents as YAML.
    Yaml,
    /// The documents as JSON.
    Json,
}

#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// The kind.
    #[arg(required_unless_present = "files")]
    pub kind: Option<String>,
    /// The resources.
    pub names: Vec<String>,
    /// The namespace.
    #[arg(long, short, default_value = "default")]
    pub namespace: String,
    /// All resources of the kind in the namespace.
    #[arg(long)]
    pub all: bool,
    /// What these files define.
    #[arg(long = "filename", short = 'f', value_name = "FILE|DIR|-")]
    pub files: Vec<PathBuf>,
    /// It is no error if something is not there.
    #[arg(long)]
    pub ignore_not_found: bool,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The form of the answer.
    #[arg(long, short, value_enum, default_value_t = Form::Text)]
    pub output: Form,
}

#[derive(Debug, Args)]
pub struct ProxyConfigArgs {
    /// What of it.
    #[arg(value_enum)]
    pub part: Part,
    /// The proxy: its node id, or a part of it that no other has.
    pub node: String,
    /// The form of the answer.
    #[arg(long, short, value_enum, default_value_t = Form::Text)]
    pub output: Form,
}

/// A part of a proxy's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    Listeners,
    Routes,
    Clusters,
    Endpoints,
    Secrets,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn no_two_options_have_one_name() {
        Cli::command().debug_assert();
    }

    #[test]
    fn users_and_servers() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        let cli =
            parse("halcyon user add otto --role operator -n shop,web --server https://a:1 --token-file t").unwrap();
        assert_eq!(
            (cli.place.remote.server.as_deref(), cli.place.remote.token_file),
            (Some("https://a:1"), Some("t".into()))
        );
        let Command::User(UserCommand::Add(args)) = cli.command else { panic!("{:?}", cli.command) };
        assert_eq!(
            (args.role, args.namespaces),
            (::control::v1::Role::Operator, vec!["shop".to_owned(), "web".to_owned()])
        );
        let cli = parse("halcyon run --control c:15012 --token-file t --trust-bundle r --service s -- p").unwrap();
        assert_eq!(cli.place.remote.token_file, Some("t".into()));
        assert!(parse("halcyon user add otto --role king").unwrap_err().to_string().contains("expected `viewer`"));
        assert!(parse("halcyon control --api-cert a --api-key b").is_err(), "without an address");
        assert!(
            matches!(parse("halcyon audit verify").unwrap().command, Command::Audit(args) if args.command.is_some())
        );
    }
}
