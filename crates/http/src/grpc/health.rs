//! gRPC's health checking protocol (`grpc.health.v1`): the question of a client, and the answer that is hoped for.

use bytes::{BufMut, Bytes, BytesMut};

/// Where the question is put.
pub const PATH: &str = "/grpc.health.v1.Health/Check";

/// `HealthCheckRequest` in a frame: one text, as field 1. An empty one asks for the server as a whole.
pub fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8(length as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    super::frame(0, &message)
}

/// Does a frame hold `HealthCheckResponse` with the status `SERVING`, which is 1 in field 1?
pub fn is_serving(frame: &[u8]) -> bool {
    matches!(frame, [0, _, _, _, _, 0x08, 1, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers() {
        assert_eq!(&question("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&question("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = question(&"x".repeat(200));
        assert_eq!(&long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
        for (frame, serving) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], true),
            (&[0, 0, 0, 0, 2, 8, 2], false),
            (&[0, 0, 0, 0, 0], false),
            (&[], false),
        ] {
            assert_eq!(is_serving(frame), serving, "{frame:?}");
        }
    }
}
