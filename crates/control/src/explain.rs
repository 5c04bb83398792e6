//! The question and the answer of `explain`, between the API's words and translation's. The command line asks it about files
//! in the same way.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use translate::explain::Question;
use translate::{Node, Role, World};

use crate::v1::{ExplainRequest, ExplainedStep, Explanation, PassedOver};

/// The question of a request.
///
/// # Errors
/// Why it is none.
pub fn question(asked: &ExplainRequest, world: &World, node: &Node) -> Result<Question, String> {
    let bad = |what: &str, text: &str| format!("`{text}` is not {what}");
    let mut headers = HeaderMap::new();
    for (name, value) in &asked.headers {
        let key = HeaderName::try_from(name.as_str()).map_err(|_| bad("the name of a header", name))?;
        headers.append(key, HeaderValue::try_from(value.as_str()).map_err(|_| bad("the value of a header", value))?);
    }
    let at_gateway = matches!(node.role, Role::Gateway { .. });
    let only = || translate::explain::only_port(world, node, &asked.host);
    Ok(Question {
        host: asked.host.clone(),
        port: asked
            .port
            .or_else(|| if at_gateway { Some(80) } else { only() })
            .ok_or_else(|| format!("`{}`: to which port is not clear; expected `{}:PORT`", asked.host, asked.host))?,
        authority: asked.authority.clone(),
        server_name: asked.server_name.clone(),
        method: Method::try_from(asked.method.as_str()).map_err(|_| bad("a method", &asked.method))?,
        path: asked.path.clone(),
        headers,
    })
}

/// The answer for one caller.
pub fn answer(world: &World, node: &Node, question: &Question) -> Explanation {
    let found = translate::explain::explain(world, node, question);
    let other = |it: translate::explain::PassedOver| PassedOver { name: it.name, reason: it.reason };
    let step = |it: translate::explain::Step| ExplainedStep {
        stage: it.stage.to_owned(),
        name: it.name,
        facts: it.facts,
        others: it.others.into_iter().map(other).collect(),
    };
    let patches = crate::patches::told(world, node, &found.met);
    Explanation {
        caller: node.title().to_owned(),
        steps: found.steps.into_iter().map(step).chain(patches).collect(),
        verdict: found.verdict,
        served: found.served,
    }
}
