//! Differential tests: the same Envoy bootstrap file and the same requests to Envoy and to `halcyon-proxy -c`.
//!
//! Owns the cases, an origin that does what a request asks for, and a client that sends any bytes. What each proxy did is
//! written down as named lines (status, headers, body, what the origins got, what the access log says), and the two
//! lists must be equal. Where they are not on purpose, the case says why, and so does `docs/envoy-compatibility.md`.
//! `cargo xtask differential [NAME...]` builds and runs it; `differential --list` names the cases.
#![allow(clippy::print_stdout)] // a program: what it prints is what it is for

mod bootstrap;
mod case;
mod cases;
mod client;
mod documented;
mod http1;
mod login;
mod origin;
mod outcome;
mod patches;
mod place;
mod proxy;
mod refusals;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use case::{Case, Group};
use clap::Parser;
use futures_util::StreamExt;
use origin::Origins;
use proxy::Programs;
use refusals::Wrong;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

#[derive(Parser)]
#[command(name = "differential", version, about = "The same requests to Envoy and to halcyon-proxy")]
struct Line {
    /// Only the cases whose name (`group: case`) contains one of these.
    name: Vec<String>,
    /// Name the cases and end.
    #[arg(long)]
    list: bool,
    /// Leave bootstrap files and logs there, and say where.
    #[arg(long)]
    keep: bool,
    /// Take what our proxy says of refused files as right, and write it down.
    #[arg(long)]
    accept: bool,
    /// Envoy's program.
    #[arg(long, env = "HALCYON_ENVOY", value_name = "FILE")]
    envoy: Option<PathBuf>,
    /// Our program, by default the one beside this.
    #[arg(long, value_name = "FILE")]
    proxy: Option<PathBuf>,
}

fn main() -> ExitCode {
    let line = Line::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(tokio::task::LocalSet::new().run_until(differential(line))));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("differential: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True: nothing differs but what is documented.
async fn differential(line: Line) -> Result<bool> {
    let groups = cases::all();
    let wanted = |group: &Group, case: &Case| {
        let name = format!("{}: {}", group.name, case.name);
        line.name.is_empty() || line.name.iter().any(|part| name.contains(&**part))
    };
    let wanted_file = |name: &str| {
        let name = format!("{}: {name}", refusals::NAME);
        line.name.is_empty() || line.name.iter().any(|part| name.contains(&**part))
    };
    let chosen: Vec<&Group> =
        groups.iter().filter(|group| group.cases.iter().any(|case| wanted(group, case))).collect();
    let files: Vec<Wrong> = refusals::all().into_iter().filter(|file| wanted_file(file.name)).collect();
    if line.list {
        files.iter().for_each(|file| println!("{}: {}", refusals::NAME, file.name));
        for group in chosen {
            let cases = group.cases.iter().filter(|case| wanted(group, case));
            cases.for_each(|case| println!("{}: {}", group.name, case.name));
        }
        return Ok(true);
    }
    ensure!(!chosen.is_empty() || !files.is_empty(), "no case has such a name; `differential --list` names them");
    let wrong = documented::disagreements(&groups, &refusals::all());
    wrong.iter().for_each(|line| println!("FAIL  differential: docs/envoy-compatibility.md: {line}"));
    let Some(envoy) = line.envoy.clone() else {
        chosen.iter().for_each(|group| println!("skip  differential: {}: there is no Envoy", group.name));
        return Ok(wrong.is_empty());
    };
    let programs = Programs { envoy, halcyon: line.proxy.clone().map_or_else(beside, Ok)? };
    let mut folder = tempfile::Builder::new().prefix("differential-").tempdir()?;
    folder.disable_cleanup(line.keep);
    place::certificates(folder.path())?;
    place::cities(folder.path())?;
    let origins = Origins::start(Arc::new(secure(folder.path())?)).await?;
    let works = chosen.iter().map(|group| {
        let (programs, origins, folder, wanted) = (&programs, &origins, folder.path(), &wanted);
        async move { (group.name, run::group(group, |case| wanted(group, case), programs, origins, folder).await) }
    });
    let mut reports = futures_util::stream::iter(works).buffer_unordered(4);
    let mut clean = wrong.is_empty();
    if !files.is_empty() {
        let report = refusals::run(files, &programs, &origins.names, folder.path(), line.accept).await;
        clean &= print(refusals::NAME, report);
    }
    while let Some((name, report)) = reports.next().await {
        clean &= print(name, report);
    }
    if line.keep {
        println!("what was written is in {}", folder.path().display());
    }
    Ok(clean)
}

/// One line for a group, and what is wrong. True: nothing.
fn print(name: &str, report: Result<run::Report>) -> bool {
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            println!("FAIL  differential: {name}: {error:#}");
            return false;
        }
    };
    for (name, text) in &report.wrong {
        println!("FAIL  differential: {name}\n        {}", text.trim_end().replace('\n', "\n        "));
    }
    let (cases, wrong) = (report.cases, report.wrong.len());
    let documented = match report.documented {
        0 => String::new(),
        count => format!(", but for {count} documented"),
    };
    match wrong {
        0 => println!("ok    differential: {name}: {cases} cases, the same{documented}"),
        _ => println!("FAIL  differential: {name}: {wrong} of {cases} cases"),
    }
    wrong == 0
}

fn beside() -> Result<PathBuf> {
    let own = std::env::current_exe().context("where this program is")?;
    let proxy = own.with_file_name("halcyon-proxy");
    ensure!(proxy.exists(), "{} is not there; expected it beside this program, or `--proxy FILE`", proxy.display());
    Ok(proxy)
}

/// The TLS origin's side of a handshake.
fn secure(folder: &std::path::Path) -> Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let chain = vec![CertificateDer::from_pem_file(folder.join("origin.pem"))?];
    let key = PrivateKeyDer::from_pem_file(folder.join("origin.key"))?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
