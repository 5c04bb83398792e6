//! The guest's memory as host functions use it: every place that a guest names is checked.

use wasmtime::{Caller, Error};

use super::Host;
use crate::abi::Status;

/// The guest that calls a function.
pub(super) struct Guest<'c>(pub Caller<'c, Host>);

/// Why a host function does nothing: the guest is answered so, or it is at its end.
pub(super) enum Refusal {
    Status(Status),
    Trap(Error),
}

/// What a host function comes to.
pub(super) type Done<T = ()> = Result<T, Refusal>;

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// What the guest is answered.
pub(super) fn code(done: Done) -> wasmtime::Result<u32> {
    match done {
        Ok(()) => Ok(0),
        Err(Refusal::Status(status)) => Ok(status as u32),
        Err(Refusal::Trap(error)) => Err(error),
    }
}

impl Guest<'_> {
    /// The host's side.
    pub(super) fn host(&mut self) -> &mut Host {
        self.0.data_mut()
    }

    /// Bytes of the guest's.
    pub(super) fn read(&self, at: u32, length: u32) -> Result<&[u8], Status> {
        let memory = self.0.data().memory.ok_or(Status::InvalidMemoryAccess)?;
        let end = (at as usize).checked_add(length as usize).ok_or(Status::InvalidMemoryAccess)?;
        memory.data(&self.0).get(at as usize..end).ok_or(Status::InvalidMemoryAccess)
    }

    /// The same, to keep.
    pub(super) fn bytes(&self, at: u32, length: u32) -> Result<Vec<u8>, Status> {
        self.read(at, length).map(<[u8]>::to_vec)
    }

    /// A number of the guest's.
    pub(super) fn number(&self, at: u32) -> Result<u32, Status> {
        let bytes = self.read(at, 4)?.try_into().map_err(|_| Status::InvalidMemoryAccess)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Writes bytes there.
    pub(super) fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Status> {
        let memory = self.0.data().memory.ok_or(Status::InvalidMemoryAccess)?;
        memory.write(&mut self.0, at as usize, bytes).map_err(|_| Status::InvalidMemoryAccess)
    }

    /// Writes a number there.
    pub(super) fn write_number(&mut self, at: u32, number: u32) -> Result<(), Status> {
        self.write(at, &number.to_le_bytes())
    }

    /// Gives bytes to the guest, in room that it makes itself, and tells it where they are and how many. Of none, it is told
    /// nowhere.
    pub(super) fn give(&mut self, bytes: &[u8], place_at: u32, length_at: u32) -> Done {
        // Both are looked at before room is made that nobody would free.
        self.read(place_at, 4)?;
        self.read(length_at, 4)?;
        let length = u32::try_from(bytes.len()).map_err(|_| Status::InternalFailure)?;
        let place = if length == 0 { 0 } else { self.room(length)? };
        self.write(place, bytes)?;
        self.write_number(place_at, place)?;
        self.write_number(length_at, length)?;
        Ok(())
    }

    fn room(&mut self, length: u32) -> Done<u32> {
        let allocate = self.0.data().allocate.clone().ok_or(Status::InternalFailure)?;
        match allocate.call(&mut self.0, length).map_err(Refusal::Trap)? {
            0 => Err(Status::InvalidMemoryAccess.into()),
            place => Ok(place),
        }
    }
}
