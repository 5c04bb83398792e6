//! Access logs: files, services, and what they are told of.

use model::access_log::{
    Comparison, FileLog, LogEntries, LogFilter, LogFormat, LogTarget, Ordering, OtlpLog, ServiceLog,
};

use super::*;

fn format() -> impl Strategy<Value = LogFormat> {
    let json = btree_map("[a-z_]{1,6}", "%[A-Z]{1,6}%".boxed(), 0..4);
    prop_oneof![
        Just(LogFormat::Default),
        Just(LogFormat::Text("%PROTOCOL% %RESPONSE_CODE%\n".into())),
        json.prop_map(|fields| LogFormat::Json(fields.into_keys().map(|key| (key, "%PROTOCOL%".into())).collect())),
    ]
}

fn to_file() -> impl Strategy<Value = LogTarget> {
    let path = select(vec!["/dev/stdout", "/dev/stderr", "/tmp/access.log"]);
    (path, format()).prop_map(|(path, format)| LogTarget::File(FileLog { path: path.into(), format }))
}

fn to_service() -> impl Strategy<Value = LogTarget> {
    let headers = || vec(header_name(), 0..3);
    let entries = prop_oneof![
        (headers(), headers())
            .prop_map(|(request_headers, response_headers)| LogEntries::Http { request_headers, response_headers }),
        Just(LogEntries::Tcp),
    ];
    (entries, name(), limits::service(), some_time(), any::<u32>()).prop_map(
        |(entries, name, service, flush_interval, buffer_bytes)| {
            LogTarget::Service(Arc::new(ServiceLog { entries, name, service, flush_interval, buffer_bytes }))
        },
    )
}

fn to_otlp() -> impl Strategy<Value = LogTarget> {
    let text = || "%[A-Z]{1,6}% [a-z]{0,4}";
    let attributes = vec(("[a-z.]{1,6}", text()), 0..3);
    let said = (of(text()), attributes, any::<bool>());
    (name(), limits::service(), said, some_time(), any::<u32>()).prop_map(
        |(name, service, (body, attributes, is_named), flush_interval, buffer_bytes)| {
            let log = OtlpLog { name, service, body, attributes, is_named, flush_interval, buffer_bytes };
            LogTarget::Otlp(Arc::new(log))
        },
    )
}

fn filter() -> impl Strategy<Value = LogFilter> {
    let is = select(vec![Ordering::Equal, Ordering::AtLeast, Ordering::AtMost, Ordering::NotEqual]);
    let comparison = (is, any::<u32>()).prop_map(|(is, than)| Comparison { is, than });
    let flags = vec(select(vec!["UF", "NR", "UAEX"]), 0..3);
    let leaf = prop_oneof![
        comparison.clone().prop_map(LogFilter::Status),
        comparison.prop_map(LogFilter::Duration),
        flags.prop_map(|flags| LogFilter::Flags(flags.into_iter().map(Into::into).collect())),
        (vec(0u32..=16, 0..3), any::<bool>()).prop_map(|(codes, exclude)| LogFilter::GrpcStatus { codes, exclude }),
        Just(LogFilter::OwnAnswer),
        Just(LogFilter::Terminated),
        Just(LogFilter::Expression(expression::Expression::parse("response.code >= 400").unwrap())),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![vec(inner.clone(), 2..4).prop_map(LogFilter::And), vec(inner, 2..4).prop_map(LogFilter::Or),]
    })
}

/// The logs of a listener or of what serves its connections.
pub fn access_logs() -> impl Strategy<Value = Vec<AccessLog>> {
    let to = prop_oneof![to_file(), to_service(), to_otlp()];
    vec((to, of(filter())).prop_map(|(to, filter)| AccessLog { to, filter: filter.map(Arc::new) }), 0..2)
}
