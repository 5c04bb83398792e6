//! Which of the headers that a proxy acts on a request has, found in one pass over its names: to look each of them up
//! would hash each of them, for every request, and most requests have none.

use http::{HeaderMap, HeaderName};

/// A set of headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Marks(u16);

impl Marks {
    /// `x-envoy-peer-metadata`, `x-envoy-peer-metadata-id`.
    pub(crate) const PEER: Self = Self(1);
    /// `x-forwarded-proto`.
    pub(crate) const FORWARDED_PROTO: Self = Self(1 << 1);
    /// `x-forwarded-client-cert`.
    pub(crate) const CLIENT_CERT: Self = Self(1 << 2);
    /// `x-request-id`.
    pub(crate) const REQUEST_ID: Self = Self(1 << 3);
    /// Any form of a trace context.
    pub(crate) const TRACE: Self = Self(1 << 4);
    /// `grpc-timeout`.
    pub(crate) const GRPC_TIMEOUT: Self = Self(1 << 5);
    /// `x-envoy-*`, save the former.
    pub(crate) const ENVOY: Self = Self(1 << 6);
    /// `x-forwarded-for`.
    pub(crate) const FORWARDED_FOR: Self = Self(1 << 7);

    /// `x-halcyon-explain`.
    pub(crate) const EXPLAIN: Self = Self(1 << 8);

    /// What `headers` has.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self(headers.keys().fold(0, |all, name| all | Self::mark(name).0))
    }

    fn mark(name: &HeaderName) -> Self {
        match name.as_str() {
            "x-envoy-peer-metadata" | "x-envoy-peer-metadata-id" => Self::PEER,
            "x-forwarded-for" => Self::FORWARDED_FOR,
            "x-forwarded-proto" => Self::FORWARDED_PROTO,
            "x-forwarded-client-cert" => Self::CLIENT_CERT,
            "x-request-id" => Self::REQUEST_ID,
            "traceparent" | "b3" | "x-b3-traceid" | "x-b3-spanid" | "x-b3-parentspanid" | "x-b3-sampled"
            | "x-b3-flags" | "uber-trace-id" => Self::TRACE,
            "grpc-timeout" => Self::GRPC_TIMEOUT,
            "x-halcyon-explain" => Self::EXPLAIN,
            name if name.starts_with("x-envoy-") => Self::ENVOY,
            _ => Self::default(),
        }
    }

    /// Is it there?
    pub(crate) fn has(self, one: Self) -> bool {
        self.0 & one.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there() {
        let mut headers = HeaderMap::new();
        for name in ["x-b3-sampled", "x-request-id", "accept", "x-envoy-peer-metadata-id"] {
            headers.insert(name, http::HeaderValue::from_static("1"));
        }
        let marks = Marks::of(&headers);
        assert!(marks.has(Marks::TRACE) && marks.has(Marks::REQUEST_ID) && marks.has(Marks::PEER));
        assert!(!marks.has(Marks::FORWARDED_PROTO) && !marks.has(Marks::GRPC_TIMEOUT));
        assert!(!marks.has(Marks::CLIENT_CERT) && !marks.has(Marks::ENVOY));
        headers.insert("x-envoy-retry-on", http::HeaderValue::from_static("5xx"));
        assert!(Marks::of(&headers).has(Marks::ENVOY));
    }
}
