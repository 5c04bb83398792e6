//! Hosts that nobody lists: requests, and TLS connections, name them, and they are looked up on the way (Envoy's dynamic
//! forward proxy).

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

/// The names that were looked up (Envoy's `DnsCacheConfig`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsCache {
    /// Its name. Filters and clusters that work together have caches of one name, which are the same in all else too.
    pub name: Arc<str>,
    /// Which addresses of a name count.
    pub family: AddressFamily,
    /// Time between two lookups of a name that is in use (Envoy's default: one minute).
    pub refresh: Duration,
    /// A name that nobody used for so long is forgotten (Envoy's default: five minutes).
    pub idle: Duration,
    /// How long one lookup may take (Envoy's default: five seconds).
    pub timeout: Duration,
    /// At most so many names with their ports are held; whoever names one more is refused (Envoy's default: 1024).
    pub max_hosts: u32,
    /// Addresses in these blocks count as if they were not there: whoever may name a host does not reach all.
    pub refused: Vec<IpNet>,
}

/// Which addresses of a name count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AddressFamily {
    /// Those of IPv4, or if there are none, of IPv6.
    #[default]
    Any,
    /// Those of IPv4.
    V4,
    /// Those of IPv6.
    V6,
}

impl DnsCache {
    /// Envoy's defaults.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            family: AddressFamily::Any,
            refresh: Duration::from_secs(60),
            idle: Duration::from_secs(300),
            timeout: Duration::from_secs(5),
            max_hosts: 1024,
            refused: Vec::new(),
        }
    }
}

/// Raw connections go to the host that they name in their TLS handshake (Envoy's filter `sni_dynamic_forward_proxy`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerNameForward {
    /// Where names are looked up.
    pub cache: DnsCache,
    /// The port that is dialled there.
    pub port: u16,
}
