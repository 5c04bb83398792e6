//! Traces on disk, each packed whole under its id.

use std::path::Path;

use redb::{ReadableTable, TableDefinition};

use super::span::Span;
use crate::file::{File, ObserveError};

const LAYOUT: u64 = 1;
const TRACES: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("traces");
const LEVEL: i32 = 3;
/// A trace is never larger when it is read.
const MOST_BYTES: usize = 64 << 20;

/// The file.
pub(crate) struct Shelf(File);

impl Shelf {
    pub fn open(dir: &Path, now: u64) -> Result<Self, ObserveError> {
        File::open(dir, "traces.redb", LAYOUT, now).map(Self)
    }

    /// Every trace, packed.
    pub fn all(&self, now: u64) -> Vec<(u128, Vec<u8>)> {
        let read = |database: &redb::Database| {
            let writing = database.begin_write()?;
            let mut found = Vec::new();
            for row in writing.open_table(TRACES)?.iter()? {
                let (trace, packed) = row?;
                found.push((trace.value(), packed.value().to_vec()));
            }
            writing.commit()?;
            Ok(found)
        };
        let mut all = self.0.with_database(now, read).unwrap_or_default();
        // As they came: ids say nothing of it.
        all.sort_by_cached_key(|(_, packed)| {
            unpack(packed).map_or(0, |it| it.iter().map(|s| s.start_us).min().unwrap_or(0))
        });
        all
    }

    /// Puts and removes. False if the disk did not take it.
    pub fn write(&self, put: &[(u128, Vec<u8>)], gone: &[u128], now: u64) -> bool {
        let write = |database: &redb::Database| {
            let mut writing = database.begin_write()?;
            writing.set_quick_repair(true);
            {
                let mut traces = writing.open_table(TRACES)?;
                for (trace, packed) in put {
                    traces.insert(trace, packed.as_slice())?;
                }
                for trace in gone {
                    traces.remove(trace)?;
                }
            }
            writing.commit()?;
            Ok(())
        };
        self.0.with_database(now, write).is_some()
    }
}

pub(crate) fn pack(spans: &[Span]) -> Vec<u8> {
    let plain = serde_json::to_vec(spans).unwrap_or_default();
    let mut packed = (plain.len() as u32).to_le_bytes().to_vec();
    packed.extend(zstd::bulk::compress(&plain, LEVEL).unwrap_or_default());
    packed
}

/// None if it is not what we packed.
pub(crate) fn unpack(packed: &[u8]) -> Option<Vec<Span>> {
    let (length, packed) = packed.split_first_chunk::<4>()?;
    let length = (u32::from_le_bytes(*length) as usize).min(MOST_BYTES);
    serde_json::from_slice(&zstd::bulk::decompress(packed, length).ok()?).ok()
}
