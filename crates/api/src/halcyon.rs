//! Our own kinds (`halcyon.dev`): what Istio has no word for.

mod service_policy;

pub use service_policy::{
    GrpcCheck, HealthCheck, HttpCheck, LoadBalancing, PeakEwma, ServicePolicy, Statuses, TcpCheck,
};
