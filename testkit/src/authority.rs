//! A certificate authority for tests: identities and TLS ends in one call.

use std::time::{Duration, SystemTime};

use base::{SpiffeId, TrustDomain};
use ca::{Authority, Key};
use transport::tls::{
    Accept, ClientAuth, ClientOptions, ClientTls, LiveCert, LiveTrust, PeerCheck, Roots, ServerCheck, ServerOptions,
    ServerTls, TrustBundles,
};

/// The authority of one trust domain.
///
/// ```
/// let ca = testkit::TestCa::default();
/// let server = ca.server("reviews", &["h2"]); // wants a client of this trust domain
/// let client = ca.client("productpage", "reviews", &["h2"]); // accepts `reviews` only
/// # let _ = (server, client);
/// ```
#[derive(Debug)]
pub struct TestCa {
    authority: Authority,
    trust: LiveTrust,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Default for TestCa {
    fn default() -> Self {
        Self::new("cluster.local")
    }
}

impl TestCa {
    /// A new authority.
    ///
    /// # Panics
    /// If `trust_domain` is none.
    pub fn new(trust_domain: &str) -> Self {
        let domain: TrustDomain = trust_domain.parse().expect("a trust domain");
        // Old enough to have issued what is out of date by now.
        let authority = Authority::create(domain, SystemTime::now() - 30 * DAY).expect("randomness");
        let trust = LiveTrust::new(bundles(&authority));
        Self { authority, trust }
    }

    /// The identity of a service account in the namespace `default`, or of `<namespace>/<service account>`.
    pub fn id(&self, name: &str) -> SpiffeId {
        let (namespace, account) = name.split_once('/').unwrap_or(("default", name));
        SpiffeId::workload(self.authority.trust_domain(), namespace, account).expect("a name of letters and digits")
    }

    /// A certificate for [`TestCa::id`] of `name`, good for a day.
    pub fn workload(&self, name: &str) -> LiveCert {
        issue(&self.authority, &self.id(name), SystemTime::now())
    }

    /// A certificate that was good for a day and is out of date.
    pub fn expired(&self, name: &str) -> LiveCert {
        issue(&self.authority, &self.id(name), SystemTime::now() - 3 * DAY)
    }

    /// A chain and key in PEM for `id`, as files hold them.
    pub fn pem(&self, id: &SpiffeId) -> (String, String) {
        issue_pem(&self.authority, id, SystemTime::now())
    }

    /// The roots in PEM, in one text.
    pub fn bundle_pem(&self) -> String {
        self.authority.bundle().concat()
    }

    /// Trust in this authority: for its trust domain, and as plain roots.
    pub fn trust(&self) -> LiveTrust {
        self.trust.clone()
    }

    /// The authority itself, for tests of those who ask it.
    pub fn authority(&mut self) -> &mut Authority {
        &mut self.authority
    }

    /// A server of that name that wants clients of this trust domain.
    pub fn server(&self, name: &str, alpn: &[&str]) -> ServerTls {
        let check = PeerCheck::Spiffe { trust: self.trust(), accept: Accept::Any };
        let mut options = ServerOptions::new(self.workload(name));
        options.client_auth = ClientAuth::Required(check);
        options.alpn = protocols(alpn);
        ServerTls::new(options).expect("good options")
    }

    /// A client of that name that accepts the server `peer` only.
    pub fn client(&self, name: &str, peer: &str, alpn: &[&str]) -> ClientTls {
        let accept = Accept::identities([&self.id(peer)]);
        let check = PeerCheck::Spiffe { trust: self.trust(), accept };
        let mut options = ClientOptions::new(ServerCheck::Peer(check));
        options.cert = Some(self.workload(name));
        options.alpn = protocols(alpn);
        ClientTls::new(options).expect("good options")
    }
}

fn issue(authority: &Authority, id: &SpiffeId, now: SystemTime) -> LiveCert {
    let (chain, key) = issue_pem(authority, id, now);
    LiveCert::from_pem(&chain, &key).expect("what was issued is good")
}

fn issue_pem(authority: &Authority, id: &SpiffeId, now: SystemTime) -> (String, String) {
    let key = Key::generate().expect("randomness");
    let csr = key.csr(id).expect("a request");
    let issued = authority.issue(csr.as_bytes(), id, DAY, now).expect("a certificate");
    (issued.chain.concat(), key.secret_pem())
}

fn bundles(authority: &Authority) -> TrustBundles {
    let roots = roots(&authority.bundle());
    TrustBundles { plain: roots.clone(), ..TrustBundles::domain(authority.trust_domain().clone(), roots) }
}

fn roots(pems: &[String]) -> Roots {
    Roots::from_pem(&pems.concat()).expect("good roots")
}

fn protocols(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|name| name.as_bytes().to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use transport::Stream;
    use transport::tls::TlsFailure;

    use super::*;

    #[tokio::test]
    async fn both_ends_meet() {
        let ca = TestCa::default();
        let addr = |n: u8| SocketAddr::from(([10, 0, 0, n], 1));
        let patience = Duration::from_secs(60);
        let server = ca.server("reviews", &["h2"]);
        let (a, b) = Stream::duplex(1 << 16, addr(1), addr(2));
        let client = ca.client("bookinfo/productpage", "reviews", &["h2"]);
        let (accepted, connected) =
            tokio::join!(server.accept(a, patience), client.connect(b, Some("reviews"), patience));
        assert_eq!(accepted.unwrap().1.identity, Some(ca.id("bookinfo/productpage")));
        assert_eq!(connected.unwrap().1.identity, Some(ca.id("default/reviews")));

        let (a, b) = Stream::duplex(1 << 16, addr(1), addr(2));
        let client = ca.client("productpage", "ratings", &[]);
        let (_, connected) = tokio::join!(server.accept(a, patience), client.connect(b, None, patience));
        assert_eq!(connected.unwrap_err().kind, TlsFailure::NameMismatch);

        let mut options = ServerOptions::new(ca.expired("reviews"));
        options.resumption = false;
        let server = ServerTls::new(options).unwrap();
        let client = ca.client("productpage", "reviews", &[]);
        let (a, b) = Stream::duplex(1 << 16, addr(1), addr(2));
        let (_, connected) = tokio::join!(server.accept(a, patience), client.connect(b, None, patience));
        assert_eq!(connected.unwrap_err().kind, TlsFailure::Expired);
    }
}
