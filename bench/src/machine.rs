//! The machine: its cores and who runs on which, how long each was busy, and what it is called.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

/// In what `/proc` counts coarse times: `USER_HZ`, which is 100 on every architecture that we run on.
pub const TICKS_PER_SECOND: f64 = 100.0;

/// Which cores run what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cores {
    /// The one that the proxy has for itself.
    pub proxy: usize,
    /// Load and origin.
    pub load: Vec<usize>,
}

impl Cores {
    /// The last core that we may use for the proxy, or the one asked for; all others for the rest.
    ///
    /// # Errors
    /// When we may not use two cores, or not the one that is asked for.
    pub fn choose(proxy: Option<usize>) -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None).context("cannot read which cores may be used")?;
        let mut load: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
        let Some(proxy) = proxy.or(load.last().copied()).filter(|core| load.contains(core)) else {
            bail!("--proxy-core: expected one of the cores that this process may use, {load:?}");
        };
        load.retain(|core| *core != proxy);
        if load.is_empty() {
            bail!("one core is not enough: expected two, one for the proxy and one for load and origin");
        }
        Ok(Self { proxy, load })
    }
}

/// The calling thread, and what it starts from now on, runs on these cores only.
///
/// # Errors
/// When the system refuses.
pub fn pin_to(cores: &[usize]) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on the cores {cores:?}"))
}

/// As many open files as the system allows, for us and for what we start; and as many as the largest scenario needs, if we
/// may say so.
///
/// # Errors
/// When the system refuses.
pub fn raise_file_limit() -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const WANTED: u64 = 65_536;
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: Some(WANTED), maximum: Some(WANTED) };
    if limit.maximum.is_some_and(|maximum| maximum < WANTED) && setrlimit(Resource::Nofile, wanted).is_ok() {
        return Ok(());
    }
    let limit = Rlimit { current: limit.maximum, ..limit };
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}

/// A thread of this process.
#[derive(Debug, Clone, Copy)]
pub struct ThreadId(i32);

impl ThreadId {
    /// The calling thread.
    pub fn own() -> Self {
        Self(rustix::thread::gettid().as_raw_nonzero().get())
    }

    /// How long it has run; zero when it is gone.
    pub fn run_time(self) -> Duration {
        run_time(&format!("/proc/self/task/{}/schedstat", self.0)).unwrap_or_default()
    }
}

/// The first number of a `schedstat` file: nanoseconds on a core, user and system together.
pub fn run_time(path: &str) -> Option<Duration> {
    let text = fs::read_to_string(path).ok()?;
    Some(Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?))
}

/// How long a core was busy since the machine started, whoever used it (`/proc/stat`, in ticks of usually 10 ms).
pub fn busy_time(core: usize) -> Option<Duration> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let name = format!("cpu{core} ");
    let line = text.lines().find_map(|line| line.strip_prefix(name.as_str()))?;
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|t| t.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal
    let busy = ticks.iter().take(8).sum::<u64>() - ticks.get(3)? - ticks.get(4)?;
    Some(Duration::from_secs_f64(busy as f64 / TICKS_PER_SECOND))
}

/// What the machine is called.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// As the processor says.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// The core of the proxy.
    pub proxy_core: usize,
    /// Name and release.
    pub kernel: String,
    /// In GiB.
    pub memory_gib: u64,
    /// The distribution.
    pub system: String,
}

impl Machine {
    /// Reads what the system says.
    pub fn read(cores: &Cores) -> Self {
        let names = rustix::system::uname();
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            line.map(|rest| rest.trim_start_matches([' ', '\t', ':', '=']).trim_matches('"').to_owned())
        };
        let kib = after(&text("/proc/meminfo"), "MemTotal").and_then(|t| t.split(' ').next()?.parse::<u64>().ok());
        Self {
            cpu: after(&text("/proc/cpuinfo"), "model name")
                .unwrap_or_else(|| names.machine().to_string_lossy().into()),
            cores: cores.load.len() + 1,
            proxy_core: cores.proxy,
            kernel: format!("{} {}", names.sysname().to_string_lossy(), kernel(&names.release().to_string_lossy())),
            memory_gib: (kib.unwrap_or_default() + (1 << 19)) >> 20,
            system: after(&text("/etc/os-release"), "PRETTY_NAME").unwrap_or_else(|| "unknown".into()),
        }
    }
}

/// The release without what a provider of machines added: `6.18.44-fc-v657` is `6.18.44`.
fn kernel(release: &str) -> &str {
    release.split_once('-').map_or(release, |(version, _)| version)
}
