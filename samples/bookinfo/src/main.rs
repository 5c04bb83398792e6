//! The `bookinfo` program: reads the options, listens, serves one role until it is told to stop.
#![allow(clippy::print_stdout)] // a program: its first line says where it listens

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use bookinfo::{Options, Tcp, serve};
use clap::Parser as _;
use tokio::net::TcpListener;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bookinfo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    let router = bookinfo::router(options, Arc::new(Tcp))?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let stop = serve::stop_signal()?;
        let listener = TcpListener::bind((options.bind, options.port)).await.with_context(|| {
            format!(
                "--bind {} --port {}: cannot listen there; expected a free port on an address of this machine; \
                 choose another with --port, or end the program that holds it",
                options.bind, options.port
            )
        })?;
        println!("{} listens on {}", options.role.name(), listener.local_addr()?);
        Ok(serve::serve(listener, router, stop).await?)
    })
}
