//! Requests and connections to clusters whose endpoints are the hosts that they name: looked up on the way.

use ::http::Request;
use mesh_http::{Body, head};
use upstream::{ClusterPools, NoTarget, Target};

/// Where the host is that a request names.
///
/// # Errors
/// It names none, or it has no address.
pub(crate) async fn of_request(pools: &ClusterPools, request: &Request<Body>) -> Result<Target, NoTarget> {
    let host = head::authority(request).ok_or(NoTarget::Nameless)?;
    pools.look_up(host, None).await
}

/// The same for a connection that names it in its TLS handshake, and is to go to a port there.
///
/// # Errors
/// It names none, or it has no address.
pub(crate) async fn of_connection(
    pools: &ClusterPools,
    server_name: Option<&str>,
    port: Option<u16>,
) -> Result<Target, NoTarget> {
    let (Some(host), Some(port)) = (server_name, port) else { return Err(NoTarget::Nameless) };
    pools.look_up(host, Some(port)).await
}
