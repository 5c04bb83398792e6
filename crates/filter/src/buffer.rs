//! Waits for the whole of a request before it goes on (Envoy's `envoy.filters.http.buffer`), for upstreams that would
//! rather not wait themselves. A body beyond the bound is refused.

use http::Request;
use http::header::{self, HeaderValue};
use mesh_http::{Body, is_upgrade};
use model::Buffer;
use model::buffer::BufferRule;
use model::route::FilterRule;

use crate::chain::{Facts, Flow, HttpFilter};

/// The buffer filter.
#[derive(Debug)]
pub(crate) struct BufferFilter(Buffer);

impl BufferFilter {
    /// A filter with these settings.
    pub(crate) fn new(settings: Buffer) -> Self {
        Self(settings)
    }

    /// The longest body on this route; none if it is not to be waited for.
    fn limit(&self, facts: &Facts<'_>) -> Option<u32> {
        match facts.rule(&self.0.name) {
            Some(FilterRule::Buffer(BufferRule::Off)) => None,
            Some(FilterRule::Buffer(BufferRule::Limit(bytes))) => Some(*bytes),
            _ => Some(self.0.max_bytes),
        }
    }
}

impl HttpFilter for BufferFilter {
    async fn on_request(&self, request: &mut Request<Body>, facts: &mut Facts<'_>) -> Flow {
        // What follows an upgrade has no end that could be waited for.
        if request.body().is_end_stream() || is_upgrade(request) {
            return Flow::Continue;
        }
        let Some(limit) = self.limit(facts) else { return Flow::Continue };
        let body = std::mem::take(request.body_mut());
        // Boxed: exchanges without a buffer have no room for one.
        let whole = match Box::pin(body.collect(limit as usize)).await {
            Ok(whole) => whole,
            Err(error) => return Flow::Broken(error.kind),
        };
        let headers = request.headers_mut();
        if !headers.contains_key(header::CONTENT_LENGTH) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(whole.data.len()));
        }
        *request.body_mut() = whole.into();
        Flow::Continue
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;
    use mesh_http::BodyErrorKind;
    use model::route::{Action, DirectResponse, FilterRules, Found, PathMatch};
    use model::{Route, VirtualHost, http_proxy};
    use telemetry::Registry;

    use super::*;
    use crate::{Alone, Chain, NoExtensions, Stats};

    async fn run(rule: Option<BufferRule>, body: Body) -> (Flow, Request<Body>) {
        let filters = [http_proxy::HttpFilter::Buffer(Buffer { name: "b".into(), max_bytes: 5 })];
        let chain =
            Chain::new(&filters, &Stats::new(&Registry::new().shard(), "in").unwrap(), None, &NoExtensions).unwrap();
        assert!(chain.waits());
        let named = rule.map(|rule| ("b".into(), FilterRule::Buffer(rule)));
        let filters = FilterRules { named: named.into_iter().collect(), ..FilterRules::default() }.boxed();
        let answer = Action::Respond(DirectResponse { status: 200, body: "".into() });
        let route = Route { filters, ..Route::new(PathMatch::Prefix("/".into()), answer) };
        let mut request = Request::new(body);
        let host = VirtualHost::default();
        let mut run = chain.begin(Some(&Found { host: &host, route: &route }), 1);
        (run.on_request(&mut request, &Alone::default()).await, request)
    }

    fn pieces(text: &'static str) -> Body {
        let (mut sender, body) = Body::channel(99);
        for piece in text.as_bytes().chunks(2) {
            assert!(sender.try_send(Bytes::from_static(piece)).unwrap());
        }
        sender.finish_with(HeaderMap::from_iter([(header::AGE, HeaderValue::from_static("1"))]));
        body
    }

    #[tokio::test]
    async fn bounds_and_lengths() {
        for (rule, text, expected) in [
            (None, "12345", Some("5")),
            (None, "123456", None),
            (Some(BufferRule::Limit(6)), "123456", Some("6")),
            (Some(BufferRule::Limit(1)), "12", None),
            (None, "", Some("0")),
        ] {
            let (flow, request) = run(rule, pieces(text)).await;
            let length = request.headers().get(header::CONTENT_LENGTH).map(|value| value.to_str().unwrap());
            assert_eq!(length, expected, "{rule:?} {text}");
            if expected.is_none() {
                assert!(matches!(flow, Flow::Broken(BodyErrorKind::TooLarge)), "{flow:?}");
                continue;
            }
            let whole = request.into_body().collect(99).await.unwrap();
            assert_eq!((&whole.data[..], whole.trailers.is_some()), (text.as_bytes(), true));
        }
        let (_, request) = run(Some(BufferRule::Off), pieces("123456789")).await;
        assert!(!request.headers().contains_key(header::CONTENT_LENGTH));
        let (_, request) = run(None, Body::empty()).await;
        assert!(request.headers().is_empty(), "no body, no length");
        let (sender, body) = Body::channel(1);
        drop(sender);
        assert!(matches!(run(None, body).await.0, Flow::Broken(BodyErrorKind::Cancelled)));
    }
}
