//! What Telemetries come to: which are for a proxy, in which order, and what of logs, metrics and spans they change.

use std::fmt::Write as _;

use model::access_log::{LogFilter, LogTarget};
use model::{Config, HttpProxy, Listener, NetworkFilter};

use crate::mesh::{BOOKINFO, config, gateway, settings, sidecar, world};

const WORKLOADS: &[&str] = &["reviews/v1@2", "reviews/v2@3", "productpage/v1@4"];
const COLLECTOR: &str =
    "---\napiVersion: v1\nkind: Service\nmetadata: {name: collector}\nspec:\n  ports: [{name: grpc, port: 4317}]\n";

fn telemetry(place: &str, spec: &str) -> String {
    format!("---\napiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {{{place}}}\nspec: {spec}\n")
}

/// The configuration of a sidecar of `productpage`, or of the gateway.
fn made(documents: &str, is_gateway: bool) -> Config {
    let world = world(&format!("{BOOKINFO}\n{COLLECTOR}{documents}"), WORKLOADS);
    let node = if is_gateway { gateway() } else { sidecar("productpage/v1@4", 9080) };
    config(&world, &node)
}

fn http(listener: &Listener) -> &HttpProxy {
    let mut chains = listener.chains.iter();
    let found = chains.find_map(|chain| match &chain.filter {
        NetworkFilter::Http(http) => Some(&**http),
        NetworkFilter::Tcp(_) => None,
    });
    found.expect("a chain of HTTP")
}

/// The listeners of a sidecar for its own port, and for port 9080 of others.
fn both(config: &Config) -> [&Listener; 2] {
    let inbound = config.listeners.values().find(|it| it.direction == model::Direction::Inbound).unwrap();
    [inbound, &config.listeners["0.0.0.0_9080"]]
}

fn logs(http: &HttpProxy) -> String {
    let log = |log: &model::AccessLog| {
        let filter = match log.filter.as_deref() {
            Some(LogFilter::Expression(expression)) => format!(" if {expression}"),
            Some(_) => " if (other)".to_owned(),
            None => String::new(),
        };
        match &log.to {
            LogTarget::File(file) => format!("{}{filter}", file.path),
            LogTarget::Service(log) => format!("{} at {}{filter}", log.name, log.service.cluster),
            LogTarget::Otlp(log) => format!("{} {:?} at {}{filter}", log.name, log.attributes, log.service.cluster),
        }
    };
    http.access_logs.iter().map(log).collect::<Vec<_>>().join(", ")
}

#[test]
fn access_logs() {
    let all = settings(
        "accessLogFile: /var/log/mesh\nextensionProviders:\n- name: als\n  envoyHttpAls: {service: collector.default.svc.cluster.local, port: 4317}\n- name: otlp\n  envoyOtelAls: {service: collector.default.svc.cluster.local, port: 4317, logFormat: {labels: {status: \"%RESPONSE_CODE%\"}}}\n- name: other\n  envoyFileAccessLog: {path: /var/log/other, logFormat: {text: \"%RESPONSE_CODE%\"}}",
    );
    let on = "{accessLogging: [{providers: [{name: envoy}]}]}";
    let errors = "{accessLogging: [{filter: {expression: response.code >= 400}}]}";
    let of_clients = "{accessLogging: [{match: {mode: CLIENT}, providers: [{name: als}]}]}";
    let service = "http_envoy_accesslog at outbound|4317||collector.default.svc.cluster.local";
    let otlp = "otel_envoy_accesslog [(\"status\", \"%RESPONSE_CODE%\")] at outbound|4317||collector.default.svc.cluster.local";
    let (root, own) = ("name: a, namespace: istio-system", "name: b");
    let file = "/var/log/mesh";
    for (documents, inbound, outbound) in [
        (String::new(), file, file),
        (telemetry(own, on), "/dev/stdout", "/dev/stdout"),
        (telemetry(own, errors), "/dev/stdout if response.code >= 400", "/dev/stdout if response.code >= 400"),
        // The narrower says when, the wider where to.
        (
            telemetry(root, "{accessLogging: [{providers: [{name: other}]}]}") + &telemetry(own, errors),
            "/var/log/other if response.code >= 400",
            "/var/log/other if response.code >= 400",
        ),
        (telemetry(own, of_clients), file, service),
        (telemetry(own, "{accessLogging: [{providers: [{name: otlp}]}]}"), otlp, otlp),
        (telemetry(root, on) + &telemetry(own, "{accessLogging: [{disabled: true}]}"), "", ""),
        (
            telemetry(root, on)
                + &telemetry(
                    "name: c",
                    "{selector: {matchLabels: {app: productpage}}, accessLogging: [{disabled: true}]}",
                ),
            "",
            "",
        ),
        (
            telemetry(root, on)
                + &telemetry("name: c", "{selector: {matchLabels: {app: reviews}}, accessLogging: [{disabled: true}]}"),
            "/dev/stdout",
            "/dev/stdout",
        ),
        (telemetry("name: d, namespace: elsewhere", on), file, file),
    ] {
        let config = made(&format!("{all}{documents}"), false);
        assert_eq!(both(&config).map(|listener| logs(http(listener))), [inbound, outbound], "{documents}");
    }
    let defaults = settings("defaultProviders: {accessLogging: [envoy]}");
    assert_eq!(both(&made(&defaults, false)).map(|listener| logs(http(listener))), ["/dev/stdout"; 2]);
}

/// The rules of the listeners, one a line.
fn rules(config: &Config, [inbound, outbound]: [&Listener; 2]) -> String {
    let mut text = String::new();
    for (side, listener) in [("server", inbound), ("client", outbound)] {
        let chains = || listener.chains.iter().chain(&listener.default_chain);
        let first = chains().next().unwrap().metrics.clone();
        assert!(chains().all(|chain| chain.metrics == first), "{:?}", config.listeners.keys());
        for (metric, rule) in first.iter().flat_map(|rules| rules.iter()) {
            let _ = write!(text, "{side} {}", metric.name());
            let labels = rule.labels.iter().map(|(name, value)| match value {
                Some(expression) => format!(" {name}={expression}"),
                None => format!(" -{name}"),
            });
            text.extend(labels);
            text.push_str(if rule.dropped { " dropped\n" } else { "\n" });
        }
    }
    text
}

#[test]
fn metrics() {
    let check = |documents: &str, expected: &str| {
        let config = made(documents, false);
        assert_eq!(rules(&config, both(&config)), expected, "{documents}");
    };
    check("", "");
    check(
        &telemetry(
            "name: a",
            "{metrics: [{overrides: [{match: {metric: REQUEST_COUNT}, tagOverrides: {host: {value: request.host}, source_app: {operation: REMOVE}}}]}]}",
        ),
        "server istio_requests_total host=request.host -source_app\nclient istio_requests_total host=request.host -source_app\n",
    );
    // One of the root namespace and one of the workload's add up; the narrower counts where both say something.
    check(
        &(telemetry(
            "name: a, namespace: istio-system",
            "{metrics: [{overrides: [{match: {metric: REQUEST_SIZE, mode: SERVER}, disabled: true}, {match: {metric: REQUEST_COUNT, mode: CLIENT}, tagOverrides: {a: {value: \"'1'\"}, b: {value: \"'2'\"}}}]}]}",
        ) + &telemetry(
            "name: b",
            "{selector: {matchLabels: {app: productpage}}, metrics: [{overrides: [{match: {metric: REQUEST_SIZE}, disabled: false}, {match: {metric: REQUEST_COUNT, mode: CLIENT}, tagOverrides: {b: {value: \"'3'\"}}}]}]}",
        )),
        "client istio_requests_total a='1' b='3'\n",
    );
    let dropped = telemetry("name: a", "{metrics: [{overrides: [{disabled: true, match: {mode: SERVER}}]}]}");
    let config = made(&dropped, false);
    let text = rules(&config, both(&config));
    assert_eq!(
        text.lines().filter(|line| line.starts_with("server") && line.ends_with(" dropped")).count(),
        10,
        "{text}"
    );
    assert_eq!(text.lines().count(), 10, "{text}");
    // Nobody asks for metrics.
    let other = settings("defaultProviders: {metrics: [other]}");
    let config = made(&other, false);
    assert_eq!(rules(&config, both(&config)).lines().count(), 20);
}

#[test]
fn spans() {
    let of = |documents: &str| {
        let config = made(&format!("{}{documents}", settings("enableTracing: true")), false);
        both(&config).map(|listener| {
            let tracing = http(listener).tracing.clone().unwrap();
            let tags: Vec<&str> = tracing.tags.iter().map(|tag| &*tag.name).collect();
            format!("{} {}", tracing.random.as_millionths(), tags.join(","))
        })
    };
    assert_eq!(of(""), ["10000 ", "10000 "]);
    let half = "{tracing: [{randomSamplingPercentage: 50, customTags: {team: {literal: {value: a}}, from: {header: {name: x-team}}, protocol: {formatter: {value: '%PROTOCOL%'}}, skipped: {formatter: {value: '%PROTOCOLS%'}}}}]}";
    assert_eq!(of(&telemetry("name: a", half)), ["500000 from,protocol,team", "500000 from,protocol,team"]);
    let of_clients = "{tracing: [{match: {mode: CLIENT}, randomSamplingPercentage: 0}]}";
    let both_documents = telemetry("name: a, namespace: istio-system", half) + &telemetry("name: b", of_clients);
    assert_eq!(of(&both_documents), ["500000 from,protocol,team", "0 from,protocol,team"]);
}

/// Who is told of spans, beside the control plane.
#[test]
fn providers_of_spans() {
    let told = |provider: &str| {
        let all = settings(&format!(
            "enableTracing: true\nextensionProviders:\n- name: spans\n  {provider}\ndefaultProviders: {{tracing: [spans]}}"
        ));
        let config = made(&all, false);
        let [inbound, outbound] = both(&config).map(|listener| http(listener).tracing.clone().unwrap());
        assert_eq!(inbound.sinks, outbound.sinks);
        let sink = format!("{:?}", inbound.sinks.first().unwrap().collector);
        format!("{} {sink}", inbound.most_path)
    };
    let at = "service: collector.default.svc.cluster.local, port: 4317";
    let provider = |kind: &str, more: &str| told(&format!("{kind}: {{{at}{more}}}"));
    let all = [
        provider("opentelemetry", ", maxTagLength: 99"),
        provider("opentelemetry", ", grpc: {initialMetadata: [{name: x-key, value: a}, {name: x-none, envName: KEY}]}"),
        provider("opentelemetry", ", http: {path: /v1/traces, timeout: 7s, headers: [{name: x-key, value: a}]}"),
        provider("zipkin", ""),
        provider("zipkin", ", maxTagLength: 64, path: /spans, timeout: 1s, headers: [{name: x-key, value: a}]"),
    ];
    insta::assert_snapshot!("providers-of-spans", all.join("\n"));
}

#[test]
fn what_leads_nowhere() {
    let all = settings(
        "extensionProviders:\n- name: gone\n  envoyHttpAls: {service: gone.example, port: 1}\n- name: asked\n  prometheus: {}\n- name: spans\n  opentelemetry: {service: collector.default.svc.cluster.local, port: 4317}",
    );
    let spec = "{accessLogging: [{providers: [{name: gone}, {name: absent}, {name: asked}, {name: envoy}]}], metrics: [{providers: [{name: prometheus}, {name: asked}, {name: spans}]}], tracing: [{providers: [{name: spans}], customTags: {a: {formatter: {value: '%NO%'}}}}]}";
    let world = world(&format!("{BOOKINFO}\n{COLLECTOR}{all}{}", telemetry("name: a", spec)), WORKLOADS);
    let text: String = translate::check(&world).iter().map(|problem| format!("{problem}\n")).collect();
    insta::assert_snapshot!("telemetries-that-tell-nobody", text);
}
