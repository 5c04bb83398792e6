//! A connection of the load or the origin: bytes in, bytes out, on one thread's epoll.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::RecvFlags;

/// How much is read at once.
pub const BUFFER: usize = 64 * 1024;
/// How much is skipped at once at most.
pub const SKIP: usize = 4 * 1024 * 1024;

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
            Err(Errno::INTR) => 0,
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

    /// Takes at most `most` bytes off without looking at them, which spares a copy. As [`Socket::read`].
    ///
    /// # Errors
    /// When the connection broke.
    pub fn skip(&mut self, most: usize, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let most = most.min(buffer.len());
        // TCP gives the count of what it threw away (tcp(7), MSG_TRUNC).
        match rustix::net::recv(&self.stream, &mut buffer[..most], RecvFlags::TRUNC) {
            Ok((_, count)) => Ok(Some(count)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes what the system takes now.
    fn write(&mut self) -> io::Result<usize> {
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
        Ok(written)
    }

    /// Writes what it can; the rest when the system says so. When all is written, `more` may give more. Returns how many
    /// bytes were written.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn flush(&mut self, poll: &Poll, mut more: impl FnMut(&mut Vec<u8>)) -> io::Result<usize> {
        let mut total = 0;
        loop {
            if self.out.is_empty() {
                more(&mut self.out);
            }
            let written = self.write()?;
            total += written;
            // Nothing is left to be written, or the system takes no more.
            if written == 0 || !self.out.is_empty() {
                break;
            }
        }
        let waits = !self.out.is_empty();
        if waits != self.waits_to_write {
            poll.want_write(&self.stream, self.number, waits)?;
            self.waits_to_write = waits;
        }
        Ok(total)
    }
}
