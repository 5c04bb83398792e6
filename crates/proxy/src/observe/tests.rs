//! What workers count is told once, under numbers that a stream knows, and is told again to nobody.

use std::sync::Arc;
use std::time::Duration;

use base::Clock;
use proto::halcyon::observe::v1 as wire;
use telemetry::{Registry, spread};

use super::clusters::Clusters;
use super::report::Told;
use super::tally::{Ended, Tally};
use crate::live::Live;

fn edge(to: &str) -> wire::Edge {
    let workload = |name: &str| Some(wire::Workload { name: name.to_owned(), ..wire::Workload::default() });
    wire::Edge { source: workload("web"), destination: workload(to), ..wire::Edge::default() }
}

fn outcome(code: u32) -> wire::Outcome {
    wire::Outcome { code, ..wire::Outcome::default() }
}

fn ended(millis: u64) -> Ended {
    Ended { duration: Duration::from_millis(millis), bytes: [3, 5], messages: [0, 0] }
}

fn stream(number: u32, clock: &Clock) -> Told {
    Told::begin(number, "n", Clusters::new(Arc::<Live>::default(), Registry::new()), clock.clone(), clock.now())
}

#[test]
fn names_once_and_counts_once() {
    let clock = Clock::fixed(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(100));
    let tally = Tally::default();
    let ledgers = [tally.ledger(), tally.ledger()];
    for ledger in &ledgers {
        let line = ledger.outcome(edge("cart"), outcome(200)).unwrap();
        line.count(&ended(2));
        line.count(&ended(2));
    }
    let mut told = stream(1, &clock);
    clock.advance(Duration::from_secs(5));
    let first = told.next(&tally, Vec::new(), Vec::new());
    let [first] = first.as_slice() else { panic!("{first:?}") };
    assert_eq!((first.node.as_str(), first.until_ms, first.window_ms), ("n", 105_000, 5000));
    // Each worker's line has its own number.
    assert_eq!((first.edges.len(), first.outcomes.len(), first.exchanges.len()), (2, 2, 2));
    for exchanges in &first.exchanges {
        assert_eq!((exchanges.requests, exchanges.micros), (2, 4000));
        assert_eq!((exchanges.request_bytes, exchanges.response_bytes), (6, 10));
        assert_eq!(exchanges.buckets, [spread::bucket(2000) as u32]);
        assert_eq!(exchanges.counts, [2]);
    }

    let nothing = told.next(&tally, Vec::new(), Vec::new()).remove(0);
    assert!(nothing.node.is_empty() && nothing.exchanges.is_empty() && nothing.edges.is_empty());
    ledgers[0].outcome(edge("cart"), outcome(200)).unwrap().count(&ended(1));
    ledgers[0].outcome(edge("cart"), outcome(503)).unwrap().count(&ended(1));
    let more = told.next(&tally, Vec::new(), Vec::new()).remove(0);
    assert_eq!((more.edges.len(), more.outcomes.len(), more.exchanges.len()), (0, 1, 2));
    assert_eq!((more.outcomes[0].id, more.outcomes[0].code), (3, 503));

    // Another stream knows no numbers.
    ledgers[0].outcome(edge("cart"), outcome(200)).unwrap().count(&ended(1));
    let anew = stream(2, &clock).next(&tally, Vec::new(), Vec::new()).remove(0);
    assert_eq!((anew.node.as_str(), anew.edges.len(), anew.outcomes.len(), anew.exchanges.len()), ("n", 1, 1, 1));
    assert_eq!((anew.edges[0].id, anew.outcomes[0].edge, anew.exchanges[0].outcome), (1, 1, 1));
}

#[test]
fn connections_that_stand_are_told_each_time() {
    let clock = Clock::system();
    let tally = Tally::default();
    let line = tally.ledger().edge(edge("db")).unwrap();
    let mut told = stream(1, &clock);
    assert!(told.next(&tally, Vec::new(), Vec::new()).remove(0).connections.is_empty());
    line.connections.opened();
    line.connections.passed(7, 9);
    let first = told.next(&tally, Vec::new(), Vec::new()).remove(0);
    let expected = wire::Connections { edge: 1, opened: 1, open: 1, sent_bytes: 7, received_bytes: 9, closed: 0 };
    assert_eq!((first.edges.len(), first.connections.as_slice()), (1, [expected].as_slice()));
    let stands = told.next(&tally, Vec::new(), Vec::new()).remove(0);
    assert_eq!((stands.edges.len(), stands.connections[0].open, stands.connections[0].opened), (0, 1, 0));
    line.connections.closed();
    assert_eq!(told.next(&tally, Vec::new(), Vec::new()).remove(0).connections[0].closed, 1);
    assert!(told.next(&tally, Vec::new(), Vec::new()).remove(0).connections.is_empty());
}

#[test]
fn lines_that_nobody_holds_go_when_they_were_told() {
    let clock = Clock::system();
    let tally = Tally::default();
    let ledger = tally.ledger();
    ledger.outcome(edge("cart"), outcome(200)).unwrap().count(&ended(1));
    let held = ledger.outcome(edge("cart"), outcome(201)).unwrap();
    tally.sweep();
    assert_eq!(tally.lines().1.len(), 2, "what was not told stays");
    stream(1, &clock).next(&tally, Vec::new(), Vec::new());
    tally.sweep();
    assert_eq!(tally.lines().1.len(), 1);
    drop(held);
    tally.sweep();
    tally.sweep();
    assert_eq!((tally.lines().0.len(), tally.lines().1.len()), (0, 0));
}

#[test]
fn many_lines_are_told_in_several_messages() {
    let clock = Clock::system();
    let tally = Tally::default();
    let ledger = tally.ledger();
    for code in 0..4500 {
        ledger.outcome(edge("cart"), outcome(code)).unwrap().count(&ended(1));
    }
    let told = stream(1, &clock).next(&tally, Vec::new(), Vec::new());
    assert_eq!(told.iter().map(|message| message.exchanges.len()).collect::<Vec<_>>(), [2000, 2000, 500]);
    assert_eq!(told.iter().map(|message| message.edges.len()).sum::<usize>(), 1);
}
