//! The workload's certificate: asked for with a key made here, renewed at about half of its life, kept for a restart.
//! The key never leaves this machine's memory and its one protected file.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base::{Backoff, SpiffeId};
use ca::Key;
use tokio::time::sleep;
use transport::tls::LiveCert;
use xds::shell::{self, Member};

use model::secret::SecretValue;
use model::tls::MESH_ROOTS;
use tokio::sync::watch;
use xds::Resource;

use crate::apply::Changes;
use crate::link::Links;
use crate::run::Side;
use crate::state;

/// The name under which TLS settings refer to the workload's own certificate, as in Istio.
pub(crate) const DEFAULT: &str = "default";
/// How long a certificate should hold: Istio's default.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// How far renewals of a fleet spread, as a part of the life to either side.
const JITTER: f64 = 0.1;
/// Sleeps are cut, so that a machine that slept too looks at the clock soon after it wakes.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The roots of the mesh (PEM), if that is what a resource is.
pub(crate) fn roots_of(resource: &Resource) -> Option<Arc<str>> {
    match resource {
        Resource::Secret(secret) if &*secret.name == MESH_ROOTS => match &secret.value {
            SecretValue::Trust { roots, .. } => Some(String::from_utf8_lossy(roots).into()),
            SecretValue::Certificate { .. } | SecretValue::Generic(_) => None,
        },
        _ => None,
    }
}

/// Checks the control plane by the roots of the mesh as they become known.
pub(crate) async fn follow_roots(mut roots: watch::Receiver<Arc<str>>, links: Links) {
    loop {
        let known = roots.borrow_and_update().clone();
        if !known.is_empty() {
            links.trust(&known);
        }
        if roots.changed().await.is_err() {
            return;
        }
    }
}

/// Keeps the certificate fresh for as long as the proxy runs.
pub(crate) async fn keep(side: Rc<Side>, links: Links, id: SpiffeId, cert: LiveCert, member: Option<Arc<Member>>) {
    let show = |chain: &str, key: &str| {
        let shown = member.as_ref().map_or(Ok(()), |member| member.show(&id, chain, key));
        shown.unwrap_or_else(|error| tracing::warn!("the program is not given the certificate: {error}"));
    };
    let mut held = side.state().and_then(|state| state.load_certificate());
    if let Some((chain, key)) = &held
        && use_kept(&side, &id, chain, key)
    {
        show(chain, key);
    }
    let mut roots = side.roots();
    // What was kept may be of different times.
    roots.mark_changed();
    let mut is_due = false;
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    loop {
        if !is_due {
            tokio::select! {
                () = wait_until_due(&cert) => {}
                () = wait_for_another_root(&mut roots, held.as_ref().map(|(chain, _)| &**chain)) => spread().await,
            }
            is_due = true;
        }
        match request(&links, &id).await {
            Ok((chain, key)) => {
                if deliver(&side, &chain, &key) {
                    show(&chain, &key);
                    held = Some((chain.clone(), key.clone()));
                    is_due = false;
                    backoff.reset();
                    if let Some(state) = side.state()
                        && let Err(error) = state.save_certificate(&chain, &key)
                    {
                        let folder = state.path().display();
                        tracing::warn!("{folder}: the certificate cannot be kept for the next start: {error}");
                    }
                    continue;
                }
            }
            Err(problem) => tracing::warn!("certificate of {id}: {problem}; the one in use stays"),
        }
        sleep(backoff.next_delay().max(Duration::from_millis(200))).await;
    }
}

/// Takes what was kept, if it is this identity's and still holds.
fn use_kept(side: &Side, id: &SpiffeId, chain: &str, key: &str) -> bool {
    let kept = LiveCert::from_pem(chain, key).ok().and_then(|cert| cert.certificate());
    let good = kept.filter(|c| c.spiffe_id().as_ref() == Some(id) && !ca::is_expired(c.not_after, SystemTime::now()));
    match good {
        Some(_) => deliver(side, chain, key),
        None => {
            tracing::info!("the certificate of the last time cannot be used; a new one is asked for");
            false
        }
    }
}

fn deliver(side: &Side, chain: &str, key: &str) -> bool {
    side.apply(Changes { set: vec![state::certificate(DEFAULT, chain, key)], removed: Vec::new() }).is_empty()
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
            .map_err(|status| format!("the control plane refused ({:?}): {}", status.code(), status.message()))
    };
    let late = || Err(format!("no answer of the control plane within {PATIENCE:?}"));
    let chain: Vec<String> = tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| late())?;
    // As Istio's agents expect it the root comes last; what peers are shown is the rest.
    let shown = if chain.len() > 1 { &chain[..chain.len() - 1] } else { &chain[..] };
    let lines: Vec<&str> = shown.iter().map(|pem| pem.trim_end()).collect();
    Ok((lines.join("\n") + "\n", key.secret_pem()))
}
