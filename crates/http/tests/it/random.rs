//! Whatever bytes come, the server neither panics nor hangs.

use mesh_http::{Protocol, ServerOptions};
use proptest::prelude::*;

use crate::support::{run, talk};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const HEADERS: &[u8] = b"\0\0\x06\x01\x04\0\0\0\x01\x82\x86\x84\x01\x01a";

/// A beginning that is well formed, so that what follows meets a server deep in its work.
fn prologue() -> impl Strategy<Value = Vec<u8>> {
    proptest::sample::select(vec![
        Vec::new(),
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n".to_vec(),
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nhost: a\r\nx-a: b\r\n".to_vec(),
        PREFACE.to_vec(),
        [PREFACE, HEADERS].concat(),
    ])
}

/// A frame whose header is plausible.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = proptest::collection::vec(any::<u8>(), 0..24);
    (0u8..10, any::<u8>(), 0u8..6, payload).prop_map(|(kind, flags, stream, payload)| {
        [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream], &payload[..]].concat()
    })
}

/// Noise, and pieces that bring a random peer further than noise would.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let known = proptest::sample::select(vec![
        &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..],
        b"POST /x HTTP/1.1\r\nhost: a\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n",
        b"content-length: 5\r\n\r\n",
        b"transfer-encoding: chunked\r\n\r\n",
        b"connection: upgrade\r\nupgrade: x\r\n",
        b"\r\n",
        b"5\r\nabcde\r\n",
        b"0\r\n\r\n",
        HEADERS,
        b"\0\0\x05\0\x01\0\0\0\x01abcde",
        b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
    ]);
    prop_oneof![
        1 => proptest::collection::vec(any::<u8>(), 0..40),
        2 => frame(),
        3 => known.prop_map(<[u8]>::to_vec),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn no_panic_and_an_end(begin in prologue(), pieces in proptest::collection::vec(piece(), 0..12), half_close: bool) {
        let wire = [begin, pieces.concat()].concat();
        run(async {
            for protocol in [Protocol::Auto, Protocol::Http1, Protocol::Http2] {
                let options = ServerOptions { protocol, half_close, delayed_close: std::time::Duration::ZERO, ..ServerOptions::default() };
                talk(options, &wire, true).await;
            }
        });
    }
}
