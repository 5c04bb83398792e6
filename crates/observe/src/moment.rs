//! Moments: milliseconds since 1970 inside, RFC 3339 in UTC with milliseconds outside.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// The moment of a time; 0 before 1970.
pub(crate) fn millis(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX))
}

/// As people and programs read it: `2026-02-03T04:05:06.789Z`.
pub(crate) fn shown(ms: u64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    date(ms).and_then(|at| at.format(format).ok()).unwrap_or_default()
}

/// Only the day's part that people need: `04:05`, with the date if it is not today.
pub(crate) fn short(ms: u64, now: u64) -> String {
    let (Some(at), Some(today)) = (date(ms), date(now)) else { return String::new() };
    let format = if at.date() == today.date() {
        format_description!("[hour]:[minute]:[second]")
    } else {
        format_description!("[year]-[month]-[day] [hour]:[minute]")
    };
    at.format(format).unwrap_or_default()
}

/// Reads RFC 3339.
pub(crate) fn read(text: &str) -> Option<u64> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()
}

fn date(ms: u64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let ms = read("2026-02-03T05:05:06.789+01:00").unwrap();
        assert_eq!(shown(ms), "2026-02-03T04:05:06.789Z");
        assert_eq!((short(ms, ms), short(ms, ms + 86_400_000)), ("04:05:06".into(), "2026-02-03 04:05".into()));
        assert_eq!((read("yesterday"), shown(u64::MAX)), (None, String::new()));
    }
}
