//! What a request asks for, read from its header.

use std::time::Duration;

/// What a backend does with a request.
#[derive(Debug, Clone)]
pub struct Plan {
    pub status: u16,
    pub delay: Duration,
    pub headers: Vec<(String, String)>,
    pub trailers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub framing: Frame,
    pub interim: Option<u16>,
    pub end: End,
}

/// How a body is framed over HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    Length,
    Chunks,
    ToTheEnd,
}

/// How it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Answer,
    Close,
    Hang,
    Partial,
    Stall,
    H2Reset(u32),
    Raw(String),
    Switch(String),
}

impl Plan {
    /// The plan of the backend's `number`th try; what is not understood is answered with 599.
    pub fn read(text: &str, backend: &str, number: usize, path: &str) -> Self {
        let mut plan = Self {
            status: 200,
            delay: Duration::ZERO,
            headers: Vec::new(),
            trailers: Vec::new(),
            body: backend.as_bytes().to_vec(),
            framing: Frame::Length,
            interim: None,
            end: End::Answer,
        };
        // For health checks, which cannot ask: this backend is ill.
        if path.strip_prefix("/health/not-") == Some(backend) {
            plan.status = 503;
        }
        let fits = |condition: &str| condition == backend || condition == format!("try{number}");
        let orders = text.split('|').find_map(|part| match part.split_once('?') {
            Some((condition, orders)) => fits(condition).then_some(orders),
            None => Some(part),
        });
        for order in orders.unwrap_or_default().split(';').filter(|order| !order.is_empty()) {
            if plan.take(order).is_none() {
                plan.status = 599;
                plan.body = format!("no such order: {order}").into_bytes();
            }
        }
        plan
    }

    fn take(&mut self, order: &str) -> Option<()> {
        let (name, value) = order.split_once('=').unwrap_or((order, ""));
        let field = || value.split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned()));
        match name {
            "status" => self.status = value.parse().ok()?,
            "delay" => self.delay = Duration::from_millis(value.parse().ok()?),
            "header" => self.headers.push(field()?),
            "trailer" => self.trailers.push(field()?),
            "body" => self.body = value.as_bytes().to_vec(),
            "frames" => self.body = value.split(',').flat_map(frame).collect(),
            "bytes" => self.body = vec![b'.'; value.parse().ok()?],
            "chunked" => self.framing = Frame::Chunks,
            "toend" => self.framing = Frame::ToTheEnd,
            "interim" => self.interim = Some(value.parse().ok()?),
            "close" => self.end = End::Close,
            "hang" => self.end = End::Hang,
            "partial" => self.end = End::Partial,
            "stall" => self.end = End::Stall,
            "h2reset" => self.end = End::H2Reset(value.parse().ok()?),
            "raw" => self.end = End::Raw(value.replace('~', "\r\n")),
            "switch" => self.end = End::Switch(value.to_owned()),
            _ => return None,
        }
        Some(())
    }
}

/// A message in the framing of gRPC.
fn frame(message: &str) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], &length.to_be_bytes()[..], message.as_bytes()].concat()
}
