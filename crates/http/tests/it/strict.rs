//! What may be read in two ways is refused; what may not is answered.

use mesh_http::{Protocol, ServeEnd, ServerOptions};

use crate::support::{run, talk};

fn options() -> ServerOptions {
    ServerOptions { protocol: Protocol::Http1, ..ServerOptions::default() }
}

/// First line of the answer, and the requests the handler saw.
fn check(wire: &str, status: &str, seen: &[&str]) {
    run(async {
        // The peer keeps its half open where we have to close: nothing may hang on it.
        let half_close = status.starts_with("HTTP/1.1 200");
        let options = ServerOptions { half_close: true, delayed_close: std::time::Duration::ZERO, ..options() };
        let (text, end, log) = talk(options, wire.as_bytes(), half_close).await;
        assert!(text.starts_with(status), "{wire:?}: {text:?} {end:?}");
        assert_eq!(log, seen, "{wire:?}");
        if !half_close && !log.is_empty() {
            assert!(text.contains("connection: close"), "{wire:?}: {text:?}");
        }
        if !half_close && log.is_empty() {
            assert!(matches!(end, ServeEnd::Protocol(_)), "{wire:?}: {end:?}");
            assert!(text.contains("connection: close"), "{wire:?}: {text:?}");
        }
    });
}

const OK: &str = "HTTP/1.1 200";
const BAD: &str = "HTTP/1.1 400";

#[test]
fn heads() {
    for (wire, status, seen) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", OK, &["GET / a "][..]),
        ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", OK, &["GET / a "]),
        ("GET / HTTP/1.0\r\n\r\n", OK, &["GET / - "]),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", OK, &["OPTIONS * a "]),
        ("GET http://b:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n", OK, &["GET /x?y b:81 "]),
        ("GET http://b HTTP/1.1\r\nHost: a\r\n\r\n", OK, &["GET / b "]),
        // Host
        ("GET / HTTP/1.1\r\n\r\n", BAD, &[]),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", BAD, &[]),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", BAD, &[]),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", BAD, &[]),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", BAD, &[]),
        ("GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n", BAD, &[]),
        // lines
        ("GET / HTTP/1.1\nHost: a\r\n\r\n", BAD, &[]),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", BAD, &[]),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", BAD, &[]),
        ("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", BAD, &[]),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", BAD, &[]),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", BAD, &[]),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", BAD, &[]),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", BAD, &[]),
        ("GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n", BAD, &[]),
        ("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", BAD, &[]),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", BAD, &[]),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", BAD, &[]),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\x01c\r\n\r\n", BAD, &[]),
        // first line
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", BAD, &[]),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", BAD, &[]),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", BAD, &[]),
        ("GET /\r\nHost: a\r\n\r\n", BAD, &[]),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", BAD, &[]),
        ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", BAD, &[]),
        ("CONNECT /x HTTP/1.1\r\nHost: a\r\n\r\n", BAD, &[]),
        ("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", BAD, &[]),
    ] {
        check(wire, status, seen);
    }
}

#[test]
fn lengths() {
    let post = |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}");
    for (fields, body, status, seen) in [
        ("Content-Length: 3", "abc", OK, &["POST / a abc"][..]),
        ("Content-Length: 3\r\nContent-Length: 3", "abc", OK, &["POST / a abc"]),
        ("Transfer-Encoding: Chunked", "3\r\nabc\r\n0\r\n\r\n", OK, &["POST / a abc"]),
        ("Content-Length: 3\r\nContent-Length: 4", "abcd", BAD, &[]),
        ("Content-Length: 3, 3", "abc", BAD, &[]),
        ("Content-Length: +3", "abc", BAD, &[]),
        ("Content-Length: 0x3", "abc", BAD, &[]),
        ("Content-Length: ", "abc", BAD, &[]),
        ("Content-Length: 99999999999999999999", "abc", BAD, &[]),
        ("Content-Length: 3\r\nTransfer-Encoding: chunked", "3\r\nabc\r\n0\r\n\r\n", BAD, &[]),
        ("Transfer-Encoding: chunked\r\nContent-Length: 3", "3\r\nabc\r\n0\r\n\r\n", BAD, &[]),
        ("Transfer-Encoding: gzip, chunked", "", "HTTP/1.1 501", &[]),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "", "HTTP/1.1 501", &[]),
        ("Transfer-Encoding: xchunked", "", "HTTP/1.1 501", &[]),
        ("Transfer-Encoding: chunked", "x\r\n", BAD, &["POST / a downstream: body is malformed"]),
        ("Transfer-Encoding: chunked", "3\r\nabcX\r\n", BAD, &["POST / a downstream: body is malformed"]),
        ("Transfer-Encoding: chunked", "3\nabc\n0\n\n", BAD, &["POST / a downstream: body is malformed"]),
    ] {
        check(&post(fields, body), status, seen);
    }
    check("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", BAD, &[]);
}

#[test]
fn limits() {
    run(async {
        let big = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(61 * 1024));
        let endless = format!("GET /{}", "x".repeat(61 * 1024));
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(100));
        for wire in [big, endless, many] {
            let (text, end, _) = talk(options(), wire.as_bytes(), true).await;
            assert!(text.starts_with("HTTP/1.1 431 "), "{text}");
            assert!(matches!(end, ServeEnd::Protocol(_)), "{end:?}");
        }
        let fits = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{}\r\n", "X: y\r\n".repeat(98));
        assert!(talk(options(), fits.as_bytes(), false).await.0.starts_with("HTTP/1.1 200 "));
        let old = ServerOptions { http10: false, ..options() };
        assert!(talk(old, b"GET / HTTP/1.0\r\n\r\n", true).await.0.starts_with("HTTP/1.1 426 "));
    });
}

#[test]
fn times() {
    let short = Some(std::time::Duration::from_millis(5));
    run(async {
        let slow = ServerOptions { head_timeout: short, delayed_close: std::time::Duration::ZERO, ..options() };
        let (text, end, _) = talk(slow.clone(), b"GET / HTTP/1.1\r\nHost:", false).await;
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
        assert_eq!(end, ServeEnd::HeadTimeout);
        let (_, end, _) = talk(ServerOptions { protocol: Protocol::Http2, ..slow.clone() }, b"PRI * HT", false).await;
        assert_eq!(end, ServeEnd::HeadTimeout);
        let (_, end, _) = talk(ServerOptions { protocol: Protocol::Auto, ..slow }, b"PRI * HT", false).await;
        assert_eq!(end, ServeEnd::HeadTimeout);
        for protocol in [Protocol::Http1, Protocol::Auto] {
            let idle = ServerOptions { idle_timeout: short, protocol, ..options() };
            let (text, end, _) = talk(idle, b"", false).await;
            assert_eq!((text.as_str(), end), ("", ServeEnd::Idle));
        }
        let idle = ServerOptions { idle_timeout: short, ..options() };
        let (text, end, _) = talk(idle, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", false).await;
        assert!(text.ends_with("\r\n\r\nok") && end == ServeEnd::Idle, "{text} {end:?}");
    });
}

#[test]
fn keeping_alive() {
    let one = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    run(async {
        for (wire, answers, closes) in [
            (one.repeat(3), 3, false),
            ("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Close\r\n\r\n".to_owned() + one, 1, true),
            ("GET / HTTP/1.0\r\n\r\n".to_owned() + one, 1, true),
            ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_owned() + one, 2, false),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi".to_owned() + one, 2, false),
        ] {
            let options = ServerOptions { half_close: true, ..options() };
            let (text, end, _) = talk(options, wire.as_bytes(), true).await;
            assert_eq!(text.matches("HTTP/1.1 200 OK").count(), answers, "{wire}: {text}");
            assert_eq!(text.contains("connection: close"), closes, "{wire}: {text}");
            assert_eq!(end, if closes { ServeEnd::Finished } else { ServeEnd::PeerClosed });
        }
        // Without half-close a peer that closes gives its exchange up, and one that closes within a head is at fault.
        let (_, end, _) = talk(options(), b"GET / HTTP/1.1\r\nHo", true).await;
        assert!(matches!(end, ServeEnd::Protocol(_)), "{end:?}");
    });
}
