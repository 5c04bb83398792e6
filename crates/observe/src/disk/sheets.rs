//! A step as it lies on the disk: the rows of its groups, each compressed by itself, one after the other behind their
//! list, cut into sheets that fill a page of the database each. A row a page would leave half of it empty: those of a
//! large mesh are of 2 KB.

use std::ops::Range;

use crate::row::{self, Torn};
use crate::table::Frame;

/// zstd's quickest level but one: rows are small.
const LEVEL: i32 = 1;
/// A row is never larger than this when it is read.
const MOST_ROW: usize = 16 << 20;
/// Nor is a step, packed.
const MOST_STEP: usize = 256 << 20;
/// redb's page.
const PAGE: usize = 4096;
/// What one row of a table takes beside its value: 4 bytes for where it ends, 13 for our key; a page takes 4 itself.
const AROUND: usize = 17;
/// So much of a step is on one sheet.
const SHEET: usize = PAGE - 4 - AROUND;

/// Makes sheets. Memory is used again.
pub(super) struct Packer {
    compressor: zstd::bulk::Compressor<'static>,
    rows: Vec<u8>,
    step: Vec<u8>,
}

impl Packer {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { compressor: zstd::bulk::Compressor::new(LEVEL)?, rows: Vec::new(), step: Vec::new() })
    }

    /// The sheets of a step, and the room that they take.
    pub fn sheets(&mut self, frame: &Frame) -> std::io::Result<(impl Iterator<Item = &[u8]>, u64)> {
        self.rows.clear();
        self.step.clear();
        row::put_number(&mut self.step, frame.rows.len() as u64);
        let mut last = 0;
        for (group, raw) in &frame.rows {
            let packed = self.compressor.compress(raw)?;
            for number in [u64::from(group - last), packed.len() as u64, raw.len() as u64] {
                row::put_number(&mut self.step, number);
            }
            self.rows.extend(packed);
            last = *group;
        }
        self.step.append(&mut self.rows);
        let room = room(self.step.len());
        Ok((self.step.chunks(SHEET), room))
    }
}

/// What a step of so many bytes takes of the file. Several small ones share a page, which is half full after it was
/// divided.
fn room(bytes: usize) -> u64 {
    let pages = bytes.div_ceil(SHEET) * PAGE;
    pages.min(2 * (bytes + AROUND)) as u64
}

/// The sheets of a step, those that were needed so far. Memory is used again.
pub(super) struct Reader {
    unpacker: zstd::bulk::Decompressor<'static>,
    /// With gaps where sheets were not taken.
    step: Vec<u8>,
    taken: Vec<bool>,
    row: Vec<u8>,
}

impl Reader {
    pub fn new() -> std::io::Result<Self> {
        let unpacker = zstd::bulk::Decompressor::new()?;
        Ok(Self { unpacker, step: Vec::new(), taken: Vec::new(), row: Vec::new() })
    }

    /// Begins another step.
    pub fn begin(&mut self) {
        self.step.clear();
        self.taken.clear();
    }

    /// Takes a sheet of the step, if a step may have so many.
    pub fn take(&mut self, number: u32, sheet: &[u8]) {
        let (at, from) = (number as usize, number as usize * SHEET);
        if from > MOST_STEP {
            return;
        }
        self.step.resize(self.step.len().max(from + sheet.len()), 0);
        self.step[from..from + sheet.len()].copy_from_slice(sheet);
        self.taken.resize(self.taken.len().max(at + 1), false);
        self.taken[at] = true;
    }

    pub fn has(&self, number: u32) -> bool {
        self.taken.get(number as usize) == Some(&true)
    }

    /// What is in the step; torn if its list goes on beyond the sheets that were taken.
    pub fn list(&self) -> Result<Vec<Listed>, Torn> {
        let mut rest = &self.step[..];
        let (count, mut group, mut at) = (row::number(&mut rest)?, 0u64, 0usize);
        // Who tears a step may write any number.
        let mut list = Vec::with_capacity((count as usize).min(rest.len() / 3));
        for _ in 0..count {
            let [step, packed, raw] = [row::number(&mut rest)?, row::number(&mut rest)?, row::number(&mut rest)?];
            group = group.checked_add(step).ok_or(Torn)?;
            let end = at.checked_add(packed as usize).filter(|end| *end <= MOST_STEP).ok_or(Torn)?;
            list.push(Listed { group: u32::try_from(group).map_err(|_| Torn)?, at: at..end, raw: raw as usize });
            at = end;
        }
        let before = self.step.len() - rest.len();
        list.iter_mut().for_each(|it| it.at = before + it.at.start..before + it.at.end);
        Ok(list)
    }

    /// The row of a group; None if it is not what we packed.
    pub fn row(&mut self, of: &Listed) -> Option<&[u8]> {
        if of.raw > MOST_ROW {
            return None;
        }
        let packed = self.step.get(of.at.clone())?;
        self.row.clear();
        self.row.reserve(of.raw);
        self.unpacker.decompress_to_buffer(packed, &mut self.row).ok()?;
        Some(&self.row)
    }
}

/// A row of a step.
pub(super) struct Listed {
    pub group: u32,
    /// Where it lies in the step.
    at: Range<usize>,
    /// Its length when it is unpacked.
    raw: usize,
}

impl Listed {
    /// The sheets on which it lies.
    pub fn sheets(&self) -> impl Iterator<Item = u32> + use<> {
        (self.at.start / SHEET..self.at.end.div_ceil(SHEET)).map(|number| number as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames() -> impl Strategy<Value = Frame> {
        let row = (any::<u8>(), 0usize..9_000, any::<u64>()).prop_map(|(kind, length, seed)| -> Box<[u8]> {
            // Of one byte, or of such as cannot be made smaller.
            let byte = |n: u64| (n ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0];
            (0..length as u64).map(|n| if kind < 100 { kind } else { byte(n) }).collect()
        });
        let rows = prop::collection::btree_map(any::<u32>(), row, 0..12);
        rows.prop_map(|rows| Frame { start: 0, rows: rows.into_iter().collect() })
    }

    proptest! {
        #[test]
        fn read_as_packed(frame in frames(), chosen in any::<prop::sample::Index>()) {
            let mut packer = Packer::new().unwrap();
            let (sheets, room) = packer.sheets(&frame).unwrap();
            let sheets: Vec<Vec<u8>> = sheets.map(<[u8]>::to_vec).collect();
            prop_assert!(room as usize <= sheets.len() * PAGE);
            let mut reader = Reader::new().unwrap();
            sheets.iter().enumerate().for_each(|(number, sheet)| reader.take(number as u32, sheet));
            let list = reader.list().unwrap();
            let read: Vec<_> = list.iter().map(|it| (it.group, reader.row(it).unwrap().into())).collect();
            prop_assert_eq!(&read, &frame.rows);
            // One row alone, by the sheets that it needs.
            if frame.rows.is_empty() {
                return Ok(());
            }
            let chosen = chosen.index(frame.rows.len());
            reader.begin();
            for number in list[chosen].sheets() {
                prop_assert!(!reader.has(number));
                reader.take(number, &sheets[number as usize]);
            }
            prop_assert_eq!(reader.row(&list[chosen]), Some(&*frame.rows[chosen].1));
        }

        #[test]
        fn bytes_of_strangers_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut reader = Reader::new().unwrap();
            reader.take(0, &bytes);
            for it in reader.list().unwrap_or_default() {
                let _ = reader.row(&it);
            }
        }
    }
}
