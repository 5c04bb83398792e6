//! Server-sent events (WHATWG HTML, section 9.2), as far as the control plane sends them.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

/// An event is no longer.
const MOST: usize = 1 << 20;

/// What comes.
pub struct Events<B = Incoming> {
    body: B,
    waiting: Vec<u8>,
}

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name; `message` if it has none.
    pub name: String,
    /// What it says.
    pub data: String,
}

impl<B> Events<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    /// Those of a response.
    pub fn new(body: B) -> Self {
        Self { body, waiting: Vec::new() }
    }

    /// The next one; none when no more come. May be given up and asked again.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            while let Some(end) = self.waiting.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.waiting.drain(..end + 2).collect();
                if let Some(event) = read(&String::from_utf8_lossy(&block)) {
                    return Ok(Some(event));
                }
            }
            if self.waiting.len() > MOST {
                bail!("the control plane sends an event without an end");
            }
            match self.body.frame().await {
                Some(frame) => {
                    let frame = frame.context("the control plane hung up")?;
                    self.waiting.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                }
                None => return Ok(None),
            }
        }
    }
}

/// None for a block that says nothing, such as one that only keeps the connection open.
fn read(block: &str) -> Option<Event> {
    let (mut name, mut data) = ("message", Vec::new());
    for line in block.lines() {
        match line.split_once(':') {
            Some(("event", value)) => name = value.strip_prefix(' ').unwrap_or(value),
            Some(("data", value)) => data.push(value.strip_prefix(' ').unwrap_or(value)),
            _ => {}
        }
    }
    (!data.is_empty()).then(|| Event { name: name.to_owned(), data: data.join("\n") })
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    #[tokio::test]
    async fn blocks() {
        let text = ": hello\n\nevent: exchange\ndata: {}\n\ndata: a\ndata:b\n\n:\n\nevent: loss\n";
        let mut events = Events::new(Full::new(Bytes::from(text)));
        let event = |name: &str, data: &str| Some(Event { name: name.to_owned(), data: data.to_owned() });
        assert_eq!(events.next().await.unwrap(), event("exchange", "{}"));
        assert_eq!(events.next().await.unwrap(), event("message", "a\nb"));
        assert_eq!(events.next().await.unwrap(), None);
    }
}
