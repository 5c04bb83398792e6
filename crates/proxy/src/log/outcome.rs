//! What filters of access logs look at.

use std::time::Duration;

use expression::Expression;
use mesh_http::grpc::GrpcStatus;
use model::access_log::{LogFilter, Outcome};
use telemetry::ResponseFlags;

use super::{Denied, Raw, Unseen};
use crate::attributes::Attributes;
use crate::record::Summary;

/// Envoy's details of an answer by the upstream.
const VIA_UPSTREAM: &str = "via_upstream";

/// Is every flag known that a filter asks for?
///
/// # Errors
/// One is not; the text says which.
pub(super) fn check(filter: &LogFilter) -> Result<(), String> {
    match filter {
        LogFilter::Flags(flags) => match flags.iter().find(|flag| ResponseFlags::from_short(flag).is_none()) {
            Some(unknown) => Err(format!("there is no response flag `{unknown}`; expected one such as `UF`")),
            None => Ok(()),
        },
        LogFilter::And(filters) | LogFilter::Or(filters) => filters.iter().try_for_each(check),
        LogFilter::Status(_)
        | LogFilter::Duration(_)
        | LogFilter::GrpcStatus { .. }
        | LogFilter::OwnAnswer
        | LogFilter::Expression(_)
        | LogFilter::Terminated => Ok(()),
    }
}

fn has(flags: ResponseFlags, flag: Option<&str>) -> bool {
    match flag {
        None => !flags.is_empty(),
        Some(code) => ResponseFlags::from_short(code).is_some_and(|flag| flags.contains(flag)),
    }
}

impl Outcome for Summary<'_> {
    fn status(&self) -> u16 {
        self.facts.status.map_or(0, |status| status.as_u16())
    }
    fn duration(&self) -> Duration {
        self.duration
    }
    fn has_flag(&self, flag: Option<&str>) -> bool {
        has(self.facts.flags, flag)
    }
    fn grpc_status(&self) -> u32 {
        let of_http = || match self.facts.status.map(GrpcStatus::from_http) {
            // As for Envoy: an answer without a status of gRPC is none of gRPC.
            None | Some(GrpcStatus::OK) => GrpcStatus::UNKNOWN,
            Some(status) => status,
        };
        self.facts.grpc_status.unwrap_or_else(of_http).0
    }
    fn is_own_answer(&self) -> bool {
        !self.facts.details.is_empty() && self.facts.details != VIA_UPSTREAM
    }
    fn is_terminated(&self) -> bool {
        false
    }
    fn holds(&self, expression: &Expression) -> bool {
        expression.holds(&Attributes::of_exchange(self))
    }
}

/// What is no request has no status of its own.
macro_rules! of_connections {
    ($type:ty, $duration:expr, $flags:expr, $details:expr, $attributes:expr) => {
        impl Outcome for $type {
            fn status(&self) -> u16 {
                0
            }
            fn duration(&self) -> Duration {
                $duration(self)
            }
            fn has_flag(&self, flag: Option<&str>) -> bool {
                has($flags(self), flag)
            }
            fn grpc_status(&self) -> u32 {
                GrpcStatus::UNKNOWN.0
            }
            fn is_own_answer(&self) -> bool {
                false
            }
            fn is_terminated(&self) -> bool {
                let details: &str = $details(self);
                !details.is_empty()
            }
            fn holds(&self, expression: &Expression) -> bool {
                let attributes: fn(&Self) -> Attributes<'_> = $attributes;
                expression.holds(&attributes(self))
            }
        }
    };
}

of_connections!(
    Raw<'_>,
    |raw: &Raw<'_>| raw.record.duration(),
    |raw: &Raw<'_>| raw.end.flags,
    (|raw| raw.end.details) as for<'a, 'b> fn(&'a Raw<'b>) -> &'a str,
    |raw| Attributes::of_connection(raw.record, raw)
);
of_connections!(
    Denied<'_>,
    |denied: &Denied<'_>| denied.begun_at.elapsed().unwrap_or_default(),
    |denied: &Denied<'_>| denied.flags,
    (|denied| denied.details) as for<'a, 'b> fn(&'a Denied<'b>) -> &'a str,
    |denied| Attributes::of_fields(denied, denied.begun_at)
);
of_connections!(
    Unseen<'_>,
    |_: &Unseen<'_>| Duration::ZERO,
    |unseen: &Unseen<'_>| unseen.why.facts().0,
    (|unseen| unseen.why.facts().1) as for<'a, 'b> fn(&'a Unseen<'b>) -> &'a str,
    |unseen| Attributes::of_fields(unseen, unseen.at)
);
