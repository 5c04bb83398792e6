//! The backends: they do what a request asks for, and remember what they got.
//!
//! A request's header `x-do` has parts, separated by `|`; the first that fits counts. A part may begin with a condition
//! and `?`: the name of a backend (`b1?`), or a number of the try (`try1?`). What follows are orders, separated by `;`:
//!
//! | order | what is done |
//! |---|---|
//! | `status=N` | answers with that status, else with 200 |
//! | `delay=MS` | waits before |
//! | `header=NAME:VALUE`, `trailer=NAME:VALUE` | has them in the answer |
//! | `body=TEXT`, `bytes=N`, `frames=A,B` | has that body (`frames`: messages of gRPC), else the backend's name |
//! | `chunked`, `toend` | frames it so, else by length |
//! | `interim=N` | sends that status before |
//! | `close`, `hang` | ends or keeps the connection without an answer |
//! | `partial`, `stall` | breaks off, or stands still, in the middle of the body |
//! | `h2reset=N` | ends the stream with that error of HTTP/2 |
//! | `raw=TEXT` | sends that, `~` for an end of line |
//! | `switch=PROTOCOL` | answers 101 and then sends back what comes |

mod act;
mod authz;
mod grpc;
mod limits;
mod serve1;
mod serve2;
mod told;
mod tunnel;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::ServerConfig;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::http1::{Io, Reader};
use crate::place::Names;

/// The header by which a request is known to the origins and in the logs.
pub const ID: &str = "x-id";
/// The header that asks for something.
pub const DO: &str = "x-do";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One request that a backend got.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Which backend.
    pub backend: &'static str,
    /// Method, target and version.
    pub line: String,
    /// Without those that the tests themselves use.
    pub headers: Vec<(String, String)>,
    /// The body as far as it came.
    pub body: Vec<u8>,
    /// After it.
    pub trailers: Vec<(String, String)>,
}

/// What all backends got, by the requests' ids.
#[derive(Clone, Default)]
pub struct Memory(Rc<RefCell<HashMap<String, Vec<Seen>>>>);

impl Memory {
    /// Takes in a request; its number among those of the same id, from 1 on.
    fn arrived(&self, id: &str, seen: Seen) -> usize {
        let mut all = self.0.borrow_mut();
        let list = all.entry(id.to_owned()).or_default();
        list.push(seen);
        list.len()
    }

    /// Adds its body.
    fn whole(&self, id: &str, number: usize, body: Vec<u8>, trailers: Vec<(String, String)>) {
        if let Some(seen) = self.0.borrow_mut().get_mut(id).and_then(|list| list.get_mut(number - 1)) {
            (seen.body, seen.trailers) = (body, trailers);
        }
    }

    /// What came with an id; it is then forgotten.
    pub fn of(&self, id: &str) -> Vec<Seen> {
        self.0.borrow_mut().remove(id).unwrap_or_default()
    }
}

/// The running backends.
pub struct Origins {
    /// What they got.
    pub memory: Memory,
    /// Where they listen.
    pub names: Names,
    /// Bound, but never listening.
    _dead: Socket,
}

impl Origins {
    /// Starts them. They end with the process.
    pub async fn start(tls: Arc<ServerConfig>) -> Result<Self> {
        let (memory, mut names) = (Memory::default(), Names::default());
        for (name, backend) in [("B1", "b1"), ("B2", "b2"), ("B3", "b3")] {
            let memory = memory.clone();
            names.add(name, listen(move |stream| serve(Reader::new(stream), backend, memory.clone())).await?);
        }
        let (secure, acceptor) = (memory.clone(), TlsAcceptor::from(tls));
        let handshake = move |stream| {
            let (memory, acceptor) = (secure.clone(), acceptor.clone());
            async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(Reader::new(stream), "tls", memory).await;
                }
            }
        };
        names.add("TLS", listen(handshake).await?);
        names.add("ECHO", listen(echo).await?);
        names.add("TUNNEL", listen(tunnel::serve).await?);
        names.add("TOLD", listen(told::serve).await?);
        names.add("SHUT", listen(|stream| async move { drop(stream) }).await?);
        let dead = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        dead.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        names.add("DEAD", dead.local_addr()?.as_socket().context("no IP address")?.port());
        Ok(Self { memory, names, _dead: dead })
    }
}

async fn listen<F: Future<Output = ()> + 'static>(serve: impl Fn(TcpStream) -> F + 'static) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Without it small pieces wait for each other.
            let _ = stream.set_nodelay(true);
            tokio::task::spawn_local(serve(stream));
        }
    });
    Ok(port)
}

/// Either protocol on one connection: by the preface.
async fn serve(mut reader: Reader, backend: &'static str, memory: Memory) {
    let Ok(first) = reader.peek(4).await else { return };
    // What comes of a connection is seen at the other end.
    if first == &PREFACE[..4] {
        let (stream, read) = reader.into_parts();
        serve2::serve(Rewound { read, stream }, backend, &memory).await;
    } else {
        let _ = serve1::serve(reader, backend, &memory).await;
    }
}

/// Says its name, then sends everything back.
async fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    if stream.write_all(b"echo:").await.is_err() {
        return;
    }
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// A stream whose first bytes were read already.
struct Rewound {
    read: Vec<u8>,
    stream: Box<dyn Io>,
}

mod rewound {
    //! The stream as tokio sees it.

    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::Rewound;

    impl AsyncRead for Rewound {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            if self.read.is_empty() {
                return Pin::new(&mut self.stream).poll_read(cx, buf);
            }
            let count = self.read.len().min(buf.remaining());
            buf.put_slice(&self.read[..count]);
            self.read.drain(..count);
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Rewound {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.stream).poll_write(cx, buf)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.stream).poll_shutdown(cx)
        }
    }
}

/// Long enough for every proxy to give up.
const FOREVER: Duration = Duration::from_secs(600);
