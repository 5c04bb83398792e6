//! The origin: answers every request with the same bytes, on a thread of its own, as cheaply as it can.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::machine::ThreadId;
use crate::socket::{BUFFER, Poll, SKIP, Socket};
use crate::wire::{Exchange, Server, Wire};

/// How often it looks whether it should end.
const PATIENCE: Duration = Duration::from_millis(100);

/// A running origin; ends when it is dropped.
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its thread.
    pub thread: ThreadId,
    end: Arc<AtomicBool>,
    running: Option<JoinHandle<()>>,
}

impl Origin {
    /// Listens on a free port of loopback, and answers as `exchange` says.
    ///
    /// # Errors
    /// When the system gives no port or no thread.
    pub fn start(wire: Wire, exchange: Exchange) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let (tell, told) = std::sync::mpsc::channel();
        let serve = move || {
            // Who started it waits for this.
            let _ = tell.send(ThreadId::own());
            let result = Serving::new(listener, wire, exchange).and_then(|mut serving| serving.run(&ended));
            if let Err(error) = result {
                eprintln!("bench: the origin ended: {error}");
            }
        };
        let running = std::thread::Builder::new().name("origin".into()).spawn(serve)?;
        let thread = told.recv().map_err(|_| io::Error::other("the origin's thread did not start"))?;
        Ok(Self { address, thread, end, running: Some(running) })
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(running) = self.running.take() {
            // A panic there was already said.
            let _ = running.join();
        }
    }
}

struct Serving {
    listener: TcpListener,
    wire: Wire,
    exchange: Exchange,
    poll: Poll,
    connections: HashMap<usize, (Socket, Server)>,
    next: usize,
    buffer: Vec<u8>,
}

/// The listener's number in the set.
const LISTENER: usize = 0;

impl Serving {
    fn new(listener: TcpListener, wire: Wire, exchange: Exchange) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.add(&listener, LISTENER)?;
        let buffer = vec![0; SKIP];
        Ok(Self { listener, wire, exchange, poll, connections: HashMap::new(), next: LISTENER + 1, buffer })
    }

    fn run(&mut self, end: &AtomicBool) -> io::Result<()> {
        let mut ready = Vec::new();
        while !end.load(Ordering::Relaxed) {
            self.poll.wait(&mut ready, PATIENCE)?;
            for number in &ready {
                if *number == LISTENER {
                    self.accept()?;
                } else if !self.serve(*number) {
                    self.connections.remove(number);
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // The peer was gone before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            let mut socket = Socket::new(stream, self.next, &self.poll)?;
            let mut server = Server::new(self.wire, self.exchange, socket.out());
            if socket.flush(&self.poll, |out| server.fill(out)).is_ok() {
                self.connections.insert(self.next, (socket, server));
            }
            self.next += 1;
        }
    }

    /// Whether the connection goes on.
    fn serve(&mut self, number: usize) -> bool {
        let Some((socket, server)) = self.connections.get_mut(&number) else { return true };
        let skip = server.may_skip();
        let read = match skip > BUFFER {
            true => socket.skip(skip, &mut self.buffer),
            false => socket.read(&mut self.buffer[..BUFFER]),
        };
        match read {
            Ok(Some(0)) | Err(_) => return false,
            Ok(Some(count)) if skip > BUFFER => server.skipped(count),
            Ok(Some(count)) => {
                if let Err(error) = server.receive(&self.buffer[..count], socket.out()) {
                    eprintln!("bench: origin: {error}");
                    return false;
                }
            }
            Ok(None) => {}
        }
        socket.flush(&self.poll, |out| server.fill(out)).is_ok()
    }
}
