//! A command that is run beside the program whenever somebody asks for it, to find out how the program is.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::Ending;

/// A command that is run where the program runs: in its namespace and directory, with its variables. Who connects to `socket` is
/// answered with a line when the command has ended: an empty one if it ended well (exit code 0), else how it ended. To close the
/// connection before ends the command, and what it started in its process group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandSpec {
    /// The Unix socket. Its directory must be there; it is removed at the end.
    pub socket: PathBuf,
    /// The command and its arguments.
    pub command: Vec<String>,
}

/// What somebody wants.
pub(crate) enum Wish {
    /// Run the command under this number.
    Run(u64, oneshot::Sender<Ending>),
    /// Nobody waits for this one any more.
    End(u64),
}

/// Who wants the command to be run, and who waits for its end.
pub(crate) struct Commands {
    spec: Option<CommandSpec>,
    wishes: mpsc::Receiver<Wish>,
    /// Kept, so that there is always somebody who might have a wish.
    _sender: mpsc::Sender<Wish>,
    waiting: HashMap<u64, oneshot::Sender<Ending>>,
    server: Option<JoinHandle<()>>,
}

impl Commands {
    /// Listens, if there is a command.
    pub(crate) fn listen(spec: Option<CommandSpec>) -> io::Result<Self> {
        let (sender, wishes) = mpsc::channel(1);
        let mut server = None;
        if let Some(spec) = &spec {
            let _ = std::fs::remove_file(&spec.socket);
            let listener = UnixListener::bind(&spec.socket)?;
            server = Some(tokio::spawn(serve(listener, sender.clone())));
        }
        Ok(Self { spec, wishes, _sender: sender, waiting: HashMap::new(), server })
    }

    /// The next wish; never, if there is no command. Nothing is lost if this is cancelled.
    pub(crate) async fn wish(&mut self) -> Wish {
        match self.wishes.recv().await {
            Some(wish) => wish,
            None => std::future::pending().await,
        }
    }

    /// What is run.
    pub(crate) fn command(&self) -> &[String] {
        self.spec.as_ref().map_or(&[], |spec| &spec.command)
    }

    /// Somebody waits for the end of this one.
    pub(crate) fn wait(&mut self, number: u64, answer: oneshot::Sender<Ending>) {
        self.waiting.insert(number, answer);
    }

    /// One has ended, or nobody waits for it any more.
    pub(crate) fn ended(&mut self, number: u64, ending: Option<Ending>) {
        if let (Some(answer), Some(ending)) = (self.waiting.remove(&number), ending) {
            let _ = answer.send(ending);
        }
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        self.server.iter().for_each(JoinHandle::abort);
        if let Some(spec) = &self.spec {
            let _ = std::fs::remove_file(&spec.socket);
        }
    }
}

async fn serve(listener: UnixListener, wishes: mpsc::Sender<Wish>) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(one(stream, NEXT.fetch_add(1, Relaxed), wishes.clone()));
    }
}

/// One connection.
async fn one(mut stream: UnixStream, number: u64, wishes: mpsc::Sender<Wish>) {
    let (answer, ended) = oneshot::channel();
    let _ = wishes.send(Wish::Run(number, answer)).await;
    let (mut reads, mut writes) = stream.split();
    let mut nothing = [0; 1];
    tokio::select! {
        ended = ended => {
            let line = match ended {
                Ok(Ending::Exited(0)) => "\n".to_owned(),
                Ok(ending) => format!("ended ({ending})\n"),
                Err(_) => return,
            };
            let _ = writes.write_all(line.as_bytes()).await;
        }
        _ = reads.read(&mut nothing) => {
            let _ = wishes.send(Wish::End(number)).await;
        }
    }
}
