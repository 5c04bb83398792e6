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
    /// Limits and times of its connections, by what ALPN agreed on: nothing, HTTP/1, HTTP/2.
    options: [ServerOptions; 3],
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

    /// Limits and times of a connection for which ALPN agreed on this protocol, if it was offered.
    pub(crate) fn options(&self, agreed: Option<&[u8]>) -> &ServerOptions {
        let [any, http1, http2] = &self.options;
        match agreed {
            Some(b"h2") => http2,
            Some(b"http/1.1" | b"http/1.0") => http1,
            _ => any,
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

fn options(proxy: &HttpProxy) -> [ServerOptions; 3] {
    let by_codec = match proxy.codec {
        Codec::Auto => Protocol::Auto,
        Codec::Http1 => Protocol::Http1,
        Codec::Http2 => Protocol::Http2,
    };
    let defaults = ServerOptions::default();
    [by_codec, Protocol::Http1, Protocol::Http2].map(|protocol| ServerOptions {
        protocol,
        head_timeout: proxy.headers_timeout.or(defaults.head_timeout),
        idle_timeout: proxy.idle_timeout,
        // What asks for it would have to be carried over to HTTP/1.1 upstreams, which is not done.
        extended_connect: false,
        ..defaults.clone()
    })
}
