//! `bench`: halcyon-proxy beside Envoy, HAProxy and nginx, in interleaved rounds on one machine.
//!
//! Reads top-down: [`options`] is what people type, [`scenario`] the table of what is measured, [`peer`] sets a proxy up for
//! it, [`measure`] runs it, [`report`] prints it. Below stand [`load`] and [`origin`] over [`wire`], and [`process`] and
//! [`machine`] over the system. [`access`] asks the model alone, without a proxy, and [`scrape`] the registry of metrics. [`observe`] runs a program of its own. [`control`] is apart: the control plane under changes, with proxies that are simulated. Everything runs on loopback, and every process that it starts ends with it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people; progress goes to stderr")]

mod access;
mod control;
mod figures;
mod flame;
mod load;
mod machine;
mod measure;
mod observe;
mod options;
mod origin;
mod peer;
mod process;
mod report;
mod scenario;
mod scrape;
mod socket;
mod stop;
mod wire;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match options::Options::parse().resolve().and_then(|plan| run(&plan)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(plan: &options::Plan) -> anyhow::Result<()> {
    if plan.list {
        for scenario in &plan.scenarios {
            println!("{:<16} {}", scenario.name, scenario.title);
        }
        if plan.access {
            println!("{:<16} {}", access::NAME, access::TITLE);
        }
        if plan.scrape {
            println!("{:<16} {}", scrape::NAME, scrape::TITLE);
        }
        if plan.observe {
            println!("{:<16} {}", observe::NAME, observe::TITLE);
        }
        if plan.control.is_some() {
            println!("{:<16} {}", control::NAME, control::TITLE);
        }
        return Ok(());
    }
    let stop = stop::Stop::on_signals()?;
    process::end_all_on_panic();
    machine::raise_file_limit()?;
    machine::pin_to(&plan.cores.load)?;
    let mut report = measure::all(plan, &stop)?;
    if plan.access {
        report.access = Some(access::measure(&stop)?);
    }
    if plan.scrape {
        report.scrape = Some(scrape::measure(&stop)?);
    }
    if plan.observe {
        report.observe = Some(observe::measure(&plan.programs, &stop)?);
    }
    if let Some(sizes) = &plan.control {
        report.control = Some(control::measure(plan, sizes, &stop)?);
    }
    match plan.mode {
        options::Mode::Profile(_) => return Ok(()),
        _ => println!("{}", report.text()),
    }
    if let Some(path) = &plan.json {
        report::write(path, &report.json()?)?;
    }
    if let Some(path) = &plan.markdown {
        report::write(path, &report.markdown())?;
    }
    Ok(())
}
