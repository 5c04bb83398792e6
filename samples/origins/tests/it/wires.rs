//! WebSocket, TCP and UDP: each client against its server.

use std::time::Duration;

use origins::{tcp, udp, ws};
use tokio::net::UdpSocket;

use crate::{http_origin, listener};

const WITHIN: Duration = Duration::from_secs(10);

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|w| (*w).to_owned()).collect()
}

#[tokio::test]
async fn websocket() {
    let (listener, address) = listener().await;
    tokio::spawn(ws::serve(listener, std::future::pending()));
    let messages = words(&["one", "", "three ★"]);
    let mut heard = Vec::new();
    ws::client(&format!("ws://{address}/chat"), &messages, WITHIN, |m| heard.push(m.to_owned())).await.unwrap();
    assert_eq!(heard, messages);

    // Who does not upgrade is named.
    let url = format!("ws://{}/", http_origin().await);
    let fault = ws::client(&url, &messages, WITHIN, |_| {}).await.unwrap_err().to_string();
    assert!(fault.contains(&url) && fault.contains("expected a WebSocket echo server"), "{fault}");
}

#[tokio::test]
async fn tcp_both_ways() {
    let check = async |greeting: Option<&str>, greeted: bool, messages: &[&str], expected: &[&str]| {
        let (listener, address) = listener().await;
        tokio::spawn(tcp::serve(listener, greeting.map(str::to_owned)));
        let heard = tcp::client(&address.to_string(), &words(messages), greeted, WITHIN).await.unwrap();
        assert_eq!(heard, expected);
    };
    check(None, false, &["a", "b"], &["a", "b"]).await;
    check(Some("hello"), true, &["a"], &["hello", "a"]).await;
    check(Some("hello"), true, &[], &["hello"]).await;
}

#[tokio::test]
async fn tcp_faults() {
    let (greeting, address) = listener().await;
    tokio::spawn(tcp::serve(greeting, Some("hello".to_owned())));
    let address = address.to_string();
    let fault = tcp::client(&address, &words(&["a"]), false, WITHIN).await.unwrap_err();
    assert!(fault.to_string().contains("sent `a`, got back `hello`"), "{fault}");
    let fault = tcp::client(&address, &[], false, WITHIN).await.unwrap_err();
    assert!(fault.to_string().contains("6 bytes came that nobody sent"), "{fault}");
}

#[tokio::test]
async fn udp_both_ways() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    tokio::spawn(udp::serve(socket));
    udp::client(&address, &words(&["a", "", &"x".repeat(9000)]), WITHIN).await.unwrap();
}
