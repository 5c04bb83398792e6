//! Rules of access: what they are told of a connection, and the connections that they refuse (Envoy's network filter
//! `envoy.filters.network.rbac`).
//!
//! All that rules for connections look at is known when the connection stands, so they are asked then, and nothing of the
//! upstream is ever shown to whom they refuse. Envoy asks when the client first sends something; as it does, the connection
//! is closed when the client has, so that the client reads an end and not a reset.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use model::access::{Call, Compiled, ConnectionAccess, Names, details};
use model::route::RequestView;
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};
use transport::Stream;
use transport::peek;

use crate::connection::Downstream;
use crate::live::{Chain, Filter};
use crate::log::{AccessLogs, Denied};
use crate::worker::Worker;

/// How long a refused client may take to say something.
const FIRST_BYTE: Duration = Duration::from_secs(1);

/// What rules ask of a connection, and of a request on it. Only names that were verified count.
pub(crate) fn call<'a>(downstream: &'a Downstream, request: Option<RequestView<'a>>, remote: IpAddr) -> Call<'a> {
    let peer = downstream.tls.as_deref().map(|peer| match peer.certificate.as_ref().filter(|_| peer.verified) {
        Some(certificate) => {
            Names { uris: &certificate.uri_sans, dns: &certificate.dns_sans, subject: &certificate.subject }
        }
        None => Names::default(),
    });
    let source = downstream.source.ip();
    Call {
        request,
        peer,
        direct_remote: downstream.told_by.as_deref().copied().unwrap_or(source),
        source,
        remote,
        destination: downstream.destination,
        server_name: downstream.server_name.as_deref(),
    }
}

/// The stream of a connection, unless rules of its chain refuse it.
pub(crate) async fn passes(worker: &Worker, chain: &Chain, stream: Stream, downstream: &Downstream) -> Option<Stream> {
    if chain.config.access.is_empty() {
        return Some(stream);
    }
    let call = call(downstream, None, downstream.source.ip());
    let refuses = |access: &&ConnectionAccess| !allows(worker, access, &call);
    let Some(access) = chain.config.access.iter().find(refuses) else { return Some(stream) };
    // Boxed: few are refused.
    Box::pin(close(worker, chain, access, stream, downstream, &call)).await;
    None
}

/// Asks and counts.
fn allows(worker: &Worker, access: &ConnectionAccess, call: &Call<'_>) -> bool {
    let ask = |rules: &Compiled, is_shadow| {
        let allowed = rules.decide(call).allowed;
        worker.series.access(access, is_shadow, allowed);
        allowed
    };
    if let Some(shadow) = &access.shadow {
        ask(shadow, true);
    }
    access.rules.as_ref().is_none_or(|rules| ask(rules, false))
}

async fn close(
    worker: &Worker,
    chain: &Chain,
    access: &ConnectionAccess,
    mut stream: Stream,
    downstream: &Downstream,
    call: &Call<'_>,
) {
    let begun_at = SystemTime::now();
    let any = |bytes: &[u8]| (!bytes.is_empty()).then_some(());
    // Whatever it says, it is closed.
    let _said = peek::until(&mut stream, 1, Some(FIRST_BYTE), any).await;
    if let Some(delay) = access.delay {
        sleep(delay).await;
    }
    // With the goodbye of TLS, if it has one; who does not take it is not waited for.
    let _gone = timeout(FIRST_BYTE, stream.shutdown()).await;
    drop(stream);
    let logs = logs(chain);
    let rules = access.rules.as_ref();
    let policy = rules.and_then(|rules| rules.decide(call).policy);
    let details = details(policy.map(|name| &**name));
    let why = rules.filter(|_| logs.tell_reasons()).and_then(|rules| rules.why(call));
    let reason = why.map(|why| why.in_words(call, &|field| field.to_string()));
    tracing::debug!("{} to {} closed: {details}", downstream.source, downstream.destination);
    logs.denied(&worker.writers, &Denied { downstream, begun_at, details: &details, reason: reason.as_deref() });
}

fn logs(chain: &Chain) -> &AccessLogs {
    match &chain.filter {
        Filter::Http(plan) => &plan.logs,
        Filter::Tcp(plan) => &plan.logs,
    }
}
