//! Our own kinds (`halcyon.dev`): what Istio has no word for.

mod geo_route;
mod service_policy;

pub use geo_route::{CITY_HEADER, COUNTRY_HEADER, GeoRoute, REGION_HEADER};
pub use service_policy::{
    ConcurrencyLimit, GrpcCheck, HealthCheck, Hedging, HttpCheck, LatencyBaseline, LoadBalancing, PeakEwma,
    ServicePolicy, Statuses, TcpCheck,
};
