//! Netlink, as far as a new network namespace needs it: messages built from attributes, sent, and their
//! acknowledgements read. Knows the framing (`netlink(7)`), no family: the words are in `inside::loopback` and `nftables`.

use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

/// `NLM_F_REQUEST`: every message that asks for something carries it.
pub(crate) const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`: answer even when all went well.
pub(crate) const ACK: u16 = 0x4;
/// `NLM_F_EXCL` and `NLM_F_CREATE`: make it, and fail if it is there.
pub(crate) const CREATE_NEW: u16 = 0x200 | 0x400;
/// `NLM_F_CREATE` and `NLM_F_APPEND`: make it after those that are there.
pub(crate) const APPEND: u16 = 0x400 | 0x800;

/// `NLM_F_ROOT` and `NLM_F_MATCH`: tell all that there are.
pub(crate) const DUMP: u16 = 0x100 | 0x200;

const HEADER: usize = 16;
const NLMSG_DONE: u16 = 3;
const NLMSG_ERROR: u16 = 2;
const NLA_F_NESTED: u16 = 0x8000;
/// The kernel answers at once or not at all; this only keeps a broken kernel from hanging the launch.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// One message while it is being written. Lengths are filled in as parts close.
#[derive(Debug)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A message of `kind` with `NLM_F_*` flags; the answer names it by `sequence`.
    pub(crate) fn new(kind: u16, flags: u16, sequence: u32) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        Self { bytes }
    }

    /// Appends the family's fixed header; its length must be a multiple of four.
    pub(crate) fn fixed(mut self, bytes: &[u8]) -> Self {
        debug_assert_eq!(bytes.len() % 4, 0);
        self.bytes.extend(bytes);
        self
    }

    /// Appends one attribute, padded to four bytes.
    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.open(kind, value);
        self
    }

    /// Appends one attribute that holds a text with its closing NUL.
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// Appends one attribute that holds a number in network order, as nf_tables wants all of its numbers.
    pub(crate) fn be32(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Appends an attribute whose value is the attributes that `fill` writes.
    pub(crate) fn nest(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.open(kind | NLA_F_NESTED, &[]);
        let mut filled = fill(self);
        let length = (filled.bytes.len() - start) as u16;
        filled.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        filled
    }

    /// The finished bytes.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes
    }

    fn open(&mut self, kind: u16, value: &[u8]) {
        self.bytes.extend(((4 + value.len()) as u16).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// Why the kernel did not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The number of the message that was refused; none when the socket itself failed.
    pub(crate) sequence: Option<u32>,
    /// The kernel's reason.
    pub(crate) errno: Errno,
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self { sequence: None, errno }
    }
}

/// A netlink socket of one protocol in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

impl Socket {
    /// Opens a socket; `protocol` is one of `rustix::net::netlink`'s, none is `NETLINK_ROUTE` (0).
    pub(crate) fn open(protocol: Option<Protocol>) -> Result<Self, Refused> {
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0))?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        Ok(Self(fd))
    }

    /// Sends `messages` at once and waits for `acknowledgements` of them. The first refusal ends it.
    pub(crate) fn transact(&self, messages: &[u8], acknowledgements: usize) -> Result<(), Refused> {
        rustix::net::sendto(&self.0, messages, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut outstanding = acknowledgements;
        let mut buffer = vec![0; 16 * 1024];
        while outstanding > 0 {
            let (length, _) = rustix::net::recv(&self.0, buffer.as_mut_slice(), RecvFlags::empty())?;
            outstanding = outstanding.saturating_sub(acknowledged(&buffer[..length])?);
        }
        Ok(())
    }
}

impl Socket {
    /// Sends a question that asks for all that there are; the answers without their headers.
    pub(crate) fn dump(&self, question: &[u8]) -> Result<Vec<Vec<u8>>, Refused> {
        rustix::net::sendto(&self.0, question, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut found = Vec::new();
        let mut buffer = vec![0; 32 * 1024];
        loop {
            let (length, _) = rustix::net::recv(&self.0, buffer.as_mut_slice(), RecvFlags::empty())?;
            if collect(&buffer[..length], &mut found)? {
                return Ok(found);
            }
        }
    }
}

/// Takes the answers of one datagram. Was it the last one?
fn collect(mut datagram: &[u8], found: &mut Vec<Vec<u8>>) -> Result<bool, Refused> {
    while datagram.len() >= HEADER {
        let length = u32_at(datagram, 0) as usize;
        if length < HEADER || length > datagram.len() {
            return Err(Errno::BADMSG.into());
        }
        let (message, rest) = datagram.split_at(length);
        match u16::from_ne_bytes([message[4], message[5]]) {
            NLMSG_DONE => return Ok(true),
            NLMSG_ERROR => _ = acknowledged(message)?,
            _ => found.push(message[HEADER..].to_vec()),
        }
        datagram = &rest[(length.next_multiple_of(4) - length).min(rest.len())..];
    }
    Ok(false)
}

/// The attributes of a message, or of one that holds others: their kinds and values.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind & !NLA_F_NESTED, value))
    })
}

/// How many acknowledgements one datagram holds; the first refusal in it is the error.
fn acknowledged(mut datagram: &[u8]) -> Result<usize, Refused> {
    let mut count = 0;
    while datagram.len() >= HEADER {
        let length = u32_at(datagram, 0) as usize;
        if length < HEADER || length > datagram.len() {
            return Err(Errno::BADMSG.into());
        }
        if u16::from_ne_bytes([datagram[4], datagram[5]]) == NLMSG_ERROR && length >= HEADER + 4 {
            match u32_at(datagram, HEADER) as i32 {
                0 => count += 1,
                code => {
                    let errno = Errno::from_raw_os_error(code.saturating_neg());
                    return Err(Refused { sequence: Some(u32_at(datagram, 8)), errno });
                }
            }
        }
        datagram = &datagram[length.next_multiple_of(4).min(datagram.len())..];
    }
    Ok(count)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_padding() {
        let bytes = Message::new(7, REQUEST, 9).nest(3, |m| m.text(1, "ab").be32(2, 5)).finish();
        let mut expected = vec![];
        expected.extend(36u32.to_ne_bytes());
        expected.extend(7u16.to_ne_bytes());
        expected.extend(1u16.to_ne_bytes());
        expected.extend(9u32.to_ne_bytes());
        expected.extend([0; 4]);
        expected.extend(20u16.to_ne_bytes());
        expected.extend((3u16 | NLA_F_NESTED).to_ne_bytes());
        expected.extend(7u16.to_ne_bytes());
        expected.extend(1u16.to_ne_bytes());
        expected.extend(*b"ab\0\0");
        expected.extend(8u16.to_ne_bytes());
        expected.extend(2u16.to_ne_bytes());
        expected.extend([0, 0, 0, 5]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn answers() {
        let answer = |sequence: u32, code: i32| {
            Message::new(NLMSG_ERROR, 0, sequence).fixed(&code.to_ne_bytes()).fixed(&[0; 16]).finish()
        };
        let refused = Err(Refused { sequence: Some(2), errno: Errno::PERM });
        for (datagram, expected) in [
            (answer(1, 0), Ok(1)),
            ([answer(1, 0), answer(2, 0)].concat(), Ok(2)),
            ([answer(1, 0), answer(2, -1), answer(3, 0)].concat(), refused),
            (vec![1, 2, 3], Ok(0)),
            (vec![0xff; 20], Err(Errno::BADMSG.into())),
        ] {
            assert_eq!(acknowledged(&datagram), expected);
        }
    }
}
