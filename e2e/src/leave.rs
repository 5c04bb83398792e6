//! Attempts to leave a workload's namespace past its proxy, each with its outcome in a word or two.
//!
//! They run as the workload's program. Nothing is sent but to the addresses that the check names.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, netlink, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::poll;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes every attempt of a JSON list of `[kind, to, more]`, writes the outcomes to a file, and stays until another file is
/// there, so that whoever counts can be asked.
pub async fn attempts(list: &str, outcomes: &Path, until: &Path) -> Result<()> {
    let list: Vec<[String; 3]> = serde_json::from_str(list).context("the attempts")?;
    let mut found = Vec::new();
    for [kind, to, more] in list {
        let outcome = match &*kind {
            "h2" => request(&to, &more).await,
            _ => tokio::task::spawn_blocking(move || attempt(&kind, &to, &more)).await?,
        };
        found.push(outcome.unwrap_or_else(|error| words(&error)));
    }
    let whole = outcomes.with_extension("part");
    std::fs::write(&whole, serde_json::to_string(&found)?)?;
    std::fs::rename(&whole, outcomes)?;
    poll::until("the end of the attempts", Duration::from_secs(60), async || {
        ensure!(until.exists(), "not there yet");
        Ok(())
    })
    .await
}

fn attempt(kind: &str, to: &str, more: &str) -> Result<String> {
    match kind {
        "tcp" => exchange(to, more.as_bytes()),
        "tls" => exchange(to, &client_hello(more)),
        "http" => exchange(to, format!("GET / HTTP/1.1\r\nhost: {more}\r\nconnection: close\r\n\r\n").as_bytes()),
        "from" => from_other_address(to, more),
        "udp" => Ok(format!("sent {}", bound(to)?.send_to(more.as_bytes(), to)?)),
        "dns" => dns(to, more),
        "detached" => detached(to, more),
        "raw" => raw_socket(),
        "packet" => packet_socket(),
        "icmp" => echo_request(to),
        "rules" => netlink_request(Some(netlink::NETFILTER), &delete_table()),
        "route" => netlink_request(None, &delete_route()),
        "setns" => host_namespace(),
        "unshare" => own_namespace(to),
        other => anyhow::bail!("no such attempt: {other}"),
    }
}

/// The kind of an error, else its text.
fn words(error: &anyhow::Error) -> String {
    let io = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    let kind = io.or_else(|| error.downcast_ref::<Errno>().map(|errno| std::io::Error::from(*errno).kind()));
    match kind {
        // A connection that was made may be refused before the program knows of it.
        Some(ErrorKind::ConnectionReset) => "closed".to_owned(),
        Some(kind) => format!("{kind:?}"),
        None => format!("{error:#}"),
    }
}

/// What comes back, up to the first line's end; or that the connection is closed.
fn exchange(to: &str, bytes: &[u8]) -> Result<String> {
    let at = to.to_socket_addrs()?.next().context("no address")?;
    answer(TcpStream::connect_timeout(&at, PATIENCE)?, bytes)
}

fn answer(mut stream: TcpStream, bytes: &[u8]) -> Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut buffer = [0; 512];
    // Whoever is refused may be so before it has sent all.
    let read = stream.write_all(bytes).and_then(|()| stream.read(&mut buffer));
    match read {
        Ok(0) => Ok("closed".to_owned()),
        Ok(length) => {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            Ok(text.lines().next().unwrap_or_default().chars().take(24).collect())
        }
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
            Ok("closed".to_owned())
        }
        Err(error) => Err(error.into()),
    }
}

async fn request(to: &str, authority: &str) -> Result<String> {
    let stream = tokio::net::TcpStream::connect(to).await?;
    let (mut sender, driver) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    // How the connection ended is seen by the exchange.
    tokio::spawn(async move { drop(driver.await) });
    let request = http::Request::get(format!("http://{authority}/")).body(Empty::<bytes::Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    answer.into_body().collect().await?;
    Ok(status.to_string())
}

/// With a source address that the program chose.
fn from_other_address(to: &str, source: &str) -> Result<String> {
    let to: SocketAddr = to.parse()?;
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddr::new(source.parse()?, 0))?;
    rustix::net::connect(&socket, &to)?;
    answer(TcpStream::from(socket), b"x")
}

fn bound(to: &str) -> Result<UdpSocket> {
    let any = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// A question of a resolver of the program's own choice; the code of its answer, and how many records it has.
fn dns(to: &str, name: &str) -> Result<String> {
    let mut question = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len())?);
        question.extend(label.bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    let socket = bound(to)?;
    socket.send_to(&question, to)?;
    let mut reply = [0; 1500];
    let length = socket.recv(&mut reply)?;
    ensure!(length >= 12 && reply[..2] == question[..2], "no answer to the question");
    Ok(format!("code {} records {}", reply[3] & 15, u16::from_be_bytes([reply[6], reply[7]])))
}

/// By a process that has left its session and whose parent is gone.
fn detached(to: &str, step: &str) -> Result<String> {
    let list = serde_json::to_string(&[["tcp", to, "x"]])?;
    if step.is_empty() {
        let mut command = Command::new(std::env::current_exe()?);
        let again = serde_json::to_string(&[["detached", to, "setsid"]])?;
        command.args(["inside", "attempt", &again]);
        let output = command.stdin(Stdio::null()).output()?;
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    rustix::process::setsid()?;
    let mut command = Command::new(std::env::current_exe()?);
    // It inherits our standard output, which whoever asked reads to its end.
    command.args(["inside", "attempt", &list]).stdin(Stdio::null()).spawn()?;
    Ok(String::new())
}

/// Makes attempts and prints their outcomes, the last of which stands for all.
pub async fn print(list: &str) -> Result<()> {
    let list: Vec<[String; 3]> = serde_json::from_str(list).context("the attempts")?;
    for [kind, to, more] in list {
        let outcome = tokio::task::spawn_blocking(move || attempt(&kind, &to, &more)).await?;
        println!("{}", outcome.unwrap_or_else(|error| words(&error)));
    }
    Ok(())
}

fn raw_socket() -> Result<String> {
    socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::RAW))?;
    Ok("opened".to_owned())
}

fn packet_socket() -> Result<String> {
    socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    Ok("opened".to_owned())
}

/// An echo request by a socket that needs no rights, where the machine has such.
fn echo_request(to: &str) -> Result<String> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(ipproto::ICMP))?;
    let to: SocketAddr = to.parse()?;
    rustix::net::sendto(&socket, &[8, 0, 0xf7, 0xfd, 0, 1, 0, 1], rustix::net::SendFlags::empty(), &to)?;
    Ok("sent".to_owned())
}

/// What the kernel says to a request over netlink.
fn netlink_request(protocol: Option<rustix::net::Protocol>, request: &[u8]) -> Result<String> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    rustix::net::send(&socket, request, rustix::net::SendFlags::empty())?;
    let mut reply = [0; 4096];
    let (length, _) = rustix::net::recv(&socket, &mut reply[..], rustix::net::RecvFlags::empty())?;
    let code = reply.get(16..20).filter(|_| length >= 20).context("no answer")?;
    match i32::from_ne_bytes(code.try_into()?) {
        0 => Ok("done".to_owned()),
        error => Err(Errno::from_raw_os_error(-error).into()),
    }
}

fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    message.extend((16 + body.len() as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend([0; 4]);
    message.extend(body);
    message
}

/// NFT_MSG_DELTABLE of `inet halcyon`, in a batch (linux/netfilter/nf_tables.h).
fn delete_table() -> Vec<u8> {
    let edge = |kind| message(kind, 1, 0, &[0, 0, 0, 10]);
    let mut body = vec![1, 0, 0, 0, 12, 0, 1, 0];
    body.extend(b"halcyon\0");
    let delete = message(0x0a02, 1 | 4, 1, &body);
    [edge(0x10), delete, edge(0x11)].concat()
}

/// RTM_DELROUTE of the default route (linux/rtnetlink.h).
fn delete_route() -> Vec<u8> {
    message(25, 1 | 4, 1, &[2, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0])
}

/// Into the network namespace of any process that is in another one.
fn host_namespace() -> Result<String> {
    let own = std::fs::read_link("/proc/self/ns/net")?;
    let mut refused = Vec::new();
    for process in std::fs::read_dir("/proc")?.flatten() {
        let path = process.path().join("ns/net");
        match std::fs::read_link(&path) {
            Ok(link) if link == own => continue,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            _ => {}
        }
        match enter(&path) {
            Ok(()) => return Ok(format!("entered that of {}", process.path().display())),
            Err(error) => refused.push(error),
        }
    }
    // Processes end while they are looked at, and not all that is there is a process.
    refused.retain(|word| !["NotFound", "Uncategorized", "NotADirectory"].contains(&word.as_str()));
    refused.sort();
    refused.dedup();
    Ok(refused.join(" or "))
}

fn enter(path: &Path) -> Result<(), String> {
    let open = || std::fs::File::open(path).map(OwnedFd::from);
    let moved = open()
        .map_err(anyhow::Error::from)
        .and_then(|fd| Ok(move_into_link_name_space(fd.as_fd(), Some(LinkNameSpaceType::Network))?));
    moved.map_err(|error| words(&error))
}

/// With all rights in a namespace of one's own: over the rules of the one that was left, over the host's, and by the new one.
fn own_namespace(to: &str) -> Result<String> {
    let list = serde_json::to_string(&[["rules", "", ""], ["setns", "", ""], ["tcp", to, "x"]])?;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user"]).arg(std::env::current_exe()?).args(["inside", "attempt", &list]);
    let output = command.stdin(Stdio::null()).output().context("`unshare` of util-linux")?;
    let said: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    if said.is_empty() {
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(error.contains("ermitted") || error.contains("enied"), "{error}");
        return Ok("refused".to_owned());
    }
    Ok(said.join(", "))
}

/// The first message of TLS 1.2, which asks for a name unless that is empty.
fn client_hello(name: &str) -> Vec<u8> {
    let with_length = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let extension = match name {
        "" => Vec::new(),
        name => {
            let entry = [&[0][..], &with_length(name.as_bytes())].concat();
            [&[0, 0][..], &with_length(&with_length(&entry))].concat()
        }
    };
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0x13, 1, 1, 0]);
    hello.extend(with_length(&extension));
    let length = (hello.len() as u32).to_be_bytes();
    let handshake = [&[1, length[1], length[2], length[3]][..], &hello].concat();
    [&[22, 3, 1][..], &with_length(&handshake)].concat()
}
