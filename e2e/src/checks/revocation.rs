//! A workload is revoked while it runs: its peers refuse it, as a caller and as one who is called, until it is restored.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::basic;
use crate::mesh::Mesh;
use crate::poll;
use crate::runner::Check;
use crate::web::Connection;

const WHO: &str = "default/bookinfo-productpage";
/// How long proxies may take to know it, and to connect anew.
const PATIENCE: Duration = Duration::from_secs(20);
/// Stands in the part of the page that `details` gives.
const DETAILS: &str = "ISBN-10";

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![Check::new("revocation", "a workload that is revoked is refused by its peers", 120, |world| {
        Box::pin(async {
            let mesh = world.demo().await?;
            mesh.clear().await?;
            peers_refuse(mesh).await
        })
    })]
}

/// `productpage` is revoked: the gateway no longer calls it, and `details` no longer takes its calls.
pub async fn peers_refuse(mesh: &Mesh) -> Result<String> {
    // Callers without a sidecar look at no certificate.
    let at = mesh.proxy("productpage-v1").await?.at(9080);
    ensure!(has_details(at).await?, "the page has no details before anything is revoked");
    mesh.halcyon(&["ca", "revoke", WHO]).await?.good().context("halcyon ca revoke")?;
    poll::until("a page without details", PATIENCE, async || {
        ensure!(!has_details(at).await?, "details still answers a caller who is revoked");
        Ok(())
    })
    .await?;
    poll::until("a refusal at the gateway", PATIENCE, async || {
        let answer = Connection::open(mesh.gateway).await?.get("/productpage", &[]).await?;
        ensure!(answer.status == 503, "the gateway got {} of a server that is revoked", answer.status);
        Ok(())
    })
    .await?;
    let said = mesh.halcyon(&["ca", "status"]).await?.good()?.out;
    ensure!(said.contains("sa/bookinfo-productpage"), "`halcyon ca status` does not name it:\n{said}");
    mesh.halcyon(&["ca", "restore", WHO]).await?.good().context("halcyon ca restore")?;
    poll::until("the whole page", PATIENCE, async || basic::whole_page(mesh).await.map(drop)).await?;
    poll::until("its connection to the control plane", PATIENCE, async || {
        mesh.halcyon(&["proxy-config", "listeners", "productpage"]).await?.good().map(drop)
    })
    .await?;
    Ok("refused as a caller and as one who is called, and taken again".to_owned())
}

async fn has_details(at: SocketAddr) -> Result<bool> {
    let answer = Connection::open(at).await?.get("/productpage", &[]).await?;
    ensure!(answer.status == 200, "productpage answers {}", answer.status);
    Ok(answer.text().contains(DETAILS))
}
