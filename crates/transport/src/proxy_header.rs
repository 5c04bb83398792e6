//! The PROXY protocol's header, versions 1 and 2: who really connected, told by a load balancer before the first byte.
//!
//! Pure, after the text "The PROXY protocol, versions 1 & 2" by HAProxy. Only a listener that is told to expect a header may
//! read one: anybody can write it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header that is read: version 2 with its addresses and a fair number of extensions.
pub const MAX_HEADER: usize = 2048;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A header as far as it goes, but not whole.
    NeedMore,
    /// No PROXY header.
    NotProxy,
    /// A whole header.
    Header(ProxyHeader),
    /// It begins as a header and then breaks the rules; the text says how.
    Malformed(&'static str),
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    /// How many bytes it takes; drop them with [`crate::Stream::discard`].
    pub length: usize,
    /// Who connected, and to where. `None` if the balancer speaks for itself (a health check), or does not know.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
}

const SIGNATURE_1: &[u8] = b"PROXY ";
const SIGNATURE_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 1 fits into 107 bytes with its end of line.
const MAX_LINE: usize = 107;

/// Judges the first bytes of a connection. Never panics.
pub fn parse(bytes: &[u8]) -> Verdict {
    let begins = |signature: &[u8]| {
        let seen = bytes.len().min(signature.len());
        bytes[..seen] == signature[..seen]
    };
    let parsed = if begins(SIGNATURE_2) {
        if bytes.len() < SIGNATURE_2.len() { Ok(None) } else { version_2(bytes) }
    } else if begins(SIGNATURE_1) {
        version_1(bytes)
    } else {
        return Verdict::NotProxy;
    };
    match parsed {
        Ok(Some(header)) => Verdict::Header(header),
        Ok(None) => Verdict::NeedMore,
        Err(text) => Verdict::Malformed(text),
    }
}

/// A version of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Bytes.
    V2,
}

/// A header to be sent before the first byte: for a connection from `ends.0` to `ends.1`, or for one of the sender's own.
/// Addresses of different families are written as IPv6.
pub fn encode(version: Version, ends: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    match version {
        Version::V1 => encode_1(ends).into_bytes(),
        Version::V2 => encode_2(ends),
    }
}

fn encode_1(ends: Option<(SocketAddr, SocketAddr)>) -> String {
    let Some((from, to)) = ends else { return "PROXY UNKNOWN\r\n".to_owned() };
    let ports = format!("{} {}\r\n", from.port(), to.port());
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => format!("PROXY TCP4 {from} {to} {ports}"),
        (from, to) => format!("PROXY TCP6 {} {} {ports}", as_v6(from), as_v6(to)),
    }
}

fn encode_2(ends: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let mut header = SIGNATURE_2.to_vec();
    let Some((from, to)) = ends else {
        header.extend([0x20, 0, 0, 0]); // version 2, LOCAL
        return header;
    };
    header.push(0x21); // version 2, PROXY
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.extend([0x11, 0, 12]);
            header.extend(from.octets());
            header.extend(to.octets());
        }
        (from, to) => {
            header.extend([0x21, 0, 36]);
            header.extend(as_v6(from).octets());
            header.extend(as_v6(to).octets());
        }
    }
    header.extend(from.port().to_be_bytes());
    header.extend(to.port().to_be_bytes());
    header
}

fn as_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

type Parsed = Result<Option<ProxyHeader>, &'static str>;

fn version_1(bytes: &[u8]) -> Parsed {
    let window = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if window.len() == MAX_LINE { Err("the PROXY line has no end") } else { Ok(None) };
    };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| "the PROXY line is no text")?;
    let length = end + 2;
    let mut words = line.split(' ').skip(1);
    let is_v4 = match words.next() {
        Some("UNKNOWN") => return Ok(Some(ProxyHeader { length, addresses: None })),
        Some("TCP4") => true,
        Some("TCP6") => false,
        _ => return Err("the PROXY line names no family that we know"),
    };
    let mut ip = || Some(words.next()?.parse::<IpAddr>().ok().filter(|ip| ip.is_ipv4() == is_v4)?.to_canonical());
    let (from, to) = (ip(), ip());
    let mut port = || words.next().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?.parse::<u16>().ok();
    let (from_port, to_port) = (port(), port());
    match (from, to, from_port, to_port, words.next()) {
        (Some(from), Some(to), Some(from_port), Some(to_port), None) => {
            let addresses = Some((SocketAddr::new(from, from_port), SocketAddr::new(to, to_port)));
            Ok(Some(ProxyHeader { length, addresses }))
        }
        _ => Err("the PROXY line has wrong addresses or ports"),
    }
}

fn version_2(bytes: &[u8]) -> Parsed {
    let [version_command, family, high, low, body @ ..] = &bytes[SIGNATURE_2.len()..] else { return Ok(None) };
    if version_command >> 4 != 2 {
        return Err("the PROXY header is of a version that we do not know");
    }
    let body_length = usize::from(u16::from_be_bytes([*high, *low]));
    let length = SIGNATURE_2.len() + 4 + body_length;
    if length > MAX_HEADER {
        return Err("the PROXY header is too long");
    }
    let Some(body) = body.get(..body_length) else { return Ok(None) };
    let addresses = match (version_command & 0x0f, family) {
        (0, _) => None, // LOCAL: the addresses of the connection itself hold
        (1, 0x11) => Some(pair::<4, Ipv4Addr>(body)?),
        (1, 0x21) => Some(pair::<16, Ipv6Addr>(body)?),
        (1, _) => None, // UDP, Unix sockets, unspecified: to be passed over
        _ => return Err("the PROXY header has a command that we do not know"),
    };
    Ok(Some(ProxyHeader { length, addresses }))
}

/// Two addresses and two ports; extensions behind them are passed over.
fn pair<const N: usize, Ip: From<[u8; N]> + Into<IpAddr>>(
    body: &[u8],
) -> Result<(SocketAddr, SocketAddr), &'static str> {
    const SHORT: &str = "the PROXY header is too short for its addresses";
    let (from, rest) = body.split_first_chunk::<N>().ok_or(SHORT)?;
    let (to, rest) = rest.split_first_chunk::<N>().ok_or(SHORT)?;
    let (ports, _) = rest.split_first_chunk::<4>().ok_or(SHORT)?;
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    let ip = |octets: &[u8; N]| Ip::from(*octets).into().to_canonical();
    Ok((SocketAddr::new(ip(from), port(0)), SocketAddr::new(ip(to), port(2))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(length: usize, addresses: Option<(&str, &str)>) -> Verdict {
        let addresses = addresses.map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap()));
        Verdict::Header(ProxyHeader { length, addresses })
    }

    fn version_2_of(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_be_bytes();
        [SIGNATURE_2, &[version_command, family], &length, body].concat()
    }

    #[test]
    fn verdicts() {
        let v4 = Some(("192.0.2.1:1025", "198.51.100.2:443"));
        let body = b"\xc0\x00\x02\x01\xc6\x33\x64\x02\x04\x01\x01\xbb";
        let with_extension = [&body[..], b"\x04\x00\x01x"].concat();
        for (bytes, expected) in [
            (b"PROXY TCP4 192.0.2.1 198.51.100.2 1025 443\r\nGET".to_vec(), header(44, v4)),
            (b"PROXY TCP6 ::1 ::2 1 65535\r\n".to_vec(), header(28, Some(("[::1]:1", "[::2]:65535")))),
            (b"PROXY UNKNOWN\r\n".to_vec(), header(15, None)),
            (b"PROXY UNKNOWN ff ff 1 2\r\n".to_vec(), header(25, None)),
            (version_2_of(0x21, 0x11, body), header(28, v4)),
            (version_2_of(0x21, 0x11, &with_extension), header(32, v4)),
            (version_2_of(0x20, 0x00, b""), header(16, None)),
            (version_2_of(0x21, 0x31, &[0; 216]), header(232, None)),
            (b"GET / HTTP/1.1\r\n".to_vec(), Verdict::NotProxy),
            (b"PROXIED".to_vec(), Verdict::NotProxy),
            (b"\r\n\r\n\0\r\nQUIX".to_vec(), Verdict::NotProxy),
        ] {
            assert_eq!(parse(&bytes), expected, "{bytes:?}");
        }
        for bytes in [
            &b"PROXY TCP4 192.0.2.1 198.51.100.2 1025\r\n"[..],
            b"PROXY TCP4 192.0.2.1 198.51.100.2 1025 70000\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n",
            b"PROXY TCP4 ::1 ::2 1 2\r\n",
            b"PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
            &[b'P', b'R', b'O', b'X', b'Y', b' '].into_iter().chain([b'a'; 101]).collect::<Vec<_>>(),
            &version_2_of(0x11, 0x11, body),
            &version_2_of(0x22, 0x11, body),
            &version_2_of(0x21, 0x11, &body[..11]),
            &version_2_of(0x21, 0x11, &[0; MAX_HEADER]),
        ] {
            assert!(matches!(parse(bytes), Verdict::Malformed(_)), "{bytes:?}");
        }
    }

    #[test]
    fn what_we_write_we_read() {
        let pairs = [
            ("192.0.2.1:1", "198.51.100.2:443"),
            ("[2001:db8::1]:1", "[2001:db8::2]:2"),
            ("192.0.2.1:1", "[2001:db8::2]:2"),
        ];
        for version in [Version::V1, Version::V2] {
            for ends in pairs.map(Some).into_iter().chain([None]) {
                let bytes = encode(version, ends.map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap())));
                assert_eq!(parse(&bytes), header(bytes.len(), ends), "{version:?} {ends:?}");
                for end in 0..bytes.len() {
                    assert_eq!(parse(&bytes[..end]), Verdict::NeedMore, "{version:?} {ends:?}: first {end} bytes");
                }
            }
        }
        let ends = Some((pairs[0].0.parse().unwrap(), pairs[0].1.parse().unwrap()));
        assert_eq!(encode(Version::V1, ends), b"PROXY TCP4 192.0.2.1 198.51.100.2 1 443\r\n");
    }

    proptest! {
        #[test]
        fn strangers_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            parse(&bytes);
            parse(&[b"PROXY TCP4 ", &bytes[..]].concat());
            parse(&[SIGNATURE_2, &bytes[..]].concat());
        }
    }
}
