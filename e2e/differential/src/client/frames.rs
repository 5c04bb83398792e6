//! Raw frames of HTTP/2: what a library would not send.

use std::time::Duration;

use anyhow::Result;
use tokio::io::AsyncWriteExt;

use super::Answer;
use crate::http1::Reader;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const QUIET: Duration = Duration::from_millis(700);

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Headers as literals without index, which needs no table.
pub fn literals(headers: &[(&str, &str)]) -> Vec<u8> {
    let text = |out: &mut Vec<u8>, text: &str| {
        out.push(u8::try_from(text.len()).unwrap_or(127).min(126));
        out.extend(text.bytes().take(126));
    };
    let mut out = Vec::new();
    for (name, value) in headers {
        out.push(0);
        text(&mut out, name);
        text(&mut out, value);
    }
    out
}

/// Preface, empty settings, the bytes; then the frames that say something of errors, and the statuses' frames.
pub async fn send(mut reader: Reader, bytes: &[u8]) -> Result<Answer> {
    let mut all = PREFACE.to_vec();
    all.extend(frame(4, 0, 0, &[]));
    all.extend(bytes);
    let _ = reader.stream.write_all(&all).await;
    let mut answer = Answer::default();
    let mut at = 0;
    let end = loop {
        let more = match tokio::time::timeout(QUIET, reader.peek(at + 9)).await {
            Err(_) => break "it stays",
            Ok(Err(_)) => break "it ends",
            Ok(Ok(bytes)) if bytes.len() < at + 9 => break "it ends",
            Ok(Ok(bytes)) => bytes[at..].to_vec(),
        };
        let length = usize::from(more[0]) << 16 | usize::from(more[1]) << 8 | usize::from(more[2]);
        let stream = u32::from_be_bytes([more[5] & 0x7f, more[6], more[7], more[8]]);
        let kind = more[3];
        let whole = match tokio::time::timeout(QUIET, reader.peek(at + 9 + length)).await {
            Ok(Ok(bytes)) if bytes.len() == at + 9 + length => bytes[at + 9..].to_vec(),
            _ => break "it ends within a frame",
        };
        at += 9 + length;
        let code = |from: usize| whole.get(from..from + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
        match kind {
            1 => answer.outcome.push("frame", format!("HEADERS on {stream}")),
            3 => answer.outcome.push("frame", format!("RST_STREAM {} on {stream}", code(0))),
            7 => answer.outcome.push("frame", format!("GOAWAY {}", code(4))),
            _ => {}
        }
    };
    answer.outcome.push("connection", end);
    answer.status = end.to_owned();
    Ok(answer)
}
