//! THE STORY of a request, a line per stage. How each stage does it stands in the file of its name.

use std::rc::Rc;

use ::http::Request;
use filter::Flow;
use mesh_http::{Answer, Body};
use model::route::{Action, Found};

use crate::around::Surroundings;
use crate::head;
use crate::http::{HttpConnection, view_of};
use crate::live::View;
use crate::record::Record;
use crate::respond::Fault;
use crate::table::Miss;
use crate::{forward, upgrade, waiting};

/// From the head of a request to the head of its response.
#[expect(clippy::manual_async_fn, reason = "an async function would hold its arguments twice")]
pub(crate) fn handle(conn: Rc<HttpConnection>, mut request: Request<Body>) -> impl Future<Output = Answer> {
    async move {
        let record = Record::open(&conn, &mut request);
        match exchange(&conn, &mut request, &record).await {
            Ok(answer) => record.answer(answer),
            Err(fault) => {
                record.refuses(&request);
                let mut answer = record.fails(fault, &request);
                if let Answer::Response(response) = &mut answer {
                    head::answer(&conn, response, &record);
                }
                record.answer(answer)
            }
        }
    }
}

async fn exchange(
    conn: &Rc<HttpConnection>,
    request: &mut Request<Body>,
    record: &Rc<Record>,
) -> Result<Answer, Fault> {
    let upgrade = upgrade::wanted(request, conn.plan())?;
    let marks = head::receive(conn, request, record)?;
    let now = conn.worker.view();
    // Where a host has to be asked for first.
    let later: Rc<View>;
    let (pin, found): (&View, _) = match find(conn, &now, request) {
        Err(Miss::Unknown(name)) => {
            later = Box::pin(waiting::until_known(&conn.worker, conn.plan(), &name)).await?;
            (&later, find(conn, &later, request))
        }
        found => (&now, found),
    };
    let mut found = found.ok();
    found.iter().for_each(|found| record.routed(found));
    let chain = &conn.plan().filters;
    let mut filters = chain.begin(found.as_ref(), rand::random());
    // In blocks, so that what one stage held gives its room to the next.
    let stopped = {
        let passed = loop {
            let passed = match chain.waits() {
                false => Ok(filters.on_request(request, &Surroundings::new(conn, pin)).await),
                true => Box::pin(record.in_time(filters.on_request(request, &Surroundings::new(conn, pin)))).await,
            };
            let Ok(Flow::Reroute) = passed else { break passed };
            found = find(conn, pin, request).ok();
            found.iter().for_each(|found| record.routed(found));
            filters.rerouted(found.as_ref());
        };
        record.occupies(filters.places());
        record.said(request);
        let instead = match passed {
            Ok(Flow::Continue | Flow::Reroute) => None,
            Ok(Flow::Respond(local)) => Some(Ok(record.by_filter(request, *local))),
            Ok(Flow::Broken(kind)) => Some(Err(Fault::RequestBody(kind))),
            Err(fault) => Some(Err(fault)),
        };
        instead.map(Box::new)
    };
    let mut response = {
        let answered = match stopped {
            Some(instead) => {
                record.would_go(pin, found.as_ref(), filters.cluster_draw());
                *instead
            }
            None => match found.as_ref().map(|found| (found, &found.route.action)) {
                None => Err(Fault::NoRoute),
                Some((found, Action::Forward(_))) => {
                    forward::forward(conn, pin, (found, filters.cluster_draw()), (request, marks), record).await
                }
                Some((found, Action::Redirect(to))) => {
                    let answer = head::redirect(found, to, request, record.is_grpc());
                    Ok(record.by_route(found, request, answer))
                }
                Some((found, Action::Respond(text))) => {
                    let answer = head::direct_response(found, text, record.is_grpc());
                    Ok(record.by_route(found, request, answer))
                }
            },
        };
        match answered.map_or_else(|fault| head::fault(fault, found.as_ref(), request, record), Answer::Response) {
            Answer::Response(response) => response,
            reset => return Ok(reset),
        }
    };
    let finished = async {
        match chain.waits() {
            false => {
                filters.on_response(&mut response, &Surroundings::new(conn, pin)).await;
                Ok(())
            }
            true => Box::pin(record.in_time(filters.on_response(&mut response, &Surroundings::new(conn, pin)))).await,
        }
    };
    finished.await?;
    record.filtered(filters.flags());
    head::answer(conn, &mut response, record);
    upgrade::join(upgrade, &mut response, record);
    Ok(response.into())
}

fn find<'v>(conn: &'v HttpConnection, pin: &'v View, request: &Request<Body>) -> Result<Found<'v>, Miss> {
    conn.plan().table(&pin.snapshot).ok_or(Miss::NoRoute)?.find(&view_of(request), rand::random())
}
