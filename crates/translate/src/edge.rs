//! What a gateway is told of the place where it stands: proxies in front of it, and how hard it is (Istio's
//! `gatewayTopology`, and `connectionSettings` with its profile `EDGE`).

use std::sync::Arc;
use std::time::Duration;

use api::halcyon::{CITY_HEADER, COUNTRY_HEADER, REGION_HEADER};
use http::HeaderName;
use model::edge::Underscores;
use model::geo::GeoClient;
use model::http_proxy::{ForwardClientCert, HttpFilter};
use model::target::EscapedSlashes;
use model::{Geo, HttpLimits, HttpProxy};

/// The place where a gateway stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GatewayEdge {
    /// Proxies in front of it that are believed (`numTrustedProxies`).
    pub trusted_proxies: u32,
    /// The PROXY protocol is spoken to it (`proxyProtocol`): every connection has to begin with its header.
    pub proxy_protocol: bool,
    /// What becomes of `x-forwarded-client-cert` (`forwardClientCertDetails`); none: it is written anew.
    pub forward_client_cert: Option<ForwardClientCert>,
    /// A database on its machine that says where clients are, in MaxMind's format.
    pub geo_database: Option<Arc<str>>,
    /// It faces everybody (`profile: EDGE`): Istio's bounds for that hold.
    pub hardened: bool,
}

impl GatewayEdge {
    /// Puts the settings into the HTTP side of a gateway's chain.
    pub fn apply(&self, http: &mut HttpProxy) {
        http.edge.trusted_hops = self.trusted_proxies;
        http.forward_client_cert = self.forward_client_cert.unwrap_or(ForwardClientCert::SanitizeSet);
        if let Some(database) = &self.geo_database {
            http.filters.insert(0, HttpFilter::Geo(Box::new(self.geo(database))));
        }
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
}

impl GatewayEdge {
    /// The client is who trusted proxies say it is.
    fn geo(&self, database: &Arc<str>) -> Geo {
        Geo {
            cities: Some(database.clone()),
            client: GeoClient::Forwarded { hops: self.trusted_proxies },
            country: Some(HeaderName::from_static(COUNTRY_HEADER)),
            region: Some(HeaderName::from_static(REGION_HEADER)),
            city: Some(HeaderName::from_static(CITY_HEADER)),
            ..Geo::default()
        }
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
}
