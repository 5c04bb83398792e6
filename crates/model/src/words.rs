//! Conditions in words, for people: `begins with /api`, `header x-user is `jason``.

use std::fmt;

use crate::cluster::Balancing;
use crate::concurrency::{AdaptiveConcurrency, Baseline};
use crate::health_check::{HealthCheck, Probe};
use crate::matcher::{Fraction, HeaderMatch, QueryMatch, QueryValue, StringMatch, ValueMatch};
use crate::metadata::{MetadataMatch, MetadataValue};
use crate::route::PathMatch;

/// `/api*` for a prefix, `/api/*` for whole segments, `~/a+` for an expression, the path itself, or `CONNECT`.
impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(path) => write!(f, "{path}*"),
            Self::SegmentPrefix(path) => write!(f, "{path}/*"),
            Self::Exact(path) => f.write_str(path),
            Self::Regex(pattern) => write!(f, "~{}", pattern.as_str()),
            Self::Connect => f.write_str("CONNECT"),
        }
    }
}

/// `is `jason``, `begins with `a``, ...
impl fmt::Display for StringMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact { value, .. } => write!(f, "is `{value}`"),
            Self::Prefix { value, .. } => write!(f, "begins with `{value}`"),
            Self::Suffix { value, .. } => write!(f, "ends with `{value}`"),
            Self::Contains { value, .. } => write!(f, "has `{value}`"),
            Self::Regex(pattern) => write!(f, "matches `{}`", pattern.as_str()),
        }
    }
}

/// `is there`, `is from 1 to 9`, or what is asked of the text.
impl fmt::Display for ValueMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present(true) => f.write_str("is there"),
            Self::Present(false) => f.write_str("is not there"),
            Self::Range { start, end } => write!(f, "is from {start} to {}", end.saturating_sub(1)),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// `x-user is `jason``, `not x-user is there`
impl fmt::Display for HeaderMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.invert { "not " } else { "" };
        write!(f, "{not}{} {}", self.key.as_str(), self.value)
    }
}

/// `least requests of 2`
impl fmt::Display for Balancing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RoundRobin => f.write_str("round robin"),
            Self::LeastRequest { choices } => write!(f, "least requests of {choices}"),
            Self::BiasedLeastRequest { choices, bias } => {
                write!(f, "least requests of {choices}, with a bias of {bias}")
            }
            Self::Random => f.write_str("random"),
            Self::RingHash { min_size, .. } => write!(f, "by a hash, on a ring of {min_size} places or more"),
            Self::Maglev { table_size } => write!(f, "by a hash, in a Maglev table of {table_size} places"),
            Self::PeakEwma(_) => f.write_str("the quicker one of 2 (peak EWMA)"),
            Self::Provided => f.write_str("the one endpoint"),
        }
    }
}

/// `GET /health every 10s, answered within 1s`
impl fmt::Display for HealthCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.probe {
            Probe::Http(http) => write!(f, "{} {}", http.method, http.path)?,
            Probe::Tcp { .. } => f.write_str("a connection")?,
            Probe::Grpc { service, .. } if service.is_empty() => f.write_str("gRPC")?,
            Probe::Grpc { service, .. } => write!(f, "gRPC, of {service}")?,
        }
        let time = base::format_duration;
        write!(f, " every {}, answered within {}", time(self.interval), time(self.timeout))
    }
}

/// `3 to 1000 at once, beyond that 503; by percentile 50 of the latencies in 1s, over 20ms and 25 %`
impl fmt::Display for AdaptiveConcurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (time, lowest) = (base::format_duration, self.lowest());
        write!(f, "{lowest} to {} at once, beyond that {}; ", self.max, self.status)?;
        write!(f, "by percentile {} of the latencies in {}, over ", self.percentile, time(self.update_interval))?;
        match self.baseline {
            Baseline::Fixed(baseline) => f.write_str(&time(baseline))?,
            Baseline::Measured(how) => {
                write!(f, "that of {} requests measured every {}", how.requests, time(how.interval))?;
            }
        }
        write!(f, " and {} %", self.buffer_percent)?;
        if self.enabled { Ok(()) } else { f.write_str("; switched off") }
    }
}

/// `12.5 %`
impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(self.as_millionths()) / 1e4)
    }
}

/// `page is `1``
impl fmt::Display for QueryMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            QueryValue::Present(true) => write!(f, "{} is there", self.name),
            QueryValue::Present(false) => write!(f, "{} is not there", self.name),
            QueryValue::Text(text) => write!(f, "{} {text}", self.name),
        }
    }
}

/// `payload.groups of jwt is `ops``, a claim with its way.
impl fmt::Display for MetadataMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.invert { "not " } else { "" };
        write!(f, "{not}{} of {} {}", self.path.join("."), self.filter, self.value)
    }
}

/// `is `a``, `is there`, `has a member that is `a``, ...
impl fmt::Display for MetadataValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("is null"),
            Self::Number(number) => write!(f, "is {number}"),
            Self::Range { start, end } => write!(f, "is from {start} to below {end}"),
            Self::Text(text) => text.fmt(f),
            Self::Bool(value) => write!(f, "is {value}"),
            Self::Present(true) => f.write_str("is there"),
            Self::Present(false) => f.write_str("is nothing at all"),
            Self::OneOf(member) => write!(f, "has a member that {member}"),
            Self::Any(any) => match any.split_first() {
                None => f.write_str("is nothing at all"),
                Some((first, rest)) => {
                    first.fmt(f)?;
                    rest.iter().try_for_each(|other| write!(f, " or {other}"))
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::concurrency::Measuring;
    use crate::matcher::HeaderKey;

    #[test]
    fn in_words() {
        let second = Duration::from_secs(1);
        let fixed = AdaptiveConcurrency::new(second / 10, Baseline::Fixed(second / 50));
        let user = HeaderMatch::text(HeaderKey::parse("x-user").unwrap(), StringMatch::exact("jason"));
        let dev = MetadataValue::Text(StringMatch::exact("dev"));
        let either = MetadataValue::Any(vec![dev.clone(), MetadataValue::OneOf(Box::new(dev))]);
        let groups = MetadataMatch {
            filter: "jwt".into(),
            path: vec!["payload".into(), "groups".into()],
            value: either,
            invert: false,
        };
        for (found, expected) in [
            (groups.to_string(), "payload.groups of jwt is `dev` or has a member that is `dev`"),
            (user.to_string(), "x-user is `jason`"),
            (HeaderMatch { invert: true, ..user }.to_string(), "not x-user is `jason`"),
            (ValueMatch::Range { start: 1, end: 10 }.to_string(), "is from 1 to 9"),
            (PathMatch::SegmentPrefix("/api".into()).to_string(), "/api/*"),
            (Fraction::percent(12.5).to_string(), "12.5 %"),
            (QueryMatch { name: "page".into(), value: QueryValue::Present(true) }.to_string(), "page is there"),
            (
                AdaptiveConcurrency::new(second, Baseline::Measured(Measuring::new(60 * second))).to_string(),
                "3 to 1000 at once, beyond that 503; by percentile 50 of the latencies in 1s, over that of 50 requests \
                 measured every 1m and 25 %",
            ),
            (
                AdaptiveConcurrency { enabled: false, lower_bound: Some(7), ..fixed }.to_string(),
                "7 to 1000 at once, beyond that 503; by percentile 50 of the latencies in 100ms, over 20ms and 25 %; \
                 switched off",
            ),
        ] {
            assert_eq!(found, expected);
        }
    }
}
