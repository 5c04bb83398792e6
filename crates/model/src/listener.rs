//! A listener: where connections come in, and the chains of filters that they may meet.

use std::sync::Arc;
use std::time::Duration;

use crate::access::ConnectionAccess;
use crate::chain::ChainMatch;
use crate::ext_authz::ConnectionExtAuthz;
use crate::http_proxy::HttpFilter;
use crate::metrics::MetricRules;
use crate::tls::DownstreamTls;
use crate::{AccessLog, Address, HttpProxy, TcpProxy};

/// A listener (xDS `Listener`).
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Its name.
    pub name: Arc<str>,
    /// Where it is bound.
    pub address: Address,
    /// Whether a socket is opened; if not, it only receives connections that another listener hands over by their
    /// original destination.
    pub bind: bool,
    /// Hand each connection to the listener that stands for its original destination, if there is one.
    pub use_original_destination: bool,
    /// Whose traffic it is, for telemetry.
    pub direction: Direction,
    /// What is looked at before a chain is selected.
    pub inspect: Inspect,
    /// The chains; the best fit by [`crate::chain::select`] is used.
    pub chains: Vec<FilterChain>,
    /// Used when none fits; without it such connections are closed.
    pub default_chain: Option<FilterChain>,
    /// Logs of connections that meet no chain.
    pub access_logs: Vec<AccessLog>,
    /// Bytes that may wait of one connection: of a request's body for further tries, and of an answer for a slow client. A
    /// soft limit; none: bounds of our own.
    pub buffer_limit: Option<u32>,
    /// Its connections do not count for the limit that all listeners have in common.
    pub ignores_common_limit: bool,
}

/// What a program that reads xDS itself does with its own calls to one target (xDS `Listener.api_listener`). Nothing is
/// bound: its name is the target that the program names.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiListener {
    /// The target, such as `reviews.default.svc.cluster.local:9080`.
    pub name: Arc<str>,
    /// Where calls go, and through which filters.
    pub http: Box<HttpProxy>,
}

/// Whose traffic passes a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the workload that the proxy stands beside.
    Inbound,
    /// From it; a gateway's is outbound too.
    Outbound,
    /// Not said.
    Unspecified,
}

/// What is looked at before a chain is selected (Envoy's listener filters).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspect {
    /// The PROXY protocol's header, which counts before everything else.
    pub proxy_header: ExpectHeader,
    /// The destination before redirection.
    pub original_destination: bool,
    /// TLS or not, and its server name and protocols.
    pub tls: bool,
    /// HTTP or not, and which.
    pub http: bool,
    /// How long the first bytes may take; then `continue_on_timeout` decides. None: no limit.
    pub timeout: Option<Duration>,
    /// After the timeout: go on with what is known, rather than close. Needed for protocols in which the server
    /// speaks first.
    pub continue_on_timeout: bool,
}

/// Does a PROXY protocol header come before the first byte? Its addresses then stand for those of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpectHeader {
    /// None is read: anybody could write one.
    #[default]
    No,
    /// It has to come; who sends none is closed.
    Required,
    /// It may come.
    Optional,
}

impl Default for Inspect {
    /// Nothing is looked at; Envoy's timeout of 15 s, and close.
    fn default() -> Self {
        Self {
            proxy_header: ExpectHeader::No,
            original_destination: false,
            tls: false,
            http: false,
            timeout: Some(Duration::from_secs(15)),
            continue_on_timeout: false,
        }
    }
}

/// A chain: when it is used, how TLS ends, and what the bytes then meet.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterChain {
    /// Its name, for logs.
    pub name: Arc<str>,
    /// When it is used.
    pub matches: ChainMatch,
    /// TLS, if it is ended here.
    pub tls: Option<DownstreamTls>,
    /// Who may have connections here, asked one after the other before the last filter sees anything.
    pub access: Vec<Guard>,
    /// How its traffic is counted, if otherwise than by default.
    pub metrics: Option<Arc<MetricRules>>,
    /// The last filter.
    pub filter: NetworkFilter,
}

impl FilterChain {
    /// A chain for whatever comes, in plain text and from anybody.
    pub fn new(name: impl Into<Arc<str>>, filter: NetworkFilter) -> Self {
        Self { name: name.into(), matches: ChainMatch::default(), tls: None, access: Vec::new(), metrics: None, filter }
    }

    /// Puts filters before those of its HTTP; a chain of raw connections has none.
    pub fn put_first(&mut self, filters: &[HttpFilter]) {
        if let NetworkFilter::Http(proxy) = &mut self.filter {
            drop(proxy.filters.splice(0..0, filters.iter().cloned()));
        }
    }
}

/// Who says whether a connection may stand.
#[derive(Debug, Clone, PartialEq)]
pub enum Guard {
    /// Rules.
    Rules(ConnectionAccess),
    /// A service.
    Service(Box<ConnectionExtAuthz>),
}

/// The filter at the end of a chain.
#[derive(Debug, Clone, PartialEq)]
pub enum NetworkFilter {
    /// HTTP.
    Http(Box<HttpProxy>),
    /// Raw TCP.
    Tcp(TcpProxy),
}
