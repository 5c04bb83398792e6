//! A downstream connection whose bytes are carried to a cluster as they are.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use model::route::hash_of_source;
use telemetry::ResponseFlags;
use tokio::time::{Sleep, interval, sleep};
use transport::Stream;
use transport::copy::{self, CopyError, Counters, Operation, Side};
use transport::peek;
use transport::tls::TlsError;
use upstream::{Ends, Failure, FailureKind, Pick};

use crate::connection::Downstream;
use crate::direct;
use crate::http::overdue;
use crate::live::{Chain, TcpPlan};
use crate::named;
use crate::record::TcpRecord;
use crate::series::REPORT;
use crate::tunnel::{self, Far, NoTunnel};
use crate::worker::Worker;

/// Carries a connection to its end.
#[expect(clippy::manual_async_fn, reason = "an async function would hold its arguments twice")]
pub(crate) fn run(
    worker: Rc<Worker>,
    plan: Arc<TcpPlan>,
    chain: Arc<Chain>,
    stream: Stream,
    downstream: Downstream,
    counted: impl Sized,
) -> impl Future<Output = ()> {
    async move {
        let _counted = &counted;
        let counters = Counters::default();
        let mut record = TcpRecord::open(&worker, &plan, chain.direction, &downstream, &counters);
        let end = through(&worker, &plan, &chain, stream, &mut record).await;
        record.close(end);
    }
}

/// How a connection ended.
pub(crate) struct End {
    /// Envoy's response flags.
    pub flags: ResponseFlags,
    /// A short word for the log.
    pub details: &'static str,
    /// What the transport said.
    pub reason: String,
}

impl End {
    fn new(flags: ResponseFlags, details: &'static str) -> Self {
        Self { flags, details, reason: String::new() }
    }
}

#[expect(clippy::manual_async_fn, reason = "an async function would hold its arguments twice")]
fn through(
    worker: &Rc<Worker>,
    plan: &TcpPlan,
    chain: &Chain,
    stream: Stream,
    record: &mut TcpRecord<'_>,
) -> impl Future<Output = End> {
    async move {
        // Boxed: a connection that is made does not hold the room for making it.
        let upstream = match Box::pin(connect(worker, plan, record)).await {
            Ok(upstream) => upstream,
            Err(end) => {
                // A reset, so that the caller can tell it from an answer that is empty.
                stream.reset();
                return end;
            }
        };
        let mut carrying = pin!(carry(worker, plan, record, stream, upstream));
        let mut overdue = pin!(overdue(worker, chain));
        // Boxed: few have a longest time.
        let mut longest = plan.proxy.max_duration.map(|d| Box::pin(sleep(d.saturating_sub(record.duration()))));
        let mut ticks = interval(REPORT);
        loop {
            tokio::select! {
                biased;
                end = &mut carrying => return end,
                () = &mut overdue => return End::new(ResponseFlags::NONE, "drained"),
                _ = ticks.tick() => record.report(),
                () = too_long(&mut longest) => {
                    return End::new(ResponseFlags::DURATION_TIMEOUT, "max_connection_duration_reached");
                }
            }
        }
    }
}

/// Ends when a connection has lasted for the longest time, if there is such a one.
fn too_long(longest: &mut Option<Pin<Box<Sleep>>>) -> impl Future<Output = ()> {
    poll_fn(|cx| longest.as_mut().map_or(Poll::Pending, |end| end.as_mut().poll(cx)))
}

async fn connect(worker: &Rc<Worker>, plan: &TcpPlan, record: &mut TcpRecord<'_>) -> Result<Far, End> {
    let cluster = plan.proxy.pick(rand::random());
    let view = worker.view();
    let Some(mut pools) = cluster.and_then(|name| view.pools(record.toward(name))) else {
        return Err(End::new(ResponseFlags::NO_CLUSTER, "cluster_not_found"));
    };
    let &Downstream { source, destination, .. } = record.downstream;
    if direct::may_be_workload(&pools, destination) {
        pools = direct::pools(worker, &view, pools, destination).await.map_err(|_| not_known())?;
        record.toward(&pools.config().name);
    }
    let hash = plan.proxy.hash_source.then(|| hash_of_source(source.ip()));
    let ends = pools.tells_ends().then(|| Rc::new(Ends { source, destination }));
    let original_destination = record.downstream.original_destination();
    let target = match pools.is_of_named_hosts() {
        // Without an address there is no endpoint, as in Envoy.
        true => {
            let port = plan.proxy.server_name_forward.as_ref().map(|forward| forward.port);
            named::of_connection(&pools, record.downstream.server_name.as_deref(), port).await.ok()
        }
        false => None,
    };
    let pick =
        Pick { original_destination, hash, ends: ends.as_ref(), target: target.as_ref(), ..Pick::new(rand::random()) };
    let (far, exchange) = match &plan.proxy.tunnel {
        None => {
            let connected = pools.connect(&pick).await.map_err(|failure| not_connected(&failure))?;
            (Far::Direct(connected.stream), connected.exchange)
        }
        Some(tunnel) => tunnel::open(&pools, tunnel, &pick).await.map_err(|error| no_tunnel(*error))?,
    };
    record.opened(pools.config(), exchange);
    Ok(far)
}

/// As Envoy: a tunnel that is not opened is a connection that is not made, whatever the proxy said.
fn no_tunnel(error: NoTunnel) -> End {
    match error {
        NoTunnel::Failed(failure) if matches!(failure.kind, FailureKind::Overflow | FailureKind::NoEndpoint) => {
            not_connected(&failure)
        }
        NoTunnel::Failed(failure) => {
            End { flags: ResponseFlags::UPSTREAM_CONNECTION_FAILURE, ..not_connected(&failure) }
        }
        NoTunnel::Refused(reason) => {
            End { reason, ..End::new(ResponseFlags::UPSTREAM_CONNECTION_FAILURE, "upstream_connect_failed") }
        }
    }
}

fn not_known() -> End {
    End::new(ResponseFlags::NO_ROUTE, "on_demand_discovery_timeout")
}

fn not_connected(failure: &Failure) -> End {
    let flags = failure.kind.flag().and_then(ResponseFlags::from_short).unwrap_or_default();
    let details = if failure.kind == FailureKind::Overflow { "upstream_overflow" } else { "upstream_connect_failed" };
    End { flags, details, reason: failure.to_string() }
}

#[expect(clippy::manual_async_fn, reason = "an async function would hold its arguments twice")]
fn carry(
    worker: &Worker,
    plan: &TcpPlan,
    record: &TcpRecord<'_>,
    mut downstream: Stream,
    mut upstream: Far,
) -> impl Future<Output = End> {
    async move {
        if let Far::Direct(upstream) = &mut upstream
            && record.downstream.silent
            && server_speaks_first(&mut downstream, upstream).await
        {
            worker.quiet.note(record.downstream.destination);
        }
        match copy::both(downstream, upstream, record.counters, plan.proxy.idle_timeout).await {
            Ok(()) => End::new(ResponseFlags::NONE, ""),
            Err(CopyError::Idle(_)) => End::new(ResponseFlags::STREAM_IDLE_TIMEOUT, "idle_timeout"),
            Err(CopyError::Failed { side, operation, source }) => {
                let (flags, details) = match (side, operation) {
                    (Side::Downstream, _) => {
                        (ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION, "downstream_remote_disconnect")
                    }
                    (Side::Upstream, Operation::Read | Operation::Write) => {
                        (ResponseFlags::UPSTREAM_CONNECTION_TERMINATION, "upstream_remote_disconnect")
                    }
                };
                let reason = TlsError::from_stream_error(&source).map_or_else(|| source.to_string(), |tls| tls.reason);
                End { flags, details, reason }
            }
        }
    }
}

/// Who breaks the silence? Nothing of what is said is taken.
async fn server_speaks_first(downstream: &mut Stream, upstream: &mut Stream) -> bool {
    let any = |bytes: &[u8]| (!bytes.is_empty()).then_some(());
    tokio::select! {
        said = peek::until(upstream, 1, None, any) => matches!(said, Ok(peek::Peeked::Answer(()))),
        _ = peek::until(downstream, 1, None, any) => false,
    }
}
