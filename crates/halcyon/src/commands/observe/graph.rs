//! `halcyon graph`: who calls whom, as a picture or as data.

use std::process::ExitCode;

use anyhow::Result;

use super::with_window;
use crate::cli::GraphArgs;
use crate::client::{Client, Query};
use crate::print;

/// `halcyon graph`.
pub async fn run(client: Client, args: GraphArgs) -> Result<ExitCode> {
    let query = Query::new("/v1/graph")
        .and("type", args.kind.word())
        .and("format", args.output.word())
        .and_some("namespace", (!args.namespace.is_empty()).then(|| args.namespace.join(",")));
    let text = client.text(&with_window(query, &args.window)).await?;
    print::out!("{}", text.trim_end());
    Ok(ExitCode::SUCCESS)
}
