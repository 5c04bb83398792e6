//! Response flags: why an exchange went otherwise than the upstream would have had it, in Envoy's codes.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// A set of response flags. Shown in Envoy's order, as `UF,URX`; the empty set as `-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ResponseFlags(u32);

macro_rules! flags {
    ($($bit:literal $constant:ident $short:literal $long:literal $doc:literal;)*) => {
        impl ResponseFlags {
            $(#[doc = concat!("`", $short, "`: ", $doc)] pub const $constant: Self = Self(1 << $bit);)*
        }
        /// Short and long code, by bit.
        const CODES: &[(&str, &str)] = &[$(($short, $long)),*];
    };
}

flags! {
    0 FAILED_LOCAL_HEALTH_CHECK "LH" "FailedLocalHealthCheck" "this proxy failed a health check.";
    1 NO_HEALTHY_UPSTREAM "UH" "NoHealthyUpstream" "no healthy endpoint in the cluster.";
    2 UPSTREAM_REQUEST_TIMEOUT "UT" "UpstreamRequestTimeout" "the upstream took too long.";
    3 LOCAL_RESET "LR" "LocalReset" "reset by this proxy.";
    4 UPSTREAM_REMOTE_RESET "UR" "UpstreamRemoteReset" "the upstream reset the stream.";
    5 UPSTREAM_CONNECTION_FAILURE "UF" "UpstreamConnectionFailure" "no connection to the upstream.";
    6 UPSTREAM_CONNECTION_TERMINATION "UC" "UpstreamConnectionTermination" "the upstream closed its connection.";
    7 UPSTREAM_OVERFLOW "UO" "UpstreamOverflow" "a circuit breaker is open.";
    8 NO_ROUTE "NR" "NoRouteFound" "no route, or no filter chain.";
    9 DELAY_INJECTED "DI" "DelayInjected" "delayed by fault injection.";
    10 FAULT_INJECTED "FI" "FaultInjected" "aborted by fault injection.";
    11 RATE_LIMITED "RL" "RateLimited" "rate limited.";
    12 UNAUTHORIZED_EXTERNAL_SERVICE "UAEX" "UnauthorizedExternalService" "denied by an external authorizer.";
    13 RATE_LIMIT_SERVICE_ERROR "RLSE" "RateLimitServiceError" "the rate-limit service failed.";
    14 DOWNSTREAM_CONNECTION_TERMINATION "DC" "DownstreamConnectionTermination" "the downstream closed.";
    15 UPSTREAM_RETRY_LIMIT_EXCEEDED "URX" "UpstreamRetryLimitExceeded" "retries or connect attempts are used up.";
    16 STREAM_IDLE_TIMEOUT "SI" "StreamIdleTimeout" "the stream was idle too long.";
    17 INVALID_ENVOY_REQUEST_HEADERS "IH" "InvalidEnvoyRequestHeaders" "a strictly checked header has a bad value.";
    18 DOWNSTREAM_PROTOCOL_ERROR "DPE" "DownstreamProtocolError" "the downstream broke the protocol.";
    19 UPSTREAM_MAX_STREAM_DURATION "UMSDR" "UpstreamMaxStreamDurationReached" "the upstream stream lasted too long.";
    20 RESPONSE_FROM_CACHE "RFCF" "ResponseFromCacheFilter" "answered from a cache.";
    21 NO_FILTER_CONFIG "NFCF" "NoFilterConfigFound" "a filter's configuration did not come in time.";
    22 DURATION_TIMEOUT "DT" "DurationTimeout" "the request lasted longer than allowed.";
    23 UPSTREAM_PROTOCOL_ERROR "UPE" "UpstreamProtocolError" "the upstream broke the protocol.";
    24 NO_CLUSTER "NC" "NoClusterFound" "the route's cluster does not exist.";
    25 OVERLOAD_MANAGER "OM" "OverloadManagerTerminated" "ended for want of memory or time.";
    26 DNS_RESOLUTION_FAILED "DF" "DnsResolutionFailed" "a name did not resolve.";
    27 DROP_OVERLOAD "DO" "DropOverload" "dropped as the control plane asked.";
    28 DOWNSTREAM_REMOTE_RESET "DR" "DownstreamRemoteReset" "the downstream reset the stream.";
    29 UNCONDITIONAL_DROP_OVERLOAD "UDO" "UnconditionalDropOverload" "all dropped, as the control plane asked.";
}

impl ResponseFlags {
    /// No flag.
    pub const NONE: Self = Self(0);

    /// The flags as Envoy's attribute `response.flags` has them.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Is no flag set?
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Are all flags of `other` set?
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets the flags of `other`.
    pub fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The flag with this short code, as configuration filters name it.
    pub fn from_short(code: &str) -> Option<Self> {
        CODES.iter().position(|(short, _)| *short == code).map(|bit| Self(1 << bit))
    }

    /// The set in long codes: `UpstreamConnectionFailure,UpstreamRetryLimitExceeded`.
    pub fn long(self) -> impl fmt::Display {
        Codes { flags: self, long: true }
    }
}

struct Codes {
    flags: ResponseFlags,
    long: bool,
}

impl fmt::Display for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (bit, (short, long)) in CODES.iter().enumerate() {
            if self.flags.0 & 1 << bit != 0 {
                f.write_str(separator)?;
                f.write_str(if self.long { long } else { short })?;
                separator = ",";
            }
        }
        if separator.is_empty() { f.write_str("-") } else { Ok(()) }
    }
}

impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Codes { flags: *self, long: false }.fmt(f)
    }
}

impl BitOr for ResponseFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for ResponseFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.insert(other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes() {
        for (flags, short, long) in [
            (ResponseFlags::NONE, "-", "-"),
            (ResponseFlags::NO_ROUTE, "NR", "NoRouteFound"),
            (
                ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED | ResponseFlags::UPSTREAM_CONNECTION_FAILURE,
                "UF,URX",
                "UpstreamConnectionFailure,UpstreamRetryLimitExceeded",
            ),
        ] {
            assert_eq!(flags.to_string(), short);
            assert_eq!(flags.long().to_string(), long);
        }
        for (bit, (short, _)) in CODES.iter().enumerate() {
            assert_eq!(ResponseFlags::from_short(short), Some(ResponseFlags(1 << bit)));
        }
        assert_eq!(ResponseFlags::from_short("XX"), None);
        assert_eq!(ResponseFlags::DOWNSTREAM_REMOTE_RESET.to_string(), "DR");
    }
}
