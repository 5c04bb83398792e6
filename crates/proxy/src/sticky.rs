//! Requests that belong together go to one endpoint: the hash of a request, and the cookie that the client is given so
//! that its next request has the same.

use ::http::{HeaderMap, HeaderValue, Request, header};
use mesh_http::Body;
use model::route::{HashPolicy, hash_of};
use upstream::ClusterPools;

use crate::edge;
use crate::http::HttpConnection;

/// What a request is known by.
#[derive(Debug)]
pub(crate) struct Sticky {
    /// Its hash.
    pub hash: u64,
    cookies: Vec<HeaderValue>,
}

impl Sticky {
    /// Of a request to a cluster that chooses by a hash; none if the cluster does not, or the request has nothing to hash.
    pub(crate) fn of(
        policies: &[HashPolicy],
        pools: &ClusterPools,
        conn: &HttpConnection,
        request: &Request<Body>,
    ) -> Option<Box<Self>> {
        if policies.is_empty() || !pools.config().balancing.hashes() {
            return None;
        }
        let client = edge::client_address(request.headers(), &conn.plan().proxy, &conn.caller);
        let mut cookies = Vec::new();
        let hash = hash_of(policies, request.headers(), request.uri().query(), Some(client), |cookie| {
            let value = own_value(conn);
            cookies.extend(HeaderValue::try_from(cookie.set(&value)));
            value
        })?;
        Some(Box::new(Self { hash, cookies }))
    }

    /// Gives the client its cookies.
    pub(crate) fn answer(self, headers: &mut HeaderMap) {
        for cookie in self.cookies {
            headers.append(header::SET_COOKIE, cookie);
        }
    }
}

/// The value of a new cookie: one for each connection, so that requests that race on it get the same (Envoy's rule).
fn own_value(conn: &HttpConnection) -> String {
    let ends = format!("{}{}", conn.downstream.source, conn.downstream.destination);
    format!("{:016x}", model::route::hash_of_text(&ends))
}
