//! The data plane as a program: reads its bootstrap file, sets up its log, runs the library, ends with its signals.

mod envoy;
mod users;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use proxy::bootstrap::Bootstrap;
use proxy::{LogLevel, Options, Proxy};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::users::Users;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The data plane of the Halcyon service mesh.
#[derive(Debug, Parser)]
#[command(name = "halcyon-proxy", version)]
struct Arguments {
    /// The bootstrap file (JSON): who this proxy is and where its control plane is.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["config_path", "config_yaml"])]
    bootstrap: Option<PathBuf>,
    #[command(flatten)]
    envoy: envoy::Arguments,
    /// What is logged: error, warn, info or debug, also per part, such as `info,proxy::tcp=debug`. A released program has
    /// nothing at trace: it is taken and means debug.
    #[arg(long, short, visible_alias = "log-level", value_name = "LEVEL", env = "HALCYON_LOG", default_value = "info")]
    log: String,
    /// Log lines as JSON objects.
    #[arg(long)]
    log_json: bool,
    /// The number of an inherited file; when it reads end of file, the program ends.
    #[arg(long, value_name = "NUMBER", env = "HALCYON_LIFELINE_FD", hide = true)]
    lifeline_fd: Option<u32>,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, whatever is in it.
            let text = format!("{error:#}").replace('\n', " ");
            tracing::error!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let log_level = begin_log(&arguments)?;
    let bootstrap = match &arguments.bootstrap {
        Some(path) => Bootstrap::load(path)?,
        None => envoy::bootstrap(&arguments.envoy)?,
    };
    if arguments.envoy.only_validates() {
        return Ok(writeln!(std::io::stdout(), "configuration OK")?);
    }
    let options = Options {
        log_level: Some(log_level),
        signals: true,
        lifeline: arguments.lifeline_fd,
        extensions: Some(Arc::new(Users::new())),
    };
    let proxy = Proxy::start(bootstrap, options)?;
    proxy.wait();
    Ok(())
}

fn begin_log(arguments: &Arguments) -> anyhow::Result<Arc<dyn LogLevel>> {
    let filter = EnvFilter::try_new(&arguments.log)
        .map_err(|e| anyhow::anyhow!("--log: `{}` is no log level: {e}; expected such as `info`", arguments.log))?;
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let colour = std::io::stderr().is_terminal();
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(colour).with_target(false);
    if arguments.log_json {
        registry.with(lines.json()).try_init()?;
    } else {
        registry.with(lines).try_init()?;
    }
    Ok(Arc::new(Level(handle)))
}

/// The filter of the log, exchangeable.
struct Level(reload::Handle<EnvFilter, Registry>);

impl LogLevel for Level {
    fn get(&self) -> String {
        self.0.with_current(ToString::to_string).unwrap_or_default()
    }

    fn set(&self, level: &str) -> Result<(), String> {
        let filter = EnvFilter::try_new(level)
            .map_err(|e| format!("is no log level: {e}; expected error, warn, info, debug or trace"))?;
        self.0.reload(filter).map_err(|e| e.to_string())
    }
}
