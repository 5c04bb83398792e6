//! `halcyon explain`: what a request would meet, and why every other rule was passed over.

use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use control::v1::{ExplainRequest, Explanation};
use translate::{Inputs, World};

use super::files;
use super::validate::{parse, print_problems};
use crate::cli::{ExplainArgs, Form, Place};
use crate::print::{self, Colour};

/// Exit code 0 if the question could be answered, whatever becomes of the request.
pub async fn run(place: &Place, args: ExplainArgs) -> Result<ExitCode> {
    let request = ExplainRequest {
        from: args.from,
        namespace: args.namespace,
        host: args.to.host,
        port: args.to.port,
        authority: args.authority,
        server_name: args.sni,
        method: args.method,
        path: args.path,
        headers: args.headers,
    };
    let explanation = match args.files.is_empty() {
        true => super::client(place)?.explain(&request).await?,
        false => of_files(&files::read(&args.files)?, &request)?,
    };
    match args.output {
        Form::Json => crate::print::out!("{}", serde_json::to_string_pretty(&explanation)?),
        Form::Text => show(&explanation),
    }
    Ok(ExitCode::SUCCESS)
}

fn of_files(documents: &[control::v1::Document], request: &ExplainRequest) -> Result<Explanation> {
    let (resources, problems) = parse(documents, &request.namespace, false);
    if problems.iter().any(|problem| problem.is_error()) {
        let sources = documents.iter().map(|d| (d.file.as_str(), d.text.as_str())).collect();
        print_problems(&problems, &sources);
        bail!("the files are refused: nothing to explain");
    }
    let world = World::new(Inputs { resources, ..Inputs::default() });
    let node = translate::explain::caller(&world, &request.namespace, &request.from).ok_or_else(|| {
        anyhow!(
            "nobody in the namespace `{}` is called `{}`; expected a Deployment, a Pod, a Service or a Gateway's label",
            request.namespace,
            request.from
        )
    })?;
    let question = control::explain::question(request, &world, &node).map_err(|reason| anyhow!(reason))?;
    Ok(control::explain::answer(&world, &node, &question))
}

fn show(explanation: &Explanation) {
    let terminal = print::to_terminal();
    crate::print::out!("{:<13} {}", "caller", explanation.caller);
    for step in &explanation.steps {
        crate::print::out!("{:<13} {}", step.stage, print::paint(&step.name, Colour::Bold, terminal));
        step.facts.iter().for_each(|fact| crate::print::out!("{:<13}   {fact}", ""));
        for other in &step.others {
            crate::print::out!("{:<13}   not {}: {}", "", other.name, other.reason);
        }
    }
    let colour = if explanation.served { Colour::Green } else { Colour::Red };
    crate::print::out!("\n{}", print::paint(&explanation.verdict, colour, terminal));
}
