//! What a control plane is started with.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::values::{access_log, duration, off};
use super::{AccessLog, ApiArgs, BundleArgs};

#[derive(Debug, Args)]
pub struct ControlArgs {
    /// A directory of YAML files that are part of the mesh, watched for changes.
    #[arg(long, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
    /// The trust domain of the mesh's identities.
    #[arg(long, default_value = "cluster.local")]
    pub trust_domain: String,
    /// Keep the authority's keys encrypted under the passphrase in this file; keys that are not yet become so.
    #[arg(long, value_name = "FILE")]
    pub ca_passphrase_file: Option<PathBuf>,
    /// The address of xDS, certificates and metrics; for other machines, one that they reach.
    #[arg(long, default_value = "127.0.0.1")]
    pub listen: IpAddr,
    /// The port of xDS and certificates over TLS; 0 takes a free one, as for the others.
    #[arg(long, default_value_t = 15012)]
    pub xds_port: u16,
    /// The port of plain xDS, always on 127.0.0.1.
    #[arg(long, default_value_t = 15010)]
    pub plain_xds_port: u16,
    /// The port of the control plane's own metrics and health.
    #[arg(long, default_value_t = 15014)]
    pub metrics_port: u16,
    /// What becomes of destinations that nobody knows.
    #[arg(long, value_enum, default_value_t = OutboundPolicy::AllowAny)]
    pub outbound_policy: OutboundPolicy,
    /// Access logs of all proxies: `text` or `json` (to /dev/stdout, Istio's default line in that form), `text:FILE` or
    /// `json:FILE`; a path alone is a file for text.
    #[arg(long, value_name = "off|text|json|FORM:FILE|FILE", default_value = "off", value_parser = access_log)]
    pub access_log: AccessLog,
    /// The life of workloads' certificates, such as `24h`.
    #[arg(long, default_value = "24h", value_parser = duration)]
    pub certificate_ttl: std::time::Duration,
    #[command(flatten)]
    pub doors: ApiArgs,
    #[command(flatten)]
    pub bundle: BundleArgs,
    /// Blocks of addresses from which no keys of tokens and no bundles of trust domains are fetched, such as
    /// `10.0.0.0/8,127.0.0.0/8`, whatever a RequestAuthentication or the mesh's settings say. Without it none is blocked, as in Istio.
    #[arg(long, value_name = "BLOCK", value_delimiter = ',')]
    pub blocked_key_networks: Vec<ipnet::IpNet>,
    /// How many refusals and failures, told by the proxies, are kept in memory for `halcyon why` (and at most 16 MiB of them);
    /// 0: none, and proxies do not tell of them.
    #[arg(long, default_value_t = 10_000, value_name = "COUNT")]
    pub refusals: usize,
    #[command(flatten)]
    pub limits: LimitArgs,
    #[command(flatten)]
    pub observe: ObserveArgs,
}

/// What the control plane keeps of the traffic, and shows.
#[derive(Debug, Args)]
#[command(next_help_heading = "What it keeps and shows of the traffic")]
pub struct ObserveArgs {
    /// Where the dashboard is served, on a loopback address (see `halcyon dashboard`); `off`: nowhere (default:
    /// 127.0.0.1:20001, or another port where that is in use).
    #[arg(long, value_name = "ADDRESS:PORT|off", value_parser = off::<SocketAddr>)]
    pub dashboard: Option<Maybe<SocketAddr>>,
    /// Where programs of this machine tell their spans, on a loopback address: OTLP by gRPC and by HTTP (`/v1/traces`), and
    /// Zipkin (`/api/v2/spans`) (default: nowhere).
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub spans: Option<SocketAddr>,
    /// The most bytes of history on disk, in MB: 15 s for 6 hours and 5 min for 14 days, as far as that is enough.
    #[arg(long, value_name = "MB", default_value_t = 2560)]
    pub history_size: u64,
    /// The most traces that are kept.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    pub traces: usize,
    /// Read history from this Prometheus, such as `http://127.0.0.1:9090`, and keep none here.
    #[arg(long, value_name = "URL")]
    pub prometheus: Option<http::Uri>,
}

/// Something, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Maybe<T>(pub Option<T>);

/// Rate limits that the control plane counts for all proxies.
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// A configuration file of Envoy's rate limit service (domain, descriptors), or a directory of such files: their limits
    /// are served to proxies, as those of `RateLimitPolicy` documents with `scope: global` are. Read again when they change.
    #[arg(long, value_name = "FILE|DIR")]
    pub ratelimit_config: Option<PathBuf>,
    /// Keep the counts in a Redis, such as `redis://127.0.0.1:6379`, which several control planes may share (default: here,
    /// written every 5 s and at the end).
    #[arg(long, value_name = "URL")]
    pub ratelimit_redis: Option<String>,
    /// Responses tell what is left of limits of files and ConfigMaps, too (RateLimit-Limit, -Remaining, -Reset).
    #[arg(long)]
    pub ratelimit_headers: bool,
    /// The address at which proxies reach the port of xDS over TLS to have requests counted (default: --listen with
    /// --xds-port; needed if that is 0.0.0.0 or [::]).
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub ratelimit_address: Option<SocketAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutboundPolicy {
    /// They are dialled as they are.
    AllowAny,
    /// They are refused.
    RegistryOnly,
}
