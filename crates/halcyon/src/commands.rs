//! One file for each command.

mod analyze;
mod apply;
mod audit;
mod authz;
mod ca;
mod control;
mod convert;
mod delete;
mod diff;
mod explain;
mod files;
mod gateway;
mod get;
mod mtls;
mod observe;
mod plan;
mod proxy_config;
mod run;
mod status;
mod token;
mod user;
mod validate;
mod why;

use std::future::Future;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::cli::{Cli, Command, Place};
use crate::client::{Client, Server};
use crate::{demo, paths};

/// Does what was typed.
pub fn run(cli: Cli) -> Result<ExitCode> {
    let place = &cli.place;
    match cli.command {
        Command::Demo(args) => wait(demo::run(args)),
        Command::Control(args) => wait(control::run(place, args)),
        Command::Run(args) => wait(run::run(place, *args)),
        Command::Gateway(args) => wait(gateway::run(place, args)),
        Command::Apply(args) => wait(apply::run(client(place)?, args)),
        Command::Get(args) => wait(get::run(client(place)?, args)),
        Command::Delete(args) => wait(delete::run(client(place)?, args)),
        Command::Diff(args) => wait(diff::run(client(place)?, args)),
        Command::Validate(args) => validate::run(args),
        Command::Analyze(args) => wait(analyze::run(place, args)),
        Command::Explain(args) => wait(explain::run(place, args)),
        Command::Authz(command) => wait(authz::run(place, command)),
        Command::Convert(args) => wait(convert::run(place, args)),
        Command::Plan(args) => wait(plan::run(client(place)?, args)),
        Command::Status(args) => wait(status::run(client(place)?, args)),
        Command::ProxyConfig(args) => wait(proxy_config::run(client(place)?, args)),
        Command::Dashboard(args) => wait(observe::dashboard::run(client(place)?, args)),
        Command::Stat(args) => wait(observe::stat::run(client(place)?, args)),
        Command::Routes(args) => wait(observe::stat::routes(client(place)?, args)),
        Command::Edges(args) => wait(observe::edges::run(client(place)?, args)),
        Command::Top(args) => wait(observe::top::run(client(place)?, args)),
        Command::Tap(args) => wait(observe::tap::run(client(place)?, args)),
        Command::Trace(args) => wait(observe::trace::run(client(place)?, args)),
        Command::Graph(args) => wait(observe::graph::run(client(place)?, args)),
        Command::Ca(command) => wait(ca::run(client(place)?, command)),
        Command::Token(args) => wait(token::run(client(place)?, args)),
        Command::User(args) => wait(user::run(place, args)),
        Command::Audit(args) => wait(audit::run(place, args)),
        Command::Mtls(command) => wait(mtls::run(client(place)?, command)),
        Command::Why(args) => wait(why::run(client(place)?, args)),
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "halcyon", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A client of the control plane that is named, or else of the one whose data is there.
pub fn client(place: &Place) -> Result<Client> {
    if let Some(server) = &place.remote.server {
        return Ok(Client::over_tls(Server::new(server, place)?));
    }
    Ok(Client::new(paths::control_socket(&paths::data_dir(place.data_dir.as_deref())?)))
}

/// Runs a command that waits, on one thread.
fn wait(command: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
    // Streams of discovery never leave their thread.
    tokio::task::LocalSet::new().block_on(&runtime, command)
}
