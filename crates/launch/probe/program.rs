//! Programs to be started inside the mesh. They know nothing of it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::process::ExitCode;

/// * `dial <address>...` prints what each connection brings;
/// * `resolve <name>` prints the addresses that the C library finds;
/// * `udp <address>` prints whether a datagram can be sent there;
/// * `serve <port> <text>` answers every connection with the text, until it is killed;
/// * `self <address>...` does so on every address of its own and dials these, each with a port that it listens on;
/// * `network` prints the network namespace.
pub fn run(role: &str, args: &[&str]) -> ExitCode {
    match (role, args) {
        ("dial", addresses) => addresses.iter().for_each(|address| println!("{}", dial(address))),
        ("resolve", [name]) => match (*name, 80).to_socket_addrs() {
            Ok(found) => found.for_each(|address| println!("{}", address.ip())),
            Err(error) => println!("{error}"),
        },
        ("udp", [address]) => {
            let sent = UdpSocket::bind("127.0.0.1:0").or_else(|_| UdpSocket::bind("0.0.0.0:0"));
            match sent.and_then(|socket| socket.send_to(b"x", address)) {
                Ok(_) => println!("sent"),
                Err(error) => println!("{:?}", error.kind()),
            }
        }
        ("serve", [port, text]) => {
            serve(TcpListener::bind(format!("127.0.0.1:{port}")).expect("the port is free"), text)
        }
        ("self", addresses) => {
            let listener = TcpListener::bind("0.0.0.0:9080").expect("the port is free");
            std::thread::spawn(move || serve(listener, "mine"));
            addresses.iter().for_each(|address| println!("{}", dial(address)));
        }
        ("network", []) => println!("{}", std::fs::read_link("/proc/self/ns/net").expect("/proc").display()),
        other => panic!("no such role: {other:?}"),
    }
    ExitCode::SUCCESS
}

fn dial(address: &str) -> String {
    let mut answer = String::new();
    match TcpStream::connect(address).and_then(|mut stream| stream.read_to_string(&mut answer)) {
        Ok(_) => answer.trim().to_owned(),
        Err(error) => format!("{address}: {error}"),
    }
}

fn serve(listener: TcpListener, text: &str) {
    println!("serving");
    for stream in listener.incoming() {
        let _ = stream.and_then(|mut stream| stream.write_all(text.as_bytes()));
    }
}
