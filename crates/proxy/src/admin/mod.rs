//! The admin endpoints, by Envoy's paths: what runs, how it does, and the few things that can be told to it. Served on
//! the side runtime; nothing here is on a request's way.
//!
//! Never shows a private key. What changes something takes POST only, so that no link and no crawler does it.

mod certs;
mod clusters;
mod config_dump;
mod listeners;
mod scrape;
mod server;
mod stats;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use ::http::header::{CONTENT_TYPE, HeaderValue};
use ::http::{Method, Request, Response, StatusCode};
use mesh_http::{Body, ServerOptions};
use tokio::sync::mpsc;
use transport::listen::{self, BindError};

pub(crate) use clusters::health_flags;
pub(crate) use scrape::Scrape;

use crate::live::Live;
use crate::node::Shared;
use crate::run::{Command, Options};
use crate::secrets::Secrets;
use crate::status::Status;

/// What the endpoints look at.
pub(crate) struct Admin {
    pub live: Arc<Live>,
    pub shared: Arc<Shared>,
    pub secrets: Rc<Secrets>,
    pub status: Rc<RefCell<Status>>,
    pub commands: mpsc::UnboundedSender<Command>,
    pub options: Options,
    pub scrape: Option<Scrape>,
}

/// Which of the endpoints a socket offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// All of them.
    Everything,
    /// Readiness and metrics: for probes and scrapes from outside.
    Probes,
    /// The same, the metrics with those of the program.
    Merged,
}

impl Admin {
    /// Serves at `addr` with local tasks. Gives the address, with the port that the kernel chose for port 0.
    ///
    /// # Errors
    /// The address cannot be had.
    pub(crate) fn start(self: &Rc<Self>, addr: SocketAddr, offer: Offer) -> Result<SocketAddr, BindError> {
        let refused = |source| BindError::Refused { addr, source };
        let socket = listen::tcp(addr, None, &listen::Options::default())?.start().map_err(refused)?;
        let addr = socket.local_addr();
        let admin = self.clone();
        tokio::task::spawn_local(async move {
            loop {
                match socket.accept().await {
                    Ok(accepted) => {
                        let admin = admin.clone();
                        tokio::task::spawn_local(async move {
                            let handle = |request| async { admin.answer(request, offer).await };
                            let never = std::future::pending();
                            mesh_http::serve(accepted.stream, &ServerOptions::default(), never, handle).await
                        });
                    }
                    Err(error) => tokio::time::sleep(error.pause).await,
                }
            }
        });
        Ok(addr)
    }

    async fn answer(&self, request: Request<Body>, offer: Offer) -> Response<Body> {
        let query = Query(request.uri().query().unwrap_or_default());
        let path = request.uri().path();
        let probe = match path {
            "/ready" | "/healthz/ready" => Some(server::ready(self)),
            "/stats/prometheus" | "/metrics" if offer == Offer::Merged => Some(scrape::merged(self, &request).await),
            "/stats/prometheus" | "/metrics" => Some(stats::prometheus(self, &request)),
            _ => None,
        };
        if let Some(answer) = probe {
            return answer;
        }
        if offer != Offer::Everything {
            return text(StatusCode::NOT_FOUND, "only /healthz/ready and /stats/prometheus are served here\n");
        }
        const CHANGES: [&str; 5] =
            ["/drain_listeners", "/healthcheck/fail", "/healthcheck/ok", "/quitquitquit", "/reopen_logs"];
        let changes = CHANGES.contains(&path) || (path == "/logging" && query.get("level").is_some());
        if changes && request.method() != Method::POST {
            return text(StatusCode::METHOD_NOT_ALLOWED, "this changes something: expected POST\n");
        }
        match path {
            "/config_dump" => config_dump::answer(self, query),
            "/clusters" => clusters::answer(self, query),
            "/listeners" => listeners::answer(self, query),
            "/plaintext" => server::plain_text(self),
            "/stats" => stats::plain(self, query),
            "/certs" => certs::answer(self),
            "/server_info" => server::info(self),
            "/logging" => server::logging(self, query),
            "/drain_listeners" => server::drain(self),
            "/healthcheck/fail" => server::leave_out(self, true),
            "/healthcheck/ok" => server::leave_out(self, false),
            "/quitquitquit" => server::quit(self),
            "/reopen_logs" => server::reopen_logs(self),
            "/" | "/help" => text(StatusCode::OK, HELP),
            _ => text(StatusCode::NOT_FOUND, HELP),
        }
    }
}

const HELP: &str = "\
/certs              the certificates in use, without keys
/clusters           clusters and their endpoints; ?format=json
/config_dump        what runs; ?resource=listeners|clusters|routes|virtual_hosts|endpoints|secrets|
                    names|limits
/drain_listeners    POST: stop taking connections from outside, finish those that stand
/healthcheck/fail   POST: the control plane is told to send this program nobody more
/healthcheck/ok     POST: takes that back
/healthz/ready      is it ready for traffic?
/listeners          listeners and their addresses; ?format=json
/logging            the log level; POST ?level=LEVEL changes it
/plaintext          who speaks plain text to the program, as JSON
/quitquitquit       POST: drain, then end
/reopen_logs        POST: open access logs anew, after rotation
/server_info        who this is and how long it has run
/stats              counters and histograms; ?filter=PREFIX
/stats/prometheus   the same for a scraper
";

/// The query of an admin request.
#[derive(Debug, Clone, Copy)]
struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        self.0.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name)).map(|(_, value)| value)
    }

    fn wants_json(&self) -> bool {
        self.get("format") == Some("json")
    }
}

fn text(status: StatusCode, body: impl Into<String>) -> Response<Body> {
    of_type(status, "text/plain; charset=utf-8", body.into())
}

fn json(value: &serde_json::Value) -> Response<Body> {
    of_type(StatusCode::OK, "application/json", format!("{value:#}\n"))
}

fn of_type(status: StatusCode, kind: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
