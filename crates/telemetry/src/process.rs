//! The process itself: what it uses, since when, and which version it is. Looked up when somebody asks.
//!
//! The names are ours and not Prometheus' usual `process_...`: a proxy tells its metrics in one answer with those of its
//! program, which has these names already.

use std::fs;

use crate::family::Desc;
use crate::registry::{DeclareError, Shard};

/// Linux counts the time of processes in hundredths of a second.
const TICKS_PER_SECOND: u64 = 100;

/// What Linux tells of this process. None: it cannot be read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Usage {
    cpu_milliseconds: Option<u64>,
    started_at_seconds: Option<u64>,
    resident_bytes: Option<u64>,
    threads: Option<u64>,
    open_files: Option<u64>,
    most_open_files: Option<u64>,
}

/// Declares what this process uses now, in a shard of a registry that is shown once.
///
/// # Errors
/// A metric is declared in another way: a mistake of the program.
pub fn show(shard: &Shard, version: &str) -> Result<(), DeclareError> {
    let build = Desc::new("halcyon_build_info", "1; the label says which version.").labels(&["build"]);
    shard.gauges(build)?.with(&[version]).set(1);
    let usage = Usage::now();
    if let Some(spent) = usage.cpu_milliseconds {
        let cpu = Desc::new("halcyon_process_cpu_milliseconds_total", "Time of processors that the process has used.");
        shard.counters(cpu.unit("milliseconds"))?.with(&[]).add(spent);
    }
    for (name, help, value) in [
        (
            "halcyon_process_start_time_seconds",
            "When the process began, in seconds since 1970.",
            usage.started_at_seconds,
        ),
        ("halcyon_process_resident_memory_bytes", "Memory that the process holds.", usage.resident_bytes),
        ("halcyon_process_threads", "Threads of the process.", usage.threads),
        ("halcyon_process_open_fds", "Files and sockets that the process has open.", usage.open_files),
        ("halcyon_process_max_fds", "Files and sockets that the process may have open.", usage.most_open_files),
    ] {
        if let Some(value) = value.and_then(|value| i64::try_from(value).ok()) {
            shard.gauges(Desc::new(name, help))?.with(&[]).set(value);
        }
    }
    Ok(())
}

impl Usage {
    fn now() -> Self {
        let read = |name: &str| fs::read_to_string(name).unwrap_or_default();
        let mut usage = Self::of(
            &read("/proc/self/stat"),
            &read("/proc/stat"),
            &read("/proc/self/status"),
            &read("/proc/self/limits"),
        );
        // The folder itself is open while it is read.
        usage.open_files = fs::read_dir("/proc/self/fd").ok().map(|files| (files.count() as u64).saturating_sub(1));
        usage
    }

    /// From the texts of `/proc/self/stat`, `/proc/stat`, `/proc/self/status` and `/proc/self/limits`.
    fn of(stat: &str, machine: &str, status: &str, limits: &str) -> Self {
        // The name stands in parentheses and may hold anything; behind it the state is field 3.
        let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let line = |text: &str, name: &str| text.lines().find_map(|line| Some(line.strip_prefix(name)?.to_owned()));
        let first = |text: String| text.split_whitespace().next()?.parse::<u64>().ok();
        let booted = line(machine, "btime ").and_then(first);
        Self {
            cpu_milliseconds: field(14)
                .zip(field(15))
                .map(|(user, system)| (user + system) * (1000 / TICKS_PER_SECOND)),
            started_at_seconds: field(22).zip(booted).map(|(ticks, booted)| booted + ticks / TICKS_PER_SECOND),
            resident_bytes: line(status, "VmRSS:").and_then(first).map(|kilobytes| kilobytes * 1024),
            threads: line(status, "Threads:").and_then(first),
            open_files: None,
            most_open_files: line(limits, "Max open files").and_then(first),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Exposition, Registry};

    #[test]
    fn as_linux_writes_it() {
        let stat = "4711 (a ) b) S 1 4711 4711 0 -1 4194560 9 0 0 0 123 45 0 0 20 0 3 0 100050 1 2 3";
        let usage = Usage::of(
            stat,
            "cpu 1 2\nbtime 1700000000\n",
            "Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t3\n",
            "Limit    Soft Limit   Hard Limit   Units\nMax open files            1024                 4096          files\n",
        );
        let expected = Usage {
            cpu_milliseconds: Some(1680),
            started_at_seconds: Some(1_700_001_000),
            resident_bytes: Some(2 << 20),
            threads: Some(3),
            open_files: None,
            most_open_files: Some(1024),
        };
        assert_eq!(usage, expected);
        assert_eq!(Usage::of("", "", "", "Max open files   unlimited  unlimited"), Usage::default());
    }

    #[test]
    fn beside_what_is_counted() {
        let (counted, now) = (Registry::new(), Registry::new());
        let shard = counted.shard();
        shard.counters(Desc::new("requests_total", "Requests.")).unwrap().with(&[]).inc();
        show(&now.shard(), "1.2.3").unwrap();
        for format in [crate::TextFormat::Prometheus, crate::TextFormat::OpenMetrics] {
            let text = counted.expose_with(&now, &Exposition { format, ..Exposition::default() });
            for line in ["requests_total 1", "halcyon_build_info{build=\"1.2.3\"} 1"] {
                assert!(text.lines().any(|it| it == line), "{line} in {text}");
            }
            assert!(text.contains("\nhalcyon_process_resident_memory_bytes "), "{text}");
            assert_eq!(text.matches("# EOF").count(), usize::from(format == crate::TextFormat::OpenMetrics));
        }
    }
}
