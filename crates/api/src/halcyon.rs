//! Our own kinds (`halcyon.dev`): what Istio has no word for.

mod egress_policy;
mod geo_route;
mod limit_file;
mod login_policy;
mod rate_limit_policy;
mod service_policy;

pub use egress_policy::{EgressPolicy, EgressPort, EgressRule};
pub use geo_route::{CITY_HEADER, COUNTRY_HEADER, GeoRoute, REGION_HEADER};
pub(crate) use limit_file::check_limit_files;
pub use limit_file::{
    LimitDescriptor, LimitFile, LimitRate, OWN_DOMAINS, Replaced, Scalar, Window, WindowWord, limit_files,
};
pub use login_policy::{
    ClientAuthentication, ENDPOINTS, ForwardToken, LoginCookies, LoginHeader, LoginMatch, LoginPolicy, LoginSameSite,
    SecretKey,
};
pub use rate_limit_policy::{
    LimitAddress, LimitCaller, LimitHeader, LimitKey, LimitOnError, LimitPart, LimitResponse, LimitScope, LimitUnit,
    RateLimit, RateLimitMatch, RateLimitPolicy, claim_path,
};
pub use service_policy::{
    ConcurrencyLimit, GrpcCheck, HealthCheck, Hedging, HttpCheck, LatencyBaseline, LoadBalancing, PeakEwma,
    ServicePolicy, Statuses, TcpCheck,
};
