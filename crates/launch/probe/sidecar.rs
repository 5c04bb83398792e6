//! A sidecar of a few lines. It answers every captured connection with where it was meant to go, every question for an
//! address with 240.0.0.1, and these calls at `<dir>/admin.sock`: `/ready`; `/drain` (leaves); `/depart` (prints `departs`);
//! `/crash`; `/pid`; `/reach/<port>` (connects to the program's port and answers with what it says).
//!
//! If `LAUNCH_TEST_SIDECAR_IS` is `stubborn` it does not leave when told; if it is `slow` it starts another process and
//! never gets ready.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, UdpSocket, UnixListener, UnixStream};
use transport::inherited::{self, Proto};
use transport::netns::Family;
use transport::{Netns, original_dst};

pub async fn run(dir: &Path) -> ExitCode {
    assert_eq!(inherited::errors(), []);
    for ip in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        if let Some(fd) = inherited::take(Proto::Tcp, "workload", SocketAddr::new(ip, launch::OUTBOUND_PORT)) {
            let listener = TcpListener::from_std(fd.into()).expect("a listener");
            tokio::spawn(captured(listener));
        }
        let dns = SocketAddr::new(ip, launch::DNS_PORT);
        if let Some(fd) = inherited::take(Proto::Udp, "workload", dns) {
            tokio::spawn(dns_over_udp(UdpSocket::from_std(fd.into()).expect("a socket")));
        }
        if let Some(fd) = inherited::take(Proto::Tcp, "workload", dns) {
            tokio::spawn(dns_over_tcp(TcpListener::from_std(fd.into()).expect("a listener")));
        }
    }
    assert_eq!(inherited::untaken(), []);
    let character = std::env::var("LAUNCH_TEST_SIDECAR_IS").unwrap_or_default();
    if character == "slow" {
        println!("running");
        let mut child = std::process::Command::new("sleep").arg("600").spawn().expect("sleep");
        return ExitCode::from(u8::from(child.wait().is_err()));
    }
    let stubborn = character == "stubborn";
    if stubborn {
        // nobody reads from it: SIGTERM is caught and forgotten
        let terminate = tokio::signal::unix::SignalKind::terminate();
        drop(tokio::signal::unix::signal(terminate).expect("a signal handler"));
    }
    let netns = Netns::new("workload", dir.join("netns.sock"));
    let path = dir.join("admin.sock");
    // the one before may have crashed
    let _ = std::fs::remove_file(&path);
    let admin = UnixListener::bind(&path).expect("the admin socket");
    loop {
        let (stream, _) = admin.accept().await.expect("a call");
        if let Ok(true) = answer(stream, &netns).await
            && !stubborn
        {
            std::fs::remove_file(&path).expect("the admin socket");
            return ExitCode::SUCCESS;
        }
    }
}

async fn captured(listener: TcpListener) -> io::Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        let destination = original_dst(&stream)?;
        let text = format!("captured {}", destination.map_or("nothing".to_owned(), |d| d.to_string()));
        let _ = stream.write_all(text.as_bytes()).await;
    }
}

async fn dns_over_udp(socket: UdpSocket) -> io::Result<()> {
    let mut buffer = [0; 512];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await?;
        socket.send_to(&dns_answer(&buffer[..length]), from).await?;
    }
}

async fn dns_over_tcp(listener: TcpListener) -> io::Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        // glibc asks for A and AAAA over one connection
        while let Ok(length) = stream.read_u16().await {
            let mut question = vec![0; usize::from(length)];
            stream.read_exact(&mut question).await?;
            let mut answer = dns_answer(&question);
            // so that a test sees by which road it came
            let last = answer.len() - 1;
            answer[last] += 1;
            stream.write_u16(answer.len() as u16).await?;
            stream.write_all(&answer).await?;
        }
    }
}

/// 240.0.0.1 for a question of type A, no address for others (RFC 1035).
fn dns_answer(question: &[u8]) -> Vec<u8> {
    let mut end = 12;
    while question[end] != 0 {
        end += usize::from(question[end]) + 1;
    }
    let is_a = question[end + 1..end + 3] == [0, 1];
    let mut answer = question[..end + 5].to_vec();
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[6..12].copy_from_slice(&[0, u8::from(is_a), 0, 0, 0, 0]);
    if is_a {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 240, 0, 0, 1]);
    }
    answer
}

/// Is the sidecar to leave?
async fn answer(mut stream: UnixStream, netns: &Netns) -> io::Result<bool> {
    let mut buffer = vec![0; 1024];
    let length = stream.read(&mut buffer).await?;
    let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let body = match path.strip_prefix("/reach/") {
        Some(port) => reach(netns, port.parse().expect("a port")).await.unwrap_or_else(|error| error),
        None if path == "/crash" => std::process::abort(),
        None if path == "/depart" => {
            io::Write::write_all(&mut io::stdout(), b"departs\n")?;
            String::new()
        }
        None => std::process::id().to_string(),
    };
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
    stream.write_all(head.as_bytes()).await?;
    Ok(path == "/drain")
}

async fn reach(netns: &Netns, port: u16) -> Result<String, String> {
    let socket = netns.socket(Family::V4).await.map_err(|e| e.to_string())?;
    let socket = TcpSocket::from_std_stream(socket.into());
    let mut stream = socket.connect((Ipv4Addr::LOCALHOST, port).into()).await.map_err(|e| e.to_string())?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.map_err(|e| e.to_string())?;
    Ok(text)
}
