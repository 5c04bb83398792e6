//! The proxy as its filters see it, for one exchange.

use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, Request};
use bytes::Bytes;
use filter::{Answer, Around, Call, ConnectionLimits, Ends, Exchange, Get, Limits, Sender, WholeAnswer};
use mesh_http::Body;
use model::VirtualHost;
use model::route::{RequestView, Route};
use model::secret::SecretValue;

use crate::http::{HttpConnection, view_of};
use crate::live::View;
use crate::worker::Worker;
use crate::{access, edge, reason, unary};

/// The proxy around an exchange on this connection, under this configuration.
pub(crate) struct Surroundings<'a> {
    conn: &'a HttpConnection,
    view: &'a View,
}

impl<'a> Surroundings<'a> {
    /// What is around an exchange.
    pub(crate) fn new(conn: &'a HttpConnection, view: &'a View) -> Self {
        Self { conn, view }
    }
}

impl Around for Surroundings<'_> {
    fn view<'r>(&self, request: &'r Request<Body>) -> RequestView<'r> {
        view_of(request)
    }

    fn remote_address(&self, headers: &HeaderMap) -> IpAddr {
        edge::client_address(headers, &self.conn.plan().proxy, &self.conn.caller)
    }

    fn access_call<'c>(&'c self, request: &'c Request<Body>) -> model::access::Call<'c> {
        let remote = self.remote_address(request.headers());
        access::call(&self.conn.downstream, Some(view_of(request)), remote)
    }

    fn identity(&self) -> Option<&str> {
        access::names(&self.conn.downstream)?.uris.first().map(String::as_str)
    }

    fn is_asked_why(&self, request: &Request<Body>) -> bool {
        self.conn.plan().logs.tell_reasons() || request.headers().contains_key(reason::ASKS)
    }

    fn service_cluster(&self) -> &str {
        &self.conn.worker.shared.service_cluster
    }

    fn has_cluster(&self, name: &str) -> bool {
        self.view.snapshot.clusters.contains_key(name)
    }

    fn route_limits(&self, route: &Route, host: &VirtualHost) -> Option<&Limits> {
        let brings = |rules: &Option<Box<model::route::FilterRules>>| {
            rules.as_ref().is_some_and(|rules| rules.local_rate_limit.is_some())
        };
        if !brings(&route.filters) && !brings(&host.filters) {
            return None;
        }
        self.conn.plan().table(&self.view.snapshot)?.limits().of(route, host)
    }

    fn connection_limits(&self) -> &ConnectionLimits {
        &self.conn.limits
    }

    fn call<'c>(&'c self, call: Call<'c>) -> Answer<'c> {
        Box::pin(unary::call(self.view, call))
    }

    fn exchange<'c>(&'c self, exchange: Exchange<'c>) -> WholeAnswer<'c> {
        Box::pin(unary::exchange(self.view, exchange))
    }

    fn buffer_limit(&self) -> usize {
        self.conn.plan().kept_body
    }

    fn sender(&self) -> Rc<dyn Sender> {
        Rc::new(Pools(self.conn.worker.clone()))
    }

    fn ends(&self, labels_key: &str) -> Ends<'_> {
        let certificate = self.conn.certificate.as_deref();
        access::ends(&self.conn.downstream, certificate, self.conn.worker.shared.labels.get(labels_key))
    }

    fn secret(&self, name: &str) -> Option<&[u8]> {
        match &self.view.snapshot.config.secrets.get(name)?.value {
            SecretValue::Generic(bytes) => Some(bytes),
            SecretValue::Certificate { .. } | SecretValue::Trust { .. } => None,
        }
    }

    fn get(&self, get: Get) -> Answer<'_> {
        Box::pin(async move { unary::get(self.view, &get).await })
    }

    fn get_beside(&self, get: Get, done: Box<dyn FnOnce(Result<Bytes, String>)>) {
        let view = self.conn.worker.view();
        tokio::task::spawn_local(async move { done(unary::get(&view, &get).await) });
    }
}

/// The worker's pools, under the configuration of the time.
struct Pools(Rc<Worker>);

impl Sender for Pools {
    fn send(&self, cluster: Arc<str>, request: Request<Bytes>, timeout: Option<Duration>) -> WholeAnswer<'static> {
        let view = self.0.view();
        Box::pin(async move { unary::exchange(&view, Exchange { cluster: &cluster, request, timeout }).await })
    }
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pools").finish_non_exhaustive()
    }
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("version", &self.view.snapshot.version).finish_non_exhaustive()
    }
}
