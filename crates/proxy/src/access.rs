//! Rules of access, and services that decide in their place: what they are told of a connection, and the connections that
//! they refuse (Envoy's network filters `envoy.filters.network.rbac` and `envoy.filters.network.ext_authz`).
//!
//! All that is looked at of connections is known when the connection stands, so it is asked then, and nothing of the
//! upstream is ever shown to whom they refuse. Envoy asks when the client first sends something; as it does, the connection
//! is closed when the client has, so that the client reads an end and not a reset.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use filter::Ends;
use model::access::{Call, Compiled, ConnectionAccess, Names, details};
use model::ext_authz::ConnectionExtAuthz;
use model::route::RequestView;
use model::{Guard, Metadata};
use telemetry::ResponseFlags;
use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};
use transport::Stream;
use transport::peek;

use crate::connection::Downstream;
use crate::live::{Chain, Filter};
use crate::log::{AccessLogs, Denied};
use crate::series::Asked;
use crate::worker::Worker;
use crate::{edge, unary};

/// Under which rules say what they decided.
const RULES: &str = "envoy.filters.network.rbac";

/// How long a refused client may take to say something.
const FIRST_BYTE: Duration = Duration::from_secs(1);

/// The names of a client that speaks TLS. Only those that were verified count.
pub(crate) fn names(downstream: &Downstream) -> Option<Names<'_>> {
    let peer = downstream.tls.as_deref()?;
    Some(match peer.certificate.as_ref().filter(|_| peer.verified) {
        Some(certificate) => {
            Names { uris: &certificate.uri_sans, dns: &certificate.dns_sans, subject: &certificate.subject }
        }
        None => Names::default(),
    })
}

/// What rules ask of a connection, and of a request on it.
pub(crate) fn call<'a>(downstream: &'a Downstream, request: Option<RequestView<'a>>, remote: IpAddr) -> Call<'a> {
    let source = downstream.source.ip();
    Call {
        request,
        peer: names(downstream),
        direct_remote: downstream.told_by.as_deref().copied().unwrap_or(source),
        source,
        remote,
        destination: downstream.destination,
        server_name: downstream.server_name.as_deref(),
    }
}

/// The ends of a connection, as services are told them.
pub(crate) fn ends<'a>(
    downstream: &'a Downstream,
    certificate: Option<&'a str>,
    labels: Option<&'a BTreeMap<String, String>>,
) -> Ends<'a> {
    let Call { peer, server_name, destination, .. } = call(downstream, None, downstream.source.ip());
    let own = downstream.local_principal.as_deref();
    Ends { source: downstream.source, destination, peer, own, certificate, server_name, labels }
}

/// Why a connection is refused.
struct Refusal {
    details: String,
    /// In words, where a log tells them.
    reason: Option<String>,
    flags: ResponseFlags,
    delay: Option<Duration>,
}

/// The stream of a connection, unless somebody refuses it who guards its chain.
pub(crate) async fn passes(worker: &Worker, chain: &Chain, stream: Stream, downstream: &Downstream) -> Option<Stream> {
    let guards = &chain.config.access;
    // What rules say is for the services.
    let mut said = guards.iter().any(|guard| matches!(guard, Guard::Service(_))).then(Metadata::default);
    for guard in guards {
        let refusal = match guard {
            Guard::Rules(rules) => by_rules(worker, chain, rules, downstream, said.as_mut()),
            // Boxed, as what follows: few are asked about, and few refused.
            Guard::Service(asks) => {
                let said = said.get_or_insert_default();
                Box::pin(by_service(worker, asks, &stream, downstream, said)).await
            }
        };
        if let Some(refusal) = refusal {
            Box::pin(close(worker, chain, refusal, stream, downstream)).await;
            return None;
        }
    }
    Some(stream)
}

/// Asks rules, counts, and says what they said to whom it is for.
fn by_rules(
    worker: &Worker,
    chain: &Chain,
    access: &ConnectionAccess,
    downstream: &Downstream,
    mut said: Option<&mut Metadata>,
) -> Option<Refusal> {
    let call = call(downstream, None, downstream.source.ip());
    let mut ask = |rules: &Compiled, is_shadow: bool| {
        let decision = rules.decide(&call);
        worker.series.access(access, is_shadow, decision.allowed);
        let policy = decision.policy.map(|name| &**name);
        if let Some(said) = &mut said {
            let kind = if is_shadow { format!("{}shadow", access.shadow_prefix) } else { "enforced".to_owned() };
            model::access::tell(said.of(RULES), &kind, decision.allowed, policy);
        }
        (!decision.allowed).then(|| details(policy))
    };
    if let Some(shadow) = &access.shadow {
        ask(shadow, true);
    }
    let rules = access.rules.as_ref()?;
    let details = ask(rules, false)?;
    let why = Some(rules).filter(|_| logs(chain).tell_reasons()).and_then(|rules| rules.why(&call));
    let reason = why.map(|why| why.in_words(&call, &|field| field.to_string()));
    Some(Refusal { details, reason, flags: ResponseFlags::NONE, delay: access.delay })
}

/// Asks a service, and counts.
async fn by_service(
    worker: &Worker,
    asks: &ConnectionExtAuthz,
    stream: &Stream,
    downstream: &Downstream,
    said: &Metadata,
) -> Option<Refusal> {
    let count = |what| worker.series.authorization(asks, what);
    if asks.enabled_by.as_ref().is_some_and(|condition| !condition.matches(Some(said))) {
        count(Asked::Disabled);
        return None;
    }
    count(Asked::Total);
    let certificate = asks.peer_certificate.then(|| edge::peer_certificate(stream)).flatten();
    let ends = ends(downstream, certificate.as_deref(), worker.shared.labels.get(&*asks.labels_key));
    let service = &asks.service;
    let asked = filter::Call {
        service: &service.service,
        path: filter::AUTHORIZATION_METHOD,
        message: filter::connection_question(asks, &ends, said),
        timeout: service.timeout,
    };
    let answer = unary::call(&worker.view(), asked).await;
    let details = match answer.and_then(|answer| filter::connection_allowed(&answer)) {
        Ok(true) => {
            count(Asked::Ok);
            return None;
        }
        Ok(false) => {
            count(Asked::Denied);
            "ext_authz_denied"
        }
        Err(problem) => {
            count(Asked::Error);
            tracing::debug!("{} cannot be asked about {}: {problem}", service.service.cluster, downstream.source);
            if asks.fail_open {
                count(Asked::FailureAllowed);
                return None;
            }
            "ext_authz_error"
        }
    };
    count(Asked::Closed);
    let (details, flags) = (details.to_owned(), ResponseFlags::UNAUTHORIZED_EXTERNAL_SERVICE);
    Some(Refusal { details, reason: None, flags, delay: None })
}

async fn close(worker: &Worker, chain: &Chain, refusal: Refusal, mut stream: Stream, downstream: &Downstream) {
    let begun_at = SystemTime::now();
    let any = |bytes: &[u8]| (!bytes.is_empty()).then_some(());
    // Whatever it says, it is closed.
    let _said = peek::until(&mut stream, 1, Some(FIRST_BYTE), any).await;
    if let Some(delay) = refusal.delay {
        sleep(delay).await;
    }
    // With the goodbye of TLS, if it has one; who does not take it is not waited for.
    let _gone = timeout(FIRST_BYTE, stream.shutdown()).await;
    drop(stream);
    let Refusal { details, reason, flags, .. } = &refusal;
    worker.series.refusal(details);
    tracing::debug!("{} to {} closed: {details}", downstream.source, downstream.destination);
    let denied = Denied { downstream, begun_at, details, reason: reason.as_deref(), flags: *flags };
    logs(chain).denied(&worker.writers, &denied);
}

fn logs(chain: &Chain) -> &AccessLogs {
    match &chain.filter {
        Filter::Http(plan) => &plan.logs,
        Filter::Tcp(plan) => &plan.logs,
    }
}
