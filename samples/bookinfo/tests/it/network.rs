//! Bookinfo in one process: roles joined by in-memory streams, so that the clock can stand still.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use axum::response::IntoResponse;
use bookinfo::{Destination, Dial, Options};
use bytes::Bytes;
use clap::Parser as _;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;
use tower_service::Service as _;

/// Host name -> who serves it. Whoever is missing refuses connections.
#[derive(Default, Clone)]
pub struct Network(HashMap<String, Router>);

impl Network {
    pub fn with(mut self, host: &str, service: Router) -> Self {
        self.0.insert(host.to_owned(), service);
        self
    }
    /// Adds a role of ours, which itself calls over the network so far.
    pub fn role(self, host: &str, args: &[&str]) -> Self {
        let service = role(args, self.clone());
        self.with(host, service)
    }
}

impl Dial for Network {
    fn dial(&self, to: &Destination) -> bookinfo::outgoing::Dialing {
        let service = self.0.get(&to.host).cloned();
        Box::pin(async move {
            let service = service.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (near, far) = tokio::io::duplex(64 * 1024);
            tokio::spawn(async move {
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(far), TowerToHyperService::new(service))
                    .await;
            });
            Ok(Box::new(near) as Box<dyn bookinfo::outgoing::Stream>)
        })
    }
}

pub fn role(args: &[&str], network: Network) -> Router {
    let options = Options::parse_from(["bookinfo", "--hostname=pod-1"].iter().chain(args));
    bookinfo::router(&options, Arc::new(network)).expect("good options")
}

/// What came back.
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect("JSON")
    }
}

/// One request straight into a service.
pub async fn send(service: &Router, request: Request<Full<Bytes>>) -> Answer {
    let answer = service.clone().call(request).await.expect("a router cannot fail");
    let (head, body) = answer.into_parts();
    let body = body.collect().await.expect("a whole body").to_bytes();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        text: String::from_utf8(body.to_vec()).expect("text"),
    }
}

/// `GET path` with `headers`.
pub async fn get(service: &Router, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(service, request.body(Full::default()).expect("a request")).await
}

/// Answers every request with `status` and a body that a page must not trust.
pub fn always(status: StatusCode, body: &'static str) -> Router {
    Router::new().fallback(move || async move { (status, body).into_response() })
}

/// Gives back the request's headers as JSON.
pub fn mirror() -> Router {
    Router::new().fallback(|headers: HeaderMap| async move {
        let all: HashMap<String, String> =
            headers.iter().map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned())).collect();
        Response::new(serde_json::to_string(&all).expect("JSON"))
    })
}

/// `service`, each answer `seconds` late: what a fault rule of the mesh does.
pub fn delayed(service: Router, seconds: u64) -> Router {
    service.layer(axum::middleware::from_fn(move |request, next: axum::middleware::Next| async move {
        tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
        next.run(request).await
    }))
}
