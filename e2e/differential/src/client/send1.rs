//! Requests by HTTP/1.1, and bytes of any kind.

use std::time::Duration;

use anyhow::Result;
use tokio::io::AsyncWriteExt;

use super::Answer;
use crate::case::Request;
use crate::http1::{Framing, Head, Reader, latin1};
use crate::origin::ID;

/// How long raw bytes are waited for where it is open whether an answer or the connection's end comes.
const QUIET: Duration = Duration::from_millis(700);

/// A request, and its answer.
pub async fn plain(mut reader: Reader, request: &Request, id: &str) -> Result<Answer> {
    let mut bytes = head(request, id);
    if let Some(body) = &request.body {
        if request.trailers.is_empty() {
            bytes.extend(body);
        } else {
            bytes.extend(format!("{:x}\r\n", body.len()).bytes());
            bytes.extend(body);
            bytes.extend(b"\r\n0\r\n");
            request.trailers.iter().for_each(|(name, value)| bytes.extend(format!("{name}: {value}\r\n").bytes()));
            bytes.extend(b"\r\n");
        }
    }
    // A server may answer and close before it has taken everything.
    let _ = reader.stream.write_all(&bytes).await;
    Ok(read(&mut reader, request.method == "HEAD").await)
}

fn head(request: &Request, id: &str) -> Vec<u8> {
    let mut text = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
    if !request.host.is_empty() {
        text += &format!("host: {}\r\n", request.host);
    }
    request.headers.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
    text += &format!("{ID}: {id}\r\n");
    match &request.body {
        Some(_) if !request.trailers.is_empty() => text += "transfer-encoding: chunked\r\n",
        Some(body) if !matches!(request.wire, crate::case::Wire::Tunnel) => {
            text += &format!("content-length: {}\r\n", body.len());
        }
        _ => {}
    }
    text += "\r\n";
    crate::http1::bytes_of(&text)
}

/// One answer with what came before it.
async fn read(reader: &mut Reader, is_head: bool) -> Answer {
    let mut answer = Answer::default();
    let head = loop {
        match reader.head().await {
            Ok(Some(head)) if status(&head).starts_with('1') && status(&head) != "101" => {
                answer.outcome.push("interim", status(&head));
                answer.outcome.headers("interim header", &head.headers);
            }
            Ok(Some(head)) => break head,
            Ok(None) => return ended(answer, "the connection ended"),
            Err(_) => return ended(answer, "the connection ended within the head"),
        }
    };
    answer.status = status(&head).to_owned();
    // The words after the status are free, and HTTP/2 has none.
    answer.outcome.push("version", head.first.split(' ').next().unwrap_or_default());
    answer.outcome.push("status", status(&head));
    answer.outcome.headers("header", &head.headers);
    if is_head || matches!(&*answer.status, "204" | "304" | "101") {
        return answer;
    }
    let body = reader.body(head.framing().unwrap_or(Framing::ToTheEnd)).await;
    answer.takes_body(head.get("content-encoding"), &body.bytes);
    answer.outcome.headers("trailer", &body.trailers);
    if body.broken {
        answer.outcome.push("end", "broken off");
    }
    answer
}

fn ended(mut answer: Answer, how: &str) -> Answer {
    answer.status = how.to_owned();
    answer.outcome.push("status", how);
    answer
}

fn status(head: &Head) -> &str {
    head.first.split(' ').nth(1).unwrap_or_default()
}

/// Long bodies by their length.
pub fn shown(body: &str) -> String {
    if body.len() > 400 { format!("{} bytes", body.len()) } else { body.to_owned() }
}

/// Bytes, then so many answers, and whether the connection stays.
pub async fn raw(mut reader: Reader, bytes: &[u8], count: usize, id: &str) -> Result<Answer> {
    let text = latin1(bytes).replace("{id}", &format!("{ID}: {id}"));
    let _ = reader.stream.write_all(&crate::http1::bytes_of(&text)).await;
    let is_head = bytes.starts_with(b"HEAD ");
    let mut all = Answer::default();
    for number in 1..=count {
        let next = tokio::time::timeout(QUIET, read(&mut reader, is_head)).await;
        let answer = next.unwrap_or_else(|_| ended(Answer::default(), "no answer"));
        all.status = answer.status.clone();
        let before = if count > 1 { format!("answer {number} ") } else { String::new() };
        all.outcome.append(&before, answer.outcome);
        if all.status.len() > 3 {
            break;
        }
    }
    let rest = tokio::time::timeout(QUIET, reader.body(Framing::ToTheEnd)).await;
    let then = match rest {
        Err(_) => "it stays".to_owned(),
        Ok(rest) if rest.bytes.is_empty() => "it ends".to_owned(),
        Ok(rest) => format!("more comes: {}", shown(&latin1(&rest.bytes))),
    };
    all.outcome.push("connection", then);
    Ok(all)
}

/// A request that becomes a tunnel: once its head is answered the body is sent, and what comes back read.
pub async fn tunnel(mut reader: Reader, request: &Request, id: &str) -> Result<Answer> {
    reader.stream.write_all(&head(request, id)).await?;
    let mut answer = Answer::default();
    let Ok(Some(head)) = reader.head().await else { return Ok(ended(answer, "the connection ended")) };
    answer.status = status(&head).to_owned();
    answer.outcome.push("status", status(&head));
    answer.outcome.headers("header", &head.headers);
    let through = answer.status == "101" || (request.method == "CONNECT" && answer.status == "200");
    if !through {
        let body = reader.body(head.framing().unwrap_or(Framing::ToTheEnd)).await;
        answer.outcome.push("body", shown(&latin1(&body.bytes)));
        return Ok(answer);
    }
    let sent = request.body.as_deref().unwrap_or_default();
    reader.stream.write_all(sent).await?;
    let back = tokio::time::timeout(QUIET, reader.peek(sent.len())).await;
    let back = back.ok().and_then(Result::ok).map(latin1);
    answer.outcome.push("through the tunnel", back.as_deref().unwrap_or("nothing"));
    Ok(answer)
}

/// What there is to say of a connection that ended at once.
pub fn nothing() -> Answer {
    let mut answer = Answer { status: "ended".to_owned(), ..Answer::default() };
    answer.outcome.push("received", "");
    answer.outcome.push("end", "ended");
    answer
}

/// So many bytes have come behind what the other end says first: `echo:`, or more in brackets behind it.
async fn sent_back(reader: &mut Reader, count: usize) -> std::io::Result<()> {
    let mut wanted = count + "echo:".len();
    loop {
        let said = reader.peek(wanted).await?;
        let tells = said.starts_with(b"echo:[");
        match said.iter().position(|byte| *byte == b']').map(|end| end + 1 + count) {
            _ if said.len() < wanted || !tells => return Ok(()),
            Some(whole) if whole > wanted => wanted = whole,
            Some(_) => return Ok(()),
            None => wanted += 1,
        }
    }
}

/// Bytes, then the end of sending, and everything that comes back.
pub async fn tcp(mut reader: Reader, bytes: &[u8]) -> Result<Answer> {
    let mut answer = Answer::default();
    let _ = reader.stream.write_all(bytes).await;
    // Until the other end has spoken and all was sent back, or everything has ended: who stops sending before a tunnel is
    // open is dealt with by whoever is faster.
    let _ = tokio::time::timeout(QUIET, sent_back(&mut reader, bytes.len())).await;
    let _ = reader.stream.shutdown().await;
    let rest = tokio::time::timeout(QUIET * 2, reader.body(Framing::ToTheEnd)).await;
    answer.status = match rest {
        Ok(rest) => {
            answer.body = latin1(&rest.bytes);
            // Whether an end comes as one or as a reset depends on who is faster.
            "ended".to_owned()
        }
        Err(_) => {
            answer.body = latin1(&reader.rest());
            "stays".to_owned()
        }
    };
    answer.outcome.push("received", shown(&answer.body));
    answer.outcome.push("end", &answer.status);
    Ok(answer)
}
