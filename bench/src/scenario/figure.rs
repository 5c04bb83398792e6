//! The figures that are measured: what they mean, how they are called, and how they are written.

use serde::Serialize;

/// A figure that has a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Processor time for each request, in microseconds, user and system, of all processes on the path.
    CpuPerRequest,
    /// Its user part, by the kernel's coarse account.
    UserPerRequest,
    /// Its system part, likewise.
    SystemPerRequest,
    /// Answers per second under full load.
    RequestsPerSecond,
    /// Share of its core that the proxy used under full load, in percent. Well below 100: the load was at its end first.
    ProxyBusy,
    /// Core time that load and origin used under full load, in percent of one core. With one core for both, near 100 is
    /// their end.
    LoadBusy,
    /// Share of the proxy's core that others used meanwhile, in percent. Well above 0: the machine was not quiet.
    OthersBusy,
    /// Half of the requests at the fixed rate took at most so many milliseconds.
    P50,
    /// 99 of 100 did.
    P99,
    /// `P50` without what the way takes with no proxy at all.
    AddedP50,
    /// `P99` likewise.
    AddedP99,
    /// Resident memory in MB.
    Rss,
    /// The same, shared pages by their share.
    Pss,
    /// More resident memory in KB for each connection.
    PerConnection,
    /// Share of a core that is used with nothing to do, in percent.
    IdleCpu,
    /// Milliseconds from exec to the first answer.
    ToReady,
    /// System calls for each request, of all processes on the path.
    SystemCalls,
    /// Instructions in user space for each request, of all processes on the path.
    Instructions,
    /// Processor time for each MB of payload (10^6 bytes), in microseconds.
    CpuPerMegabyte,
    /// MB of payload per second under full load.
    Throughput,
    /// MB per second of the proxy's processor time: what a core could do.
    ThroughputPerCore,
    /// Processor time for each connection with its one request, in microseconds.
    CpuPerConnection,
    /// New connections per second under full load.
    ConnectionsPerSecond,
    /// New connections per second of the proxy's processor time: what a core could do.
    ConnectionsPerCore,
    /// Resident memory before a burst of connections, in MB.
    RssBefore,
    /// The same while they are there.
    RssDuring,
    /// The same a while after they have gone.
    RssAfter,
    /// `RssAfter` through `RssBefore`.
    AfterBurst,
    /// More resident memory for each idle cluster with its endpoints and its virtual host, in bytes.
    PerCluster,
    /// `CpuPerRequest` with 10 virtual hosts.
    Cpu10Hosts,
    /// With 100.
    Cpu100Hosts,
    /// With 1,000.
    Cpu1000Hosts,
    /// With 10,000.
    Cpu10000Hosts,
    /// `Cpu10000Hosts` through `Cpu10Hosts`.
    HostsRatio,
}

impl Figure {
    /// The head of its column.
    pub fn head(self) -> &'static str {
        match self {
            Self::CpuPerRequest => "CPU us/request",
            Self::UserPerRequest => "user us",
            Self::SystemPerRequest => "system us",
            Self::RequestsPerSecond => "requests/s",
            Self::ProxyBusy => "proxy core %",
            Self::LoadBusy => "load+origin %",
            Self::OthersBusy => "others on core %",
            Self::P50 => "p50 ms",
            Self::P99 => "p99 ms",
            Self::AddedP50 => "added p50 ms",
            Self::AddedP99 => "added p99 ms",
            Self::Rss => "RSS MB",
            Self::Pss => "PSS MB",
            Self::PerConnection => "KB/connection",
            Self::IdleCpu => "idle CPU %",
            Self::ToReady => "exec to ready ms",
            Self::SystemCalls => "system calls/request",
            Self::Instructions => "instructions/request",
            Self::CpuPerMegabyte => "CPU us/MB",
            Self::Throughput => "MB/s",
            Self::ThroughputPerCore => "MB/s per core",
            Self::CpuPerConnection => "CPU us/connection",
            Self::ConnectionsPerSecond => "connections/s",
            Self::ConnectionsPerCore => "connections/s per core",
            Self::RssBefore => "RSS MB before",
            Self::RssDuring => "RSS MB with them",
            Self::RssAfter => "RSS MB 10 s after",
            Self::AfterBurst => "after / before",
            Self::PerCluster => "bytes/idle cluster",
            Self::Cpu10Hosts => "CPU us/request, 10 hosts",
            Self::Cpu100Hosts => "100 hosts",
            Self::Cpu1000Hosts => "1,000 hosts",
            Self::Cpu10000Hosts => "10,000 hosts",
            Self::HostsRatio => "10,000 hosts / 10",
        }
    }

    /// Whether its range over the rounds is shown too.
    pub fn is_told_apart(self) -> bool {
        !matches!(
            self,
            Self::UserPerRequest | Self::SystemPerRequest | Self::ProxyBusy | Self::LoadBusy | Self::OthersBusy
        )
    }

    /// Digits behind the point.
    pub fn digits(self) -> usize {
        match self {
            Self::RequestsPerSecond | Self::ProxyBusy | Self::LoadBusy | Self::OthersBusy => 0,
            Self::Throughput | Self::ThroughputPerCore | Self::ConnectionsPerSecond | Self::ConnectionsPerCore => 0,
            Self::PerCluster | Self::Instructions => 0,
            Self::P50 | Self::P99 | Self::AddedP50 | Self::AddedP99 => 3,
            Self::IdleCpu | Self::AfterBurst | Self::HostsRatio | Self::SystemCalls => 2,
            _ => 1,
        }
    }
}

impl Figure {
    /// Whether it ends where load and origin are at their end, not the proxy.
    pub fn is_rate(self) -> bool {
        matches!(self, Self::RequestsPerSecond | Self::Throughput | Self::ConnectionsPerSecond)
    }
}
