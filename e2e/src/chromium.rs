//! A browser that shows a page to nobody.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::place::Place;
use crate::process;

/// A page takes longer only if something is wrong.
const LONGEST: Duration = Duration::from_secs(60);

/// The program.
///
/// # Errors
/// It is not there.
pub fn installed(place: &Place) -> Result<PathBuf> {
    place.installed("chromium", "chromium")
}

/// What is in the page at a URL when all of it is there. `*.example.com` is this machine; certificates are not looked at.
pub async fn page(place: &Place, url: &str) -> Result<String> {
    page_with(place, url, &[]).await
}

/// The same of a page that asks for what it shows, some seconds later.
pub async fn live_page(place: &Place, url: &str) -> Result<String> {
    page_with(place, url, &["--virtual-time-budget=8000"]).await
}

async fn page_with(place: &Place, url: &str, more: &[&str]) -> Result<String> {
    let folder = place.temp().join("chromium");
    let profile = format!("--user-data-dir={}", folder.display());
    let mut command = process::command(place, &installed(place)?);
    command.args([
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        // The authority is known to nobody but the check; that it is the right one, curl says.
        "--ignore-certificate-errors",
        "--host-resolver-rules=MAP *.example.com 127.0.0.1",
        &profile,
    ]);
    command.args(more).args(["--dump-dom", url]);
    let said = process::run(command, LONGEST).await?.good().with_context(|| format!("chromium {url}"))?;
    std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(said.out)
}
