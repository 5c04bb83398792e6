//! Functions about headers and trailers.

use wasmtime::{Caller, Linker};

use super::Host;
use super::memory::{Done, Guest, code};
use crate::abi::{Abi, Side, Status};
use crate::heads::Map;
use crate::pairs;

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    type C<'c> = Caller<'c, Host>;
    let env = "env";
    linker
        .func_wrap(env, "proxy_get_header_map_value", |c: C<'_>, map: u32, k: u32, ks: u32, place: u32, size: u32| {
            code(get(&mut Guest(c), map, (k, ks), place, size))
        })?
        .func_wrap(env, "proxy_get_header_map_pairs", |c: C<'_>, map: u32, place: u32, size: u32| {
            code(get_all(&mut Guest(c), map, place, size))
        })?
        .func_wrap(env, "proxy_get_header_map_size", |c: C<'_>, map: u32, at: u32| code(size(&mut Guest(c), map, at)))?
        .func_wrap(env, "proxy_add_header_map_value", |c: C<'_>, map: u32, k: u32, ks: u32, v: u32, vs: u32| {
            code(write(&mut Guest(c), map, (k, ks), (v, vs), true))
        })?
        .func_wrap(env, "proxy_replace_header_map_value", |c: C<'_>, map: u32, k: u32, ks: u32, v: u32, vs: u32| {
            code(write(&mut Guest(c), map, (k, ks), (v, vs), false))
        })?
        .func_wrap(env, "proxy_remove_header_map_value", |c: C<'_>, map: u32, k: u32, ks: u32| {
            code(remove(&mut Guest(c), map, (k, ks)))
        })?
        .func_wrap(env, "proxy_set_header_map_pairs", |c: C<'_>, map: u32, at: u32, length: u32| {
            code(set_all(&mut Guest(c), map, at, length))
        })?;
    Ok(())
}

/// The set of headers of a number (`proxy_header_map_type_t`), to look at.
fn seen(host: &mut Host, map: u32) -> Result<Map<'_>, Status> {
    match map {
        0 => host.stream()?.head(Side::Request),
        1 => host.stream()?.half(Side::Request).trailers.as_mut().map(Map::Fields),
        2 => host.stream()?.head(Side::Response),
        3 => host.stream()?.half(Side::Response).trailers.as_mut().map(Map::Fields),
        // Of gRPC calls there are none.
        4 | 5 => None,
        6 | 7 => match host.answer.as_mut().and_then(|answer| answer.as_mut().ok()) {
            Some(answer) if map == 6 => Some(Map::Response(&mut answer.head)),
            Some(answer) => Some(Map::Fields(&mut answer.trailers)),
            None => None,
        },
        _ => return Err(Status::BadArgument),
    }
    .ok_or(Status::BadArgument)
}

/// Changes a set of headers, if it may still be changed: what was sent on may not.
fn change<T>(host: &mut Host, map: u32, change: impl FnOnce(&mut Map<'_>) -> T) -> Result<T, Status> {
    let reroutes = host.abi.reroutes();
    if matches!(map, 0 | 2) {
        let side = if map == 0 { Side::Request } else { Side::Response };
        let stream = host.stream()?;
        if !stream.half(side).open {
            return Err(Status::BadArgument);
        }
        stream.reroute |= reroutes && side == Side::Request;
    }
    if map > 3 {
        return Err(Status::BadArgument);
    }
    Ok(change(&mut seen(host, map)?))
}

fn get(guest: &mut Guest<'_>, map: u32, name: (u32, u32), place: u32, size: u32) -> Done {
    let name = guest.bytes(name.0, name.1)?;
    let host = guest.host();
    let abi = host.abi;
    let value = match seen(host, map)?.get(&name) {
        Some(value) => value,
        // The first version does not tell an empty value from none.
        None if abi == Abi::V0_1_0 => Vec::new(),
        None => return Err(Status::NotFound.into()),
    };
    guest.give(&value, place, size)
}

fn get_all(guest: &mut Guest<'_>, map: u32, place: u32, size: u32) -> Done {
    let pairs = match seen(guest.host(), map) {
        Ok(map) => pairs::encode(&map.pairs()),
        // What is not there has no pairs.
        Err(_) if map <= 7 => pairs::encode(&[]),
        Err(status) => return Err(status.into()),
    };
    guest.give(&pairs, place, size)
}

fn size(guest: &mut Guest<'_>, map: u32, at: u32) -> Done {
    let size = seen(guest.host(), map)?.size();
    Ok(guest.write_number(at, size as u32)?)
}

fn write(guest: &mut Guest<'_>, map: u32, name: (u32, u32), value: (u32, u32), adds: bool) -> Done {
    let (name, value) = (guest.bytes(name.0, name.1)?, guest.bytes(value.0, value.1)?);
    let write = |map: &mut Map<'_>| if adds { map.add(&name, &value) } else { map.replace(&name, &value) };
    Ok(change(guest.host(), map, write)??)
}

fn remove(guest: &mut Guest<'_>, map: u32, name: (u32, u32)) -> Done {
    let name = guest.bytes(name.0, name.1)?;
    Ok(change(guest.host(), map, |map| map.remove(&name))?)
}

fn set_all(guest: &mut Guest<'_>, map: u32, at: u32, length: u32) -> Done {
    let bytes = guest.bytes(at, length)?;
    let pairs = pairs::decode(&bytes).ok_or(Status::BadArgument)?;
    Ok(change(guest.host(), map, |map| map.set(&pairs))??)
}
