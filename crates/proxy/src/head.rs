//! What every head goes through on its way in and out: fields of one connection only go, those by which proxies tell
//! each other come.

use ::http::{HeaderMap, Request, Response};
use mesh_http::{Answer, Body, head};
use model::route::{DirectResponse, Found, Redirect, redirect_location};

use crate::http::{HttpConnection, view_of};
use crate::marks::Marks;
use crate::record::Record;
use crate::respond::{self, Fault};
use crate::{edge, peer, reason, target, trace};

/// Cleans and completes a request's head; says what of interest it had.
pub(crate) fn receive(conn: &HttpConnection, request: &mut Request<Body>, record: &Record) -> Result<Marks, Fault> {
    target::bring_into_form(request, &conn.plan().proxy, conn.downstream.destination.port())?;
    if head::authority(request).is_none() {
        return Err(Fault::NoHost);
    }
    let keep_upgrade = mesh_http::is_upgrade(request);
    head::remove_hop_by_hop(request.headers_mut(), keep_upgrade);
    let marks = Marks::of(request.headers());
    if marks.has(Marks::PEER) {
        let told = peer::take(request.headers_mut()).filter(|_| conn.caller.is_proven());
        record.downstream_peer(told.and_then(|raw| conn.peer.read(raw, &conn.worker.peers)));
    }
    if marks.has(Marks::EXPLAIN) && reason::asked(conn, request.headers_mut()) {
        record.is_asked_why();
    }
    edge::receive(request.headers_mut(), marks, &conn.plan().proxy, &conn.caller);
    if let Some(geo) = &conn.plan().geo {
        geo.tell(request.headers_mut(), conn.caller.address());
    }
    if let Some(tracing) = &conn.plan().proxy.tracing {
        let span = trace::continue_in(request.headers_mut(), marks, tracing, rand::random());
        record.traced(span, request);
    }
    if conn.plan().proxy.edge.request_id_in_response {
        record.tells_id(edge::request_id(request.headers()));
    }
    record.received(request);
    Ok(marks)
}

/// Cleans and completes a response's head.
pub(crate) fn answer(conn: &HttpConnection, response: &mut Response<Body>, record: &Record) {
    let switching = response.status() == ::http::StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    head::remove_hop_by_hop(headers, switching);
    if record.peer_told_who_it_is() {
        conn.worker.shared.card.show(headers);
    }
    record.tell_why(headers);
    edge::answer(headers, conn.plan(), record.request_id());
}

/// The answer to a fault after its route was found, if it was.
pub(crate) fn fault(fault: Fault, found: Option<&Found<'_>>, request: &Request<Body>, record: &Record) -> Answer {
    let mut answer = record.fails(fault, request);
    if let (Answer::Response(response), Some(found)) = (&mut answer, found) {
        tries(found, response.headers_mut(), record);
    }
    answer
}

/// Tells the client how many tries were made, if there were any and it is to know.
pub(crate) fn tries(found: &Found<'_>, headers: &mut HeaderMap, record: &Record) {
    if found.host.tries_to_client && record.attempts() > 0 {
        edge::attempts(headers, record.attempts());
    }
}

/// The redirect that a route asks for.
pub(crate) fn redirect(found: &Found<'_>, to: &Redirect, request: &Request<Body>, grpc: bool) -> Response<Body> {
    let location = redirect_location(to, &found.route.matches, &view_of(request));
    own(found, respond::redirect(to.status, &location, grpc))
}

/// The answer that a route brings itself.
pub(crate) fn direct_response(found: &Found<'_>, text: &DirectResponse, grpc: bool) -> Response<Body> {
    let status = ::http::StatusCode::from_u16(text.status).unwrap_or(::http::StatusCode::INTERNAL_SERVER_ERROR);
    own(found, respond::local(status, text.body.clone(), grpc))
}

fn own(found: &Found<'_>, mut response: Response<Body>) -> Response<Body> {
    found.route.response_headers.apply(response.headers_mut());
    found.host.response_headers.apply(response.headers_mut());
    response
}
