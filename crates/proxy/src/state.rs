//! What survives a restart: the last good configuration, and the workload's certificate and key. Each in a file of its
//! own, readable by its owner only, replaced whole or not at all.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::secret::{Secret, SecretValue};
use model::{Config, ResourceKind};
use prost::Message;
use proto::envoy::service::discovery::v3::DiscoveryResponse;
use xds::Resource;
use xds::client::Held;

const HELD: &str = "held.bin";
const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

/// The directory where state is kept.
#[derive(Debug, Clone)]
pub(crate) struct StateDir(PathBuf);

/// Why resources cannot be read from a file.
#[derive(Debug, thiserror::Error)]
pub enum ResourcesError {
    /// The file cannot be read.
    #[error("{path}: cannot be read: {source}; expected a file of xDS resources")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It holds something else.
    #[error("{path}: {reason}; expected a protobuf DiscoveryResponse with xDS v3 resources")]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl StateDir {
    /// Uses this directory; made if it is missing, for its owner only.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self(path.to_owned()))
    }

    /// Keeps what the control plane sent, as [`Held::to_bytes`] writes it.
    ///
    /// # Errors
    /// It cannot be written; the one before stays.
    pub(crate) fn save_held(&self, bytes: &[u8]) -> io::Result<()> {
        self.replace(HELD, bytes)
    }

    /// What was kept; nothing if there is nothing.
    ///
    /// # Errors
    /// It is there and cannot be used; the text says why.
    pub(crate) fn load_held(&self) -> Result<Held, String> {
        match std::fs::read(self.0.join(HELD)) {
            Ok(bytes) => Held::from_bytes(&bytes).map_err(|e| e.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Held::default()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Keeps the workload's certificate and key. The key first: a pair that does not match is refused at the start
    /// and asked for anew.
    ///
    /// # Errors
    /// They cannot be written.
    pub(crate) fn save_certificate(&self, chain: &str, key: &str) -> io::Result<()> {
        self.replace(KEY, key.as_bytes())?;
        self.replace(CERTIFICATE, chain.as_bytes())
    }

    /// The certificate chain and key that were kept, in PEM.
    pub(crate) fn load_certificate(&self) -> Option<(String, String)> {
        let read = |name| std::fs::read_to_string(self.0.join(name)).ok();
        Some((read(CERTIFICATE)?, read(KEY)?))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let hidden = self.0.join(format!(".{name}.new"));
        // A leftover of an earlier crash may have other permissions.
        let _ = std::fs::remove_file(&hidden);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&hidden)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        let replaced = written.and_then(|()| std::fs::rename(&hidden, self.0.join(name)));
        // Half a file is of no use, and takes room where there may be none.
        replaced.inspect_err(|_| drop(std::fs::remove_file(&hidden)))
    }

    /// Where it is, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

/// The resources in a file: a protobuf `DiscoveryResponse`.
///
/// # Errors
/// [`ResourcesError`]; a file is used whole or not at all.
pub(crate) fn read_resources(path: &Path) -> Result<Vec<Resource>, ResourcesError> {
    let bytes = std::fs::read(path).map_err(|source| ResourcesError::Read { path: path.to_owned(), source })?;
    let bad = |reason: String| ResourcesError::Content { path: path.to_owned(), reason };
    let message = DiscoveryResponse::decode(&*bytes).map_err(|e| bad(e.to_string()))?;
    let one = |any| {
        let any: &proto::google::protobuf::Any = any;
        let kind = xds::kind_of(&any.type_url).ok_or_else(|| bad(format!("`{}` is no resource", any.type_url)))?;
        xds::decode::resource(kind, any).map_err(|e| bad(e.to_string()))
    };
    message.resources.iter().map(one).collect()
}

/// Every resource of a configuration. The workload's own key is kept apart from it.
pub(crate) fn resources_of(config: &Config) -> Vec<Resource> {
    // Of what programs have, a proxy has nothing.
    let Config { listeners, api_listeners: _, routes, virtual_hosts, clusters, endpoints, secrets, names, limits } =
        config;
    let mut all: Vec<Resource> = Vec::new();
    all.extend(clusters.values().cloned().map(Resource::Cluster));
    all.extend(endpoints.values().cloned().map(Resource::Endpoints));
    all.extend(listeners.values().cloned().map(Resource::Listener));
    all.extend(routes.values().cloned().map(Resource::Route));
    all.extend(virtual_hosts.iter().map(|(name, host)| Resource::VirtualHost(name.clone(), host.clone())));
    all.extend(secrets.values().cloned().map(Resource::Secret));
    all.extend(limits.values().cloned().map(Resource::Limits));
    all.extend(names.iter().map(|(name, table)| Resource::Names(name.clone(), table.clone())));
    all
}

/// The names of every resource of a configuration.
pub(crate) fn names_of(config: &Config) -> Vec<(ResourceKind, Arc<str>)> {
    resources_of(config).iter().map(|resource| (resource.kind(), resource.name())).collect()
}

/// A certificate secret.
pub(crate) fn certificate(name: &str, chain: &str, key: &str) -> Resource {
    let value = SecretValue::Certificate { chain: chain.as_bytes().to_vec(), private_key: key.as_bytes().to_vec() };
    Resource::Secret(Arc::new(Secret { name: name.into(), value }))
}
