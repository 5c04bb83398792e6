//! `halcyon authz`: who may do what, by AuthorizationPolicies.

mod check;
mod graph;
mod request;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use translate::{Inputs, World};

use super::files;
use super::validate::{parse, print_problems};
use crate::cli::{AuthzCommand, Place};

/// What the command says.
pub async fn run(place: &Place, command: AuthzCommand) -> Result<ExitCode> {
    match command {
        AuthzCommand::Check(args) => Ok(check::run(place, *args).await.unwrap_or_else(|error| {
            crate::print::error(&error);
            // 1 says that the answer is no.
            ExitCode::from(2)
        })),
        AuthzCommand::Graph(args) => graph::run(place, args).await,
    }
}

/// Everything that some files hold.
fn world(named: &[PathBuf], namespace: &str) -> Result<World> {
    let documents = files::read(named)?;
    let (resources, problems) = parse(&documents, namespace, false);
    if problems.iter().any(|problem| problem.is_error()) {
        let sources = documents.iter().map(|d| (d.file.as_str(), d.text.as_str())).collect();
        print_problems(&problems, &sources);
        bail!("the files are refused: there is nothing to ask about");
    }
    Ok(World::new(Inputs { resources, ..Inputs::default() }))
}
