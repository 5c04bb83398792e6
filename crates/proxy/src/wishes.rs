//! What a trusted caller asks of this proxy for one request, by Envoy's headers: times, and tries. Who is not trusted has
//! lost these headers before (see [`crate::edge`]); for others they are taken off here, so that nobody else obeys them.

use std::time::Duration;

use ::http::{HeaderMap, HeaderValue};
use model::RetryPolicy;
use model::matcher::{HeaderKey, HeaderMatch, ValueMatch};
use model::retry::RetryOn;
use model::route::Forward;

use crate::marks::Marks;

/// What was asked for.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// Limit for all tries together; zero: none.
    pub timeout: Option<Duration>,
    /// The retry policy in place of the route's.
    pub retry: Option<Box<RetryPolicy>>,
    /// A try that takes too long is not given up: another one joins it. The route's word where none was given.
    pub hedge: bool,
}

/// Takes the wishes out of a request's head.
pub(crate) fn take(headers: &mut HeaderMap, marks: Marks, to: &Forward) -> Wishes {
    if !marks.has(Marks::ENVOY) {
        return Wishes { hedge: to.hedge_on_per_try_timeout, ..Wishes::default() };
    }
    let mut text =
        |name: &str| headers.remove(name).and_then(|value: HeaderValue| value.to_str().ok().map(str::to_owned));
    let timeout = text("x-envoy-upstream-rq-timeout-ms").and_then(milliseconds);
    let per_try = text("x-envoy-upstream-rq-per-try-timeout-ms").and_then(milliseconds);
    let conditions = [text("x-envoy-retry-on"), text("x-envoy-retry-grpc-on")];
    let codes = text("x-envoy-retriable-status-codes");
    let names = text("x-envoy-retriable-header-names");
    let attempts = text("x-envoy-max-retries").and_then(|number| number.parse().ok());
    let hedge = match text("x-envoy-hedge-on-per-try-timeout").as_deref() {
        Some("true") => true,
        Some("false") => false,
        _ => to.hedge_on_per_try_timeout,
    };
    // Nothing is done about it.
    text("x-envoy-upstream-rq-timeout-alt-response");
    let nothing = [&codes, &names].into_iter().chain(&conditions).all(Option::is_none);
    if nothing && attempts.is_none() && per_try.is_none() {
        return Wishes { timeout, retry: None, hedge };
    }
    let mut policy = to.retry.clone().unwrap_or_else(RetryPolicy::on_wish);
    for list in conditions.iter().flatten() {
        policy.on.add(&RetryOn::parse(list).0);
    }
    policy.attempts = attempts.unwrap_or(policy.attempts);
    policy.per_try_timeout = per_try.or(policy.per_try_timeout);
    policy
        .on
        .status_codes
        .extend(codes.iter().flat_map(|list| list.split(',')).filter_map(|code| code.trim().parse::<u16>().ok()));
    let asked = names.iter().flat_map(|list| list.split(',')).filter_map(|name| HeaderKey::parse(name.trim()));
    let asked: Vec<HeaderMatch> = asked
        .map(|key| HeaderMatch { key, value: ValueMatch::Present(true), invert: false, missing_as_empty: false })
        .collect();
    if !asked.is_empty() {
        policy.more.get_or_insert_default().headers.extend(asked);
    }
    Wishes { timeout, retry: Some(Box::new(policy)), hedge }
}

fn milliseconds(text: String) -> Option<Duration> {
    text.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(to: &Forward, fields: &[(&'static str, &'static str)]) -> (Wishes, HeaderMap) {
        let mut headers: HeaderMap =
            fields.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v))).collect();
        let marks = Marks::of(&headers);
        (take(&mut headers, marks, to), headers)
    }

    #[test]
    fn what_is_honoured() {
        let plain = Forward::to("c");
        let (wishes, left) = asked(&plain, &[("accept", "x"), ("x-envoy-decorator-operation", "y")]);
        assert!(wishes.timeout.is_none() && wishes.retry.is_none() && left.len() == 2);
        let all = [
            ("x-envoy-upstream-rq-timeout-ms", "100"),
            ("x-envoy-upstream-rq-per-try-timeout-ms", "30"),
            ("x-envoy-retry-on", "5xx,retriable-status-codes,retriable-headers"),
            ("x-envoy-retry-grpc-on", "unavailable"),
            ("x-envoy-max-retries", "4"),
            ("x-envoy-retriable-status-codes", "409, 410,junk"),
            ("x-envoy-retriable-header-names", "x-a"),
        ];
        let (wishes, left) = asked(&plain, &all);
        assert!(left.is_empty(), "{left:?}");
        let policy = wishes.retry.unwrap();
        assert_eq!(
            (wishes.timeout, policy.per_try_timeout),
            (Some(Duration::from_millis(100)), Some(Duration::from_millis(30)))
        );
        assert_eq!((policy.attempts, &policy.on.status_codes[..]), (4, &[409, 410][..]));
        assert_eq!(policy.on.to_list(), "5xx,retriable-status-codes,retriable-headers,unavailable");
        assert_eq!(policy.more.unwrap().headers.len(), 1);
    }

    #[test]
    fn who_asks_for_a_further_try_meanwhile() {
        let of_route = |hedges| Forward { hedge_on_per_try_timeout: hedges, ..Forward::to("c") };
        for (route, wish, expected) in [
            (false, None, false),
            (true, None, true),
            (false, Some("true"), true),
            (true, Some("false"), false),
            (true, Some("perhaps"), true),
        ] {
            let fields: Vec<_> = wish.iter().map(|wish| ("x-envoy-hedge-on-per-try-timeout", *wish)).collect();
            let (wishes, left) = asked(&of_route(route), &fields);
            assert_eq!((wishes.hedge, left.len()), (expected, 0), "{route} {wish:?}");
        }
    }

    #[test]
    fn wishes_add_to_the_routes_policy() {
        let mut route = Forward::to("c");
        route.retry = Some(RetryPolicy { attempts: 3, ..RetryPolicy::istio_default() });
        let (wishes, _) = asked(&route, &[("x-envoy-retry-on", "reset")]);
        let policy = wishes.retry.unwrap();
        assert!(policy.on.reset && policy.on.connect_failure && policy.attempts == 3);
        let (wishes, _) = asked(&Forward::to("c"), &[("x-envoy-retry-on", "reset")]);
        assert_eq!(wishes.retry.unwrap().attempts, 1, "Envoy's default");
    }
}
