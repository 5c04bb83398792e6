//! Changes headers (Envoy's `envoy.filters.http.header_mutation`): its own changes first, then those of the route and its
//! virtual host, in the order that it asks for.

use http::{HeaderMap, Request, Response};
use mesh_http::Body;
use model::HeaderMutation;
use model::mutation::{HeaderEdit, Mutations};
use model::route::FilterRule;

use crate::chain::{Facts, Flow, HttpFilter};

/// The header mutation filter.
#[derive(Debug)]
pub(crate) struct MutationFilter(HeaderMutation);

impl MutationFilter {
    /// A filter with these settings.
    pub(crate) fn new(settings: HeaderMutation) -> Self {
        Self(settings)
    }

    fn apply(&self, headers: &mut HeaderMap, facts: &Facts<'_>, which: impl Fn(&Mutations) -> &[HeaderEdit]) {
        which(&self.0.own).iter().for_each(|edit| edit.apply(headers));
        let mut said = facts.rules(&self.0.name);
        if self.0.route_last {
            said.reverse();
        }
        for rule in said.into_iter().flatten() {
            if let FilterRule::HeaderMutation(mutations) = rule {
                which(mutations).iter().for_each(|edit| edit.apply(headers));
            }
        }
    }
}

impl HttpFilter for MutationFilter {
    async fn on_request(&self, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        self.apply(request.headers_mut(), facts, |mutations| &mutations.request);
        Flow::Continue
    }

    async fn on_response(&self, response: &mut Response<Body>, facts: &mut Facts<'_>) {
        self.apply(response.headers_mut(), facts, |mutations| &mutations.response);
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use model::headers::{HeaderWrite, WriteAction};
    use model::route::{Action, DirectResponse, FilterRules, Found, PathMatch};
    use model::{Route, VirtualHost, http_proxy};
    use telemetry::Registry;

    use super::*;
    use crate::{Alone, Chain, NoExtensions, Stats};

    fn writes(value: &'static str) -> Mutations {
        let write = |name| {
            let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
            HeaderEdit::Write(HeaderWrite { name, value, action: WriteAction::Append })
        };
        Mutations { request: vec![write("x-request")], response: vec![write("x-response")] }
    }

    async fn run(route_last: bool, name: &str, route: bool, host: bool) -> (String, String) {
        let settings = HeaderMutation { name: "m".into(), own: writes("own"), route_last };
        let filters = [http_proxy::HttpFilter::HeaderMutation(Box::new(settings))];
        let chain =
            Chain::new(&filters, &Stats::new(&Registry::new().shard(), "in").unwrap(), None, &NoExtensions).unwrap();
        let rules = |there: bool, value| {
            let named = there.then(|| (name.into(), FilterRule::HeaderMutation(writes(value))));
            FilterRules { named: named.into_iter().collect(), ..FilterRules::default() }.boxed()
        };
        let answer = Action::Respond(DirectResponse { status: 200, body: "".into() });
        let route = Route { filters: rules(route, "route"), ..Route::new(PathMatch::Prefix("/".into()), answer) };
        let host = VirtualHost { filters: rules(host, "host"), ..VirtualHost::default() };
        let mut run = chain.begin(Some(&Found { host: &host, route: &route }), 1);
        let mut request = Request::new(Body::empty());
        assert!(matches!(run.on_request(&mut request, &Alone::default()).await, Flow::Continue));
        let mut response = Response::new(Body::empty());
        run.on_response(&mut response, &Alone::default()).await;
        let all = |headers: &HeaderMap, name: &str| {
            headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        (all(request.headers(), "x-request"), all(response.headers(), "x-response"))
    }

    #[tokio::test]
    async fn who_speaks_when() {
        for (route_last, name, route, host, expected) in [
            (false, "m", false, false, "own"),
            (false, "m", true, true, "own route host"),
            (true, "m", true, true, "own host route"),
            (true, "m", false, true, "own host"),
            (false, "other", true, true, "own"),
        ] {
            let (there, back) = run(route_last, name, route, host).await;
            assert_eq!((&*there, &*back), (expected, expected), "{route_last} {name} {route} {host}");
        }
    }
}
