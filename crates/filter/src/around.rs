//! What filters ask of the proxy around them: who sent a request, and what only the proxy can reach.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use mesh_http::{Body, head};
use model::GrpcService;
use model::access;
use model::jwt::RemoteKeys;
use model::route::{RequestView, Route, VirtualHost};

use crate::ext_authz::Ends;
use crate::local_limit::{ConnectionLimits, Limits};

/// The proxy around a chain, for one exchange.
pub trait Around: fmt::Debug {
    /// The head of a request as routes look at it.
    fn view<'r>(&self, request: &'r Request<Body>) -> RequestView<'r>;
    /// The client's address, as far as proxies in front of us are trusted.
    fn remote_address(&self, headers: &HeaderMap) -> IpAddr;
    /// What rules of access ask of a request and its connection.
    fn access_call<'c>(&'c self, request: &'c Request<Body>) -> access::Call<'c>;
    /// Who the client has proven to be: the first URI of its certificate.
    fn identity(&self) -> Option<&str>;
    /// Does anybody want to know why a request is refused?
    fn is_asked_why(&self, request: &Request<Body>) -> bool;
    /// The service that this proxy belongs to.
    fn service_cluster(&self) -> &str;
    /// Is there such a cluster?
    fn has_cluster(&self, name: &str) -> bool;
    /// The limits that a route or its virtual host brings, at run time.
    fn route_limits(&self, route: &Route, host: &VirtualHost) -> Option<&Limits>;
    /// The limits of the downstream connection alone.
    fn connection_limits(&self) -> &ConnectionLimits;
    /// Calls a service of gRPC in one of the proxy's clusters.
    fn call<'c>(&'c self, call: Call<'c>) -> Answer<'c>;
    /// Sends a request to one of the proxy's clusters. Whatever the status, it is an answer.
    fn exchange<'c>(&'c self, exchange: Exchange<'c>) -> WholeAnswer<'c> {
        Box::pin(async move { Err(format!("there is no cluster {}", exchange.cluster)) })
    }
    /// How much of a body may be held, in bytes (Envoy's default is 1 MiB).
    fn buffer_limit(&self) -> usize {
        1 << 20
    }
    /// Sends requests to the proxy's clusters, for as long as it is kept: beside the exchange and after it.
    fn sender(&self) -> Rc<dyn Sender> {
        Rc::new(NoClusters)
    }
    /// The ends of the connection; with the labels of our node under this key, if there are any.
    fn ends(&self, _labels_key: &str) -> Ends<'_> {
        let nobody = (Ipv4Addr::LOCALHOST, 0).into();
        Ends {
            source: nobody,
            destination: nobody,
            peer: None,
            own: None,
            certificate: None,
            server_name: None,
            labels: None,
        }
    }
    /// What a secret of this name holds that is no certificate; none: it is not there, or not yet.
    fn secret(&self, _name: &str) -> Option<&[u8]> {
        None
    }
    /// Gets what stands at a URI, from one of the proxy's clusters.
    fn get(&self, get: Get) -> Answer<'_>;
    /// The same beside the exchange, which does not wait for it.
    fn get_beside(&self, get: Get, done: Box<dyn FnOnce(Result<Bytes, String>)>);
}

/// The answer to a [`Call`], or why there is none.
pub type Answer<'c> = Pin<Box<dyn Future<Output = Result<Bytes, String>> + 'c>>;

/// The answer to an [`Exchange`], or why there is none.
pub type WholeAnswer<'c> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, String>> + 'c>>;

/// Sends requests to the proxy's clusters.
pub trait Sender: fmt::Debug {
    /// Sends a request with a `Host`; the answer is waited for so long, or as long as it likes. Whatever the status, it is
    /// an answer. Whoever drops the future gives the request up.
    fn send(&self, cluster: Arc<str>, request: Request<Bytes>, timeout: Option<Duration>) -> WholeAnswer<'static>;
}

/// Sends nothing.
#[derive(Debug)]
struct NoClusters;

impl Sender for NoClusters {
    fn send(&self, cluster: Arc<str>, _: Request<Bytes>, _: Option<Duration>) -> WholeAnswer<'static> {
        Box::pin(async move { Err(format!("there is no cluster {cluster}")) })
    }
}

/// A request to a service, and its whole answer.
#[derive(Debug)]
pub struct Exchange<'c> {
    /// The cluster that the service is in.
    pub cluster: &'c str,
    /// The request, with a `Host`.
    pub request: Request<Bytes>,
    /// How long it may take in all; none: as long as it likes.
    pub timeout: Option<Duration>,
}

/// A unary call of gRPC.
#[derive(Debug, Clone)]
pub struct Call<'c> {
    /// The service.
    pub service: &'c GrpcService,
    /// `/package.Service/Method`.
    pub path: &'static str,
    /// The message.
    pub message: Bytes,
    /// How long it may take in all; none: as long as it likes.
    pub timeout: Option<Duration>,
}

/// A GET. Only an answer of status 200 is one.
#[derive(Debug, Clone)]
pub struct Get {
    /// The cluster that has it.
    pub cluster: Arc<str>,
    /// The whole URI.
    pub uri: String,
    /// How long it may take in all.
    pub timeout: Duration,
}

impl Get {
    /// For a key set.
    pub(crate) fn of(keys: &RemoteKeys) -> Self {
        Self { cluster: keys.cluster.clone(), uri: keys.uri.clone(), timeout: keys.timeout }
    }
}

/// No proxy at all: for chains that stand alone, as in tests. Every request comes from loopback, and no cluster is known.
#[derive(Debug, Default)]
pub struct Alone {
    connection: ConnectionLimits,
}

/// What tests' own proxies answer as [`Alone`] does, which they have in the field `alone`: for tests of filters, here and in
/// other crates.
#[doc(hidden)]
#[macro_export]
macro_rules! as_alone {
    () => {
        fn view<'r>(&self, request: &'r http::Request<mesh_http::Body>) -> model::route::RequestView<'r> {
            self.alone.view(request)
        }
        fn remote_address(&self, headers: &http::HeaderMap) -> std::net::IpAddr {
            self.alone.remote_address(headers)
        }
        fn access_call<'c>(&'c self, request: &'c http::Request<mesh_http::Body>) -> model::access::Call<'c> {
            self.alone.access_call(request)
        }
        fn identity(&self) -> Option<&str> {
            self.alone.identity()
        }
        fn connection_limits(&self) -> &$crate::ConnectionLimits {
            self.alone.connection_limits()
        }
    };
}
#[cfg(test)]
pub(crate) use as_alone;

impl Around for Alone {
    fn view<'r>(&self, request: &'r Request<Body>) -> RequestView<'r> {
        RequestView {
            method: request.method(),
            scheme: "http",
            authority: head::authority(request).unwrap_or_default(),
            path: request.uri().path(),
            query: request.uri().query(),
            headers: request.headers(),
            metadata: request.extensions().get(),
        }
    }

    fn remote_address(&self, _headers: &HeaderMap) -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }

    fn access_call<'c>(&'c self, request: &'c Request<Body>) -> access::Call<'c> {
        let local = IpAddr::from(Ipv4Addr::LOCALHOST);
        access::Call {
            request: Some(self.view(request)),
            peer: None,
            direct_remote: local,
            source: local,
            remote: local,
            destination: (local, 0).into(),
            server_name: None,
        }
    }

    fn identity(&self) -> Option<&str> {
        None
    }

    fn is_asked_why(&self, _request: &Request<Body>) -> bool {
        true
    }

    fn service_cluster(&self) -> &str {
        ""
    }

    fn has_cluster(&self, _name: &str) -> bool {
        false
    }

    fn route_limits(&self, _route: &Route, _host: &VirtualHost) -> Option<&Limits> {
        None
    }

    fn connection_limits(&self) -> &ConnectionLimits {
        &self.connection
    }

    fn call<'c>(&'c self, call: Call<'c>) -> Answer<'c> {
        Box::pin(async move { Err(format!("there is no cluster {}", call.service.cluster)) })
    }

    fn get(&self, get: Get) -> Answer<'_> {
        Box::pin(async move { Err(format!("there is no cluster {}", get.cluster)) })
    }

    fn get_beside(&self, get: Get, done: Box<dyn FnOnce(Result<Bytes, String>)>) {
        done(Err(format!("there is no cluster {}", get.cluster)));
    }
}
