//! How often the proxy allocates for a request, counted over its real path: sockets, codec, route, policy, pool, record.
//!
//! A test program of its own, with one test: the count is that of the whole process. Load and origin use buffers that are
//! there before, so what is counted is the proxy's.

#[allow(dead_code, reason = "this program needs little of it")]
#[path = "it/rig.rs"]
mod rig;

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use model::access_log::{LogEntries, LogFilter, LogTarget, ServiceLog};
use model::cluster::UpstreamProtocol;
use model::{AccessLog, Cluster, Direction, GrpcService, HttpProxy};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const BODY: usize = 1024;
/// Before anything is counted: buffers, series and handles are made.
const WARM_UP: usize = 200;
/// Requests in a run, and runs. The smallest counts: what the side thread does meanwhile is not a request's.
const REQUESTS: usize = 500;
const RUNS: usize = 5;

/// Allocations for each request that are accepted, by the protocol that the caller speaks. Lower a bound when the code
/// becomes better; raise one only with a reason.
const HTTP1: f64 = 10.0;
const HTTP2: f64 = 15.0;

#[test]
fn a_request_allocates_little() {
    rig::run(async {
        let origin = origin();
        let at = rig::free_address();
        // A log that is told of what goes wrong costs nothing where nothing does.
        let http = HttpProxy { access_logs: vec![failures()], ..rig::http(vec![rig::route("/", rig::to("c"))]) };
        let chains = vec![rig::http_chain(http)];
        let cluster = Cluster { protocol: UpstreamProtocol::Http1, ..rig::cluster("c", &[origin]) };
        let listener = rig::listener("l", at, Direction::Outbound, chains);
        let _proxy = rig::proxy("a", rig::config(vec![listener], vec![cluster])).await;
        for (name, count, bound) in [
            ("HTTP/1.1", per_request(&mut Http1::connect(at)), HTTP1),
            ("HTTP/2", per_request(&mut Http2::connect(at)), HTTP2),
        ] {
            eprintln!("{name}: {count:.2} allocations per request");
            assert!(count <= bound, "{name}: {count:.2} allocations per request: expected at most {bound}");
        }
    });
}

/// A log that a service takes, of which the proxy tells what it refuses itself.
fn failures() -> AccessLog {
    let service = GrpcService::new("logs");
    let log = ServiceLog {
        entries: LogEntries::Http { request_headers: Vec::new(), response_headers: Vec::new() },
        name: "failures".into(),
        service,
        flush_interval: ServiceLog::FLUSH_INTERVAL,
        buffer_bytes: ServiceLog::BUFFER_BYTES,
    };
    AccessLog { to: LogTarget::Service(log.into()), filter: Some(LogFilter::OwnAnswer.into()) }
}

/// The smallest mean of some runs.
fn per_request(client: &mut impl Client) -> f64 {
    (0..WARM_UP).for_each(|_| client.exchange());
    let run = |_| {
        let before = ALLOCATOR.stats();
        (0..REQUESTS).for_each(|_| client.exchange());
        let spent = ALLOCATOR.stats() - before;
        (spent.allocations + spent.reallocations) as f64 / REQUESTS as f64
    };
    (0..RUNS).map(run).fold(f64::MAX, f64::min)
}

trait Client {
    /// One request and its whole answer, without an allocation.
    fn exchange(&mut self);
}

struct Http1 {
    stream: TcpStream,
    buffer: [u8; 16 * 1024],
}

impl Http1 {
    fn connect(to: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(to).unwrap(), buffer: [0; 16 * 1024] }
    }
}

impl Client for Http1 {
    fn exchange(&mut self) {
        let request = b"GET /bytes HTTP/1.1\r\nhost: test\r\nuser-agent: allocations\r\naccept: */*\r\n\r\n";
        self.stream.write_all(request).unwrap();
        let mut filled = 0;
        loop {
            filled += read(&mut self.stream, &mut self.buffer[filled..]);
            let text = &self.buffer[..filled];
            if let Some(end) = text.windows(4).position(|w| w == b"\r\n\r\n")
                && filled == end + 4 + BODY
            {
                return assert!(text.starts_with(b"HTTP/1.1 200 "));
            }
        }
    }
}

/// Frames by hand (RFC 9113): a header block without dynamic table, and the answer up to the end of its stream.
struct Http2 {
    stream: TcpStream,
    buffer: [u8; 16 * 1024],
    filled: usize,
    next: u32,
}

/// `:method GET`, `:scheme http`, `:path /bytes`, `:authority test` (RFC 7541).
const BLOCK: &[u8] = b"\x82\x86\x04\x06/bytes\x01\x04test";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

impl Http2 {
    fn connect(to: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        let mut client = Self { stream, buffer: [0; 16 * 1024], filled: 0, next: 1 };
        client.send(SETTINGS, 0, 0, &[]);
        // The connection's window, for all that follows.
        client.send(8, 0, 0, &0x7000_0000_u32.to_be_bytes());
        client
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = [0; 64];
        frame[2] = payload.len() as u8;
        (frame[3], frame[4]) = (kind, flags);
        frame[5..9].copy_from_slice(&stream.to_be_bytes());
        frame[9..9 + payload.len()].copy_from_slice(payload);
        self.stream.write_all(&frame[..9 + payload.len()]).unwrap();
    }

    /// Kind, flags, stream, the length of the payload, and the frame's place in the buffer.
    fn frame(&self) -> Option<(u8, u8, u32, usize)> {
        let head: &[u8; 9] = self.buffer[..self.filled].first_chunk()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        (self.filled >= 9 + length).then_some((head[3], head[4], stream, length))
    }
}

impl Client for Http2 {
    fn exchange(&mut self) {
        let own = self.next;
        self.next += 2;
        self.send(HEADERS, END_STREAM | END_HEADERS, own, BLOCK);
        let mut body = 0;
        loop {
            while let Some((kind, flags, stream, length)) = self.frame() {
                let mut payload = [0; 8];
                let shown = length.min(8);
                payload[..shown].copy_from_slice(&self.buffer[9..9 + shown]);
                self.buffer.copy_within(9 + length..self.filled, 0);
                self.filled -= 9 + length;
                match kind {
                    SETTINGS if flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]),
                    PING if flags & ACK == 0 => self.send(PING, ACK, 0, &payload),
                    // `:status 200` is one byte, behind table sizes if there are any.
                    HEADERS => assert!(payload.contains(&0x88), "another status than 200"),
                    DATA => body += length,
                    _ => {}
                }
                if stream == own && flags & END_STREAM != 0 && matches!(kind, HEADERS | DATA) {
                    return assert_eq!(body, BODY);
                }
            }
            let filled = self.filled;
            self.filled += read(&mut self.stream, &mut self.buffer[filled..]);
        }
    }
}

fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> usize {
    let count = stream.read(buffer).unwrap();
    assert!(count > 0, "the proxy closed the connection");
    count
}

/// An origin on threads of its own that allocates nothing for a request.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || answer(stream.unwrap()));
        }
    });
    at
}

fn answer(mut stream: TcpStream) {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {BODY}\r\n\r\n");
    let answer = [head.as_bytes(), &[b'x'; BODY]].concat();
    let (mut buffer, mut filled) = ([0; 16 * 1024], 0);
    loop {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) | Err(_) => return,
            Ok(count) => filled += count,
        }
        // One request at once, without a body.
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            filled = 0;
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    }
}
