//! The HTTP side of a filter chain, compiled.

use std::sync::Arc;

use ::http::HeaderValue;
use mesh_http::{Protocol, ServerOptions};
use model::http_proxy::{Codec, RouteSource};
use model::{Direction, HttpProxy};

use crate::live::Snapshot;
use crate::log::AccessLogs;
use crate::table::Table;

/// How HTTP is served on a chain.
#[derive(Debug)]
pub(crate) struct HttpPlan {
    /// Its settings.
    pub proxy: HttpProxy,
    /// Whose traffic it is.
    pub direction: Direction,
    /// Limits and times of its connections.
    pub options: ServerOptions,
    /// The value of the `server` header.
    pub server_name: Option<HeaderValue>,
    /// Its filters.
    pub filters: filter::Chain,
    /// Where its exchanges are logged.
    pub logs: AccessLogs,
    inline: Option<Arc<Table>>,
}

impl HttpPlan {
    /// Compiles the settings.
    pub(crate) fn new(proxy: HttpProxy, direction: Direction, logs: AccessLogs, stats: &filter::Stats) -> Self {
        let inline = match &proxy.routes {
            RouteSource::Inline(routes) => Some(Arc::new(Table::new(routes.clone()))),
            RouteSource::Rds(_) => None,
        };
        Self {
            options: options(&proxy),
            server_name: proxy.server_name.as_deref().and_then(|name| HeaderValue::from_str(name).ok()),
            filters: filter::Chain::new(&proxy.filters, stats),
            direction,
            logs,
            inline,
            proxy,
        }
    }

    /// The routes that hold in `snapshot`; none until discovery has brought them.
    pub(crate) fn table<'a>(&'a self, snapshot: &'a Snapshot) -> Option<&'a Arc<Table>> {
        match &self.proxy.routes {
            RouteSource::Inline(_) => self.inline.as_ref(),
            RouteSource::Rds(name) => snapshot.tables.get(name),
        }
    }
}

fn options(proxy: &HttpProxy) -> ServerOptions {
    let defaults = ServerOptions::default();
    ServerOptions {
        protocol: match proxy.codec {
            Codec::Auto => Protocol::Auto,
            Codec::Http1 => Protocol::Http1,
            Codec::Http2 => Protocol::Http2,
        },
        head_timeout: proxy.headers_timeout.or(defaults.head_timeout),
        idle_timeout: proxy.idle_timeout,
        // What asks for it would have to be carried over to HTTP/1.1 upstreams, which is not done.
        extended_connect: false,
        ..defaults
    }
}
