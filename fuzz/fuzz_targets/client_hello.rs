//! The first bytes of a TLS connection. More bytes never change a verdict that is not "need more".

#![no_main]

use libfuzzer_sys::fuzz_target;
use transport::client_hello::{MAX_HELLO, Verdict, parse};

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    let half = parse(&bytes[..bytes.len() / 2]);
    assert!(half == Verdict::NeedMore || half == whole, "{half:?} of the half, {whole:?} of all");
    if bytes.len() > 2 * MAX_HELLO {
        assert_ne!(whole, Verdict::NeedMore, "nobody may be asked for more for ever");
    }
    if let Verdict::Hello(hello) = whole {
        // More than host names pass, as in Envoy: they only have to be harmless where they are compared and logged.
        let harmless = |c: u8| c.is_ascii_graphic() && !c.is_ascii_uppercase();
        assert!(hello.server_name.is_none_or(|name| !name.is_empty() && name.bytes().all(harmless)));
    }
});
