//! Trace context: W3C `traceparent` (Level 2), the two B3 forms and that of Jaeger, read and written without allocation
//! where possible.

use std::borrow::Cow;
use std::fmt;

/// 128 bits that name a trace; never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub u128);

/// 64 bits that name a span; never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(pub u64);

impl TraceId {
    /// A new random id.
    pub fn random() -> Self {
        Self(rand::random::<u128>() | 1)
    }
}

impl SpanId {
    /// A new random id.
    pub fn random() -> Self {
        Self(rand::random::<u64>() | 1)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Where the trace's id stands in a [`TraceContext::traceparent`].
pub const TRACE_IN_TRACEPARENT: std::ops::Range<usize> = 3..35;
/// Where the span's id stands in a [`TraceContext::traceparent`].
pub const SPAN_IN_TRACEPARENT: std::ops::Range<usize> = 36..52;

/// Where an exchange stands in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The current span.
    pub span: SpanId,
    /// The span above, if known.
    pub parent: Option<SpanId>,
    /// Is this trace recorded? `None` leaves the decision to whoever comes first with an opinion (B3).
    pub sampled: Option<bool>,
}

impl TraceContext {
    /// The root of a new trace.
    pub fn root(sampled: bool) -> Self {
        Self { trace: TraceId::random(), span: SpanId::random(), parent: None, sampled: Some(sampled) }
    }

    /// A new span below this one, in the same trace.
    pub fn child(&self) -> Self {
        Self { span: SpanId::random(), parent: Some(self.span), ..*self }
    }

    /// Reads a W3C `traceparent` header. Unknown versions are read by the rules for version 00, as the standard asks.
    pub fn from_traceparent(text: &str) -> Option<Self> {
        let b = text.as_bytes();
        let dashes = b.len() >= 55 && b[2] == b'-' && b[35] == b'-' && b[52] == b'-';
        if !dashes || &b[..2] == b"ff" || (b.len() > 55 && (&b[..2] == b"00" || b[55] != b'-')) {
            return None;
        }
        hex::<u8>(&text[..2])?;
        let flags = hex::<u8>(&text[53..55])?;
        Some(Self {
            trace: TraceId(hex::<u128>(&text[3..35])?).non_zero()?,
            span: SpanId(hex::<u64>(&text[36..52])?).non_zero()?,
            parent: None,
            sampled: Some(flags & 1 == 1),
        })
    }

    /// The W3C `traceparent` header: ASCII, made without the formatter, since each request has one.
    pub fn traceparent(&self) -> [u8; 55] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&self.trace.0.to_be_bytes(), &mut text[TRACE_IN_TRACEPARENT]);
        write_hex(&self.span.0.to_be_bytes(), &mut text[SPAN_IN_TRACEPARENT]);
        text[54] += u8::from(self.sampled.unwrap_or(false));
        text
    }

    /// Reads B3's single header `b3`: `<trace>-<span>[-<sampled>[-<parent>]]`.
    pub fn from_b3_single(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (trace, span) = (parts.next()?, parts.next()?);
        let sampled = parts.next();
        let parent = parts.next();
        Self::from_b3_parts(trace, span, parent, sampled, None)
    }

    /// Writes B3's single header.
    pub fn to_b3_single(&self) -> String {
        let sampled = match self.sampled {
            Some(true) => "-1",
            Some(false) => "-0",
            None => "",
        };
        match (self.parent, self.sampled) {
            (Some(parent), Some(_)) => format!("{}-{}{sampled}-{parent}", self.trace, self.span),
            _ => format!("{}-{}{sampled}", self.trace, self.span),
        }
    }

    /// Reads B3's several headers: `x-b3-traceid`, `-spanid`, `-parentspanid`, `-sampled`, `-flags`.
    pub fn from_b3_parts(
        trace: &str,
        span: &str,
        parent: Option<&str>,
        sampled: Option<&str>,
        flags: Option<&str>,
    ) -> Option<Self> {
        let trace = match trace.len() {
            16 | 32 => TraceId(hex::<u128>(trace)?).non_zero()?,
            _ => return None,
        };
        let span = SpanId(hex16(span)?).non_zero()?;
        let parent = match parent {
            Some(text) => Some(SpanId(hex16(text)?).non_zero()?),
            None => None,
        };
        let sampled = match (flags, sampled) {
            (Some("1"), _) | (_, Some("1" | "true" | "d")) => Some(true),
            (_, Some("0" | "false")) => Some(false),
            (_, None) => None,
            _ => return None,
        };
        Some(Self { trace, span, parent, sampled })
    }
}

impl TraceContext {
    /// Reads Jaeger's `uber-trace-id`: `<trace>:<span>:<parent>:<flags>`, each without the zeros in front if its writer left
    /// them out. Some clients encode the colons.
    pub fn from_jaeger(text: &str) -> Option<Self> {
        let plain =
            if text.contains('%') { text.replace("%3A", ":").replace("%3a", ":").into() } else { Cow::from(text) };
        let mut parts = plain.split(':');
        let (trace, span, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let flags = digits::<u8>(flags, 2)?;
        if parts.next().is_some() {
            return None;
        }
        Some(Self {
            trace: TraceId(digits(trace, 32)?).non_zero()?,
            span: SpanId(digits(span, 16)?).non_zero()?,
            parent: SpanId(digits(parent, 16)?).non_zero(),
            // Who debugs wants it in any case.
            sampled: Some(flags & 0b11 != 0),
        })
    }

    /// Writes Jaeger's header.
    pub fn to_jaeger(&self) -> String {
        let parent = self.parent.map_or_else(|| "0".to_owned(), |parent| parent.to_string());
        format!("{}:{}:{parent}:{}", self.trace, self.span, u8::from(self.sampled == Some(true)))
    }
}

impl TraceId {
    fn non_zero(self) -> Option<Self> {
        (self.0 != 0).then_some(self)
    }
}

impl SpanId {
    fn non_zero(self) -> Option<Self> {
        (self.0 != 0).then_some(self)
    }
}

/// Two digits for each byte.
fn write_hex(bytes: &[u8], text: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, digits) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        digits[0] = DIGITS[usize::from(byte >> 4)];
        digits[1] = DIGITS[usize::from(byte & 15)];
    }
}

trait Hex: Sized {
    fn read(text: &str) -> Option<Self>;
}
macro_rules! hex_of {
    ($($t:ty)*) => {$(impl Hex for $t {
        fn read(text: &str) -> Option<Self> { <$t>::from_str_radix(text, 16).ok() }
    })*};
}
hex_of!(u8 u64 u128);

/// Lower-case hexadecimal only, as both standards ask.
fn hex<T: Hex>(text: &str) -> Option<T> {
    let lower = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if !text.bytes().all(lower) {
        return None;
    }
    T::read(text)
}

/// A number of one digit at least, and of so many at most.
fn digits<T: Hex>(text: &str, most: usize) -> Option<T> {
    if (1..=most).contains(&text.len()) { hex(text) } else { None }
}

fn hex16(text: &str) -> Option<u64> {
    if text.len() == 16 { hex(text) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w3c() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = TraceContext::from_traceparent(text).unwrap();
        assert_eq!(context.sampled, Some(true));
        assert_eq!(std::str::from_utf8(&context.traceparent()).unwrap(), text);
        let child = context.child();
        assert_eq!((child.trace, child.parent), (context.trace, Some(context.span)));
        assert!(TraceContext::from_traceparent(&format!("01{}-extra", &text[2..])).is_some());
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
            "00-0af7651916cd43dd8448eb211c80319é-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceContext::from_traceparent(bad), None, "{bad}");
        }
    }

    #[test]
    fn b3() {
        let text = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1-05e3ac9a4f6e3b90";
        let context = TraceContext::from_b3_single(text).unwrap();
        assert_eq!(context.to_b3_single(), text);
        let short = TraceContext::from_b3_parts("64fe8b2a57d3eff7", "e457b5a2e4d86bd1", None, None, None).unwrap();
        assert_eq!((short.trace.0, short.sampled), (0x64fe8b2a57d3eff7, None));
        assert_eq!(TraceContext::from_b3_single("0"), None);
        assert_eq!(TraceContext::from_b3_parts("zz", "e457b5a2e4d86bd1", None, None, None), None);
    }

    #[test]
    fn jaeger() {
        let text = "80f198ee56343ba864fe8b2a57d3eff7:e457b5a2e4d86bd1:05e3ac9a4f6e3b90:1";
        let context = TraceContext::from_jaeger(text).unwrap();
        assert_eq!((context.to_jaeger().as_str(), context.sampled), (text, Some(true)));
        assert_eq!(TraceContext::from_jaeger(&text.replace(':', "%3A")), Some(context));
        let short = TraceContext::from_jaeger("4fe8b2a57d3eff7:57b5a2e4d86bd1:0:0").unwrap();
        assert_eq!((short.trace.0, short.parent, short.sampled), (0x4fe8b2a57d3eff7, None, Some(false)));
        assert_eq!(short.to_jaeger(), "000000000000000004fe8b2a57d3eff7:0057b5a2e4d86bd1:0:0");
        assert_eq!(TraceContext::from_jaeger("1:1:0:3").unwrap().sampled, Some(true));
        for bad in ["", "1:1:0", "1:1:0:1:1", "0:1:0:1", "1:0:0:1", "1:1::1", "g:1:0:1", "1:00e457b5a2e4d86bd1:0:1"] {
            assert_eq!(TraceContext::from_jaeger(bad), None, "{bad}");
        }
    }
}
