//! A certificate that is asked for with a key made here, renewed at about half of its life, and kept for a restart. The key
//! never leaves this machine's memory and its one protected file.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base::{Backoff, SpiffeId};
use ca::Key;
use tokio::sync::watch;
use tokio::time::sleep;
use transport::tls::LiveCert;
use xds::shell;

use super::Holder;
use crate::link::Links;

/// How long a certificate should hold: Istio's default.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// How far renewals of a fleet spread, as a part of the life to either side.
const JITTER: f64 = 0.1;
/// Sleeps are cut, so that a machine that slept too looks at the clock soon after it wakes.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Keeps the certificate fresh for as long as the proxy runs. The roots of the mesh say when it
/// is time for another, if it is the mesh's own authority that is asked.
pub(super) async fn keep(holder: Holder, links: Links, cert: LiveCert, is_own: bool) {
    let mut held = holder.side.state().and_then(|state| state.load_certificate());
    if let Some((chain, key)) = &held
        && let Err(problem) = holder.take(chain, key)
    {
        tracing::info!("the certificate of the last time cannot be used: {problem}; a new one is asked for");
    }
    let mut roots = holder.side.roots();
    // What was kept may be of different times.
    roots.mark_changed();
    let mut is_due = false;
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    loop {
        if !is_due {
            let chain = held.as_ref().map(|(chain, _)| &**chain).filter(|_| is_own);
            tokio::select! {
                () = wait_until_due(&cert) => {}
                () = wait_for_another_root(&mut roots, chain) => spread().await,
            }
            is_due = true;
        }
        match request(&links, &holder.id).await.and_then(|(chain, key)| {
            holder.take(&chain, &key)?;
            Ok((chain, key))
        }) {
            Ok((chain, key)) => {
                held = Some((chain.clone(), key.clone()));
                is_due = false;
                backoff.reset();
                if let Some(state) = holder.side.state()
                    && let Err(error) = state.save_certificate(&chain, &key)
                {
                    let folder = state.path().display();
                    tracing::warn!("{folder}: the certificate cannot be kept for the next start: {error}");
                }
                continue;
            }
            Err(problem) => tracing::warn!("certificate of {}: {problem}; the one in use stays", holder.id),
        }
        sleep(backoff.next_delay().max(Duration::from_millis(200))).await;
    }
}

/// Returns when there is no certificate, or it is time for the next.
async fn wait_until_due(cert: &LiveCert) {
    let jitter = JITTER * (2.0 * rand::random::<f64>() - 1.0);
    while let Some(current) = cert.certificate() {
        let due = ca::renewal_time(current.not_before, current.not_after, jitter);
        match due.duration_since(SystemTime::now()) {
            Ok(left) if !left.is_zero() => sleep(left.min(LONGEST_SLEEP)).await,
            _ => return,
        }
    }
}

/// Returns when the mesh issues under another root than the one above the certificate that is held: the first of its
/// roots is the one above what is issued now. Asked once for each change of the roots, since others may order them otherwise.
async fn wait_for_another_root(roots: &mut watch::Receiver<Arc<str>>, held: Option<&str>) {
    loop {
        // Its sender lives as long as the proxy.
        if roots.changed().await.is_err() {
            return std::future::pending().await;
        }
        let known = roots.borrow_and_update().clone();
        if !known.is_empty() && held.is_some_and(|chain| !ca::leads_to(chain, &known)) {
            tracing::info!("certificates are issued under another root now: the certificate is renewed");
            return;
        }
    }
}

/// A fleet hears of another root at once, and should not ask at once.
async fn spread() {
    sleep(Duration::from_secs(2).mul_f64(rand::random())).await;
}

/// A new key and the certificate for it, both in PEM.
async fn request(links: &Links, id: &SpiffeId) -> Result<(String, String), String> {
    let key = Key::generate().map_err(|e| e.to_string())?;
    let csr = key.csr(id).map_err(|e| e.to_string())?;
    let asking = async {
        shell::certify(links.open().await?, csr, LIFE)
            .await
            .map_err(|status| format!("the authority refused ({:?}): {}", status.code(), status.message()))
    };
    let late = || Err(format!("no answer of the authority within {PATIENCE:?}"));
    let chain: Vec<String> = tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| late())?;
    // As Istio's agents expect it the root comes last; what peers are shown is the rest.
    let shown = if chain.len() > 1 { &chain[..chain.len() - 1] } else { &chain[..] };
    let lines: Vec<&str> = shown.iter().map(|pem| pem.trim_end()).collect();
    Ok((lines.join("\n") + "\n", key.secret_pem()))
}
