//! What a gateway is told of the place where it stands: proxies in front of it, how hard it is (Istio's `gatewayTopology`,
//! and `connectionSettings` with its profile `EDGE`), and what it does for browsers.

use std::time::Duration;

use model::compression::{Brotli, Encoding, Gzip, Zstd};
use model::edge::Underscores;
use model::http_proxy::{ForwardClientCert, HttpFilter};
use model::target::EscapedSlashes;
use model::{Compressor, HttpLimits, HttpProxy};

/// The place where a gateway stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GatewayEdge {
    /// Proxies in front of it that are believed (`numTrustedProxies`).
    pub trusted_proxies: u32,
    /// The PROXY protocol is spoken to it (`proxyProtocol`): every connection has to begin with its header.
    pub proxy_protocol: bool,
    /// What becomes of `x-forwarded-client-cert` (`forwardClientCertDetails`); none: it is written anew.
    pub forward_client_cert: Option<ForwardClientCert>,
    /// It faces everybody (`profile: EDGE`): Istio's bounds for that hold.
    pub hardened: bool,
    /// It compresses responses for clients that accept one of these; of those that are as welcome the first is taken.
    pub compress: Vec<Compression>,
    /// It takes gRPC-Web.
    pub grpc_web: bool,
}

/// An encoding in which a gateway compresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// gzip.
    Gzip,
    /// Brotli.
    Brotli,
    /// Zstandard.
    Zstd,
}

impl Compression {
    fn encoding(self) -> Encoding {
        match self {
            Self::Gzip => Encoding::Gzip(Gzip::default()),
            Self::Brotli => Encoding::Brotli(Brotli::default()),
            Self::Zstd => Encoding::Zstd(Zstd::default()),
        }
    }
}

impl GatewayEdge {
    /// Puts the settings into the HTTP side of a gateway's chain.
    pub fn apply(&self, http: &mut HttpProxy) {
        http.edge.trusted_hops = self.trusted_proxies;
        http.forward_client_cert = self.forward_client_cert.unwrap_or(ForwardClientCert::SanitizeSet);
        http.filters.splice(0..0, self.filters());
        if !self.hardened {
            return;
        }
        http.idle_timeout = Some(Duration::from_secs(3600));
        http.stream_idle_timeout = Some(Duration::from_secs(300));
        http.headers_timeout = Some(Duration::from_secs(60));
        http.target.merge_slashes = true;
        http.target.escaped_slashes = EscapedSlashes::Redirect;
        http.limits = HttpLimits {
            underscores: Underscores::Reject,
            request_timeout: Some(Duration::from_secs(300)),
            max_streams: Some(100),
            stream_window: Some(64 << 10),
            connection_window: Some(1 << 20),
            ..std::mem::take(&mut http.limits)
        };
    }

    /// Filters before all others: they see responses as they go out, and gRPC-Web is compressed as what it became.
    fn filters(&self) -> Vec<HttpFilter> {
        let compressors = self.compress.iter().enumerate().map(|(index, compression)| {
            let encoding = compression.encoding();
            HttpFilter::Compressor(Box::new(Compressor {
                preferred: index == 0,
                // A part of a body is a part of the bytes that it was asked as.
                except_statuses: vec![206],
                ..Compressor::new(format!("envoy.filters.http.compressor.{}", encoding.name()), encoding)
            }))
        });
        compressors.chain(self.grpc_web.then_some(HttpFilter::GrpcWeb)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::http_proxy::RouteSource;

    #[test]
    fn what_it_changes() {
        let made = |edge: GatewayEdge| {
            let mut http = HttpProxy::new("x", RouteSource::Rds("r".into()));
            http.limits.http10 = true;
            edge.apply(&mut http);
            http
        };
        let plain = made(GatewayEdge::default());
        assert_eq!((plain.edge.trusted_hops, plain.forward_client_cert), (0, ForwardClientCert::SanitizeSet));
        assert_eq!((plain.limits.max_streams, plain.target.merge_slashes), (None, false));
        let forward_client_cert = Some(ForwardClientCert::AppendForward);
        let hard =
            made(GatewayEdge { trusted_proxies: 2, forward_client_cert, hardened: true, ..GatewayEdge::default() });
        assert_eq!((hard.edge.trusted_hops, hard.forward_client_cert), (2, ForwardClientCert::AppendForward));
        assert_eq!((hard.limits.max_streams, hard.limits.underscores), (Some(100), Underscores::Reject));
        assert!(hard.limits.http10 && hard.target.merge_slashes, "what it says nothing of stays");
        assert_eq!(hard.limits.request_timeout, Some(Duration::from_secs(300)));
    }

    #[test]
    fn filters_for_browsers() {
        let mut http = HttpProxy::new("x", RouteSource::Rds("r".into()));
        http.filters = vec![HttpFilter::Cors];
        let compress = vec![Compression::Brotli, Compression::Gzip];
        GatewayEdge { compress, grpc_web: true, ..GatewayEdge::default() }.apply(&mut http);
        let [HttpFilter::Compressor(first), HttpFilter::Compressor(second), HttpFilter::GrpcWeb, HttpFilter::Cors] =
            &http.filters[..]
        else {
            panic!("{:?}", http.filters)
        };
        assert_eq!((first.encoding.name(), first.preferred), ("br", true));
        assert_eq!((second.encoding.name(), second.preferred), ("gzip", false));
        assert_ne!(first.name, second.name, "routes could not tell them apart");
        GatewayEdge::default().apply(&mut http);
        assert_eq!(http.filters.len(), 4, "nothing is added unasked");
    }
}
