//! What one exchange carries: the same for load and origin, so that each knows what the other will say.

/// How a request and its answer look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request with a body or without, and an answer with one.
    Plain,
    /// A gRPC call: a message each way, and trailers.
    Unary,
    /// A message each way on a gRPC stream that stays open.
    Stream,
}

/// One exchange. All exchanges of a load are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// How it looks.
    pub kind: Kind,
    /// Bytes of the request's body, or of its message. A plain request of none is a GET.
    pub up: usize,
    /// Bytes of the answer's body, or of its message.
    pub down: usize,
    /// Over how many hosts requests spread (HTTP/1.1 only).
    pub hosts: usize,
}

/// What stands before each gRPC message: one byte for compression, four for its length.
const PREFIX: usize = 5;
/// How far it is from one host to the next that is called: a prime, so that all are met.
const STRIDE: usize = 7919;

impl Exchange {
    /// A GET.
    pub const fn get(down: usize) -> Self {
        Self { kind: Kind::Plain, up: 0, down, hosts: 1 }
    }

    /// A POST.
    pub const fn post(up: usize, down: usize) -> Self {
        Self { kind: Kind::Plain, up, down, hosts: 1 }
    }

    /// A gRPC call.
    pub const fn unary(up: usize, down: usize) -> Self {
        Self { kind: Kind::Unary, up, down, hosts: 1 }
    }

    /// A message each way on a stream.
    pub const fn stream(up: usize, down: usize) -> Self {
        Self { kind: Kind::Stream, up, down, hosts: 1 }
    }

    /// The same, spread over so many hosts.
    pub const fn across(self, hosts: usize) -> Self {
        Self { hosts, ..self }
    }

    /// Its path.
    pub fn path(self) -> &'static str {
        match self.kind {
            Kind::Plain => "/bytes",
            Kind::Unary => "/bench.Echo/Unary",
            Kind::Stream => "/bench.Echo/Stream",
        }
    }

    /// Whether it is gRPC.
    pub fn is_grpc(self) -> bool {
        self.kind != Kind::Plain
    }

    /// The host whose turn it is.
    pub fn host(self, turn: usize) -> String {
        host(turn.wrapping_mul(STRIDE) % self.hosts.max(1))
    }

    /// Bytes of the request's body with all that belongs to it.
    pub fn sent(self) -> usize {
        self.up + if self.is_grpc() { PREFIX } else { 0 }
    }

    /// Bytes of the answer's body with all that belongs to it.
    pub fn received(self) -> usize {
        self.down + if self.is_grpc() { PREFIX } else { 0 }
    }
}

/// The name of the host with this number.
pub fn host(number: usize) -> String {
    format!("s{number}.bench.local")
}

/// A gRPC message of so many bytes with what stands before it.
pub fn message(length: usize) -> Vec<u8> {
    let mut message = vec![0];
    message.extend_from_slice(&(length as u32).to_be_bytes());
    message.resize(PREFIX + length, b'x');
    message
}
