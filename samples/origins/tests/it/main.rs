//! Each origin at its border, over loopback.

mod grpc;
mod http;
mod load;
mod wires;

use std::net::SocketAddr;

use tokio::net::TcpListener;

/// A listener on a free loopback port, and its address.
async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// An HTTP echo named `origin-1`, for as long as the test lasts.
async fn http_origin() -> SocketAddr {
    let (listener, address) = listener().await;
    tokio::spawn(origins::http_echo::serve(listener, "origin-1".to_owned(), std::future::pending()));
    address
}
