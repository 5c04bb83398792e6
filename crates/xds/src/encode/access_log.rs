//! Access logs: to standard output or a file.

use model::AccessLog;
use model::access_log::LogFormat;
use prost::Message;
use proto::envoy::config::accesslog::v3::{self as wire, access_log::ConfigType};
use proto::envoy::config::core::v3::substitution_format_string::Format;
use proto::envoy::config::core::v3::{DataSource, SubstitutionFormatString, data_source::Specifier};
use proto::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use proto::envoy::extensions::access_loggers::stream::v3::{StdoutAccessLog, stdout_access_log};
use proto::google::protobuf::Any;

use super::ordered::{FileJsonLog, JsonFormat, StdoutJsonLog, Struct};
use super::{pack, packed};

pub(super) fn access_logs(logs: &[AccessLog]) -> Vec<wire::AccessLog> {
    logs.iter().map(access_log).collect()
}

fn access_log(log: &AccessLog) -> wire::AccessLog {
    let stdout = log.path == "/dev/stdout";
    let (name, config) = if stdout {
        ("envoy.access_loggers.stdout", to_stdout(&log.format))
    } else {
        ("envoy.access_loggers.file", to_file(&log.path, &log.format))
    };
    wire::AccessLog { name: name.into(), filter: None, config_type: Some(ConfigType::TypedConfig(config)) }
}

fn to_stdout(format: &LogFormat) -> Any {
    match format {
        LogFormat::Default => pack(&StdoutAccessLog::default()),
        LogFormat::Text(text) => pack(&StdoutAccessLog {
            access_log_format: Some(stdout_access_log::AccessLogFormat::LogFormat(text_format(text))),
        }),
        LogFormat::Json(fields) => {
            packed::<StdoutAccessLog>(StdoutJsonLog { log_format: Some(json_format(fields)) }.encode_to_vec())
        }
    }
}

fn to_file(path: &str, format: &LogFormat) -> Any {
    let path = path.to_owned();
    match format {
        LogFormat::Default => pack(&FileAccessLog { path, access_log_format: None }),
        LogFormat::Text(text) => pack(&FileAccessLog {
            path,
            access_log_format: Some(file_access_log::AccessLogFormat::LogFormat(text_format(text))),
        }),
        LogFormat::Json(fields) => {
            packed::<FileAccessLog>(FileJsonLog { path, log_format: Some(json_format(fields)) }.encode_to_vec())
        }
    }
}

fn text_format(text: &str) -> SubstitutionFormatString {
    let source = DataSource { specifier: Some(Specifier::InlineString(text.to_owned())), watched_directory: None };
    SubstitutionFormatString { format: Some(Format::TextFormatSource(source)), ..SubstitutionFormatString::default() }
}

fn json_format(fields: &[(String, String)]) -> JsonFormat {
    JsonFormat { json_format: Some(Struct::of_texts(fields.iter().map(|(key, text)| (key.as_str(), text.as_str())))) }
}
