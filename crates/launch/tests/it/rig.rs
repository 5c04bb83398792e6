//! A directory with a copy of the probe that any user can execute, and launches by it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const NOBODY: u32 = 65534;
/// Names a rig's directory in the environment of every process of it.
const MARK: &str = "LAUNCH_TEST_DIR";

pub struct Rig {
    dir: tempfile::TempDir,
    /// Whose launches they are; `None`: the user of the tests.
    user: Option<u32>,
}

/// A rig per kind of user: root and nobody for root, else oneself.
pub fn rigs() -> Vec<Rig> {
    match rustix::process::geteuid().is_root() {
        true => vec![Rig::new(None), Rig::new(Some(NOBODY))],
        false => vec![Rig::new(None)],
    }
}

/// The rigs whose user gets namespaces here.
pub fn capturing_rigs() -> Vec<Rig> {
    rigs()
        .into_iter()
        .filter(|rig| {
            let output = rig.run("namespace", &["true"]);
            let refused = text(&output.stderr).contains("cannot be captured");
            if refused {
                eprintln!("skipped for user {:?}: {}", rig.user, text(&output.stderr));
            } else {
                assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            }
            !refused
        })
        .collect()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

impl Rig {
    fn new(user: Option<u32>) -> Self {
        let dir = tempfile::Builder::new().prefix("launch-test").tempdir_in("/tmp").unwrap();
        let program = dir.path().join("probe");
        // by another process: a file that is open for writing here would be so in what other tests start right now, and
        // cannot be executed then (ETXTBSY)
        assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_launch-probe")).arg(&program).status().unwrap().success());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        if let Some(id) = user {
            chown(dir.path(), Some(id), Some(id)).unwrap();
        }
        Self { dir, user }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The probe's path, as an argument.
    pub fn probe(&self) -> String {
        self.path("probe").display().to_string()
    }

    /// The probe in a role, as this rig's user, in this rig's directory.
    pub fn command(&self, role: &str, what: &str, program: &[&str]) -> Command {
        let mut command = Command::new(self.path("probe"));
        command.arg(role).arg(self.dir.path()).arg(what).args(program);
        command.env(MARK, self.dir.path()).current_dir(self.dir.path()).stdin(Stdio::null());
        if let Some(id) = self.user {
            command.uid(id).gid(id);
        }
        command
    }

    /// One launch from begin to end.
    pub fn run(&self, capture: &str, program: &[&str]) -> Output {
        self.command("supervise", capture, program).output().unwrap()
    }

    /// A launch that goes on; waits for the program's first line.
    pub fn start(&self, capture: &str, program: &[&str]) -> Running {
        self.go_on(self.command("supervise", capture, program))
    }

    /// The same, of a command that was changed.
    pub fn go_on(&self, mut command: Command) -> Running {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        Running { child, lines, first: line.trim().to_owned() }
    }

    /// Calls the sidecar; the answer's body.
    pub fn call(&self, path: &str) -> std::io::Result<String> {
        let mut stream = UnixStream::connect(self.path("admin.sock"))?;
        // in one piece: the sidecar reads no further than the first
        stream.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }

    /// Asks for the command; the answer.
    pub fn ask(&self) -> String {
        let mut answer = String::new();
        UnixStream::connect(self.path("command.sock")).unwrap().read_to_string(&mut answer).unwrap();
        answer
    }

    /// Lets the launches of this rig use a file.
    pub fn give(&self, name: &str) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o666)).unwrap();
    }

    pub fn events(&self) -> String {
        fs::read_to_string(self.path("events")).unwrap_or_default()
    }

    /// Every process of this rig that runs now, as `number command`.
    pub fn processes(&self) -> Vec<String> {
        let mark = format!("{MARK}={}", self.dir.path().display());
        let entries = fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().into_string().ok());
        entries
            .filter(|pid| pid.parse::<u32>().is_ok())
            .filter(|pid| {
                let environ = fs::read(Path::new("/proc").join(pid).join("environ")).unwrap_or_default();
                environ.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
            })
            .map(|pid| {
                let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                format!("{pid} {}", text(&command).replace('\0', " "))
            })
            .collect()
    }

    /// No process of this rig runs any more, and no socket is left in its directory.
    pub fn assert_nothing_left(&self) {
        eventually(|| match self.processes() {
            left if left.is_empty() => Ok(()),
            left => Err(format!("still running: {left:?}")),
        });
        let mut files: Vec<_> =
            fs::read_dir(self.dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        files.retain(|name| name != "events");
        assert_eq!(files, ["probe"]);
    }
}

pub struct Running {
    pub child: Child,
    lines: BufReader<std::process::ChildStdout>,
    pub first: String,
}

impl Running {
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    pub fn code(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

/// Asks until it holds. What is asked for happens in other processes that nobody here can await.
#[allow(clippy::disallowed_methods)] // there is no runtime here to sleep on
pub fn eventually(mut check: impl FnMut() -> Result<(), String>) {
    let begin = Instant::now();
    while let Err(why) = check() {
        assert!(begin.elapsed() < Duration::from_secs(30), "{why}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
