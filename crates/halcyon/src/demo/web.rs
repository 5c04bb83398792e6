//! The demo as its own first visitor.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One page: its status and text. None if there is no answer.
pub async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: halcyon-demo\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        let text = String::from_utf8_lossy(&answer).into_owned();
        let status = text.split(' ').nth(1)?.parse().ok()?;
        Some((status, text))
    };
    tokio::time::timeout(Duration::from_secs(10), exchange).await.ok().flatten()
}

/// Is the product page there, with details and reviews?
pub async fn page_is_whole(gateway: SocketAddr) -> bool {
    let page = get(gateway, "/productpage").await;
    page.is_some_and(|(status, text)| {
        status == 200 && text.contains("Reviewer1") && text.contains("William Shakespeare")
    })
}
