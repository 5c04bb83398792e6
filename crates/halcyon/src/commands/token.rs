//! `halcyon token`: what a workload of another machine needs to join.

use std::process::ExitCode;

use anyhow::Result;
use control::v1::{JoinTokenView, TokenRequest};

use crate::cli::{Form, TokenCommand};
use crate::client::Client;
use crate::print;

/// Exit code 0, unless what is to be revoked is not there.
pub async fn run(client: Client, command: TokenCommand) -> Result<ExitCode> {
    match command {
        TokenCommand::Create { namespace, service_account, ttl } => {
            let request = TokenRequest { namespace, service_account, ttl_s: Some(ttl.as_secs()) };
            create(&client, &request).await?;
        }
        TokenCommand::List { output } => {
            let list = client.join_tokens().await?;
            match output {
                Form::Json => crate::print::out!("{}", serde_json::to_string_pretty(&list.tokens)?),
                Form::Text if list.tokens.is_empty() => print::note("there are no join tokens"),
                Form::Text => crate::print::out!("{}", table(&list.tokens)),
            }
        }
        TokenCommand::Revoke { id } => {
            let removed = client.revoke_join_token(&id).await?;
            crate::print::out!("{} revoked", removed.removed);
        }
        TokenCommand::TrustBundle => {
            let bundle = client.trust_bundle().await?;
            crate::print::out!("{}", bundle.pem.trim_end());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the token alone, so that it can go into a file; what to do with it goes to standard error.
async fn create(client: &Client, request: &TokenRequest) -> Result<()> {
    let made = client.token(request).await?;
    crate::print::out!("{}", made.token);
    print::note(&format!("good for one use as {} until {}. On the other machine:", made.identity, made.expires));
    print::note(&format!(
        "  halcyon run --control {} --token-file TOKEN --trust-bundle ROOTS --service NAME --port PORT -- PROGRAM",
        made.xds_address
    ));
    print::note("  where ROOTS is a file with what `halcyon token trust-bundle` prints here");
    Ok(())
}

fn table(tokens: &[JoinTokenView]) -> String {
    let row = |token: &JoinTokenView| {
        let JoinTokenView { id, identity, created, expires, state } = token.clone();
        [id, identity, state, created, expires]
    };
    print::table(["ID", "IDENTITY", "STATE", "CREATED", "EXPIRES"], tokens.iter().map(row))
}
