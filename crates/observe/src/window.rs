//! Windows over the past: which frames of memory and disk a span of time is made of, and their sum.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::book::Outcome;
use crate::disk::History;
use crate::moment;
use crate::names::OVERFLOW;
use crate::row::{self, Cell};
use crate::table::{FINE_KEPT, MEDIUM_KEPT, Snapshot, Step};
use crate::tally::significant;

/// A span of time, in ms since 1970, with its end excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub from: u64,
    pub to: u64,
}

impl Span {
    pub fn seconds(self) -> f64 {
        (self.to.saturating_sub(self.from)) as f64 / 1000.0
    }
}

/// What counts are divided by: for a rate, and for the number that they stand for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measure {
    /// How long was counted.
    pub seconds: f64,
    /// Counts are kept so many times too large.
    pub times: f64,
}

impl Measure {
    /// Of counts as they are.
    pub fn of(seconds: f64) -> Self {
        Self { seconds, times: 1.0 }
    }

    /// So many a second.
    pub fn rate(self, count: u64) -> f64 {
        if self.seconds > 0.0 { significant(count as f64 / self.times / self.seconds) } else { 0.0 }
    }

    /// So many.
    pub fn number(self, count: u64) -> u64 {
        (count as f64 / self.times).round() as u64
    }
}

/// What passed in a window, wherever it was kept.
pub(crate) struct Window {
    pub outcomes: Arc<Vec<Option<Arc<Outcome>>>>,
    pub sums: Sums,
    pub measure: Measure,
    /// Its end, in ms.
    pub to: u64,
    /// What is to be said where it is not whole.
    pub notices: Vec<String>,
}

/// From where a part of a window is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Live,
    Fine,
    Medium,
    MediumDisk,
    CoarseDisk,
}

/// Sums by outcome. Made once for many windows: room for cells is used again.
#[derive(Default)]
pub(crate) struct Sums {
    cells: Vec<Cell>,
    /// The round in which a cell was last written: of others, what stands there is of no window.
    rounds: Vec<u32>,
    round: u32,
    touched: Vec<u32>,
}

impl Sums {
    /// Nothing counts any more.
    pub fn clear(&mut self) {
        self.round += 1;
        self.touched.clear();
    }

    /// Adds to the sum of an outcome.
    pub fn add(&mut self, outcome: u32, cell: &Cell) {
        let at = outcome as usize;
        if self.cells.len() <= at {
            self.cells.resize(at + 1, Cell::default());
            self.rounds.resize(at + 1, u32::MAX);
        }
        if self.rounds[at] == self.round {
            self.cells[at].add(cell);
        } else {
            self.cells[at].clone_from(cell);
            self.rounds[at] = self.round;
            self.touched.push(outcome);
        }
    }

    pub fn get(&self, outcome: u32) -> Option<&Cell> {
        let at = outcome as usize;
        self.cells.get(at).filter(|_| self.rounds[at] == self.round)
    }

    /// The outcomes of which there is something.
    pub fn outcomes(&self) -> &[u32] {
        &self.touched
    }

    /// Every sum by outcome.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Cell)> {
        self.touched.iter().map(|outcome| (*outcome, &self.cells[*outcome as usize]))
    }

    /// Adds a row that came later than those before.
    pub fn add_row(&mut self, row: &[u8]) {
        // A row that is torn counts as far as it can be read.
        let _ = row::visit(row, |outcome, cell| self.add(outcome, cell));
    }

    /// What stood before stands no more, unless what comes says so.
    pub fn close_connections(&mut self) {
        for outcome in &self.touched {
            self.cells[*outcome as usize].open = 0;
        }
    }

    fn open(&mut self, outcome: u32, open: u64) {
        let at = outcome as usize;
        if self.rounds.get(at) == Some(&self.round) {
            self.cells[at].open = open;
        }
    }
}

/// What is known of the past at one moment.
#[derive(Clone)]
pub(crate) struct Past {
    pub shot: Arc<Snapshot>,
    pub history: Option<History>,
    /// Since when the disk has steps of 15 s, and of 5 minutes.
    disk_since: Option<(u64, u64)>,
}

impl Past {
    pub fn new(shot: Arc<Snapshot>, history: Option<History>) -> Self {
        let disk_since = history.as_ref().map(|history| history.since()).map(|(medium, coarse)| {
            // What waits for the disk is as good as on it.
            (medium.unwrap_or(shot.since).min(shot.since), coarse.unwrap_or(shot.since).min(shot.since))
        });
        Self { shot, history, disk_since }
    }

    /// What passed in a window.
    pub fn window(&self, asked: Span) -> Window {
        let span = self.covered(asked);
        let mut sums = Sums::default();
        self.sum(span, None, &mut sums);
        Window {
            outcomes: self.shot.outcomes.clone(),
            notices: self.notices(asked, sums.outcomes()),
            measure: Measure::of(span.seconds()),
            to: asked.to,
            sums,
        }
    }

    /// What is to be said where an answer is not whole.
    pub fn notices(&self, asked: Span, outcomes: &[u32]) -> Vec<String> {
        let mut notices = Vec::new();
        let since = self.since();
        if since > asked.from + 5_000 {
            notices.push(format!("history is from {} UTC on", moment::short(since, self.shot.now)));
        }
        if let Some(reason) = self.history.as_ref().and_then(|history| history.trouble()) {
            notices.push(format!("history is not written: {reason}"));
        }
        let mut names = outcomes.iter().filter_map(|id| self.shot.outcomes.get(*id as usize)?.as_ref());
        if names.any(|outcome| &*outcome.edge.names.source.name == OVERFLOW) {
            notices.push(format!("there are more edges than are kept apart: what is more is shown as `{OVERFLOW}`"));
        }
        notices
    }

    /// Since when memory alone knows.
    pub fn remembered(&self) -> u64 {
        self.shot.since.max(self.memory_from())
    }

    /// Since when anything is known.
    pub fn since(&self) -> u64 {
        self.disk_since.map_or(self.remembered(), |(medium, coarse)| medium.min(coarse))
    }

    fn memory_from(&self) -> u64 {
        Step::Medium.floor(self.shot.slot.saturating_sub(MEDIUM_KEPT) + Step::Medium.ms() - 1)
    }

    fn fine_from(&self) -> u64 {
        self.shot.slot.saturating_sub(FINE_KEPT)
    }

    fn medium_from(&self) -> u64 {
        self.disk_since.map_or(self.memory_from(), |(medium, _)| self.memory_from().min(medium))
    }

    /// The finest step in which a time of the past is kept.
    pub fn finest(&self, at: u64) -> Step {
        if at >= self.fine_from() {
            Step::Fine
        } else if at >= self.medium_from() || self.history.is_none() {
            Step::Medium
        } else {
            Step::Coarse
        }
    }

    /// The span that can be told of those asked for: with borders between steps, not before anything was known, not
    /// after now.
    pub fn covered(&self, asked: Span) -> Span {
        if asked.to <= self.since() {
            return Span { from: asked.to, to: asked.to };
        }
        let from = asked.from.max(self.since()).min(self.shot.now);
        let from = self.finest(from).floor(from);
        if asked.to > self.shot.slot {
            return Span { from, to: asked.to.min(self.shot.now).max(from + 1) };
        }
        let step = self.finest(asked.to);
        let to = step.floor(asked.to.max(from + 1) + step.ms() - 1);
        // Of the step that is not over, there is as much as there is.
        Span { from, to: to.min(self.shot.now).max(from + 1) }
    }

    fn plan(&self, span: Span) -> Vec<(Place, Span)> {
        let slot = self.shot.slot;
        let (disk, memory_from) = (self.history.is_some(), self.memory_from());
        let mut parts: Vec<(Place, Span)> = Vec::new();
        let mut at = span.from;
        while at < span.to {
            let fits = |step: Step| at.is_multiple_of(step.ms()) && at + step.ms() <= step.floor(slot);
            let (place, ms) = if at >= slot {
                (Place::Live, span.to - at)
            } else if disk && fits(Step::Coarse) && (at + Step::Coarse.ms() <= span.to || at < self.medium_from()) {
                (Place::CoarseDisk, Step::Coarse.ms())
            } else if fits(Step::Medium) && (at + Step::Medium.ms() <= span.to || at < self.fine_from()) {
                let place = if at >= memory_from || !disk { Place::Medium } else { Place::MediumDisk };
                (place, Step::Medium.ms())
            } else {
                (Place::Fine, Step::Fine.ms())
            };
            let next = Span { from: at, to: at + ms };
            match parts.last_mut() {
                Some((last, part)) if *last == place => part.to = next.to,
                _ => parts.push((place, next)),
            }
            at = next.to;
        }
        parts
    }

    /// Adds up what passed in a span whose borders are those of steps (see [`Self::covered`]), in these groups or all.
    pub fn sum(&self, span: Span, groups: Option<&BTreeSet<u32>>, sums: &mut Sums) {
        sums.clear();
        for (place, part) in self.plan(span) {
            let mut add = |row: &[u8]| sums.add_row(row);
            let wanted = |group: &u32| groups.is_none_or(|groups| groups.contains(group));
            let within = |start: u64| (part.from..part.to).contains(&start);
            let step = match place {
                Place::Live => {
                    self.shot.live.rows.iter().filter(|(group, _)| wanted(group)).for_each(|(_, row)| add(row));
                    continue;
                }
                Place::Fine | Place::Medium => {
                    let frames = if place == Place::Fine { &self.shot.fine } else { &self.shot.medium };
                    for frame in frames.iter().filter(|frame| within(frame.start)) {
                        frame.rows.iter().filter(|(group, _)| wanted(group)).for_each(|(_, row)| add(row));
                    }
                    continue;
                }
                Place::MediumDisk => Step::Medium,
                Place::CoarseDisk => Step::Coarse,
            };
            let waiting = self.shot.pending.iter().filter(|it| it.step == step && within(it.start));
            if let Some(history) = &self.history {
                // What waited when the question came may have been written since.
                let skip: Vec<u64> = waiting.clone().map(|it| it.start).collect();
                history.read(step, part, groups, &skip, &mut add);
            }
            for frame in waiting.flat_map(|it| &it.frames) {
                frame.rows.iter().filter(|(group, _)| wanted(group)).for_each(|(_, row)| add(row));
            }
        }
        self.close_connections(span, sums);
    }

    /// A connection that stood earlier in the window stands at its end only if the last frame says so.
    fn close_connections(&self, span: Span, sums: &mut Sums) {
        if span.to <= self.shot.slot || sums.iter().all(|(_, sum)| sum.open == 0) {
            return;
        }
        sums.close_connections();
        for (_, row) in &self.shot.live.rows {
            let _ = row::visit(row, |outcome, cell| sums.open(outcome, cell.open));
        }
    }
}
