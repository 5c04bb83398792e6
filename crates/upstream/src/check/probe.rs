//! Asks an endpoint how it is: by HTTP, gRPC, or a connection.

use std::rc::Rc;

use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, Uri};
use mesh_http::grpc::{GrpcStatus, health};
use mesh_http::h1::H1Sender;
use mesh_http::h2::H2Sender;
use mesh_http::{Body, ClientOptions, SendError};
use model::health_check::{HttpProbe, Probe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::spawn_local;

use super::Found;
use crate::cluster::Core;
use crate::dial::{Dialed, Dialer};
use crate::endpoint::Endpoint;
use crate::tls::Speak;

/// Where a server says which service it is (Envoy's name).
const SERVICE: HeaderName = HeaderName::from_static("x-envoy-upstream-healthchecked-cluster");
/// More of an answer is not read.
const MOST: usize = 64 * 1024;

/// Asks one endpoint, if possible always on the same connection.
pub(super) struct Prober {
    dialer: Rc<Dialer>,
    kept: Option<Sender>,
}

enum Sender {
    Http1(H1Sender),
    Http2(H2Sender),
}

impl Prober {
    pub(super) fn new(dialer: Rc<Dialer>) -> Self {
        Self { dialer, kept: None }
    }

    /// Closes the connection.
    pub(super) fn forget(&mut self) {
        self.kept = None;
    }

    /// Asks. The caller sets the limit of time.
    pub(super) async fn ask(&mut self, core: &Core, endpoint: &Endpoint, probe: &Probe) -> Found {
        match probe {
            Probe::Http(probe) => self.http(core, endpoint, probe).await,
            Probe::Grpc { service, authority } => self.grpc(core, endpoint, service, authority).await,
            Probe::Tcp { send, receive } => match self.tcp(core, endpoint, send, receive).await {
                Some(()) => Found::Good,
                None => Found::Bad,
            },
        }
    }

    async fn http(&mut self, core: &Core, endpoint: &Endpoint, probe: &HttpProbe) -> Found {
        let host = if probe.host.is_empty() { &*core.config.name } else { &*probe.host };
        let speak = if probe.http2 { Speak::Http2 } else { Speak::Http1 };
        let request = || {
            let mut request = request(probe.method.clone(), host, &probe.path)?;
            probe.headers.apply(request.headers_mut());
            Some(request)
        };
        let Some(response) = self.send(core, endpoint, speak, request).await else { return Found::Bad };
        let status = response.status().as_u16();
        let named = response.headers().get(SERVICE).and_then(|name| name.to_str().ok()).unwrap_or_default();
        let is_the_one = probe.service.as_ref().is_none_or(|service| service.matches(named));
        // Read to its end, so that the connection can be used again.
        let whole = response.into_body().collect(MOST).await.is_ok();
        match probe.is_expected(status) {
            true if is_the_one && whole => Found::Good,
            true if is_the_one => Found::Bad,
            false if probe.is_retriable(status) => Found::Bad,
            _ => Found::BadAtOnce,
        }
    }

    async fn grpc(&mut self, core: &Core, endpoint: &Endpoint, service: &str, authority: &str) -> Found {
        let host = if authority.is_empty() { &*core.config.name } else { authority };
        let request = || {
            let mut request = request(Method::POST, host, health::PATH)?;
            let headers = request.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
            *request.body_mut() = Body::full(health::question(service));
            Some(request)
        };
        let Some(response) = self.send(core, endpoint, Speak::Http2, request).await else { return Found::Bad };
        let (head, body) = response.into_parts();
        let Ok(whole) = body.collect(MOST).await else { return Found::Bad };
        let ended = GrpcStatus::of_answer(&head.headers, whole.trailers.as_ref());
        let serves = head.status == 200 && ended == Some(GrpcStatus::OK) && health::is_serving(&whole.data);
        if serves { Found::Good } else { Found::BadAtOnce }
    }

    /// Sends on the connection that is kept; if that has just been closed, or there is none, on a new one.
    async fn send(
        &mut self,
        core: &Core,
        endpoint: &Endpoint,
        speak: Speak,
        request: impl Fn() -> Option<Request<Body>>,
    ) -> Option<Response<Body>> {
        if let Some(kept) = self.kept.take()
            && let Ok(response) = kept.send(request()?).await
        {
            self.kept = Some(kept);
            return Some(response);
        }
        let fresh = self.connect(core, endpoint, speak).await?;
        let response = fresh.send(request()?).await.ok()?;
        self.kept = Some(fresh);
        Some(response)
    }

    async fn connect(&self, core: &Core, endpoint: &Endpoint, speak: Speak) -> Option<Sender> {
        let Dialed { stream, https, .. } = self.dialer.dial(core, endpoint, speak, None).await.ok()?;
        let options = ClientOptions { https, ..self.dialer.http.clone() };
        if speak == Speak::Http2 {
            let (sender, driver) = mesh_http::h2::connect(stream, &options).await.ok()?;
            spawn_local(driver);
            return Some(Sender::Http2(sender));
        }
        let (sender, driver) = mesh_http::h1::connect(stream, &options);
        spawn_local(driver);
        Some(Sender::Http1(sender))
    }

    /// Each expected block has to come, in order, with anything between.
    async fn tcp(&self, core: &Core, endpoint: &Endpoint, send: &[u8], receive: &[Vec<u8>]) -> Option<()> {
        let mut stream = self.dialer.dial(core, endpoint, Speak::Raw, None).await.ok()?.stream;
        if !send.is_empty() {
            stream.write_all(send).await.ok()?;
            stream.flush().await.ok()?;
        }
        let mut said = Vec::new();
        while !holds_all(&said, receive) {
            if said.len() > MOST || stream.read_buf(&mut said).await.ok()? == 0 {
                return None;
            }
        }
        Some(())
    }
}

impl Sender {
    async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, SendError> {
        match self {
            Self::Http1(sender) => sender.send_lent(&mut request).await,
            Self::Http2(sender) => sender.send_lent(&mut request, false).await,
        }
    }
}

fn request(method: Method, host: &str, path: &str) -> Option<Request<Body>> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse::<Uri>().ok()?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_str(host).ok()?);
    headers.insert(header::USER_AGENT, HeaderValue::from_static("Halcyon/HC"));
    Some(request)
}

fn holds_all(said: &[u8], blocks: &[Vec<u8>]) -> bool {
    let mut rest = said;
    blocks.iter().all(|block| match rest.windows(block.len().max(1)).position(|window| window == &block[..]) {
        Some(at) => {
            rest = &rest[at + block.len()..];
            true
        }
        None => block.is_empty(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_in_order() {
        let blocks = |blocks: &[&str]| -> Vec<Vec<u8>> { blocks.iter().map(|b| b.as_bytes().to_vec()).collect() };
        for (said, expected, holds) in [
            ("", &[][..], true),
            ("", &["a"], false),
            ("xxab", &["a", "b"], true),
            ("ba", &["a", "b"], false),
            ("aab", &["aa", "ab"], false),
            ("aaxab", &["aa", "ab"], true),
        ] {
            assert_eq!(holds_all(said.as_bytes(), &blocks(expected)), holds, "{said} {expected:?}");
        }
    }
}
