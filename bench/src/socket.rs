//! A connection of the load or the origin: bytes in, bytes out, on one thread's epoll.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// How much is read at once.
pub const BUFFER: usize = 64 * 1024;

/// A thread's set of sockets. Each is known by a number.
pub struct Poll(OwnedFd);

impl Poll {
    /// # Errors
    /// When the system gives none.
    pub fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Tells of what can be read.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn add(&self, source: impl AsFd, number: usize) -> io::Result<()> {
        Ok(epoll::add(&self.0, source, EventData::new_u64(number as u64), EventFlags::IN)?)
    }

    fn want_write(&self, source: impl AsFd, number: usize, write: bool) -> io::Result<()> {
        let flags = if write { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        Ok(epoll::modify(&self.0, source, EventData::new_u64(number as u64), flags)?)
    }

    /// Puts the numbers of the sockets that are ready into `ready`; none after `timeout`.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn wait(&self, ready: &mut Vec<usize>, timeout: std::time::Duration) -> io::Result<()> {
        let mut events = [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 256];
        let timeout =
            rustix::event::Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        let count = match epoll::wait(&self.0, &mut events[..], Some(&timeout)) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        ready.clear();
        ready.extend(events[..count].iter().map(|event| event.data.u64() as usize));
        Ok(())
    }
}

/// A non-blocking stream, and what could not be written yet.
pub struct Socket {
    stream: TcpStream,
    number: usize,
    out: Vec<u8>,
    waits_to_write: bool,
}

impl Socket {
    /// Joins the set.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new(stream: TcpStream, number: usize, poll: &Poll) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        poll.add(&stream, number)?;
        Ok(Self { stream, number, out: Vec::new(), waits_to_write: false })
    }

    /// Where the next bytes to be written go.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Reads once. None: nothing is there. Zero: the other side is done.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.stream.read(buffer) {
            Ok(count) => Ok(Some(count)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes what it can; the rest when the system says so.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn flush(&mut self, poll: &Poll) -> io::Result<()> {
        let mut written = 0;
        while written < self.out.len() {
            match self.stream.write(&self.out[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.drain(..written);
        let waits = !self.out.is_empty();
        if waits != self.waits_to_write {
            poll.want_write(&self.stream, self.number, waits)?;
            self.waits_to_write = waits;
        }
        Ok(())
    }
}
