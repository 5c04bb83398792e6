//! `halcyon convert`: Istio's old roles and Consul's intentions as AuthorizationPolicies.

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use api::{Origin, Resource};
use control::v1::ResourceQuery;
use translate::access::convert;
use translate::{Inputs, World};

use super::files;
use super::validate::{parse, print_problems};
use crate::cli::{ConvertArgs, Place};

/// Exit code 1 if something could not be converted, 0 if not. What could not be kept is told on standard error.
pub async fn run(place: &Place, args: ConvertArgs) -> Result<ExitCode> {
    let documents = files::read(&args.files)?;
    let resources = match args.files.is_empty() {
        true => applied(place).await?,
        false => {
            let (resources, problems) = parse(&documents, &args.namespace, false);
            if problems.iter().any(|problem| problem.is_error()) {
                let sources = documents.iter().map(|d| (d.file.as_str(), d.text.as_str())).collect();
                print_problems(&problems, &sources);
                bail!("the files are refused: nothing is converted");
            }
            resources
        }
    };
    let converted = convert::convert(&World::new(Inputs { resources, ..Inputs::default() }));
    let policies: Vec<String> = converted.policies.iter().map(convert::Written::to_yaml).collect();
    if !policies.is_empty() {
        crate::print::out!("{}", policies.join("---\n").trim_end());
    }
    let sources: HashMap<&str, &str> = documents.iter().map(|d| (d.file.as_str(), d.text.as_str())).collect();
    print_problems(&converted.losses, &sources);
    if policies.is_empty() && converted.losses.is_empty() {
        crate::print::note("there is nothing to convert");
    }
    let failed = converted.losses.iter().any(|problem| problem.is_error());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Everything that is applied.
async fn applied(place: &Place) -> Result<Vec<Arc<Resource>>> {
    let query =
        ResourceQuery { kind: String::new(), namespace: String::new(), name: String::new(), all_namespaces: true };
    let found = super::client(place)?.resources(&query).await?.resources;
    let read = |document| {
        let origin = Origin { file: "store".to_owned(), line: 0 };
        Resource::from_json(document, origin).map(Arc::new).map_err(|problems| {
            let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow!("the control plane keeps what this program cannot read: {}", told.join("; "))
        })
    };
    // Secrets are told without what makes them whole, and nothing here asks for them.
    let told = found.iter().map(|resource| &resource.document).filter(|document| document["kind"] != "Secret");
    told.map(read).collect()
}
