//! Whether a proxy's program is ready, told over the discovery stream: a request of the type [`HEALTH_TYPE`], which
//! asks for nothing. An error in it says that the program is not ready, and why (Istio's agent and control plane,
//! `istio.v1.HealthInformation`).

use proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use proto::google::rpc::Status;

use crate::client::{Message, Variant};

/// The type of such a request.
pub const HEALTH_TYPE: &str = "type.googleapis.com/istio.v1.HealthInformation";

/// What is said of the program: ready, or the reason why it is not.
pub type Health = Result<(), String>;

/// The request that says so.
pub(crate) fn message(variant: Variant, health: &Health) -> Message {
    /// gRPC's `UNAVAILABLE`. The receiver looks at the words only.
    const UNAVAILABLE: i32 = 14;
    let error_detail = health.clone().err().map(|message| Status { code: UNAVAILABLE, message, details: Vec::new() });
    let type_url = HEALTH_TYPE.to_owned();
    match variant {
        Variant::Delta => {
            Message::Delta(DeltaDiscoveryRequest { type_url, error_detail, ..DeltaDiscoveryRequest::default() })
        }
        Variant::Sotw => Message::Sotw(DiscoveryRequest { type_url, error_detail, ..DiscoveryRequest::default() }),
    }
}
