//! Open files handed over a Unix socket (`SCM_RIGHTS`): safe wrappers for both ends.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// How many files one message may carry here (the kernel's own limit is 253).
pub const MAX_FDS: usize = 64;

/// Sends `bytes` and `fds` as one message. The files stay open on this side.
///
/// # Errors
/// `InvalidInput` for more than [`MAX_FDS`] files or no byte at all (a file cannot travel without one on a stream
/// socket); `WriteZero` if the socket took only a part of the bytes; what the kernel says otherwise.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if fds.len() > MAX_FDS || bytes.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a message carries 1 byte or more and at most 64 files",
        ));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many files for one message"));
    }
    let sent = rustix::io::retry_on_intr(|| {
        sendmsg(socket.as_fd(), &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
    })?;
    if sent != bytes.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    Ok(())
}

/// Receives one message: bytes into `buffer`, and the files that came with it (close-on-exec).
/// Zero bytes mean that the other end closed.
///
/// # Errors
/// `WouldBlock` on a non-blocking socket with nothing to read; `InvalidData` if files were lost because there
/// were more than [`MAX_FDS`]; what the kernel says otherwise.
pub fn recv(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::io::retry_on_intr(|| {
        recvmsg(socket.as_fd(), &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            fds.extend(received);
        }
    }
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message carried more files than expected"));
    }
    Ok((message.bytes, fds))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn files_travel() {
        let (left, right) = UnixStream::pair().unwrap();
        let pairs: Vec<_> = (0..3).map(|_| UnixStream::pair().unwrap()).collect();
        let fds: Vec<_> = pairs.iter().map(|(mine, _)| mine.as_fd()).collect();
        send(&left, b"three", &fds).unwrap();
        let mut buffer = [0; 16];
        let (n, received) = recv(&right, &mut buffer).unwrap();
        assert_eq!((&buffer[..n], received.len()), (&b"three"[..], 3));
        for (fd, (_, theirs)) in received.into_iter().zip(&pairs) {
            assert!(rustix::io::fcntl_getfd(&fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
            UnixStream::from(fd).write_all(b"x").unwrap();
            let mut byte = [0];
            (&mut &*theirs).read_exact(&mut byte).unwrap();
            assert_eq!(byte, *b"x");
        }
        drop(left);
        assert_eq!(recv(&right, &mut buffer).unwrap().0, 0);
        assert!(send(&right, b"", &[]).is_err());
    }
}
