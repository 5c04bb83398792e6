//! A backend's connection of HTTP/1.1.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::act::{End, Frame, Plan};
use super::{DO, FOREVER, ID, Memory, Seen};
use crate::http1::{Framing, Head, Reader};

/// The beginning of a path of which the rest are orders in Base64: for requests that have no header to say them.
const BY_PATH: &str = "/do/";

/// Serves one request after the other.
pub async fn serve(mut reader: Reader, backend: &'static str, memory: &Memory) -> io::Result<()> {
    while let Some(head) = reader.head().await? {
        let id = head.get(ID).unwrap_or_default().to_owned();
        let path = head.first.split(' ').nth(1).unwrap_or_default().to_owned();
        let own = |name: &str| [ID, DO].iter().any(|own| name.eq_ignore_ascii_case(own));
        let headers = head.headers.iter().filter(|(name, _)| !own(name)).cloned().collect();
        let seen = Seen { backend, line: head.first.clone(), headers, ..Seen::default() };
        let number = memory.arrived(&id, seen);
        let by_path = path.strip_prefix(BY_PATH).and_then(|orders| URL_SAFE_NO_PAD.decode(orders).ok());
        let by_path = by_path.map(|orders| crate::http1::latin1(&orders));
        let orders = head.get(DO).map(str::to_owned).or(by_path).unwrap_or_default();
        let mut plan = Plan::read(&orders, backend, number, &path);
        if !matches!(plan.end, End::Switch(_)) {
            let body = reader.body(head.framing().unwrap_or(Framing::Length(0))).await;
            plan.body = told(&plan.body, &head, &body.bytes);
            memory.whole(&id, number, body.bytes, body.trailers);
            if body.broken {
                return Ok(());
            }
        }
        tokio::time::sleep(plan.delay).await;
        if !answer(&mut reader, &head, plan).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// The body of an answer, in which `$ASKED` stands for what was asked, in Base64: for requests that proxies make themselves,
/// by which no case can know them.
fn told(answer: &[u8], head: &Head, asked: &[u8]) -> Vec<u8> {
    let answer = crate::http1::latin1(answer);
    if !answer.contains("$ASKED") {
        return crate::http1::bytes_of(&answer);
    }
    let mut text = format!("{}\n", head.first);
    for name in ["host", "accept", "authorization", "content-type", "content-length"] {
        text += &format!("{name}: {}\n", head.get(name).unwrap_or("(not there)"));
    }
    text += &crate::http1::latin1(asked);
    crate::http1::bytes_of(&answer.replace("$ASKED", &URL_SAFE_NO_PAD.encode(text)))
}

/// False if the connection has no more requests.
async fn answer(reader: &mut Reader, head: &Head, plan: Plan) -> io::Result<bool> {
    let stream = &mut reader.stream;
    if let Some(status) = plan.interim {
        stream.write_all(format!("HTTP/1.1 {status} Interim\r\nx-interim: yes\r\n\r\n").as_bytes()).await?;
    }
    match &plan.end {
        End::Close | End::H2Reset(_) => return Ok(false),
        End::Hang => {
            // Until the proxy gives up.
            let _ = tokio::time::timeout(FOREVER, stream.read(&mut [0; 1024])).await;
            return Ok(false);
        }
        End::Raw(text) => {
            stream.write_all(text.as_bytes()).await?;
            stream.shutdown().await?;
            return Ok(false);
        }
        End::Switch(protocol) => {
            let head = format!("HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            let early = reader.rest();
            reader.stream.write_all(&early).await?;
            let mut buffer = [0; 4096];
            while let count @ 1.. = reader.stream.read(&mut buffer).await? {
                reader.stream.write_all(&buffer[..count]).await?;
            }
            return Ok(false);
        }
        End::Answer | End::Partial | End::Stall => {}
    }
    let bodyless = head.first.starts_with("HEAD ") || matches!(plan.status, 204 | 304);
    let chunks = plan.framing == Frame::Chunks || !plan.trailers.is_empty();
    let mut text = format!("HTTP/1.1 {} Origin\r\n", plan.status);
    plan.headers.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
    let length = plan.body.len();
    match plan.framing {
        _ if chunks => text += "transfer-encoding: chunked\r\n",
        Frame::ToTheEnd => text += "connection: close\r\n",
        _ if plan.status == 204 => {}
        _ => text += &format!("content-length: {length}\r\n"),
    }
    text += "\r\n";
    let mut bytes = text.into_bytes();
    let broken = matches!(plan.end, End::Partial | End::Stall);
    if !bodyless {
        let shown = if broken { &plan.body[..length / 2] } else { &plan.body[..] };
        if chunks {
            bytes.extend(format!("{length:x}\r\n").bytes());
            bytes.extend(shown);
            if !broken {
                bytes.extend(b"\r\n0\r\n");
                plan.trailers.iter().for_each(|(name, value)| bytes.extend(format!("{name}: {value}\r\n").bytes()));
                bytes.extend(b"\r\n");
            }
        } else {
            bytes.extend(shown);
        }
    }
    reader.stream.write_all(&bytes).await?;
    reader.stream.flush().await?;
    match plan.end {
        End::Stall => {
            let _ = tokio::time::timeout(FOREVER, reader.stream.read(&mut [0; 1024])).await;
            Ok(false)
        }
        End::Partial => {
            // What was sent should arrive before the end does.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            Ok(false)
        }
        _ => Ok(plan.framing != Frame::ToTheEnd),
    }
}
