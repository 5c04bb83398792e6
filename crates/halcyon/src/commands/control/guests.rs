//! What is served behind the control plane's doors besides its own: what the mesh saw, and the dashboard.

use control::{Call, Guests, House, Needs, Tellers};
use observe::{Observe, Options, Teller};
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::{Extensions, Request, Status};

/// Where it keeps what it saw, in the control plane's data directory.
const FOLDER: &str = "observe";

/// Opens what was seen before, and brings everything that shows it.
///
/// # Errors
/// What was kept cannot be opened.
pub fn bring(house: House, options: Options) -> Result<Guests, String> {
    let dir = house.data_dir.join(FOLDER);
    let observe =
        Observe::open(Some(&dir), options, house.clock, &house.shard).map_err(|error| format!("history: {error}"))?;
    let calls = observe.routes().into_iter().map(|route| Call {
        method: route.method,
        path: route.path,
        needs: match route.needs {
            observe::Needs::Read => Needs::Read,
            observe::Needs::Tap => Needs::Tap,
        },
        serve: route.serve,
    });
    let tellers = house.tellers.clone();
    let reports = observe.service(move |extensions: &Extensions, node: &str| teller(&tellers, extensions, node));
    let members = house.tellers;
    let spans = InterceptedService::new(observe.spans_service(), move |request: Request<()>| {
        members.member(request.extensions()).map(|_| request)
    });
    Ok(Guests {
        services: Some(Routes::default().add_service(reports).add_service(spans)),
        calls: calls.collect(),
        chores: vec![Box::pin(observe.clone().run(house.drain))],
        pages: Some(observe::pages::router()),
        spans: Some(observe.spans_router()),
    })
}

fn teller(tellers: &Tellers, extensions: &Extensions, node: &str) -> Result<Teller, Status> {
    let proven = tellers.teller(extensions, node)?;
    Ok(Teller { node: proven.node, namespace: proven.namespace, workload: proven.workload, identity: proven.identity })
}
