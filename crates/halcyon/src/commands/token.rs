//! `halcyon token`: what a workload of another machine needs to join.

use std::process::ExitCode;

use anyhow::Result;
use control::v1::TokenRequest;

use crate::cli::TokenCommand;
use crate::client::Client;
use crate::print;

/// Prints the token alone, so that it can go into a file; what to do with it goes to standard error.
pub async fn run(client: Client, command: TokenCommand) -> Result<ExitCode> {
    let TokenCommand::Create { namespace, service_account, ttl } = command else {
        let bundle = client.trust_bundle().await?;
        crate::print::out!("{}", bundle.pem.trim_end());
        return Ok(ExitCode::SUCCESS);
    };
    let request = TokenRequest { namespace, service_account, ttl_s: Some(ttl.as_secs()) };
    let made = client.token(&request).await?;
    crate::print::out!("{}", made.token);
    print::note(&format!("good for one use as {} until {}. On the other machine:", made.identity, made.expires));
    print::note(&format!(
        "  halcyon run --control {} --token-file TOKEN --trust-bundle ROOTS --service NAME --port PORT -- PROGRAM",
        made.xds_address
    ));
    print::note("  where ROOTS is a file with what `halcyon token trust-bundle` prints here");
    Ok(ExitCode::SUCCESS)
}
