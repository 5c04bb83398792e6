//! The bytes of a server, to our HTTP/1.1 and HTTP/2 clients: an exchange comes to an end, whatever they are. The first
//! byte says which client, and how the request looks. Time stands still, so that a limit that is waited for is reached at
//! once.

#![no_main]

use std::time::Duration;

use http::{Method, Request};
use libfuzzer_sys::fuzz_target;
use mesh_http::{Body, ClientOptions, h1, h2};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Bytes of an answer that the caller reads.
const BODY: usize = 64 * 1024;
/// How long a caller waits, of a time that passes only when nothing else happens.
const PATIENCE: Duration = Duration::from_secs(60);

fuzz_target!(|bytes: &[u8]| {
    let Some((how, bytes)) = bytes.split_first() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, exchange(*how, bytes.to_vec()));
});

async fn exchange(how: u8, bytes: Vec<u8>) {
    let (client, server) = tokio::io::duplex(1 << 16);
    tokio::task::spawn_local(serve(server, bytes));
    let talking = async {
        if how & 1 == 0 {
            let (sender, driver) = h1::connect(client, &ClientOptions::default());
            tokio::task::spawn_local(driver);
            // A second exchange on the same connection sees what the first left behind.
            for _ in 0..2 {
                match sender.send(request(how)).await {
                    Ok(answer) => drop(answer.into_body().collect(BODY).await),
                    Err(_) => return,
                }
            }
        } else if let Ok((sender, driver)) = h2::connect(client, &ClientOptions::default()).await {
            tokio::task::spawn_local(driver);
            if let Ok(answer) = sender.send(request(how)).await {
                let _ = answer.into_body().collect(BODY).await;
            }
        }
    };
    let _ = tokio::time::timeout(PATIENCE, talking).await;
}

fn request(how: u8) -> Request<Body> {
    let method = [Method::GET, Method::HEAD, Method::POST, Method::CONNECT][usize::from(how >> 1 & 3)].clone();
    let target = if method == Method::CONNECT { "reviews:80" } else { "http://reviews/" };
    let body = if method == Method::POST { Body::full("hello") } else { Body::empty() };
    Request::builder().method(method).uri(target).header("host", "reviews").body(body).unwrap()
}

/// Says the bytes, and hears whatever comes.
async fn serve(server: DuplexStream, bytes: Vec<u8>) {
    let (mut hearing, mut saying) = tokio::io::split(server);
    let mut heard = Vec::new();
    // The client may have closed: that is an answer too.
    let _ = tokio::join!(saying.write_all(&bytes), hearing.read_to_end(&mut heard));
}
