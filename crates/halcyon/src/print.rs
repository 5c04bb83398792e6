//! What people read: tables, colours where there is a terminal, errors on one line with what to do below.

use std::io::{ErrorKind, IsTerminal, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};

/// Prints an error with the whole chain of its causes, on one line. A cause that was said already is not said again.
pub fn error(error: &anyhow::Error) {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string).filter(|cause| !cause.is_empty()) {
        match text.as_str() {
            "" => text = cause,
            said if said.contains(&cause) => {}
            _ => text = format!("{text}: {cause}"),
        }
    }
    eprintln!("{} {text}", paint("error:", Colour::Red, std::io::stderr().is_terminal()));
}

/// Prints a line of the result. A reader that has seen enough (`| head`) is no error.
pub fn line(text: std::fmt::Arguments<'_>) {
    let written = writeln!(std::io::stdout().lock(), "{text}");
    if let Err(error) = written.or_else(|e| if e.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(e) }) {
        note(&format!("standard output: {error}"));
    }
}

/// `println!` for results, by [`line`].
macro_rules! out {
    ($($text:tt)*) => { $crate::print::line(format_args!($($text)*)) };
}
pub(crate) use out;

/// Prints a remark that is no result.
pub fn note(text: &str) {
    eprintln!("{text}");
}

/// A table without lines: a head in capitals and columns that fit, as people know them from `kubectl`.
pub fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(head);
    for row in rows {
        table.add_row(row);
    }
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// A colour of the terminal.
#[derive(Clone, Copy)]
pub enum Colour {
    /// Bad.
    Red,
    /// Good.
    Green,
    /// Doubtful.
    Yellow,
    /// Less important.
    Dim,
    /// More important.
    Bold,
}

/// Colours a text if it goes to a terminal that wants colours (`NO_COLOR`).
pub fn paint(text: &str, colour: Colour, to_terminal: bool) -> String {
    if !to_terminal || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) {
        return text.to_owned();
    }
    let code = match colour {
        Colour::Red => "31",
        Colour::Green => "32",
        Colour::Yellow => "33",
        Colour::Dim => "2",
        Colour::Bold => "1",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// Does standard output go to a terminal?
pub fn to_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Reads an RFC 3339 time.
pub fn time(text: &str) -> Option<std::time::SystemTime> {
    let format = &time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::parse(text, format).ok().map(Into::into)
}
