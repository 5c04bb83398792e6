//! Functions about what modules share: data, queues and metrics.

use wasmtime::{Caller, Linker};

use super::Host;
use super::memory::{Done, Guest, code};

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    type C<'c> = Caller<'c, Host>;
    let env = "env";
    linker
        .func_wrap(env, "proxy_get_shared_data", |c: C<'_>, k: u32, ks: u32, place: u32, size: u32, cas: u32| {
            code(get(&mut Guest(c), (k, ks), place, size, cas))
        })?
        .func_wrap(env, "proxy_set_shared_data", |c: C<'_>, k: u32, ks: u32, v: u32, vs: u32, cas: u32| {
            code(set(&mut Guest(c), (k, ks), (v, vs), cas))
        })?
        .func_wrap(env, "proxy_register_shared_queue", |c: C<'_>, name: u32, length: u32, token: u32| {
            code(register(&mut Guest(c), (name, length), token))
        })?
        .func_wrap(env, "proxy_resolve_shared_queue", |c: C<'_>, v: u32, vs: u32, n: u32, ns: u32, token: u32| {
            code(resolve(&mut Guest(c), (v, vs), (n, ns), token))
        })?
        .func_wrap(env, "proxy_enqueue_shared_queue", |c: C<'_>, token: u32, at: u32, length: u32| {
            code(enqueue(&mut Guest(c), token, at, length))
        })?
        .func_wrap(env, "proxy_dequeue_shared_queue", |c: C<'_>, token: u32, place: u32, size: u32| {
            code(dequeue(&mut Guest(c), token, place, size))
        })?
        .func_wrap(env, "proxy_define_metric", |c: C<'_>, kind: u32, name: u32, length: u32, id: u32| {
            code(define(&mut Guest(c), kind, (name, length), id))
        })?
        .func_wrap(env, "proxy_increment_metric", |mut c: C<'_>, metric: u32, by: i64| {
            code(c.data_mut().metrics.increment(metric, by).map_err(Into::into))
        })?
        .func_wrap(env, "proxy_record_metric", |mut c: C<'_>, metric: u32, value: u64| {
            code(c.data_mut().metrics.record(metric, value).map_err(Into::into))
        })?
        .func_wrap(env, "proxy_get_metric", |c: C<'_>, metric: u32, at: u32| code(value(&mut Guest(c), metric, at)))?;
    Ok(())
}

fn get(guest: &mut Guest<'_>, key: (u32, u32), place: u32, size: u32, cas_at: u32) -> Done {
    let key = guest.bytes(key.0, key.1)?;
    let (value, cas) = guest.host().own.space.get(&key)?;
    guest.write_number(cas_at, cas)?;
    guest.give(&value, place, size)
}

fn set(guest: &mut Guest<'_>, key: (u32, u32), value: (u32, u32), cas: u32) -> Done {
    let space = guest.host().own.space.clone();
    Ok(space.set(guest.read(key.0, key.1)?, guest.read(value.0, value.1)?, cas)?)
}

fn register(guest: &mut Guest<'_>, name: (u32, u32), token_at: u32) -> Done {
    let name = guest.bytes(name.0, name.1)?;
    guest.read(token_at, 4)?;
    let host = guest.host();
    let reader = host.root()?.1.queues.clone();
    let token = host.own.shared.register(&host.own.space.vm_id, &name, reader)?;
    Ok(guest.write_number(token_at, token)?)
}

fn resolve(guest: &mut Guest<'_>, vm_id: (u32, u32), name: (u32, u32), token_at: u32) -> Done {
    let (vm_id, name) = (guest.bytes(vm_id.0, vm_id.1)?, guest.bytes(name.0, name.1)?);
    let own = &guest.host().own;
    // Its own, if it names none.
    let vm_id = if vm_id.is_empty() { own.space.vm_id.as_ref().into() } else { String::from_utf8_lossy(&vm_id) };
    let token = own.shared.resolve(&vm_id, &name)?;
    Ok(guest.write_number(token_at, token)?)
}

fn enqueue(guest: &mut Guest<'_>, token: u32, at: u32, length: u32) -> Done {
    let shared = guest.host().own.shared.clone();
    Ok(shared.enqueue(token, guest.read(at, length)?)?)
}

fn dequeue(guest: &mut Guest<'_>, token: u32, place: u32, size: u32) -> Done {
    let item = guest.host().own.shared.dequeue(token)?;
    guest.give(&item, place, size)
}

fn define(guest: &mut Guest<'_>, kind: u32, name: (u32, u32), id_at: u32) -> Done {
    let name = guest.bytes(name.0, name.1)?;
    guest.read(id_at, 4)?;
    let id = guest.host().metrics.define(kind, &name)?;
    Ok(guest.write_number(id_at, id)?)
}

fn value(guest: &mut Guest<'_>, metric: u32, at: u32) -> Done {
    let value = guest.host().metrics.value(metric)?;
    Ok(guest.write(at, &value.to_le_bytes())?)
}
