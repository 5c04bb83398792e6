//! What the address that a client dialled decides.

use std::net::SocketAddr;

use model::Direction::Outbound;
use model::cluster::Discovery;
use model::endpoint::Health;
use model::listener::{ExpectHeader, Inspect};
use model::{Cluster, Endpoint, EndpointSet, LocalityEndpoints};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::rig::*;

/// What comes of a request to a listener by which the client says that it dialled `to`.
pub async fn dial(at: SocketAddr, to: SocketAddr) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let (ip, port) = (to.ip(), to.port());
    let request = "GET /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(format!("PROXY TCP4 127.0.0.1 {ip} 4711 {port}\r\n{request}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    _ = stream.read_to_string(&mut answer).await;
    answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned()
}

/// A listener that is told where its clients wanted to go.
pub fn told(name: &str, at: SocketAddr, chain: model::FilterChain) -> model::Listener {
    let inspect = Inspect { proxy_header: ExpectHeader::Required, ..Inspect::default() };
    model::Listener { inspect, ..listener(name, at, Outbound, vec![chain]) }
}

#[test]
fn a_workload_of_several() {
    run(async {
        let (first, second) = (named_origin("first").await, named_origin("second").await);
        let waiting = Endpoint { health: Health::Unhealthy, ..Endpoint::plain(second) };
        let endpoints = vec![Endpoint::plain(first), waiting];
        let set = EndpointSet::new("web", vec![LocalityEndpoints { endpoints, ..LocalityEndpoints::default() }]);
        let web = Cluster { prefers_dialled: true, panic_percent: 0, ..Cluster::new("web", Discovery::Static(set)) };
        let (raw, routed) = (free_address(), free_address());
        let listeners = vec![
            told("raw", raw, tcp_chain("web")),
            told("routed", routed, http_chain(http(vec![route("/", to("web"))]))),
        ];
        let _proxy = proxy("a", config(listeners, vec![web])).await;
        for at in [raw, routed] {
            for _ in 0..3 {
                for (dialled, expected) in [(first, "first"), (second, "second"), (free_other(), "first")] {
                    let answer = dial(at, dialled).await;
                    assert!(answer.contains(&format!("{expected} /x")), "{dialled}: {answer}");
                }
            }
        }
    });
}

/// An address at which nobody is, on another IP address than the origins.
fn free_other() -> SocketAddr {
    "192.0.2.1:80".parse().unwrap()
}
