//! Listening sockets that a parent process opened and handed down over `exec`.
//!
//! The variable `HALCYON_LISTEN_FDS` names them: `proto@netns@address=fd`, separated by commas, such as
//! `tcp@workload@127.0.0.1:15001=3,udp@workload@127.0.0.1:15053=4`. The namespace is empty for the process's own.
//! A parent calls [`prepare`], a child [`take`].

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::str::FromStr;
use std::sync::{Mutex, OnceLock};

use rustix::io::FdFlags;
use socket2::{SockRef, Type};

/// The environment variable that names inherited sockets.
pub const VARIABLE: &str = "HALCYON_LISTEN_FDS";

/// The transport protocol of an inherited socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proto {
    /// A listening TCP socket.
    Tcp,
    /// A bound UDP socket.
    Udp,
}

/// What names one inherited socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// TCP or UDP.
    pub proto: Proto,
    /// The network namespace in which it is bound; empty for the process's own.
    pub netns: String,
    /// The address that it is bound to.
    pub addr: SocketAddr,
}

/// Why [`VARIABLE`] cannot be used. The sockets that it does name rightly are still served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InheritError {
    /// An entry is not of the form `proto@netns@address=fd`.
    #[error(
        "{VARIABLE}: `{0}` is not an inherited socket: expected `tcp@<namespace>@<address>:<port>=<number>` or `udp@...`; the launcher sets this variable, do not set it by hand"
    )]
    Syntax(String),
    /// The number is not an open socket of that kind bound to that address.
    #[error(
        "{VARIABLE}: `{entry}` does not hold: file {fd} is {found}; expected the socket that the entry names; the launcher must hand it down open across exec"
    )]
    NotTheSocket {
        /// The entry as written.
        entry: String,
        /// The number in it.
        fd: RawFd,
        /// What was found there.
        found: String,
    },
}

/// Takes the inherited socket out of the process-wide table; a second call for the same key finds nothing.
pub fn take(proto: Proto, netns: &str, addr: SocketAddr) -> Option<OwnedFd> {
    let key = Key { proto, netns: netns.to_owned(), addr };
    table().sockets.lock().expect("no panic under the lock").remove(&key)
}

/// What was wrong with [`VARIABLE`], for the caller to report once at start.
pub fn errors() -> &'static [InheritError] {
    &table().errors
}

/// The keys that nobody has taken yet: at the end of start, a sign that launcher and configuration disagree.
pub fn untaken() -> Vec<Key> {
    table().sockets.lock().expect("no panic under the lock").keys().cloned().collect()
}

/// Makes `sockets` survive the next `exec` and gives the value of [`VARIABLE`] for the child's environment.
///
/// Clears close-on-exec, so every child started from now on inherits them: call it in a process that starts
/// this one child, or close the originals right after.
///
/// # Errors
/// What the kernel says to `fcntl`.
pub fn prepare(sockets: &[(Key, BorrowedFd<'_>)]) -> io::Result<String> {
    let mut value = String::new();
    for (key, fd) in sockets {
        let flags = rustix::io::fcntl_getfd(fd)?;
        rustix::io::fcntl_setfd(fd, flags.difference(FdFlags::CLOEXEC))?;
        if !value.is_empty() {
            value.push(',');
        }
        value.push_str(&format!("{key}={}", fd.as_raw_fd()));
    }
    Ok(value)
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proto = match self.proto {
            Proto::Tcp => "tcp",
            Proto::Udp => "udp",
        };
        write!(f, "{proto}@{}@{}", self.netns, self.addr)
    }
}

impl FromStr for Key {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('@');
        let (Some(proto), Some(netns), Some(addr), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(());
        };
        let proto = match proto {
            "tcp" => Proto::Tcp,
            "udp" => Proto::Udp,
            _ => return Err(()),
        };
        Ok(Self { proto, netns: netns.to_owned(), addr: addr.parse().map_err(drop)? })
    }
}

struct Table {
    sockets: Mutex<HashMap<Key, OwnedFd>>,
    errors: Vec<InheritError>,
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let value = std::env::var(VARIABLE).unwrap_or_default();
        let (entries, mut errors) = parse(&value);
        let mut sockets = HashMap::new();
        for (key, fd) in entries {
            match adopt(&key, fd) {
                Ok(socket) => drop(sockets.insert(key, socket)),
                Err(found) => errors.push(InheritError::NotTheSocket { entry: format!("{key}={fd}"), fd, found }),
            }
        }
        Table { sockets: Mutex::new(sockets), errors }
    })
}

/// Splits the variable. A number or a key that comes twice is refused the second time: two owners of one file
/// would close it under each other.
fn parse(value: &str) -> (Vec<(Key, RawFd)>, Vec<InheritError>) {
    let (mut entries, mut errors) = (Vec::<(Key, RawFd)>::new(), Vec::new());
    for entry in value.split(',').filter(|e| !e.is_empty()) {
        let parsed = entry.rsplit_once('=').and_then(|(key, fd)| {
            let fd: RawFd = fd.parse().ok().filter(|fd| *fd > 2)?;
            Some((key.parse::<Key>().ok()?, fd))
        });
        match parsed {
            Some((key, fd)) if !entries.iter().any(|(k, f)| *k == key || *f == fd) => entries.push((key, fd)),
            _ => errors.push(InheritError::Syntax(entry.to_owned())),
        }
    }
    (entries, errors)
}

/// Becomes the owner of an inherited file, if it is the socket that `key` says; else says what it is.
fn adopt(key: &Key, fd: RawFd) -> Result<OwnedFd, String> {
    // SAFETY: the borrow lives only in this function and is used for system calls alone; on a number that is not
    // open they answer EBADF. Numbers 0 to 2 never come here.
    #[allow(unsafe_code)]
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::io::fcntl_getfd(borrowed).map_err(|_| "not open".to_owned())?;
    let socket = SockRef::from(&borrowed);
    let kind = socket.r#type().map_err(|_| "no socket".to_owned())?;
    let bound = socket.local_addr().ok().and_then(|a| a.as_socket());
    let expected = match key.proto {
        Proto::Tcp => Type::STREAM,
        Proto::Udp => Type::DGRAM,
    };
    if kind != expected {
        return Err("a socket of another kind".to_owned());
    }
    if bound != Some(key.addr) {
        return Err(bound.map_or("bound to no address".to_owned(), |a| format!("bound to {a}")));
    }
    rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC).map_err(|e| e.to_string())?;
    // SAFETY: the parent gave this number to this process for this purpose: it is named in the environment, was
    // open when the process began (so no other part of it can have been given the same number since), and is the
    // very socket that the entry names. The table is built once and refuses a number that comes twice, so there
    // is one owner.
    #[allow(unsafe_code)]
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(owned)
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, IntoRawFd};

    use super::*;

    #[test]
    fn the_variable() {
        let (entries, errors) = parse("tcp@workload@127.0.0.1:15001=3,udp@@[::1]:15053=4");
        assert_eq!(errors, []);
        let texts: Vec<_> = entries.iter().map(|(key, fd)| format!("{key}={fd}")).collect();
        assert_eq!(texts, ["tcp@workload@127.0.0.1:15001=3", "udp@@[::1]:15053=4"]);
        for bad in [
            "tcp",
            "tcp@a@127.0.0.1:1",
            "tcp@a@127.0.0.1:1=x",
            "tcp@a@127.0.0.1:1=2",
            "sctp@a@127.0.0.1:1=3",
            "tcp@a@b@127.0.0.1:1=3",
            "tcp@a@host:1=3",
        ] {
            assert_eq!(parse(bad), (vec![], vec![InheritError::Syntax(bad.to_owned())]));
        }
        let (entries, errors) = parse("tcp@a@127.0.0.1:1=3,tcp@b@127.0.0.1:2=3,tcp@a@127.0.0.1:1=4");
        assert_eq!((entries.len(), errors.len()), (1, 2));
    }

    #[test]
    fn only_the_socket_that_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let key = |proto, addr| Key { proto, netns: "workload".to_owned(), addr };
        let value = prepare(&[(key(Proto::Tcp, addr), listener.as_fd())]).unwrap();
        assert_eq!(value, format!("tcp@workload@{addr}={}", listener.as_raw_fd()));
        assert!(!rustix::io::fcntl_getfd(&listener).unwrap().contains(FdFlags::CLOEXEC));
        let fd = listener.into_raw_fd();
        assert!(adopt(&key(Proto::Udp, addr), fd).unwrap_err().contains("another kind"));
        assert!(adopt(&key(Proto::Tcp, "127.0.0.1:1".parse().unwrap()), fd).unwrap_err().contains("bound to"));
        let owned = adopt(&key(Proto::Tcp, addr), fd).unwrap();
        assert!(rustix::io::fcntl_getfd(&owned).unwrap().contains(FdFlags::CLOEXEC));
        drop(owned);
        assert_eq!(adopt(&key(Proto::Tcp, addr), 1_000_000).unwrap_err(), "not open");
    }
}
