//! Trace contexts in headers: read in the forms of W3C, B3 and Jaeger, a new span for each hop, written on in the forms in
//! which they came; a new trace is written in those of W3C and B3, since we do not know what the application forwards.

use base::TraceContext;
use base::trace::{SPAN_IN_TRACEPARENT, TRACE_IN_TRACEPARENT};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use model::tracing::Tracing;

use crate::marks::Marks;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const B3: HeaderName = HeaderName::from_static("b3");
const TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
const SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
const PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

const JAEGER: HeaderName = HeaderName::from_static("uber-trace-id");

/// Who has it asks for its trace to be recorded (Envoy).
const CLIENT: HeaderName = HeaderName::from_static("x-client-trace-id");

/// Continues the trace of a request, or begins one, and writes the new span into its headers. `draw` decides whether a
/// new trace is recorded.
pub(crate) fn continue_in(headers: &mut HeaderMap, marks: Marks, tracing: &Tracing, draw: u64) -> TraceContext {
    let asks = headers.contains_key(CLIENT);
    // One draw for all shares, of which each looks at other digits.
    let decide = || {
        let (first, second) = (draw, draw.rotate_left(32));
        (tracing.random.takes(first) || asks && tracing.client.takes(first)) && tracing.overall.takes(second)
    };
    match marks.has(Marks::TRACE) {
        true => continue_or_begin(headers, decide),
        false => begin(headers, decide()),
    }
}

/// A new trace, in the forms of W3C and B3.
fn begin(headers: &mut HeaderMap, sampled: bool) -> TraceContext {
    let span = TraceContext::root(sampled);
    let written = Written::of(&span);
    headers.insert(TRACEPARENT, written.traceparent());
    set_b3(headers, &span, &written);
    span
}

fn continue_or_begin(headers: &mut HeaderMap, decide: impl Fn() -> bool) -> TraceContext {
    let w3c = text(headers, &TRACEPARENT).and_then(TraceContext::from_traceparent);
    let single = text(headers, &B3).and_then(TraceContext::from_b3_single);
    let multi = b3_multi(headers);
    let jaeger = text(headers, &JAEGER).and_then(TraceContext::from_jaeger);
    let Some(above) = w3c.or(single).or(multi).or(jaeger) else {
        // B3 may carry a decision without a trace.
        let sampled = match text(headers, &SAMPLED).or_else(|| text(headers, &B3)) {
            Some("0" | "false") => false,
            Some("1" | "true" | "d") => true,
            _ => decide(),
        };
        headers.remove(PARENT);
        headers.remove(JAEGER);
        return begin(headers, sampled);
    };
    let span = TraceContext { sampled: Some(above.sampled.unwrap_or_else(decide)), ..above.child() };
    let written = Written::of(&span);
    match w3c {
        Some(_) => drop(headers.insert(TRACEPARENT, written.traceparent())),
        None => drop(headers.remove(TRACEPARENT)),
    }
    if single.is_some() {
        set(headers, B3, &span.to_b3_single());
    }
    if multi.is_some() {
        set_b3(headers, &span, &written);
    }
    match jaeger {
        Some(_) => set(headers, JAEGER, &span.to_jaeger()),
        None => drop(headers.remove(JAEGER)),
    }
    span
}

/// B3 in many headers.
fn set_b3(headers: &mut HeaderMap, span: &TraceContext, written: &Written) {
    headers.insert(TRACE_ID, written.trace());
    headers.insert(SPAN_ID, written.span());
    if let Some(parent) = span.parent {
        set(headers, PARENT, &parent.to_string());
    }
    headers.insert(SAMPLED, HeaderValue::from_static(if span.sampled == Some(true) { "1" } else { "0" }));
}

/// A span as the headers write it, in one piece of memory: B3's ids are parts of `traceparent`.
struct Written(Bytes);

impl Written {
    fn of(span: &TraceContext) -> Self {
        Self(Bytes::copy_from_slice(&span.traceparent()))
    }

    fn traceparent(&self) -> HeaderValue {
        Self::value(self.0.clone())
    }

    fn trace(&self) -> HeaderValue {
        Self::value(self.0.slice(TRACE_IN_TRACEPARENT))
    }

    fn span(&self) -> HeaderValue {
        Self::value(self.0.slice(SPAN_IN_TRACEPARENT))
    }

    fn value(text: Bytes) -> HeaderValue {
        HeaderValue::from_maybe_shared(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

fn b3_multi(headers: &HeaderMap) -> Option<TraceContext> {
    let get = |name| text(headers, name);
    TraceContext::from_b3_parts(get(&TRACE_ID)?, get(&SPAN_ID)?, get(&PARENT), get(&SAMPLED), get(&FLAGS))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use model::matcher::Fraction;

    use super::*;

    fn of(headers: &mut HeaderMap, draw: u64) -> TraceContext {
        let marks = Marks::of(headers);
        let tracing = Tracing { random: Fraction::percent(1.0), client: Fraction::NONE, ..Tracing::default() };
        continue_in(headers, marks, &tracing, draw)
    }

    /// Which headers are there afterwards, and whether the trace is the same.
    fn check(before: &[(&'static str, &'static str)], expected: &str, continued: bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in before {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        let span = of(&mut headers, 999_999);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names.join(" "), expected, "{before:?}");
        assert_eq!(span.trace.to_string() == "0af7651916cd43dd8448eb211c80319c", continued, "{before:?}");
    }

    #[test]
    fn forms() {
        let w3c = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let single = ("b3", "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1");
        let (trace, span) = (("x-b3-traceid", "0af7651916cd43dd8448eb211c80319c"), ("x-b3-spanid", "b7ad6b7169203331"));
        let multi = "x-b3-parentspanid x-b3-sampled x-b3-spanid x-b3-traceid";
        check(&[w3c], "traceparent", true);
        check(&[single], "b3", true);
        check(&[trace, span], multi, true);
        check(&[w3c, trace, span], &format!("traceparent {multi}"), true);
        let jaeger = ("uber-trace-id", "0af7651916cd43dd8448eb211c80319c:b7ad6b7169203331:0:1");
        check(&[jaeger], "uber-trace-id", true);
        check(&[w3c, jaeger], "traceparent uber-trace-id", true);
        check(&[w3c, ("uber-trace-id", "junk")], "traceparent", true);
        check(&[("uber-trace-id", "junk")], "traceparent x-b3-sampled x-b3-spanid x-b3-traceid", false);
        check(&[], "traceparent x-b3-sampled x-b3-spanid x-b3-traceid", false);
        check(&[("traceparent", "junk")], "traceparent x-b3-sampled x-b3-spanid x-b3-traceid", false);
    }

    #[test]
    fn decisions() {
        for (before, draw, expected) in [
            (None, 0, true),
            (None, 999_999, false),
            (Some(("b3", "0")), 0, false),
            (Some(("x-b3-sampled", "1")), 999_999, true),
            (Some(("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")), 0, false),
        ] {
            let mut headers = HeaderMap::new();
            headers
                .extend(before.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))));
            assert_eq!(of(&mut headers, draw).sampled, Some(expected), "{before:?} {draw}");
        }
    }
}
