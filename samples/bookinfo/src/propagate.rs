//! The request headers that every service hands on to whom it calls: tracing, the signed-in user, credentials.

use axum::http::HeaderMap;

/// Handed on word for word. Without them a mesh cannot join the spans of one request, nor route by user.
pub const CARRIED: [&str; 20] = [
    "x-request-id",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "traceparent",
    "tracestate",
    "x-ot-span-context",
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "x-cloud-trace-context",
    "grpc-trace-bin",
    "sw8",
    "end-user",
    "user-agent",
    "cookie",
    "authorization",
    "jwt",
];

/// Those headers of `incoming` that go on.
pub fn carried(incoming: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::new();
    for name in CARRIED {
        for value in incoming.get_all(name) {
            out.append(name, value.clone());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carries_only_the_list() {
        let mut incoming = HeaderMap::new();
        for name in ["x-request-id", "end-user", "host", "content-length", "x-other"] {
            incoming.insert(name, "v".parse().unwrap());
        }
        incoming.append("cookie", "a=1".parse().unwrap());
        incoming.append("cookie", "b=2".parse().unwrap());
        let out = carried(&incoming);
        let mut names: Vec<_> = out.keys().map(|n| n.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["cookie", "end-user", "x-request-id"]);
        assert_eq!(out.get_all("cookie").iter().count(), 2);
    }
}
