//! The HTTP side of a filter chain, compiled.

use std::sync::Arc;

use ::http::HeaderValue;
use mesh_http::{KeepAlive, Protocol, ServerOptions};
use model::http_proxy::{Codec, HttpFilter, RouteSource};
use model::{Direction, HttpProxy, ServerHeader};

use crate::geo::GeoLookup;
use crate::live::Snapshot;
use crate::log::AccessLogs;
use crate::replay;
use crate::series::Shape;
use crate::spans::Spans;
use crate::table::{Table, TableStats};

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
    /// It replaces the upstream's.
    pub overwrites_server: bool,
    /// Its filters.
    pub filters: filter::Chain,
    /// Tells where clients are.
    pub geo: Option<Box<GeoLookup>>,
    /// Where its exchanges are logged.
    pub logs: AccessLogs,
    /// How its exchanges are counted, if otherwise than by default.
    pub shape: Option<Arc<Shape>>,
    /// Which of its exchanges become spans.
    pub spans: Option<Spans>,
    /// A filter says why a host that a request names has no address.
    pub tells_of_names: bool,
    /// Bytes of a request's body that are kept for further tries.
    pub kept_body: usize,
    inline: Option<Arc<Table>>,
}

/// How what passes is told of.
#[derive(Default)]
pub(crate) struct Told {
    /// Where it is logged.
    pub logs: AccessLogs,
    /// How it is counted, if otherwise than by default.
    pub shape: Option<Arc<Shape>>,
    /// What of it becomes spans.
    pub spans: Option<Spans>,
}

impl HttpPlan {
    /// Does a filter tell a service the certificates of clients?
    pub(crate) fn tells_certificates(&self) -> bool {
        self.proxy.filters.iter().any(|filter| matches!(filter, HttpFilter::ExtAuthz(asks) if asks.peer_certificate))
    }

    /// Compiles the settings.
    /// What was counted of limits in a plan `before` lives on.
    pub(crate) fn new(
        proxy: HttpProxy,
        direction: Direction,
        Told { logs, shape, spans }: Told,
        stats: TableStats<'_>,
        geo: Option<GeoLookup>,
        before: Option<&Self>,
        filters: filter::Chain,
    ) -> Self {
        let old = before.and_then(|before| before.inline.as_deref());
        let inline = match &proxy.routes {
            RouteSource::Inline(routes) => Some(Arc::new(Table::new(routes.clone()).counting(stats, old))),
            RouteSource::Rds(_) => None,
        };
        Self {
            options: options(&proxy),
            server_name: match &proxy.server {
                ServerHeader::Pass => None,
                ServerHeader::Overwrite(name) | ServerHeader::IfAbsent(name) => HeaderValue::from_str(name).ok(),
            },
            overwrites_server: matches!(proxy.server, ServerHeader::Overwrite(_)),
            filters,
            geo: geo.map(Box::new),
            direction,
            logs,
            shape,
            spans,
            tells_of_names: proxy.filters.iter().any(|filter| matches!(filter, HttpFilter::DynamicForward(_))),
            kept_body: replay::LIMIT,
            inline,
            proxy,
        }
    }

    /// The same where so many bytes may wait of a connection. Zero and none leave it to us.
    pub(crate) fn bounded(mut self, limit: Option<u32>) -> Self {
        if let Some(limit) = limit.filter(|limit| *limit > 0) {
            self.kept_body = limit as usize;
            self.options.iter_mut().for_each(|options| options.max_send_buffer = limit as usize);
        }
        self
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
    let (limits, defaults) = (&proxy.limits, ServerOptions::default());
    [by_codec, Protocol::Http1, Protocol::Http2].map(|protocol| ServerOptions {
        protocol,
        head_timeout: proxy.headers_timeout.or(defaults.head_timeout),
        idle_timeout: proxy.idle_timeout,
        max_head_bytes: limits.max_head_kib.map_or(defaults.max_head_bytes, |kib| kib as usize * 1024),
        max_headers: limits.max_headers.map_or(defaults.max_headers, |count| count as usize),
        http10: limits.http10,
        http1_trailers: limits.http1_trailers,
        max_concurrent_streams: limits.max_streams.unwrap_or(defaults.max_concurrent_streams),
        stream_window: limits.stream_window.unwrap_or(defaults.stream_window),
        connection_window: limits.connection_window.unwrap_or(defaults.connection_window),
        keep_alive: limits.keep_alive.map(|pings| KeepAlive { interval: pings.interval, timeout: pings.timeout }),
        // What asks for it would have to be carried over to HTTP/1.1 upstreams, which is not done.
        extended_connect: false,
        ..defaults.clone()
    })
}
