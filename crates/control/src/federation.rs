//! Bundles of other trust domains: fetched from where the mesh's settings say, fetched again when each asks for it, and
//! given to the store. What a fetch that fails leaves is the bundle that was there before.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use futures_util::future::join_all;
use svid::{Bundle, BundleError};
use tokio::time::Instant;
use translate::{BundleServer, FetchedBundle, HadBundle};

use crate::keys::Client;
use crate::schedule::{Schedule, until_due};
use crate::store::Store;

/// How long a fetch may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where a bundle does not say when to look again (SPIFFE_Trust_Domain_and_Bundle.md, section 6.1).
const REFRESH: Duration = Duration::from_secs(300);
/// What it says counts within this.
const BETWEEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));
/// After a fetch that failed; twice as long after the next, up to [`REFRESH`].
const RETRY: Duration = Duration::from_secs(1);

/// A bundle that is asked for.
#[derive(Debug, Default)]
struct Known {
    fetched: FetchedBundle,
    /// How the server was checked.
    server: Option<Result<BundleServer, String>>,
    schedule: Schedule,
}

/// Keeps the bundles that the mesh's settings ask for, for as long as it runs.
pub(crate) async fn follow(store: Store, client: Client) {
    let mut versions = store.watch();
    let mut known = BTreeMap::<String, Known>::new();
    loop {
        let world = versions.borrow_and_update().world.clone();
        let asked = world.bundles_asked();
        known.retain(|url, _| asked.contains_key(url));
        for url in asked.keys() {
            // What an earlier control plane had counts until there is something newer.
            let had = || Known { fetched: world.bundles.get(url).cloned().unwrap_or_default(), ..Known::default() };
            known.entry(url.clone()).or_insert_with(had);
        }
        let now = Instant::now();
        let due = asked.iter().filter(|(url, server)| known.get(*url).is_none_or(|known| known.is_due(server, now)));
        let fetched = join_all(due.map(async |(url, server)| {
            let got = match server {
                Ok(server) => client.bundle(url, server, PATIENCE).await,
                Err(reason) => Err(reason.clone()),
            };
            (url, server, got.and_then(|text| had(&text).map_err(|error| error.to_string())))
        }));
        for (url, server, result) in fetched.await {
            let known = known.entry(url.clone()).or_default();
            known.server = Some(server.clone());
            known.take(url, result);
        }
        let bundles = Arc::new(known.iter().map(|(url, known)| (url.clone(), known.fetched.clone())).collect());
        if bundles != world.bundles
            && let Err(error) = store.bundles(bundles).await
        {
            tracing::error!("bundles of other trust domains: {error}");
        }
        if !until_due(known.values().map(|known| &known.schedule), &mut versions).await {
            return;
        }
    }
}

/// Reads a bundle that was fetched, and when it wants to be looked at again.
///
/// # Errors
/// It is none.
pub(crate) fn had(document: &str) -> Result<(HadBundle, Option<Duration>), BundleError> {
    let bundle = Bundle::parse(document)?;
    let roots: String = bundle.x509.iter().map(|root| pem("CERTIFICATE", root)).collect();
    Ok((HadBundle { document: document.into(), roots: roots.into() }, bundle.refresh_hint))
}

/// A block of PEM (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

impl Known {
    /// One that failed is tried again at once where the server is checked in another way now.
    fn is_due(&self, server: &Result<BundleServer, String>, now: Instant) -> bool {
        let is_new = self.fetched.failure.is_some() && self.server.as_ref() != Some(server);
        is_new || self.schedule.is_due(now)
    }

    fn take(&mut self, url: &str, result: Result<(HadBundle, Option<Duration>), String>) {
        match result {
            Ok((bundle, hint)) => {
                if self.fetched.had.as_ref() != Some(&bundle) {
                    tracing::info!("the bundle at {url} is new: it has {} bytes", bundle.document.len());
                }
                self.fetched = FetchedBundle { had: Some(bundle), failure: None };
                let wait = hint.filter(|hint| !hint.is_zero()).unwrap_or(REFRESH).clamp(BETWEEN.0, BETWEEN.1);
                self.schedule.fetched(wait);
            }
            Err(reason) => {
                tracing::warn!("the bundle at {url}: {reason}");
                self.fetched.failure = Some(reason);
                self.schedule.failed(RETRY, REFRESH);
            }
        }
    }
}
