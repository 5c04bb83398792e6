//! Filters of users: a script and a WebAssembly module in a sidecar, ours or a stock Envoy.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::mesh::Mesh;
use crate::poll;
use crate::runner::Check;
use crate::web::{self, Answer};
use crate::world::World;

const GROUP: &str = "extensions";
/// How long a proxy may take to have a filter, and to be without.
const SOON: Duration = Duration::from_secs(20);

/// Adds a header to answers, which tells the path, and refuses who asks to be refused.
const SCRIPT: &str = "
      function envoy_on_request(handle)
        if handle:headers():get('x-stop') then
          handle:respond({[':status'] = '403', ['x-by'] = 'script'}, 'stopped')
        end
        handle:streamInfo():dynamicMetadata():set('own', 'path', handle:headers():get(':path'))
      end
      function envoy_on_response(handle)
        local body = handle:body()
        handle:headers():add('x-by', 'script of ' .. handle:streamInfo():dynamicMetadata():get('own').path)
        handle:headers():add('x-size', body and body:length() or 0)
      end
";

/// The same by WebAssembly, save for the path and the size.
const MODULE: &str = include_str!("extensions/module.wat");

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new(GROUP, "a Lua script and a WebAssembly module in a sidecar", 120, |w| Box::pin(in_ours(w))),
        Check::new(
            GROUP,
            "a wrong script is refused with its line, or told by its proxy, and changes nothing",
            60,
            |w| Box::pin(wrong(w)),
        ),
        Check::new(GROUP, "a module that cannot be had: requests are refused, or pass", 120, |w| Box::pin(missing(w))),
    ]
}

async fn in_ours(world: &mut World) -> Result<String> {
    let mesh = world.demo().await?;
    let at = mesh.proxy("details-v1").await?.at(9080);
    table(mesh, at).await
}

/// A script and then a module at `details`, whose proxy takes requests there.
pub async fn table(mesh: &Mesh, at: SocketAddr) -> Result<String> {
    mesh.clear().await?;
    let script = format!("  lua:\n    inlineCode: |{}", SCRIPT.trim_end());
    mesh.apply_text("extension-lua.yaml", &extension("script", &script)).await?;
    let path = "script of /details/0";
    filtered(at, "script", path).await?;
    let answer = web::get(at, "/details/0", &[]).await?;
    let size = header(&answer, "x-size");
    ensure!(size == answer.body.len().to_string(), "the script saw {size} bytes of {}", answer.body.len());
    mesh.clear().await?;
    gone(at).await?;
    let file = mesh.logs().with_file_name("module.wasm");
    std::fs::write(&file, wat::parse_str(MODULE)?).with_context(|| file.display().to_string())?;
    let module = format!("  wasm:\n    url: file://{}", file.display());
    mesh.apply_text("extension-wasm.yaml", &extension("module", &module)).await?;
    filtered(at, "module", "module").await?;
    mesh.clear().await?;
    gone(at).await?;
    Ok("answers changed, requests refused, and as before without".to_owned())
}

fn extension(name: &str, filter: &str) -> String {
    format!(
        "apiVersion: extensions.istio.io/v1alpha1\nkind: TrafficExtension\nmetadata: {{name: {name}}}\nspec:\n  selector: \
         {{matchLabels: {{app: details}}}}\n  match: [{{mode: SERVER}}]\n{filter}\n"
    )
}

fn header(answer: &Answer, name: &str) -> String {
    let value = answer.headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

async fn filtered(at: SocketAddr, who: &str, expected: &str) -> Result<()> {
    poll::until("the filter", SOON, async || {
        let answer = web::get(at, "/details/0", &[]).await?;
        ensure!(answer.status == 200 && header(&answer, "x-by") == expected, "{}: {:?}", answer.status, answer.headers);
        Ok(())
    })
    .await?;
    let answer = web::get(at, "/details/0", &[("x-stop", "yes")]).await?;
    ensure!(answer.status == 403 && answer.text() == "stopped", "the {who} lets pass: {}", answer.status);
    Ok(())
}

async fn gone(at: SocketAddr) -> Result<()> {
    poll::until("no filter any more", SOON, async || {
        let answer = web::get(at, "/details/0", &[("x-stop", "yes")]).await?;
        ensure!(answer.status == 200 && header(&answer, "x-by").is_empty(), "{}", answer.status);
        Ok(())
    })
    .await
}

async fn wrong(world: &mut World) -> Result<String> {
    let mesh = world.demo().await?;
    mesh.clear().await?;
    let at = mesh.proxy("details-v1").await?.at(9080);
    let file = mesh.logs().with_file_name("extension-wrong.yaml");
    let apply = async |script: &str| {
        std::fs::write(&file, extension("wrong", &format!("  lua: {{inlineCode: \"{script}\"}}")))?;
        mesh.halcyon(&["apply".as_ref(), "-f".as_ref(), file.as_os_str()]).await
    };
    let refused = apply("function envoy_on_request(").await?;
    let expected = "the script is no Lua, line 1 of it: <name> or '...' expected near '<eof>'";
    ensure!(refused.code != Some(0) && refused.err.contains(expected), "{refused:?}");
    apply("local a = nil + 1 function envoy_on_request() end").await?.good()?;
    let expected = "the script default.wrong: line 1: attempt to perform arithmetic on a nil value";
    let said = poll::until("the proxy's complaint", SOON, async || {
        let said = mesh.halcyon(&["status"]).await?.out;
        ensure!(said.contains("default.wrong"), "`halcyon status` does not name the script:\n{said}");
        Ok(said)
    })
    .await?;
    ensure!(said.contains(expected), "{said}");
    ensure!(web::get(at, "/details/0", &[]).await?.status == 200, "details does not answer any more");
    mesh.clear().await?;
    Ok("refused and named with its line; requests go on".to_owned())
}

async fn missing(world: &mut World) -> Result<String> {
    let mesh = world.demo().await?;
    let at = mesh.proxy("details-v1").await?.at(9080);
    for (strategy, status) in [("FAIL_CLOSE", 503), ("FAIL_OPEN", 200)] {
        mesh.clear().await?;
        let module = format!("  wasm: {{url: 'http://127.0.0.1:1/m.wasm', failStrategy: {strategy}}}");
        mesh.apply_text("extension-missing.yaml", &extension("missing", &module)).await?;
        poll::until("an answer without the module", SOON, async || {
            let answer = web::get(at, "/details/0", &[]).await?;
            ensure!(answer.status == status, "{strategy}: {}", answer.status);
            Ok(())
        })
        .await?;
    }
    mesh.clear().await?;
    Ok("503 with FAIL_CLOSE, 200 with FAIL_OPEN".to_owned())
}
