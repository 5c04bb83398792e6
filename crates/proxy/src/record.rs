//! What is known of an exchange or a connection: opened once, closed exactly once. Access log and metrics are written
//! from the same facts in the same moment, so that they cannot disagree.

mod body;
mod facts;
mod raw;
mod refused;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use ::http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use base::TraceContext;
use filter::{LocalResponse, Places};
use mesh_http::grpc::{GrpcStatus, Messages};
use mesh_http::{Answer, Body, BodyEnd, BodyErrorKind, BodyWatch, Side, Timer};
use model::route::{Action, Forward, Found};
use model::{Cluster, Direction, Metadata, WorkloadRef};
use telemetry::ResponseFlags;
use tokio::time::Instant;
use upstream::{ClusterPools, Endpoint, Event, Exchange};

use crate::forward::out_of_time;
use crate::http::HttpConnection;
use crate::limits::{Asked, Limits, Over, PerTry, Progress, TryEnds};
use crate::live::View;
use crate::observe::Bodies;
use crate::reason;
use crate::respond::{self, Fault};
use crate::route_stats::{RouteEvent, RouteStats};

use body::{RequestWatch, count};
use facts::Counted;
pub(crate) use facts::Facts;
pub(crate) use raw::TcpRecord;
pub(crate) use refused::{Refused, refused};

/// What is known of one exchange.
pub(crate) struct Record {
    conn: Rc<HttpConnection>,
    begun: Instant,
    begun_at: SystemTime,
    method: Method,
    version: Version,
    grpc: bool,
    request_bytes: Cell<u64>,
    response_bytes: Cell<u64>,
    request_messages: Cell<Messages>,
    response_messages: Cell<Messages>,
    progress: Progress,
    facts: RefCell<Facts>,
    /// Set only when the response's body makes somebody wait.
    alarm: RefCell<Option<Timer>>,
    /// Beginnings of both bodies; kept only for a tap.
    bodies: RefCell<Option<Box<Bodies>>>,
    tunnel: Cell<bool>,
    closed: Cell<bool>,
}

/// An exchange that is over, for those who write it down.
pub(crate) struct Summary<'a> {
    /// Its connection.
    pub conn: &'a HttpConnection,
    /// What was found out.
    pub facts: &'a Facts,
    /// When it began.
    pub begun_at: SystemTime,
    /// How long it took in all.
    pub duration: Duration,
    /// The request's method.
    pub method: &'a Method,
    /// What the downstream spoke.
    pub version: Version,
    /// Is it gRPC?
    pub grpc: bool,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// Messages of gRPC in the request's body.
    pub request_messages: u64,
    /// Those in the response's.
    pub response_messages: u64,
}

impl Record {
    /// Opens the record of a request whose head has come.
    pub(crate) fn open(conn: &Rc<HttpConnection>, request: &mut Request<Body>) -> Rc<Self> {
        let begun = Instant::now();
        let record = Rc::new(Self {
            conn: conn.clone(),
            begun,
            begun_at: SystemTime::now(),
            method: request.method().clone(),
            version: request.version(),
            grpc: respond::is_grpc(request.headers()),
            request_bytes: Cell::new(0),
            response_bytes: Cell::new(0),
            request_messages: Cell::default(),
            response_messages: Cell::default(),
            progress: Progress::begun(begun),
            facts: RefCell::default(),
            alarm: RefCell::default(),
            bodies: RefCell::default(),
            tunnel: Cell::new(false),
            closed: Cell::new(false),
        });
        if record.is_logged() {
            record.facts.borrow_mut().keep_target(request);
        }
        if !request.body().is_end_stream() {
            record.progress.receiving.set(true);
            let watch = RequestWatch(record.clone());
            request.body_mut().on_frame(Rc::new(watch));
        }
        conn.stats.requests.inc();
        record
    }

    /// The connection it came by.
    pub(crate) fn connection(&self) -> &Rc<HttpConnection> {
        &self.conn
    }

    /// The request's method.
    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    /// Is it gRPC?
    pub(crate) fn is_grpc(&self) -> bool {
        self.grpc
    }

    /// How many tries were made, the present one among them.
    pub(crate) fn attempts(&self) -> u32 {
        self.facts.borrow().attempts
    }

    /// What the downstream speaks.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// The form in which the caller understands an error.
    pub(crate) fn caller(&self) -> respond::Caller {
        let inbound = self.conn.plan().direction == Direction::Inbound;
        let h2 = self.version == Version::HTTP_2;
        respond::Caller {
            grpc: self.grpc,
            h2,
            mesh_h2: inbound && h2 && self.conn.caller.is_proven(),
            whole: !self.progress.receiving.get(),
            retried: self.attempts() > 1,
            quiet: self.conn.plan().proxy.edge.suppress_own_headers,
        }
    }

    /// The limits of time on a route.
    pub(crate) fn limits(&self, route: &Forward, asked: Asked) -> Limits {
        Limits::new(route, &self.conn.plan().proxy, asked, self.begun)
    }

    /// Runs `work` within limits.
    pub(crate) fn within<T>(
        &self,
        limits: &Limits,
        per_try: PerTry,
        work: Pin<&mut impl Future<Output = T>>,
    ) -> impl Future<Output = Result<T, Over>> {
        limits.within(&self.conn.worker.alarms, &self.progress, per_try, work)
    }

    /// Runs what filters do that wait for bodies, within the limits of the exchange.
    pub(crate) async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, Fault> {
        let known = self.facts.borrow().limits;
        let limits = known.unwrap_or_else(|| Limits::of_proxy(&self.conn.plan().proxy, self.begun));
        let (done, receiving) = {
            let work = pin!(work);
            let done = self.within(&limits, PerTry::default(), work).await;
            (done, self.progress.receiving.get())
        };
        // Work that is given up drops a body, which does not make the request whole.
        self.progress.receiving.set(receiving);
        done.map_err(out_of_time)
    }

    /// Does any log want to know of it, or a metric?
    fn is_logged(&self) -> bool {
        let plan = self.conn.plan();
        let is_read = plan.shape.as_ref().is_some_and(|shape| shape.reads());
        !plan.logs.is_empty() || is_read || self.conn.worker.shared.taps.are_open()
    }

    /// Of a request that came to nothing, keeps what logs tell that are told of such alone.
    fn keep(&self, facts: &mut Facts, request: &Request<Body>) {
        if facts.request_headers.is_some() || !self.conn.plan().logs.tell_failures() {
            return;
        }
        facts.keep_target(request);
        facts.request_headers = Some(request.headers().clone());
    }

    /// The request goes no further; maybe its head was not even complete.
    pub(crate) fn refuses(&self, request: &Request<Body>) {
        let known = self.facts.borrow().request_headers.is_some();
        if !known {
            self.received(request);
        }
    }

    /// The head is complete.
    pub(crate) fn received(&self, request: &Request<Body>) {
        if self.is_logged() || self.is_recorded() {
            self.facts.borrow_mut().request_headers = Some(request.headers().clone());
            *self.bodies.borrow_mut() = self.conn.worker.shared.taps.bodies(request);
        }
    }

    /// Responses tell the request's id.
    pub(crate) fn tells_id(&self, id: Option<HeaderValue>) {
        self.facts.borrow_mut().request_id = id.map(Box::new);
    }

    /// The request's id, where responses tell it.
    pub(crate) fn request_id(&self) -> Option<HeaderValue> {
        self.facts.borrow().request_id.as_deref().cloned()
    }

    /// The caller asks why, should it come to nothing.
    pub(crate) fn is_asked_why(&self) {
        self.facts.borrow_mut().asks_why = true;
    }

    /// Why it came to nothing, if that is known and the caller asks.
    pub(crate) fn tell_why(&self, headers: &mut HeaderMap) {
        let facts = self.facts.borrow();
        if let Some(why) = facts.reason.as_deref().filter(|_| facts.asks_why) {
            reason::tell(headers, why);
        }
    }

    /// Keeps why it came to nothing, if anybody wants to know.
    fn explain(&self, facts: &mut Facts, why: impl FnOnce(&Facts) -> Cow<'static, str>) {
        if facts.asks_why || self.conn.plan().logs.tell_reasons() {
            facts.reason = Some(why(facts).into());
        }
    }

    /// The caller told which workload it is.
    pub(crate) fn downstream_peer(&self, workload: Option<Rc<WorkloadRef>>) {
        self.facts.borrow_mut().source = workload;
    }

    /// Did the caller tell, so that it wants to be told too?
    pub(crate) fn peer_told_who_it_is(&self) -> bool {
        self.facts.borrow().source.is_some()
    }

    /// The upstream told which workload it is.
    pub(crate) fn upstream_peer(&self, raw: Option<HeaderValue>) {
        let Some(raw) = raw else { return };
        self.facts.borrow_mut().destination = self.conn.worker.peers.read(raw);
    }

    /// It is part of a trace.
    pub(crate) fn traced(&self, span: TraceContext, request: &Request<Body>) {
        let mut facts = self.facts.borrow_mut();
        facts.span = Some(span);
        let recorded = span.sampled == Some(true);
        let may_be = self.conn.plan().spans.as_ref().is_some_and(|spans| spans.may_be(recorded));
        if may_be && !self.is_logged() {
            facts.keep_target(request);
        }
    }

    /// Is its trace recorded, and told to somebody?
    fn is_recorded(&self) -> bool {
        let recorded = self.facts.borrow().span.is_some_and(|span| span.sampled == Some(true));
        recorded && self.conn.plan().spans.as_ref().is_some_and(|spans| spans.may_be(true))
    }

    /// Its route is found.
    pub(crate) fn routed(&self, found: &Found<'_>) {
        let mut facts = self.facts.borrow_mut();
        facts.route = Some(found.route.name.clone());
        facts.virtual_host = Some(found.host.name.clone());
    }

    /// It goes to this cluster, if there is such a one.
    pub(crate) fn to_cluster(&self, name: &Arc<str>) {
        self.facts.borrow_mut().cluster = Some(name.clone());
    }

    /// The cluster exists.
    pub(crate) fn to_service(&self, cluster: &Arc<Cluster>) {
        self.facts.borrow_mut().cluster_config = Some(cluster.clone());
    }

    /// A try begins, at this endpoint.
    pub(crate) fn tries(&self, endpoint: &Arc<Endpoint>) {
        let mut facts = self.facts.borrow_mut();
        facts.attempts += 1;
        facts.endpoint = Some(endpoint.clone());
    }

    /// A try got an answer.
    pub(crate) fn answered(&self, begun: Instant) {
        let mut facts = self.facts.borrow_mut();
        facts.upstream_time = Some(begun.elapsed());
        facts.details = Cow::Borrowed("via_upstream");
        self.progress.moves();
    }

    /// Of the tries under way, the one at this endpoint counts.
    pub(crate) fn settles_on(&self, endpoint: &Arc<Endpoint>) {
        self.facts.borrow_mut().endpoint = Some(endpoint.clone());
    }

    /// The endpoint of the newest try.
    pub(crate) fn endpoint(&self) -> Option<Arc<Endpoint>> {
        self.facts.borrow().endpoint.clone()
    }

    /// Its route is counted for itself.
    pub(crate) fn counted(&self, stats: Arc<RouteStats>) {
        self.facts.borrow_mut().counted = Some(Box::new(Counted { stats, whole: Instant::now() }));
    }

    /// This happened to it, which counts if its route is counted.
    pub(crate) fn count(&self, event: RouteEvent) {
        if let Some(counted) = &self.facts.borrow().counted {
            counted.stats.count(event);
        }
    }

    /// Another try follows.
    pub(crate) fn tries_again(&self, pools: &ClusterPools) {
        pools.stats().count(Event::Retry);
        self.count(RouteEvent::Retry);
    }

    /// An answer came that is good enough.
    pub(crate) fn tries_succeeded(&self, pools: &ClusterPools) {
        if self.attempts() > 1 {
            pools.stats().count(Event::RetrySuccess);
            self.count(RouteEvent::RetrySuccess);
        }
    }

    /// The time for all tries is over.
    pub(crate) fn timed_out(&self, pools: &ClusterPools) {
        pools.stats().count(Event::RequestTimeout);
        self.count(RouteEvent::Timeout);
    }

    /// No further try is left.
    pub(crate) fn tries_are_used_up(&self, pools: &ClusterPools) {
        pools.stats().count(Event::RetryLimitExceeded);
        self.count(RouteEvent::RetryLimitExceeded);
        self.facts.borrow_mut().flags |= ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED;
    }

    /// A further try would be one too many at once.
    pub(crate) fn tries_overflow(&self) {
        self.count(RouteEvent::RetryOverflow);
        self.facts.borrow_mut().flags |= ResponseFlags::UPSTREAM_OVERFLOW;
    }

    /// The exchange has its place on an endpoint until its end, within these limits.
    pub(crate) fn holds(&self, exchange: Exchange, limits: Limits) {
        let mut facts = self.facts.borrow_mut();
        facts.exchange = Some(exchange);
        facts.limits = Some(limits.of_response());
    }

    /// Filters gave it these places, which it has until its end.
    pub(crate) fn occupies(&self, places: Places) {
        self.facts.borrow_mut().places = places;
    }

    /// A filter keeps it from going where this route leads. What was called is known all the same.
    pub(crate) fn would_go(&self, view: &View, found: Option<&Found<'_>>, draw: u64) {
        if let Some(Action::Forward(to)) = found.map(|found| &found.route.action)
            && let Some(cluster) = to.pick(draw)
        {
            self.to_cluster(&cluster.name);
            view.snapshot.clusters.get(&cluster.name).into_iter().for_each(|known| self.to_service(known.config()));
        }
    }

    /// A filter answered.
    pub(crate) fn by_filter(&self, request: &Request<Body>, mut local: LocalResponse) -> Response<Body> {
        let mut facts = self.facts.borrow_mut();
        self.keep(&mut facts, request);
        facts.flags |= local.flags;
        let why = local.why.take();
        self.explain(&mut facts, |_| match why {
            Some(why) => Cow::Owned(why.into()),
            None => reason::of_filter(&local.details),
        });
        if local.status.as_u16() >= 400 {
            self.conn.worker.series.refusal(&local.details);
        }
        facts.details = std::mem::take(&mut local.details);
        drop(facts);
        local.into_response(self.grpc)
    }

    /// Filters have said what they have to say.
    pub(crate) fn said(&self, request: &Request<Body>) {
        if self.conn.plan().logs.tell_metadata() {
            let said = request.extensions().get::<Metadata>();
            self.facts.borrow_mut().metadata = said.cloned().map(Box::new);
        }
    }

    /// What filters did to the exchange.
    pub(crate) fn filtered(&self, flags: ResponseFlags) {
        self.facts.borrow_mut().flags |= flags;
    }

    /// The route answered.
    pub(crate) fn by_route(
        &self,
        found: &Found<'_>,
        request: &Request<Body>,
        answer: Response<Body>,
    ) -> Response<Body> {
        let mut facts = self.facts.borrow_mut();
        facts.details = Cow::Borrowed("direct_response");
        let status = answer.status().as_u16();
        if status >= 400 {
            self.keep(&mut facts, request);
        }
        self.explain(&mut facts, |_| reason::of_route(&self.conn, request, &found.route.name, status));
        answer
    }

    /// How long the upstream took, if it was asked, in milliseconds.
    pub(crate) fn service_time(&self) -> Option<u64> {
        self.facts.borrow().upstream_time.map(|t| t.as_millis() as u64)
    }

    /// Bytes follow in place of HTTP; whoever carries them closes the record.
    pub(crate) fn goes_on_as_tunnel(&self) {
        self.tunnel.set(true);
    }

    /// The answer goes out: the record of a response is closed when its body has ended.
    pub(crate) fn answer(self: &Rc<Self>, answer: Answer) -> Answer {
        let Answer::Response(mut response) = answer else {
            self.close();
            return answer;
        };
        let keep = self.is_logged();
        {
            let mut facts = self.facts.borrow_mut();
            facts.status = Some(response.status());
            facts.head_time = Some(self.begun.elapsed());
            facts.counted.iter().for_each(|counted| counted.stats.answered(response.status()));
            facts.grpc_status = self.grpc.then(|| GrpcStatus::from_headers(response.headers())).flatten();
            facts.response_headers = keep.then(|| response.headers().clone());
        }
        if !self.tunnel.get() {
            response.body_mut().on_frame(self.clone());
        }
        Answer::Response(response)
    }

    /// It came to a fault; this is the answer.
    pub(crate) fn fails(&self, fault: Fault, request: &Request<Body>) -> Answer {
        let caller = self.caller();
        let mut facts = self.facts.borrow_mut();
        self.keep(&mut facts, request);
        self.explain(&mut facts, |facts| reason::of_fault(&fault, &self.conn, request, facts));
        let local = respond::fault(fault, caller);
        facts.flags |= local.flags;
        facts.details = local.details;
        facts.transport_failure = local.transport_failure;
        // A response may yet get another, by a filter.
        facts.status = Some(local.status);
        local.answer
    }

    /// Bytes of the request's body passed.
    pub(crate) fn request_data(&self, bytes: usize) {
        self.request_bytes.set(self.request_bytes.get() + bytes as u64);
        self.progress.moves();
    }

    /// Bytes of the response's body passed.
    pub(crate) fn response_data(&self, bytes: usize) {
        self.response_bytes.set(self.response_bytes.get() + bytes as u64);
        self.progress.moves();
    }

    /// The exchange is over. Only the first call counts.
    pub(crate) fn close(&self) {
        if self.closed.replace(true) {
            return;
        }
        if let Some(alarm) = self.alarm.take() {
            self.conn.worker.alarms.give_back(alarm);
        }
        let facts = self.facts.take();
        if let Some(counted) = facts.counted.as_ref().filter(|_| facts.exchange.is_some()) {
            counted.stats.took(counted.whole.elapsed());
        }
        let summary = Summary {
            conn: &self.conn,
            facts: &facts,
            begun_at: self.begun_at,
            duration: self.begun.elapsed(),
            method: &self.method,
            version: self.version,
            grpc: self.grpc,
            request_bytes: self.request_bytes.get(),
            response_bytes: self.response_bytes.get(),
            request_messages: self.request_messages.get().count(),
            response_messages: self.response_messages.get().count(),
        };
        let line = self.conn.worker.series.exchange(&summary);
        self.conn.plan().logs.exchange(&self.conn.worker.writers, &summary);
        self.conn.plan().spans.iter().for_each(|spans| spans.exchange(&summary));
        let taps = &self.conn.worker.shared.taps;
        if let Some(line) = line.filter(|_| taps.are_open()) {
            taps.exchange(&summary, &line, self.bodies.borrow().as_deref());
        }
    }

    fn response_ended(&self, end: BodyEnd) {
        let flag = match end {
            BodyEnd::Dropped if self.method == Method::HEAD => ResponseFlags::NONE, // its body is never read
            BodyEnd::Complete => {
                let places = std::mem::take(&mut self.facts.borrow_mut().places);
                places.complete();
                ResponseFlags::NONE
            }
            BodyEnd::Dropped => self.downstream_gone(),
            BodyEnd::Failed(error) if error.side == Side::Downstream => self.downstream_gone(),
            BodyEnd::Failed(error) => match error.kind {
                BodyErrorKind::Timeout => match self.facts.borrow().overdue {
                    Some(Over::Whole | Over::TryIdle) => ResponseFlags::UPSTREAM_REQUEST_TIMEOUT,
                    // Envoy has no flag for it.
                    Some(Over::Stream) => ResponseFlags::NONE,
                    _ => ResponseFlags::STREAM_IDLE_TIMEOUT,
                },
                BodyErrorKind::Reset(_) => ResponseFlags::UPSTREAM_REMOTE_RESET,
                BodyErrorKind::Malformed => ResponseFlags::UPSTREAM_PROTOCOL_ERROR,
                _ => ResponseFlags::UPSTREAM_CONNECTION_TERMINATION,
            },
        };
        {
            let mut facts = self.facts.borrow_mut();
            facts.flags |= flag;
            if let BodyEnd::Failed(error) = end {
                facts.details = broken_off(error.kind, facts.overdue);
            }
        }
        self.close();
    }

    fn downstream_gone(&self) -> ResponseFlags {
        match self.version {
            Version::HTTP_2 => ResponseFlags::DOWNSTREAM_REMOTE_RESET,
            _ => ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION,
        }
    }
}

/// The response's body passes.
impl BodyWatch for Record {
    fn data(&self, data: &[u8]) {
        self.response_data(data.len());
        if let Some(bodies) = &*self.bodies.borrow() {
            bodies.response(data);
        }
        if self.grpc {
            count(&self.response_messages, data);
        }
    }
    fn trailers(&self, trailers: &HeaderMap) {
        if self.grpc
            && let Some(status) = GrpcStatus::from_headers(trailers)
        {
            self.facts.borrow_mut().grpc_status = Some(status);
        }
    }
    fn end(&self, end: BodyEnd) {
        self.response_ended(end);
    }
    fn poll_limit(&self, cx: &mut Context<'_>) -> Poll<BodyErrorKind> {
        let mut facts = self.facts.borrow_mut();
        let Some(limits) = facts.limits else { return Poll::Pending };
        let mut alarm = self.alarm.borrow_mut();
        let timer = alarm.get_or_insert_with(|| self.conn.worker.alarms.take());
        facts.overdue = Some(ready!(limits.poll_over(timer, cx, &self.progress, TryEnds::default())));
        Poll::Ready(BodyErrorKind::Timeout)
    }
}

impl Drop for Record {
    /// The peer went away before there was an answer.
    fn drop(&mut self) {
        if !self.closed.get() {
            let gone = self.downstream_gone();
            let mut facts = self.facts.borrow_mut();
            facts.flags |= gone;
            facts.details = Cow::Borrowed("downstream_remote_disconnect");
            drop(facts);
            self.close();
        }
    }
}

/// Envoy's details of a response that ended within its body.
fn broken_off(kind: BodyErrorKind, overdue: Option<Over>) -> Cow<'static, str> {
    let started = "upstream_reset_after_response_started";
    match (kind, overdue) {
        (BodyErrorKind::Timeout, Some(Over::Whole)) => "response_timeout".into(),
        (BodyErrorKind::Timeout, Some(Over::Stream)) => "max_duration_timeout".into(),
        (BodyErrorKind::Timeout, Some(Over::TryIdle)) => "upstream_per_try_idle_timeout".into(),
        (BodyErrorKind::Timeout, _) => "stream_idle_timeout".into(),
        (BodyErrorKind::Reset(_), _) => format!("{started}{{remote_reset}}").into(),
        (BodyErrorKind::Malformed, _) => format!("{started}{{protocol_error}}").into(),
        (kind, _) => format!("{started}{{{kind}}}").replace(' ', "_").into(),
    }
}
