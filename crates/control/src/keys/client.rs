//! Gets key sets, and where people log in, by HTTP; and makes secrets.
//!
//! Certificates of servers are checked as on the web, against the roots of the system. Redirections are not followed: who
//! writes a document says where its keys are, and nobody else does. Addresses may be forbidden, so that a document cannot
//! make the control plane ask what only it can reach.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::halcyon::ENDPOINTS;
use api::istio::{DISCOVERY, KeysAt};
use base::SpiffeId;
use data_encoding::HEXLOWER;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use translate::BundleServer;
use translate::logins::Endpoints;
use transport::Stream;
use transport::tls::{Accept, ClientOptions, ClientTls, LiveTrust, PeerCheck, Roots, ServerCheck, TrustBundles};

/// Bytes of an answer that are read.
const LARGEST: usize = 1 << 20;

/// Gets key sets.
#[derive(Debug, Clone)]
pub struct Client {
    blocked: Vec<IpNet>,
}

impl Client {
    /// A client that asks nobody at these addresses.
    pub fn new(blocked: Vec<IpNet>) -> Self {
        Self { blocked }
    }

    /// The key set at a place, in time.
    ///
    /// # Errors
    /// It cannot be had; the text says why.
    pub async fn keys(&self, at: &KeysAt, limit: Duration) -> Result<String, String> {
        let got = async {
            match at {
                KeysAt::Uri(uri) => self.key_set(uri).await,
                KeysAt::Discovery(uri) => self.key_set(&self.discover(uri).await?).await,
                KeysAt::Endpoints(uri) => self.endpoints(uri.strip_prefix(ENDPOINTS).unwrap_or(uri)).await,
                KeysAt::Made(_) => made(),
            }
        };
        timeout(limit, got).await.unwrap_or_else(|_| Err(format!("there is no answer within {limit:?}")))
    }

    /// The bundle of a trust domain at a URL, in time. What stands behind a `#` is not sent.
    ///
    /// # Errors
    /// It cannot be had; the text says why.
    pub async fn bundle(&self, url: &str, server: &BundleServer, limit: Duration) -> Result<String, String> {
        let url = url.split('#').next().unwrap_or_default();
        if !url.starts_with("https://") {
            return Err("expected a URL that begins with `https://`".to_owned());
        }
        let check = match server {
            BundleServer::Web => web()?,
            BundleServer::Spiffe { ids, roots } => spiffe(ids, roots)?,
        };
        let late = |_| Err(format!("there is no answer within {limit:?}"));
        timeout(limit, self.get_checked(url, Some(check))).await.unwrap_or_else(late)
    }

    async fn key_set(&self, uri: &str) -> Result<String, String> {
        let text = self.get(uri).await?;
        let set: serde_json::Value = serde_json::from_str(&text).map_err(|_| "the answer is no JSON".to_owned())?;
        match set.get("keys").and_then(|keys| keys.as_array()) {
            Some(_) => Ok(text),
            None => Err("the answer is no key set: it has no list `keys` (RFC 7517)".to_owned()),
        }
    }

    /// Where the keys are, by OpenID Connect Discovery.
    async fn discover(&self, uri: &str) -> Result<String, String> {
        let text = self.get(uri).await?;
        let document: serde_json::Value =
            serde_json::from_str(&text).map_err(|_| "the answer is no JSON".to_owned())?;
        let keys = document.get("jwks_uri").and_then(|uri| uri.as_str());
        keys.map(str::to_owned).ok_or_else(|| format!("what {uri} answers has no `jwks_uri`"))
    }

    /// Where people log in, by OpenID Connect Discovery.
    async fn endpoints(&self, uri: &str) -> Result<String, String> {
        let document: serde_json::Value =
            serde_json::from_str(&self.get(uri).await?).map_err(|_| "the answer is no JSON".to_owned())?;
        let of =
            |name: &str| document.get(name).and_then(|url| url.as_str()).filter(|url| is_url(url)).map(str::to_owned);
        let needed = |name: &str| of(name).ok_or_else(|| format!("what {uri} answers has no `{name}`"));
        // Who claims to be another issuer is none (OpenID Connect Discovery 1.0, section 4.3).
        let expected = uri.strip_suffix(DISCOVERY).unwrap_or(uri);
        let issuer = document.get("issuer").and_then(|issuer| issuer.as_str()).unwrap_or_default();
        if issuer.trim_end_matches('/') != expected {
            return Err(format!("what {uri} answers is of the issuer `{issuer}`"));
        }
        let found = Endpoints {
            authorization: needed("authorization_endpoint")?,
            token: needed("token_endpoint")?,
            end_session: of("end_session_endpoint"),
        };
        Ok(found.to_text())
    }

    async fn get(&self, uri: &str) -> Result<String, String> {
        self.get_checked(uri, None).await
    }

    /// With a check of the server, if it has TLS; none: as on the web.
    async fn get_checked(&self, uri: &str, check: Option<ServerCheck>) -> Result<String, String> {
        let said = |what: &str| format!("{uri}: {what}");
        let parsed: Uri = uri.parse().map_err(|_| said("this is no URI"))?;
        let authority = parsed.authority().ok_or_else(|| said("it names no host"))?;
        let tls = match parsed.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(said("it begins neither with `http://` nor with `https://`")),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let stream = self.connect(host, port).await.map_err(|reason| said(&reason))?;
        let stream = match tls {
            true => {
                let check = check.map_or_else(web, Ok).map_err(|reason| said(&reason))?;
                handshake(stream, host, check).await.map_err(|reason| said(&reason))?
            }
            false => stream,
        };
        let target = parsed.path_and_query().map_or("/", |target| target.as_str());
        let request = Request::get(target)
            .header(header::HOST, authority.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "halcyon")
            .body(Empty::<Bytes>::new())
            .map_err(|error| said(&error.to_string()))?;
        exchange(stream, request).await.map_err(|reason| said(&reason))
    }

    async fn connect(&self, host: &str, port: u16) -> Result<Stream, String> {
        let found: Vec<SocketAddr> =
            lookup_host((host, port)).await.map_err(|error| format!("the host has no address: {error}"))?.collect();
        let is_blocked = |at: &SocketAddr| self.blocked.iter().any(|block| block.contains(&at.ip().to_canonical()));
        let allowed: Vec<SocketAddr> = found.iter().copied().filter(|at| !is_blocked(at)).collect();
        if allowed.is_empty() {
            return Err("nothing is fetched from its address (it is blocked)".to_owned());
        }
        let mut last = String::new();
        for at in allowed {
            match TcpStream::connect(at).await {
                Ok(stream) => return Ok(stream.into()),
                Err(error) => last = format!("no connection to {at}: {error}"),
            }
        }
        Err(last)
    }
}

fn is_url(text: &str) -> bool {
    let parsed = text.parse::<Uri>().ok().filter(|_| !text.contains(char::is_whitespace));
    parsed.is_some_and(|uri| uri.scheme().is_some() && uri.authority().is_some())
}

/// A secret of 32 bytes, and before it the time of its making in seconds since 1970.
fn made() -> Result<String, String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "there is no chance to be had".to_owned())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Ok(format!("{now} {}", HEXLOWER.encode(&bytes)))
}

/// By the name in the URI and the roots of the system.
fn web() -> Result<ServerCheck, String> {
    let roots = Roots::system().map_err(|error| error.to_string())?;
    Ok(ServerCheck::Hostname(LiveTrust::new(TrustBundles::plain(roots))))
}

/// By its identity, which these roots vouch for.
fn spiffe(ids: &[SpiffeId], roots: &[u8]) -> Result<ServerCheck, String> {
    let roots = Roots::from_pem(&String::from_utf8_lossy(roots));
    let roots = roots.map_err(|error| format!("the roots to check the server by: {error}"))?;
    let domain = ids.first().and_then(|id| id.trust_domain().parse().ok());
    let domain = domain.ok_or_else(|| "there is no identity that the server could have".to_owned())?;
    let trust = LiveTrust::new(TrustBundles::domain(domain, roots));
    Ok(ServerCheck::Peer(PeerCheck::Spiffe { trust, accept: Accept::identities(ids) }))
}

async fn handshake(stream: Stream, host: &str, check: ServerCheck) -> Result<Stream, String> {
    let options = ClientOptions { resumption: false, ..ClientOptions::new(check) };
    let client = ClientTls::new(options).map_err(|error| error.to_string())?;
    // The whole has its own limit.
    let done = client.connect(stream, Some(host), Duration::from_secs(60)).await;
    done.map(|(stream, _)| stream).map_err(|error| error.to_string())
}

async fn exchange(stream: Stream, request: Request<Empty<Bytes>>) -> Result<String, String> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let (head, body) = answer.into_parts();
        if head.status != StatusCode::OK {
            return Err(format!("the answer has the status {}", head.status.as_u16()));
        }
        let whole = Limited::new(body, LARGEST).collect().await;
        let bytes = whole.map_err(|_| format!("the answer breaks off, or is longer than {LARGEST} bytes"))?.to_bytes();
        String::from_utf8(bytes.to_vec()).map_err(|_| "the answer is no text".to_owned())
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // It may end before its last answer is read.
        _ = connection => answer.await,
    }
}
