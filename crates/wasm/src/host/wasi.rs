//! The few functions of WASI (preview 1) that languages import whether they use them or not. There are no files: what a
//! guest prints goes to the log, and everything else about files is refused.

use rand::Rng as _;
use wasmtime::{Caller, Error, Linker};

use super::Host;
use super::general::{now, write_log};
use super::memory::Guest;
use crate::abi::Status;
use crate::bounds;

/// WASI's names for what is wrong.
const BAD_FD: u32 = 8;
const FAULT: u32 = 21;
const INVALID: u32 = 28;
const NO_ENTRY: u32 = 44;
const NOT_IMPLEMENTED: u32 = 52;
const NOT_SUPPORTED: u32 = 58;
const NO_SEEK: u32 = 70;

/// The pieces that one write may have, as on Linux.
const MOST_PARTS: u32 = 1024;

/// The guest has called `proc_exit`.
#[derive(Debug, thiserror::Error)]
#[error("it called proc_exit({0})")]
pub(crate) struct Exit(pub u32);

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    of(linker, "wasi_snapshot_preview1")?;
    of(linker, "wasi_unstable")
}

fn of(linker: &mut Linker<Host>, wasi: &str) -> wasmtime::Result<()> {
    type C<'c> = Caller<'c, Host>;
    linker
        .func_wrap(wasi, "fd_write", |c: C<'_>, fd: u32, parts: u32, count: u32, written: u32| {
            errno(fd_write(&mut Guest(c), fd, parts, count, written))
        })?
        .func_wrap(wasi, "fd_fdstat_get", |c: C<'_>, fd: u32, at: u32| errno(fd_stat(&mut Guest(c), fd, at)))?
        .func_wrap(wasi, "fd_close", |fd: u32| if fd <= 2 { 0 } else { BAD_FD })?
        .func_wrap(wasi, "fd_seek", |_: u32, _: u64, _: u32, _: u32| NO_SEEK)?
        .func_wrap(wasi, "fd_read", |_: u32, _: u32, _: u32, _: u32| BAD_FD)?
        .func_wrap(wasi, "fd_fdstat_set_flags", |_: u32, _: u32| BAD_FD)?
        .func_wrap(wasi, "fd_filestat_get", |_: u32, _: u32| BAD_FD)?
        .func_wrap(wasi, "fd_sync", |_: u32| BAD_FD)?
        .func_wrap(wasi, "fd_prestat_get", |_: u32, _: u32| BAD_FD)?
        .func_wrap(wasi, "fd_prestat_dir_name", |_: u32, _: u32, _: u32| BAD_FD)?
        .func_wrap(wasi, "fd_readdir", |_: u32, _: u32, _: u32, _: u64, _: u32| BAD_FD)?
        .func_wrap(wasi, "path_open", |_: u32, _: u32, _: u32, _: u32, _: u32, _: u64, _: u64, _: u32, _: u32| {
            NO_ENTRY
        })?
        .func_wrap(wasi, "path_filestat_get", |_: u32, _: u32, _: u32, _: u32, _: u32| NO_ENTRY)?
        .func_wrap(wasi, "path_create_directory", |_: u32, _: u32, _: u32| NO_ENTRY)?
        .func_wrap(wasi, "path_remove_directory", |_: u32, _: u32, _: u32| NO_ENTRY)?
        .func_wrap(wasi, "path_unlink_file", |_: u32, _: u32, _: u32| NO_ENTRY)?
        .func_wrap(wasi, "path_readlink", |_: u32, _: u32, _: u32, _: u32, _: u32, _: u32| NO_ENTRY)?
        .func_wrap(wasi, "path_rename", |_: u32, _: u32, _: u32, _: u32, _: u32, _: u32| NO_ENTRY)?
        .func_wrap(wasi, "environ_sizes_get", |c: C<'_>, count: u32, size: u32| {
            errno(environ_sizes(&mut Guest(c), count, size))
        })?
        .func_wrap(wasi, "environ_get", |c: C<'_>, places: u32, texts: u32| {
            errno(environ(&mut Guest(c), places, texts))
        })?
        .func_wrap(wasi, "args_sizes_get", |c: C<'_>, count: u32, size: u32| {
            let guest = &mut Guest(c);
            errno(guest.write_number(count, 0).and(guest.write_number(size, 0)).map_err(fault))
        })?
        .func_wrap(wasi, "args_get", |_: u32, _: u32| 0)?
        .func_wrap(wasi, "clock_time_get", |c: C<'_>, clock: u32, _: u64, at: u32| {
            errno(clock_time(&mut Guest(c), clock, at))
        })?
        .func_wrap(wasi, "clock_res_get", |c: C<'_>, _: u32, at: u32| {
            errno(Guest(c).write(at, &1_u64.to_le_bytes()).map_err(fault))
        })?
        .func_wrap(wasi, "random_get", |c: C<'_>, at: u32, length: u32| errno(random(&mut Guest(c), at, length)))?
        .func_wrap(wasi, "poll_oneoff", |_: u32, _: u32, _: u32, _: u32| NOT_IMPLEMENTED)?
        .func_wrap(wasi, "sched_yield", || 0)?
        .func_wrap(wasi, "proc_exit", |code: u32| -> wasmtime::Result<()> { Err(Error::new(Exit(code))) })?;
    Ok(())
}

fn errno(done: Result<(), u32>) -> u32 {
    done.err().unwrap_or(0)
}

fn fault(_: Status) -> u32 {
    FAULT
}

/// What goes to the two outputs goes to the log, as information or as an error.
fn fd_write(guest: &mut Guest<'_>, fd: u32, parts: u32, count: u32, written_at: u32) -> Result<(), u32> {
    let level = match fd {
        1 => 2,
        2 => 4,
        _ => return Err(BAD_FD),
    };
    if count > MOST_PARTS {
        return Err(INVALID);
    }
    let (mut line, mut written) = (Vec::new(), 0_u32);
    for part in 0..count {
        let at = part.checked_mul(8).and_then(|offset| parts.checked_add(offset)).ok_or(FAULT)?;
        let length_at = at.checked_add(4).ok_or(FAULT)?;
        let (place, length) = (guest.number(at).map_err(fault)?, guest.number(length_at).map_err(fault)?);
        let bytes = guest.read(place, length).map_err(fault)?;
        // One byte more than a line has, so that it is seen to be cut.
        let room = (bounds::LOG_LINE + 1).saturating_sub(line.len());
        line.extend_from_slice(&bytes[..bytes.len().min(room)]);
        written = written.saturating_add(length);
    }
    if !line.is_empty() {
        write_log(guest.host(), level, &line);
    }
    guest.write_number(written_at, written).map_err(fault)
}

/// The outputs may be written, and that is all.
fn fd_stat(guest: &mut Guest<'_>, fd: u32, at: u32) -> Result<(), u32> {
    const RIGHT_TO_WRITE: u64 = 1 << 6;
    if !matches!(fd, 1 | 2) {
        return Err(BAD_FD);
    }
    let mut stat = [0; 24];
    stat[8..16].copy_from_slice(&RIGHT_TO_WRITE.to_le_bytes());
    guest.write(at, &stat).map_err(fault)
}

fn environ_sizes(guest: &mut Guest<'_>, count_at: u32, size_at: u32) -> Result<(), u32> {
    let variables = guest.host().own.environment.clone();
    let size: usize = variables.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    guest.write_number(count_at, variables.len() as u32).map_err(fault)?;
    guest.write_number(size_at, size as u32).map_err(fault)
}

fn environ(guest: &mut Guest<'_>, places: u32, texts: u32) -> Result<(), u32> {
    let variables = guest.host().own.environment.clone();
    let (mut place, mut text) = (places, texts);
    for (name, value) in variables.iter() {
        let line = format!("{name}={value}\0");
        guest.write_number(place, text).map_err(fault)?;
        guest.write(text, line.as_bytes()).map_err(fault)?;
        place = place.checked_add(4).ok_or(FAULT)?;
        text = text.checked_add(line.len() as u32).ok_or(FAULT)?;
    }
    Ok(())
}

/// The time of day, and a time that only moves forward: both of the machine's clock, as far as guests can tell.
fn clock_time(guest: &mut Guest<'_>, clock: u32, at: u32) -> Result<(), u32> {
    if clock > 1 {
        return Err(NOT_SUPPORTED);
    }
    guest.write(at, &now().to_le_bytes()).map_err(fault)
}

fn random(guest: &mut Guest<'_>, at: u32, length: u32) -> Result<(), u32> {
    guest.read(at, length).map_err(fault)?;
    // In pieces, so that the host need not hold as much as the guest asks for.
    let mut piece = [0; 4096];
    for offset in (0..length).step_by(piece.len()) {
        let piece = &mut piece[..(length - offset).min(4096) as usize];
        rand::rng().fill_bytes(piece);
        guest.write(at + offset, piece).map_err(fault)?;
    }
    Ok(())
}
