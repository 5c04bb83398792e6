//! The command line: [`Options`] is what people type, [`Plan`] what it means, and one function between them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;

use crate::access;
use crate::control::{self, Sizes};
use crate::machine::Cores;
use crate::observe;
use crate::scenario::{self, Peer, Scenario};
use crate::scrape;

/// halcyon-proxy beside Envoy, HAProxy and nginx: cost per request, byte and connection, latency, memory and start, side by
/// side.
///
/// The proxy has one core for itself, load and origin have the others. Rounds are interleaved, and figures are medians.
/// CPU per request (MB, connection) is the main figure: it does not depend on whether the load keeps up. A run of everything
/// takes long: rows are chosen with --scenario.
///
/// With --instructions or --profile only ours runs, and something else is measured; see there.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
pub struct Options {
    /// Run only this scenario; may be repeated (see --list).
    #[arg(long)]
    scenario: Vec<String>,
    /// Run only this peer; may be repeated. Ratios need ours and another.
    #[arg(long, value_enum)]
    peer: Vec<Peer>,
    /// Rounds for each peer in each scenario.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds that are measured in each round, after a second to warm up.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Scenario `control`: services.
    #[arg(long, default_value_t = 1000)]
    services: usize,
    /// Scenario `control`: proxies.
    #[arg(long, default_value_t = 2000)]
    proxies: usize,
    /// Scenario `control`: services in a namespace; a proxy sees those of its own.
    #[arg(long, default_value_t = 30)]
    group: usize,
    /// Scenario `control`: seconds with 100 changes each.
    #[arg(long, default_value_t = 10.0)]
    storm: f64,
    /// Scenario `control`: how often each single change is made.
    #[arg(long, default_value_t = 20)]
    repeats: usize,
    /// Scenario `control`: also 100 to 10,000 services with as many proxies.
    #[arg(long)]
    curve: bool,
    /// Scenario `control`: also with every proxy seeing every service.
    #[arg(long)]
    unscoped: bool,
    /// The core of the proxy; the last one unless given.
    #[arg(long)]
    proxy_core: Option<usize>,
    /// Ours does not tell its control plane what it carries: what the same costs without.
    #[arg(long)]
    untold: bool,
    /// The folder with halcyon-proxy; the bench's own unless given.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Count ours' instructions for each request with callgrind, in place of all else. Scenarios are h1, h2-h1, h2-h2, tcp and
    /// mtls-pair unless given. Needs valgrind.
    #[arg(long, conflicts_with = "profile")]
    instructions: bool,
    /// Write a flame graph (SVG) of ours under the one scenario that is given, in place of all else. Needs perf; `cargo xtask
    /// profile` builds what it needs and calls this.
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Write all figures as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the tables as Markdown.
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Say which scenarios there are.
    #[arg(long)]
    list: bool,
}

/// The options after they were checked and completed.
#[derive(Debug)]
pub struct Plan {
    /// What is measured.
    pub scenarios: Vec<Scenario>,
    /// Decisions by rules of access are measured.
    pub access: bool,
    /// Scrapes are measured.
    pub scrape: bool,
    /// What it costs to keep what the mesh saw is measured.
    pub observe: bool,
    /// What is measured of the control plane, if anything.
    pub control: Option<Sizes>,
    /// Whom.
    pub peers: Vec<Peer>,
    /// How often.
    pub rounds: usize,
    /// For how long each time.
    pub window: Duration,
    /// Who runs where.
    pub cores: Cores,
    /// The folder with halcyon-proxy.
    pub programs: PathBuf,
    /// Ours tells nothing of what it carries.
    pub untold: bool,
    /// In which way.
    pub mode: Mode,
    /// Where JSON goes.
    pub json: Option<PathBuf>,
    /// Where Markdown goes.
    pub markdown: Option<PathBuf>,
    /// Only say what there is.
    pub list: bool,
}

/// In which way the scenarios are run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Side by side.
    Compare,
    /// Ours under callgrind.
    Instructions,
    /// Ours under perf, and the graph goes there.
    Profile(PathBuf),
}

/// The scenarios whose instructions are counted unless others are asked for.
const COUNTED: [&str; 5] = ["h1", "h2-h1", "h2-h2", "tcp", "mtls-pair"];

impl Options {
    /// Checks and completes.
    ///
    /// # Errors
    /// When an option makes no sense, or the machine has one core only.
    pub fn resolve(self) -> anyhow::Result<Plan> {
        if !(1..=1000).contains(&self.rounds) {
            bail!("--rounds {}: expected 1 to 1000", self.rounds);
        }
        if !(0.1..=3600.0).contains(&self.seconds) {
            bail!("--seconds {}: expected 0.1 to 3600", self.seconds);
        }
        let control = self.control()?.filter(|_| !self.instructions && self.profile.is_none());
        let own = std::env::current_exe().context("cannot find the bench's own folder; give --programs")?;
        let beside = own.parent().map(PathBuf::from).unwrap_or_default();
        let mut peers = if self.peer.is_empty() { Peer::ALL.to_vec() } else { self.peer };
        peers.sort();
        peers.dedup();
        let mode = match (self.instructions, self.profile) {
            (_, Some(file)) => Mode::Profile(file),
            (true, None) => Mode::Instructions,
            (false, None) => Mode::Compare,
        };
        let mut names = self.scenario;
        if mode == Mode::Instructions && names.is_empty() {
            names = COUNTED.map(String::from).into();
        }
        let scenarios = chosen(&names)?;
        if mode != Mode::Compare {
            peers = vec![Peer::Halcyon];
            if let Some(other) = scenarios.iter().find(|scenario| scenario.measure.shape().is_none()) {
                bail!(
                    "--scenario {}: it has no steady load; expected another with --instructions and --profile",
                    other.name
                );
            }
        }
        if matches!(mode, Mode::Profile(_)) && scenarios.len() != 1 {
            bail!("--profile: expected one --scenario with it");
        }
        let apart = |of: &str| mode == Mode::Compare && (names.is_empty() || names.iter().any(|name| name == of));
        Ok(Plan {
            scenarios,
            access: apart(access::NAME),
            scrape: apart(scrape::NAME),
            observe: apart(observe::NAME),
            mode,
            control,
            peers,
            rounds: self.rounds,
            window: Duration::from_secs_f64(self.seconds),
            cores: Cores::choose(self.proxy_core)?,
            untold: self.untold,
            programs: self.programs.unwrap_or(beside),
            json: self.json,
            markdown: self.markdown,
            list: self.list,
        })
    }
}

impl Options {
    /// What the control plane is measured with; none if only other scenarios are asked for.
    fn control(&self) -> anyhow::Result<Option<Sizes>> {
        for (option, value) in [
            ("--services", self.services),
            ("--proxies", self.proxies),
            ("--group", self.group),
            ("--repeats", self.repeats),
        ] {
            if !(1..=60_000).contains(&value) {
                bail!("{option} {value}: expected 1 to 60000");
            }
        }
        if !(0.0..=3600.0).contains(&self.storm) {
            bail!("--storm {}: expected 0 to 3600 seconds", self.storm);
        }
        let wanted = self.scenario.is_empty() || self.scenario.iter().any(|name| name == control::NAME);
        Ok(wanted.then(|| Sizes {
            services: self.services,
            proxies: self.proxies,
            group: self.group,
            unscoped: self.unscoped,
            curve: self.curve,
            storm: Duration::from_secs_f64(self.storm),
            repeats: self.repeats,
        }))
    }
}

/// Scenarios that are no row of the table.
const APART: [&str; 4] = [access::NAME, scrape::NAME, observe::NAME, control::NAME];

fn chosen(names: &[String]) -> anyhow::Result<Vec<Scenario>> {
    for name in names {
        if !APART.contains(&name.as_str()) && !scenario::ALL.iter().any(|s| s.name == name) {
            let known: Vec<&str> = scenario::ALL.iter().map(|s| s.name).chain(APART).collect();
            bail!("--scenario {name}: there is none of that name; expected one of {}", known.join(", "));
        }
    }
    let wanted = |s: &&Scenario| names.is_empty() || names.iter().any(|name| name == s.name);
    Ok(scenario::ALL.iter().filter(wanted).cloned().collect())
}
