//! What happens now and in the last minutes: figures are added up in a slot of five seconds; slots that are over become
//! frames, and frames larger frames, some of which are for the disk.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::book::{Book, Outcome};
use crate::row::{Cell, Writer};
use crate::window::Sums;

/// How fine figures are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Step {
    /// 5 s, in memory for two minutes.
    Fine,
    /// 15 s, in memory for ten minutes and on disk for hours.
    Medium,
    /// 5 minutes, on disk for days.
    Coarse,
}

impl Step {
    pub const fn ms(self) -> u64 {
        match self {
            Self::Fine => 5_000,
            Self::Medium => 15_000,
            Self::Coarse => 300_000,
        }
    }

    /// The start of the step in which a time is.
    pub const fn floor(self, at: u64) -> u64 {
        at - at % self.ms()
    }
}

/// So long fine frames are kept, in ms.
pub(crate) const FINE_KEPT: u64 = 120_000;
/// So long medium ones are kept in memory.
pub(crate) const MEDIUM_KEPT: u64 = 600_000;
/// A clock that goes back by more has jumped.
const JUMP: u64 = 60_000;
/// Frames that wait for the disk: of ten minutes.
const MOST_PENDING: usize = 45;

/// Figures of a step of time, in rows by group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    pub start: u64,
    pub rows: Vec<(u32, Box<[u8]>)>,
}

impl Frame {
    /// Of cells by group and outcome.
    fn of(start: u64, cells: &BTreeMap<(u32, u32), Cell>) -> Self {
        let mut rows: Vec<(u32, Writer)> = Vec::new();
        for (&(group, outcome), cell) in cells {
            if rows.last().is_none_or(|(last, _)| *last != group) {
                rows.push((group, Writer::default()));
            }
            if let Some((_, row)) = rows.last_mut() {
                row.put(outcome, cell);
            }
        }
        Self { start, rows: rows.into_iter().map(|(group, row)| (group, row.finish())).collect() }
    }

    /// Frames one after the other as one.
    fn sum<'a>(start: u64, frames: impl Iterator<Item = &'a Arc<Self>>) -> Self {
        let frames: Vec<&Arc<Self>> = frames.collect();
        let groups: BTreeSet<u32> =
            frames.iter().flat_map(|frame| frame.rows.iter().map(|(group, _)| *group)).collect();
        let mut sums = Sums::default();
        let rows = groups.into_iter().map(|wanted| {
            sums.clear();
            for frame in &frames {
                sums.close_connections();
                let at = frame.rows.binary_search_by_key(&wanted, |(group, _)| *group);
                at.into_iter().for_each(|at| sums.add_row(&frame.rows[at].1));
            }
            let mut outcomes: Vec<(u32, &Cell)> = sums.iter().collect();
            outcomes.sort_unstable_by_key(|(outcome, _)| *outcome);
            let mut row = Writer::default();
            outcomes.into_iter().for_each(|(outcome, cell)| row.put(outcome, cell));
            (wanted, row.finish())
        });
        Self { start, rows: rows.collect() }
    }
}

/// A step that waits for the disk.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub step: Step,
    pub start: u64,
    /// What it is the sum of: added up by who writes it, so that no report waits for that.
    pub frames: Vec<Arc<Frame>>,
}

impl Pending {
    /// The step as one frame.
    pub fn frame(&self) -> Arc<Frame> {
        match &*self.frames {
            [one] if one.start == self.start => one.clone(),
            several => Arc::new(Frame::sum(self.start, several.iter())),
        }
    }
}

/// The table of what happens.
#[derive(Debug)]
pub(crate) struct Table {
    pub book: Book,
    /// Start of the slot.
    slot: u64,
    /// When the first figure may have come.
    since: u64,
    current: HashMap<u32, Cell>,
    /// Connections that stand, by outcome, of all tellers together.
    open: HashMap<u32, u64>,
    fine: VecDeque<Arc<Frame>>,
    medium: VecDeque<Arc<Frame>>,
    pending: VecDeque<Pending>,
    /// Is there a disk that takes frames?
    for_disk: bool,
}

/// The table as it stands at one moment, for a question that must not hold others up.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub now: u64,
    pub slot: u64,
    pub since: u64,
    pub outcomes: Arc<Vec<Option<Arc<Outcome>>>>,
    pub fine: Vec<Arc<Frame>>,
    pub medium: Vec<Arc<Frame>>,
    pub pending: Vec<Pending>,
    pub live: Frame,
}

impl Table {
    pub fn new(book: Book, now: u64, for_disk: bool) -> Self {
        let slot = Step::Fine.floor(now);
        Self {
            book,
            slot,
            since: slot,
            current: HashMap::new(),
            open: HashMap::new(),
            fine: VecDeque::new(),
            medium: VecDeque::new(),
            pending: VecDeque::new(),
            for_disk,
        }
    }

    /// Frames of the last minutes that the disk had, the oldest first, and starts of the coarse steps that it has: a
    /// coarse step that ended while nobody was here is made up for.
    pub fn restore(&mut self, medium: Vec<Frame>, coarse: &BTreeSet<u64>) {
        self.medium = medium.into_iter().map(Arc::new).collect();
        let starts: BTreeSet<u64> = self.medium.iter().map(|frame| Step::Coarse.floor(frame.start)).collect();
        let first = self.medium.front().map(|frame| frame.start);
        let now = Step::Coarse.floor(self.slot);
        for start in starts.difference(coarse) {
            // Of the first it may be that there was more.
            if *start < now && first <= Some(*start) {
                self.close_coarse(*start);
            }
        }
    }

    /// Adds figures of an outcome to the slot.
    pub fn add(&mut self, outcome: u32, cell: &Cell) {
        let mine = self.current.entry(outcome).or_default();
        let open = mine.open;
        mine.add(cell);
        mine.open = open;
    }

    /// One teller's connections that stand were so many and are so many.
    pub fn set_open(&mut self, outcome: u32, was: u64, is: u64) {
        let open = self.open.entry(outcome).or_default();
        *open = open.saturating_sub(was).saturating_add(is);
        if *open == 0 {
            self.open.remove(&outcome);
        }
    }

    /// Goes on to the slot of this time. A clock that goes back a little makes the slot longer; one that jumps back
    /// begins anew there, and what it measured in a future that did not come is dropped.
    pub fn roll(&mut self, now: u64) {
        let next = Step::Fine.floor(now);
        if next == self.slot || (next < self.slot && self.slot - next <= JUMP) {
            return;
        }
        let last = self.slot;
        let frame = Arc::new(self.live());
        self.touch();
        self.current.clear();
        self.fine.push_back(frame);
        self.slot = next;
        if next < last {
            tracing::warn!("the clock went back by {} s: figures go on from there", (last - next) / 1000);
            self.fine.retain(|frame| frame.start < next);
            self.medium.retain(|frame| frame.start < next);
            self.since = self.since.min(next);
            return;
        }
        if Step::Medium.floor(last) != Step::Medium.floor(next) {
            let start = Step::Medium.floor(last);
            let frame = Arc::new(Frame::sum(start, self.fine.iter().filter(|frame| frame.start >= start)));
            if !frame.rows.is_empty() {
                self.medium.push_back(frame.clone());
                self.wait(Step::Medium, start, vec![frame]);
            }
        }
        if Step::Coarse.floor(last) != Step::Coarse.floor(next) {
            self.close_coarse(Step::Coarse.floor(last));
        }
        let (fine_from, medium_from) = (next.saturating_sub(FINE_KEPT), next.saturating_sub(MEDIUM_KEPT));
        self.fine.retain(|frame| frame.start >= fine_from);
        self.medium.retain(|frame| frame.start >= medium_from);
    }

    fn close_coarse(&mut self, start: u64) {
        let within = start..start + Step::Coarse.ms();
        let frames: Vec<Arc<Frame>> =
            self.medium.iter().filter(|frame| within.contains(&frame.start)).cloned().collect();
        self.wait(Step::Coarse, start, frames);
    }

    fn wait(&mut self, step: Step, start: u64, frames: Vec<Arc<Frame>>) {
        if !self.for_disk || frames.is_empty() {
            return;
        }
        self.pending.push_back(Pending { step, start, frames });
        while self.pending.len() > MOST_PENDING {
            self.pending.pop_front();
        }
    }

    /// The slot as a frame.
    fn live(&self) -> Frame {
        let mut cells = BTreeMap::new();
        for (&outcome, cell) in &self.current {
            if let Some(known) = self.book.get(outcome) {
                let open = self.open.get(&outcome).copied().unwrap_or(0);
                cells.insert((known.edge.group, outcome), Cell { open, ..cell.clone() });
            }
        }
        for (&outcome, &open) in &self.open {
            if let Some(known) = self.book.get(outcome) {
                cells.entry((known.edge.group, outcome)).or_insert(Cell { open, ..Cell::default() });
            }
        }
        Frame::of(self.slot, &cells)
    }

    fn touch(&self) {
        for outcome in self.current.keys().chain(self.open.keys()).filter_map(|id| self.book.get(*id)) {
            outcome.edge.last.store(self.slot, Relaxed);
        }
    }

    pub fn snapshot(&self, now: u64) -> Snapshot {
        Snapshot {
            now: now.max(self.slot),
            slot: self.slot,
            since: self.since,
            outcomes: Arc::new(self.book.all()),
            fine: self.fine.iter().cloned().collect(),
            medium: self.medium.iter().cloned().collect(),
            pending: self.pending.iter().cloned().collect(),
            live: self.live(),
        }
    }

    /// Frames that wait for the disk.
    pub fn pending(&self) -> Vec<Pending> {
        self.pending.iter().cloned().collect()
    }

    /// The disk has these.
    pub fn written(&mut self, written: &[Pending]) {
        let same = |a: &Pending, b: &Pending| {
            (a.step, a.start) == (b.step, b.start) && a.frames.iter().zip(&b.frames).all(|(a, b)| Arc::ptr_eq(a, b))
        };
        self.pending.retain(|waits| !written.iter().any(|done| same(waits, done)));
    }
}
