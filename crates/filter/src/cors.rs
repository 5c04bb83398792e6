//! Cross-origin requests (Envoy's `envoy.filters.http.cors`): preflight requests are answered here, answers to others
//! get the headers without which a browser keeps them from its page. Nobody is refused: that is the browser's part.
//!
//! Only routes that forward have rules, as in Envoy. A share of less than all is drawn once per request.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use mesh_http::Body;
use model::cors::CorsRules;
use telemetry::ResponseFlags;

use crate::chain::{Facts, Flow, HttpFilter};
use crate::local::LocalResponse;
use crate::stats::Stats;

const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");
const TRUE: HeaderValue = HeaderValue::from_static("true");

/// The CORS filter.
#[derive(Debug)]
pub(crate) struct CorsFilter {
    stats: Stats,
}

impl CorsFilter {
    /// A filter that counts there.
    pub(crate) fn new(stats: Stats) -> Self {
        Self { stats }
    }
}

impl HttpFilter for CorsFilter {
    async fn on_request(&self, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        let Some(rules) = rules(facts) else { return Flow::Continue };
        let headers = request.headers();
        let Some(origin) = headers.get(header::ORIGIN).filter(|origin| !origin.is_empty()) else {
            return Flow::Continue;
        };
        if !rules.enabled().takes(facts.draws.draw()) {
            return Flow::Continue;
        }
        let allowed = std::str::from_utf8(origin.as_bytes()).is_ok_and(|origin| rules.allows(origin));
        let counter = if allowed { &self.stats.origins_valid } else { &self.stats.origins_invalid };
        counter.with(&[&self.stats.prefix]).inc();
        if allowed {
            facts.left.get_or_insert_default().origin = Some(origin.clone());
        }
        let forwarded = !allowed && rules.said(|cors| cors.forward_unmatched).unwrap_or(true);
        if !is_preflight(request) || forwarded {
            return Flow::Continue;
        }
        Flow::Respond(Box::new(LocalResponse {
            status: StatusCode::OK,
            grpc_status: None,
            body: "".into(),
            headers: permission(rules, allowed, request.headers()),
            details: "cors_response".into(),
            why: None,
            flags: ResponseFlags::NONE,
        }))
    }

    async fn on_response(&self, response: &mut Response<Body>, facts: &mut Facts<'_>) {
        let origin = facts.left.as_mut().and_then(|left| left.origin.take());
        let (Some(origin), Some(rules)) = (origin, rules(facts)) else { return };
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if rules.said(|cors| cors.credentials) == Some(true) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
        if let Some(exposed) = rules.said(|cors| cors.expose.as_ref()) {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
    }
}

fn rules<'a>(facts: &Facts<'a>) -> Option<CorsRules<'a>> {
    let [route, host] = facts.said().map(|rules| rules?.cors.as_ref());
    CorsRules::new(route, host).filter(|_| facts.is_forwarded())
}

fn is_preflight(request: &Request<Body>) -> bool {
    let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD);
    *request.method() == Method::OPTIONS && asked.is_some_and(|method| !method.is_empty())
}

/// What a preflight request is told. The origin itself is written with the response, as for any other request.
fn permission(rules: CorsRules<'_>, allowed: bool, asked: &HeaderMap) -> HeaderMap {
    let mut told = HeaderMap::new();
    if !allowed && rules.said(|cors| cors.credentials) == Some(true) {
        told.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
    }
    for (name, said, wish) in [
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            rules.said(|cors| cors.methods.as_ref()),
            header::ACCESS_CONTROL_REQUEST_METHOD,
        ),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            rules.said(|cors| cors.headers.as_ref()),
            header::ACCESS_CONTROL_REQUEST_HEADERS,
        ),
    ] {
        match said {
            Some(all) if all == "*" => {
                told.insert(name, asked.get(wish).cloned().unwrap_or(HeaderValue::from_static("")));
            }
            Some(listed) => drop(told.insert(name, listed.clone())),
            None => {}
        }
    }
    if let Some(age) = rules.said(|cors| cors.max_age.as_ref()) {
        told.insert(header::ACCESS_CONTROL_MAX_AGE, age.clone());
    }
    let wanted = asked.get(REQUEST_PRIVATE_NETWORK).is_some_and(|wanted| wanted == "true");
    if wanted && rules.said(|cors| cors.private_network) == Some(true) {
        told.insert(ALLOW_PRIVATE_NETWORK, TRUE);
    }
    told
}

#[cfg(test)]
mod tests {
    use model::route::{Action, DirectResponse, FilterRules, Forward, Found, PathMatch};
    use model::{Cors, Fraction, Route, StringMatch, VirtualHost, http_proxy};
    use telemetry::{Exposition, Registry};

    use super::*;
    use crate::{Alone, Chain, NoExtensions};

    fn cors(change: impl FnOnce(&mut Cors)) -> Option<Box<FilterRules>> {
        let mut cors = Cors { origins: vec![StringMatch::exact("https://a")], ..Cors::default() };
        change(&mut cors);
        FilterRules { cors: Some(cors), ..FilterRules::default() }.boxed()
    }

    fn value(text: &'static str) -> Option<HeaderValue> {
        Some(HeaderValue::from_static(text))
    }

    /// What comes back for a request with these headers: who answered, and the headers in order.
    async fn run(route: Option<Box<FilterRules>>, method: &str, fields: &[(&str, &str)]) -> (bool, Vec<String>) {
        let registry = Registry::new();
        let chain = Chain::new(
            &[http_proxy::HttpFilter::Cors],
            &Stats::new(&registry.shard(), "in").unwrap(),
            None,
            &NoExtensions,
        )
        .unwrap();
        let action = Action::Forward(Box::new(Forward::to("c")));
        exchange(&chain, &Route { filters: route, ..Route::new(PathMatch::Prefix("/".into()), action) }, method, fields)
            .await
    }

    async fn exchange(chain: &Chain, route: &Route, method: &str, fields: &[(&str, &str)]) -> (bool, Vec<String>) {
        let (host, around) = (VirtualHost::default(), Alone::default());
        let mut run = chain.begin(Some(&Found { host: &host, route }), 1);
        let mut request = Request::builder().method(method);
        for (name, text) in fields {
            request = request.header(*name, *text);
        }
        let (here, mut response) = match run.on_request(&mut request.body(Body::empty()).unwrap(), &around).await {
            Flow::Respond(local) => (true, local.into_response(false)),
            _ => (false, Response::new(Body::empty())),
        };
        run.on_response(&mut response, &around).await;
        let short = |name: &HeaderName| name.as_str().trim_start_matches("access-control-").to_owned();
        let mut all: Vec<_> =
            response.headers().iter().map(|(n, v)| format!("{}: {}", short(n), v.to_str().unwrap())).collect();
        all.sort();
        (here, all)
    }

    #[tokio::test]
    async fn preflights() {
        let asks = |origin| [("origin", origin), ("access-control-request-method", "PUT")];
        let whole = || {
            cors(|c| {
                (c.methods, c.headers) = (value("GET,PUT"), value("x-a"));
                (c.expose, c.max_age, c.credentials) = (value("x-b"), value("60"), Some(true));
            })
        };
        let told = ["allow-credentials: true", "allow-headers: x-a", "allow-methods: GET,PUT"];
        let good = [&told[..], &["allow-origin: https://a", "expose-headers: x-b", "max-age: 60"]].concat();
        assert_eq!(
            run(whole(), "OPTIONS", &asks("https://a")).await,
            (true, good.iter().map(|s| s.to_string()).collect())
        );
        assert_eq!(run(whole(), "OPTIONS", &asks("https://b")).await, (false, vec![]));
        let mut kept = whole().unwrap();
        kept.cors.as_mut().unwrap().forward_unmatched = Some(false);
        let bad = [&told[..], &["max-age: 60"]].concat();
        assert_eq!(
            run(Some(kept), "OPTIONS", &asks("https://b")).await,
            (true, bad.iter().map(|s| s.to_string()).collect())
        );
        let (here, _) = run(whole(), "OPTIONS", &asks("https://a")[..1]).await;
        assert!(!here, "no preflight: no method asked for");
        assert_eq!(run(whole(), "OPTIONS", &asks("")).await, (false, vec![]));
        assert_eq!(run(None, "OPTIONS", &asks("https://a")).await, (false, vec![]));
    }

    #[tokio::test]
    async fn what_was_asked_for_is_given_back() {
        let all = || cors(|c| (c.methods, c.headers, c.private_network) = (value("*"), value("*"), Some(true)));
        let asked = [
            ("origin", "https://a"),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "x-a, x-b"),
            ("access-control-request-private-network", "true"),
        ];
        let told =
            ["allow-headers: x-a, x-b", "allow-methods: PUT", "allow-origin: https://a", "allow-private-network: true"];
        assert_eq!(run(all(), "OPTIONS", &asked).await, (true, told.map(str::to_owned).to_vec()));
        assert_eq!(run(all(), "OPTIONS", &asked[..3]).await.1.len(), 3, "not asked for a private network");
    }

    #[tokio::test]
    async fn other_requests() {
        let origin = [("origin", "https://a")];
        let rules = || cors(|c| (c.methods, c.expose, c.credentials) = (value("PUT"), value("x-b"), Some(true)));
        let told = ["allow-credentials: true", "allow-origin: https://a", "expose-headers: x-b"];
        assert_eq!(run(rules(), "GET", &origin).await, (false, told.map(str::to_owned).to_vec()));
        assert_eq!(run(rules(), "GET", &[("origin", "https://b")]).await, (false, vec![]));
        assert_eq!(run(rules(), "GET", &[]).await, (false, vec![]));
        assert_eq!(run(cors(|c| c.enabled = Fraction::NONE), "GET", &origin).await, (false, vec![]));
    }

    #[tokio::test]
    async fn counted_and_only_where_routes_forward() {
        let registry = Registry::new();
        let chain = Chain::new(
            &[http_proxy::HttpFilter::Cors],
            &Stats::new(&registry.shard(), "in").unwrap(),
            None,
            &NoExtensions,
        )
        .unwrap();
        let forward = Action::Forward(Box::new(Forward::to("c")));
        let answer = Action::Respond(DirectResponse { status: 200, body: "".into() });
        for (action, origin) in [(&forward, "https://a"), (&forward, "https://b"), (&answer, "https://a")] {
            let route = Route { filters: cors(|_| {}), ..Route::new(PathMatch::Prefix("/".into()), action.clone()) };
            exchange(&chain, &route, "GET", &[("origin", origin)]).await;
        }
        let text = registry.expose(&Exposition::default());
        for name in ["valid", "invalid"] {
            let line = format!("envoy_http_cors_origin_{name}{{envoy_http_conn_manager_prefix=\"in\"}} 1");
            assert!(text.lines().any(|l| l == line), "no `{line}` in\n{text}");
        }
    }
}
