//! To the upstream: choose the cluster, change the head, make the tries, send the copies.

mod hedge;

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::http::uri::{Authority, PathAndQuery};
use ::http::{HeaderName, HeaderValue, Request, Response, Uri, header};
use base::Backoff;
use mesh_http::grpc::{self, GrpcStatus};
use mesh_http::{Body, head};
use model::RetryPolicy;
use model::cluster::Transport;
use model::retry::RetryOn;
use model::route::{self, Action, Forward, Found, HostRewrite, WeightedCluster};
use tokio::time::Instant;
use upstream::{
    Chosen, ClusterPools, Endpoint, EndpointId, Event, Exchange, Failure, PastPriorities, Pick, Sent, Target,
};

use crate::direct;
use crate::edge;
use crate::http::HttpConnection;
use crate::limits::{Asked, Limits, Over, PerTry};
use crate::live::View;
use crate::marks::Marks;
use crate::named;
use crate::peer;
use crate::record::Record;
use crate::replay::{self, Replay};
use crate::respond::{self, Fault};
use crate::route_stats::RouteEvent;
use crate::sticky::Sticky;
use crate::wishes::{self, Wishes};

/// Sends a request where its route says; `draw` decides between its clusters.
pub(crate) async fn forward(
    conn: &Rc<HttpConnection>,
    view: &View,
    (found, draw): (&Found<'_>, u64),
    (request, marks): (&mut Request<Body>, Marks),
    record: &Rc<Record>,
) -> Result<Response<Body>, Fault> {
    // Nothing else comes here.
    let Action::Forward(to) = &found.route.action else { return Err(Fault::NoRoute) };
    let to = &**to;
    let cluster = to.pick(draw).ok_or(Fault::NoCluster)?;
    record.to_cluster(&cluster.name);
    count(conn, view, found, record);
    let mut pools = view.pools(&cluster.name).ok_or(Fault::NoCluster)?;
    let dialled = conn.downstream.destination;
    if direct::may_be_workload(&pools, dialled) {
        pools = Box::pin(direct::pools(&conn.worker, view, pools, dialled)).await.map_err(Fault::UnknownWorkload)?;
        record.to_cluster(&pools.config().name);
    }
    record.to_service(pools.config());
    let Wishes { timeout, retry, hedge } = wishes::take(request.headers_mut(), marks, to);
    let grpc = marks.has(Marks::GRPC_TIMEOUT).then(|| grpc_timeout(request)).flatten();
    let limits = record.limits(to, Asked { grpc, timeout });
    let policy = retry.as_deref().or(to.retry.as_ref()).filter(|policy| policy.takes(request.headers()));
    let quiet = conn.plan().proxy.edge.suppress_own_headers;
    change_head((found, to, cluster), request, quiet)?;
    let target = match pools.is_of_named_hosts() {
        // Boxed: other exchanges have no room for it.
        true => Some(Box::pin(look_up(conn, &pools, request, (record, &limits))).await?),
        false => None,
    };
    let copies: Vec<_> = to.mirrors.iter().filter(|m| m.share.takes(rand::random())).collect();
    let hedges = hedge && policy.is_some_and(|policy| policy.per_try_timeout.is_some());
    let again = policy.is_some_and(|policy| hedges || needs_copy(policy, request));
    let keep = !mesh_http::is_upgrade(request) && (!copies.is_empty() || again);
    let replay = match keep {
        true => record
            .within(&limits, PerTry::default(), pin!(replay::prepare(request, conn.plan().kept_body)))
            .await
            .map_err(out_of_time)?
            .map_err(|e| Fault::RequestBody(e.kind))?,
        false => None,
    };
    copies.into_iter().for_each(|mirror| {
        replay.iter().for_each(|replay| send_copy(view, &mirror.cluster, replay.copy(request)));
    });
    let sticky = Sticky::of(&to.hash, &pools, conn, request);
    let tries = Tries {
        pools: &pools,
        tells_tries: found.host.tries_to_upstream,
        to,
        policy,
        hedges,
        conn,
        target: target.as_deref(),
        limits: &limits,
        replay,
        tried: RefCell::default(),
        sticky: sticky.as_deref(),
        past: past(policy),
        record,
    };
    let Sent { mut response, exchange } = match hedges {
        false => tries.run(request).await?,
        // Boxed: other exchanges have no room for it.
        true => Box::pin(tries.hedge(request)).await?,
    };
    let headers = response.headers_mut();
    record.upstream_peer(peer::take(headers).filter(|_| is_mutual(&exchange)));
    record.holds(exchange, limits.of_try(policy.and_then(|policy| per_try(policy).idle)));
    if let Some(milliseconds) = record.service_time().filter(|_| !quiet) {
        edge::service_time(headers, milliseconds);
    }
    crate::head::tries(found, headers, record);
    cluster.response_headers.apply(headers);
    found.route.response_headers.apply(headers);
    found.host.response_headers.apply(headers);
    sticky.into_iter().for_each(|sticky| sticky.answer(headers));
    Ok(response)
}

/// Where the host is that a request names.
async fn look_up(
    conn: &HttpConnection,
    pools: &ClusterPools,
    request: &Request<Body>,
    (record, limits): (&Rc<Record>, &Limits),
) -> Result<Box<Target>, Fault> {
    let looking = pin!(named::of_request(pools, request));
    let found = record.within(limits, PerTry::default(), looking).await.map_err(out_of_time)?;
    found.map(Box::new).map_err(|why| Fault::NoAddress { why, told: conn.plan().tells_of_names })
}

/// Lets the request count for its route, if that has statistics of its own.
fn count(conn: &HttpConnection, view: &View, found: &Found<'_>, record: &Record) {
    if found.route.stat_prefix.is_some()
        && let Some(stats) = conn.plan().table(&view.snapshot).and_then(|table| table.counted().of(found.route))
    {
        record.counted(stats.clone());
    }
}

/// What further tries are to know of where the ones before went, if that is asked for.
fn past(policy: Option<&RetryPolicy>) -> Option<Box<PastPriorities>> {
    let every = policy?.avoid_previous_priorities?;
    Some(Box::new(PastPriorities::new(every)))
}

/// What Envoy tells the upstream of a path and a host that it rewrites.
const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");

/// `quiet`: the upstream is not told what was there before.
fn change_head(
    (found, to, cluster): (&Found<'_>, &Forward, &WeightedCluster),
    request: &mut Request<Body>,
    quiet: bool,
) -> Result<(), Fault> {
    if let Some(rewrite) = &to.path_rewrite {
        let path = route::rewritten_path(rewrite, &found.route.matches, &crate::http::view_of(request));
        let before = request.uri().path_and_query().and_then(|path| HeaderValue::from_str(path.as_str()).ok());
        set_path(request, &path)?;
        if let Some(path) = before.filter(|_| !quiet) {
            request.headers_mut().insert(ORIGINAL_PATH, path);
        }
    }
    if let Some(HostRewrite::Literal(host)) = &to.host_rewrite {
        let before = head::authority(request).and_then(|host| HeaderValue::from_str(host).ok());
        set_host(request, host)?;
        if let Some(host) = before.filter(|_| !quiet) {
            request.headers_mut().insert(ORIGINAL_HOST, host);
        }
    }
    let headers = request.headers_mut();
    cluster.request_headers.apply(headers);
    found.route.request_headers.apply(headers);
    found.host.request_headers.apply(headers);
    Ok(())
}

pub(crate) fn set_path(request: &mut Request<Body>, path: &str) -> Result<(), Fault> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path).map_err(|_| Fault::NoRoute)?);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Fault::NoRoute)?;
    Ok(())
}

pub(crate) fn set_host(request: &mut Request<Body>, host: &str) -> Result<(), Fault> {
    if request.uri().authority().is_some() {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.authority = Some(Authority::try_from(host).map_err(|_| Fault::NoHost)?);
        *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Fault::NoHost)?;
    } else {
        let value = HeaderValue::from_str(host).map_err(|_| Fault::NoHost)?;
        request.headers_mut().insert(header::HOST, value);
    }
    Ok(())
}

fn grpc_timeout(request: &Request<Body>) -> Option<std::time::Duration> {
    grpc::parse_timeout(request.headers().get(grpc::GRPC_TIMEOUT)?.to_str().ok()?)
}

fn is_mutual(exchange: &Exchange) -> bool {
    exchange.connection().and_then(|c| c.tls.as_ref()).is_some_and(|peer| peer.verified)
}

/// Can a further try be asked for after the request has left us? Otherwise what comes back unused suffices.
fn needs_copy(retry: &RetryPolicy, request: &Request<Body>) -> bool {
    let RetryOn { any_5xx, gateway_error, reset, refused_stream, .. } = retry.on;
    let by_grpc = retry.on.grpc_unavailable
        || retry.on.grpc_cancelled
        || retry.on.grpc_deadline_exceeded
        || retry.on.grpc_internal
        || retry.on.grpc_resource_exhausted;
    let by_any = any_5xx || gateway_error || reset || refused_stream || by_status(&retry.on);
    retry.attempts > 0 && (by_any || (by_grpc && respond::is_grpc(request.headers())))
}

fn worth_another(policy: &RetryPolicy, sent: &Sent, grpc_status: Option<u16>) -> bool {
    policy.on_response(sent.response.status().as_u16(), sent.response.headers(), grpc_status)
}

fn per_try(policy: &RetryPolicy) -> PerTry {
    let idle = policy.more.as_ref().and_then(|more| more.per_try_idle_timeout);
    PerTry { timeout: policy.per_try_timeout, idle }
}

fn by_status(on: &RetryOn) -> bool {
    on.retriable_4xx
        || on.envoy_ratelimited
        || on.retriable_headers
        || (on.retriable_status_codes && !on.status_codes.is_empty())
}

/// Fire and forget: nobody waits for the answer. The mirror's cluster limits how long a connection may take, and the
/// answer's body is dropped unread.
fn send_copy(view: &View, cluster: &str, mut request: Request<Body>) {
    let Some(pools) = view.pools(cluster) else { return };
    tokio::task::spawn_local(async move {
        let target = match pools.is_of_named_hosts() {
            true => named::of_request(&pools, &request).await.ok(),
            false => None,
        };
        let pick = Pick { downstream: request.version(), target: target.as_ref(), ..Pick::new(rand::random()) };
        let sent = tokio::time::timeout(COPY_PATIENCE, pools.send(&mut request, &pick)).await;
        if let Ok(Ok(sent)) = sent {
            // Read to its end within bounds, so that the connection can be used again.
            let _ = tokio::time::timeout(COPY_PATIENCE, sent.response.into_body().collect(1 << 20)).await;
        }
    });
}

/// How long the answer to a copy may take; Envoy's default route timeout.
const COPY_PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);

/// The tries of one request.
struct Tries<'a> {
    pools: &'a Rc<ClusterPools>,
    /// The upstream is told the number of each.
    tells_tries: bool,
    to: &'a Forward,
    policy: Option<&'a RetryPolicy>,
    /// A try that takes too long is not given up: another one joins it.
    hedges: bool,
    conn: &'a Rc<HttpConnection>,
    /// The host that the request names, where it goes there.
    target: Option<&'a Target>,
    limits: &'a Limits,
    replay: Option<Replay>,
    /// Where tries went that failed, or are not over.
    tried: RefCell<Vec<EndpointId>>,
    sticky: Option<&'a Sticky>,
    past: Option<Box<PastPriorities>>,
    record: &'a Rc<Record>,
}

/// How one try ended, if not well.
enum Ended {
    Failed(Box<Failure>),
    Answered(Box<Sent>),
    TooLong(EndpointId, Over),
}

impl Tries<'_> {
    async fn run(&self, request: &mut Request<Body>) -> Result<Sent, Fault> {
        let policy = self.policy;
        let mut left = policy.map_or(0, |p| p.attempts);
        let mut backoff = None;
        // The place of a further try among those that may be under way at once.
        let mut place = None;
        loop {
            let begun = Instant::now();
            let ended = match self.once(request).await? {
                Ok(sent) => {
                    self.record.answered(begun);
                    match policy.filter(|p| worth_another(p, &sent, self.grpc_status(&sent))) {
                        None => {
                            self.record.tries_succeeded(self.pools);
                            return Ok(sent);
                        }
                        Some(_) => Ended::Answered(Box::new(sent)),
                    }
                }
                Err(ended) => ended,
            };
            let policy = match policy.filter(|policy| ended.is_retriable(&policy.on)) {
                Some(policy) if left > 0 && self.restore(request, &ended) => policy,
                wanted => return self.give_up(ended, wanted.is_some() && left == 0),
            };
            drop(place.take());
            place = self.pools.retry();
            if place.is_none() {
                self.record.tries_overflow();
                return self.give_up(ended, false);
            }
            self.tried.borrow_mut().extend(ended.endpoint());
            self.record.tries_again(self.pools);
            let asked = ended.asked_wait(policy);
            drop(ended);
            left -= 1;
            let backoff = backoff.get_or_insert_with(|| Backoff::new(policy.base_interval, policy.max_interval));
            let pause = tokio::time::sleep(asked.unwrap_or_else(|| backoff.next_delay()));
            self.record.within(self.limits, PerTry::default(), pin!(pause)).await.map_err(out_of_time)?;
        }
    }

    /// Makes the request whole again for another try; says whether it is.
    fn restore(&self, request: &mut Request<Body>, ended: &Ended) -> bool {
        if let (false, Some(replay)) = (ended.left_it_whole(), &self.replay) {
            *request.body_mut() = replay.body();
            return true;
        }
        ended.left_it_whole()
    }

    /// One try. The outer error ends all of them.
    async fn once(&self, request: &mut Request<Body>) -> Result<Result<Sent, Ended>, Fault> {
        let policy = self.policy;
        let pick = Pick {
            draw: rand::random(),
            tried: &[],
            repicks: policy.map_or(0, |p| p.host_selection_attempts),
            hash: self.sticky.map(|sticky| sticky.hash),
            past: self.past.as_deref(),
            original_destination: self.conn.downstream.original_destination(),
            target: self.target,
            downstream: self.record.version(),
            upgrade: mesh_http::is_upgrade(request),
            rewrite_host: matches!(self.to.host_rewrite, Some(HostRewrite::Upstream)),
            ends: self.pools.tells_ends().then(|| self.conn.ends()),
            keep_head: self.replay.is_some(),
        };
        let chosen = match self.choose(&pick) {
            Ok(chosen) => chosen,
            Err(failure) => return Ok(Err(Ended::Failed(failure))),
        };
        let endpoint = chosen.endpoint().clone();
        self.past.iter().for_each(|past| past.tried(endpoint.priority()));
        self.record.tries(&endpoint);
        self.introduce(&endpoint, request);
        if !self.conn.plan().proxy.edge.suppress_own_headers {
            self.limits.tell(request.headers_mut(), self.per_try().timeout);
        }
        if self.tells_tries {
            edge::attempts(request.headers_mut(), self.record.attempts());
        }
        let sending = pin!(self.pools.send_to(chosen, request, &pick));
        let ended = self.record.within(self.limits, self.per_try(), sending).await;
        if !matches!(&ended, Ok(Err(failure)) if failure.kind.is_unconnected()) {
            self.record.count(RouteEvent::Request);
        }
        match ended {
            Ok(Ok(sent)) => Ok(Ok(sent)),
            Ok(Err(failure)) => Ok(Err(Ended::Failed(failure))),
            Err(over @ (Over::Try | Over::TryIdle)) => {
                self.pools.stats().count(Event::PerTryTimeout);
                self.pools.too_late(&endpoint);
                Ok(Err(Ended::TooLong(endpoint.id(), over)))
            }
            Err(over) => {
                if over == Over::Whole {
                    self.record.timed_out(self.pools);
                    self.pools.too_late(&endpoint);
                }
                Err(out_of_time(over))
            }
        }
    }

    fn choose(&self, pick: &Pick<'_>) -> Result<Chosen, Box<Failure>> {
        let avoids = self.policy.is_some_and(|policy| policy.avoid_previous_hosts);
        let tried = self.tried.borrow();
        let chosen = self.pools.choose(&Pick { tried: if avoids { &tried } else { &[] }, ..*pick })?;
        drop(tried);
        if self.hedges {
            self.tried.borrow_mut().push(chosen.endpoint().id());
        }
        Ok(chosen)
    }

    /// The limits of a try. Where a further one joins it, its time is none.
    fn per_try(&self) -> PerTry {
        let limits = self.policy.map(per_try).unwrap_or_default();
        if self.hedges { PerTry { timeout: None, ..limits } } else { limits }
    }

    /// Proxies of the mesh are told who we are; others are not.
    fn introduce(&self, endpoint: &Endpoint, request: &mut Request<Body>) {
        if endpoint.mesh_tls() && matches!(self.pools.config().transport, Transport::MeshTls(_)) {
            self.conn.worker.shared.card.show(request.headers_mut());
        } else if self.record.attempts() > 1 {
            // An earlier try may have been to a proxy of the mesh.
            peer::take(request.headers_mut());
        }
    }

    fn grpc_status(&self, sent: &Sent) -> Option<u16> {
        let status = self.record.is_grpc().then(|| GrpcStatus::from_headers(sent.response.headers()));
        status.flatten().and_then(|s| u16::try_from(s.0).ok())
    }

    fn give_up(&self, ended: Ended, exhausted: bool) -> Result<Sent, Fault> {
        if exhausted {
            self.record.tries_are_used_up(self.pools);
        }
        match ended {
            Ended::Answered(sent) => Ok(*sent),
            Ended::TooLong(_, over) => Err(out_of_time(over)),
            Ended::Failed(failure) => Err(Fault::Upstream(failure)),
        }
    }
}

impl Ended {
    fn is_retriable(&self, on: &RetryOn) -> bool {
        match self {
            Self::Answered(_) => true,
            // Envoy counts it as a reset.
            Self::TooLong(..) => on.reset || on.any_5xx || on.gateway_error,
            Self::Failed(failure) => failure.retriable(on),
        }
    }

    fn endpoint(&self) -> Option<EndpointId> {
        match self {
            Self::Answered(sent) => Some(sent.exchange.endpoint().id()),
            Self::Failed(failure) => failure.endpoint.as_ref().map(|e| e.id()),
            Self::TooLong(endpoint, _) => Some(*endpoint),
        }
    }

    /// The wait for which the answer asks, and up to half as much again, so that not all come back at once.
    fn asked_wait(&self, policy: &RetryPolicy) -> Option<Duration> {
        let Self::Answered(sent) = self else { return None };
        policy.more.as_ref()?.rate_limited.as_ref()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let wait = policy.asked_wait(sent.response.headers(), now)?;
        Some(wait + wait.mul_f64(rand::random_range(0.0..0.5)))
    }

    /// Can the request be sent again as it is?
    fn left_it_whole(&self) -> bool {
        matches!(self, Self::Failed(failure) if failure.whole)
    }
}

pub(crate) fn out_of_time(over: Over) -> Fault {
    match over {
        Over::Whole => Fault::Timeout,
        Over::Try => Fault::PerTryTimeout,
        Over::TryIdle => Fault::PerTryIdle,
        Over::Idle => Fault::StreamIdle,
        Over::Stream => Fault::StreamTooLong,
        Over::Request => Fault::RequestTooSlow,
    }
}
