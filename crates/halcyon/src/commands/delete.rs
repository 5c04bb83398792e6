//! `halcyon delete`: by kind and name, or by the documents that define.

use std::process::ExitCode;

use anyhow::{Result, bail};
use control::v1::{Applied, DeleteRequest, Outcome, ResourceQuery};

use super::files;
use crate::cli::DeleteArgs;
use crate::client::Client;

/// Exit code 1 if something was not there, unless that is no error.
pub async fn run(client: Client, args: DeleteArgs) -> Result<ExitCode> {
    let results = if args.files.is_empty() { by_name(&client, &args).await? } else { by_files(&client, &args).await? };
    results.iter().for_each(|result| crate::print::out!("{} {}", result.key, result.outcome));
    let missing = results.iter().any(|result| result.outcome == Outcome::NotFound);
    Ok(if missing && !args.ignore_not_found { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn by_files(client: &Client, args: &DeleteArgs) -> Result<Vec<Applied>> {
    let documents = files::read(&args.files)?;
    let request = DeleteRequest { documents, namespace: Some(args.namespace.clone()), dry_run: false };
    Ok(client.delete_documents(&request).await?.results)
}

async fn by_name(client: &Client, args: &DeleteArgs) -> Result<Vec<Applied>> {
    let kind = args.kind.clone().unwrap_or_default();
    let query = |name: &str| ResourceQuery {
        kind: kind.clone(),
        namespace: args.namespace.clone(),
        name: name.to_owned(),
        all_namespaces: false,
    };
    if args.all {
        return Ok(client.delete(&query("")).await?.results);
    }
    if args.names.is_empty() {
        bail!("name what is to go, or say --all for every {kind} of the namespace `{}`", args.namespace);
    }
    let mut results = Vec::new();
    for name in &args.names {
        results.extend(client.delete(&query(name)).await?.results);
    }
    Ok(results)
}
