//! Changes to headers.

use http::HeaderName;
use model::HeaderChanges;
use model::headers::{HeaderWrite, WriteAction};
use proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption};

pub(super) fn writes(changes: &HeaderChanges) -> Vec<HeaderValueOption> {
    changes.write().iter().map(write).collect()
}

pub(super) fn removals(changes: &HeaderChanges) -> Vec<String> {
    changes.remove().iter().map(HeaderName::to_string).collect()
}

pub(super) fn write(write: &HeaderWrite) -> HeaderValueOption {
    let action = match write.action {
        WriteAction::Append => HeaderAppendAction::AppendIfExistsOrAdd,
        WriteAction::Overwrite => HeaderAppendAction::OverwriteIfExistsOrAdd,
        WriteAction::AddIfAbsent => HeaderAppendAction::AddIfAbsent,
        WriteAction::OverwriteIfThere => HeaderAppendAction::OverwriteIfExists,
    };
    let (value, raw_value) = match std::str::from_utf8(write.value.as_bytes()) {
        // Envoy reads `%` as the begin of an operator; doubled it stands for itself.
        Ok(text) => (text.replace('%', "%%"), Vec::new()),
        Err(_) => (String::new(), escaped(write.value.as_bytes())),
    };
    HeaderValueOption {
        keep_empty_value: write.value.is_empty(),
        header: Some(HeaderValue { key: write.name.to_string(), value, raw_value }),
        append_action: action as i32,
        ..HeaderValueOption::default()
    }
}

fn escaped(raw: &[u8]) -> Vec<u8> {
    raw.iter().flat_map(|byte| std::iter::repeat_n(*byte, if *byte == b'%' { 2 } else { 1 })).collect()
}
