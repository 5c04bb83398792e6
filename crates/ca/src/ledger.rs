//! Leaves that were issued and are not out of date: whose they are, under which root, and by which newer ones they were
//! replaced. Who shows a certificate to renew it has the newer one afterwards.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use base::SpiffeId;

/// How long after its replacement a leaf may still be shown: an answer that is lost is asked for again meanwhile.
const GRACE: Duration = Duration::from_secs(120);

/// A leaf that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Its serial number in lower-case hexadecimal.
    pub serial: String,
    /// Whose it is.
    pub identity: SpiffeId,
    /// The fingerprint of the root above it.
    pub root: String,
    /// Valid to.
    pub not_after: SystemTime,
    /// The serial number of the leaf that replaced it, and since when.
    pub replaced: Option<(String, SystemTime)>,
    /// The serial number of the leaf that was shown for it; none: it was had for a token, or is of an earlier version.
    pub shown: Option<String>,
}

impl Leaf {
    /// May somebody still use it?
    pub fn is_live(&self, now: SystemTime) -> bool {
        now <= self.not_after && self.replaced.as_ref().is_none_or(|(_, since)| now < *since + GRACE)
    }
}

/// The leaves, by serial number.
#[derive(Debug, Clone, Default)]
pub struct Ledger(BTreeMap<String, Leaf>);

impl Ledger {
    /// A ledger with leaves that were kept.
    pub fn new(leaves: impl IntoIterator<Item = Leaf>) -> Self {
        Self(leaves.into_iter().map(|leaf| (leaf.serial.clone(), leaf)).collect())
    }

    /// A leaf is issued to who showed another one, if any: its serial number and end. One that is not known was issued
    /// before there was a ledger. Gives what is to be kept.
    pub fn issued(&mut self, mut leaf: Leaf, shown: Option<(&str, SystemTime)>, now: SystemTime) -> Vec<Leaf> {
        leaf.shown = shown.map(|(serial, _)| serial.to_owned());
        let mut kept = vec![leaf.clone()];
        if let Some((serial, not_after)) = shown {
            let old = self.0.entry(serial.to_owned()).or_insert_with(|| Leaf {
                serial: serial.to_owned(),
                identity: leaf.identity.clone(),
                root: String::new(),
                not_after,
                replaced: None,
                shown: None,
            });
            old.replaced = Some((leaf.serial.clone(), now));
            kept.push(old.clone());
        }
        self.0.insert(leaf.serial.clone(), leaf);
        kept
    }

    /// The leaf that came of this one by renewals: what its holder uses now. None if it is not known.
    pub fn newest(&self, serial: &str) -> Option<&Leaf> {
        let mut leaf = self.0.get(serial)?;
        // A circle cannot be made by `issued`, only by a damaged file.
        for _ in 0..self.0.len() {
            match leaf.replaced.as_ref().and_then(|(by, _)| self.0.get(by)) {
                Some(newer) => leaf = newer,
                None => break,
            }
        }
        Some(leaf)
    }

    /// Every leaf that came of the same token as this one, by renewals; none if it is not known.
    pub fn lineage(&self, serial: &str) -> Vec<&Leaf> {
        let mut all: Vec<&Leaf> = self.0.get(serial).into_iter().collect();
        let mut at = 0;
        while let Some(leaf) = all.get(at).copied() {
            let before = leaf.shown.as_ref().and_then(|shown| self.0.get(shown));
            let after = self.0.values().filter(|other| other.shown.as_ref() == Some(&leaf.serial));
            for other in before.into_iter().chain(after) {
                if !all.iter().any(|known| known.serial == other.serial) {
                    all.push(other);
                }
            }
            at += 1;
        }
        all
    }

    /// The leaves of other roots than this that somebody may still use.
    pub fn of_other_roots<'a>(&'a self, root: &'a str, now: SystemTime) -> impl Iterator<Item = &'a Leaf> {
        self.0.values().filter(move |leaf| leaf.root != root && leaf.is_live(now))
    }

    /// The leaves of an identity that are in date.
    pub fn of<'a>(&'a self, identity: &'a SpiffeId, now: SystemTime) -> impl Iterator<Item = &'a Leaf> {
        self.0.values().filter(move |leaf| leaf.identity == *identity && now <= leaf.not_after)
    }

    /// Forgets leaves that are out of date, and gives their serial numbers.
    pub fn expire(&mut self, now: SystemTime) -> Vec<String> {
        let old: Vec<String> =
            self.0.values().filter(|leaf| now > leaf.not_after).map(|leaf| leaf.serial.clone()).collect();
        old.iter().for_each(|serial| _ = self.0.remove(serial));
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_uses_what() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let at = |s: u64| start + Duration::from_secs(s);
        let leaf = |serial: &str, name: &str, root: &str, to: u64| Leaf {
            serial: serial.to_owned(),
            identity: format!("spiffe://d/ns/n/sa/{name}").parse().unwrap(),
            root: root.to_owned(),
            not_after: at(to),
            replaced: None,
            shown: None,
        };
        let mut ledger = Ledger::default();
        ledger.issued(leaf("1", "a", "old", 1000), None, at(0));
        ledger.issued(leaf("2", "b", "old", 1000), None, at(0));
        let kept = ledger.issued(leaf("3", "a", "new", 2000), Some(("1", at(1000))), at(10));
        assert_eq!(kept.iter().map(|leaf| &*leaf.serial).collect::<Vec<_>>(), ["3", "1"]);
        let ledger_at = |ledger: &Ledger, s: u64| {
            ledger.of_other_roots("new", at(s)).map(|leaf| leaf.serial.clone()).collect::<Vec<_>>()
        };
        assert_eq!(ledger_at(&ledger, 20), ["1", "2"], "the answer may have been lost");
        assert_eq!(ledger_at(&ledger, 130), ["2"]);
        // What is kept is enough to begin anew with.
        let mut ledger = Ledger::new(ledger.0.into_values().collect::<Vec<_>>());
        assert_eq!(ledger.newest("1").unwrap().serial, "3");
        assert_eq!(ledger.newest("2").unwrap().serial, "2");
        assert!(ledger.newest("9").is_none());
        ledger.issued(leaf("5", "c", "new", 2000), Some(("9", at(1000))), at(0));
        assert_eq!(ledger.newest("9").unwrap().serial, "5", "one from before there was a ledger");
        // It was asked for once more with the old one.
        ledger.issued(leaf("4", "a", "new", 2000), Some(("1", at(1000))), at(140));
        assert_eq!(ledger_at(&ledger, 150), ["1", "2"]);
        assert_eq!(ledger.newest("1").unwrap().serial, "4");
        let line = |serial: &str| ledger.lineage(serial).iter().map(|leaf| leaf.serial.clone()).collect::<Vec<_>>();
        assert_eq!(
            (line("4"), line("2"), line("7").len()),
            (vec!["4".to_owned(), "1".into(), "3".into()], vec!["2".into()], 0)
        );
        assert_eq!(ledger.expire(at(1001)), ["1", "2", "9"]);
        assert_eq!((ledger_at(&ledger, 1001).len(), ledger.0.len()), (0, 3));
        let a = "spiffe://d/ns/n/sa/a".parse().unwrap();
        assert_eq!(ledger.of(&a, at(1500)).count(), 2);
    }
}
