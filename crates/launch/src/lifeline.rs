//! The lifeline: a pipe of which the supervisor holds the one end and the sidecar the other.
//!
//! The sidecar's end never has anything to read until the supervisor is gone, however it went; then it reads
//! end-of-file and is to leave. The environment variable [`VARIABLE`] gives the number of the file. A sidecar that is
//! started by this crate is also killed by the kernel with its supervisor (`PR_SET_PDEATHSIG`); the lifeline serves
//! those that fork, and those that want to clean up.

use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{PipeFlags, pipe_with};

/// Names the number of the inherited file that reads end-of-file when the supervisor is gone.
pub const VARIABLE: &str = "HALCYON_LIFELINE_FD";

/// The supervisor's end. The line breaks when it is dropped.
#[derive(Debug)]
pub struct Lifeline {
    _held: OwnedFd,
}

impl Lifeline {
    /// A new line: the supervisor's end, and the one to be inherited. Both close on `exec`.
    ///
    /// # Errors
    /// No file can be opened.
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        let (theirs, held) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok((Self { _held: held }, theirs))
    }
}
