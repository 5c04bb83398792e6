//! The dashboard in a browser: first against its fixture, then against a demo that runs.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, io};

use crate::cargo::{self, root, target};
use crate::ui;

/// Chromium's names, as `ui/e2e/browser.mjs` looks for them.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// How long the demo may take to start, and to end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Builds what is missing and runs both.
pub fn run(arguments: &[String]) -> Result<(), String> {
    cargo::build(arguments)?;
    test()
}

/// Runs both. The programs and the page are built already. Where Node.js, its packages or Chromium are missing it says so and
/// goes on, as the acceptance list does of its tools.
pub fn test() -> Result<(), String> {
    if let Err(why) = ui::at_hand().and_then(|()| chromium()) {
        eprintln!("==> dashboard in a browser: skipped: {why}");
        return Ok(());
    }
    ui::npm("dashboard in Chromium, with the fixture", &["run", "--silent", "e2e"], &[])?;
    let demo = Demo::start()?;
    let program = halcyon();
    let place = [("HALCYON_DEMO", demo.folder.as_path()), ("HALCYON_PROGRAM", program.as_path())];
    let looked = ui::npm("dashboard in Chromium, with a mesh", &["run", "--silent", "e2e:live"], &place);
    let ended = demo.stop(looked.is_err());
    looked.and(ended)
}

fn halcyon() -> PathBuf {
    target().join("debug/halcyon")
}

fn chromium() -> Result<(), String> {
    if env::var_os("CHROMIUM").is_some() {
        return Ok(());
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&folders).any(|folder| BROWSERS.iter().any(|name| folder.join(name).is_file()));
    if found { Ok(()) } else { Err("there is no Chromium in the PATH (Debian has it in chromium)".to_owned()) }
}

/// A demo in a folder of its own.
struct Demo {
    process: Child,
    folder: PathBuf,
}

impl Demo {
    /// Starts it and waits until its first page was whole.
    fn start() -> Result<Self, String> {
        let folder = env::temp_dir().join(format!("halcyon-browser-{}", std::process::id()));
        fs::create_dir_all(&folder).map_err(|e| format!("{}: cannot be made: {e}", folder.display()))?;
        let (out, err) = log(&folder).map_err(|e| format!("{}: cannot be written: {e}", folder.display()))?;
        let process = Command::new(halcyon())
            .args(["demo", "--load", "8", "--keep"])
            .arg(&folder)
            .args(["--gateway", &format!("127.0.0.1:{}", free_port()?)])
            .env("HALCYON_SAMPLES", root().join("samples"))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(|e| format!("cannot start the demo: {e}"))?;
        let mut demo = Self { process, folder };
        let state = demo.folder.join("demo.json");
        let begun = Instant::now();
        while !state.exists() {
            if demo.has_ended()? || begun.elapsed() > PATIENCE {
                let words = demo.words();
                return demo.stop(true).and(Err(format!("the demo did not start:\n{words}")));
            }
            pause();
        }
        Ok(demo)
    }

    /// Ends it as a person would. What it wrote is kept if something went wrong.
    fn stop(mut self, keep: bool) -> Result<(), String> {
        if !self.has_ended()? {
            let told = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status();
            told.map_err(|e| format!("cannot end the demo: {e}"))?;
        }
        let begun = Instant::now();
        while !self.has_ended()? {
            if begun.elapsed() > PATIENCE {
                return Err(format!("the demo does not end; its logs are in {}", self.folder.display()));
            }
            pause();
        }
        let status = self.process.wait().map_err(|e| format!("the demo: {e}"))?;
        if keep || !status.success() {
            eprintln!("==> the demo's logs are in {}", self.folder.display());
        } else {
            fs::remove_dir_all(&self.folder)
                .map_err(|e| format!("{}: cannot be removed: {e}", self.folder.display()))?;
        }
        if status.success() { Ok(()) } else { Err(format!("the demo ended with {status}:\n{}", self.words())) }
    }

    fn has_ended(&mut self) -> Result<bool, String> {
        self.process.try_wait().map(|status| status.is_some()).map_err(|e| format!("the demo: {e}"))
    }

    fn words(&self) -> String {
        fs::read_to_string(self.folder.join("demo.log")).unwrap_or_default()
    }
}

impl Drop for Demo {
    /// Nothing is left running, whatever happened.
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status();
        }
    }
}

/// Nothing else runs here that could be held up, and there is no runtime.
#[allow(clippy::disallowed_methods)]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

fn log(folder: &Path) -> io::Result<(File, File)> {
    let file = File::create(folder.join("demo.log"))?;
    Ok((file.try_clone()?, file))
}

fn free_port() -> Result<u16, String> {
    let found = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    found.map(|at| at.port()).map_err(|e| format!("there is no free port: {e}"))
}
