//! Bad input of people: wrong documents, names that lead nowhere, ports and directories that are taken.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::bookinfo::{REVIEWS, Seen, Visitor};
use crate::mesh::Mesh;
use crate::process::{self, Said};
use crate::runner::{Check, Outcome};
use crate::world::World;
use crate::{poll, rules};

const GROUP: &str = "bad input";

/// The checks.
pub fn checks() -> Vec<Check> {
    vec![
        Check::new(
            GROUP,
            "one wrong document: nothing of the set is stored, and the place is named",
            60,
            nothing_stored,
        ),
        Check::new(GROUP, "`validate` needs no control plane and says by its exit code", 60, validate),
        Check::new(GROUP, "`validate -o json` names every reason", 60, validate_json),
        Check::new(GROUP, "an unknown subset: warned about, answered 503, shown until resolved", 90, unknown_subset),
        Check::new(GROUP, "`--strict` refuses warnings and stores nothing", 60, strict),
        Check::new(GROUP, "a port in use: one line, exit code not 0", 60, port_in_use),
        Check::new(GROUP, "a locked data directory: one line, exit code not 0", 60, locked),
        Check::new(GROUP, "no control plane: one line, exit code not 0", 60, no_control),
    ]
}

const GOOD: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: e2e-good
spec:
  hosts: [ratings]
  http:
    - route:
        - destination: {host: ratings}
";

/// Wrong documents, each with the line, the field path, and words that must be said: what was expected, or the nearest
/// name.
const WRONG: [(&str, &str, u32, &str, &[&str]); 6] = [
    (
        "unknown field",
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: e2e-wrong\nspec:\n  hosts: [reviews]\n  http:\n    - route:\n        - destination:\n            host: reviews\n            subst: v1\n",
        11,
        "spec.http[0].route[0].destination.subst",
        &["subset"],
    ),
    (
        "wrong type",
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: e2e-wrong\nspec:\n  hosts: [reviews]\n  http:\n    - route:\n        - destination: {host: reviews}\n          weight: many\n",
        10,
        "spec.http[0].route[0].weight",
        &["expected", "many"],
    ),
    (
        "bad duration",
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: e2e-wrong\nspec:\n  hosts: [reviews]\n  http:\n    - timeout: 5 parsecs\n      route:\n        - destination: {host: reviews}\n",
        8,
        "spec.http[0].timeout",
        &["expected", "parsecs"],
    ),
    (
        "bad value",
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n  name: e2e-wrong\nspec:\n  mtls:\n    mode: STRICKT\n",
        7,
        "spec.mtls.mode",
        &["STRICT"],
    ),
    (
        "unknown kind",
        "apiVersion: networking.istio.io/v1\nkind: VirtualServise\nmetadata:\n  name: e2e-wrong\nspec: {}\n",
        2,
        "kind",
        &["VirtualService"],
    ),
    (
        "no YAML",
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: [e2e-wrong\nspec:\n",
        5,
        "",
        &[],
    ),
];

fn nothing_stored(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        let mesh = world.demo().await?;
        mesh.clear().await?;
        let before = version(mesh).await?;
        for (what, text, line, path, words) in WRONG {
            let file = place.write("wrong.yaml", &format!("{text}---\n{GOOD}"))?.display().to_string();
            let said = mesh.halcyon(&["apply", "-f", &file]).await?;
            names_the_place(&said, &file, line, path, words).with_context(|| format!("{what}: apply"))?;
            let good = mesh.halcyon(&["get", "virtualservice", "e2e-good"]).await?;
            ensure!(good.code == Some(1), "{what}: the right document of the refused set was stored");
        }
        let after = version(mesh).await?;
        ensure!(before == after, "the store went from version {before} to {after} though every set was refused");
        Ok(format!("{} kinds of mistakes", WRONG.len()))
    })
}

async fn version(mesh: &Mesh) -> Result<u64> {
    let status = mesh.status().await?;
    status.pointer("/status/control/version").and_then(Value::as_u64).context("status names no version")
}

fn names_the_place(said: &Said, file: &str, line: u32, path: &str, words: &[&str]) -> Result<()> {
    ensure!(said.code == Some(1), "exit code {:?}; expected 1: {}", said.code, said.all());
    let text = said.all();
    let place = format!("{file}:{line}");
    for wanted in [place.as_str(), path].iter().chain(words) {
        ensure!(text.contains(wanted), "`{wanted}` is not named in: {text}");
    }
    let column = text.split(&format!("{place}:")).nth(1).and_then(|rest| rest.chars().next());
    ensure!(column.is_some_and(|c| c.is_ascii_digit()), "no column is named in: {text}");
    Ok(())
}

async fn halcyon(world: &World, arguments: &[&str]) -> Result<Said> {
    let mut command = process::command(&world.place, &world.place.program("halcyon"));
    command.args(arguments);
    process::run(command, Duration::from_secs(20)).await
}

fn validate(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let world = &*world;
        let check = async |file: &Path, strict: bool, expected: i32| {
            let file = file.display().to_string();
            let more: &[&str] = if strict { &["--strict"] } else { &[] };
            let said = halcyon(world, &[&["validate", "-f", &file], more].concat()).await?;
            ensure!(
                said.code == Some(expected),
                "{file}: exit code {:?}; expected {expected}: {}",
                said.code,
                said.all()
            );
            anyhow::Ok(said)
        };
        for sample in ["bookinfo.yaml", "gateway.yaml", "ratings-test-delay.yaml", "strict-mtls.yaml"] {
            check(&world.place.rule(sample), false, 0).await?;
        }
        for (what, text, line, path, words) in WRONG {
            let file = world.place.write("validate.yaml", text)?;
            let said = check(&file, false, 1).await.with_context(|| what.to_owned())?;
            names_the_place(&said, &file.display().to_string(), line, path, words).with_context(|| what.to_owned())?;
        }
        let dangling = world.place.write("dangling.yaml", &rules::reviews_to("v9"))?;
        check(&dangling, false, 0).await?;
        check(&dangling, true, 1).await?;
        Ok(String::new())
    })
}

fn validate_json(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let texts: Vec<&str> = WRONG[..5].iter().map(|(_, text, ..)| *text).collect();
        let file = world.place.write("all-wrong.yaml", &texts.join("---\n"))?.display().to_string();
        let said = halcyon(world, &["validate", "-f", &file, "-o", "json"]).await?;
        ensure!(said.code == Some(1), "exit code {:?}; expected 1", said.code);
        let json: Value = serde_json::from_str(&said.out).context("validate -o json")?;
        ensure!(json["accepted"] == false, "{json}");
        let problems = json["problems"].as_array().context("no problems")?;
        for (what, _, _, path, _) in &WRONG[..5] {
            let found =
                problems.iter().any(|p| p["path"] == *path && p["file"] == *file && p["line"].as_u64() > Some(0));
            ensure!(found, "{what}: no problem at `{path}` in {problems:?}");
        }
        Ok(format!("{} problems", problems.len()))
    })
}

fn unknown_subset(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        let mesh = world.demo().await?;
        mesh.clear().await?;
        let file = place.write("subset-v9.yaml", &rules::reviews_to("v9"))?;
        let shown = file.display().to_string();
        let said = mesh.halcyon(&["apply", "-f", &shown]).await?.good().context("an unknown subset is no error")?;
        for wanted in ["warning", &shown, "v9", "spec.http[0].route[0].destination.subset"] {
            ensure!(said.err.contains(wanted), "the warning does not name `{wanted}`: {}", said.err);
        }
        mesh.settle(0).await?;
        let visitor = Visitor::anonymous(mesh.gateway);
        poll::until("Istio's answer for an unknown subset", Duration::from_secs(5), async || {
            let status = visitor.ask(REVIEWS).await?.status;
            ensure!(status == 503, "status {status}; expected 503");
            Ok(())
        })
        .await?;
        let status = mesh.halcyon(&["status"]).await?.good()?.all();
        ensure!(status.contains("v9"), "`halcyon status` does not show it: {status}");
        mesh.apply(&[place.write("subset-v9-there.yaml", SUBSET)?]).await?;
        let status = mesh.halcyon(&["status"]).await?.good()?.all();
        ensure!(!status.contains("v9"), "`halcyon status` still shows it: {status}");
        let spread = visitor.spread(20).await?;
        ensure!(spread.count(Seen::V3) == 20, "{spread}; expected v3 alone");
        mesh.clear().await?;
        Ok(String::new())
    })
}

/// The subset that was missing: workloads of version 3.
const SUBSET: &str = "\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: reviews
spec:
  host: reviews
  subsets:
    - name: v9
      labels: {version: v3}
";

fn strict(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let place = world.place.clone();
        let mesh = world.demo().await?;
        mesh.clear().await?;
        let file =
            place.write("strict.yaml", &format!("{GOOD}---\n{}", rules::reviews_to("v9")))?.display().to_string();
        let said = mesh.halcyon(&["apply", "--strict", "-f", &file]).await?;
        ensure!(said.code == Some(1), "exit code {:?}; expected 1: {}", said.code, said.all());
        ensure!(said.all().contains("v9"), "the reason is not named: {}", said.all());
        for name in ["e2e-good", "reviews"] {
            let found = mesh.halcyon(&["get", "virtualservice", name]).await?;
            ensure!(found.code == Some(1), "{name} was stored though the set was refused");
        }
        Ok(String::new())
    })
}

fn port_in_use(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let world = &*world;
        let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
        let (port, data) = (taken.local_addr()?.port().to_string(), world.place.run.join("busy"));
        let data = data.display().to_string();
        for option in ["--xds-port", "--plain-xds-port", "--metrics-port"] {
            let mut arguments = vec!["--data-dir", &data, "control"];
            for other in ["--xds-port", "--plain-xds-port", "--metrics-port"] {
                arguments.extend([other, if other == option { &port } else { "0" }]);
            }
            one_line(&halcyon(world, &arguments).await?, &[&port]).with_context(|| format!("control {option}"))?;
        }
        let gateway = format!("127.0.0.1:{port}");
        one_line(&halcyon(world, &["demo", "--gateway", &gateway]).await?, &[&port, "--gateway"]).context("demo")?;
        Ok(String::new())
    })
}

fn locked(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let data = world.demo().await?.data_dir.display().to_string();
        let ports = ["--xds-port", "0", "--plain-xds-port", "0", "--metrics-port", "0"];
        let said = halcyon(world, &[&["--data-dir", &data, "control"], &ports[..]].concat()).await?;
        one_line(&said, &[&data])?;
        let mesh = world.demo().await?;
        mesh.status().await.context("the first control plane must go on")?;
        Ok(String::new())
    })
}

fn no_control(world: &mut World) -> Outcome<'_> {
    Box::pin(async {
        let data = world.place.run.join("nobody").display().to_string();
        for command in [&["status"][..], &["get", "all"], &["run", "--service", "x", "--", "/bin/true"]] {
            let said = halcyon(world, &[&["--data-dir", &data], command].concat()).await?;
            one_line(&said, &[&data, "halcyon control"]).with_context(|| command.join(" "))?;
        }
        Ok(String::new())
    })
}

/// One line of error that names these things, and an exit code that is not 0. Lines of a log are not counted.
pub(super) fn one_line(said: &Said, names: &[&str]) -> Result<()> {
    ensure!(
        said.code.is_some_and(|code| code != 0),
        "exit code {:?}; expected one that is not 0: {}",
        said.code,
        said.all()
    );
    let is_log = |line: &str| [" INFO ", " WARN ", " ERROR "].iter().any(|level| line.contains(level));
    let lines: Vec<&str> = said.err.lines().filter(|line| !line.trim().is_empty() && !is_log(line)).collect();
    ensure!(lines.len() == 1, "{} lines; expected one: {}", lines.len(), said.err);
    for name in names {
        ensure!(lines[0].contains(name), "`{name}` is not named in: {}", lines[0]);
    }
    Ok(())
}
