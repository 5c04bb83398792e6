//! A server behind PROXY headers: HTTP/1.1 and raw bytes, both answered with what the header said. Ports are not told, since
//! they never are the same, but whether the ends are those of the connection itself.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http1::{Reader, latin1};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Serves a connection.
pub async fn serve(stream: TcpStream) {
    // What comes of a connection is seen at the other end.
    let _ = answer(stream).await;
}

async fn answer(stream: TcpStream) -> io::Result<()> {
    let client = stream.peer_addr()?;
    let mut reader = Reader::new(stream);
    let first = reader.peek(1).await?;
    let told = if first == b"\r" {
        binary(&mut reader, client.port()).await?
    } else {
        line(&mut reader, client.port()).await?
    };
    if reader.peek(4).await? != b"GET " {
        reader.stream.write_all(format!("echo:[{told}]").as_bytes()).await?;
        let early = reader.rest();
        reader.stream.write_all(&early).await?;
        let mut buffer = [0; 4096];
        while let count @ 1.. = reader.stream.read(&mut buffer).await? {
            reader.stream.write_all(&buffer[..count]).await?;
        }
        return Ok(());
    }
    let mut number = 0;
    while let Some(head) = reader.head().await? {
        number += 1;
        // Health checks have to speak for themselves.
        let own = told.ends_with("own") || told.ends_with("LOCAL");
        let status = if head.first.contains("/health") && !own { "503 Not told" } else { "200 OK" };
        let body = format!("{told}, request {number} of its connection");
        let text = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        reader.stream.write_all(text.as_bytes()).await?;
    }
    Ok(())
}

/// Version 1.
async fn line(reader: &mut Reader, client: u16) -> io::Result<String> {
    let line = reader.line().await?;
    let words: Vec<&str> = line.split(' ').collect();
    let [protocol, family, source, destination, port, _] = words[..] else { return Ok(line) };
    let whose = if port == client.to_string() { "own" } else { "of another" };
    Ok(format!("{protocol} {family} {source} {destination} {whose}"))
}

/// Version 2.
async fn binary(reader: &mut Reader, client: u16) -> io::Result<String> {
    let mut header = Vec::new();
    reader.take(SIGNATURE.len() + 4, &mut header).await?;
    let (signature, rest) = header.split_at(SIGNATURE.len());
    let [command, family, high, low] = rest[..] else { return Ok("short".to_owned()) };
    let mut ends = Vec::new();
    reader.take(usize::from(u16::from_be_bytes([high, low])), &mut ends).await?;
    if signature != SIGNATURE {
        return Ok(format!("another signature: {}", latin1(signature)));
    }
    let [from @ .., a, b, _, _] = &ends[..] else {
        return Ok(format!("{command:x} {family:x} {ends:?} {}", if command & 15 == 0 { "LOCAL" } else { "PROXY" }));
    };
    let whose = if u16::from_be_bytes([*a, *b]) == client { "own" } else { "of another" };
    Ok(format!("{command:x} {family:x} {from:?} {whose}"))
}
