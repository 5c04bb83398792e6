//! What OTLP says beside spans and log records: whose they are.

use proto::opentelemetry::proto::common::v1::any_value::Value;
use proto::opentelemetry::proto::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use proto::opentelemetry::proto::resource::v1::Resource;

use crate::node::Shared;

/// The name under which a proxy tells: this, or that of its workload.
pub(crate) fn service_name(shared: &Shared, said: &str) -> String {
    let workload = &shared.workload;
    match (said.is_empty(), workload.service.is_empty()) {
        (false, _) => said.to_owned(),
        (true, true) => shared.service_cluster.to_string(),
        (true, false) => format!("{}.{}", workload.service, workload.namespace),
    }
}

/// Who tells, and these attributes besides, as far as there is something to say.
pub(crate) fn resource<'a>(
    shared: &'a Shared,
    name: &'a str,
    more: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Resource {
    let workload = &shared.workload;
    let own = [
        ("service.name", name),
        ("service.namespace", &*workload.namespace),
        ("service.version", &*workload.version),
        ("service.instance.id", &*shared.node),
        ("k8s.deployment.name", &*workload.name),
        ("k8s.namespace.name", &*workload.namespace),
        ("telemetry.sdk.name", "halcyon"),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
    ];
    let said = own.into_iter().chain(more).filter(|(_, value)| !value.is_empty());
    Resource { attributes: said.map(|(key, value)| attribute(key, value.to_owned())).collect(), ..Resource::default() }
}

/// By what they were made.
pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "halcyon-proxy".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

/// An attribute.
pub(crate) fn attribute(key: &str, value: String) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(Value::StringValue(value)) }) }
}
