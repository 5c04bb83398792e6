//! An HTTP proxy. What is at the other end of its tunnels says `echo:`, how the tunnel was asked for, and then sends everything
//! back; for targets that begin with `no.` there is none.

use std::io;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Method, Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{PREFACE, Rewound};
use crate::http1::{Head, Reader};

/// Serves a connection of either protocol.
pub async fn serve(stream: TcpStream) {
    let mut reader = Reader::new(stream);
    let Ok(first) = reader.peek(4).await else { return };
    // What comes of a connection is seen at the other end.
    if first == &PREFACE[..4] {
        let (stream, read) = reader.into_parts();
        serve2(Rewound { read, stream }).await;
    } else {
        let _ = serve1(reader).await;
    }
}

/// The headers in the order of their names, which is nobody's promise.
fn told(line: &str, mut headers: Vec<(String, String)>) -> String {
    headers.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
    headers.sort();
    let headers: String = headers.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    format!("echo:[{line}{headers}]")
}

async fn serve1(mut reader: Reader) -> io::Result<()> {
    let Some(Head { first, headers }) = reader.head().await? else { return Ok(()) };
    let posted = first.starts_with("POST ");
    let target = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host")).map(|(_, value)| value.clone());
    if target.is_some_and(|target| target.starts_with("no.")) {
        return reader.stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno").await;
    }
    let framing = if posted { "transfer-encoding: chunked\r\n" } else { "" };
    let framed = |bytes: &[u8]| match posted {
        true => [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat(),
        false => bytes.to_vec(),
    };
    let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n");
    reader.stream.write_all(head.as_bytes()).await?;
    reader.stream.write_all(&framed(told(&first, headers).as_bytes())).await?;
    if posted {
        while let Some(piece) = chunk(&mut reader).await? {
            reader.stream.write_all(&framed(&piece)).await?;
        }
        return reader.stream.write_all(b"0\r\n\r\n").await;
    }
    let early = reader.rest();
    reader.stream.write_all(&early).await?;
    let mut buffer = [0; 4096];
    while let count @ 1.. = reader.stream.read(&mut buffer).await? {
        reader.stream.write_all(&buffer[..count]).await?;
    }
    Ok(())
}

/// The next chunk; none after the last.
async fn chunk(reader: &mut Reader) -> io::Result<Option<Vec<u8>>> {
    let wrong = || io::Error::from(io::ErrorKind::InvalidData);
    let size = reader.line().await?;
    let size = usize::from_str_radix(size.trim(), 16).map_err(|_| wrong())?;
    let mut piece = Vec::new();
    reader.take(size, &mut piece).await?;
    reader.line().await?;
    Ok((size > 0).then_some(piece))
}

async fn serve2(stream: Rewound) {
    let Ok(mut connection) = h2::server::Builder::new().handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::task::spawn_local(async move {
            // A failure shows at the other end.
            let _ = one(request, respond).await;
        });
    }
}

async fn one(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let authority = head.uri.authority().map(ToString::to_string).unwrap_or_default();
    let mut response = Response::new(());
    if authority.starts_with("no.") {
        *response.status_mut() = StatusCode::FORBIDDEN;
        return respond.send_response(response, false)?.send_data("no".into(), true);
    }
    let mut headers = super::serve2::pairs(&head.headers);
    headers.push((":authority".to_owned(), authority));
    let path = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    if head.method != Method::CONNECT {
        headers.push((":scheme".to_owned(), head.uri.scheme_str().unwrap_or_default().to_owned()));
    }
    let mut send = respond.send_response(response, false)?;
    send.send_data(told(&format!("{} {path} HTTP/2", head.method), headers).into(), false)?;
    while let Some(piece) = body.data().await {
        let piece = piece?;
        // Nobody else uses the window.
        let _ = body.flow_control().release_capacity(piece.len());
        send.send_data(piece, false)?;
    }
    send.send_data(Bytes::new(), true)
}
