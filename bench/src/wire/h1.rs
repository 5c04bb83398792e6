//! HTTP/1.1: one request at once, bodies by `content-length`.

use std::io::Write as _;

use memchr::memmem;

use super::{DATE, Done, Exchange, FILLER, READY, USER_AGENT, Unexpected};

/// A head longer than this is a mistake.
const MAX_HEAD: usize = 16 * 1024;

/// The calling end.
pub struct Client {
    exchange: Exchange,
    /// Whose turn it is among the hosts.
    turn: usize,
    waiting: Option<u64>,
    /// A head that is not whole yet.
    head: Vec<u8>,
    /// Whether all is well so far, and what is left of the body, once the head is read.
    body: Option<(bool, usize)>,
    /// What is left of the request's body.
    unsent: usize,
}

impl Client {
    pub fn new(exchange: Exchange, number: usize) -> Self {
        Self { exchange, turn: number, waiting: None, head: Vec::new(), body: None, unsent: 0 }
    }

    pub fn request(&mut self, token: u64, out: &mut Vec<u8>) {
        self.waiting = Some(token);
        head(self.exchange, self.turn, "", out);
        self.turn = self.turn.wrapping_add(1);
        self.unsent = self.exchange.up;
        self.fill(out);
    }

    pub fn fill(&mut self, out: &mut Vec<u8>) {
        fill(&mut self.unsent, out);
    }

    pub fn may_skip(&self) -> usize {
        self.body.map_or(0, |(_, left)| left.saturating_sub(1))
    }

    pub fn skipped(&mut self, count: usize) {
        if let Some((_, left)) = &mut self.body {
            *left -= count;
        }
    }

    pub fn receive(&mut self, mut bytes: &[u8], done: &mut Vec<Done>) -> Result<(), Unexpected> {
        loop {
            if let Some((ok, left)) = self.body {
                let taken = left.min(bytes.len());
                bytes = &bytes[taken..];
                if taken < left {
                    self.body = Some((ok, left - taken));
                    return Ok(());
                }
                self.body = None;
                let token = self.waiting.take().ok_or(Unexpected("an answer that nobody asked for"))?;
                done.push(Done { token, ok });
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let Some(head) = whole_head(&mut self.head, &mut bytes)? else { return Ok(()) };
            let length = content_length(&head)?.ok_or(Unexpected("an answer without content-length"))?;
            self.body = Some((status(&head)? == *b"200" && length == self.exchange.down, length));
        }
    }
}

/// Writes the head of a request, with some more lines.
fn head(exchange: Exchange, turn: usize, more: &str, out: &mut Vec<u8>) {
    let method = if exchange.up == 0 { "GET" } else { "POST" };
    let (path, host, length) = (exchange.path(), exchange.host(turn), exchange.up);
    let head = match exchange.up {
        0 => write!(out, "{method} {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: {USER_AGENT}\r\naccept: */*\r\n"),
        _ => write!(
            out,
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: {USER_AGENT}\r\ncontent-length: {length}\r\n"
        ),
    };
    // Writing to memory does not fail.
    let _ = head.and_then(|()| write!(out, "{more}\r\n"));
}

/// Writes of a body what may lie ready.
fn fill(left: &mut usize, out: &mut Vec<u8>) {
    while *left > 0 && out.len() < READY {
        let piece = FILLER.len().min(*left);
        out.extend_from_slice(&FILLER[..piece]);
        *left -= piece;
    }
}

/// The only request of a connection.
pub fn only_request(exchange: Exchange, turn: usize, out: &mut Vec<u8>) {
    head(exchange, turn, "connection: close\r\n", out);
}

/// The answer to it, up to the connection's end.
#[derive(Default)]
pub struct OnlyAnswer {
    bytes: Vec<u8>,
}

impl OnlyAnswer {
    /// Takes bytes in.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether it was 200 and whole.
    pub fn is_good(&self, exchange: Exchange) -> bool {
        let end = memmem::find(&self.bytes, b"\r\n\r\n").map(|at| at + 4);
        end.is_some_and(|end| self.bytes.len() == end + exchange.down)
            && status(&self.bytes).is_ok_and(|status| status == *b"200")
    }
}

/// The answering end.
pub struct Server {
    answer: Vec<u8>,
    down: usize,
    head: Vec<u8>,
    /// What is left of a request's body.
    body: Option<usize>,
    /// What is left of an answer's.
    unsent: usize,
}

impl Server {
    pub fn new(exchange: Exchange) -> Self {
        let down = exchange.down;
        let answer = format!(
            "HTTP/1.1 200 OK\r\nserver: origin\r\ndate: {DATE}\r\ncontent-type: text/plain\r\ncontent-length: {down}\r\n\r\n"
        );
        Self { answer: answer.into_bytes(), down, head: Vec::new(), body: None, unsent: 0 }
    }

    pub fn fill(&mut self, out: &mut Vec<u8>) {
        fill(&mut self.unsent, out);
    }

    pub fn may_skip(&self) -> usize {
        self.body.map_or(0, |left| left.saturating_sub(1))
    }

    pub fn skipped(&mut self, count: usize) {
        if let Some(left) = &mut self.body {
            *left -= count;
        }
    }

    pub fn receive(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Unexpected> {
        loop {
            if let Some(left) = self.body {
                let taken = left.min(bytes.len());
                bytes = &bytes[taken..];
                if taken < left {
                    self.body = Some(left - taken);
                    return Ok(());
                }
                self.body = None;
                out.extend_from_slice(&self.answer);
                self.unsent += self.down;
                self.fill(out);
            }
            let Some(head) = whole_head(&mut self.head, &mut bytes)? else { return Ok(()) };
            if !head.starts_with(b"GET ") && !head.starts_with(b"POST ") {
                return Err(Unexpected("another request than GET or POST"));
            }
            if memmem::find(&head, b"ransfer-").is_some() {
                return Err(Unexpected("a body in chunks"));
            }
            self.body = Some(content_length(&head)?.unwrap_or_default());
        }
    }
}

/// Cuts a head off the front of `bytes`, with what came of it earlier. None while it is not whole.
fn whole_head(held: &mut Vec<u8>, bytes: &mut &[u8]) -> Result<Option<Vec<u8>>, Unexpected> {
    let before = held.len();
    held.extend_from_slice(&bytes[..bytes.len().min(MAX_HEAD)]);
    let from = before.saturating_sub(3);
    match memmem::find(&held[from..], b"\r\n\r\n") {
        Some(at) => {
            let end = from + at + 4;
            *bytes = &bytes[end - before..];
            let mut head = std::mem::take(held);
            head.truncate(end);
            Ok(Some(head))
        }
        None if held.len() > MAX_HEAD => Err(Unexpected("a head without end")),
        None => {
            *bytes = &[];
            Ok(None)
        }
    }
}

fn status(head: &[u8]) -> Result<[u8; 3], Unexpected> {
    match head.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.first_chunk()) {
        Some(status) => Ok(*status),
        None => Err(Unexpected("something else than an HTTP/1.1 status line")),
    }
}

fn content_length(head: &[u8]) -> Result<Option<usize>, Unexpected> {
    const NAME: &[u8] = b"content-length:";
    let lines = memmem::find_iter(head, b"\r\n").map(|at| &head[at + 2..]);
    for line in lines {
        if line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME) {
            let value = line[NAME.len()..].trim_ascii_start();
            let digits = value.iter().take_while(|b| b.is_ascii_digit());
            return match value.first().is_some_and(u8::is_ascii_digit) {
                true => {
                    Ok(Some(digits.fold(0_usize, |n, b| n.saturating_mul(10).saturating_add(usize::from(b - b'0')))))
                }
                false => Err(Unexpected("a content-length that is no number")),
            };
        }
    }
    Ok(None)
}
