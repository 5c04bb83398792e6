//! The place in a line where one value goes: escapes, cuts to length, and remembers whether anything came.

use std::fmt::{self, Write};
use std::time::{Duration, SystemTime};

use super::operator::{GrpcStatusForm, Operator};
use super::time::TimeFormat;
use crate::flags::ResponseFlags;

/// Takes the value of one operator. Whatever is put, a line stays one line and JSON stays JSON.
pub struct Slot<'a> {
    out: &'a mut String,
    form: Form,
    /// Characters that may still be put.
    room: usize,
    filled: bool,
}

/// Where the value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Plain text, or within a JSON string together with other text.
    Text { json: bool },
    /// Alone as a JSON value: numbers are numbers.
    Value,
    /// In no line and no JSON: as it is.
    Plain,
}

impl<'a> Slot<'a> {
    pub(super) fn new(out: &'a mut String, form: Form, max_len: Option<usize>) -> Self {
        Self { out, form, room: max_len.unwrap_or(usize::MAX), filled: false }
    }

    /// Was anything put?
    pub(super) fn is_filled(&self) -> bool {
        self.filled
    }

    /// Writes what stands for an absent value if nothing came.
    pub(super) fn finish(self) {
        if !self.filled {
            self.out.push_str(if self.form == Form::Value { "null" } else { "-" });
        }
    }

    /// Puts a text. An empty one counts as absent, as in Envoy.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Puts bytes that are usually text, such as a header's value.
    pub fn bytes(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.write_with(|slot| slot.escape_bytes(bytes));
        }
    }

    /// Puts a whole number.
    pub fn number(&mut self, number: u64) {
        self.filled = true;
        let _ = write!(self.out, "{number}");
    }

    /// Puts a duration in whole milliseconds.
    pub fn millis(&mut self, duration: Duration) {
        self.number(duration.as_millis().try_into().unwrap_or(u64::MAX));
    }

    /// Puts anything that can be displayed: an address, an identity.
    pub fn display(&mut self, value: impl fmt::Display) {
        self.write_with(|slot| {
            let _ = write!(Escaped(slot), "{value}");
        });
    }

    /// Puts a time in the pattern of its operator.
    pub fn time(&mut self, format: &TimeFormat, time: SystemTime) {
        // A pattern may hold quotes, so its result is escaped like any text.
        let mut text = String::with_capacity(24);
        format.write(time, &mut text);
        self.text(&text);
    }

    /// Puts response flags in short or long codes, as `operator` asks. The empty set is absent.
    pub fn flags(&mut self, operator: &Operator, flags: ResponseFlags) {
        match operator {
            _ if flags.is_empty() && self.form != Form::Value => {}
            Operator::ResponseFlagsLong => self.display(flags.long()),
            _ => self.display(flags),
        }
    }

    /// Puts a gRPC status in the form its operator asks for; `camel` is its name as in `DeadlineExceeded`, if it has one.
    pub fn grpc_status(&mut self, form: GrpcStatusForm, code: u32, camel: Option<&str>) {
        match (form, camel) {
            (GrpcStatusForm::Number, _) => self.number(code.into()),
            (_, None) => self.display(code),
            (GrpcStatusForm::Camel, Some(name)) => self.text(name),
            (GrpcStatusForm::Snake, Some(name)) => self.text(&snake(name)),
        }
    }

    fn write_with(&mut self, write: impl FnOnce(&mut Self)) {
        self.filled = true;
        let quoted = self.form == Form::Value;
        if quoted {
            self.out.push('"');
        }
        write(self);
        if quoted {
            self.out.push('"');
        }
    }

    fn escape_bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.utf8_chunks() {
            self.escape(chunk.valid());
            for byte in chunk.invalid() {
                let Some(room) = self.room.checked_sub(1) else { return };
                self.room = room;
                match self.form {
                    Form::Text { json: false } => {
                        let _ = write!(self.out, "\\x{byte:02x}");
                    }
                    _ => self.out.push(char::REPLACEMENT_CHARACTER),
                }
            }
        }
    }

    fn escape(&mut self, text: &str) {
        let cut = text.char_indices().nth(self.room).map_or(text.len(), |(at, _)| at);
        let text = &text[..cut];
        if self.room != usize::MAX {
            self.room -= text.chars().count();
        }
        match self.form {
            Form::Plain => self.out.push_str(text),
            form => escape_into(self.out, text, form != Form::Text { json: false }),
        }
    }
}

/// Escapes for a JSON string, or for a line of text whose quoted parts must stay quoted.
pub(super) fn escape_into(out: &mut String, text: &str, json: bool) {
    let mut plain = 0;
    for (at, c) in text.char_indices() {
        if !(c.is_control() || matches!(c, '"' | '\\' | '\u{2028}' | '\u{2029}')) {
            continue;
        }
        out.push_str(&text[plain..at]);
        plain = at + c.len_utf8();
        let _ = match c {
            '"' => out.write_str("\\\""),
            '\\' => out.write_str("\\\\"),
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            c if json || u32::from(c) > 0xff => write!(out, "\\u{:04x}", u32::from(c)),
            c => write!(out, "\\x{:02x}", u32::from(c)),
        };
    }
    out.push_str(&text[plain..]);
}

struct Escaped<'s, 'a>(&'s mut Slot<'a>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.escape(text);
        Ok(())
    }
}

fn snake(camel: &str) -> String {
    let mut name = String::with_capacity(camel.len() + 4);
    let mut last_lower = false;
    for c in camel.chars() {
        if c.is_ascii_uppercase() && last_lower {
            name.push('_');
        }
        last_lower = c.is_ascii_lowercase();
        name.push(c.to_ascii_uppercase());
    }
    name
}
