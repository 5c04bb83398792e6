//! Bytes that are not as they should be.

use crate::bootstrap::routes;
use crate::case::{Case, Compare, Group, case, frames, raw};
use crate::client::frames::{frame, literals};

/// The groups.
pub fn groups() -> Vec<Group> {
    vec![http1(), http2()]
}

const ROUTES: &str = "
- {match: {prefix: /one}, route: {cluster: one}}
- {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: good}}}
";

fn http1() -> Group {
    let head = |line: &str, more: &str| raw(format!("{line}\r\nhost: a\r\n{{id}}\r\n{more}\r\n"));
    let get = |more: &str| head("GET / HTTP/1.1", more);
    let one = |more: &str, body: &str| raw(format!("POST /one HTTP/1.1\r\nhost: a\r\n{{id}}\r\n{more}\r\n{body}"));
    let chunked = |body: &str| one("transfer-encoding: chunked\r\n", body);
    Group::new(
        "malformed HTTP/1.1",
        routes(ROUTES)
            .filter("delayed_close_timeout: 0.1s\nstream_idle_timeout: 0.5s\nrequest_headers_timeout: 0.5s")
            .text(),
        vec![
            case("a good one", get("")),
            case("one word", raw("GET\r\n\r\n")),
            case("two words", raw("GET /\r\nhost: a\r\n\r\n")),
            case("no words", raw("\0\u{1}\u{2}\r\n\r\n")),
            case("four words", head("GET / x HTTP/1.1", "")),
            case("two spaces", head("GET  / HTTP/1.1", "")),
            case("a tab", head("GET\t/ HTTP/1.1", "")),
            case("a space before", raw(" GET / HTTP/1.1\r\nhost: a\r\n\r\n")),
            case("a small method", head("get / HTTP/1.1", "")),
            case("a bad method", head("G(T / HTTP/1.1", "")),
            case("an old version", head("GET / HTTP/1.0", "")),
            case("a newer version", head("GET / HTTP/1.2", "")),
            case("a version of its own", head("GET / HTTP/7.7", "")),
            case("version 2", head("GET / HTTP/2.0", "")),
            case("no version", head("GET / ICE/1.1", "")),
            case("a path without a slash", head("GET one HTTP/1.1", "")),
            case("a path with a space", head("GET /o ne HTTP/1.1", "")),
            case("a path that is not ASCII", head("GET /\u{fc} HTTP/1.1", "")),
            case("a path with a control character", head("GET /\u{7f} HTTP/1.1", "")),
            case("an empty path", head("GET  HTTP/1.1", "")),
            case("line feeds alone", raw("GET / HTTP/1.1\nhost: a\n\n")),
            case("one line feed alone", raw("GET / HTTP/1.1\r\nhost: a\n{id}\r\n\r\n")),
            case("a carriage return alone", get("x: a\rb\r\n")),
            case("a zero byte", get("x: a\0b\r\n")),
            case("a control character", get("x: a\u{1}b\r\n")),
            case("a continued line", get("x: a\r\n b\r\n")),
            case("a continued first line", raw("GET / HTTP/1.1\r\n host: a\r\n\r\n")),
            case("no colon", get("nonsense\r\n")),
            case("a space before the colon", get("x : a\r\n")),
            case("a space in a name", get("x y: a\r\n")),
            case("no name", get(": a\r\n")),
            case("a bad character in a name", get("x(: a\r\n")),
            case("spaces around a value", get("x:  a  \r\n")),
            case("no host", raw("GET / HTTP/1.1\r\n{id}\r\n\r\n")),
            case("an empty host", raw("GET / HTTP/1.1\r\nhost:\r\n{id}\r\n\r\n")),
            case("two hosts", get("host: b\r\n")),
            case("a bad host", raw("GET / HTTP/1.1\r\nhost: a b\r\n{id}\r\n\r\n")),
            case("a host with a user", raw("GET / HTTP/1.1\r\nhost: user@a\r\n{id}\r\n\r\n")),
            case("a host with a slash", raw("GET / HTTP/1.1\r\nhost: a/b\r\n{id}\r\n\r\n")),
            case("length and chunks", one("content-length: 5\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n")),
            case("two lengths", one("content-length: 5\r\ncontent-length: 6\r\n", "hello")),
            case("the same length twice", one("content-length: 5\r\ncontent-length: 5\r\n", "hello")),
            case("a list of lengths", one("content-length: 5, 5\r\n", "hello")),
            case("a length below zero", one("content-length: -1\r\n", "hello")),
            case("a length with a sign", one("content-length: +5\r\n", "hello")),
            case("a length that is none", one("content-length: five\r\n", "hello")),
            case("an empty length", one("content-length: \r\n", "hello")),
            case("a length that is too long", one("content-length: 99999999999999999999\r\n", "hello")),
            case("a coding after chunks", one("transfer-encoding: chunked, gzip\r\n", "0\r\n\r\n")),
            case("a coding before chunks", one("transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n")),
            case("chunks twice", one("transfer-encoding: chunked, chunked\r\n", "0\r\n\r\n")),
            case("a coding like chunks", one("transfer-encoding: xchunked\r\n", "0\r\n\r\n")),
            case("chunks in capitals", one("transfer-encoding: Chunked\r\n", "0\r\n\r\n")),
            case("identity", one("transfer-encoding: identity\r\n", "0\r\n\r\n")),
            case("good chunks", chunked("5\r\nhello\r\n0\r\n\r\n")),
            case("chunks with an extension", chunked("5;a=b\r\nhello\r\n0\r\n\r\n")),
            case("chunks with zeros before", chunked("005\r\nhello\r\n0\r\n\r\n")),
            case("chunks with trailers", chunked("5\r\nhello\r\n0\r\nx-end: 1\r\n\r\n")),
            case("a bad trailer", chunked("5\r\nhello\r\n0\r\nbad trailer\r\n\r\n")).compare(Compare::Answer),
            case("a chunk size that is none", chunked("zz\r\nhello\r\n0\r\n\r\n")).compare(Compare::Answer),
            case("a chunk size with a sign", chunked("+5\r\nhello\r\n0\r\n\r\n")).compare(Compare::Answer),
            case("a chunk size with 0x", chunked("0x5\r\nhello\r\n0\r\n\r\n")).compare(Compare::Answer),
            case("no chunk size", chunked("\r\nhello\r\n0\r\n\r\n")).compare(Compare::Answer),
            case("a chunk size that is too long", chunked("fffffffffffffffff\r\nhello\r\n0\r\n\r\n"))
                .compare(Compare::Answer),
            case("a chunk that is too long", chunked("5\r\nhello there\r\n0\r\n\r\n")).compare(Compare::Answer),
            case("a chunk with a line feed alone", chunked("5\nhello\n0\n\n")).compare(Compare::Answer),
            case("too large a head", get(&format!("x: {}\r\n", "a".repeat(70_000)))),
            case("too many headers", get(&"x: a\r\n".repeat(120))),
            case("a TLS handshake", raw("\u{16}\u{3}\u{1}\0\u{2e}\u{1}\0\0\u{2a}\u{3}\u{3}\r\n\r\n")),
        ],
    )
}

fn http2() -> Group {
    let good = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")];
    let with = |name: &'static str, more: &[(&str, &str)]| -> Case {
        let all: Vec<(&str, &str)> = good.iter().chain(more).copied().collect();
        case(name, frames(frame(1, 5, 1, &literals(&all))))
    };
    let only = |name: &'static str, fields: &[(&str, &str)]| case(name, frames(frame(1, 5, 1, &literals(fields))));
    let bytes = |name: &'static str, bytes: Vec<u8>| case(name, frames(bytes));
    let join = |parts: &[Vec<u8>]| parts.concat();
    Group::new(
        "malformed HTTP/2",
        routes(ROUTES).filter("delayed_close_timeout: 0.1s\nhttp2_protocol_options: {}").text(),
        vec![
            with("a good one", &[]),
            with("a name in capitals", &[("X-Y", "1")]),
            with("connection", &[("connection", "close")]),
            with("transfer-encoding", &[("transfer-encoding", "chunked")]),
            with("te", &[("te", "gzip")]),
            with("an empty name", &[("", "1")]),
            with("a line feed in a value", &[("x", "a\nb")]),
            with("an unknown pseudo-header", &[(":other", "1")]),
            with("a path twice", &[(":path", "/")]),
            with("a length beside no body", &[("content-length", "5")]),
            with("two hosts", &[("host", "b")]),
            only("no path", &[(":method", "GET"), (":scheme", "http"), (":authority", "a")]),
            only("an empty path", &[(":method", "GET"), (":scheme", "http"), (":path", ""), (":authority", "a")]),
            only("no scheme", &[(":method", "GET"), (":path", "/"), (":authority", "a")]),
            only("no authority", &[(":method", "GET"), (":scheme", "http"), (":path", "/")]),
            only("no method", &[(":scheme", "http"), (":path", "/"), (":authority", "a")]),
            only(
                "a pseudo-header at the end",
                &[(":method", "GET"), (":scheme", "http"), ("x", "1"), (":path", "/"), (":authority", "a")],
            ),
            bytes("data on a stream that is idle", frame(0, 1, 1, b"hello")),
            bytes("headers on stream 0", frame(1, 5, 0, &literals(&good))),
            bytes("headers on an even stream", frame(1, 5, 2, &literals(&good))),
            bytes("a continuation of nothing", frame(9, 4, 1, &literals(&good))),
            bytes("settings of a wrong length", frame(4, 0, 0, &[0, 1, 2])),
            bytes("settings on a stream", frame(4, 0, 1, &[])),
            bytes("a window of nothing", frame(8, 0, 0, &[0, 0, 0, 0])),
            bytes("a window that is too large", frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
            bytes("a ping of a wrong length", frame(6, 0, 0, &[0; 7])),
            bytes("a reset of an idle stream", frame(3, 0, 1, &[0, 0, 0, 8])),
            bytes("a push", frame(5, 4, 1, &[0, 0, 0, 2])),
            bytes("an unknown frame", frame(0x42, 0, 0, b"what")),
            bytes("a frame that is too large", frame(0, 0, 1, &[0; 20_000])),
            bytes("headers that cannot be read", frame(1, 5, 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
            bytes(
                "headers in two frames with another between",
                join(&[frame(1, 1, 1, &literals(&good)), frame(6, 0, 0, &[0; 8])]),
            ),
            bytes("a goodbye", frame(7, 0, 0, &[0; 8])),
            bytes(
                "a stream below the last",
                join(&[frame(1, 5, 3, &literals(&good)), frame(1, 5, 1, &literals(&good))]),
            ),
        ],
    )
}
