//! Who may do what: rules of access as Envoy's RBAC filters have them, asked for a request or for a connection.
//!
//! A [`Policy`] takes those requests that one of its permissions and one of its principals fit; what that means is the
//! [`Action`] of the [`Rules`] in which it stands. [`Rules::decide`] is the plain meaning, [`Compiled`] gives the same answer
//! at a cost that hardly grows with the number of policies, and [`Rules::why`] says what a refused call lacked.

mod compiled;
mod decide;
mod keys;
mod template;
#[cfg(test)]
mod tests;
mod tree;
mod why;
mod words;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub use compiled::Compiled;
pub use decide::{Decision, Fact, details, tell};
pub use template::{PathTemplate, TemplateError};
pub use why::{Field, Lack, Nearest, Refusal};

use crate::matcher::HeaderMatch;
use crate::route::RequestView;
use crate::{MetadataMatch, StringMatch};

/// What is asked of requests at one place (xDS `envoy.extensions.filters.http.rbac.v3.RBAC`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Access {
    /// The name under which the filter stands in its chain, and under which routes speak to it.
    pub name: Arc<str>,
    /// The rules that are enforced; none: everything may pass.
    pub rules: Option<Arc<Compiled>>,
    /// Rules that are only asked, counted and told.
    pub shadow: Option<Arc<Compiled>>,
    /// What stands before the names of what the enforced rules count and tell.
    pub rules_prefix: Arc<str>,
    /// What stands before the names of what the shadow rules count and tell.
    pub shadow_prefix: Arc<str>,
    /// Policies are counted one by one too.
    pub per_policy: bool,
}

/// What is asked of connections at one place (xDS `envoy.extensions.filters.network.rbac.v3.RBAC`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectionAccess {
    /// The prefix of its statistics.
    pub stat_prefix: Arc<str>,
    /// The rules that are enforced; none: everything may pass.
    pub rules: Option<Arc<Compiled>>,
    /// Rules that are only asked, counted and told.
    pub shadow: Option<Arc<Compiled>>,
    /// What stands before the names of what the shadow rules count and tell.
    pub shadow_prefix: Arc<str>,
    /// They are asked whenever the client sends something, not only when it begins to (Envoy's `CONTINUOUS`).
    pub continuous: bool,
    /// Who is refused is kept waiting this long, so that it does not come back at once.
    pub delay: Option<Duration>,
}

/// Policies and what becomes of whom they take.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// What becomes of them.
    pub action: Action,
    /// The policies by name, in the order of their names.
    pub policies: Vec<(Arc<str>, Policy)>,
}

/// What becomes of those whom a policy takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// They may pass, and nobody else.
    Allow,
    /// They may not pass, everybody else may.
    Deny,
    /// All may pass; access logs are told of them.
    Log,
}

/// Whom a policy takes: one of the permissions and one of the principals fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// What is done.
    pub permissions: Vec<Permission>,
    /// Who does it.
    pub principals: Vec<Principal>,
}

/// What is done.
pub type Permission = Condition<Operation>;
/// Who does it.
pub type Principal = Condition<Source>;

/// A condition made of others.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition<T> {
    /// It always holds.
    Any,
    /// All of these hold.
    All(Vec<Condition<T>>),
    /// One of these holds.
    Either(Vec<Condition<T>>),
    /// This does not hold.
    Not(Box<Condition<T>>),
    /// The fact.
    Is(T),
}

/// A fact about what is done.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// A header has a value. Without a request there are no headers.
    Header(HeaderMatch),
    /// The path, without its query, matches. Without a request there is no path.
    Path(StringMatch),
    /// The path, without its query, fits a template.
    Template(PathTemplate),
    /// The connection is to an address of the block.
    DestinationIp(IpNet),
    /// The connection is to one of these ports.
    DestinationPort(RangeInclusive<u16>),
    /// The name that the caller asked for by TLS (SNI); an empty one if it did not.
    ServerName(StringMatch),
    /// Filters have said something.
    Metadata(MetadataMatch),
}

/// A fact about who does it.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// The connection came by TLS, and one of the names that the peer has proven (URIs first, then DNS names, then its
    /// subject) matches. Without a match any TLS will do, with a certificate or without (Envoy's meaning).
    Authenticated(Option<StringMatch>),
    /// The other end of the connection is in the block.
    DirectRemoteIp(IpNet),
    /// The client of the connection, as a PROXY protocol header tells it, is in the block (xDS `source_ip`).
    SourceIp(IpNet),
    /// The client, as far as proxies in front of us are trusted, is in the block.
    RemoteIp(IpNet),
    /// A header has a value.
    Header(HeaderMatch),
    /// The path, without its query, matches.
    Path(StringMatch),
    /// Filters have said something.
    Metadata(MetadataMatch),
}

/// What is known of a request or of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The request; none for a connection of which no request is read.
    pub request: Option<RequestView<'a>>,
    /// Who the peer has proven to be; without names if it came by TLS and has proven nothing; none without TLS.
    pub peer: Option<Names<'a>>,
    /// The other end of the connection.
    pub direct_remote: IpAddr,
    /// The same, unless a PROXY protocol header told another.
    pub source: IpAddr,
    /// The client, as far as proxies in front of us are trusted.
    pub remote: IpAddr,
    /// To what the connection is.
    pub destination: SocketAddr,
    /// The name that the caller asked for by TLS.
    pub server_name: Option<&'a str>,
}

/// The names in the certificate by which a peer has proven who it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Names<'a> {
    /// URIs, such as SPIFFE IDs.
    pub uris: &'a [String],
    /// DNS names.
    pub dns: &'a [String],
    /// The subject (RFC 2253).
    pub subject: &'a str,
}
