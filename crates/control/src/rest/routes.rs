//! Every call of the API, with the right that it needs. The router is made of this table and of nothing else, so that no
//! call can be made without a right being asked for.

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::{MethodRouter, delete, get, post, put};
use http::Method;

use super::{
    Parts, access, audit, authority, documents, explain, gate, history, join, mesh, mtls, refusals, revocation, status,
    users,
};
use crate::callers::Right;
use crate::guests::Call;

/// A call.
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path, as axum writes it.
    pub path: &'static str,
    /// What its caller needs. `Write` asks besides, when it is known what is changed, for the right to change that.
    pub needs: Right,
    serve: fn() -> MethodRouter<Arc<Parts>>,
}

const fn route(method: Method, path: &'static str, needs: Right, serve: fn() -> MethodRouter<Arc<Parts>>) -> Route {
    Route { method, path, needs, serve }
}

use Right::{Administer, Read, Write};

/// Every call.
pub static ROUTES: &[Route] = &[
    // `Read`, since a dry run only reads; the handlers ask for more if it is none.
    route(Method::POST, "/v1/apply", Read, || post(documents::apply)),
    route(Method::POST, "/v1/delete", Read, || post(documents::delete)),
    route(Method::DELETE, "/v1/resources", Write, || delete(documents::delete_named)),
    route(Method::GET, "/v1/resources", Read, || get(documents::list)),
    route(Method::GET, "/v1/problems", Read, || get(documents::problems)),
    route(Method::GET, "/v1/analysis", Read, || get(documents::analysis)),
    route(Method::POST, "/v1/explain", Read, || post(explain::explain)),
    route(Method::POST, "/v1/access", Read, || post(access::check)),
    route(Method::GET, "/v1/access/graph", Read, || get(access::graph)),
    route(Method::POST, "/v1/plan", Read, || post(explain::plan)),
    route(Method::GET, "/v1/history", Read, || get(history::history)),
    route(Method::GET, "/v1/mesh", Read, || get(mesh::mesh)),
    route(Method::GET, "/v1/mtls", Read, || get(mtls::plan)),
    route(Method::GET, "/v1/refusals", Read, || get(refusals::page)),
    route(Method::GET, "/v1/status", Read, || get(status::status)),
    route(Method::GET, "/v1/proxies/{node}/config", Read, || get(status::config)),
    route(Method::GET, "/v1/version", Read, || get(status::version)),
    route(Method::GET, "/v1/ca", Read, || get(authority::status)),
    route(Method::POST, "/v1/ca/rotation", Administer, || post(authority::rotate)),
    route(Method::POST, "/v1/ca/revocations", Administer, || post(revocation::change)),
    route(Method::POST, "/v1/ca/import", Administer, || post(authority::import)),
    // `Read`, since without the key it gives what everybody may know; the handler asks for more if the key is wanted.
    route(Method::GET, "/v1/ca/export", Read, || get(authority::export)),
    route(Method::POST, "/v1/dashboard", Read, || post(users::dashboard)),
    route(Method::GET, "/v1/whoami", Read, || get(users::whoami)),
    route(Method::GET, "/v1/trust-bundle", Read, || get(join::trust_bundle)),
    route(Method::POST, "/v1/start", Read, || post(join::start)),
    route(Method::POST, "/v1/bootstrap", Administer, || post(join::bootstrap)),
    route(Method::POST, "/v1/tokens", Administer, || post(join::token)),
    route(Method::GET, "/v1/tokens", Administer, || get(join::tokens)),
    route(Method::DELETE, "/v1/tokens/{id}", Administer, || delete(join::revoke)),
    route(Method::GET, "/v1/users", Administer, || get(users::users)),
    route(Method::POST, "/v1/users/{name}", Administer, || post(users::add)),
    route(Method::PUT, "/v1/users/{name}", Administer, || put(users::set)),
    route(Method::DELETE, "/v1/users/{name}", Administer, || delete(users::remove)),
    route(Method::POST, "/v1/users/{name}/tokens", Administer, || post(users::issue)),
    route(Method::GET, "/v1/user-tokens", Administer, || get(users::tokens)),
    route(Method::DELETE, "/v1/user-tokens/{id}", Administer, || delete(users::revoke)),
    route(Method::GET, "/v1/audit", Read, || get(audit::entries)),
    route(Method::GET, "/v1/audit/verdict", Read, || get(audit::verdict)),
];

/// The routes, those of guests among them, each behind its right.
pub fn router(parts: &Arc<Parts>, guests: Vec<Call>) -> Router<Arc<Parts>> {
    let guard =
        |method: &Method, needs| middleware::from_fn_with_state((parts.clone(), method.clone(), needs), gate::guard);
    let own = ROUTES.iter().fold(Router::new(), |router, route| {
        router.route(route.path, (route.serve)().layer(guard(&route.method, route.needs)))
    });
    guests.into_iter().fold(own, |router, call| {
        router.route(call.path, call.serve.with_state(()).layer(guard(&call.method, call.needs.into())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who gives a call to more people has to say so here as well.
    #[test]
    fn what_is_open_to_whom() {
        let of = |right: Right| -> Vec<String> {
            let open = ROUTES.iter().filter(|route| route.needs == right);
            open.map(|route| format!("{} {}", route.method, route.path.trim_start_matches("/v1/"))).collect()
        };
        let reading = [
            "POST apply",
            "POST delete",
            "GET resources",
            "GET problems",
            "GET analysis",
            "POST explain",
            "POST access",
            "GET access/graph",
            "POST plan",
            "GET history",
            "GET mesh",
            "GET mtls",
            "GET refusals",
            "GET status",
            "GET proxies/{node}/config",
            "GET version",
            "GET ca",
            "GET ca/export",
            "POST dashboard",
            "GET whoami",
            "GET trust-bundle",
            "POST start",
            "GET audit",
            "GET audit/verdict",
        ];
        assert_eq!(of(Read), reading);
        assert_eq!(of(Write), ["DELETE resources"]);
        assert_eq!(of(Administer).len() + reading.len() + 1, ROUTES.len());
    }
}
