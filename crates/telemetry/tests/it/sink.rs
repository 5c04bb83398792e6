//! Lines reach the file, whole and in order; what does not is counted.

use std::fs;
use std::time::Duration;

use telemetry::{LogSink, SinkOptions, Target};

#[test]
fn lines_of_many_writers_arrive_whole_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let sink = LogSink::open(Target::File(path.clone()), SinkOptions::default()).unwrap();
    let threads: Vec<_> = (0..4)
        .map(|worker| {
            let writer = sink.writer();
            std::thread::spawn(move || {
                for number in 0..1000 {
                    writer.line(|out| out.push_str(&format!("{worker} {number}\n")));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    sink.flush();
    let text = fs::read_to_string(&path).unwrap();
    for worker in 0..4 {
        let prefix = format!("{worker} ");
        let numbers: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(&prefix)).collect();
        assert_eq!(numbers, (0..1000).map(|n| n.to_string()).collect::<Vec<_>>());
    }
    assert_eq!(sink.dropped(), 0);
}

#[test]
fn reopened_after_rotation_and_written_out_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
    let sink = LogSink::open(Target::File(path.clone()), SinkOptions::default()).unwrap();
    let writer = sink.writer();
    writer.line(|out| out.push_str("before\n"));
    sink.flush();
    fs::rename(&path, &old).unwrap();
    sink.reopen();
    sink.flush();
    writer.line(|out| out.push_str("after\n"));
    drop(sink);
    assert_eq!(fs::read_to_string(old).unwrap(), "before\n");
    assert_eq!(fs::read_to_string(path).unwrap(), "after\n");
}

#[test]
fn lines_alone_are_written_after_the_interval() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let options = SinkOptions { interval: Duration::from_millis(1), ..SinkOptions::default() };
    let sink = LogSink::open(Target::File(path.clone()), options).unwrap();
    let writer = sink.writer();
    for turn in 1..=3 {
        writer.line(|out| out.push_str("x\n"));
        while fs::read_to_string(&path).unwrap().len() < 2 * turn {
            std::thread::yield_now();
        }
    }
}

#[test]
fn what_does_not_fit_or_cannot_be_written_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let options = SinkOptions { buffer_bytes: 10, interval: Duration::from_secs(3600) };
    let sink = LogSink::open(Target::File(path.clone()), options).unwrap();
    let writer = sink.writer();
    for _ in 0..5 {
        writer.line(|out| out.push_str("123456\n"));
    }
    sink.flush();
    assert_eq!(fs::read_to_string(&path).unwrap(), "123456\n123456\n");
    assert_eq!(sink.dropped(), 3);

    let full = LogSink::open(Target::File("/dev/full".into()), SinkOptions::default()).unwrap();
    let writer = full.writer();
    writer.line(|out| out.push_str("a\nb\n"));
    full.flush();
    assert_eq!(full.dropped(), 2);
    assert!(LogSink::open(Target::File(dir.path().join("no/such")), SinkOptions::default()).is_err());
}
