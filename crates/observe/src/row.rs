//! Figures of outcomes as bytes: what memory holds of the past and, compressed, the disk. Counts and sparse buckets are
//! kept, so that sums over any window are exact.
//!
//! A row is a run of records, by outcome ascending: the outcome's number as a difference, a mask of the figures that are
//! not 0, these as variable-length numbers, and the buckets that are not empty.

/// What happened with one outcome of one edge in a span of time.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Cell {
    /// Requests that ended, or connections that were opened.
    pub count: u64,
    /// Connections that were closed.
    pub closed: u64,
    /// Sum of durations.
    pub micros: u64,
    /// Bytes of requests, or from the client.
    pub bytes_in: u64,
    /// Bytes of responses, or to the client.
    pub bytes_out: u64,
    /// Messages of gRPC.
    pub messages_in: u64,
    pub messages_out: u64,
    /// Connections that stand at the end.
    pub open: u64,
    /// Buckets of duration that are not empty, ascending.
    pub spread: Vec<(u8, u64)>,
}

impl Clone for Cell {
    fn clone(&self) -> Self {
        let mut cell = Self::default();
        cell.clone_from(self);
        cell
    }

    /// Without new memory for the buckets, if there is enough.
    fn clone_from(&mut self, other: &Self) {
        self.set(other.figures());
        self.spread.clone_from(&other.spread);
    }
}

impl Cell {
    const FIGURES: usize = 8;

    fn figures(&self) -> [u64; Self::FIGURES] {
        let Self { count, closed, micros, bytes_in, bytes_out, messages_in, messages_out, open, .. } = *self;
        [count, closed, micros, bytes_in, bytes_out, messages_in, messages_out, open]
    }

    fn set(&mut self, figures: [u64; Self::FIGURES]) {
        let [count, closed, micros, bytes_in, bytes_out, messages_in, messages_out, open] = figures;
        let spread = std::mem::take(&mut self.spread);
        *self = Self { count, closed, micros, bytes_in, bytes_out, messages_in, messages_out, open, spread };
    }

    /// Adds what came later; what stands is told by the later one.
    pub fn add(&mut self, later: &Self) {
        let (mut mine, its) = (self.figures(), later.figures());
        mine.iter_mut().zip(its).for_each(|(mine, its)| *mine = mine.saturating_add(its));
        mine[Self::FIGURES - 1] = later.open;
        self.set(mine);
        self.add_spread(&later.spread);
    }

    /// Counts in a bucket.
    pub fn add_to(&mut self, bucket: u8, times: u64) {
        self.add_spread(&[(bucket, times)]);
    }

    /// Counts in buckets that ascend, of which most are there already.
    pub fn add_spread(&mut self, later: &[(u8, u64)]) {
        let mut at = 0;
        for &(bucket, times) in later {
            while self.spread.get(at).is_some_and(|(before, _)| *before < bucket) {
                at += 1;
            }
            match self.spread.get_mut(at) {
                Some((same, sum)) if *same == bucket => *sum = sum.saturating_add(times),
                _ => self.spread.insert(at, (bucket, times)),
            }
        }
    }
}

/// A row that is cut short or was not written by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a row of figures is torn")]
pub(crate) struct Torn;

/// Writes records; outcomes must ascend.
#[derive(Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    last: u32,
}

impl Writer {
    pub fn put(&mut self, outcome: u32, cell: &Cell) {
        self.number(u64::from(outcome.wrapping_sub(self.last)));
        self.last = outcome;
        let figures = cell.figures();
        let mask = figures.iter().enumerate().fold(0u8, |mask, (bit, it)| mask | u8::from(*it != 0) << bit);
        self.bytes.push(mask);
        figures.iter().filter(|it| **it != 0).for_each(|it| self.number(*it));
        self.number(cell.spread.len() as u64);
        let mut before = 0;
        for &(bucket, times) in &cell.spread {
            self.bytes.push(bucket - before);
            before = bucket;
            self.number(times);
        }
    }

    pub fn finish(self) -> Box<[u8]> {
        self.bytes.into()
    }

    fn number(&mut self, number: u64) {
        put_number(&mut self.bytes, number);
    }
}

/// Writes a number of variable length: seven bits a byte, the lowest first.
pub(crate) fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Shows every record of a row.
pub(crate) fn visit(mut row: &[u8], mut show: impl FnMut(u32, &Cell)) -> Result<(), Torn> {
    let (mut outcome, mut cell) = (0u32, Cell::default());
    while !row.is_empty() {
        let step = u32::try_from(number(&mut row)?).map_err(|_| Torn)?;
        outcome = outcome.checked_add(step).ok_or(Torn)?;
        let mask = byte(&mut row)?;
        let mut figures = [0; Cell::FIGURES];
        for (bit, figure) in figures.iter_mut().enumerate() {
            if mask & 1 << bit != 0 {
                *figure = number(&mut row)?;
            }
        }
        cell.set(figures);
        cell.spread.clear();
        let (buckets, mut bucket) = (number(&mut row)?, 0u8);
        for _ in 0..buckets {
            bucket = bucket.checked_add(byte(&mut row)?).ok_or(Torn)?;
            cell.spread.push((bucket, number(&mut row)?));
        }
        show(outcome, &cell);
    }
    Ok(())
}

fn byte(row: &mut &[u8]) -> Result<u8, Torn> {
    let (first, rest) = row.split_first().ok_or(Torn)?;
    *row = rest;
    Ok(*first)
}

/// Reads what [`put_number`] wrote.
pub(crate) fn number(row: &mut &[u8]) -> Result<u64, Torn> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = byte(row)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(Torn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cells() -> impl Strategy<Value = Cell> {
        let spread = prop::collection::btree_map(0u8..90, 1u64.., 0..8);
        (any::<[u32; 8]>(), any::<bool>(), spread).prop_map(|(figures, wide, spread)| {
            let mut cell = Cell { spread: spread.into_iter().collect(), ..Cell::default() };
            cell.set(figures.map(|it| u64::from(it) << if wide { 32 } else { 0 }));
            cell
        })
    }

    proptest! {
        #[test]
        fn read_as_written(cells in prop::collection::btree_map(any::<u32>(), cells(), 0..20)) {
            let mut writer = Writer::default();
            cells.iter().for_each(|(outcome, cell)| writer.put(*outcome, cell));
            let mut read = std::collections::BTreeMap::new();
            visit(&writer.finish(), |outcome, cell| drop(read.insert(outcome, cell.clone()))).unwrap();
            prop_assert_eq!(read, cells);
        }

        #[test]
        fn buckets_of_both_are_added(mut one in cells(), other in cells()) {
            let mut wanted = std::collections::BTreeMap::<u8, u64>::new();
            for (bucket, times) in one.spread.iter().chain(&other.spread) {
                let sum = wanted.entry(*bucket).or_default();
                *sum = sum.saturating_add(*times);
            }
            one.add(&other);
            prop_assert_eq!(one.spread, wanted.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn bytes_of_strangers_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = visit(&bytes, |_, _| ());
        }
    }
}
