//! Access logs: standard output, standard error, files, services.

mod filter;
mod otlp;
mod service;

use std::sync::Arc;

use model::AccessLog;
use model::access_log::{FileLog, LogFormat, LogTarget};
use proto::envoy::config::accesslog::v3::{self as wire, access_log::ConfigType};
use proto::envoy::config::core::v3::substitution_format_string::Format;
use proto::envoy::config::core::v3::{SubstitutionFormatString, data_source::Specifier};
use proto::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use proto::envoy::extensions::access_loggers::stream::v3::{
    StderrAccessLog, StdoutAccessLog, stderr_access_log, stdout_access_log,
};
use proto::google::protobuf::{Any, Struct, value::Kind};

use super::{At, Decoded, each, required, take, type_name, unpack};

pub(super) fn access_logs(logs: Vec<wire::AccessLog>, at: &At<'_>) -> Decoded<Vec<AccessLog>> {
    each(logs, at, access_log)
}

fn access_log(value: wire::AccessLog, at: &At<'_>) -> Decoded<AccessLog> {
    // The type decides, not the name.
    take!(value, at, wire::AccessLog {
        used { config_type, filter }
        harmless { name }
        refused {}
    });
    let filter = filter.map(|filter| filter::filter(filter, &at.field("filter"))).transpose()?;
    let at = at.field("typed_config");
    let ConfigType::TypedConfig(any) = required(config_type, &at)?;
    Ok(AccessLog { to: target(&any, &at)?, filter: filter.map(Arc::new) })
}

fn target(any: &Any, at: &At<'_>) -> Decoded<LogTarget> {
    match type_name(&any.type_url) {
        "envoy.extensions.access_loggers.file.v3.FileAccessLog" => file(any, at).map(LogTarget::File),
        "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog" => {
            let log: StdoutAccessLog = unpack(any, at)?;
            let format = log.access_log_format.map(|stdout_access_log::AccessLogFormat::LogFormat(format)| format);
            stream("/dev/stdout", format, at)
        }
        "envoy.extensions.access_loggers.stream.v3.StderrAccessLog" => {
            let log: StderrAccessLog = unpack(any, at)?;
            let format = log.access_log_format.map(|stderr_access_log::AccessLogFormat::LogFormat(format)| format);
            stream("/dev/stderr", format, at)
        }
        service::HTTP => service::http(unpack(any, at)?, at),
        service::TCP => service::tcp(unpack(any, at)?, at),
        otlp::OTLP => otlp::otlp(unpack(any, at)?, at),
        _ => Err(at.error(
            format!("is of type `{}`", any.type_url),
            "an access log to a file, stdout, stderr or a service of gRPC",
        )),
    }
}

fn stream(path: &str, format: Option<SubstitutionFormatString>, at: &At<'_>) -> Decoded<LogTarget> {
    Ok(LogTarget::File(FileLog { path: path.into(), format: log_format(format, &at.field("log_format"))? }))
}

#[allow(deprecated)]
fn file(any: &Any, at: &At<'_>) -> Decoded<FileLog> {
    use file_access_log::AccessLogFormat;
    take!(unpack::<FileAccessLog>(any, at)?, at, FileAccessLog {
        used { path, access_log_format }
        harmless {}
        refused {}
    });
    if path.is_empty() {
        return Err(at.field("path").error("is missing", "a file's path"));
    }
    let format = match access_log_format {
        None => LogFormat::Default,
        Some(AccessLogFormat::Format(text)) => text_format(text),
        Some(AccessLogFormat::JsonFormat(fields)) => json_format(fields, &at.field("json_format"))?,
        Some(AccessLogFormat::TypedJsonFormat(fields)) => json_format(fields, &at.field("typed_json_format"))?,
        Some(AccessLogFormat::LogFormat(format)) => log_format(Some(format), &at.field("log_format"))?,
    };
    Ok(FileLog { path, format })
}

#[allow(deprecated)]
fn log_format(value: Option<SubstitutionFormatString>, at: &At<'_>) -> Decoded<LogFormat> {
    let Some(value) = value else { return Ok(LogFormat::Default) };
    // A log has no content type; keys are always in order.
    take!(value, at, SubstitutionFormatString {
        used { format }
        harmless { content_type, json_format_options }
        refused { omit_empty_values, formatters }
    });
    match required(format, at)? {
        Format::TextFormat(text) => Ok(text_format(text)),
        Format::JsonFormat(fields) => json_format(fields, &at.field("json_format")),
        Format::TextFormatSource(source) => match source.specifier {
            Some(Specifier::InlineString(text)) => Ok(text_format(text)),
            _ => Err(at.field("text_format_source").unsupported("`inline_string`")),
        },
    }
}

/// Envoy takes an empty text for its default.
fn text_format(text: String) -> LogFormat {
    if text.is_empty() { LogFormat::Default } else { LogFormat::Text(text) }
}

fn json_format(fields: Struct, at: &At<'_>) -> Decoded<LogFormat> {
    let mut out = Vec::with_capacity(fields.fields.len());
    for (key, value) in fields.fields {
        match value.kind {
            Some(Kind::StringValue(text)) => out.push((key, text)),
            _ => return Err(at.key(&key).unsupported("a text")),
        }
    }
    out.sort();
    Ok(LogFormat::Json(out))
}
