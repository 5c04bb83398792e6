//! How much a module may use, and how long others wait for it.

use std::time::Duration;

/// The memory of one instance, in bytes. What goes beyond is refused to the guest, as if the machine had no more.
pub const MEMORY: usize = 128 << 20;
/// The elements of one table of an instance: what it calls indirectly.
pub const TABLE: usize = 100_000;
/// How often a running guest is looked at.
pub const TICK: Duration = Duration::from_millis(10);
/// How long one call of a guest may run, in steps of [`TICK`]: one second. Then its instance is dead.
pub const TICKS_PER_CALL: u64 = 100;
/// The size of a compiled module's bytes before it is compiled.
pub const MODULE: usize = 64 << 20;
/// How long a request waits for the first load of its module.
pub const FIRST_LOAD: Duration = Duration::from_secs(10);
/// The first bound of the delay between two fetches of a module, or between two instances of one that died.
pub const RETRY_BASE: Duration = Duration::from_secs(1);
/// The last bound of that delay.
pub const RETRY_MAX: Duration = Duration::from_secs(60);
/// The bytes of a body that are held while a module pauses it. A longer request is refused with 413.
pub const PAUSED_BODY: usize = 1 << 20;
/// The bytes that a guest may make of one piece of a body.
pub const WRITTEN_BODY: usize = 16 << 20;
/// The bytes of names and values that a guest may make of one set of headers.
pub const HEADERS: usize = 1 << 20;
/// The headers of one set to which a guest may add others.
pub const HEADER_COUNT: usize = 1_000;
/// The bytes of one line of a guest's in the log; the rest is left out.
pub const LOG_LINE: usize = 8 << 10;
/// The requests of one instance that wait for answers.
pub const CALLS: usize = 1_000;
/// The shortest period of ticks.
pub const TICK_PERIOD: Duration = Duration::from_millis(1);
/// The keys that modules of one VM identifier share.
pub const SHARED_KEYS: usize = 10_000;
/// The bytes of those keys and their values.
pub const SHARED_BYTES: usize = 16 << 20;
/// The shared queues of the process.
pub const QUEUES: usize = 1_000;
/// The items of one shared queue.
pub const QUEUE_ITEMS: usize = 10_000;
/// The bytes of those items.
pub const QUEUE_BYTES: usize = 16 << 20;
/// The metrics that modules of the process define, by name.
pub const METRICS: usize = 1_000;
/// The bytes of a metric's name.
pub const METRIC_NAME: usize = 256;
/// The properties that a guest sets of one exchange.
pub const PROPERTIES: usize = 100;
/// The bytes of their names and values.
pub const PROPERTY_BYTES: usize = 64 << 10;
/// How long a filter that is gone waits for a guest that answered that it is not done.
pub const DONE: Duration = Duration::from_secs(10);
