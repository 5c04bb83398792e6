//! Telemetries that tell nobody: providers that there are not, that are not told such things, or whose service is not there.

use std::collections::BTreeMap;

use api::istio::{ExtensionProvider, ProviderLogFormat, ProviderRef, Telemetry, TelemetryTag};
use api::{Code, Problem};

use crate::settings::text_format;
use crate::telemetries::{ENVOY, PROMETHEUS, log_format, otlp_format};
use crate::world::{Document, World};

/// What a provider is named for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Tracing,
    Metrics,
    Logs,
}

pub fn check(world: &World, problems: &mut Vec<Problem>) {
    for document in world.telemetries.iter() {
        let spec = document.spec();
        for (i, it) in spec.tracing.iter().enumerate() {
            check_all(world, document, (Use::Tracing, format!("tracing[{i}]")), &it.providers, problems);
            check_tags(document, i, &it.custom_tags, problems);
        }
        for (i, it) in spec.metrics.iter().enumerate() {
            check_all(world, document, (Use::Metrics, format!("metrics[{i}]")), &it.providers, problems);
        }
        for (i, it) in spec.access_logging.iter().enumerate() {
            check_all(world, document, (Use::Logs, format!("accessLogging[{i}]")), &it.providers, problems);
        }
    }
}

fn check_all(
    world: &World,
    document: &Document<Telemetry>,
    (used, place): (Use, String),
    providers: &[ProviderRef],
    problems: &mut Vec<Problem>,
) {
    for (i, provider) in providers.iter().enumerate() {
        let Some(why) = trouble(world, used, &provider.name.value) else { continue };
        let (expected, instead) = match used {
            Use::Tracing => ("a provider with `opentelemetry` or `zipkin`", "it is told of no spans"),
            Use::Metrics => ("a provider with `prometheus`", "no metrics are counted for it"),
            Use::Logs => (
                "a provider with `envoyFileAccessLog`, `envoyHttpAls`, `envoyTcpAls` or `envoyOtelAls`",
                "nothing is written down there",
            ),
        };
        let problem = Problem::warning(format!("the provider `{}`: {why}: {instead}", provider.name.value))
            .code(Code::ProviderNotTold)
            .path(format!("spec.{place}.providers[{i}].name"))
            .expected(expected)
            .hint("name it in `extensionProviders` of the mesh's settings");
        problems.push(document.resource.problem(problem, provider.name.span));
    }
}

/// Tags whose operators cannot be read.
fn check_tags(
    document: &Document<Telemetry>,
    i: usize,
    tags: &BTreeMap<String, TelemetryTag>,
    problems: &mut Vec<Problem>,
) {
    for (name, tag) in tags {
        let Some(Err(reason)) = tag.formatter.as_ref().map(|format| text_format(&format.value)) else { continue };
        let problem = Problem::warning(format!("the value of the tag `{name}` cannot be read: {reason}"))
            .code(Code::NotEnforced)
            .path(format!("spec.tracing[{i}].customTags.{name}.formatter.value"))
            .hint("spans have no such tag until it can");
        problems.push(document.resource.problem(problem, Default::default()));
    }
}

/// Why a provider is told nothing, if it is not.
fn trouble(world: &World, used: Use, name: &str) -> Option<String> {
    let Some(provider) = world.settings.providers.get(name) else {
        let is_built_in = used == Use::Logs && name == ENVOY || used == Use::Metrics && name == PROMETHEUS;
        return (!is_built_in).then(|| "the settings of the mesh name no such provider".to_owned());
    };
    if !fits(provider, used) {
        return Some("it is one of another kind".to_owned());
    }
    let of_file = provider.envoy_file_access_log.as_ref().and_then(|file| file.log_format.as_ref());
    let of_otlp = provider.envoy_otel_als.as_ref().and_then(|log| log.log_format.as_ref());
    if used == Use::Logs && of_file.is_some_and(|form| !is_empty(form) && log_format(form).is_none()) {
        return Some("its `logFormat` cannot be read, so lines have the form of the mesh".to_owned());
    }
    if used == Use::Logs && of_otlp.is_some_and(|form| otlp_format(form).is_none()) {
        return Some("its `logFormat` cannot be read, so records have Istio's".to_owned());
    }
    let (written, port) = service(provider, used)?;
    world.provider_cluster(written, port).err().map(|error| error.to_string())
}

/// It says nothing: lines have the form of the mesh.
fn is_empty(form: &ProviderLogFormat) -> bool {
    form.text.is_empty() && form.labels.is_empty()
}

fn fits(provider: &ExtensionProvider, used: Use) -> bool {
    match used {
        Use::Tracing => service(provider, used).is_some(),
        Use::Metrics => provider.prometheus.is_some(),
        Use::Logs => provider.envoy_file_access_log.is_some() || service(provider, used).is_some(),
    }
}

/// The service that it stands for in this use.
fn service(provider: &ExtensionProvider, used: Use) -> Option<(&str, u32)> {
    let otlp = provider.opentelemetry.as_ref().map(|it| (it.service.as_str(), it.port));
    let zipkin = provider.zipkin.as_ref().map(|it| (it.service.as_str(), it.port));
    let http = provider.envoy_http_als.as_ref().map(|it| (it.service.as_str(), it.port));
    let tcp = provider.envoy_tcp_als.as_ref().map(|it| (it.service.as_str(), it.port));
    let logs = provider.envoy_otel_als.as_ref().map(|it| (it.service.as_str(), it.port));
    match used {
        Use::Tracing => otlp.or(zipkin),
        Use::Metrics => None,
        Use::Logs => http.or(tcp).or(logs),
    }
}
