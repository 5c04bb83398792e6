//! THE STORY of a request, a line per stage. How each stage does it stands in the file of its name.

use std::rc::Rc;

use ::http::{Request, Response};
use filter::Flow;
use mesh_http::{Answer, Body};
use model::route::{Action, Found};

use crate::around::Surroundings;
use crate::head;
use crate::http::{HttpConnection, view_of};
use crate::live::View;
use crate::record::Record;
use crate::respond::{self, Fault};
use crate::table::Miss;
use crate::{forward, upgrade, waiting};

/// From the head of a request to the head of its response.
#[expect(clippy::manual_async_fn, reason = "an async function would hold its arguments twice")]
pub(crate) fn handle(conn: Rc<HttpConnection>, mut request: Request<Body>) -> impl Future<Output = Answer> {
    async move {
        let record = Record::open(&conn, &mut request);
        match exchange(&conn, &mut request, &record).await {
            Ok(response) => record.answer(response),
            Err(fault) => {
                record.refuses(&request);
                record.fault(respond::fault(fault, record.caller()))
            }
        }
    }
}

async fn exchange(
    conn: &Rc<HttpConnection>,
    request: &mut Request<Body>,
    record: &Rc<Record>,
) -> Result<Response<Body>, Fault> {
    let upgrade = upgrade::wanted(request, conn.plan())?;
    let marks = head::receive(conn, request, record)?;
    let now = conn.worker.view();
    // Where a host has to be asked for first.
    let later: Rc<View>;
    let (pin, found): (&View, _) = match find(conn, &now, request) {
        Err(Miss::Unknown(name)) => {
            later = Box::pin(waiting::until_known(&conn.worker, conn.plan(), &name)).await?;
            (&later, find(conn, &later, request).map_err(|_| Fault::NoRoute)?)
        }
        found => (&now, found.map_err(|_| Fault::NoRoute)?),
    };
    record.routed(&found);
    let mut filters = conn.plan().filters.begin(&found, rand::random());
    let mut response = match filters.on_request(request, &Surroundings::new(conn, pin)).await {
        Flow::Respond(local) => {
            record.would_go(&found.route.action, filters.cluster_draw());
            record.by_filter(*local)
        }
        Flow::Continue => match &found.route.action {
            Action::Forward(_) => {
                forward::forward(conn, pin, (&found, filters.cluster_draw()), (request, marks), record).await?
            }
            Action::Redirect(to) => record.by_route(head::redirect(&found, to, request, record.is_grpc())),
            Action::Respond(text) => record.by_route(head::direct_response(&found, text, record.is_grpc())),
        },
    };
    filters.on_response(&mut response, &Surroundings::new(conn, pin)).await;
    record.filtered(filters.flags());
    head::answer(conn, &mut response, record);
    upgrade::join(upgrade, &mut response, record);
    Ok(response)
}

fn find<'v>(conn: &'v HttpConnection, pin: &'v View, request: &Request<Body>) -> Result<Found<'v>, Miss> {
    conn.plan().table(&pin.snapshot).ok_or(Miss::NoRoute)?.find(&view_of(request), rand::random())
}
