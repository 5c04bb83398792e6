//! The API's two doors: the Unix socket, for a group too if that is asked for, and TLS with its certificates.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use base::drain::Watch;
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use transport::listen;
use transport::tls::{Accept, ClientAuth, LiveCert, PeerCheck, Roots, ServerOptions, ServerTls, Versions};

use crate::authority::Issuer;
use crate::doors::ApiListener;
use crate::error::ControlError;
use crate::options::ApiDoor;
use crate::rest::Peer;

/// Connections that one address may have at the TLS door at once.
pub(crate) const CONNECTIONS: usize = 256;

/// The socket for a group: its members may pass through the data directory, and see nothing else in it.
pub(crate) fn open_to_group(dir: &Path, socket: &Path, group: u32) -> Result<UnixListener, ControlError> {
    // Closed until the group is set.
    let listener = listen::unix(socket, 0o600)?;
    for (path, mode) in [(dir, 0o710), (socket, 0o660)] {
        let changed = std::os::unix::fs::chown(path, None, Some(group))
            .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)));
        changed.map_err(|e| ControlError::Option {
            option: "socket group",
            reason: format!("{} cannot be given to the group {group}: {e}", path.display()),
        })?;
    }
    Ok(listener)
}

/// Users may prove who they are by certificate there, of the mesh or of roots that were given.
pub(crate) fn tls(door: &ApiDoor, issuer: &Issuer, chores: &mut JoinSet<()>) -> Result<ServerTls, ControlError> {
    let refused = |path: &Path, e: &dyn std::fmt::Display| ControlError::Option {
        option: "API",
        reason: format!("{}: {e}", path.display()),
    };
    let cert = match &door.cert {
        None => issuer.own().cert.clone(),
        Some(files) => {
            let cert = LiveCert::empty();
            read_cert(&cert, files).map_err(|e| refused(&files.0, &e))?;
            chores.spawn(follow_cert("API", cert.clone(), files.clone()));
            cert
        }
    };
    let mut others = HashMap::new();
    for (domain, path) in &door.client_roots {
        if *domain == issuer.trust_domain() {
            return Err(refused(path, &format!("`{domain}` is the mesh's own trust domain; expected another")));
        }
        let roots = Roots::from_file(path).map_err(|e| refused(path, &e))?;
        others.insert(domain.clone(), roots);
    }
    let trust = issuer.trust_with(others);
    let mut options = ServerOptions::new(cert);
    options.client_auth = ClientAuth::Optional(PeerCheck::Spiffe { trust, accept: Accept::Any });
    options.alpn = vec![b"http/1.1".to_vec()];
    options.versions = Versions::V1_3;
    ServerTls::new(options).map_err(|e| ControlError::OwnCertificate(e.to_string()))
}

pub(crate) fn read_cert(cert: &LiveCert, (chain, key): &(PathBuf, PathBuf)) -> Result<(), String> {
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
    cert.set_pem(&read(chain)?, &read(key)?).map_err(|e| e.to_string())
}

/// Reads a certificate again when its files have changed. `door` stands in messages.
pub(crate) async fn follow_cert(door: &'static str, cert: LiveCert, files: (PathBuf, PathBuf)) {
    const EVERY: Duration = Duration::from_secs(60);
    let stamp = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let mut seen = (stamp(&files.0), stamp(&files.1));
    loop {
        tokio::time::sleep(EVERY).await;
        let now = (stamp(&files.0), stamp(&files.1));
        if now == seen {
            continue;
        }
        match read_cert(&cert, &files) {
            Ok(()) => seen = now,
            Err(error) => {
                tracing::error!("{door}: {error}; the certificate before it stays; trying again in {EVERY:?}")
            }
        }
    }
}

/// Serves the API at the Unix socket.
pub(crate) async fn serve_local(listener: UnixListener, routes: Router, drain: Watch) -> Result<(), ControlError> {
    let service = routes.into_make_service_with_connect_info::<Peer>();
    let served = axum::serve(listener, service).with_graceful_shutdown(drain.started()).await;
    served.map_err(|e| ControlError::Door { door: "API", reason: e.to_string() })
}

/// Serves the API over TLS.
pub(crate) async fn serve_remote(listener: ApiListener, routes: Router, drain: Watch) -> Result<(), ControlError> {
    let service = routes.into_make_service_with_connect_info::<Peer>();
    let served = axum::serve(listener, service).with_graceful_shutdown(drain.started()).await;
    served.map_err(|e| ControlError::Door { door: "API's TLS", reason: e.to_string() })
}
