//! `halcyon user`: who may do what at the API, and by which tokens.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use control::v1::{UserRequest, UserTokenRequest, UserTokenView, UserView};

use super::client;
use crate::cli::{Form, Place, UserArgs, UserCommand, UserTokensCommand};
use crate::client::Client;
use crate::print;

/// Exit code 0 if it was done.
pub async fn run(place: &Place, command: UserCommand) -> Result<ExitCode> {
    let client = client(place)?;
    match command {
        UserCommand::Add(args) => {
            let user = client.add_user(&args.name, &says(&args)).await?;
            crate::print::out!("user {} created: {}", user.name, rights(&user.says));
        }
        UserCommand::Set(args) => {
            let user = client.set_user(&args.name, &says(&args)).await?;
            crate::print::out!("user {} configured: {}", user.name, rights(&user.says));
        }
        UserCommand::List { output } => {
            let list = client.users().await?;
            match output {
                Form::Json => crate::print::out!("{}", serde_json::to_string_pretty(&list.users)?),
                Form::Text if list.users.is_empty() => print::note("there are no users; `halcyon user add` makes one"),
                Form::Text => crate::print::out!("{}", users(&list.users)),
            }
        }
        UserCommand::Remove { name } => {
            crate::print::out!("{} removed", client.remove_user(&name).await?.removed);
        }
        UserCommand::Whoami => {
            let me = client.whoami().await?;
            let says = UserRequest { role: me.role, namespaces: me.namespaces, identity: None };
            crate::print::out!("{} from {}: {}", me.who, me.from, rights(&says));
        }
        UserCommand::Token { name, ttl } => token(&client, &name, ttl).await?,
        UserCommand::Tokens(command) => list_or_revoke(&client, command).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the token alone, so that it can go into a file.
async fn token(client: &Client, name: &str, ttl: Duration) -> Result<()> {
    let made = client.user_token(name, &UserTokenRequest { ttl_s: Some(ttl.as_secs()) }).await?;
    crate::print::out!("{}", made.token);
    print::note(&format!("token {} of {} until {}; it is not shown again", made.id, made.user, made.expires));
    Ok(())
}

async fn list_or_revoke(client: &Client, command: UserTokensCommand) -> Result<()> {
    match command {
        UserTokensCommand::List { output } => {
            let list = client.user_tokens().await?;
            match output {
                Form::Json => crate::print::out!("{}", serde_json::to_string_pretty(&list.tokens)?),
                Form::Text if list.tokens.is_empty() => print::note("there are no tokens"),
                Form::Text => crate::print::out!("{}", tokens(&list.tokens)),
            }
        }
        UserTokensCommand::Revoke { id } => {
            crate::print::out!("{} revoked", client.revoke_user_token(&id).await?.removed);
        }
    }
    Ok(())
}

fn says(args: &UserArgs) -> UserRequest {
    let namespaces = Some(args.namespaces.clone()).filter(|list| !list.is_empty());
    UserRequest { role: args.role, namespaces, identity: args.identity.clone() }
}

fn rights(says: &UserRequest) -> String {
    match &says.namespaces {
        Some(namespaces) => format!("{} in {}", says.role, namespaces.join(", ")),
        None => says.role.to_string(),
    }
}

fn users(users: &[UserView]) -> String {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let row = |user: &UserView| {
        let namespaces = user.says.namespaces.as_ref().map(|list| list.join(","));
        let (tokens, used) = (user.tokens.to_string(), or_none(&user.last_used));
        let (role, identity) = (user.says.role.to_string(), or_none(&user.says.identity));
        [user.name.clone(), role, or_none(&namespaces), identity, tokens, used]
    };
    print::table(["NAME", "ROLE", "NAMESPACES", "IDENTITY", "TOKENS", "LAST USED"], users.iter().map(row))
}

fn tokens(tokens: &[UserTokenView]) -> String {
    let row = |token: &UserTokenView| {
        let expires = if token.expired { format!("{} (over)", token.expires) } else { token.expires.clone() };
        let used = token.last_used.clone().unwrap_or_else(|| "never".to_owned());
        [token.id.clone(), token.user.clone(), token.created.clone(), expires, used]
    };
    print::table(["ID", "USER", "CREATED", "EXPIRES", "LAST USED"], tokens.iter().map(row))
}
