//! `halcyon`: the command line, and the wiring of control plane and launcher.

mod cli;
mod client;
mod commands;
mod demo;
mod paths;
mod print;
mod proxy_setup;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == launch::inside::SUBCOMMAND) {
        // The inner process of a launch must change its namespaces before it has a second thread.
        return launch::inside::main(arguments);
    }
    match commands::run(cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            print::error(&error);
            ExitCode::FAILURE
        }
    }
}
