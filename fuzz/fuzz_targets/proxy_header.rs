//! The PROXY header before the first byte. More bytes never change a verdict that is not "need more".

#![no_main]

use libfuzzer_sys::fuzz_target;
use transport::proxy_header::{MAX_HEADER, Verdict, Version, encode, parse};

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    let half = parse(&bytes[..bytes.len() / 2]);
    // Of nothing at all it cannot be said that it is no header.
    assert!(half == Verdict::NeedMore || half == whole, "{half:?} of the half, {whole:?} of all");
    if bytes.len() >= MAX_HEADER {
        assert_ne!(whole, Verdict::NeedMore, "nobody may be asked for more for ever");
    }
    if let Verdict::Header(header) = whole {
        assert!(header.length <= bytes.len());
        assert_eq!(parse(&bytes[..header.length]), whole, "what follows does not count");
        for version in [Version::V1, Version::V2] {
            assert!(matches!(parse(&encode(version, header.addresses)), Verdict::Header(_)));
        }
    }
});
