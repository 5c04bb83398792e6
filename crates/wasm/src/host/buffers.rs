//! Functions about bodies and configurations.

use bytes::{Bytes, BytesMut};
use wasmtime::{Caller, Linker};

use super::Host;
use super::memory::{Done, Guest, code};
use crate::abi::{Side, Status};
use crate::bounds;

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    type C<'c> = Caller<'c, Host>;
    let env = "env";
    linker
        .func_wrap(
            env,
            "proxy_get_buffer_bytes",
            |c: C<'_>, buffer: u32, start: u32, length: u32, place: u32, size: u32| {
                code(get(&mut Guest(c), buffer, start, length, place, size))
            },
        )?
        .func_wrap(env, "proxy_get_buffer_status", |c: C<'_>, buffer: u32, length: u32, flags: u32| {
            code(status(&mut Guest(c), buffer, length, flags))
        })?
        .func_wrap(
            env,
            "proxy_set_buffer_bytes",
            |c: C<'_>, buffer: u32, start: u32, length: u32, data: u32, size: u32| {
                code(set(&mut Guest(c), buffer, start, length, (data, size)))
            },
        )?
        .func_wrap(env, "proxy_get_configuration", |c: C<'_>, place: u32, size: u32| {
            code(configuration(&mut Guest(c), place, size))
        })?;
    Ok(())
}

/// The body of a number (`proxy_buffer_type_t`), if it is one.
fn side(buffer: u32) -> Option<Side> {
    match buffer {
        0 => Some(Side::Request),
        1 => Some(Side::Response),
        _ => None,
    }
}

/// Looks at a buffer.
fn seen<T>(host: &mut Host, buffer: u32, look: impl FnOnce(&[u8]) -> T) -> Result<T, Status> {
    if let Some(side) = side(buffer) {
        return host.stream()?.half(side).body.as_deref().map(look).ok_or(Status::NotFound);
    }
    let bytes: Bytes = match buffer {
        4 => match &host.answer {
            Some(Ok(answer)) => answer.body.clone(),
            _ => return Err(Status::NotFound),
        },
        6 => host.settings.vm_configuration.clone(),
        7 => host.plugin().configuration.clone(),
        // Of connections and gRPC calls, and the arguments of foreign functions of the guest's.
        2 | 3 | 5 | 8 => return Err(Status::NotFound),
        _ => return Err(Status::BadArgument),
    };
    Ok(look(&bytes))
}

fn get(guest: &mut Guest<'_>, buffer: u32, start: u32, length: u32, place: u32, size: u32) -> Done {
    let part = seen(guest.host(), buffer, |bytes| {
        let start = start as usize;
        let end = start.saturating_add(length as usize).min(bytes.len());
        bytes.get(start..end).map(<[u8]>::to_vec)
    })?;
    guest.give(&part.ok_or(Status::BadArgument)?, place, size)
}

fn status(guest: &mut Guest<'_>, buffer: u32, length_at: u32, flags_at: u32) -> Done {
    let length = seen(guest.host(), buffer, <[u8]>::len)?;
    guest.write_number(length_at, length as u32)?;
    Ok(guest.write_number(flags_at, 0)?)
}

/// Writes bytes in the place of those from `start` on; beyond the end they are appended.
fn set(guest: &mut Guest<'_>, buffer: u32, start: u32, length: u32, data: (u32, u32)) -> Done {
    let data = guest.bytes(data.0, data.1)?;
    let side = side(buffer).ok_or(Status::BadArgument)?;
    let body = guest.host().stream()?.half(side).body.as_mut().ok_or(Status::NotFound)?;
    let start = (start as usize).min(body.len());
    let end = start.saturating_add(length as usize).min(body.len());
    if body.len() - (end - start) + data.len() > bounds::WRITTEN_BODY {
        return Err(Status::BadArgument.into());
    }
    if start == 0 && end == body.len() {
        *body = BytesMut::from(&data[..]);
        return Ok(());
    }
    let rest = body.split_off(start);
    body.extend_from_slice(&data);
    body.extend_from_slice(&rest[end - start..]);
    Ok(())
}

/// ABI 0.1.0's way to the configuration of the plugin.
fn configuration(guest: &mut Guest<'_>, place: u32, size: u32) -> Done {
    let configuration = guest.host().plugin().configuration.clone();
    guest.give(&configuration, place, size)
}
