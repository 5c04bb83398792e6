//! `halcyon authz graph`: who may call whom, by policies alone.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::ExitCode;

use anyhow::Result;
use control::v1::AccessGraph;

use crate::cli::{AuthzGraphArgs, GraphForm, Place};
use crate::print;

/// Exit code 0.
pub async fn run(place: &Place, args: AuthzGraphArgs) -> Result<ExitCode> {
    let graph = match args.files.is_empty() {
        true => super::super::client(place)?.access_graph().await?,
        false => control::access::graph(&super::world(&args.files, &args.namespace)?),
    };
    let text = match args.output {
        GraphForm::Text => table(&graph),
        GraphForm::Json => serde_json::to_string_pretty(&graph)?,
        GraphForm::Dot => dot(&graph),
        GraphForm::Mermaid => mermaid(&graph),
    };
    crate::print::out!("{}", text.trim_end());
    Ok(ExitCode::SUCCESS)
}

fn table(graph: &AccessGraph) -> String {
    if graph.edges.is_empty() {
        return "nobody may call anybody".to_owned();
    }
    let rows = graph.edges.iter().map(|edge| {
        let by = if edge.by.is_empty() { "no policy asks for more".to_owned() } else { edge.by.join(", ") };
        [edge.from.clone(), format!("{}:{}", edge.to, edge.port), edge.may.clone(), by]
    });
    print::table(["FROM", "TO", "MAY", "BY"], rows)
}

fn dot(graph: &AccessGraph) -> String {
    let mut text = "digraph access {\n  rankdir=LR;\n".to_owned();
    for edge in &graph.edges {
        let style = if edge.may == "all" { "solid" } else { "dashed" };
        let (from, to, by) = (escaped(&edge.from), escaped(&edge.to), escaped(&edge.by.join(", ")));
        let _ = writeln!(text, "  \"{from}\" -> \"{to}:{}\" [style={style}, tooltip=\"{by}\"];", edge.port);
    }
    text + "}\n"
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn mermaid(graph: &AccessGraph) -> String {
    let target = |host: &str, port: u16| format!("{host}:{port}");
    let names: BTreeSet<String> =
        graph.edges.iter().flat_map(|edge| [edge.from.clone(), target(&edge.to, edge.port)]).collect();
    let names: Vec<String> = names.into_iter().collect();
    let place = |name: &str| names.iter().position(|own| own == name).unwrap_or_default();
    let mut text = "flowchart LR\n".to_owned();
    for (index, name) in names.iter().enumerate() {
        let _ = writeln!(text, "  n{index}[\"{}\"]", if name == "*" { "anybody" } else { name });
    }
    for edge in &graph.edges {
        let arrow = if edge.may == "all" { "-->" } else { "-.->" };
        let _ = writeln!(text, "  n{} {arrow} n{}", place(&edge.from), place(&target(&edge.to, edge.port)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use control::v1::AccessEdge;

    #[test]
    fn forms() {
        let edge = |from: &str, may: &str, by: &[&str]| AccessEdge {
            from: from.into(),
            to: "reviews.default.svc.cluster.local".into(),
            port: 9080,
            may: may.into(),
            by: by.iter().map(|by| (*by).to_owned()).collect(),
        };
        let graph = AccessGraph { edges: vec![edge("default/a", "some", &["default/p"]), edge("*", "all", &[])] };
        assert_eq!(
            table(&graph),
            "FROM       TO                                      MAY   BY\n\
             default/a  reviews.default.svc.cluster.local:9080  some  default/p\n\
             *          reviews.default.svc.cluster.local:9080  all   no policy asks for more"
        );
        assert_eq!(
            dot(&graph),
            "digraph access {\n  rankdir=LR;\n  \
             \"default/a\" -> \"reviews.default.svc.cluster.local:9080\" [style=dashed, tooltip=\"default/p\"];\n  \
             \"*\" -> \"reviews.default.svc.cluster.local:9080\" [style=solid, tooltip=\"\"];\n}\n"
        );
        assert_eq!(
            mermaid(&graph),
            "flowchart LR\n  n0[\"anybody\"]\n  n1[\"default/a\"]\n  n2[\"reviews.default.svc.cluster.local:9080\"]\n  \
             n1 -.-> n2\n  n0 --> n2\n"
        );
    }
}
