//! Puts a question to the program, once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use ::http::header::{self, HeaderValue};
use ::http::{Method, Request};
use mesh_http::grpc::{GrpcStatus, health};
use mesh_http::{Body, ClientOptions, h1, h2};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixStream, lookup_host};
use tokio::task::spawn_local;
use tokio::time::timeout;
use transport::tls::{self, ClientTls, PeerCheck, ServerCheck};
use transport::{ConnectError, Connector, Netns, Stream};
use xds::health::Health;

use crate::bootstrap::{HttpQuestion, Place, Question};

/// More of an answer is not read.
const MOST: usize = 64 * 1024;

/// Asks one program.
pub(super) struct Asker {
    question: Question,
    patience: Duration,
    /// Where the program is, and where the proxy is.
    inside: Connector,
    outside: Connector,
}

impl Asker {
    /// The program is in this network namespace, or where the proxy is. An answer may take so long.
    pub(super) fn new(question: Question, patience: Duration, netns: Option<Netns>) -> Self {
        let outside = Connector { timeout: patience, ..Connector::default() };
        Self { question, patience, inside: Connector { netns, ..outside.clone() }, outside }
    }

    /// Asks. An error says in words what the program does not do.
    pub(super) async fn ask(&self) -> Health {
        let asked = async {
            match &self.question {
                Question::Tcp(addresses) => {
                    for address in addresses {
                        connect(&self.inside, *address).await?;
                    }
                    Ok(())
                }
                Question::TcpAt(at) => self.connect(at).await.map(drop),
                Question::Http(question) => self.get(question).await,
                Question::Grpc { at, service } => self.check(at, service).await,
                Question::Command(socket) => command(socket).await,
            }
        };
        match timeout(self.patience, asked).await {
            Ok(health) => health,
            Err(_) => Err(format!("{}: no answer within {:?}", self.title(), self.patience)),
        }
    }

    fn title(&self) -> String {
        match &self.question {
            Question::Tcp(addresses) => {
                format!("connecting to {}", addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
            Question::TcpAt(at) => format!("connecting to {}", at.authority()),
            Question::Http(question) => question.title(),
            Question::Grpc { at, service } => format!("health of `{service}` at {}", at.authority()),
            Question::Command(_) => "the command".to_owned(),
        }
    }

    async fn connect(&self, at: &Place) -> Result<Stream, String> {
        let addresses = match (at.host.parse::<IpAddr>(), &*at.host) {
            (Ok(ip), _) => vec![SocketAddr::new(ip, at.port)],
            (Err(_), "localhost") => vec![(Ipv4Addr::LOCALHOST, at.port).into()],
            (Err(_), host) => {
                lookup_host((host, at.port)).await.map_err(|e| format!("{host} is not found: {e}"))?.collect()
            }
        };
        let mut last = Err(format!("{} has no address", at.host));
        for address in addresses {
            let connector = if address.ip().is_loopback() { &self.inside } else { &self.outside };
            last = connect(connector, address).await;
            if last.is_ok() {
                break;
            }
        }
        last
    }

    /// Good are 200 to 399, as for Kubernetes' probes.
    async fn get(&self, question: &HttpQuestion) -> Health {
        let bad = |what: String| format!("{}: {what}", question.title());
        let mut stream = self.connect(&question.at).await?;
        if question.tls {
            stream = self.encrypted(stream, &question.at).await.map_err(bad)?;
        }
        let request = question.request().map_err(bad)?;
        let (sender, driver) = h1::connect(stream, &ClientOptions::default());
        let driving = spawn_local(driver);
        let answer = sender.send(request).await;
        let status = answer.map(|answer| answer.status().as_u16()).map_err(|e| bad(e.to_string()));
        driving.abort();
        match status? {
            200..400 => Ok(()),
            other => Err(bad(format!("status {other}; expected 200 to 399"))),
        }
    }

    /// Whoever answers is taken for the program, as by Kubernetes' probes.
    async fn encrypted(&self, stream: Stream, at: &Place) -> Result<Stream, String> {
        let options = tls::ClientOptions {
            alpn: vec![b"http/1.1".to_vec()],
            resumption: false,
            ..tls::ClientOptions::new(ServerCheck::Peer(PeerCheck::Unchecked))
        };
        let client = ClientTls::new(options).map_err(|e| e.to_string())?;
        let name = Some(&*at.host).filter(|host| host.parse::<IpAddr>().is_err());
        let (stream, _) = client.connect(stream, name, self.patience).await.map_err(|e| e.to_string())?;
        Ok(stream)
    }

    async fn check(&self, at: &Place, service: &str) -> Health {
        let bad = |what: String| format!("health of `{service}` at {}: {what}", at.authority());
        let stream = self.connect(at).await?;
        let request = Request::builder().method(Method::POST).uri(health::PATH).header(header::HOST, at.authority());
        let request = request.header(header::CONTENT_TYPE, "application/grpc").header(header::TE, "trailers");
        let request = request.body(Body::full(health::question(service))).map_err(|e| bad(e.to_string()))?;
        let (sender, driver) = h2::connect(stream, &ClientOptions::default()).await.map_err(|e| bad(e.to_string()))?;
        let driving = spawn_local(driver);
        let answer = async {
            let (head, body) = sender.send(request).await.map_err(|e| e.to_string())?.into_parts();
            let whole = body.collect(MOST).await.map_err(|e| e.to_string())?;
            match GrpcStatus::of_answer(&head.headers, whole.trailers.as_ref()) {
                Some(GrpcStatus::OK) if health::is_serving(&whole.data) => Ok(()),
                Some(GrpcStatus::OK) => Err("it does not serve".to_owned()),
                Some(GrpcStatus(code)) => Err(format!("gRPC status {code}")),
                None => Err(format!("status {}, and none of gRPC", head.status.as_u16())),
            }
        };
        let health = answer.await.map_err(bad);
        driving.abort();
        health
    }
}

impl Place {
    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl HttpQuestion {
    fn title(&self) -> String {
        format!("GET {} at {}", self.path, self.at.authority())
    }

    /// What is said for a header that is sent anyway takes its place.
    fn request(&self) -> Result<Request<Body>, String> {
        let request = Request::get(&self.path).body(Body::empty());
        let mut request = request.map_err(|e| e.to_string())?;
        let headers = request.headers_mut();
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        if !headers.contains_key(header::HOST) {
            headers.insert(header::HOST, self.at.authority().parse().map_err(|_| "is no host".to_owned())?);
        }
        headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static("halcyon-proxy"));
        Ok(request)
    }
}

async fn connect(connector: &Connector, address: SocketAddr) -> Result<Stream, String> {
    connector.connect(&address.into()).await.map_err(|error| match error {
        ConnectError::Refused(_) => format!("nothing listens on {address} yet"),
        other => other.to_string(),
    })
}

/// Whoever listens runs the command for as long as the connection stands.
async fn command(socket: &Path) -> Health {
    let bad = |error: std::io::Error| format!("the command is not run: {error}");
    let mut answer = String::new();
    let mut stream = UnixStream::connect(socket).await.map_err(bad)?;
    stream.read_to_string(&mut answer).await.map_err(bad)?;
    match answer.strip_suffix('\n') {
        Some("") => Ok(()),
        Some(how) => Err(format!("the command {how}")),
        None => Err("the command is not run: nobody said how it ended".to_owned()),
    }
}

#[cfg(test)]
mod tests;
