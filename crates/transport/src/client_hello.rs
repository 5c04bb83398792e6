//! The TLS ClientHello, read without taking part: server name, ALPN and versions (RFC 8446, section 4.1.2).
//!
//! Pure: bytes in, verdict out. Give it all bytes seen so far, again with more after [`Verdict::NeedMore`].

/// The largest ClientHello that is looked at, as in Envoy's TLS inspector. A hybrid post-quantum one has about 1.8 kB.
pub const MAX_HELLO: usize = 16 * 1024;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// A TLS ClientHello as far as it goes, but not whole.
    NeedMore,
    /// Something else than TLS.
    NotTls,
    /// A whole ClientHello.
    Hello(ClientHello),
    /// It begins as TLS and then breaks the rules; the text says how.
    Malformed(&'static str),
}

/// What a ClientHello says about where it wants to go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The server name, in lower case.
    pub server_name: Option<String>,
    /// Application protocols in the order of the client's wish.
    pub alpn: Vec<Vec<u8>>,
    /// The TLS versions offered, such as `0x0304` for 1.3. Without the extension: the one legacy version.
    pub versions: Vec<u16>,
}

/// Judges the first bytes of a connection. Never panics; looks at [`MAX_HELLO`] bytes at most.
pub fn parse(bytes: &[u8]) -> Verdict {
    let message = match handshake_message(bytes) {
        Ok(message) => message,
        Err(verdict) => return verdict,
    };
    hello(&message).map_or_else(Verdict::Malformed, Verdict::Hello)
}

const HANDSHAKE_RECORD: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;
const MAX_RECORD: usize = 1 << 14;

/// The body of the ClientHello, joined from as many records as it was cut into.
fn handshake_message(bytes: &[u8]) -> Result<Vec<u8>, Verdict> {
    let mut rest = bytes;
    let mut message = Vec::new();
    let mut first = true;
    loop {
        let fragment = record(&mut rest, first)?;
        message.extend_from_slice(fragment.bytes);
        first = false;
        if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(Verdict::Malformed("the first handshake message is no ClientHello"));
        }
        if let [_, a, b, c, body @ ..] = &message[..] {
            let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            if length > MAX_HELLO - MESSAGE_HEADER {
                return Err(Verdict::Malformed("the ClientHello is larger than 16 kB"));
            }
            if body.len() >= length {
                message.truncate(MESSAGE_HEADER + length);
                message.drain(..MESSAGE_HEADER);
                return Ok(message);
            }
        }
        if !fragment.whole {
            return Err(Verdict::NeedMore);
        }
    }
}

struct Fragment<'a> {
    bytes: &'a [u8],
    whole: bool,
}

fn record<'a>(rest: &mut &'a [u8], first: bool) -> Result<Fragment<'a>, Verdict> {
    // Before the first whole header it may still be another protocol; after it, it is TLS gone wrong.
    let wrong = |text| if first { Verdict::NotTls } else { Verdict::Malformed(text) };
    match **rest {
        [kind, ..] if kind != HANDSHAKE_RECORD => return Err(wrong("a record in the ClientHello is no handshake")),
        [_, major, ..] if major != 3 => return Err(wrong("a record in the ClientHello has a wrong version")),
        _ => {}
    }
    let Some((header, body)) = rest.split_first_chunk::<RECORD_HEADER>() else {
        return Err(Verdict::NeedMore);
    };
    let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
    if length == 0 || length > MAX_RECORD {
        return Err(wrong("a record in the ClientHello has a wrong length"));
    }
    let take = length.min(body.len());
    let (bytes, after) = body.split_at(take);
    *rest = after;
    Ok(Fragment { bytes, whole: take == length })
}

/// Takes counted pieces off the front; every error is "cut short".
struct Reader<'a>(&'a [u8]);

const SHORT: &str = "the ClientHello ends too early";

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let (piece, rest) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = rest;
        Ok(piece)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, &'static str> {
        Ok(self.take(bytes)?.iter().fold(0, |n, b| n << 8 | usize::from(*b)))
    }

    /// A vector with a length field of `bytes` bytes before it.
    fn vector(&mut self, bytes: usize) -> Result<Reader<'a>, &'static str> {
        let length = self.number(bytes)?;
        self.take(length).map(Reader)
    }
}

fn hello(body: &[u8]) -> Result<ClientHello, &'static str> {
    let mut body = Reader(body);
    let legacy_version = body.number(2)? as u16;
    body.take(32)?; // random
    body.vector(1)?; // session id
    if body.vector(2)?.0.is_empty() {
        return Err("the ClientHello offers no cipher suite");
    }
    body.vector(1)?; // compression methods
    let mut hello = ClientHello { versions: vec![legacy_version], ..ClientHello::default() };
    if body.0.is_empty() {
        return Ok(hello); // TLS 1.2 and older know hellos without extensions
    }
    let mut extensions = body.vector(2)?;
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let content = extensions.vector(2)?;
        match kind {
            0 => hello.server_name = server_name(content)?,
            16 => hello.alpn = alpn(content)?,
            43 => hello.versions = versions(content)?,
            _ => {}
        }
    }
    Ok(hello)
}

/// RFC 6066, section 3: a list of names, of which only host names are defined.
fn server_name(mut content: Reader<'_>) -> Result<Option<String>, &'static str> {
    let mut list = content.vector(2)?;
    while !list.0.is_empty() {
        let kind = list.number(1)?;
        let name = list.vector(2)?;
        if kind == 0 {
            let legal = |b: &u8| b.is_ascii_graphic();
            if name.0.is_empty() || name.0.len() > 255 || !name.0.iter().all(legal) {
                return Err("the server name is no host name");
            }
            return Ok(Some(String::from_utf8_lossy(name.0).to_ascii_lowercase()));
        }
    }
    Ok(None)
}

/// RFC 7301, section 3.1.
fn alpn(mut content: Reader<'_>) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut list = content.vector(2)?;
    let mut names = Vec::new();
    while !list.0.is_empty() {
        let name = list.vector(1)?.0;
        if name.is_empty() {
            return Err("an application protocol has no name");
        }
        names.push(name.to_vec());
    }
    Ok(names)
}

/// RFC 8446, section 4.2.1. Reserved values (RFC 8701) are left out.
fn versions(mut content: Reader<'_>) -> Result<Vec<u16>, &'static str> {
    let mut list = content.vector(1)?;
    let mut versions = Vec::new();
    while !list.0.is_empty() {
        let version = list.number(2)? as u16;
        if version & 0x0f0f != 0x0a0a {
            versions.push(version);
        }
    }
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vector(bytes: usize, content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u32).to_be_bytes();
        [&length[4 - bytes..], content].concat()
    }

    fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &vector(2, content)].concat()
    }

    fn message(extensions: Option<&[u8]>) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend(vector(1, &[1; 32]));
        body.extend(vector(2, &[0x13, 0x01]));
        body.extend(vector(1, &[0]));
        if let Some(extensions) = extensions {
            body.extend(vector(2, extensions));
        }
        [&[CLIENT_HELLO][..], &vector(3, &body)].concat()
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        message.chunks(size).flat_map(|c| [&[22, 3, 1][..], &vector(2, c)].concat()).collect()
    }

    fn sample() -> (Vec<u8>, ClientHello) {
        let name = b"Reviews.Default.svc";
        let extensions = [
            extension(0, &vector(2, &[&[0][..], &vector(2, name)].concat())),
            extension(16, &vector(2, &[vector(1, b"h2"), vector(1, b"http/1.1")].concat())),
            extension(43, &vector(1, &[0x1a, 0x1a, 3, 4, 3, 3])),
            extension(51, &[9; 1200]),
        ]
        .concat();
        let hello = ClientHello {
            server_name: Some("reviews.default.svc".to_owned()),
            alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            versions: vec![0x0304, 0x0303],
        };
        (message(Some(&extensions)), hello)
    }

    #[test]
    fn a_hello_in_any_number_of_records() {
        let (message, hello) = sample();
        for size in [1, 3, 4, 5, 100, 1000, 16_000] {
            let mut bytes = records(&message, size);
            assert_eq!(parse(&bytes), Verdict::Hello(hello.clone()), "records of {size}");
            bytes.extend(b"early data");
            assert_eq!(parse(&bytes), Verdict::Hello(hello.clone()));
        }
    }

    #[test]
    fn every_truncation_needs_more() {
        let (message, _) = sample();
        for size in [7, 16_000] {
            let bytes = records(&message, size);
            for end in 0..bytes.len() {
                assert_eq!(parse(&bytes[..end]), Verdict::NeedMore, "first {end} bytes");
            }
        }
    }

    #[test]
    fn verdicts() {
        let hello = |extensions: &[u8]| records(&message(Some(extensions)), 16_000);
        let plain = ClientHello { versions: vec![0x0303], ..ClientHello::default() };
        for (bytes, expected) in [
            (b"GET / HTTP/1.1\r\n".to_vec(), Verdict::NotTls),
            (b"\x16\x02\x00".to_vec(), Verdict::NotTls),
            (b"\x16\x03\x01\xff\xff".to_vec(), Verdict::NotTls),
            (b"\x16\x03\x01\x00\x00".to_vec(), Verdict::NotTls),
            (records(&message(None), 16_000), Verdict::Hello(plain.clone())),
            (hello(&[]), Verdict::Hello(plain.clone())),
            (hello(&extension(0, &vector(2, b"\x07\x00\x01a"))), Verdict::Hello(plain)),
            (hello(&[0, 0, 0, 9]), Verdict::Malformed(SHORT)),
            (hello(&extension(16, &vector(2, &[0]))), Verdict::Malformed("an application protocol has no name")),
            (
                hello(&extension(0, &vector(2, b"\x00\x00\x03a b"))),
                Verdict::Malformed("the server name is no host name"),
            ),
            (records(&[2, 0, 0, 0], 100), Verdict::Malformed("the first handshake message is no ClientHello")),
            (records(&[1, 1, 0, 0], 100), Verdict::Malformed("the ClientHello is larger than 16 kB")),
            (
                [&records(&sample().0, 100)[..105], b"\x17\x03"].concat(),
                Verdict::Malformed("a record in the ClientHello is no handshake"),
            ),
        ] {
            assert_eq!(parse(&bytes), expected, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn strangers_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            parse(&bytes);
            parse(&[b"\x16\x03\x01\x02\x00\x01\x00\x01\x00", &bytes[..]].concat());
        }

        #[test]
        fn a_changed_byte_never_panics(at in 0usize..1400, value in any::<u8>(), size in 1usize..2000) {
            let mut bytes = records(&sample().0, size);
            let at = at % bytes.len();
            bytes[at] = value;
            parse(&bytes);
        }
    }
}
