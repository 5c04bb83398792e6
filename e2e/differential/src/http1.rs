//! Reading HTTP/1.1 messages off a stream, for the origin and for the client. Lenient: it takes what comes, and says how
//! it was framed; what is right is for the comparison to say.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// A stream, plain or with TLS.
pub trait Io: AsyncRead + AsyncWrite + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Io for T {}

/// A stream and what was read too far.
pub struct Reader {
    /// The stream.
    pub stream: Box<dyn Io>,
    buffer: Vec<u8>,
}

/// The first line and the headers.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// The request line or the status line.
    pub first: String,
    /// Names as they were written, and values.
    pub headers: Vec<(String, String)>,
}

/// What followed a head.
#[derive(Debug, Default)]
pub struct Body {
    /// Without framing.
    pub bytes: Vec<u8>,
    /// After the last chunk.
    pub trailers: Vec<(String, String)>,
    /// Did the stream end too early?
    pub broken: bool,
}

/// How long a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes.
    Length(usize),
    /// Chunks.
    Chunks,
    /// Up to the stream's end.
    ToTheEnd,
}

impl Head {
    /// The first header of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// How the body is framed, if the head says so.
    pub fn framing(&self) -> Option<Framing> {
        if self.get("transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().contains("chunked")) {
            return Some(Framing::Chunks);
        }
        self.get("content-length").and_then(|value| value.trim().parse().ok()).map(Framing::Length)
    }
}

impl Reader {
    /// Nothing read yet.
    pub fn new(stream: impl Io) -> Self {
        Self { stream: Box::new(stream), buffer: Vec::new() }
    }

    /// With bytes that were read before.
    pub fn with(stream: Box<dyn Io>, buffer: Vec<u8>) -> Self {
        Self { stream, buffer }
    }

    /// The stream, and what was read too far.
    pub fn into_parts(self) -> (Box<dyn Io>, Vec<u8>) {
        (self.stream, self.buffer)
    }

    /// Reads more. False at the end.
    pub async fn more(&mut self) -> io::Result<bool> {
        let mut piece = [0; 16 * 1024];
        let count = self.stream.read(&mut piece).await?;
        self.buffer.extend_from_slice(&piece[..count]);
        Ok(count > 0)
    }

    /// Reads until so many bytes are there, and shows them without taking them. Fewer at the end.
    pub async fn peek(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.buffer.len() < count && self.more().await? {}
        Ok(&self.buffer[..count.min(self.buffer.len())])
    }

    /// Everything that is here already.
    pub fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// A head; none if the stream ended before its first byte.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more().await? {
                return if self.buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        };
        let text = latin1(&self.buffer[..end]);
        self.buffer.drain(..end);
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        Ok(Some(Head { first, headers: lines.filter_map(field).collect() }))
    }

    /// A body. What breaks it off is told, not an error.
    pub async fn body(&mut self, framing: Framing) -> Body {
        let mut body = Body::default();
        body.broken = match framing {
            Framing::Length(length) => self.take(length, &mut body.bytes).await.is_err(),
            Framing::Chunks => self.chunks(&mut body).await.is_err(),
            Framing::ToTheEnd => {
                let broken = loop {
                    match self.more().await {
                        Ok(true) => {}
                        Ok(false) => break false,
                        Err(_) => break true,
                    }
                };
                body.bytes.append(&mut self.buffer);
                broken
            }
        };
        body
    }

    /// So many bytes.
    pub async fn take(&mut self, mut count: usize, out: &mut Vec<u8>) -> io::Result<()> {
        while count > 0 {
            if self.buffer.is_empty() && !self.more().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let piece = count.min(self.buffer.len());
            out.extend(self.buffer.drain(..piece));
            count -= piece;
        }
        Ok(())
    }

    /// A line without its end.
    pub async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|bytes| bytes == b"\r\n") {
                let line = latin1(&self.buffer[..at]);
                self.buffer.drain(..at + 2);
                return Ok(line);
            }
            if !self.more().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn chunks(&mut self, body: &mut Body) -> io::Result<()> {
        loop {
            let size = self.line().await?;
            let digits = size.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(digits, 16).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            if size == 0 {
                break;
            }
            self.take(size, &mut body.bytes).await?;
            self.line().await?;
        }
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(());
            }
            body.trailers.extend(field(&line));
        }
    }
}

fn field(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    Some((name.to_owned(), value.trim().to_owned()))
}

/// Bytes as text in which no byte is lost.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// What [`latin1`] was made of.
pub fn bytes_of(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}
