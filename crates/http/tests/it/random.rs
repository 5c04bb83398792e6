//! Whatever bytes come, the server neither panics nor hangs.

use mesh_http::{Protocol, ServerOptions};
use proptest::prelude::*;

use crate::support::{run, talk};

/// Pieces that bring a random peer further than pure noise would.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        proptest::sample::select(vec![
            &b"GET / HTTP/1.1\r\n"[..],
            b"POST /x HTTP/1.1\r\nhost: a\r\n",
            b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n",
            b"host: a\r\n",
            b"content-length: 5\r\n\r\n",
            b"transfer-encoding: chunked\r\n\r\n",
            b"connection: upgrade\r\nupgrade: x\r\n",
            b"\r\n\r\n",
            b"5\r\nabcde\r\n",
            b"0\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x01\x01a",
            b"\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
        ])
        .prop_map(<[u8]>::to_vec),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn no_panic_and_an_end(pieces in proptest::collection::vec(piece(), 0..12), half_close: bool) {
        let wire = pieces.concat();
        run(async {
            for protocol in [Protocol::Auto, Protocol::Http1, Protocol::Http2] {
                let options = ServerOptions { protocol, half_close, delayed_close: std::time::Duration::ZERO, ..ServerOptions::default() };
                talk(options, &wire, true).await;
            }
        });
    }
}
