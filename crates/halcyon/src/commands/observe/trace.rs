//! `halcyon trace`: searches for traces, or draws one.

use std::collections::HashMap;
use std::process::ExitCode;

use anyhow::Result;
use observe::documents::{Trace, TraceList, TraceSpan};

use super::{millis, notices, plain};
use crate::cli::{Form, TraceArgs};
use crate::client::{Client, Query};
use crate::print::{self, Colour};

/// How wide the bars of a waterfall are.
const WIDTH: usize = 32;

/// `halcyon trace`.
pub async fn run(client: Client, args: TraceArgs) -> Result<ExitCode> {
    match &args.trace {
        Some(id) => show(&client, id, args.output).await,
        None => search(&client, &args).await,
    }
}

async fn search(client: &Client, args: &TraceArgs) -> Result<ExitCode> {
    let query = Query::new("/v1/traces")
        .and("limit", args.last)
        .and_some("service", args.service.as_deref())
        .and_some("operation", args.operation.as_deref())
        .and_some("minMs", args.slower_than.map(|least| least.as_millis()))
        .and_some("errors", args.errors.then_some(true))
        .and_some("tag", args.tag.as_deref());
    let list: TraceList = client.ask(&query).await?;
    if args.output == Form::Json {
        print::out!("{}", serde_json::to_string_pretty(&list)?);
        return Ok(ExitCode::SUCCESS);
    }
    if list.traces.is_empty() {
        let kept = match (&list.oldest, list.kept) {
            (Some(oldest), kept) => format!("{kept} are kept, the oldest of {oldest}"),
            _ => "none is kept yet; the share of requests that is traced is a matter of Telemetry's \
                  `randomSamplingPercentage`"
                .to_owned(),
        };
        print::note(&format!("no trace fits; {kept}"));
        return Ok(ExitCode::SUCCESS);
    }
    let rows = list.traces.iter().map(|trace| {
        let services: Vec<String> = trace.services.iter().map(|it| plain(&it.name)).collect();
        let errors = match trace.errors {
            0 => "-".to_owned(),
            count => print::paint(&count.to_string(), Colour::Red, print::to_terminal()),
        };
        let root = format!("{} {}", plain(&trace.root_service), plain(&trace.root_name));
        let id = plain(&trace.trace_id);
        [trace.start.clone(), id, root, millis(trace.duration_ms), trace.spans.to_string(), errors, services.join(" ")]
    });
    let head = ["START", "TRACE", "ROOT", "DURATION", "SPANS", "ERRORS", "SERVICES"];
    print::out!("{}", print::table(head, rows));
    if list.more {
        print::note(&format!("there are more; see --last (of {} that are kept)", list.kept));
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(client: &Client, id: &str, form: Form) -> Result<ExitCode> {
    let trace: Trace = client.ask(&Query::new(&format!("/v1/traces/{}", crate::client::escape(id)))).await?;
    if form == Form::Json {
        print::out!("{}", serde_json::to_string_pretty(&trace)?);
        return Ok(ExitCode::SUCCESS);
    }
    print::out!("{}", waterfall(&trace, print::to_terminal()));
    notices(&trace.notices);
    Ok(ExitCode::SUCCESS)
}

/// A line for each span: the tree, a bar where it was in time, and how long it took.
fn waterfall(trace: &Trace, terminal: bool) -> String {
    let end = trace.spans.iter().map(|span| span.offset_us + span.duration_us).max().unwrap_or_default().max(1);
    let mut depths: HashMap<&str, usize> = HashMap::new();
    for span in &trace.spans {
        let above = span.parent_id.as_deref().and_then(|parent| depths.get(parent)).map_or(0, |depth| depth + 1);
        depths.insert(&span.span_id, above);
    }
    let rows = trace.spans.iter().map(|span| {
        let depth = depths.get(span.span_id.as_str()).copied().unwrap_or_default();
        let name = format!("{}{} {}", "  ".repeat(depth), plain(&span.service), plain(&span.name));
        let name = if span.error { print::paint(&name, Colour::Red, terminal) } else { name };
        let words = span.message.as_deref().map(plain).unwrap_or_default();
        [name, bar(span, end), millis(span.duration_us as f64 / 1000.0), status(span), words]
    });
    let head = ["SPAN", "", "DURATION", "STATUS", ""];
    format!(
        "trace {}, {} at {}\n{}",
        plain(&trace.trace_id),
        millis(trace.duration_ms),
        trace.start,
        print::table(head, rows)
    )
}

fn bar(span: &TraceSpan, end: u64) -> String {
    let at = |micros: u64| (micros as u128 * WIDTH as u128 / u128::from(end)) as usize;
    let from = at(span.offset_us).min(WIDTH - 1);
    let length = (at(span.offset_us + span.duration_us).max(from + 1) - from).min(WIDTH - from);
    format!("{}{}{}", "·".repeat(from), "█".repeat(length), "·".repeat(WIDTH - from - length))
}

fn status(span: &TraceSpan) -> String {
    let of = |key: &str| span.attributes.iter().find(|it| it.key == key).map(|it| plain(&it.value));
    let code =
        of("http.response.status_code").or_else(|| of("http.status_code")).or_else(|| of("rpc.grpc.status_code"));
    let flags = of("response_flags").filter(|flags| flags != "-").map(|flags| format!(" {flags}")).unwrap_or_default();
    format!("{}{flags}", code.unwrap_or_else(|| "-".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: &str, parent: Option<&str>, offset_us: u64, duration_us: u64) -> TraceSpan {
        TraceSpan {
            span_id: id.to_owned(),
            parent_id: parent.map(str::to_owned),
            service: "web\x1b[2J".to_owned(),
            name: id.to_owned(),
            kind: "server".into(),
            offset_us,
            duration_us,
            error: false,
            message: None,
            attributes: Vec::new(),
            events: Vec::new(),
        }
    }

    #[test]
    fn a_tree_with_bars() {
        let spans = vec![span("a", None, 0, 1000), span("b", Some("a"), 500, 500), span("c", Some("b"), 999, 1)];
        let trace = Trace {
            trace_id: "t".to_owned(),
            start: "2026-01-01T00:00:00Z".to_owned(),
            duration_ms: 1.0,
            spans,
            notices: Vec::new(),
        };
        let drawn = waterfall(&trace, false);
        let lines: Vec<&str> = drawn.lines().skip(2).collect();
        assert!(lines[0].starts_with("web\u{fffd}[2J a") && lines[0].contains(&"█".repeat(WIDTH)), "{drawn}");
        assert!(lines[1].starts_with("  web") && lines[1].contains(&format!("{}{}", "·".repeat(16), "█".repeat(16))));
        assert!(lines[2].starts_with("    web") && lines[2].contains(&format!("{}█ ", "·".repeat(31))), "{drawn}");
    }
}
