//! Requests of HTTP/1.1, over TLS or not, with their whole answers.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use transport::Stream;
use transport::tls::{ClientOptions, ClientTls, LiveTrust, Roots, ServerCheck, TrustBundles};

use crate::bounds;

/// How often an answer may name another place.
const REDIRECTS: usize = 5;

/// Asks servers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client;

impl Client {
    /// The module at a URI.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub(super) async fn module(&self, uri: &str) -> Result<Bytes, String> {
        self.get(uri, &HeaderMap::new()).await.map(Response::into_body)
    }

    /// What stands at a URI; the answer has status 200.
    ///
    /// # Errors
    /// Why there is nothing.
    pub(super) async fn get(&self, uri: &str, headers: &HeaderMap) -> Result<Response<Bytes>, String> {
        let answer = self.ask(uri, headers).await?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            other => Err(format!("{uri}: the answer has the status {}", other.as_u16())),
        }
    }

    /// The answer, whatever its status, where redirections have led.
    ///
    /// # Errors
    /// There is none.
    pub(super) async fn ask(&self, uri: &str, headers: &HeaderMap) -> Result<Response<Bytes>, String> {
        let (mut at, mut headers) = (parsed(uri)?, headers.clone());
        for _ in 0..=REDIRECTS {
            let answer = exchange(&at, &headers).await.map_err(|why| format!("{at}: {why}"))?;
            let Some(next) = redirected(&at, &answer)? else { return Ok(answer) };
            if next.authority() != at.authority() {
                // What one server may know is not for another.
                headers.remove(header::AUTHORIZATION);
            }
            if at.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                return Err(format!("{at}: leads from TLS to {next}, which has none"));
            }
            at = next;
        }
        Err(format!("{uri}: leads on more than {REDIRECTS} times"))
    }
}

/// The place that an answer names.
fn redirected(at: &Uri, answer: &Response<Bytes>) -> Result<Option<Uri>, String> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    let location = location.ok_or_else(|| format!("{at}: leads elsewhere and does not say where"))?;
    if location.starts_with('/') && !location.starts_with("//") {
        let authority = at.authority().map_or("", |authority| authority.as_str());
        return parsed(&format!("{}://{authority}{location}", at.scheme_str().unwrap_or("http"))).map(Some);
    }
    parsed(location).map(Some)
}

fn parsed(uri: &str) -> Result<Uri, String> {
    let parsed: Uri = uri.parse().map_err(|_| format!("`{uri}` is no URI"))?;
    match (parsed.scheme_str(), parsed.authority()) {
        (Some("http" | "https"), Some(_)) => Ok(parsed),
        _ => Err(format!("`{uri}`: expected http:// or https:// and a host")),
    }
}

async fn exchange(at: &Uri, headers: &HeaderMap) -> Result<Response<Bytes>, String> {
    let authority = at.authority().ok_or("it names no host")?;
    let is_tls = at.scheme_str() == Some("https");
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await.map_err(|error| format!("no connection: {error}"))?;
    let stream = if is_tls { encrypted(stream.into(), host).await? } else { stream.into() };
    let target = at.path_and_query().map_or("/", |target| target.as_str());
    let mut request = Request::get(target).body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    *request.headers_mut() = headers.clone();
    let host = HeaderValue::try_from(authority.as_str()).map_err(|error| error.to_string())?;
    let own: [(HeaderName, HeaderValue); 2] =
        [(header::HOST, host), (header::USER_AGENT, HeaderValue::from_static("halcyon"))];
    request.headers_mut().extend(own);
    sent(stream, request).await
}

async fn encrypted(stream: Stream, host: &str) -> Result<Stream, String> {
    let roots = Roots::system().map_err(|error| error.to_string())?;
    let check = ServerCheck::Hostname(LiveTrust::new(TrustBundles::plain(roots)));
    let options = ClientOptions { resumption: false, ..ClientOptions::new(check) };
    let client = ClientTls::new(options).map_err(|error| error.to_string())?;
    // The whole has its own limit.
    let done = client.connect(stream, Some(host), Duration::from_secs(60)).await;
    done.map(|(stream, _)| stream).map_err(|error| error.to_string())
}

async fn sent(stream: Stream, request: Request<Empty<Bytes>>) -> Result<Response<Bytes>, String> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let answer = async {
        let (head, body) = sender.send_request(request).await.map_err(|error| error.to_string())?.into_parts();
        let whole = Limited::new(body, bounds::MODULE).collect().await;
        let too_long = format!("the answer breaks off, or is longer than {} bytes", bounds::MODULE);
        Ok(Response::from_parts(head, whole.map_err(|_| too_long)?.to_bytes()))
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // It may end before its last answer is read.
        _ = connection => answer.await,
    }
}
