//! The SPIFFE Workload API for the program beside us: at a Unix socket that only its user may open.

use std::path::Path;
use std::sync::Arc;

use transport::listen::{self, BindError};
use xds::shell::Member;

use crate::link::Links;

/// Serves it for as long as the proxy runs. The socket is there when this returns; the workload has nothing to give before
/// it is shown its certificate.
///
/// # Errors
/// There can be no such socket.
pub(crate) fn start(path: &Path, links: &Links) -> Result<Arc<Member>, BindError> {
    let listener = listen::unix(path, 0o600)?;
    let member = links.member();
    let served = svid::serve(listener, member.clone());
    tokio::spawn(async move {
        if let Err(error) = served.await {
            tracing::error!("the program gets no more identities: {error}");
        }
    });
    let following = member.clone().follow(|reason| {
        tracing::warn!("bundles of trust domains: {reason}; what the program was told stays");
    });
    tokio::spawn(following);
    Ok(member)
}
