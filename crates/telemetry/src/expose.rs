//! The registry as text: Prometheus 0.0.4, or OpenMetrics 1.0.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use crate::family::NO_LABEL;
use crate::metric::Point;
use crate::registry::{Declared, Kind};

/// Which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TextFormat {
    /// Prometheus text format 0.0.4.
    #[default]
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl TextFormat {
    /// The format to answer with, from a scraper's `Accept` header.
    pub fn from_accept(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The content type to answer with.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What to show, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exposition {
    /// Which text.
    pub format: TextFormat,
    /// Only families whose name begins so.
    pub prefix: String,
    /// Only series that were ever counted (not zero).
    pub used_only: bool,
}

/// A whole page.
pub(crate) fn write(families: &BTreeMap<String, Declared>, wanted: &Exposition) -> String {
    let mut out = self::families(families, wanted);
    if wanted.format == TextFormat::OpenMetrics {
        out.push_str("# EOF\n");
    }
    out
}

/// A part of a page, without its end.
pub(crate) fn families(families: &BTreeMap<String, Declared>, wanted: &Exposition) -> String {
    let mut out = String::new();
    for (name, family) in families.iter().filter(|(name, _)| name.starts_with(&wanted.prefix)) {
        let mut points = family.points();
        if wanted.used_only {
            points.retain(|(_, point)| point.is_used());
        }
        if points.is_empty() {
            continue;
        }
        out.reserve(points.len() * 128);
        let mut page =
            Page { out: &mut out, format: wanted.format, name: sample_base(name, family.kind, wanted.format) };
        page.head(family);
        for (labels, point) in &points {
            page.series(family, labels, point);
        }
    }
    out
}

/// OpenMetrics has counters with this ending alone. Others, such as Envoy's, are `unknown` there: a counter would get another
/// name than the same has in Prometheus' text format.
fn is_total(name: &str) -> bool {
    name.ends_with("_total")
}

/// OpenMetrics names a counter without `_total` and its sample with it.
fn sample_base(name: &str, kind: Kind, format: TextFormat) -> &str {
    match (kind, format) {
        (Kind::Counter, TextFormat::OpenMetrics) => name.strip_suffix("_total").unwrap_or(name),
        _ => name,
    }
}

struct Page<'a> {
    out: &'a mut String,
    format: TextFormat,
    name: &'a str,
}

impl Page<'_> {
    fn head(&mut self, family: &Declared) {
        let open = self.format == TextFormat::OpenMetrics;
        let kind = match family.kind {
            Kind::Counter if open && !is_total(&family.desc.name) => "unknown",
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.line(&["# HELP ", self.name, " "]);
        escape(self.out, &family.desc.help, open);
        self.out.push('\n');
        self.line(&["# TYPE ", self.name, " ", kind, "\n"]);
        if let Some(unit) = family.desc.unit.as_ref().filter(|unit| open && self.name.ends_with(unit.as_str())) {
            self.line(&["# UNIT ", self.name, " ", unit, "\n"]);
        }
    }

    fn series(&mut self, family: &Declared, labels: &[Arc<str>], point: &Point) {
        let names = &family.desc.labels;
        let open = self.format == TextFormat::OpenMetrics;
        let suffix = if open && family.kind == Kind::Counter && is_total(&family.desc.name) { "_total" } else { "" };
        match point {
            Point::Count(n) => self.sample(suffix, names, labels, None, n),
            Point::Level(n) => self.sample("", names, labels, None, n),
            Point::Buckets { counts, sum } => {
                let mut total = 0u64;
                for (count, bound) in counts.iter().zip(family.desc.bounds.iter().chain([&f64::INFINITY])) {
                    total = total.wrapping_add(*count);
                    self.sample("_bucket", names, labels, Some(*bound), &total);
                }
                self.sample("_sum", names, labels, None, sum);
                self.sample("_count", names, labels, None, &total);
            }
        }
    }

    fn sample(
        &mut self,
        suffix: &str,
        names: &[String],
        labels: &[Arc<str>],
        bound: Option<f64>,
        value: &dyn std::fmt::Display,
    ) {
        self.line(&[self.name, suffix]);
        let mut separator = '{';
        // Behind the values of the family's own labels stand further ones with their names.
        let (own, more) = labels.split_at(names.len().min(labels.len()));
        let own = names.iter().map(String::as_str).zip(own).filter(|(_, value)| ***value != *NO_LABEL);
        let more = more.as_chunks::<2>().0.iter().map(|[name, value]| (&**name, value));
        for (name, value) in own.chain(more) {
            self.out.push(separator);
            self.line(&[name, "=\""]);
            escape(self.out, value, true);
            self.out.push('"');
            separator = ',';
        }
        if let Some(bound) = bound {
            self.out.push(separator);
            separator = ',';
            let whole = self.format == TextFormat::OpenMetrics && bound.fract() == 0.0;
            let _ = match bound {
                f64::INFINITY => write!(self.out, "le=\"+Inf\""),
                bound if whole => write!(self.out, "le=\"{bound:.1}\""),
                bound => write!(self.out, "le=\"{bound}\""),
            };
        }
        if separator == ',' {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }

    fn line(&mut self, parts: &[&str]) {
        self.out.extend(parts.iter().copied());
    }
}

/// Escapes `\` and line feeds, and `"` where it would end the text.
fn escape(out: &mut String, text: &str, quotes: bool) {
    let mut rest = text;
    while let Some(at) = rest.find(|c| c == '\\' || c == '\n' || (quotes && c == '"')) {
        out.push_str(&rest[..at]);
        out.push_str(match rest.as_bytes()[at] {
            b'\n' => "\\n",
            b'"' => "\\\"",
            _ => "\\\\",
        });
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}
