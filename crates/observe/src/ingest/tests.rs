//! Reports at the border of the table: good ones, false ones, and any at all.

use proptest::prelude::*;

use super::*;
use crate::book::Book;
use crate::row;

fn teller() -> Teller {
    Teller { node: "n".into(), namespace: "default".into(), workload: "a".into(), identity: "spiffe://t/a".into() }
}

fn table() -> Table {
    Table::new(Book::new(100, false), 0, false)
}

fn workload(name: &str) -> Option<wire::Workload> {
    Some(wire::Workload { namespace: "default".into(), name: name.into(), ..Default::default() })
}

fn edge(id: u32, source: &str, destination: &str, reporter: wire::Reporter) -> wire::Edge {
    wire::Edge {
        id,
        reporter: reporter.into(),
        source: workload(source),
        destination: workload(destination),
        protocol: wire::Protocol::Http.into(),
        ..Default::default()
    }
}

fn outcome(id: u32, edge: u32) -> wire::Outcome {
    wire::Outcome { id, edge, code: 200, ..Default::default() }
}

fn exchanges(outcome: u32, requests: u64) -> wire::Exchanges {
    wire::Exchanges {
        outcome,
        requests,
        micros: requests * 1000,
        buckets: vec![20],
        counts: vec![requests],
        ..Default::default()
    }
}

fn counted(table: &Table) -> u64 {
    let mut sum = 0;
    for (_, row) in &table.snapshot(0).live.rows {
        row::visit(row, |_, cell| sum += cell.count).unwrap();
    }
    sum
}

#[test]
fn told_of_oneself_alone() {
    use wire::Reporter::{Destination, Source, Unspecified};
    let report = |edge: wire::Edge| wire::ReportRequest {
        window_ms: 1000,
        edges: vec![edge],
        outcomes: vec![outcome(1, 1)],
        exchanges: vec![exchanges(1, 3)],
        ..Default::default()
    };
    for (told, expected, such_as) in [
        (edge(1, "a", "b", Source), 3, None),
        (edge(1, "b", "a", Destination), 3, None),
        (edge(1, "a", "b", Destination), 0, Some("default/a -> default/b, told by its destination")),
        (edge(1, "c", "a", Source), 0, Some("default/c -> default/a, told by its source")),
        (edge(1, "a", "b", Unspecified), 0, None),
    ] {
        let mut table = table();
        let verdict = Stream::new(teller()).take(&mut table, &report(told.clone()), 0);
        assert_eq!((counted(&table), verdict.such_as.as_deref()), (expected, such_as), "{told:?}");
    }
    let forged = wire::Workload { principal: "spiffe://t/other".into(), ..workload("a").unwrap() };
    let names = Stream::new(teller()).own(&wire::Edge { source: Some(forged), ..edge(1, "a", "b", Source) }).unwrap();
    assert_eq!(&*names.source.principal, "spiffe://t/a");
}

#[test]
fn numbers_that_mean_nothing() {
    let named = wire::ReportRequest {
        window_ms: 1000,
        edges: vec![edge(1, "a", "b", wire::Reporter::Source)],
        outcomes: vec![outcome(1, 1)],
        ..Default::default()
    };
    let good = exchanges(1, 2);
    for (told, window_ms, malformed, expected) in [
        (good.clone(), 1000, 0, 2),
        (good.clone(), 0, 1, 0),
        (exchanges(7, 2), 1000, 1, 0),
        (exchanges(1, u64::MAX / 1000), 1000, 1, 0),
        (wire::Exchanges { counts: vec![3], ..good.clone() }, 1000, 1, 2),
        (wire::Exchanges { buckets: vec![90], ..good.clone() }, 1000, 1, 2),
        (wire::Exchanges { buckets: vec![1, 2, 3], ..good.clone() }, 1000, 1, 2),
        (wire::Exchanges { buckets: vec![1, 2], counts: vec![u64::MAX, 2], ..good.clone() }, 1000, 1, 2),
    ] {
        let (mut table, mut stream) = (table(), Stream::new(teller()));
        assert_eq!(stream.take(&mut table, &named, 0), Verdict::default());
        let report = wire::ReportRequest { window_ms, exchanges: vec![told.clone()], ..Default::default() };
        let verdict = stream.take(&mut table, &report, 0);
        assert_eq!((verdict.malformed, counted(&table)), (malformed, expected), "{told:?}");
        assert_eq!(stream.take(&mut table, &named, 0).malformed, 2, "what is named twice is malformed");
    }
}

#[test]
fn connections_stand_until_the_stream_ends() {
    let (mut table, mut stream) = (table(), Stream::new(teller()));
    let open = |table: &Table| {
        let mut open = 0;
        table.snapshot(0).live.rows.iter().for_each(|(_, row)| row::visit(row, |_, cell| open += cell.open).unwrap());
        open
    };
    let tcp = wire::Edge { protocol: wire::Protocol::Tcp.into(), ..edge(1, "a", "b", wire::Reporter::Source) };
    let told = |open| wire::Connections { edge: 1, opened: open, open, ..Default::default() };
    let mut report =
        wire::ReportRequest { window_ms: 1, edges: vec![tcp], connections: vec![told(5)], ..Default::default() };
    stream.take(&mut table, &report, 0);
    report.edges.clear();
    report.connections = vec![told(3)];
    stream.take(&mut table, &report, 0);
    assert_eq!(open(&table), 3);
    stream.end(&mut table);
    assert_eq!((open(&table), counted(&table)), (0, 8));
}

fn any_report() -> impl Strategy<Value = wire::ReportRequest> {
    let id = || 0u32..6;
    let count = || prop_oneof![0u64..10, Just(u64::MAX), Just(1 << 48), any::<u64>()];
    let name = || prop_oneof![Just("a".to_owned()), Just(String::new()), any::<String>()];
    let workload =
        move || (name(), name()).prop_map(|(namespace, name)| wire::Workload { namespace, name, ..Default::default() });
    let own = Just(wire::Workload { namespace: "default".into(), name: "a".into(), ..Default::default() });
    let edges = (id(), 0i32..4, prop_oneof![own, workload()], workload(), 0i32..5, any::<i32>()).prop_map(
        |(id, reporter, source, destination, protocol, security)| wire::Edge {
            id,
            reporter,
            source: Some(source),
            destination: Some(destination),
            protocol,
            security,
            ..Default::default()
        },
    );
    let outcomes =
        (id(), id(), any::<u16>(), any::<u32>(), any::<String>()).prop_map(|(id, edge, code, grpc, flags)| {
            wire::Outcome { id, edge, code: code.into(), grpc_status_plus_one: grpc, flags, ..Default::default() }
        });
    let buckets = prop::collection::vec(0u32..100, 0..4);
    let exchanges = (id(), count(), count(), buckets, prop::collection::vec(count(), 0..4)).prop_map(
        |(outcome, requests, micros, buckets, counts)| wire::Exchanges {
            outcome,
            requests,
            micros,
            buckets,
            counts,
            ..Default::default()
        },
    );
    let connections = (id(), count(), count(), count()).prop_map(|(edge, opened, sent_bytes, open)| {
        wire::Connections { edge, opened, sent_bytes, open, ..Default::default() }
    });
    let clusters =
        (name(), count()).prop_map(|(name, retries)| wire::ClusterState { name, retries, ..Default::default() });
    let some = || 0usize..5;
    (
        0u32..3,
        prop::collection::vec(edges, some()),
        prop::collection::vec(outcomes, some()),
        prop::collection::vec(exchanges, some()),
        prop::collection::vec(connections, some()),
        prop::collection::vec(clusters, some()),
    )
        .prop_map(|(window_ms, edges, outcomes, exchanges, connections, clusters)| wire::ReportRequest {
            window_ms,
            edges,
            outcomes,
            exchanges,
            connections,
            clusters,
            ..Default::default()
        })
}

proptest! {
    /// Whatever is told, by whatever clock: no panic, rows that can be read, and nothing stands at the end.
    #[test]
    fn any_report_at_any_time(reports in prop::collection::vec((any_report(), 0u64..1_000_000), 0..20)) {
        let (mut table, mut stream) = (Table::new(Book::new(5, true), 0, true), Stream::new(teller()));
        for (report, now) in &reports {
            table.roll(*now);
            stream.take(&mut table, report, *now);
        }
        stream.end(&mut table);
        let shot = table.snapshot(0);
        for frame in shot.fine.iter().chain(&shot.medium).map(|frame| &**frame).chain([&shot.live]) {
            for (_, row) in &frame.rows {
                row::visit(row, |id, _| assert!(shot.outcomes[id as usize].is_some())).unwrap();
            }
        }
        let mut open = 0;
        shot.live.rows.iter().for_each(|(_, row)| row::visit(row, |_, cell| open += cell.open).unwrap());
        prop_assert_eq!(open, 0);
        prop_assert!(table.book.len().0 <= 5 + 6);
    }
}
