//! What modules share across workers: data with compare-and-swap, and queues. Both by the identifier of their VM.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::abi::Status;
use crate::bounds;

/// All that modules of this process share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    spaces: Mutex<HashMap<Arc<str>, Weak<Space>>>,
    queues: Mutex<Queues>,
}

/// What modules of one VM identifier share, for as long as there is any.
#[derive(Debug)]
pub(crate) struct Space {
    pub vm_id: Arc<str>,
    data: Mutex<Data>,
    shared: Weak<Shared>,
}

#[derive(Debug, Default)]
struct Data {
    values: HashMap<Bytes, (Bytes, u32)>,
    bytes: usize,
    /// The number of the last write.
    writes: u32,
}

#[derive(Debug, Default)]
struct Queues {
    tokens: HashMap<(Arc<str>, Bytes), u32>,
    queues: HashMap<u32, Queue>,
    last: u32,
}

#[derive(Debug)]
struct Queue {
    items: VecDeque<Bytes>,
    bytes: usize,
    /// Who is told of items: the last that registered it.
    reader: mpsc::Sender<u32>,
}

impl Shared {
    /// What modules of this identifier share.
    pub(crate) fn space(self: &Arc<Self>, vm_id: &Arc<str>) -> Arc<Space> {
        let mut spaces = lock(&self.spaces);
        if let Some(space) = spaces.get(vm_id).and_then(Weak::upgrade) {
            return space;
        }
        let space = Space { vm_id: vm_id.clone(), data: Mutex::default(), shared: Arc::downgrade(self) };
        let space = Arc::new(space);
        spaces.insert(vm_id.clone(), Arc::downgrade(&space));
        space
    }

    /// The token of a queue, made if it is new. `reader` is told of its items.
    pub(crate) fn register(&self, vm_id: &Arc<str>, name: &[u8], reader: mpsc::Sender<u32>) -> Result<u32, Status> {
        let mut queues = lock(&self.queues);
        let key = (vm_id.clone(), Bytes::copy_from_slice(name));
        if let Some(token) = queues.tokens.get(&key).copied() {
            if let Some(queue) = queues.queues.get_mut(&token) {
                queue.reader = reader;
            }
            return Ok(token);
        }
        if queues.queues.len() >= bounds::QUEUES || name.len() > bounds::METRIC_NAME {
            return Err(Status::InternalFailure);
        }
        queues.last += 1;
        let token = queues.last;
        queues.tokens.insert(key, token);
        queues.queues.insert(token, Queue { items: VecDeque::new(), bytes: 0, reader });
        Ok(token)
    }

    /// The token of a queue that was registered.
    pub(crate) fn resolve(&self, vm_id: &str, name: &[u8]) -> Result<u32, Status> {
        let key = (vm_id.into(), Bytes::copy_from_slice(name));
        lock(&self.queues).tokens.get(&key).copied().ok_or(Status::NotFound)
    }

    /// Puts an item at the end, and tells the reader.
    pub(crate) fn enqueue(&self, token: u32, item: &[u8]) -> Result<(), Status> {
        let mut queues = lock(&self.queues);
        let queue = queues.queues.get_mut(&token).ok_or(Status::NotFound)?;
        if queue.items.len() >= bounds::QUEUE_ITEMS || queue.bytes + item.len() > bounds::QUEUE_BYTES {
            return Err(Status::InternalFailure);
        }
        queue.bytes += item.len();
        queue.items.push_back(Bytes::copy_from_slice(item));
        // A reader that has not yet heard of so many others looks at them first.
        let _ = queue.reader.try_send(token);
        Ok(())
    }

    /// Takes the first item.
    pub(crate) fn dequeue(&self, token: u32) -> Result<Bytes, Status> {
        let mut queues = lock(&self.queues);
        let queue = queues.queues.get_mut(&token).ok_or(Status::NotFound)?;
        let item = queue.items.pop_front().ok_or(Status::Empty)?;
        queue.bytes -= item.len();
        Ok(item)
    }
}

impl Space {
    /// A value, and the number of its write.
    pub(crate) fn get(&self, key: &[u8]) -> Result<(Bytes, u32), Status> {
        lock(&self.data).values.get(key).cloned().ok_or(Status::NotFound)
    }

    /// Writes a value, if the one there is of this write; zero: whatever is there.
    pub(crate) fn set(&self, key: &[u8], value: &[u8], cas: u32) -> Result<(), Status> {
        let mut data = lock(&self.data);
        let there = data.values.get(key).map(|(value, cas)| (value.len(), *cas));
        if cas != 0 && there.is_none_or(|(_, last)| last != cas) {
            return Err(Status::CasMismatch);
        }
        let less = there.map_or(0, |(length, _)| key.len() + length);
        let bytes = data.bytes - less + key.len() + value.len();
        if bytes > bounds::SHARED_BYTES || there.is_none() && data.values.len() >= bounds::SHARED_KEYS {
            return Err(Status::InternalFailure);
        }
        data.bytes = bytes;
        // Zero is no number of a write.
        data.writes = data.writes.wrapping_add(1).max(1);
        let write = data.writes;
        data.values.insert(Bytes::copy_from_slice(key), (Bytes::copy_from_slice(value), write));
        Ok(())
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut spaces = lock(&shared.spaces);
        // Another may have taken its place meanwhile.
        if spaces.get(&self.vm_id).is_some_and(|space| space.strong_count() > 0) {
            return;
        }
        spaces.remove(&self.vm_id);
        let queues = &mut *lock(&shared.queues);
        queues.tokens.retain(|(vm_id, _), token| {
            let other = *vm_id != self.vm_id;
            if !other {
                queues.queues.remove(token);
            }
            other
        });
    }
}

/// Nothing is left half done where a holder of these panics.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compare_and_swap() {
        let shared = Arc::new(Shared::default());
        let space = shared.space(&"vm".into());
        assert_eq!(space.get(b"k"), Err(Status::NotFound));
        assert_eq!(space.set(b"k", b"1", 7), Err(Status::CasMismatch));
        space.set(b"k", b"1", 0).unwrap();
        let (value, cas) = shared.space(&"vm".into()).get(b"k").unwrap();
        assert_eq!(value, "1");
        space.set(b"k", b"2", cas).unwrap();
        assert_eq!(space.set(b"k", b"3", cas), Err(Status::CasMismatch));
        assert_eq!(shared.space(&"other".into()).get(b"k"), Err(Status::NotFound));
        assert_eq!(space.set(b"big", &vec![0; bounds::SHARED_BYTES], 0), Err(Status::InternalFailure));
        drop(space);
        assert_eq!(shared.space(&"vm".into()).get(b"k"), Err(Status::NotFound), "gone with the last module");
    }

    #[test]
    fn queues() {
        let shared = Arc::new(Shared::default());
        let vm: Arc<str> = "vm".into();
        let space = shared.space(&vm);
        let (reader, mut told) = mpsc::channel(1);
        let token = shared.register(&vm, b"q", reader.clone()).unwrap();
        assert_eq!(shared.register(&vm, b"q", reader), Ok(token));
        assert_eq!(shared.resolve("vm", b"q"), Ok(token));
        assert_eq!(shared.resolve("other", b"q"), Err(Status::NotFound));
        shared.enqueue(token, b"1").unwrap();
        shared.enqueue(token, b"2").unwrap();
        assert_eq!((told.try_recv(), told.try_recv().is_err()), (Ok(token), true));
        assert_eq!(shared.dequeue(token).unwrap(), "1");
        assert_eq!(shared.dequeue(token).unwrap(), "2");
        assert_eq!(shared.dequeue(token), Err(Status::Empty));
        assert_eq!(shared.enqueue(token, &vec![0; bounds::QUEUE_BYTES + 1]), Err(Status::InternalFailure));
        drop(space);
        assert_eq!(shared.dequeue(token), Err(Status::NotFound));
    }
}
