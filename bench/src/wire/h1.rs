//! HTTP/1.1: one request at once, bodies by `content-length`.

use memchr::memmem;

use super::{AUTHORITY, DATE, Done, PATH, USER_AGENT, Unexpected};

/// A head longer than this is a mistake.
const MAX_HEAD: usize = 16 * 1024;

/// The calling end.
#[derive(Default)]
pub struct Client {
    waiting: Option<u64>,
    /// A head that is not whole yet.
    head: Vec<u8>,
    /// Status, and what is left of the body, once the head is read.
    body: Option<(bool, usize)>,
}

impl Client {
    pub fn request(&mut self, token: u64, out: &mut Vec<u8>) {
        self.waiting = Some(token);
        for part in ["GET ", PATH, " HTTP/1.1\r\nhost: ", AUTHORITY, "\r\nuser-agent: ", USER_AGENT] {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(b"\r\naccept: */*\r\n\r\n");
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
            self.body = Some((status(&head)? == *b"200", content_length(&head)?));
        }
    }
}

/// The answering end.
pub struct Server {
    answer: Vec<u8>,
    head: Vec<u8>,
}

impl Server {
    pub fn new(body: usize) -> Self {
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nserver: origin\r\ndate: {DATE}\r\ncontent-type: text/plain\r\ncontent-length: {body}\r\n\r\n"
        )
        .into_bytes();
        answer.resize(answer.len() + body, b'x');
        Self { answer, head: Vec::new() }
    }

    pub fn receive(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Unexpected> {
        while let Some(head) = whole_head(&mut self.head, &mut bytes)? {
            if !head.starts_with(b"GET ") {
                return Err(Unexpected("another request than GET"));
            }
            out.extend_from_slice(&self.answer);
        }
        Ok(())
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

fn content_length(head: &[u8]) -> Result<usize, Unexpected> {
    const NAME: &[u8] = b"content-length:";
    let lines = memmem::find_iter(head, b"\r\n").map(|at| &head[at + 2..]);
    for line in lines {
        if line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME) {
            let value = line[NAME.len()..].trim_ascii_start();
            let digits = value.iter().take_while(|b| b.is_ascii_digit());
            return Ok(digits.fold(0_usize, |n, b| n.saturating_mul(10).saturating_add(usize::from(b - b'0'))));
        }
    }
    Err(Unexpected("an answer without content-length"))
}
