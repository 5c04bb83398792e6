//! A user of another machine: the API over TLS.

use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use tokio::net::TcpStream;
use transport::Stream;
use transport::tls::{
    Accept, ClientOptions, ClientTls, LiveCert, LiveTrust, PeerCheck, Roots, ServerCheck, TlsError, TrustBundles,
    Versions,
};

use crate::fake::{PATIENCE, Running};

/// Calls the API with what proves who asks.
pub struct Remote {
    tls: ClientTls,
    address: std::net::SocketAddr,
    token: Option<String>,
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Json,
}

impl Remote {
    pub async fn new(control: &Running, token: Option<&str>, cert: Option<LiveCert>) -> Self {
        let mut options = options(control).await;
        options.cert = cert;
        let address = control.endpoints.api.expect("the door is asked for");
        Self { tls: ClientTls::new(options).unwrap(), address, token: token.map(str::to_owned) }
    }

    pub async fn call(&self, method: &str, path: &str, body: &Json) -> Answer {
        let stream: Stream = TcpStream::connect(self.address).await.unwrap().into();
        let (stream, _) = self.tls.connect(stream, None, PATIENCE).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = http::Request::builder().method(method).uri(path).header("host", "control");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let bytes = if body.is_null() { Vec::new() } else { serde_json::to_vec(body).unwrap() };
        let request = request.header("content-type", "application/json").body(Full::new(bytes.into())).unwrap();
        let request: http::Request<Full<axum::body::Bytes>> = request;
        let response = sender.send_request(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap() }
    }

    /// Is the connection cut before anything can be asked?
    pub async fn is_refused(&self) -> bool {
        let stream: Stream = TcpStream::connect(self.address).await.unwrap().into();
        // A TLS 1.3 client hears of it only when it reads.
        let Ok((stream, _)) = self.tls.connect(stream, None, PATIENCE).await else { return true };
        let Ok((mut sender, connection)) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await else {
            return true;
        };
        tokio::spawn(connection);
        let request = http::Request::get("/v1/whoami").header("host", "control");
        sender.send_request(request.body(Full::<axum::body::Bytes>::default()).unwrap()).await.is_err()
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &Json::Null).await
    }
}

/// A client that believes the control plane, and nobody else of its mesh.
async fn options(control: &Running) -> ClientOptions {
    let bundle: control::v1::TrustBundle = control.get("/v1/trust-bundle").await;
    options_for(&bundle.pem, &bundle.trust_domain, &control.endpoints.identity)
}

fn options_for(roots: &str, domain: &str, server: &str) -> ClientOptions {
    let trust = LiveTrust::new(TrustBundles::domain(domain.parse().unwrap(), Roots::from_pem(roots).unwrap()));
    let server = server.parse().unwrap();
    ClientOptions::new(ServerCheck::Peer(PeerCheck::Spiffe { trust, accept: Accept::identities([&server]) }))
}

/// A handshake with a server of this identity, that these roots vouch for.
pub async fn greet_as(roots: &str, domain: &str, server: &str, address: std::net::SocketAddr) -> Result<(), TlsError> {
    let stream: Stream = TcpStream::connect(address).await.unwrap().into();
    ClientTls::new(options_for(roots, domain, server)).unwrap().connect(stream, None, PATIENCE).await.map(drop)
}

/// A handshake in these versions only.
pub async fn greet(control: &Running, address: std::net::SocketAddr, versions: Versions) -> Result<(), TlsError> {
    let mut options = options(control).await;
    options.versions = versions;
    let stream: Stream = TcpStream::connect(address).await.unwrap().into();
    ClientTls::new(options).unwrap().connect(stream, None, PATIENCE).await.map(drop)
}
