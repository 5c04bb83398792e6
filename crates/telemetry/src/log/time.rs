//! Times of a log line, in UTC, by a subset of strftime with Envoy's additions for fractions of a second.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// A compiled time pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeFormat(Vec<Item>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Text(String),
    Year,
    ShortYear,
    Month,
    Day,
    SpacedDay,
    Hour,
    Hour12,
    Minute,
    Second,
    DayOfYear,
    MonthName(bool),
    WeekdayName(bool),
    HalfDay,
    Zone,
    Offset,
    Epoch,
    Fraction(u32),
    EpochFraction(u32),
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

impl Default for TimeFormat {
    /// Envoy's: `2024-02-29T14:23:15.456Z`.
    fn default() -> Self {
        use Item::{Day, Fraction, Hour, Minute, Month, Second, Text, Year};
        let text = |t: &str| Text(t.to_owned());
        Self(vec![
            Year,
            text("-"),
            Month,
            text("-"),
            Day,
            text("T"),
            Hour,
            text(":"),
            Minute,
            text(":"),
            Second,
            text("."),
            Fraction(3),
            text("Z"),
        ])
    }
}

impl TimeFormat {
    /// Compiles a pattern: `%Y %y %m %d %e %H %I %p %M %S %j %b %B %a %A %F %T %D %R %z %Z %n %t %%`, `%s` (seconds
    /// since 1970) and `%3s`-like, `%f` (nine digits) and `%3f`-like, `%E3S` (seconds with fraction), `%E3f`.
    /// An empty pattern is the default. The error is the conversion that is not known.
    pub fn parse(pattern: &str) -> Result<Self, String> {
        if pattern.is_empty() {
            return Ok(Self::default());
        }
        let mut items = Vec::new();
        let mut rest = pattern;
        while let Some(at) = rest.find('%') {
            push_text(&mut items, &rest[..at]);
            let spec = &rest[at + 1..];
            let len =
                conversion(&mut items, spec).ok_or_else(|| format!("%{}", spec.chars().take(3).collect::<String>()))?;
            rest = &spec[len..];
        }
        push_text(&mut items, rest);
        Ok(Self(items))
    }

    /// Appends `time`, in UTC. Times before 1970 read as 1970.
    pub fn write(&self, time: SystemTime, out: &mut String) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let moment = Moment::new(since.as_secs(), since.subsec_nanos());
        for item in &self.0 {
            // Writing to a string cannot fail.
            let _ = moment.write(item, out);
        }
    }
}

fn push_text(items: &mut Vec<Item>, text: &str) {
    match items.last_mut() {
        _ if text.is_empty() => {}
        Some(Item::Text(last)) => last.push_str(text),
        _ => items.push(Item::Text(text.to_owned())),
    }
}

/// Reads one conversion after its `%`; its length, or nothing if it is not known.
fn conversion(items: &mut Vec<Item>, spec: &str) -> Option<usize> {
    let mut chars = spec.chars();
    let first = chars.next()?;
    if first == 'E' || first.is_ascii_digit() {
        let extended = first == 'E';
        let digit = if extended { chars.next()? } else { first };
        let digits = if digit == '*' { 9 } else { digit.to_digit(10).filter(|d| (1..=9).contains(d))? };
        match (extended, chars.next()?) {
            (true, 'S') => items.extend([Item::Second, Item::Text(".".to_owned()), Item::Fraction(digits)]),
            (_, 'f') => items.push(Item::Fraction(digits)),
            (false, 's') => items.push(Item::EpochFraction(digits)),
            _ => return None,
        }
        return Some(if extended { 3 } else { 2 });
    }
    let compound = |items: &mut Vec<Item>, pattern: &str| {
        for part in pattern.split_inclusive('%').flat_map(|p| p.split('%')).filter(|p| !p.is_empty()) {
            conversion(items, &part[..1]);
            push_text(items, &part[1..]);
        }
    };
    items.push(match first {
        'Y' => Item::Year,
        'y' => Item::ShortYear,
        'm' => Item::Month,
        'd' => Item::Day,
        'e' => Item::SpacedDay,
        'H' => Item::Hour,
        'I' => Item::Hour12,
        'M' => Item::Minute,
        'S' => Item::Second,
        'j' => Item::DayOfYear,
        'b' | 'h' => Item::MonthName(false),
        'B' => Item::MonthName(true),
        'a' => Item::WeekdayName(false),
        'A' => Item::WeekdayName(true),
        'p' => Item::HalfDay,
        'Z' => Item::Zone,
        'z' => Item::Offset,
        's' => Item::Epoch,
        'f' => Item::Fraction(9),
        '%' | 'n' | 't' => {
            push_text(
                items,
                match first {
                    'n' => "\n",
                    't' => "\t",
                    _ => "%",
                },
            );
            return Some(1);
        }
        'F' | 'T' | 'D' | 'R' => {
            compound(
                items,
                match first {
                    'F' => "%Y-%m-%d",
                    'T' => "%H:%M:%S",
                    'D' => "%m/%d/%y",
                    _ => "%H:%M",
                },
            );
            return Some(1);
        }
        _ => return None,
    });
    Some(1)
}

struct Moment {
    epoch: u64,
    nanos: u32,
    year: i64,
    month: u64,
    day: u64,
    day_of_year: u64,
    weekday: usize,
    second_of_day: u64,
}

impl Moment {
    /// The civil date of a day count, by the shift of the year's start to March, so that leap days come last.
    fn new(epoch: u64, nanos: u32) -> Self {
        let days = epoch / 86_400;
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_from_march + 2) / 153;
        let day = day_from_march - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = (year_of_era + era * 400 + u64::from(month <= 2)) as i64;
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let day_of_year = if month > 2 { day_from_march + 60 + u64::from(leap) } else { day_from_march - 306 + 1 };
        Self {
            epoch,
            nanos,
            year,
            month,
            day,
            day_of_year,
            weekday: (days % 7) as usize,
            second_of_day: epoch % 86_400,
        }
    }

    fn write(&self, item: &Item, out: &mut String) -> std::fmt::Result {
        let (hour, minute, second) = (self.second_of_day / 3600, self.second_of_day / 60 % 60, self.second_of_day % 60);
        let short = |name: &'static str, long: bool| if long { name } else { &name[..3] };
        match item {
            Item::Text(text) => out.push_str(text),
            Item::Year => write!(out, "{:04}", self.year)?,
            Item::ShortYear => write!(out, "{:02}", self.year % 100)?,
            Item::Month => write!(out, "{:02}", self.month)?,
            Item::Day => write!(out, "{:02}", self.day)?,
            Item::SpacedDay => write!(out, "{:2}", self.day)?,
            Item::Hour => write!(out, "{hour:02}")?,
            Item::Hour12 => write!(out, "{:02}", (hour + 11) % 12 + 1)?,
            Item::Minute => write!(out, "{minute:02}")?,
            Item::Second => write!(out, "{second:02}")?,
            Item::DayOfYear => write!(out, "{:03}", self.day_of_year)?,
            Item::MonthName(long) => out.push_str(short(MONTHS[self.month as usize - 1], *long)),
            Item::WeekdayName(long) => out.push_str(short(WEEKDAYS[self.weekday], *long)),
            Item::HalfDay => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            Item::Zone => out.push_str("UTC"),
            Item::Offset => out.push_str("+0000"),
            Item::Epoch => write!(out, "{}", self.epoch)?,
            Item::Fraction(digits) => self.fraction(*digits, out)?,
            Item::EpochFraction(digits) => {
                write!(out, "{}", self.epoch)?;
                self.fraction(*digits, out)?;
            }
        }
        Ok(())
    }

    fn fraction(&self, digits: u32, out: &mut String) -> std::fmt::Result {
        let width = digits as usize;
        write!(out, "{:0width$}", self.nanos / 10u32.pow(9 - digits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn patterns() {
        let leap = UNIX_EPOCH + Duration::new(1_709_216_595, 456_789_012); // 2024-02-29 14:23:15, a Thursday
        for (pattern, expected) in [
            ("", "2024-02-29T14:23:15.456Z"),
            ("%Y/%m/%dT%H:%M:%S%z %s", "2024/02/29T14:23:15+0000 1709216595"),
            ("%s.%3f|%6f|%f", "1709216595.456|456789|456789012"),
            ("%E3S %E*f", "15.456 456789012"),
            ("%3s", "1709216595456"),
            ("%a, %d %b %y %I %p %j %Z", "Thu, 29 Feb 24 02 PM 060 UTC"),
            ("%A %B %e", "Thursday February 29"),
            ("%F %T %D %R 100%%", "2024-02-29 14:23:15 02/29/24 14:23 100%"),
        ] {
            let mut text = String::new();
            TimeFormat::parse(pattern).unwrap().write(leap, &mut text);
            assert_eq!(text, expected, "{pattern}");
        }
        for (pattern, bad) in [("%Q", "%Q"), ("%", "%"), ("%Ex", "%Ex"), ("%0f", "%0f"), ("%é", "%é")] {
            assert_eq!(TimeFormat::parse(pattern).unwrap_err(), bad);
        }
    }

    #[test]
    fn dates() {
        for (seconds, expected) in [
            (0, "1970-01-01 001 Thu"),
            (951_782_400, "2000-02-29 060 Tue"),
            (951_868_800, "2000-03-01 061 Wed"),
            (4_107_542_400, "2100-03-01 060 Mon"),
            (1_735_603_200, "2024-12-31 366 Tue"),
            (1_767_139_200, "2025-12-31 365 Wed"),
        ] {
            let mut text = String::new();
            TimeFormat::parse("%F %j %a").unwrap().write(UNIX_EPOCH + Duration::from_secs(seconds), &mut text);
            assert_eq!(text, expected);
        }
    }
}
