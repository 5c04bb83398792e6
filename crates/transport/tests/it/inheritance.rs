//! What needs a process of its own: a listening socket handed over `exec`, and a process without a file left.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;

use tokio::io::AsyncWriteExt;
use transport::inherited::{self, Key, Proto};
use transport::{Connector, Netns, listen};

const ADDRESS: &str = "TEST_ADDRESS";

/// This test binary once more, for one of the ignored tests below.
fn child(test: &str, addr: SocketAddr) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored"]).env(ADDRESS, addr.to_string());
    command
}

/// The address that the parent gave; `None` where somebody runs all ignored tests without a parent.
fn address() -> Option<SocketAddr> {
    std::env::var(ADDRESS).ok()?.parse().ok()
}

#[test]
fn a_child_serves_the_parents_socket() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    let key = Key { proto: Proto::Tcp, netns: "workload".to_owned(), addr };
    let value = inherited::prepare(&[(key, socket.as_fd())]).unwrap();
    let mut child = child("inheritance::serving_child", addr)
        .env(inherited::VARIABLE, format!("{value},tcp@workload@127.0.0.1:1={}", i32::MAX))
        .spawn()
        .unwrap();
    drop(socket);
    let mut text = String::new();
    TcpStream::connect(addr).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "from the child");
    assert!(child.wait().unwrap().success());
}

#[tokio::test]
#[ignore = "the other process of a_child_serves_the_parents_socket"]
async fn serving_child() {
    let Some(addr) = address() else { return };
    assert_eq!(inherited::errors().len(), 1, "the entry that holds no socket is reported");
    let netns = Netns::new("workload", "/nonexistent");
    let options = listen::Options::default();
    let listener = listen::tcp(addr, Some(&netns), &options).unwrap().start().unwrap();
    assert!(listen::tcp(addr, Some(&netns), &options).is_err(), "taken once");
    assert_eq!(inherited::untaken(), []);
    let mut accepted = listener.accept().await.unwrap();
    accepted.stream.write_all(b"from the child").await.unwrap();
}

#[test]
fn without_files_accept_asks_for_a_pause() {
    let status = child("inheritance::starving_child", "127.0.0.1:0".parse().unwrap()).status().unwrap();
    assert!(status.success());
}

#[tokio::test]
#[ignore = "the other process of without_files_accept_asks_for_a_pause"]
async fn starving_child() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Some(addr) = address() else { return };
    let listener = listen::tcp(addr, None, &listen::Options::default()).unwrap().start().unwrap();
    let client = Connector::default().connect(&listener.local_addr().into()).await.unwrap();
    let limit = Rlimit { current: Some(64), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut hoard: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    let mut pauses = Vec::new();
    for _ in 0..3 {
        pauses.push(listener.accept().await.unwrap_err().pause);
    }
    assert!(pauses.is_sorted() && pauses[0] > std::time::Duration::ZERO && pauses[0] < pauses[2], "{pauses:?}");
    // The connection waited in the queue and is not lost.
    hoard.pop();
    let accepted = listener.accept().await.unwrap();
    assert_eq!(client.local_addr().unwrap(), accepted.peer.into());
}
