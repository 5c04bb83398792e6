//! Limits that are kept in this proxy.

use std::sync::Arc;
use std::time::Duration;

use crate::rate_limit::{DescriptorRule, HostLimits};
use crate::{Fraction, HeaderChanges};

/// Limits that are kept in this proxy (xDS `envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit`).
#[derive(Debug, Clone, PartialEq)]
pub struct LocalRateLimit {
    /// The limit of ours that this is (`namespace/policy/limit`), by which answers name it; none: it is Envoy's alone.
    pub policy: Option<Arc<str>>,
    /// The prefix of its statistics.
    pub stat_prefix: Arc<str>,
    /// The status of a request that is one too many.
    pub status: u16,
    /// The limit of requests that no descriptor is for; none: they are not limited.
    pub fill: Option<Fill>,
    /// Limits of requests that are counted by these; the first that fits each descriptor of a request.
    pub descriptors: Vec<LocalDescriptor>,
    /// Every request counts for [`LocalRateLimit::fill`] too; otherwise only those that no descriptor fits.
    pub always_counts: bool,
    /// The share of the requests that are counted.
    pub enabled: Fraction,
    /// The share of those that are refused if they are too many.
    pub enforced: Fraction,
    /// Headers of requests that are one too many, and go on since that is not enforced.
    pub request_headers: HeaderChanges,
    /// Headers of the answers to requests that are one too many.
    pub response_headers: HeaderChanges,
    /// Responses tell what is left, in `x-ratelimit-*`.
    pub tells_limits: bool,
    /// An answer of status 429 tells when to try again, in `retry-after`.
    pub retry_after: bool,
    /// gRPC callers are told `RESOURCE_EXHAUSTED`, not `UNAVAILABLE`.
    pub resource_exhausted: bool,
    /// Each downstream connection has limits of its own.
    pub per_connection: bool,
    /// Only rules of routes with this number count.
    pub stage: u32,
    /// Do the rules of virtual hosts count?
    pub host_limits: HostLimits,
    /// What requests are counted by, in place of what routes say.
    pub rules: Vec<DescriptorRule>,
    /// For how many values a descriptor that takes any is kept: those that came last.
    pub max_values: u32,
}

impl LocalRateLimit {
    /// Envoy's default for [`LocalRateLimit::max_values`].
    pub const MAX_VALUES: u32 = 20;

    /// Envoy's defaults: nothing is counted, and nothing enforced.
    pub fn new(stat_prefix: impl Into<Arc<str>>, fill: Option<Fill>) -> Self {
        Self {
            policy: None,
            stat_prefix: stat_prefix.into(),
            status: 429,
            fill,
            descriptors: Vec::new(),
            always_counts: true,
            enabled: Fraction::NONE,
            enforced: Fraction::NONE,
            request_headers: HeaderChanges::default(),
            response_headers: HeaderChanges::default(),
            tells_limits: false,
            retry_after: false,
            resource_exhausted: false,
            per_connection: false,
            stage: 0,
            host_limits: HostLimits::Override,
            rules: Vec::new(),
            max_values: Self::MAX_VALUES,
        }
    }
}

/// How a limit fills up again (xDS `TokenBucket`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// How many there are at most, and at first.
    pub max: u32,
    /// How many come back within an interval; above zero.
    pub per_interval: u32,
    /// The interval; above zero.
    pub interval: Duration,
}

impl Fill {
    /// How many come back each second.
    pub fn rate(&self) -> f64 {
        f64::from(self.per_interval) / self.interval.as_secs_f64()
    }
}

/// A limit of the requests that are counted by a descriptor.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalDescriptor {
    /// The descriptor, key by key; an empty value takes any, and each of them has its own limit.
    pub entries: Vec<(String, String)>,
    /// The limit.
    pub fill: Fill,
}

impl LocalDescriptor {
    /// Does it take any value of some key?
    pub fn takes_any(&self) -> bool {
        self.entries.iter().any(|(_, value)| value.is_empty())
    }

    /// Is it for requests that are counted by these entries?
    pub fn fits(&self, entries: &[(String, String)]) -> bool {
        let one = |((key, value), (own_key, own)): (&(String, String), &(String, String))| {
            key == own_key && (own.is_empty() || value == own)
        };
        entries.len() == self.entries.len() && entries.iter().zip(&self.entries).all(one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<(String, String)> {
        let pairs = text.split_terminator(' ').map(|pair| pair.split_once('=').expect("key=value"));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn what_fits() {
        let fill = Fill { max: 1, per_interval: 1, interval: Duration::from_secs(1) };
        for (own, any, asked, expected) in [
            ("a=1", false, "a=1", true),
            ("a=1", false, "a=2", false),
            ("a=1", false, "b=1", false),
            ("a=1", false, "a=1 b=2", false),
            ("a=1 b=2", false, "b=2 a=1", false),
            ("a=", true, "a=7", true),
            ("a= b=2", true, "a=7 b=2", true),
            ("a= b=2", true, "a=7 b=3", false),
            ("", false, "", true),
        ] {
            let descriptor = LocalDescriptor { entries: entries(own), fill };
            assert_eq!(descriptor.fits(&entries(asked)), expected, "{own} for {asked}");
            assert_eq!(descriptor.takes_any(), any, "{own}");
        }
    }
}
