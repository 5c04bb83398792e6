//! `halcyon dashboard`: opens the page, signed in.

use std::process::{Command, ExitCode, Stdio};

use anyhow::Result;

use crate::cli::DashboardArgs;
use crate::client::Client;
use crate::print;

/// Programs that open an address in the user's browser.
const OPENERS: [&str; 3] = ["xdg-open", "open", "wslview"];

/// `halcyon dashboard`.
pub async fn run(client: Client, args: DashboardArgs) -> Result<ExitCode> {
    let key = client.dashboard().await?;
    if args.print || !open(&key.url) {
        print::out!("{}", key.url);
        print::note("open it within five minutes; the key in it is good once");
    } else {
        print::note(&format!("the dashboard at http://{} was opened in your browser", key.address));
    }
    Ok(ExitCode::SUCCESS)
}

/// Is there a browser to open it?
fn open(url: &str) -> bool {
    let has_screen = ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    if cfg!(target_os = "linux") && !has_screen {
        return false;
    }
    let start = |program: &str| {
        let mut command = Command::new(program);
        command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    OPENERS.into_iter().any(start)
}
