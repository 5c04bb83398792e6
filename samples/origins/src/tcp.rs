//! TCP echo, with or without a greeting, and a client for both.
//!
//! A server that greets speaks first: nothing that a proxy in between could look at comes from the client. So it tells
//! whether protocol detection times out as it should.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The longest line that the client reads, in bytes.
const LONGEST_LINE: u64 = 1 << 20;

/// Echoes every byte of every connection. With `greeting`, sends it and a line feed first.
///
/// # Errors
/// When the listener breaks for good; failing connections end alone.
pub async fn serve(listener: TcpListener, greeting: Option<String>) -> io::Result<()> {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if is_passing(&error) => {
                // Out of file descriptors, say: let some connections end first.
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        let greeting = greeting.clone();
        tokio::spawn(async move {
            // A connection that breaks is the client's affair.
            let _ = echo(stream, greeting).await;
        });
    }
}

fn is_passing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
        || [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
            .iter()
            .any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

async fn echo(mut stream: TcpStream, greeting: Option<String>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if let Some(greeting) = greeting {
        stream.write_all(format!("{greeting}\n").as_bytes()).await?;
    }
    let (mut read, mut write) = stream.split();
    tokio::io::copy(&mut read, &mut write).await?;
    write.shutdown().await
}

/// Connects to `to`; with `greeted`, reads the server's line before it says anything; then sends each message as a line
/// and reads the line that comes back. Returns all lines that came. Each step may take `within`.
///
/// # Errors
/// When the connection breaks, a line is late, or the echo differs.
pub async fn client(to: &str, messages: &[String], greeted: bool, within: Duration) -> io::Result<Vec<String>> {
    let mut stream = BufReader::new(limited(within, TcpStream::connect(to)).await?);
    let mut heard = Vec::new();
    if greeted {
        heard.push(limited(within, line(&mut stream)).await?);
    }
    for message in messages {
        stream.get_mut().write_all(format!("{message}\n").as_bytes()).await?;
        let got = limited(within, line(&mut stream)).await?;
        if got != *message {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("sent `{message}`, got back `{got}`")));
        }
        heard.push(got);
    }
    // The end must travel too: we close our half, the server closes its own.
    stream.get_mut().shutdown().await?;
    let mut rest = Vec::new();
    limited(within, (&mut stream).take(LONGEST_LINE).read_to_end(&mut rest)).await?;
    if rest.is_empty() {
        return Ok(heard);
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} bytes came that nobody sent", rest.len())))
}

async fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut text = String::new();
    stream.take(LONGEST_LINE).read_line(&mut text).await?;
    match text.strip_suffix('\n') {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

async fn limited<T>(within: Duration, step: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(within, step).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
