//! Files that are wrong: what Envoy refuses (`--mode validate`) ours refuses too. Where ours refuses what Envoy takes, the
//! file says why, and so does `docs/envoy-compatibility.md`.
//!
//! What our proxy says of each stands in `refusals/messages.txt`, which the run compares and `--accept` writes anew.

mod files;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use tokio::process::Command;

use crate::place::{self, Names};
use crate::proxy::Programs;
use crate::run::Report;

/// The name of the group.
pub const NAME: &str = "refused files";

/// What ours says, by the names of the files.
const MESSAGES: &str = include_str!("refusals/messages.txt");
/// The same, where it is written anew.
const MESSAGES_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/refusals/messages.txt");

/// How long a program may look at a file.
const PATIENCE: Duration = Duration::from_secs(30);

/// A file that is wrong.
pub struct Wrong {
    /// Its name.
    pub name: &'static str,
    /// Its text, with names such as `$B1` in the place of ports.
    pub text: String,
    /// Why ours refuses it, if Envoy takes it. None is taken by ours alone.
    pub differs: Option<&'static str>,
}

/// All files.
pub fn all() -> Vec<Wrong> {
    files::all()
}

/// Gives files to both. With `accept` what ours says of them is written down.
pub async fn run(
    files: Vec<Wrong>,
    programs: &Programs,
    origins: &Names,
    folder: &Path,
    accept: bool,
) -> Result<Report> {
    let own = folder.join("refused-files");
    fs::create_dir_all(&own)?;
    files::write_bad_pem(folder)?;
    // Nothing listens: any ports will do.
    let names = place::own_names(origins, &own, folder)?;
    let looked = files.iter().enumerate().map(|(number, file)| {
        let (names, path) = (&names, own.join(format!("{number}.yaml")));
        async move { Ok::<_, anyhow::Error>((file, look(file, &path, programs, names).await?)) }
    });
    let looked: Vec<Result<(&Wrong, Looked)>> = futures_util::stream::iter(looked).buffered(3).collect().await;
    let mut report = Report { cases: files.len(), documented: 0, wrong: Vec::new() };
    let mut messages = read(MESSAGES);
    for looked in looked {
        let (file, looked) = looked?;
        report.documented += usize::from(file.differs.is_some());
        let golden = messages.insert(file.name.to_owned(), looked.message.clone());
        let golden = if accept { Some(looked.message.clone()) } else { golden };
        report.wrong.extend(judge(file, &looked, golden).map(|text| (format!("{NAME}: {}", file.name), text)));
    }
    if accept {
        messages.retain(|name, _| all().iter().any(|file| file.name == name));
        fs::write(MESSAGES_FILE, write(&messages))?;
    }
    Ok(report)
}

/// What the two said of a file.
struct Looked {
    /// Why Envoy refuses it.
    envoy: Option<String>,
    /// Why ours refuses it.
    halcyon: Option<String>,
    /// The same without what is another one in each run.
    message: String,
}

async fn look(file: &Wrong, path: &Path, programs: &Programs, names: &Names) -> Result<Looked> {
    fs::write(path, names.fill(&file.text))?;
    let (envoy, halcyon) = tokio::join!(
        reason(&programs.envoy, path, &["-l", "error", "--use-dynamic-base-id", "--disable-hot-restart"]),
        reason(&programs.halcyon, path, &["-l", "error"]),
    );
    let (envoy, halcyon) = (envoy?, halcyon?);
    let said = halcyon.clone().unwrap_or_else(|| "accepted".to_owned());
    // The line of a log: when, how bad, what.
    let said = said.split_once("ERROR ").map_or(said.as_str(), |(_, text)| text);
    let message = without_places(said, &path.display().to_string(), names);
    Ok(Looked { envoy, halcyon, message })
}

/// What is said, without what is another one in each run.
fn without_places(said: &str, path: &str, names: &Names) -> String {
    let said = said.replace(path, "FILE").replace(names.get("DIR").unwrap_or_default(), "$DIR");
    names.unfill(said.trim())
}

/// Why a program refuses a file; none: it takes it.
async fn reason(program: &PathBuf, path: &Path, more: &[&str]) -> Result<Option<String>> {
    let mut command = Command::new(program);
    command.arg("-c").arg(path).args(["--mode", "validate"]).args(more).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.with_context(|| format!("{} looks at {} for long", program.display(), path.display()))?;
    let output = output.with_context(|| format!("cannot start {}", program.display()))?;
    Ok((!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// What is wrong with what the two said; nothing if all is as said.
fn judge(file: &Wrong, looked: &Looked, golden: Option<String>) -> Option<String> {
    if (looked.envoy.is_none(), looked.halcyon.is_none()) != (file.differs.is_some(), false) {
        let shown = |side: &Option<String>| side.clone().unwrap_or_else(|| "takes it".to_owned());
        let expected = file.differs.map_or("both refuse it".to_owned(), |why| format!("only Envoy takes it: {why}"));
        let (envoy, ours) = (shown(&looked.envoy), shown(&looked.halcyon));
        return Some(format!("expected: {expected}\nenvoy:   {envoy}\nhalcyon: {ours}"));
    }
    let golden = golden.unwrap_or_else(|| "(nothing)".to_owned());
    (golden != looked.message).then(|| {
        format!("our message is another one; `--accept` writes it down\nthere: {golden}\nnow:   {}", looked.message)
    })
}

/// Two lines for each file: its name, and what is said of it further in.
fn read(text: &str) -> BTreeMap<String, String> {
    let lines: Vec<&str> = text.lines().collect();
    lines.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].trim_start().to_owned())).collect()
}

fn write(messages: &BTreeMap<String, String>) -> String {
    messages.iter().map(|(name, message)| format!("{name}\n    {message}\n")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_has_its_message_and_no_other_has() {
        let names: BTreeSet<String> = all().into_iter().map(|file| file.name.to_owned()).collect();
        assert_eq!(names.len(), all().len(), "a name stands twice");
        assert_eq!(read(MESSAGES).into_keys().collect::<BTreeSet<_>>(), names);
        assert_eq!(write(&read(MESSAGES)), MESSAGES);
    }

    /// Without Envoy, and without the program: what a file is refused for is said by the reader of files.
    #[test]
    fn messages() {
        let folder = tempfile::tempdir().unwrap();
        place::certificates(folder.path()).unwrap();
        files::write_bad_pem(folder.path()).unwrap();
        let mut names = Names::default();
        for (index, name) in ["B1", "B2", "B3", "DEAD", "SHUT"].into_iter().enumerate() {
            names.add(name, 60_001 + index);
        }
        let names = place::own_names(&names, folder.path(), folder.path()).unwrap();
        let messages = read(MESSAGES);
        for file in all() {
            let said = match envoyfile::parse("no/such/bootstrap.yaml", &names.fill(&file.text)) {
                Err(error) => without_places(&error.to_string(), "no/such/bootstrap.yaml", &names),
                // The node's id may be said by a flag.
                Ok(_) if file.name == "bootstrap: no id for the control plane" => continue,
                Ok(_) => "accepted".to_owned(),
            };
            assert_eq!(Some(&said), messages.get(file.name), "{}", file.name);
        }
    }

    #[test]
    fn judgements() {
        let file = |differs| Wrong { name: "a", text: String::new(), differs };
        let looked = |envoy: bool, halcyon: bool| Looked {
            envoy: envoy.then(|| "no".to_owned()),
            halcyon: halcyon.then(|| "no".to_owned()),
            message: "no".to_owned(),
        };
        let no = Some("no".to_owned());
        let known = Some("because");
        assert_eq!(judge(&file(None), &looked(true, true), no.clone()), None);
        assert_eq!(judge(&file(known), &looked(false, true), no.clone()), None);
        assert!(judge(&file(known), &looked(true, true), no.clone()).is_some());
        assert!(judge(&file(None), &looked(true, false), no.clone()).is_some());
        assert!(judge(&file(None), &looked(false, false), no.clone()).is_some());
        assert!(judge(&file(None), &looked(false, true), no).is_some());
        assert!(judge(&file(None), &looked(true, true), None).is_some());
    }
}
