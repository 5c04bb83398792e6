//! What the checks run as workloads inside the mesh: origins on every kind of port in one process, and clients that send
//! much and compare every byte.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Subcommand;
use data_encoding::HEXLOWER;
use futures_util::stream;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use origins::{grpc, http_echo, tcp, ws};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::leave;

/// The ports of `serve`, each protocol twice: the first is for a port that is declared, the second for one that is not.
pub const HTTP: [u16; 2] = [8080, 8081];
/// WebSocket.
pub const WS: [u16; 2] = [8090, 8091];
/// gRPC.
pub const GRPC: [u16; 2] = [50051, 50052];
/// TCP echo in which the client speaks first.
pub const TCP: [u16; 2] = [7000, 7001];
/// TCP echo in which the server speaks first.
pub const GREETING: [u16; 2] = [7002, 7003];
/// Noise to download.
pub const NOISE: [u16; 2] = [8100, 8101];

/// What is run inside.
#[derive(Debug, Subcommand)]
pub enum Inside {
    /// Every origin on its ports.
    Serve,
    /// Sends noise to an HTTP echo server, which says what it got.
    Upload { host: String, bytes: u64 },
    /// Gets noise from `serve`.
    Download { host: String, bytes: u64 },
    /// Sends noise to a TCP echo server and reads it back.
    Echo { host: String, bytes: u64 },
    /// Sends requests (a JSON list of method, path and headers) and prints status and body of each answer.
    Ask { host: String, requests: String },
    /// Makes attempts to leave (a JSON list), writes their outcomes to a file, and stays until another file is there.
    Leave { attempts: String, outcomes: PathBuf, until: PathBuf },
    /// Makes such attempts and prints their outcomes.
    Attempt { attempts: String },
}

/// Runs one.
pub async fn run(part: Inside) -> Result<()> {
    match part {
        Inside::Serve => serve().await,
        Inside::Upload { host, bytes } => upload(&host, bytes).await,
        Inside::Download { host, bytes } => download(&host, bytes).await,
        Inside::Echo { host, bytes } => echo(&host, bytes).await,
        Inside::Ask { host, requests } => ask(&host, &requests).await,
        Inside::Leave { attempts, outcomes, until } => leave::attempts(&attempts, &outcomes, &until).await,
        Inside::Attempt { attempts } => leave::print(&attempts).await,
    }
}

/// Until SIGTERM.
async fn serve() -> Result<()> {
    let bind = async |port: u16| TcpListener::bind(("0.0.0.0", port)).await.with_context(|| format!("port {port}"));
    let name = || "echo".to_owned();
    for port in HTTP {
        tokio::spawn(http_echo::serve(bind(port).await?, name(), std::future::pending()));
    }
    for port in WS {
        tokio::spawn(ws::serve(bind(port).await?, std::future::pending()));
    }
    for port in GRPC {
        tokio::spawn(grpc::serve(bind(port).await?, name(), std::future::pending()));
    }
    for port in TCP {
        tokio::spawn(tcp::serve(bind(port).await?, None));
    }
    for port in GREETING {
        tokio::spawn(tcp::serve(bind(port).await?, Some("welcome".to_owned())));
    }
    for port in NOISE {
        tokio::spawn(serve_noise(bind(port).await?));
    }
    origins::listen::stop_signal()?.await;
    Ok(())
}

async fn serve_noise(listener: TcpListener) -> std::io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // Whoever hangs up early has his reason.
        tokio::spawn(async move {
            let service = service_fn(async |request| Ok::<_, Infallible>(noise_answer(&request)));
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

type Noisy = StreamBody<stream::Iter<Frames>>;
type Frames = Box<dyn Iterator<Item = Result<Frame<Bytes>, Infallible>> + Send>;

fn noisy(bytes: u64) -> Noisy {
    StreamBody::new(stream::iter(Box::new(Noise::new(bytes).map(|chunk| Ok(Frame::data(chunk)))) as Frames))
}

/// `/N`: N bytes.
fn noise_answer(request: &Request<Incoming>) -> Response<Noisy> {
    let bytes = request.uri().path().trim_start_matches('/').parse().unwrap_or(0);
    let mut answer = Response::new(noisy(bytes));
    answer.headers_mut().insert(http::header::CONTENT_LENGTH, bytes.into());
    answer
}

async fn upload(host: &str, bytes: u64) -> Result<()> {
    let request = Request::post("/upload").header("host", host).header("content-length", bytes).body(noisy(bytes))?;
    let answer = exchange(host, request).await?.collect().await?.to_bytes();
    let said: serde_json::Value = serde_json::from_slice(&answer).context("the answer is not JSON")?;
    ensure!(said["bytes"] == bytes, "{bytes} bytes were sent and {} came", said["bytes"]);
    let expected = HEXLOWER.encode(&Noise::hash(bytes));
    ensure!(said["sha256"] == *expected, "SHA-256 {}; expected {expected}", said["sha256"]);
    Ok(())
}

async fn download(host: &str, bytes: u64) -> Result<()> {
    let request = Request::get(format!("/{bytes}")).header("host", host).body(noisy(0))?;
    let (mut body, mut count, mut hash) = (exchange(host, request).await?, 0, Sha256::new());
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.with_context(|| format!("after {count} bytes"))?.into_data() {
            count += data.len() as u64;
            hash.update(&data);
        }
    }
    unharmed(bytes, count, &hash.finalize())
}

async fn ask(host: &str, requests: &str) -> Result<()> {
    let requests: Vec<serde_json::Value> = serde_json::from_str(requests).context("the requests")?;
    let mut answers = Vec::new();
    for request in requests {
        let text = |key: &str| request[key].as_str().with_context(|| format!("no {key} in {request}"));
        let mut head = Request::builder().method(text("method")?).uri(text("path")?).header("host", host);
        let headers: Vec<(String, String)> = serde_json::from_value(request["headers"].clone())?;
        for (name, value) in headers {
            head = head.header(name, value);
        }
        let answer = send(host, head.body(noisy(0))?).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        answers.push((status, String::from_utf8_lossy(&body).into_owned()));
    }
    println!("{}", serde_json::to_string(&answers)?);
    Ok(())
}

async fn exchange(host: &str, request: Request<Noisy>) -> Result<Incoming> {
    let answer = send(host, request).await?;
    ensure!(answer.status() == 200, "{host}: status {}; expected 200", answer.status());
    Ok(answer.into_body())
}

async fn send(host: &str, request: Request<Noisy>) -> Result<Response<Incoming>> {
    let stream = TcpStream::connect(host).await.with_context(|| host.to_owned())?;
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // How the connection ended is seen by the exchange.
    tokio::spawn(async move { drop(driver.await) });
    sender.send_request(request).await.with_context(|| host.to_owned())
}

async fn echo(host: &str, bytes: u64) -> Result<()> {
    let stream = TcpStream::connect(host).await.with_context(|| host.to_owned())?;
    let (mut read, mut write) = stream.into_split();
    let sending = async {
        for chunk in Noise::new(bytes) {
            write.write_all(&chunk).await?;
        }
        write.shutdown().await
    };
    let receiving = async {
        let (mut buffer, mut count, mut hash) = (vec![0; CHUNK], 0, Sha256::new());
        loop {
            match read.read(&mut buffer).await? {
                0 => return Ok::<_, std::io::Error>((count, hash.finalize())),
                n => {
                    count += n as u64;
                    hash.update(&buffer[..n]);
                }
            }
        }
    };
    let both = tokio::time::timeout(Duration::from_secs(120), async { tokio::try_join!(sending, receiving) });
    let ((), (count, hash)) = both.await.context("not finished within 120 s")??;
    unharmed(bytes, count, &hash)
}

fn unharmed(bytes: u64, count: u64, hash: &[u8]) -> Result<()> {
    ensure!(count == bytes, "{bytes} bytes were sent and {count} came");
    let (got, expected) = (HEXLOWER.encode(hash), HEXLOWER.encode(&Noise::hash(bytes)));
    ensure!(got == expected, "SHA-256 {got}; expected {expected}");
    Ok(())
}

const CHUNK: usize = 64 * 1024;

/// Bytes that look random and are the same each time: what is lost, doubled or exchanged shows in their hash.
struct Noise {
    left: u64,
    state: u64,
}

impl Noise {
    fn new(bytes: u64) -> Self {
        Self { left: bytes, state: 0 }
    }

    fn hash(bytes: u64) -> Vec<u8> {
        let mut hash = Sha256::new();
        Self::new(bytes).for_each(|chunk| hash.update(&chunk));
        hash.finalize().to_vec()
    }

    /// SplitMix64.
    fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

impl Iterator for Noise {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let size = usize::try_from(self.left).unwrap_or(CHUNK).min(CHUNK);
        if size == 0 {
            return None;
        }
        self.left -= size as u64;
        let mut chunk = Vec::with_capacity(CHUNK + 8);
        while chunk.len() < size {
            chunk.extend(self.word().to_le_bytes());
        }
        chunk.truncate(size);
        Some(chunk.into())
    }
}

/// Where a client finds a port of `serve`.
pub fn host(port: u16) -> String {
    format!("echo:{port}")
}

/// The ports of `serve` as `halcyon run` is told them: the first of each kind with its protocol, the second without.
pub fn ports() -> Vec<String> {
    let declared = [
        (HTTP, "http"),
        (WS, "http-ws"),
        (GRPC, "grpc"),
        (TCP, "tcp"),
        (GREETING, "tcp-greeting"),
        (NOISE, "http-noise"),
    ];
    declared.iter().flat_map(|([one, other], name)| [format!("{one}:{name}"), other.to_string()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_its_length_and_repeats_nothing() {
        let check = |bytes: u64, chunks: usize| {
            let all: Vec<Bytes> = Noise::new(bytes).collect();
            assert_eq!(all.len(), chunks);
            assert_eq!(all.iter().map(|c| c.len() as u64).sum::<u64>(), bytes);
        };
        check(0, 0);
        check(1, 1);
        check(CHUNK as u64, 1);
        check(CHUNK as u64 + 1, 2);
        let all: Vec<Bytes> = Noise::new(3 * CHUNK as u64).collect();
        assert_ne!(all[0], all[1]);
        assert_ne!(all[1], all[2]);
    }

    #[test]
    fn harm_is_seen() {
        let hash = Noise::hash(1000);
        assert!(unharmed(1000, 1000, &hash).is_ok());
        assert!(unharmed(1000, 999, &hash).is_err());
        assert!(unharmed(1000, 1000, &Noise::hash(999)).is_err());
    }

    #[tokio::test]
    async fn much_comes_through() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap().to_string();
        tokio::spawn(serve_noise(listener));
        download(&at, 1_000_000).await.unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap().to_string();
        tokio::spawn(tcp::serve(listener, None));
        echo(&at, 1_000_000).await.unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap().to_string();
        tokio::spawn(http_echo::serve(listener, "echo".to_owned(), std::future::pending()));
        upload(&at, 1_000_000).await.unwrap();
    }
}
