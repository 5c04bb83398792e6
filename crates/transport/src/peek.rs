//! See the first bytes of a connection without taking them.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use crate::stream::Stream;

/// How a look at the first bytes ended. What was read stays in the stream, to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peeked<T> {
    /// The question is answered.
    Answer(T),
    /// The peer ended its side first.
    End,
    /// The time is over.
    TimedOut,
    /// The limit of bytes is reached and there is still no answer.
    Full,
}

/// Reads ahead until `look` answers, asking it after every piece that comes, with all bytes so far.
///
/// Holds at most `limit` bytes. With no `timeout` waits for as long as the peer is silent: a server-first protocol
/// never says anything, so give one. Asks `look` once at the start if there are bytes already.
///
/// # Errors
/// What the stream says. Dropping the future loses nothing.
pub async fn until<T>(
    stream: &mut Stream,
    limit: usize,
    timeout: Option<Duration>,
    mut look: impl FnMut(&[u8]) -> Option<T>,
) -> io::Result<Peeked<T>> {
    let reading = async {
        if !stream.read_ahead().is_empty()
            && let Some(answer) = look(stream.read_ahead())
        {
            return Ok(Peeked::Answer(answer));
        }
        loop {
            if stream.read_ahead().len() >= limit {
                return Ok(Peeked::Full);
            }
            if poll_fn(|cx| stream.poll_read_ahead(cx, limit)).await? == 0 {
                return Ok(Peeked::End);
            }
            if let Some(answer) = look(stream.read_ahead()) {
                return Ok(Peeked::Answer(answer));
            }
        }
    };
    match timeout {
        None => reading.await,
        Some(timeout) => tokio::time::timeout(timeout, reading).await.unwrap_or(Ok(Peeked::TimedOut)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn pair() -> (Stream, Stream) {
        Stream::duplex(8, "10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap())
    }

    fn line(bytes: &[u8]) -> Option<usize> {
        bytes.iter().position(|b| *b == b'\n')
    }

    #[tokio::test]
    async fn how_it_ends() {
        for (sent, limit, close, expected) in [
            ("GET /\nrest of it", 100, false, Peeked::Answer(5)),
            ("no line", 100, true, Peeked::End),
            ("no line", 7, false, Peeked::Full),
            ("", 100, true, Peeked::End),
        ] {
            let (mut a, mut b) = pair();
            let writing = async {
                a.write_all(sent.as_bytes()).await.unwrap();
                if close {
                    a.shutdown().await.unwrap();
                }
            };
            let (found, ()) = tokio::join!(
                async {
                    let found = until(&mut b, limit, None, line).await.unwrap();
                    // The writer may still be at work: take what is left, beginning with what was seen.
                    let mut all = vec![0; sent.len()];
                    b.read_exact(&mut all).await.unwrap();
                    assert_eq!(all, sent.as_bytes());
                    found
                },
                writing
            );
            assert_eq!(found, expected, "{sent:?}");
        }
    }

    #[tokio::test]
    async fn a_silent_peer_times_out() {
        let (_a, mut b) = pair();
        let found = until(&mut b, 10, Some(Duration::ZERO), line).await.unwrap();
        assert_eq!(found, Peeked::TimedOut);
    }

    #[tokio::test]
    async fn bytes_at_hand_need_no_wait() {
        let (_a, mut b) = pair();
        b.rewind(b"x\n");
        assert_eq!(until(&mut b, 10, None, line).await.unwrap(), Peeked::Answer(1));
    }
}
