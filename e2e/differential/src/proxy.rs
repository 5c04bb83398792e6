//! The two proxies: Envoy and ours, each started with the same file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::case::Group;
use crate::patches;
use crate::place::{self, Names};

/// How long a proxy may take to serve.
const START: Duration = Duration::from_secs(30);

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The real one.
    Envoy,
    /// Ours.
    Halcyon,
}

/// The two programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Envoy.
    pub envoy: PathBuf,
    /// Ours.
    pub halcyon: PathBuf,
}

/// A running proxy. It ends with this value.
pub struct Proxy {
    /// Its ports and files.
    pub names: Names,
    log: PathBuf,
    folder: PathBuf,
    child: Child,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::Halcyon => "halcyon",
        }
    }
}

impl Proxy {
    /// Starts it, and waits until it serves. A port that somebody else took meanwhile is worth another try.
    pub async fn start(side: Side, programs: &Programs, group: &Group, origins: &Names, folder: &Path) -> Result<Self> {
        let mut last = None;
        for attempt in 0..3 {
            let own = folder.join(format!("{}-{attempt}", side.name()));
            fs::create_dir_all(&own)?;
            match Self::once(side, programs, group, origins, own, folder).await {
                Ok(proxy) => return Ok(proxy),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no attempt")?.context(format!("{} does not start", side.name())))
    }

    async fn once(
        side: Side,
        programs: &Programs,
        group: &Group,
        origins: &Names,
        folder: PathBuf,
        shared: &Path,
    ) -> Result<Self> {
        let names = place::own_names(origins, &folder, shared.parent().unwrap_or(shared))?;
        let file = folder.join("bootstrap.yaml");
        let text = names.fill(&group.bootstrap);
        let text = match &group.patches {
            Some(filters) => patches::apply(&text, &names.fill(filters))?,
            None => text,
        };
        fs::write(&file, text)?;
        let mut command = match side {
            Side::Envoy => {
                let mut command = Command::new(&programs.envoy);
                command.args(["--use-dynamic-base-id", "--disable-hot-restart", "-l", "warning"]);
                command.args(["--file-flush-interval-msec", "10"]);
                command
            }
            Side::Halcyon => Command::new(&programs.halcyon),
        };
        let output = File::create(folder.join("output.log"))?;
        command.arg("-c").arg(&file).args(["--concurrency", "1"]).stdin(Stdio::null()).kill_on_drop(true);
        command.stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("cannot start {:?}", command.as_std().get_program()))?;
        let mut proxy = Self { names, log: place::log(&folder), folder, child };
        proxy.serves().await?;
        Ok(proxy)
    }

    async fn serves(&mut self) -> Result<()> {
        let until = Instant::now() + START;
        let port = self.names.port("ADMIN")?;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("ended with {status}, and said: {}", self.said());
            }
            if is_ready(port).await {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("does not serve within {} s, and said: {}", START.as_secs(), self.said());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The end of its output.
    pub fn said(&self) -> String {
        let text = fs::read_to_string(self.folder.join("output.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }

    /// The lines of the access log, from one on.
    pub fn logged(&self, from: usize) -> Vec<String> {
        // There is none before the first line.
        let text = fs::read(&self.log).unwrap_or_default();
        let text = crate::http1::latin1(&text);
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().skip(from).map(str::to_owned).collect()
    }

    /// Is it still there?
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it.
    pub async fn end(mut self) {
        // It may have ended by itself.
        let _ = self.child.kill().await;
    }
}

async fn is_ready(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream.write_all(b"GET /ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        answer.starts_with(b"HTTP/1.1 200").then_some(())
    };
    tokio::time::timeout(Duration::from_secs(2), ask).await.ok().flatten().is_some()
}
